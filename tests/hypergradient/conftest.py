import random
from itertools import product

import numpy as np
import pytest
import torch

from .cases import MODELS, OPTIMIZERS, Case

# Two threads on a shared machine cost these tiny networks more than they bring.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the library must preserve the global generator
    random.seed(0)


@pytest.fixture(params=list(product(MODELS, OPTIMIZERS)), ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    """Every optimizer with every model: the ground on which all derivatives have to agree."""
    return Case.build(*request.param)
