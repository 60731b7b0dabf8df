"""Tensors side by side in one memory: nothing is lost, nothing is copied twice, and every one starts aligned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.hypergradient import adjoint_trajectory, forward_trajectory
from ray_glocal.hypergradient.state import layout as layouts
from ray_glocal.hypergradient.state.copies import copied
from ray_glocal.hypergradient.state.layout import ALIGNMENT, Layout, portions

from ..cases import Case


def shapes_from(smallest):
    return st.lists(st.lists(st.integers(smallest, 5), max_size=4).map(tuple), min_size=1, max_size=6)


TYPES = st.sampled_from([torch.float64, torch.float32, torch.bfloat16])


def drawn(shapes, dtype, seed=0, lead=()):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((*lead, *shape), generator=generator).to(dtype) for shape in shapes]


def alike(found, truth):
    return all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(found, truth, strict=True))


@settings(max_examples=100, deadline=None)
@given(shapes=shapes_from(0), dtype=TYPES, lead=st.sampled_from([(), (1,), (3,)]))
def test_parts_invert_whole(shapes, dtype, lead):
    layout = Layout.of(drawn(shapes, dtype))
    tensors = drawn(shapes, dtype, 1, lead)
    flat = layout.whole(tensors)
    assert flat.shape == (*lead, layout.size)
    assert all(torch.equal(a, b) for a, b in zip(layout.parts(flat), tensors, strict=True))
    assert not flat[..., list(layout.gaps)].any()
    assert sum(t.numel() for t in drawn(shapes, dtype)) + len(layout.gaps) == layout.size


@settings(max_examples=100, deadline=None)
@given(shapes=shapes_from(1), dtype=TYPES, lead=st.sampled_from([(), (2,)]))
def test_what_lies_side_by_side_is_not_copied(shapes, dtype, lead):
    layout = Layout.of(drawn(shapes, dtype))
    flat = layout.whole(drawn(shapes, dtype, 1, lead))
    again = layout.whole(layout.parts(flat))
    assert again.data_ptr() == flat.data_ptr()
    assert torch.equal(again, flat)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_tensor_starts_aligned(dtype):
    parts = copied(drawn([(3, 5), (7,), (), (64,), (1, 1)], dtype))
    assert {part.data_ptr() % ALIGNMENT for part in parts} == {0}


def test_memory_formats_are_kept():
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    turned, spread = torch.randn(4, 6).t(), torch.randn(8, 6)[::2]
    copies = copied([images, turned, spread])
    truth = [images, turned, spread.contiguous()]
    assert alike(copies, truth)


def test_copies_of_several_precisions_keep_their_order():
    tensors = [torch.randn(3), torch.arange(4), torch.randn(2, 2), torch.tensor(True), torch.randn(5).double()]
    copies = copied(tensors)
    assert [c.dtype for c in copies] == [t.dtype for t in tensors]
    assert all(torch.equal(a, b) for a, b in zip(copies, tensors, strict=True))
    assert copies[0].untyped_storage().data_ptr() == copies[2].untyped_storage().data_ptr()


def test_a_stretch_of_copies_lies_as_it_would_alone():
    shapes = [(3, 5), (7,), (2, 2, 2), (4,)]
    copies = copied(drawn(shapes, torch.float32))
    stretch = Layout.of(copies[1:3]).whole(copies[1:3])
    assert stretch.data_ptr() == copies[1].data_ptr()


def test_neighbours_by_chance_are_copied():
    layout = Layout.of([torch.randn(16), torch.randn(16)])
    memory = torch.randn(64)
    tensors = [memory[:16], memory[32:48]]
    flat = layout.whole(tensors)
    assert flat.data_ptr() != memory.data_ptr()
    assert torch.equal(flat, torch.cat(tensors))
    one, other = torch.randn(16), torch.randn(16)
    assert torch.equal(layout.whole([one, other]), torch.cat([one, other]))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_portions_hold_every_place_once_and_no_more_than_they_may(data):
    sizes = data.draw(st.lists(st.integers(0, 12), max_size=12))
    kinds = [data.draw(st.sampled_from([None, "a", "b"])) for _ in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "FULL", 10)
        found = portions([torch.empty(size) for size in sizes], kinds)
    assert sorted(place for portion in found for place in portion) == [
        i for i, kind in enumerate(kinds) if kind is not None
    ]
    for portion in found:
        assert portion == sorted(portion)
        assert len({kinds[i] for i in portion}) == 1
        assert len(portion) == 1 or sum(sizes[i] for i in portion) <= 10


def test_copies_in_portions_are_copies(monkeypatch):
    monkeypatch.setattr(layouts, "FULL", 10)
    tensors = drawn([(3, 3), (4,), (20,), (), (2, 2)], torch.float32)
    copies = copied(tensors)
    assert alike(copies, tensors)
    assert len({copy.untyped_storage().data_ptr() for copy in copies}) == 4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_window_in_portions_tells_the_same(optimizer, monkeypatch):
    def told():
        case = Case.build("mlp", optimizer)
        case.warm_up()
        window = case.window(kept=True)
        lags = adjoint_trajectory(case.problem, window).derivatives
        return lags, forward_trajectory(case.problem, window).derivatives[-1]

    truth = told()
    monkeypatch.setattr(layouts, "FULL", 10)
    found = told()
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found[0][-1], found[1], rtol=1e-9, atol=1e-12)
