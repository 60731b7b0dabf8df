"""What a step depends on, kind by kind: weights are the plain loop's, and derivatives right or refused.

Members of FOLLOWED must be right; those of EITHER may be refused, or left out with a word.
"""

import tempfile

import numpy as np
import pytest
import torch

from ray_glocal import GlocalSession, Hyperparameter
from ray_glocal.errors import ArgumentError

from .cases import entropy
from .dependencies import batches, counters, functions, holders, hooks, norms, parameters, updates
from .dependencies.endings import ENDINGS, RIGHT_BY_NOW
from .dependencies.networks import LR, data, mlp
from .fuzz.judging import FIRST_ORDER, REFUSED, RIGHT, SAID, UNJUDGED, WARNED, judge
from .fuzz.loops import Trial, rate

KINDS = (batches, parameters, counters, holders, hooks, updates, norms, functions)
RATE = (rate(LR),)
RATES = {"a second optimizer for the other parameters": (rate(0.02),)}
WAYS = {"graphs": {}, "again": {"memory": 0}, "forward": {"engine": "forward"}}
EACH = ("graphs", "again", pytest.param("forward", marks=pytest.mark.slow))

followed = {name: build for kind in KINDS for name, build in kind.FOLLOWED.items()}
either = {name: build for kind in KINDS for name, build in kind.EITHER.items()}
followed |= {name: either.pop(name) for name in RIGHT_BY_NOW}
NOT_YET = ("counter in a large array",)  # it is said that two runs of a step differ, but not put back


def trial(name, way, **changed):
    build = followed.get(name) or either[name]
    exact = {"tolerance": 1e-6, "floor": 1e-9}
    return Trial(f"{name}, {way}", build, RATES.get(name, RATE), **{"settings": WAYS.get(way, {}), **exact, **changed})


@pytest.mark.parametrize("way", EACH)
@pytest.mark.parametrize("name", followed)
def test_what_a_session_follows(name, way):
    outcome = judge(trial(name, way))
    assert outcome.kind == RIGHT, str(outcome)
    assert not outcome.words


def test_every_case_has_its_ending():
    assert set(ENDINGS) == set(either)


@pytest.mark.parametrize("way", EACH)
@pytest.mark.parametrize("name", either)
def test_what_a_session_follows_or_tells_of(name, way):
    outcome = judge(trial(name, way))
    assert outcome.kind in (RIGHT, SAID, WARNED, REFUSED), str(outcome)
    told = ENDINGS[name], "a step's loss was"  # by which it shows first where states are few
    assert outcome.kind == RIGHT or any(each in text for each in told for text in outcome.words), str(outcome)


@pytest.mark.parametrize("name", [name for name in [*followed, *either] if name not in NOT_YET])
def test_first_order_observations_leave_the_loop_as_it_is(name):
    """Bit for bit, whatever a step depends on, and whether or not derivatives could follow it."""
    outcome = judge(trial(name, "first-order", settings=FIRST_ORDER, exact=False))
    assert outcome.kind in ((UNJUDGED,) if name in followed else (UNJUDGED, REFUSED)), str(outcome)


@pytest.mark.parametrize("name", functions.DIFFERENCES)
def test_products_by_differences_need_no_second_derivative(name):
    """To a hundredth, and without exact products: those are missing, or wrong."""
    way = {"settings": {"products": "differences"}, "tolerance": 0.01, "floor": 1e-7}
    outcome = judge(trial(name, "differences", **way))
    assert outcome.kind == RIGHT, str(outcome)


# ---- state that a checkpoint cannot hold ----


class Warm:
    """A schedule that is an object, and holds something."""

    def __init__(self, held):
        self.held, self.factors = held, np.linspace(0.2, 1, 5)

    def __call__(self, step):
        return float(self.factors[min(step, 4)])


def scheduled(held):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, Warm(held))
    hyper = [Hyperparameter("lr", LR, 1e-4, 1.0, "log")]
    return GlocalSession(
        model, optimizer, entropy, entropy, val_batches=data(), hyper=hyper, total_steps=9, lr_scheduler=schedule
    )


@pytest.mark.parametrize(
    "held", [None, np.arange(3.0), np.float64(0.5), {1, 2}, np.random.default_rng(0), torch.nn.Tanh()], ids=str
)
def test_a_schedule_object_is_restored_or_refused_when_it_is_saved(held):
    with tempfile.TemporaryDirectory() as folder:
        refusal = None
        try:
            scheduled(held).save(folder)
        except ArgumentError as error:
            refusal = error
        if refusal is None:
            scheduled(held).restore(folder)
        else:
            assert "schedule/state" in str(refusal)
