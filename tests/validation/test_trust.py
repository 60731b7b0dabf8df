"""Verdicts on automatic differentiation, on derivatives made up for the purpose."""

import numpy as np
import pytest

from ray_glocal.validation.trust import judge_trust

SIZES, LOSSES, FLOAT32 = (1e-2, 1e-3), np.array([1.0, 1.0, 2.0]), 1.2e-7
EXACT = np.array([0.1, -0.2, 0.3])


def judged(differences, exact=EXACT, losses=LOSSES):
    return judge_trust(exact, np.array(differences, dtype=float), SIZES, losses, FLOAT32)


def test_agreement_is_trusted():
    told = judged(np.outer(EXACT, [1.01, 1.002]))
    assert told.verdict == "trustworthy"
    assert told.sentence == "trustworthy: signs agree in 6 of 6 checks, sizes within 0.59 %."
    assert (told.checks, told.signs, told.elasticity) == (6, 1.0, 0.2)
    assert told.sizes == pytest.approx((0.01 / 1.01 + 0.002 / 1.002) / 2)


@pytest.mark.parametrize(
    ("differences", "exact", "losses", "sentence"),
    [
        (np.outer(EXACT, [1, -1]), EXACT, LOSSES, "another sign in 3 of 6 checks: the loss is too rough; use smooth"),
        (np.outer(EXACT, [4, 3]), EXACT, LOSSES, "the same sign, but are off by 71 % in size"),
        (np.outer(EXACT, [1, 1]), 1e9 * EXACT, LOSSES, r"explodes, to 2e\+08 times the loss: .* edge of stability"),
        (np.outer(EXACT, [1, np.inf]), EXACT, LOSSES, "ends in NaN or infinity"),
        (np.outer(EXACT, [1, 1]), EXACT * np.nan, LOSSES, "ends in NaN or infinity"),
    ],
)
def test_disagreement_is_not(differences, exact, losses, sentence):
    told = judged(differences, exact, losses)
    assert told.verdict == "not trustworthy"
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(told.sentence)


def test_what_drowns_in_rounding_decides_nothing():
    faint = 1e-7 * EXACT
    told = judged(np.outer(faint, [-3, 3]), faint)
    assert (told.verdict, told.sentence) == ("undecided", "undecided: its effect is lost in rounding.")
    # A step of .01 rises above rounding where one of .001 does not; only the first is heard.
    faint = 4e-4 * np.array([[0.1], [-0.2], [0.1]])
    told = judged(faint * [1, -1], faint[:, 0])
    assert (told.verdict, told.checks) == ("trustworthy", 1)
