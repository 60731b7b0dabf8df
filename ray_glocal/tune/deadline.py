"""A limit on the time that one step may take: Tune has none, and would wait for a hung trial for ever."""

from __future__ import annotations

import faulthandler
import math
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ray_glocal.errors import ArgumentError, HangError

_STDERR = 2  # the file itself: Ray puts an object of its own in the place of `sys.stderr`
_MARGIN = 1.0  # seconds in which the sentence is written, before the process ends
_REMEDY = (
    "Tune retries the trial if it may fail again. Raise `step_timeout`, or the seconds of `watched`, where a step may "
    "take so long."
)

T = TypeVar("T")


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """End this process where the block takes longer than `seconds`, with a sentence and every thread's stack on stderr.

    Tune takes that for the failure of a worker and retries the trial from its last checkpoint as often as
    `max_failures` allows. Works in a call that never returns to Python too. One deadline at a time per process. A block
    that is over between the sentence and the end fails its trial alone, not the process.

    Args:
        seconds: How long the block may take; None for as long as it likes.

    Raises:
        ArgumentError: `seconds` is not a positive number.
        HangError: The block took longer, and came back before the process ended.
    """
    if seconds is None:
        yield
        return
    check_seconds(seconds)
    said = threading.Event()
    sentence = threading.Timer(seconds, _say, [seconds, said])
    sentence.daemon = True
    sentence.start()
    faulthandler.dump_traceback_later(seconds + _MARGIN, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        sentence.cancel()
        sentence.join()  # it may be speaking
    if said.is_set():
        raise HangError(f"A step took longer than {seconds:g} s, and came back: it fails its trial alone. {_REMEDY}")


def watched(batches: Iterable[T], seconds: float | None) -> Iterator[T]:
    """`batches`, each under a deadline: for the loop of a function trainable.

    A deadline covers loading the batch and the body of the loop, reports included, so that Tune's answer to a report
    counts too: allow for a busy driver.

    Args:
        batches: What to iterate over, as `session.batches(loader)`.
        seconds: How long a batch may take; None for as long as it likes.

    Raises:
        ArgumentError: `seconds` is not a positive number.
        HangError: A batch took longer, and came back before the process ended.
    """
    iterator = iter(batches)
    while True:
        with deadline(seconds):
            try:
                batch = next(iterator)
            except StopIteration:
                return
            yield batch


def check_seconds(seconds: float) -> None:
    """Complain about a time that is none.

    Raises:
        ArgumentError: `seconds` is not a positive number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ArgumentError("seconds", "be a positive number", seconds, "Pass None for no limit.")


def _say(seconds: float, said: threading.Event) -> None:
    said.set()
    sentence = f"A step took longer than {seconds:g} s: unless it comes back within {_MARGIN:g} s, this worker ends."
    os.write(_STDERR, f"{sentence} {_REMEDY}\n".encode())
