"""Two optimizers, three widths, a momentum that is drawn, and a learning rate and weight decay that are adapted."""

import os
import shlex
import sys

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Tune prints tables of its own between our lines

import ray
import torch
from ray import tune

import digits
from ray_glocal import GlocalScheduler, GlocalSearch, GlocalSession, adapted
from ray_glocal.report import Progress, summary

SPACE = {  # an ordinary Tune space: ASHA, PBT and Optuna take it as it is
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([32, 64, 128]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}


def train(config: dict) -> None:
    torch.set_num_threads(1)  # as many as the trial has CPUs
    device = "cuda" if torch.cuda.is_available() else "cpu"  # Ray shows a trial the GPUs that it was given
    training, validation, test = digits.split(device)
    model = digits.network(config["width"], seed=0).to(device)
    optimizer = digits.optimizer(config["optimizer"], model, config)
    session = GlocalSession(
        model,
        optimizer,
        digits.loss,
        digits.loss,
        val_batches=[validation],
        hyper=adapted(config, SPACE),
        total_steps=digits.STEPS,
        lr_scheduler=digits.cosine(digits.STEPS, optimizer),
    )
    session.restore(tune.get_checkpoint())
    for batch in session.batches(digits.Shuffled(training, seed=0)):
        session.step(batch)
        if session.at_report:
            told = session.metrics() | {"test_accuracy": session.evaluate(lambda model: digits.accuracy(model, test))}
            tune.report(told, checkpoint=session.checkpoint())


def search() -> tune.ResultGrid:
    searcher = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
    scheduler = GlocalScheduler(metric="val_loss", mode="min", search=searcher)
    tuner = tune.Tuner(
        train,
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            num_samples=12, max_concurrent_trials=2, search_alg=searcher, scheduler=scheduler, reuse_actors=True
        ),
        run_config=tune.RunConfig(verbose=0, callbacks=[Progress()]),
    )
    return tuner.fit()


def say_next(results: tune.ResultGrid) -> None:
    command = f"{os.path.relpath(sys.executable)} -m ray_glocal"
    folder = shlex.quote(results.experiment_path)
    print(f"\nNext, text and a page of charts, and the best configuration:\n  {command} report {folder}")
    print(f"  {command} best {folder}")


def main() -> None:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    results = search()
    print(summary(results))
    say_next(results)
    ray.shutdown()


if __name__ == "__main__":
    main()
