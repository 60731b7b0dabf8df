"""What is wrong with a scheduler's arguments is said before anything runs."""

import pytest
from hooks import SPACE, Tune

from ray_glocal.errors import ArgumentError
from ray_glocal.tune import GlocalScheduler, GlocalSearch


@pytest.mark.parametrize("kept", [1, 2])
def test_too_few_checkpoints_are_refused(tmp_path, kept):
    search = GlocalSearch(SPACE, "val_loss", "min")
    with pytest.raises(ArgumentError, match=rf"`num_to_keep` must be None or at least 3.*got {kept}"):
        Tune(GlocalScheduler(search=search), tmp_path, search).add("a", kept=kept)
    search = GlocalSearch(SPACE, "val_loss", "min", weights=False)
    Tune(GlocalScheduler(search=search), tmp_path, search).add("a", kept=kept)
    Tune(GlocalScheduler("val_loss", "min"), tmp_path).add("a", kept=kept)


SEARCH = GlocalSearch(SPACE, "val_loss", "min")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GlocalScheduler("acc", search=SEARCH), r"`metric` must be the same everywhere, 'acc' so far; got"),
        (lambda: GlocalScheduler(mode="max", search=SEARCH), r"`mode` must be the same everywhere, 'max' so far"),
        (
            lambda: GlocalScheduler("a", "min").set_search_properties("b", "min"),
            r"`metric` must be the same everywhere, 'a' so far; got 'b'. Scheduler, searcher and Tune",
        ),
        (
            lambda: GlocalScheduler("a", "big"),
            r"`mode` must be 'min' or 'max'; got 'big'. Say whether a small or a large 'a'",
        ),
        (lambda: GlocalScheduler(mode="big"), r"`mode` must be 'min' or 'max'; got 'big'"),
        (
            lambda: GlocalScheduler().set_search_properties("a", "big"),
            r"`mode` must be 'min' or 'max'; got 'big'. Say whether a small or a large 'a'",
        ),
        (lambda: GlocalScheduler(search="optuna"), r"`search` must be a GlocalSearch; got 'optuna'. Leave it out"),
        (lambda: GlocalScheduler(max_t=0), r"`max_t` must be positive; got 0"),
        (lambda: GlocalScheduler(grace_period=2.5), r"`grace_period` must be a whole number of at least 1; got 2.5"),
        (
            lambda: GlocalScheduler(reduction_factor=1),
            r"`reduction_factor` must be a whole number of at least 2; got 1",
        ),
        (lambda: GlocalScheduler(rules=["best"]), r"`rules` must name rules out of"),
        (lambda: GlocalScheduler(forecaster="best"), r"got 'best'"),
        (lambda: GlocalScheduler("a", "min").write_decisions(), r"`path` must be given before an experiment has begun"),
        (
            lambda: Tune(GlocalScheduler(search=SEARCH), "/x", "random search").add("a"),
            r"`search` must be the searcher that proposes the trials; got 'random search'. Pass the same object",
        ),
        (lambda: Tune(GlocalScheduler(), "/x").add("a"), r"`metric` must name the reported value to optimise"),
        (lambda: Tune(GlocalScheduler("a"), "/x").add("a"), r"`mode` must be 'min' or 'max'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
