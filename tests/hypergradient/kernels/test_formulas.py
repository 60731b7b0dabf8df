"""Second derivatives against torch's composite ones, finite differences and, in the cotangents, once more."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ray_glocal.hypergradient.kernels import batch_norm, blocks, distance, layer_norm
from ray_glocal.hypergradient.kernels.attention import attention
from ray_glocal.hypergradient.kernels.embedding_bag import embedding_bag
from ray_glocal.hypergradient.kernels.group_norm import group_norm
from ray_glocal.hypergradient.kernels.margin import multi_margin_loss
from ray_glocal.hypergradient.kernels.moments import moments
from ray_glocal.hypergradient.kernels.silu import silu
from ray_glocal.hypergradient.kernels.weight_norm import weight_norm


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm, "SMALL_BATCH_NORM", 0)
        patch.setattr(layer_norm, "SMALL_LAYER_NORM", 0)
        yield


def math_attention(query, key, value, **options):
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, key, value, **options)


def plain_norm(x, weight=None, bias=None, dims=(-2, -1), eps=1e-5):
    """Torch's own kernel takes mean and variance for constants in its third derivative."""
    spread = x - x.mean(dims, keepdim=True)
    out = spread / (spread.square().mean(dims, keepdim=True) + eps).sqrt()
    return out * (1 if weight is None else weight) + (0 if bias is None else bias)


def plain_channels(x, weight=None, bias=None, *, dims, groups=1):
    """Normalise over some dimensions of [batch, group, channel of the group, ...]."""
    rows = plain_norm(x.unflatten(1, (groups, -1)), dims=dims).flatten(1, 2)
    wide = (-1, *(1 for _ in x.shape[2:]))
    return rows * (1 if weight is None else weight.reshape(wide)) + (0 if bias is None else bias.reshape(wide))


def over_batch(x, weight=None, bias=None, eps=1e-5):
    return batch_norm.batch_norm(x, weight, bias, None, None, True, 0.1, eps, True)


def over_images(x, weight=None, bias=None):
    return batch_norm.instance_norm(x, weight, bias, None, None, True, 0.1, 1e-5, True)


CHANNELS = {
    "batch": (over_batch, lambda *x: plain_channels(*x, dims=(0, *range(3, x[0].ndim + 1)))),
    "group": (
        lambda x, *r: group_norm(x, 2, *r),
        lambda *x: plain_channels(*x, dims=tuple(range(2, x[0].ndim + 1)), groups=2),
    ),
    "instance": (over_images, lambda *x: plain_channels(*x, dims=tuple(range(3, x[0].ndim + 1)))),
}
SHAPES = {0: (5, 4), 1: (3, 4, 5), 2: (3, 4, 2, 3), 3: (2, 4, 2, 1, 3)}


def normal(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype)


NAMES, LABELS = torch.tensor([[0, 1], [1, 3]]), torch.tensor([0, 2, 1])
# What stays torch's, beside the same by hand, and the shapes that it takes.
OTHERS = {
    "weight-norm": (
        weight_norm,
        lambda v, g: v * (g / v.square().sum((1, 2), keepdim=True).sqrt()),
        [(4, 3, 2), (4, 1, 1)],
    ),
    "cdist": (distance.cdist, lambda a, b: (a[:, None] - b).square().sum(-1).sqrt(), [(4, 3), (2, 3)]),
    "pdist": (distance.pdist, lambda x: (x[[0, 0, 1]] - x[[1, 2, 2]]).square().sum(-1).sqrt(), [(3, 4)]),
    "margins": (
        lambda x: multi_margin_loss(x, LABELS, 2, reduction="none"),
        lambda x: ((1 - x[[0, 1, 2], LABELS, None] + x).clamp_min(0).square() * (F.one_hot(LABELS) == 0)).mean(1),
        [(3, 3)],
    ),
    "bags": (lambda w: embedding_bag(NAMES, w), lambda w: w[NAMES].mean(1), [(4, 3)]),
    "bags, weighted": (
        lambda w, s: embedding_bag(NAMES, w, mode="sum", per_sample_weights=s),
        lambda w, s: (w[NAMES] * s[..., None]).sum(1),
        [(4, 3), (2, 2)],
    ),
}


def masks():
    seen = torch.rand(5, 6) > 0.4
    seen[2] = False  # a query that sees no key
    return {
        "none": {},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": seen},
        "padding": {"attn_mask": torch.tensor([1, 1, 1, 1, 0, 0], dtype=torch.bool).expand(2, 1, 1, 6)},
        "blind": {"attn_mask": torch.zeros(5, 6, dtype=torch.bool)},
        "added": {"attn_mask": normal(2, 3, 5, 6)},
        "added to all": {"attn_mask": normal(1, 1, 5, 6), "scale": 0.7},
        "minus infinity": {"attn_mask": torch.zeros(5, 6, dtype=torch.float64).masked_fill(~seen, -torch.inf)},
    }


def ground(kind):
    """Our kernel, torch's, and inputs."""
    torch.manual_seed(1)
    if kind in OTHERS:
        *pair, shapes = OTHERS[kind]
        return *pair, [normal(*shape) for shape in shapes]
    if kind == "silu":
        return silu, F.silu, [normal(3, 4) * 2]
    if kind.startswith("norm"):
        inputs = [normal(2, 3, 4, 5), *([normal(4, 5), normal(4, 5)] if kind == "norm" else [])]
        inputs += [normal(4, 5)] if kind in ("norm-scale", "norm-shift") else []
        if kind == "norm-shift":
            return (
                (lambda x, b: layer_norm.layer_norm(x, (4, 5), None, b)),
                (lambda x, b: plain_norm(x, None, b)),
                inputs,
            )
        return (lambda x, *r: layer_norm.layer_norm(x, (4, 5), *r)), plain_norm, inputs
    if kind.partition(" ")[0] in CHANNELS:
        name, dimensions, scales = kind.split()
        return *CHANNELS[name], [normal(*SHAPES[int(dimensions)]), *(normal(4) for _ in range(int(scales)))]
    options = masks()[kind]
    inputs = [normal(2, 3, 5, 4), normal(2, 3, 6, 4), normal(2, 3, 6, 4)]
    return (lambda *x: attention(*x, **options)), (lambda *x: math_attention(*x, **options)), inputs


NORMS = [f"{name} {d} 2" for name in CHANNELS for d in SHAPES if d or name != "instance"]
NORMS += [f"{name} 2 {scales}" for name in CHANNELS for scales in (0, 1)]
KINDS = ["silu", "norm", "norm-scale", "norm-shift", "norm-bare", *NORMS, *masks(), *OTHERS]


def leaves(inputs):
    return [x.detach().clone().requires_grad_() for x in inputs]


def derivatives(kernel, inputs, *, wanted=None, batched=False):
    """Second derivatives of a kernel, and third ones in the cotangents, for cotangents that only depend on shapes."""
    torch.manual_seed(2)
    inputs = leaves(inputs)
    out = kernel(*inputs)
    g = normal(*out.shape).to(out.dtype).requires_grad_()
    found = torch.autograd.grad(out, inputs, g, create_graph=True)
    if wanted is not None:
        found = [found[i] for i in wanted]
    size = (3,) if batched else ()
    cotangents = [normal(*size, *f.shape).to(f.dtype).requires_grad_() for f in found]
    second = torch.autograd.grad(
        found, [g, *inputs], cotangents, create_graph=True, is_grads_batched=batched, materialize_grads=True
    )
    again = [normal(*s.shape).to(s.dtype) for s in second]
    third = torch.autograd.grad(second, [*cotangents, g, *inputs], again, materialize_grads=True)
    return second, third


def agree(found, truth, tolerance=1e-10):
    for a, b in zip(found, truth, strict=True):
        a, b = a.detach(), b.detach()
        assert torch.isfinite(a).all()
        assert float((a - b).norm()) <= tolerance * max(float(b.norm()), 1.0)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_second_and_third_derivatives_equal_torchs(kind, batched):
    ours, torchs, inputs = ground(kind)
    for found, truth in zip(
        derivatives(ours, inputs, batched=batched), derivatives(torchs, inputs, batched=batched), strict=True
    ):
        agree(found, truth)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_do_not_depend_on_blocks(kind, monkeypatch):
    ours, torchs, inputs = ground(kind)
    monkeypatch.setattr(blocks, "BLOCK", 60)
    agree(derivatives(ours, inputs)[0], derivatives(torchs, inputs)[0])


@pytest.mark.parametrize("size", [60, blocks.BLOCK])
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_are_the_same_where_no_third_is_asked_for(kind, size, monkeypatch):
    """Then temporaries are written over, blocks put in place, and moments and slopes taken from the first sweep."""
    ours, torchs, inputs = ground(kind)
    monkeypatch.setattr(blocks, "BLOCK", size)
    truth = derivatives(torchs, inputs)[0]
    torch.manual_seed(2)  # the cotangents of `derivatives`
    inputs = leaves(inputs)
    out = ours(*inputs)
    g = normal(*out.shape).requires_grad_()
    found = torch.autograd.grad(out, inputs, g, create_graph=True)
    cotangents = [normal(*f.shape) for f in found]
    kept = [c.clone() for c in (g, *inputs, *cotangents)]
    agree(torch.autograd.grad(found, [g, *inputs], cotangents, materialize_grads=True), truth)
    assert all(torch.equal(a, b) for a, b in zip((g, *inputs, *cotangents), kept, strict=True))


@pytest.mark.parametrize("kind", ["norm", "batch 2 2", "group 2 2", "causal", "added"])
def test_a_cotangent_that_is_missing_is_zero(kind):
    ours, torchs, inputs = ground(kind)
    for chosen in range(len(inputs)):
        agree(derivatives(ours, inputs, wanted=[chosen])[0], derivatives(torchs, inputs, wanted=[chosen])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_equal_finite_differences(kind):
    ours, _, inputs = ground(kind)
    assert torch.autograd.gradcheck(ours, leaves(inputs))
    assert torch.autograd.gradgradcheck(ours, leaves(inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_asked_for_gets_a_cotangent(kind):
    ours, torchs, inputs = ground(kind)
    for chosen in range(len(inputs)):
        results = []
        for kernel in (ours, torchs):
            torch.manual_seed(3)
            x = [t.detach().clone().requires_grad_(i == chosen) for i, t in enumerate(inputs)]
            out = kernel(*x)
            g = normal(*out.shape)
            (first,) = torch.autograd.grad(out, [x[chosen]], g, create_graph=True)
            second = [torch.zeros(())]
            if first.requires_grad:
                second = torch.autograd.grad(first, [x[chosen]], normal(*first.shape), materialize_grads=True)
            results.append([first, *second])
        agree(*results)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 3), max_size=3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["none", "causal", "boolean", "added"]),
    st.integers(0, 1000),
)
def test_attention_of_any_shape(heads, queries, keys, e, d, kind, seed):
    torch.manual_seed(seed)
    inputs = [normal(*heads, queries, e), normal(*heads, keys, e), normal(*heads, keys, d)]
    seen = torch.rand(queries, keys) > 0.3
    seen[:, 0] = True  # torch's own third derivative is not a number where a query sees no key
    options = {
        "none": {},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": seen},
        "added": {"attn_mask": normal(*(1 for _ in heads), queries, keys)},
    }[kind]
    found = derivatives(lambda *x: attention(*x, **options), inputs)
    truth = derivatives(lambda *x: math_attention(*x, **options), inputs)
    for a, b in zip(found, truth, strict=True):
        agree(a, b)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(2, 9), st.floats(1e-6, 1.0), st.integers(0, 1000))
def test_normalisation_of_any_shape(rows, n, eps, seed):
    torch.manual_seed(seed)
    inputs = [normal(*rows, n), normal(n), normal(n)]
    found = derivatives(lambda x, w, b: layer_norm.layer_norm(x, (n,), w, b, eps), inputs)
    truth = derivatives(lambda x, w, b: plain_norm(x, w, b, (-1,), eps), inputs)
    for a, b in zip(found, truth, strict=True):
        agree(a, b, 1e-8)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["batch", "group", "instance"]),
    st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(2, 3), st.integers(1, 3)),
    st.booleans(),
    st.integers(0, 1000),
)
def test_normalisation_of_channels_of_any_shape(name, shape, last, seed):
    torch.manual_seed(seed)
    batch, half, *image = shape
    x = normal(batch, 2 * half, *image)
    inputs = [x.contiguous(memory_format=torch.channels_last) if last else x, normal(2 * half), normal(2 * half)]
    ours, plain = CHANNELS[name]
    for a, b in zip(derivatives(ours, inputs), derivatives(plain, inputs), strict=True):
        agree(a, b, 1e-8)


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_a_single_channel(name):
    torch.manual_seed(0)
    inputs = [normal(4, 1, 3, 2), normal(1), normal(1)]
    ours = (lambda *x: group_norm(x[0], 1, *x[1:])) if name == "group" else CHANNELS[name][0]
    plain = lambda *x: plain_channels(*x, dims=(0, 3, 4) if name == "batch" else (2, 3, 4))  # noqa: E731
    for a, b in zip(derivatives(ours, inputs), derivatives(plain, inputs), strict=True):
        agree(a, b)


@pytest.mark.parametrize("name", ["batch", "group"])
def test_cotangents_far_from_zero_cancel_no_digits(name):
    ours, plain, inputs = ground(f"{name} 2 2")
    inputs = [inputs[0] + 30, *inputs[1:]]

    def second(kernel, dtype):
        x = leaves([t.to(dtype) for t in inputs])
        out = kernel(*x)
        torch.manual_seed(2)
        g = (normal(*out.shape) + 10).to(dtype).requires_grad_()
        found = torch.autograd.grad(out, x, g, create_graph=True)
        return torch.autograd.grad(found, [g, *x[:2]], [(normal(*f.shape) + 10).to(dtype) for f in found])

    for a, b in zip(second(ours, torch.float32), second(plain, torch.float64), strict=True):
        assert float((a.double() - b).norm()) <= 1e-3 * float(b.norm())


@pytest.mark.parametrize("shape", SHAPES.values())
@pytest.mark.parametrize("batched", [False, True])
def test_moments_equal_torchs(shape, batched):
    torch.manual_seed(0)
    inputs = [normal(*shape) + 3]
    plain = lambda x: torch.stack(torch.var_mean(x, [0, *range(2, x.ndim)]))  # noqa: E731
    ours = lambda x: torch.stack(moments(x))  # noqa: E731
    agree([ours(*inputs)], [plain(*inputs)])
    for a, b in zip(
        derivatives(ours, inputs, batched=batched), derivatives(plain, inputs, batched=batched), strict=True
    ):
        agree(a, b)
    assert torch.autograd.gradgradcheck(ours, leaves(inputs))


@pytest.mark.parametrize("kind", ["silu", "norm", "batch 2 2", "group 2 2", "causal", "boolean", "weight-norm"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_lower_precision_is_near(kind, dtype, tolerance):
    ours, torchs, inputs = ground(kind)
    inputs = [x.to(dtype) for x in inputs]
    found, truth = derivatives(ours, inputs)[0], derivatives(torchs, [x.double() for x in inputs])[0]
    assert all(f.dtype == dtype for f in found)
    for a, b in zip(found, truth, strict=True):
        a, b = a.detach(), b.detach()
        assert float((a - b).norm()) <= tolerance * float(b.norm())
