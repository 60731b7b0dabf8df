"""Every shell line of README and docs names what is there: files, options, targets, extras, commands."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from blocks import BLOCKS, ROOT

from ray_glocal.__main__ import _parser

TEXT = [block for block in BLOCKS if block.language == "bash"]
LINES = [(f"{block.page}:{block.line}", line) for block in TEXT for line in block.text.splitlines() if line.strip()]
PROJECT = (ROOT / "pyproject.toml").read_text()
OPTIONAL = PROJECT[PROJECT.index("[project.optional-dependencies]") : PROJECT.index("[tool.")]
LISTS = re.findall(r"^(\w+) = (\[(?:[^\n]+|.*?\n)\])$", OPTIONAL, re.MULTILINE | re.DOTALL)
EXTRAS = {name: ast.literal_eval(told) for name, told in LISTS}
TARGETS = set(re.findall(r"^([\w./]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def words(line):
    return shlex.split(line, comments=True)


def of_python(rest):
    """A script with its options, a module, or pip."""
    if rest[:2] == ["-m", "ray_glocal"]:
        _parser().parse_args(rest[2:])
    elif rest[:2] == ["-m", "pip"]:
        of_pip(rest[2:])
    elif rest[:1] == ["-m"]:
        assert rest[1] in ("pytest", "mkdocs")
        assert all((ROOT / word).exists() for word in rest[2:] if word.startswith("tests/"))
    else:
        script, *options = rest
        source = ROOT / script
        assert source.is_file(), script
        assert {option for option in options if option.startswith("--")} <= options_of(source)


def options_of(script):
    """Options that a script's text names; a study's switches are keywords or a dict's keys."""
    study = script.parent / "study.py"
    told = script.read_text() + (study.read_text() if study.exists() else "")
    switches = re.findall(r"(\w+)=False", told) + re.findall(r'"(\w+)": False', told)
    return {"--help", *re.findall(r'"(--[\w-]+)"', told), *(f"--{name}" for name in switches)}


def of_pip(rest):
    assert rest[0] == "install"
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(rest)):
        assert set(extras.split(",")) <= set(EXTRAS)
    plain = [word for word in rest[1:] if not word.startswith("-")]
    known = {re.split(r"[=><\[]", each)[0] for some in EXTRAS.values() for each in some}
    assert all(word.startswith(".") or word.split("[")[0] in {*known, "ray_glocal"} for word in plain)


COMMANDS = {
    "make": lambda rest: [pytest.fail(f"no target {word}") for word in rest if word not in TARGETS],
    "bash": lambda rest: [pytest.fail(f"no file {word}") for word in rest[:1] if not (ROOT / word).is_file()],
    "pip": of_pip,
    "python": of_python,
}


@pytest.mark.parametrize(("place", "line"), LINES, ids=[f"{place}: {line}"[:80] for place, line in LINES])
def test_a_shell_line_can_be_typed(place, line):
    command, *rest = words(line)
    COMMANDS[Path(command).name](rest)


def test_there_are_shell_lines():
    assert len(LINES) > 15
