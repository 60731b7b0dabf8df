"""A value that training has driven to a bound is said at the end, and no other."""

import pytest
import torch
import torch.nn.functional as F

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session.bounds import say_bounds
from ray_glocal.session.notices import Notices

from .cases import WAYS, Run, drive


class Held:
    """Of a problem, its hyperparameters."""

    def __init__(self, *hyperparameters):
        self.hyperparameters = hyperparameters


def said(hyper, *entries):
    notices = Notices()
    value = torch.tensor(entries, dtype=torch.float64).reshape(hyper.value.shape)
    say_bounds(Held(hyper), notices, {hyper.name: value})
    return notices.texts


LR = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")
SHARE = Hyperparameter("share", 0.5, 0.0, 2.0, "logit")
FREE = Hyperparameter("free", 0.0, -3.0)
SEVERAL = Hyperparameter("w", torch.tensor([1.0, 1.0, 5.0]), 0.1, 5.0, "log")
SHARES = Hyperparameter("shares", torch.tensor([0.5, 0.5]), scale="simplex")
WIDEN = ": widen the space, if it can be wider."


@pytest.mark.parametrize(
    ("hyper", "entries", "texts"),
    [
        (LR, [1.0], [f"lr ended at its upper bound 1{WIDEN}"]),
        (LR, [1 - 1e-9], [f"lr ended at its upper bound 1{WIDEN}"]),
        (LR, [1e-4 * (1 + 1e-9)], [f"lr ended at its lower bound 0.0001{WIDEN}"]),
        (LR, [1.001e-4], []),
        (LR, [0.99], []),
        (SHARE, [2e-9], [f"share ended at its lower bound 0{WIDEN}"]),
        (SHARE, [1e-4], []),
        (SHARE, [1.0], []),
        (FREE, [-3.0], [f"free ended at its lower bound -3{WIDEN}"]),
        (FREE, [1e9], []),
        (SEVERAL, [0.1, 2.0, 5.0], [f"1 of 3 entries of w ended at its lower bound 0.1{WIDEN}"]),
        (SEVERAL, [5.0, 5.0, 5.0], [f"2 of 3 entries of w ended at its upper bound 5{WIDEN}"]),
        (SHARES, [0.0, 1.0], []),
        (Hyperparameter("x", 0.0, 0.0, 1.0), [0.0], []),
    ],
)  # fmt: skip
def test_bounds_that_a_value_has_come_to(hyper, entries, texts):
    assert list(said(hyper, *entries)) == texts


def test_a_training_that_drives_a_value_to_its_bound_says_so_at_its_end():
    """Of a loss that falls with x the best is as much of it as there may be."""

    def loss(model, batch, hyper):
        return F.cross_entropy(model(batch[0]), batch[1]) - hyper["x"]

    run = Run(val=loss, settings=WAYS["first-order"])
    session = run.session(hyper=[Hyperparameter("x", 0.3, 0.0, 0.31, "identity")])
    stream = session.batches(run.loader)
    drive(session, stream, run.total - 1)
    assert session.notices.texts == ()
    drive(session, stream)
    assert float(session.values["x"]) == 0.31
    assert session.metrics()["warning"] == f"x ended at its upper bound 0.31{WIDEN}"
