"""Penalties from starts that are far off: weight decay, label smoothing and the weight of labels that noise spoils.

Half of 500 training examples have labels of which six in ten are drawn anew; 300 clean ones validate, the rest of the
part tests. Whoever sets the three values badly overfits or learns nothing. A session adapts them, and the learning
rate, during the one training; beside it stands the same training with the values that it began with, and sessions that
adapt the learning rate alone. Time is counted, in plain steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from counted import PLAIN, counted
from ray_glocal import GlocalSession, Hyperparameter, Settings
from ray_glocal.session.pacing.cost import PROBE, REPORT, SEARCH, UPKEEP, WINDOW
from study import Row, Study, markdown, study
from tasks.data import digits, fashion
from tasks.split import Shuffled

EXAMPLES, VALIDATION, WRONG, STEPS, BATCH = 500, 300, 0.6, 1500, 50
RATES = {"sgd": 0.05, "adamw": 0.002}
STARTS = {
    "low": {"weight_decay": 1e-5, "smoothing": 1e-3, "noisy": 0.5},
    "high": {"weight_decay": 0.05, "smoothing": 0.5, "noisy": 0.95},
}
ADAPTED = {"rate": ("lr",), "all": ("lr", "weight_decay", "smoothing", "noisy")}
BUDGETS = (0.1, 0.25, 0.5)
# In plain steps, as the tuning suite's tasks of this size have them (comparison/prices.json).
PRICES = {PLAIN: 1.0, UPKEEP: 0.04, PROBE: 7.5, REPORT: 0.8, SEARCH: 5.0, WINDOW: 9.0}
LOSSES = ("start values", "rate alone, 0.1", "all, 0.1", "all, 0.25", "all, 0.5")


@dataclass(frozen=True)
class Case:
    """A training.

    Args:
        data: `fashion` or `digits`.
        optimizer: `sgd` or `adamw`.
        start: Of `STARTS`.
        seed: Of weights, noise and orders.
        adapted: Of `ADAPTED`; empty for none.
        overhead: Budget of the session; 0 without one.
    """

    data: str
    optimizer: str
    start: str
    seed: int
    adapted: str = ""
    overhead: float = 0.0

    @property
    def method(self) -> str:
        """As in the table."""
        names = {"": "start values", "rate": "rate alone", "all": "all"}
        return f"{names[self.adapted]}, {self.overhead:g}" if self.adapted else names[""]


def cases(seeds: Sequence[int]) -> list[Case]:
    """All of them."""
    found = []
    for problem in product(("fashion", "digits"), ("sgd", "adamw"), STARTS, seeds):
        found += [Case(*problem), Case(*problem, "rate", BUDGETS[0])]
        found += [Case(*problem, "all", budget) for budget in BUDGETS]
    return found


def run(case: Case) -> list[Row]:
    """Train, and measure the test loss."""
    train, val, test = _parts(case)
    torch.manual_seed(case.seed)
    inputs, classes = train[0].shape[1], 10
    model = nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, classes))
    start, rate = STARTS[case.start], RATES[case.optimizer]
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[case.optimizer]
    options = {"momentum": 0.9} if case.optimizer == "sgd" else {}
    trained = kind(model.parameters(), lr=rate, weight_decay=start["weight_decay"], **options)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(trained, STEPS)
    batches = Shuffled(train, case.seed, BATCH)
    adapted = ADAPTED.get(case.adapted, ())
    held = {name: torch.tensor(value) for name, value in start.items()}

    def train_loss(model: nn.Module, batch: Sequence[Tensor], hyper: Mapping[str, Tensor] = held) -> Tensor:
        smoothing, noisy = (hyper[name] if name in adapted else held[name] for name in ("smoothing", "noisy"))
        chances = model(batch[0]).log_softmax(-1)
        told = -(1 - smoothing) * chances.gather(1, batch[1][:, None]).squeeze(1) - smoothing * chances.mean(1)
        return (told * torch.where(batch[2] == 1, noisy, 1 - noisy) * 2).mean()

    row = {**vars(case), "method": case.method}
    if not adapted:
        _train_plainly(trained, schedule, batches, lambda batch: train_loss(model, batch))
        return [{**row, "loss": _loss(model, test), "observations": 0}]
    session = counted(
        GlocalSession(
            model,
            trained,
            train_loss if len(adapted) > 1 else (lambda model, batch: train_loss(model, batch)),
            val_loss,
            val_batches=list(zip(*(part.split(100) for part in val), strict=True)),
            hyper=[hyper for hyper in _hyperparameters(start, rate) if hyper.name in adapted],
            total_steps=STEPS,
            lr_scheduler=schedule,
            settings=Settings(overhead=case.overhead),
        ),
        PRICES,
    )
    for batch in session.batches(batches):
        session.step(batch)
    told = session.metrics()
    ends = {f"end/{name}": told[f"hyper/{name}"] for name in adapted}
    loss = session.evaluate(lambda model: _loss(model, test))
    return [{**row, "loss": loss, "observations": told["windows"], "cost": told["cost/overhead"], **ends}]


def val_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def _hyperparameters(start: Mapping[str, float], rate: float) -> Iterator[Hyperparameter]:
    yield Hyperparameter("lr", rate, 1e-4, 1.0, "log")
    yield Hyperparameter("weight_decay", start["weight_decay"], 1e-6, 1.0, "log")
    yield Hyperparameter("smoothing", start["smoothing"], 0.0, 0.9, "logit")
    yield Hyperparameter("noisy", start["noisy"], 0.0, 1.0, "logit")


def _parts(case: Case) -> tuple[tuple[Tensor, ...], ...]:
    """Training examples with their part (1 where labels are noisy), validation and test."""
    split = fashion() if case.data == "fashion" else digits()
    (images, labels), val = split.train, split.val
    generator = torch.Generator().manual_seed(case.seed)
    order = torch.randperm(len(labels), generator=generator)[:EXAMPLES]
    inputs, targets = images[order].flatten(1), labels[order].clone()
    part = (torch.arange(EXAMPLES) >= EXAMPLES // 2).long()
    wrong = (torch.rand(EXAMPLES, generator=generator) < WRONG) & (part == 1)
    targets[wrong] = torch.randint(10, (int(wrong.sum()),), generator=generator)
    few = val[0][:VALIDATION].flatten(1), val[1][:VALIDATION]
    return (inputs, targets, part), few, (split.test[0].flatten(1), split.test[1])


def _train_plainly(trained, schedule, batches, loss) -> None:  # type: ignore[no-untyped-def]
    step = 0
    while step < STEPS:
        for batch in batches:
            trained.zero_grad()
            loss(batch).backward()
            trained.step()
            schedule.step()
            step += 1
            if step == STEPS:
                return


@torch.no_grad()
def _loss(model: nn.Module, part: Sequence[Tensor]) -> float:
    return float(F.cross_entropy(model(part[0]), part[1]))


def text(rows: Sequence[Row]) -> str:
    """The table, and what it comes to."""
    lines = []
    for problem in dict.fromkeys((row["data"], row["optimizer"], row["start"]) for row in rows):
        own = [row for row in rows if (row["data"], row["optimizer"], row["start"]) == problem]
        means = [fmean(row["loss"] for row in own if row["method"] == method) for method in LOSSES]
        seen = [fmean(row["observations"] for row in own if row["method"] == m) for m in LOSSES[2:]]
        lines.append([", ".join(problem), *(f"{mean:.3f}" for mean in means), "/".join(f"{n:.0f}" for n in seen)])
    table = markdown(["problem", *LOSSES, "hypergradients"], lines)
    return f"Mean test loss; seeds {sorted({row['seed'] for row in rows})}.\n\n{table}\n\n{_conclusion(rows)}"


def _conclusion(rows: Sequence[Row]) -> str:
    """In sentences, from the rows."""
    found = []
    problems = dict.fromkeys((row["data"], row["optimizer"], row["start"]) for row in rows)
    for method in LOSSES[1:]:
        ratios = []
        for problem in problems:
            own = [row for row in rows if (row["data"], row["optimizer"], row["start"]) == problem]
            fixed, adapted = (fmean(r["loss"] for r in own if r["method"] == m) for m in (LOSSES[0], method))
            ratios.append(adapted / fixed)
        mean = torch.tensor(ratios).log().mean().exp()
        better = sum(ratio < 1 for ratio in ratios)
        found.append(
            f"- *{method}*: {mean:.3f} of the loss with the start values (geometric mean over {len(ratios)} problems), "
            f"better on {better}, between {min(ratios):.2f} and {max(ratios):.2f}."
        )
    return "\n".join(found)


def main() -> None:
    told: Study = study("penalties", __doc__, seeds=3)
    rows = told.rows(cases(range(1 if told.smoke else told.options["seeds"]))[: 5 if told.smoke else None], run)
    told.publish("Penalties from starts that are far off", text(rows), rows)


if __name__ == "__main__":
    main()
