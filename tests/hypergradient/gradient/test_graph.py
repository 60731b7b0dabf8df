"""Which functions stand in a graph, against functions whose kind is known."""

import pytest
import torch
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable as marked
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ray_glocal.hypergradient.gradient.graph import COMPLAINT, custom_functions, nodes, once_differentiable, wrong_twice
from ray_glocal.hypergradient.kernels import twice_differentiable
from ray_glocal.hypergradient.kernels.silu import silu


class Cube(torch.autograd.Function):
    """Differentiable as often as one likes."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0] ** 2


class Once(Cube):
    backward = staticmethod(marked(Cube.backward))


class OnceUnderAutocast(Cube):
    forward = staticmethod(custom_fwd(Cube.forward, device_type="cpu"))
    backward = staticmethod(custom_bwd(Once.backward, device_type="cpu"))


class Written(Cube):
    """Has a second derivative that its author wrote, and no third."""

    @staticmethod
    def backward(ctx, g):
        return Slope.apply(g, *ctx.saved_tensors)


class Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, g, x):
        ctx.save_for_backward(g, x)
        return 3 * g * x**2

    @staticmethod
    @marked
    def backward(ctx, v):
        g, x = ctx.saved_tensors
        return 3 * v * x**2, 6 * v * g * x


class Hidden(Cube):
    """Marked by hand: what torch's decorator does, without its name."""

    @staticmethod
    def backward(ctx, g):
        found = 3 * g * ctx.saved_tensors[0] ** 2
        complain = torch._C._functions.DelayedError(b"not twice", 1)
        return complain(found.detach().requires_grad_()) if g.requires_grad else found


@pytest.fixture
def x():
    return torch.arange(1.0, 4.0, dtype=torch.float64).requires_grad_()


def named(*functions):
    return [f"{__name__}.{function.__qualname__}" for function in functions]


def derived(loss, x):
    return torch.autograd.grad(loss, x, create_graph=True)


def test_nodes_are_visited_once_and_leaves_are_among_them(x):
    y = x * 2
    for _ in range(60):
        y = y + y.tanh()  # 2^60 paths
    found = list(nodes([y.sum(), y]))
    assert len(found) == len(set(found)) == 123
    assert sum(node.name() == "torch::autograd::AccumulateGrad" for node in found) == 1


def test_a_tensor_without_a_graph_has_no_nodes(x):
    assert not list(nodes([x, x.detach()]))
    assert once_differentiable([x]) == custom_functions([x]) == []


def test_graphs_may_be_deeper_than_pythons_stack(x):
    y = x
    for _ in range(3000):
        y = y + 1
    assert custom_functions([Once.apply(y)]) == named(Once)
    assert once_differentiable([(Once.apply(x) + y).sum()]) == named(Once)


@pytest.mark.parametrize("function", [Once, OnceUnderAutocast])
def test_marked_functions_are_named_by_their_class(function, x):
    loss = function.apply(x).square().sum()
    assert once_differentiable([loss]) == named(function)
    assert once_differentiable([loss], derived(loss, x)) == named(function)


def test_they_are_named_even_where_torch_forgets_to_complain(x):
    loss = Once.apply(x).sum()  # its cotangent is constant, so that the gradient has no graph
    assert not derived(loss, x)[0].requires_grad
    assert once_differentiable([loss], derived(loss, x)) == named(Once)


def test_what_they_stand_for_is_a_derivative_that_is_zero(x):
    loss = Once.apply(x).square().sum()
    assert torch.autograd.grad(derived(loss, x), x, [x.detach()], allow_unused=True) == (None,)


def test_a_mark_that_no_class_shows_is_found_by_its_complaint(x):
    loss = Hidden.apply(x).square().sum()
    assert once_differentiable([loss]) == []
    assert once_differentiable([loss], derived(loss, x)) == [COMPLAINT]


def test_a_second_derivative_that_was_written_is_one(x):
    loss = Written.apply(x).square().sum()
    gradient = derived(loss, x)
    assert once_differentiable([loss], gradient) == []
    (second,) = torch.autograd.grad(gradient, x, [torch.ones_like(x)])
    assert torch.allclose(second, 30 * x**4)
    assert custom_functions([loss]) == named(Written)
    assert custom_functions(gradient) == named(Slope, Written)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers(reentrant, x):
    loss = checkpoint(lambda t: Once.apply(t.tanh()), x, use_reentrant=reentrant).square().sum()
    if reentrant:  # its graph is not there before it runs backward, which torch allows for no chosen inputs
        assert custom_functions([loss]) == []
        with pytest.raises(RuntimeError, match="checkpoint is incompatible"):
            derived(loss, x)
    else:
        assert once_differentiable([loss], derived(loss, x)) == named(Once)


def test_torchs_functions_and_ours_are_not_custom(x):
    layer = torch.nn.Linear(3, 3).double()
    layer.register_full_backward_hook(lambda *_: None)
    loss = silu(layer(x)).sum() + F.silu(x).sum()
    assert any(node.name() == "SiLUBackward" for node in nodes([loss]))
    assert custom_functions([loss, *derived(loss, x)]) == once_differentiable([loss]) == []


def test_operators_that_were_registered_are_custom(x):
    cube = torch.library.custom_op("graph_test::cube", lambda x: x**3, mutates_args=(), schema="(Tensor x) -> Tensor")
    cube.register_autograd(
        lambda ctx, g: 3 * g * ctx.saved_tensors[0] ** 2,
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )
    (name,) = custom_functions([cube(x)])
    assert "graph_test_cube" in name


def test_torchs_own_marked_functions_are_found():
    concentration = torch.ones(3, dtype=torch.float64, requires_grad=True)
    drawn = torch.distributions.Dirichlet(concentration).rsample()
    assert once_differentiable([drawn]) == ["torch.distributions.dirichlet._Dirichlet"]


class Tagged(torch.Tensor):
    """A tensor of another type."""


def test_what_torch_gets_wrong_is_found_where_no_mode_sees_it():
    v, g, rows = torch.randn(4, 3).requires_grad_(), torch.ones(4, 1), torch.randn(5, 3)
    with twice_differentiable(torch.nn.Identity()):
        mended = torch._weight_norm(v, g, 0)
        mapped = torch.func.vmap(lambda x: torch._weight_norm(v, g, 0) @ x)(rows)
        tagged = torch._weight_norm(v.detach().as_subclass(Tagged).requires_grad_(), g, 0)
    assert wrong_twice([mended]) == []
    assert wrong_twice([mapped]) == wrong_twice([tagged]) == ["weight_norm"]
