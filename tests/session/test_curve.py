"""The final loss, foretold from what was reported."""

import math

import pytest

from ray_glocal.session.curve import forecast_final_loss


def test_the_final_loss_is_foretold_from_the_curve():
    decay = [0.1 + 2.0 * 0.8**k for k in range(30)]
    foretold = forecast_final_loss(decay, 10)
    assert foretold.mean[0] == pytest.approx(0.1, abs=0.01)
    assert abs(foretold.mean[0] - 0.1) < foretold.deviation[0]
    assert forecast_final_loss([-v for v in decay], 10).mean[0] == pytest.approx(-foretold.mean[0])
    assert forecast_final_loss([1.0, math.nan], 10).outcome.sentence == "a reported loss is not finite"
    assert not forecast_final_loss([1.0], 10).outcome.usable
