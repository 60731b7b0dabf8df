"""The quickstart's space under stock ASHA, until as many steps are spent: what the demo ends with."""

from itertools import chain, islice, pairwise, repeat
from typing import Any

import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

import digits
from quickstart import SPACE

REPORTS = 9  # of a training, as ours


class Spent(tune.Stopper):
    """Ends the experiment once its trials have taken so many steps together; what they validate by is free.

    Args:
        steps: Inner steps.
    """

    def __init__(self, steps: float) -> None:
        self.left = steps

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Count a report; no trial ends by itself."""
        self.left -= result["steps_since"]
        return False

    def stop_all(self) -> bool:
        """Whether nothing is left."""
        return self.left <= 0


def train(config: dict[str, Any]) -> None:
    """The quickstart's loop without a session."""
    torch.set_num_threads(1)
    training, validation, test = digits.split()
    model = digits.network(config["width"], seed=0)
    optimizer = digits.optimizer(config["optimizer"], model, config)
    schedule = digits.cosine(digits.STEPS, optimizer)
    ends = [digits.STEPS * count // REPORTS for count in range(REPORTS + 1)]
    batches = chain.from_iterable(repeat(digits.Shuffled(training, seed=0)))
    for before, end in pairwise(ends):
        for batch in islice(batches, end - before):
            optimizer.zero_grad()
            digits.loss(model, batch).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            told = {"val_loss": float(digits.loss(model, validation)), "steps_since": end - before}
            tune.report({**told, "test_accuracy": digits.accuracy(model, test)})


def search(steps: float, seed: int = 0) -> tune.ResultGrid:
    """What ASHA finds within so many inner steps."""
    tuner = tune.Tuner(
        train,
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            num_samples=-1,
            search_alg=BasicVariantGenerator(random_state=seed, max_concurrent=2),
            scheduler=ASHAScheduler(max_t=REPORTS, grace_period=1, reduction_factor=3),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(verbose=0, stop=Spent(steps)),
    )
    return tuner.fit()
