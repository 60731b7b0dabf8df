"""The files of `cluster/`, read once."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
LAUNCHERS = {name: yaml.safe_load((CLUSTER / f"{name}.yaml").read_text()) for name in ("on-premise", "aws", "gcp")}
CLOUDS = {name: LAUNCHERS[name] for name in ("aws", "gcp")}
MANIFESTS = {
    path.stem: list(yaml.safe_load_all(path.read_text())) for path in sorted((CLUSTER / "kubernetes").glob("*.yaml"))
}
POLICIES = {path.stem: json.loads(path.read_text()) for path in sorted((CLUSTER / "aws").glob("*.json"))}
DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
README = (CLUSTER / "README.md").read_text()
SLURM = CLUSTER / "slurm.sh"


def every_file():
    """All files of the folder, and the two at the root that belong to them."""
    inside = [path for path in sorted(CLUSTER.rglob("*")) if path.is_file()]
    return [*inside, ROOT / ".dockerignore", ROOT / ".ci" / "run"]


def start_commands(launcher, kind):
    """The command that starts Ray on a node of this kind (head or worker)."""
    (command,) = [line for line in launcher[f"{kind}_start_ray_commands"] if "ray start" in line]
    return command


def images(launcher):
    """Every image that a launcher's nodes run."""
    docker = launcher["docker"]
    return [docker[name] for name in ("image", "head_image", "worker_image") if name in docker]


def clusters():
    """The cluster of each manifest of KubeRay's, by the manifest's name."""
    (cluster,), (job,) = MANIFESTS["raycluster"], MANIFESTS["rayjob"]
    return {"raycluster": cluster["spec"], "rayjob": job["spec"]["rayClusterSpec"]}


def templates():
    """Every pod template of KubeRay's manifests, by a name that says whose it is."""
    found = {"rayjob: submitter": MANIFESTS["rayjob"][0]["spec"]["submitterPodTemplate"]}
    for name, spec in clusters().items():
        found[f"{name}: head"] = spec["headGroupSpec"]["template"]
        found |= {f"{name}: {group['groupName']}": group["template"] for group in spec["workerGroupSpecs"]}
    return found
