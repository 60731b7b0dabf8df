"""Torch's functions at second order: right inside windows, or refused by name, and not a word too many.

A product of the Hessian, as the library takes it (two calls of `torch.autograd.grad` with chosen inputs, which is where
torch may answer zero without a word), is compared with central differences of first gradients.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.gradient.graph import once_differentiable, wrong_twice
from ray_glocal.hypergradient.kernels import batch_norm, layer_norm, twice_differentiable
from ray_glocal.hypergradient.kernels.substitution import REPLACED
from ray_glocal.hypergradient.kernels.unsupported import MISSING, REMEDIES, SPARSE, UNSUPPORTED, WRONG

from .calls import EVERY

# What torch itself gets wrong, or has no second derivative of, and ours has: by the bits of torch's first one.
MENDED = {
    "activations: hardsigmoid": MISSING,
    "distances: cdist": MISSING,
    "distances: cdist, batched": MISSING,
    "distances: cdist, by differences": MISSING,
    "distances: cdist, p=1": MISSING,
    "distances: cdist, to itself": MISSING,
    "distances: pdist": MISSING,
    "distances: pdist, p=1": MISSING,
    "layers: batch_norm, shift alone": MISSING,
    "layers: embedding_bag": MISSING,
    "layers: embedding_bag, padded": MISSING,
    "layers: embedding_bag, sum": MISSING,
    "layers: embedding_bag, weighted": MISSING,
    "layers: instance_norm, shift alone": MISSING,
    "layers: layer_norm, shift alone": MISSING,
    "layers: scaled_dot_product_attention": MISSING,
    "layers: weight_norm, of columns": WRONG,
    "layers: weight_norm, of numbers": WRONG,
    "layers: weight_norm, of rows": WRONG,
    "losses: multi_margin_loss": MISSING,
    "losses: multi_margin_loss, squared": MISSING,
    "networks: TransformerDecoderLayer": MISSING,
    "networks: TransformerEncoderLayer": MISSING,
    "networks: parametrizations.weight_norm": WRONG,
    "networks: utils.weight_norm": WRONG,
}
REFUSED = {
    "activations: hardsigmoid, in place": MISSING,
    "distances: cdist, p=3": MISSING,
    "distances: cdist, p=inf": MISSING,
    "distances: pdist, p=3": MISSING,
    "draws: Gamma, of a shape": MISSING,
    "indexing: as_strided_scatter": WRONG,
    "indexing: segment_reduce, max": MISSING,
    "indexing: segment_reduce, mean": MISSING,
    "indexing: segment_reduce, sum": MISSING,
    "layers: embedding, max_norm": WRONG,
    "layers: embedding, scaled": WRONG,
    "layers: embedding, sparse": SPARSE,
    "layers: embedding_bag, max": MISSING,
    "layers: embedding_bag, max_norm": MISSING,
    "layers: embedding_bag, scaled": MISSING,
    "layers: embedding_bag, sparse": SPARSE,
    "losses: ctc_loss": MISSING,
    "losses: multi_margin_loss, averaged": MISSING,
    "losses: multilabel_margin_loss": MISSING,
    **({"fused: linear_cross_entropy, in chunks": WRONG} if hasattr(F, "linear_cross_entropy") else {}),
}
# Autograd functions of torch's that are written in Python: no mode sees them, the graph names them.
MARKED = {
    "draws: Beta": ("torch.distributions.dirichlet._Dirichlet", WRONG),
    "draws: Dirichlet": ("torch.distributions.dirichlet._Dirichlet", WRONG),
    "networks: CrossMapLRN2d": ("torch.nn.modules._functions.CrossMapLRN2d", MISSING),
}
RIGHT = sorted(EVERY.keys() - REFUSED.keys() - MARKED.keys())
STEP, EXACT = 1e-5, 1e-6

pytestmark = pytest.mark.filterwarnings("ignore:size_average and reduce", "ignore:index_reduce")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(batch_norm, "SMALL_BATCH_NORM", 0)
    monkeypatch.setattr(layer_norm, "SMALL_LAYER_NORM", 0)


def parts(out):
    return list(torch.view_as_real(out).unbind(-1)) if out.is_complex() else [out]


def loss_of(call, tensors, bent):
    """A sum of the call's results with fixed weights, and where it is bent a function that has no diagonal Hessian."""
    torch.manual_seed(3)
    draws, total = torch.Generator().manual_seed(7), torch.zeros((), dtype=torch.float64)
    for out in parts(call(*tensors)):
        plain, square, mixed = (torch.randn(out.shape, generator=draws, dtype=torch.float64) for _ in "123")
        total = total + (plain * out).sum()
        if bent:
            total = total + (square * out.square()).sum() / 2 + (mixed * out).sum().square() / 2
    return total


def gradients(call, tensors, bent, **options):
    return torch.autograd.grad(loss_of(call, tensors, bent), tensors, allow_unused=True, **options)


def filled(found, like):
    pairs = zip(found, like, strict=True)
    return torch.cat([(torch.zeros_like(x) if f is None else f.to_dense()).flatten() for f, x in pairs])


def directions(inputs, seed=11):
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(x.shape, generator=draws, dtype=torch.float64) for x in inputs]


def leaves(inputs):
    return [x.detach().clone().requires_grad_() for x in inputs]


def product(call, inputs, bent):
    """The Hessian in a direction, as the library takes it."""
    x = leaves(inputs)
    pairs = zip(gradients(call, x, bent, create_graph=True), directions(x), strict=True)
    live = [(g, v) for g, v in pairs if g is not None and g.requires_grad]
    if not live:
        return filled([None] * len(x), x)
    return filled(torch.autograd.grad([g for g, _ in live], x, [v for _, v in live], allow_unused=True), x)


def difference(call, inputs, bent, seed=11):
    """How the gradient moves in a direction, by central differences: that product, for the Hessian is symmetric."""

    def moved(length):
        x = leaves([x + length * v for x, v in zip(inputs, directions(inputs, seed), strict=True)])
        return filled(gradients(call, x, bent), x)

    return (moved(STEP) - moved(-STEP)) / (2 * STEP)


def inside(call):
    """A call as it runs inside windows."""

    def substituted(*tensors):
        with twice_differentiable(nn.Identity()):
            return call(*tensors)

    return substituted


def error(call, inputs, bent):
    """Of a product with a direction, and of its part along another: two, where a gradient is not one (padding)."""
    found, truth = product(call, inputs, bent), difference(call, inputs, bent)
    assert torch.isfinite(truth).all()
    scale = truth.norm().clamp_min(1e-2)
    other = filled(directions(inputs, 12), inputs)
    across = filled(directions(inputs), inputs) @ difference(call, inputs, bent, 12) - found @ other
    return max(float((found - truth).norm() / scale), float(abs(across) / (scale * other.norm())))


@pytest.mark.parametrize("name", RIGHT)
def test_products_are_right(name):
    call, inputs = EVERY[name]
    for bent in (False, True):
        assert error(inside(call), inputs, bent) < EXACT


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_all_second_derivatives_are_right(name):
    call, inputs = EVERY[name]

    def seeded(*tensors):
        torch.manual_seed(3)
        return tuple(parts(inside(call)(*tensors)))

    options = {"check_fwd_over_rev": False, "check_batched_grad": False, "fast_mode": True}
    assert torch.autograd.gradgradcheck(seeded, leaves(inputs), atol=1e-4, rtol=1e-3, **options)


@pytest.mark.parametrize("name", sorted(MENDED))
def test_what_is_mended_keeps_torchs_bits(name):
    call, inputs = EVERY[name]
    found, truth = (
        [t for bent in (False, True) for t in (loss_of(c, x, bent), *gradients(c, x, bent)) if t is not None]
        for c, x in ((inside(call), leaves(inputs)), (call, leaves(inputs)))
    )
    assert all(torch.equal(a, b) for a, b in zip(found, truth, strict=True))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_is_named(name):
    call, inputs = EVERY[name]
    with pytest.raises(ArgumentError) as refused:
        product(inside(call), inputs, True)
    text, fault = str(refused.value), REFUSED[name]
    assert text.startswith(f"`train_loss` must be differentiable twice, but {fault}; got ")
    assert name.partition(": ")[2].partition(",")[0] in text
    assert text.endswith(REMEDIES[fault])


def test_a_refusal_names_the_option():
    with twice_differentiable(nn.Identity()):
        with pytest.raises(ArgumentError, match=r"got 'embedding with `max_norm=0\.5`'\. Use another function, or "):
            nn.Embedding(4, 3, max_norm=0.5)(torch.tensor([1]))
        with pytest.raises(ArgumentError, match=r"got \"embedding_bag with `mode='max'`\""):
            nn.EmbeddingBag(4, 3, mode="max")(torch.tensor([[1]]))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_runs_where_no_derivative_is_asked_for(name):
    call, inputs = EVERY[name]
    torch.manual_seed(3)
    found = inside(call)(*(x.clone() for x in inputs))
    torch.manual_seed(3)
    assert torch.equal(found, call(*(x.clone() for x in inputs)))


@pytest.mark.parametrize("name", sorted(MARKED))
def test_functions_that_no_mode_sees_are_named_by_their_graph(name):
    call, inputs = EVERY[name]
    assert once_differentiable([loss_of(inside(call), leaves(inputs), True)]) == [MARKED[name][0]]


@pytest.mark.parametrize("name", sorted({*MENDED, *REFUSED, *MARKED} - {n for n in REFUSED if REFUSED[n] is SPARSE}))
def test_torch_still_fails_there(name):
    """Where this fails, torch has learnt something, and a kernel or a refusal may go."""
    call, inputs = EVERY[name]
    fault = {**MENDED, **REFUSED, **{name: fault for name, (_, fault) in MARKED.items()}}[name]
    if fault is MISSING:
        with pytest.raises(RuntimeError):
            product(call, inputs, True)
    else:
        assert error(call, inputs, True) > 1000 * EXACT


def test_what_torch_gets_wrong_leaves_its_name_in_the_graph():
    """Embeddings do not: their node is the same, whatever was asked for."""
    wrong = [name for name, fault in {**MENDED, **REFUSED}.items() if fault is WRONG and "embedding" not in name]
    assert wrong
    for name in wrong:
        call, inputs = EVERY[name]
        assert wrong_twice([loss_of(call, leaves(inputs), True)]), name
    for name in RIGHT:
        call, inputs = EVERY[name]
        assert not wrong_twice([loss_of(inside(call), leaves(inputs), True)]), name


class Seen(TorchFunctionMode):
    """Remembers which functions were called."""

    def __init__(self):
        super().__init__()
        self.functions = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.functions.add(func)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def seen():
    with Seen() as mode:
        for name, (call, inputs) in EVERY.items():
            torch.manual_seed(3)
            assert torch.isfinite(call(*leaves(inputs))).all(), name
    return mode.functions


def test_every_kernel_and_every_refusal_is_audited(seen):
    inner = {torch.layer_norm, torch.batch_norm, torch.group_norm, torch.instance_norm}  # of `torch.nn.functional`'s
    assert {*REPLACED, *UNSUPPORTED} - inner <= seen


# Of `torch.nn.functional`: no derivative, another name or the parts of something above, deprecated, or GPUs' alone.
ELSEWHERE = {
    *("adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices"),
    *("fractional_max_pool2d_with_indices", "fractional_max_pool3d_with_indices", "max_pool1d_with_indices"),
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "celu_", "elu_", "hardtanh_", "leaky_relu_", "relu_"),
    *("rrelu_", "selu_", "threshold_", "upsample", "upsample_bilinear", "upsample_nearest", "one_hot"),
    *("assert_int_or_pair", "boolean_dispatch", "handle_torch_function", "has_torch_function"),
    *("has_torch_function_unary", "has_torch_function_variadic", "native_channel_shuffle"),
    *("grouped_mm", "scaled_grouped_mm", "scaled_mm", "sigmoid", "tanh"),
}


def test_every_function_of_torchs_is_audited(seen):
    """A torch with new functions is noticed here."""
    public = {name: getattr(F, name) for name in dir(F) if name.islower() and not name.startswith("_")}
    functions = sorted(name for name, f in public.items() if callable(f) and f not in seen and f.__module__ != "typing")
    assert [name for name in functions if name not in ELSEWHERE] == []
