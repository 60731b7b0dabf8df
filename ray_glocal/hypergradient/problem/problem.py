"""The bilevel problem: the inner one, and the validation loss that is its outer objective."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.kernels import differentiable_in_eval, twice_differentiable
from ray_glocal.hypergradient.problem.hooks import without_hooks
from ray_glocal.hypergradient.problem.inner import InnerProblem
from ray_glocal.hypergradient.problem.losses import Differentiations, check_graph, own_gradients
from ray_glocal.hypergradient.problem.statistics import read_from, running
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.preservation import evaluating
from ray_glocal.hypergradient.state.randomness import Randomness


@dataclass(frozen=True)
class OuterGradient:
    """Validation loss with its derivatives in parameters, running statistics and, directly, hyperparameters [q]."""

    loss: Tensor
    parameters: tuple[Tensor, ...]
    statistics: tuple[Tensor, ...]
    direct: Tensor


class Problem(InnerProblem):
    """A bilevel problem made of plain torch objects.

    Args:
        model: Module whose parameters are trained.
        optimizer: A torch optimizer that has an update rule (`ray_glocal.hypergradient.rules`).
        train_loss: `(model, batch[, hyper]) -> scalar tensor`; the inner objective.
        val_loss: The same for the outer objective; evaluated with the model in eval mode.
        hyperparameters: What the outer problem adapts. A name that is an option of the optimizer sets that option;
            any other name is handed to those losses that take a third argument.
        clipping: How gradients are clipped before the optimizer sees them.
        accumulate: Micro-batches of an inner step. Beyond one, a batch is a sequence of so many, and the training loss
            of the step is the mean of theirs.
        scaler: Scales losses whose gradients would underflow in half precision; steps that it leaves out are no steps.
        averaged: Weights that are averaged over training beside the model's, updated after each step.
        constants: Names, or patterns of them, of tensors that training changes and derivatives may take for constants.

    A model wrapped in `DistributedDataParallel` trains on all ranks together, and so is differentiated: the losses are
    the means of the ranks' own.

    Derivatives pass through parameters, the optimizer's buffers and the running statistics of normalisations. All else
    that a step may change, buffers and what hangs on the model and the losses, is put back where a step is run again.

    Raises:
        ArgumentError: An unsupported optimizer, one that trains nothing, another model or not all of it, parameters
            or gradients of unsupported kinds, no or unknown hyperparameters, names or options twice, groups out of
            range, or a learning rate or momentum of zero.
    """

    _val_needs_graph: bool | None = None  # until the validation loss is first evaluated
    _val_differentiates: bool | None = None  # until it is first differentiated

    def validate(self, batch: Any, leaves: Mapping[str, Tensor], model: nn.Module | None = None) -> Tensor:
        """Validation loss on a batch, of the model or of another one."""
        return self._evaluate(self.val_loss, self._val_reads, batch, leaves, model)

    def mean_val_loss(self, batches: Iterable[Any], values: Values, *, averaged: bool = False) -> float:
        """Mean validation loss over `batches`, and over the ranks', in eval mode; of the averaged weights on demand.

        One batch is in memory at a time.
        """
        leaves, model = self.leaves(values, differentiable=False), self.model
        if averaged and self.averaged is not None:
            model = self.averaged
        with self.undisturbed(), evaluating(model):
            losses = [self._measured(owned(batch), leaves, model) for batch in batches]
        _check_some(losses)
        return float(self.ranks.mean([torch.stack(losses).double().mean()])[0])

    def _measured(self, batch: Any, leaves: Mapping[str, Tensor], model: nn.Module) -> Tensor:
        """Validation loss on a batch, detached, without a graph where it needs none; the first call finds that out."""
        if self._val_needs_graph is None:
            start = Randomness.capture()
            try:
                with torch.no_grad():
                    loss = self.validate(batch, leaves, model).detach().reshape(())
            except RuntimeError as error:
                if "require grad" not in str(error):
                    raise
                self._val_needs_graph = True
                start.restore()
            else:
                self._val_needs_graph = False
                return loss
        if not self._val_needs_graph:
            with torch.no_grad():
                return self.validate(batch, leaves, model).detach().reshape(())
        with torch.enable_grad(), own_gradients(list(model.parameters())):
            return self.validate(batch, leaves, model).detach().reshape(())

    def outer_gradient(self, batches: Sequence[Any], values: Values) -> OuterGradient:
        """Mean validation loss over `batches`, and over the ranks', and its derivatives, the model in eval mode."""
        leaves = self.leaves(values, differentiable=True) if self._val_reads else {}
        statistics = [statistic.requires_grad_() for statistic in running(self.statistics)]
        wanted = [*self.parameters, *statistics, *leaves.values()]
        losses, total = [], [torch.zeros_like(leaf) for leaf in wanted]
        reading = read_from(self.statistics, statistics)
        with differentiable_in_eval(self.model), reading, evaluating(self.model), without_hooks(self.parameters):
            for batch in batches:  # one graph at a time
                with self.ranks.apart():
                    loss = self._differentiable(owned(batch), leaves).reshape(())
                check_graph("val_loss", loss)
                found = torch.autograd.grad(loss, wanted, allow_unused=True)
                total = [t if f is None else t.add_(f) for t, f in zip(total, found, strict=True)]
                losses.append(loss.detach())
        _check_some(losses)
        loss, *total = self.ranks.mean([torch.stack(losses).mean(), *(t.div_(len(losses)) for t in total)])
        first, last = len(self.parameters), len(wanted) - len(leaves)
        direct = self.stacked([dict(zip(leaves, total[last:], strict=True))])[0]
        return OuterGradient(loss, tuple(total[:first]), tuple(total[first:last]), direct)

    def _differentiable(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Validation loss with a graph, a second time where it takes derivatives itself; the first call finds out."""
        if self._val_differentiates is None:
            start = Randomness.capture()
            with own_gradients(list(self.model.parameters())), Differentiations() as mode:
                loss = self.validate(batch, leaves)
            self._val_differentiates = mode.seen
            if not mode.seen:
                return loss
            start.restore()
        if not self._val_differentiates:
            return self.validate(batch, leaves)
        held = own_gradients(list(self.model.parameters()))
        with held, twice_differentiable(self.model), Differentiations():
            return self.validate(batch, leaves)


def _check_some(losses: Sequence[Tensor]) -> None:
    if not losses:
        raise ArgumentError("val_batches", "hold at least one batch", "none", "The outer loss needs data.")
