"""The two suites of the comparison, with a wall between them: choices are made on `tuning`; `held_out` is published.

Each module of `suites/tuning` and `suites/held_out` is one task, `TASK`.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from suites.task import Option, Task, Training

SUITES = ("tuning", "held-out")


@cache
def suite(name: str) -> dict[str, Task]:
    """The tasks of a suite by name, the few first, then the many, then those of data."""
    package = import_module(f"suites.{name.replace('-', '_')}")
    modules = [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]
    tasks = [module.TASK for module in modules if hasattr(module, "TASK")]
    order = ("few", "many", "data")
    return {task.name: task for task in sorted(tasks, key=lambda task: (order.index(task.kind), task.name))}


def suite_of(name: str) -> str:
    """The suite that a task belongs to.

    Raises:
        KeyError: To neither.
    """
    for told in SUITES:
        if name in suite(told):
            return told
    raise KeyError(f"{name} is in no suite: {', '.join(known for told in SUITES for known in suite(told))}")


def task(name: str) -> Task:
    """A task of either suite.

    Raises:
        KeyError: There is none of this name.
    """
    return suite(suite_of(name))[name]


__all__ = ["SUITES", "Option", "Task", "Training", "suite", "suite_of", "task"]
