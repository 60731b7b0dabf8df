"""The scheduler's hooks, called as Tune calls them, without Ray processes."""

import numpy as np
from ray import tune
from ray.tune.schedulers import TrialScheduler
from trials import Trial

from ray_glocal.forecast import Forecast, Kind, Outcome

SPACE = {"width": tune.choice([1, 2]), "lr": tune.loguniform(1e-4, 1.0)}
CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Tune:
    """Calls hooks in Tune's order."""

    def __init__(self, scheduler, folder, search=None):
        self.scheduler, self.folder, self.search_alg = scheduler, folder, search
        self.trials = {}

    def get_trials(self):
        return list(self.trials.values())

    def add(self, name, **options):
        self.trials[name] = Trial(name, self.folder, {"width": 1}, **options)
        self.scheduler.on_trial_add(self, self.trials[name])

    def report(self, name, step, value, **more):
        self.trials[name].status = "RUNNING"
        result = {"val_loss": value, "training_iteration": step, "config/width": 1, **more}
        answer = self.scheduler.on_trial_result(self, self.trials[name], result)
        assert answer is CONTINUE or answer is STOP
        if answer is STOP:
            self.complete(name, result)
        return answer

    def complete(self, name, result=None):
        self.scheduler.on_trial_complete(self, self.trials[name], result or {})
        self.trials[name].status = "TERMINATED"

    def fail(self, name, retry):
        self.trials[name].status = "ERROR" if retry else "RUNNING"
        self.scheduler.on_trial_error(self, self.trials[name])
        if retry:
            self.trials[name].status = "PENDING"
            self.scheduler.on_trial_add(self, self.trials[name])


class Line:
    """Forecasts the straight line through the last two snapshots; keeps what it was asked."""

    def __init__(self, kind=Kind.OK):
        self.asked, self.kind = [], kind

    def forecast(self, series, horizon):
        self.asked.append((len(series), horizon))
        if self.kind is not Kind.OK:
            return Forecast.refused(1, horizon, self.kind, "no")
        slope = series[-1] - series[-2]
        return Forecast(series[-1] + horizon * slope, np.array([0.5]), horizon, Outcome(Kind.OK, "a line"))
