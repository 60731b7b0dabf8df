"""A run that was saved at any kind of step, thrown away and restored is the run that was not, bit for bit."""

from dataclasses import replace

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import Settings

from ..cases import CLASSES, Run, differences, rows_of, seed_all, state_of, train_loss, without_seconds
from .sessions import CALM, session, train_on

TOTAL, FAR = 100, 1e3
PACE = Settings(window=8, search_window=6, overhead=None, duty_cycle=0.5, report_every=20)
HUGE = range(50, 54)  # steps whose loss is beyond all measure: seen at 56, and gone back on
MOMENTS = {
    "before the first step": 0,
    "after the first step": 1,
    "in the search": 4,
    "at an observation of the search": 6,
    "one step before one": 11,
    "at the end of the search": 18,
    "between two stretches": 20,
    "in a stretch": 29,
    "one step before an observation": 31,
    "at an observation": 32,
    "between two updates of the averages": 35,
    "while training is being lost": 53,
    "after a retreat": 56,
    "a step later": 57,
    "at a report": 60,
    "one step before the end": 99,
    "at the end": 100,
}


def faulty(model, batch, hyper):
    """Dear beyond all measure where the batch is marked, and with a class's weights to adapt."""
    mark = FAR if batch[0].abs().max() > FAR / 2 else 1.0
    weights = hyper["weights"]
    share = (weights[batch[1]] / weights.mean()).mean()
    return mark**2 * share * train_loss(model, [batch[0].clamp(-9, 9), batch[1]])


def marked(batch):
    return [batch[0] + FAR, batch[1]]


class Trained:
    """A run with a session, and what it told on the way."""

    def __init__(self, kind="sgd", *, own_average=False, **told):
        settings = told.pop("settings", PACE)
        self.told = {key: told.pop(key) for key in ("accumulate",) if key in told}
        self.run = Run(kind, settings=settings, train=faulty, total=TOTAL, **told)
        if own_average:
            self.told["averaged"] = AveragedModel(self.run.model)
        weights = Hyperparameter("weights", torch.ones(CLASSES), 0.1, 10.0, "log")
        self.session = self.run.session(hyper=(*self.run.hyper, weights), **self.told)
        self.reports = []

    def go(self, until):
        batches = self.session.batches(self.run.loader)
        while self.session.step_count < until:
            batch = next(batches)
            if self.session.step_count in HUGE:
                batch = [marked(part) for part in batch] if "accumulate" in self.told else marked(batch)
            self.session.step(batch)
            if self.session.at_report:
                self.reports.append(without_seconds(self.session.metrics()))
        return self

    def ending(self):
        session = self.session
        found = {
            "state": state_of(self.run.model, self.run.optimizer),
            "rows": rows_of(session),
            "reports": self.reports,
            "values": dict(session.values),
            "metrics": without_seconds(session.metrics()),
        }
        with session.averaged_weights():
            found["averaged"] = [p.detach().clone() for p in self.run.model.parameters()]
        return found


def interrupted(folder, at, **told):
    """Save at each of some steps, and go on each time in a process-like fresh set of objects."""
    trained = Trained(**told)
    for step in at:
        trained.go(step).session.save(folder / str(step))
        reports, trained = trained.reports, Trained(**told)
        seed_all(step + 100)  # a fresh process has other random states, and other weights
        with torch.no_grad():
            for parameter in trained.run.model.parameters():
                parameter.fill_(0.123)
        trained.reports = reports
        trained.session.restore(folder / str(step))
    return trained.go(TOTAL).ending()


@pytest.fixture(scope="module")
def truths():
    """Runs that nobody interrupts, each made once."""
    known = {}

    def truth(**told):
        key = tuple(sorted((k, str(v)) for k, v in told.items()))
        if key not in known:
            known[key] = Trained(**told).go(TOTAL).ending()
        return known[key]

    return truth


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_at_every_kind_of_moment(tmp_path, truths, moment, kind):
    truth = truths(kind=kind)
    steps = {row["step"] for row in truth["rows"]}
    assert {6, 32, 56} <= steps
    assert {"act", "hold", "roll back"} <= {row["gate"] for row in truth["rows"]}
    assert any("the search ends" in row["reason"] and row["step"] <= 18 for row in truth["rows"])
    assert differences(truth, interrupted(tmp_path, [MOMENTS[moment]], kind=kind)) == []


@pytest.mark.parametrize(
    "told",
    [
        {"schedule": "cosine"},
        {"schedule": "one cycle"},
        {"accumulate": 2},
        {"own_average": True},
        {"settings": replace(PACE, averaging=False)},
        {"dtype": torch.float32, "own_generator": True},
    ],
    ids=lambda told: ", ".join(told),
)
def test_again_and_again(tmp_path, truths, told):
    assert differences(truths(**told), interrupted(tmp_path, [3, 6, 7, 20, 32, 56, 77], **told)) == []


def test_two_runs_are_alike(truths):
    assert differences(truths(kind="sgd"), Trained("sgd").go(TOTAL).ending()) == []


def test_asking_for_metrics_and_averages_between_changes_nothing(truths):
    trained = Trained("sgd")
    for step in range(1, TOTAL + 1):
        trained.go(step)
        trained.session.metrics()
        with trained.session.averaged_weights():
            pass
    found, truth = trained.ending(), truths(kind="sgd")
    for name in ("state", "rows", "values", "averaged"):
        assert differences(truth[name], found[name], name) == []


def numbers(plain):
    """Numbers in single precision that all tensors in nested data take, each storage once, as files hold them."""
    found, nodes = {}, [plain]
    while nodes:
        node = nodes.pop()
        if isinstance(node, torch.Tensor):
            if node.dtype == torch.float32:
                found[node.untyped_storage().data_ptr()] = node.untyped_storage().nbytes() / 4
        elif isinstance(node, dict):
            nodes.extend(node.values())
        elif isinstance(node, list | tuple):
            nodes.extend(node)
    return sum(found.values())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_a_checkpoint_at_a_report_takes_three_times_the_weights_beside_the_optimizers_own(kind, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(6, 400), torch.nn.ReLU(), torch.nn.Linear(400, 3))
    trained = train_on(session(kind=kind, model=model, settings=replace(CALM, report_every=50)), 200)
    assert trained.at_report
    trained.save(tmp_path)
    held = [torch.load(file, weights_only=True) for file in tmp_path.glob("*.pt")]
    weights = sum(p.numel() for p in model.parameters())
    own = 2 * weights if kind is torch.optim.AdamW else 0
    assert sum(map(numbers, held)) - own == pytest.approx(3 * weights, rel=0.05)
