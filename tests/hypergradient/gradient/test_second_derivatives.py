"""Training losses that have no second derivative: refused by the function's name, with the way out."""

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.engines.oracle import finite_differences
from ray_glocal.hypergradient.gradient.field import hessian_products, jacobian_products, refusals, vector_jacobian
from ray_glocal.hypergradient.trouble import NoSecondDerivativeError, WindowError
from ray_glocal.hypergradient.window.tape import Tape

REMEDY = (
    "Replace the function by one that has, or set `Settings(products='differences')`, which takes one more gradient "
    "in place of a second derivative."
)


class Once(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


def aligned(logits):
    """By an operator that no function of torch's leads to: those are refused by their own names."""
    steps = torch.stack([logits.roll(i, 1) * (1 + i) for i in range(4)]).log_softmax(-1)
    count = logits.shape[0]
    told = torch.ops.aten._ctc_loss(steps, torch.ones(count, 1, dtype=torch.long), [4] * count, [1] * count)
    return told[0].mean()


def once(logits):
    return Once.apply(logits).mean()


def jumping(logits):
    return once(logits) + (logits * (1e14 * logits).sin().detach()).sum()


def problem_of(end):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    def loss(model, batch):
        return end(model(batch))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    return Problem(model, optimizer, loss, lambda m, b: m(b).square().mean(), [Hyperparameter("lr", 0.2, scale="log")])


def batches():
    return list(torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))


def window_of(problem, **options):
    tape = Tape(problem, 4, **options)
    return tape, record_window(problem, batches()[:4], batches()[4:], problem.start_values(), tape=tape)


@pytest.mark.parametrize(
    ("end", "got"),
    [
        (once, f"{__name__}.Once"),
        (aligned, "torch cannot differentiate a training loss twice: derivative for aten::_ctc_loss_backward"),
    ],
)
def test_a_function_without_a_second_derivative_is_refused_by_its_name(end, got):
    with pytest.raises(ArgumentError) as error:
        window_of(problem_of(end))
    start = f"`train_loss` must be made of functions that can be differentiated twice; got '{got}"
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(f"'. {REMEDY}")


@pytest.mark.parametrize("end", [once, aligned])
def test_differences_take_the_place_of_exact_products(end):
    problem = problem_of(end)
    values = problem.start_values()
    truth = finite_differences(problem, batches()[:4], batches()[4:], values, (1e-4,)).derivatives[0]
    tape, window = window_of(problem, products="differences")
    line = problem.pull_back(values, adjoint_trajectory(problem, window, products=tape.products).derivatives)[-1]
    torch.testing.assert_close(line, truth, rtol=1e-2, atol=1e-8)


def test_neither_differences_nor_exact_products():
    with pytest.raises(ArgumentError) as error:
        window_of(problem_of(jumping), products="differences")
    start = "`products` must be exact where differences are not close; got 'differences that err by"
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(
        "Use smooth activations (GELU, not ReLU) and single precision or better, or replace the function."
    )


def test_a_loss_that_comes_to_such_a_function_later_spoils_its_window():
    state = {"late": False}

    def end(logits):
        return once(logits) if state["late"] else logits.square().mean()

    problem = problem_of(end)
    tape, _ = window_of(problem)
    state["late"] = True
    window = record_window(problem, batches()[:4], batches()[4:], problem.start_values(), tape=tape)
    trajectory = adjoint_trajectory(problem, window)
    assert trajectory.trouble == f"a loss has come to {__name__}.Once, which can be differentiated only once"
    assert trajectory.derivatives.isnan().all()


def test_torchs_refusals_become_ours_and_its_other_errors_stay():
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(aligned(logits), logits, create_graph=True)
    told = (
        "^torch cannot differentiate a training loss twice: derivative for aten::_ctc_loss_backward is not implemented"
    )
    along = torch.ones(2, 6, 3, dtype=torch.float64)
    for work in (
        lambda: vector_jacobian([gradient], [logits], [along[0]]),
        lambda: hessian_products([gradient], [logits], [along]),
        lambda: jacobian_products([gradient], [logits], [along]),
    ):
        with pytest.raises(NoSecondDerivativeError, match=told):
            work()
    assert issubclass(NoSecondDerivativeError, WindowError)
    with pytest.raises(RuntimeError, match=r"^no more$"), refusals():
        raise RuntimeError("no more")
