"""Experiments as Tune leaves them, whose trials trained with real sessions: the best one, and its line of descent."""

import json
import re
import shlex
import shutil
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import fs

import ray_glocal
from ray_glocal import LearnedSchedule, best_config
from ray_glocal.__main__ import main
from ray_glocal.errors import ArgumentError, CheckpointError
from ray_glocal.names import SESSION_FILE, TRACE_FILE
from ray_glocal.report.folder import RemoteFolder

from .experiments import STEPS, Experiment, inherited
from .test_sessions import MANY, anew, told_as_witnessed


def test_the_schedule_of_an_heir_begins_with_its_ancestors(family):
    experiment, witnesses = family
    learned = LearnedSchedule.of(str(experiment.folder))
    assert learned.trials == ("elder", "parent", "heir")
    taken = [note for name in learned.trials for note in inherited(witnesses, name)]
    assert told_as_witnessed(learned, SimpleNamespace(taken=taken), anew())
    assert sum(passage.afresh for passage in learned.passages) == 2


def test_the_best_configuration_holds_the_values_of_the_end_and_names_its_ancestors(family):
    experiment, witnesses = family
    best = best_config(experiment.folder)
    end = float(witnesses["heir"].session.values["lr"])
    assert best.config == {"kind": {"name": "sgd"}, "width": 16, "lr": end}
    assert (best.trial, best.metric, best.mode, best.trials, best.steps) == ("heir", "val_loss", "min", 4, STEPS)
    assert [(each.trial, each.steps, each.weights) for each in best.ancestors] == [
        ("elder", STEPS, True),
        ("parent", 60, True),
    ]
    assert [(each.name, each.start, each.now) for each in best.adapted] == [("lr", 0.05, end)]
    assert best.chosen == {"kind/name": "sgd", "width": 16}
    assert best.trained == sum(len(inherited(witnesses, name)) for name in ("elder", "parent", "heir"))
    assert best.trained + best.taken_back == STEPS + 60 + STEPS
    weights = ray_glocal.weights(best.checkpoint)
    assert all(torch.equal(weights[n], v) for n, v in witnesses["heir"].session.problem.model.state_dict().items())


def test_its_text_is_a_page(family):
    experiment, _ = family
    best = best_config(experiment.folder)
    value, end = f"{best.value:.4g}", f"{best.adapted[0].now:.4g}"
    factor = f"{best.adapted[0].now / 0.05:.4g}"
    heads = f"  adapted  start  {'end'.rjust(max(3, len(end)))}  {'factor'.rjust(max(6, len(factor)))}"
    assert str(best).splitlines() == [
        f"Best: trial heir, val_loss {value}, the smallest of 4 trials.",
        "",
        "  kind/name  sgd",
        "  width      16",
        "",
        heads,
        f"  lr        0.05  {end}  {factor.rjust(6)}",
        "",
        "It descends from",
        "  trial elder, after 100 steps: weights and values",
        "  trial parent, after 60 steps: weights and values",
        f"and trained 100 steps itself, {best.trained} from the first weights to the last.",
        "",
        f"Checkpoint: {experiment.place('heir', STEPS)}",
        "",
        "To train it from scratch, by the schedule that it followed and without any adaptation:",
        "",
        f"  python -m ray_glocal schedule {experiment.folder} --out schedule.json",
        "",
        '  schedule = ray_glocal.LearnedSchedule.read("schedule.json")',
        "  scheduler = schedule.scheduler(optimizer)",
        f"  for step in range({best.trained}):",
        "      ...  # zero_grad, loss (what it reads: schedule.values(step)), backward, optimizer.step()",
        "      scheduler.step()",
    ]


def test_of_many_choices_its_text_names_some_and_no_line_is_long(tmp_path):
    experiment = Experiment(tmp_path / "mine")
    experiment.trial("one", note="x" * 500, **{f"choice{n}": n for n in range(60)})
    best = best_config(experiment.folder)
    assert len(best.chosen) == 62
    lines = str(best).split("\n\n")[1].splitlines()
    assert lines[0] == "  kind/name  sgd"
    assert (len(lines), lines[-1]) == (41, "  and 22 more: best_config(results).chosen")
    assert max(map(len, lines)) == 100


@pytest.mark.parametrize("heir", [False, True], ids=["alone", "heir"])
def test_steps_that_were_taken_back_are_told_so_that_the_sum_comes_out(tmp_path, heir):
    experiment = Experiment(tmp_path / "mine")
    witnesses = [experiment.trial("elder", worse=1.0, bad=((60, 70),))]
    if heir:
        witnesses.append(experiment.trial("heir", ancestor="elder", worse=-1.0))
    best = best_config(experiment.folder)
    taken = sum(len(witness.taken) for witness in witnesses)
    back = STEPS * len(witnesses) - taken
    assert back > 0
    assert (best.trained, best.taken_back) == (taken, back)
    alone = f"It trained {STEPS} steps from fresh weights, of which {back} were taken back."
    told = f"and trained {STEPS} steps itself, {taken} from the first weights to the last, for {back} were taken back."
    assert (told if heir else alone) in str(best).splitlines()


def test_weights_of_another_shape_are_not_handed_down(tmp_path):
    experiment = Experiment(tmp_path / "mine")
    experiment.trial("wide", worse=1.0)
    witness = experiment.trial("narrow", ancestor="wide", features=3)
    best = best_config(experiment.folder)
    assert [(each.trial, each.weights) for each in best.ancestors] == [("wide", False)]
    assert best.trained == len(witness.taken)
    assert "  trial wide, after 100 steps: start values\nand trained 100 steps itself." in str(best)
    assert LearnedSchedule.of(experiment.folder).trials == ("narrow",)


def test_an_experiment_that_was_moved_or_lies_elsewhere_is_read_the_same(family, tmp_path):
    experiment, _ = family
    shutil.copytree(experiment.folder, tmp_path / "copy")
    held = LearnedSchedule.of(experiment.folder)
    assert LearnedSchedule.of(tmp_path / "copy") == held
    elsewhere = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    results = SimpleNamespace(experiment_path="copy", filesystem=elsewhere)
    assert LearnedSchedule.of(results) == held
    assert best_config(results).checkpoint == "subtree://copy/train_heir/checkpoint_000100"


@pytest.mark.parametrize("kind", ["path", "address", "results"])
def test_commands_can_be_pasted(family, tmp_path, monkeypatch, kind):
    """A path with a space is quoted, an address stays as it was typed, and of what Tune returned one is made."""
    experiment, _ = family
    place = tmp_path / "my results"
    shutil.copytree(experiment.folder, place)
    filesystem, path = fs.FileSystem.from_uri(f"fsspec+file://{place}")
    results, wanted = {
        "path": (place, str(place)),
        "address": (f"fsspec+file://{place}/", f"fsspec+file://{place}/"),
        "results": (SimpleNamespace(experiment_path=path, filesystem=filesystem), f"fsspec+file://{place}"),
    }[kind]
    best = best_config(results)
    assert best.path == wanted
    assert best.checkpoint == f"{wanted.rstrip('/')}/train_heir/checkpoint_000100"
    (line,) = [line for line in str(best).splitlines() if "python -m ray_glocal" in line]
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)[3:]) == 0
    assert LearnedSchedule.read("schedule.json") == LearnedSchedule.of(experiment.folder)


def test_options_stay_at_the_end_of_the_addresses_of_folders(family):
    """And a local folder is a path, which `weights` takes."""
    place, local = family[0].folder, fs.LocalFileSystem()
    typed = "s3://bucket/mine/?endpoint_override=host:9000"
    inside = RemoteFolder(fs.SubTreeFileSystem(str(place.parent), local), place.name, typed).folders()
    assert inside[0].address == "s3://bucket/mine/train_elder?endpoint_override=host:9000"
    assert best_config(f"file://{place}").checkpoint == str(family[0].place("heir", STEPS))
    assert RemoteFolder(SimpleNamespace(type_name="gcs"), "bucket/mine").address == "gs://bucket/mine"


@pytest.mark.parametrize("most", [2_000_000, 100])
def test_many_entries_are_handed_down_with_their_values(tmp_path, monkeypatch, capsys, most):
    """Or, where there are more than a trace holds, with those of the end, and that is said."""
    monkeypatch.setattr("ray_glocal.session.state.trace.MOST_VALUES", most)
    experiment, out = Experiment(tmp_path / "mine"), tmp_path / "s.json"
    witnesses = [experiment.trial("elder", worse=1.0, many=True, bad=((60, 70),))]
    witnesses.append(experiment.trial("heir", ancestor="elder", worse=-1.0, many=True))
    end, held = witnesses[1].session.values["weights"], LearnedSchedule.of(experiment.folder)
    assert held.unfollowed == (() if most > 100 else ("weights",))
    taken = [note for witness in witnesses for note in witness.taken]
    for _, _, values in taken if held.unfollowed else ():
        values["weights"] = end
    assert told_as_witnessed(held, SimpleNamespace(taken=taken), anew())
    best = best_config(experiment.folder)
    assert {name: value.tolist() for name, value in best.values.items()} == {
        name: value.tolist() for name, value in witnesses[1].session.values.items()
    }
    assert best.values["weights"].shape == MANY.start.shape
    assert main(["best", str(experiment.folder)]) == 0
    told = capsys.readouterr().out
    assert f"  weights: 20 entries, {end.min():.4g} to {end.max():.4g}: best_config(results).values['weights']" in told
    assert "weights.norm" not in told
    assert ("Of weights the trace holds norms alone: in the" in told) is bool(held.unfollowed)
    assert main(["schedule", str(experiment.folder), "--out", str(out)]) == 0
    assert ("the trace holds norms alone: this is the end" in capsys.readouterr().out) is bool(held.unfollowed)
    assert LearnedSchedule.read(out) == held
    assert torch.equal(held.values(held.steps)["weights"], end.float())


DAMAGES = {
    "trace gone": (TRACE_FILE, None),
    "trace cut off": (TRACE_FILE, slice(None, -10)),
    "trace torn": (TRACE_FILE, slice(100, None)),
    "trace empty": (TRACE_FILE, slice(0)),
    "session cut off": (SESSION_FILE, slice(None, -10)),
    "session empty": (SESSION_FILE, slice(0)),
}


@pytest.mark.parametrize("name", ["heir", "parent"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_without_it_the_one_before_counts(family, tmp_path, capsys, damage, name):
    experiment, _ = family
    copy = shutil.copytree(experiment.folder, tmp_path / "copy")
    place = copy / f"train_{name}" / f"checkpoint_{60 if name == 'parent' else STEPS:06d}"
    file, part = DAMAGES[damage]
    content = (place / file).read_bytes()
    (place / file).unlink() if part is None else (place / file).write_bytes(content[part])
    elsewhere = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    remote = SimpleNamespace(experiment_path="copy", filesystem=elsewhere)
    message = f"`results` must hold a readable checkpoint of trial {name}; got '.*copy/train_{name}/{place.name}'."
    message = f"{message} It must hold a readable file '{file}'; got"
    whole = best_config(experiment.folder)
    for results in (copy, remote):
        with pytest.raises(CheckpointError, match=message):
            LearnedSchedule.of(results)
        best = best_config(results)
        assert re.match(message, best.unread)
        assert (best.config, best.value, best.adapted, best.trained) == (whole.config, whole.value, whole.adapted, None)
        assert best.values == (whole.values if name == "parent" else {})
        assert [(a.trial, a.weights) for a in best.ancestors] == [(a.trial, a.weights) for a in whole.ancestors]
    assert main(["schedule", str(copy)]) == 2
    assert "Traceback" not in (told := capsys.readouterr().err)
    assert told.count("\n") == 1
    assert main(["best", str(copy)]) == 0
    assert f"\n\nBy which schedule it trained is not known: {best_config(copy).unread}\n" in capsys.readouterr().out
    place.rename(tmp_path / "aside")
    assert LearnedSchedule.of(copy).steps > 0
    assert best_config(copy).unread == ""


@pytest.mark.parametrize("lacks", ["back_to", "entries"])
def test_a_trace_of_an_earlier_release_costs_what_it_does_not_tell_and_no_more(tmp_path, lacks):
    experiment = Experiment(tmp_path / "mine")
    witness = experiment.trial("elder", many=True, bad=((60, 70),))
    file = experiment.place("elder", STEPS) / TRACE_FILE
    pq.write_table(pq.read_table(file).drop_columns([lacks]), file)
    best = best_config(experiment.folder)
    assert best.values["weights"].tolist() == witness.session.values["weights"].tolist()
    if lacks == "entries":
        assert (best.unfollowed, best.unread, best.trained) == (("weights",), "", len(witness.taken))
        return
    assert best.unread.startswith("`trace` must tell the step to which training went back at step 64; got None")
    assert f"By which schedule it trained is not known: {best.unread}" in str(best)
    with pytest.raises(ArgumentError, match="`trace` must tell the step to which training went back"):
        LearnedSchedule.of(experiment.folder)


def test_the_command_line_writes_it(family, tmp_path, capsys):
    experiment, _ = family
    held, out = LearnedSchedule.of(experiment.folder), tmp_path / "s.csv"
    assert main(["schedule", str(experiment.folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{held}\n"
    assert LearnedSchedule.read(out) == held
    assert main(["schedule", str(experiment.folder), "--out", str(out), "--steps", "60", "--smooth", "5"]) == 0
    assert LearnedSchedule.read(out) == held.stretched(60).smoothed(5)
    assert main(["schedule", str(experiment.folder), "--steps", "0"]) == 2
    assert "`total_steps` must be at least 1" in capsys.readouterr().err
    assert main(["best", str(experiment.folder)]) == 0
    assert capsys.readouterr().out == f"{best_config(experiment.folder)}\n"


def test_trials_without_a_session_have_a_best_configuration_and_no_schedule(tmp_path):
    experiment = Experiment(tmp_path / "mine")
    for name, loss in (("a", 2.0), ("b", 1.0), ("c", float("nan"))):
        place = experiment.folder / f"train_{name}"
        place.mkdir()
        (place / "params.json").write_text(json.dumps({"lr": loss}))
        (place / "result.json").write_text(json.dumps({"val_loss": loss, "step": 3, "trial_id": name}) + "\n")
    best = best_config(experiment.folder)
    assert (best.config, best.trained, best.checkpoint) == ({"lr": 1.0}, None, None)
    assert "It trained 3 steps from fresh weights.\n\nIt left no checkpoint." in str(best)
    with pytest.raises(ArgumentError, match="`results` must hold a session's checkpoint of its best trial b"):
        LearnedSchedule.of(experiment.folder)
    with pytest.raises(ArgumentError, match="`metric` must name a value that trials reported"):
        best_config(experiment.folder, metric="accuracy")
    assert best_config(experiment.folder, mode="max").trial == "a"


def test_where_nothing_finite_was_reported_there_is_no_best(tmp_path):
    experiment = Experiment(tmp_path / "mine")
    place = experiment.folder / "train_a"
    place.mkdir()
    (place / "params.json").write_text("{}")
    for ask in (best_config, LearnedSchedule.of):
        with pytest.raises(ArgumentError, match="`results` must hold a trial that reported a finite val_loss"):
            ask(experiment.folder)


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_on_a_real_ray_tunes_own_best_result_is_the_same_trial(local_ray, tmp_path):
    """The pattern of the README, with a Tuner; the metric is named to Tune as well as to us."""
    from ray import tune

    from ray_glocal import GlocalScheduler, GlocalSearch

    space = {"width": tune.choice([4, 8]), "lr": tune.loguniform(1e-4, 1.0)}
    search = GlocalSearch(space, metric="val_loss", mode="min", seed=0)
    scheduler = GlocalScheduler(metric="val_loss", mode="min", search=search)
    config = {"num_samples": 5, "search_alg": search, "scheduler": scheduler, "reuse_actors": True}
    tuner = tune.Tuner(
        learner(space),
        param_space=space,
        tune_config=tune.TuneConfig(metric="val_loss", mode="min", **config),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    best, theirs = best_config(results), results.get_best_result(scope="all")
    assert best.trial == theirs.metrics["trial_id"]
    assert best.checkpoint == theirs.checkpoint.path
    assert best.config == {"width": theirs.config["width"], "lr": theirs.metrics["hyper/lr"]}
    last = results.get_best_result()
    assert last.metrics["val_loss"] >= best.value
    learned = LearnedSchedule.of(results)
    assert learned.trials[-1] == best.trial
    assert learned.steps == best.trained
    assert learned["lr"](learned.steps - 1) > 0


def learner(space):
    """A real session on a small regression; made by a function, so that workers get it by value."""

    def train(config):
        from ray import tune

        from ray_glocal import GlocalSession, adapted

        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(2, config["width"]), torch.nn.Tanh())
        model.append(torch.nn.Linear(config["width"], 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
        inputs = torch.linspace(-1, 1, 64).reshape(32, 2)
        batches = [(inputs[i : i + 8], inputs[i : i + 8].sum(1, keepdim=True).sin()) for i in range(0, 32, 8)]

        def loss(model, batch):
            return (model(batch[0]) - batch[1]).square().mean()

        told = {"val_batches": batches, "hyper": adapted(config, space), "total_steps": 120}
        session = GlocalSession(model, optimizer, loss, loss, **told)
        session.restore(tune.get_checkpoint())
        for batch in session.batches(batches):
            session.step(batch)
            if session.at_report:
                tune.report(session.metrics(), checkpoint=session.checkpoint())

    return train
