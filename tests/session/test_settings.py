"""No setting is without effect: each one changed alone changes what a run does, or where it keeps it."""

from dataclasses import fields, replace

import pytest
import torch
from torch.utils.data import DataLoader

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.hypergradient.gradient.products import EXACT
from ray_glocal.session import GlocalSession, Settings
from ray_glocal.session.pacing.budget import Budget, Prices
from ray_glocal.session.pacing.tuning import AT_MOST, USUAL

from .cases import FEATURES, PROMPT, Run, dataset, differences, drive, rows_of, train_loss, windows

BASE = windows(window=8, search_window=6, duty_cycle=0.5, report_every=20, val_batches=2, trust_region=0.2)
# Settings whose effect shows in a run by steps alone, with a value beside the one of `BASE`.
TRACED = {
    "hypergradients": {"hypergradients": "first-order"},
    "averaging": {"averaging": True},
    "window": {"window": 10},
    "search_window": {"search_window": 5},
    "duty_cycle": {"duty_cycle": 0.25},
    "engine": {"engine": "forward", "tail": 0},
    "forecaster": {"forecaster": "last"},
    "search_forecaster": {"search_forecaster": "last"},
    "tail": {"tail": 0.3},
    "val_batches": {"val_batches": 1},
    "heat": {"heat": 0},
    "search_region": {"search_region": 0.8},
    "trust_region": {"trust_region": 0.4},
    "trust_limits": {"trust_limits": (0.2, 0.2)},
    "promise": {"promise": 0.02},
    "act": {"act": 1e9},
    "act_small": {"act_small": 0.9},
    "dead_band": {"dead_band": 0.05},
    "report_every": {"report_every": 10},
}
# Those of them that first-order hypergradients know, beside `PROMPT`.
SHARED = {
    "hypergradients": {"hypergradients": "windows"},
    "averaging": {"averaging": False},
    "window": {"window": 10},
    "search_window": {"search_window": 5},
    "duty_cycle": {"duty_cycle": 0.25},
    "val_batches": {"val_batches": 2},
    "report_every": {"report_every": 10},
}
ELSEWHERE = {"overhead", "products", "memory", "host_memory", "jump", "cut"}  # each has a test of its own below


def told(settings, schedule="cosine"):
    run = Run(settings=settings, schedule=schedule)
    session = run.session(val_batches=DataLoader(dataset(40, run.dtype, 2), batch_size=8))
    reports = drive(session, session.batches(run.loader))
    return {"rows": rows_of(session), "reports": reports}


@pytest.fixture(scope="module")
def base():
    return told(BASE)


def test_every_setting_is_varied():
    assert {field.name for field in fields(Settings)} == TRACED.keys() | ELSEWHERE


def test_a_run_by_steps_is_the_same_again(base):
    assert differences(base, told(BASE)) == []


@pytest.mark.parametrize("name", TRACED)
def test_a_setting_changes_the_run(base, name):
    changed = TRACED[name]
    reference = told(replace(BASE, tail=0)) if name == "engine" else base
    assert differences(reference, told(replace(BASE, **changed))) != []


@pytest.mark.parametrize("name", TRACED)
def test_a_setting_changes_a_first_order_run_where_it_is_meant_to(name):
    changed = SHARED.get(name, TRACED[name])
    base = replace(PROMPT, trust_region=0.2)
    apart = differences(told(base), told(replace(base, **changed)))
    assert bool(apart) == (name in SHARED)


def test_a_hypergradient_is_of_one_validation_batch_and_a_window_of_four():
    assert (Settings().batches_per_window, windows().batches_per_window) == (1, 4)
    assert Settings(val_batches=3).batches_per_window == windows(val_batches=3).batches_per_window == 3


def test_a_number_is_kept_the_default_may_grow_and_a_duty_cycle_counts_no_time():
    assert Settings(overhead=0.1).shares == (0.1, 0.1)
    assert Settings().shares == (USUAL, AT_MOST)
    assert USUAL < AT_MOST
    assert Settings(duty_cycle=0.5).shares is None
    assert Settings(overhead=None, duty_cycle=0.5).shares is None


def test_a_budget_buys_windows_by_its_size():
    poor, rich = (Budget(share, share, 1000, 100).free(0, 0.0, Prices(1.0, 40.0)) for share in (0.1, 0.5))
    assert (poor, rich) == (100.0, 500.0)


def kept(**changed):
    run = Run(settings=replace(BASE, **changed))
    session = run.session()
    drive(session, session.batches(run.loader), 12)
    return session._adaptation.tape.keeping


def test_memory_decides_what_is_kept_and_products_where_they_come_from():
    rich, poor, none = (kept(memory=memory) for memory in (None, 30_000, 0))
    assert rich.graphs
    assert not poor.graphs
    assert poor.stride == 1 < none.stride
    assert rich.products is EXACT
    assert kept(products="differences").products is not EXACT


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_beside_a_gpu_states_go_to_the_host_as_far_as_its_memory_goes():
    model = torch.nn.Linear(FEATURES, 3).cuda()
    batch = torch.randn(8, FEATURES, device="cuda")
    found = []
    for memory in (2**30, 0):
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        settings = replace(BASE, memory=0, host_memory=memory)
        hyper = [Hyperparameter("lr", 0.01, 1e-5, 1.0, "log")]
        loss = lambda m, b: m(b).square().mean()  # noqa: E731
        session = GlocalSession(
            model, optimizer, loss, loss, val_batches=[batch], hyper=hyper, total_steps=100, settings=settings
        )
        session.step(batch)
        found.append(session._adaptation.tape.keeping.pinned)
    assert found == [True, False]


def exploding(batch_of):
    """A loss that is far too large at some steps."""
    calls = iter(range(10**6))

    def loss(model, batch):
        return train_loss(model, batch) * (1e3 if batch_of(next(calls)) else 1.0)

    return loss


@pytest.mark.parametrize("base", [BASE, PROMPT], ids=["windows", "first-order"])
@pytest.mark.parametrize("changed", [{"jump": 1e6}, {"cut": 0.9}])
def test_what_counts_as_divergence_and_how_far_a_rate_is_cut(changed, base):
    """From a rate that is far too large; which a first-order search does not begin with, so its loss explodes."""
    runs = [Run(settings=settings, start={"lr": 3.0}) for settings in (base, replace(base, **changed))]
    for run in runs:
        if base is PROMPT:
            run.train = exploding(lambda call: call > 24)
    seen = []
    for run in runs:
        session = run.session()
        drive(session, session.batches(run.loader), 40)
        seen.append(rows_of(session))
    assert any(row["gate"] == "roll back" for row in seen[0])
    assert differences(*seen) != []
