"""What a problem refuses, and with which words."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, forward_trajectory, record_window

from ..cases import Case, draw, entropy, mlp


def reading(model, batch, hyper):
    return entropy(model, batch) * hyper.get("scale", torch.ones(()))


def build(*hyper, train=entropy, val=entropy, kind=torch.optim.SGD, model=None, **options):
    model = model or mlp()
    return Problem(model, kind(model.parameters(), **{"lr": 0.1, **options}), train, val, hyper)


REFUSED = {
    "no hyperparameters": ((), {}, "`hyper` must hold at least one hyperparameter.*Name at least one"),
    "an unknown name": (
        (Hyperparameter("momentun", 0.5),),
        {},
        "`hyper` must name options of SGD (lr, momentum, dampening, weight_decay) or values that a loss reads; "
        "got 'momentun'. Correct the name, or give the losses a third argument",
    ),
    "an option of another optimizer": (
        (Hyperparameter("alpha", 0.5),),
        {"kind": torch.optim.Adam},
        "options of Adam (lr, beta1, beta2, eps, weight_decay, momentum)",
    ),
    "an unknown field although a loss reads": (
        (Hyperparameter("mine", 0.5, field="momentun"),),
        {"train": reading},
        "`hyper` must name options of SGD",
    ),
    "groups for what a loss reads": (
        (Hyperparameter("scale", 0.5, groups=(0,)),),
        {"train": reading},
        "`hyper` must name options of SGD",
    ),
    "a group out of range": (
        (Hyperparameter("lr", 0.5, groups=(1,)),),
        {},
        "`groups` must be indices of the 1 parameter groups for 'lr'; got (1,)",
    ),
    "a negative group": ((Hyperparameter("lr", 0.5, groups=(-1,)),), {}, "`groups` must be indices"),
    "no group": ((Hyperparameter("lr", 0.5, groups=()),), {}, "`groups` must be indices"),
    "an option of two entries": (
        (Hyperparameter("lr", torch.tensor([0.1, 0.2])),),
        {},
        "`start` must be one number for the optimizer's 'lr'; got (2,)",
    ),
    "momentum from zero": (
        (Hyperparameter("momentum", 0.0),),
        {},
        "`start` must be above zero for hyperparameter 'momentum'; got 0.0. At zero torch keeps no momentum buffer",
    ),
    "a rate from zero": (
        (Hyperparameter("lr", 0.0),),
        {},
        "`start` must be above zero for hyperparameter 'lr'; got 0.0. At zero nothing trains",
    ),
    "an option set twice": (
        (Hyperparameter("lr", 0.1), Hyperparameter("mine", 0.1, field="lr")),
        {},
        "`hyper` must set each option of a parameter group once; got ['lr']",
    ),
    "an option and its alias": (
        (Hyperparameter("momentum", 0.9), Hyperparameter("beta1", 0.9)),
        {"kind": torch.optim.AdamW},
        "`hyper` must set each option of a parameter group once; got ['beta1']",
    ),
    "a group named twice": (
        (Hyperparameter("lr", 0.1, groups=(0, 0)),),
        {},
        "`hyper` must set each option of a parameter group once; got ['lr']",
    ),
    "a name twice": (
        (Hyperparameter("scale", 0.1), Hyperparameter("scale", 0.1)),
        {"train": reading},
        "`hyper` must have a name of its own for each hyperparameter; got ['scale']. Tell them apart",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_problem_that_makes_no_sense_is_refused(why):
    hyper, options, match = REFUSED[why]
    match = match if ".*" in match else re.escape(match)
    with pytest.raises(ArgumentError, match=match):
        build(*hyper, **options)


def test_an_unsupported_optimizer_is_refused():
    with pytest.raises(ArgumentError, match=r"`optimizer` must be one of Adagrad, Adam, AdamW, Lion, "):
        build(Hyperparameter("lr", 0.1), kind=torch.optim.Adadelta)


def test_one_name_for_two_groups_is_refused_because_they_would_share_one_value():
    model = mlp()
    optimizer = torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[2].parameters()}], lr=0.1)
    hyper = [Hyperparameter("lr", 0.1, groups=(0,)), Hyperparameter("lr", 0.2, groups=(1,))]
    with pytest.raises(ArgumentError, match=r"have a name of its own.*'lr'.*`field`"):
        Problem(model, optimizer, entropy, entropy, hyper)


def test_a_model_in_which_nothing_trains_is_refused():
    model = mlp().requires_grad_(False)
    with pytest.raises(ArgumentError, match=r"`optimizer` must hold at least one parameter that requires a gradient"):
        build(Hyperparameter("lr", 0.1), model=model)


def test_an_optimizer_of_another_model_is_refused():
    optimizer = torch.optim.SGD(mlp().parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match=r"`optimizer` must train parameters of `model`.*Build it from"):
        Problem(mlp(), optimizer, entropy, entropy, [Hyperparameter("lr", 0.1)])


def test_parameters_beside_the_model_may_train_along():
    temperature = nn.Parameter(torch.ones((), dtype=torch.float64))
    model = mlp().double()

    def warm(model, batch):
        return F.cross_entropy(model(batch[0]) * temperature, batch[1])

    optimizer = torch.optim.SGD([*model.parameters(), temperature], lr=0.1)
    problem = Problem(model, optimizer, warm, entropy, [Hyperparameter("lr", 0.1)])
    batches = draw((6,), 4, 8, torch.float64, "cpu")
    window = record_window(problem, batches, batches[:1], problem.start_values())
    forward, adjoint = forward_trajectory(problem, window), adjoint_trajectory(problem, window)
    torch.testing.assert_close(forward.derivatives[-1], adjoint.derivatives[-1], rtol=1e-10, atol=0)


def window_of(train=entropy, val=entropy, val_count=1):
    problem = build(Hyperparameter("lr", 0.1), train=train, val=val)
    batches = draw((6,), 3, 8, torch.float32, "cpu")
    return problem, record_window(problem, batches, batches[:val_count], problem.start_values())


def without_graph(model, batch):
    with torch.no_grad():
        return entropy(model, batch)


def per_example(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def as_number(model, batch):
    return entropy(model, batch).item()


@pytest.mark.parametrize("engine", [adjoint_trajectory, forward_trajectory])
def test_a_validation_loss_without_graph_is_named(engine):
    problem, window = window_of(val=without_graph)
    with pytest.raises(ArgumentError, match=r"`val_loss` must depend differentiably on the parameters.*without `no_gr"):
        engine(problem, window)


def test_a_training_loss_without_graph_is_named():
    with pytest.raises(ArgumentError, match=r"`train_loss` must depend differentiably on the parameters"):
        window_of(train=without_graph)


def test_losses_must_be_scalar_tensors():
    with pytest.raises(ArgumentError, match=r"`train_loss` must return a tensor of one entry; got .8,.*Take the mean"):
        window_of(train=per_example)
    with pytest.raises(ArgumentError, match=r"`train_loss` must return a tensor of one entry; got 1"):
        window_of(train=as_number)
    problem, window = window_of(val=per_example)
    with pytest.raises(ArgumentError, match=r"`val_loss` must return a tensor of one entry"):
        adjoint_trajectory(problem, window)


@pytest.mark.parametrize("engine", [adjoint_trajectory, forward_trajectory])
def test_validation_data_must_not_be_missing(engine):
    problem, window = window_of(val_count=0)
    with pytest.raises(ArgumentError, match=r"`val_batches` must hold at least one batch"):
        engine(problem, window)


def test_the_text_of_an_error_names_argument_rule_value_and_way_out():
    with pytest.raises(ArgumentError) as caught:
        build(Hyperparameter("momentum", 0.0))
    argument, rule, got, remedy = caught.value.args
    assert str(caught.value) == f"`{argument}` must {rule}; got {got!r}. {remedy}"


def test_losses_of_every_shape_are_told_apart():
    class Callable:
        def __call__(self, model, batch, hyper):
            return entropy(model, batch) * hyper["scale"]

    def keyword(model, batch, *, hyper=None):
        assert hyper is None
        return entropy(model, batch)

    problem = build(Hyperparameter("scale", 0.5), train=Callable(), val=keyword)
    batches = draw((6,), 2, 8, torch.float32, "cpu")
    adjoint_trajectory(problem, record_window(problem, batches, batches, problem.start_values()))
    assert problem.reads == {"scale"}


def test_a_value_that_changes_is_sent_to_the_parameters_again():
    case = Case.build("mlp", "sgd")
    values = dict(case.problem.start_values())
    read = lambda: float(case.problem.leaves(values, differentiable=False)["penalty"])  # noqa: E731
    first = case.problem.leaves(values, differentiable=True)["penalty"]
    with torch.no_grad():
        first.add_(1.0)
    assert read() == pytest.approx(0.05)
    values["penalty"] = torch.tensor([0.25], dtype=torch.float64)
    assert read() == 0.25
    values["penalty"].mul_(2)
    assert read() == 0.5
