"""What an action costs: its seconds, and the bytes that it holds at once."""

import gc
import math
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Action = Callable[[], object]


def seconds(action: Action, device: str = "cpu") -> float:
    """Processor time where one thread computes: other processes slow it less than they slow the clock.

    With several threads, whose processor times add up, or on an accelerator it is the clock's.
    """
    if device == "cpu" and torch.get_num_threads() == 1:
        start = time.process_time()
        action()
        return time.process_time() - start
    _finish(device)
    start = time.perf_counter()
    action()
    _finish(device)
    return time.perf_counter() - start


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def kernels(action: Action, device: str) -> float:
    """Seconds in which kernels run on an accelerator, or its own memory is copied; transfers are none of them."""
    if device == "cpu":
        return math.nan
    _finish(device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as told:
        action()
        _finish(device)
    events = told.profiler.kineto_results.events()  # type: ignore[union-attr]
    busy = [
        (e.start_ns(), e.start_ns() + e.duration_ns())
        for e in events
        if e.device_type() == torch.autograd.DeviceType.CUDA
        and not e.is_user_annotation()
        and not any(way in e.name() for way in ("HtoD", "DtoH"))
    ]
    return covered(busy) / 1e9


def covered(spans: Iterable[tuple[int, int]]) -> int:
    """Length of what some spans cover together, where they overlap once."""
    total, end = 0, 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


class Held(TorchDispatchMode):
    """Bytes of the tensors that operators made while the mode was on: at present, and the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.present = self.most = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator; what it makes counts, what it was given or looks at does not."""
        for storage in _storages((args, kwargs)):
            self._known.add(storage)
        made = operator(*args, **(kwargs or {}))
        for storage in _storages(made):
            if storage not in self._known:
                self._known.add(storage)
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return made

    def _add(self, count: int) -> None:
        self.present += count
        self.most = max(self.most, self.present)


def _storages(tree: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def growth(action: Action, device: str = "cpu") -> int:
    """Most bytes of tensors that an action holds at once beyond those before it; on CUDA as its allocator counts."""
    if device == "cpu":
        with Held() as held:
            action()
        return held.most
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    action()
    return torch.cuda.max_memory_allocated(device) - before
