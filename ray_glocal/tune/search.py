"""The searcher: covers the discrete configurations, then seeds new trials from those that learned most.

Proposals are pure functions of the ledger, the space and the seed (`ray_glocal.scheduling.seeding`); this file turns
Tune's hooks into events and proposals into configurations.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.attained import Lowest
from ray_glocal.scheduling.event import REPEATED, Added, Completed, Errored, Settled
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.proposed import ProposedTrials
from ray_glocal.scheduling.seeding import Proposal, first_coverage, joined, propose
from ray_glocal.scheduling.snapshot import LedgerSnapshot
from ray_glocal.tune.changes import matched, unlike
from ray_glocal.tune.domains import agreed_space, searchable, warn_of_grids
from ray_glocal.tune.ledger_file import recovered
from ray_glocal.tune.proposer import Proposer, Suggestion
from ray_glocal.tune.reading import Reading, agreed, check_mode, flat_config
from ray_glocal.tune.roles import table
from ray_glocal.tune.space import split
from ray_glocal.tune.storage import fetch
from ray_glocal.tune.tuning import UNCOUNTED

_SAMPLES = "num_samples"  # the setting under which the ledger knows it

_BESIDE = ".discrete"  # ending of the file beside ours into which another searcher saves its state
_DISCRETE_FILE = "glocal-discrete-{}.pkl"  # in an experiment's folder, of which Tune brings back *.pkl and *.json

logger = logging.getLogger(__name__)


class GlocalSearch(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Proposes trials for Tune: stratified coverage first, then seeding from the best so far.

    While all discrete configurations take no more than half of the samples, each is proposed once before any is
    repeated; of a larger space, about a quarter of the samples cover every value evenly. Afterwards the discrete values
    are those of the largest expected improvement under a Gaussian process over configurations, fed with forecast final
    losses and their deviations: additive effects, joint effects where the trials speak for them, and numbers know their
    order. Start values come from the adapted values of the nearest trial, slightly varied, and weights from its
    checkpoint once it has ended. One proposal in ten explores fresh start values. `proposals()` tells the reasons.
    `tune.grid_search` counts as a choice: the number of trials is `num_samples`.

    A trial that trains a differentiable relaxation of a choice among positive numbers (a width multiplier, a dropout
    rate) may report `elasticity/<name>`, the relative change of its final loss per e-fold: the slope between that value
    and its neighbours is learned from too.

    Weights are handed down with `GlocalScheduler`, which sees checkpoints; under another scheduler only values are.

    Args:
        space: An ordinary Tune space.
        metric: Key of the value that is optimised; None to take it from Tune or from the scheduler.
        mode: "min" or "max", likewise.
        seed: Seed of all proposals.
        weights: Whether a seeded trial may start from its ancestor's weights.
        discrete: A searcher of Tune's, e.g. `OptunaSearch(seed=0)`, that proposes the discrete values in the model's
            place; it is told each trial's forecast final metric. Start values and weights are handed down as ever.
        adapt: Names to adapt; None for every continuous domain.
        max_concurrent: Trials at a time; None for as many as the cluster holds.
        from_experiment: Folder or URI of an earlier experiment with the same hyperparameters: its trials count as this
            one's, so that the search goes on where that ended, with as many further samples as you like.

    Examples:
        >>> from ray import tune
        >>> space = {"width": tune.choice([64, 128]), "lr": tune.loguniform(1e-4, 1.0)}
        >>> search = GlocalSearch(space, metric="val_loss", mode="min", seed=0)
        >>> "lr" in search.overview()
        True

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
        discrete: Any = None,
        adapt: Sequence[str] | None = None,
        max_concurrent: int | None = None,
        from_experiment: str | Path | None = None,
    ) -> None:
        if mode is not None:
            check_mode(mode, metric or "")  # Ray's own complaint is a bare assertion
        super().__init__(metric=metric, mode=mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        _check_whole("seed", seed, 0, "Leave it out for 0.")
        if max_concurrent is not None:
            _check_whole("max_concurrent", max_concurrent, 1, "Leave it out for as many trials as Tune asks for.")
        self._own = self._issued = searchable(split(space, adapt=adapt))
        self._adapt = adapt
        self._seed, self._weights, self._max_concurrent = int(seed), weights, max_concurrent
        if isinstance(discrete, GlocalSearch):
            raise ArgumentError("discrete", "be another searcher than ours", discrete, "Leave it out for our own.")
        # Not `searcher`: Tune looks for that name, to find the searcher inside a limiter.
        self._proposer = None if discrete is None else Proposer(discrete)
        self._spec: dict[str, Any] = {}
        self._samples: int | None = None
        self._linked = False  # whether a GlocalScheduler records the events, and sees more of them
        self._before_save: Callable[[], None] | None = None
        self._unlike: ArgumentError | None = None  # what is wrong with a restored memory
        self.reading = Reading(metric, mode, slopes=self.ordinal) if metric and mode else None
        self.ledger = Ledger()
        self._snapshot = LedgerSnapshot(self.ledger)
        if from_experiment is not None:
            self._learn_from(from_experiment)

    @property
    def weights(self) -> bool:
        """Whether seeded trials may start from their ancestor's weights."""
        return self._weights

    @property
    def ordinal(self) -> tuple[str, ...]:
        """Discrete hyperparameters that are positive numbers: a trial may report how its loss changes with them."""
        return tuple(factor.name for factor in self._own.space.factors if factor.logs is not None)

    def link(self, reading: Reading, before_save: Callable[[], None]) -> None:
        """Leave the recording to a scheduler that shares the ledger and reads results by `reading`.

        `before_save` is called before the ledger is saved, which Tune asks for once more when everything is over.
        """
        self._linked, self.reading, self._before_save = True, reading, before_save
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
        self._metric = agreed("metric", self._metric, metric)
        self._mode = agreed("mode", self._mode, mode)
        if self._metric and self._mode and not self._linked:
            self.reading = Reading(self._metric, self._mode, slopes=self.ordinal)
        samples = spec.get("num_samples")
        self._samples = samples if samples and samples < sys.maxsize else None
        self._spec = spec
        self._issued = agreed_space(self._own, config or {}, self._adapt)
        warn_of_grids(self._own, self._samples)
        logger.info("What becomes of the space:\n%s", self.overview())
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next configuration, or None while `max_concurrent` proposals are live.

        The space never runs out, since start values are continuous: `num_samples` ends the experiment. Where another
        searcher proposes the discrete values, its None and its `Searcher.FINISHED` are passed on.

        Raises:
            ArgumentError: Nobody has said which metric to optimise, the other searcher has a space of its own, or the
                space is not that of the experiment that is resumed.
        """
        reading = self.reading or Reading(self._metric or "", self._mode or "")
        self.check_resumed()
        if self._max_concurrent is not None and self.ledger.at_work >= self._max_concurrent:
            return None
        if self._proposer is None:
            return self._issue(trial_id, self._propose())
        self._proposer.prepare(self._issued, reading.metric, reading.mode, self._spec)
        suggestion = self._proposer.suggest(trial_id, self._issued)
        if not isinstance(suggestion, Suggestion):
            return suggestion
        chosen = (suggestion.levels, self._proposer.name)
        proposal = joined(self.ledger, self._issued.space, self._seed, self._cover, *chosen)
        return self._issue(trial_id, proposal, suggestion.values)

    def check_resumed(self) -> None:
        """Complain about a restored memory of another space; `restore` must not, for Tune would begin all over again.

        Raises:
            ArgumentError: The space has other hyperparameters than the trials of the experiment that is resumed.
        """
        if self._unlike is not None:
            raise self._unlike

    def overview(self) -> str:
        """What becomes of each entry of the space, and why, a line each: adapted, searched, drawn or untouched."""
        return table(self._own)

    def proposals(self) -> list[dict[str, Any]]:
        """Every proposal so far, oldest first: trial, origin, ancestor, reason, discrete values, start values, weights.

        The origin is "cover" (the first look at the space), "seed" (start values, and weights where it can be, from
        the ancestor), "explore" (fresh start values) or "repeat" (by Tune's `Repeater`). The weights are the address of
        the ancestor's checkpoint that the trial starts from, or None.
        """
        added = [record.added for record in self.ledger.trials.values() if record.added.proposed]
        return [self._row(event) for event in added]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record a report, unless a scheduler that shares the ledger has done so already."""
        if self.reading is not None and not self._linked:
            report = self.reading.report(trial_id, result, self.ledger.view(Lowest()).lowest)
            if report is not None:
                self.ledger.record(report)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record the end of a trial; where a scheduler shares the ledger, it has done so already and knows more."""
        record = self.ledger.trial(trial_id)
        if record is not None and record.running:
            if result:
                self.on_trial_result(trial_id, result)
            ended = Errored(trial_id, record.attempt) if error else Completed(trial_id, record.attempt)
            self.ledger.record(ended)
        if self._proposer is not None and self.reading is not None:
            self._proposer.end(trial_id, self.reading.metric, self._final(trial_id), result)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Take the limit of a `ConcurrencyLimiter`, or of Tune's `max_concurrent_trials`, as our own."""
        self._max_concurrent = max_concurrent
        return True

    def save(self, checkpoint_path: str) -> None:
        """Write the ledger as lines of JSON, whole or not at all, and beside it another searcher's state.

        A full disk is said and tried again with Tune's next snapshot; raising would end the experiment.
        """
        if self._before_save is not None:
            self._before_save()
        try:
            self._snapshot.write(Path(checkpoint_path))
            if self._proposer is not None:
                self._proposer.save(Path(checkpoint_path + _BESIDE))
        except OSError as error:
            logger.error("The ledger could not be saved to %s: %s", checkpoint_path, error)

    def restore(self, checkpoint_path: str) -> None:
        """Fill the ledger from a file written by `save`, in place, so that the scheduler sees it too.

        What cannot be read is said and kept aside, and the rest is used; raising would make Tune begin the whole
        experiment again.
        """
        self._restore(Path(checkpoint_path), Path(checkpoint_path + _BESIDE))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write into an experiment's folder: under names by which Tune brings both files back, each whole or not."""
        folder = Path(checkpoint_dir)
        name, beside = self.CKPT_FILE_TMPL.format(session_str), _DISCRETE_FILE.format(session_str)
        self.save(str(folder / name))
        written = folder / (name + _BESIDE)
        if written.exists():
            written.replace(folder / beside)

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Read what `save_to_dir` wrote last.

        Raises:
            ArgumentError: The folder holds no such file.
        """
        self._restore_newest(Path(checkpoint_dir), "checkpoint_dir", checkpoint_dir)

    def _restore_newest(self, folder: Path, argument: str, named: object) -> None:
        """Read what was written last into a folder, which is what an argument named or was fetched from there."""
        saved = sorted(folder.glob(self.CKPT_FILE_TMPL.format("*")))
        if not saved:
            rule = f"hold a file {self.CKPT_FILE_TMPL.format('*')}"
            raise ArgumentError(argument, rule, named, "Name the folder of an experiment under a GlocalSearch.")
        prefix, suffix = self.CKPT_FILE_TMPL.split("{}")
        session = saved[-1].name.removeprefix(prefix).removesuffix(suffix)
        self._restore(saved[-1], saved[-1].with_name(_DISCRETE_FILE.format(session)))

    def _learn_from(self, experiment: str | Path) -> None:
        """Begin with the memory of another experiment; what ran there when it was saved is given up.

        Raises:
            ArgumentError: There is no memory of a `GlocalSearch`, or it is of other hyperparameters.
        """
        with tempfile.TemporaryDirectory() as folder:
            fetch(experiment, folder, self.CKPT_FILE_TMPL.format("*"), _DISCRETE_FILE.format("*"))
            self._restore_newest(Path(folder), "from_experiment", str(experiment))
        self.check_resumed()
        self.ledger.extend(self.ledger.given_up())

    def _restore(self, path: Path, beside: Path) -> None:
        restored = recovered(path)
        self._unlike = unlike(restored, self._issued)
        self.ledger.replace(restored if self._unlike else matched(restored, self._issued))
        if self._proposer is not None:
            self._proposer.restore(beside, self.ledger.away)

    def _issue(self, trial: str, proposal: Proposal, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Record a proposal, and turn it into a configuration."""
        # A stream of its own, apart from the one that the proposal was drawn from.
        rng = np.random.default_rng([self._seed, self.ledger.proposals, 1])
        config = self._issued.config(proposal.levels, proposal.start, rng, values)
        reason, weights = proposal.reason, self._checkpoint(proposal)
        if proposal.ancestor is not None:
            reason += " Its weights too." if weights else " Not its weights: it runs on, or has none to hand down."
        self.ledger.record(Settled(_SAMPLES, self._samples or UNCOUNTED))  # the first time only
        origins = proposal.ancestor, proposal.levels, proposal.start, proposal.origin, reason, weights
        self.ledger.record(Added(trial, flat_config(config), 0, *origins))
        return config

    def repeated(self, trial: str, config: Mapping[str, Any]) -> Added | None:
        """What a trial is that has the configuration of the latest proposal: a repetition, as Tune's `Repeater` makes.

        Each is a trial of that configuration, with its start values and its ancestor; None for any other trial.
        """
        proposed, own = self.ledger.last_proposal, flat_config(config)
        if proposed is None or not proposed.levels or not proposed.config.items() <= own.items():
            return None
        reason = f"Repeats trial {proposed.trial}."
        return dataclasses.replace(proposed, trial=trial, attempt=0, origin=REPEATED, reason=reason)

    def _final(self, trial: str) -> float | None:
        """The final metric of a trial that has ended, by its forecast where it was pruned; None where it failed."""
        table, record = self.ledger.view(ProposedTrials(self._issued.space)), self.ledger.trial(trial)
        if record is None or not record.usable or not table.knows(trial) or self.reading is None:
            return None
        return self.reading.sign * table.expected(trial)

    def _propose(self) -> Proposal:
        return propose(self.ledger, self._issued.space, self._seed, self._cover)

    def _row(self, event: Added) -> dict[str, Any]:
        names = tuple(d.name for d in self._own.discrete)
        discrete = {k: v for k, v in event.config.items() if k in names or k.startswith(tuple(n + "/" for n in names))}
        reason = event.reason if self.reading is None else self.reading.rephrased(event.reason)
        return {
            "trial": event.trial,
            "origin": event.origin,
            "ancestor": event.ancestor,
            "reason": reason,
            "discrete": discrete,
            "start": dict(event.start),
            "weights": event.weights,
        }

    @property
    def _cover(self) -> int:
        """How many proposals come before any is learned from.

        The number of samples is the one that the experiment began with, as it is for Tune: `Tuner.restore` tells a
        searcher nothing, or that it is 1.
        """
        samples = self.ledger.settled(_SAMPLES) or self._samples or UNCOUNTED
        return first_coverage(self._issued.space, int(samples))

    def _checkpoint(self, proposal: Proposal) -> str | None:
        """The ancestor's checkpoint, once it has ended: those of a running trial may be deleted at any time."""
        ancestor = self.ledger.trial(proposal.ancestor or "")
        return ancestor.checkpoint if self._weights and ancestor and ancestor.status == "completed" else None


def _check_whole(argument: str, value: object, least: int, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(argument, f"be a whole number of at least {least}", value, remedy)
