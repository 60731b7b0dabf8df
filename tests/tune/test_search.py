import copy
import json
import pickle
import sys
from collections import Counter

import pytest
from ray import tune
from ray.tune.search import ConcurrencyLimiter

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.event import FORGOTTEN, Added, Completed, Reported
from ray_glocal.tune import GlocalSearch

SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "net": {"width": tune.choice([8, 16, 32])},
    "lr": tune.loguniform(1e-4, 1.0),
    "steps": 10,
}


def told(search, samples=24, config=None):
    search.set_search_properties(None, None, config or {}, num_samples=samples)
    return search


def run(search, count, loss=lambda config: config["lr"], begin=0):
    """The hooks as Tune calls them, one trial after the other."""
    configs = []
    for i in range(begin, begin + count):
        config = search.suggest(f"t{i}")
        result = {"val_loss": loss(config), "training_iteration": 1, "hyper/lr": config["lr"]}
        search.on_trial_result(f"t{i}", result)
        search.on_trial_complete(trial_id=f"t{i}", result=result)
        configs.append(config)
    return configs


def handed(search, count):
    """Ancestor, and the place of its weights, of those of the latest proposals that have one."""
    return [(row["ancestor"], row["weights"]) for row in search.proposals()[-count:] if row["ancestor"]]


def discrete(config):
    return config["optimizer"], config["net"]["width"]


def test_all_configurations_come_once_before_any_repeats_and_no_start_ever_does():
    search = told(GlocalSearch(SPACE, "val_loss", "min", seed=1))
    configs = run(search, 24)
    assert len({discrete(c) for c in configs[:6]}) == 6
    assert Counter(c["optimizer"] for c in configs[:2]) == {"sgd": 1, "adamw": 1}
    assert len({c["lr"] for c in configs}) == 24
    assert all(1e-4 <= c["lr"] <= 1.0 and c["steps"] == 10 for c in configs)
    assert not any(row["ancestor"] for row in search.proposals()[:6])
    assert len(handed(search, 18)) > 9
    assert {name for config in configs for name in config} == set(SPACE), "no key of ours"


def test_a_space_larger_than_the_samples_is_covered_by_half_of_them():
    search = told(GlocalSearch(SPACE, "val_loss", "min"), samples=4)
    run(search, 4)
    assert [record.added.origin for record in search.ledger.trials.values()][:3] == [
        "cover",
        "cover",
        search_third(search),
    ]


def search_third(search):
    origin = list(search.ledger.trials.values())[2].added.origin
    assert origin in ("seed", "explore")
    return origin


@pytest.mark.parametrize("samples", [-1, None, 10**30])
def test_without_a_number_of_samples_small_spaces_are_covered(samples):
    search = told(GlocalSearch(SPACE, "val_loss", "min"), samples=None if samples == -1 else samples)
    run(search, 8)
    assert Counter(r.added.origin for r in search.ledger.trials.values())["cover"] == 6


def test_values_come_from_the_best_and_stay_near_it():
    search = told(GlocalSearch(SPACE, "val_loss", "max", seed=2), samples=60)
    configs = run(search, 60, loss=lambda c: -abs(c["lr"] - 0.01) - (c["optimizer"] == "sgd"))
    late = Counter(c["optimizer"] for c in configs[30:])
    assert late["adamw"] > late["sgd"]
    assert all(search.ledger.trial(ancestor) for ancestor, _ in handed(search, 60))


def test_proposals_are_reproducible_and_survive_save_and_restore(tmp_path):
    whole = run(told(GlocalSearch(SPACE, "val_loss", "min", seed=7)), 20)
    first = told(GlocalSearch(SPACE, "val_loss", "min", seed=7))
    run(first, 9)
    first.save(str(tmp_path / "state.pkl"))
    second = told(GlocalSearch(SPACE, "val_loss", "min", seed=7))
    held = second.ledger
    second.restore(str(tmp_path / "state.pkl"))
    assert held is second.ledger
    assert run(second, 11, begin=9) == whole[9:]
    lines = (tmp_path / "state.pkl").read_text().splitlines()
    assert all(json.loads(line) for line in lines)  # plain data: nothing to unpickle


@pytest.mark.parametrize("again", [None, 1])
@pytest.mark.parametrize("samples", [8, 24, -1])
def test_a_search_that_a_tuner_restores_proposes_what_the_first_would_have(tmp_path, samples, again):
    """`Tuner.restore` tells a searcher nothing, or, where it is given a space, that there is one sample."""
    first = told(GlocalSearch(SPACE, "val_loss", "min", seed=3), samples if samples > 0 else sys.maxsize)
    begun = run(first, 2)
    first.save(str(tmp_path / "state.pkl"))
    second = GlocalSearch(SPACE, "val_loss", "min", seed=3)
    if again:
        told(second, again)
    second.restore(str(tmp_path / "state.pkl"))
    assert begun + run(second, 6, begin=2) == begun + run(first, 6, begin=2)
    assert [row["reason"] for row in second.proposals()] == [row["reason"] for row in first.proposals()]


def test_a_pickled_search_is_the_same_search():
    search = told(GlocalSearch(SPACE, "val_loss", "min", seed=7))
    run(search, 9)
    again = pickle.loads(pickle.dumps(search))
    assert run(again, 3, begin=9) == run(search, 3, begin=9)


def test_a_torn_save_is_said(tmp_path, caplog):
    search = told(GlocalSearch(SPACE, "val_loss", "min"))
    run(search, 2)
    path = tmp_path / "state"
    search.save(str(path))
    path.write_text(path.read_text()[:-5])
    search.restore(str(path))
    assert "torn by a crash and is dropped" in caplog.text


def test_weights_come_from_ended_trials_with_a_checkpoint_only(tmp_path):
    space = {"w": tune.choice([1]), "lr": tune.uniform(0, 1)}
    search = told(GlocalSearch(space, "val_loss", "min"))
    run(search, 1)
    run(search, 9, begin=1)
    assert {weights for _, weights in handed(search, 9)} == {None}  # nobody has told where checkpoints are
    config = search.suggest("best")
    search.on_trial_result("best", {"val_loss": -9.0, "training_iteration": 1})
    run(search, 6, begin=20)
    assert not any(weights for _, weights in handed(search, 6))  # "best" is running
    search.ledger.record(Completed("best", 0, "/somewhere"))
    run(search, 6, begin=30)
    assert set(handed(search, 6)) == {("best", "/somewhere")}
    reasons = [row["reason"] for row in search.proposals()[-6:] if row["ancestor"]]
    assert all(reason.endswith("from trial best (-9), varied by 0.2. Its weights too.") for reason in reasons)
    search.save(str(tmp_path / "search"))
    alone = told(GlocalSearch(space, "val_loss", "min", weights=False))
    alone.restore(str(tmp_path / "search"))
    run(alone, 6, begin=40)
    assert {weights for _, weights in handed(alone, 6)} == {None}
    assert config["w"] == 1


@pytest.mark.parametrize("wrap", [False, True])
def test_the_limit_of_concurrent_trials_holds_and_lets_go(wrap):
    search = GlocalSearch(SPACE, "val_loss", "min", max_concurrent=None if wrap else 2)
    outer = ConcurrencyLimiter(search, 2) if wrap else search
    assert outer.suggest("a")
    assert outer.suggest("b")
    assert outer.suggest("c") is None
    outer.on_trial_complete(trial_id="a", error=True)
    assert outer.suggest("d")
    assert outer.suggest("e") is None


@pytest.mark.parametrize("mode", ["min", "max"])
def test_every_proposal_tells_its_reason_before_and_after_a_restore(tmp_path, mode):
    search = told(GlocalSearch(SPACE, "val_loss", mode, seed=1))
    configs = run(search, 12)
    rows = search.proposals()
    assert [(row["discrete"]["optimizer"], row["discrete"]["net/width"]) for row in rows] == [*map(discrete, configs)]
    assert [row["start"]["lr"] for row in rows] == [config["lr"] for config in configs]
    assert [row["trial"] for row in rows] == [f"t{i}" for i in range(12)]
    assert rows[0]["reason"].startswith("Number 1 of the 6 that cover 6 configurations first.")
    seeded = [row for row in rows if row["ancestor"]]
    assert seeded
    assert all(
        f"from trial {row['ancestor']}" in row["reason"] and "Not its weights" in row["reason"] for row in seeded
    )
    search.save(str(tmp_path / "state.pkl"))
    again = told(GlocalSearch(SPACE, "val_loss", mode, seed=1))
    again.restore(str(tmp_path / "state.pkl"))
    assert again.proposals() == rows


@pytest.mark.parametrize("mode", ["min", "max"])
def test_slopes_of_positive_ordered_values_are_read_from_the_results(mode):
    space = {**SPACE, "drop": tune.choice([0.0, 0.1, 0.2]), "two": tune.choice([1, 2])}
    search = told(GlocalSearch(space, "val_loss", mode))
    assert search.ordinal == ("net/width",)
    search.suggest("a")
    elasticities = {f"elasticity/{name}": 0.5 for name in ("net/width", "drop", "two", "lr", "optimizer")}
    search.on_trial_result("a", {"val_loss": 3.0, "forecast/final_loss": 2.0, "training_iteration": 1, **elasticities})
    sign = 1 if mode == "min" else -1
    assert search.ledger.trial("a").latest.slopes == {"net/width": sign * 0.5 * 2.0}
    search.on_trial_result("a", {"val_loss": 3.0, "training_iteration": 2, "elasticity/net/width": float("nan")})
    assert search.ledger.trial("a").latest.slopes == {}
    other = told(GlocalSearch(space, "error", mode))
    other.suggest("a")
    other.on_trial_result("a", {"error": 3.0, "training_iteration": 1, **elasticities})
    assert other.ledger.trial("a").latest.slopes == {}  # of the validation loss, not of the error


def test_who_expects_a_grid_to_multiply_the_trials_is_told(caplog):
    space = {"a": tune.grid_search([1, 2, 3]), "b": tune.grid_search([4, 5]), "lr": tune.uniform(0, 1)}
    configs = run(told(GlocalSearch(space, "val_loss", "min"), samples=12), 12)
    assert {(c["a"], c["b"]) for c in configs[:6]} == {(a, b) for a in (1, 2, 3) for b in (4, 5)}
    assert "num_samples=12 makes 12 trials, not 72" in caplog.text
    assert "each of the 6 combinations of ['a', 'b'], set num_samples to 12 or more" in caplog.text
    caplog.clear()
    told(GlocalSearch(SPACE, "val_loss", "min"))
    assert not caplog.text


def test_a_conditional_space_is_searched_by_its_outer_choice():
    space = {
        "opt": tune.choice([{"name": "sgd", "momentum": tune.uniform(0.1, 0.9)}, {"name": "adamw"}]),
        "lr": tune.loguniform(1e-4, 1.0),
    }
    search = told(GlocalSearch(space, "val_loss", "min"))
    configs = run(search, 24, loss=lambda c: c["lr"] + (c["opt"]["name"] == "adamw"))
    momenta = [c["opt"]["momentum"] for c in configs if c["opt"]["name"] == "sgd"]
    assert all(("momentum" in c["opt"]) == (c["opt"]["name"] == "sgd") for c in configs)
    assert len(set(momenta)) == len(momenta) > 12
    assert all(0.1 <= momentum <= 0.9 for momentum in momenta)
    rows = search.proposals()
    assert [row["discrete"].get("opt/momentum") for row in rows] == [c["opt"].get("momentum") for c in configs]


def test_errors_and_unknown_trials_are_recorded_or_ignored():
    search = GlocalSearch(SPACE, "val_loss", "min")
    search.on_trial_complete(trial_id="never heard of", result={"val_loss": 1.0})
    search.suggest("a")
    search.on_trial_complete(trial_id="a", result=None, error=True)
    assert search.ledger.trial("a").status == "errored"
    search.on_trial_complete(trial_id="a", result={"val_loss": 1.0, "training_iteration": 1})
    assert search.ledger.trial("a").status == "errored"


def test_odd_results_are_no_events():
    search = GlocalSearch(SPACE, "val_loss", "min")
    search.suggest("a")
    for value in (None, "text", True, object(), [1.0]):
        search.on_trial_result("a", {"val_loss": value, "training_iteration": 1})
    assert search.ledger.trial("a").latest is None
    assert [type(e).__name__ for e in search.ledger.events] == ["Settled", "Added"]


def test_tune_may_pass_the_same_space_or_constants():
    class Marker:
        pass

    space = {**SPACE, "kind": tune.choice([Marker, int])}
    search = GlocalSearch(space, "val_loss", "min")
    passed = copy.deepcopy(space)
    passed["kind"].categories = ["placeholder", int]  # what Tune makes of objects that it cannot save
    assert search.set_search_properties("val_loss", "min", passed, num_samples=12)
    assert {str(c["kind"]) for c in run(search, 12)} == {"placeholder", "<class 'int'>"}
    assert search.set_search_properties(None, None, {"steps": 3}, num_samples=12)
    assert Marker in {c["kind"] for c in run(search, 12, begin=12)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GlocalSearch({"a": tune.choice([1])}), r"`space` must hold at least one continuous domain to adapt"),
        (lambda: GlocalSearch({"a": tune.uniform(0, 1)}), r"`space` must hold at least one discrete domain.*choice"),
        (lambda: GlocalSearch(SPACE, "loss", "big"), r"`mode` must be 'min' or 'max'; got 'big'. Say whether a small"),
        (lambda: GlocalSearch(SPACE, seed=-1), r"`seed` must be a whole number of at least 0; got -1"),
        (
            lambda: GlocalSearch(SPACE, max_concurrent=0),
            r"`max_concurrent` must be a whole number of at least 1; got 0",
        ),
        (lambda: GlocalSearch(SPACE).suggest("a"), r"`metric` must name the reported value to optimise; got ''"),
        (
            lambda: GlocalSearch(SPACE, "loss").suggest("a"),
            r"`mode` must be 'min' or 'max'; got ''. Say whether a small",
        ),
        (
            lambda: GlocalSearch(SPACE, "a", "min").set_search_properties("b", None, {}),
            r"`metric` must be the same everywhere, 'a' so far; got 'b'",
        ),
        (
            lambda: GlocalSearch(SPACE).set_search_properties("b", "min", {"lr": tune.uniform(0, 1)}),
            r"`config` must hold the same domains as the searcher's space, \['lr', 'net/width', 'optimizer'\]",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_a_damaged_memory_is_kept_aside_and_what_is_whole_of_it_used(tmp_path, caplog):
    first = GlocalSearch(SPACE, "val_loss", "min")
    run(first, 4)
    path = tmp_path / "state.pkl"
    first.save(str(path))
    rows = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([rows[0], b"\xff\x00" + rows[1], *rows[2:]]))
    second = GlocalSearch(SPACE, "val_loss", "min")
    second.restore(str(path))
    assert second.ledger.events == first.ledger.events[1:]
    assert "Part of the memory of earlier decisions is lost; it is kept as" in caplog.text
    assert "1 damaged lines are dropped, the first is line 2" in caplog.text
    assert path.with_suffix(".damaged").read_bytes() == path.read_bytes()


def test_a_memory_of_another_version_is_said_and_tunes_trials_go_on(tmp_path, caplog):
    (tmp_path / "state.pkl").write_text('{"ray_glocal_ledger": 99}\n')
    search = GlocalSearch(SPACE, "val_loss", "min")
    search.restore(str(tmp_path / "state.pkl"))
    assert len(search.ledger) == 0
    assert "The memory of earlier decisions is lost; it is kept as" in caplog.text
    assert "Read it with the version of ray_glocal that wrote it" in caplog.text


def test_what_cannot_be_saved_is_said_and_the_older_save_stays(tmp_path, caplog):
    search = GlocalSearch(SPACE, "val_loss", "min")
    run(search, 1)
    search.save(str(tmp_path / "state.pkl"))
    saved = (tmp_path / "state.pkl").read_text()
    (tmp_path / "state.pkl.unfinished").symlink_to("/dev/full")
    run(search, 1, begin=1)
    search.save(str(tmp_path / "state.pkl"))
    assert "No space left on device" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["state.pkl"]
    assert (tmp_path / "state.pkl").read_text() == saved


def test_trials_that_tune_does_not_bring_back_take_nobodys_place(tmp_path):
    first = GlocalSearch(SPACE, "val_loss", "min", max_concurrent=1)
    first.suggest("lost")
    first.save(str(tmp_path / "state.pkl"))
    second = GlocalSearch(SPACE, "val_loss", "min", max_concurrent=1)
    second.restore(str(tmp_path / "state.pkl"))
    assert second.suggest("next") is not None
    assert second.suggest("one more") is None


def test_trials_whose_proposal_is_lost_are_not_proposed_again():
    whole, partial = (GlocalSearch(SPACE, "val_loss", "min") for _ in range(2))
    run(whole, 2)
    partial.ledger.extend([Added("0", origin=FORGOTTEN), Reported("1", 1, 1.0)])  # Tune knows them, it did not
    assert run(partial, 1, begin=2) == run(whole, 1, begin=2)
