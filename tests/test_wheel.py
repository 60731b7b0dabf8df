"""What people install: the wheel, built from the project's files, alone in an environment with its dependencies."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ray_glocal"
COMMANDS = ["report", "best", "schedule", "compare", "replay"]
USER = """from ray_glocal import Hyperparameter

reveal_type(Hyperparameter("lr", 0.1).name)
Hyperparameter(1, 0.1)
"""


def run(*arguments, at, **told):
    """What a fresh interpreter prints that knows nothing of the source tree; a failure is an answer, too."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | told
    return subprocess.run([sys.executable, *arguments], cwd=at, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the source distribution, and the wheel that is built from that."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "MANIFEST.in", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    for name in ("ray_glocal", "tests", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    told = run("-m", "build", "--no-isolation", "--outdir", str(out), ".", at=source)
    assert told.returncode == 0, told.stderr
    return out


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    """The wheel's files, as an installation would lay them out."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def files_under(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_holds_the_package_its_page_and_its_types_and_nothing_else(unpacked):
    source = {f"ray_glocal/{name}" for name in files_under(PACKAGE) if "__pycache__" not in name}
    installed = {name for name in files_under(unpacked) if ".dist-info/" not in name}
    assert installed == source
    page = {f"ray_glocal/report/page/page.{kind}" for kind in ("html", "css", "js")}
    assert installed >= {"ray_glocal/py.typed", *page}


def test_the_wheel_names_its_licence_and_its_dependencies(unpacked):
    (told,) = unpacked.glob("*.dist-info/METADATA")
    assert (told.parent / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    text = told.read_text()
    for name in ("numpy", "pyarrow", "ray[tune]", "torch"):
        assert f"\nRequires-Dist: {name}>=" in text


def test_the_source_distribution_holds_no_part_of_the_tests_or_studies(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        folders = {name.split("/")[1] for name in source.getnames() if "/" in name}
    assert {"ray_glocal", "README.md", "CHANGELOG.md", "pyproject.toml", "LICENSE"} <= folders
    assert not folders & {"tests", "examples", "cluster", ".ci"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_installed_package_answers(name, unpacked, tmp_path):
    told = run("-m", "ray_glocal", name, "--help", at=tmp_path, PYTHONPATH=str(unpacked))
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"usage: python -m ray_glocal {name} ")


def judged(typed, folder, unpacked):
    """What mypy says of a user's script beside the installed package, with or without its mark of being typed."""
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    shutil.copytree(unpacked / "ray_glocal", site / "ray_glocal")
    if not typed:
        (site / "ray_glocal" / "py.typed").unlink()
    (folder / "user.py").write_text(USER)
    python = str(folder / "venv" / "bin" / "python")
    return run("-m", "mypy", "--strict", "--python-executable", python, "user.py", at=folder).stdout


def test_mypy_sees_the_types_of_the_installed_package(unpacked, tmp_path):
    told = judged(True, tmp_path, unpacked)
    assert 'Revealed type is "str"' in told
    assert told.count("error:") == 1
    assert 'Argument 1 to "Hyperparameter" has incompatible type "int"; expected "str"' in told


def test_mypy_sees_none_where_the_package_is_not_marked_as_typed(unpacked, tmp_path):
    assert "missing library stubs or py.typed marker" in judged(False, tmp_path, unpacked)
