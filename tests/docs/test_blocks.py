"""Every Python block of README and docs runs; the blocks of a page one after the other, in one namespace."""

import re

import pytest
import torch
from blocks import BLOCKS
from setups import SETUPS, experiment

PYTHON = [block for block in BLOCKS if block.language == "python"]
ON_RAY = sorted({block.page for block in PYTHON if {"cluster", "experiment"} & set(block.marks)})
ALONE = sorted({block.page for block in PYTHON} - set(ON_RAY))
ON_RAY.remove("README.md")  # whose example makes the results that the others read
SCRIPT = "script"  # a whole file, which test_from_asha runs


def shortened(code):
    code = re.sub(r"num_samples=\d+", "num_samples=2", code)
    return re.sub(r"(total_steps|T_max)=\d[\d_]+", r"\1=200", code)


def run(page, results=None):
    """The blocks of a page, with fewer samples and steps than people take."""
    told = {"__name__": "__main__"}  # functions of a script travel to workers by value
    for block in (block for block in PYTHON if block.page == page and SCRIPT not in block.marks):
        told |= experiment(results) if block.marks[0] == "experiment" else getattr(SETUPS, block.marks[0])()
        code = "\n" * block.line + shortened(block.code)  # lines of errors are those of the page
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
    assert run(page)


@pytest.fixture(scope="module")
def results(local_ray, tmp_path_factory):
    """An experiment: the README's own."""
    from ray import tune

    where = tmp_path_factory.mktemp("experiment")
    told = {"__name__": "__main__", **SETUPS.readme(), "tune": tune, "kept": tune.RunConfig(storage_path=str(where))}
    (block,) = [block for block in PYTHON if block.page == "README.md"]
    code = shortened(block.code).replace("tune_config=config)", "tune_config=config, run_config=kept)")
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
