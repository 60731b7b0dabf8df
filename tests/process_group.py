"""The process group of tests that train on several ranks."""

import gc
from contextlib import contextmanager

import torch.distributed as dist


@contextmanager
def gloo(folder, rank, count):
    """Membership of a group whose ranks meet in a folder; what holds the group must be let go of within."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    yield
    dist.barrier()
    gc.collect()  # what still holds the group when its threads are gone makes the process abort as it ends
    dist.destroy_process_group()
