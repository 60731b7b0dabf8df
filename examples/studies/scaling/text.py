"""The page: tables of what was measured, and the limits that follow from them."""

from collections.abc import Sequence

from scaling.experiment import OURS, PARTS, START, UNLIMITED
from scaling.limit import driver, one
from study import Row, markdown

MB = 1e6
MINUTE = 60.0


def text(rows: Sequence[Row]) -> str:
    """All tables and what they say."""
    parts = [limits(rows), results(rows), ray(rows), snapshots(rows), disk(rows)]
    return "\n\n".join(parts)


def largest(rows: Sequence[Row]) -> tuple[int, int]:
    """Trials and workers of the largest experiment."""
    return max((row["trials"], row["workers"]) for row in rows if row["part"] == "simulated" and row["kind"] == OURS)


def limits(rows: Sequence[Row]) -> str:
    """Where one driver falls behind."""
    trials, workers = largest(rows)
    api = max(row["api"] for row in rows if row["part"] == "live")
    lines = []
    for logging in (True, False):
        for saves in (True, False):
            told = driver(rows, trials, api=api, logging=logging, saves=saves)
            full = told.workers(1.0, MINUTE)
            line = [f"{1e3 * told.each(workers):.1f}", f"{told.busy(workers, MINUTE):.0%}"]
            line += [f"{told.workers(0.5, MINUTE):,.0f}", f"{full:,.0f}", f"{full / MINUTE:,.0f}"]
            lines.append(["default" if logging else "off", "each report" if saves else "none", *line])
    header = ["loggers", "checkpoints", f"ms a result at {workers:,}", f"busy at {workers:,}"]
    header += ["workers at 50 %", "workers at 100 %", "results a second there"]
    said = (
        f"An experiment of {trials:,} trials ({api} trainables, one report a minute and trial): seconds of the "
        "driver's processor, simulated parts and what real Ray adds together, Tune's snapshots at its own period "
        "included. *At 100 %* the driver falls behind, and workers wait for its answers."
    )
    return f"## Where one driver falls behind\n\n{said}\n\n{markdown(header, lines)}\n\n{advice(rows)}"


def advice(rows: Sequence[Row]) -> str:
    """What to do then."""
    trials, workers = largest(rows)
    loggers = {row["what"]: 1e3 * row["seconds"] for row in rows if row["part"] == "loggers"}
    opened = sum(row["open"] for row in rows if row["part"] == "loggers")
    worst = max(loggers, key=lambda name: loggers[name])
    told = driver(rows, trials, api=max(r["api"] for r in rows if r["part"] == "live"), logging=False, saves=True)
    pause = max(10.0, 19 * told.snapshot)
    slow = (
        f"one report in five minutes instead of one lets it lead {told.workers(0.5, 5 * MINUTE):,.0f} workers at 50 %"
    )
    return "\n".join(
        [
            f"1. Switch Tune's loggers off (`TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1`): they take "
            f"{sum(loggers.values()):.2f} ms a result, {loggers[worst]:.2f} of them {worst}'s, and keep "
            f"{opened:.0f} files open for each trial that runs, {opened * workers:,.0f} for {workers:,} (the usual "
            "limit is 1,024). The library's own report then has trials, losses, adapted values and decisions from the "
            "ledger, and the rest of each trial's last result; `RunConfig(callbacks=[JsonLoggerCallback()])` keeps all "
            f"results for it, at {loggers['JSON']:.2f} ms a result and one open file a trial.",
            f"2. Report less often (`Settings(report_every=...)`): {slow} (loggers off).",
            "3. Do not let `num_to_keep` of Tune's `CheckpointConfig` be small: Tune then takes a snapshot "
            "whenever any trial has saved that many checkpoints since the last one, whatever the period, and waits "
            f"for the upload of the one before. With {workers:,} workers that is one every `num_to_keep` minutes "
            f"at one checkpoint a minute, and one at each checkpoint, {workers / MINUTE:.3g} a second, for "
            "`num_to_keep=1` (read in Ray's source, not measured).",
            f"4. A snapshot halts the driver for {told.snapshot:.1f} s, every {pause:.0f} s. "
            "`TUNE_GLOBAL_CHECKPOINT_S` sets another period; what is lost with a driver are the reports since the "
            "last.",
            f"5. {proposals(rows)}",
            "6. Beyond that, several experiments, each with its own driver.",
        ]
    )


def proposals(rows: Sequence[Row]) -> str:
    """How many threads a proposal takes least with, and what it takes with each number that was tried."""
    told = sorted((row for row in rows if row["part"] == "proposed"), key=lambda row: row["threads"])
    best = min(told, key=lambda row: row["seconds"])["threads"]
    each = [
        f"{1e3 * row['seconds']:.0f} ms of the processor and {1e3 * row['wall']:.0f} by the clock with {row['threads']}"
        for row in told
    ]
    return (
        f"Set `OPENBLAS_NUM_THREADS={best}` before the driver starts: by threads of NumPy's BLAS a proposal, of small "
        f"matrices, takes {', '.join(each)}, measured here beside other work."
    )


def results(rows: Sequence[Row]) -> str:
    """Seconds a result by part."""
    lines = []
    for told in (row for row in rows if row["part"] == "simulated" and row["what"] == "driver"):
        key = {name: told[name] for name in ("kind", "trials", "workers")}
        tenths = [row for row in rows if row["what"] == "result" and all(row[n] == v for n, v in key.items())]
        means = [1e3 * sum(row[part] for row in tenths) / len(tenths) for part in PARTS]
        early, late = (1e3 * tenths[place]["median"] for place in (0, -1))
        whole = 1e3 * told["seconds"] / told["results"]
        busy = told["seconds"] / told["virtual"]
        numbers = [f"{value:.3f}" for value in (*means, whole, early, late)]
        cells = [told["kind"], f"{told['trials']:,}", f"{told['workers']:,}", f"{told['results']:,}"]
        lines.append([*cells, *numbers, f"{late / early:.2f}", f"{busy:.1%}"])
    header = ["judges", "trials", "workers", "results", *PARTS, "all", "first tenth", "last tenth", "growth", "busy"]
    said = (
        "Milliseconds of the driver's processor for each result, on a virtual clock: means of each part over the "
        "steps of Tune's controller that took in a result; *all* also holds the steps that made, started and ended "
        "trials; the tenths are medians. *Choice* is the scheduler's answer to which trial runs next. Random "
        "search makes its trials within *searcher*. *Busy* is without Ray itself."
    )
    return f"## The driver by part\n\n{said}\n\n{markdown(header, lines)}\n\n{filling(rows)}"


def filling(rows: Sequence[Row]) -> str:
    """How long it takes to give every worker a trial."""
    alone = one(rows, part="simulated", kind=UNLIMITED, what="driver")
    limited = one(rows, part="simulated", kind=OURS, trials=alone["trials"], workers=alone["workers"], what="driver")
    hours = [f"{row['virtual'] / 3600:.1f} h" for row in (alone, limited)]
    return (
        f"Tune lets one trial of a searcher wait for its worker at a time, unless `max_concurrent_trials` is set: "
        f"where a worker needs {START:g} s to start, {alone['trials']:,} trials for {alone['workers']:,} workers "
        f"took {hours[0]} without it, and {hours[1]} with `TuneConfig(max_concurrent_trials=...)` set to the number "
        "of workers."
    )


def ray(rows: Sequence[Row]) -> str:
    """What real Ray and the loggers add."""
    onoff = {True: "on", False: "off"}
    live = [
        [row["api"], onoff[row["logging"]], onoff[row["saves"]], row["actors"], f"{1e3 * row['seconds']:.2f}"]
        for row in rows
        if row["part"] == "live"
    ]
    alone = [
        [row["what"], f"{1e3 * row['seconds']:.2f}", f"{row['bytes']:,.0f}", row["files"], row["open"]]
        for row in rows
        if row["part"] == "loggers"
    ]
    waits = [[f"{row['futures']:,}", f"{1e3 * row['seconds']:.2f}"] for row in rows if row["part"] == "waited"]
    said = (
        "The driver of a real local Ray (all of its threads), whose actors report what a session reports, as fast "
        "as they can, under FIFO; then the loggers by themselves, and Tune's wait for one result while others are "
        "awaited."
    )
    tables = [
        markdown(["trainable", "loggers", "checkpoints", "actors", "ms a result"], live),
        markdown(["logger", "ms a result", "bytes a trial", "files a trial", "open files"], alone),
        markdown(["awaited", "ms"], waits),
    ]
    return "\n\n".join(["## What real Ray adds", said, *tables])


def snapshots(rows: Sequence[Row]) -> str:
    """Seconds and bytes of snapshots, uploads, and of questions."""
    own = [row for row in rows if row["part"] == "simulated" and row["kind"] == OURS and row["workers"] != 2]
    kept = [row for row in own if row["what"] not in ("driver", "result")]
    lines = [
        [
            f"{row['trials']:,}",
            row["what"],
            "" if row["new"] is None else f"{row['new']:,}",
            f"{row['seconds']:.3f}",
            "" if row["bytes"] is None else f"{row['bytes'] / MB:.2f}",
        ]
        for row in kept
    ]
    sent = [
        [
            f"{row['trials']:,}",
            "default" if row["logging"] else "off",
            f"{row['files']:,.0f}",
            f"{row['bytes'] / MB:,.0f}",
            f"{row['wall']:.1f}",
            f"{row['seconds']:.1f}",
        ]
        for row in rows
        if row["part"] == "uploaded"
    ]
    said = (
        "Processor seconds of the driver's thread. *New*: trials of which Tune encodes the state anew, events that the "
        "ledger has and the last snapshot has not. *Anew* is what the ledger took at each snapshot before it was "
        "made to encode each event once."
    )
    upload = (
        "After each snapshot Tune copies its whole staging folder to the storage, every trial's log files "
        "included, in a thread beside the driver's. Here to a folder on the same disk; into an object store each "
        "file is at least one request, one after the other, so at 30 ms a request so many files take "
        + ", ".join(f"{0.03 * row['files']:,.0f} s" for row in rows if row["part"] == "uploaded" and row["logging"])
        + " in the order of the table (computed, not measured)."
    )
    tables = [
        markdown(["trials", "what", "new", "seconds", "MB"], lines),
        upload,
        markdown(["trials", "loggers", "files", "MB", "clock s", "processor s"], sent),
    ]
    return "\n\n".join(["## Snapshots", said, *tables])


def disk(rows: Sequence[Row]) -> str:
    """Bytes of the largest experiment, by part."""
    trials, _ = largest(rows)
    key = {"part": "simulated", "kind": OURS, "trials": trials}
    held = {
        "ledger": one(rows, **key, what="ledger, by the searcher")["bytes"],
        "Tune's state": one(rows, **key, what="Tune's state")["bytes"],
        "decisions.parquet": one(rows, **key, what="scheduler.write_decisions()")["bytes"],
    }
    held |= {f"{row['what']} logger": trials * row["bytes"] for row in rows if row["part"] == "loggers"}
    memory = one(rows, part="remembered")
    note = (
        f"In memory the ledger takes {memory['bytes'] / memory['trials'] / 1024:.1f} KiB for a trial of "
        f"{memory['reports']} reports."
    )
    lines = [[what, f"{count / trials / 1e3:.2f}", f"{count / MB:,.1f}"] for what, count in held.items()]
    saved = []
    for name in dict.fromkeys(row["optimizer"] for row in rows if row["part"] == "checkpoints"):
        own = [row for row in rows if row["part"] == "checkpoints" and row["optimizer"] == name]
        shares = [row["bytes"] / row["weights"] for row in own]
        kept = [row for row in rows if row["part"] == "kept" and row["optimizer"] == name]
        left = [f"{kept[0]['bytes'] / kept[0]['weights']:.2f}", f"{kept[0]['kept']:.1f}"] if kept else ["", ""]
        saved.append([name, f"{own[0]['weights'] / MB:.2f}", f"{max(shares):.2f}", f"{shares[-1]:.2f}", *left])
    header = [
        "optimizer",
        "weights, MB",
        "largest checkpoint",
        "last",
        "left of a trial",
        "checkpoints left of a trial",
    ]
    said = (
        "Of checkpoints: sizes over those of the weights, of one network's session at each of its reports; then "
        "all that a real experiment of two trials leaves of each on average, under the library's defaults: the best "
        "keeps its last checkpoint whole, every other that has ended its weights alone."
    )
    tables = [markdown(["what", "kB a trial", f"MB of {trials:,} trials"], lines), said, markdown(header, saved)]
    return "\n\n".join(["## What an experiment writes", tables[0], note, *tables[1:]])
