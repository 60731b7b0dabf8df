import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))  # its scripts are checked, too


def begin(ray):
    """One local Ray cluster for the tests of this folder."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{root}"}}
    ray.init(address="local", num_cpus=2, include_dashboard=False, runtime_env=environment, logging_level="ERROR")


@pytest.fixture(scope="package")
def cluster():
    """A local Ray cluster for the tests of this folder."""
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        ray.shutdown()
    begin(ray)
    yield
    ray.shutdown()
