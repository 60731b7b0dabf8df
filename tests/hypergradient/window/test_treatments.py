"""What may lie between a loss and the optimizer's step: clipping, accumulation, scaling, and how windows are kept."""

import itertools

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import (
    Clipping,
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from ray_glocal.hypergradient.engines.oracle import finite_differences
from ray_glocal.hypergradient.window.tape import Tape

from ..cases import OPTIMIZERS, VARIANTS, Case, entropy, relative

CLIPPINGS = {
    "norm": Clipping(norm=0.3),
    "loose norm": Clipping(norm=1e3),
    "value": Clipping(value=0.05),
    "both": Clipping(norm=0.5, value=0.08),
}


def treated(model, optimizer="sgd", *, parts=1, steps=6, dtype=torch.float64, **treatment):
    """A case whose steps are of several micro-batches, and otherwise treated."""
    case = Case.build(model, optimizer, steps=steps * parts, dtype=dtype)
    plain = case.problem
    problem = Problem(
        plain.model,
        plain.optimizer,
        plain.train_loss,
        plain.val_loss,
        plain.hyperparameters,
        accumulate=parts,
        **treatment,
    )
    batches = case.batches if parts == 1 else [tuple(b) for b in zip(*[iter(case.batches)] * parts, strict=True)]
    return Case(problem, batches, case.val_batches)


ROOM = {
    "graphs": 10**9,
    "states": 2,
    "nothing": 0,
}  # bytes for a window; below ten, in copies of the state at each step


def trajectories(case, room="graphs"):
    """By both engines, from one window for which there is so much room."""
    copies = case.problem.capture().nbytes * len(case.batches) if ROOM[room] < 10 else 1
    tape = Tape(case.problem, len(case.batches), ROOM[room] * copies)
    window = record_window(case.problem, case.batches, case.val_batches, case.problem.start_values(), tape=tape)
    adjoint = adjoint_trajectory(case.problem, window, products=tape.products)
    return adjoint.derivatives, forward_trajectory(case.problem, window).derivatives, tape.keeping


@pytest.mark.parametrize("room", ROOM)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_clipped_steps_are_differentiated_as_differences_of_runs_tell(clipping, optimizer, room):
    case = treated("mlp", optimizer, clipping=CLIPPINGS[clipping])
    values = case.problem.start_values()
    exact = global_hypergradient(case.problem, case.batches, case.val_batches, values)
    told = finite_differences(case.problem, case.batches, case.val_batches, values, (1e-5,)).derivatives[0]
    in_coordinates = case.problem.pull_back(values, exact.derivatives)[-1]
    assert relative(in_coordinates[None], told[None]) < 1e-5
    adjoint, forward, _ = trajectories(case, room)
    assert relative(adjoint[-1:], exact.derivatives[-1:]) < 1e-10
    assert relative(forward[-1:], exact.derivatives[-1:]) < 1e-10


@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_copies_are_clipped_as_torch_clips(clipping):
    case = treated("mlp", clipping=CLIPPINGS[clipping])
    case.problem.differentiate(case.batches[0], case.problem.leaves(case.problem.start_values(), differentiable=False))
    gradients = [p.grad.clone() for p in case.problem.parameters]
    found = case.problem.clipping.clipped(gradients)
    case.problem.clipping.clip(case.problem.parameters)
    assert all(torch.equal(a, p.grad) for a, p in zip(found, case.problem.parameters, strict=True))


@given(st.floats(0.1, 3.0), st.floats(0.05, 2.0), st.integers(0, 2**31))
def test_the_derivative_of_clipping_is_that_of_autograd(norm, value, seed):
    generator = torch.Generator().manual_seed(seed)
    gradients, moved = (
        [torch.randn(s, generator=generator, dtype=torch.float64) for s in ((3, 2), (4,))] for _ in "ab"
    )
    clipping = Clipping(norm, value)
    leaves = [g.clone().requires_grad_() for g in gradients]
    torch.autograd.backward(clipping.clipped(leaves), moved)
    for found, leaf in zip(clipping.pull_back(gradients, moved), leaves, strict=True):
        torch.testing.assert_close(found, leaf.grad, rtol=1e-9, atol=1e-12)


def test_a_limit_that_clips_everything_away_is_refused():
    with pytest.raises(ArgumentError, match=r"`clipping.norm` must be positive; got 0.0. Leave it out not to clip."):
        Clipping(norm=0.0)


@pytest.mark.parametrize("room", ROOM)
@pytest.mark.parametrize("model", ["mlp", "dropout", "batchnorm", "unused"])
def test_accumulated_steps_are_those_of_the_joined_loss(model, room):
    case = treated(model, "sgd", parts=3, steps=4, clipping=Clipping(norm=0.5))
    torch.manual_seed(3)
    adjoint, forward, keeping = trajectories(case, room)
    assert relative(adjoint[-1:], forward[-1:]) < 1e-10
    joined = treated(model, "sgd", parts=1, steps=12, clipping=Clipping(norm=0.5))
    loss = joined.problem.train_loss

    def mean(model, batch, hyper):
        return sum(loss(model, part, hyper) for part in batch) / 3

    joined.problem.train_loss = mean
    torch.manual_seed(3)
    truth, _, _ = trajectories(Case(joined.problem, case.batches, case.val_batches))
    assert relative(adjoint, truth) < 1e-10
    assert (keeping.graphs, keeping.stride) == (room == "graphs", 2 if room == "nothing" else 1)


def test_what_is_no_sequence_of_micro_batches_is_refused():
    case = treated("mlp", parts=3, steps=4)
    values = case.problem.start_values()
    for batch, got in ((case.batches[0][:2], "2"), (7, "int")):
        with pytest.raises(
            ArgumentError, match=rf"`batch` must be a sequence of 3 micro-batches; got '?{got}'?. `sess"
        ):
            case.problem.advance(batch, values)
    with pytest.raises(ArgumentError, match="`accumulate` must be at least 1; got 0"):
        treated("mlp", parts=0)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("model", ["mlp", "attention", *sorted(VARIANTS)])
def test_states_that_were_given_up_are_computed_again_bit_for_bit(model, optimizer):
    whole, some = (treated(model, optimizer, steps=7) for _ in range(2))
    torch.manual_seed(3)
    truth = trajectories(whole, "states")
    torch.manual_seed(3)
    told = trajectories(some, "nothing")
    assert told[2].stride == 3
    assert truth[2].stride == 1
    for a, b in zip(told[:2], truth[:2], strict=True):
        assert relative(a, b) < 1e-12


def scaled(case, *, overflow=()):
    """A gradient scaler on the CPU, and losses that overflow at some steps."""
    count, loss = itertools.count(), case.problem.train_loss

    def train_loss(model, batch, hyper):
        value = loss(model, batch, hyper)
        return value * float("inf") if next(count) in overflow else value

    case.problem.train_loss = train_loss
    return case


@pytest.mark.parametrize("clipping", [None, Clipping(norm=0.3)])
def test_scaled_losses_change_no_derivative(clipping):
    truth = trajectories(treated("mlp", "adamw", clipping=clipping))[0]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    case = treated("mlp", "adamw", clipping=clipping, scaler=scaler)
    found, forward, keeping = trajectories(case)
    assert not keeping.graphs
    assert relative(found, truth) < 1e-9
    assert relative(forward[-1:], truth[-1:]) < 1e-9


def test_steps_that_the_scaler_leaves_out_are_no_steps():
    case = treated("mlp", "sgd", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10))
    plain = case.problem.train_loss
    odd = case.batches[2]

    def train_loss(model, batch, hyper):
        value = plain(model, batch, hyper)
        return value * float("inf") if torch.equal(batch[0], odd[0]) else value

    case.problem.train_loss = train_loss
    values = case.problem.start_values()
    window = record_window(case.problem, case.batches, case.val_batches, values)
    assert [snapshot.taken for snapshot in window.snapshots] == [True, True, False, True, True, True]
    found = adjoint_trajectory(case.problem, window).derivatives[-1]
    fewer = Case.build("mlp", "sgd")
    fewer.batches.pop(2)
    truth = trajectories(fewer)[0][-1]
    assert relative(found[None], truth[None]) < 1e-10


def alone(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hyper = [Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")]
    return Problem(model, optimizer, entropy, entropy, hyper)


def test_layers_without_a_second_derivative_are_refused():
    with pytest.raises(ArgumentError, match="`model` must have layers with a second derivative; got 'SyncBatchNorm'"):
        alone(nn.Sequential(nn.Linear(6, 8), nn.SyncBatchNorm(8)))


def test_parameters_in_parts_are_refused(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        model = nn.Linear(6, 3)
        parts = distribute_tensor(model.weight.detach(), init_device_mesh("cpu", (1,)), [Replicate()])
        model.weight = nn.Parameter(parts)
        with pytest.raises(ArgumentError, match=r"hold its parameters whole on every rank; got .parts of them.\. Wrap"):
            alone(model)
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="this torch cannot set compilation aside")
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_compiled_model_that_computes_something_else_is_refused(factor):
    def backend(graph, inputs):
        return lambda *given: tuple(factor * out for out in graph(*given))

    torch.manual_seed(0)
    problem = alone(torch.compile(nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)), backend=backend))
    batch = torch.randn(8, 6), torch.arange(8) % 3
    tape = Tape(problem, 4)
    if factor == 1:
        tape.step(batch, problem.start_values(), 0)
        return
    with pytest.raises(
        ArgumentError, match=r"`model` must compute the same compiled and eagerly; got 'a relative diff"
    ):
        tape.step(batch, problem.start_values(), 0)
