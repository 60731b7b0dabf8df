"""Folders of experiments as Tune leaves them, with the ledger as our scheduler writes it, without Ray processes."""

import json
import traceback

from trials import Trial

from ray_glocal.tune import GlocalScheduler


def failure(number, error):
    """A failure as Ray tells it: the worker in colour, and then the traceback of what it raised."""
    worker = "\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=1, ip=192.0.2.2, actor_id=3d80, repr=train)"
    told = traceback.format_exception(error) if isinstance(error, BaseException) else [error]
    return f"Failure # {number} (occurred at 2026-01-01_00-00-00)\n{worker}\n" + "".join(told[1:] or told) + "\n"


class Experiment:
    """Writes an experiment, a result at a time, as Tune would; judged by our scheduler where `options` are given."""

    search_alg = None

    def __init__(self, folder, options=None, key="val_loss", mode="min"):
        self.folder, self.key = folder, key
        folder.mkdir(parents=True, exist_ok=True)
        self.scheduler = None if options is None else GlocalScheduler(key, mode, **{"grace_period": 1, **options})
        self.trials, self.rows, self.errors, self.tick = {}, {}, {}, 1000

    def add(self, name, config=None):
        config = config or {"width": len(self.trials) + 1, "lr": 0.5}
        self.trials[name] = trial = Trial(name, self.folder, config, status="RUNNING")
        self.rows[name] = []
        if self.scheduler:
            self.scheduler.on_trial_add(self, trial)

    def report(self, name, step, value, **more):
        """Whether the trial goes on."""
        self.tick += 1
        row = {self.key: value, "step": step, "training_iteration": step, "timestamp": self.tick}
        row |= {"time_this_iter_s": 0.5, "trial_id": name, "config": self.trials[name].config, **more}
        self.rows[name].append(row)
        if self.scheduler is None:
            return True
        if self.scheduler.on_trial_result(self, self.trials[name], row) == "CONTINUE":
            return True
        self.end(name, row)
        return False

    def fail(self, name, retry=True, error=None):
        """Fail, and leave Tune's file of an exception that was raised."""
        if error is not None:
            self.errors.setdefault(name, []).append(failure(len(self.errors.get(name, ())) + 1, error))
        self.trials[name].status = "ERROR" if retry else "RUNNING"
        if self.scheduler:
            self.scheduler.on_trial_error(self, self.trials[name])
        self.trials[name].status = "RUNNING" if retry else "ERROR"
        if self.scheduler and retry:
            self.trials[name].status = "PENDING"
            self.scheduler.on_trial_add(self, self.trials[name])

    def end(self, name, row=None):
        if self.scheduler:
            self.scheduler.on_trial_complete(self, self.trials[name], row or {})
        self.trials[name].status = "TERMINATED"

    def write(self, state=True, logged=True):
        """Leave trial folders and Tune's own record behind, and what Tune's loggers write."""
        for name, trial in self.trials.items():
            place = self.folder / f"train_{name}_x"
            place.mkdir(exist_ok=True)
            if name in self.errors:
                (place / "error.txt").write_text("".join(self.errors[name]))
            if logged:
                (place / "params.json").write_text(json.dumps(trial.config))
                (place / "result.json").write_text("".join(json.dumps(row) + "\n" for row in self.rows[name]))
        if state:
            self.snapshot()
        return self.folder

    def snapshot(self):
        """Leave what Tune knows now."""
        known = [
            (
                {
                    "trial_id": name,
                    "status": trial.status,
                    "relative_logdir": f"train_{name}_x",
                    "config": trial.config,
                },
                {
                    "last_result": {**self.rows[name][-1], "time_total_s": 0.5 * len(self.rows[name])}
                    if self.rows[name]
                    else {}
                },
            )
            for name, trial in self.trials.items()
        ]
        record = {"trial_data": [[json.dumps(trial), json.dumps(metadata)] for trial, metadata in known]}
        (self.folder / "experiment_state-2026.json").write_text(json.dumps(record))


def session(value, cost, lr=0.25, **more):
    """What a session adds to a result."""
    told = {"cost/steps": cost, "cost/seconds": cost / 100, "cost/share": 0.4, "hyper/lr": lr, "rollbacks": 0}
    return {**told, "forecast/final_loss": value / 2, "forecast/deviation": 0.0, "total_steps": 3, **more}


def judged(folder, logged=True, **options):
    """Six trials of three steps under our scheduler: the first is the best, and the later are pruned."""
    experiment = Experiment(folder, options)
    for i, name in enumerate("abcdef"):
        experiment.add(name)
        steps = range(1, 4)
        for step in steps:
            value = (i + 1) / step
            more = {"test_accuracy": 0.9} if step == 3 else {}
            if not experiment.report(name, step, value, **session(value, 10 * step, 0.5 / (step + 1), **more)):
                break
        else:
            experiment.end(name)
    return experiment.write(logged=logged)


def stock(folder, logged=True):
    """Three trials under somebody else's scheduler, one of them stopped early."""
    experiment = Experiment(folder)
    for name, last in (("x", 4), ("y", 4), ("z", 1)):
        experiment.add(name, {"net": {"width": 8}, "lr": 0.1 if name == "x" else 0.2, "seed": 7})
        for step in range(1, last + 1):
            experiment.report(name, step, {"x": 1.0, "y": 2.0, "z": 3.0}[name] / step)
        experiment.end(name)
    return experiment.write(logged=logged)
