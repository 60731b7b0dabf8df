"""Bytes and files: what Tune's loggers write for a trial, what a snapshot uploads, and a session's checkpoint."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.fs
import torch
from ray.train._internal.storage import _upload_to_fs_path
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback

from ray_glocal import GlocalSession, Hyperparameter
from scaling.experiment import OURS, run
from scaling.report import LENGTH, reported
from scaling.saving import size
from study import Row

LOGGERS = {"JSON": JsonLoggerCallback, "CSV": CSVLoggerCallback, "TensorBoard": TBXLoggerCallback}
TRIALS = 20  # that the loggers are watched at


def logged() -> list[Row]:
    """What each logger costs a result, and leaves of a trial."""
    with tempfile.TemporaryDirectory() as folder:
        told = run(TRIALS, TRIALS, OURS, Path(folder))
        trials = told.controller.get_trials()
        return [{"what": name, **_logger(make(), trials)} for name, make in LOGGERS.items()]


def _logger(logger: Any, trials: list[Any]) -> Row:
    results = {
        trial: [{**trial.last_result, **reported(trial.config, i)} for i in range(1, LENGTH + 1)] for trial in trials
    }
    for trial in trials:
        shutil.rmtree(trial.local_path, ignore_errors=True)
        Path(trial.local_path).mkdir(parents=True)
    begin, held = time.process_time(), len(os.listdir("/proc/self/fd"))
    for iteration in range(LENGTH):
        for trial in trials:
            logger.log_trial_result(iteration, trial, results[trial][iteration])
    opened = (len(os.listdir("/proc/self/fd")) - held) / len(trials)
    seconds = (time.process_time() - begin) / LENGTH / len(trials)
    for trial in trials:
        logger.log_trial_end(trial)
    folders = [Path(trial.local_path) for trial in trials]
    files = [len([file for file in folder.rglob("*") if file.is_file()]) for folder in folders]
    return {
        "seconds": seconds,
        "open": opened,
        "bytes": sum(map(size, folders)) / len(folders),
        "files": sum(files) / len(files),
    }


def uploaded(trials: int, files: int, held: int, state: int) -> Row:
    """One upload of the staging folder by Tune's own syncer to another local folder.

    Args:
        trials: Trials.
        files: Files of each.
        held: Bytes of each trial's files together.
        state: Bytes of the experiment's own files.
    """
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder, "staging")
        for number in range(trials):
            place = staging / f"trial_{number:05d}"
            place.mkdir(parents=True)
            for file in range(files):
                (place / f"file_{file}").write_bytes(bytes(held // files))
        (staging / "experiment_state.json").write_bytes(bytes(state))
        clock, processor = time.perf_counter(), time.process_time()
        _upload_to_fs_path(str(staging), pyarrow.fs.LocalFileSystem(), str(Path(folder, "storage")))
        told = {"wall": time.perf_counter() - clock, "seconds": time.process_time() - processor}
        return {"trials": trials, "files": trials * files + 1, "bytes": size(staging), **told}


OPTIMIZERS: Mapping[str, Any] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=1e-4),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-4),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=1e-2),
}


HYPER = (
    Hyperparameter("lr", 0.01, lower=1e-5, upper=1.0, scale="log"),
    Hyperparameter("weight_decay", 1e-4, lower=1e-6, upper=0.1, scale="log"),
)


def problem(name: str, hidden: int, steps: int, hyper: Any = HYPER) -> tuple[GlocalSession, list[Any], int]:
    """A session with an optimizer, its batches, and the bytes of its weights.

    Args:
        name: Of the optimizer.
        hidden: Width of the network's two hidden layers.
        steps: Of the training.
        hyper: What is adapted.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = (196, hidden, hidden, 10)
    layers = [part for a, b in pairwise(sizes) for part in (torch.nn.Linear(a, b), torch.nn.GELU())]
    model = torch.nn.Sequential(*layers[:-1])
    images = torch.randn(1024, 196)
    labels = (images @ torch.randn(196, 10)).argmax(1)
    batches = list(zip(images.split(32), labels.split(32), strict=True))
    optimizer = OPTIMIZERS[name](model.parameters())
    session = GlocalSession(model, optimizer, _loss, _loss, val_batches=batches[:1], hyper=hyper, total_steps=steps)
    return session, batches, sum(p.numel() * p.element_size() for p in model.parameters())


def checkpoints(name: str, hidden: int, steps: int) -> Iterator[Row]:
    """Bytes of a session's checkpoint at each report, beside those of its weights."""
    session, batches, weights = problem(name, hidden, steps)
    for batch in session.batches(batches):
        session.step(batch)
        if session.at_report:
            told = session.metrics()
            with tempfile.TemporaryDirectory() as folder:
                session.save(folder)
                row = {"step": told["step"], "windows": told["windows"], "bytes": size(Path(folder))}
                yield row | {"weights": weights}


def _loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
