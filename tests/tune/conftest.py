import os

import pytest


def begin(ray):
    """One local Ray cluster for the tests of this folder."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{root}"}}
    ray.init(address="local", num_cpus=2, include_dashboard=False, runtime_env=environment, logging_level="ERROR")


@pytest.fixture(scope="session")
def cluster():
    """One local Ray cluster for all tests that need processes."""
    ray = pytest.importorskip("ray")
    started = not ray.is_initialized()
    if started:
        begin(ray)
    yield
    if started:
        ray.shutdown()


@pytest.fixture(scope="module")
def without_cluster():
    """For tests that start one of their own: a process is connected to one at a time."""
    ray = pytest.importorskip("ray")
    started = ray.is_initialized()
    if started:
        ray.shutdown()
    yield
    if started:
        begin(ray)
