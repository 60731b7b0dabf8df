"""First-order adaptation: observes averaged weights when the budget allows, and moves hyperparameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_glocal.forecast import Array
from ray_glocal.hypergradient.first_order.derivatives import Measured, first_order, rates_alone
from ray_glocal.hypergradient.first_order.tuning import EVERY
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.session.course import Course
from ray_glocal.session.divergence import weight_decays
from ray_glocal.session.effect import say_cut_off
from ray_glocal.session.first_order.account import Account, plain_forecast
from ray_glocal.session.first_order.beginning import Beginning
from ray_glocal.session.first_order.decision import Move
from ray_glocal.session.first_order.descent import descend
from ray_glocal.session.first_order.last_report import LastReport
from ray_glocal.session.first_order.line import EntryLine
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.observation import Observation
from ray_glocal.session.first_order.probe import Probed, probe
from ray_glocal.session.first_order.rates import follow, left_alone
from ray_glocal.session.first_order.repeats import repeatable, say_differing
from ray_glocal.session.first_order.search import WAITS, search
from ray_glocal.session.first_order.trouble import Look, confirmed, suspected
from ray_glocal.session.first_order.tuning import CEILING, LOSING, START, UP
from ray_glocal.session.pacing.cost import FORWARD, PLAIN, REPORT, SEARCH, WINDOW, report_steps
from ray_glocal.session.pacing.timetable import timetable
from ray_glocal.session.rows import OuterStep, moved_rows, outer_step_rows
from ray_glocal.session.windows.outer import potential

TWENTIETHS = 20


class FirstOrder:
    """Searches for the order of magnitude of the learning rate, and then moves all hyperparameters a little and often.

    Args:
        course: Of the training.
    """

    def __init__(self, course: Course) -> None:
        self.course, self.problem = course, course.problem
        self.kinds = Kinds.of(self.problem)
        self.line = EntryLine(self.problem, self.kinds)
        self._rates = [b.hyperparameter for b in self.problem.bindings if b.field == "lr"]
        self.memory = Memory.start(self.problem.size, searching=bool(self.kinds.rates.any()))
        settings, cost = course.settings, course.meter.cost
        counted, period = self._counted, lambda: course.report_period
        self.timetable = timetable(settings, course.total_steps, period, cost, counted, course.notices)
        self._lengths = {SEARCH: settings.search_window, WINDOW: settings.window}
        self._since: int | None = None  # the step after which the stretch began that ends with an observation
        self._batch: Any = None  # of the step that it ends with
        self._last = 0  # step of the last observation
        self._probed: Probed | None = None  # until the first step is taken
        self._began = Beginning(0, course.values)
        self._reported = LastReport(math.inf, course.values)
        self._good_batches: int | None = None  # see `_keep`
        self.count = 0
        course.forget = self._forget

    @property
    def searching(self) -> bool:
        """Whether the learning rate's order of magnitude is searched for."""
        return self.memory.searching

    @property
    def elasticity(self) -> Array:
        """Relative change of the loss over the span between the averages, of rates what it was lately."""
        return np.where(self.kinds.rates, np.nan_to_num(self.memory.rate_elasticity), self.memory.average)

    @property
    def judges_averages(self) -> bool:
        """What is judged are averaged weights."""
        return True

    # ---- the loop ----

    def begin(self, batch: Any) -> None:
        """Find out where the search for the learning rate begins."""
        course = self.course
        self._began = Beginning(0, course.values)
        if not self.searching or not self.foreseen() or not repeatable(self.problem, course.notices):
            return
        self._probed = probe(self.problem, batch, course.values)
        course.meter.cost.extra_steps += 1 + FORWARD * self._probed.tried
        if self._probed.rate is not None:
            start = torch.tensor(START * self._probed.rate, dtype=torch.float64)
            values = {**course.values, **{hyper.name: hyper.clip(start) for hyper in self._rates}}
            why = f"the first update leads lowest at a rate of {self._probed.rate:g}"
            self._record(values, f"{why}: the search begins at {START:g} of that", WAITS)
            self._began = Beginning(0, values)

    def _record(self, values: Values, why: str, otherwise: str) -> None:
        """Put down that some of the present values move, and go over to them."""
        course = self.course
        course.trace.append(moved_rows(course.step_count, self.problem, course.values, values, why, otherwise))
        course.set_values(values)

    def step(self, batch: Any) -> Tensor:
        """Take an inner step."""
        course = self.course
        if self._since is None and self._starts(course.step_count):
            self._since = course.step_count
        if course.step_count % EVERY == 0 or self._ends(course.step_count + 1):
            self.problem.follow()  # parameters thaw and freeze
        course.meter.start(PLAIN)
        if self._ends(course.step_count + 1):
            self._batch = owned(batch)  # the loss may write into its own
        loss = self.problem.advance(batch, course.values) if course.step_count else self._first(batch)
        course.schedule.step()
        course.meter.step()
        return loss

    def _first(self, batch: Any) -> Tensor:
        """The first inner step, with an eye on what it depends on."""
        problem, probed = self.problem, self._probed
        loss = problem.explore(batch, problem.leaves(self.course.values, differentiable=False))
        problem.take_step()
        if probed is not None and problem.accumulate == 1:
            say_differing(probed.loss, float(loss), self.course.notices)
        self._probed = None
        return loss

    def respond(self) -> None:
        """Observe, if a stretch has come to its end."""
        course = self.course
        if self._ends(course.step_count):
            kind = self._kind
            course.meter.start(kind)
            self._observe()
            self._batch, self._since, self._last = None, None, course.step_count
            course.meter.complete(kind)
            self.timetable.plan(course.step_count)
        elif self.searching and self._since is None and self.timetable.exhausted(course.step_count):
            self.memory = replace(self.memory, searching=False)
            self.timetable.plan(course.step_count)

    def review(self, loss: float) -> None:
        """At a report, whose loss is of a whole pass: is training alive, and is there room where nothing is planned?"""
        if not self._starved(loss) and not self.searching:
            self._keep(loss)  # a checkpoint of this step need not hold another state to go back to
            self._compare(loss)
        self.timetable.review(self.course.step_count)

    def _compare(self, loss: float) -> None:
        """Take back what was moved since the last report, learning rates apart, where the loss has risen since."""
        course, before = self.course, self._reported
        rates = {hyper.name for hyper in self._rates}
        kept = {name: value for name, value in before.values.items() if name not in rates}
        moved = any(not torch.equal(course.values[name], value) for name, value in kept.items())
        if moved and loss > before.loss + LOSING * course.guard.scale(before.loss):
            values = {**course.values, **kept}
            risen = f"the validation loss has risen from {before.loss:.4g} to {loss:.4g} since the last report"
            self._record(values, f"{risen}: back to what it was there", f"{risen}: what has moved since is taken back")
            self.memory = self.memory.unlearn()
        self._reported = LastReport(loss, course.values)

    def _starts(self, step: int) -> bool:
        return self.timetable.searches(step) if self.searching else self.timetable.starts(step)

    def _ends(self, step: int) -> bool:
        return self._since is not None and step - self._since >= self._lengths[self._kind]

    @property
    def _kind(self) -> str:
        return SEARCH if self.searching else WINDOW

    # ---- observations ----

    def _observe(self) -> None:
        course = self.course
        batches = course.validation.cursor
        found = self._measured()
        course.meter.cost.extra_steps += self._counted(self._kind)
        self.count += 1
        if self._lost(found.loss, found.derivatives, batches):
            return
        seen = self._seen(found.derivatives, found.loss)
        searching, lowest = self.searching, self.memory.lowest
        self._move(seen, self._decide(seen))
        if searching and not self.searching:
            if seen.loss > lowest:
                reason = f"the search is over: back to where the loss was {lowest:.4g}, before its last rise"
                course.go_back(course.values, reason)
            course.averaged_loss()  # what later losses are compared with

    def _measured(self) -> Measured:
        """A first-order hypergradient; in the search of the rates alone, and by the same batches."""
        course, cursor = self.course, self.course.validation.cursor
        batches = course.validation.next_few()
        if self.searching:
            course.validation.cursor = cursor  # its losses are compared with each other
            return rates_alone(self.problem, course.averages, batches, course.ran)
        span = course.averages.span(course.step_count)
        again = repeatable(self.problem, course.notices)
        found = first_order(self.problem, course.averages, self._batch, batches, course.ran, span, again=again)
        if not self.memory.count and bool(found.derivatives.any()):
            say_cut_off(self.problem, course.notices, found.derivatives[None].numpy())
        return found

    def _lost(self, loss: float, derivatives: Tensor, batches: int) -> bool:
        """Retreat from what is no number, or from a rise; remember the state otherwise."""
        memory = self.memory
        trouble = "" if bool(torch.isfinite(derivatives).all()) else "a hypergradient is not finite"
        if not math.isfinite(loss) or not self.searching:
            trouble = self._rise(loss) or trouble
        if self._starved(loss) or self.retreat(trouble, to_first=False):
            return True
        if trouble:  # nowhere to go
            return True
        if memory.worth_keeping(loss, self.course.lowest):
            self._keep(loss, batches)
        self.memory = self.memory.judge(loss)
        return False

    def _keep(self, loss: float, batches: int | None = None) -> None:
        """Remember this state, if it is worth going back to, and the first no more where training will not begin anew.

        Args:
            loss: Its validation loss.
            batches: Where in the validation part those lie that it was measured on; None for the whole of it.
        """
        if not self.memory.worth_keeping(loss, self.course.lowest) or self._ahead(loss, batches or 0):
            return
        guard, self._good_batches = self.course.guard, batches
        self.course.keep(loss)
        if not self.searching and (guard.learned or not weight_decays(self.problem, self.course.ran)):
            guard.forget_first()

    def _ahead(self, loss: float, place: int) -> bool:
        """Whether the weights are lost already, which the averaged ones, for they lag, do not show yet.

        Training would go on from the weights: a state is judged by both.

        Args:
            loss: Validation loss at the averaged weights.
            place: Of a few validation batches.
        """
        course = self.course
        if self.searching:  # whose losses are those of the weights, or nearly
            return False
        course.meter.cost.extra_steps += report_steps(course.validation.few_size)
        return bool(course.guard.risen(course.few_loss(place), loss))

    def _rise(self, loss: float) -> str:
        """The sentence that says that training is lost, and not only seems to be."""
        look = Look(self.course, self.memory, loss, self._good_batches)
        trouble = suspected(look)
        if not trouble or not math.isfinite(loss):
            return trouble
        trouble = confirmed(look)
        if not trouble:
            self.memory = replace(self.memory, above=0)
        return trouble

    def retreat(self, trouble: str, *, to_first: bool) -> bool:
        """Go back to a good state; rates that are to blame are not raised to where training was lost again."""
        found = self.course.retreat(trouble, to_first=to_first)
        if found is None:
            return False
        lost = self.line.places(self.course.ran) - CEILING
        blamed = self.kinds.rates & any(rate.name in found.blamed for rate in self._rates)
        ceiling = np.where(blamed, np.minimum(self.memory.ceiling, lost), self.memory.ceiling)
        self.memory = replace(self.memory.forget(), ceiling=ceiling)
        return True

    def _starved(self, loss: float) -> bool:
        """Begin anew with less weight decay, where that has shrunk a network that has learned nothing."""
        course, guard = self.course, self.course.guard
        trouble = guard.starved(loss, self.problem)
        if not trouble or guard.exhausted:
            return False
        assert guard.first is not None
        shrinkage = guard.first.shrinkage(self.problem)
        began = self._began.relieved(self.problem, course.step_count, course.total_steps, shrinkage)
        if began is None:
            return False
        guard.rollbacks += 1
        self._began, self.memory = began, Memory.start(self.problem.size, searching=bool(self._rates))
        course.meter.cost.searched = 0.0  # what the search may take, for it begins anew
        course.begin_anew(began.values, f"{trouble}: back to the first weights, with less weight decay")
        return True

    def _seen(self, derivatives: Tensor, loss: float) -> Observation:
        course, values = self.course, self.course.ran
        scale = course.guard.scale(loss)
        elasticity, line = self.line.elasticities(values, derivatives, scale), self.line.places(values)
        outline, step = course.outline, course.step_count
        height, warms_up = outline.height(step), outline.warms_up(step)
        searched = (step - self._began.step) / course.total_steps
        return Observation(
            course.progress, searched, self._elapsed(), height, warms_up, outline.annealed, loss, elasticity, line
        )

    def _elapsed(self) -> float:
        """Twentieths of training since the last observation after the search, or the search's end."""
        return TWENTIETHS * (self.course.step_count - self._last) / self.course.total_steps

    def _decide(self, seen: Observation) -> Move:
        if self.searching:
            return search(seen, self.memory, self.kinds, self._at_the_top())
        rates, known = follow(seen, self.memory.learn(seen.elasticity), self.kinds)
        move = rates + descend(known, self.kinds, seen.line, seen.elapsed, seen.progress)
        return Move(move, known, Account.of(seen, known, move, self.kinds, self.problem).verdict)

    def _move(self, seen: Observation, decision: Move) -> None:
        course = self.course
        fresh = self.line.moved(course.values, decision.move) if decision.move.any() else course.values
        scale = course.guard.scale(seen.loss)
        forecast = plain_forecast(decision.memory, scale, course.total_steps - course.step_count)
        local = seen.elasticity * scale
        # Of any loss there is a relative change, for the scale is positive.
        taken = OuterStep(self.problem, course.values, fresh, local, forecast, scale)
        self.memory = decision.memory
        course.trace.append(outer_step_rows(course.step_count, taken, decision))
        if fresh is not course.values:
            course.set_values(fresh)

    def _at_the_top(self) -> bool:
        return all(bool(self.course.values[hyper.name] >= hyper.upper) for hyper in self._rates)

    def potential(self, loss: float) -> float:
        """What the remaining observations can still buy."""
        left = self.timetable.hypergradients_left(self.course.step_count)
        known, outline, step = self.memory, self.course.outline, self.course.step_count
        alone = left_alone(annealed=outline.annealed, progress=self.course.progress)
        far = np.where(
            self.kinds.rates,
            0.0 if alone else UP * outline.height(step),
            np.abs(descend(known, self.kinds, self.line.places(self.course.values), progress=self.course.progress)),
        )
        return potential(self.elasticity, known.deviation, far, loss, left)

    # ---- what else a session asks ----

    def inherit(self) -> None:
        """The order of magnitude of the learning rate came along with the weights."""
        self.memory = replace(self.memory, searching=False)

    def foreseen(self) -> int:
        """Observations that the whole run will buy."""
        return self.timetable.foreseen(searching=self.searching)

    def scarcity(self) -> str:
        """Why there may be none."""
        return self.timetable.scarcity()

    def _forget(self) -> None:
        self._reported = LastReport(math.inf, self.course.values)  # it was on another path
        self._batch, self._since, self._last = None, None, self.course.step_count
        self.timetable.plan(self.course.step_count)

    def _counted(self, kind: str) -> float:
        """Inner-step equivalents of a report, or of an observation: a validation gradient, and two passes along it."""
        if kind == REPORT:
            return self.course.report_steps
        reads = any(binding.field is None for binding in self.problem.bindings)
        return self.course.validation.few_size + (4 * FORWARD if reads and kind == WINDOW else 0.0)

    def as_plain(self) -> dict[str, Any]:
        """What was seen and planned."""
        plain = {"memory": self.memory.as_plain(), "since": self._since, "last": self._last, "count": self.count}
        plain |= {"began": self._began.as_plain(), "reported": dict(vars(self._reported))}
        plain |= {"good_batches": self._good_batches}
        return {**plain, "timetable": self.timetable.as_plain()}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        self.memory, self._since = Memory.from_plain(plain["memory"]), plain["since"]
        self._last, self.count = plain["last"], plain["count"]
        self._good_batches = plain["good_batches"]
        self._began, self._reported = Beginning(**plain["began"]), LastReport(**plain["reported"])
        self.timetable.load_plain(plain["timetable"])

    def open_as_plain(self) -> list[dict[str, Any]]:
        """Nothing: a stretch is not recorded."""
        return []

    def load_open(self, plain: Sequence[dict[str, Any]]) -> None:
        """Nothing."""
