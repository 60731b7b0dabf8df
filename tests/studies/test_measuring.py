"""The measuring instruments of the studies on known quantities."""

import pytest
import torch

from measuring import growth, seconds


def test_growth_is_the_most_that_is_held_at_once():
    def action():
        first = torch.zeros(250_000)  # one million bytes
        second = first + 1
        del first
        return second.clone() + 1  # second, its clone and the sum

    assert growth(action) == pytest.approx(3e6, rel=0.01)


def test_seconds_are_those_of_the_action():
    assert seconds(lambda: None) < seconds(lambda: sum(range(1_000_000)))
