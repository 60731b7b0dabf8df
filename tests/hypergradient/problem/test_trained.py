"""Which parameters train, and every refusal by its words."""

import pytest
import torch
from torch import distributed, nn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.engines.oracle import finite_differences
from ray_glocal.hypergradient.problem.trained import SHOWN, check_dense, check_trained, listed, named, trained
from ray_glocal.hypergradient.window.tape import Tape

from ..cases import entropy

SGD = torch.optim.SGD


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def refusal(model, optimizer):
    with pytest.raises(ArgumentError) as error:
        check_trained(model, optimizer)
    return str(error.value)


def test_an_optimizer_that_trains_nothing():
    model = network().requires_grad_(requires_grad=False)
    assert refusal(model, SGD(model.parameters(), 0.1)) == (
        "`optimizer` must hold at least one parameter that requires a gradient; got 'SGD'. Set `requires_grad` on "
        "what should train."
    )


def test_an_optimizer_of_another_model():
    assert refusal(network(), torch.optim.Adam(network().parameters())) == (
        '`optimizer` must train parameters of `model`; got "Adam of another model\'s". Build it from '
        "`model.parameters()`, after the model has its final parameters."
    )


def test_complex_parameters():
    model = network()
    model.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    assert refusal(model, SGD(model.parameters(), 0.1)) == (
        "`model` must have real parameters; got \"complex 'phase'\". Hold real and imaginary parts, as by "
        "`torch.view_as_real`, and join them in the forward pass."
    )


def test_complex_parameters_that_do_not_train_are_no_trouble():
    model = network()
    model.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64), requires_grad=False)
    check_trained(model, SGD(model.parameters(), 0.1))


@pytest.mark.parametrize("count", [1, SHOWN, SHOWN + 2])
def test_parameters_outside_of_the_optimizer(count):
    model = network()
    for i in range(count):
        model.register_parameter(f"free{i}", nn.Parameter(torch.zeros(1)))
    optimizer = SGD([*model[0].parameters(), *model[2].parameters()], 0.1)
    names = ", ".join(f"free{i}" for i in range(min(count, SHOWN))) + (" and 2 more" if count > SHOWN else "")
    assert refusal(model, optimizer) == (
        f"`optimizer` must train every parameter of `model` that requires a gradient; got 'without {names}'. A session "
        "differentiates through one optimizer. Give it these as well, or switch their gradients off "
        "(`requires_grad_(False)`) where nothing trains them; what another optimizer trains belongs to no session."
    )
    for i in range(count):
        model.get_parameter(f"free{i}").requires_grad_(requires_grad=False)
    check_trained(model, optimizer)


def test_batch_normalisation_across_ranks():
    model = nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4))
    assert refusal(model, SGD(model.parameters(), 0.1)) == (
        "`model` must have layers with a second derivative; got 'SyncBatchNorm'. Use BatchNorm as it is, or a "
        "normalisation without statistics."
    )


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_with_sparse_gradients(kind):
    model = nn.Sequential(kind(5, 3, sparse=True), nn.Linear(3, 2))
    assert refusal(model, SGD(model.parameters(), 0.1)) == (
        f"`model` must have dense gradients; got \"{kind.__name__} '0' with sparse=True\". Build it with "
        "`sparse=False`."
    )
    model[0].requires_grad_(requires_grad=False)
    check_trained(model, SGD(model.parameters(), 0.1))


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_that_write_to_their_weights(kind):
    model = nn.Sequential(kind(5, 3, max_norm=1.0), nn.Linear(3, 2))
    assert refusal(model, SGD(model.parameters(), 0.1)) == (
        "`model` must not write to its weights in the forward pass; got "
        f"\"{kind.__name__} '0' with max_norm\". Leave `max_norm` out, and normalise in the forward pass where that is "
        "needed."
    )
    model[0].requires_grad_(requires_grad=False)
    check_trained(model, SGD(model.parameters(), 0.1))


@pytest.mark.filterwarnings("ignore")
def test_parameters_that_are_sharded_over_ranks():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        from torch.distributed.tensor import DeviceMesh, Shard, distribute_tensor

        model = nn.Linear(3, 2)
        whole = model.weight.detach()
        model.weight = nn.Parameter(distribute_tensor(whole, DeviceMesh("cpu", [0]), [Shard(0)]))
        assert refusal(model, SGD(model.parameters(), 0.1)) == (
            "`model` must hold its parameters whole on every rank; got 'parts of them'. Wrap the model in "
            "DistributedDataParallel."
        )
    finally:
        distributed.destroy_process_group()


def test_sparse_gradients_of_functions():
    model = network()
    gradients = [None, torch.zeros(4), torch.eye(2, 4).to_sparse(), torch.zeros(2)]
    with pytest.raises(ArgumentError) as error:
        check_dense(model, list(model.parameters()), gradients)
    assert str(error.value) == (
        "`train_loss` must have dense gradients; got \"torch.sparse_coo of '2.weight'\". Look for `sparse=True` in "
        "the model."
    )
    check_dense(model, list(model.parameters()), [None if g is None else g.to_dense() for g in gradients])


def test_what_trains_is_told_with_its_group_in_order():
    model = network()
    model[0].bias.requires_grad_(requires_grad=False)
    optimizer = SGD([{"params": [*model[2].parameters()]}, {"params": [*model[0].parameters()]}], 0.1)
    parameters, groups = trained(optimizer)
    assert [named(model, p) for p in parameters] == ["2.weight", "2.bias", "0.weight"]
    assert groups == (0, 0, 1)
    assert named(model, torch.zeros(2, 3)) == "a parameter of shape (2, 3) outside the model"
    assert listed(list("abcde")) == "a, b, c and 2 more"
    assert listed(["a"]) == "a"


# ---- what changes while a session runs ----


def problem_of(model):
    optimizer = SGD(model.parameters(), lr=0.3, momentum=0.5)
    return Problem(model, optimizer, entropy, entropy, [Hyperparameter("lr", 0.3, scale="log")])


def batches_of(seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 3, generator=generator, dtype=torch.float64), torch.randint(2, (8,), generator=generator))
        for _ in range(4)
    ]


def test_what_thaws_or_freezes_between_windows_is_followed():
    model = network().double()
    model[0].requires_grad_(requires_grad=False)
    problem = problem_of(model)
    tape, values = Tape(problem, 3), problem.start_values()
    counts = []
    for seed, changed in enumerate((None, (0, True), (2, False))):
        if changed is not None:
            model[changed[0]].requires_grad_(requires_grad=changed[1])
        batches = batches_of(seed)
        fresh = Problem(problem.model, problem.optimizer, entropy, entropy, list(problem.hyperparameters))
        truth = finite_differences(fresh, batches[:3], batches[3:], values, (1e-4,)).derivatives[0]
        window = record_window(problem, batches[:3], batches[3:], values, tape=tape)
        trajectory = adjoint_trajectory(problem, window)
        assert trajectory.trouble == ""
        line = problem.pull_back(values, trajectory.derivatives)[-1]
        torch.testing.assert_close(line, truth, rtol=1e-6, atol=1e-10)
        counts.append(len(problem.parameters))
    assert counts == [2, 4, 2]


def test_what_thaws_inside_a_window_spoils_that_one():
    model = network().double()
    model[0].requires_grad_(requires_grad=False)
    problem = problem_of(model)
    tape, values = Tape(problem, 3), problem.start_values()

    def thawing():
        for place, batch in enumerate(batches_of(0)[:3]):
            model[0].requires_grad_(requires_grad=place > 0)
            yield batch

    window = record_window(problem, thawing(), batches_of(0)[3:], values, tape=tape)
    trajectory = adjoint_trajectory(problem, window)
    assert trajectory.trouble == "other parameters train than when the window began"


@pytest.mark.parametrize("moving", [False, True])
def test_what_thaws_outside_of_the_optimizer_is_a_constant_or_named(moving):
    model = network().double()
    model[0].requires_grad_(requires_grad=False)
    rate = [Hyperparameter("lr", 0.3, scale="log")]
    problem = Problem(model, SGD(model[2].parameters(), 0.3), entropy, entropy, rate)
    tape, values, batches = Tape(problem, 3), problem.start_values(), batches_of(0)
    record_window(problem, batches[:3], batches[3:], values, tape=tape)
    model[0].bias.requires_grad_()
    other = SGD([model[0].bias], 0.1)

    def trained_beside():
        for batch in batches[:3]:
            yield batch
            if moving:
                other.step()

    truth = finite_differences(problem, batches[:3], batches[3:], values, (1e-4,)).derivatives[0]
    window = record_window(problem, trained_beside(), batches[3:], values, tape=tape)
    trajectory = adjoint_trajectory(problem, window)
    if moving:
        assert trajectory.trouble.startswith("training changes 0.bias, losses read what it holds then")
    else:
        assert trajectory.trouble == ""
        line = problem.pull_back(values, trajectory.derivatives)[-1]
        torch.testing.assert_close(line, truth, rtol=1e-6, atol=1e-10)
