"""Facts about torch that the library relies on. A torch that changes one fails here first, by name."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.distributions import Gamma
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ray_glocal import hypergradient
from ray_glocal.hypergradient import _compat
from ray_glocal.hypergradient.kernels.substitution import COMPOSITES

FOLDER = Path(hypergradient.__file__).parent


class Calls(TorchFunctionMode):
    """Every function that a mode sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


class Cube(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0] ** 2


def drawn(*shapes):
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


# ---- where private names stand ----


def private_names(tree):
    """Attributes and globals that begin with one underscore, and those that a module defines itself."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] != "ray_glocal":
            used |= {alias.name for alias in node.names}
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    return private, own


def test_no_other_module_of_hypergradients_uses_a_private_name_of_torch():
    trees = {path: ast.parse(path.read_text()) for path in FOLDER.rglob("*.py") if path.name != "_compat.py"}
    found = {path: private_names(tree) for path, tree in trees.items()}
    ours = set().union(*(own for _, own in found.values()))
    assert {path.name: private - ours for path, (private, _) in found.items() if private - ours} == {}
    assert "_foreach_add" in private_names(ast.parse((FOLDER / "_compat.py").read_text()))[0]


# ---- operations ----


@pytest.mark.parametrize(
    ("many", "one", "rest"),
    [
        (_compat.foreach_add, lambda a, b: a + b, "tensors"),
        (_compat.foreach_sub, lambda a, b: a - b, "tensors"),
        (_compat.foreach_mul, lambda a, b: a * b, 0.7),
        (_compat.foreach_add_, lambda a, b: a + b, "tensors"),
        (_compat.foreach_mul_, lambda a, b: a * b, 0.7),
        (_compat.foreach_copy_, lambda a, b: b, "tensors"),
    ],
    ids=["add", "sub", "mul", "add_", "mul_", "copy_"],
)
def test_operations_on_many_tensors_are_those_on_each(many, one, rest):
    left, right = drawn(3, (2, 2)), drawn(3, (2, 2))
    others = right if rest == "tensors" else [rest, rest]
    expected = [one(a, b) for a, b in zip(left, others, strict=True)]
    found = many(left, right if rest == "tensors" else rest)
    assert all(torch.equal(a, b) for a, b in zip(found or left, expected, strict=True))


def test_means_signs_and_lengths_of_many_tensors_are_those_of_each():
    left, right = drawn(3, (2, 2)), drawn(3, (2, 2))
    means = [torch.lerp(a, b, 0.3) for a, b in zip(left, right, strict=True)]
    assert all(map(torch.equal, _compat.foreach_lerp(left, right, 0.3), means))
    assert all(map(torch.equal, _compat.foreach_norm(left), [torch.linalg.vector_norm(a) for a in left]))
    assert all(map(torch.equal, _compat.foreach_add(left, right, alpha=2.0), [a + 2 * b for a, b in zip(left, right)]))  # noqa: B905
    _compat.foreach_lerp_(left, right, 0.3)
    assert all(map(torch.equal, left, means))
    _compat.foreach_sign_(left)
    assert all(map(torch.equal, left, [a.sign() for a in means]))


def test_batch_normalisation_says_which_kernel_it_chose_and_its_backward_pass_is_told():
    x, gamma, beta, g = drawn((4, 3, 5), 3, 3, (4, 3, 5))
    leaves = [t.clone().requires_grad_() for t in (x, gamma, beta)]
    plain = F.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True)
    expected = torch.autograd.grad(plain, leaves, g)
    out, mean, rate, reserve, choice = _compat.batch_norm_by_choice(
        x, gamma, beta, None, None, True, 0.1, 1e-5, torch.backends.cudnn.enabled
    )
    assert choice != _compat.CUDNN, "on a CPU"
    told = choice, x, g, gamma, None, None, mean, rate, True, 1e-5, (True, True, True), reserve
    found = _compat.batch_norm_backward_by_choice(*told)
    assert torch.equal(out, plain)
    assert all(map(torch.equal, found, expected))


def test_the_fused_gradient_of_softmax_is_that_of_softmax():
    x, g = drawn((3, 4), (3, 4))
    x.requires_grad_()
    weights = torch.softmax(x, -1)
    (expected,) = torch.autograd.grad(weights, x, g)
    assert torch.equal(_compat.softmax_backward(g, weights.detach(), -1, torch.float64), expected)


@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_mode_sees_weight_normalisation(wrap):
    layer = wrap(nn.Linear(3, 2))
    with Calls() as mode:
        layer(torch.ones(1, 3))
    assert _compat.weight_norm in mode.seen


def test_a_mode_sees_draws_of_gamma_variables():
    with Calls() as mode:
        Gamma(torch.ones(2), torch.ones(2)).rsample()
    assert _compat.standard_gamma in mode.seen


# ---- tensors and modules ----


def test_writes_to_a_tensor_are_counted_for_all_views_and_reads_are_not():
    (tensor,) = drawn(4)
    view = tensor[1:]
    begun = _compat.version(tensor)
    tensor.sum()
    assert _compat.version(tensor) == begun
    view.mul_(2)
    assert _compat.version(tensor) == _compat.version(tensor.detach()) == begun + 1


def test_the_hooks_of_a_tensor_lie_in_a_dictionary_that_autograd_goes_by():
    leaf = torch.ones(1, requires_grad=True)
    assert _compat.gradient_hooks(leaf) is None
    leaf.register_hook(lambda grad: 2 * grad)
    held = _compat.gradient_hooks(leaf)
    assert float(torch.autograd.grad(leaf * 1, leaf)[0]) == 2
    (number, hook) = held.popitem()
    assert float(torch.autograd.grad(leaf * 1, leaf)[0]) == 1
    held[number] = hook
    assert float(torch.autograd.grad(leaf * 1, leaf)[0]) == 2


def test_hooks_that_run_after_accumulation_lie_in_another():
    leaf = torch.ones(1, requires_grad=True)
    assert not _compat.accumulation_hooks(leaf)
    handle = leaf.register_post_accumulate_grad_hook(print)
    assert list(_compat.accumulation_hooks(leaf).values()) == [print]
    handle.remove()
    assert not _compat.accumulation_hooks(leaf)


def test_a_module_runs_by_what_its_dictionaries_hold():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    assert list(_compat.held_modules(model).values()) == list(model)
    model.eval()
    own = _compat.held_parameters(model[0])
    other = torch.full((1, 1), 5.0)
    own["weight"] = other
    assert float(model(torch.ones(1, 1)).detach()) == pytest.approx(5, rel=1e-4)
    assert model[0].weight is other
    held = _compat.held_buffers(model[1])
    assert set(held) == {"running_mean", "running_var", "num_batches_tracked"}
    held["running_mean"] = torch.full((1,), 4.0)
    assert float(model(torch.ones(1, 1)).detach()) == pytest.approx(1, rel=1e-4)


def test_the_hooks_of_a_module_lie_in_attributes_whose_names_say_so():
    module = nn.Linear(1, 1)
    for register in (
        module.register_forward_hook,
        module.register_forward_pre_hook,
        module.register_full_backward_hook,
        module.register_full_backward_pre_hook,
        module.register_state_dict_pre_hook,
        module.register_load_state_dict_post_hook,
    ):
        register(print)
    held = {key: value for key, value in vars(module).items() if isinstance(value, dict) and print in value.values()}
    assert len(held) == 6
    assert all(key.endswith(_compat.HOOKS) for key in held)


@pytest.mark.slow
def test_a_compiled_model_is_one_and_the_compiler_is_loaded_then():
    model = nn.Sequential(nn.Linear(1, 1))
    assert not _compat.is_compiled(model)
    assert _compat.is_compiled(torch.compile(model))
    assert _compat.is_compiled(nn.Sequential(torch.compile(nn.Linear(1, 1))))
    assert _compat.compiler_is_loaded()


# ---- autograd and modes ----


def test_it_is_told_whether_a_transform_runs():
    told = []
    torch.func.vmap(lambda x: told.append(_compat.transforms_run()) or x)(torch.ones(2))
    assert told == [True]
    assert not _compat.transforms_run()


def test_nothing_is_seen_where_modes_are_switched_off():
    with Calls() as mode:
        with _compat.unwatched():
            torch.ones(1).exp()
        assert mode.seen == []
        torch.ones(1).exp()
    assert torch.Tensor.exp in mode.seen


def test_a_function_of_autograd_is_applied_as_by_itself():
    for call in (Cube.apply, lambda x: _compat.applied(Cube, x)):
        x = torch.tensor(2.0, requires_grad=True)
        (slope,) = torch.autograd.grad(call(x), x, create_graph=True)
        assert float(slope.detach()) == 12
        assert float(torch.autograd.grad(slope, x)[0]) == 12
        rows = torch.func.vmap(torch.func.grad(call))(torch.tensor([1.0, 2.0]))
        assert rows.tolist() == [3, 12]


def test_a_node_knows_the_class_that_was_written():
    x = torch.ones(1, requires_grad=True)
    assert _compat.forward_class(type(Cube.apply(x).grad_fn)) is Cube


def test_a_marked_backward_pass_begins_by_the_same_code_and_ends_in_a_complaint():
    marked = once_differentiable(Cube.backward)
    assert marked.__code__ is _compat.MARK
    once = type("Once", (Cube,), {"backward": staticmethod(marked)})
    x = torch.ones(1, requires_grad=True)
    (slope,) = torch.autograd.grad(once.apply(x).square(), x, create_graph=True)
    assert slope.grad_fn.name() == _compat.COMPLAINT


def test_a_function_of_torchs_is_differentiable_once_and_does_not_say_so():
    (name,) = _compat.UNMARKED
    x = torch.randn(1, 2, 2, 2, requires_grad=True)
    out = nn.CrossMapLRN2d(2)(x)
    written = _compat.forward_class(type(out.grad_fn))
    assert f"{written.__module__}.{written.__qualname__}" == name
    assert written.backward.__code__ is not _compat.MARK
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        torch.autograd.grad(out.sum(), x, create_graph=True)


def test_classes_that_torch_makes_of_registered_operators_are_named_after_it():
    @torch.library.custom_op("glocal_pins::cube", mutates_args=())
    def cube(x: torch.Tensor) -> torch.Tensor:
        return x**3

    cube.register_autograd(lambda ctx, g: 3 * g, setup_context=lambda ctx, inputs, output: None)
    out = cube(torch.ones(1, requires_grad=True))
    assert _compat.forward_class(type(out.grad_fn)).__module__.startswith(_compat.REGISTERED)


@pytest.mark.parametrize("function", sorted(COMPOSITES, key=lambda each: each.__name__), ids=lambda each: each.__name__)
def test_functions_ask_by_known_names_whether_a_mode_sees_them(function):
    assert set(function.__code__.co_names) & set(_compat._OVERRIDES)


def test_a_mode_sees_the_calls_inside_of_a_function_that_is_entered():
    x = torch.ones(2, 3, 4)
    with Calls() as mode:
        F.batch_norm(x, None, None, training=True)
    assert torch.batch_norm not in mode.seen
    with Calls() as mode:
        _compat.entered(F.batch_norm)(x, None, None, training=True)
    assert torch.batch_norm in mode.seen
    assert F.batch_norm not in mode.seen
