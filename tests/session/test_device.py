"""What a session holds on its device does not grow."""

import gc
from functools import partial

import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession, Settings

from .cases import dataset, entropy, windows

WAYS = {
    "exact": windows,
    "differences": partial(windows, products="differences"),
    "first-order": Settings,
}
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def held(device):
    """Bytes of tensors on a device."""
    gc.collect()
    if device == "cuda":
        return torch.cuda.memory_allocated()
    return sum(t.nbytes for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter))


@pytest.mark.parametrize("told", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, cuda])])
def test_memory_is_flat_over_many_windows(device, told):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 3)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    inputs, labels = (t.to(device) for t in dataset(96, torch.float32, 1).tensors)
    batches = [(inputs[i : i + 16], labels[i : i + 16]) for i in range(0, 96, 16)]
    hyper = [Hyperparameter("lr", 5e-3, 1e-5, 1.0, "log"), Hyperparameter("weight_decay", 1e-2, 1e-6, 1.0, "log")]
    arguments = {"val_batches": batches, "hyper": hyper, "total_steps": 800}
    settings = told(overhead=None, duty_cycle=0.125)
    session = GlocalSession(model, optimizer, entropy, entropy, settings=settings, **arguments)
    counts, rows = [], 0
    for batch in session.batches(batches):
        session.step(batch)
        if len(session.trace.rows) > rows:
            session._course.train_losses.clear()
            counts.append(held(device))
        rows = len(session.trace.rows)
    window = session.problem.capture().nbytes * session.settings.window
    assert len(counts) > 5
    # The trace grows by a row of numbers for each window.
    assert max(counts[2:]) - min(counts[2:]) < window / 4, counts
