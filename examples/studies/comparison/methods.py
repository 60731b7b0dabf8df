"""The methods that are compared: each a scheduler, a searcher and a kind of trainable, with its sensible settings.

Every method gets the same space, budget and workers. Rivals are spared the defects of their stock versions: trials that
diverge end, or report a large finite loss until they are replaced; perturbed values stay within the space; rates are
searched by their logarithm. What was tried for them on the tuning suite is in the protocol.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune import schedulers
from ray.tune.schedulers.pb2 import PB2
from ray.tune.search.bohb import TuneBOHB
from ray.tune.search.optuna import OptunaSearch

from comparison.domains import continuous, logarithmic
from comparison.plain import REPORTS
from comparison.trainables import LOG, METRIC, MODE, CopiedTrainable, PlainTrainable, SessionTrainable
from ray_glocal import GlocalScheduler, GlocalSearch, Settings

Space = Mapping[str, Any]

FACTOR = 3  # one in this many trials of a rung goes on
GRACE = REPORTS // FACTOR**2  # reports before the first rung, of successive halving, perturbation and the median
SAMPLES = 4  # trials for each whole training of the budget: more than any method begins


@dataclass(frozen=True)
class Plan:
    """How an experiment is run.

    Args:
        param_space: For Tune.
        scheduler: Of Tune, or ours; None for FIFO.
        search_alg: Of Tune, or ours; None for random draws.
        num_samples: Trials at most; -1 for as many as the budget allows.
    """

    param_space: dict[str, Any]
    scheduler: Any = None
    search_alg: Any = None
    num_samples: int = -1


@dataclass(frozen=True)
class Method:
    """One method.

    Args:
        plan: Of a space, a seed and the budget in whole trainings.
        trainable: The kind of trainable.
        averaged: Whether validation and test are at averaged weights.
        settings: Of sessions.
        most: Continuous hyperparameters beyond which it is not run.
    """

    plan: Callable[[Space, int, int], Plan]
    trainable: type[tune.Trainable] = PlainTrainable
    averaged: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    most: int | None = None

    def takes(self, space: Space) -> bool:
        """Whether it is run on a space."""
        return self.most is None or len(continuous(space)) <= self.most


def random(space: Space, seed: int, budget: int) -> Plan:
    """Random search, every trial to its end (Bergstra & Bengio 2012)."""
    return Plan(dict(space))


def asha(space: Space, seed: int, budget: int) -> Plan:
    """Asynchronous successive halving of random configurations (Li et al., arXiv:1810.05934)."""
    return Plan(dict(space), _asha())


def asha_tpe(space: Space, seed: int, budget: int) -> Plan:
    """The same with configurations from tree-structured Parzen estimators (Bergstra et al. 2011), by Optuna."""
    return Plan(dict(space), _asha(), OptunaSearch(space=None, metric=METRIC, mode=MODE, seed=seed))


def bohb(space: Space, seed: int, budget: int) -> Plan:
    """HyperBand with kernel densities (Falkner et al., arXiv:1807.01774)."""
    judge = schedulers.HyperBandForBOHB(
        time_attr="training_iteration", max_t=REPORTS, reduction_factor=FACTOR, stop_last_trials=False
    )
    return Plan(dict(space), judge, TuneBOHB(metric=METRIC, mode=MODE, seed=seed))


def median(space: Space, seed: int, budget: int) -> Plan:
    """Random configurations, stopped below the median of the others (Golovin et al. 2017)."""
    rule = schedulers.MedianStoppingRule(
        time_attr="training_iteration", grace_period=GRACE, min_samples_required=3, hard_stop=True
    )
    return Plan(dict(space), rule)


def pbt(space: Space, seed: int, budget: int) -> Plan:
    """Population-based training (Jaderberg et al., arXiv:1711.09846), a member for each training of the budget."""
    explored = continuous(space)

    def within(config: dict[str, Any]) -> dict[str, Any]:
        bounds = {name: (domain.lower, domain.upper) for name, domain in explored.items()}
        return {
            name: min(max(v, bounds[name][0]), bounds[name][1]) if name in bounds else v for name, v in config.items()
        }

    judge = schedulers.PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=GRACE,
        hyperparam_mutations=explored,
        custom_explore_fn=within,
    )
    return Plan(dict(space), judge, num_samples=budget)


def pb2(space: Space, seed: int, budget: int) -> Plan:
    """The same with a bandit's choice of values (Parker-Holder et al., arXiv:2002.02518), some by their logarithm."""
    lines = {
        LOG + name: tune.uniform(math.log10(domain.lower), math.log10(domain.upper))
        for name, domain in continuous(space).items()
        if logarithmic(domain)
    }
    told = {name: domain for name, domain in space.items() if LOG + name not in lines} | lines
    bounds = {name: [domain.lower, domain.upper] for name, domain in continuous(told).items()}
    judge = PB2(time_attr="training_iteration", perturbation_interval=GRACE, hyperparam_bounds=bounds)
    return Plan(told, judge, num_samples=budget)


def glocal(space: Space, seed: int, budget: int) -> Plan:
    """Ours."""
    search = GlocalSearch(space, metric=METRIC, mode=MODE, seed=seed)
    return Plan(dict(space), GlocalScheduler(metric=METRIC, mode=MODE, search=search), search, SAMPLES * budget)


def glocal_unpruned(space: Space, seed: int, budget: int) -> Plan:
    """Ours, in which only what is no number ends early."""
    search = GlocalSearch(space, metric=METRIC, mode=MODE, seed=seed)
    judge = GlocalScheduler(metric=METRIC, mode=MODE, search=search, rules=("nonfinite",))
    return Plan(dict(space), judge, search, SAMPLES * budget)


def glocal_unseeded(space: Space, seed: int, budget: int) -> Plan:
    """Our scheduler and sessions, with random configurations."""
    return Plan(dict(space), GlocalScheduler(metric=METRIC, mode=MODE))


def _asha() -> Any:
    return schedulers.ASHAScheduler(
        time_attr="training_iteration", max_t=REPORTS, grace_period=GRACE, reduction_factor=FACTOR
    )


AVERAGING = "+averaging"  # ends the name of a rival whose trainable averages its weights
_PLANS = {"random": random, "asha": asha, "asha-tpe": asha_tpe, "bohb": bohb, "median": median}
_COPIED = {"pbt": (pbt, None), "pb2": (pb2, 10)}  # each choice of PB2 takes 7 s with thirty values, 1 s with three

RIVALS = {
    **{name: Method(plan) for name, plan in _PLANS.items()},
    **{name: Method(plan, CopiedTrainable, most=most) for name, (plan, most) in _COPIED.items()},
    **{name + AVERAGING: Method(plan, averaged=True) for name, plan in _PLANS.items()},
    **{name + AVERAGING: Method(plan, CopiedTrainable, averaged=True, most=m) for name, (plan, m) in _COPIED.items()},
}
OURS = {
    "glocal": Method(glocal, SessionTrainable, averaged=True),
    "glocal-sessions": Method(glocal, PlainTrainable, averaged=True),
    "glocal-pruning": Method(glocal_unpruned, SessionTrainable, averaged=True),
    "glocal-seeding": Method(glocal_unseeded, SessionTrainable, averaged=True),
    "glocal-averaging": Method(glocal, SessionTrainable, settings={"averaging": False}),
}
METHODS = {**RIVALS, **OURS}
ABLATIONS = tuple(name for name in OURS if name not in ("glocal", "glocal-averaging"))  # run when all else is there


# Of our library's defaults, of searches and of the sessions in them: a new one runs our cells anew, nobody else's.
VERSION, SESSIONS = 9, 8


def version(method: str) -> int:
    """The version of a method's cells; `session` is a single training."""
    return SESSIONS if method == "session" else VERSION if method in OURS else 1


def settings_of(method: Method) -> Settings:
    """The settings of a method's sessions."""
    return Settings(**method.settings)
