"""The search for the learning rate's order of magnitude: up by factors, while training goes the right way.

A learning-rate range test (Smith 2017, arXiv:1506.01186) that costs no training: it begins below any rate that could
do harm, its steps are steps of training, and it ends where the averaged weights no longer go downhill.
"""

import math
from dataclasses import replace

import numpy as np

from ray_glocal.session.answer import Gate
from ray_glocal.session.first_order.decision import Move
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.observation import Observation
from ray_glocal.session.first_order.tuning import BACK, FAINTEST, GROWTH, ONWARD, PEAK, SEARCH_MOST, WORSE

WAITS = "waits until the learning rate's order of magnitude is found"


def search(seen: Observation, memory: Memory, kinds: Kinds, top: bool) -> Move:
    """Raise all rates, or end the search.

    Beneath a schedule that rises yet, the rate that was found is the one that acted: the peak lies between the two.

    Args:
        seen: Averaged weights.
        memory: Of the search so far.
        kinds: Which entries are rates.
        top: Whether every rate stands at its upper bound.
    """
    downhill = float(np.sum(seen.elasticity[kinds.rates]))
    uphill = _uphill(seen, memory, downhill)
    end = uphill or _halted(seen, top)
    if not end:
        move, sentence = math.log(GROWTH), "the search raises it"
    else:
        peak = PEAK * math.log(max(seen.height, FAINTEST)) if seen.warms_up else 0.0
        move, sentence = (math.log(BACK) if uphill else 0.0) + peak, f"the search ends, for {end}"
    sentence = f"window elasticity {downhill:+.2g} at a loss of {seen.loss:.4g}: {sentence}"
    after = replace(memory, searching=not end, lowest=min(memory.lowest, seen.loss))
    raised, waits = (Gate.ACT if move else Gate.HOLD, sentence), (Gate.HOLD, WAITS)
    return Move(np.where(kinds.rates, move, 0.0), after, lambda index: raised if kinds.rates[index] else waits)


def _uphill(seen: Observation, memory: Memory, downhill: float) -> str:
    """Why the last rate was too high; empty where it was not."""
    if not downhill < ONWARD:
        return "the way that training went leads uphill"
    if seen.loss > WORSE * memory.lowest > 0:
        return f"the loss has been {memory.lowest:.4g}"
    return ""


def _halted(seen: Observation, top: bool) -> str:
    """Why the search ends though the last rate was not too high; empty where it goes on."""
    if top:
        return "there is no higher rate"
    if seen.searched > SEARCH_MOST:
        return "it has taken long enough"
    return ""
