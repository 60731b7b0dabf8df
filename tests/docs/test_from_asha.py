"""ASHA's script and ours: both run, and so many lines are added as the page and the README say."""

import runpy

import changed_lines
import pytest
from blocks import DOCS, ROOT

MOST = 15  # lines that somebody who comes from ASHA has to write


def test_few_lines_differ():
    added, gone, total = changed_lines.changed()
    assert added <= MOST
    assert gone <= MOST
    assert total > 40
    assert f": {added} lines added" in (ROOT / "README.md").read_text()


def test_the_page_has_both_scripts_whole():
    page = (DOCS / "from-asha" / "index.md").read_text()
    for script in ("asha.py", "glocal.py"):
        assert f"```python\n{(DOCS / 'from-asha' / script).read_text()}```" in page


@pytest.mark.cluster
@pytest.mark.parametrize("script", ["asha.py", "glocal.py"])
def test_the_script_runs(script, local_ray, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    monkeypatch.chdir(tmp_path)
    told = runpy.run_path(str(DOCS / "from-asha" / script))
    told["main"].__globals__["EPOCHS"] = 3
    told["main"](samples=2)
    printed = capsys.readouterr().out
    assert float(printed.split("accuracy ")[-1].split()[0]) > 0.05
