"""Plain data: what can be written to a checkpoint and read again without unpickling code."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from ray_glocal.errors import ArgumentError

_ARRAY = "ray_glocal/numpy"  # key of a dictionary that stands for an array, or for a number of NumPy's
_SIMPLE = (Tensor, Parameter, int, float, complex, bool, str, bytes, type(None), torch.Size, torch.dtype, torch.device)
_NESTED = (list, tuple, set)


def encoded(value: Any) -> Any:
    """Nested data with NumPy's arrays and numbers, which would need code to be loaded, as plain ones."""
    if isinstance(value, np.float64 | np.int64 | np.bool_):
        return value.item()
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufc":
        whole = np.array(value)  # its own memory, in order
        return {_ARRAY: torch.from_numpy(whole.reshape(-1).view(np.uint8).copy()), **_described(value)}
    if type(value) is dict:
        return {key: encoded(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(encoded(item) for item in value)
    return value


def _described(value: Any) -> dict[str, Any]:
    return {"dtype": value.dtype.str, "shape": list(value.shape), "scalar": isinstance(value, np.generic)}


def decoded(value: Any) -> Any:
    """Inverse of `encoded`, save for the numbers that Python has itself."""
    if type(value) is dict and _ARRAY in value:
        array = value[_ARRAY].numpy().copy().view(np.dtype(value["dtype"])).reshape(value["shape"])
        return array[()] if value["scalar"] else array
    if type(value) is dict:
        return {key: decoded(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(decoded(item) for item in value)
    return value


def check_plain(value: Any) -> None:
    """Check that nested data could be loaded again.

    Raises:
        ArgumentError: Something in it could not; its place is named.
    """
    odd = next(_odd(value, ""), None)
    if odd is not None:
        place, kind = odd
        rule = "be made of tensors, arrays, numbers and text, to be restored from a checkpoint"
        remedy = "Hold it as one of those, or leave it out of what the object's state returns."
        raise ArgumentError("state", rule, f"{place} is a {kind}", remedy)


def _odd(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Where nested data holds what could not be loaded, and its type; subclasses of plain types among them."""
    if type(value) in (dict, OrderedDict, Counter):
        for key, item in value.items():
            yield from _odd(key, f"a key of {place.removeprefix('/')}")
            yield from _odd(item, f"{place}/{key}")
    elif type(value) in _NESTED:
        for index, item in enumerate(value):
            yield from _odd(item, f"{place}/{index}")
    elif type(value) not in _SIMPLE:
        module = type(value).__module__
        name = type(value).__qualname__
        yield place.removeprefix("/"), name if module in ("builtins", "__main__") else f"{module}.{name}"
