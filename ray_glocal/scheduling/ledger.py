"""The one mutable memory of an experiment: an append-only record of events, and views computed from it.

Every decision is a pure function of the ledger. An event whose key is known is a repetition and changes nothing, so
results that are replayed after a recovery, iterations that go back, and duplicate last results need no special care
anywhere else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported, Settled

Event = Added | Reported | Completed | Errored | Settled | Decision


class View(Protocol):
    """An accumulator over events, whose answers depend on nothing but the events it was given."""

    def add(self, event: Event) -> None:
        """Take one event into account."""
        ...


V = TypeVar("V", bound=View)
V_co = TypeVar("V_co", bound=View, covariant=True)


class Definition(Protocol[V_co]):
    """What a view computes: hashable, so that equal definitions share one view."""

    def __hash__(self) -> int: ...

    def start(self) -> V_co:
        """The view of an empty ledger."""
        ...


@dataclass
class Record:
    """What the ledger knows about one trial.

    Args:
        added: How it was first added.
        attempt: Its current attempt.
        status: "live", "retrying" (failed, and Tune will bring it back), "completed", "errored" or "lost".
        latest: Its report with the highest step.
        losses: (step, loss) of its reports in the order of arrival.
        checkpoint: Address of its last persisted checkpoint, once completed.
        pruned: Whether a rule ended it.
        diverged: Whether it ever reported a non-finite loss.
    """

    added: Added
    attempt: int = 0
    status: str = "live"
    latest: Reported | None = None
    losses: list[tuple[float, float]] = field(default_factory=list)
    checkpoint: str | None = None
    pruned: bool = False
    diverged: bool = False

    @property
    def running(self) -> bool:
        """Whether the trial is live or will be again without anybody asking."""
        return self.status in ("live", "retrying")

    @property
    def usable(self) -> bool:
        """Whether the trial has a finite forecast and did not fail: worth comparing with, worth learning from."""
        return self.latest is not None and not self.diverged and self.status != "errored"


class Ledger:
    """Append-only record of events; idempotent by event key.

    Args:
        events: Events to begin with.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.torn = ""  # the sentence about a record that was lost on loading; empty where none was
        self.edition = 0  # how often it was replaced: a position among its events is one of the same edition
        self._clear()
        self.extend(events)

    def record(self, event: Event) -> bool:
        """Append `event`; return False, changing nothing, where its key is already known."""
        if isinstance(event, Added | Reported | Completed | Errored):
            self._away.discard(event.trial)
        if event.key in self._keys:
            return False
        self._keys.add(event.key)
        self._events.append(event)
        self._apply(event)
        for view in self._views.values():
            view.add(event)
        return True

    def extend(self, events: Iterable[Event]) -> None:
        """Record each of `events`."""
        for event in events:
            self.record(event)

    def replace(self, other: Ledger) -> None:
        """Become `other` in place: whoever holds this ledger sees the restored memory.

        What was live then is away until an event tells of it again, or `back` does: memory may be newer than the
        restored experiment, and trials that never come back must not count as live.
        """
        events, torn = other.events, other.torn
        self.edition += 1
        self._clear()
        self.extend(events)
        self.torn = torn
        self._away.update(self._live)

    def back(self, trial: str) -> None:
        """Note that a restored experiment knows `trial`."""
        self._away.discard(trial)

    @property
    def away(self) -> frozenset[str]:
        """Trials that were live in a restored ledger and that nobody has told of since."""
        return frozenset(self._away)

    def given_up(self) -> tuple[Errored, ...]:
        """The ends of those that are away, for whoever knows that they will not come back."""
        return tuple(Errored(trial, self._trials[trial].attempt, lost=True) for trial in sorted(self._away))

    @property
    def events(self) -> tuple[Event, ...]:
        """All events, oldest first."""
        return tuple(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        # NaN is not equal to itself, but a ledger with a NaN in it is.
        return self._events == other._events or repr(self._events) == repr(other._events)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def since(self, position: int) -> Iterator[Event]:
        """Events from the `position`-th on."""
        return iter(self._events[position:])

    def view(self, definition: Definition[V]) -> V:
        """The view that `definition` describes, brought up to date once and kept so at the cost of each event."""
        if definition not in self._views:
            view = definition.start()
            for event in self._events:
                view.add(event)
            self._views[definition] = view
        return cast(V, self._views[definition])

    def trial(self, trial: str) -> Record | None:
        """What is known about `trial`."""
        return self._trials.get(trial)

    @property
    def trials(self) -> dict[str, Record]:
        """All trials by id, in the order in which they were first heard of."""
        return dict(self._trials)

    @property
    def live(self) -> frozenset[str]:
        """Trials that have not ended, without those that are away."""
        return frozenset(self._live - self._away)

    @property
    def at_work(self) -> int:
        """How many trials are live: Tune asks before each result, and a thousand need not be told by name."""
        return len(self._live) - len(self._away)  # who is away is live

    @property
    def proposals(self) -> int:
        """How many trials our own searcher has proposed, those among them whose proposal is lost."""
        return len(self._proposed)

    @property
    def last_proposal(self) -> Added | None:
        """The latest trial that our own searcher has proposed."""
        return next(reversed(self._proposed.values()), None)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, oldest first."""
        return tuple(self._decisions)

    def decided(self, trial: str, step: float) -> Decision | None:
        """What was answered to `trial` at `step`, the last where several rules answered."""
        return self._answers.get((trial, step))

    def settled(self, name: str) -> float | None:
        """The value of a setting that the experiment determined."""
        return self._settings.get(name)

    def best(self, trials: Iterable[str] | None = None) -> str | None:
        """The usable trial with the lowest forecast final loss, among `trials` or all; ties go to the older one."""
        candidates = self._trials if trials is None else {t: self._trials[t] for t in trials if t in self._trials}
        ranked = [(r.latest.final, i, t) for i, (t, r) in enumerate(candidates.items()) if r.usable and r.latest]
        return min(ranked)[2] if ranked else None

    def _clear(self) -> None:
        self._events: list[Event] = []
        self._keys: set[Hashable] = set()
        self._views: dict[Hashable, View] = {}
        self._trials: dict[str, Record] = {}
        self._live: set[str] = set()
        self._away: set[str] = set()
        self._proposed: dict[str, Added] = {}
        self._decisions: list[Decision] = []
        self._answers: dict[tuple[str, float], Decision] = {}
        self._settings: dict[str, float] = {}

    def _apply(self, event: Event) -> None:
        if isinstance(event, Settled):
            self._settings[event.name] = event.value
        elif isinstance(event, Added):
            self._add(event)
        elif isinstance(event, Reported):
            self._report(event)
        elif isinstance(event, Decision):
            self._decide(event)
        else:
            self._end(event)

    def _known(self, trial: str) -> Record:
        """The record of `trial`; one begins even where its addition was never seen, as after a torn record."""
        if trial not in self._trials:
            self._trials[trial] = Record(Added(trial))
            self._live.add(trial)
            # A memory older than the experiment; what has run is not to be proposed again.
            self._proposed[trial] = self._trials[trial].added
        return self._trials[trial]

    def _add(self, event: Added) -> None:
        if event.proposed and not event.repeats:
            self._proposed[event.trial] = event
        if event.trial not in self._trials:
            self._trials[event.trial] = Record(event, event.attempt)
        record = self._trials[event.trial]
        if event.attempt >= record.attempt:
            record.attempt, record.status = event.attempt, "live"
            self._live.add(event.trial)

    def _report(self, event: Reported) -> None:
        record = self._known(event.trial)
        record.losses.append((event.step, event.loss))
        record.diverged = record.diverged or not event.finite
        if record.latest is None or event.step > record.latest.step:
            record.latest = event

    def _decide(self, event: Decision) -> None:
        record = self._known(event.trial)
        record.pruned = record.pruned or event.prunes
        record.diverged = record.diverged or event.diverged
        self._decisions.append(event)
        self._answers[event.trial, event.step] = event

    def _end(self, event: Completed | Errored) -> None:
        record = self._known(event.trial)
        if event.attempt < record.attempt:
            return  # an old attempt's end arrives late; the trial has come back since
        if isinstance(event, Completed):
            record.status, record.checkpoint = "completed", event.checkpoint
        else:
            record.status = "retrying" if not event.final else "lost" if event.lost else "errored"
        if not record.running:
            self._live.discard(event.trial)
