"""A whole search whose trials train on two workers each, by Ray Train."""

import math

import data_parallel
import pytest
from ray import tune

from ray_glocal import GlocalScheduler, GlocalSearch

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("default", "ignore:unclosed file:ResourceWarning"),
]


def test_trials_of_two_workers_adapt_and_report(tmp_path):
    search = GlocalSearch(data_parallel.SPACE, metric="val_loss", mode="min", seed=0)
    scheduler = GlocalScheduler(metric="val_loss", mode="min", search=search)
    tuner = tune.Tuner(
        tune.with_resources(data_parallel.train, {"cpu": 0.5}),
        param_space={**data_parallel.SPACE, "folder": str(tmp_path / "workers")},
        tune_config=tune.TuneConfig(num_samples=2, search_alg=search, scheduler=scheduler, max_concurrent_trials=1),
        run_config=tune.RunConfig(name="experiment", storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    records = scheduler.ledger.trials
    assert {record.status for record in records.values()} == {"completed"}
    for result in results:
        assert result.metrics["step"] <= data_parallel.STEPS
        assert math.isfinite(result.metrics["val_loss"])
        assert result.metrics["hyper/lr"] != pytest.approx(result.config["lr"])
    assert max(result.metrics["step"] for result in results) == data_parallel.STEPS
