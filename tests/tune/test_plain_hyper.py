"""A plain list of hyperparameters in a function that Tune runs: it gets what `adapted` would have told."""

import pytest
import torch
from ray import tune

from ray_glocal import GlocalSession, Hyperparameter
from ray_glocal.session.adapted import Adapted
from ray_glocal.simulate import simulate
from ray_glocal.tune._compat import runs_function_trial

BATCHES = [(torch.ones(4, 2), torch.ones(4, 1))]


def loss(model, batch):
    return torch.nn.functional.mse_loss(model(batch[0]), batch[1])


def train(config):
    own = [Hyperparameter("lr", config["lr"], 1e-5, 1.0, "log")]
    hyper = own if config["plain"] else Adapted(tuple(own), package=tune.Checkpoint.from_directory)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    session = GlocalSession(model, optimizer, loss, loss, val_batches=BATCHES, hyper=hyper, total_steps=2)
    for batch in session.batches(BATCHES):
        session.step(batch)
        if session.at_report:
            tune.report(session.metrics(), checkpoint=session.checkpoint())


@pytest.mark.parametrize("plain", [True, False])
def test_under_tune_a_plain_list_is_as_good_as_what_the_space_tells(plain, tmp_path):
    told = simulate(
        train,
        {"lr": tune.loguniform(1e-3, 1e-2), "plain": plain},
        metric="val_loss",
        mode="min",
        num_samples=1,
        folder=tmp_path,
    )
    assert told.statuses == ("TERMINATED",)
    assert len(told.results) == 1
    assert [*tmp_path.rglob("checkpoint_*/*.pt")]


def test_outside_it_is_as_good_as_anything():
    assert not runs_function_trial()
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    hyper = [Hyperparameter("lr", 0.01, 1e-5, 1.0, "log")]
    GlocalSession(model, optimizer, loss, loss, val_batches=BATCHES, hyper=hyper, total_steps=2)
