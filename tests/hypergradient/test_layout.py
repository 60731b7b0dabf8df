"""Tensors side by side in one memory: nothing is lost, nothing is copied twice, and every one starts aligned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.hypergradient.layout import ALIGNMENT, Layout
from ray_glocal.hypergradient.state import copied


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
