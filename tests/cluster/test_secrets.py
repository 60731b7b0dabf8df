"""No secret is in the repository, and no file of the cluster opens it to the world."""

import re
import subprocess

import pytest

from .files import ROOT, every_file

SECRETS = {
    "a token": re.compile(r"(?i)auth_?token[\"']?\s*[:=]\s*[\"']?[0-9a-z_-]{16,}"),
    "a key of AWS": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a secret key of AWS": re.compile(r"(?i)secret_access_key[\"']?\s*[:=]\s*[\"']?[0-9a-z/+=]{30,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a key of a service account": re.compile(r"\"private_key(_id)?\"\s*:"),
}
EVERY = every_file()


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout: there is no list of files")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def secrets(text):
    return [kind for kind, form in SECRETS.items() if form.search(text)]


def test_no_secret_is_in_the_repository():
    found = {path.name: secrets(path.read_text(errors="ignore")) for path in tracked() if path.suffix != ".parquet"}
    assert {name: kinds for name, kinds in found.items() if kinds} == {}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("RAY_AUTH_TOKEN=" + "0f" * 32, "a token"),
        ("auth_token: '" + "0f" * 16 + "'", "a token"),
        ("AK" + "IA" + "ABCDEFGHIJKLMNOP", "a key of AWS"),
        ("-----BEGIN RSA" + " PRIVATE KEY-----", "a private key"),
    ],
)
def test_one_would_be_found(text, kind):
    assert secrets(text) == [kind]


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.name)
def test_nothing_is_opened_to_the_world(path):
    text = path.read_text()
    assert "0.0.0.0/0" not in text
    assert "::/0" not in text
    assert "RAY_AUTH_MODE=disabled" not in text
    assert "mode: disabled" not in text


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.name)
def test_no_image_moves_by_itself(path):
    assert not re.search(r":(latest|nightly)\b", path.read_text())
