"""What each kernel pays for: every function that windows replace is called, and the conclusions follow the rows."""

from math import nan

import pytest
import torch

import kernels
from ray_glocal.hypergradient.kernels.substitution import REPLACED
from windows import substituted


def test_every_function_that_is_replaced_has_a_call():
    assert {told for told, _, _ in kernels.CALLS.values()} | {torch.layer_norm} == set(REPLACED)


@pytest.mark.parametrize("name", kernels.CALLS)
def test_with_kernels_every_product_is_right(name):
    ours, theirs = kernels.run(kernels.Cell(name, 1))
    assert ours["error"] < kernels.RIGHT
    assert (theirs["error"] is None) == bool(theirs["said"])


def test_the_conclusions_come_from_the_rows():
    def row(name, ours, error, seconds):
        return {"function": name, "ours": ours, "error": error, "said": "", "seconds": seconds}

    rows = [row("a", True, 1e-9, 1.0), row("a", False, 1e-9, 2.0)]
    rows += [row("b", True, 1e-9, 1.0), row("b", False, 1e2, 0.1)]
    rows += [row("c", True, 1e-9, 1.0), row("c", False, 1e-9, 0.5)]
    told = kernels.text(rows)
    assert "no right second derivative of b." in told
    assert "saves time (torch's over ours): a 2.00." in told
    assert "pays for nothing by single calls: c 0.50." in told


@pytest.mark.parametrize("name", ["silu", "group_norm", "cdist"])
def test_whole_windows_agree_and_keep_graphs_by_our_kernels(name):
    rows = {(row["mode"], row["ours"]): row for row in substituted.run(substituted.Windows(name, 3, 1))}
    kept = rows["kept", True]
    assert kept["graphs"]
    if name == "cdist":
        assert kept["said"]
        assert ("kept", False) not in rows
    else:
        assert kept["error"] < 1e-9
        assert not rows["kept", False]["graphs"]  # torch's bits differ


def test_what_is_said_of_whole_windows_comes_from_the_rows():
    def rows(name, times, graphs, said=""):
        same = {"part": "windows", "function": name, "error": nan if said else 0.0, "said": said, "growth": 2**20}
        return [
            {**same, "mode": mode, "ours": ours, "steps": steps, "graphs": mode == "kept" and kept}
            for mode in substituted.MODES
            for ours, steps, kept in ((True, [3.0, 3.0, 3.0], True), (False, times, graphs))
            if ours or not said
        ]

    every = [*rows("a", [6.0, 6.0, 6.0], False), *rows("b", [], False, "torch has none")]
    every += [*rows("c", [2.0, 3.0, 4.0], True), *rows("d", [1.5, 1.5, 1.5], True)]
    *_, table, told = substituted.section(every)
    assert "| b | kept | 3 | torch has none |" in table
    assert "no exact window at all of b." in told
    assert "bits are not the plain step's: a 2.00 times." in told
    assert "saves time, `kept` (torch's over ours, quartiles above one): a 2.00." in told
    assert "costs time, `kept` (quartiles below one): d 0.50." in told
    assert "neither time nor graphs: c, d." in told
