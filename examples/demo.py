"""The quickstart, and stock ASHA beside it: the same space, the same number of steps."""

import quickstart  # ahead of Ray, for it says how Tune prints

# isort: split
import ray
from ray import tune

import asha
from ray_glocal.report import summary


def reported(results: tune.ResultGrid) -> list[tune.Result]:
    """The trials that came to a report before their search was over."""
    return [result for result in results if "val_loss" in (result.metrics or {})]


def line(name: str, results: tune.ResultGrid, steps: float) -> str:
    """What a search came to: its best report by validation loss."""
    frames = [result.metrics_dataframe for result in reported(results)]
    best = min((row for frame in frames for row in frame.to_dict("records")), key=lambda row: row["val_loss"])
    found = f"best val_loss {best['val_loss']:.4f}, its test_accuracy {best['test_accuracy']:.4f}"
    return f"  {name:<10} {found}; {len(frames)} trials, {steps:.0f} steps"


def main() -> None:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ours = quickstart.search()
    print(summary(ours))
    cost = sum(result.metrics["cost/steps"] for result in reported(ours))
    print(f"\nStock ASHA on the same space, until it has taken as many steps, {cost:.0f}, as ours cost in all ..")
    theirs = asha.search(cost)
    taken = sum(result.metrics_dataframe["steps_since"].sum() for result in reported(theirs))
    print(line("ray_glocal", ours, cost))
    print(line("ASHA", theirs, taken))
    quickstart.say_next(ours)
    ray.shutdown()


if __name__ == "__main__":
    main()
