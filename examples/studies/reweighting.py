"""Weights of training examples as hyperparameters: wrong labels and rare classes on Fashion-MNIST.

A session adapts class weights, class offsets, a weighting network or a weight for each of 10,000 examples while the
network trains, by hypergradients of a clean, balanced validation set; rivals weigh by hand, or know the truth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_glocal.session import Settings
from study import Row, Study, markdown, study
from tasks import TASKS
from tasks.data import digits, fashion
from weighting import weights
from weighting.examples import Examples, long_tailed, relabelled
from weighting.training import Course, Outcome
from weighting.weights import Weighting

SEEDS = range(5)
ORDER = ("right", "wrong", "order")  # what is told of weights where labels are wrong
WRONG = 0.4  # share of the training labels that are drawn anew; one in ten of them comes out right
IMBALANCE = 100
DEFAULT = Settings()
# A first-order hypergradient sees the examples of one batch: too few of ten thousand.
WINDOWS = Settings(hypergradients="windows", averaging=False, duty_cycle=0.25)


# ---- the problems ----


@dataclass(frozen=True)
class Question:
    """A training set and what is asked of it.

    Args:
        title: In words.
        task: Network.
        examples: Draws the training set from a seed.
        epochs: Length of a training.
        batches: Validation batches; a session uses four a window.
        methods: What is compared, by name; the first one is plain training.
        best: What is known to be best; ours are held to it.
        rival: What ours must beat.
    """

    title: str
    task: str
    examples: Callable[[int], Examples]
    epochs: int
    batches: int
    methods: tuple[str, ...]
    best: str
    rival: str


def _noisy(seed: int) -> Examples:
    return relabelled(fashion(10_000), WRONG, 100 + seed)


def _barely_validated(seed: int) -> Examples:
    examples = _noisy(seed)
    few = tuple(part[:200] for part in examples.split.val)
    return replace(examples, split=replace(examples.split, val=few))


def _tail(seed: int) -> Examples:
    return long_tailed(fashion(50_000), 3000, IMBALANCE, 1000, 200 + seed)


def _noisy_digits(seed: int) -> Examples:
    return relabelled(digits(), WRONG, 100 + seed)


def _tail_of_digits(seed: int) -> Examples:
    return long_tailed(digits(), 80, 20, 200, 200 + seed)


NOISY = (
    "uniform",
    "uniform, half as long",
    "validation data for training too",
    "small-loss trimming",
    "oracle weights",
    "ours: class weights",
    "ours: example weights, by windows",
    "ours: weighting network",
    "ours: weighting network, half of the validation data lent",
)
TAIL = (
    "uniform",
    "inverse frequency",
    "frequency offsets",
    "ours: class weights",
    "ours: class offsets",
)
WRONG_LABELS = "Wrong labels: 10,000 images, 40 % relabelled at random, 2,000 clean ones to validate"
QUESTIONS = {
    "noisy": Question(WRONG_LABELS, "fashion-mlp", _noisy, 40, 4, NOISY, "oracle weights", "uniform, stopped early"),
    "noisy, 200": Question(
        "The same with 200 clean images to validate",
        "fashion-mlp",
        _barely_validated,
        40,
        1,
        ("uniform", "validation data for training too", "oracle weights", "ours: weighting network"),
        "oracle weights",
        "uniform, stopped early",
    ),
    "tail": Question(
        f"Rare classes: 3,000 images of the most frequent class, {IMBALANCE} times fewer of the rarest, 1,000 balanced"
        " ones to validate",
        "fashion-mlp",
        _tail,
        20,
        4,
        TAIL,
        "frequency offsets",
        "inverse frequency",
    ),
}
SMOKE = {
    "noisy": replace(
        QUESTIONS["noisy"], title="Wrong labels, digits", task="digits-mlp", examples=_noisy_digits, epochs=20
    ),
    "tail": replace(
        QUESTIONS["tail"], title="Rare classes, digits", task="digits-mlp", examples=_tail_of_digits, epochs=60
    ),
}


# ---- the methods ----


@dataclass(frozen=True)
class Method:
    """How the examples of a training are weighed.

    Args:
        train: Trains.
        lent: Share of the validation examples that are trained on instead, or, where it is one, as well.
        shorter: Divides the number of epochs.
        watching: Whether it reads what the network thinks of the examples.
    """

    train: Callable[[Course], Outcome]
    lent: float = 0.0
    shorter: int = 1
    watching: bool = False


def _adapted(weighting: Callable[[Examples], Weighting], settings: Settings, batches: int, course: Course) -> Outcome:
    return course.adapted(weighting(course.examples), settings, batches)


def _oracle(course: Course) -> Outcome:
    return course.plain(weights.fixed(course.examples.clean.float()))


def _inverse(course: Course) -> Outcome:
    return course.plain(weights.fixed(1 / course.examples.counts[course.examples.split.train[1]]))


def _offset(course: Course) -> Outcome:
    return course.plain(weights.frequency_offsets(course.examples))


def _trimmed(course: Course) -> Outcome:
    return course.plain(weights.trimmed(course.examples.clean.float().mean().item()))


def _uniform(course: Course) -> Outcome:
    return course.plain(weights.uniform)


def method(name: str, batches: int) -> Method:
    """A method by its name."""
    methods = {
        "uniform": Method(_uniform),
        "uniform, half as long": Method(_uniform, shorter=2),
        "validation data for training too": Method(_uniform, lent=1.0, shorter=2),
        "small-loss trimming": Method(_trimmed, watching=True),
        "oracle weights": Method(_oracle),
        "inverse frequency": Method(_inverse),
        "frequency offsets": Method(_offset),
        "ours: class weights": Method(partial(_adapted, weights.class_weights, DEFAULT, batches)),
        "ours: class offsets": Method(partial(_adapted, weights.class_offsets, DEFAULT, batches)),
        "ours: example weights, by windows": Method(partial(_adapted, weights.example_weights, WINDOWS, batches)),
        "ours: weighting network": Method(
            partial(_adapted, weights.weighting_network, DEFAULT, batches), watching=True
        ),
        "ours: weighting network, half of the validation data lent": Method(
            partial(_adapted, weights.weighting_network, DEFAULT, batches), lent=0.5, watching=True
        ),
    }
    return methods[name]


# ---- running ----


@dataclass(frozen=True)
class Cell:
    """One training."""

    question: str
    method: str
    seed: int
    smoke: bool


def run(cell: Cell) -> list[Row]:
    """One row: what the training came to at its end, and at the epoch of the best validation accuracy."""
    question = _questions(cell.smoke)[cell.question]
    chosen = method(cell.method, question.batches)
    examples = question.examples(cell.seed)
    epochs = question.epochs // chosen.shorter
    trained = examples.lent(chosen.lent) if chosen.lent else examples
    course = Course(TASKS[question.task], trained, epochs, cell.seed, watching=chosen.watching)
    outcome = chosen.train(course)
    return [
        {
            "question": cell.question,
            "method": cell.method,
            "seed": cell.seed,
            "test": outcome.last[2],
            "stopped": float("nan") if chosen.lent == 1 else outcome.stopped[2],
            "validation": outcome.last[1],
            "validation_loss": outcome.last[0],
            "seconds": outcome.seconds,
            "steps": outcome.steps,
            "curve": [point[2] for point in outcome.curve],
            "counts": examples.counts.tolist(),
            "values": [value for values in outcome.values.values() for value in values],
            **_told_apart(outcome.weights, trained.clean),
        }
    ]


def _told_apart(found: Tensor | None, clean: Tensor) -> Row:
    """Mean weight of right and of wrong labels, and how often a right one weighs more than a wrong one."""
    if found is None or bool(clean.all()):
        return dict.fromkeys(ORDER)
    right, wrong = found[clean].sort().values, found[~clean].sort().values
    below = torch.searchsorted(wrong, right, right=False) + torch.searchsorted(wrong, right, right=True)
    order = float(below.double().mean()) / (2 * len(wrong))
    return dict(zip(ORDER, (float(right.mean()), float(wrong.mean()), order), strict=True))


def _questions(smoke: bool) -> Mapping[str, Question]:
    return SMOKE if smoke else QUESTIONS


# ---- the page ----


STOPPED = ", stopped early"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t."""
    from scipy.stats import t

    if len(values) < 2:
        return fmean(values), float("nan")
    return fmean(values), float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def _by_seed(rows: Sequence[Row], name: str) -> list[float]:
    """Test accuracy of a method in the order of the seeds; `, stopped early` asks for the best epoch's."""
    plain = name.removesuffix(STOPPED)
    return [row["stopped" if plain != name else "test"] for row in rows if row["method"] == plain]


HEADER = ("method", "test accuracy", "stopped early", "of *{}*", "over *{}*")
COSTS = ("validation loss", "weight right / wrong / order", "seconds", "steps")


def _table(question: Question, rows: Sequence[Row]) -> str:
    header = [part.format(name) for part, name in zip(HEADER, ("", "", "", question.best, question.rival), strict=True)]
    lines = [(name, *_gain(question, rows, name), *_costs(rows, name)) for name in question.methods]
    return markdown([*header, *COSTS], lines)


def _gain(question: Question, rows: Sequence[Row], name: str) -> tuple[str, ...]:
    told, rival = _by_seed(rows, name), _by_seed(rows, question.rival)
    mean, half = interval(told)
    gain, width = interval([a - b for a, b in zip(told, rival, strict=True)])
    stopped = fmean(_by_seed(rows, name + STOPPED))
    share = 100 * mean / fmean(_by_seed(rows, question.best))
    return f"{mean:.4f} ± {half:.4f}", f"{stopped:.4f}", f"{share:.1f} %", f"{gain:+.4f} ± {width:.4f}"


def _costs(rows: Sequence[Row], name: str) -> tuple[str, ...]:
    own = [row for row in rows if row["method"] == name]
    told = " / ".join(f"{_mean(own, name, key):.2f}" for key in ORDER) if own[0]["order"] is not None else ""
    seconds = _mean(own, name, "seconds") / _mean(rows, "uniform", "seconds")
    return f"{_mean(own, name, 'validation_loss'):.3f}", told, f"{seconds:.1f}", f"{_mean(own, name, 'steps'):.2f}"


def _mean(rows: Sequence[Row], name: str, key: str) -> float:
    return fmean(row[key] for row in rows if row["method"] == name)


LEGEND = """\
Mean of {seeds} seeds ± half of the 95 % interval (Student's t) of accuracy at the end of training. *Stopped early*: at
the epoch of the best validation accuracy. *Over*: paired by seed. *Weight right / wrong / order*: mean final weight of
examples with right and with wrong labels (the largest weight is 1), and how often a right one weighs more than a wrong
one. *Seconds*: processor time over that of uniform weights; *steps*: inner-step equivalents a step, as a session counts
them. Each seed draws its own labels or class frequencies, network and order. Settings were chosen on seeds 10 and above
by validation data."""


def page(rows: Sequence[Row], *, smoke: bool) -> str:
    """What was found, and a table for each question."""
    questions = _questions(smoke)
    parts = [LEGEND.format(seeds=len({row["seed"] for row in rows}))]
    for name, question in questions.items():
        own = [row for row in rows if row["question"] == name]
        parts += [f"## {question.title}", _table(question, own)]
    return "\n\n".join([concluded(rows, questions), *parts])


def concluded(rows: Sequence[Row], questions: Mapping[str, Question]) -> str:
    """What each of our methods comes to, a line each."""
    lines = ["**Found.**", ""]
    for name, question in questions.items():
        own = [row for row in rows if row["question"] == name]
        for told in (told for told in question.methods if told.startswith("ours")):
            accuracy, _, share, gain = _gain(question, own, told)
            _, order, seconds, _ = _costs(own, told)
            apart = f"; mean weight of right and wrong labels, and their order: {order}" if order else ""
            lines.append(
                f"- *{name}*, {told.removeprefix('ours: ')}: {accuracy}, {share} of {question.best}, {gain} over"
                f" {question.rival}, in {seconds} times the seconds{apart}."
            )
    return "\n".join(lines)


def _draw(rows: Sequence[Row], figure: Any) -> None:
    """Accuracy under wrong labels over the epochs; class offsets found against the frequencies they know nothing of."""
    left, right = figure.subplots(1, 2)
    shown = ("uniform", "oracle weights", "ours: weighting network", "ours: example weights, by windows")
    for name in shown:
        curves = [row["curve"] for row in rows if row["question"] == "noisy" and row["method"] == name]
        mean = np.mean(curves, axis=0)
        left.plot(np.arange(1, len(mean) + 1), mean, label=name, linestyle="-" if name.startswith("ours") else "--")
    left.set(xlabel="epoch", ylabel="test accuracy", title="Wrong labels")
    left.set_ylim(bottom=max(left.get_ylim()[0], 0.7))
    left.legend()
    for row in rows:
        if row["method"] == "ours: class offsets":
            logs = np.log(row["counts"])
            offsets = np.array(row["values"]) - np.mean(row["values"])
            right.plot(logs - logs.mean(), offsets, ".", label=f"seed {row['seed']}")
    right.axline((0, 0), slope=1, color="grey", linestyle=":", label="logarithm of the frequency")
    right.set(xlabel="log frequency of the class, centred", ylabel="offset found, centred", title="Rare classes")
    right.legend()


def main(here: Study) -> None:
    """Train, compare, publish."""
    seeds = SEEDS[:1] if here.smoke else SEEDS
    questions = _questions(here.smoke)
    cells = [
        Cell(name, told, seed, here.smoke)
        for name, question in questions.items()
        for seed in seeds
        for told in question.methods
    ]
    rows = here.rows(cells, run)
    here.publish("Data reweighting", page(rows, smoke=here.smoke), rows, partial(_draw, rows))


if __name__ == "__main__":
    main(study("reweighting", __doc__))
