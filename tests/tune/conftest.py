import os

import pytest


@pytest.fixture(scope="session")
def cluster():
    """One local Ray cluster for all tests that need processes."""
    ray = pytest.importorskip("ray")
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        here = os.path.dirname(os.path.abspath(__file__))
        root = os.path.dirname(os.path.dirname(here))
        environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{root}"}}
        ray.init(address="local", num_cpus=2, include_dashboard=False, runtime_env=environment, logging_level="ERROR")
    yield
    if started:
        ray.shutdown()
