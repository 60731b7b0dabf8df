"""Trials that train on several workers each: Ray Train inside a Tune function, a session in every worker."""

import ray.train
import ray.train.torch
import torch
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from torch import nn
from torch.nn import functional as F

from ray_glocal import GlocalSession, Settings, adapted

SPACE = {"width": tune.choice([4, 8]), "lr": tune.loguniform(1e-4, 1.0)}
STEPS = 96
SETTINGS = Settings(window=8, search_window=6, overhead=None, duty_cycle=0.25, report_every=32)


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def batches(seed, rank):
    generator = torch.Generator().manual_seed(10 * seed + rank)
    inputs = torch.randn(8, 16, 6, generator=generator)
    return [(x, x[:, :3].argmax(1)) for x in inputs]


def work(config):
    """One worker."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rank = ray.train.get_context().get_world_rank()
    model = nn.Sequential(nn.Linear(6, config["width"]), nn.GELU(), nn.Linear(config["width"], 3))
    model = ray.train.torch.prepare_model(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=0.9)
    hyper = adapted(config, SPACE)
    told = {"val_batches": batches(2, rank), "hyper": hyper, "total_steps": STEPS, "settings": SETTINGS}
    session = GlocalSession(model, optimizer, loss, loss, **told)
    for batch in session.batches(batches(1, rank)):
        session.step(batch)
        if session.at_report:
            weights = torch.cat([p.detach().flatten() for p in model.parameters()]).double().sum()
            ray.train.report({**session.metrics(), "weights": float(weights)})


def train(config):
    """A trial."""
    trainer = TorchTrainer(
        work,
        train_loop_config={name: value for name, value in config.items() if name != "folder"},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(
            name=tune.get_context().get_trial_id(), storage_path=config["folder"], callbacks=[TuneReportCallback()]
        ),
    )
    trainer.fit()
