"""What is raised tells its caller what to do: one root, a class for each reaction, and nothing else by our own hand."""

import ast
import builtins
import inspect
import pickle
from importlib import import_module
from pathlib import Path

import pytest

import ray_glocal
from ray_glocal import errors
from ray_glocal.errors import (
    AbsentError,
    ArgumentError,
    CheckpointError,
    ClusterError,
    GlocalError,
    HangError,
    UnreadError,
)
from ray_glocal.hypergradient.trouble import WindowError

ROOT = Path(ray_glocal.__file__).parent
# Errors of others that modules raise, each with the reason: by file, and by name.
OTHERS = {
    ("__init__.py", "AttributeError"): "what Python asks of a module's `__getattr__`",
    ("report/__init__.py", "AttributeError"): "the same",
    ("schedule/__init__.py", "AttributeError"): "the same",
    ("hypergradient/state/holders.py", "KeyError"): "what Python asks of a container, and is caught where it is asked",
    ("hypergradient/problem/statistics.py", "NotImplementedError"): "a method that subclasses must have",
    ("koopman/dmd.py", "LinAlgError"): "caught beside NumPy's own, and made an outcome",
    ("session/state/checkpoint.py", "UnpicklingError"): "caught beside torch's own, and made a CheckpointError",
}
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}


def raised(source):
    """Nodes of what is raised; a bare `raise`, and one of what was caught or kept, hand on what was raised before."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call | ast.Name):
            yield node.exc.func if isinstance(node.exc, ast.Call) else node.exc


def resolved(node, module):
    """The class that a name of a module's stands for: itself, or what a function of that name says it returns."""
    name = ast.unparse(node)
    found = eval(name, {**vars(builtins), **vars(module)})
    if not inspect.isclass(found):
        found = inspect.get_annotations(found, eval_str=True)["return"]
    return found


@pytest.mark.parametrize("file", [file for file, path in MODULES.items() if list(raised(path.read_text()))])
def test_every_class_that_is_raised_is_under_the_root(file):
    name = ".".join(("ray_glocal", *Path(file).with_suffix("").parts)).removesuffix(".__init__")
    module = import_module(name)
    classes = {resolved(node, module) for node in raised(MODULES[file].read_text())}
    strangers = {each.__name__ for each in classes if not issubclass(each, GlocalError)}
    assert strangers == {known for where, known in OTHERS if where == file}


def test_no_message_leaves_the_way_out_empty():
    calls = [node for path in MODULES.values() for node in ast.walk(ast.parse(path.read_text())) if made(node)]
    assert len(calls) > 200
    for node in calls:
        remedy = node.args[3]
        assert not isinstance(remedy, ast.Constant) or remedy.value.strip()


def made(node):
    """Whether it calls a class of `ArgumentError`'s."""
    kind = (
        getattr(errors, node.func.id, None) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
    )
    return inspect.isclass(kind) and issubclass(kind, ArgumentError)


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        (ArgumentError, ValueError),
        (UnreadError, ArgumentError),
        (AbsentError, ArgumentError),
        (AbsentError, KeyError),
        (CheckpointError, ArgumentError),
        (HangError, TimeoutError),
        (ClusterError, RuntimeError),
        (WindowError, RuntimeError),
    ],
)
def test_each_is_caught_by_the_root_and_by_what_python_calls_it(kind, known):
    assert issubclass(kind, GlocalError)
    assert issubclass(kind, known)


def test_reactions_are_told_apart():
    apart = (CheckpointError, HangError, ClusterError, UnreadError, AbsentError)
    assert not any(issubclass(one, other) for one in apart for other in apart if one is not other)
    assert not any(issubclass(ArgumentError, each) for each in apart)


@pytest.mark.parametrize("kind", [each for each in vars(errors).values() if inspect.isclass(each)])
def test_each_says_the_same_after_it_has_crossed_processes(kind):
    told = ("a", "be b", 3, "Pass 2.") if issubclass(kind, ArgumentError) else ("A sentence.",)
    again = pickle.loads(pickle.dumps(kind(*told)))
    assert type(again) is kind
    assert str(again) == ("`a` must be b; got 3. Pass 2." if issubclass(kind, ArgumentError) else "A sentence.")
