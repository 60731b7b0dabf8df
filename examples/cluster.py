"""The quickstart on a Ray cluster: storage that all nodes share, failures, resuming, parts of a GPU for each trial.

    python examples/cluster.py --storage-path s3://bucket/runs --name digits --gpus-per-trial 0.25

Run it again with the same name after its driver died, and it goes on where it was. What a cluster needs besides stands
in `cluster/README.md`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the driver's matrices are small, and more threads slow it down

import pyarrow.fs
import ray
from ray import tune

from quickstart import SPACE, train
from ray_glocal import GlocalScheduler, GlocalSearch
from ray_glocal.report import Progress, summary
from ray_glocal.tune import preflight, restorable

Filesystem = pyarrow.fs.FileSystem | None


def storage(path: str, endpoint: str | None) -> tuple[str, Filesystem]:
    """Where the experiment goes, and how: an S3 server of one's own is told by its endpoint, everything else by URI."""
    if endpoint is None:
        return path if "://" in path else str(Path(path).expanduser().absolute()), None
    return path.removeprefix("s3://"), pyarrow.fs.S3FileSystem(endpoint_override=endpoint)


def connect(address: str) -> None:
    """Join the cluster, and take the example's modules along unless a job has brought them."""
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    here = {"working_dir": str(Path(__file__).parent), "excludes": ["studies"]}
    ray.init(address=address, runtime_env=None if submitted else here, log_to_driver=False)


def needed(options: argparse.Namespace) -> dict[str, float]:
    """What a trial needs."""
    return {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial}


def room(resources: dict[str, float]) -> int | None:
    """How many trials the cluster has room for now; None where it has none yet, as before an autoscaler's first node.

    Tune asks a searcher for one trial after the other, each when the last has a worker, unless it is told a number.
    """
    there = ray.cluster_resources()
    fits = [int(there.get(name.upper(), 0) / amount) for name, amount in resources.items() if amount]
    return min(fits, default=0) or None


def tuner(place: str, filesystem: Filesystem, options: argparse.Namespace) -> tune.Tuner:
    """The experiment of that name, as far as it has come, or a new one."""
    resources = needed(options)
    trainable = tune.with_resources(train, resources)
    experiment = f"{place.rstrip('/')}/{options.name}"
    if restorable(experiment, filesystem):
        print(f"Going on with {experiment}.", flush=True)
        return tune.Tuner.restore(
            experiment, trainable, resume_errored=True, param_space=SPACE, storage_filesystem=filesystem
        )
    search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
    return tune.Tuner(
        trainable,
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            num_samples=options.samples,
            search_alg=search,
            scheduler=GlocalScheduler(metric="val_loss", mode="min", search=search),
            max_concurrent_trials=options.max_concurrent_trials or room(resources),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=options.name,
            storage_path=place,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=options.max_failures),  # lost nodes, spot ones first of all
            callbacks=[Progress()],
            verbose=0,
        ),
    )


def main() -> None:
    options = arguments()
    place, filesystem = storage(options.storage_path, options.storage_endpoint)
    connect(options.address)
    preflight(place, storage_filesystem=filesystem, resources=needed(options))
    print(summary(tuner(place, filesystem, options).fit()))
    ray.shutdown()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage-path", required=True, help="a folder that all nodes share, s3://... or gs://...")
    parser.add_argument("--storage-endpoint", help="of an S3 server other than AWS's, e.g. http://10.0.0.1:9000")
    parser.add_argument("--name", default="cluster", help="of the experiment; the same name goes on with it")
    parser.add_argument("--samples", type=int, default=24, help="trials in all")
    parser.add_argument("--cpus-per-trial", type=float, default=1)
    parser.add_argument("--gpus-per-trial", type=float, default=0, help="0.25 lets four trials share a GPU")
    parser.add_argument(
        "--max-concurrent-trials",
        type=int,
        help="else as many as there is room for at the start; say it where an autoscaler brings the workers",
    )
    parser.add_argument("--max-failures", type=int, default=3, help="how often a trial may lose its worker or node")
    parser.add_argument("--address", default="auto", help="of the cluster; `local` starts one on this machine")
    return parser.parse_args()


if __name__ == "__main__":
    main()
