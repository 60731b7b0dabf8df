"""What a comparison asks of the domains of a space."""

from collections.abc import Mapping
from typing import Any

from ray import tune


def continuous(space: Mapping[str, Any]) -> dict[str, Any]:
    """The continuous domains, by name."""
    return {name: domain for name, domain in space.items() if isinstance(domain, tune.search.sample.Float)}


def logarithmic(domain: Any) -> bool:
    """Whether values are drawn on a line of logarithms."""
    return type(domain.get_sampler()).__name__.endswith("LogUniform")
