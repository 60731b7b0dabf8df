"""One thread, for the problems are small, and more would only get in each other's way; an experiment that many read."""

import pytest
import torch

from .experiments import STEPS, Experiment


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A stranger, and three generations, of which the last is the best; its parent ran on after it was born."""
    torch.set_num_threads(1)
    experiment = Experiment(tmp_path_factory.mktemp("results") / "mine")
    witnesses = {"stranger": experiment.trial("stranger", worse=3.0, width=1)}
    witnesses["elder"] = experiment.trial("elder", worse=2.0, width=16)
    witnesses["parent"] = experiment.trial("parent", ancestor="elder", reports=(60, STEPS), worse=1.0, width=16)
    witnesses["heir"] = experiment.trial("heir", ancestor="parent", handed=60, reports=(50, STEPS), width=16)
    return experiment, witnesses
