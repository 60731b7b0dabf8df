"""Shell scripts, the commands of launchers, and those that the README has people type."""

import re
import shutil
import subprocess

import pytest
from ray.scripts.scripts import cli

from .files import LAUNCHERS, README, ROOT, SLURM

SCRIPTS = {"slurm.sh": SLURM, "run": ROOT / ".ci" / "run"}
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    command
    for block in BLOCKS
    for command in re.sub(r"\\\n\s*", "", block).splitlines()
    if re.match(r"(\w+=\S+ )*ray ", command)
]


def complaints(*arguments, **settings):
    checker = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(ROOT / ".venv" / "bin"))
    if checker is None:
        pytest.skip("shellcheck is not installed; it is part of the dev extra")
    return subprocess.run([checker, *arguments], capture_output=True, text=True, check=False, **settings).stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say(name):
    assert complaints(str(SCRIPTS[name])) == ""


def test_shellcheck_would_complain_of_a_forgotten_quote():
    assert "SC2086" in complaints("-", input="#!/bin/bash\nread -r name\nrm $name\n")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_nor_of_the_commands_that_launchers_run_on_nodes(name):
    keys = ("initialization_commands", "setup_commands", "head_setup_commands", "head_start_ray_commands")
    commands = [line for key in (*keys, "worker_start_ray_commands") for line in LAUNCHERS[name].get(key, [])]
    # RAY_HEAD_IP comes from the launcher, and an address has no blanks
    script = "\n".join(["#!/bin/bash", "RAY_HEAD_IP=10.0.0.1", *commands, ""]).replace("$RAY_HEAD_IP", '"$RAY_HEAD_IP"')
    assert complaints("-", input=script) == ""


@pytest.mark.parametrize("block", BLOCKS)
def test_nor_of_what_people_type(block):
    assert complaints("--exclude=SC2088", "-", input=f"#!/bin/bash\n{block}") == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_ray_knows_the_commands_that_people_type(command):
    words = re.sub(r"^(\w+=\S+ )*ray ", "", command).split(" -- ")[0].split()
    known = cli
    while words and words[0] in getattr(known, "commands", {}):
        known = known.commands[words.pop(0)]
    assert known is not cli
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    assert given <= {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_no_script_waits_by_the_clock():
    assert not re.search(r"\bsleep\b", SLURM.read_text())


def test_people_are_told_to_type_something():
    assert len(BLOCKS) > 10
    assert len(COMMANDS) > 10
