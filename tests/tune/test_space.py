import copy
import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ray import tune
from ray.tune.impl.placeholder import create_resolvers_map, inject_placeholders, resolve_placeholders
from ray.tune.search.variant_generator import generate_variants
from torch import nn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.hyperparameters.binding import bound
from ray_glocal.hypergradient.rules import RULES
from ray_glocal.options import NAMES
from ray_glocal.scheduling.axis import Axis
from ray_glocal.tune import adapted
from ray_glocal.tune._compat import hand_down
from ray_glocal.tune.space import split

SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "model": {"width": tune.grid_search([64, 128]), "depth": tune.randint(1, 4)},
    "lr": tune.loguniform(1e-4, 1.0),
    "opt": {"momentum": tune.uniform(0.0, 0.99)},
    "shift": tune.randn(1.0, 2.0),
    "drop": tune.quniform(0.0, 1.0, 0.5),
    "seeds": tune.randint(0, 1000),
    "steps": 100,
    "twice": tune.sample_from(lambda config: 2 * config["steps"]),
}


def test_an_ordinary_space_is_split_by_domain():
    parts = split(SPACE)
    assert [c.axis for c in parts.continuous] == [
        Axis("lr", "log", 1e-4, 1.0),
        Axis("opt/momentum", "logit", 0.0, 0.99),
        Axis("shift", "identity", -math.inf, math.inf, 1.0, 2.0),
    ]
    assert {d.name: len(d.levels) for d in parts.discrete} == {
        "optimizer": 2,
        "model/width": 2,
        "model/depth": 3,
        "drop": 3,
        "seeds": 8,
    }
    assert set(parts.constants) == {"steps", "twice"}
    assert [d.name for d in parts.discrete if d.factor.decisive] == ["optimizer"]


def test_a_configuration_has_the_shape_of_the_space_and_what_only_tune_can_resolve():
    parts = split(SPACE)
    start = {"lr": 0.1, "opt/momentum": 0.5, "shift": 0.0}
    levels = [1, 0, 2, 1, 3]
    config = parts.config(levels, start, np.random.default_rng(0))
    seeds = config.pop("seeds")
    assert config == {
        "optimizer": "adamw",
        "model": {"width": 64, "depth": 3},
        "lr": 0.1,
        "opt": {"momentum": 0.5},
        "shift": 0.0,
        "drop": 0.5,
        "steps": 100,
        "twice": 200,
    }
    assert 250 <= seeds < 600  # the fourth of eight strata of 0..999
    assert parts.config(levels, start, np.random.default_rng(0))["seeds"] == seeds


def test_domains_inside_lists_are_drawn_by_tune():
    parts = split({"lr": tune.uniform(0, 1), "layers": [tune.choice([3]), 4]})
    assert parts.config([], {"lr": 0.5}, np.random.default_rng(0)) == {"lr": 0.5, "layers": [3, 4]}


def test_a_continuous_domain_that_is_not_adapted_is_searched():
    parts = split(SPACE, adapt=["lr"])
    assert [c.name for c in parts.continuous] == ["lr"]
    assert {d.name: len(d.levels) for d in parts.discrete if d.name in ("opt/momentum", "shift")} == {
        "opt/momentum": 8,
        "shift": 8,
    }


def variants(space, count):
    """What Tune's own searcher makes of a space; functions are left to `tune.run`, as it does."""
    rng = np.random.RandomState(0)
    return [spec["config"] for _ in range(count) for _, spec in generate_variants({"config": space}, random_state=rng)]


def proposed(space, count):
    """What ours makes of it, each level in turn."""
    parts, rng = split(space), np.random.default_rng(0)
    sizes = parts.space.sizes
    start = {axis.name: axis.draw(0.5) for axis in parts.space.axes}
    return [parts.config([i % n for n in sizes], start, rng) for i in range(count)]


def shape(node):
    """A configuration with its floats blurred, so that two draws can be compared."""
    if isinstance(node, dict):
        return {key: shape(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(shape(value) for value in node)
    return "a float" if isinstance(node, float) else node


SPACES_AS_TUNE_SEES_THEM = {
    "conditional": {"opt": tune.choice([{"name": "sgd", "momentum": tune.uniform(0, 0.9)}, {"name": "adamw"}])},
    "conditional grid": {"opt": tune.grid_search([{"name": "sgd", "momentum": tune.uniform(0, 0.9)}, {"name": "x"}])},
    "nested twice": {"a": tune.choice([{"b": tune.choice([{"c": tune.choice([1, 2])}, 3])}, 4])},
    "choice of domains": {"a": tune.choice([tune.uniform(0, 1), tune.choice([7, 8])])},
    "grid of domains": {"a": tune.grid_search([tune.uniform(0, 1), 5])},
    "list": {"a": [tune.choice([1, 2]), tune.uniform(0, 1)]},
    "tuple": {"a": (tune.choice([1, 2]), 3)},
    "list of dicts": {"a": [{"b": tune.choice([1, 2])}, 3]},
    "choice of lists": {"a": tune.choice([[tune.uniform(0, 1)], [2]])},
    "nested grids": {"n": {"g": tune.grid_search([1, 2])}, "h": tune.grid_search([3, 4, 5])},
    "function of the spec": {"a": tune.choice([1, 2]), "b": tune.sample_from(lambda spec: spec.config.a * 2)},
    "function of nothing": {"a": tune.choice([1, 2]), "b": tune.sample_from(lambda: 3)},
    "expression": {"a": tune.choice([1, 2]), "b": {"eval": "1 + 1"}},
    "a plain function": {"a": tune.choice([1, 2]), "b": len},
}


@pytest.mark.parametrize("name", SPACES_AS_TUNE_SEES_THEM)
def test_a_space_yields_what_it_yields_under_tune(name):
    space = {"lr": tune.loguniform(1e-4, 1.0), **SPACES_AS_TUNE_SEES_THEM[name]}
    ours = {repr(shape(config)) for config in proposed(space, 60)}
    assert ours == {repr(shape(config)) for config in variants(space, 60)}


@pytest.mark.parametrize(
    "space",
    [
        {"a": tune.choice([1, 2]), "b": tune.sample_from(lambda config: config["a"] * 2)},
        {"a": tune.choice([1, 2]), "n": {"b": [tune.sample_from(lambda config: config["a"] * 2)]}},
        {"a": tune.choice([1, 2]), "n": (0, tune.sample_from(lambda config: config["a"] * 2))},
        {"a": tune.choice([1, 2]), "n": tune.choice([{"b": tune.sample_from(lambda config: config["a"] * 2)}])},
    ],
)
def test_functions_of_the_configuration_yield_what_they_yield_in_a_run_of_tunes(space):
    """As `tune.run` does it: functions are set aside, the rest is drawn, and they are called last."""
    wanted = set()
    for config in variants(inject_placeholders(copy.deepcopy(space), resolvers := create_resolvers_map()), 20):
        resolve_placeholders(config, resolvers)
        wanted.add(repr(config))
    assert {repr(config) for config in proposed(space, 20)} == wanted


@pytest.mark.parametrize(
    ("space", "adapt", "message"),
    [
        ([1], None, r"`space` must be a dict of Tune domains; got \[1\]"),
        ({"a": {"b": 1}, "a/b": 2}, None, r"`space` must give each entry a name of its own.*got 'a/b'. Rename one"),
        ({"a": tune.choice([1])}, ["a"], r"`adapt` must name continuous domains of the space, which are \[\]; got 'a'"),
        ({"a": [tune.grid_search([1, 2])]}, None, r"`space` must have no `tune.grid_search` inside a list .* in 'a'"),
        (
            {"n": {"a": tune.choice([{"x": tune.grid_search([1, 2])}, {"y": 1}])}},
            None,
            r"another domain, as in 'n/a'; .* Write `tune.choice` for it",
        ),
        ({"a": tune.grid_search([(1, tune.grid_search([1])), 2])}, None, r"no `tune.grid_search` inside a list"),
        ({"a": tune.choice([tune.choice([tune.grid_search([1])])])}, None, r"no `tune.grid_search` inside a list"),
        ({"a": tune.choice([])}, None, r"`space` must offer at least one value for 'a'; got \[\]"),
    ],
)
def test_bad_spaces_are_refused(space, adapt, message):
    with pytest.raises(ArgumentError, match=message):
        split(space, adapt=adapt)


def config(**changes):
    return {"lr": 0.01, "opt": {"momentum": 0.9}, "shift": 0.0, **changes}


def test_adapted_reads_start_values_bounds_and_scales():
    got = adapted(config(), SPACE)
    read = [(h.name, h.start, h.lower, h.upper, h.scale, h.field_name) for h in got.hyperparameters]
    assert read == [
        ("lr", 0.01, 1e-4, 1.0, "log", "lr"),
        ("opt/momentum", 0.9, 0.0, 0.99, "logit", "momentum"),
        ("shift", 0.0, -math.inf, math.inf, "identity", "shift"),
    ]
    assert got.ancestor is None
    assert got.package is tune.Checkpoint.from_directory or got.package == tune.Checkpoint.from_directory


@pytest.mark.parametrize("option", sorted(NAMES))
def test_a_nested_name_that_ends_in_an_option_sets_it_where_the_optimizer_has_it(option):
    (hyper,) = adapted({"opt": {option: 0.1}}, {"opt": {option: tune.uniform(0.0, 0.5)}}).hyperparameters
    optimizers = [kind([nn.Parameter(torch.ones(2, 2))]) for kind, rule in RULES.items() if option in rule.fields]
    found = [bound([hyper], each, RULES[type(each)], read=True)[0].field for each in optimizers]
    assert found
    assert set(found) == {option}


def descendant_of(folder):
    """A class trainable of somebody's own whose trial starts from a checkpoint."""
    trial = SimpleNamespace(storage=SimpleNamespace(storage_filesystem=None))
    hand_down(trial, "x", str(folder))
    return SimpleNamespace(_storage=trial.storage)


def test_the_ancestor_becomes_a_checkpoint(tmp_path):
    trainable = descendant_of(tmp_path)
    with adapted(config(), SPACE, trainable=trainable).ancestor.as_directory() as folder:
        assert os.path.samefile(folder, tmp_path)
    assert adapted(config(), SPACE).ancestor is None


def test_a_checkpoint_that_is_gone_is_said_and_done_without(tmp_path, caplog):
    assert adapted(config(), SPACE, trainable=descendant_of(tmp_path / "gone")).ancestor is None
    assert "ancestor x is gone: starting afresh" in caplog.text


@pytest.mark.parametrize(
    ("got", "space", "message"),
    [
        ({}, {"a": tune.choice([1])}, r"`space` must hold at least one continuous domain.*got \['a'\]. Write e.g."),
        ({}, SPACE, r"`config` must hold a start value for 'lr', which the space declares continuous; got \[\]. Pass"),
        (
            {"lr": 0.1, "opt": {}},
            SPACE,
            r"`config` must hold a start value for 'opt/momentum', .*got \['lr', 'opt'\]. .* or take the name out",
        ),
        (config(lr=None), SPACE, r"`config` must hold a start value, a number, for 'lr'; got None"),
        (config(lr=2.0), SPACE, r"`config` must hold a value between 0.0001 and 1 for 'lr'; got 2.0. Widen the domain"),
        (config(lr=math.nan), SPACE, r"`config` must hold a value between 0.0001 and 1 for 'lr'; got nan"),
        (SPACE, SPACE, r"`config` must hold a start value, a number, for 'lr'; got <.*> ?. Pass the configuration"),
    ],
)
def test_what_cannot_be_adapted_is_refused(got, space, message):
    with pytest.raises(ArgumentError, match=message):
        adapted(got, space)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (tune.choice([64, 128, 256]), (0, 0.5, 1)),  # evenly spaced in logarithms
        (tune.choice([256, 64, 128]), (1, 0, 0.5)),  # in the order in which they were given
        (tune.grid_search([1, 2, 3, 4]), (0, 1 / 3, 2 / 3, 1)),
        (tune.choice([0, 0.1, 0.2, 0.4]), (0, 0.25, 0.5, 1)),  # zero has no logarithm
        (tune.choice([0.05, 0.1, 0.2, 0.4]), (0, 1 / 3, 2 / 3, 1)),
        (tune.randint(1, 4), (0, 0.5, 1)),
        (tune.choice([64, 128]), None),
        (tune.choice([1, 1, 2]), None),
        (tune.choice([True, False, 2]), None),
        (tune.choice(["16", "32", "64"]), None),
        (tune.choice([1, 2, math.inf]), None),
        (tune.choice([1, 2, None]), None),
        (tune.choice([10**400, 1, 2]), None),
    ],
)
def test_numbers_know_their_order_and_names_do_not(domain, expected):
    (factor,) = (d.factor for d in split({"a": domain}).discrete)
    assert factor.places == (None if expected is None else pytest.approx(expected))


def test_positive_numbers_in_an_order_know_their_logarithms_and_neighbours():
    space = {"width": tune.choice([256, 64, 1024]), "drop": tune.choice([0, 0.1, 0.2]), "two": tune.choice([1, 2])}
    width, drop, two = (d.factor for d in split(space).discrete)
    assert width.logs == pytest.approx(np.log([256, 64, 1024]))
    assert width.neighbours(0) == [(1, pytest.approx(-math.log(4))), (2, pytest.approx(math.log(4)))]
    assert width.neighbours(1) == [(0, pytest.approx(math.log(4)))]
    assert width.neighbours(2) == [(0, pytest.approx(-math.log(4)))]
    assert drop.logs is two.logs is None
    assert drop.neighbours(1) == []


@pytest.mark.parametrize("domain", [tune.randint(0, 1000), tune.lograndint(1, 1000), tune.qloguniform(10, 1e5, 10)])
def test_strata_lie_in_the_order_of_their_values(domain):
    (factor,) = (d.factor for d in split({"a": domain}).discrete)
    assert list(factor.places) == sorted(factor.places)
    assert (factor.places[0], factor.places[-1]) == (0, 1)
    assert max(np.diff(factor.places)) < 3 / 7  # in the domain's own coordinates the seven steps are alike
