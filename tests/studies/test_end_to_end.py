"""The end-to-end study, in short."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from .conftest import STUDIES


@pytest.mark.slow
def test_a_session_leaves_a_poor_start(tmp_path):
    script = str(STUDIES / "end_to_end.py")
    subprocess.run([sys.executable, script, "--smoke", "--out", str(tmp_path)], check=True, timeout=280)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    (session,) = [row for row in rows if row["kind"] == "Adapted"]
    (without,) = [row for row in rows if row["kind"] == "Plain" and row["momentum"] == 0.5]
    assert session["test"] < without["test"] / 2
    assert "From poor starts" in (tmp_path / "README.md").read_text()
