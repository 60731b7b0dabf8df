"""Experiments side by side."""

import math

import pytest
import recordings

from ray_glocal.errors import ArgumentError
from ray_glocal.report.comparison import compare


def test_two_experiments_side_by_side(tmp_path):
    told = compare(recordings.judged(tmp_path / "mine"), recordings.stock(tmp_path / "asha"))
    assert (told.metric, told.mode, told.target) == ("val_loss", "min", 1 / 3)
    mine, asha = told.contenders
    assert (mine.label, asha.label) == ("mine", "asha")
    assert mine.reached == (30.0, 1.5)
    assert asha.reached == (3.0, 1.5)
    lines = [" ".join(line.split()) for line in str(told).splitlines()]
    assert lines[:9] == [
        "mine asha",
        "best val_loss 0.3333 0.25",
        "test_accuracy 0.9 -",
        "cost, inner-step equivalents 100 9",
        "cost, trial seconds 5 4.5",
        "share of hypergradients 0.4 -",
        "trials started 6 3",
        "trials pruned or ended early 4 1",
        "equivalents to reach 0.3333 30 3",
    ]
    assert lines[9] == "trial seconds to reach 0.3333 1.5 1.5"
    assert "Note: asha counts reported steps, not inner-step equivalents" in str(told)
    assert max(map(len, str(told).splitlines())) <= 100


def test_many_experiments_take_several_blocks_and_doubles_are_numbered(tmp_path):
    folders = [recordings.judged(tmp_path / str(i) / "a-rather-long-name-of-an-experiment") for i in range(5)]
    text = str(compare(*folders))
    assert text.count("best val_loss") == 2
    assert "1: a-" in text
    assert "5: a-" in text
    assert "Note" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_where_one_never_had_a_finite_value_nothing_is_reached(tmp_path):
    experiment = recordings.Experiment(tmp_path / "nan")
    experiment.add("a")
    experiment.report("a", 1, math.nan)
    told = compare(experiment.write(), recordings.judged(tmp_path / "mine"))
    assert told.target is None
    assert [c.reached for c in told.contenders] == [None, None]
    assert "equivalents to reach -" in str(told)


def test_what_cannot_be_compared_is_refused(tmp_path):
    mine = recordings.judged(tmp_path / "mine")
    other = recordings.Experiment(tmp_path / "other", {}, "accuracy", "max")
    other.add("a")
    other.report("a", 1, 0.5, val_loss=2.0)
    with pytest.raises(ArgumentError, match=r"`results` must be at least two experiments; got 1. Use `report`"):
        compare(mine)
    with pytest.raises(
        ArgumentError, match=r"optimise one metric in one direction; got .*'accuracy', 'max'.*Say which"
    ):
        compare(mine, other.write())
    assert compare(mine, other.folder, metric="val_loss", mode="min").target == 2.0
