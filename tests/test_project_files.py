"""What CONTRIBUTING sends people to is there, and what the package says of its licence."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = sorted({name for name in re.findall(r"[\w./]+/[\w.]*\w", TEXT) if name.endswith((".py", "/run"))})


@pytest.mark.parametrize("name", [name for name in FILES if "NAME" not in name])
def test_every_file_that_contributing_names_is_there(name):
    assert (ROOT / name).exists() or any((ROOT / "ray_glocal").rglob(name))


@pytest.mark.parametrize("name", [name for name in FILES if "NAME" in name])
def test_every_folder_that_a_member_goes_into_is_there(name):
    assert (ROOT / name).parent.is_dir()


def test_the_recipes_are_short():
    assert 20 < len(TEXT.splitlines()) < 150
    assert len(FILES) > 20


@pytest.mark.parametrize(
    ("module", "registry"),
    [
        ("ray_glocal.hypergradient.rules", "RULES"),
        ("ray_glocal.hypergradient.kernels.substitution", "REPLACED"),
        ("ray_glocal.hypergradient.kernels.unsupported", "UNSUPPORTED"),
        ("ray_glocal.koopman.forecasters", "FORECASTERS"),
        ("ray_glocal.scheduling.rules", "RULES"),
    ],
)
def test_every_registry_is_where_contributing_says(module, registry):
    assert f"`{registry}`" in TEXT
    assert module.replace(".", "/") in TEXT
    assert len(getattr(import_module(module), registry)) > 1


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("KINDS", "tests/hypergradient/rules/test_rules.py"),
        ("GRID", "tests/hypergradient/rules/test_pull_backs.py"),
        ("OPTIMIZERS", "tests/hypergradient/cases.py"),
        ("JUMPING", "tests/hypergradient/cases.py"),
        ("STEPS", "tests/hypergradient/twin.py"),
        ("MENDED", "tests/hypergradient/kernels/test_audit.py"),
        ("REFUSED", "tests/hypergradient/kernels/test_audit.py"),
        ("OTHERS", "tests/hypergradient/kernels/test_formulas.py"),
    ],
)
def test_every_table_of_the_tests_is_where_contributing_says(table, file):
    assert f"`{table}`" in TEXT
    assert file in TEXT
    assert re.search(rf"^{table}\b.* = ", (ROOT / file).read_text(), re.MULTILINE)


def test_ci_runs_each_step_that_contributing_lists():
    steps = (ROOT / ".ci" / "run").read_text()
    checks = ("ruff check", "ruff format --check", "mypy", "lint-imports")
    for step in (*checks, "make test", '-m "slow and not cluster"', "-m cluster"):
        assert step in steps
        assert step in TEXT


def test_the_licence_is_in_the_package():
    assert 'license-files = ["LICENSE"]' in (ROOT / "pyproject.toml").read_text()
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n\nCopyright (c) 2026 ray_glocal contributors\n")


def test_changes_are_gathered():
    assert "\n## [Unreleased]\n\n### " in (ROOT / "CHANGELOG.md").read_text()
