"""Hyperparameters inside the losses, both engines end to end, memory, and the device."""

import gc
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal.hypergradient import Hyperparameter, global_hypergradient, module_hyperparameters
from ray_glocal.session import GlocalSession
from ray_glocal.session.pacing.cost import WINDOW

from .cases import LIVELY, PROMPT, WAYS, Run, dataset, differences, drive, rows_of, state_of, windows

CLOSED = replace(LIVELY, act=1e9, act_small=1e9)


def plain_val(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def smooth_run(hyper, train, total=120, settings=LIVELY, lr=0.1, flip=0.0, **changed):
    """Full batches of a small smooth network, with a share of the labels of class 0 turned into class 1."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)).double()
    inputs, labels = dataset(90, torch.float64, 1).tensors
    labels = labels.clone()
    wrong = (labels == 0).nonzero().flatten()
    labels[wrong[: int(flip * len(wrong))]] = 1
    validation = [dataset(90, torch.float64, 2).tensors]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5)
    arguments = {"val_batches": validation, "hyper": hyper, "total_steps": total, "settings": settings, **changed}
    return [(inputs, labels)], GlocalSession(model, optimizer, train, plain_val, **arguments)


def class_weighted(model, batch, hyper):
    entropy = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    return (entropy * 3 * hyper["weights"][batch[1]]).mean()


def test_class_weights_on_the_simplex_find_the_corrupted_class():
    """Half of class 0 is called class 1: what validates well trusts the label 0 more than the label 1."""
    hyper = [Hyperparameter("weights", torch.full((3,), 1 / 3), scale="simplex")]
    batches, session = smooth_run(hyper, class_weighted, flip=0.5, total=240)
    drive(session, session.batches(batches))
    weights = session.values["weights"]
    assert float(weights.sum()) == pytest.approx(1.0)
    assert float(weights.min()) > 0
    assert weights[0] > weights[1]
    batches, held = smooth_run(
        hyper, class_weighted, flip=0.5, total=240, settings=replace(LIVELY, act=1e9, act_small=1e9)
    )
    drive(held, held.batches(batches))
    assert session.metrics()["val_loss"] < 0.97 * held.metrics()["val_loss"]


@pytest.mark.parametrize("way", WAYS)
def test_class_weights_as_a_vector_beside_the_learning_rate(tmp_path, way):
    hyper = [
        Hyperparameter("lr", 0.1, 1e-4, 1.0, "log"),
        Hyperparameter("weights", torch.full((3,), 1 / 3), 0.01, 1.0, "log"),
    ]

    def start():
        return smooth_run(hyper, class_weighted, flip=0.5, settings=WAYS[way])

    batches, session = start()
    truth = drive(session, session.batches(batches)), rows_of(session), dict(session.values)
    gates = {row["gate"] for row in truth[1] if row["hyperparameter"].startswith("weights")}
    assert gates & {"act", "act small"}
    batches, session = start()
    reports = drive(session, session.batches(batches), 50)
    session.save(tmp_path)
    batches, session = start()
    session.restore(tmp_path)
    reports += drive(session, session.batches(batches))
    assert differences(truth, (reports, rows_of(session), dict(session.values))) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_weighting_network(way):
    """A network that weights each sample by its loss (as Meta-Weight-Net), its parameters the hyperparameters."""
    torch.manual_seed(0)
    weigher = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    hyper = module_hyperparameters("weigher", weigher)

    def train(model, batch, hyper):
        entropy = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
        inputs = (entropy.detach()[:, None],)
        shares = torch.func.functional_call(weigher, hyper.under("weigher"), inputs).sigmoid()
        return (entropy * shares.squeeze(1)).mean()

    settings = replace(WAYS[way], act=0.1, act_small=0.05, dead_band=0.0)
    batches, session = smooth_run(hyper, train, settings=settings, flip=0.5)
    start = dict(session.values)
    drive(session, session.batches(batches))
    assert {row["gate"] for row in rows_of(session)} >= {"act"}
    moved = [name for name, value in session.values.items() if not torch.equal(value, start[name])]
    assert moved
    assert all(bool(torch.isfinite(value).all()) for value in session.values.values())
    assert all(p.grad is None for p in weigher.parameters()), "the module itself is only a template"


HYPER = [
    Hyperparameter("lr", 0.1, 1e-4, 1.0, "log"),
    Hyperparameter("momentum", 0.5, 0.0, 0.99, "logit"),
    Hyperparameter("smoothing", 0.05, 0.0, 0.5, "logit"),
]


def smoothed(model, batch, hyper):
    logs = model(batch[0]).log_softmax(-1)
    entropy = -logs.gather(1, batch[1][:, None]).mean()
    return (1 - hyper["smoothing"]) * entropy - hyper["smoothing"] * logs.mean()


def test_both_engines_measure_the_same():
    """The last local hypergradient is one number, whichever way it is computed; only forecasts may differ."""
    found = {}
    for engine in ("forward", "adjoint"):
        batches, session = smooth_run(HYPER, smoothed, settings=replace(CLOSED, engine=engine))
        drive(session, session.batches(batches))
        found[engine] = session
    forward, adjoint = (rows_of(found[engine]) for engine in ("forward", "adjoint"))
    assert [row["step"] for row in forward] == [row["step"] for row in adjoint]
    assert [row["local"] for row in forward] == pytest.approx([row["local"] for row in adjoint], rel=1e-9)
    models = [(s.problem.model, s.problem.optimizer) for s in found.values()]
    assert differences(state_of(*models[0]), state_of(*models[1])) == []
    assert found["forward"].metrics()["cost/steps"] > found["adjoint"].metrics()["cost/steps"]


def test_one_entry_is_carried_forward_and_more_are_pulled_back():
    _, one = smooth_run(HYPER[:1], plain_val)
    _, more = smooth_run(HYPER, smoothed)
    assert (one._adaptation.engines.of(WINDOW), more._adaptation.engines.of(WINDOW)) == ("forward", "adjoint")


def test_what_is_foretold_is_the_global_hypergradient():
    """Without noise: the forecast of the last window points where differentiating the rest of training does."""
    closed = windows(window=24, search_window=24, duty_cycle=1.0, act=1e9, act_small=1e9, jump=1e9)
    hyper = [Hyperparameter("smoothing", 0.2, 0.0, 0.5, "logit"), Hyperparameter("momentum", 0.5, 0.0, 0.99, "logit")]
    batches, session = smooth_run(hyper, smoothed, total=121, settings=closed)
    drive(session, session.batches(batches), 72)
    told = [row["forecast"] for row in rows_of(session) if row["step"] == 72]
    problem, values, rest = session.problem, session.values, 121 - 72
    truth = global_hypergradient(problem, batches * rest, session.validation.next_few(), values)
    truth = problem.pull_back(values, truth.derivatives[-1])
    assert torch.equal(torch.tensor(told).sign(), truth.sign())
    assert told[0] == pytest.approx(float(truth[0]), rel=0.5)  # half of it is a law of averages over trainings


def live_tensors():
    gc.collect()
    return sum(1 for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))


@pytest.mark.parametrize(
    "settings",
    [replace(LIVELY, engine="adjoint"), replace(LIVELY, engine="forward"), PROMPT],
    ids=["adjoint", "forward", "first-order"],
)
def test_memory_is_flat_over_the_periods(settings):
    run = Run("adamw", total=400, settings=settings, schedule="cosine")
    session = run.session()
    batches, counts = session.batches(run.loader), []
    for period in range(4, 10):
        drive(session, batches, period * 20)
        if not session._adaptation.open_as_plain():
            session._course.train_losses.clear()
            counts.append(live_tensors())
    assert len(counts) > 2
    assert max(counts[2:]) - max(counts[:2]) <= 2, counts  # windows after a retreat have fewer before them


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_the_device_resumes_exactly(tmp_path):
    def start():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 3))
        model.to("cuda")
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        inputs, labels = (t.to("cuda") for t in dataset(96, torch.float32, 1).tensors)
        batches = [(inputs[i : i + 16], labels[i : i + 16]) for i in range(0, 96, 16)]
        hyper = [Hyperparameter("lr", 5e-3, 1e-5, 1.0, "log"), Hyperparameter("weight_decay", 1e-2, 1e-6, 1.0, "log")]
        arguments = {"val_batches": batches, "hyper": hyper, "total_steps": 100, "settings": LIVELY}
        return batches, GlocalSession(model, optimizer, plain_val, plain_val, **arguments)

    batches, session = start()
    truth = drive(session, session.batches(batches))
    assert truth[-1]["val_loss"] < truth[0]["val_loss"]
    assert {"act"} <= {row["gate"] for row in rows_of(session)}
    expected = [p.detach().cpu() for p in session.problem.model.parameters()], rows_of(session)
    batches, session = start()
    reports = drive(session, session.batches(batches), 43)
    session.save(tmp_path)
    batches, session = start()
    session.restore(tmp_path)
    reports += drive(session, session.batches(batches))
    got = [p.detach().cpu() for p in session.problem.model.parameters()], rows_of(session)
    assert differences((truth, expected), (reports, got)) == []
