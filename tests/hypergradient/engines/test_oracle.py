"""The exact global hypergradient against finite differences of real runs."""

import pytest
import torch

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import adjoint_trajectory, forward_trajectory, global_hypergradient
from ray_glocal.hypergradient.engines.oracle import final_loss, finite_differences

from ..cases import OPTIMIZERS, Case, relative


def compare(case, step_sizes=(1e-3, 1e-4), tolerance=1e-2):
    problem, values = case.problem, case.problem.start_values()
    exact = global_hypergradient(problem, case.batches, case.val_batches, values)
    truth = finite_differences(problem, case.batches, case.val_batches, values, step_sizes)
    line = problem.pull_back(values, exact.derivatives)[-1]
    # Entries of one simplex sum to zero on the line, so a share may lie near zero by chance: scale by what matters.
    assert truth.step_sizes == step_sizes
    errors = [relative(line, row) for row in truth.derivatives]
    print("relative errors:", *(f"{e:.1e}" for e in errors))  # noqa: T201 - shown by `pytest -rP`
    assert max(errors) < tolerance
    for row in truth.derivatives:
        assert torch.equal(line.sign(), row.sign())
    assert exact.loss == pytest.approx(final_loss(problem, case.batches, case.val_batches, values), rel=1e-12)


def test_the_oracle_agrees_with_central_differences(case):
    compare(case)


def test_the_oracle_agrees_with_central_differences_in_the_middle_of_training():
    for optimizer in ("sgd", "adamw"):
        case = Case.build("mlp", optimizer, steps=12)
        case.warm_up()
        compare(case, (1e-2, 1e-3, 1e-4))


@pytest.mark.parametrize("variant", ["dropout", "tied", "unused", "frozen"])
def test_the_oracle_agrees_with_central_differences_on_awkward_models(variant):
    compare(Case.build(variant, "sgd"))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_oracle_agrees_with_central_differences_after_two_hundred_steps(optimizer):
    # After so many steps the loss bends within 1e-4 of the point already.
    compare(Case.build("mlp", optimizer, steps=200), (1e-6,))


@pytest.mark.parametrize("momentum", [0.1, 0.0, None], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_running_statistics_are_in_the_derivative(optimizer, momentum):
    """Validation reads them; without their part the sign of a hypergradient was wrong."""
    case = Case.build("batchnorm", optimizer, steps=12)
    for layer in case.problem.model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.momentum = momentum
    compare(case)


@pytest.mark.parametrize("frozen", [False, True])
def test_running_statistics_of_any_shape_are_in_the_derivative(frozen):
    case = Case.build("batchnorm-images", "sgd", steps=8)
    if frozen:  # its statistics stand still and are read in training
        case.warm_up(2)
        case.problem.model[1].eval()
    compare(case)
    window = case.window()
    ends = (engine(case.problem, window).derivatives[-1] for engine in (forward_trajectory, adjoint_trajectory))
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("sizes", [(), (1e-3, 0.0), (-1e-3,), (float("nan"),)])
def test_step_sizes_must_be_positive(sizes):
    case = Case.build("mlp", "sgd")
    with pytest.raises(ArgumentError, match="`step_sizes` must be positive"):
        finite_differences(case.problem, case.batches, case.val_batches, case.problem.start_values(), sizes)
