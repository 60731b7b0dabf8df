"""Examples in docstrings run, and those that people meet first have one."""

import doctest
from importlib import import_module

import pytest
import torch
from blocks import ROOT

SOURCES = [path for path in (ROOT / "ray_glocal").rglob("*.py") if ">>> " in path.read_text()]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES]
SHOWN = ("GlocalSession", "Settings", "Hyperparameter", "Clipping", "adapted", "GlocalSearch", "GlocalScheduler")


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    told = doctest.testmod(import_module(module), optionflags=options)
    assert told.attempted > 0
    assert told.failed == 0


def test_what_people_meet_first_has_an_example():
    import ray_glocal

    assert all(">>> " in getattr(ray_glocal, name).__doc__ for name in SHOWN)
