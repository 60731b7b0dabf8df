"""What each kernel pays for: every function that windows replace is called, and the conclusions follow the rows."""

import pytest
import torch

import kernels
from ray_glocal.hypergradient.kernels.substitution import REPLACED


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
    assert "pays for nothing here: c 0.50." in told
