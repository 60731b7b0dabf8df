"""Many, classification: few textures by a perceptron; rates, decays, noise, penalties, of parts; AdamW, cosine."""

from itertools import pairwise

import torch
from ray import tune
from torch import Tensor, nn

from suites.blocks import ACTIVATIONS, Batch, Shuffled, batches, noisy, schedule, smoothed, stacked
from suites.held_out.data import texture
from suites.task import Config, Hyper, Option, Task, Training

STEPS = 400
LAYERS = tuple(range(4))
INPUTS = tuple(f"input_noise_{part}" for part in range(10))  # of four features each
SPACE = {
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "width": tune.choice([24, 48]),
    **{f"lr_{layer}": tune.loguniform(1e-4, 1.0) for layer in LAYERS},
    **{f"weight_decay_{layer}": tune.loguniform(1e-4, 10.0) for layer in LAYERS},
    "beta1": tune.uniform(0.0, 0.99),
    "beta2": tune.uniform(0.8, 0.9999),
    "eps": tune.loguniform(1e-8, 1e-1),
    "smoothing": tune.uniform(0.0, 0.5),
    "logit_penalty": tune.loguniform(1e-6, 1.0),
    **{f"noise_{layer}": tune.uniform(0.0, 1.5) for layer in LAYERS[1:]},
    **{f"added_noise_{layer}": tune.uniform(0.0, 1.5) for layer in LAYERS[1:]},
    **{f"activity_{layer}": tune.loguniform(1e-6, 1.0) for layer in LAYERS[1:]},
    **{name: tune.uniform(0.0, 1.0) for name in INPUTS},
}
SENSIBLE = {
    "activation": "gelu",
    "width": 48,
    **{f"lr_{layer}": 0.005 for layer in LAYERS},
    **{f"weight_decay_{layer}": 0.01 for layer in LAYERS},
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-7,
    "smoothing": 0.01,
    "logit_penalty": 1e-5,
    **{f"noise_{layer}": 0.1 for layer in LAYERS[1:]},
    **{f"added_noise_{layer}": 0.1 for layer in LAYERS[1:]},
    **{f"activity_{layer}": 1e-5 for layer in LAYERS[1:]},
    **dict.fromkeys(INPUTS, 0.05),
}


class Layers(nn.Module):
    """Three hidden layers."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        sizes = [40, width, width, width, 11]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, seen: Tensor) -> Tensor:
        """Logits of features [batch, 40]."""
        for layer in self.layers[:-1]:
            seen = self.activation(layer(seen))
        answers: Tensor = self.layers[-1](seen)
        return answers


def train_loss(model: Layers, batch: Batch, hyper: Hyper) -> Tensor:
    seen = batch[0] + stacked(hyper, INPUTS).repeat_interleave(4) * torch.randn_like(batch[0])
    penalty = torch.zeros(())
    for place, layer in enumerate(model.layers[:-1], 1):
        seen = model.activation(layer(seen))
        penalty = penalty + hyper[f"activity_{place}"] * seen.square().mean()
        seen = noisy(seen, hyper[f"noise_{place}"]) + hyper[f"added_noise_{place}"] * torch.randn_like(seen)
    logits = model.layers[-1](seen)
    penalty = penalty + hyper["logit_penalty"] * logits.square().mean()
    return smoothed(logits, batch[1], hyper["smoothing"]).mean() + penalty


def val_loss(model: Layers, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = texture()
    torch.manual_seed(seed)
    model = Layers(config["width"], config["activation"])
    groups = [
        {"params": layer.parameters(), "lr": config[f"lr_{place}"], "weight_decay": config[f"weight_decay_{place}"]}
        for place, layer in enumerate(model.layers)
    ]
    trained = torch.optim.AdamW(groups, betas=(config["beta1"], config["beta2"]), eps=config["eps"])
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


OPTIONS = {f"{name}_{layer}": Option(name, (layer,)) for name in ("lr", "weight_decay") for layer in LAYERS}
TASK = Task("texture-many", "many", STEPS, SPACE, build, SENSIBLE, OPTIONS)
