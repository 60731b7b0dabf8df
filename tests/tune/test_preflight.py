"""What is forgotten on a cluster is said before the first trial: on real nodes, each with what it lacks."""

import os
import shutil
from pathlib import Path

import apart
import pyarrow.fs
import pytest
import ray
import trainables
from ray import tune
from ray.cluster_utils import Cluster

import ray_glocal
from ray_glocal.errors import ArgumentError, ClusterError
from ray_glocal.tune import GlocalScheduler, GlocalSearch, preflight
from ray_glocal.tune.preflight import Node, complaints, grouped
from ray_glocal.tune.probe import NodeAnswer, look

PACKAGE = Path(ray_glocal.__file__).parent


# ---- what a node says ----


def test_a_node_tells_its_version_and_the_digest_of_its_files(tmp_path):
    (tmp_path / "driver").touch()
    version, digest, trouble = look()(pyarrow.fs.LocalFileSystem(), str(tmp_path), "node")
    assert version == "0.1.0"
    assert len(digest) == 12
    assert trouble == ""
    assert (tmp_path / "node").exists()


def test_a_node_tells_what_it_does_not_see(tmp_path):
    _, _, trouble = look()(pyarrow.fs.LocalFileSystem(), str(tmp_path / "gone"), "node")
    assert trouble == "what the driver writes there is not there"
    assert not (tmp_path / "gone").exists()


def test_a_node_tells_why_it_cannot_write(tmp_path):
    (tmp_path / "driver").touch()
    (tmp_path / "node").mkdir()  # where its file would be
    _, _, trouble = look()(pyarrow.fs.LocalFileSystem(), str(tmp_path), "node")
    assert "Failed to open local file" in trouble


def test_no_connection_is_said(without_ray):
    with pytest.raises(ArgumentError, match=r"`address` must have been given to ray.init; got 'no connection'"):
        preflight("/tmp")


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (("", "", ""), "node 10.0.0.1: ray_glocal cannot be imported. Put it into the image, or send it along: "),
        (("0.2.0", "b", ""), "node 10.0.0.1: ray_glocal 0.2.0, where the driver has 0.1.0. Install the same on all"),
        (("unknown", "b", ""), "node 10.0.0.1: another ray_glocal than the driver's: its files differ (b there, a"),
        (("0.1.0", "a", "Access Denied"), "node 10.0.0.1: storage_path 'bucket' cannot be used: Access Denied. Every"),
        (("0.1.0", "a", ""), "node 10.0.0.1: storage_path 'bucket' is another place there: the driver does not see"),
    ],
)
def test_each_thing_that_is_wrong_has_its_sentence(theirs, sentence):
    node = Node("n", "10.0.0.1", {})
    (line,) = grouped(complaints({node: NodeAnswer(*theirs)}, NodeAnswer("0.1.0", "a", ""), set(), "bucket"))[:1]
    assert line.startswith(sentence)


def test_many_nodes_are_counted():
    told = [("no room.", Node(f"n{i}", f"10.0.0.{i}", {})) for i in range(12)]
    assert grouped(iter(told)) == ["nodes 10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4 and 7 more: no room."]


# ---- on real nodes ----


@pytest.fixture(scope="module")
def nodes(without_ray, tmp_path_factory):
    """A head for the driver alone and three workers' nodes: a sound one, one with other files, one without ours."""
    folder = tmp_path_factory.mktemp("nodes")
    here = Path(__file__).parent
    shutil.copytree(PACKAGE, folder / "edited" / "ray_glocal", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "edited" / "ray_glocal" / "errors.py").open("a") as file:
        file.write("# edited\n")
    (folder / "missing").mkdir()
    for kind in ("edited", "missing"):
        (folder / kind / "sitecustomize.py").write_text(ELSEWHERE)
    kept = dict(os.environ)
    os.environ.update(PYTHONPATH=f"{here}:{here.parent.parent}", APART=str(folder / "shared"))
    (folder / "shared").mkdir()
    (folder / "alone").mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for kind in ("sound", "edited", "missing"):
        path = f"{folder / kind}:{here}:{here.parent.parent}"
        place = folder / ("alone" if kind == "edited" else "shared")
        cluster.add_node(num_cpus=1, resources={kind: 1}, env_vars={"PYTHONPATH": path, "APART": str(place)})
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    yield folder
    ray.shutdown()
    cluster.shutdown()
    os.environ.clear()
    os.environ.update(kept)


# What a node would import from elsewhere; Ray lets workers look where their driver does, which here is the same disk.
ELSEWHERE = """
import os
import sys
from importlib.machinery import PathFinder


class Elsewhere:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name == "ray_glocal":
            return PathFinder.find_spec(name, [os.path.dirname(__file__)])
        return self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Elsewhere(finder) for finder in sys.meta_path]
"""


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
class TestNodes:
    def test_a_node_that_has_all_passes(self, nodes):
        preflight(nodes / "shared", resources={"cpu": 1, "sound": 1})
        assert list((nodes / "shared").iterdir()) == []

    def test_what_is_missing_is_said_once_for_all_nodes(self, nodes):
        with pytest.raises(ClusterError) as caught:
            preflight("root", storage_filesystem=apart.filesystem(), resources={"cpu": 1})
        text = str(caught.value)
        assert text.startswith("The cluster is not ready for this experiment.\n- node")
        assert "ray_glocal cannot be imported. Put it into the image" in text
        assert "another ray_glocal than the driver's: its files differ (" in text
        assert "storage_path 'root' cannot be used: what the driver writes there is not there. Every node" in text
        assert text.count("\n- ") == 3
        assert not list((nodes / "shared").rglob(".preflight*"))

    def test_only_nodes_that_may_hold_a_trial_are_asked(self, nodes):
        preflight("root", storage_filesystem=apart.filesystem(), resources={"cpu": 1, "sound": 1})
        with pytest.raises(ClusterError, match="its files differ"):
            preflight(nodes, resources=tune.PlacementGroupFactory([{"CPU": 1, "sound": 1}, {"edited": 1}]))

    @pytest.mark.parametrize(
        ("wanted", "text"),
        [
            (
                {"cpu": 2, "sound": 1},
                r"asks for CPU 2, sound 1 on one node; of its 4 nodes none .* at most CPU 1, sound 1",
            ),
            ({"gpu": 0.5}, r"asks for GPU 0.5 on one node; of its 4 nodes none .* at most GPU 0. Ask for less"),
            (
                tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_PACK"),
                "asks for CPU 2 on one node",
            ),
        ],
    )
    def test_resources_that_fit_nowhere_are_said(self, nodes, wanted, text):
        with pytest.raises(ClusterError, match=text):
            preflight(nodes / "shared", resources=wanted)

    def test_where_nodes_may_come_it_is_a_warning(self, nodes, monkeypatch, caplog):
        monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", "ray start")
        preflight(nodes / "shared", resources={"gpu": 0.5})
        assert "Trials wait until the autoscaler brings one." in caplog.text

    def test_a_place_that_the_driver_cannot_write_to_is_said(self, nodes):
        (nodes / "file").touch()
        with pytest.raises(ArgumentError, match=r"`storage_path` must be a place that the driver can write to; got .*"):
            preflight(nodes / "file" / "folder")
        with pytest.raises(ArgumentError, match="Unrecognized filesystem type"):
            preflight("nowhere://b/c")

    def test_the_scheduler_asks_before_the_first_trial(self, nodes):
        options = {"config": trainables.SPACE, "num_samples": 2, "verbose": 0, "storage_path": str(nodes / "runs")}
        search = GlocalSearch(trainables.SPACE, "val_loss", "min")
        with pytest.raises(ClusterError, match="ray_glocal cannot be imported"):
            tune.run(trainables.curve, search_alg=search, scheduler=GlocalScheduler(), **options)
        assert search.ledger.proposals == 1
        assert not list((nodes / "runs").rglob("result.json"))
        trainable = tune.with_resources(trainables.curve, {"cpu": 1, "sound": 1})
        search = GlocalSearch(trainables.SPACE, "val_loss", "min")
        analysis = tune.run(trainable, search_alg=search, scheduler=GlocalScheduler(), **options)
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2

    def test_who_knows_better_turns_it_off(self, nodes):
        search = GlocalSearch(trainables.SPACE, "val_loss", "min")
        wanted = tune.PlacementGroupFactory([{"CPU": 1, "sound": 1}, {"edited": 0.1}])
        analysis = tune.run(
            tune.with_resources(trainables.curve, wanted),
            config=trainables.SPACE,
            search_alg=search,
            scheduler=GlocalScheduler(preflight=False),
            storage_path=str(nodes / "off"),
            verbose=0,
        )
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"]
