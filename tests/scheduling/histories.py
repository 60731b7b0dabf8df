"""Hypothesis strategies for legal and illegal histories of an experiment."""

from hypothesis import strategies as st

from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported, Settled

trials = st.sampled_from(["a", "b", "c", "d"])
steps = st.integers(1, 30)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
anything = st.one_of(numbers, st.sampled_from([float("nan"), float("inf"), -float("inf")]))
attempts = st.integers(0, 2)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), numbers, st.text(max_size=5))

added = st.builds(
    Added,
    trial=trials,
    config=st.dictionaries(st.text(max_size=4), scalars, max_size=3),
    attempt=attempts,
    ancestor=st.none() | trials,
    levels=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    start=st.dictionaries(st.sampled_from(["lr", "wd"]), numbers, max_size=2),
    origin=st.sampled_from(["", "cover", "seed"]),
    reason=st.sampled_from(["", "Number 1 of 6."]),
    weights=st.none() | st.just("/somewhere"),
)
reported = st.builds(
    Reported,
    trial=trials,
    step=steps,
    loss=anything,
    mean=st.none() | numbers,
    deviation=st.none() | numbers.map(abs),
    potential=st.none() | numbers,
    hyper=st.dictionaries(st.sampled_from(["lr", "wd"]), numbers, max_size=2),
    cost=st.none() | numbers,
    slopes=st.dictionaries(st.sampled_from(["width", "depth"]), numbers, max_size=2),
)
decided = st.builds(
    Decision,
    trial=trials,
    step=steps,
    action=st.sampled_from(Action),
    rule=st.sampled_from(["rung", "nonfinite", "max_t"]),
    reason=st.just("Because 1 < 2."),
    mean=st.none() | numbers,
    deviation=st.none() | numbers,
)
events = st.one_of(
    added,
    reported,
    st.builds(Completed, trial=trials, attempt=attempts, checkpoint=st.none() | st.text(max_size=5)),
    st.builds(Errored, trial=trials, attempt=attempts, final=st.booleans(), lost=st.booleans()),
    st.builds(Settled, name=st.sampled_from(["grace_period"]), value=numbers),
    decided,
)
histories = st.lists(events, max_size=40)
