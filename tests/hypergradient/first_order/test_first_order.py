"""First-order hypergradients against autograd's second derivatives and the optimizers' own formulas."""

import copy
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.hypergradient.first_order.averages import Averages
from ray_glocal.hypergradient.first_order.derivatives import first_order, rates_alone
from ray_glocal.hypergradient.first_order.tuning import RESPONSE

from ..cases import IN_LOSS, JUMPING, MODELS, OPTIMIZERS, VARIANTS, Case, draw, entropy, train_loss, val_loss
from ..window.test_window import everything, same

STRETCH = 3.5
CLOSE = 1e-3  # relative error of the difference quotient, smooth networks
LR, DECAY = Hyperparameter("lr", 0.05), Hyperparameter("weight_decay", 0.02)
ADAMW = {"betas": (0.8, 0.97), "eps": 1e-3}


class Trained:
    """A problem in double precision after some steps, and what first-order hypergradients are made of."""

    def __init__(self, *hyper, model="mlp", kind=torch.optim.SGD, train=train_loss, val=val_loss, **told):
        torch.manual_seed(3)
        factory, shape = {**MODELS, **VARIANTS}[model]
        self.model, accumulate = factory().double(), told.pop("accumulate", 1)
        groups = told.pop("groups", [{}])
        parts = [list(self.model.parameters())[i :: len(groups)] for i in range(len(groups))]
        optimizer = kind([{"params": p, **g} for p, g in zip(parts, groups, strict=True)], **{"lr": 0.05, **told})
        self.problem = Problem(self.model, optimizer, train, val, hyper, accumulate=accumulate)
        self.values, self.averages = self.problem.start_values(), Averages(self.problem)
        self.problem.write_options(None, self.values)
        data = draw(shape, 40 * accumulate + 2, 8, torch.float64, "cpu")
        self.val_batches, data = data[:2], data[2:]
        for step in range(1, 41):
            self.batch = data[0] if accumulate == 1 else data[:accumulate]
            data = data[accumulate:]
            self.problem.advance(self.batch, self.values)
            self.averages.update(step)

    def first_order(self, span=STRETCH):
        return first_order(self.problem, self.averages, self.batch, self.val_batches, self.values, span)

    def found(self):
        """What is to be tested, by name of the hyperparameter."""
        derivatives = self.first_order().derivatives
        assert (derivatives.dtype, derivatives.shape) == (torch.float64, (self.problem.size,))
        return {name: derivatives[place] for name, place in self.problem.places.items()}

    def averaged(self):
        """A copy of the model that has the averaged weights."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.averages.state_dict())
        return model

    def outer(self):
        """Validation loss at the averaged weights, its derivatives in the parameters, and directly, by name."""
        model = self.averaged().eval()
        leaves = {name: value.clone().requires_grad_() for name, value in self.values.items()}
        reads = (leaves,) if self.problem.val_loss is not entropy else ()
        loss = sum(self.problem.val_loss(model, batch, *reads) for batch in self.val_batches) / len(self.val_batches)
        wanted = [*model.parameters(), *leaves.values()]
        found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        count = len(wanted) - len(leaves)
        return loss.detach(), found[:count], dict(zip(leaves, found[count:], strict=True))

    def mixed(self, along, *, train=None):
        """Derivatives in the hyperparameters of the averaged weights' training gradient along some directions."""
        model, train = self.averaged(), train or self.problem.train_loss
        leaves = {name: value.clone().requires_grad_() for name, value in self.values.items()}
        parts = [self.batch] if self.problem.accumulate == 1 else self.batch
        with sdpa_kernel(SDPBackend.MATH):  # which has second derivatives
            loss = sum(train(model, part, leaves) for part in parts) / len(parts)
        options = {"allow_unused": True, "materialize_grads": True}
        slopes = torch.autograd.grad(loss, list(model.parameters()), create_graph=True, **options)
        slope = sum((g * a).sum() for g, a in zip(slopes, along, strict=True))
        return dict(zip(leaves, torch.autograd.grad(slope, list(leaves.values()), **options), strict=True))

    def through(self, cotangents):
        """Cotangents of the gradients by the formula of the optimizer's next step, taken by the last gradients."""
        step = {torch.optim.SGD: through_sgd, torch.optim.AdamW: through_adamw}[type(self.problem.optimizer)]
        optimizer = self.problem.optimizer
        held = {id(p): (group, optimizer.state[p]) for group in optimizer.param_groups for p in group["params"]}
        pairs = zip(self.model.parameters(), cotangents, strict=True)
        return [torch.zeros_like(c) if p.grad is None else step(p.grad, c, *held[id(p)]) for p, c in pairs]

    def check_losses(self, *names, slack=CLOSE, **options):
        """Compare the entries of what losses read with the truth."""
        found, (_, cotangents, direct) = self.found(), self.outer()
        truth = self.mixed(self.through(cotangents), **options)
        for name in ("smoothing", "weights", "penalty", *names):
            expected = STRETCH * truth[name] + direct[name]
            assert expected.norm() > 1e-6
            error = (found[name] - expected.flatten()).norm() / expected.norm()
            assert error < slack, f"{name}: {found[name].tolist()} for {expected.tolist()}"


def through_sgd(gradient, cotangent, group, state):
    return -group["lr"] * (1 - group["dampening"] if group["momentum"] else 1) * cotangent


def through_adamw(gradient, cotangent, group, state):
    (beta1, beta2), t = group["betas"], int(state["step"]) + 1
    first = (beta1 * state["exp_avg"] + (1 - beta1) * gradient) / (1 - beta1**t)
    root = ((beta2 * state["exp_avg_sq"] + (1 - beta2) * gradient**2) / (1 - beta2**t)).sqrt()
    in_first, in_root = 1 / (root + group["eps"]), -first / (root + group["eps"]) ** 2
    slope = in_first * (1 - beta1) / (1 - beta1**t) + in_root / root * gradient * (1 - beta2) / (1 - beta2**t)
    return -group["lr"] * cotangent * slope


def noisy(own):
    """A training loss that draws from every global generator, and from one of its own."""

    def loss(model, batch, hyper):
        inputs = batch[0] + 0.3 * np.random.randn() + 0.3 * random.random()  # noqa: NPY002
        drawn = torch.randn(inputs.shape) + torch.randn(inputs.shape, generator=own)
        return train_loss(model, (inputs + 0.3 * drawn, batch[1]), hyper)

    return loss


@pytest.mark.parametrize("model", ["dropout", "batchnorm"])
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *JUMPING])
def test_nothing_is_left_behind_of_a_first_order_hypergradient(optimizer, model):
    case = Case.build(model, optimizer, dtype=torch.float32)
    own, generator = case.problem, torch.Generator().manual_seed(2)
    problem = Problem(own.model, own.optimizer, noisy(generator), noisy(generator), own.hyperparameters)
    problem.model[0].eval()  # a mode of its own
    averages, values = Averages(problem), problem.start_values()
    problem.write_options(None, values)
    for step, batch in enumerate(case.batches, 1):
        problem.advance(batch, values)
        averages.update(step)

    def all_there_is():
        states = generator.get_state(), np.random.get_state()[2:]  # noqa: NPY002
        return {**everything(problem), "states": states, **copy.deepcopy(averages.as_plain(beside=False))}

    before = all_there_is()
    arguments = problem, averages, case.batches[-1], case.val_batches, values, STRETCH
    found, again = (first_order(*arguments).derivatives for _ in range(2))
    rates_alone(problem, averages, case.val_batches, values)
    after = all_there_is()
    assert [key for key in before if not same(before[key], after[key])] == []
    assert found.isfinite().all()
    assert torch.equal(again, found)


def test_a_training_loss_that_fails_leaves_the_weights_as_they_were():
    trained = Trained(*IN_LOSS)
    before = copy.deepcopy(trained.model.state_dict())
    trained.batch = "no batch"
    with pytest.raises(ValueError, match="too many values to unpack"):
        trained.found()
    torch.testing.assert_close(trained.model.state_dict(), before, rtol=0, atol=0)


def test_without_validation_batches_there_is_nothing_to_say():
    trained = Trained(*IN_LOSS)
    trained.val_batches = []
    with pytest.raises(ArgumentError, match="`val_batches` must hold at least one batch"):
        trained.found()


LOSSES = {
    "sgd": {"momentum": 0.8},
    "dampened": {"momentum": 0.8, "dampening": 0.3},
    "two rates": {"groups": [{}, {"lr": 0.02}]},
    "adamw": {"kind": torch.optim.AdamW, **ADAMW},
    "accumulated": {"accumulate": 2},
    "unused parameters": {"model": "unused"},
    "attention": {"model": "attention"},
    "normalised": {"model": "batchnorm"},
}


@pytest.mark.parametrize("which", LOSSES)
def test_what_losses_read_acts_as_second_derivatives_say(which, monkeypatch):
    trained = Trained(*IN_LOSS, **LOSSES[which])
    trained.check_losses(slack=10 * CLOSE if which == "unused parameters" else CLOSE)  # they lengthen the weights
    monkeypatch.setitem(first_order.__globals__, "STEP", 1e-3)
    trained.check_losses(slack=CLOSE / 10)  # the error is of second order in the step


def test_what_a_training_loss_reads_acts_over_so_many_steps_at_most_and_an_option_over_the_whole_span():
    trained = Trained(*IN_LOSS, DECAY, weight_decay=0.02)
    near, far = (trained.first_order(span).derivatives for span in (RESPONSE, 10 * RESPONSE))
    decay = trained.problem.places["weight_decay"]
    assert float(far[decay]) == pytest.approx(10 * float(near[decay]))
    penalty = trained.problem.places["penalty"]
    assert near[penalty].any()
    assert torch.equal(far[penalty], near[penalty])


def test_what_the_validation_loss_alone_reads_acts_directly():
    def with_margin(model, batch, hyper):
        return F.cross_entropy(model(batch[0]) * (1 + hyper["margin"]), batch[1])

    trained = Trained(*IN_LOSS, Hyperparameter("margin", 0.3), val=with_margin)
    trained.check_losses("margin")
    torch.testing.assert_close(trained.found()["margin"], trained.outer()[2]["margin"].reshape(1))


def test_losses_that_read_nothing_are_not_run_again():
    calls = []

    def counted(model, batch):
        calls.append(model.training)
        return entropy(model, batch)

    trained = Trained(LR, DECAY, train=counted, val=entropy)
    calls.clear()
    assert all(found.abs() > 1e-6 for found in trained.found().values())
    assert calls == []


def test_what_no_loss_looks_at_has_no_effect():
    spare = Hyperparameter("spare", torch.tensor([0.1, 0.2]))
    assert Trained(*IN_LOSS, spare).found()["spare"].tolist() == [0.0, 0.0]


def test_a_training_loss_may_write_into_its_batch_and_empty_it():
    def careless(model, batch, hyper):
        return train_loss(model, (batch.pop(0).mul_(0.5), batch.pop(0)), hyper)

    trained = Trained(*IN_LOSS)
    trained.problem.train_loss, trained.batch = careless, [part.clone() for part in trained.batch]
    before = copy.deepcopy(trained.batch)
    trained.check_losses(train=lambda model, batch, hyper: train_loss(model, (batch[0] / 2, batch[1]), hyper))
    torch.testing.assert_close(trained.batch, before, rtol=0, atol=0)


def test_both_sides_of_the_difference_see_the_same_dropout():
    trained = Trained(*IN_LOSS, model="dropout")
    torch.manual_seed(11)
    mask = F.dropout(torch.ones(len(trained.batch[0]), 8, dtype=torch.float64), 0.3)
    torch.manual_seed(11)  # validation draws nothing
    trained.check_losses(train=lambda model, *told: train_loss(lambda x: model[3:](model[:2](x) * mask), *told))


def test_both_sides_see_the_same_draws_of_all_generators_and_of_one_of_the_users_own():
    generator = torch.Generator().manual_seed(4)
    trained = Trained(*IN_LOSS, train=noisy(generator))
    trained.check_losses(train=noisy(generator.clone_state()))


def test_gradients_outlive_a_training_loss_that_takes_and_clears_gradients_itself():
    def adversarial(model, batch, hyper):
        inputs = batch[0].clone().requires_grad_()
        train_loss(model, (inputs, batch[1]), hyper).backward()
        model.zero_grad()
        return train_loss(model, (batch[0] + 0.1 * inputs.grad.sign(), batch[1]), hyper)

    trained = Trained(*IN_LOSS, train=adversarial)
    before, _ = [p.grad.clone() for p in trained.model.parameters()], trained.found()
    torch.testing.assert_close([p.grad for p in trained.model.parameters()], before, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"momentum": 0.8, "dampening": 0.1}, {"kind": torch.optim.AdamW, **ADAMW}])
@pytest.mark.parametrize("decays", [(0.02, 0.02), (0.02, 0.05)])  # the same in both groups, or in a ratio that stays
def test_weight_decay_acts_as_a_step_once_more(decays, options):
    groups = [{"weight_decay": decay} for decay in decays]
    trained = Trained(DECAY, LR, train=entropy, val=entropy, groups=groups, **options)
    # Into the gradient or straight into the weights, it takes away the rate times the weights.
    rate = 0.05 * (1 - options.get("dampening", 0.0))
    pulls = [(c * p).sum() for c, p in zip(trained.outer()[1], trained.model.parameters(), strict=True)]
    truth = -rate * sum(pull * decays[i % 2] / 0.02 for i, pull in enumerate(pulls))
    torch.testing.assert_close(trained.found()["weight_decay"], STRETCH * truth.detach().reshape(1))


RATES = {
    "one for all": ((LR,), [{"weight_decay": 0.1}] * 6, {"lr": ((0, 1), 0.05)}),
    "one for all in a ratio": ((LR,), [{}, {"lr": 0.01}], {"lr": ((0, 1), 0.05)}),
    "one for each": (
        (Hyperparameter("body", 0.05, field="lr", groups=(0,)), Hyperparameter("head", 0.01, field="lr", groups=(1,))),
        [{}, {"lr": 0.01}],
        {"body": ((0,), 0.05), "head": ((1,), 0.01)},
    ),
    "one for one of them": ((Hyperparameter("lr", 0.05, groups=(1,)),), [{}, {}], {"lr": ((1,), 0.05)}),
}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("which", RATES)
def test_rates_act_as_far_as_training_has_gone(which, kind):
    hyper, groups, told = RATES[which]
    trained = Trained(*hyper, kind=kind, train=entropy, val=entropy, groups=groups)
    trained.problem.set_rates(trained.problem.base_rates(), 0.5)  # a schedule's factor is part of that
    pairs = zip(trained.averages.near, trained.averages.far, strict=False)
    ways = {id(p): near - far for p, (near, far) in zip(trained.problem.parameters, pairs, strict=True)}
    dots = [(c * ways[id(p)]).sum() for c, p in zip(trained.outer()[1], trained.model.parameters(), strict=True)]
    found = trained.found()
    for name, (own, rate) in told.items():
        truth = sum(dot for i, dot in enumerate(dots) if i % 2 in own) / rate
        torch.testing.assert_close(found[name], truth.reshape(1))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("which", RATES)
def test_rates_alone_are_those_of_the_whole_and_all_else_is_zero(which, kind):
    """By a validation gradient, and no pass of the training loss."""
    hyper, groups, told = RATES[which]
    trained, calls = Trained(*IN_LOSS, *hyper, DECAY, kind=kind, groups=groups), []
    whole = trained.first_order()
    trained.problem.train_loss = lambda *_: calls.append(1)
    alone = rates_alone(trained.problem, trained.averages, trained.val_batches, trained.values)
    assert (alone.derivatives.dtype, alone.derivatives.shape) == (torch.float64, (trained.problem.size,))
    assert alone.loss == whole.loss
    for name, place in trained.problem.places.items():
        if name in told:
            assert whole.derivatives[place].abs() > 1e-6
            torch.testing.assert_close(alone.derivatives[place], whole.derivatives[place], rtol=1e-12, atol=0)
        else:
            assert not alone.derivatives[place].any()
    assert calls == []


def test_where_a_training_loss_may_not_run_again_what_it_alone_reads_is_zero():
    trained = Trained(LR, DECAY, *IN_LOSS)
    whole, places = trained.first_order(), trained.problem.places
    direct = trained.outer()[2]
    trained.problem.train_loss = lambda *_: pytest.fail("it was run again")
    arguments = trained.problem, trained.averages, trained.batch, trained.val_batches, trained.values, STRETCH
    told = first_order(*arguments, again=False)
    assert told.loss == whole.loss
    for name, place in places.items():
        truth = whole.derivatives[place] if name in ("lr", "weight_decay") else direct[name].flatten()
        torch.testing.assert_close(told.derivatives[place], truth)


def test_where_no_rate_is_adapted_there_is_a_loss_all_the_same():
    trained = Trained(*IN_LOSS, model="batchnorm")
    alone = rates_alone(trained.problem, trained.averages, trained.val_batches, trained.values)
    assert not alone.derivatives.any()
    assert alone.loss == pytest.approx(float(trained.outer()[0]), rel=1e-12)


@pytest.mark.parametrize("which", ["one for all", "one for each"])
def test_half_precision_is_followed_as_far_as_it_goes(which):
    """Weights in bfloat16, their averages in single precision: about what the same training in double says."""
    hyper, groups, told = RATES[which]
    trained = Trained(*hyper, *IN_LOSS, groups=groups)
    whole = trained.found()
    trained.model.to(torch.bfloat16)
    for average in (trained.averages.near, trained.averages.far):
        average[:] = [tensor.float() for tensor in average]
    trained.averages._group()
    trained.batch, *trained.val_batches = (
        (inputs.to(torch.bfloat16), labels) for inputs, labels in (trained.batch, *trained.val_batches)
    )
    alone = rates_alone(trained.problem, trained.averages, trained.val_batches, trained.values).derivatives
    for name in told:
        torch.testing.assert_close(alone[trained.problem.places[name]], whole[name], rtol=0.05, atol=0)


def test_the_loss_is_that_of_the_averaged_weights():
    trained = Trained(LR, *IN_LOSS, model="batchnorm")
    assert trained.first_order().loss == pytest.approx(float(trained.outer()[0]), rel=1e-12)
