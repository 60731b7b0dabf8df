"""How a session works: window length, time budget, engine, forecaster, trust region, and what counts as divergence.

What chose a default stands beside it: "ablation" is `examples/studies/ablation.py` (30 November 2026), sessions by
windows, test loss over the default's; "budget" the study of that name in `docs/results/measured.md` (26 November 2026).
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.tuning import HOST_MEMORY
from ray_glocal.session.pacing.tuning import AT_MOST, USUAL
from ray_glocal.session.tuning import NOMINAL, VAL_BATCHES


@dataclass(frozen=True)
class Settings:
    """Everything about a session that has a default.

    Args:
        hypergradients: `first-order`: cheap and many, at averaged weights; or `windows`: the paper's, exact over a few
            consecutive steps, and forecast to the end of training. What follows says where it is for these alone.
        averaging: Whether reports, and the averaged weights in checkpoints, are at a session's own average over the
            last sixth of training, which is what annealing will make of the weights; it is kept in any case.
        window: Inner steps K in a differentiated window, at least 4; between two first-order hypergradients, at least.
        search_window: The same in the search for the learning rate's order of magnitude, at least 4.
        overhead: Time budget: seconds of everything that is not plain training (recording, hypergradients, forecasts,
            outer steps, trace, validation, bookkeeping; checkpoints apart) as a share of the seconds of plain training,
            over the whole run. The session measures both and starts windows so that the share holds; timings differ
            from machine to machine and from run to run, and so do the windows. `auto` for a tenth, and for as much more
            as 32 hypergradients take, up to a quarter, in trainings so short that a tenth buys fewer.
        duty_cycle: Share of inner steps that lie in a window once the search is over, in (0, 1], instead of a budget:
            for runs that must be the same on every machine, whatever they cost. None where `overhead` is a number.
        engine: `adjoint` (price independent of the number of hyperparameters), `forward` (a validation gradient at
            every step of the window, and no `tail`; better forecasts), or `auto`: forward where it costs a session at
            most a tenth more than adjoint. The second window of a kind, search or later, settles that; up to it, with
            more than three entries, where a `tail` is averaged or with `differences` it is adjoint. Under a
            `duty_cycle` no clock decides: forward for one entry without a schedule that anneals, adjoint otherwise.
        products: `exact` Hessian products, or `differences`: one more gradient a step in their place, by any kernels,
            for smooth models in single precision or better; adjoint only. They are checked against exact ones first.
        memory: Bytes that a window may take on the device of the parameters. Where its graphs fit, they are kept; else
            its steps are run a second time to be differentiated; where not even its states fit, those lie on the host,
            and beyond that most are computed again. None for 1 GiB, or half of what is free on a GPU.
        host_memory: Bytes that a window's states may take in page-locked memory beside a GPU, 8 GiB by default.
        forecaster: Name of the forecaster in `ray_glocal.koopman` that reads windows once the search is over.
        search_forecaster: Name of the one that reads the search's.
        tail: Where the learning-rate schedule anneals, share of a window, its end, over whose mean parameters the
            outer loss is taken: what the schedule will do to the noise; 0 for the last parameters alone.
        val_batches: Validation batches that a hypergradient's outer loss averages over, at most; None for 1, and for 4
            of a window.
        heat: Where the learning-rate schedule anneals, share of the loss that a window may lose by an e-fold more of a
            learning rate: what that rate is worth there; 0 lets rates follow the forecast as without a schedule.
        search_region: Longest step of the search, in e-folds of the learning rate.
        trust_region: First length of an outer step after it, in coordinates; of a hyperparameter of several entries,
            which moves as one vector, their root mean square.
        trust_limits: Shortest and longest outer step.
        promise: Largest relative change of the loss that an outer step may promise within a window: beyond it the
            first-order model cannot be believed.
        act: Signal-to-noise ratio snr of the forecast from which a hyperparameter moves by its full step.
        act_small: Ratio from which it moves by a part of it, snr^2 / (1 + snr^2); below, it holds.
        dead_band: Elasticity (relative change of the loss per unit of the coordinate) below which it holds, once the
            search is over.
        report_every: Inner steps between reports; by default one period of the duty cycle, or under a budget a whole
            number of ninths of the training, where trials are compared: as many as are eight windows apart and take a
            small share of it by their counted cost (never by measured time, for trials are compared by step), nine at
            least where they take less than half of it, else three, or one.
        jump: Divergence: a loss exceeds `jump` times its value at the last good state.
        cut: Factor on the learning rate after a divergence.

    Examples:
        >>> by_time = Settings(overhead=0.25)
        >>> by_steps = Settings(duty_cycle=0.125)
        >>> by_steps.period
        128

    Raises:
        ArgumentError: A value out of the range given above.
    """

    hypergradients: Literal["first-order", "windows"] = "first-order"
    averaging: bool = True
    window: int = 16  # ablation: 8 steps .995 +- .055, 32 1.024 +- .042; of first-order hypergradients untested
    search_window: int = 8  # budget: with 5 starts of 1e-4 are lost, at 2.4 times the loss
    overhead: float | Literal["auto"] | None = "auto"
    duty_cycle: float | None = None
    engine: Literal["auto", "adjoint", "forward"] = "auto"
    products: Literal["exact", "differences"] = "exact"
    memory: int | None = None
    host_memory: int = HOST_MEMORY
    forecaster: str = "evidence"
    search_forecaster: str = "ensemble"
    tail: float = 2 / 3  # ablation: 0 1.09 +- .07; other shares untested
    val_batches: int | None = None
    heat: float = 0.2  # ablation: .1 1.04 +- .04, .3 .99 +- .04, 0 1.08 +- .07
    search_region: float = 1.6  # untested
    trust_region: float = 0.5  # budget: a longer one 1.03
    trust_limits: tuple[float, float] = (0.05, 1.0)  # untested
    promise: float = 0.25  # untested
    # Full steps from 1 deviation on leave .986 +- .021 of the validation loss that the shrinkage alone does, from 2
    # .997, from 3 1.000, from 4 1.001 (+- .025): digits-mlp of the studies, 1,200 steps under a cosine and a constant
    # rate, SGD from lr 1e-3 and .1, seeds 10 to 29, geometric means of 80 pairs, 1.96 standard errors;
    # 28 November 2026. Ablation: acting from 2 on 1.34 +- .15, from .5 .97 +- .06.
    act: float = 1.0
    act_small: float = 0.5  # untested
    dead_band: float = 2e-3  # untested
    report_every: int | None = None
    jump: float = 2.0  # untested
    cut: float = 0.5  # a quarter: twelve sessions on digits .58, four networks 1.40 for 1.33 (30 November 2026)

    def __post_init__(self) -> None:
        low, high = self.trust_limits
        cycle = 1.0 if self.duty_cycle is None else self.duty_cycle
        kinds = ("first-order", "windows")
        rules = (
            ("hypergradients", self.hypergradients in kinds, f"be one of {kinds}", self.hypergradients),
            ("window", self.window >= 4, "be at least 4 steps", self.window),
            ("search_window", self.search_window >= 4, "be at least 4 steps", self.search_window),
            ("overhead", self._pays(), "be positive and finite, or 'auto'", self.overhead),
            ("duty_cycle", 0 < cycle <= 1, "lie in (0, 1]", self.duty_cycle),
            ("engine", self.engine in ("auto", "adjoint", "forward"), "be 'auto', 'adjoint' or 'forward'", self.engine),
            ("products", self.products in ("exact", "differences"), "be 'exact' or 'differences'", self.products),
            ("memory", self.memory is None or self.memory >= 0, "not be negative", self.memory),
            ("host_memory", self.host_memory >= 0, "not be negative", self.host_memory),
            ("tail", 0 <= self.tail <= 1, "lie in [0, 1]", self.tail),
            ("val_batches", self.val_batches is None or self.val_batches >= 1, "be at least 1", self.val_batches),
            ("heat", 0 <= self.heat < 1, "lie in [0, 1)", self.heat),
            ("search_region", self.search_region > 0, "be positive", self.search_region),
            ("trust_limits", 0 < low <= high, "be a positive pair in order", self.trust_limits),
            ("trust_region", low <= self.trust_region <= high, f"lie in [{low:g}, {high:g}]", self.trust_region),
            ("promise", self.promise > 0, "be positive", self.promise),
            ("act_small", 0 <= self.act_small <= self.act, f"lie in [0, `act`], `act` {self.act:g}", self.act_small),
            ("dead_band", self.dead_band >= 0, "not be negative", self.dead_band),
            ("report_every", self.report_every is None or self.report_every >= 1, "be at least 1", self.report_every),
            ("jump", self.jump > 1, "be above 1", self.jump),
            ("cut", 0 < self.cut < 1, "lie in (0, 1)", self.cut),
        )
        for name, holds, rule, got in rules:
            if not holds:
                raise ArgumentError(name, rule, got, _remedy(name, got))
        self._check_one_pace()

    def _pays(self) -> bool:
        if isinstance(self.overhead, str):
            return self.overhead == "auto"
        return self.overhead is None or 0 < self.overhead < math.inf

    def _check_one_pace(self) -> None:
        remedy = "Set `overhead` for a time budget, or `duty_cycle` alone for a fixed period."
        if isinstance(self.overhead, float | int) and self.duty_cycle is not None:
            raise ArgumentError("duty_cycle", f"be None beside `overhead`, {self.overhead:g}", self.duty_cycle, remedy)
        if self.overhead is None and self.duty_cycle is None:
            raise ArgumentError("overhead", "be set where `duty_cycle` is not", None, remedy)

    @property
    def shares(self) -> tuple[float, float] | None:
        """Share of plain training's time that is the budget, and the one it may grow to; None under a duty cycle."""
        if self.duty_cycle is not None or self.overhead is None:
            return None
        return (USUAL, AT_MOST) if isinstance(self.overhead, str) else (self.overhead, self.overhead)

    @property
    def batches_per_window(self) -> int:
        """Validation batches of a hypergradient."""
        return VAL_BATCHES[self.hypergradients] if self.val_batches is None else self.val_batches

    @property
    def period(self) -> int:
        """Inner steps from one hypergradient to the next; a nominal number under a budget, which decides as it goes."""
        return max(self.window, round(self.window / (self.duty_cycle or NOMINAL)))


_MEANINGS = {
    "hypergradients": "says whether they are cheap and many, or exact over windows",
    "window": "counts inner steps",
    "search_window": "counts inner steps",
    "overhead": "is a share of the seconds of plain training",
    "duty_cycle": "is the share of inner steps that lie in a window",
    "engine": "says how windows are differentiated",
    "products": "says what stands for second derivatives",
    "memory": "counts bytes on the device of the parameters",
    "host_memory": "counts bytes beside a GPU",
    "tail": "is a share of a window, 0 for its last parameters alone",
    "val_batches": "counts validation batches of a hypergradient",
    "heat": "is a share of the loss, 0 for rates that follow the forecast alone",
    "search_region": "counts e-folds of the learning rate",
    "trust_limits": "holds the shortest and the longest outer step, in coordinates",
    "trust_region": "is the first length of an outer step, in coordinates",
    "promise": "is a relative change of the loss",
    "act_small": "is a signal-to-noise ratio, as `act` is",
    "dead_band": "is a relative change of the loss per unit of a coordinate, 0 for none",
    "report_every": "counts inner steps between reports",
    "jump": "multiplies the loss of the last good state",
    "cut": "multiplies the learning rate after a divergence",
}


def _remedy(name: str, got: object) -> str:
    """What a setting is where it is left out, and what it says; left out already, it does not go with another one."""
    default = next(field.default for field in fields(Settings) if field.name == name)
    usual = f"{default:.3g}" if isinstance(default, float) else repr(default)
    left_out = "Leave it out and the session chooses" if default is None else f"Leave it out for {usual}"
    return f"{'Give it as well' if got == default else left_out}; it {_MEANINGS[name]}."
