"""Plans of experiments that processes of their own carry out, and what is left of them."""

import json
import os
import pickletools
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from frail import STEPS
from pyarrow.fs import FileSelector, FileType
from storage import opened, path

from ray_glocal.scheduling import journal
from ray_glocal.scheduling.ledger import Ledger

TRIALS = 8
PLAN = {
    "entry": "run",
    "trainable": "steady",
    "ours": True,
    "trials": TRIALS,
    "at_a_time": 1,
    "failures": 2,
    "resume": False,
    "rules": ("nonfinite", "rung"),
    "pace": 0.0,
    "constants": {},
    "snapshots": "1",
    "looks": 0.05,
    "worker_logs": False,
    "cramped": False,
    "checkpoints_lost": False,
    "storage": None,
}


STATE = "experiment_state-"
OURS, JOURNAL = "searcher-state-*.pkl", "glocal-ledger.json"  # our memory, with our searcher and with another


class Outcome:
    """What is left of an experiment."""

    def __init__(self, folder, storage=None):
        left = json.loads((folder / "outcome.json").read_text())
        self.trials, self.decisions, self.shared = left["trials"], left["decisions"], left["shared"]
        self.heard = "\n".join(left["heard"])
        self.results = left["results"]
        self.ledger = journal.read(left["ledger"])
        self.folder = folder / "experiment"
        self.files, self.path = opened(storage), f"{path(folder, storage)}/experiment"

    @property
    def verdicts(self):
        """Decisions that do not depend on the names of trials."""
        order = {trial: position for position, trial in enumerate(self.ledger.trials)}
        return [(order[d["trial"]], d["step"], d["action"], d["rule"], d["forecast"]) for d in self.decisions]

    @property
    def best(self):
        """The configuration that the experiment ends with, as far as it was searched for."""
        trial = min((loss, trial) for trial, _, _, loss in self.trials)[1]
        config = self.ledger.trials[trial].added.config
        return {name: config[name] for name in ("optimizer", "width", "lr")}

    def check(self, trials=TRIALS, ends=("TERMINATED",)):
        """Nothing is lost, nothing is left over, nothing is told twice."""
        assert len(self.trials) == trials
        assert {status for _, status, _, _ in self.trials} <= set(ends)
        assert self.shared
        records = self.ledger.trials
        assert set(records) == {trial for trial, *_ in self.trials}
        expected = {"TERMINATED": "completed", "ERROR": "errored"}
        assert [records[trial].status for trial, *_ in self.trials] == [expected[end] for _, end, *_ in self.trials]
        assert self.ledger.live == frozenset()
        keys = [event.key for event in self.ledger.events]
        assert len(set(keys)) == len(keys)
        judged = [(d["trial"], d["step"]) for d in self.decisions]
        assert len(set(judged)) == len(judged)
        assert all(d["reason"].strip() for d in self.decisions)
        assert any(step == STEPS for _, _, step, _ in self.trials)
        stopped = {d["trial"] for d in self.decisions if d["action"] == "stop"}
        assert stopped == {trial for trial, record in records.items() if record.pruned}
        table = pq.read_table(f"{self.path}/decisions.parquet", filesystem=self.files)
        assert table.to_pylist() == self.decisions


class Beat(NamedTuple):
    """A report that was begun: whose, which, in which process of which node, and that node's address."""

    trial: str
    step: int
    process: int
    node: str
    address: str


def said(folder):
    return (folder / "driver.log").read_text(errors="replace")


def beats(folder):
    """Every report that was begun so far. All nodes of the tests are on one machine and write to one file."""
    file = folder / "beats"
    rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [Beat(trial, int(step), int(process), *where) for trial, step, process, *where in rows]


def wait(folder, process, happened):
    """Until `happened()`; its answer."""
    while process.is_alive():
        answer = happened()
        if answer:
            return answer
        time.sleep(0.01)
    pytest.fail(f"the experiment ended before that happened:\n{said(folder)}")


def snapshot(experiment, files=None):
    """Tune's last snapshot in a storage: the stamp in its files' names, its text, and whether it is whole.

    Tune copies its files one by one, and overwrites them in place: a driver killed at that leaves one that is torn, or
    files of which one tells of more trials, or of more results, than another.
    """
    files = files or opened(None)
    found = files.get_file_info(FileSelector(str(experiment), allow_not_found=True))
    names = sorted(f.base_name for f in found if f.type == FileType.File and f.base_name.startswith(STATE))
    if not names:
        return None
    stamp = names[-1].removeprefix(STATE).removesuffix(".json")
    try:
        text = _read(files, f"{experiment}/{names[-1]}").decode()
        known = [json.loads(state)["last_result"] for _, state in json.loads(text)["trial_data"]]
        ledger = journal.read(_read(files, f"{experiment}/searcher-state-{stamp}.pkl").decode())
        created = _created(_read(files, f"{experiment}/search_gen_state-{stamp}.json"))
        reported = {result["trial_id"]: result["step"] for result in known if "step" in result}
        remembered = {trial: r.latest.step for trial, r in ledger.trials.items() if r.latest is not None}
        return stamp, text, len(known) == ledger.proposals == created and reported == remembered
    except (ValueError, FileNotFoundError):
        return stamp, "", False


def leave_a_whole_snapshot(experiment, files=None):
    """Whether Tune's snapshot survived the kill; one that did not is removed.

    Tune may not be able to read its own file any more, and would begin anew: whoever restores it has to go back by one
    snapshot.
    """
    files = files or opened(None)
    last = snapshot(experiment, files)
    if last is None or last[2]:
        return True
    for file in files.get_file_info(FileSelector(str(experiment))):
        if file.type == FileType.File and last[0] in file.base_name:
            files.delete_file(file.path)
    return False


def freeze_between_writes(pid, experiment, agree=lambda: True):
    """Stop a driver where none of Tune's files is half written, and what is in them may `agree` with something else.

    Tune overwrites its files in place, and cannot restore an experiment of which one is torn: who kills a driver to see
    something else freezes it first.
    """
    for _ in range(600):
        freeze(pid)
        if all(map(_is_whole, experiment.glob("*_state-*.json"))) and agree():
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)
    pytest.fail("the driver's files were never whole")


def freeze(pid):
    """Stop a process, and return when it stands: a signal only asks, and its threads write on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    while any(state not in "TZX" for state in _states(pid)):
        time.sleep(0.001)


def _states(pid):
    """Of every thread of a process, the system's letter: T for one that is stopped, Z and X for one that has ended."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            yield (task / "stat").read_text().rpartition(")")[2].split()[0]


def trials_known_to_tune(experiment):
    """Those of its last snapshot in a folder."""
    text = max(experiment.glob(f"{STATE}*.json")).read_text()
    return {json.loads(trial)["trial_id"] for trial, _ in json.loads(text)["trial_data"]}


def _is_whole(file):
    data = file.read_bytes()
    try:
        return data.endswith(b".") or bool(json.loads(data))  # a pickle ends with a dot
    except ValueError:
        return False


def memory(experiment, pattern=OURS):
    """The ledger in a folder between two moments at which it is written, else an empty one."""
    files = sorted(experiment.glob(pattern))
    try:
        return journal.read(files[-1].read_text()) if files else Ledger()
    except ValueError:
        return Ledger()


def _created(generator):
    """How many trials Tune's own generator has created, read off its pickle; `ValueError` where that is torn."""
    arguments = [argument for _, argument, _ in pickletools.genops(generator)]
    return arguments[arguments.index("counter") + 2]  # between them its place in the memo


def _read(files, name):
    with files.open_input_stream(name) as file:
        return file.read()
