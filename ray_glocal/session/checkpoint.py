"""Checkpoints: everything a session needs to go on exactly, as plain data that loads without unpickling code."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Randomness
from ray_glocal.hypergradient.problem import InnerState, Snapshot

VERSION = 1
FILE = "session.pt"
TRACE = "trace.parquet"


def write(folder: Path, plain: Mapping[str, Any]) -> None:
    """Write plain data to a folder, whole or not at all."""
    unfinished = folder / (FILE + ".unfinished")
    torch.save({"version": VERSION, **plain}, unfinished)
    os.replace(unfinished, folder / FILE)


def read(folder: Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
        ArgumentError: The folder holds no session, or one of another version.
    """
    file = folder / FILE
    if not file.is_file():
        remedy = "Pass a folder that `GlocalSession.save` or `checkpoint` wrote."
        raise ArgumentError("source", f"hold a file {FILE!r}", str(folder), remedy)
    plain: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    if plain.get("version") != VERSION:
        remedy = "Resume it with the release of ray_glocal that wrote it."
        raise ArgumentError("source", f"be a checkpoint of version {VERSION}", plain.get("version"), remedy)
    return plain


def snapshot_as_plain(snapshot: Snapshot) -> dict[str, Any]:
    """A recorded step as plain data.

    Raises:
        ArgumentError: Its batch holds objects that could not be loaded again without unpickling code.
    """
    _check_plain(snapshot.batch)
    return {
        "state": state_as_plain(snapshot.state),
        "batch": snapshot.batch,
        "options": [dict(options) for options in snapshot.options],
        "values": dict(snapshot.values),
    }


def snapshot_from_plain(plain: Mapping[str, Any], device: torch.device) -> Snapshot:
    """Inverse of `snapshot_as_plain`."""
    batch = _to_device(plain["batch"], device)
    return Snapshot(state_from_plain(plain["state"], device), batch, tuple(plain["options"]), plain["values"])


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


def _check_plain(value: Any) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            _check_plain(item)
    elif type(value) in (list, tuple):
        for item in value:
            _check_plain(item)
    elif not isinstance(value, Tensor | int | float | str | bytes | None):
        rule = "be made of tensors, numbers and text to be saved inside a window"
        remedy = "Save between windows (at a report), or convert the batch in the loader."
        raise ArgumentError("batch", rule, type(value).__name__, remedy)


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to_device(item, device) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_to_device(item, device) for item in value)
    return value
