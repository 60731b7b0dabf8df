"""How far outside its window a forecast may end."""

import numpy as np

from ray_glocal.koopman.extrapolation import clipped


def test_forecasts_end_ten_ranges_outside_the_window():
    series = np.array([[1.0, -2.0], [3.0, -2.0], [2.0, -2.0]])
    assert clipped(np.array([[100.0, 5.0], [-100.0, -5.0]]), series).tolist() == [[23.0, -2.0], [-19.0, -2.0]]
