"""Random generators that a data loader owns, beside the global ones."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ray_glocal.hypergradient.state.randomness import Randomness

# Where torch's loaders, samplers and map-style data sets keep theirs.
_OWNERS = ((), ("sampler",), ("batch_sampler",), ("batch_sampler", "sampler"), ("dataset",))


def own_generators(loader: object) -> list[torch.Generator]:
    """Each `torch.Generator` that is the attribute `generator` of the loader, its samplers or its data set, once."""
    found: dict[int, torch.Generator] = {}
    for path in _OWNERS:
        owner: Any = loader
        for name in path:
            owner = getattr(owner, name, None)
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            found[id(generator)] = generator
    return list(found.values())


@contextmanager
def undisturbed(loader: Iterable[Any]) -> Iterator[None]:
    """Put the global generators and the loader's own back at the end, whatever was drawn between."""
    present, own = Randomness.capture(), [(generator, generator.get_state()) for generator in own_generators(loader)]
    try:
        yield
    finally:
        present.restore()
        for generator, state in own:
            generator.set_state(state)
