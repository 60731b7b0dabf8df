"""Experiments that are running, whose driver was killed, and that lie elsewhere: the report shows what is there."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pyarrow.fs
import pytest
import ray
from moto.server import ThreadedMotoServer

from ray_glocal.__main__ import main
from ray_glocal.report import summary
from ray_glocal.report.experiment import read

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray"), pytest.mark.filterwarnings("default")]

DRIVER = """
import sys
import time
from pathlib import Path

import ray
from ray import tune

from ray_glocal import GlocalScheduler, GlocalSearch

SPACE = {"width": tune.choice([1, 2]), "lr": tune.loguniform(1e-4, 1.0)}


def train(config):
    import tempfile

    for step in range(1, 9 if config["width"] == 1 else 100_000):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "weights").write_text(str(step))
            kept = tune.Checkpoint.from_directory(folder)
            tune.report({"step": step, "val_loss": config["lr"] + 1 / step}, checkpoint=kept)
        time.sleep(0.05)


ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
scheduler = GlocalScheduler(search=search, rules=("nonfinite",))
tune.run(train, name="live", config=SPACE, num_samples=8, search_alg=search, scheduler=scheduler, reuse_actors=True,
         max_concurrent_trials=2, storage_path=sys.argv[2], verbose=0)
"""


@pytest.fixture(scope="module")
def looks(tmp_path_factory):
    """An experiment that was looked at until trials were done and running, and whose driver was then killed."""
    place = tmp_path_factory.mktemp("live")
    folder, file = place / "live", place / "told.json"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, ray.get_runtime_context().gcs_address, str(place)],
        env={**os.environ, "TUNE_GLOBAL_CHECKPOINT_S": "0.5", "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    seen = []
    try:
        while not enough(seen):
            assert driver.poll() is None, driver.stderr.read().decode()
            assert len(seen) < 1200, "no trial came to its end"
            if main(["report", str(folder), "--no-html", "--json", str(file)]) == 0:
                seen.append(json.loads(file.read_text()))
            time.sleep(0.05)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
    return folder, seen


def enough(seen):
    return bool(seen) and {"done", "running"} <= {trial["status"] for trial in seen[-1]["trials"]}


def test_a_running_experiment_is_reported_at_any_moment(looks):
    """Also while Tune copies its files, of which a part is there then."""
    folder, seen = looks
    came = {trial.id: trial.steps for trial in summary(folder).trials}
    for told in seen:
        known = [trial for trial in told["trials"] if trial["trial"] in came]
        assert all(trial["steps"] <= came[trial["trial"]] for trial in known)
    assert re.search(r"\b[12] going on", seen[-1]["headline"])


def test_what_a_killed_driver_left_is_reported_with_its_page(looks, capsys):
    folder, _ = looks
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"Page: {folder / 'report.html'}\n")
    assert (folder / "report.html").stat().st_size > 1e6
    told = summary(folder)
    for run in (run for run in read(folder).runs if run.logged):  # Tune may not have copied a folder yet
        lines = (Path(run.folder.path) / "result.json").read_text().splitlines(keepends=True)
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        (trial,) = (trial for trial in told.trials if trial.id == run.id)
        assert trial.steps == max((row["step"] for row in rows), default=0)
        assert trial.last == (rows[-1]["val_loss"] if rows else None)
        assert trial.status in ("done", "running", "waiting"), trial
    assert {"done", "running"} <= {trial.status for trial in told.trials}


def test_its_copies_elsewhere_are_reported_alike(looks, tmp_path, monkeypatch):
    folder, _ = looks
    held = summary(folder)
    assert summary(folder.as_uri()) == held
    memory = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fsspec.filesystem("memory")))
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        options = {"endpoint_override": f"{host}:{port}", "scheme": "http", "region": "us-east-1"}
        bucket = pyarrow.fs.S3FileSystem(**options, allow_bucket_creation=True)
        query = "&".join(f"{name}={value}" for name, value in options.items())
        for files, results in (
            (memory, SimpleNamespace(experiment_path="there/live", filesystem=memory)),
            (memory, "fsspec+memory://there/live"),
            (bucket, f"s3://there/live?{query}"),
        ):
            files.create_dir("there/live")
            pyarrow.fs.copy_files(str(folder), "there/live", destination_filesystem=files)
            told = summary(results)
            assert told.trials == held.trials
            assert (told.cost, told.best, told.notes) == (held.cost, held.best, held.notes)
        monkeypatch.chdir(tmp_path)
        assert main(["report", f"s3://there/live?{query}"]) == 0
        assert (tmp_path / "report.html").exists()
    finally:
        server.stop()
