"""Averaged weights against a loop over all weights that there were."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.hypergradient.first_order.averages import Averages

from ..cases import entropy

REACH = {"far": (6, 8), "near": (24, 4)}  # the part of the steps so far, and the steps at least, that one reaches back


def network():
    # Dropout, so that the mode matters; no bias ahead of the normalisation.
    layers = [nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3)]
    model = nn.Sequential(*layers)
    model.register_buffer("calls", torch.zeros(()))
    return model


def problem_of(model):
    return Problem(model, torch.optim.SGD(model.parameters(), lr=0.1), entropy, entropy, [Hyperparameter("lr", 0.1)])


def weights_of(model):
    """What trains, by name: parameters that require gradients and running statistics."""
    kept = {name for name, p in model.named_parameters() if p.requires_grad}
    return {name: t for name, t in model.state_dict().items() if name in kept or "running" in name}


@torch.no_grad()
def wander(model):
    """A step of something like training: all that trains moves, and so do other buffers."""
    for name, tensor in weights_of(model).items():
        tensor.add_(torch.randn(tensor.shape).to(tensor), alpha=0.1)
        if "var" in name:
            tensor.abs_()
    model.calls += 1
    if isinstance(model[1], nn.BatchNorm1d):
        model[1].num_batches_tracked += 1


def walk(model, averages, steps, *, first=1):
    """Let a model wander under an average; its weights after each step, ahead of them those at the start."""
    seen = [copy.deepcopy(weights_of(model))]
    for step in range(first, first + steps):
        wander(model)
        averages.update(step)
        seen.append(copy.deepcopy(weights_of(model)))
    return seen


def naive(which, seen, *, first=1):
    """The average by a plain loop in double precision, with the weights that the documentation tells."""
    part, shortest = REACH[which]
    average = {name: tensor.double() for name, tensor in seen[0].items()}
    for step, weights in enumerate(seen[1:], first):
        share = min(1.0, 4 / max(shortest, step / part))
        for name, tensor in weights.items():
            if step % 4 == 0:  # what appears later begins where it is
                average[name] = (1 - share) * average.get(name, tensor.double()) + share * tensor.double()
    return average


def by_name(model, averages, which):
    """An average's tensors by the names of what they are averages of."""
    places = {id(own): place for place, own in enumerate(averages._own)}
    named = model.state_dict(keep_vars=True).items()
    return {name: getattr(averages, which)[places[id(t)]] for name, t in named if id(t) in places}


def check(model, averages, truths, slack):
    for which, truth in truths.items():
        got = by_name(model, averages, which)
        assert got.keys() == truth.keys()
        for name, tensor in got.items():
            room = slack[tensor.dtype] if isinstance(slack, dict) else slack
            torch.testing.assert_close(tensor.double(), truth[name], rtol=room, atol=room)


@pytest.mark.parametrize(("dtype", "slack"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("steps", [3, 4, 21, 130])  # none, the first, and beyond where either reaches its least
def test_averages_are_those_of_a_plain_loop_over_the_weights(steps, dtype, slack):
    model = network().to(dtype)
    problem = problem_of(model)
    averages = Averages(problem)
    seen = walk(model, averages, steps)
    check(model, averages, {which: naive(which, seen) for which in REACH}, slack)
    truth = [naive("near", seen)[name] - naive("far", seen)[name] for name, _ in model.named_parameters()]
    torch.testing.assert_close([d.double() for d in averages.displacement()], truth, rtol=slack, atol=slack)


def test_the_nearer_average_of_weights_that_move_on_steadily_is_ahead():
    model = network().double()
    averages = Averages(problem_of(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        averages.restart()
        for step in range(1, 4001):
            for parameter in model.parameters():
                parameter += 1
            averages.update(step)
    # Of a(t)' = p (t - a(t)) / t the solution is a(t) = t p / (p + 1): it lags by t / (p + 1).
    ahead = 4000 * (1 / 7 - 1 / 25)
    found = averages.displacement()
    assert len(found) == len(list(model.parameters()))
    assert all(((d - ahead).abs() < 0.02 * ahead).all() for d in found)


def test_each_precision_of_a_model_is_averaged_in_its_own_and_half_of_it_in_single():
    model = network()
    model[0].double()
    model[4].to(torch.bfloat16)
    averages = Averages(problem_of(model))
    seen = walk(model, averages, 30)
    check(model, averages, {which: naive(which, seen) for which in REACH}, {torch.float64: 1e-12, torch.float32: 1e-5})
    before = copy.deepcopy(model.state_dict())
    with averages.applied():
        assert {t.dtype for t in model.parameters()} == {torch.float64, torch.float32, torch.bfloat16}
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_averages_of_half_precision_take_steps_in_that_it_would_round_away(dtype):
    """A share of a thousandth of a difference of one is less than half a unit in the last place."""
    model = network().to(dtype)
    averages = Averages(problem_of(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    averages.restart()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2.0)
    first = 24_000  # where the farther average takes a thousandth of the weights
    for step in range(first, first + 40):
        averages.update(step)
    for which, part in (("far", 6), ("near", 24)):
        left = 1.0
        for step in range(first, first + 40, 4):
            left *= 1 - 4 * part / step
        for average in getattr(averages, which)[: len(list(model.parameters()))]:
            assert average.dtype == torch.float32
            torch.testing.assert_close(average, torch.full_like(average, 2 - left), rtol=1e-6, atol=0)
    with averages.applied():
        for tensor, average in zip(model.parameters(), averages.far, strict=False):
            assert torch.equal(tensor, average.to(dtype))
    assert all(bool((tensor == 2).all()) for tensor in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_averaged_state_is_of_the_models_precision_and_apart_from_training(dtype):
    model = network().to(dtype)
    averages = Averages(problem_of(model))
    walk(model, averages, 30)
    state = averages.state_dict()
    assert {name: t.dtype for name, t in state.items()} == {name: t.dtype for name, t in model.state_dict().items()}
    assert not any(tensor.requires_grad for tensor in state.values())
    with averages.applied():
        torch.testing.assert_close(dict(state), dict(model.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_between_the_averages_of_a_steady_training_lies_the_span(dtype):
    assert Averages.span(4000) == pytest.approx(4000 * (1 / 7 - 1 / 25))
    assert Averages.span(1) == 4, "an average is updated every fourth step"
    model = network().to(dtype)
    averages = Averages(problem_of(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        averages.restart()
        for step in range(1, 4001):
            for parameter in model.parameters():
                parameter.fill_(step / 4000)
            averages.update(step)
    span = Averages.span(4000) / 4000
    assert all(((d - span).abs() < 0.02 * span).all() for d in averages.displacement())


def test_an_average_that_is_begun_anew_forgets_what_was_before():
    model = network().double()
    averages = Averages(problem_of(model))
    walk(model, averages, 10)
    averages.restart()
    seen = walk(model, averages, 30, first=11)
    check(model, averages, {which: naive(which, seen, first=11) for which in REACH}, 1e-12)


def test_weights_that_are_given_other_memory_are_averaged_on():
    model = network().double()
    averages = Averages(problem_of(model))
    seen = walk(model, averages, 10)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    seen += walk(model, averages, 30, first=11)[1:]
    check(model, averages, {which: naive(which, seen) for which in REACH}, 1e-12)


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_has_the_farther_average_for_a_while_and_then_its_own_weights(fails):
    model = network()
    averages = Averages(problem_of(model))
    truth = naive("far", walk(model, averages, 30))
    before, own = copy.deepcopy(model.state_dict()), [p.detach().clone() for p in model.parameters()]
    far = copy.deepcopy(averages.far)

    def body():
        with averages.applied() as told:
            inside = {name: tensor.double() for name, tensor in weights_of(model).items()}
            torch.testing.assert_close(inside, truth, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(list(told), own, rtol=0, atol=0)
            torch.testing.assert_close(model.calls, before["calls"], rtol=0, atol=0)
            assert model[1].num_batches_tracked == before["1.num_batches_tracked"] == 30
            if fails:
                raise KeyError

    if fails:
        with pytest.raises(KeyError):
            body()
    else:
        body()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(averages.far, far, rtol=0, atol=0)


def test_frozen_parameters_are_left_alone_until_they_thaw():
    model = network().double()
    model[4].requires_grad_(False)
    problem = problem_of(model)
    averages = Averages(problem)
    seen = walk(model, averages, 18)
    thawed = {name: p.detach().clone() for name, p in model[4].named_parameters()}
    for count in (3, 5):  # parameters that train, before and after they thaw
        with averages.applied() as own:
            assert len(own) == count
            torch.testing.assert_close({n: p.detach() for n, p in model[4].named_parameters()}, thawed, rtol=0, atol=0)
        model[4].requires_grad_(True)
        assert problem.follow() == (count == 3)
    seen += walk(model, averages, 40, first=19)[1:]
    seen[18].update({f"4.{name}": t for name, t in thawed.items()})  # where their averages begin
    truths = {}
    for which in REACH:
        whole, late = naive(which, seen), naive(which, seen[18:], first=19)
        truths[which] = {name: late[name] if name.startswith("4") else whole[name] for name in whole}
    check(model, averages, truths, 1e-12)


class Own(nn.Module):
    """Running statistics by names that say nothing: known once a batch has gone through."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(5))
        self.register_buffer("average", torch.zeros(5))
        self.register_buffer("spread", torch.ones(5))

    def forward(self, x):
        return F.batch_norm(x, self.average, self.spread, self.gain, None, self.training, 0.4)


def test_statistics_that_appear_with_the_first_batch_are_averaged_since():
    model = nn.Sequential(Own(), nn.Linear(5, 3)).double()
    problem = problem_of(model)
    averages, values, seen = Averages(problem), problem.start_values(), []
    for step in range(1, 25):
        batch = torch.randn(8, 5, dtype=torch.float64) + step, torch.randint(3, (8,))
        problem.explore(batch, problem.leaves(values, differentiable=False))
        problem.take_step()
        averages.update(step)
        seen.append({"mean": model[0].average.clone(), "variance": model[0].spread.clone()})
    truth = naive("far", seen[3:], first=5)  # the first update is after four steps
    with averages.applied():
        torch.testing.assert_close({"mean": model[0].average, "variance": model[0].spread}, truth)
    torch.testing.assert_close(model[0].average, seen[-1]["mean"], rtol=0, atol=0)


def test_a_fresh_model_that_loads_the_averaged_state_says_what_the_averaged_model_says():
    model = network()
    averages = Averages(problem_of(model))
    walk(model, averages, 30)
    before, fresh, inputs = copy.deepcopy(model.state_dict()), network(), torch.randn(7, 5)
    fresh.load_state_dict(averages.state_dict())
    model.eval()
    with averages.applied():
        truth = model(inputs)
    torch.testing.assert_close(fresh.eval()(inputs), truth, rtol=0, atol=0)
    assert not torch.equal(truth, model(inputs))
    torch.testing.assert_close((fresh.calls, fresh[1].num_batches_tracked), (model.calls, model[1].num_batches_tracked))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_an_averaged_state_has_frozen_weights_as_they_are_and_tied_ones_twice():
    model = network().double()
    model.append(nn.Linear(3, 3)).append(nn.Linear(3, 3)).double()
    model[6].weight = model[5].weight
    model[4].requires_grad_(False)
    averages = Averages(problem_of(model))
    seen = walk(model, averages, 30)
    state, truth = averages.state_dict(), naive("far", seen)
    assert list(state) == list(model.state_dict())
    torch.testing.assert_close(state["5.weight"], truth["5.weight"])
    torch.testing.assert_close(state["6.weight"], truth["5.weight"])
    torch.testing.assert_close(state["4.weight"], model[4].weight.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("beside", [False, True])
def test_averages_that_were_saved_go_on_where_they_were(beside):
    model = network()
    averages = Averages(problem_of(model))
    walk(model, averages, 50)
    file = io.BytesIO()
    told = averages.state_dict()
    torch.save({"averages": averages.as_plain(beside=beside), "told": told, "model": model.state_dict()}, file)
    file.seek(0)
    saved, other = torch.load(file, weights_only=True), network()
    other.load_state_dict(saved["model"])
    resumed = Averages(problem_of(other))
    resumed.load_plain(saved["averages"], saved["told"] if beside else None)
    torch.testing.assert_close(resumed.as_plain(beside=False), averages.as_plain(beside=False), rtol=0, atol=0)
    for each, held in ((model, averages), (other, resumed)):
        torch.manual_seed(5)
        walk(each, held, 50, first=51)
    torch.testing.assert_close(resumed.as_plain(beside=False), averages.as_plain(beside=False), rtol=0, atol=0)
