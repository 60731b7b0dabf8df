"""When graphs are kept: only where the step stays the same, bit for bit, and they fit."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.window.saved import Saved
from ray_glocal.hypergradient.window.tape import Tape

from ..cases import MODELS, VARIANTS, Case, entropy


def trajectory(case, tape):
    window = record_window(case.problem, case.batches, case.val_batches, case.problem.start_values(), tape=tape)
    return adjoint_trajectory(case.problem, window, tail=2).derivatives


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("model", sorted({**MODELS, **VARIANTS}))
def test_kept_graphs_tell_the_same_bits_as_steps_that_are_run_again(model, optimizer):
    again, kept = (Case.build(model, optimizer) for _ in range(2))
    tape = Tape(kept.problem, 6)
    torch.manual_seed(3)
    told = trajectory(again, None)
    torch.manual_seed(3)
    assert torch.equal(trajectory(kept, tape), told)
    assert tape.keeping.graphs


def test_graphs_that_do_not_fit_are_not_kept(caplog):
    case = Case.build("mlp", "sgd")
    with caplog.at_level("INFO", "ray_glocal"):
        tape = Tape(case.problem, 6, memory=6 * 100)
        trajectory(case, tape)
    assert not tape.keeping.graphs
    assert "run a second time to be differentiated: 6 graphs of" in caplog.text


def test_the_memory_of_a_graph_is_what_it_holds():
    weight, inputs = torch.ones(50, 40, requires_grad=True), torch.ones(30, 50)
    saved = Saved([(weight, weight.detach().clone())])
    with saved.hooks():
        (inputs @ weight).exp().sum()
    assert sorted(saved.held.values()) == [
        4 * 30 * 40,
        4 * 30 * 50,
    ]  # the result of exp, and the inputs; of the weight there is a copy


class Fickle(nn.Module):
    """Computes something else where it may be differentiated twice, as fused kernels do in their last bits."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        fused = torch.backends.cuda.flash_sdp_enabled()
        return self.layer(x) * (1 + 1e-6 * fused)


def test_steps_that_would_not_stay_the_same_are_run_again():
    torch.manual_seed(0)
    model = Fickle()
    problem = Problem(
        model, torch.optim.SGD(model.parameters(), lr=0.1), entropy, entropy, [Hyperparameter("lr", 0.1, scale="log")]
    )
    batches = [(torch.randn(8, 6), torch.randint(3, (8,))) for _ in range(4)]
    values, tape = problem.start_values(), Tape(problem, 4)
    before = [p.clone() for p in model.parameters()]
    window = record_window(problem, batches, batches[:1], values, tape=tape)
    assert not tape.keeping.graphs
    assert all(snapshot.field is None for snapshot in window.snapshots)
    assert adjoint_trajectory(problem, window).derivatives.abs().min() > 0
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_module_has_its_own_parameters_and_buffers_again():
    case = Case.build("batchnorm", "sgd")
    model = case.problem.model
    held = [*model.parameters(), *model.buffers()]
    case.window(kept=True)
    assert all(a is b for a, b in zip(held, [*model.parameters(), *model.buffers()], strict=True))


class Checkpointed(nn.Module):
    """Runs its layers again in the backward pass, on the parameters that it then finds."""

    def __init__(self, again):
        super().__init__()
        self.again = again
        self.body, self.head = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU()), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(checkpoint(self.body, x, use_reentrant=False) if self.again else self.body(x))


def test_graphs_that_look_up_parameters_later_are_not_kept():
    told = []
    for again in (False, True):
        torch.manual_seed(0)
        model = Checkpointed(again).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        problem = Problem(model, optimizer, entropy, entropy, [Hyperparameter("lr", 0.1, scale="log")])
        batches = [(torch.randn(8, 6, dtype=torch.float64), torch.randint(3, (8,))) for _ in range(4)]
        tape = Tape(problem, 4)
        window = record_window(problem, batches, batches[:1], problem.start_values(), tape=tape)
        told.append((tape.keeping.graphs, adjoint_trajectory(problem, window).derivatives))
    assert [graphs for graphs, _ in told] == [True, False]
    torch.testing.assert_close(told[1][1], told[0][1], rtol=1e-10, atol=1e-14)
