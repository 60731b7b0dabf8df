"""Copies of batches: equal, apart from the original, and alike in every way that a loss or a kernel may notice."""

import copy
import itertools
import threading
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.state.batch import owned, tensors
from ray_glocal.hypergradient.state.layout import ALIGNMENT

Pair = namedtuple("Pair", "inputs labels")


@dataclass
class Graph:
    nodes: torch.Tensor
    edges: list


def storages(batch):
    return {tensor.untyped_storage().data_ptr() for tensor in tensors(batch) if tensor.numel()}


def same(one, other):
    if isinstance(one, torch.Tensor):
        alike = (one.dtype, one.shape, one.requires_grad) == (other.dtype, other.shape, other.requires_grad)
        return alike and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


plain = st.one_of(st.integers(), st.booleans(), st.text(max_size=3), st.none(), st.binary(max_size=3))
made = st.builds(
    lambda size, seed: torch.randn(size, generator=torch.Generator().manual_seed(seed)),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 9),
)
nested = st.recursive(
    st.one_of(plain, made),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(nested)
def test_a_copy_is_equal_and_shares_neither_memory_nor_containers(batch):
    before = copy.deepcopy(batch)
    own = owned(batch)
    assert same(own, batch)
    assert not storages(own) & storages(batch)
    for tensor in tensors(own):
        tensor.add_(1)
    if isinstance(own, (list, dict)):
        own.clear()
    assert same(batch, before)


def test_tensors_come_in_the_same_order_from_a_batch_and_from_its_copy():
    batch = {"a": [torch.tensor(0), (torch.tensor(1), "text")], "b": torch.tensor(2), "c": Graph(torch.tensor(9), [])}
    assert [int(t) for t in tensors(batch)] == [int(t) for t in tensors(owned(batch))] == [0, 1, 2]


def test_what_stands_in_two_places_is_one_object_in_the_copy():
    shared = [torch.zeros(2)]
    own = owned({"one": shared, "two": shared})
    assert own["one"] is own["two"] is not shared


@pytest.mark.parametrize(
    "view",
    [
        lambda whole: whole[1:],
        lambda whole: whole[:, 1],
        lambda whole: whole.t(),
        lambda whole: whole.view(-1)[3:5],
        lambda whole: whole.detach(),
        lambda whole: whole.expand(2, 3, 4),
    ],
    ids=["rows", "column", "transposed", "slice", "detached", "expanded"],
)
def test_views_of_one_memory_are_views_again(view):
    whole = torch.arange(12.0).reshape(3, 4)
    for own, part in (owned((whole, view(whole))), owned((view(whole), whole))[::-1]):
        assert torch.equal(part, view(whole))
        own.fill_(-1)
        assert (part == -1).all()
    assert whole.min() == 0


def test_views_by_conjugation_and_sign_keep_their_values():
    numbers = torch.randn(4, dtype=torch.complex128)
    for batch in ([numbers, numbers.conj()], [numbers.conj(), numbers], [numbers.imag, numbers.conj().imag]):
        assert same(owned(batch), batch)


def test_tensors_of_other_precision_in_one_memory_keep_their_values():
    words = torch.arange(4, dtype=torch.int32)
    batch = [words, words.view(torch.float32)]
    assert same(owned(batch), batch)


@pytest.mark.parametrize("offset", [0, 1, 3, 16, 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_a_copy_lies_as_its_original_beside_an_allocators_boundaries(offset, dtype):
    """Kernels may round differently elsewhere."""
    slice_ = torch.arange(64).to(dtype)[offset : offset + 8]
    own = owned(slice_)
    assert own.data_ptr() % ALIGNMENT == slice_.data_ptr() % ALIGNMENT
    assert torch.equal(own, slice_)


def test_strides_of_dense_tensors_are_kept():
    images = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert owned(images).stride() == images.stride()


@pytest.mark.parametrize("sparse", [False, True])
def test_what_requires_gradients_does_in_the_copy_as_a_leaf(sparse):
    leaf = torch.eye(3).to_sparse() if sparse else torch.eye(3)
    leaf.requires_grad_()
    for tensor in (leaf, leaf * 2):
        own = owned([tensor, torch.zeros(1)])
        assert own[0].requires_grad
        assert own[0].is_leaf
        assert not own[1].requires_grad
        assert torch.equal(own[0].to_dense(), tensor.to_dense())


def test_a_view_and_its_base_require_gradients_each_for_itself():
    base = torch.arange(4.0)
    view = base.detach()[1:]
    view.requires_grad_()
    assert [t.requires_grad for t in owned((base, view))] == [False, True]
    assert [t.requires_grad for t in owned((view, base))] == [True, False]


def test_objects_of_other_kinds_are_copied_whole():
    graph, pair = Graph(torch.ones(2), [1]), Pair(torch.ones(2), torch.zeros(1))
    batch = [graph, pair, OrderedDict(x=torch.ones(1)), np.arange(3), {1, 2}]
    own = owned(batch)
    own[0].nodes.zero_()
    own[0].edges.append(2)
    own[1].inputs.zero_()
    own[2]["x"].zero_()
    own[3][0] = 7
    assert type(own[1]) is Pair
    assert (graph.nodes.sum(), graph.edges, pair.inputs.sum(), float(batch[2]["x"]), batch[3][0]) == (2, [1], 2, 1, 0)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ((i for i in range(3)), "cannot pickle 'generator' object"),
        (threading.Lock(), "cannot pickle '_thread.lock' object"),
        (Graph(torch.ones(2, requires_grad=True) * 2, []), "Only Tensors created explicitly by the user"),
    ],
    ids=["generator", "lock", "graph"],
)
@pytest.mark.parametrize("wrap", [list, dict], ids=["list", "dict"])
def test_what_cannot_be_copied_is_refused(item, told, wrap):
    batch = [item] if wrap is list else {"held": item}
    with pytest.raises(ArgumentError) as refusal:
        owned(batch)
    text = (
        f"`batch` must be something that can be copied; got '{wrap.__name__}'. Hand out batches of tensors, numbers, "
        "text and containers of them. Copying it raised: "
    )
    assert str(refusal.value).startswith(text + told)


def test_a_batch_that_holds_itself_is_refused():
    batch = [torch.zeros(1)]
    batch.append(batch)
    with pytest.raises(ArgumentError, match=r"`batch` must be something that can be copied; got 'list'\..*recursion"):
        owned(batch)


def test_iterators_that_can_be_copied_are_not_drawn_from():
    batch = [itertools.count(5)]
    assert [next(owned(batch)[0]) for _ in range(2)] == [5, 5]
    assert next(batch[0]) == 5
