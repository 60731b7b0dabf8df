"""The line: the coordinates of each hyperparameter on its own, side by side."""

import math

import pytest
import torch

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.hypergradient.hyperparameters.binding import Binding
from ray_glocal.hypergradient.hyperparameters.line import Line
from ray_glocal.hypergradient.tuning import SMALLEST


def shares(*shape):
    return torch.rand(shape, dtype=torch.float64).flatten().softmax(0).reshape(shape)


def mixed():
    """Every scale, kinds that are the same and kinds that differ by their bounds or entries, shapes of all sorts."""
    return [
        (Hyperparameter("lr", 0.1, 1e-4, 10.0, "log"), "lr"),
        (Hyperparameter("grid", torch.rand(2, 3) + 0.1, 1e-3, 5.0, "log"), None),
        (Hyperparameter("momentum", 0.9, 0.5, 0.99, "logit"), "momentum"),
        (Hyperparameter("beta1", 0.8, 0.0, 0.999, "logit"), "beta1"),
        (Hyperparameter("smoothing", torch.tensor([0.3, 0.6]), 0.0, 1.0, "logit"), None),
        (Hyperparameter("turn", torch.tensor([-2.0, 1.0]), -3.0, 3.0, "logit"), None),
        (Hyperparameter("mix", shares(4), scale="simplex"), None),
        (Hyperparameter("other", shares(2, 2), scale="simplex"), None),
        (Hyperparameter("soft", torch.tensor([1e-3, 4.0, 80.0]), 1e-6, 100.0, "softplus"), None),
        (Hyperparameter("shift", torch.randn(2, 1, 2), -9.0, 9.0), None),
        (Hyperparameter("weight_decay", 1e-2, 1e-6, 1.0, "log"), "weight_decay"),
        (Hyperparameter("free", 0.0), None),
    ]


def line_of(pairs):
    return Line([Binding(hyper, field, (0,) if field else ()) for hyper, field in pairs]), [h for h, _ in pairs]


def start(hypers):
    return {hyper.name: hyper.value for hyper in hypers}


def pieces(hypers, flat):
    split = torch.split(flat, [hyper.size for hyper in hypers], dim=-1)
    return {h.name: piece.reshape([*flat.shape[:-1], *h.value.shape]) for h, piece in zip(hypers, split, strict=True)}


def test_coordinates_are_those_of_each_hyperparameter():
    line, hypers = line_of(mixed())
    naive = torch.cat([hyper.coordinate.to_line(hyper.value).flatten() for hyper in hypers])
    torch.testing.assert_close(line.of(start(hypers)), naive, rtol=1e-12, atol=1e-12)


def test_coordinates_do_not_depend_on_the_order_of_the_values():
    line, hypers = line_of(mixed())
    backwards = dict(reversed(start(hypers).items()))
    assert torch.equal(line.of(backwards), line.of(start(hypers)))


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("far", [0.1, 1.0, 30.0])
def test_values_are_those_of_each_hyperparameter(clip, far):
    line, hypers = line_of(mixed())
    at = line.of(start(hypers)) + far * torch.randn(sum(h.size for h in hypers), dtype=torch.float64)
    found = line.values(at, clip=clip)
    assert list(found) == [hyper.name for hyper in hypers]
    for hyper in hypers:
        naive = hyper.coordinate.to_value(pieces(hypers, at)[hyper.name])
        naive = hyper.clip(naive) if clip else naive
        torch.testing.assert_close(found[hyper.name], naive, rtol=1e-12, atol=1e-12)
        assert found[hyper.name].shape == hyper.value.shape


def test_there_and_back_is_where_it_was():
    line, hypers = line_of(mixed())
    back = line.values(line.of(start(hypers)))
    assert back.keys() == start(hypers).keys()
    for name, value in back.items():
        torch.testing.assert_close(value, start(hypers)[name], rtol=1e-9, atol=1e-12)


def test_values_stay_within_their_bounds():
    line, hypers = line_of(mixed())
    for sign in (-1, 1):
        found = line.values(torch.full((sum(h.size for h in hypers),), sign * 50.0, dtype=torch.float64))
        for hyper in hypers:
            assert bool((found[hyper.name] >= hyper.lower).all())
            assert bool((found[hyper.name] <= hyper.upper).all())
        for name in ("mix", "other"):
            assert found[name].sum() == pytest.approx(1)


def test_bounds_are_met_exactly():
    line, _ = line_of(
        [(Hyperparameter("lr", 0.1, 1e-4, 0.3, "log"), "lr"), (Hyperparameter("w", 0.1, -0.7, 0.7), None)]
    )
    low, high = (line.values(torch.full((2,), far, dtype=torch.float64)) for far in (-99.0, 99.0))
    assert (low["lr"].item(), low["w"].item(), high["lr"].item(), high["w"].item()) == (1e-4, -0.7, 0.3, 0.7)


@pytest.mark.parametrize("field", ["lr", "momentum"])
def test_an_option_that_must_not_be_zero_stays_just_above_it(field):
    pairs = [
        (Hyperparameter("rate", 0.1, 0.0, 1.0, field=field), field),
        (Hyperparameter("weight_decay", 0.1, 0.0, 1.0), "weight_decay"),
        (Hyperparameter("read", torch.tensor([0.1, 0.2]), 0.0, 1.0), None),
    ]
    line, _ = line_of(pairs)
    at = torch.tensor([-3.0, -3.0, 0.0, 0.5], dtype=torch.float64)
    found = line.values(at)
    assert found["rate"].item() == SMALLEST
    assert found["weight_decay"].item() == 0
    assert found["read"].tolist() == [0.0, 0.5]
    assert line.values(at, clip=False)["rate"].item() == -3, "unclipped it is what the line says"


@pytest.mark.parametrize("rows", [(), (1,), (4,), (2, 3)])
def test_pulled_back_derivatives_are_those_of_each_hyperparameter(rows):
    line, hypers = line_of(mixed())
    size = sum(h.size for h in hypers)
    derivative = torch.randn(*rows, size, dtype=torch.float64)
    found = line.pull_back(start(hypers), derivative)
    assert found.shape == derivative.shape
    parts, own = pieces(hypers, derivative), pieces(hypers, found)
    for hyper in hypers:
        naive = hyper.coordinate.pull_back(hyper.value, parts[hyper.name])
        torch.testing.assert_close(own[hyper.name], naive, rtol=1e-10, atol=1e-12)


def test_pulled_back_derivatives_are_those_of_finite_differences():
    line, hypers = line_of(mixed())
    at = line.of(start(hypers))
    weights = torch.randn(at.shape, dtype=torch.float64)

    def total(point):
        values = line.values(point, clip=False)
        return sum(
            float((weights[a:b] * values[h.name].flatten()).sum()) for h, a, b in zip(hypers, *ends(), strict=True)
        )

    def ends():
        stops = torch.cumsum(torch.tensor([h.size for h in hypers]), 0).tolist()
        return [stop - h.size for h, stop in zip(hypers, stops, strict=True)], stops

    found, step = line.pull_back(start(hypers), weights), 1e-5
    for place in range(len(at)):
        unit = torch.zeros_like(at)
        unit[place] = step
        quotient = (total(at + unit) - total(at - unit)) / (2 * step)
        assert float(found[place]) == pytest.approx(quotient, rel=1e-5, abs=1e-8)


def test_the_line_of_many_is_as_long_as_they_are_together():
    line, hypers = line_of(
        [(Hyperparameter(f"layer{i}", torch.rand(i + 1) + 0.1, 0.0, 9.0, "log"), None) for i in range(40)]
    )
    at = line.of(start(hypers))
    assert at.shape == (40 * 41 // 2,)
    assert at.dtype == torch.float64
    assert bool((at == torch.cat([h.value.log() for h in hypers])).all())


def test_a_value_of_zero_on_a_scale_that_cannot_keep_it_is_infinitely_far():
    line, _ = line_of([(Hyperparameter("factor", 0.1, 0.0, 1.0, "log"), None)])
    at = line.of({"factor": torch.zeros((), dtype=torch.float64)})
    assert at.item() == -math.inf
    assert line.values(at)["factor"].item() == 0
