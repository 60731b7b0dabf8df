"""On a GPU as on the CPU: every way to keep a window has one answer, in every precision, without waiting."""

import gc
import warnings
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal.hypergradient import Clipping, Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.gradient.products import EXACT
from ray_glocal.hypergradient.gradient.step import Carrier, pull_back_step
from ray_glocal.hypergradient.window.tape import Tape

from ..cases import Case, relative

PLENTY = 2**40
ROOMS = {"recomputed": 1, "few states": -PLENTY, "host": -1}  # bytes beyond a window's states; of the graphs' any

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
on_both = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, cuda])])


def tape_of(problem, length, way):
    """One that keeps what the way is called after; `host` keeps few states where there is no GPU."""
    room = max(0, problem.capture().nbytes * length + ROOMS[way]) if way in ROOMS else PLENTY
    products = "differences" if way == "differences" else "exact"
    return Tape(problem, length, room, PLENTY if way == "host" else 0, products=products)


def told(case, way, seed=3):
    """Lag trajectory, the window and its tape."""
    tape = tape_of(case.problem, len(case.batches), way)
    torch.manual_seed(seed)
    window = record_window(case.problem, case.batches, case.val_batches, case.problem.start_values(), tape=tape)
    return adjoint_trajectory(case.problem, window, products=tape.products).derivatives, window, tape


def apart(got, truth):
    return float((got - truth).norm() / truth.norm())


def tensors(state):
    return [*state.parameters, *state.buffers, *(t for held in state.slots for t in held.values())]


@on_both
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("model", ["mlp", "attention", "batchnorm-images", "dropout"])
def test_every_way_to_keep_a_window_has_one_answer(model, optimizer, device):
    truth, _, tape = told(Case.build(model, optimizer, device=device), "kept")
    assert tape.keeping.graphs or model == "attention" or device == "cuda"
    for way in ROOMS:
        found, window, tape = told(Case.build(model, optimizer, device=device), way)
        assert not tape.keeping.graphs
        assert relative(found, truth) < 1e-9
        assert tape.keeping.pinned == (way == "host" and device == "cuda")
        assert (tape.keeping.stride > 1) == (way == "few states" or (way == "host" and device == "cpu"))
        states = [tensor for s in window.snapshots if s.state is not None for tensor in tensors(s.state)]
        assert all(t.is_pinned() for t in states) == tape.keeping.pinned


@on_both
def test_differentiated_steps_draw_the_masks_of_the_recorded_ones(device):
    case = Case.build("dropout", "sgd", device=device)
    seen = []
    case.problem.model[2].register_forward_hook(
        lambda m, _, out: seen.append(out.detach() == 0) if m.training else None
    )
    case.problem.write_options(None, case.problem.start_values())
    torch.manual_seed(3)
    window = case.window()
    recorded, before = seen[:], draws(device)
    seen.clear()
    adjoint_trajectory(case.problem, window)
    assert len(seen) == len(recorded) == len(case.batches)
    assert all(torch.equal(a, b) for a, b in zip(reversed(seen), recorded, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen, recorded, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(draws(device), before, strict=True))


def draws(device):
    states = [torch.get_rng_state()]
    return states if device == "cpu" else [*states, torch.cuda.get_rng_state()]


def treated(case, dtype, device, **treatment):
    """A case whose losses run under autocast."""
    plain = case.problem

    def lower(loss):
        def wrapped(model, batch, hyper):
            with torch.autocast(device, dtype):
                return loss(model, batch, hyper)

        return wrapped

    losses = lower(plain.train_loss), lower(plain.val_loss)
    problem = Problem(plain.model, plain.optimizer, *losses, plain.hyperparameters, **treatment)
    return Case(problem, case.batches, case.val_batches)


@on_both
@pytest.mark.parametrize("model", ["mlp", "attention", "batchnorm"])
def test_autocast_changes_no_answer_beyond_its_rounding(model, device):
    build = lambda: Case.build(model, "sgd", dtype=torch.float32, device=device)  # noqa: E731
    truth = told(build(), "recomputed")[0]
    found = {way: told(treated(build(), torch.bfloat16, device), way)[0] for way in ("kept", "recomputed", "host")}
    assert all(apart(each, found["recomputed"]) < 1e-2 for each in found.values())
    assert apart(found["recomputed"], truth) < 0.2


@on_both
@pytest.mark.parametrize("clipping", [None, Clipping(norm=0.5)])
def test_overflowing_steps_under_autocast_are_no_steps(clipping, device):
    def build():
        scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
        case = Case.build("mlp", "sgd", dtype=torch.float32, device=device)
        return treated(case, torch.float16, device, scaler=scaler, clipping=clipping)

    case, fewer = build(), build()
    plain, odd = case.problem.train_loss, case.batches[2]
    case.problem.train_loss = lambda model, batch, hyper: (
        plain(model, batch, hyper) * (float("inf") if torch.equal(batch[0], odd[0]) else 1.0)
    )
    found, window, tape = told(case, "kept")
    assert [snapshot.taken for snapshot in window.snapshots] == [True, True, False, True, True, True]
    assert not tape.keeping.graphs
    fewer.batches.pop(2)
    truth = told(fewer, "kept")[0]
    assert apart(found[-1], truth[-1]) < 1e-2


@on_both
@pytest.mark.parametrize("model", ["mlp", "attention"])
def test_differences_come_near_exact_products_in_single_precision(model, device):
    build = lambda: Case.build(model, "adamw", dtype=torch.float32, device=device)  # noqa: E731
    truth, (found, _, tape) = told(build(), "recomputed")[0], told(build(), "differences")
    assert tape.products is not EXACT
    assert apart(found, truth) < 1e-2


@on_both
def test_an_optimizer_that_counts_its_steps_on_the_device_has_the_same_answer(device):
    plain, fused = (Case.build("mlp", "adamw", device=device) for _ in range(2))
    for group in fused.problem.optimizer.param_groups:
        group.update(fused=True, foreach=False)
    for case in (plain, fused):
        case.warm_up()
    if device == "cuda":
        assert next(iter(fused.problem.optimizer.state.values()))["step"].is_cuda
    assert fused.problem.capture().steps == plain.problem.capture().steps == (3,) * len(plain.problem.parameters)
    assert relative(told(fused, "kept")[0], told(plain, "kept")[0]) < 1e-8


def wide(device, way, width=512, steps=16, **treatment):
    """A window that is much larger than its batches: a problem, its batches, its values and its tape."""
    torch.manual_seed(0)
    layers = [nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 3)]
    model = nn.Sequential(*layers).to(device)
    hyper = [Hyperparameter("lr", 1e-3, scale="log"), Hyperparameter("weight", 1.0, scale="softplus")]
    loss = lambda model, batch, hyper: F.cross_entropy(model(batch[0]), batch[1]) * hyper["weight"]  # noqa: E731
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    problem = Problem(model, optimizer, loss, loss, hyper, **treatment)
    batch = torch.randn(8, width, device=device), torch.randint(3, (8,), device=device)
    values = problem.start_values()
    problem.advance(batch, values)  # the optimizer's buffers are there
    return problem, [batch] * steps, values, tape_of(problem, steps, way)


@pytest.mark.gpu
@cuda
def test_states_on_the_host_leave_the_device_alone():
    taken = {}
    for way in ("recomputed", "host"):
        problem, batches, values, tape = wide("cuda", way)
        states = problem.capture().nbytes * len(batches)
        gc.collect()
        before = torch.cuda.memory_allocated()
        window = record_window(problem, batches, batches[:1], values, tape=tape)
        taken[way] = torch.cuda.memory_allocated() - before
        torch.cuda.reset_peak_memory_stats()
        adjoint_trajectory(problem, window)
        taken[way, "peak"] = torch.cuda.max_memory_allocated() - before
        del window
    assert taken["recomputed"] > states
    assert taken["host"] < states / 4
    assert taken["host", "peak"] < taken["recomputed", "peak"] - states / 2


@contextmanager
def unwaiting(device):
    """Whatever waits for a GPU is an error."""
    try:
        if device == "cuda":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch says that it may miss some
                torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@on_both
@pytest.mark.parametrize("clipping", [None, Clipping(norm=0.5, value=0.1)])
@pytest.mark.parametrize("way", ["kept", "recomputed", "few states", "differences"])
def test_no_step_waits_for_the_device(way, clipping, device):
    problem, batches, values, tape = wide(device, way, width=32, steps=6, clipping=clipping)
    snapshots = [tape.step(batches[0], values, 0)[0]]  # finds out what can be kept, and may wait
    with unwaiting(device):
        snapshots += [tape.step(batch, values, place)[0] for place, batch in enumerate(batches[1:], 1)]
    state = problem.capture()
    window = record_window(problem, batches, batches[:1], values, tape=tape)
    adjoint_trajectory(problem, window, products=tape.products)  # one that may wait, for what torch sets up
    slots = tuple({name: torch.zeros_like(t) for name, t in held.items()} for held in state.slots)
    carrier = Carrier(tuple(torch.randn_like(p) for p in state.parameters), slots, ())
    known = [snapshot for snapshot in snapshots if snapshot.state is not None]
    with unwaiting(device):
        for snapshot in reversed(known):
            carrier, contribution = pull_back_step(problem, snapshot, carrier, tape.products)
    assert contribution
    assert all(part.isfinite().all() for part in contribution.values())
    assert len(known) == (2 if way == "few states" else 6)
