"""Sentences of decisions as people read them: rules and proposals compare losses, a user has a metric.

The ledger keeps what was compared, in the words of its day, so that a replay finds the same; whoever shows a sentence
shows it by this.
"""

from __future__ import annotations

import re

_NUMBER = r"[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)(?![\w.]*\w)"
# What stands before a loss in a sentence; any other number is a difference, a deviation, a count, a share or a step.
_CUES = (
    r"final loss ",
    r"optimistically ",
    r"end at ",
    r"forecast ",
    r"against ",
    r"loss at step \S+ is ",
    r"from trial \S+ \(",
)
_LOSS = re.compile(rf"({'|'.join(_CUES)})({_NUMBER})")
_NEGATIVE = re.compile(r"(?<![\w.+-])-(?:\d|inf)")


def in_the_users_terms(sentence: str, metric: str, mode: str) -> str:
    """A sentence with the values of the user's metric in the place of losses.

    Args:
        sentence: A reason as the ledger has it.
        metric: Name of the metric.
        mode: "min" where the metric is the loss, "max" where it is the loss's negative.
    """
    if mode == "max":
        turned, count = _LOSS.subn(lambda found: found[1] + _turned(found[2]), sentence)
        if not count and _NEGATIVE.search(sentence):  # of a rule that somebody else has written
            turned = f"{sentence} (The loss is minus {metric}.)"
        sentence = turned
    sentence = re.sub(r"\bwhich end at\b", "which are forecast to end at", sentence)
    sentence = re.sub(r"\bforecast final loss\b", lambda found: f"forecast final {metric}", sentence)
    sentence = re.sub(r"\bExpected to end at\b", lambda found: f"Expected to end at {metric}", sentence)
    return re.sub(r"^The loss at step\b", lambda found: f"The {metric} at step", sentence)


def _turned(number: str) -> str:
    """The number with its sign turned; nothing else of its text changes."""
    if number.startswith("-"):
        return number[1:]
    bare = number.removeprefix("+")
    return bare if bare == "nan" or not bare.strip("0.") else f"-{bare}"
