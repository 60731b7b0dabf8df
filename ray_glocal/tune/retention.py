"""Which checkpoints of an experiment stay on disk: those that somebody may still ask for.

Tune keeps the checkpoint of every report by default. What may be asked for is less: of a trial that is not over, its
latest checkpoint, and the one that was the latest when the experiment's last snapshot in the storage was saved, for a
restored experiment goes on from there. Of a trial that has ended, its last one, and of that the weights alone once a
snapshot in the storage knows that it has ended, for nobody resumes it; but all of it where no trial that ended is
better. Trials that failed keep what they can be resumed from.

Hooks only note what is needed no more. Threads remove it when the storage holds a snapshot that names it no more.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType
from ray.tune import Checkpoint

from ray_glocal.errors import ArgumentError
from ray_glocal.names import CHECKPOINT, SESSION_FILE
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.session.state.checkpoint import RESUME
from ray_glocal.tune._compat import Trial, checkpoints_kept, drop_superseded, last_checkpoint, latest_of
from ray_glocal.tune.snapshots import Moment, Snapshots
from ray_glocal.tune.storage import UNREADABLE

KINDS = ("needed", "all")
PERIOD = 1.0  # seconds between looks at what has reached the storage
THREADS = 4  # a removal takes a storage elsewhere several requests
PATIENCE = 60.0  # seconds that a driver which ends waits for removals that are under way

_FOLDER = re.compile(CHECKPOINT + r"(\d{6,})")
_RESUME = re.compile(RESUME.format(".*"))

logger = logging.getLogger(__name__)


def check_kind(checkpoints: str) -> None:
    """Complain about a word that says nothing on which checkpoints are kept.

    Raises:
        ArgumentError: It is neither "needed" nor "all".
    """
    if checkpoints not in KINDS:
        remedy = "Numbers of checkpoints are for tune.CheckpointConfig(num_to_keep=...), which then decides alone."
        raise ArgumentError("checkpoints", "be 'needed' or 'all'", checkpoints, remedy)


def check_handing_down(trial: Trial) -> None:
    """Complain where Tune keeps so few checkpoints that descendants may lose the one that they start from.

    Raises:
        ArgumentError: `num_to_keep` is less than 3.
    """
    kept = checkpoints_kept(trial)
    if kept is not None and kept <= 2:
        rule = "be None or at least 3 while weights are handed down"
        remedy = (
            "A trial that is resumed after a failure would delete the checkpoint that its descendants start from. "
            "Set CheckpointConfig(num_to_keep=3) or more, or GlocalSearch(..., weights=False)."
        )
        raise ArgumentError("num_to_keep", rule, kept, remedy)


def resumable(checkpoint: Checkpoint) -> bool:
    """Whether a trial can go on from a checkpoint; also where nobody can tell, as on a network that is away."""
    try:
        names = {info.base_name for info in _inside(checkpoint.filesystem, checkpoint.path)}
        if SESSION_FILE in names:
            return any(_RESUME.fullmatch(name) for name in names)
        return bool(names or checkpoint.filesystem.get_file_info(checkpoint.path).type != FileType.NotFound)
    except UNREADABLE:
        return True


@dataclass(frozen=True)
class _Followed:
    """What was seen of a trial.

    Args:
        latest: Path of its latest checkpoint.
        before: Tune's time of the last snapshot that was saved before that was made; None where nobody looked.
        last: The same before now.
    """

    latest: str
    before: float | None
    last: float | None


@dataclass(frozen=True)
class _Due:
    """A removal that waits until the storage holds a snapshot that was saved after a moment."""

    after: Moment
    remove: Callable[[], None]


class Retention:
    """Removes the checkpoints of an experiment that are needed no more.

    Args:
        controller: Tune's controller, or what hooks get of it.
        ledger: Says which of two trials is better, and which checkpoints descendants start from.
    """

    def __init__(self, controller: object, ledger: Ledger) -> None:
        self._snapshots = Snapshots(controller)
        self._ledger = ledger
        self._followed: dict[str, _Followed] = {}
        # Threads see no trial: Ray's handles in one must not be let go of while another thread shuts Ray down.
        self._ended: dict[str, Callable[[], Checkpoint | None]] = {}  # latest checkpoints of trials that ended, by id
        self._best: str | None = None  # of those that ended
        self._lock = threading.Lock()
        self._at_once: deque[Callable[[], None]] = deque()
        self._due: deque[_Due] = deque()  # in the order of their moments
        self._threads: set[threading.Thread] = set()
        self._exits = threading.Event()
        self._complained = False

    # ---- hooks ----

    def follow(self, trial: Trial) -> None:
        """Let go of the checkpoints of a trial that its latest one has superseded."""
        self._forget_end(trial.trial_id)
        latest = self._latest(trial)
        if latest is None:
            return
        now = self._snapshots.now()
        known = self._followed.get(trial.trial_id, _Followed("", None, None))
        for old in drop_superseded(trial):
            before = known.before if old.path == known.latest else known.last
            if not self._starts_descendants(trial.trial_id, old.path):
                # What no snapshot was saved of can go at once: none will ever name it.
                self._later(partial(_remove, old.filesystem.delete_dir, old.path), None if before == now.saved else now)
        before = known.before if latest.path == known.latest else known.last
        self._followed[trial.trial_id] = _Followed(latest.path, before, now.saved)

    def restored(self, trial: Trial) -> None:
        """Let go of what an earlier driver left of a trial that goes on: what is older than its latest checkpoint."""
        self.follow(trial)
        latest = self._latest(trial)
        if latest is not None:
            self._later(partial(self._sweep, trial.trial_id, latest), self._snapshots.now())

    def end(self, trial: Trial) -> None:
        """Let go of all but the weights of a trial that has ended, or of the one that was the best before it."""
        self.follow(trial)
        self._followed.pop(trial.trial_id, None)
        if self._latest(trial) is None:
            return
        with self._lock:
            self._ended[trial.trial_id] = latest_of(trial)
        for name in (trial.trial_id, *self._dethroned(trial.trial_id)):
            latest = self._ended.get(name, _none)()
            if latest is not None:
                self._later(partial(self._reduce, name, latest), self._snapshots.now())

    def _latest(self, trial: Trial) -> Checkpoint | None:
        """A trial's latest checkpoint, if it has one and snapshots will tell what may go."""
        latest = last_checkpoint(trial)
        return latest if latest is not None and self._snapshots.come else None

    def _dethroned(self, name: str) -> tuple[str, ...]:
        """Let a trial be the best of those that ended if it is; the one that was, if there was one."""
        before = () if self._best is None else (self._best,)
        if self._best == name or self._ledger.best((*before, name)) != name:
            return ()
        self._best = name
        return before

    def _forget_end(self, name: str) -> None:
        """A trial may come back after its end."""
        with self._lock:
            self._ended.pop(name, None)

    def _starts_descendants(self, name: str, path: str) -> bool:
        """Whether the ledger names a checkpoint of a trial: it had ended once, and came back."""
        record = self._ledger.trial(name)
        return record is not None and record.checkpoint is not None and record.checkpoint.endswith(path)

    def _later(self, remove: Callable[[], None], after: Moment | None) -> None:
        with self._lock:
            if after is None:
                self._at_once.append(remove)
            else:
                self._due.append(_Due(after, remove))
            if len(self._threads) < min(THREADS, len(self._at_once) + len(self._due)):
                self._begin()

    # ---- threads ----

    def _begin(self) -> None:
        if not self._threads:
            atexit.register(self.finish)
        thread = threading.Thread(target=self._work, name="ray_glocal retention", daemon=True)
        self._threads.add(thread)
        thread.start()

    def finish(self) -> None:
        """Let a process that ends remove what it may; nothing more will reach the storage."""
        self._exits.set()
        for thread in list(self._threads):
            thread.join(PATIENCE)

    def _work(self) -> None:
        try:
            for remove in iter(self._next, None):
                self._try(remove)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                if not self._threads:
                    atexit.unregister(self.finish)

    def _next(self) -> Callable[[], None] | None:
        """What may be removed; waits for it as long as anything can come, and is None afterwards."""
        while True:
            last = self._exits.is_set() or self._snapshots.over
            self._snapshots.look()
            with self._lock:
                if self._at_once:
                    return self._at_once.popleft()
                if self._due and self._snapshots.hold(self._due[0].after):
                    return self._due.popleft().remove
                if last or not self._due:
                    return None
            self._exits.wait(PERIOD)

    def _try(self, remove: Callable[[], None]) -> None:
        try:
            remove()
        except UNREADABLE as error:
            if not self._complained:
                logger.warning("A checkpoint that is needed no more could not be removed, and is left: %s", error)
            self._complained = True

    def _sweep(self, name: str, latest: Checkpoint) -> None:
        number = _number(_name(latest))
        for old in _checkpoints(latest):
            if _number(old.base_name) < number and not self._starts_descendants(name, old.path):
                _remove(latest.filesystem.delete_dir, old.path)

    def _reduce(self, name: str, latest: Checkpoint) -> None:
        with self._lock:
            now = self._ended.get(name, _none)()
        if now is None or now.path != latest.path:
            return  # it has come back
        if name != self._best:
            _trim(latest)
        for other in _checkpoints(latest):
            if other.base_name != _name(latest):
                _remove(latest.filesystem.delete_dir, other.path)


def _none() -> None:
    """No checkpoint."""


def _checkpoints(latest: Checkpoint) -> Iterator[FileInfo]:
    """Folders of checkpoints of one trial."""
    for info in _inside(latest.filesystem, str(PurePosixPath(latest.path).parent)):
        if info.type == FileType.Directory and _FOLDER.fullmatch(info.base_name):
            yield info


def _trim(checkpoint: Checkpoint) -> None:
    """Remove what only an exact resume needs, where it is a checkpoint of a session."""
    files = {info.base_name: info.path for info in _inside(checkpoint.filesystem, checkpoint.path)}
    for name, path in files.items():
        if SESSION_FILE in files and _RESUME.fullmatch(name):
            _remove(checkpoint.filesystem.delete_file, path)


def _remove(delete: Callable[[str], None], path: str) -> None:
    """Remove a file or a folder, unless another thread was faster."""
    with suppress(FileNotFoundError):
        delete(path)


def _inside(filesystem: FileSystem, folder: str) -> list[FileInfo]:
    found: list[FileInfo] = filesystem.get_file_info(FileSelector(folder, allow_not_found=True))
    return found


def _name(checkpoint: Checkpoint) -> str:
    return PurePosixPath(checkpoint.path).name


def _number(name: str) -> int:
    found = _FOLDER.fullmatch(name)
    return int(found[1]) if found else -1
