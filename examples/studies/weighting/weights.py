"""What gives training examples their weights, by hand or as hyperparameters that a session adapts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ray_glocal.hypergradient import Hyperparameter, module_hyperparameters
from ray_glocal.hypergradient.hyperparameters.hyperparameter import HyperValues
from weighting.examples import CLASSES, Examples, Weighable

HIDDEN = 16  # units of the weighting network
Loss = Callable[..., Tensor]


def entropies(model: nn.Module, batch: Weighable, offsets: Tensor | None = None) -> Tensor:
    """Cross entropy of each example, shape [example]; `offsets` [class] are added to the logits."""
    logits = model(batch.inputs)
    return F.cross_entropy(logits if offsets is None else logits + offsets, batch.labels, reduction="none")


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """The scale of the weights says nothing, so that they are no second learning rate."""
    return (weights * losses).sum() / weights.sum().clamp(min=1e-6)


# ---- by hand ----


def uniform(model: nn.Module, batch: Weighable) -> Tensor:
    """All examples alike."""
    return entropies(model, batch).mean()


def fixed(weights: Tensor) -> Loss:
    """A weight for each row of the training set."""
    return lambda model, batch: weighted_mean(entropies(model, batch), weights[batch.rows])


def frequency_offsets(examples: Examples) -> Loss:
    """Logits raised by the logarithm of the class's frequency in training (Menon et al. 2021, arXiv:2007.07314)."""
    offsets = (examples.counts / examples.counts.sum()).log()
    return lambda model, batch: entropies(model, batch, offsets).mean()


def trimmed(share: float) -> Loss:
    """Only the share of the training set whose labels the network finds likeliest.

    The rule of Han et al. 2018 (arXiv:1804.06872) for a noise rate that is known, with one network.
    """
    return lambda model, batch: weighted_mean(entropies(model, batch), (batch.judged[:, 2] < share).float())


# ---- as hyperparameters ----


@dataclass(frozen=True)
class Weighting:
    """Hyperparameters and the training loss that reads them.

    Args:
        hyper: What a session adapts.
        loss: `(model, batch, hyper) -> scalar tensor`.
        weights: Weights of examples at given values; none where the hyperparameters are no weights.
    """

    hyper: tuple[Hyperparameter, ...]
    loss: Loss
    weights: Callable[[Mapping[str, Tensor], Weighable], Tensor] | None = None


def _weighting(
    hyper: tuple[Hyperparameter, ...], weights: Callable[[Mapping[str, Tensor], Weighable], Tensor]
) -> Weighting:
    def loss(model: nn.Module, batch: Weighable, values: Mapping[str, Tensor]) -> Tensor:
        return weighted_mean(entropies(model, batch), weights(values, batch))

    return Weighting(hyper, loss, weights)


def class_weights(_: Examples) -> Weighting:
    """A weight for each class, all one at the start."""
    hyper = Hyperparameter("class_weight", torch.ones(CLASSES), 1e-4, 1e4, "log")
    return _weighting((hyper,), lambda values, batch: values["class_weight"][batch.labels])


def class_offsets(_: Examples) -> Weighting:
    """An offset of the logits for each class, all zero at the start: a class that is raised must be learned better."""
    hyper = Hyperparameter("class_offset", torch.zeros(CLASSES))

    def loss(model: nn.Module, batch: Weighable, values: Mapping[str, Tensor]) -> Tensor:
        return entropies(model, batch, values["class_offset"]).mean()

    return Weighting((hyper,), loss)


def example_weights(examples: Examples) -> Weighting:
    """A weight of its own for each training example, all one half at the start."""
    hyper = Hyperparameter("weight", torch.full((len(examples.clean),), 0.5), 0.0, 1.0, "logit")
    return _weighting((hyper,), lambda values, batch: values["weight"][batch.rows])


def weighting_network(_: Examples) -> Weighting:
    """A small network that weighs an example by its label and by what the trained network has thought of it.

    As in Meta-Weight-Net (Shu et al. 2019, arXiv:1902.07379), with the label and the moving averages of `Watched` in
    place of the present loss; all weights are one half at the start.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(CLASSES + 2, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
    last = network[2]
    nn.init.normal_(last.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(last.bias)

    def weights(values: Mapping[str, Tensor], batch: Weighable) -> Tensor:
        seen = torch.cat([batch.judged[:, :2] + 1, F.one_hot(batch.labels, CLASSES)], 1)
        told = values if isinstance(values, HyperValues) else HyperValues(values)
        answers: Tensor = torch.func.functional_call(network, told.under("weighting"), (seen,))
        return answers.sigmoid().squeeze(1)

    return _weighting(module_hyperparameters("weighting", network), weights)
