"""The workflow files: they are what their schema allows, run what CI runs, and publish without a stored password."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PUBLISHERS = ("pypa/gh-action-pypi-publish", "actions/attest-build-provenance")


def workflow(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def actions(job):
    return [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step]


def judged(file):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_workflow_is_what_the_schema_allows(file):
    told = judged(file)
    assert told.returncode == 0, told.stdout


def test_a_workflow_that_is_wrong_is_found(tmp_path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(FILES[0].read_text().replace("runs-on", "run-on"))
    assert judged(wrong).returncode == 1


def test_there_is_one_for_changes_and_one_for_releases():
    assert [file.stem for file in FILES] == ["ci", "release"]


def test_changes_are_judged_by_the_script_that_people_run():
    assert "bash .ci/run" in commands(workflow("ci")["jobs"]["run"])
    assert workflow("ci")["permissions"] == {"contents": "read"}


def test_the_wheel_runs_alone_on_every_python_that_it_names_and_with_the_lowest_versions():
    job = workflow("ci")["jobs"]["versions"]
    project = (ROOT / "pyproject.toml").read_text()
    pythons = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    (lowest,) = job["strategy"]["matrix"]["include"]
    assert job["strategy"]["matrix"]["python"] == pythons
    assert f'requires-python = ">={pythons[0]}"' in project
    assert lowest["python"] == pythons[0]
    declared = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)[1]
    wanted = set(re.findall(r'"(.*)"', declared.replace(">=", "==")))
    assert {re.sub(r"(\.0)+$", "", name) for name in lowest["versions"].split()} == wanted
    assert any(command.startswith("bash .ci/versions ") for command in commands(job))


def test_a_release_is_built_and_looked_at_before_it_is_published():
    jobs = workflow("release")["jobs"]
    ran = commands(jobs["build"])
    assert ran.index("python -m build") < ran.index("python -m twine check --strict dist/*")
    assert jobs["publish"]["needs"] == "build"
    assert [name for name in actions(jobs["publish"]) if name in PUBLISHERS] == [*reversed(PUBLISHERS)]


def test_only_the_job_that_publishes_may_identify_itself_and_no_secret_is_read():
    jobs = workflow("release")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write", "attestations": "write"}
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert all("secrets." not in file.read_text() for file in FILES)


def test_a_release_needs_a_tag_of_the_version_that_the_package_says():
    assert workflow("release")[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    assert any("GITHUB_REF_NAME#v" in command for command in commands(workflow("release")["jobs"]["build"]))
