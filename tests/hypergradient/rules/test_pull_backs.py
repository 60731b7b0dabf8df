"""The pull-back that each rule gives by hand against autograd over its update."""

from itertools import chain, combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal import Lion
from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.rules import RULES, Update
from ray_glocal.hypergradient.rules.autograd import ByAutograd, pull_back

EXACT = 1e-12

# What each option is tried at; every combination is. A tuple of betas is one option.
GRID = {
    torch.optim.SGD: {
        "momentum": (0.0, 0.9),
        "dampening": (0.0, 0.3),
        "weight_decay": (0.0, 0.1),
        "nesterov": (False, True),
        "maximize": (False, True),
    },
    torch.optim.Adam: {
        "betas": ((0.9, 0.99), (0.0, 0.5)),
        "eps": (1e-3, 1e-8),
        "weight_decay": (0.0, 0.1),
        "amsgrad": (False, True),
        "maximize": (False, True),
    },
    torch.optim.RMSprop: {
        "alpha": (0.99, 0.5),
        "momentum": (0.0, 0.9),
        "eps": (1e-3, 1e-8),
        "weight_decay": (0.0, 0.1),
        "centered": (False, True),
        "maximize": (False, True),
    },
    torch.optim.Adagrad: {
        "lr_decay": (0.0, 0.1),
        "initial_accumulator_value": (0.0, 0.1),
        "eps": (1e-3, 1e-10),
        "weight_decay": (0.0, 0.1),
        "maximize": (False, True),
    },
    Lion: {"weight_decay": (0.0, 0.1), "betas": ((0.9, 0.99), (0.0, 0.0))},
}
GRID[torch.optim.AdamW] = GRID[torch.optim.Adam]
if hasattr(torch.optim, "Muon"):
    GRID[torch.optim.Muon] = {
        "momentum": (0.0, 0.9),
        "weight_decay": (0.0, 0.1),
        "nesterov": (False, True),
        "adjust_lr_fn": (None, "original", "match_rms_adamw"),
    }
NEVER = (
    (torch.optim.SGD, {"nesterov": True, "momentum": 0.0}),
    (torch.optim.SGD, {"nesterov": True, "dampening": 0.3}),
)


def combinations_of(kind):
    for values in product(*GRID[kind].values()):
        options = dict(zip(GRID[kind], values, strict=True))
        if not any(kind is other and never.items() <= options.items() for other, never in NEVER):
            yield options


def started(kind, options, steps, gradient=None):
    """A rule with parameter, gradient, slots, age and options, after some steps of the torch optimizer."""
    parameter = torch.nn.Parameter(torch.randn(5, 3, dtype=torch.float64))
    optimizer, rule = kind([parameter], lr=0.1, **options), RULES[kind]
    for _ in range(steps):
        parameter.grad = torch.randn_like(parameter) if gradient is None else gradient.clone()
        optimizer.step()
    now = torch.randn_like(parameter) if gradient is None else gradient
    read = rule.options(optimizer.param_groups[0])
    slots, age = rule.read(parameter.detach(), optimizer.state.get(parameter, {}) if steps else {}, read)
    return rule, (parameter.detach(), now.detach(), slots, age, read)


def taken(parameter, gradient, slots, age, options, after=None):
    return Update(parameter, lambda: gradient, slots, age, options, after)


def copies(weights):
    """Cotangents may be overwritten."""
    return weights[0].clone(), {name: tensor.clone() for name, tensor in weights[1].items()}


def compare(rule, start, wanted, *, slot_names=None):
    """By hand and by autograd, with random cotangents of the parameter and of some slots."""
    parameter, _, slots, _, _ = start
    # SGD holds a buffer after its first step, and none before it.
    names = (slots or {"momentum_buffer": None}) if slot_names is None else slot_names
    weights = torch.randn_like(parameter), {name: torch.randn_like(parameter) for name in names}
    kept = [tensor.clone() for tensor in (*start[:2], *slots.values())]
    tensors = {field: torch.tensor(start[-1][field], dtype=torch.float64) for field in wanted}
    with torch.no_grad():
        later = rule.update(*start[:-1], {**start[-1], **tensors})[1]
        found = rule.pull_back(taken(*start), wanted, *copies(weights))
        informed = rule.pull_back(taken(*start, later), wanted, *copies(weights))
    truth = pull_back(rule, taken(*start), wanted, *weights)
    for before, after in zip(kept, (*start[:2], *slots.values()), strict=True):
        assert torch.equal(before, after)  # arguments are left alone
    pairs = [(found.parameter, truth.parameter), (found.gradient, truth.gradient)]
    assert found.slots.keys() == truth.slots.keys()
    assert found.options.keys() == truth.options.keys() == set(wanted)
    pairs += [(found.slots[name], truth.slots[name]) for name in truth.slots]
    pairs += [(found.options[name], truth.options[name]) for name in truth.options]
    pairs += [(informed.parameter, truth.parameter), (informed.gradient, truth.gradient)]
    pairs += [(informed.slots[name], truth.slots[name]) for name in truth.slots]
    pairs += [(informed.options[name], truth.options[name]) for name in truth.options]
    for got, true in pairs:
        assert got.dtype == torch.float64
        assert got.shape == true.shape
        scale = float(true.abs().max())
        torch.testing.assert_close(got, true, rtol=EXACT, atol=EXACT * max(scale, 1.0))


def subsets(names):
    return chain.from_iterable(combinations(names, k) for k in range(len(names) + 1))


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("kind", GRID)
def test_every_combination_of_options(kind, steps):
    for options in combinations_of(kind):
        rule, start = started(kind, options, steps)
        # At a momentum of zero there is no buffer to differentiate; a problem refuses it.
        fields = [f for f in rule.fields if f != "momentum" or options["momentum"] != 0]
        compare(rule, start, fields)
        compare(rule, start, [])


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("kind", GRID)
def test_every_subset_of_fields(kind, steps):
    for options in (*combinations_of(kind),)[-1:]:
        rule, start = started(kind, options, steps)
        for wanted in subsets(rule.fields):
            compare(rule, start, wanted, slot_names=())


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("kind", [k for k in GRID if RULES[k].elementwise])
def test_gradients_of_zero(kind, steps):
    gradient = torch.zeros(5, 3, dtype=torch.float64)
    gradient[2:] = 0.7
    for options in combinations_of(kind):
        if not options.get("weight_decay"):
            compare(*started(kind, options, steps, gradient), ["lr"])


@pytest.mark.parametrize("kind", GRID)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_values(kind, data):
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    options = data.draw(st.sampled_from(list(combinations_of(kind))))
    for name in ("weight_decay", "eps", "lr_decay"):
        if name in options:
            options[name] = data.draw(st.floats(1e-4, 1.0))
    rule, start = started(kind, options, data.draw(st.integers(0, 20)))
    fields = [f for f in rule.fields if f != "momentum" or options["momentum"] != 0]
    compare(rule, start, data.draw(st.lists(st.sampled_from(fields), unique=True)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", GRID)
def test_low_precision_stays_low_and_its_options_are_double(kind, dtype):
    options = next(combinations_of(kind))
    rule, (parameter, gradient, slots, age, read) = started(kind, options, 3)
    low = parameter.to(dtype), gradient.to(dtype), {n: t.to(dtype) for n, t in slots.items()}
    update = taken(parameter, gradient, slots, age, read)
    exact = pull_back(rule, update, ["lr"], torch.ones_like(parameter), {})
    with torch.no_grad():
        pulled = rule.pull_back(taken(*low, age, read), ["lr"], torch.ones_like(low[0]), {})
    assert pulled.parameter.dtype == pulled.gradient.dtype == dtype
    assert all(slot.dtype == dtype for slot in pulled.slots.values())
    assert pulled.options["lr"].dtype == torch.float64
    assert float(pulled.options["lr"]) == pytest.approx(float(exact.options["lr"]), rel=0.1, abs=0.3)


def test_a_rule_without_a_formula_inherits_autograd():
    class Plain(ByAutograd):
        update = staticmethod(RULES[torch.optim.SGD].update)

    rule, start = started(torch.optim.SGD, {"momentum": 0.9}, 2)
    weights = torch.ones(5, 3, dtype=torch.float64), {}
    with torch.no_grad():
        found, truth = (r.pull_back(taken(*start), ["lr"], *copies(weights)) for r in (Plain(), rule))
    torch.testing.assert_close(found.gradient, truth.gradient)
    torch.testing.assert_close(found.options, truth.options)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_in_bfloat16_without_nesterov_is_refused():
    parameter = torch.zeros(2, 2, dtype=torch.bfloat16)
    rule, group = RULES[torch.optim.Muon], torch.optim.Muon([parameter], nesterov=False).param_groups[0]
    with pytest.raises(ArgumentError, match=r"`nesterov` must be on for parameters in bfloat16; got False"):
        rule.read(parameter, {}, rule.options(group))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lr": -1.0}, "`lr` must not be negative; got -1.0"),
        ({"weight_decay": float("nan")}, "`weight_decay` must not be negative; got nan"),
        ({"betas": (0.9, 1.0)}, r"`betas` must each be at least 0 and below 1; got \(0.9, 1.0\)"),
    ],
)
def test_lion_refuses_numbers_out_of_range(options, match):
    with pytest.raises(ArgumentError, match=match):
        Lion([torch.zeros(1)], **options)


def test_lion_equals_its_paper():
    parameter = torch.nn.Parameter(torch.randn(7, dtype=torch.float64))
    spare = torch.nn.Parameter(torch.ones(2))
    optimizer = Lion([parameter, spare], lr=0.1, betas=(0.8, 0.9), weight_decay=0.2)
    theta, moment = parameter.detach().clone(), torch.zeros(7, dtype=torch.float64)

    def closure():
        optimizer.zero_grad()
        loss = parameter.sin().sum()
        loss.backward()
        return loss

    for _ in range(20):
        gradient = theta.cos()
        update = torch.sign(0.8 * moment + 0.2 * gradient)
        truth = float(theta.sin().sum())
        theta = theta - 0.1 * (update + 0.2 * theta)
        moment = 0.9 * moment + 0.1 * gradient
        assert float(optimizer.step(closure).detach()) == pytest.approx(truth)
        torch.testing.assert_close(parameter.detach(), theta)
    assert torch.equal(spare, torch.ones(2))
