"""Containers hold again what they held, in its order and by identity."""

import copy
from collections import OrderedDict, defaultdict, deque
from types import SimpleNamespace

import pytest
import torch

from ray_glocal.hypergradient.state.holders import (
    MISSING,
    Cell,
    Fixed,
    Global,
    Listed,
    Members,
    Named,
    Shared,
    Slotted,
)
from ray_glocal.hypergradient.tuning import MOST_ENTRIES

from .changes import Held, around, check


class Slots:
    __slots__ = ("first", "later")

    def __init__(self):
        self.first = 1


class Below(Slots):
    __slots__ = ("own",)


# ---- containers ----


def turned(held):
    key = next(iter(held))
    held[key] = held.pop(key)


CONTAINERS = {
    "list grows": ([1, 2], lambda v: v.append(3)),
    "list shrinks": ([1, 2], lambda v: v.pop(0)),
    "list item": ([1, 2], lambda v: v.__setitem__(0, 5)),
    "list turns": ([1, 2], lambda v: v.reverse()),
    "deque": (deque([1, 2]), lambda v: v.appendleft(3)),
    "deque of a length": (deque([1, 2], maxlen=2), lambda v: v.append(3)),
    "dict grows": ({"a": 1}, lambda v: v.update(b=2)),
    "dict shrinks": ({"a": 1}, lambda v: v.clear()),
    "dict item": ({"a": 1}, lambda v: v.update(a=2)),
    "dict turns": ({"a": 1, "b": 2}, turned),
    "dict key": ({"a": 1}, lambda v: v.update({"c": v.pop("a")})),
    "defaultdict": (defaultdict(list), lambda v: v["a"].append(1)),
    "OrderedDict": (OrderedDict(a=1, b=2), lambda v: v.move_to_end("a")),
    "set": ({1}, lambda v: v.add(2)),
    "nested": ([{"a": [1]}], lambda v: v[0]["a"].append(2)),
    "inside a tuple": (([1],), lambda v: v[0].append(2)),
    "large list": (list(range(MOST_ENTRIES + 5)), lambda v: v.extend([1, 2])),
    "large dict": (dict.fromkeys(range(MOST_ENTRIES + 5)), lambda v: v.update(a=1)),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_holds_again_what_it_held(kind):
    made, change = CONTAINERS[kind]
    for value in (copy.deepcopy(made), copy.deepcopy(made)):
        held = Held(value)
        check(held, lambda value=value: change(value), lambda held=held: held.value)
        assert held.value is value


@pytest.mark.parametrize("make", [Slots, Below])
def test_slots_are_filled_and_emptied_again(make):
    held = make()

    def change():
        held.first = 2
        held.later = 3

    check(held, change, lambda: (held.first, hasattr(held, "later")))


def test_attributes_that_were_added_removed_or_replaced_are_as_before():
    held = SimpleNamespace()
    root = Held(held)
    root.gone, inner = 1, root.value

    def change():
        root.value, root.fresh = None, 1
        del root.gone

    check(root, change, lambda: sorted(vars(root)))
    assert root.value is inner


def test_what_was_not_changed_is_not_written():
    class Watched(list):
        def clear(self):
            raise AssertionError

    held = Held(Watched([1]))
    around(held).capture().restore()


# ---- holders by themselves ----


def test_holders_give_their_entries_and_take_others():
    cell, space = (lambda x: lambda: x)(1).__closure__[0], {"a": 1}
    for holder, key in (
        (Listed([1]), 0),
        (Named({"a": 1}), "a"),
        (Global(space, "a"), None),
        (Cell(cell), None),
        (Slotted(Slots(), ("first",)), "first"),
        (Shared(type("Class", (), {"first": 1, "method": lambda self: 1})), "first"),
    ):
        assert holder.entries() == [(key, 1)]
        content = holder.content()
        holder.put(key, 2)
        assert holder.entries() == [(key, 2)]
        holder.refill(content)
        assert holder.entries() == [(key, 1)]
    fixed = Fixed((torch.zeros(2),))
    fixed.put(0, torch.ones(2))
    assert float(fixed.items[0].sum()) == 2
    assert Members({1}).entries() == []


def test_empty_cells_and_unbound_globals_have_no_entries():
    holder = Global({}, "name")
    assert holder.content() is MISSING
    assert not holder.entries()
    holder.refill(MISSING)
    assert not holder.namespace


def test_of_many_entries_there_are_none():
    many = range(MOST_ENTRIES + 1)
    for holder in (Listed(list(many)), Named(dict.fromkeys(many)), Fixed(tuple(many))):
        assert holder.entries() == []
