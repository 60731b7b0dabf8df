"""The processes that train one model together, each on batches of its own."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Ranks:
    """What the ranks of data-parallel training agree on: means over them, and rank 0's word.

    The loss of the joined batch is the mean of the ranks' losses, so its gradients and Hessian products are the means
    of theirs. Without `DistributedDataParallel` there is one rank, and nothing is sent.

    Args:
        model: The model that trains; data-parallel where it is wrapped in `DistributedDataParallel`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model if isinstance(model, DistributedDataParallel) else None
        self._group: Any = self._model.process_group if self._model is not None else None
        self.count = dist.get_world_size(self._group) if self._model is not None else 1

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Means over the ranks of tensors of one device, sent together for each precision."""
        if self.count == 1 or not tensors:
            return list(tensors)
        means = list(tensors)
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            places = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
            flat = torch.cat([tensors[i].detach().flatten() for i in places])
            dist.all_reduce(flat, group=self._group)
            flat /= self.count
            for i, piece in zip(places, torch.split(flat, [tensors[i].numel() for i in places]), strict=True):
                means[i] = piece.reshape(tensors[i].shape)
        return means

    def agreed(self, value: float) -> float:
        """Rank 0's value, for what each would measure differently."""
        if self.count == 1:
            return value
        assert self._model is not None
        shared = torch.tensor([value], dtype=torch.float64, device=next(self._model.parameters()).device)
        dist.broadcast(shared, dist.get_global_rank(self._group, 0), group=self._group)
        return float(shared)

    def unanimous(self, answer: bool) -> bool:
        """Whether every rank says yes: what each finds on batches of its own, all must do alike."""
        if self.count == 1:
            return answer
        assert self._model is not None
        vote = torch.tensor(float(answer), device=next(self._model.parameters()).device)
        return bool(self.mean([vote])[0] == 1)

    def apart(self) -> AbstractContextManager[object]:
        """Passes in it leave the gradients of each rank to itself."""
        if self._model is None:
            return nullcontext()
        alone: AbstractContextManager[object] = self._model.no_sync()
        return alone

    def share(self, statistics: Sequence[Tensor]) -> Sequence[Tensor]:
        """What this rank pulls back of an adjoint of running statistics, so that the ranks' mean is right.

        Where the wrapper broadcasts buffers, as by default, only rank 0's batches enter the statistics.
        """
        if self.count == 1 or not self._broadcasts:
            return statistics
        factor = float(self.count) if dist.get_rank(self._group) == 0 else 0.0
        return [statistic * factor for statistic in statistics]

    def shared(self, statistics: Sequence[Tensor]) -> Sequence[Tensor]:
        """Means of what came back, where the ranks share their statistics."""
        return self.mean(statistics) if self._broadcasts else statistics

    @property
    def _broadcasts(self) -> bool:
        return self._model is not None and bool(self._model.broadcast_buffers)
