"""A run that was saved, thrown away and restored is the run that was not, bit for bit."""

import random
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, RandomSampler

from .cases import LIVELY, SCHEDULES, SECONDS, WAYS, Run, dataset, differences, drive, rows_of, seed_all, state_of

MOMENTS = {
    "before the first step": 0,
    "in the search": 4,
    "when the search's window has closed": 6,
    "in a later window": 43,
    "between windows": 35,
    "at the end of an epoch": 36,
    "at a report": 40,
    "one step before the end": 99,
}


def undisturbed(**arguments):
    run = Run(**arguments)
    session = run.session()
    reports = drive(session, session.batches(run.loader))
    return ending(run, session, reports)


def ending(run, session, reports):
    return {
        "state": state_of(run.model, run.optimizer),
        "rows": rows_of(session),
        "reports": reports,
        "values": dict(session.values),
        "metrics": {k: v for k, v in session.metrics().items() if k not in SECONDS},
        "own": [g.get_state() for g in [run.generator] if g is not None],
    }


def interrupted(folder, at, **arguments):
    """Save at each of some steps, and go on each time in a process-like fresh set of objects."""
    reports, run = [], Run(**arguments)
    session = run.session()
    for step in at:
        reports += drive(session, session.batches(run.loader), step)
        session.save(folder / str(step))
        run = Run(**arguments)
        seed_all(step + 100)  # a fresh process has other random states, and other weights
        with torch.no_grad():
            for parameter in run.model.parameters():
                parameter.fill_(0.123)
        session = run.session()
        session.restore(folder / str(step))
    reports += drive(session, session.batches(run.loader))
    return ending(run, session, reports)


@pytest.fixture(scope="module")
def truths():
    """Undisturbed runs, each made once."""
    known = {}

    def truth(**arguments):
        key = tuple(sorted((k, str(v)) for k, v in arguments.items()))
        if key not in known:
            known[key] = undisturbed(**arguments)
        return known[key]

    return truth


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adamw", marks=pytest.mark.slow)])
def test_at_every_kind_of_moment(tmp_path, truths, moment, optimizer, way):
    arguments = {"optimizer_name": optimizer, "settings": WAYS[way]}
    truth = truths(**arguments)
    assert {"act", "hold"} <= {row["gate"] for row in truth["rows"]}
    assert differences(truth, interrupted(tmp_path, [MOMENTS[moment]], **arguments)) == []


@pytest.mark.parametrize("way", WAYS)
def test_again_and_again(tmp_path, truths, way):
    arguments = {"settings": WAYS[way]}
    assert differences(truths(**arguments), interrupted(tmp_path, [3, 7, 8, 20, 41, 42, 77], **arguments)) == []


OFTEN = ("multistep", "warm-up and cosine", "one cycle")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("schedule", [s if s in OFTEN else pytest.param(s, marks=pytest.mark.slow) for s in SCHEDULES])
def test_within_every_schedule(tmp_path, truths, schedule, way):
    arguments = {"schedule": schedule, "settings": WAYS[way]}
    assert differences(truths(**arguments), interrupted(tmp_path, [7, 45], **arguments)) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_a_loader_that_owns_its_generator(tmp_path, truths, dtype, way):
    arguments = {"own_generator": True, "optimizer_name": "rmsprop", "dtype": dtype, "settings": WAYS[way]}
    assert differences(truths(**arguments), interrupted(tmp_path, [20, 43], **arguments)) == []


@pytest.mark.parametrize("way", WAYS)
def test_with_a_sampler_that_owns_the_generator(tmp_path, way):
    def start():
        run = Run(settings=WAYS[way])
        data = dataset(96, run.dtype, 1)
        run.generator = torch.Generator().manual_seed(5)
        run.loader = DataLoader(data, batch_size=16, sampler=RandomSampler(data, generator=run.generator))
        return run, run.session()

    run, session = start()
    truth = ending(run, session, drive(session, session.batches(run.loader)))
    run, session = start()
    reports = drive(session, session.batches(run.loader), 40)
    session.save(tmp_path)
    run, session = start()
    session.restore(tmp_path)
    assert differences(truth, ending(run, session, reports + drive(session, session.batches(run.loader)))) == []


def test_with_a_generator_that_the_loss_draws_from_as_well(tmp_path):
    """Between epochs a loader's generator stands where its own draws left it; here the loss moves it on."""

    def start():
        run = Run(own_generator=True)

        def loss(model, batch):
            shift = 0.01 * torch.rand((), generator=run.generator, dtype=torch.float64)
            return F.cross_entropy(model(batch[0] + shift), batch[1])

        run.train = loss
        return run, run.session()

    run, session = start()
    # Differentiating a window would draw from that generator, too, so no window is opened.
    session._adaptation.recorder.wants = lambda step, searching: False
    truth = ending(run, session, drive(session, session.batches(run.loader)))
    run, session = start()
    session._adaptation.recorder.wants = lambda step, searching: False
    reports = drive(session, session.batches(run.loader), 40)
    session.save(tmp_path)
    run, session = start()
    session._adaptation.recorder.wants = lambda step, searching: False
    session.restore(tmp_path)
    assert differences(truth, ending(run, session, reports + drive(session, session.batches(run.loader)))) == []


def test_with_workers_that_draw(tmp_path):
    def start():
        run = Run(total=30)
        run.loader = DataLoader(dataset(96, run.dtype, 1), batch_size=16, shuffle=True, num_workers=1)
        return run, run.session()

    run, session = start()
    truth = ending(run, session, drive(session, session.batches(run.loader)))
    run, session = start()
    reports = drive(session, session.batches(run.loader), 10)
    session.save(tmp_path)
    run, session = start()
    session.restore(tmp_path)
    assert differences(truth, ending(run, session, reports + drive(session, session.batches(run.loader)))) == []


def shaken(run):
    """A loss that explodes for a while, so that the session retreats."""
    run.count = 0

    def loss(model, batch):
        run.count += 1
        value = F.cross_entropy(model(batch[0]), batch[1])
        return value * (1 + 60 * float(len(batch[0]) == 15))

    return loss


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [23, 24, 25])
def test_around_a_retreat(tmp_path, at, way):
    """Batches of 15 bring a burst of huge losses in the steps up to 24; there the session goes back."""

    def start():
        run = Run(settings=WAYS[way])
        run.train = shaken(run)
        data = dataset(24 * 16 + 16 * 80, run.dtype, 1)
        inputs, labels = data.tensors
        batches = [(inputs[i * 16 : i * 16 + 16], labels[i * 16 : i * 16 + 16]) for i in range(100)]
        run.loader = [(x[:15], y[:15]) if 16 <= i < 24 else (x, y) for i, (x, y) in enumerate(batches)]
        return run, run.session()

    run, session = start()
    truth = ending(run, session, drive(session, session.batches(run.loader)))
    assert "roll back" in {row["gate"] for row in truth["rows"] if row["step"] == 24}
    run, session = start()
    reports = drive(session, session.batches(run.loader), at)
    session.save(tmp_path)
    run, session = start()
    session.restore(tmp_path)
    assert differences(truth, ending(run, session, reports + drive(session, session.batches(run.loader)))) == []


@pytest.mark.parametrize("way", WAYS)
def test_the_loop_may_ask_for_its_batches_again(truths, way):
    """Leaving the loop and entering it anew goes on in the middle of the epoch."""
    run = Run(settings=WAYS[way])
    session = run.session()
    reports = drive(session, session.batches(run.loader), 40)
    reports += drive(session, session.batches(run.loader), 63)
    reports += drive(session, session.batches(run.loader))
    assert differences(truths(settings=WAYS[way]), ending(run, session, reports)) == []


@pytest.mark.parametrize("way", WAYS)
def test_saving_changes_nothing(tmp_path, truths, way):
    run = Run(settings=WAYS[way])
    session = run.session()
    batches, reports = session.batches(run.loader), []
    for step in range(1, 101):
        reports += drive(session, batches, step)
        if step % 3 == 0:
            session.save(tmp_path / "same")
    assert differences(truths(settings=WAYS[way]), ending(run, session, reports)) == []


def test_the_forward_engine_resumes_as_well(tmp_path):
    arguments = {"settings": replace(LIVELY, engine="forward"), "total": 40}
    assert differences(undisturbed(**arguments), interrupted(tmp_path, [28], **arguments)) == []


def test_a_checkpoint_can_be_packaged_and_is_removed_by_the_next(tmp_path):
    run = Run()
    session = run.session()
    drive(session, session.batches(run.loader), 4)
    first = session.checkpoint()
    resume, *others = sorted(p.name for p in first.iterdir())
    assert others == ["session.pt", "trace.parquet"]
    assert re.fullmatch(r"resume-[0-9a-f]{12}\.pt", resume)
    second = session.checkpoint()
    assert not first.exists()
    assert second.exists()
    session.close()
    session.close()
    assert not second.exists()


def test_a_save_cut_short_leaves_the_one_before(tmp_path, monkeypatch):
    """Overwriting one folder: the trace is newer then, and its later rows are dropped."""
    run = Run()
    session = run.session()
    drive(session, session.batches(run.loader), 50)
    session.save(tmp_path)
    rows = rows_of(session)
    drive(session, session.batches(run.loader), 90)

    def full_disk(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full_disk)
        with pytest.raises(OSError, match="no space left"):
            session.save(tmp_path)
    assert pq.read_table(tmp_path / "trace.parquet").num_rows > len(rows)
    fresh = Run().session()
    fresh.restore(tmp_path)
    assert fresh.step_count == 50
    assert differences(rows, rows_of(fresh)) == []


def test_numpy_numbers_among_the_options_can_be_saved(tmp_path):
    run = Run()
    run.optimizer.param_groups[0]["weight_decay"] = np.float64(0.01)
    run.hyper = run.hyper[:2]
    session = run.session()
    drive(session, session.batches(run.loader), 4)
    session.save(tmp_path)
    fresh = Run()
    fresh.hyper = fresh.hyper[:2]
    again = fresh.session()
    again.restore(tmp_path)
    assert again.step_count == 4


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(12))
def test_with_any_settings(tmp_path, seed, way):
    """Window lengths, duty cycles, engines, schedules and starts that nobody chose; many of these runs retreat."""
    draw = random.Random(seed)
    settings = replace(
        WAYS[way],
        window=draw.randint(4, 12),
        search_window=draw.randint(4, 9),
        overhead=None,
        duty_cycle=draw.choice([0.2, 0.5, 1.0]),
        report_every=draw.randint(1, 30),
        engine=draw.choice(["auto", "forward", "adjoint"]),
        val_batches=draw.randint(1, 6),
    )
    arguments = {
        "optimizer_name": draw.choice(["sgd", "adamw", "rmsprop"]),
        "settings": settings,
        "schedule": draw.choice([None, *SCHEDULES]),
        "own_generator": draw.random() < 0.5,
        "start": {"lr": 10 ** draw.uniform(-4, -0.01)},
        "dtype": draw.choice([torch.float32, torch.float64]),
        "total": 80,
    }
    at = sorted(draw.sample(range(80), 2))
    assert differences(undisturbed(**arguments), interrupted(tmp_path, at, **arguments)) == []
