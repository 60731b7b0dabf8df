"""Both engines against one autograd graph of the whole window."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import adjoint_trajectory, forward_trajectory

from ..cases import JUMPING, MODELS, OPTIMIZERS, VARIANTS, Case, relative
from ..twin import Unrolled

EXACT = 1e-10


def compare(case: Case, tolerance: float = EXACT, *, kept: bool = False) -> None:
    case.problem.write_options(None, case.problem.start_values())
    randomness = torch.get_rng_state()
    twin = Unrolled(case.problem, case.batches, case.val_batches)
    torch.set_rng_state(randomness)
    window = case.window(kept=kept)
    forward, adjoint = forward_trajectory(case.problem, window), adjoint_trajectory(case.problem, window)
    truth, lags = twin.forward(), twin.lags()
    errors = relative(forward.derivatives, truth), relative(adjoint.derivatives, lags)
    ends = relative(forward.derivatives[-1], truth[-1]), relative(adjoint.derivatives[-1], truth[-1])
    print("relative errors:", *(f"{e:.1e}" for e in (*errors, *ends)))  # noqa: T201 - shown by `pytest -rP`
    assert max(*errors, *ends) < tolerance
    assert forward.loss == pytest.approx(adjoint.loss, rel=tolerance)
    assert forward.loss == pytest.approx(float(twin.losses[-1].detach()), rel=tolerance)
    assert (forward.kind, adjoint.kind) == ("forward", "lag")


@pytest.mark.parametrize("kept", [False, True])
def test_engines_equal_the_unrolled_graph(case, kept):
    compare(case, kept=kept)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("optimizer", JUMPING)
@pytest.mark.parametrize("model", MODELS)
def test_engines_equal_the_unrolled_graph_where_steps_jump(model, optimizer, warm):
    case = Case.build(model, optimizer)
    if warm:
        case.warm_up()
    compare(case)


@pytest.mark.parametrize("tail", [2, 3])
def test_the_loss_of_mean_parameters_equals_the_unrolled_graph(case, tail):
    case.problem.write_options(None, case.problem.start_values())
    randomness = torch.get_rng_state()
    lags = Unrolled(case.problem, case.batches, case.val_batches).tail_lags(tail)
    torch.set_rng_state(randomness)
    assert relative(adjoint_trajectory(case.problem, case.window(), tail).derivatives, lags) < EXACT


@pytest.mark.parametrize("tail", [0, 99])
def test_a_tail_longer_than_the_window_is_refused(tail):
    case = Case.build("mlp", "sgd")
    with pytest.raises(ArgumentError, match=r"`tail` must be 1 to \d+, the steps of the window; got"):
        adjoint_trajectory(case.problem, case.window(), tail)


def test_engines_equal_the_unrolled_graph_in_the_middle_of_training(case):
    case.warm_up()
    compare(case)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"batchnorm-images"}))
def test_engines_equal_the_unrolled_graph_on_awkward_models(variant, optimizer, kept):
    compare(Case.build(variant, optimizer), kept=kept)


def both(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    window = case.window()
    return (
        forward_trajectory(case.problem, window).derivatives,
        adjoint_trajectory(case.problem, window).derivatives,
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("model", MODELS)
def test_single_precision_agrees_with_double(model, optimizer):
    truth = both(Case.build(model, optimizer))
    single = Case.build(model, optimizer, dtype=torch.float32)
    found = both(single)
    errors = [relative(a, b) for a, b in zip(found, truth, strict=True)]
    print("relative errors:", *(f"{e:.1e}" for e in errors))  # noqa: T201 - shown by `pytest -rP`
    assert max(errors) < 1e-3
    assert all(a.dtype == torch.float64 for a in found)
    # The options are double precision, and must not lift the parameters to theirs.
    assert all(p.dtype == torch.float32 for p in single.window().end.parameters)


class Checkpointed(nn.Module):
    """Keeps nothing for the backward pass, but runs again."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


@pytest.mark.parametrize("model", ["mlp", "attention"])
def test_a_checkpointed_model_has_the_same_derivatives(model):
    truth, case = both(Case.build(model, "sgd")), Case.build(model, "sgd")
    case.problem.model = Checkpointed(case.problem.model)
    window = case.window()
    for engine, true in zip((forward_trajectory, adjoint_trajectory), truth, strict=True):
        assert relative(engine(case.problem, window).derivatives, true) < EXACT


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="this torch cannot set compilation aside")
@pytest.mark.parametrize("model", ["mlp", "batchnorm"])
def test_a_compiled_model_is_differentiated_eagerly(model):
    truth = both(Case.build(model, "sgd"))
    compiled = Case.build(model, "sgd")
    compiled.problem.model = torch.compile(compiled.problem.model, backend="aot_eager")
    for found, true in zip(both(compiled), truth, strict=True):
        assert relative(found, true) < 1e-10


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("model", "optimizer"), [("attention", "adamw"), ("batchnorm", "sgd"), ("mlp", "lion")])
def test_engines_equal_the_unrolled_graph_on_a_gpu(model, optimizer, kept):
    compare(Case.build(model, optimizer, device="cuda"), 1e-8, kept=kept)


@pytest.mark.gpu
@cuda
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_engines_follow_muon_on_a_gpu_as_far_as_its_half_precision_goes():
    compare(Case.build("mlp", "muon", device="cuda"), 2e-2)


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        *((model, "sgd") for model in (*MODELS, "batchnorm", "batchnorm-images", "tied", "unused")),
        *(("mlp", optimizer) for optimizer in sorted({*OPTIMIZERS, "lion"} - {"sgd"})),
    ],
)
def test_a_gpu_finds_what_the_cpu_finds(model, optimizer):
    found = both(Case.build(model, optimizer, device="cuda"))
    for got, truth in zip(found, both(Case.build(model, optimizer)), strict=True):
        assert relative(got, truth) < 1e-7
