"""Checkpoints: everything a session needs to go on exactly, as plain data that loads without unpickling code.

A folder holds two files. `session.pt` has the model's weights and all that is small: descendants and readers need no
more. The other has what is large and serves an exact resume alone (the optimizer's state, the weights that a retreat
leads to, the open window), and may be removed when a trial has ended. `session.pt` names it, is written after it and
replaces its predecessor at once, so the two belong together whenever a process dies.
"""

import os
import pickle
import tempfile
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pyarrow.fs import FileType, copy_files
from torch import Tensor

from ray_glocal.errors import ArgumentError, CheckpointError
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.hypergradient.state.snapshot import InnerState, Slope, Snapshot
from ray_glocal.names import SESSION_FILE
from ray_glocal.session.adapted import CheckpointFolder
from ray_glocal.session.state.plain import decoded, encoded

VERSION = 11
RESUME = "resume-{}.pt"  # each save has a name of its own for it

_DAMAGE = (  # what torch raises on a damaged file: its own where one is cut off, and of wrong bytes what pickle does
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    EOFError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
_REMEDY = "Pass a folder that `GlocalSession.save` or `checkpoint` wrote."


def write(folder: Path, plain: Mapping[str, Any], resume: Mapping[str, Any]) -> None:
    """Write plain data to a folder, whole or not at all.

    Args:
        folder: Where to.
        plain: What everybody needs.
        resume: What only an exact resume needs.
    """
    name = RESUME.format(uuid.uuid4().hex[:12])
    _save(folder / name, resume)
    _save(folder / SESSION_FILE, {"version": VERSION, "resume": name, **plain})
    for old in folder.glob(RESUME.format("*") + "*"):
        if old.name != name:
            old.unlink()


def _save(file: Path, plain: Mapping[str, Any]) -> None:
    unfinished = file.with_name(file.name + ".unfinished")
    torch.save(dict(plain), unfinished)
    os.replace(unfinished, file)


def read(folder: Path) -> dict[str, Any]:
    """Read what everybody needs of what `write` wrote.

    Raises:
        CheckpointError: The folder holds no session, one that cannot be read, or one of another version.
    """
    if not (folder / SESSION_FILE).is_file():
        raise CheckpointError("source", f"hold a file {SESSION_FILE!r}", str(folder), _REMEDY)
    plain = _load(folder / SESSION_FILE)
    if not isinstance(plain, dict) or plain.get("version") != VERSION:
        version = plain.get("version") if isinstance(plain, dict) else None
        remedy = "Resume it with the release of ray_glocal that wrote it."
        raise CheckpointError("source", f"be a checkpoint of version {VERSION}", version, remedy)
    return plain


def read_resume(folder: Path, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Read what only an exact resume needs.

    Args:
        folder: The checkpoint.
        plain: What `read` made of it.

    Raises:
        CheckpointError: That was removed when the trial had ended, or cannot be read.
    """
    file = folder / plain["resume"]
    if not file.is_file():
        rule = f"hold the file {file.name!r} to be resumed from"
        remedy = (
            "Its trial had ended, and of ended trials the weights alone are kept (GlocalScheduler(checkpoints='all') "
            "keeps the rest): load them by `model.load_state_dict(ray_glocal.weights(source))`."
        )
        raise CheckpointError("source", rule, str(folder), remedy)
    resume: dict[str, Any] = _load(file)
    return resume


def weights(source: str | Path | CheckpointFolder, *, averaged: bool = False) -> dict[str, Any]:
    """The model's weights in a checkpoint of a session, for `model.load_state_dict`.

    Args:
        source: A folder, or an object with `as_directory()` such as `ray.tune.Checkpoint`.
        averaged: The averaged weights: the session's own, or of the `averaged=` that it was given.

    Returns:
        A state dictionary on the CPU.

    Raises:
        CheckpointError: The folder holds no readable session, or one of another version.
        ArgumentError: `source` is neither, or holds no averaged weights.
    """
    with opened(source) as folder:
        plain = read(folder)
    if not averaged:
        return dict(plain["model"])
    if plain["averaged"] is None:
        remedy = "Leave `averaged` out: the session kept none, by `Settings(averaging=False)`."
        raise ArgumentError("source", "hold averaged weights", str(source), remedy)
    return dict(plain["averaged"])


@contextmanager
def opened(source: Any, names: Sequence[str] = (SESSION_FILE,)) -> Iterator[Path]:
    """A folder with what is asked for of a checkpoint, where it has that; from a storage elsewhere it alone is fetched.

    Args:
        source: A folder, an object with `as_directory()`, or one with a `filesystem` and its `path` there.
        names: Of the files that are asked for.

    Raises:
        ArgumentError: It is none of these.
    """
    filesystem = getattr(source, "filesystem", None)
    if isinstance(source, str | Path):
        yield Path(source)
    elif filesystem is None:
        if not hasattr(source, "as_directory"):
            remedy = "Where `tune.get_checkpoint()` is None, a trial begins and has none yet."
            raise ArgumentError("source", "be a folder or a checkpoint", source, remedy)
        with source.as_directory() as folder:
            yield Path(folder)
    elif filesystem.type_name == "local":
        yield Path(source.path)
    else:
        with tempfile.TemporaryDirectory() as fresh:
            for there in filesystem.get_file_info([f"{source.path}/{name}" for name in names]):
                if there.type == FileType.File:
                    here = str(Path(fresh, there.base_name))
                    copy_files(there.path, here, source_filesystem=filesystem, use_threads=False)
            yield Path(fresh)


def _load(file: Path) -> Any:
    try:
        return _loaded(file)
    except _DAMAGE as error:
        rule = f"hold a readable file {file.name!r}"
        raise CheckpointError("source", rule, str(file.parent), _REMEDY) from error


def _loaded(file: Path) -> Any:
    if not zipfile.is_zipfile(file):  # torch would try its older formats, and fail in ways of their own
        raise pickle.UnpicklingError("not an archive, or one that was cut off")
    return torch.load(file, map_location="cpu", weights_only=True)


def check_same(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Check that a checkpoint belongs to the run that a session was built for.

    Args:
        theirs: `hypergradients`, `hyperparameters`, `total_steps`, `optimizer` and `lr_scheduler` of the checkpoint.
        ours: The same of the session.

    Raises:
        CheckpointError: They differ.
    """
    build = "Build the session as the one that was saved."
    rules = {
        "hypergradients": ("have the hypergradients of the session, {}", build),
        "hyperparameters": ("adapt the same hyperparameters, {}", build),
        "total_steps": (
            "plan {} steps in all",
            "A forecast to another end is another run; start that one from the weights alone.",
        ),
        "optimizer": ("be trained by {}", build),
        "lr_scheduler": ("have the lr_scheduler {}", build),
    }
    for name, (rule, remedy) in rules.items():
        if theirs[name] != ours[name]:
            raise CheckpointError("source", rule.format(ours[name]), theirs[name], remedy)


def shapes(values: Mapping[str, Tensor]) -> str:
    """Names of hyperparameters, with the shape where there is one."""
    return ", ".join(f"{name} {tuple(v.shape)}" if v.dim() else name for name, v in values.items())


def fits(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether every one of an ancestor's weights can stand in for ours, and is finite."""
    return theirs.keys() == ours.keys() and all(_fits(theirs[name], ours[name]) for name in ours)


def _fits(theirs: Any, ours: Any) -> bool:
    if not isinstance(theirs, Tensor) or not isinstance(ours, Tensor):
        return type(theirs) is type(ours)
    return theirs.shape == ours.shape and bool(torch.isfinite(theirs).all())


def snapshot_as_plain(snapshot: Snapshot) -> dict[str, Any]:
    """A recorded step as plain data.

    Raises:
        ArgumentError: Its batch holds objects that could not be loaded again without unpickling code.
    """
    odd = next(_not_plain(snapshot.batch), None)
    if odd is not None:
        rule = "be made of tensors, numbers and text to be saved inside a window"
        remedy = "Save between windows, or convert the batch in the loader."
        raise ArgumentError("batch", rule, odd.__name__, remedy)
    return {
        "state": None if snapshot.state is None else state_as_plain(snapshot.state),
        "batch": snapshot.batch,
        "slope": None if snapshot.slope is None else _slope_as_plain(snapshot.slope),
        "scale": snapshot.scale,
        "taken": snapshot.taken,
        "options": [encoded(dict(options)) for options in snapshot.options],
        "values": dict(snapshot.values),
    }


def snapshot_from_plain(plain: Mapping[str, Any], device: torch.device) -> Snapshot:
    """Inverse of `snapshot_as_plain`."""
    state = None if plain["state"] is None else state_from_plain(plain["state"], device)
    slope = None if plain["slope"] is None else _slope_from_plain(_to_device(plain["slope"], device))
    batch, options = _to_device(plain["batch"], device), tuple(decoded(plain["options"]))
    return Snapshot(state, batch, options, plain["values"], slope, plain["scale"], plain["taken"])


def _slope_as_plain(slope: Slope) -> dict[str, Any]:
    return {"parameters": list(slope.parameters), "hyper": dict(slope.hyper)}


def _slope_from_plain(plain: Mapping[str, Any]) -> Slope:
    return Slope(tuple(plain["parameters"]), plain["hyper"])


def state_as_plain(state: InnerState) -> dict[str, Any]:
    """An inner state as plain data."""
    return {
        "parameters": list(state.parameters),
        "slots": [dict(held) for held in state.slots],
        "steps": list(state.steps),
        "buffers": list(state.buffers),
        "randomness": state.randomness.as_plain(),
    }


def state_from_plain(plain: Mapping[str, Any], device: torch.device) -> InnerState:
    """Inverse of `state_as_plain`, its tensors on `device`."""
    return InnerState(
        tuple(tensor.to(device) for tensor in plain["parameters"]),
        tuple({name: tensor.to(device) for name, tensor in held.items()} for held in plain["slots"]),
        tuple(plain["steps"]),
        tuple(tensor.to(device) for tensor in plain["buffers"]),
        Randomness.from_plain(plain["randomness"]),
    )


def _not_plain(value: Any) -> Iterator[type]:
    """Types in nested data that would need code of their own to be loaded; subclasses of plain types among them."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            yield from _not_plain(key)
            yield from _not_plain(item)
    elif type(value) in (list, tuple):
        for item in value:
            yield from _not_plain(item)
    elif not isinstance(value, Tensor) and type(value) not in (int, float, bool, str, bytes, type(None)):
        yield type(value)


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return type(value)((key, _to_device(item, device)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(_to_device(item, device) for item in value)
    return value
