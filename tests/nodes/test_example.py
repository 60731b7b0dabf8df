"""`examples/cluster.py` as its README says: on nodes of their own, killed, and run again."""

import time

import pytest

from ray_glocal.tune import restorable

from .network import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]


def begin(cluster, folder, log):
    options = ("--storage-path", folder, "--name", "digits", "--samples", 3, "--address", cluster.address)
    script = ROOT / "examples" / "cluster.py"
    return cluster.head.host.python(script, *options, log=log, **cluster.variables)


def test_it_goes_on_where_it_was_when_its_driver_was_killed(cluster, tmp_path):
    with (tmp_path / "first.log").open("wb") as log:
        process = begin(cluster, tmp_path, log)
    try:
        while process.is_alive() and not (restorable(tmp_path / "digits") and ended(tmp_path / "first.log")):
            time.sleep(0.2)
        assert process.is_alive(), (tmp_path / "first.log").read_text()
    finally:
        process.end()
    with (tmp_path / "second.log").open("wb") as log:
        process = begin(cluster, tmp_path, log)
    assert process.wait(400) == 0, (tmp_path / "second.log").read_text()
    told = (tmp_path / "second.log").read_text()
    assert f"Going on with {tmp_path / 'digits'}." in told
    assert "  0 running, " in told
    assert " of 3 trials" in told.rpartition("  0 running, ")[2].partition("\n")[0]
    assert "Best: trial" in told
    assert "test_accuracy" in told


def ended(log):
    """Whether a trial has."""
    text = log.read_text()
    return " done at step " in text or " pruned at step " in text
