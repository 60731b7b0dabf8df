"""Batch, group and instance normalisation inside windows keep torch's bits, statistics, memory formats and errors."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.kernels import batch_norm, substitution, twice_differentiable
from ray_glocal.hypergradient.window.tape import Tape

from .test_substitution import DEVICES, cuda, curvature, nodes, step


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(batch_norm, "SMALL_BATCH_NORM", 0)


def network(norm, wide=6):
    """Two convolutions, normalised; the second activation works in place, as they often do."""
    layers = [nn.Conv2d(3, wide, 3, bias=False), norm(wide), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(wide, wide, 3, bias=False), norm(wide), nn.ReLU(inplace=True))


NETWORKS = {
    "batch": lambda: network(nn.BatchNorm2d),
    "bare": lambda: network(lambda wide: nn.BatchNorm2d(wide, affine=False)),
    "cumulative": lambda: network(lambda wide: nn.BatchNorm2d(wide, momentum=None)),
    "stateless": lambda: network(lambda wide: nn.BatchNorm2d(wide, track_running_stats=False)),
    "group": lambda: network(lambda wide: nn.GroupNorm(3, wide)),
    "group-bare": lambda: network(lambda wide: nn.GroupNorm(wide, wide, affine=False)),
    "instance": lambda: network(lambda wide: nn.InstanceNorm2d(wide, affine=True)),
    "instance-bare": lambda: network(nn.InstanceNorm2d),
}
SINGLE = {
    "batch-flat": (lambda: nn.BatchNorm1d(5), (4, 5)),
    "batch-1d": (lambda: nn.BatchNorm1d(5), (4, 5, 3)),
    "batch-3d": (lambda: nn.BatchNorm3d(4), (3, 4, 2, 3, 2)),
    "batch-one-channel": (lambda: nn.BatchNorm2d(1), (4, 1, 3, 3)),
    "group-flat": (lambda: nn.GroupNorm(2, 6), (4, 6)),
    "group-1d": (lambda: nn.GroupNorm(2, 6), (4, 6, 3)),
    "group-3d": (lambda: nn.GroupNorm(1, 4), (3, 4, 2, 3, 2)),
    "instance-1d": (lambda: nn.InstanceNorm1d(5, affine=True), (4, 5, 3)),
    "instance-3d": (lambda: nn.InstanceNorm3d(4), (3, 4, 2, 3, 2)),
}
FORMATS = [torch.contiguous_format, torch.channels_last]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def case(kind, device="cpu", memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    if kind in SINGLE:
        model, shape = SINGLE[kind][0](), SINGLE[kind][1]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        return model.to(device), torch.randn(shape, device=device).requires_grad_()
    x = torch.randn(4, 3, 8, 8, device=device).contiguous(memory_format=memory_format)
    return NETWORKS[kind]().to(device, memory_format=memory_format), x


def check(model, x, ours="NormalisationBackward"):
    """Values, gradients and buffers keep their bits; the kernels are ours."""
    twin = copy.deepcopy(model)
    if not list(model.parameters()):
        model, twin = (nn.Sequential(nn.Conv1d(5, 5, 1), m) for m in (model, twin))
    for _ in range(2):
        plain, kept = step(twin, x, False), step(model, x, True)
        assert same(plain, kept)
        assert [p.stride() for p in plain[1:]] == [k.stride() for k in kept[1:]]
        assert same(twin.buffers(), model.buffers())
    assert ours in nodes(kept[0])


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_networks_keep_their_bits_and_statistics(kind, memory_format):
    check(*case(kind, memory_format=memory_format))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_autocast_keeps_them_too(kind, dtype):
    with torch.autocast("cpu", dtype):
        check(*case(kind))


@pytest.mark.parametrize("kind", [k for k in sorted(SINGLE) if k != "instance-3d"])
def test_every_number_of_dimensions_keeps_its_bits(kind):
    check(*case(kind))


@pytest.mark.parametrize("kind", sorted(SINGLE))
def test_input_gradients_keep_their_bits_and_second_ones_equal_torchs(kind):
    model, x = case(kind)
    x = x.detach().double().requires_grad_()
    model = model.double()

    def told(inside):
        wanted = [x, *model.parameters()]
        if inside:
            with twice_differentiable(model):
                found = torch.autograd.grad(model(x).pow(3).sum(), wanted, create_graph=True)
        else:
            found = torch.autograd.grad(model(x).pow(3).sum(), wanted, create_graph=True)
        torch.manual_seed(1)
        return found, torch.autograd.grad(found, wanted, [torch.randn_like(f) for f in found], materialize_grads=True)

    plain = torch.autograd.grad(model(x).pow(3).sum(), [x, *model.parameters()])
    (first, second), (_, truth) = told(True), told(False)
    assert same(first, plain)
    for a, b in zip(second, truth, strict=True):
        assert float((a - b).norm()) < 1e-10 * max(float(b.norm()), 1e-3)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_hessian_products_of_networks_equal_torchs(kind, memory_format):
    model, x = case(kind, memory_format=memory_format)
    model, x = model.double(), x.double()
    for a, b in zip(curvature(model, x, True), curvature(model, x, False), strict=True):
        assert float((a - b).norm()) < 1e-10 * max(float(b.norm()), 1e-3)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("kind", ["batch", "group", "instance"])
def test_memory_formats_are_those_of_torch(kind, memory_format):
    torch.manual_seed(0)
    norm = {"batch": nn.BatchNorm2d(4), "group": nn.GroupNorm(2, 4), "instance": nn.InstanceNorm2d(4)}[kind]
    x = torch.randn(3, 4, 5, 6).contiguous(memory_format=memory_format).requires_grad_()
    plain = norm(x)
    with twice_differentiable(norm):
        out = norm(x)
    assert out.stride() == plain.stride()
    g = torch.randn_like(out).requires_grad_()
    (first,) = torch.autograd.grad(out, x, g, create_graph=True)
    assert first.stride() == torch.autograd.grad(plain, x, g)[0].stride()
    second = torch.autograd.grad(first, [x, g], torch.randn_like(first))
    if kind != "instance":  # whose input torch makes contiguous
        assert [s.stride() for s in second] == [x.stride(), g.stride()]


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_tensors_of_odd_strides(kind):
    torch.manual_seed(0)
    norm = (nn.BatchNorm2d(4) if kind == "batch" else nn.GroupNorm(2, 4)).double()
    x = torch.randn(6, 5, 4, 3, dtype=torch.float64).transpose(1, 2).requires_grad_()
    g = torch.randn(5, 1, dtype=torch.float64).expand(3, 4, 5, 6).permute(3, 1, 2, 0)
    found = []
    for inside in (True, False):
        if inside:
            with twice_differentiable(norm):
                out = norm(x)
        else:
            out = norm(x)
        (first,) = torch.autograd.grad(out, x, g, create_graph=True)
        (second,) = torch.autograd.grad(first, x, g)
        found.append((out, first, second))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: F.batch_norm(x, None, None, training=True), ValueError),
        (lambda x: F.batch_norm(x, None, None, torch.ones(3), training=True), (ValueError, RuntimeError)),
        (lambda x: F.instance_norm(x[..., None]), ValueError),
        (
            lambda x: torch.instance_norm(x[0], None, None, None, None, True, 0.1, 1e-5, True),
            (RuntimeError, IndexError),
        ),
        (lambda x: F.group_norm(x.repeat(3, 1), 3), RuntimeError),
        (lambda x: F.group_norm(x, 0), (RuntimeError, ZeroDivisionError)),
        (lambda x: F.group_norm(x, 4), ValueError),
        (lambda x: F.group_norm(x[0], 2), RuntimeError),
        (lambda x: F.group_norm(x.repeat(2, 1), 2, torch.ones(3)), RuntimeError),
        (lambda x: F.batch_norm(x.repeat(2, 1), torch.zeros(3), torch.ones(3), training=True), RuntimeError),
    ],
)
def test_what_torch_refuses_is_refused_alike(call, error):
    x = torch.randn(1, 4, requires_grad=True)
    with pytest.raises(error) as plain:
        call(x)
    with twice_differentiable(nn.Identity()), pytest.raises(error) as ours:
        call(x)
    assert str(ours.value) == str(plain.value)


def test_what_is_not_covered_is_left_to_torch(monkeypatch):
    x = torch.randn(3, 4, 2, 2, requires_grad=True)
    with twice_differentiable(nn.Identity()) as ours:
        nn.BatchNorm2d(4).eval()(x)
        nn.InstanceNorm2d(4, track_running_stats=True)(x)
        nn.BatchNorm2d(4)(x[:0])
        assert not ours.used
        monkeypatch.setattr(batch_norm, "SMALL_BATCH_NORM", 49)
        nn.BatchNorm2d(4)(x)
        assert not ours.used
        monkeypatch.setattr(batch_norm, "SMALL_BATCH_NORM", 48)
        nn.BatchNorm2d(4)(x)
        assert ours.used


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_layers_that_are_checkpointed(kind):
    model, x = case(kind)
    parameters = list(model.parameters())

    def products(run):
        with twice_differentiable(model):
            found = torch.autograd.grad(run(x).square().mean(), parameters, create_graph=True)
            return torch.autograd.grad(found, parameters, [f.detach() for f in found])

    again = products(lambda x: checkpoint(model, x, use_reentrant=False))
    assert same(products(model), again)


# ---- windows ----


def loss(model, batch):
    return F.cross_entropy(model(batch[0]).mean((2, 3)), batch[1])


def window(kind, dtype):
    """Hypergradient of a window, and whether its graphs were kept."""
    torch.manual_seed(0)
    model = NETWORKS[kind]().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.8)
    told = [Hyperparameter("lr", 0.1, scale="log"), Hyperparameter("momentum", 0.8, 0.0, 1.0, "logit")]
    problem = Problem(model, optimizer, loss, loss, told)
    batches = [(torch.randn(8, 3, 8, 8, dtype=dtype), torch.randint(6, (8,))) for _ in range(5)]
    tape = Tape(problem, 4)
    record = record_window(problem, batches[:4], batches[4:], problem.start_values(), tape=tape)
    return adjoint_trajectory(problem, record).derivatives, tape.keeping.graphs


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_windows_keep_their_graphs_and_tell_the_same(kind, dtype, tolerance, monkeypatch):
    found, kept = window(kind, dtype)
    assert kept
    functions = (torch.batch_norm, torch.group_norm, torch.instance_norm)
    fewer = {f: kernel for f, kernel in substitution.KERNELS.items() if f not in functions}
    monkeypatch.setattr(substitution, "KERNELS", fewer)
    truth, _ = window(kind, dtype)
    torch.testing.assert_close(found, truth, rtol=tolerance, atol=tolerance * float(truth.abs().max()))


# ---- on a GPU ----


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("autocast", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_a_gpu_keeps_its_bits(kind, memory_format, autocast):
    torch.backends.cudnn.deterministic = True
    try:
        with torch.autocast("cuda", autocast, enabled=autocast is not None):
            check(*case(kind, "cuda", memory_format))
    finally:
        torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_hessian_products_in_single_precision_are_near(kind, device):
    model, x = case(kind, device)
    for a, b in zip(curvature(model, x, True), curvature(model, x, False), strict=True):
        assert float((a - b).norm()) < 1e-4 * max(float(b.norm()), 1e-2)
