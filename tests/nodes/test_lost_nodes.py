"""Experiments on nodes of their own lose nodes and driver, and end as if nothing had happened.

With one trial at a time and a checkpoint at every report there is nothing left to chance. The head runs no trials, so
every trial is on another host than its driver.
"""

import pytest
from experiments import PLAN, Outcome, beats, leave_a_whole_snapshot, said, snapshot, wait
from pyarrow.fs import FileType
from storage import opened, path

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]


def run(cluster, folder, plan):
    """What comes of an experiment that runs to its end."""
    process = cluster.driver(folder, {**PLAN, **plan})
    try:
        assert process.wait(300) == 0, said(folder)
    finally:
        process.end()
    return Outcome(folder, plan.get("storage"))


@pytest.fixture(scope="package")
def calm(whole, tmp_path_factory):
    """The experiment that nothing happens to."""
    outcome = run(whole, tmp_path_factory.mktemp("calm"), {})
    outcome.check()
    return outcome


@pytest.fixture(params=["folder", "s3"])
def storage(request):
    """None for a folder that all hosts share, else what leads to the S3 server."""
    return request.getfixturevalue("s3").storage if request.param == "s3" else None


@pytest.mark.parametrize(("storage", "entry"), [("folder", "run"), ("s3", "tuner")], indirect=["storage"])
def test_two_lost_nodes_a_new_one_and_a_killed_driver_change_nothing(calm, cluster, tmp_path, storage, entry):
    plan = {**PLAN, "entry": entry, "pace": 0.3, "resume": True, "storage": storage}
    process = cluster.driver(tmp_path, plan)
    try:
        first = lose_the_one_at_work(cluster, tmp_path, process)
        (second,) = cluster.workers
        new = cluster.join()
        wait(tmp_path, process, lambda: beats(tmp_path)[-1].address != first.address)
        wait_for_a_new_snapshot(tmp_path, process, storage)
    finally:
        process.end()
    assert process.returncode != 0
    leave_a_whole_snapshot(experiment(tmp_path, storage), opened(storage))
    cluster.lose(second)
    before = len(beats(tmp_path))
    outcome = run(cluster, tmp_path, plan)
    outcome.check()
    assert outcome.best == calm.best
    assert outcome.verdicts == calm.verdicts
    assert {beat.address for beat in beats(tmp_path)[before:]} == {new.address}


def lose_the_one_at_work(cluster, folder, process):
    """Take the worker away on which a trial is, once some have been judged."""
    wait(folder, process, lambda: len({beat.trial for beat in beats(folder)}) > 2 and beats(folder)[-1].step > 1)
    address = beats(folder)[-1].address
    (node,) = [worker for worker in cluster.workers if worker.address == address]
    cluster.lose(node)
    return node


def wait_for_a_new_snapshot(folder, process, storage):
    """Until one is written that tells of more than the last: another is not due within a second."""
    files, before = opened(storage), snapshot(experiment(folder, storage), opened(storage))

    def written():
        _, text, whole = snapshot(experiment(folder, storage), files)
        return whole and text != before[1]

    wait(folder, process, written)


def experiment(folder, storage):
    return f"{path(folder, storage)}/experiment"


# ---- the S3 server ----


def test_descendants_take_over_weights_from_an_s3_server_of_ones_own(cluster, s3, tmp_path):
    """As they do from a shared folder: that the same seeds lead to the same losses tells that the weights are there."""
    plan = {"trainable": "Inheriting", "trials": 8, "failures": 0, "constants": {"steps": 4}}
    near = run(cluster, tmp_path / "near", plan)
    far = run(cluster, tmp_path / "far", {**plan, "storage": s3.storage})
    assert [loss for *_, loss in far.trials] == [loss for *_, loss in near.trials]
    for outcome, scheme in ((near, "/"), (far, "s3://")):
        added = {trial: record.added for trial, record in outcome.ledger.trials.items()}
        handed = {trial: result for trial, result in outcome.results.items() if added[trial].weights}
        assert handed
        assert all(added[trial].weights.startswith(scheme) for trial in handed)
        assert {(result["opened"], result["unread"]) for result in handed.values()} == {(True, False)}


@pytest.mark.parametrize("wrong", [{"secret_key": "wrong"}, {"access_key": "nobody"}])
def test_the_s3_server_refuses_whoever_is_not_handed_its_credentials(s3, wrong):
    files = opened({**s3.storage, "options": {**s3.storage["options"], **wrong}})
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        files.get_file_info(s3.storage["bucket"])
    assert opened(s3.storage).get_file_info(s3.storage["bucket"]).type == FileType.Directory
