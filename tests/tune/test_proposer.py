"""A searcher of Tune's inside ours: it proposes what is discrete, ours the rest; neither forgets."""

import json
import pickle

import pytest
from ray import tune
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher, SearchGenerator

from ray_glocal import GlocalScheduler
from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.simulate import Cluster, following, simulate
from ray_glocal.tune import GlocalSearch

SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "net": {"width": tune.grid_search([8, 16, 32]), "seed": tune.randint(0, 1000)},
    "lr": tune.loguniform(1e-4, 1.0),
    "steps": 10,
}


class Scripted(Searcher):
    """Answers what it was given, and writes down what it is told."""

    def __init__(self, answers=(), takes_space=True, saves=True):
        super().__init__()
        self.answers, self.takes_space, self.saves = list(answers), takes_space, saves
        self.space, self.ends, self.told = None, [], None

    def set_search_properties(self, metric, mode, config, **spec):
        self.told, self.space = (metric, mode, spec), config
        return self.takes_space

    def suggest(self, trial_id):
        return self.answers.pop(0)

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.ends.append((trial_id, result, error))

    def save(self, checkpoint_path):
        if not self.saves:
            raise NotImplementedError
        with open(checkpoint_path, "wb") as file:
            pickle.dump(self.answers, file)

    def restore(self, checkpoint_path):
        with open(checkpoint_path, "rb") as file:
            self.answers = pickle.load(file)


def answer(optimizer="sgd", width=8, seed=123):
    return {"optimizer": optimizer, "net": {"width": width, "seed": seed}}


def around(inner, mode="min", samples=8):
    search = GlocalSearch(SPACE, "val_loss", mode, discrete=inner)
    search.set_search_properties(None, None, {}, num_samples=samples)
    return search


def finish(search, trial, loss, **more):
    search.on_trial_complete(trial_id=trial, result={"val_loss": loss, "training_iteration": 3, **more})


def test_it_is_given_the_discrete_part_of_the_space_and_its_values_reach_the_trials():
    inner = Scripted([answer(), answer("adamw", 32, 999)])
    search = around(inner)
    first, second = search.suggest("a"), search.suggest("b")
    assert inner.told[:2] == ("val_loss", "min")
    assert inner.told[2]["num_samples"] == 8
    assert set(inner.space) == {"optimizer", "net"}
    assert inner.space["net"]["width"].categories == [8, 16, 32]  # a grid as a choice
    assert inner.space["net"]["seed"] is SPACE["net"]["seed"]
    assert (first["optimizer"], first["net"], first["steps"]) == ("sgd", {"width": 8, "seed": 123}, 10)
    assert (second["optimizer"], second["net"]) == ("adamw", {"width": 32, "seed": 999})
    assert 1e-4 <= first["lr"] <= 1.0
    rows = search.proposals()
    assert rows[0]["reason"] == (
        "Discrete values by Scripted. First trial of it. Start values cover their domains, number 1."
    )


def test_values_and_weights_still_come_from_kin():
    search = around(Scripted([answer("sgd"), answer("adamw"), *[answer("sgd", 16)] * 12]), samples=4)
    search.suggest("a")
    search.suggest("b")
    finish(search, "a", 1.0, **{"hyper/lr": 0.01})
    finish(search, "b", 0.5, **{"hyper/lr": 0.5})
    configs = [search.suggest(f"x{i}") for i in range(12)]
    ancestors = [row["ancestor"] for row in search.proposals()[2:]]
    assert set(ancestors) - {None} == {"a"}  # never across optimizers
    assert all(0.003 < config["lr"] < 0.03 for config, named in zip(configs, ancestors, strict=True) if named)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_it_is_told_the_end_of_each_trial_once_by_its_forecast_where_that_was_pruned(mode):
    inner = Scripted([answer()] * 4)
    search = around(inner, mode)
    for trial in ("a", "b", "c", "d"):
        search.suggest(trial)
    finish(search, "a", 0.75)
    finish(search, "a", 0.75)
    sign = 1 if mode == "min" else -1
    search.ledger.record(Reported("b", 1, sign * 2.0, sign * 0.5, 0.1))
    search.ledger.record(Decision("b", 1, Action.STOP, "rung", "2 > 1."))
    finish(search, "b", 2.0)
    search.on_trial_complete(trial_id="c", error=True)
    finish(search, "d", float("nan"))
    search.on_trial_complete(trial_id="stranger", error=True)
    told = [(trial, None if result is None else result["val_loss"], error) for trial, result, error in inner.ends]
    assert told == [("a", 0.75, False), ("b", 0.5, False), ("c", None, True), ("d", None, True)]


def test_its_wait_and_its_end_are_passed_on():
    search = around(Scripted([None, answer(), Searcher.FINISHED]))
    assert search.suggest("a") is None
    assert search.suggest("a")["optimizer"] == "sgd"
    assert search.suggest("b") == Searcher.FINISHED
    assert [row["trial"] for row in search.proposals()] == ["a"]


@pytest.mark.parametrize("by_folder", [False, True])
def test_both_memories_are_saved_and_restored(tmp_path, by_folder):
    first = around(Scripted([answer(seed=i) for i in range(9)]))
    for i in range(3):
        first.suggest(f"t{i}")
    finish(first, "t0", 1.0)
    inner = Scripted()
    second = around(inner)
    if by_folder:
        first.save_to_dir(str(tmp_path), session_str="2024")
        first.save_to_dir(str(tmp_path), session_str="2025")
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "glocal-discrete-2024.pkl",
            "glocal-discrete-2025.pkl",
            "searcher-state-2024.pkl",
            "searcher-state-2025.pkl",
        ]
        second.restore_from_dir(str(tmp_path))
    else:
        first.save(str(tmp_path / "state.pkl"))
        second.restore(str(tmp_path / "state.pkl"))
    ledger = tmp_path / ("searcher-state-2025.pkl" if by_folder else "state.pkl")
    assert all(json.loads(line) for line in ledger.read_text().splitlines())
    assert second.ledger == first.ledger
    assert second.suggest("t3") == first.suggest("t3")
    finish(second, "t0", 1.0)  # it has heard that
    finish(second, "t1", 2.0)
    assert [trial for trial, _, _ in inner.ends] == ["t1"]


def test_tunes_generator_saves_and_restores_both(tmp_path):
    first = SearchGenerator(ConcurrencyLimiter(around(Scripted([answer(seed=i) for i in range(9)])), 4))
    configs = [first.searcher.suggest(f"t{i}") for i in range(3)]
    first.save_to_dir(str(tmp_path), "now")
    inner = Scripted()
    second = SearchGenerator(ConcurrencyLimiter(around(inner), 4))
    second.restore_from_dir(str(tmp_path))
    assert [answer["net"]["seed"] for answer in inner.answers] == list(range(3, 9))
    assert [row["start"]["lr"] for row in second.searcher.searcher.proposals()] == [c["lr"] for c in configs]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_one_that_cannot_save_begins_anew_and_says_so(tmp_path, caplog):
    first = around(Scripted([answer()] * 3, saves=False))
    first.suggest("t0")
    first.save_to_dir(str(tmp_path))
    assert "Scripted cannot save its state: after a restore it would begin anew." in caplog.text
    inner = Scripted([answer("adamw")])
    second = around(inner)
    second.restore_from_dir(str(tmp_path))
    assert "There is no state of Scripted at" in caplog.text
    assert second.suggest("t1")["optimizer"] == "adamw"
    finish(second, "t0", 1.0)  # it never suggested that one
    finish(second, "t1", 1.0)
    assert [trial for trial, _, _ in inner.ends] == ["t1"]


def test_an_experiments_folder_without_a_search_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"`checkpoint_dir` must hold a file searcher-state-\*.pkl"):
        around(Scripted()).restore_from_dir(str(tmp_path))


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (BasicVariantGenerator(), r"`discrete` must be a Searcher of Ray Tune; got .*BasicVariantGenerator.* OptunaS"),
        ("optuna", r"`discrete` must be a Searcher of Ray Tune; got 'optuna'"),
        (GlocalSearch(SPACE), r"`discrete` must be another searcher than ours"),
        (Scripted(takes_space=False), r"`discrete` must have no space of its own; .* Build it without a space"),
        (Scripted([{"optimizer": "sgd"}]), r"`discrete` must suggest a value for 'net/width'"),
        (Scripted([answer(width=9)]), r"`discrete` must suggest one of the values of 'net/width'; got 9"),
        (Scripted([answer(seed="many")]), r"`discrete` must suggest one of the values of 'net/seed'; got 'many'"),
    ],
)
def test_what_is_no_searcher_of_discrete_values_is_refused(inner, message):
    with pytest.raises(ArgumentError, match=message):
        around(inner).suggest("a")


def optuna_search(seed=0):
    optuna = pytest.importorskip("optuna", exc_type=ImportError)
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return OptunaSearch(seed=seed)


def loss(config, iteration):
    penalty = (config["optimizer"] == "sgd") + (config["net"]["width"] != 16)
    return {"val_loss": penalty + abs(config["lr"] - 0.01) + 1 / iteration, "hyper/lr": config["lr"]}


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("limited", [False, True])
def test_optuna_proposes_the_discrete_values_of_an_experiment_under_our_scheduler(limited):
    inner = ConcurrencyLimiter(optuna_search(), 3) if limited else optuna_search()
    search = GlocalSearch(SPACE, discrete=inner)
    told = simulate(
        following(loss, 9),
        SPACE,
        metric="val_loss",
        mode="min",
        num_samples=30,
        search_alg=search,
        scheduler=GlocalScheduler(search=search, max_t=9),
        cluster=Cluster(4),
    )
    assert len(told.configs) == 30
    late = told.configs[20:]
    assert sum(config["optimizer"] == "adamw" for config in late) >= 7
    study = (inner.searcher if limited else inner)._ot_study
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 30
    rows = search.proposals()
    assert [row["discrete"]["net/seed"] for row in rows] == [trial.params["net/seed"] for trial in study.trials]
    assert all("OptunaSearch" in row["reason"] for row in rows)


@pytest.mark.filterwarnings("ignore::Warning")
def test_optuna_goes_on_after_a_restore_as_it_would_have(tmp_path):
    whole, first = around(optuna_search()), around(optuna_search())
    for search in (whole, first):
        for i in range(12):
            finish(search, f"t{i}", loss(search.suggest(f"t{i}"), 1)["val_loss"])
    first.save_to_dir(str(tmp_path), session_str="now")
    second = around(optuna_search(seed=5))
    second.restore_from_dir(str(tmp_path))
    assert [second.suggest(f"t{i}") for i in range(12, 16)] == [whole.suggest(f"t{i}") for i in range(12, 16)]
