"""The image: pinned, not root's, and made of nothing but the library."""

import re
import shutil
import subprocess

import pytest

from .files import CLUSTER, DOCKERFILE, ROOT

IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def tool(name):
    found = shutil.which(name) or shutil.which(name, path=str(ROOT / ".venv" / "bin"))
    return found or pytest.skip(f"{name} is not installed; it is part of the dev extra")


def test_hadolint_has_nothing_to_say():
    told = subprocess.run([tool("hadolint"), str(CLUSTER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_hadolint_would_complain_of_an_image_that_is_not_pinned(tmp_path):
    loose = tmp_path / "Dockerfile"
    loose.write_text(DOCKERFILE.replace("FROM ${RAY_IMAGE}", "FROM rayproject/ray:latest"))
    told = subprocess.run([tool("hadolint"), str(loose)], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "DL3007" in told.stdout


def test_the_base_is_pinned_and_can_be_given():
    assert re.search(r"^ARG RAY_IMAGE=rayproject/ray:2\.60\.0-py311-cpu$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM .*", DOCKERFILE, re.MULTILINE) == ["FROM ${RAY_IMAGE}"]


def test_torch_is_the_one_that_is_tested_here():
    (tested,) = re.findall(r"torch==([\d.]+)", (ROOT / "Makefile").read_text())
    assert f"\nARG TORCH={tested}\n" in DOCKERFILE


def test_the_last_user_is_not_root():
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE)[-1] == "1000"


def test_all_that_is_copied_is_let_into_the_build_and_nothing_else():
    copied = {
        source
        for line in re.findall(r"^COPY --chown=1000:100 (.*)", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert IGNORED[0] == "*"
    assert {line.removeprefix("!") for line in IGNORED if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)
