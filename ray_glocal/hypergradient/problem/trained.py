"""Which parameters train, and those that a session cannot follow: each by its name, with the way out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ray_glocal.errors import ArgumentError

SHOWN = 3  # names in a message


def trained(optimizer: torch.optim.Optimizer) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Parameters of an optimizer that require gradients, and the group of each."""
    groups = enumerate(optimizer.param_groups)
    found = [(p, g) for g, group in groups for p in group["params"] if p.requires_grad]
    return tuple(p for p, _ in found), tuple(g for _, g in found)


def training_now(optimizer: torch.optim.Optimizer) -> list[bool]:
    """Which of an optimizer's parameters require gradients; as quick as can be, for it is asked every few steps."""
    return [parameter.requires_grad for group in optimizer.param_groups for parameter in group["params"]]


def named(model: nn.Module, parameter: Tensor) -> str:
    """A parameter's name in its model."""
    names = (name for name, other in model.named_parameters() if other is parameter)
    return next(names, f"a parameter of shape {tuple(parameter.shape)} outside the model")


def listed(names: list[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def check_trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Check that derivatives can follow how a model is trained.

    Raises:
        ArgumentError: The optimizer trains nothing, or another model; parameters are complex, sharded, or trainable and
            in no group of the optimizer; layers have no second derivative, write to their weights or make sparse
            gradients.
    """
    parameters, _ = trained(optimizer)
    kind = type(optimizer).__name__
    if not parameters:
        remedy = "Set `requires_grad` on what should train."
        raise ArgumentError("optimizer", "hold at least one parameter that requires a gradient", kind, remedy)
    for parameter in parameters:
        _check_kind(model, parameter)
    known = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in known for parameter in parameters):
        remedy = "Build it from `model.parameters()`, after the model has its final parameters."
        raise ArgumentError("optimizer", "train parameters of `model`", f"{kind} of another model's", remedy)
    _check_all(model, optimizer)
    for name, module in model.named_modules():
        _check_module(name, module)


def _check_kind(model: nn.Module, parameter: Tensor) -> None:
    if type(parameter).__name__ == "DTensor":  # its import takes long
        remedy = "Wrap the model in DistributedDataParallel."
        raise ArgumentError("model", "hold its parameters whole on every rank", "parts of them", remedy)
    if parameter.is_complex():
        remedy = "Hold real and imaginary parts, as by `torch.view_as_real`, and join them in the forward pass."
        raise ArgumentError("model", "have real parameters", f"complex {named(model, parameter)!r}", remedy)


def _check_all(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    names = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if names:
        rule = "train every parameter of `model` that requires a gradient"
        remedy = (
            "A session differentiates through one optimizer. Give it these as well, or switch their gradients off "
            "(`requires_grad_(False)`) where nothing trains them; what another optimizer trains belongs to no session."
        )
        raise ArgumentError("optimizer", rule, f"without {listed(names)}", remedy)


def _check_module(name: str, module: nn.Module) -> None:
    layer = f"{type(module).__name__} {name!r}"
    if isinstance(module, nn.SyncBatchNorm):
        remedy = "Use BatchNorm as it is, or a normalisation without statistics."
        raise ArgumentError("model", "have layers with a second derivative", "SyncBatchNorm", remedy)
    if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or not module.weight.requires_grad:
        return
    if module.sparse:
        remedy = "Build it with `sparse=False`."
        raise ArgumentError("model", "have dense gradients", f"{layer} with sparse=True", remedy)
    if module.max_norm is not None:
        remedy = "Leave `max_norm` out, and normalise in the forward pass where that is needed."
        raise ArgumentError("model", "not write to its weights in the forward pass", f"{layer} with max_norm", remedy)


def check_dense(model: nn.Module, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Check that gradients are dense.

    Raises:
        ArgumentError: One is sparse.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and gradient.layout is not torch.strided:
            got = f"{gradient.layout} of {named(model, parameter)!r}"
            raise ArgumentError("train_loss", "have dense gradients", got, "Look for `sparse=True` in the model.")
