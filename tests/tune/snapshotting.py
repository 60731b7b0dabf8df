"""As much of Tune's controller as saves snapshots, made of Tune's own parts."""

import threading
import time
from types import SimpleNamespace

import pyarrow.fs
from ray import tune
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import _FilesystemSyncer
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager
from ray.tune.experiment import Trial

SESSION = ("session.pt", "resume-0123456789ab.pt", "trace.parquet")


class Syncer(_FilesystemSyncer):
    """Tune's, whose copies can be held up and can fail."""

    def __init__(self, filesystem):
        super().__init__(filesystem)
        self.go_on, self.fails = threading.Event(), False
        self.go_on.set()

    def _sync_up_command(self, *arguments, **options):
        copy, told = super()._sync_up_command(*arguments, **options)
        fails = self.fails

        def command(**told):
            self.go_on.wait(20)
            if fails:
                raise OSError("the storage is away")
            copy(**told)

        return command, told


class Driver:
    """As much of Tune's controller as saves snapshots, made of Tune's own parts."""

    experiment_state_file_name = "experiment_state-1.json"

    def __init__(self, folder, period=-1):
        self.folder = folder
        self.filesystem = pyarrow.fs.LocalFileSystem()
        self.staging = folder / "staging"
        self.staging.mkdir(parents=True)
        self.experiment_state_path = str(self.staging / self.experiment_state_file_name)
        self.experiment_path = str(folder / "storage")
        self.syncer = Syncer(self.filesystem)
        self._storage = SimpleNamespace(
            syncer=self.syncer,
            storage_filesystem=self.filesystem,
            experiment_driver_staging_path=str(self.staging),
            experiment_fs_path=self.experiment_path,
        )
        self._checkpoint_manager = _ExperimentCheckpointManager(storage=self._storage, checkpoint_period=period)
        self.count = 0

    def write(self):
        self.count += 1
        (self.staging / self.experiment_state_file_name).write_text(f"snapshot {self.count}")

    def save(self, wait=False):
        self._checkpoint_manager.sync_up_experiment_state(self.write, force=wait, wait=wait)

    def idle(self):
        """Until no copy is under way."""
        soon(lambda: not self.syncer._sync_process.is_running)

    def trial(self, name):
        trial = Trial("stub", trial_id=name, stub=True)
        trial.status = Trial.RUNNING
        trial.count = 0
        return trial

    def report(self, trial, files=SESSION):
        """What a report leaves: a checkpoint in the storage that Tune has registered."""
        folder = self.folder / "storage" / trial.trial_id / f"checkpoint_{trial.count:06d}"
        trial.count += 1
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("content")
        checkpoint = tune.Checkpoint(str(folder), self.filesystem)
        trial.on_checkpoint = trial.run_metadata.checkpoint_manager.register_checkpoint
        trial.on_checkpoint(_TrainingResult(checkpoint, {"training_iteration": trial.count}))

    def left(self, trial):
        """Numbers of the checkpoints in the storage."""
        return sorted(int(f.name[-6:]) for f in (self.folder / "storage" / trial.trial_id).glob("checkpoint_*"))

    def files(self, trial, number):
        folder = self.folder / "storage" / trial.trial_id / f"checkpoint_{number:06d}"
        return sorted(file.name for file in folder.iterdir())


def soon(told):
    """Until `told()` is true."""
    for _ in range(1000):
        if told():
            return
        time.sleep(0.01)
    raise AssertionError("that did not happen")
