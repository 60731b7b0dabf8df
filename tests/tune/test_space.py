import math
import os

import numpy as np
import pytest
from ray import tune

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.axis import Axis
from ray_glocal.tune import adapted
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


@pytest.mark.parametrize(
    ("space", "adapt", "message"),
    [
        ([1], None, r"`space` must be a dict of Tune domains; got \[1\]"),
        ({"a": {"b": 1}, "a/b": 2}, None, r"`space` must give each entry a name of its own.*got 'a/b'. Rename one"),
        ({"a": tune.choice([1])}, ["a"], r"`adapt` must name continuous domains of the space, which are \[\]; got 'a'"),
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


def test_the_ancestor_becomes_a_checkpoint(tmp_path):
    named = config(glocal_ancestor={"trial": "x", "checkpoint": str(tmp_path)})
    with adapted(named, SPACE).ancestor.as_directory() as folder:
        assert os.path.samefile(folder, tmp_path)
    assert adapted(config(glocal_ancestor={"trial": "x", "checkpoint": None}), SPACE).ancestor is None


def test_a_checkpoint_that_is_gone_is_said_and_done_without(tmp_path, caplog):
    named = config(glocal_ancestor={"trial": "x", "checkpoint": str(tmp_path / "gone")})
    assert adapted(named, SPACE).ancestor is None
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


@pytest.mark.parametrize("domain", [tune.randint(0, 1000), tune.lograndint(1, 1000), tune.qloguniform(10, 1e5, 10)])
def test_strata_lie_in_the_order_of_their_values(domain):
    (factor,) = (d.factor for d in split({"a": domain}).discrete)
    assert list(factor.places) == sorted(factor.places)
    assert (factor.places[0], factor.places[-1]) == (0, 1)
    assert max(np.diff(factor.places)) < 3 / 7  # in the domain's own coordinates the seven steps are alike
