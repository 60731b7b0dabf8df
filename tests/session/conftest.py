import random

import numpy as np
import pytest
import torch

# Two threads on a shared machine cost these tiny networks more than they bring.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the session must preserve the global generator
    random.seed(0)
