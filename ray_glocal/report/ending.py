"""How a trial ended, or that it goes on: from the ledger, and from Tune's own word on it."""

from __future__ import annotations

from ray_glocal.scheduling.ledger import Record

DONE, FAILED, STOPPED = "done", "failed", "stopped"
GOING = ("running", "waiting", "paused", "retrying")  # of trials whose driver lives, for all that it wrote
_TUNES = {"TERMINATED": DONE, "ERROR": FAILED, "RUNNING": "running", "PENDING": "waiting", "PAUSED": "paused"}
_LEDGERS = {"completed": DONE, "errored": FAILED, "lost": "lost", "live": "running", "retrying": "retrying"}


def ending(record: Record | None, status: str, *, results: bool, error: bool) -> str:
    """How a trial ended: Tune's word where it has one, for a ledger that was saved may be older than the end.

    Where an error ends the whole experiment, Tune says of all its trials that they are done. Whether a rule pruned one
    is for the ledger's decisions to tell.

    Args:
        record: What the ledger knows about it; None without a ledger.
        status: Tune's word; empty where it left none.
        results: Whether it reported anything.
        error: Whether Tune left an error of it.

    Returns:
        "done", "failed", "stopped" (before it reported anything), "lost", "running", "waiting", "paused", "retrying" or
        "unknown".
    """
    known = record.status if record is not None else ""
    word = _TUNES.get(status) or _LEDGERS.get(known, "unknown")
    if status != "TERMINATED":
        return word
    if known == "errored" or (error and not results):
        return FAILED
    return DONE if results else STOPPED
