"""Many, classification: few images of Fashion-MNIST, augmented by strengths, by a perceptron; SGD, one-cycle."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, NoisyPerceptron, Shuffled, batches, optimizer, schedule, smoothed, stacked
from suites.task import Config, Hyper, Option, Task, Training
from suites.tuning.data import small_fashion

STEPS = 600
LAYERS, BANDS, SIDE = range(4), range(7), 14
RATES, DECAYS = ([f"{name}_{layer}" for layer in LAYERS] for name in ("lr", "decay"))
NOISES = [f"noise_{layer}" for layer in LAYERS[:-1]]
AFFINE = ["stretch_x", "shear_x", "shift_x", "shear_y", "stretch_y", "shift_y"]
GROSS = ["rotation", "brightness", "contrast", "cutout", "mixing"]
BAND_NOISES = [f"band_noise_{band}" for band in BANDS]
SPACE = {
    "width": tune.choice([32, 64]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    **{name: tune.loguniform(1e-4, 1.0) for name in RATES},
    **{name: tune.loguniform(1e-6, 1e-1) for name in DECAYS},
    "momentum": tune.uniform(0.0, 0.99),
    "smoothing": tune.uniform(0.0, 0.5),
    **{name: tune.uniform(0.0, 1.5) for name in NOISES},
    **{name: tune.loguniform(1e-3, 1.0) for name in AFFINE + GROSS},
    **{name: tune.loguniform(1e-2, 3.0) for name in BAND_NOISES},
}
SENSIBLE = {
    "width": 64,
    "activation": "gelu",
    **dict.fromkeys(RATES, 0.05),
    **dict.fromkeys(DECAYS, 1e-3),
    "momentum": 0.9,
    "smoothing": 0.05,
    **dict.fromkeys(NOISES, 0.2),
    **dict.fromkeys(AFFINE + GROSS, 0.05),
    **dict.fromkeys(BAND_NOISES, 0.1),
}
OPTIONS = {name: Option("lr", (layer,)) for layer, name in enumerate(RATES)}
OPTIONS |= {name: Option("weight_decay", (layer,)) for layer, name in enumerate(DECAYS)}


def augmented(images: Tensor, hyper: Hyper) -> Tensor:
    """Moved, mixed with each other, cut out softly, lit and noised, each image by draws of its own."""
    count = len(images)
    turn, light, contrast, hole, mixing = torch.randn(5, count, 1, 1, 1) * stacked(hyper, GROSS).view(5, 1, 1, 1, 1)
    moves = torch.randn(count, 6) * stacked(hyper, AFFINE) + torch.tensor([1.0, 0, 0, 0, 1, 0])
    turned = turn.flatten()[:, None] * torch.tensor([0.0, -1, 0, 1, 0, 0])
    grid = F.affine_grid((moves + turned).view(count, 2, 3), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    images = images + torch.tanh(mixing.abs()) * (images.roll(1, 0) - images) / 2
    line = torch.linspace(-1, 1, SIDE)
    middle = 2 * torch.rand(2, count, 1, 1) - 1
    far = (line[:, None] - middle[0]).square() + (line - middle[1]).square()
    images = images * (1 - torch.tanh(hole.abs()) * torch.exp(-far / 0.2)[:, None])
    bands = stacked(hyper, BAND_NOISES).repeat_interleave(SIDE // len(BANDS))[:, None]
    return images * (1 + contrast) + light + bands * torch.randn_like(images)


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    logits = model(augmented(batch[0], hyper), [hyper[name] for name in NOISES])
    return smoothed(logits, batch[1], hyper["smoothing"]).mean()


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = small_fashion(400)
    torch.manual_seed(seed)
    model = NoisyPerceptron([SIDE**2, *[config["width"]] * (len(LAYERS) - 1), 10], config["activation"])
    groups = [
        {"params": list(layer.parameters()), "lr": config[rate], "weight_decay": config[decay]}
        for layer, rate, decay in zip(model.layers, RATES, DECAYS, strict=True)
    ]
    trained = optimizer(groups, {**config, "optimizer": "sgd"})
    return Training(
        model,
        trained,
        schedule("one-cycle", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("fashion-many", "many", STEPS, SPACE, build, SENSIBLE, options=OPTIONS)
