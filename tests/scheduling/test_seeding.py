import itertools
import math
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.scheduling import journal
from ray_glocal.scheduling.axis import Axis
from ray_glocal.scheduling.coverage import covering, quantiles
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.proposed import ProposedTrials
from ray_glocal.scheduling.seeding import Factor, Space, first_coverage, propose

LR = Axis("lr", "log", 1e-4, 1.0)
MOMENTUM = Axis("momentum", "logit", 0.0, 0.99)
SHIFT = Axis("shift", "identity", -math.inf, math.inf, 1.0, 2.0)
SPACE = Space((Factor("optimizer", 2, decisive=True), Factor("width", 3)), (LR, MOMENTUM, SHIFT))

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@given(sizes, st.integers(0, 99))
def test_coverage_visits_every_configuration_once_a_round(levels, seed):
    total = math.prod(levels)
    for round_ in range(2):
        seen = {covering(levels, round_ * total + i, seed) for i in range(total)}
        assert seen == set(itertools.product(*map(range, levels)))


@given(sizes, st.integers(0, 99))
def test_coverage_shows_each_value_equally_often_from_the_start(levels, seed):
    orbit = math.lcm(*levels)
    rows = [covering(levels, i, seed) for i in range(orbit)]
    for factor, n in enumerate(levels):
        for start in range(0, orbit, n):
            window = [row[factor] for row in rows[start : start + n]]
            assert sorted(window) == list(range(n))


def test_coverage_of_an_astronomical_space_is_immediate():
    levels = [10] * 40
    assert len({covering(levels, i, 0) for i in range(100)}) == 100


@given(st.integers(1, 5), st.integers(0, 99), st.integers(5, 60))
def test_start_values_are_stratified(dimensions, seed, count):
    points = np.array([quantiles(dimensions, i, seed) for i in range(count)])
    assert ((points > 0) & (points < 1)).all()
    if dimensions == 1:  # the golden ratio's gaps: at most 1 + golden ratio of the mean
        gaps = np.diff(np.sort(points[:, 0]), append=np.sort(points[:, 0])[0] + 1)
        assert gaps.max() <= 2.7 / count


@given(st.sampled_from([LR, MOMENTUM]), st.floats(0, 1), st.floats(-50, 50))
def test_varied_values_stay_inside_the_bounds(axis, share, amount):
    value = axis.lower + share * (axis.upper - axis.lower)
    assert axis.lower <= axis.vary(value, amount) <= axis.upper
    assert MOMENTUM.vary(0.0, amount) > 0.0


@given(st.floats(1e-6, 1 - 1e-6))
def test_drawn_values_have_the_domains_quantiles(share):
    assert math.log(LR.draw(share)) == pytest.approx(math.log(1e-4) + share * math.log(1e4))
    assert MOMENTUM.draw(share) == pytest.approx(0.99 * share)
    assert 0.5 * math.erfc(-(SHIFT.draw(share) - 1) / 2 / math.sqrt(2)) == pytest.approx(share)


def test_variation_is_a_step_in_coordinates():
    assert LR.vary(0.01, 1.0) == pytest.approx(0.01 * math.e)
    assert Axis("p", "logit", 0.0, 1.0).vary(0.5, 1.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert SHIFT.vary(0.0, 1.0) == 2.0


def trial(name, levels, start=None, origin="cover"):
    return Added(name, levels=levels, start=start or {"lr": 0.1, "momentum": 0.5, "shift": 0.0}, origin=origin)


def test_values_are_handed_down_from_the_nearest_kin_and_never_across_optimizers():
    ledger = Ledger()
    for i, levels in enumerate(itertools.product(range(2), range(3))):
        ledger.record(trial(f"t{i}", levels))
        ledger.record(Reported(f"t{i}", 9, 1.0 + i, 1.0 + i, hyper={"lr": 10.0 ** -(1 + levels[0]), "momentum": 0.9}))
    seeded = []
    for i in range(40):
        proposal = propose(ledger, SPACE, seed=3, cover=6)
        assert proposal.origin in ("seed", "explore")
        if proposal.origin == "seed":
            kin = ledger.trial(proposal.ancestor)
            assert kin.added.levels == proposal.levels  # all configurations are covered, so the nearest is equal
            handed = kin.latest.hyper.get("lr")
            assert abs(math.log(proposal.start["lr"] / handed)) < 5 * 0.2
            seeded.append(tuple(proposal.start.values()))
        else:
            assert proposal.ancestor is None
        ledger.record(trial(f"new{i}", proposal.levels, proposal.start, proposal.origin))
    assert len(set(seeded)) == len(seeded) > 20


def test_the_best_of_equally_near_kin_hands_down():
    space = Space((Factor("optimizer", 1, decisive=True),), (LR,))
    ledger = Ledger()
    for name, loss in (("bad", 2.0), ("good", 1.0), ("dead", 0.1), ("nan", math.nan)):
        ledger.extend([trial(name, (0,), {"lr": 0.1}), Reported(name, 1, loss, loss)])
    ledger.record(Errored("dead"))
    ancestors = set()
    for i in range(20):
        ancestors.add(propose(ledger, space, 0, 0).ancestor)
        ledger.record(trial(f"x{i}", (0,), {"lr": 0.1}, "seed"))
    assert ancestors == {"good", None}


def test_without_kin_of_the_same_optimizer_values_are_drawn_afresh():
    ledger = Ledger([trial("a", (0, 0)), Reported("a", 1, 1.0, 1.0)])
    proposals = []
    for i in range(30):
        proposals.append(propose(ledger, SPACE, 0, 1))
        ledger.record(trial(f"x{i}", proposals[-1].levels))
    assert {p.origin for p in proposals if p.levels[0] == 1} == {"explore"}


def proposed(ledger, space, count, loss):
    """Proposals after coverage, each run to its end before the next."""
    out = []
    for i in range(count):
        proposal = propose(ledger, space, 0, 0)
        ledger.record(trial(f"x{i}", proposal.levels, proposal.start, proposal.origin))
        ledger.record(Reported(f"x{i}", 1, loss(proposal.levels)))
        ledger.record(Completed(f"x{i}"))
        out.append(proposal.levels)
    return out


def test_proposals_find_the_best_of_additive_effects_that_were_seen_apart_only():
    effects = [np.array([0.0, 1.0]), np.array([2.0, 0.0, 1.0])]
    ledger = Ledger()
    for i, (a, b) in enumerate([(1, 1), (0, 2), (1, 2), (0, 0), (1, 0)]):
        ledger.record(trial(f"t{i}", (a, b)))
        ledger.record(Reported(f"t{i}", 1, 5.0, 5.0 + effects[0][a] + effects[1][b], 0.1))
    assert propose(ledger, SPACE, 0, 0).levels == (0, 1)


def test_neighbours_in_an_order_are_tried_before_strangers():
    places = tuple(np.linspace(0, 1, 9))
    ledger = Ledger()
    for name, level, loss in (("low", 0, 1.0), ("middle", 4, 0.0), ("high", 8, 1.0)):
        ledger.extend([trial(name, (level,), {"lr": 0.1}), Reported(name, 1, loss, loss)])
    ordinal = Space((Factor("width", 9, places=places),), (LR,))
    assert propose(ledger, ordinal, 0, 0).levels[0] in (3, 5)


@pytest.mark.parametrize(("slope", "level"), [(2.0, 3), (-2.0, 5)])
def test_a_slope_points_the_way_among_values_in_an_order(slope, level):
    places = tuple(np.linspace(0, 1, 9))
    space = Space((Factor("width", 9, places=places, logs=tuple(5 * place for place in places)),), (LR,))
    ledger = Ledger()
    for name, own, loss in (("low", 0, 2.0), ("high", 8, 2.0), ("middle", 4, 1.0)):
        ledger.extend([trial(name, (own,), {"lr": 0.1}), Reported(name, 1, loss, loss)])
    ledger.record(Reported("middle", 2, 1.0, 1.0, slopes={"width": slope}))
    assert propose(ledger, space, 0, 0).levels == (level,)
    assert propose(journal.read(journal.write(ledger)), space, 0, 0).levels == (level,)
    ledger.record(Reported("middle", 3, 1.0, 1.0, slopes={"width": math.nan}))
    assert propose(journal.read(journal.write(ledger)), space, 0, 0) == propose(ledger, space, 0, 0)


def test_an_interaction_is_learned_where_no_sum_of_effects_could_tell():
    ledger, space = Ledger(), Space((Factor("a", 3), Factor("b", 3)), (LR,))
    best = [levels for levels in itertools.product(range(3), range(3)) if levels[0] == levels[1]]
    for i, levels in enumerate(itertools.product(range(3), range(3))):
        if levels != (2, 2):
            ledger.extend([trial(f"t{i}", levels), Reported(f"t{i}", 1, 9.0, 0.0 if levels in best else 1.0)])
    told = proposed(ledger, space, 12, lambda levels: 0.0 if levels in best else 1.0)
    assert Counter(levels in best for levels in told)[True] >= 9


def test_failed_configurations_are_avoided():
    ledger = Ledger()
    for i, (a, b) in enumerate(itertools.product(range(2), range(3))):
        ledger.record(trial(f"t{i}", (a, b)))
        ledger.record(Errored(f"t{i}") if a == 0 else Reported(f"t{i}", 1, 9.0, 1.0 + 0.01 * b))
    assert {levels[0] for levels in proposed(ledger, SPACE, 20, lambda levels: 1.0 + 0.01 * levels[1])} == {1}


def test_trials_under_way_are_not_proposed_again_at_once():
    ledger = Ledger()
    for i, levels in enumerate([(0, 0), (0, 1), (1, 2)]):
        ledger.extend([trial(f"t{i}", levels), Reported(f"t{i}", 1, 9.0, float(i))])
    under_way = []
    for i in range(2):
        under_way.append(propose(ledger, SPACE, 0, 0).levels)
        ledger.record(trial(f"x{i}", under_way[-1], origin="seed"))
    assert under_way[0] != under_way[1]


def test_a_configuration_whose_trials_were_pruned_for_sure_is_passed_over():
    space = Space((Factor("a", 4),), (LR,))
    ledger = Ledger()
    for level, loss in enumerate((1.0, 1.05, 100.0, 200.0)):  # so far apart that the first two look alike
        ledger.extend([trial(f"t{level}", (level,), {"lr": 0.1}), Reported(f"t{level}", 1, loss, loss, 1e-3)])
    over = Ledger([*ledger.events, Decision("t1", 1, Action.STOP, "rung", "1.05 > 1.")])
    assert not ledger.view(ProposedTrials(space)).hopeless(2.0).any()
    assert over.view(ProposedTrials(space)).hopeless(2.0).tolist() == [False, True, False, False]
    asked = []
    for told in (ledger, over):
        for i in range(6):  # with the best under way, the next best is proposed
            told.record(trial(f"x{i}", (0,), {"lr": 0.1}, "seed"))
        asked.append(propose(told, space, 0, 0).levels)
    assert asked[0] == (1,) != asked[1]


def test_every_proposal_says_why_with_its_numbers():
    ledger = Ledger()
    for i in range(12):
        ledger.record(trial(f"t{i}", (p := propose(ledger, SPACE, 5, 6)).levels, p.start, p.origin))
        ledger.record(Reported(f"t{i}", 1, 9.0, float(i * 7 % 5), 0.1))
        before = sum(r.added.levels == p.levels for r in ledger.trials.values()) - 1
        if i < 6:
            assert p.reason == f"Number {i + 1} of the 6 that cover 6 configurations first."
            continue
        assert re.match(r"Expected to end at \S+ \+- \S+, against \S+ for the best of 6 configurations tried", p.reason)
        assert f"Trial {before + 1} of it, with another start." in p.reason
        assert (f"values from trial {p.ancestor} (" in p.reason) == (p.origin == "seed")
        assert ("Fresh start values" in p.reason) == (p.origin == "explore")
    empty = Ledger(trial(f"t{i}", (0, 0)) for i in range(9))
    assert "covering goes on, for no trial has a finite forecast yet" in propose(empty, SPACE, 0, 6).reason


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 200))
def test_the_first_coverage_leaves_half_of_the_samples_and_repeats_nothing(levels, samples):
    space = Space(tuple(Factor(str(i), n) for i, n in enumerate(levels)), (LR,))
    cover = first_coverage(space, samples)
    assert 1 <= cover <= min(space.configurations, -(-samples // 2))
    assert cover == space.configurations or cover >= min(-(-samples // 2), 2 * max(levels))


def test_covering_goes_on_while_nothing_is_known():
    ledger = Ledger(trial(f"t{i}", (0, 0)) for i in range(9))
    assert propose(ledger, SPACE, 0, 6).origin == "cover"
    ledger.record(Reported("t0", 1, math.nan))
    assert propose(ledger, SPACE, 0, 6).origin == "cover"


def test_a_ledger_of_another_space_is_not_learned_from():
    ledger = Ledger([trial("a", (7, 7)), Reported("a", 1, 1.0, 1.0), trial("b", (0,)), Reported("b", 1, 1.0, 1.0)])
    assert propose(ledger, SPACE, 0, 0).origin == "cover"


finals = st.one_of(st.none(), st.floats(), st.sampled_from([1e308, -1e308, 5e-324]))
told = st.tuples(st.integers(0, 1), st.integers(0, 2), finals, finals, st.sampled_from(["", "error"]))


@given(st.lists(told, max_size=8), st.integers(0, 9))
def test_a_proposal_comes_from_any_history(rows, cover):
    ledger = Ledger()
    for i, (a, b, loss, deviation, end) in enumerate(rows):
        ledger.record(trial(f"t{i}", (a, b)))
        if loss is not None:
            known = deviation is not None and math.isfinite(deviation)
            mean = loss if i % 2 else None
            ledger.record(Reported(f"t{i}", 1, loss, mean, abs(deviation) if known else None))
        if end:
            ledger.record(Errored(f"t{i}"))
    proposal = propose(ledger, SPACE, 0, cover)
    assert all(0 <= level < factor.levels for level, factor in zip(proposal.levels, SPACE.factors, strict=True))
    assert 1e-4 <= proposal.start["lr"] <= 1.0
    assert 0.0 < proposal.start["momentum"] < 0.99


SCRIPT = """
from ray_glocal.scheduling.axis import Axis
from ray_glocal.scheduling.event import Added, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.seeding import Factor, Space, first_coverage, propose
space = Space((Factor("optimizer", 2, True), Factor("width", 3)), (Axis("lr", "log", 1e-4, 1.0),))
ledger = Ledger()
for i in range(12):
    p = propose(ledger, space, 5, 6)
    print(p.levels, repr(p.start["lr"]), p.origin, p.ancestor)
    ledger.record(Added(str(i), levels=p.levels, start=p.start, origin=p.origin))
    ledger.record(Reported(str(i), 1, 9.0, float(i * 7 % 5)))
"""


def test_another_process_makes_the_same_proposals(capsys):
    exec(SCRIPT, {})
    here = capsys.readouterr().out
    there = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    assert there == here
    assert "seed" in here
