"""The judge: weights against the plain loop's, bit for bit; derivatives against differences of whole loops."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from torch import Tensor

from ray_glocal import GlocalSession
from ray_glocal.errors import ArgumentError

from ..cases import windows
from .loops import Loop, Trial, Values, losses_of, plainest, rate, seed_all, write

WINDOW = 8
STILL: Mapping[str, Any] = {
    "window": WINDOW,
    "search_window": WINDOW,
    "duty_cycle": 1.0,
    "engine": "adjoint",
    "act": 1e9,
    "act_small": 1e9,
    "jump": 1e9,
}
FIRST_ORDER: Mapping[str, Any] = {"hypergradients": "first-order", "window": 4, "search_window": 4}
SHIFTS = (1e-4, 1e-5, 1e-3)  # of a coordinate, to either side; the last where the first two disagree
AGREE = 0.1  # of the tolerance: how close two differences must lie to be credible

RIGHT, REFUSED, SAID, UNJUDGED = "right", "refused", "said", "unjudged"
NO_LOOP, RETREAT, WARNED = "no loop", "retreat", "warned"
WEIGHTS, WRONG, SILENT, RAW = "WEIGHTS", "WRONG", "SILENT", "RAW ERROR"
FAULTS = (WEIGHTS, WRONG, SILENT, RAW)


@dataclass(frozen=True)
class Derivative:
    """What a session says of one hyperparameter in one window, and what is true of it.

    Args:
        name: Of the hyperparameter.
        step: The window's last step.
        got: The session's local hypergradient; None where it says nothing.
        truth: The difference of whole loops.
        spread: By how much a difference of another length lies apart from it.
        tolerance: Relative error that is allowed.
        floor: Error that is allowed beside it.
    """

    name: str
    step: int
    got: float | None
    truth: float
    spread: float
    tolerance: float
    floor: float

    @property
    def credible(self) -> bool:
        """Whether differences of several lengths agree."""
        return math.isfinite(self.truth) and self.spread <= AGREE * self.tolerance * abs(self.truth) + self.floor

    def holds(self, tolerance: float) -> bool:
        """Whether the session is right."""
        assert self.got is not None
        return abs(self.got - self.truth) <= tolerance * abs(self.truth) + self.floor

    def __str__(self) -> str:
        got = "nothing" if self.got is None else f"{self.got:+.8f}"
        return f"{self.name} at step {self.step}: {got}, truth {self.truth:+.8f} (spread {self.spread:.1e})"


@dataclass(frozen=True)
class Outcome:
    """How a session did in a trial: what it ended in, and the evidence."""

    trial: Trial
    kind: str
    words: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    derivatives: tuple[Derivative, ...] = ()
    error: str = ""

    @property
    def fault(self) -> bool:
        """Whether the promise is broken."""
        return self.kind in FAULTS

    @property
    def rough(self) -> bool:
        """Whether a derivative that passes is off by more than differences are."""
        return any(d.got is not None and d.credible and not d.holds(1e-4) for d in self.derivatives)

    def __str__(self) -> str:
        lines = [f"{self.kind:9} {self.trial.name}{' (roughly)' if self.kind == RIGHT and self.rough else ''}"]
        lines += [f"    {found}" for found in self.derivatives]
        lines += [f"    apart: {', '.join(self.apart[:6])}"] if self.apart else []
        lines += [f"    error: {self.error}"] if self.error else []
        lines += [f"    words: {text}" for text in self.words]
        return "\n".join(lines)


def judge(trial: Trial) -> Outcome:
    """Run the loop plainly, with a session, and with shifted hyperparameters, and compare."""
    with warnings.catch_warnings(), heard() as records:
        warnings.simplefilter("ignore")
        return _judged(trial, records)


def _judged(trial: Trial, records: list[logging.LogRecord]) -> Outcome:
    start = {h.name: float(h.value) for h in trial.hyper}
    try:
        plain = trained(trial, start, trial.steps)
    except Exception as error:  # noqa: BLE001 - torch's own, where parts do not go together
        return Outcome(trial, NO_LOOP, error=_told(error))
    session: GlocalSession | None = None
    try:
        loop, session = accompanied(trial)
    except ArgumentError as refusal:
        return Outcome(trial, REFUSED, (*said(session, records), str(refusal)))
    except Exception as error:  # noqa: BLE001 - whatever it is, a user would meet it
        return Outcome(trial, RAW, said(session, records), error=_told(error))
    words, apart = said(session, records), differing(plain, loop)
    if any(row.gate in ("roll back", "restart") for row in session.trace.rows):
        return Outcome(trial, RETREAT, words)  # training was given up, which is another promise
    if apart:
        return Outcome(trial, WEIGHTS, words, tuple(apart))
    if not trial.exact:
        return Outcome(trial, UNJUDGED, words)
    found = tuple(derivatives(trial, session))
    return Outcome(trial, _verdict(trial, found, words), words, (), found)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def _verdict(trial: Trial, found: Sequence[Derivative], words: Sequence[str]) -> str:
    credible = [each for each in found if each.credible]
    missing = any(each.got is None for each in found)
    wrong = any(each.got is not None and not each.holds(trial.tolerance) for each in credible)
    telling = [text for text in words if _without_numbers(text) not in usual(_plain_settings(trial))]
    if wrong:
        return WARNED if telling else WRONG
    if missing:
        return SAID if telling else SILENT
    return RIGHT if len(credible) == len(found) else UNJUDGED


@cache
def usual(settings: tuple[tuple[str, Any], ...]) -> frozenset[str]:
    """What a session says of the plainest of loops, without numbers: no word on a derivative."""
    with heard() as records:
        _, session = accompanied(Trial("plain", plainest, (rate(0.1, windows=2),), steps=16, settings=dict(settings)))
    return frozenset(_without_numbers(text) for text in said(session, records))


def _plain_settings(trial: Trial) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((name, value) for name, value in trial.settings.items() if name != "products"))


def _without_numbers(text: str) -> str:
    return re.sub(r"[-+.\de]*\d[-+.\de]*", "", text)


# ---- runs ----


def trained(
    trial: Trial, values: Values, steps: int, shifted: Values | None = None, since: int = 0, *, whole: bool = True
) -> Loop:
    """The plain loop, with other hyperparameters from step `since` on.

    Where it is not `whole` it ends with the optimizer's last step, as a window does: what a loop does after the step
    comes when `GlocalSession.step` has returned.
    """
    seed_all(trial.seed)
    loop = trial.build()
    for step in range(steps):
        present = shifted if shifted is not None and step >= since else values
        write(loop.optimizer, present)
        loss, _ = losses_of(loop, present)
        loop.optimizer.zero_grad()
        loss(loop.batch(step)).backward()
        loop.optimizer.step()
        for action in loop.after if whole or step < steps - 1 else ():
            action()
    return loop


def accompanied(trial: Trial) -> tuple[Loop, GlocalSession]:
    """The loop with a session that may not act; a first-order one has no gate, and is kept from it by hand."""
    seed_all(trial.seed)
    loop = trial.build()
    session = GlocalSession(
        loop.model,
        loop.optimizer,
        loop.train_loss,
        loop.val_loss,
        val_batches=loop.val_batches,
        hyper=trial.hyper,
        total_steps=100,
        settings=windows(**{**STILL, **trial.settings}),
    )
    first_order = session.settings.hypergradients == "first-order"
    if first_order:
        course: Any = session._course
        course.set_values = course.retreat = course.go_back = lambda *_, **__: None
    for step in range(trial.steps):
        session.step(loop.batch(step))
        if first_order and step == 0:
            session._adaptation.inherit()  # it has probed, and need not search: that sees less than what comes after
        for action in loop.after:
            action()
    return loop, session


def validated(loop: Loop, values: Values) -> float:
    """Mean validation loss in eval mode; the loop is used up."""
    loop.model.eval()
    _, loss = losses_of(loop, values)
    return sum(float(loss(batch).detach()) for batch in loop.val_batches) / len(loop.val_batches)


# ---- comparisons ----


def differing(plain: Loop, loop: Loop) -> list[str]:
    """Names of parameters, buffers and held tensors that are not the same bit for bit."""
    pairs = zip(_tensors(plain), _tensors(loop), strict=True)
    return [f"{name} by {_distance(a, b):.1e}" for (name, a), (_, b) in pairs if not _same(a, b)]


def _tensors(loop: Loop) -> list[tuple[str, Tensor]]:
    named = [*loop.model.named_parameters(), *loop.model.named_buffers()]
    return [(name, tensor.detach()) for name, tensor in (*named, *((f"held {i}", t) for i, t in enumerate(loop.held)))]


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and bool(((left == right) | ((left != left) & (right != right))).all())


def _distance(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().double().max()) if left.shape == right.shape else math.inf


def derivatives(trial: Trial, session: GlocalSession) -> Iterator[Derivative]:
    """Each hyperparameter in each complete window."""
    rows = {(row.step, row.hyperparameter): row.local for row in session.trace.rows}
    start = {h.name: float(h.value) for h in trial.hyper}
    for end in range(WINDOW, trial.steps + 1, WINDOW):
        scale = max(abs(validated(trained(trial, start, end, whole=False), start)), 0.1)
        for hyper in trial.hyper:
            slopes = (_difference(trial, start, hyper.name, end, shift) for shift in SHIFTS)
            got, middle, fine = rows.get((end, hyper.name)), next(slopes), next(slopes)
            found = Derivative(hyper.name, end, got, fine, abs(middle - fine), trial.tolerance, trial.floor * scale)
            if not found.credible and abs((coarse := next(slopes)) - middle) < found.spread:
                found = replace(found, truth=middle, spread=abs(coarse - middle))
            yield found


def _difference(trial: Trial, start: Values, name: str, end: int, shift: float) -> float:
    def loss(by: float) -> float:
        hyper = next(h for h in trial.hyper if h.name == name)
        moved = {**start, name: moved_by(hyper.scale, start[name], by)}
        return validated(trained(trial, start, end, moved, end - WINDOW, whole=False), moved)

    return (loss(shift) - loss(-shift)) / (2 * shift)


def moved_by(scale: str, value: float, by: float) -> float:
    """A value moved by so much on its line."""
    if scale == "log":
        return value * math.exp(by)
    if scale == "logit":
        return 1 / (1 + math.exp(-(math.log(value / (1 - value)) + by)))
    return value + by


# ---- words ----


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def heard() -> Iterator[list[logging.LogRecord]]:
    """What the library's loggers say at WARNING or above."""
    logger, ear = logging.getLogger("ray_glocal"), _Ear()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(ear)
    try:
        yield ear.records
    finally:
        logger.removeHandler(ear)
        logger.propagate = propagate


def said(session: Any, records: Sequence[logging.LogRecord]) -> tuple[str, ...]:
    """What a session has told its user: warnings of its loggers, and its notices."""
    logged = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
    noticed = list(getattr(getattr(session, "notices", None), "texts", ()))
    return tuple(dict.fromkeys([*logged, *noticed]))
