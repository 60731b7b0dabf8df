"""What a checkpoint holds is restored exactly, or refused by its place before anything is written."""

import io
from collections import Counter, OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ray_glocal.errors import ArgumentError
from ray_glocal.session.state.plain import check_plain, decoded, encoded

from .cases import LIVELY, WAYS, Run, differences, drive, rows_of, state_of


def through_a_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


PLAIN = {
    "numbers": [1, 2.5, True, None, 1 + 2j, "text", b"bytes"],
    "torch's": [torch.Size([2]), torch.float16, torch.device("cpu"), torch.ones(2), nn.Parameter(torch.ones(2))],
    "nested": {"a": [(1, 2), {3: OrderedDict(x=1)}], "b": {1, 2}, "c": Counter([5, 5])},
}


@pytest.mark.parametrize("value", PLAIN.values(), ids=PLAIN)
def test_what_is_called_plain_loads_without_code(value):
    check_plain(value)
    assert differences(through_a_file(value), value) == []


ARRAYS = {
    "float64": np.linspace(0.2, 1, 5),
    "float32, two axes": np.arange(6, dtype=np.float32).reshape(2, 3),
    "not in order": np.arange(6.0).reshape(2, 3).T[::-1],
    "float16": np.float16([0.1, 0.2]),
    "int8": np.int8([-3, 4]),
    "uint64": np.uint64([2**63 + 1]),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "of no axis": np.array(3.0),
    "empty": np.zeros((0, 3)),
    "a number in single precision": np.float32(0.1),
    "an unsigned number": np.uint8(7),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_come_back_as_they_were(array):
    (back,) = decoded(through_a_file(encoded({"x": [array]})))["x"]
    assert type(back) is type(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


def test_an_array_that_comes_back_can_be_written_to():
    back = decoded(through_a_file(encoded(np.zeros(2))))
    back += 1
    assert back.tolist() == [1, 1]


class Warm:
    """A schedule as an object with a state of its own."""

    def __init__(self, **state):
        vars(self).update(table=np.linspace(0.2, 1, 30), share=np.float32(0.9), **state)

    def __call__(self, step):
        return float(self.table[min(step, 29)] * self.share)


def scheduled(settings=LIVELY, **state):
    run = Run(settings=settings)
    run.scheduler = LambdaLR(run.optimizer, Warm(**state))
    return run


@pytest.mark.parametrize("way", WAYS)
def test_a_schedule_with_an_array_is_restored_exactly(tmp_path, way):
    whole = scheduled(WAYS[way])
    session = whole.session()
    drive(session, session.batches(whole.loader))
    first = scheduled(WAYS[way])
    before = first.session()
    drive(before, before.batches(first.loader), 33)
    before.save(tmp_path)
    second = scheduled(WAYS[way])
    after = second.session()
    second.scheduler.lr_lambdas[0].table[:] = 7.0  # what was saved counts
    after.restore(tmp_path)
    drive(after, after.batches(second.loader))
    assert differences(state_of(whole.model, whole.optimizer), state_of(second.model, second.optimizer)) == []
    assert differences(rows_of(session), rows_of(after)) == []


class Odd(dict):
    """No plain dictionary."""


@pytest.mark.parametrize(
    ("state", "got"),
    [
        ({"f": np.cos}, "schedule/state/lr_lambdas/0/f is a numpy.ufunc"),
        ({"f": [0, {"g": print}]}, "schedule/state/lr_lambdas/0/f/1/g is a builtin_function_or_method"),
        ({"f": np.array(["a"])}, "schedule/state/lr_lambdas/0/f is a numpy.ndarray"),
        ({"f": Odd()}, f"schedule/state/lr_lambdas/0/f is a {Odd.__module__}.Odd"),
        ({"f": SimpleNamespace()}, "schedule/state/lr_lambdas/0/f is a types.SimpleNamespace"),
        ({"f": {np.float32(1): 2}}, "a key of schedule/state/lr_lambdas/0/f is a numpy.float32"),
    ],
    ids=["function", "nested", "array of text", "subclass", "object", "key"],
)
def test_what_could_not_be_restored_is_refused_by_its_place_and_nothing_is_written(tmp_path, state, got):
    session = scheduled(**state).session()
    text = (
        "`state` must be made of tensors, arrays, numbers and text, to be restored from a checkpoint; got "
        f"'{got}'. Hold it as one of those, or leave it out of what the object's state returns."
    )
    with pytest.raises(ArgumentError) as caught:
        session.save(tmp_path / "new")
    assert str(caught.value) == text
    assert not (tmp_path / "new").exists()


class Worded(nn.Module):
    """A module with a state beside its tensors."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


@pytest.mark.parametrize(
    ("state", "refused"), [({"words": ["a"]}, False), (SimpleNamespace(), True), ({"t": np.zeros(2)}, True)]
)
def test_so_is_a_state_of_the_models_own(tmp_path, state, refused):
    run = Run(settings=LIVELY)
    run.model.words = Worded(state)
    session = run.session()
    if not refused:
        session.save(tmp_path)
        session.restore(tmp_path)
        return
    with pytest.raises(ArgumentError, match=r"to be restored from a checkpoint; got 'model/words\._extra_state"):
        session.save(tmp_path)
    assert not list(tmp_path.iterdir())
