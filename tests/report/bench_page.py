"""Processor seconds and megabytes of the page of 1,000 trials: `python tests/report/bench_page.py [TRIALS]`."""

import sys
import tempfile
import time
from pathlib import Path

import simulated

from ray_glocal.report.account import summarised
from ray_glocal.report.experiment import read
from ray_glocal.report.page.contents import contents
from ray_glocal.report.page.files import write_data, write_page


def main(trials):
    with tempfile.TemporaryDirectory() as fresh:
        results = simulated.experiment(fresh, trials)
        moments = [time.process_time()]
        experiment = read(results)
        moments.append(time.process_time())
        told = contents(experiment, summarised(experiment))
        moments.append(time.process_time())
        page, data = Path(fresh, "report.html"), Path(fresh, "report.json")
        write_page(told, page)
        moments.append(time.process_time())
        write_data(told, data)
        rows = sum(len(run.rows) for run in experiment.runs)
        print(f"{trials} trials, {rows} results, {len(told.decisions)} decisions")
        for name, before, after in zip(("reading", "computing", "writing"), moments, moments[1:], strict=False):
            print(f"{name:10} {after - before:6.2f} s")
        print(f"{'together':10} {moments[-1] - moments[0]:6.2f} s")
        print(f"page {page.stat().st_size / 1e6:.1f} MB, data {data.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
