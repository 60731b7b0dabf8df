"""Hyperparameters of parameter groups and of the losses, each against a twin, finite differences or a closed form."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from ray_glocal.errors import AbsentError, ArgumentError
from ray_glocal.hypergradient import (
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    module_hyperparameters,
    record_window,
)
from ray_glocal.hypergradient.engines.oracle import finite_differences
from ray_glocal.hypergradient.hyperparameters.hyperparameter import HyperValues

from ..cases import CLASSES, draw, entropy, mlp, relative


def two_groups(model, kind=torch.optim.SGD, **options):
    return kind([{"params": model[:2].parameters()}, {"params": model[2:].parameters()}], lr=0.1, **options)


def check(problem, steps=6):
    """Forward, adjoint and central differences tell the same; returns the hypergradient at the window's end."""
    batches = draw((6,), steps, 8, torch.float64, "cpu")
    val_batches = draw((6,), 2, 16, torch.float64, "cpu")
    values = problem.start_values()
    exact = global_hypergradient(problem, batches, val_batches, values)
    truth = finite_differences(problem, batches, val_batches, values, (1e-4,)).derivatives[0]
    line = problem.pull_back(values, exact.derivatives)[-1]
    assert relative(line, truth) < 1e-3
    forward = forward_trajectory(problem, record_window(problem, batches, val_batches, values)).derivatives[-1]
    assert relative(forward, exact.derivatives[-1]) < 1e-10
    return exact.derivatives[-1]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_each_parameter_group_has_hyperparameters_of_its_own(kind):
    model = mlp().double()
    hyper = [
        Hyperparameter("lr", 0.1, scale="log", groups=(0,)),
        Hyperparameter("lr_head", 0.05, scale="log", field="lr", groups=(1,)),
        Hyperparameter("weight_decay", 0.01, scale="log"),
    ]
    problem = Problem(model, two_groups(model, kind), entropy, entropy, hyper)
    both = check(problem)
    torch.manual_seed(0)
    model = mlp().double()
    split = Problem(model, two_groups(model, kind), entropy, entropy, [Hyperparameter("lr", 0.1, groups=(1, 0))])
    one = check(split)
    assert problem.labels == ("lr", "lr_head", "weight_decay")
    assert both.shape == (3,)
    assert one.shape == (1,)


def test_the_rate_of_all_groups_is_the_sum_of_its_shares():
    found = []
    for chosen in (None, (0,), (1,)):
        torch.manual_seed(1)
        model = mlp().double()
        hyper = [Hyperparameter("rate", 0.1, field="lr", groups=chosen)]
        found.append(check(Problem(model, two_groups(model, momentum=0.5), entropy, entropy, hyper)))
    torch.testing.assert_close(found[0], found[1] + found[2], rtol=1e-10, atol=0)


def test_options_land_in_the_groups_they_are_meant_for():
    model = mlp()
    optimizer = two_groups(model, torch.optim.Adam)
    hyper = [
        Hyperparameter("momentum", 0.7, scale="logit", groups=(1,)),
        Hyperparameter("beta2", 0.95, scale="logit", groups=(0,)),
        Hyperparameter("lr", 0.02, scale="log"),
    ]
    problem = Problem(model, optimizer, entropy, entropy, hyper)
    problem.write_options(None, problem.start_values())
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.95), (0.7, 0.999)]
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02]


def test_class_weights_on_a_simplex():
    def weighted(model, batch, hyper):
        # torch's own `weight=` is not differentiable in the weights.
        losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return (losses * hyper["weights"][batch[1]] * CLASSES).mean()

    model = mlp().double()
    hyper = [Hyperparameter("weights", torch.tensor([0.2, 0.2, 0.6]), scale="simplex")]
    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.2), weighted, entropy, hyper)
    check(problem)
    assert problem.labels == ("weights[0]", "weights[1]", "weights[2]")
    moved = problem.to_values(problem.to_line(problem.start_values()) + torch.tensor([1.0, -2.0, 0.3]))["weights"]
    assert float(moved.sum()) == pytest.approx(1)


def test_label_smoothing():
    def smoothed(model, batch, hyper):
        plain = F.cross_entropy(model(batch[0]), batch[1])
        return (1 - hyper["smoothing"]) * plain - hyper["smoothing"] * model(batch[0]).log_softmax(-1).mean()

    model = mlp().double()
    hyper = [Hyperparameter("smoothing", 0.1, 0.0, 0.5, "logit"), Hyperparameter("lr", 0.2, scale="log")]
    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.2), smoothed, entropy, hyper)
    check(problem)
    assert problem.reads == {"smoothing"}


def test_a_weighting_network_by_name_of_its_parameters():
    weigher = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    before = [p.detach().clone() for p in weigher.parameters()]

    def weighted(model, batch, hyper):
        losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
        weights = functional_call(weigher, hyper.under("weigher"), (batch[0][:, :1],))
        return (losses * weights.sigmoid().squeeze(-1)).mean()

    model = mlp().double()
    hyper = module_hyperparameters("weigher", weigher)
    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5), weighted, entropy, hyper)
    assert [h.name for h in hyper] == [f"weigher/{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")]
    assert problem.size == 10
    check(problem)
    assert all(torch.equal(a, b) for a, b in zip(before, weigher.parameters(), strict=True))
    assert problem.reads == {h.name for h in hyper}


def test_a_hyperparameter_that_acts_on_the_validation_loss_alone():
    def val(model, batch, hyper):
        return hyper["temperature"] * entropy(model, batch) + hyper["temperature"] ** 2

    model = mlp().double()
    hyper = [Hyperparameter("temperature", 1.5, scale="softplus")]
    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.2), entropy, val, hyper)
    batches, val_batches = draw((6,), 3, 8, torch.float64, "cpu"), draw((6,), 2, 16, torch.float64, "cpu")
    window = record_window(problem, batches, val_batches, problem.start_values())
    with torch.no_grad():
        direct = torch.stack([entropy(model, batch) for batch in val_batches]).mean() + 3.0
    for trajectory in (adjoint_trajectory(problem, window), forward_trajectory(problem, window)):
        torch.testing.assert_close(trajectory.derivatives[-1], direct[None])
        assert trajectory.derivatives.shape == (3, 1)


def test_a_loss_that_is_linear_in_the_weights_has_only_direct_terms():
    def linear(model, batch, hyper):
        return hyper["slope"] * model(batch[0])[:, 0].mean()

    model = nn.Linear(6, CLASSES).double()
    hyper = [Hyperparameter("slope", 0.5), Hyperparameter("lr", 0.1, scale="log")]
    check(Problem(model, torch.optim.SGD(model.parameters(), lr=0.1), linear, entropy, hyper))


def test_a_step_that_touches_no_loss_hyperparameter():
    """The gradient does not require a gradient itself, and a hyperparameter that nobody reads has none."""
    model = nn.Linear(6, CLASSES).double()
    hyper = [Hyperparameter("spare", 0.5), Hyperparameter("lr", 0.1, scale="log")]

    def linear(model, batch, hyper):
        return model(batch[0])[:, 0].mean()

    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.1), linear, entropy, hyper)
    assert float(check_exact(problem)[0]) == 0.0
    assert problem.reads == set()


def check_exact(problem):
    batches, val_batches = draw((6,), 3, 8, torch.float64, "cpu"), draw((6,), 2, 16, torch.float64, "cpu")
    window = record_window(problem, batches, val_batches, problem.start_values())
    forward, adjoint = (f(problem, window).derivatives[-1] for f in (forward_trajectory, adjoint_trajectory))
    torch.testing.assert_close(forward, adjoint, rtol=1e-10, atol=0)
    return forward


def test_values_to_the_line_and_back():
    model = mlp()
    hyper = [
        Hyperparameter("lr", 0.1, 1e-4, 1.0, "log"),
        Hyperparameter("momentum", 0.9, 0.0, 0.99, "logit"),
        Hyperparameter("weights", torch.tensor([[0.1, 0.2], [0.3, 0.4]]), scale="simplex"),
        Hyperparameter("matrix", torch.arange(6.0).reshape(2, 3)),
    ]

    def loss(model, batch, hyper):
        return entropy(model, batch)

    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, loss, hyper)
    values = problem.start_values()
    line = problem.to_line(values)
    assert line.shape == (problem.size,) == (12,)
    for name, value in problem.to_values(line).items():
        torch.testing.assert_close(value, values[name])
        assert value.dtype == torch.float64
    far = torch.full_like(line, 50.0)
    assert float(problem.to_values(far)["lr"]) == 1.0
    assert float(problem.to_values(far)["momentum"]) == pytest.approx(0.99)
    assert float(problem.to_values(far, clip=False)["lr"]) > 1e20
    derivatives = torch.randn(4, 12, dtype=torch.float64)
    at = line.clone().requires_grad_()
    flat = torch.cat([value.flatten() for value in problem.to_values(at, clip=False).values()])
    truth = torch.stack([torch.autograd.grad(flat, at, d, retain_graph=True)[0] for d in derivatives])
    torch.testing.assert_close(problem.pull_back(values, derivatives), truth)


def test_clipping_never_ends_at_a_rate_or_momentum_of_zero():
    """From zero there is no way back: a schedule's factor is lost, and torch drops the momentum buffer."""
    model = mlp()
    hyper = [Hyperparameter(name, 0.1, 0.0, 1.0) for name in ("lr", "momentum", "weight_decay")]
    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.1), entropy, entropy, hyper)
    low = problem.to_values(torch.full((3,), -5.0, dtype=torch.float64))
    assert 0 < float(low["lr"]) < 1e-6
    assert 0 < float(low["momentum"]) < 1e-6
    assert float(low["weight_decay"]) == 0.0


def test_a_loss_is_told_which_values_it_may_read():
    values = HyperValues({"a": torch.ones(()), "net/w": torch.zeros(2)})
    assert list(values) == ["a", "net/w"]
    assert len(values) == 2
    assert "a" in values
    assert values.get("b") is None
    assert list(values.under("net")) == ["w"]
    assert values.read == {"a", "net/w"}
    text = (
        r"^`hyper` must be read by the names that losses have, a, net/w; got 'lr'\. Options of the optimizer are read"
    )
    with pytest.raises(AbsentError, match=text):
        values["lr"]
    with pytest.raises(KeyError, match="losses have, none; got 'a'"):
        HyperValues({})["a"]


WRONG = {
    "an unknown scale": ({"scale": "cubic"}, "`scale` must be one of log, logit.*'x'; got 'cubic'"),
    "bounds out of order": ({"lower": 1.0, "upper": 0.0}, "`lower` must be below `upper`, 0, for 'x'; got 1.0"),
    "bounds that are not numbers": ({"lower": float("nan")}, "`lower` must be below `upper`"),
    "an open logit": ({"scale": "logit", "upper": 1.0}, "only where both bounds of 'x' are finite.*Give both"),
    "a start below": ({"lower": 0.6}, "`start` must lie between 0.6 and inf for hyperparameter 'x'.*Widen"),
    "a start above": ({"upper": 0.4}, "`start` must lie between -inf and 0.4"),
    "a start that is no number": ({"start": float("nan")}, "`start` must lie between -inf and inf.*got nan"),
    "an infinite start": ({"start": float("inf")}, "`start` must lie between"),
    "one bad entry": ({"start": torch.tensor([0.5, torch.nan])}, "`start` must lie between"),
    "a log of zero": ({"start": 0.0, "scale": "log"}, "`start` must be positive on the log scale of 'x'"),
    "a negative softplus": ({"start": -1.0, "scale": "softplus"}, "be positive on the softplus scale"),
    "shares with a zero": ({"start": torch.tensor([0.0, 1.0]), "scale": "simplex"}, "be positive on the simplex"),
    "shares off the simplex": ({"start": torch.tensor([0.2, 0.2]), "scale": "simplex"}, "sum to one on the simplex"),
    "one share": ({"start": 1.0, "scale": "simplex"}, "be two or more shares"),
    "bounded shares": (
        {"start": torch.tensor([0.5, 0.5]), "scale": "simplex", "lower": 0.1},
        "leave the shares of 'x' all of .0, 1. on the simplex.*Leave the bounds out",
    ),
    "a decay above one": ({"start": 1.5, "scale": "logit", "field": "momentum"}, "lie between 0 and 1 on the logit"),
}


@pytest.mark.parametrize("options", WRONG)
def test_a_bad_hyperparameter_is_named(options):
    given, match = WRONG[options]
    with pytest.raises(ArgumentError, match=match):
        Hyperparameter(**{"name": "x", "start": 0.5, **given})
