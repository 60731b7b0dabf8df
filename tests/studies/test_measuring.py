"""The measuring instruments of the studies on known quantities."""

import math

import pytest
import torch

from measuring import covered, growth, kernels, seconds


def test_growth_is_the_most_that_is_held_at_once():
    def action():
        first = torch.zeros(250_000)  # one million bytes
        second = first + 1
        del first
        return second.clone() + 1  # second, its clone and the sum

    assert growth(action) == pytest.approx(3e6, rel=0.01)


def test_seconds_are_those_of_the_action():
    assert seconds(lambda: None) < seconds(lambda: sum(range(1_000_000)))


def test_spans_that_overlap_count_once():
    assert covered([(5, 7), (0, 2), (1, 3), (6, 6)]) == 5
    assert covered([]) == 0


def test_without_an_accelerator_no_kernel_is_timed():
    assert math.isnan(kernels(lambda: None, "cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_kernels_take_no_longer_than_the_clock():
    matrix = torch.randn(4096, 4096, device="cuda")
    action = lambda: [matrix @ matrix for _ in range(20)]  # noqa: E731
    action()
    assert 0.5 * seconds(action, "cuda") < kernels(action, "cuda") < 1.1 * seconds(action, "cuda")
