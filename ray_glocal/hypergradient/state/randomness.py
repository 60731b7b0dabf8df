"""The state of every random generator that a training step may draw from, as plain data."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def torch_states() -> tuple[Tensor, ...]:
    """States of torch's generators: the CPU's, then each initialised CUDA device's."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return (torch.get_rng_state(), *cuda)


def set_torch_states(states: tuple[Tensor, ...]) -> None:
    """Put torch's generators back; states of devices that this machine lacks are passed over."""
    torch.set_rng_state(states[0])
    for device, state in enumerate(states[1 : 1 + torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)


@dataclass(frozen=True)
class Randomness:
    """States of torch's, NumPy's and Python's global generators."""

    torch: tuple[Tensor, ...]
    numpy: dict[str, Any]
    python: tuple[Any, ...]

    @classmethod
    def capture(cls) -> "Randomness":
        """The states now."""
        return cls(torch_states(), dict(np.random.get_state(legacy=False)), random.getstate())  # noqa: NPY002

    def restore(self) -> None:
        """Put every generator back to where it was."""
        set_torch_states(self.torch)
        np.random.set_state(self.numpy)  # noqa: NPY002 - user code draws from the global generator
        random.setstate(self.python)

    def as_plain(self) -> dict[str, Any]:
        """The states in types that `torch.load(weights_only=True)` accepts."""
        numpy = dict(self.numpy)
        inner = dict(numpy["state"])
        inner["key"] = torch.from_numpy(np.asarray(inner["key"], dtype=np.int64))
        return {"torch": list(self.torch), "numpy": {**numpy, "state": inner}, "python": list(self.python)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Randomness":
        """Inverse of `as_plain`."""
        inner = dict(plain["numpy"]["state"])
        inner["key"] = inner["key"].numpy().astype(np.uint32)
        version, key, gauss = plain["python"]
        numpy = {**plain["numpy"], "state": inner}
        return cls(tuple(plain["torch"]), numpy, (version, tuple(key), gauss))
