"""The progress display, called as Tune calls it, on a terminal and in a log."""

import io
import math
import pickle
import re

import pytest
import recordings

from ray_glocal.errors import ArgumentError
from ray_glocal.report import Progress
from ray_glocal.report.statusline import StatusLine
from ray_glocal.scheduling.event import Added


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


class Tune:
    """Calls a callback in Tune's order."""

    def __init__(self, progress, experiment):
        self.progress, self.experiment = progress, experiment
        progress.setup(stop=None, num_samples=2, total_num_samples=4)

    def call(self, hook, **told):
        getattr(self.progress, hook)(iteration=1, trials=list(self.experiment.trials.values()), **told)

    def start(self, name, config=None):
        self.experiment.add(name, config)
        self.call("on_trial_start", trial=self.experiment.trials[name])

    def report(self, name, step, value, **more):
        goes_on = self.experiment.report(name, step, value, **more)
        self.call("on_trial_result", trial=self.experiment.trials[name], result=self.experiment.rows[name][-1])
        if not goes_on:
            self.call("on_trial_complete", trial=self.experiment.trials[name])
        self.call("on_step_end")

    def end(self, name):
        self.experiment.end(name)
        self.call("on_trial_complete", trial=self.experiment.trials[name])


def begin(folder, stream, options=None, key="val_loss", mode="min", **told):
    return Tune(Progress(stream=stream, **told), recordings.Experiment(folder, options, key, mode))


def raised(error):
    try:
        raise error
    except ValueError as caught:
        return caught


def test_a_log_holds_a_line_per_event_and_a_status_now_and_then(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out, {})
    for i, name in enumerate("abc"):
        tune.start(name)
        tune.report(name, 1, float(i + 1))
        clock[0] += 4
    tune.experiment.scheduler.ledger.record(Added("d", ancestor="a", weights="/x"))
    tune.start("d", {"width": 1})
    tune.start("d", {"width": 1})  # again, after a failure
    tune.report("d", 1, 0.5, rollbacks=1)
    tune.end("a")
    tune.call("on_trial_recover", trial=tune.experiment.trials["d"])
    file = tmp_path / "error.txt"
    file.write_text(recordings.failure(1, raised(ValueError("no such thing\nas this"))))
    tune.experiment.trials["d"].error_file = str(file)
    tune.call("on_trial_error", trial=tune.experiment.trials["d"])
    tune.experiment.trials["d"].status = "ERROR"
    clock[0] += 60
    tune.progress.on_experiment_end(trials=list(tune.experiment.trials.values()))
    lines = out.getvalue().splitlines()
    assert re.fullmatch(
        r"  0:08  c pruned at step 1\. At rung 1 the forecast final val_loss 3 .* are forecast to end at 1\.",
        lines.pop(0),
    )
    assert lines == [
        "  0:12  d starts from the values and weights of a",
        "  0:12  d corrected its course by step 1, from good weights with a lower rate or weight decay",
        "  0:12  3 running, 0 done, 1 pruned of 4 trials; best val_loss 0.5",
        "  0:12  a done at step 1, val_loss 1",
        "  0:12  d failed, and comes back from its last checkpoint",
        "  0:12  d failed for good: ValueError: no such thing (test_progress.py, line 62); error.txt in its folder",
        "  1:12  1 running, 1 done, 1 pruned, 1 failed of 4 trials; best val_loss 0.5",
    ]
    assert not re.search(r"[\r\x1b]", out.getvalue())


def test_statuses_in_a_log_keep_their_distance(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out, every=5.0)
    tune.start("a")
    for step in range(1, 103):
        clock[0] += 0.1
        tune.report("a", step, 1.0)
    assert len(out.getvalue().splitlines()) == 2


def shown(text):
    """What a terminal shows in the end, given carriage returns and erasures."""
    lines, current = [], ""
    for piece in re.split(r"(\r\x1b\[K|\n)", text):
        if piece == "\n":
            lines.append(current)
        current = "" if piece in ("\n", "\r\x1b[K") else current + piece
    return [*lines, current]


def test_a_terminal_shows_one_status_line_below_the_events(tmp_path, clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    tune = begin(tmp_path, out)
    tune.start("a")
    for step in range(1, 4):
        clock[0] += 0.3
        tune.report("a", step, 1.0 / step, rollbacks=step // 2)
    told, status = shown(out.getvalue())
    assert told == "  0:00  a corrected its course by step 2, from good weights with a lower rate or weight decay"
    assert status == "  0:00  1 running, 0 done of 4 trials.."
    clock[0] += 0.1
    before = out.getvalue()
    tune.report("a", 4, 1.0)
    assert "running" not in out.getvalue()[len(before) :]  # too soon
    clock[0] += 1.5
    tune.progress.on_experiment_end(trials=list(tune.experiment.trials.values()))
    assert shown(out.getvalue())[-2:] == ["  0:02  1 running, 0 done of 4 trials; best val_loss 0.3333", ""]


def test_a_terminal_is_not_written_to_where_nothing_has_changed(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    line = StatusLine(1.0, out)
    for text in ("one", "one", "two"):
        line.status(text)
    assert out.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo"


def test_a_dumb_terminal_gets_a_log(tmp_path, clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    StatusLine(1.0, out).status("here")
    assert out.getvalue() == "here\n"


def test_corrections_are_told_when_they_have_doubled_and_do_not_read_like_failures(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out)
    tune.start("a")
    for step in range(1, 12):
        tune.report("a", step, 1.0, rollbacks=step)
    told = [line.split("  ")[-1] for line in out.getvalue().splitlines()]
    assert told == ["a corrected its course by step 1, from good weights with a lower rate or weight decay"] + [
        f"a corrected its course by step {n}, {n} times by now" for n in (2, 4, 8)
    ]


def test_what_several_trials_warn_of_is_told_once(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out)
    for name in "ab":
        tune.start(name)
        tune.report(name, 1, 1.0, warnings=1, warning="Hold data out.")
        more = f"Hold data out.\nReports cost {57.5 if name == 'a' else 101} %."
        tune.report(name, 2, 1.0, warnings=2, warning=more)
    assert out.getvalue().splitlines() == ["  0:00  a warns: Hold data out.", "  0:00  a warns: Reports cost 57.5 %."]


def test_trials_that_wait_for_a_worker_are_counted(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out)
    tune.start("a")
    tune.experiment.trials["a"].status = "PENDING"
    clock[0] += 60
    tune.call("on_step_end")
    assert out.getvalue() == "  1:00  0 running, 1 waiting, 0 done of 4 trials\n"


def test_where_an_error_ends_the_experiment_what_tune_ends_is_not_done(tmp_path, clock):
    """Tune's clean-up leaves every trial with the status of one that has finished."""
    out = io.StringIO()
    tune = begin(tmp_path, out, {})
    for name in "abc":
        tune.start(name)
    tune.report("a", 1, 1.0)
    tune.end("a")
    tune.experiment.trials["b"].error_file = str(tmp_path / "gone.txt")
    for trial in tune.experiment.trials.values():
        trial.status = "TERMINATED"
    tune.progress.on_experiment_end(trials=list(tune.experiment.trials.values()))
    assert (
        out.getvalue().splitlines()[-1].endswith("0 running, 1 done, 1 failed, 1 stopped of 4 trials; best val_loss 1")
    )


def test_a_failure_whose_file_cannot_be_read_is_told_all_the_same(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out, {})
    tune.start("a")
    tune.experiment.trials["a"].error_file = str(tmp_path / "gone.txt")
    tune.call("on_trial_error", trial=tune.experiment.trials["a"])
    assert out.getvalue().splitlines()[-1] == "  0:00  a failed for good"


def test_a_maximised_metric_is_the_schedulers(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out, {}, "accuracy", "max")
    tune.start("a")
    for step, value in enumerate((0.5, 0.9, math.nan), start=1):
        tune.report("a", step, value, rollbacks=math.nan)
    tune.progress.on_experiment_end(trials=list(tune.experiment.trials.values()))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("  0:00  a pruned at step 3. The accuracy at step 3 is nan")
    assert lines[1] == "  0:00  0 running, 0 done, 1 pruned of 4 trials; best accuracy 0.9"


def test_what_the_user_says_counts_where_no_scheduler_is_ours(tmp_path, clock):
    out = io.StringIO()
    tune = begin(tmp_path, out, metric="eval/score", mode="max")
    tune.start("a")
    result = {"eval": {"score": 2.0}, "training_iteration": 1}
    tune.call("on_trial_result", trial=tune.experiment.trials["a"], result=result)
    tune.end("a")
    tune.start("b")
    tune.end("b")
    assert out.getvalue().splitlines() == [
        "  0:00  a done at step 1, eval/score 2",
        "  0:00  b done at step 0, eval/score -",
    ]


def test_it_survives_pickling_and_then_writes_to_the_standard_output(tmp_path, clock, capsys):
    progress = pickle.loads(pickle.dumps(Progress(stream=io.StringIO())))
    progress.on_step_end(iteration=1, trials=[])
    assert capsys.readouterr().out == "  0:00  0 running, 0 done of 0 trials\n"


def test_wrong_arguments_are_refused():
    with pytest.raises(ArgumentError, match=r"`every` must be a positive number of seconds; got 0"):
        Progress(every=0)
    with pytest.raises(ArgumentError, match=r"`mode` must be 'min' or 'max'; got 'big'"):
        Progress(mode="big")
