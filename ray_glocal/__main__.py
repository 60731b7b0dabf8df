"""The command line: `python -m ray_glocal report | best | schedule | compare | replay RESULTS`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ray_glocal.errors import ArgumentError
from ray_glocal.names import EXPERIMENT_STATE
from ray_glocal.report.account import Summary, summarised
from ray_glocal.report.comparison import compare
from ray_glocal.report.experiment import Experiment, read

SAME, DIFFERENT, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; print its answer, or on stderr what is wrong with the arguments.

    Args:
        arguments: What follows `python -m ray_glocal`; None for those of the process.

    Returns:
        0; 1 where a replay differs; 2 where an argument is refused.
    """
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.command(chosen))
    except ArgumentError as error:
        print(f"python -m ray_glocal {chosen.name}: {error}", file=sys.stderr)
        return REFUSED


def _report(chosen: argparse.Namespace) -> int:
    experiment = read(chosen.results, chosen.metric, chosen.mode)
    account = summarised(experiment)
    _tell("\n".join([account.text(chosen.trials), *_files(chosen, experiment, account)]))
    return SAME


def _best(chosen: argparse.Namespace) -> int:
    from ray_glocal.schedule.best import best_config  # what sessions saved is read by torch, which takes seconds

    _tell(best_config(chosen.results, metric=chosen.metric, mode=chosen.mode))
    return SAME


def _schedule(chosen: argparse.Namespace) -> int:
    from ray_glocal.schedule import LearnedSchedule

    schedule = LearnedSchedule.of(chosen.results, metric=chosen.metric, mode=chosen.mode)
    if chosen.steps is not None:
        schedule = schedule.stretched(chosen.steps)
    if chosen.smooth is not None:
        schedule = schedule.smoothed(chosen.smooth)
    if chosen.out is not None:
        schedule.write(chosen.out)
    _tell(schedule)
    return SAME


def _files(chosen: argparse.Namespace, experiment: Experiment, account: Summary) -> Iterator[str]:
    """Write the page and what else was asked for, and say where."""
    from ray_glocal.report.page.contents import contents
    from ray_glocal.report.page.document import REMEDY, drawable
    from ray_glocal.report.page.files import beside, write_data, write_page

    page = chosen.html is not False and (drawable() or chosen.html is not None)
    if chosen.html is None and not page:
        yield f"\nThere is a page of charts, too, which plotly draws. {REMEDY}"
    found = contents(experiment, account) if page or chosen.json else None
    if page and found is not None:
        file = Path(chosen.html) if chosen.html else beside(chosen.results)
        write_page(found, file)
        yield f"\nPage: {file}"
    if chosen.json and found is not None:
        write_data(found, Path(chosen.json))
        yield f"Data: {chosen.json}"
    if chosen.optuna:
        from ray_glocal.report.study import write_study

        write_study(experiment, Path(chosen.optuna))
        yield f"Study: {chosen.optuna}"


def _compare(chosen: argparse.Namespace) -> int:
    _tell(compare(*chosen.results, metric=chosen.metric, mode=chosen.mode))
    return SAME


def _replay(chosen: argparse.Namespace) -> int:
    from ray_glocal.report.verification import replay  # the scheduler's rulebook loads ray, which takes seconds

    replayed = replay(chosen.results)
    _tell(replayed)
    return SAME if replayed.same else DIFFERENT


def _tell(answer: object) -> None:
    """Print an answer; whoever reads it may have enough before its end, as `head` has."""
    try:
        print(answer, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at the end


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m ray_glocal", description="Look at finished or running experiments.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    folder = f"folder of an experiment: the one that holds {EXPERIMENT_STATE}*.json and a folder for each trial"

    report = commands.add_parser("report", help="trials, best configuration, what was pruned and why, cost")
    report.add_argument("results", metavar="RESULTS", help=folder)
    report.add_argument("--trials", type=int, default=40, help="list at most this many trials (default: 40)")
    _add_files(report)
    _add_aim(report)
    report.set_defaults(command=_report)

    best = commands.add_parser("best", help="the best configuration, its adapted values, and how to train it again")
    best.add_argument("results", metavar="RESULTS", help=folder)
    _add_aim(best)
    best.set_defaults(command=_best)

    learned = commands.add_parser("schedule", help="the schedule that the best trial followed, to a file")
    learned.add_argument("results", metavar="RESULTS", help=folder)
    learned.add_argument("--out", metavar="FILE", help="write it there: a name that ends in .json or .csv")
    learned.add_argument("--steps", type=int, help="stretch it to so many steps (default: as many as it had)")
    learned.add_argument("--smooth", type=int, metavar="STEPS", help="means over so many steps (default: none)")
    _add_aim(learned)
    learned.set_defaults(command=_schedule)

    several = commands.add_parser("compare", help="experiments side by side")
    several.add_argument("results", metavar="RESULTS", nargs="+", help=folder)
    _add_aim(several)
    several.set_defaults(command=_compare)

    again = commands.add_parser("replay", help="whether every decision in the ledger comes out again")
    again.add_argument("results", metavar="RESULTS", help=folder)
    again.set_defaults(command=_replay)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    place = "report.html in RESULTS, or in the current folder where that is not on this machine"
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--html", metavar="FILE", help=f"where the page of charts goes (default: {place})")
    page.add_argument("--no-html", dest="html", action="store_const", const=False, help="write no page")
    parser.add_argument("--json", metavar="FILE", help="write what the page shows, as data")
    study = "write an Optuna study for its dashboard: a database where FILE ends in .db or .sqlite, else a journal"
    parser.add_argument("--optuna", metavar="FILE", help=study)


def _add_aim(parser: argparse.ArgumentParser) -> None:
    known = "what the experiment itself says"
    parser.add_argument("--metric", help=f"value that is optimised (default: {known}, or else val_loss)")
    parser.add_argument("--mode", help=f"min or max (default: {known}, or else min)")


if __name__ == "__main__":
    sys.exit(main())
