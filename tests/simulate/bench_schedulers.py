"""What a scheduler costs a result, by the number of trials, on simulated clusters; memory of the ledger per trial.

`python tests/simulate/bench_schedulers.py [TRIALS ...]`; every line of one run is comparable with the others.
"""

import sys
import time
import tracemalloc

from cases import LENGTH, falling
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from ray_glocal import GlocalScheduler
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.simulate import Cluster, following, simulate

SPACE = {"floor": tune.uniform(0, 1), "rate": tune.loguniform(0.01, 1)}


def timed(scheduler):
    """The scheduler, whose hooks note the seconds that the processor spends in them."""
    spent = []

    def noted(original):
        def hook(*args):
            begun = time.thread_time()
            answer = original(*args)
            spent.append(time.thread_time() - begun)
            return answer

        return hook

    for name in ("on_trial_add", "on_trial_result", "on_trial_complete"):
        setattr(scheduler, name, noted(getattr(scheduler, name)))
    return spent


def main(counts):
    print("| trials | scheduler | results | us in hooks a result | median of its last tenth | wall s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in counts:
        for make in (
            lambda: ASHAScheduler(max_t=LENGTH, reduction_factor=3),
            lambda: GlocalScheduler(time_attr="training_iteration", max_t=LENGTH, reduction_factor=3),
        ):
            scheduler = make()
            spent = timed(scheduler)
            begun = time.perf_counter()
            cluster = Cluster(max(1, count // 10), start=0.5)
            told = simulate(
                following(falling, LENGTH),
                SPACE,
                metric="loss",
                mode="min",
                num_samples=count,
                scheduler=scheduler,
                cluster=cluster,
                seconds=lambda config, result: 0.5 + config["floor"],
            )
            late = sorted(spent[-len(spent) // 10 :])
            each, last = 1e6 * sum(spent) / len(told.results), 1e6 * late[len(late) // 2]
            wall, name = time.perf_counter() - begun, type(scheduler).__name__
            print(f"| {count} | {name} | {len(told.results)} | {each:.0f} | {last:.0f} | {wall:.0f} |", flush=True)
            if isinstance(scheduler, GlocalScheduler):
                events = scheduler.ledger.events
                tracemalloc.start()
                copy = Ledger(events)
                size, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                per = size / count
                print(f"  the ledger's memory beside its {len(copy)} events: {per / 1024:.2f} KiB a trial", flush=True)


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [1000, 3000, 10000])
