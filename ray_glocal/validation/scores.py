"""How good estimates are: sign, direction, size, stated uncertainty, and what the gate makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.session.answer import Gate
from ray_glocal.session.settings import Settings
from ray_glocal.session.windows.gate import judge
from ray_glocal.validation.case import Case
from ray_glocal.validation.estimates import Estimates

NINETY = 1.6449  # deviations to either side that hold nine tenths of a normal distribution
EXACT = 1e-6  # relative errors below it count as this large in a geometric mean


@dataclass(frozen=True)
class Score:
    """Scores of some entries; shares lie in [0, 1], and what cannot be told is NaN.

    Args:
        count: Entries.
        answered: Share for which there is an estimate at all.
        sign: Share with the right sign; a refusal counts as wrong.
        cosine: Mean over the cases of the cosine between estimate and truth, over the entries of the case.
        error: Median of |estimate - truth| / |truth| among the answered.
        error_mean: Geometric mean of the same.
        coverage: Share of the nominal 90 % intervals that hold the truth, among the answered.
        act: Share that the gate would act on.
        act_small: Share that it would act on by a part.
        acted_sign: Share with the right sign among the two; NaN where it holds all.
    """

    count: int
    answered: float
    sign: float
    cosine: float
    error: float
    error_mean: float
    coverage: float
    act: float
    act_small: float
    acted_sign: float

    @property
    def acted(self) -> float:
        """Share that the gate lets move at all."""
        return self.act + self.act_small


def score(estimates: Estimates, settings: Settings | None = None) -> Score:
    """Score estimates.

    Args:
        estimates: Entries of one estimator, all or some of them.
        settings: The gate's thresholds.

    Raises:
        ArgumentError: There are no entries.
    """
    if not len(estimates.mean):
        raise ArgumentError("estimates", "hold at least one entry", 0, "Choose by what some case has.")
    known = np.isfinite(estimates.mean)
    error = np.abs(estimates.mean - estimates.truth)[known]
    relative = error / np.abs(estimates.truth[known])
    answers = _answers(estimates, settings or Settings())
    acted = np.array([answer is not Gate.HOLD for answer in answers])
    return Score(
        count=len(known),
        answered=float(known.mean()),
        sign=float(estimates.hits.mean()),
        cosine=_cosine(estimates.where(known)),
        error=_or_nan(relative, np.median),
        error_mean=_or_nan(relative, lambda errors: np.exp(np.log(np.maximum(errors, EXACT)).mean())),
        coverage=_or_nan(error <= NINETY * estimates.deviation[known], np.mean),
        act=answers.count(Gate.ACT) / len(answers),
        act_small=answers.count(Gate.ACT_SMALL) / len(answers),
        acted_sign=_or_nan(estimates.hits[acted], np.mean),
    )


def ceiling(cases: Sequence[Case]) -> float:
    """How often one future's truth has the sign of the mean of the others; NaN where no case has two futures.

    What no estimator can beat by much: the rest depends on batches that are not drawn yet.
    """
    agreements = []
    for case in cases:
        count = len(case.truths)
        if count > 1:
            others = (case.truths.sum(axis=0) - case.truths) / (count - 1)
            agreements.append(np.sign(others) == np.sign(case.truths))
    return float(np.mean([np.mean(agreement) for agreement in agreements])) if agreements else float("nan")


def _answers(estimates: Estimates, settings: Settings) -> list[Gate]:
    verdicts = judge(estimates.mean / estimates.loss, estimates.deviation / estimates.loss, estimates.local, settings)
    return [verdicts.answer(index) for index in range(len(estimates.mean))]


def _cosine(estimates: Estimates) -> float:
    cosines = []
    for number in np.unique(estimates.case):
        own = estimates.case == number
        estimate, truth = estimates.mean[own], estimates.truth[own]
        length = float(np.linalg.norm(estimate) * np.linalg.norm(truth))
        cosines.append(float(estimate @ truth) / length if 0 < length < np.inf else 0.0)
    return float(np.mean(cosines)) if cosines else float("nan")


def _or_nan(values: NDArray[Any], mean: Callable[[NDArray[Any]], Any]) -> float:
    return float(mean(values)) if len(values) else float("nan")
