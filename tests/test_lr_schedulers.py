"""Facts about torch's learning-rate schedulers that have no public name. A torch that changes one fails here first."""

import ast
from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler

import ray_glocal
from ray_glocal.lr_schedulers import held, parts, taken, turns

PRIVATE = {"_schedulers", "_milestones"}
ROOT = Path(ray_glocal.__file__).parent


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], 0.5)


@pytest.fixture
def two(optimizer):
    return [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.5)]


def names(source):
    """Attributes of a module, and texts that may name one."""
    nodes = list(ast.walk(ast.parse(source)))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | texts


def test_no_other_module_uses_a_private_name_of_schedulers():
    using = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if names(path.read_text()) & PRIVATE}
    assert using == {"lr_schedulers.py"}


def test_a_sequence_holds_its_schedulers_and_goes_over_where_it_was_told(optimizer, two):
    sequence = lr_scheduler.SequentialLR(optimizer, two, milestones=[3])
    assert list(held(sequence)) == two
    assert turns(sequence) == [3]
    rates = []
    for _ in range(5):
        optimizer.step()
        rates.append(sequence.get_last_lr()[0])
        sequence.step()
    assert rates == pytest.approx([0.05, 0.2, 0.35, 0.5, 0.25]), "the second begins after three steps"


def test_a_chain_holds_its_schedulers(optimizer, two):
    chain = lr_scheduler.ChainedScheduler(two, optimizer)
    assert list(held(chain)) == two
    assert list(parts(chain)) == [chain, *two]


def test_a_sequence_within_a_chain_is_followed_to_its_end(optimizer, two):
    sequence = lr_scheduler.SequentialLR(optimizer, two, milestones=[3])
    third = lr_scheduler.ConstantLR(optimizer, 0.5, total_iters=2)
    assert list(parts(lr_scheduler.ChainedScheduler([sequence, third], optimizer)))[1:] == [sequence, *two, third]


@pytest.mark.parametrize(
    "build",
    [
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 9),
        lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [3]),
        lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer),
    ],
)
def test_any_other_holds_none(optimizer, build):
    scheduler = build(optimizer)
    assert held(scheduler) == ()
    assert list(parts(scheduler)) == [scheduler]


def test_a_scheduler_counts_the_steps_that_it_has_taken(optimizer, two):
    chain = lr_scheduler.ChainedScheduler(two, optimizer)
    assert taken(chain) == 0
    optimizer.step()
    chain.step()
    assert taken(chain) == 1
