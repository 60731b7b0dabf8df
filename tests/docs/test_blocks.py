"""Every Python block of README and docs runs; the blocks of a page one after the other, in one namespace."""

import re
import shutil

import pytest
import torch
from blocks import BLOCKS
from ray.tune.logger import JsonLoggerCallback
from setups import SETUPS, experiment

from ray_glocal.session import Settings
from ray_glocal.simulate import simulate

PYTHON = [block for block in BLOCKS if block.language == "python"]
RAYS = [block for block in PYTHON if {"cluster", "experiment"} & set(block.marks)]
ON_RAY = sorted({block.page for block in RAYS})
ALONE = sorted({block.page for block in PYTHON if block not in RAYS})
ON_RAY.remove("README.md")  # whose example makes the results that the others read
SCRIPT = "script"  # a whole file, which test_from_asha runs


def shortened(code):
    code = re.sub(r"num_samples=\d+", "num_samples=2", code)
    return re.sub(r"(total_steps|T_max)=\d[\d_]+", r"\1=200", code)


def run(page, results=None, without=()):
    """The blocks of a page, with fewer samples and steps than people take."""
    told = {"__name__": "__main__"}  # functions of a script travel to workers by value
    for block in (block for block in PYTHON if block.page == page and SCRIPT not in block.marks):
        if block in without:
            continue
        told |= experiment(results) if block.marks[0] == "experiment" else getattr(SETUPS, block.marks[0])()
        code = "\n" * block.line + shortened(block.text)  # lines of errors are those of the page
        exec(compile(code, block.page, "exec"), told)
    return told


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Blocks write files where they stand."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("page", ALONE)
def test_the_blocks_of_a_page_run(page):
    assert run(page, without=RAYS)


def test_many_hyperparameters_under_tune_on_a_virtual_clock(tmp_path, monkeypatch):
    """The page's experiment by Tune's own controller, its `best`, and its training by the schedule."""

    class Simulated:
        def __init__(self, train, *, param_space, tune_config):
            self.told = train, param_space, tune_config

        def fit(self):
            train, space, config = self.told
            told = {"num_samples": 6, "scheduler": config.scheduler, "search_alg": config.search_alg}
            aim = {"metric": "val_loss", "mode": "min"}
            simulate(train, space, **aim, **told, folder=tmp_path / "x", callbacks=[JsonLoggerCallback()])
            results = tmp_path / "x" / "simulation"  # which Tune, left alone, copies the driver's files into
            shutil.copytree(next(tmp_path.rglob("driver_artifacts")), results, dirs_exist_ok=True)
            return results

    by_steps = Settings(duty_cycle=0.5, report_every=50)  # no clock decides
    monkeypatch.setattr("ray_glocal.Settings", lambda **_: by_steps)
    monkeypatch.setattr("ray.tune.Tuner", Simulated)
    told = run("docs/many.md")
    best, schedule = told["best"], told["schedule"]
    assert best.values["weights"].shape == (20,)
    assert len(schedule["weights"].steps) > 3
    assert schedule.unfollowed == ()
    assert torch.equal(schedule.values(schedule.steps)["weights"], best.values["weights"].float())


@pytest.fixture(scope="module")
def results(local_ray, tmp_path_factory):
    """An experiment: the README's own."""
    from ray import tune

    where = tmp_path_factory.mktemp("experiment")
    told = {"__name__": "__main__", **SETUPS.readme(), "tune": tune, "kept": tune.RunConfig(storage_path=str(where))}
    (block,) = [block for block in PYTHON if block.page == "README.md"]
    code = shortened(block.text).replace("tune_config=config)", "tune_config=config, run_config=kept)")
    code = code.replace("print(best_config(", "results = (").replace(".fit()))", ".fit())")
    exec(compile(code, block.page, "exec"), told)
    return told["results"]


@pytest.mark.cluster
@pytest.mark.parametrize("page", ON_RAY)
def test_the_blocks_of_a_page_run_on_ray(page, results):
    assert run(page, results)


def test_every_block_says_what_it_runs_with():
    without = [f"{block.page}:{block.line}" for block in PYTHON if not block.marks]
    assert not without
    assert {block.marks[0] for block in PYTHON} <= {*vars(SETUPS), "experiment", SCRIPT}


def test_every_language_is_one_that_is_checked():
    assert {block.language for block in BLOCKS} <= {"python", "bash", "text"}
    assert len(PYTHON) > 15
