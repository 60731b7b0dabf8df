import numpy as np
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman import fit_dmd, predict, spectrum
from ray_glocal.koopman.disk import Disk
from ray_glocal.koopman.selection import NearOne

PAIR = [0.9 * np.exp(2j * np.pi / 10), 0.9 * np.exp(-2j * np.pi / 10)]


def test_every_mode_has_its_row_and_its_reason(exponentials):
    table = spectrum(fit_dmd(exponentials([1.0, 0.8, *PAIR], 2).at(np.arange(30)), delays=3), selection=NearOne(0.05))
    assert len(table.modes) == 4
    kept = [mode for mode in table.modes if mode.kept]
    assert [mode.eigenvalue for mode in kept] == [pytest.approx(1.0)]
    assert kept[0].reason.startswith("Kept: one within 0.05")
    assert all(mode.reason.startswith("Dropped: ") for mode in table.modes if not mode.kept)
    assert sorted(mode.period for mode in table.modes) == [pytest.approx(10), pytest.approx(10), np.inf, np.inf]
    assert all(mode.residual < 1e-6 for mode in table.modes)


def test_rows_add_up_to_the_prediction_one_step_ahead(exponentials):
    truth = exponentials([1.0, 0.8, *PAIR], 2)
    table = spectrum(fit_dmd(truth.at(np.arange(30)), delays=3))
    assert np.allclose(sum((row.amplitude * row.mode).real for row in table.modes), truth.at(30)[0])


def test_the_affine_form_lists_its_built_in_steady_mode_first(exponentials):
    truth = exponentials([1.0, 0.8, *PAIR], 2)
    table = spectrum(fit_dmd(truth.at(np.arange(30)), delays=3, form="affine"))
    steady = table.modes[0]
    assert steady.eigenvalue == 1
    assert np.allclose(steady.mode.real, truth.limit)
    assert np.isnan(steady.residual)
    assert "built in" in str(table)


def test_a_straight_line_is_named_in_the_steady_mode():
    table = spectrum(fit_dmd(np.arange(20.0)[:, None], form="affine"))
    assert "a fitted eigenvalue of one adds a straight line" in table.modes[0].reason


def test_capped_modes_are_told_and_counted_as_the_prediction_counts_them(exponentials):
    model = fit_dmd(exponentials([1.05, 0.97, 0.5], 3).at(np.arange(30)))
    disk = Disk(0.95, 0.9)
    table = spectrum(model, disk)
    assert table.capped == predict(model, 10, disk).capped == 2
    assert [mode.capped for mode in table.modes] == [True, True, False]
    assert "Capped: a modulus of 1.05" in table.modes[0].reason


def test_the_text_is_a_plain_table(exponentials):
    text = str(spectrum(fit_dmd(exponentials([1.0, 0.5, *PAIR], 2).at(np.arange(30)), delays=3)))
    title, header, *rows = text.splitlines()
    assert title.startswith("Spectrum: 4 modes of 6 directions. 4 of 6 directions carry the plain model")
    assert header.split() == ["eigenvalue", "modulus", "period", "size", "residual", "kept", "capped", "why"]
    assert len(rows) == 4
    assert any("0.728115+0.529007i" in row and " 10 " in row for row in rows)
    assert any("decays by half in 1 steps" in row for row in rows)


def test_modes_that_do_not_decay_or_vanish_at_once_are_described(exponentials):
    grows = spectrum(fit_dmd(exponentials([1.1], 1).at(np.arange(9)))).modes[0]
    assert "moves without decay" in grows.reason
    gone = spectrum(fit_dmd(exponentials([0.9, 1e-4], 2).at(np.arange(9)))).modes[1]
    assert "decays at once" in gone.reason


def test_a_refused_fit_has_an_empty_table_with_the_sentence():
    table = spectrum(fit_dmd(np.zeros((2, 1))))
    assert table.modes == ()
    assert "2 snapshots are too few" in str(table)


def test_a_tolerance_that_is_not_above_zero_is_refused():
    with pytest.raises(ArgumentError, match="`tolerance` must be above 0; got 0"):
        NearOne(0)
