"""`validate`: how far the estimators can be trusted on a problem of one's own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.hypergradient.problem.losses import Loss
from ray_glocal.hypergradient.state.preservation import OptimizerState
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.tuning import KEPT
from ray_glocal.session.adapted import Adapted
from ray_glocal.session.arguments import adapted_of
from ray_glocal.session.settings import Settings
from ray_glocal.session.state.generators import undisturbed
from ray_glocal.session.validation import ValidationBatches
from ray_glocal.validation.case import Case
from ray_glocal.validation.data import drawn, factors_of
from ray_glocal.validation.estimates import Estimates, Estimator, OnWindow, Pooled, estimates
from ray_glocal.validation.recording import Plan, RecordedRun, record_cases
from ray_glocal.validation.scores import Score, ceiling, score
from ray_glocal.validation.trust import Trust, judge_trust
from ray_glocal.validation.tuning import FIRST, LAST

YARDSTICKS = ("last", "mean")


@dataclass(frozen=True, eq=False)
class Validation:
    """Estimators of the final hypergradient, held against the truth on one problem; `str` is a table.

    Args:
        cases: The recorded windows with their truths.
        scores: By hyperparameter, then by estimator; the cosine of each is taken over its entries and windows.
        trust: By hyperparameter: whether the truth itself, by automatic differentiation, can be trusted.
        ceiling: How often one future's truth has the sign of the others' mean; NaN with a single future.
    """

    cases: tuple[Case, ...]
    scores: Mapping[str, Mapping[str, Score]]
    trust: Mapping[str, Trust]
    ceiling: float

    @property
    def trustworthy(self) -> bool:
        """Whether no hyperparameter's hypergradient is found not trustworthy."""
        return all(each.verdict != "not trustworthy" for each in self.trust.values())

    def __str__(self) -> str:
        """Scores for each hyperparameter, then what differences of real runs say."""
        header = ("hyperparameter", "estimator", "sign", "cosine", "error", "coverage", "acted on", "sign acted on")
        lines: list[tuple[str, ...]] = [header]
        for name, scores in self.scores.items():
            for index, (estimator, found) in enumerate(scores.items()):
                shares = (found.sign, found.cosine, found.error, found.coverage, found.acted, found.acted_sign)
                lines.append((name if index == 0 else "", estimator, *(f"{share:.2f}" for share in shares)))
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        table = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        first = self.cases[0]
        sizes = ", ".join(f"{size:g}" for size in first.step_sizes)
        return "\n".join(
            [
                f"{len(self.cases)} windows of {len(first.lag)} steps, each with {len(first.truths)} futures.",
                table,
                f"Exact hypergradients against differences of real runs, {sizes} to either side:",
                *(f"{name}: {trust.sentence}" for name, trust in self.trust.items()),
            ]
        )


def validate(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_loss: Loss,
    val_loss: Loss,
    *,
    train_batches: Iterable[Any],
    val_batches: Iterable[Any],
    hyper: Adapted | Sequence[Hyperparameter],
    total_steps: int,
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    settings: Settings | None = None,
    windows: int = 4,  # untested
    futures: int = 2,  # untested
    horizon: int | None = None,
    forecasters: Sequence[str] | None = None,
    step_sizes: Sequence[float] = (1e-2, 1e-3),  # untested
    seed: int = 0,
) -> Validation:
    """Train at the start values, compute exact final hypergradients of some windows, and score forecasters by them.

    Model, optimizer, scheduler and random generators come back bit for bit. Every window costs, for each future, an
    exact hypergradient of all that remains (memory: a copy of the state for each of those steps), and for each
    hyperparameter and step size two runs of what remains.

    Args:
        model: As of `GlocalSession`, like the next three.
        optimizer: The optimizer.
        train_loss: The inner objective.
        val_loss: The outer objective.
        train_batches: Re-iterable training batches.
        val_batches: Re-iterable validation batches; the truth is taken on all of them.
        hyper: What is to be adapted; the run keeps the start values.
        total_steps: Inner steps of the whole training.
        lr_scheduler: The run's learning-rate scheduler.
        settings: Window length, engine, validation batches of a window, forecaster and gate.
        windows: Windows, spread over training.
        futures: Orders of the batches after a window that its truth averages over.
        horizon: Inner steps from a window's start to its truth; to the end of training by default.
        forecasters: Names of registered forecasters; by default `last`, `mean` and that of the settings, which also
            pools each window with the earlier ones of its duty cycle.
        step_sizes: Half widths, in coordinates, of the differences that the exact hypergradient must agree with.
        seed: Of the orders of the batches.

    Returns:
        A `Validation`; print it. `scores[name][forecaster]` holds `sign`, `cosine`, `error`, `coverage`, `acted` and
        `acted_sign` of a hyperparameter's estimates, `trust[name]` the `verdict` on its exact hypergradient and the
        `sentence` that says why, `ceiling` how often one future's truth has the sign of the others' mean, `cases` the
        recorded windows with their truths; `trustworthy` is whether no verdict is "not trustworthy".

    Raises:
        ArgumentError: Arguments that `Problem`, `Schedule`, `forecaster` or `finite_differences` refuse; batches that
            can be used once only; too few steps, windows or futures; or a run that breaks down within its first
            window.
    """
    chosen = replace(settings or Settings(), hypergradients="windows")
    named = {name: forecaster(name) for name in forecasters or dict.fromkeys((*YARDSTICKS, chosen.forecaster))}
    hyperparameters = adapted_of(hyper).hyperparameters
    ValidationBatches(val_batches, chosen.batches_per_window)  # refuses what a session would
    with _untouched(optimizer), undisturbed(val_batches):
        problem = Problem(model, optimizer, train_loss, val_loss, hyperparameters)
        forward = chosen.engine == "forward" or (chosen.engine == "auto" and problem.size == 1)
        plan = _plan(_starts(total_steps, windows, chosen.window), chosen, futures, horizon, step_sizes)
        whole, own = list(val_batches), drawn(train_batches, seed, total_steps)
        _check_read(problem, own[0], whole[0])
        factors = factors_of(lr_scheduler, problem, total_steps)
        recorded = RecordedRun(own, lambda draw: drawn(train_batches, seed + 1 + draw, total_steps), whole, factors)
        cases = record_cases(problem, recorded, problem.start_values(), replace(plan, forward=forward), "validate")
    if not cases:
        rule = "let training survive its first window; its losses or hypergradients are not finite"
        raise ArgumentError("hyper", rule, problem.start_values(), "Lower the learning rate.")
    estimators: dict[str, Estimator] = {n: OnWindow(made, "forward" if forward else "lag") for n, made in named.items()}
    estimators |= {f"{name}, pooled": Pooled(made) for name, made in named.items() if name == chosen.forecaster}
    return _held(problem, cases, estimators, chosen)


def _plan(
    starts: tuple[int, ...], settings: Settings, futures: int, horizon: int | None, step_sizes: Sequence[float]
) -> Plan:
    """What to record: windows as a session records them, and the earlier ones of their duty cycle."""
    if horizon is not None and horizon <= settings.window:
        remedy = "Leave it out for the end of training."
        raise ArgumentError("horizon", f"be more than a window, {settings.window} steps", horizon, remedy)
    if not step_sizes or not all(size > 0 for size in step_sizes):
        remedy = "Hand one half width or more, such as (1e-2, 1e-3)."
        raise ArgumentError("step_sizes", "be positive", tuple(step_sizes), remedy)
    return Plan(
        starts,
        settings.window,
        earlier=KEPT - 1,
        spacing=settings.period,
        futures=futures,
        val_batches=settings.batches_per_window,
        step_sizes=tuple(step_sizes),
        ahead=horizon,
    )


@contextmanager
def _untouched(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Options that a session or schedule left in the optimizer's groups come back; a new problem clears some."""
    kept = OptimizerState.of(optimizer)
    try:
        yield
    finally:
        kept.restore(optimizer)


def _check_read(problem: Problem, batch: Any, val_batch: Any) -> None:
    """Refuse a name that neither the optimizer nor a loss knows, before hours are spent on it."""
    with problem.rewound(), torch.no_grad():
        leaves = problem.leaves(problem.start_values(), differentiable=False)
        problem.train(batch, leaves)
        problem.validate(val_batch, leaves)
    unread = [b.hyperparameter.name for b in problem.bindings if b.field is None]
    unread = [name for name in unread if name not in problem.reads]
    if unread:
        raise ArgumentError("hyper", "name what the optimizer or a loss uses", unread[0], "Correct the name.")


def _starts(total: int, windows: int, length: int) -> tuple[int, ...]:
    """Where `windows` windows start, evenly spread over what leaves them room."""
    if windows < 1:
        raise ArgumentError(
            "windows", "be at least 1", windows, "It counts windows with their truths; leave it out for 4."
        )
    if total < length + windows:
        rule = f"leave room for {windows} windows of {length} steps with a step after each, {length + windows} or more"
        raise ArgumentError("total_steps", rule, total, "Train longer, or ask for fewer or shorter windows.")
    room = total - length - 1
    places = np.linspace(min(FIRST * total, room), min(LAST * total, room), windows)
    starts = np.unique(np.floor(places).astype(int))
    if len(starts) < windows:  # steps are so few that places coincide
        starts = np.arange(windows)
    return tuple(int(start) for start in starts)


def _held(problem: Problem, cases: list[Case], estimators: Mapping[str, Estimator], settings: Settings) -> Validation:
    """Score each estimator and judge the truth, hyperparameter by hyperparameter."""
    names = np.array([h.name for h in problem.hyperparameters for _ in range(h.size)])
    name_of = dict(zip(problem.labels, names, strict=True))
    scores: dict[str, dict[str, Score]] = {h.name: {} for h in problem.hyperparameters}
    for title, estimator in estimators.items():
        estimated = estimates(estimator, cases)
        estimated = replace(estimated, label=np.array([name_of[label] for label in estimated.label]))
        for name, found in scores.items():
            own = _whole(estimated.where(estimated.label == name))
            if len(own.mean):
                found[title] = score(own, settings)
    rounding = float(torch.finfo(problem.parameters[0].dtype).eps)
    trust = {name: _trust(cases, index, rounding) for index, name in enumerate(scores)}
    return Validation(tuple(cases), scores, trust, ceiling(cases))


def _whole(entries: Estimates) -> Estimates:
    """Entries of all windows as components of one vector."""
    return replace(entries, case=np.zeros_like(entries.case))


def _trust(cases: Sequence[Case], index: int, rounding: float) -> Trust:
    exact = np.array([case.truths[0] @ case.directions[index] for case in cases])
    differences = np.array([case.differences[:, index] for case in cases])
    losses = np.array([case.final_losses[0] for case in cases])
    return judge_trust(exact, differences, cases[0].step_sizes, losses, rounding)
