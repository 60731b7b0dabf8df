import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Kind
from ray_glocal.koopman import fit_dmd, predict
from ray_glocal.koopman.disk import Disk
from ray_glocal.koopman.dmd import FORMS
from ray_glocal.koopman.prediction import geometric_sum, steady_part
from ray_glocal.koopman.selection import NearOne

DECAYS = [1.0, 0.95, 0.8, 0.9 * np.exp(0.4j), 0.9 * np.exp(-0.4j)]


@pytest.mark.parametrize("channels", [1, 3, 1000])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("horizon", [0, 1, 7, 400, math.inf])
def test_sums_of_exponentials_with_a_steady_part_are_exact(exponentials, form, channels, horizon):
    truth = exponentials(DECAYS, channels, seed=1)
    prediction = predict(fit_dmd(truth.at(np.arange(40)), delays=6, form=form), horizon)
    expected = truth.limit if math.isinf(horizon) else truth.at(39 + horizon)[0]
    assert np.max(np.abs(prediction.mean - expected)) < 1e-6 * np.max(np.abs(expected))
    assert (prediction.capped, prediction.outcome.kind) == (0, Kind.OK)


def test_a_negative_eigenvalue_is_exact_at_whole_steps(exponentials):
    truth = exponentials([1.0, -0.9, 0.5], 2)
    for form in FORMS:
        model = fit_dmd(truth.at(np.arange(20)), delays=3, form=form)
        assert np.allclose(predict(model, 11).mean, truth.at(30)[0], rtol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_within_the_first_step_the_value_is_interpolated(exponentials, form):
    model = fit_dmd(exponentials([1.0, 0.9], 1).at(np.arange(20)), delays=3, form=form)
    now, half, ahead = (predict(model, horizon).mean for horizon in (0, 0.5, 1))
    assert np.allclose(half, (now + ahead) / 2)


@pytest.mark.parametrize("form", FORMS)
def test_a_growing_series_is_capped_counted_and_stays_finite(exponentials, form):
    growing = [1.2, 1.1 * np.exp(0.5j), 1.1 * np.exp(-0.5j), 0.7]
    series = exponentials(growing, 4).at(np.arange(25))
    model = fit_dmd(series, delays=2, form=form)
    for horizon in (1, 100, 1e8):
        prediction = predict(model, horizon)
        assert prediction.capped == 3
        assert np.isfinite(prediction.mean).all()
        assert "3 modes grow faster than believed and were capped" in prediction.outcome.sentence
    # One step ahead needs no power, so that there even a growing series is met exactly.
    assert np.allclose(predict(model, 1).mean, exponentials(growing, 4).at(25)[0], rtol=1e-6)


def test_a_capped_plain_mode_keeps_its_value_and_a_capped_increment_its_slope(exponentials):
    truth = exponentials([1.1], 1)
    plain, increment = (fit_dmd(truth.at(np.arange(12)), form=form) for form in ("plain", "increment"))
    ahead, further = truth.at(12)[0], truth.at(13)[0]
    assert np.allclose(predict(plain, 500).mean, ahead)
    assert np.allclose(predict(increment, 500).mean, ahead + 499 * (further - ahead))


@pytest.mark.parametrize("form", ["affine", "increment"])
def test_a_straight_line_is_followed_and_has_no_limit(form):
    series = 3 + 0.5 * np.arange(20.0)[:, None]
    model = fit_dmd(series, form=form)
    assert np.allclose(predict(model, 200).mean, 3 + 0.5 * 219, rtol=1e-6)
    limit = predict(model, math.inf)
    assert limit.outcome.kind is Kind.UNDETERMINED
    assert "grows without limit" in limit.outcome.sentence
    assert np.isnan(limit.mean).all()
    assert np.isfinite(predict(model, math.inf, Disk(0.99, 0.99)).mean).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_lasting_oscillation_has_its_mean_for_a_limit(exponentials, form):
    truth = exponentials([1.0, np.exp(0.5j), np.exp(-0.5j)], 2)
    prediction = predict(fit_dmd(truth.at(np.arange(30)), delays=2, form=form), math.inf)
    assert np.allclose(prediction.mean, truth.limit, atol=1e-6)
    assert "2 modes oscillate for ever" in prediction.outcome.sentence


def test_the_limit_of_decays_without_a_steady_part_is_zero(exponentials):
    model = fit_dmd(exponentials([0.9, 0.5], 2).at(np.arange(20)))
    assert np.array_equal(predict(model, math.inf).mean, [0.0, 0.0])


def test_horizons_beyond_any_training_mean_the_limit(exponentials):
    model = fit_dmd(exponentials(DECAYS, 3).at(np.arange(40)), delays=3)
    assert np.array_equal(predict(model, 1e300).mean, predict(model, math.inf).mean)


def test_a_selection_that_keeps_nothing_leaves_nothing_or_the_value_ahead(exponentials):
    series = exponentials([0.9, 0.5], 2).at(np.arange(20))
    nothing = predict(fit_dmd(series), 10, selection=NearOne(0.01))
    assert nothing.outcome.kind is Kind.UNDETERMINED
    assert "None of 2 modes is kept" in nothing.outcome.sentence
    affine = fit_dmd(series, form="affine")
    assert np.array_equal(predict(affine, 10, selection=NearOne(0.01)).mean, affine.ahead)


def test_the_steady_part_is_the_constant_of_a_sum_of_exponentials(exponentials):
    truth = exponentials([1.0, 0.9, 0.5], 2)
    model = fit_dmd(truth.at(np.arange(20)), delays=2)
    assert np.allclose(steady_part(model, NearOne(1e-3)).mean, truth.limit, rtol=1e-8)
    abstained = steady_part(fit_dmd(truth.at(np.arange(20)) - truth.limit, delays=2), NearOne(0.05))
    assert abstained.outcome.kind is Kind.UNDETERMINED
    assert "the nearest is 0.9" in abstained.outcome.sentence
    assert steady_part(fit_dmd(np.zeros((2, 1))), NearOne(0.05)).outcome.kind is Kind.SHORT


@given(
    modulus=st.floats(0, 1),
    angle=st.sampled_from([0.0, 1e-9, 1e-3, 0.5, np.pi]),
    steps=st.integers(0, 400),
)
def test_geometric_sums_equal_the_sum_term_by_term(modulus, angle, steps):
    value = modulus * np.exp(1j * angle) if angle else complex(modulus)
    powers = np.cumprod(np.concatenate([[1.0 + 0j], np.full(max(steps - 1, 0), value)]))[:steps]
    found = geometric_sum(np.array([value]), np.array([float(steps)]))[0, 0]
    assert abs(found - powers.sum()) <= 1e-9 * max(steps, 1)


def test_geometric_sums_do_not_cancel_near_one():
    gap = 2.0**-40
    found = geometric_sum(np.array([1 - gap + 0j]), np.array([1e5]))[0, 0]
    assert found.real == pytest.approx(1e5 - gap * 1e5 * (1e5 - 1) / 2, rel=1e-12)


@pytest.mark.parametrize("horizon", [-1, float("nan"), "soon", None])
def test_a_horizon_out_of_range_is_refused(horizon):
    with pytest.raises(ArgumentError, match=r"`horizon` must be a number of steps from 0 to math\.inf; got"):
        predict(fit_dmd(np.random.default_rng(0).normal(size=(9, 1))), horizon)


@pytest.mark.parametrize("name", ["real", "oscillating"])
@pytest.mark.parametrize("radius", [0.0, 1.01])
def test_a_radius_out_of_range_is_refused(name, radius):
    with pytest.raises(ArgumentError, match=f"`{name}` must be above 0 and at most 1; got {radius}"):
        Disk(**{name: radius})


@given(st.floats(0, 1e3), st.floats(-np.pi, np.pi))
def test_clipping_keeps_the_angle_and_bounds_the_modulus(modulus, angle):
    value = np.array([modulus * np.exp(1j * angle)])
    clipped = Disk(0.9, 0.8).clip(value)
    assert np.abs(clipped[0]) <= 0.9 + 1e-12
    if modulus > 1e-3:
        assert np.angle(clipped[0] / value[0]) == pytest.approx(0, abs=1e-9)
    if np.abs(value[0]) <= 0.8:  # which rounds otherwise than `modulus`
        assert clipped[0] == value[0]
