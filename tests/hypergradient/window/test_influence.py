"""Tensors that training changes: named where losses read them and they depend on the parameters, and only there."""

import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.engines.oracle import finite_differences
from ray_glocal.hypergradient.window.influence import carried
from ray_glocal.hypergradient.window.tape import Tape

TOLD = (
    "training changes {}, losses read what it holds then, and derivatives do not go through it: where that may be "
    "taken for a constant, say so by `constants=`"
)


class Net(nn.Module):
    """A layer beside a state that some subclass changes."""

    def __init__(self, state=None):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.state = torch.zeros(2, dtype=torch.float64) if state is None else state

    def forward(self, x):
        out = self.layer(x).tanh()
        if self.training:
            self.change(out.detach())
        return out + self.read()

    def change(self, out):
        """Move on."""

    def read(self):
        return 0.5 * self.state


class Handed(Net):
    def change(self, out):
        self.state = 0.5 * self.state + out.mean(0)


class Written(Net):
    def change(self, out):
        self.state.mul_(0.5).add_(out.mean(0))


class Unread(Handed):
    def read(self):
        return 0.0


class ReadInValidation(Handed):
    def read(self):
        return 0.0 if self.training else 0.5 * self.state


class Clock(Net):
    """Goes on whatever the parameters are."""

    def change(self, out):
        self.state = self.state + 0.1


class Counter(Net):
    def __init__(self):
        super().__init__(torch.zeros(2, dtype=torch.long))

    def change(self, out):
        self.state += 1


class Several(Handed):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(3, 2).requires_grad_(requires_grad=False)

    def change(self, out):
        super().change(out)
        for own, other in zip(self.teacher.parameters(), self.layer.parameters(), strict=True):
            own.data.lerp_(other.detach(), 0.2)

    def read(self):
        return super().read() + self.teacher.weight.sum(1)


def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def problem_of(kind, constants=()):
    torch.manual_seed(0)
    model = kind().double()
    optimizer = torch.optim.SGD(model.layer.parameters(), lr=0.5)
    return Problem(model, optimizer, loss, loss, [Hyperparameter("lr", 0.5, scale="log")], constants=constants)


def batches():
    generator = torch.Generator().manual_seed(1)
    return [tuple(torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (3, 2)) for _ in range(6)]


def window_of(problem, memory=None):
    tape = Tape(problem, 4, memory=memory)
    return record_window(problem, batches()[:4], batches()[4:], problem.start_values(), tape=tape)


@pytest.mark.parametrize("memory", [None, 0], ids=["graphs", "again"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Handed, "state"),
        (Written, "state"),
        (ReadInValidation, "state"),
        (Several, "state, teacher.bias, teacher.weight"),
    ],
)
def test_a_state_that_carries_a_derivative_is_named(kind, names, memory):
    problem = problem_of(kind)
    window = window_of(problem, memory)
    assert carried(problem, window) == TOLD.format(names)
    trajectory = adjoint_trajectory(problem, window)
    assert trajectory.trouble == TOLD.format(names)
    assert trajectory.derivatives.isnan().all()


@pytest.mark.parametrize("memory", [None, 0], ids=["graphs", "again"])
@pytest.mark.parametrize("kind", [Net, Unread, Clock, Counter])
def test_a_state_that_carries_none_is_a_constant(kind, memory):
    problem = problem_of(kind)
    values = problem.start_values()
    truth = finite_differences(problem, batches()[:4], batches()[4:], values, (1e-4,)).derivatives[0]
    window = window_of(problem, memory)
    assert carried(problem, window) == ""
    line = problem.pull_back(values, adjoint_trajectory(problem, window).derivatives)[-1]
    torch.testing.assert_close(line, truth, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("constants", [("state",), ("st*",), ("*",)])
def test_what_is_said_to_be_a_constant_is_one(constants):
    problem = problem_of(Handed, constants)
    assert carried(problem, window_of(problem)) == ""
    assert problem.judged == {frozenset(): ""}


def test_constants_of_other_names_change_nothing():
    problem = problem_of(Several, ("teacher.*",))
    assert carried(problem, window_of(problem)) == TOLD.format("state")


def test_a_set_of_tensors_is_tried_out_once_and_all_comes_back(monkeypatch):
    problem = problem_of(Several)
    window = window_of(problem)
    model = problem.model
    held = [*model.parameters(), model.state]
    before, drawn = [t.detach().clone() for t in held], torch.get_rng_state()
    told = carried(problem, window)
    assert all(a is b for a, b in zip(held, [*model.parameters(), model.state], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(held, before, strict=True))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert len(problem.judged) == 1
    monkeypatch.setattr(problem, "train_loss", None)
    assert carried(problem, window) == told


def test_the_trouble_of_a_step_goes_first():
    problem = problem_of(Net)
    window = window_of(problem)
    object.__setattr__(window.snapshots[2], "trouble", "so it is")
    assert carried(problem, window) == "so it is"
