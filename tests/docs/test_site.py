"""The site as it is built: its links lead to files of it, and studies' pages tell what their rows are of."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import computed
import dates
import pages
import pytest
from blocks import ROOT

STUDY = ROOT / "examples" / "studies" / "results" / "bed" / "README.md"


def test_every_studys_page_names_the_parts_that_it_measures():
    assert set(dates.MEASURED) == set(computed.places())
    assert all((ROOT / "ray_glocal" / part).is_dir() for parts in dates.MEASURED.values() for part in parts)


def test_rows_are_dated_by_their_own_commit_and_what_they_measure(monkeypatch):
    told = {"rev-parse": "false", "status": "", "log": "abc1234 2026-11-23", "rev-list": "2"}
    asked = []
    monkeypatch.setattr(dates, "_git", lambda *words: (asked.append(words), told[words[0]])[1])
    said = "*Rows of 2026-11-23, commit abc1234; since then 2 commits changed `ray_glocal/hypergradient`.*"
    assert dates.dated("engine", Path("engine")) == said
    assert asked[-1] == ("rev-list", "--count", "abc1234..HEAD", "--", "ray_glocal/hypergradient")
    told["rev-list"] = "0"
    assert "nothing changed `ray_glocal/hypergradient` or `ray_glocal/koopman`" in dates.dated("quadratic", Path())
    told["status"] = " M rows.parquet"
    assert dates.dated("engine", Path()) == "*Its rows are not committed yet.*"
    told["status"], told["log"] = "", ""  # git ignores them
    assert dates.dated("engine", Path()) == "*Its rows are not committed yet.*"
    told["rev-parse"] = "true"  # a shallow clone
    assert dates.dated("engine", Path()) == ""


def test_a_short_run_to_try_a_study_has_no_page(monkeypatch, tmp_path):
    for name in ("bed", "bed-smoke"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text("# A page\n")
    monkeypatch.setattr(computed, "STUDIES", tmp_path)
    assert list(computed.places()) == ["bed"]


@pytest.mark.parametrize(
    ("place", "link", "led"),
    [
        ("limits.md", "../examples/studies/results/bed/README.md#all", "results/bed/index.md#all"),
        ("results/index.md", "../../examples/studies/results/bed/README.md", "bed/index.md"),
        ("results/bed/index.md", "../../../../docs/limits.md", "../../limits.md"),
        ("results/bed/index.md", "figure.png", "figure.png"),
        ("contributing.md", "docs/how.md", "how.md"),
    ],
)
def test_a_link_is_led_to_its_place_on_the_site(place, link, led):
    known = {"results/bed/index.md": STUDY, "contributing.md": ROOT / "CONTRIBUTING.md"}
    assert pages.linked(f"[it]({link})", place, known) == f"[it]({led})"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site's folder, built as CI builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True, timeout=280)
    return folder


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site):
    lost, found = [], 0
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="?([^"\s>]+)', page.read_text()):
            if re.match(r"[a-z]+:|#|/", link):
                continue
            found += 1
            if not (page.parent / unquote(link.split("#")[0])).exists():
                lost.append((page.relative_to(site).as_posix(), link))
    assert not lost
    assert found > 1000


@pytest.mark.slow
def test_pages_of_the_site_read_whole(site):
    asha = (site / "from-asha" / "index.html").read_text()
    assert "ASHAScheduler" in asha
    assert "GlocalSession" in asha
    assert "Contributing" in (site / "contributing.html").read_text()
    for name in computed.places():
        assert (site / "results" / name / "index.html").exists()
