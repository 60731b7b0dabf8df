"""A window is plain training that leaves no trace besides its record."""

import gc
import random
import weakref
from typing import ClassVar

import numpy as np
import pytest
import torch

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import (
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from ray_glocal.hypergradient.engines.oracle import final_loss, finite_differences
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.hypergradient.window.tape import Tape
from ray_glocal.hypergradient.window.window import Window

from ..cases import OPTIMIZERS, Case, draw, entropy, mlp, relative


def everything(problem):
    """All that a user could find changed, as plain comparable data."""
    optimizer, model = problem.optimizer, problem.model
    return {
        "parameters": [p.detach().clone() for p in model.parameters()],
        "buffers": [b.clone() for b in model.buffers()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "identity": [id(p.grad) for p in model.parameters()] + [id(group) for group in optimizer.param_groups],
        "state": [
            {k: v.clone() if torch.is_tensor(v) else v for k, v in optimizer.state.get(p, {}).items()}
            for p in model.parameters()
        ],
        "options": [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups],
        "modes": [module.training for module in model.modules()],
        "requires": [p.requires_grad for p in model.parameters()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "kernels": (torch.backends.cudnn.enabled, torch.is_grad_enabled()),
    }


def same(left, right):
    if torch.is_tensor(left):
        return torch.is_tensor(right) and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return left == right


def noisy(case):
    """Draw from every global generator inside the loss, as augmentation does."""
    plain = case.problem.train_loss

    def loss(model, batch, hyper):
        shift = np.random.rand() + random.random()  # noqa: NPY002
        return plain(model, (batch[0] + 0.01 * shift, batch[1]), hyper)

    case.problem.train_loss = loss
    return case


@pytest.mark.parametrize(
    ("variant", "optimizer"),
    [*(("dropout", name) for name in OPTIMIZERS), ("mlp", "adam"), ("batchnorm", "sgd"), ("unused", "rmsprop")],
)
def test_nothing_is_left_behind(variant, optimizer):
    case = noisy(Case.build(variant, optimizer, steps=4))
    problem, values = case.problem, case.problem.start_values()
    case.warm_up(2)
    problem.model[0].eval() if variant != "unused" else problem.model.spare.eval()  # a mode of its own
    window = record_window(problem, case.batches, case.val_batches, values)
    shifted = problem.to_values(problem.to_line(values) + 0.1)
    before = everything(problem)
    for work in (
        lambda: forward_trajectory(problem, window),
        lambda: adjoint_trajectory(problem, window),
        lambda: global_hypergradient(problem, case.batches, case.val_batches, values),
        lambda: final_loss(problem, case.batches, case.val_batches, shifted),
        lambda: finite_differences(problem, case.batches[:1], case.val_batches, values, (1e-3,)),
    ):
        work()
        after = everything(problem)
        for name in before:
            assert same(before[name], after[name]), name


def test_everything_comes_back_when_a_loss_raises():
    case = noisy(Case.build("dropout", "adam", steps=3))
    problem, values = case.problem, case.problem.start_values()
    window = record_window(problem, case.batches, case.val_batches, values)

    def broken(model, batch, hyper):
        model(batch[0])
        raise RuntimeError("no more")

    problem.val_loss = broken
    before = everything(problem)
    for work in (forward_trajectory, adjoint_trajectory):
        with pytest.raises(RuntimeError, match="no more"):
            work(problem, window)
        assert same(before, everything(problem))
    with pytest.raises(RuntimeError, match="no more"):
        final_loss(problem, case.batches, case.val_batches, values)
    assert same(before, everything(problem))


@pytest.mark.parametrize(
    ("variant", "optimizer"),
    [
        *(("dropout", name) for name in OPTIMIZERS),
        *(("attention", "adamw"), ("gru", "adamw"), ("batchnorm", "sgd"), ("unused", "rmsprop")),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_a_recorded_window_trains_as_a_plain_loop_bit_for_bit(variant, optimizer, kept):
    ours, plain = (noisy(Case.build(variant, optimizer, steps=5)) for _ in range(2))
    hyper = {h.name: h.value for h in plain.problem.hyperparameters}
    group = plain.problem.optimizer.param_groups[0]
    for name, value in hyper.items():
        if name in group:
            group[name] = float(value)
    if "betas" in group:
        group["betas"] = (float(hyper["beta1"]), float(hyper["beta2"]))
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    ours_start = Randomness.capture()
    for batch in plain.batches:
        plain.problem.optimizer.zero_grad()
        plain.problem.train_loss(plain.problem.model, batch, hyper).backward()
        plain.problem.optimizer.step()
    truth = everything(plain.problem)
    ours_start.restore()
    tape = Tape(ours.problem, 5) if kept else None
    for chunk in (ours.batches[:2], ours.batches[2:]):
        window = record_window(ours.problem, chunk, ours.val_batches, ours.problem.start_values(), tape=tape)
        adjoint_trajectory(ours.problem, window)
        forward_trajectory(ours.problem, window)
    found = everything(ours.problem)
    # The group remembers which rate its `lr` is a multiple of; torch ignores the key.
    assert all(options.pop("adapted_lr") == float(hyper["lr"]) for options in found["options"])
    for name in truth.keys() - {"identity"}:
        assert same(truth[name], found[name]), name


def scheduled_run(rate, batches, val_batches, windows=1):
    """Train under a cosine schedule from a rate that the optimizer was not built with."""
    torch.manual_seed(2)
    model = mlp().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4, momentum=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    problem = Problem(model, optimizer, entropy, entropy, [Hyperparameter("lr", rate, scale="log")])
    values = problem.start_values()
    problem.write_options(None, values)
    snapshots = []
    for batch in batches:
        snapshots.append(problem.snapshot(batch, values, problem.capture()))
        problem.advance(batch, values)
        schedule.step()
    return problem, Window(tuple(snapshots), problem.capture(), val_batches)


def test_the_factor_of_a_schedule_is_in_the_derivative():
    batches, val_batches = draw((6,), 12, 8, torch.float64, "cpu"), draw((6,), 2, 16, torch.float64, "cpu")
    problem, window = scheduled_run(0.2, batches, val_batches)
    rates = [snapshot.options[0]["lr"] for snapshot in window.snapshots]
    factors = [(1 + np.cos(np.pi * t / 20)) / 2 for t in range(12)]
    np.testing.assert_allclose(rates, 0.2 * np.array(factors), rtol=1e-12)

    def loss(rate):
        problem, window = scheduled_run(rate, batches, val_batches)
        return problem.mean_val_loss(val_batches, window.values)

    truth = torch.tensor([(loss(0.2 + 1e-5) - loss(0.2 - 1e-5)) / 2e-5], dtype=torch.float64)
    for trajectory in (adjoint_trajectory(problem, window), forward_trajectory(problem, window)):
        assert relative(trajectory.derivatives[-1], truth) < 1e-6


def scheduled_problem(rate=0.4):
    model = mlp().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    return Problem(model, optimizer, entropy, entropy, [Hyperparameter("lr", rate)]), schedule


def test_the_rate_moves_and_the_factor_stays():
    problem, schedule = scheduled_problem()
    batches = draw((6,), 2, 8, torch.float64, "cpu")
    group = problem.optimizer.param_groups[0]
    problem.advance(batches[0], problem.start_values())
    schedule.step()
    first = problem.start_values()
    record_window(problem, batches, batches, first)
    assert group["lr"] == pytest.approx(0.2)
    second = {"lr": torch.tensor(0.1, dtype=torch.float64)}
    problem.write_options(first, second)
    assert group["lr"] == pytest.approx(0.05)
    for _ in range(3):  # a window that starts at the rate in force changes nothing, however often
        record_window(problem, batches, batches, second)
        assert group["lr"] == pytest.approx(0.05)
    schedule.step()
    record_window(problem, batches, batches, second)
    assert group["lr"] == pytest.approx(0.025)
    assert group["initial_lr"] == 0.4


def test_the_rate_so_far_travels_with_the_optimizers_state():
    problem, schedule = scheduled_problem()
    batches = draw((6,), 2, 8, torch.float64, "cpu")
    problem.advance(batches[0], problem.start_values())
    schedule.step()
    kept = problem.optimizer.state_dict()
    lower = {"lr": torch.tensor(0.1, dtype=torch.float64)}
    problem.write_options(None, lower)
    moved = problem.optimizer.state_dict()
    problem.optimizer.load_state_dict(kept)
    problem.write_options(None, lower)
    assert problem.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    other, _ = scheduled_problem()
    other.optimizer.load_state_dict(moved)
    other.write_options(None, lower)
    assert other.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_a_new_problem_takes_the_optimizer_as_it_finds_it():
    problem, _ = scheduled_problem(0.1)
    problem.write_options(None, problem.start_values())
    group = problem.optimizer.param_groups[0]
    group["lr"] = group["initial_lr"] = 0.3
    again = Problem(problem.model, problem.optimizer, entropy, entropy, [Hyperparameter("lr", 0.2)])
    assert "adapted_lr" not in group
    again.write_options(None, again.start_values())
    assert group["lr"] == pytest.approx(0.2)


def test_a_group_built_with_another_rate_starts_at_the_hyperparameters():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    problem = Problem(model, optimizer, entropy, entropy, [Hyperparameter("lr", 0.25)])
    problem.write_options(None, problem.start_values())
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_warm_up_that_starts_at_zero_has_a_first_step_without_derivative():
    torch.manual_seed(0)
    model = mlp().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: t / 4)
    problem = Problem(model, optimizer, entropy, entropy, [Hyperparameter("lr", 0.3)])
    batches = draw((6,), 3, 8, torch.float64, "cpu")
    window = record_window(problem, batches[:1], batches[1:], problem.start_values())
    assert float(adjoint_trajectory(problem, window).derivatives) == 0.0
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_momentum_that_was_switched_off_leaves_a_buffer_that_no_derivative_follows():
    case_model = mlp().double()
    optimizer = torch.optim.SGD(case_model.parameters(), lr=0.1, momentum=0.9)
    problem = Problem(case_model, optimizer, entropy, entropy, [Hyperparameter("lr", 0.1)])
    batches = draw((6,), 6, 8, torch.float64, "cpu")
    record_window(problem, batches[:2], batches[:1], problem.start_values())
    optimizer.param_groups[0]["momentum"] = 0.0
    window = record_window(problem, batches, batches[:1], problem.start_values())
    forward, adjoint = forward_trajectory(problem, window), adjoint_trajectory(problem, window)
    torch.testing.assert_close(forward.derivatives[-1], adjoint.derivatives[-1], rtol=1e-10, atol=0)


def test_a_window_of_no_batches_is_refused():
    case = Case.build("mlp", "sgd")
    with pytest.raises(ArgumentError, match="`batches` must hold at least one batch"):
        record_window(case.problem, [], case.val_batches, case.problem.start_values())


@pytest.mark.parametrize("engine", [adjoint_trajectory, forward_trajectory])
def test_a_window_at_a_rate_of_zero_is_refused(engine):
    problem = Case.build("mlp", "sgd").problem
    batches = draw((6,), 2, 8, torch.float64, "cpu")
    nothing = {**problem.start_values(), "lr": torch.zeros((), dtype=torch.float64)}
    window = record_window(problem, batches, batches, nothing)
    with pytest.raises(ArgumentError, match=r"`values` must hold learning rates other than zero.*small positive rate"):
        engine(problem, window)


def test_snapshots_are_copies():
    case = Case.build("batchnorm", "adam")
    window = case.window()
    kept = [tensor.clone() for tensor in tensors_of(window)]
    for _ in range(2):
        case.window()
    assert all(torch.equal(a, b) for a, b in zip(kept, tensors_of(window), strict=True))


def tensors_of(window):
    states = [*(snapshot.state for snapshot in window.snapshots), window.end]
    return [
        t
        for state in states
        for t in (*state.parameters, *state.buffers, *(b for held in state.slots for b in held.values()))
    ]


def live_tensors():
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


class Watched(torch.autograd.Function):
    """The identity, known to a set for as long as its node of the graph lives."""

    nodes: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    @staticmethod
    def forward(ctx, x):
        Watched.nodes.add(ctx)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_the_watch_sees_a_leak():
    weight = torch.ones(3, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        loss = Watched.apply(weight.exp().sum()).square()
        (weight.grad,) = torch.autograd.grad(loss, weight, create_graph=True)  # a cycle through the graph
        del loss
        assert len(Watched.nodes) == 1
    finally:
        gc.enable()
        weight.grad = None
    assert len(Watched.nodes) == 0


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("model", "optimizer"), [("mlp", "adamw"), ("attention", "sgd"), ("batchnorm", "rmsprop")])
def test_windows_leave_nothing_behind_even_without_garbage_collection(model, optimizer, kept):
    case = Case.build(model, optimizer, steps=2)
    plain, values = case.problem.train_loss, case.problem.start_values()
    # Squared, so that the graph of the gradient holds the node, too.
    case.problem.train_loss = lambda model, batch, hyper: Watched.apply(plain(model, batch, hyper)).square()

    tape = Tape(case.problem, 2) if kept else None

    def work():
        window = record_window(case.problem, case.batches, case.val_batches[:1], values, tape=tape)
        forward_trajectory(case.problem, window)
        adjoint_trajectory(case.problem, window)
        final_loss(case.problem, case.batches[:1], case.val_batches[:1], values)

    work()
    gc.collect()
    gc.disable()
    try:
        work()
        before = live_tensors()
        for _ in range(20):
            work()
        assert live_tensors() == before
        assert len(Watched.nodes) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("draws", [torch.rand, lambda n: torch.from_numpy(np.random.rand(n)), None])  # noqa: NPY002
def test_randomness_survives_plain_data(draws, tmp_path):
    draws = draws or (lambda n: torch.tensor([random.random() for _ in range(n)] + [random.gauss(0, 1)]))
    np.random.randn(3)  # noqa: NPY002 - leaves half a Gaussian pair behind
    random.gauss(0, 1)
    kept = Randomness.capture()
    truth = draws(5)
    torch.save(kept.as_plain(), tmp_path / "randomness.pt")
    loaded = Randomness.from_plain(torch.load(tmp_path / "randomness.pt", weights_only=True))
    for state in (kept, loaded):
        state.restore()
        assert torch.equal(draws(5), truth)
