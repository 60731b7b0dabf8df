"""The searcher: covers the discrete configurations, then seeds new trials from those that learned most.

Proposals are pure functions of the ledger, the space and the seed (`ray_glocal.scheduling.seeding`); this file turns
Tune's hooks into events and proposals into configurations.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Added, Completed, Errored
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.seeding import Proposal, first_coverage, propose
from ray_glocal.tune.adapt import ANCESTOR, nothing_continuous
from ray_glocal.tune.decisions import in_the_users_terms
from ray_glocal.tune.reading import Reading, check_mode, flat_config
from ray_glocal.tune.space import Split, split

_UNCOUNTED = 64  # samples to reckon with where their number is not known

logger = logging.getLogger(__name__)


class GlocalSearch(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Proposes trials for Tune: stratified coverage first, then seeding from the best so far.

    While all discrete configurations take no more than half of the samples, each is proposed once before any is
    repeated; of a larger space, about a quarter of the samples cover every value evenly. Afterwards the discrete values
    are those of the largest expected improvement under a Gaussian process over configurations, fed with forecast final
    losses and their deviations: additive effects, joint effects where the trials speak for them, and numbers know their
    order. Start values come from the adapted values of the nearest kin, slightly varied, and weights from its
    checkpoint once it has ended. One proposal in five explores fresh start values. `proposals()` tells the reasons.
    `tune.grid_search` counts as a choice: the number of trials is `num_samples`.

    Weights are handed down with `GlocalScheduler`, which sees checkpoints; under another scheduler only values are.

    Args:
        space: An ordinary Tune space.
        metric: Key of the value that is optimised; None to take it from Tune or from the scheduler.
        mode: "min" or "max", likewise.
        seed: Seed of all proposals.
        weights: Whether a seeded trial may start from its ancestor's weights.
        adapt: Names to adapt; None for every continuous domain.
        max_concurrent: Trials at a time; None for as many as the cluster holds.

    Raises:
        ArgumentError: Nothing in `space` is continuous, or nothing is discrete, or an argument is out of its range.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        metric: str | None = None,
        mode: str | None = None,
        *,
        seed: int = 0,
        weights: bool = True,
        adapt: Sequence[str] | None = None,
        max_concurrent: int | None = None,
    ) -> None:
        if mode is not None:
            check_mode(mode, metric or "")  # Ray's own complaint is a bare assertion
        super().__init__(metric=metric, mode=mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        _check_whole("seed", seed, 0)
        if max_concurrent is not None:
            _check_whole("max_concurrent", max_concurrent, 1)
        self._own = self._issued = _checked(split(space, adapt=adapt))
        self._adapt = adapt
        self._seed, self._weights, self._max_concurrent = int(seed), weights, max_concurrent
        self._samples: int | None = None
        self._linked = False  # whether a GlocalScheduler records the events, and sees more of them
        self.reading = Reading(metric, mode) if metric and mode else None
        self.ledger = Ledger()

    @property
    def weights(self) -> bool:
        """Whether seeded trials may start from their ancestor's weights."""
        return self._weights

    def link(self, reading: Reading) -> None:
        """Leave the recording to a scheduler that shares the ledger and reads results by `reading`."""
        self._linked, self.reading = True, reading
        self._metric, self._mode = reading.metric, reading.mode

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any] | None, **spec: Any
    ) -> bool:
        """Take what Tune was told: metric and mode, the number of samples, and its copy of the space.

        A `config` that holds the same domains as the searcher's own space, as in `tune.run(train, config=space)`, is
        what proposals are issued from, since Tune has put placeholders into it for the objects it cannot save.
        Constants in it reach every trial.

        Raises:
            ArgumentError: `metric` or `mode` contradict the searcher's own, or `config` holds other domains.
        """
        self._metric = _agreed("metric", self._metric, metric)
        self._mode = _agreed("mode", self._mode, mode)
        if self._metric and self._mode and not self._linked:
            self.reading = Reading(self._metric, self._mode)
        samples = spec.get("num_samples")
        self._samples = samples if samples and samples < sys.maxsize else None
        self._issued = self._agreed_space(config or {})
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next configuration, or None while `max_concurrent` proposals are live.

        The space never runs out, since start values are continuous: `num_samples` ends the experiment.

        Raises:
            ArgumentError: Nobody has said which metric to optimise.
        """
        if self.reading is None:
            Reading(self._metric or "", self._mode or "")
        if self._max_concurrent is not None and len(self.ledger.live) >= self._max_concurrent:
            return None
        index = self.ledger.proposals
        proposal = self._propose()
        # A stream of its own, apart from the one that the proposal was drawn from.
        config = self._issued.config(proposal.levels, proposal.start, np.random.default_rng([self._seed, index, 1]))
        flat, reason = flat_config(config), proposal.reason
        if proposal.ancestor is not None:
            checkpoint = self._checkpoint(proposal)
            config[ANCESTOR] = {"trial": proposal.ancestor, "checkpoint": checkpoint}
            reason += " Its weights too." if checkpoint else " Not its weights: it runs on, or has none to hand down."
        self.ledger.record(
            Added(trial_id, flat, 0, proposal.ancestor, proposal.levels, proposal.start, proposal.origin, reason)
        )
        return config

    def proposals(self) -> list[dict[str, Any]]:
        """Every proposal so far, oldest first, and why: trial, origin, ancestor, reason, discrete values, start values.

        The origin is "cover" (the first look at the space), "seed" (start values, and weights where it can be, from
        the ancestor) or "explore" (fresh start values).
        """
        added = [record.added for record in self.ledger.trials.values() if record.added.proposed]
        return [self._row(event) for event in added]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record a report, unless a scheduler that shares the ledger has done so already."""
        if self.reading is not None and not self._linked:
            report = self.reading.report(trial_id, result)
            if report is not None:
                self.ledger.record(report)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record the end of a trial; where a scheduler shares the ledger, it has done so already and knows more."""
        record = self.ledger.trial(trial_id)
        if record is None or not record.running:
            return
        if result:
            self.on_trial_result(trial_id, result)
        ended = Errored(trial_id, record.attempt) if error else Completed(trial_id, record.attempt)
        self.ledger.record(ended)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Take the limit of a `ConcurrencyLimiter`, or of Tune's `max_concurrent_trials`, as our own."""
        self._max_concurrent = max_concurrent
        return True

    def save(self, checkpoint_path: str) -> None:
        """Write the ledger, which is all there is to save, as lines of JSON."""
        Path(checkpoint_path).write_text(journal.write(self.ledger), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Fill the ledger from a file written by `save`, in place, so that the scheduler sees it too.

        Raises:
            ArgumentError: The file is not a ledger of this version.
        """
        restored = journal.read(Path(checkpoint_path).read_text(encoding="utf-8"))
        if restored.torn:
            logger.warning("%s: %s", checkpoint_path, restored.torn)
        self.ledger.replace(restored)

    def _propose(self) -> Proposal:
        return propose(self.ledger, self._issued.space, self._seed, self._cover)

    def _row(self, event: Added) -> dict[str, Any]:
        names = tuple(d.name for d in self._own.discrete)
        discrete = {k: v for k, v in event.config.items() if k in names or k.startswith(tuple(n + "/" for n in names))}
        reason = event.reason if self.reading is None else in_the_users_terms(event.reason, self.reading)
        return {
            "trial": event.trial,
            "origin": event.origin,
            "ancestor": event.ancestor,
            "reason": reason,
            "discrete": discrete,
            "start": dict(event.start),
        }

    @property
    def _cover(self) -> int:
        return first_coverage(self._issued.space, _UNCOUNTED if self._samples is None else self._samples)

    def _checkpoint(self, proposal: Proposal) -> str | None:
        """The ancestor's checkpoint, once it has ended: those of a running trial may be deleted at any time."""
        ancestor = self.ledger.trial(proposal.ancestor or "")
        return ancestor.checkpoint if self._weights and ancestor and ancestor.status == "completed" else None

    def _agreed_space(self, config: Mapping[str, Any]) -> Split:
        own = self._own
        passed = {"/".join(p) for p in _domains(split(config))}
        if not passed:
            return own  # constants in `config` are merged in by Tune itself
        names = {"/".join(p) for p in _domains(own)}
        if passed != names:
            rule = f"hold the same domains as the searcher's space, {sorted(names)}"
            raise ArgumentError("config", rule, sorted(passed), "Pass the same dict to both, or to the searcher only.")
        return _checked(split(config, adapt=self._adapt))


def _domains(parts: Split) -> list[tuple[str, ...]]:
    return [c.path for c in parts.continuous] + [d.path for d in parts.discrete]


def _checked(parts: Split) -> Split:
    if not parts.continuous:
        raise nothing_continuous(parts.source)
    if not parts.discrete:
        rule = "hold at least one discrete domain to search across trials"
        remedy = (
            'Add e.g. "width": tune.choice([64, 128]), or a choice of one value to vary start values only; '
            "a single GlocalSession needs no searcher."
        )
        raise ArgumentError("space", rule, sorted(parts.source), remedy)
    return parts


def _agreed(argument: str, own: str | None, told: str | None) -> str | None:
    if own and told and own != told:
        remedy = f"Say it in one place: GlocalSearch was given {own!r}."
        raise ArgumentError(argument, f"be what the searcher was given, {own!r}", told, remedy)
    return own or told


def _check_whole(argument: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(argument, f"be a whole number of at least {least}", value)
