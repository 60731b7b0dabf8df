"""What hangs on a model and on losses comes back as it was, object by object and bit by bit; all else is left alone."""

import random
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from ray_glocal.hypergradient.tuning import SMALL

from .changes import Held, around, check

COUNT = 0
HISTORY = [0]
HIDDEN = torch.zeros(2)


# ---- what functions refer to ----


def test_a_closure_holds_again_what_it_held():
    count, seen = 0, []

    def loss():
        nonlocal count
        count += 1
        seen.append(count)

    check(loss, loss, lambda: (count, seen))


def test_a_closure_that_is_not_filled_yet_is_left():
    def loss():
        return late

    captured = around(loss).capture()
    late = 1
    captured.restore()
    assert loss() == 1


def counting():
    global COUNT, HISTORY
    COUNT += 1
    HIDDEN.add_(1)
    HISTORY = [*HISTORY, COUNT]


def calling():
    return [counting() for _ in range(2)]


@pytest.mark.parametrize("loss", [counting, calling, lambda: counting()], ids=["itself", "called", "lambda"])
def test_globals_that_functions_name_are_bound_again(loss):
    history = HISTORY
    check(loss, loss, lambda: (COUNT, HISTORY, HIDDEN))
    assert HISTORY is history


def test_attributes_of_functions_are_as_before():
    def loss():
        loss.count += 1

    loss.count = 0
    check(loss, loss, lambda: loss.count)


def test_defaults_partials_and_bound_methods_lead_to_what_they_hold():
    def loss(seen=[], *, more={}, hidden=torch.zeros(1)):  # noqa: B006, B008 - what is put back
        seen.append(1)
        more[len(more)] = 1
        hidden.add_(1)

    def read():
        return loss.__defaults__, loss.__kwdefaults__

    check(loss, loss, read)
    check(partial(loss), loss, read)
    held = Held([])
    held.loss = loss
    check(held, held.loss, read)
    given, named = [1], {"a": 1}
    bound = partial(lambda a, *, b: (a.append(1), b.update(c=1)), given, b=named)
    check(bound, bound, lambda: (given, named))


class Loss:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1

    method = __call__


def test_objects_that_are_losses_are_looked_into():
    loss = Loss()
    check(loss, loss, lambda: loss.calls)
    check(loss.method, loss, lambda: loss.calls)


# ---- generators, arrays, tensors ----

GENERATORS = {
    "torch": (lambda: torch.Generator().manual_seed(1), lambda g: torch.rand(1, generator=g)),
    "numpy": (lambda: np.random.default_rng(1), lambda g: g.random()),
    "numpy's bits": (lambda: np.random.PCG64(1), lambda g: g.random_raw()),
    "numpy's old": (lambda: np.random.RandomState(1), lambda g: g.random_sample()),
    "python": (lambda: random.Random(1), lambda g: g.random()),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_generator_draws_the_same_again(kind):
    make, draw = GENERATORS[kind]
    held = Held([make()])
    captured = around(held).capture()
    first = [float(draw(held.value[0])) for _ in range(3)]
    captured.restore()
    assert [float(draw(held.value[0])) for _ in range(3)] == first


def test_arrays_come_back_and_those_that_are_read_only_are_left():
    array, constant = np.arange(4.0), np.arange(4.0)
    constant.setflags(write=False)
    held = Held([array, constant])
    check(held, lambda: array.__imul__(2), lambda: array)
    assert held.value[0] is array


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([1.0, float("nan"), float("inf")]),
        torch.arange(3),
        torch.tensor([True, False]),
        torch.randn(2, dtype=torch.complex64),
        torch.ones(2, requires_grad=True),
        torch.ones(3, 2).t(),
        torch.zeros(0),
    ],
    ids=["nan", "integer", "bool", "complex", "leaf", "turned", "empty"],
)
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: [t], lambda t: (t,), lambda t: {"a": t}], ids=list("otld"))
def test_small_tensors_come_back_bit_for_bit(tensor, wrap):
    held = Held(wrap(tensor))
    before, version = tensor.detach().clone(), tensor._version
    captured = around(held).capture()
    captured.restore()
    assert tensor._version == version  # a graph may hold it
    with torch.no_grad():
        tensor.zero_() if tensor.dtype is not torch.bool else tensor.logical_not_()
    captured.restore()
    assert torch.equal(tensor.nan_to_num(), before.nan_to_num())


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
def test_tensors_of_awkward_kinds_are_no_trouble():
    with torch.inference_mode():
        inferred = torch.ones(2)
    held = Held(
        [
            inferred,
            torch.eye(2).to_sparse(),
            torch.eye(2).to_sparse_csr(),
            torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            torch.full((1,), float("nan")).expand(3),
            torch.ones(2, dtype=torch.bfloat16),
        ]
    )
    surroundings, before = around(held), list(held.value)
    marks = surroundings.marks()
    surroundings.capture().restore()
    assert not surroundings.moved(marks)
    assert all(a is b for a, b in zip(held.value, before, strict=True))


def test_a_large_tensor_is_captured_once_it_was_seen_to_move():
    held = Held(torch.zeros(SMALL + 1))
    surroundings = around(held)
    marks = surroundings.marks()
    assert not surroundings.capture().values
    assert not surroundings.moved(marks)
    held.value.add_(1)
    (item,) = surroundings.moved(marks)
    assert (item.name, item.tensor) == ("root.value", surroundings.moving[0])
    captured = surroundings.capture()
    held.value.add_(1)
    captured.restore()
    assert (held.value == 1).all()


def test_tensors_that_were_replaced_are_let_go():
    held = Held(torch.zeros(SMALL + 1))
    surroundings = around(held)
    for value in range(1, 4):
        marks = surroundings.marks()
        held.value = torch.full((SMALL + 1,), float(value))
        surroundings.moved(marks)
        assert [id(tensor) for tensor in surroundings.moving] == [id(held.value)]
    held.value.add_(1)
    assert surroundings.moved(surroundings.marks()) == []
    assert len(surroundings.moving) == 1


# ---- models ----


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.register_buffer("seen", torch.zeros(2))
        self.queue, self.count, self.spare = [], 0, None


def test_a_model_keeps_its_very_parameters_and_buffers():
    net = Net()
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    captured = around(net, *net.parameters(), name="model").capture()
    net.seen = torch.ones(2)
    net.norm.running_mean.add_(1)
    net.norm.register_buffer("fresh", torch.ones(1))
    net.layer.weight = nn.Parameter(torch.zeros(2, 2))
    net.queue.append(1)
    net.count, net.added = 3, 1
    net.layer.train(mode=False)
    captured.restore()
    assert dict(net.named_parameters()).keys() == parameters.keys()
    assert dict(net.named_buffers()).keys() == buffers.keys()
    assert all(p is parameters[name] for name, p in net.named_parameters())
    assert all(b is buffers[name] for name, b in net.named_buffers())
    assert float(net.norm.running_mean.sum()) == 0
    assert (net.queue, net.count, net.layer.training, hasattr(net, "added")) == ([], 0, True, False)


def test_hooks_of_modules_and_tensors_are_looked_into():
    net, calls = Net(), []
    net.layer.register_forward_hook(lambda *_: calls.append(1))
    net.layer.weight.register_hook(lambda grad: calls.append(grad.sum()))
    check(net, lambda: net.layer(torch.ones(1, 2)).sum().backward(), lambda: len(calls))


def test_what_moves_is_named_as_a_model_names_it():
    net = Net()
    net.queue = [torch.zeros(1)]
    surroundings = around(net, *net.parameters(), name="model")
    marks = surroundings.marks()
    net.seen.add_(1)
    net.norm.running_var.mul_(2)
    net.queue[0].add_(1)
    with torch.no_grad():
        net.layer.weight.add_(1)  # captured elsewhere
    assert sorted(item.name for item in surroundings.moved(marks)) == ["norm.running_var", "queue[0]", "seen"]


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: (t,), lambda t: [t], lambda t: {"h": t}, Held])
def test_a_state_that_is_handed_on_in_another_container_has_moved(wrap):
    net = Net()
    net.state = wrap(torch.zeros(2))
    surroundings = around(net, *net.parameters(), name="model")
    marks = surroundings.marks()
    net.state = wrap(torch.ones(2))
    (item,) = surroundings.moved(marks)
    assert item.name.startswith("state")
    item.put(torch.full((2,), 3.0))
    assert float(next(i for i in surroundings.items() if i.name == item.name).tensor.sum()) == 6


def test_a_tensor_that_a_graph_leads_to_is_no_state():
    net = Net()
    surroundings = around(net, *net.parameters(), name="model")
    marks = surroundings.marks()
    net.spare = net.layer(torch.ones(1, 2))
    assert not surroundings.moved(marks)


# ---- what is left alone, and what cannot be put back ----


def test_iterators_are_named_as_unrepeatable():
    def draw():
        yield 1

    held = Held({"gen": draw()})
    held.each, held.plain = iter([1, 2]), [1]
    assert sorted(around(held).unrepeatable) == ["root.each", "root.value['gen']"]
    assert not around(Held([1])).unrepeatable
    assert next(held.each) == 1  # nothing was drawn


def test_objects_of_libraries_are_left_alone():
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], 0.1)
    held = Held(optimizer)
    captured = around(held).capture()
    optimizer.param_groups[0]["lr"] = 0.5
    captured.restore()
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert not list(around(Held(np.random)).items())


def test_structures_that_lead_back_to_themselves_end():
    held = Held([])
    held.value += [held, held.value]
    check(held, lambda: held.value.append(1), lambda: len(held.value))


class Counted:
    """Counts for all its instances together."""

    calls = 0
    seen: ClassVar[list[int]] = []
    hidden = torch.zeros(1)

    def __call__(self):
        type(self).calls += 1
        self.seen.append(self.calls)
        self.hidden.add_(1)


class CountedModule(nn.Module, Counted):
    """The same of a model's class, by inheritance."""


@pytest.mark.parametrize("make", [Counted, CountedModule])
def test_what_instances_share_is_as_before(make):
    held, call = make(), Counted.__call__
    check(held, lambda: call(held), lambda: (make.calls, make.seen, make.hidden))
    check(lambda: call(held), lambda: call(held), lambda: (make.calls, make.seen, make.hidden))


def by_name():
    Counted.calls += 1


def test_classes_that_functions_name_are_looked_into():
    check(by_name, by_name, lambda: Counted.calls)
