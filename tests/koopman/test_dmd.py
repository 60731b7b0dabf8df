import numpy as np
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Kind
from ray_glocal.koopman import fit_dmd, predict
from ray_glocal.koopman.dmd import FORMS
from ray_glocal.koopman.rank import OptimalRank

# pydmd warns of the condition number of delay-embedded exact data, which is infinite by design.
ILL_CONDITIONED = pytest.mark.filterwarnings("ignore:Input data condition number:UserWarning")
PAIR = [0.9 * np.exp(0.4j), 0.9 * np.exp(-0.4j)]
MOVING = {"real": [0.95, 0.7], "negative": [0.9, -0.8], "pair": [*PAIR, 0.6], "many": [*PAIR, 0.95, 0.8]}


def same_spectrum(found, truth, tolerance):
    truth = list(truth)
    assert len(found) == len(truth)
    for value in found:
        nearest = min(truth, key=lambda candidate: abs(candidate - value))
        assert abs(nearest - value) < tolerance
        truth.remove(nearest)


@pytest.mark.parametrize("channels", [1, 3, 1000])
@pytest.mark.parametrize("moving", MOVING.values(), ids=MOVING)
@pytest.mark.parametrize("form", FORMS)
def test_a_known_spectrum_is_recovered(exponentials, form, moving, channels):
    truth = exponentials([1.0, *moving], channels)
    model = fit_dmd(truth.at(np.arange(40)), delays=6, form=form)
    same_spectrum(model.eigenvalues, [1.0, *moving] if form == "plain" else moving, 1e-8)
    assert model.outcome.kind is Kind.OK
    assert np.all(model.residuals < 1e-6)


def test_eigenvalues_above_one_are_recovered_as_they_are(exponentials):
    truth = exponentials([1.05, 0.8], 2)
    same_spectrum(fit_dmd(truth.at(np.arange(30))).eigenvalues, [1.05, 0.8], 1e-8)


def test_modes_are_eigenvectors_of_the_true_map():
    random = np.random.default_rng(3)
    matrix = random.normal(size=(3, 3))
    matrix *= 0.9 / np.max(np.abs(np.linalg.eigvals(matrix)))
    states = [random.normal(size=3)]
    for _ in range(12):
        states.append(matrix @ states[-1])
    model = fit_dmd(np.array(states))
    for eigenvalue, mode in zip(model.eigenvalues, model.modes, strict=True):
        assert np.allclose(matrix @ mode, eigenvalue * mode, atol=1e-8)


def test_residuals_are_those_of_a_naive_twin():
    series = np.random.default_rng(0).normal(size=(30, 2)).cumsum(axis=0)
    model = fit_dmd(series)
    scaled = series / np.sqrt(np.mean(series**2, axis=0))
    operator = np.linalg.lstsq(scaled[:-1], scaled[1:], rcond=None)[0].T
    values, left = np.linalg.eig(operator.T)  # left eigenvectors of the operator
    for value, vector in zip(values, left.T, strict=True):
        coordinate = scaled @ vector
        naive = np.linalg.norm(coordinate[1:] - value * coordinate[:-1]) / np.linalg.norm(coordinate[:-1])
        index = int(np.argmin(np.abs(model.eigenvalues - value)))
        assert model.residuals[index] == pytest.approx(naive, rel=1e-9)


def test_affine_fit_is_the_least_squares_fit_with_a_constant():
    series = np.random.default_rng(1).normal(size=(40, 3)).cumsum(axis=0)
    before = np.column_stack([series[:-1], np.ones(39)])
    solution = np.linalg.lstsq(before, series[1:], rcond=None)[0]
    model = fit_dmd(series, form="affine")
    same_spectrum(model.eigenvalues, np.linalg.eigvals(solution[:3]), 1e-9)
    assert np.allclose(model.ahead, np.append(series[-1], 1) @ solution, rtol=1e-10)


def test_increment_fit_is_a_plain_fit_of_the_differences():
    series = np.random.default_rng(2).normal(size=(40, 2)).cumsum(axis=0)
    increments, plain = fit_dmd(series, form="increment", delays=3), fit_dmd(np.diff(series, axis=0), delays=3)
    assert np.allclose(increments.eigenvalues, plain.eigenvalues)
    assert np.allclose(increments.ahead, series[-1] + plain.ahead)


def test_rank_and_delays_are_heeded(exponentials):
    series = exponentials([1.0, 0.9, 0.5], 2).at(np.arange(40))
    noisy = series + 1e-3 * np.random.default_rng(0).normal(size=series.shape)
    assert fit_dmd(noisy, rank=2, delays=4).rank == 2
    assert fit_dmd(noisy, rank=OptimalRank(), delays=8).rank <= 3
    assert fit_dmd(noisy, delays=4).rank == 8


@ILL_CONDITIONED
@pytest.mark.parametrize("rank", [2, 4])
def test_pydmd_exact_dmd_answers_the_same(exponentials, rank):
    pydmd = pytest.importorskip("pydmd")
    series = exponentials([0.97, *PAIR, 0.6], 6).at(np.arange(30))
    series = series / np.sqrt(np.mean(series**2, axis=0))  # pydmd does not scale; on scaled data the fits coincide
    theirs = pydmd.DMD(svd_rank=rank, exact=True)
    theirs.fit(series.T)
    ours = fit_dmd(series, rank=rank)
    same_spectrum(ours.eigenvalues, theirs.eigs, 1e-9)
    if rank == 4:
        theirs.dmd_time["tend"] = 60
        assert np.allclose(predict(ours, 31).mean, theirs.reconstructed_data[:, -1].real, atol=1e-8)


@ILL_CONDITIONED
def test_pydmd_hankel_dmd_answers_the_same(exponentials):
    pydmd = pytest.importorskip("pydmd")
    series = exponentials([0.97, *PAIR], 1).at(np.arange(30))
    theirs = pydmd.HankelDMD(svd_rank=3, exact=True, d=5)
    theirs.fit(series.T)
    ours = fit_dmd(series, rank=3, delays=5)
    same_spectrum(ours.eigenvalues, theirs.eigs, 1e-8)
    theirs.dmd_time["tend"] = 50
    assert np.allclose(predict(ours, 21).mean, theirs.reconstructed_data[:, -1].real, atol=1e-7)


def test_pydmd_agrees_on_the_eigenvalues_of_noisy_data():
    pydmd = pytest.importorskip("pydmd")
    series = np.random.default_rng(5).normal(size=(60, 4)).cumsum(axis=0)
    series = series / np.sqrt(np.mean(series**2, axis=0))
    theirs = pydmd.DMD(svd_rank=3, exact=True)
    theirs.fit(series.T)
    same_spectrum(fit_dmd(series, rank=3).eigenvalues, theirs.eigs, 1e-9)


def test_pure_noise_leaves_the_mean_the_last_value_or_nothing():
    series = 5 + np.random.default_rng(4).normal(size=(60, 3))
    affine = fit_dmd(series, OptimalRank(), 8, "affine")
    assert (affine.rank, affine.outcome.kind) == (0, Kind.WEAK)
    assert "mean of the window" in affine.outcome.sentence
    assert np.allclose(predict(affine, 100).mean, series[8:].mean(axis=0))
    # Differences of noise are correlated, so plant the case where nothing rises above noise.
    increment = fit_dmd(np.cumsum(np.random.default_rng(4).normal(size=(60, 3)), axis=0), OptimalRank(), 8, "increment")
    assert (increment.rank, increment.outcome.kind) == (0, Kind.WEAK)
    assert "last snapshot" in increment.outcome.sentence
    plain = fit_dmd(series - 5, OptimalRank(), 8, "plain")
    assert plain.outcome.kind is Kind.UNDETERMINED
    assert "None of 24 directions rises above noise" in plain.outcome.sentence


@pytest.mark.parametrize("form", FORMS)
def test_trouble_with_the_data_is_an_outcome(form):
    good = np.random.default_rng(0).normal(size=(20, 2))
    spoiled = good.copy()
    spoiled[7, 1] = np.nan
    cases = {
        Kind.SHORT: good[:3],
        Kind.WEAK: good[:7],
        Kind.NONFINITE: spoiled,
        Kind.HUGE: good * 1e300,
        Kind.CONSTANT: np.full((20, 2), 3.0),
    }
    for kind, series in cases.items():
        model = fit_dmd(series, form=form)
        assert model.outcome.kind is kind
        assert len(model.outcome.sentence) > 20
        assert np.isfinite(model.present).all() == model.outcome.usable
    assert np.array_equal(predict(fit_dmd(cases[Kind.CONSTANT], form=form), 9).mean, [3.0, 3.0])


@pytest.mark.parametrize("form", FORMS)
def test_tiny_values_keep_their_digits(exponentials, form):
    truth = exponentials([1.0, 0.9], 2)
    series = 1e-300 * truth.at(np.arange(20))
    mean = predict(fit_dmd(series, form=form, delays=3), 30).mean
    assert np.allclose(mean * 1e300, truth.at(49)[0], rtol=1e-6)


def test_lapack_failures_become_outcomes(monkeypatch):
    def fail(matrix):
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    monkeypatch.setattr(np.linalg, "eig", fail)
    model = fit_dmd(np.random.default_rng(0).normal(size=(20, 2)))
    assert model.outcome.kind is Kind.UNDETERMINED
    assert "no stable solution (Eigenvalues did not converge)" in model.outcome.sentence


@pytest.mark.parametrize(("channels", "why"), [(2, "eigenvectors are linearly dependent"), (4, "Singular matrix")])
def test_a_map_without_independent_eigenvectors_is_undetermined(channels, why):
    shifted_along = np.eye(9, channels)  # each snapshot hands its value on to the next channel: a Jordan block
    model = fit_dmd(shifted_along)
    assert model.outcome.kind is Kind.UNDETERMINED
    assert why in model.outcome.sentence


@pytest.mark.parametrize(("form", "delays", "most"), [("plain", 19, 18), ("affine", 0, 18), ("increment", 18, 17)])
def test_delays_out_of_range_are_refused(form, delays, most):
    with pytest.raises(ArgumentError, match=rf"`delays` must be a whole number between 1 and {most} for 20 snapshots"):
        fit_dmd(np.random.default_rng(0).normal(size=(20, 2)), delays=delays, form=form)


def test_the_largest_delays_in_range_are_accepted():
    series = np.random.default_rng(0).normal(size=(20, 2))
    for form, delays in (("plain", 18), ("affine", 18), ("increment", 17)):
        assert fit_dmd(series, delays=delays, form=form).outcome.usable


def test_an_unknown_form_is_refused():
    with pytest.raises(ArgumentError, match="`form` must be one of plain, affine, increment; got 'linear'"):
        fit_dmd(np.zeros((9, 1)), form="linear")
