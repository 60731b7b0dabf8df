"""Real runs on a real local Ray: what Tune leaves behind is what the report reads."""

import io
import os
from pathlib import Path

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from ray_glocal.report import Progress, replay, summary
from ray_glocal.report.comparison import compare
from ray_glocal.tune import GlocalScheduler, GlocalSearch

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray"), pytest.mark.filterwarnings("default")]

SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([1, 2, 4]),
    "lr": tune.loguniform(1e-4, 1.0),
}


def stub():
    """A function trainable that reports a loss of its own making, and fails once if it is told to.

    Made by a function, so that workers get it by value: they cannot import this module.
    """

    def train(config):
        import json
        import math
        import tempfile

        begin, checkpoint = 0, tune.get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                begin = json.loads(Path(folder, "state.json").read_text())
        for step in range(begin + 1, 10):
            if step == 4 and begin == 0 and config.get("faulty"):
                raise RuntimeError("the trainable raises")
            loss = 1 / config["width"] + abs(math.log10(config["lr"] / 0.01)) + 1 / step
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "state.json").write_text(json.dumps(step))
                kept = tune.Checkpoint.from_directory(folder) if step % 2 == 0 else None
                tune.report({"step": step, "val_loss": loss, "test_error": loss / 2}, checkpoint=kept)

    return train


def learner():
    """A function trainable with a real session on a small regression."""
    space = SPACE

    def train(config):
        import torch

        from ray_glocal import GlocalSession, Settings, adapted

        torch.set_num_threads(1)
        torch.manual_seed(0)
        width = config["width"]
        model = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
        kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[config["optimizer"]]
        inputs = torch.linspace(-1, 1, 64).reshape(32, 2)
        batches = [(inputs[i : i + 8], inputs[i : i + 8].sum(1, keepdim=True).sin()) for i in range(0, 32, 8)]

        def loss(model, batch):
            return ((model(batch[0]) - batch[1]) ** 2).mean()

        session = GlocalSession(
            model,
            kind(model.parameters(), lr=config["lr"]),
            loss,
            loss,
            val_batches=batches,
            hyper=adapted(config, space),
            total_steps=40,
            settings=Settings(window=4, overhead=None, duty_cycle=0.125, report_every=8),
        )
        session.restore(tune.get_checkpoint())
        for batch in session.batches(batches):
            session.step(batch)
            if session.at_report:
                tune.report(session.metrics(), checkpoint=session.checkpoint())

    return train


def run(trainable, folder, name, space=SPACE, **options):
    options = {"num_samples": 8, "reuse_actors": True, "verbose": 0, "storage_path": str(folder), **options}
    return tune.run(trainable, name=name, config=space, **options)


def test_a_session_under_our_scheduler_is_reported_compared_and_replayed(tmp_path):
    out = io.StringIO()
    search = GlocalSearch(SPACE, seed=0)
    tuner = tune.Tuner(
        learner(),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="val_loss", mode="min", num_samples=8, search_alg=search, scheduler=GlocalScheduler(search=search)
        ),
        run_config=tune.RunConfig(
            name="ours", storage_path=str(tmp_path), verbose=0, callbacks=[Progress(stream=out, every=1.0)]
        ),
    )
    results = tuner.fit()
    told = summary(results)
    assert told == summary(tmp_path / "ours")
    assert (told.name, told.metric, len(told.trials)) == ("ours", "val_loss", 8)
    records = search.ledger.trials
    assert {t.id: t.status == "pruned" for t in told.trials} == {t: r.pruned for t, r in records.items()}
    assert told.best.best == min(min(loss for _, loss in r.losses) for r in records.values())
    assert set(told.best.config) == {"optimizer", "width"}
    (lr,) = told.adapted
    assert (lr.name, lr.start) == ("lr", records[told.best.id].added.start["lr"])
    assert lr.now == records[told.best.id].latest.hyper["lr"]
    assert told.cost.counted
    assert told.cost.steps == pytest.approx(sum(r.latest.cost for r in records.values()))
    assert 0 < told.cost.hypergradients < 1
    assert told.notes == ()
    again = replay(results)
    assert again.same, again.difference
    assert again.decisions == len(search.ledger.decisions)
    seen(out.getvalue(), told)


def seen(text, told):
    """The display told of every end, and of every ancestor."""
    lines = text.splitlines()
    for trial in told.trials:
        ends = [line for line in lines if f" {trial.id} {trial.status}" in line]
        assert len(ends) == 1, trial
        assert trial.reason in ends[0]
    assert any(" starts from the values" in line for line in lines)
    pruned = sum(trial.status == "pruned" for trial in told.trials)
    end = f"0 running, {8 - pruned} done{f', {pruned} pruned' if pruned else ''} of 8 trials; best val_loss"
    assert end in lines[-1]
    assert "\x1b" not in text


def test_stock_asha_is_reported_and_compared_with_ours(tmp_path):
    asha = ASHAScheduler(metric="val_loss", mode="min", time_attr="step", max_t=9, grace_period=1, reduction_factor=3)
    analysis = run(stub(), tmp_path, "asha", scheduler=asha, callbacks=[Progress(stream=io.StringIO())])
    told = summary(analysis)
    assert told == summary(tmp_path / "asha")
    assert {t.status for t in told.trials} <= {"done", "early"}
    assert told.best.id == analysis.get_best_trial("val_loss", "min", scope="all").trial_id
    assert told.tests == {"test_error": told.best.best / 2}
    assert told.cost.steps == sum(t.last_result["step"] for t in analysis.trials)
    assert any("no GlocalScheduler judged these trials" in note for note in told.notes)
    ours = run(stub(), tmp_path, "ours", scheduler=GlocalScheduler("val_loss", "min", grace_period=1))
    assert replay(ours).same
    table = compare(analysis, ours)
    assert table.target == max(c.summary.best.best for c in table.contenders)
    assert all(c.reached is not None and c.reached[0] <= c.summary.cost.steps for c in table.contenders)


def test_work_lost_in_a_failure_is_in_the_cost(tmp_path):
    out = io.StringIO()
    analysis = run(
        stub(),
        tmp_path,
        "faulty",
        space={**SPACE, "faulty": True},
        num_samples=2,
        max_failures=1,
        scheduler=GlocalScheduler("val_loss", "min", rules=("nonfinite",)),
        callbacks=[Progress(stream=out)],
    )
    told = summary(analysis)
    assert [t.status for t in told.trials] == ["done", "done"]
    assert told.cost.steps == 2 * (9 + 1)  # step 3 ran twice: the checkpoint was taken at step 2
    assert out.getvalue().count("failed, and comes back from its last checkpoint") == 2
    assert replay(analysis).same


def test_the_quick_account_does_not_depend_on_the_folder_it_is_read_from(tmp_path, monkeypatch):
    asha = ASHAScheduler(metric="val_loss", mode="min", time_attr="step", max_t=9)
    run(stub(), tmp_path, "asha", scheduler=asha, num_samples=2)
    monkeypatch.chdir(tmp_path)
    assert summary("asha") == summary(os.path.join(str(tmp_path), "asha"))
