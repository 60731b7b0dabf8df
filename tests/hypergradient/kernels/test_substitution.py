"""Inside windows torch's functions are replaced, and nothing else changes: the bits, the memory, the settings."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ray_glocal.hypergradient.kernels import layer_norm, twice_differentiable
from ray_glocal.hypergradient.kernels.backends import allowed


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(layer_norm, "SMALL_LAYER_NORM", 0)


class Block(nn.Module):
    """Attention and a wide layer, each behind a normalisation."""

    def __init__(self, d=8, heads=2, **options):
        super().__init__()
        self.first, self.second = nn.LayerNorm(d), nn.LayerNorm(d)
        self.mix, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.wide, self.narrow = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.heads, self.options = heads, options

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.mix(self.first(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, **self.options).transpose(1, 2).flatten(2))
        return x + self.narrow(F.silu(self.wide(self.second(x))))


def nodes(loss):
    """Names of the nodes of a graph."""
    names, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        names.add(node.name())
        todo += [n for n, _ in node.next_functions if n is not None]
    return names


def step(model, x, inside):
    """Loss, gradients and, inside a window, the names of the nodes."""
    parameters = list(model.parameters())
    if not inside:
        loss = model(x).square().mean()
        return [loss, *torch.autograd.grad(loss, parameters, allow_unused=True)]
    with twice_differentiable(model):
        loss = model(x).square().mean()
        return [loss, *torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)]


MASK = torch.ones(6, 6, dtype=torch.bool).tril()
OURS = {"AttentionBackward", "LayerNormBackward", "SiLUBackward"}
MODELS = {
    "causal": lambda: Block(is_causal=True),
    "boolean": lambda: Block(attn_mask=MASK),
    "float": lambda: Block(attn_mask=torch.randn(4, 1, 6, 6)),
    "scale": lambda: Block(scale=0.3),
    "silu": lambda: nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.LayerNorm(8, bias=False)),
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, F.silu, batch_first=True),
    "encoder-first": lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, F.silu, batch_first=True, norm_first=True),
}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_values_and_gradients_keep_their_bits(kind):
    torch.manual_seed(0)
    model, x = MODELS[kind](), torch.randn(4, 6, 8)
    plain, kept = step(model, x, False), step(model, x, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))
    missing = OURS - nodes(kept[0])
    assert missing == ({"AttentionBackward"} if kind == "silu" else set())


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_its_bits_too(kind, dtype):
    torch.manual_seed(0)
    model, x = MODELS[kind](), torch.randn(4, 6, 8)
    with torch.autocast("cpu", dtype):
        plain, kept = step(model, x, False), step(model, x, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))


def curvature(model, x, inside):
    parameters = list(model.parameters())
    torch.manual_seed(5)
    vectors = [torch.randn_like(p) for p in parameters]
    if inside:
        found = step(model, x, True)[1:]
    else:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            found = torch.autograd.grad(model(x).square().mean(), parameters, create_graph=True)
    return torch.autograd.grad(found, parameters, vectors, materialize_grads=True)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_hessian_products_of_whole_models_equal_torchs(kind):
    torch.manual_seed(0)
    model, x = MODELS[kind]().double(), torch.randn(4, 6, 8, dtype=torch.float64)
    if "attn_mask" in getattr(model, "options", {}) and model.options["attn_mask"].is_floating_point():
        model.options["attn_mask"] = model.options["attn_mask"].double()
    for a, b in zip(curvature(model, x, True), curvature(model, x, False), strict=True):
        assert float((a - b).norm()) < 1e-10 * max(float(b.norm()), 1e-3)


@pytest.mark.parametrize("weights", [False, True])
def test_multi_head_attention_is_entered(weights):
    torch.manual_seed(0)
    model, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(4, 6, 8)
    parameters = list(model.parameters())
    plain = torch.autograd.grad(model(x, x, x, need_weights=weights)[0].square().sum(), parameters)
    with twice_differentiable(model):
        out = model(x, x, x, need_weights=weights)[0].square().sum()
        kept = torch.autograd.grad(out, parameters, create_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))
    assert ("AttentionBackward" in nodes(out)) != weights


@pytest.mark.parametrize(
    "options",
    [
        {"dropout_p": 0.5},
        {"attn_mask": torch.zeros(6, 6, requires_grad=True)},
        {"attn_mask": torch.zeros(6, 6), "is_causal": False, "dropout_p": 0.1},
    ],
)
def test_what_is_not_covered_is_left_to_torchs_math(options):
    model, x = Block(**options), torch.randn(4, 6, 8)
    loss, *found = step(model, x, True)
    assert "AttentionBackward" not in nodes(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(found, list(model.parameters()), found))


def test_heads_that_are_shared_are_left_to_torchs_math():
    q, k = torch.randn(2, 4, 5, 3, requires_grad=True), torch.randn(2, 2, 5, 3, requires_grad=True)
    with twice_differentiable(nn.Identity()):
        out = F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
        assert "AttentionBackward" not in nodes(out)
        out = F.scaled_dot_product_attention(q, k[:, :1], k[:, :1])
        assert "AttentionBackward" not in nodes(out)


def test_functional_transforms_are_left_to_torch():
    x = torch.randn(5, 3, requires_grad=True)
    with twice_differentiable(nn.Identity()):
        rows = torch.func.vmap(torch.func.grad(lambda t: F.silu(t).sum()))(x)
        torch.func.jvp(F.silu, (x,), (x,))
    assert torch.allclose(rows, torch.autograd.grad(F.silu(x).sum(), x)[0])


def test_small_tensors_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(layer_norm, "SMALL_LAYER_NORM", 16)
    with twice_differentiable(nn.Identity()):
        names = [nodes(F.layer_norm(torch.zeros(n, requires_grad=True), (n,))) for n in (15, 16)]
    assert ["LayerNormBackward" in n for n in names] == [False, True]


@pytest.mark.parametrize(
    "layer",
    [
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(),
        nn.LayerNorm(16),
        nn.LayerNorm(16, bias=False),
        nn.LayerNorm(16, elementwise_affine=False),
    ],
    ids=str,
)
def test_small_layers_keep_their_bits(layer, monkeypatch):
    """Or their graphs would not be kept: torch's gradient of some has other bits where it is differentiated."""
    monkeypatch.undo()
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 16), layer), torch.randn(32, 8)
    plain, kept = step(model, x, False), step(model, x, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))
    assert torch.autograd.grad(kept[1].square().sum(), model[0].weight)[0].abs().max() > 0


def test_an_activation_in_place_stays_in_place():
    x = torch.randn(4, requires_grad=True)
    with twice_differentiable(nn.Identity()):
        y = x * 1
        assert F.silu(y, inplace=True) is y


def test_settings_come_back_and_the_models_own_choice_stands():
    before = allowed()
    q = torch.randn(2, 2, 6, 4, requires_grad=True)
    backend = torch.nn.attention.SDPBackend
    with twice_differentiable(nn.Identity()):
        assert allowed() == [backend.MATH]
        with torch.nn.attention.sdpa_kernel([backend.FLASH_ATTENTION]):
            F.scaled_dot_product_attention(q, q, q)
            assert allowed() == [backend.FLASH_ATTENTION]
    assert allowed() == before


@pytest.mark.parametrize("kind", ["causal", "float", "encoder"])
def test_graphs_are_freed(kind):
    model, x = MODELS[kind](), torch.randn(4, 6, 8)
    gc.collect()
    gc.disable()
    try:
        kept = []
        with twice_differentiable(model):
            hook = model.register_forward_hook(lambda m, i, out: kept.append(weakref.ref(out)))
            loss = model(x).square().mean()
            found = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        hook.remove()
        second = torch.autograd.grad(found, list(model.parameters()), found, materialize_grads=True)
        kept += [weakref.ref(t) for t in (loss, *found)]
        del loss, found
        assert all(reference() is None for reference in kept)
        assert second[0].grad_fn is None
    finally:
        gc.enable()


def test_memory_stays_the_same_over_repetitions():
    model, x = Block(is_causal=True), torch.randn(4, 6, 8)

    def tensors():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    def work():
        found = step(model, x, True)[1:]
        torch.autograd.grad(found, list(model.parameters()), found)

    work()
    before = tensors()
    for _ in range(3):
        work()
    assert tensors() == before


def test_a_change_in_place_of_what_backward_needs_is_noticed():
    q = torch.randn(2, 2, 6, 4, requires_grad=True)
    with twice_differentiable(nn.Identity()):
        y = q * 1
        out = F.silu(y)
        y.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["causal", "scale", "encoder", "tanh"])
def test_a_gpu_keeps_its_bits(kind, dtype):
    torch.manual_seed(0)
    model, x = MODELS[kind]().to("cuda", dtype), torch.randn(4, 6, 8, device="cuda", dtype=dtype)
    plain, kept = step(model, x, False), step(model, x, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", sorted(MODELS.keys() - {"float", "boolean"}))
def test_a_gpu_keeps_its_bits_under_autocast(kind, dtype):
    torch.manual_seed(0)
    model, x = MODELS[kind]().to("cuda"), torch.randn(4, 6, 8, device="cuda")
    with torch.autocast("cuda", dtype):
        plain, kept = step(model, x, False), step(model, x, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))


DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, cuda])]


@pytest.mark.parametrize("device", DEVICES)
def test_long_sequences_under_autocast_stay_the_same_to_rounding(device):
    """Fused kernels for them may add up in another order each time."""
    torch.manual_seed(0)
    model, x = Block(d=128, heads=2, is_causal=True).to(device), torch.randn(2, 192, 128, device=device)
    with torch.autocast(device, torch.bfloat16):
        plain, kept = step(model, x, False), step(model, x, True)
    for a, b in zip(plain, kept, strict=True):
        a, b = a.detach().float(), b.detach().float()
        assert float((a - b).norm()) <= 1e-2 * float(a.norm())
