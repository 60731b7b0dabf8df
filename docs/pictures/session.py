"""The picture of the README: one session from each of three poor starts, `python docs/pictures/session.py`.

Digits in twenty sources; in eight of them a part of the labels is wrong, in four every one is. A session adapts the
learning rate, the weight decay and the weight of each source, 22 hyperparameters, in one training.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import rcParams
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ray_glocal import GlocalSession, Hyperparameter, Settings

HERE = Path(__file__).parent
GREY = "#808080"  # is read on white and on black
COLOURS = ("#2f8fd8", "#e0862b", "#2fa36b")
STEPS, SOURCES = 3000, 20
STARTS = ((1e-4, 1e-6), (1e-2, 3e-2), (1.0, 1e-3))  # learning rate, weight decay
WRONG = torch.tensor([0.0] * 8 + [0.5] * 8 + [1.0] * 4)  # share of wrong labels in each source
PLAN = Settings(overhead=None, duty_cycle=0.4)  # by steps and not by the clock: the same picture on any machine


@dataclass
class Course:
    """What one training told, report by report."""

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    weight_decay: list[float] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)


def split() -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """Training images, labels and sources; validation images and labels."""
    raw, generator = load_digits(), torch.Generator().manual_seed(0)
    order = torch.randperm(len(raw.target), generator=generator)
    images, labels = torch.tensor(raw.data / 16, dtype=torch.float32)[order], torch.tensor(raw.target)[order]
    source = torch.arange(1200) % SOURCES
    spoiled = torch.rand(1200, generator=generator) < WRONG[source]
    shift = torch.randint(1, 10, (1200,), generator=generator)
    train = torch.where(spoiled, (labels[:1200] + shift) % 10, labels[:1200])
    return [images[:1200], train, source], (images[1200:], labels[1200:])


def train_loss(model: nn.Module, batch: list[Tensor], hyper: dict[str, Tensor]) -> Tensor:
    """Mean over the batch, each image weighted as its source is."""
    images, labels, source = batch
    each = F.cross_entropy(model(images), labels, reduction="none")
    weights = hyper["weights"][source]
    return (weights * each).sum() / weights.sum()


def val_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross entropy on images whose labels are right."""
    return F.cross_entropy(model(batch[0]), batch[1])


class Batches:
    """Of 60 images, in a new order each epoch."""

    def __init__(self, data: list[Tensor]) -> None:
        self.data, self.generator = data, torch.Generator().manual_seed(0)

    def __iter__(self):
        """One epoch."""
        for rows in torch.randperm(len(self.data[0]), generator=self.generator).split(60):
            yield [each[rows] for each in self.data]


def trained(lr: float, weight_decay: float) -> Course:
    """A session from one start."""
    torch.manual_seed(0)
    train, val = split()
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    session = GlocalSession(
        model,
        optimizer,
        train_loss,
        val_loss,
        val_batches=[val],
        hyper=[
            Hyperparameter("lr", lr, 1e-5, 10.0, "log"),
            Hyperparameter("weight_decay", weight_decay, 1e-6, 10.0, "log"),
            Hyperparameter("weights", torch.full((SOURCES,), 0.5), 0.0, 1.0, "logit"),
        ],
        total_steps=STEPS,
        lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
        settings=PLAN,
    )
    course = Course()
    for batch in session.batches(Batches(train)):
        if session.step_count % 50 == 0:
            values = session.values
            course.steps.append(session.step_count)
            course.lr.append(float(values["lr"]))
            course.weight_decay.append(float(values["weight_decay"]))
            course.weights.append(values["weights"].tolist())
            course.loss.append(session.evaluate(lambda model: float(val_loss(model, val))))
        session.step(batch)
    return course


def untouched(lr: float, weight_decay: float) -> float:
    """Validation loss at the end of the same training without a session."""
    torch.manual_seed(0)
    train, val = split()
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule, taken, batches = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS), 0, Batches(train)
    while taken < STEPS:
        for images, labels, _ in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
            taken += 1
    with torch.no_grad():
        return float(val_loss(model, val))


def draw(courses: list[Course], plain: list[float]) -> Figure:
    """Four panels."""
    figure = Figure(figsize=(10, 2.7), layout="constrained")
    lr, decay, weights, loss = figure.subplots(1, 4)
    for course, colour, end in zip(courses, COLOURS, plain, strict=True):
        lr.semilogy(course.steps, course.lr, color=colour)
        decay.semilogy(course.steps, course.weight_decay, color=colour)
        loss.semilogy(course.steps, course.loss, color=colour)
        loss.semilogy([STEPS], [end], "x", color=colour, clip_on=False)
    for index, path in enumerate(zip(*courses[1].weights, strict=True)):
        shade = {0.0: "#2fa36b", 0.5: "#e0862b", 1.0: "#d1495b"}[float(WRONG[index])]
        weights.plot(courses[1].steps, path, color=shade, linewidth=1)
    titles = "learning rate", "weight decay", "weights of 20 sources\nno / half / all labels wrong", "validation loss"
    for panel, title in zip((lr, decay, weights, loss), titles, strict=True):
        panel.set_title(title, color=GREY, fontsize=10)
        panel.set_facecolor("none")
        panel.tick_params(which="both", colors=GREY, labelsize=8)
        for name, spine in panel.spines.items():
            spine.set(color=GREY, visible=name in ("left", "bottom"))
    place = {"ha": "right", "va": "top", "transform": loss.transAxes}
    loss.text(0.88, 0.97, "x: without a session", color=GREY, fontsize=8, **place)
    return figure


def main() -> None:
    rcParams["svg.hashsalt"] = "session"  # the same file each time
    torch.set_num_threads(1)
    courses = [trained(*start) for start in STARTS]
    plain = [untouched(*start) for start in STARTS]
    for start, course, end in zip(STARTS, courses, plain, strict=True):
        print(f"{start}: loss {course.loss[-1]:.3f}, without a session {end:.3f}; lr {course.lr[-1]:.3g}")
    draw(courses, plain).savefig(HERE / "session.svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
