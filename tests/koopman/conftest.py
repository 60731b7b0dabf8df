from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Exponentials:
    """Sum of exponentials in closed form: the independent truth of most tests here."""

    eigenvalues: np.ndarray
    coefficients: np.ndarray  # [mode, channel], conjugate pairs where the eigenvalues are

    def at(self, times) -> np.ndarray:
        powers = self.eigenvalues[None] ** np.atleast_1d(np.asarray(times, float))[:, None]
        return (powers @ self.coefficients).real

    @property
    def limit(self) -> np.ndarray:
        return self.coefficients[np.abs(self.eigenvalues - 1) < 1e-12].sum(axis=0).real


def make(eigenvalues, channels: int, seed: int = 0) -> Exponentials:
    random = np.random.default_rng(seed)
    eigenvalues = np.asarray(eigenvalues, dtype=complex)
    rows = random.uniform(0.5, 1.5, (len(eigenvalues), channels)) * random.choice([-1, 1], (len(eigenvalues), channels))
    coefficients = rows.astype(complex)
    for index, value in enumerate(eigenvalues):
        if value.imag > 0:
            partner = int(np.argmin(np.abs(eigenvalues - value.conjugate())))
            coefficients[index] += 1j * random.normal(size=channels)
            coefficients[partner] = coefficients[index].conj()
    return Exponentials(eigenvalues, coefficients)


@pytest.fixture
def exponentials():
    return make
