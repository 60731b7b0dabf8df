"""Hyperparameters of several entries, class weights say, that are judged and moved as one vector.

A vector is a slice of the q entries. None of these functions overflows or warns, whatever the numbers.
"""

import math
from collections.abc import Sequence

import numpy as np

from ray_glocal.forecast import Array


def magnitudes(derivatives: Array, vectors: Sequence[slice]) -> Array:
    """Size of each of q derivatives; for all entries of a vector, that along the vector of these derivatives.

    It is a derivative too: what a move along it changes whose entries have a root mean square of one.
    """
    sizes: Array = np.abs(derivatives)
    for vector in vectors:
        sizes[vector] = math.sqrt(vector.stop - vector.start) * math.hypot(*derivatives[vector])
    return sizes


def agreements(one: Array, other: Array, vectors: Sequence[slice]) -> Array:
    """Product of the signs of each of the q entries; for those of a vector, the cosine of the angle between the two."""
    found: Array = np.sign(one) * np.sign(other)
    for vector in vectors:
        found[vector] = np.clip(np.mean(normalised(one[vector]) * normalised(other[vector])), -1, 1)
    return found


def normalised(vector: Array) -> Array:
    """The vector at a root mean square of one; zero where it is zero or not finite."""
    largest = np.max(np.abs(vector))
    if not 0 < largest < math.inf:
        return np.zeros_like(vector)
    scaled = vector / largest
    unit: Array = scaled / np.sqrt(np.mean(scaled**2))
    return unit
