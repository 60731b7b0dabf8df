"""Update rules against the torch optimizers that they stand for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from ray_glocal import Lion
from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.rules import RULES, rule_for
from ray_glocal.options import BETAS, NAMES, option_in, option_of

STEPS = 100

# Options of two parameter groups.
KINDS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}, {"lr": 0.03, "weight_decay": 1e-2}),
    "sgd-momentum": (
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.03, "momentum": 0.5, "dampening": 0.3, "weight_decay": 1e-2},
    ),
    "sgd-nesterov": (
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.02, "momentum": 0.7, "nesterov": True, "weight_decay": 1e-2},
    ),
    "sgd-maximize": (
        torch.optim.SGD,
        {"lr": 1e-4, "maximize": True},
        {"lr": 1e-4, "momentum": 0.5, "weight_decay": 0.1, "maximize": True},
    ),
    "adam": (
        torch.optim.Adam,
        {"lr": 1e-2},
        {"lr": 3e-3, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 1e-2},
    ),
    "adam-amsgrad": (
        torch.optim.Adam,
        {"lr": 1e-2, "amsgrad": True},
        {"lr": 3e-3, "betas": (0.5, 0.9), "amsgrad": True, "maximize": True},
    ),
    "adamw": (
        torch.optim.AdamW,
        {"lr": 1e-2},
        {"lr": 3e-3, "betas": (0.8, 0.95), "weight_decay": 0.0, "amsgrad": True},
    ),
    "rmsprop": (
        torch.optim.RMSprop,
        {"lr": 1e-3},
        {"lr": 3e-3, "alpha": 0.9, "eps": 1e-5, "weight_decay": 1e-2, "momentum": 0.9},
    ),
    "rmsprop-centered": (
        torch.optim.RMSprop,
        {"lr": 1e-3, "centered": True, "momentum": 0.8},
        {"lr": 3e-3, "centered": True, "maximize": True},
    ),
    "adagrad": (
        torch.optim.Adagrad,
        {"lr": 1e-2},
        {"lr": 3e-2, "lr_decay": 0.1, "initial_accumulator_value": 0.1, "weight_decay": 1e-2, "maximize": True},
    ),
    "lion": (Lion, {"lr": 1e-3}, {"lr": 3e-3, "betas": (0.5, 0.8), "weight_decay": 1e-2}),
}
if hasattr(torch.optim, "Muon"):
    KINDS["muon"] = (torch.optim.Muon, {"lr": 1e-2}, {"lr": 3e-3, "momentum": 0.5, "adjust_lr_fn": "match_rms_adamw"})
    KINDS["muon-plain"] = (torch.optim.Muon, {"nesterov": False}, {"nesterov": False, "weight_decay": 0.0, "lr": 1e-2})


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def net(bias=True):
    return nn.Sequential(nn.Linear(5, 7, bias), nn.Tanh(), nn.Linear(7, 3, bias)).double()


def elementwise(kind):
    return RULES[kind[0]].elementwise


def build(kind, model):
    optimizer, first, second = kind
    return optimizer([{"params": model[0].parameters(), **first}, {"params": model[2].parameters(), **second}])


def loss_of(logits, labels):
    return F.cross_entropy(logits, labels)


def compare_trajectories(kind, as_options, same):
    """Train by torch and by the rules, each on its own gradients, and compare parameters and buffers at each step."""
    model = net(bias=elementwise(kind))  # Muon takes matrices alone
    optimizer = build(kind, model)
    rule = rule_for(optimizer)
    groups = [g for g, group in enumerate(optimizer.param_groups) for _ in group["params"]]
    names = [name for name, _ in model.named_parameters()]
    weights = [p.detach().clone() for p in model.parameters()]
    options = [rule.options(group) for group in optimizer.param_groups]
    live = list(model.parameters())
    slots = [
        {n: t.clone() for n, t in rule.read(p, optimizer.state.get(p, {}), options[g])[0].items()}
        for p, g in zip(live, groups, strict=True)
    ]
    data = torch.Generator().manual_seed(3)
    for step in range(STEPS):
        inputs = torch.randn(16, 5, generator=data, dtype=torch.float64)
        labels = torch.randint(3, (16,), generator=data)
        optimizer.zero_grad()
        loss_of(model(inputs), labels).backward()
        optimizer.step()

        weights = [w.requires_grad_() for w in weights]
        loss = loss_of(functional_call(model, dict(zip(names, weights, strict=True)), (inputs,)), labels)
        gradients = torch.autograd.grad(loss, weights)
        moved = [
            rule.update(w.detach(), gradient, s, step, as_options(options[g]))
            for w, gradient, s, g in zip(weights, gradients, slots, groups, strict=True)
        ]
        weights, slots = [w for w, _ in moved], [s for _, s in moved]
        for parameter, weight, held, g in zip(live, weights, slots, groups, strict=True):
            same(parameter.detach(), weight)
            truth, _ = rule.read(parameter, optimizer.state.get(parameter, {}), options[g])
            assert truth.keys() == held.keys()
            for name in truth:
                same(truth[name], held[name])


def test_rules_repeat_torch_bit_for_bit(kind):
    def same(truth, got):
        assert torch.equal(truth, got)

    compare_trajectories(kind, lambda options: options, same)


def test_rules_with_tensors_for_options_agree_to_rounding(kind):
    def as_tensors(options):
        # A zero stays a number: without momentum torch keeps no buffer to compare with.
        on = {n: torch.tensor(v, dtype=torch.float64) for n, v in options.items() if isinstance(v, float) and v != 0}
        return {**options, **on}

    def same(truth, got):
        assert torch.allclose(truth, got, rtol=1e-13, atol=1e-13 * float(truth.abs().max()))

    compare_trajectories(kind, as_tensors, same)


def test_a_differentiated_weight_decay_of_zero_changes_no_value(kind):
    rule, group = RULES[kind[0]], kind[0]([torch.zeros(1, 1)], **kind[1]).param_groups[0]
    options = {**rule.options(group), "weight_decay": 0.0}
    weight, gradient = torch.randn(2, 6, 4, dtype=torch.float64)
    slots, _ = rule.read(weight, {}, options)
    plain, _ = rule.update(weight, gradient, slots, 0, options)
    tensors, _ = rule.update(weight, gradient, slots, 0, {**options, "weight_decay": torch.zeros(())})
    assert torch.allclose(plain, tensors, rtol=1e-14)


def test_adam_follows_decoupled_weight_decay_where_torch_offers_it():
    model = net()
    try:
        torch.optim.Adam(model.parameters(), decoupled_weight_decay=True)
    except TypeError:
        pytest.skip("this torch has no Adam(decoupled_weight_decay=...)")
    options = {"lr": 1e-2, "weight_decay": 0.1, "decoupled_weight_decay": True}

    def same(truth, got):
        assert torch.equal(truth, got)

    compare_trajectories((torch.optim.Adam, options, {"lr": 1e-2}), lambda o: o, same)


def test_a_weight_without_any_gradient_has_no_derivative_instead_of_nan():
    rule = RULES[torch.optim.Adam]
    options = rule.options(torch.optim.Adam([torch.zeros(1)]).param_groups[0])
    gradient = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(3, dtype=torch.float64)
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    moved, _ = rule.update(weight, gradient, rule.read(weight, {}, options)[0], 0, {**options, "lr": lr})
    found = torch.autograd.grad(moved.sum(), [gradient, lr])
    assert all(torch.isfinite(f).all() for f in found)


def test_every_rule_writes_each_of_its_fields_and_reads_it_back():
    for kind, rule in RULES.items():
        group = kind([torch.zeros(1, 1)], lr=0.1).param_groups[0]
        for field in rule.fields:
            rule.write(group, field, 0.123)
            assert rule.options(group)[field] == 0.123
        for field in rule.aliases.values():
            assert field in rule.fields


def test_an_unsupported_optimizer_is_named_with_those_that_are():
    class Mine(torch.optim.SGD):
        pass

    for optimizer in (torch.optim.Adadelta, Mine):
        names = ", ".join(sorted(kind.__name__ for kind in RULES))
        match = f"`optimizer` must be one of {names}; got '{optimizer.__name__}'.*RULES"
        with pytest.raises(ArgumentError, match=match):
            rule_for(optimizer([torch.zeros(1, requires_grad=True)], lr=0.1))


NO_FIELDS = {"initial_accumulator_value", "ns_steps"}  # numbers that are no continuous hyperparameters of a step


def test_the_options_that_are_known_are_those_of_the_rules():
    assert set().union(*(rule.fields for rule in RULES.values())) == NAMES


@pytest.mark.parametrize("kind", RULES)
def test_an_optimizers_own_options_are_those_that_are_known(kind):
    defaults = kind([nn.Parameter(torch.ones(2, 2))]).defaults
    own = {name for name, value in defaults.items() if type(value) in (int, float)} - NO_FIELDS
    own |= set(BETAS) if "betas" in defaults else set()
    assert {name for name in NAMES if option_in(defaults, name) == name} == own
    assert set(RULES[kind].fields) <= own
    assert {alias: option_in(defaults, alias) for alias in RULES[kind].aliases} == RULES[kind].aliases


@pytest.mark.parametrize(("kind", "option"), [(kind, option) for kind, rule in RULES.items() for option in rule.fields])
def test_an_option_is_read_where_its_rule_writes_it(kind, option):
    (group,) = kind([nn.Parameter(torch.ones(2, 2))]).param_groups
    RULES[kind].write(group, option, 0.625)
    assert option_of(group, option) == RULES[kind].options(group)[option] == 0.625
