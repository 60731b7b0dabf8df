"""`python -m tests.session.fuzz 7 100-120`: judge those draws, and say how each ended."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import torch

from .draws import draw
from .judging import judge


def seeds(words: list[str]) -> Iterator[int]:
    """Numbers and ranges of them."""
    for word in words:
        first, _, last = word.partition("-")
        yield from range(int(first), int(last or first) + 1)


def main() -> None:
    torch.set_num_threads(1)
    ended: Counter[str] = Counter()
    for seed in seeds(sys.argv[1:]):
        outcome = judge(draw(seed).trial())
        ended[outcome.kind] += 1
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{dict(ended)}\n")


if __name__ == "__main__":
    main()
