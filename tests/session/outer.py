"""Outer steps by hand, of a learning rate, a momentum and a weight decay."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from ray_glocal.session.windows.outer import Axes, OuterState, potential

from .cases import windows

ANY = st.floats(allow_nan=True, allow_infinity=True)
DEFAULT = windows()
AXES = Axes(*np.eye(3, dtype=bool), np.ones(3, int))  # lr, momentum, weight_decay


def state(elasticity=(0.1, 0.1, 0.1), deviation=(0.01, 0.01, 0.01), **changed):
    fresh = replace(OuterState.start(AXES, DEFAULT), searching=False)
    return replace(fresh, elasticity=np.array(elasticity), deviation=np.array(deviation), **changed)


def bought(outer, loss, left, vectors=()):
    """What an outer step still has in store for so many windows."""
    return potential(outer.elasticity, outer.deviation, outer.trust, loss, left, vectors)
