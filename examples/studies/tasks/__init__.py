"""Real training problems that the studies share: data sets, networks, and the tasks they make."""

from tasks.split import Batch, Shuffled, Split
from tasks.task import OPTIMIZERS, TASKS, Task, accuracy, loss, mean_loss, optimizer

__all__ = ["OPTIMIZERS", "TASKS", "Batch", "Shuffled", "Split", "Task", "accuracy", "loss", "mean_loss", "optimizer"]
