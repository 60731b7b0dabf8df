"""As much of a Tune trial as our scheduler's hooks read."""

from types import SimpleNamespace

from ray import tune


class Trial(SimpleNamespace):
    """A stand-in that begins as Tune's own do, but for what is said.

    Args:
        trial_id: Its name.
        folder: Of the experiment.
        config: Its configuration.
        kept: How many of its checkpoints Tune keeps.
        more: Other attributes than a trial begins with.
    """

    def __init__(self, trial_id, folder, config, kept=None, **more):
        chosen = tune.CheckpointConfig(num_to_keep=kept)
        manager = SimpleNamespace(checkpoint_config=chosen, latest_checkpoint_result=None)
        begun = {
            "status": "PENDING",
            "checkpoint": None,
            "storage": SimpleNamespace(),
            "error_file": None,
            "last_result": {},
            "metric_n_steps": {},
            "run_metadata": SimpleNamespace(checkpoint_manager=manager),
        }
        super().__init__(trial_id=trial_id, config=config, local_experiment_path=str(folder), **{**begun, **more})
