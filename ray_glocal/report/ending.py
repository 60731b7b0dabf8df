"""How a trial ended, or that it goes on: from the ledger, and from Tune's own word on it."""

from __future__ import annotations

from ray_glocal.scheduling.ledger import Record

DONE, FAILED, STOPPED = "done", "failed", "stopped"
GOING = ("running", "waiting", "paused", "retrying")  # of trials whose driver lives, for all that it wrote
_TUNES = {"TERMINATED": DONE, "ERROR": FAILED, "RUNNING": "running", "PENDING": "waiting", "PAUSED": "paused"}
_ENDS = ("TERMINATED", "ERROR")
_LEDGERS = {"completed": DONE, "errored": FAILED, "lost": "lost", "live": "running", "retrying": "retrying"}


def ending(record: Record | None, status: str, *, results: bool, error: bool) -> str:
    """How a trial ended: by Tune's word if that is of an end, for a ledger that was saved may be older than the end.

    That a trial goes on, Tune says in its last snapshot of trials that have come to their end since: an end that the
    ledger knows is one. Where neither knows a trial, an error that Tune left tells. Where an error ends the whole
    experiment, Tune says of all its trials that they are done. Whether a rule pruned one is for the ledger's decisions
    to tell.

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
    if status != "TERMINATED":
        return _word(known, status, error=error)
    if known == "errored" or (error and not results):
        return FAILED
    return DONE if results else STOPPED


def _word(known: str, status: str, *, error: bool) -> str:
    if status not in _ENDS and known in ("completed", "errored", "lost"):
        return _LEDGERS[known]
    return _TUNES.get(status) or _LEDGERS.get(known) or (FAILED if error else "unknown")
