"""Running statistics by whichever call: hypergradients against finite differences of real runs, or refused by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, forward_trajectory, record_window
from ray_glocal.hypergradient.engines.oracle import final_loss, finite_differences
from ray_glocal.hypergradient.problem.statistics import Exploration, Readings, Running, tracked, updated
from ray_glocal.hypergradient.window.tape import Tape

from ..cases import entropy

CHANNELS = 4


class Instances(nn.Module):
    """Instance normalisation of sequences."""

    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm1d(CHANNELS, affine=True, track_running_stats=True, momentum=0.4)

    def forward(self, x):
        return self.norm(torch.stack([x, x.square(), x.sin()], -1)).mean(-1)


class Own(nn.Module):
    """Buffers of the user's own, by whatever names, handed to torch's function."""

    def __init__(self, *, way="positions"):
        super().__init__()
        self.way = way
        self.register_buffer("average", torch.zeros(CHANNELS))
        self.register_buffer("spread", torch.ones(CHANNELS))
        self.gain = nn.Parameter(torch.ones(CHANNELS))

    def forward(self, x):
        if self.way == "positions":
            return F.batch_norm(x, self.average, self.spread, self.gain, None, self.training, 0.4)
        if self.way == "keywords":
            held = {"running_var": self.spread, "running_mean": self.average, "weight": self.gain}
            return F.batch_norm(input=x, training=self.training, momentum=0.4, **held)
        end = (0.4, 1e-5, False)
        return torch.batch_norm(x, self.gain, None, self.average, self.spread, self.training, *end)


class Conditional(nn.Module):
    """A normalisation for each kind of inputs."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm1d(CHANNELS, momentum=0.4) for _ in range(2))

    def forward(self, x):
        first, second = x.chunk(2)
        return torch.cat([self.norms[0](first), self.norms[1](second)])


class Squared(nn.BatchNorm1d):
    """A forward of its own around torch's."""

    def forward(self, x):
        return super().forward(x.square()) + super().forward(x)


class Folded(nn.BatchNorm1d):
    """Reads its statistics by its own formula where it is evaluated."""

    def forward(self, x):
        if self.training:
            return super().forward(x)
        scale = self.weight / torch.sqrt(self.running_var[None] + self.eps)
        return (x - torch.stack([self.running_mean] * len(x))) * scale + self.bias


class Detached(nn.BatchNorm1d):
    """Reads its statistics while it trains, as batch renormalisation does, in a list or by keyword."""

    def __init__(self, read):
        super().__init__(CHANNELS, momentum=0.4)
        self.read = read

    def forward(self, x):
        normed = super().forward(x)
        return normed - 0.5 * self.read(self) if self.training else normed


FOLLOWED = {
    "instances": Instances,
    "own buffers": Own,
    "own buffers by keyword": lambda: Own(way="keywords"),
    "own buffers by torch.batch_norm": lambda: Own(way="torch"),
    "conditional": Conditional,
    "subclass": lambda: Squared(CHANNELS, momentum=0.4),
    "own formula in validation": lambda: Folded(CHANNELS, momentum=0.4),
    "without scale": lambda: nn.BatchNorm1d(CHANNELS, affine=False, momentum=0.4),
    "cumulative": lambda: nn.BatchNorm1d(CHANNELS, momentum=None),
}
REFUSED = {
    "an attribute": lambda: Detached(lambda norm: norm.running_mean + 0),
    "a list": lambda: Detached(lambda norm: torch.stack([norm.running_mean]).sum(0)),
    "a keyword": lambda: Detached(lambda norm: torch.add(input=torch.zeros(CHANNELS), other=norm.running_mean)),
}


def problem_of(norm):
    torch.manual_seed(0)
    # No bias ahead of the normalisation: its gradient would be noise around zero.
    model = nn.Sequential(nn.Linear(3, CHANNELS, bias=False), norm, nn.Tanh(), nn.Linear(CHANNELS, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
    hyper = [Hyperparameter("lr", 0.3, scale="log"), Hyperparameter("momentum", 0.5, 0.0, 1.0, "logit")]
    return Problem(model, optimizer, entropy, entropy, hyper)


def data():
    return [(torch.randn(8, 3, dtype=torch.float64) + 1, torch.randint(2, (8,))) for _ in range(7)]


def window_of(problem, batches, tape):
    return record_window(problem, batches[:5], batches[5:], problem.start_values(), tape=tape)


@pytest.mark.parametrize("kind", FOLLOWED)
def test_statistics_are_in_the_derivative_whoever_keeps_them(kind):
    problem = problem_of(FOLLOWED[kind]())
    batches, values = data(), problem.start_values()
    truth = finite_differences(problem, batches[:5], batches[5:], values, (1e-4,)).derivatives[0]
    with problem.rewound():
        window = window_of(problem, batches, Tape(problem, 5))
        told = [engine(problem, window) for engine in (adjoint_trajectory, forward_trajectory)]
    assert [t.trouble for t in told] == ["", ""]
    for trajectory in told:
        line = problem.pull_back(values, trajectory.derivatives)[-1]
        torch.testing.assert_close(line, truth, rtol=1e-5, atol=1e-9)
    assert told[0].loss == pytest.approx(final_loss(problem, batches[:5], batches[5:], values), rel=1e-12)


@pytest.mark.parametrize("kind", REFUSED)
def test_statistics_that_a_training_loss_reads_itself_are_named(kind):
    problem = problem_of(REFUSED[kind]())
    window = window_of(problem, data(), Tape(problem, 5, say=lambda *_: None))
    for engine in (adjoint_trajectory, forward_trajectory):
        trajectory = engine(problem, window)
        assert trajectory.trouble == (
            "training changes 1.running_mean, 1.running_var, losses read what it holds then, and derivatives do not "
            "go through it: where that may be taken for a constant, say so by `constants=`"
        )
        assert trajectory.derivatives.isnan().all()


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(CHANNELS, momentum=0.3), Instances().norm], ids=["batch", "instance"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_readings_lead_to_the_statistics_that_torch_keeps(norm, dtype):
    norm = norm.to(dtype)
    statistics = tracked(norm)
    before = [norm.running_mean.clone(), norm.running_var.clone()]
    inputs = torch.randn(6, CHANNELS, 5, dtype=dtype)
    with Readings(statistics) as mode:
        norm(inputs)
        norm(inputs + 1)
    after = updated(before, mode.seen)
    torch.testing.assert_close(after, [norm.running_mean, norm.running_var])


def test_statistics_are_found_by_name_each_once_and_not_where_there_are_none():
    shared = nn.BatchNorm1d(2)
    model = nn.Sequential(shared, shared, nn.BatchNorm1d(2, track_running_stats=False), nn.InstanceNorm1d(2))
    (pair,) = tracked(model)
    assert pair.mean is shared.running_mean
    assert pair.variance is shared.running_var


def test_an_exploration_tells_those_that_are_unknown_from_those_that_are_read():
    known, unknown, frozen = nn.BatchNorm1d(CHANNELS), Own(), nn.BatchNorm1d(CHANNELS).eval()
    statistics = [Running(n.running_mean, n.running_var) for n in (known, frozen)]
    inputs = torch.randn(6, CHANNELS)
    with Exploration(statistics) as mode:
        known(inputs)
        unknown(inputs)
        frozen(inputs)
    assert mode.read == {1}
    (found,) = mode.unknown
    assert (found.mean is unknown.average, found.variance is unknown.spread) == (True, True)
    with Exploration(statistics) as mode:
        torch.cat([inputs, known.running_var[None]])
    assert mode.read == {0}
