"""Legal orders of Tune's calls, drawn at random and by hand, against the model of `orders.py`."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from orders import Orders


@pytest.mark.parametrize(
    "options",
    [{}, {"limited": True, "mode": "max"}, {"ours": False}],
    ids=["our search", "our search in a limiter", "a stock search"],
)
def test_in_every_legal_order_of_tunes_calls_the_memory_and_the_answers_are_right(options):
    machine = type("Orders", (Orders,), options)
    often = settings(
        max_examples=30,
        stateful_step_count=40,
        phases=[Phase.generate],  # to shrink an example takes longer than a test may: add it to look at one
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    run_state_machine_as_test(machine, settings=often)


LATEST = (0, 3, 2.0, {}, False, True)  # its first result, at step 3, with a checkpoint


@pytest.mark.parametrize("ours", [True, False], ids=["our search", "a stock search"])
def test_a_memory_older_than_the_experiment_takes_over_the_last_result_of_a_trial_that_is_over(ours):
    state = type("Orders", (Orders,), {"ours": ours})()
    state.add(saying=[True])
    state.save(copies=False)
    state.results(told=[LATEST])
    state.returned(state.trials["t1"])
    state.save(copies=False)
    state.crash(moment=1, shift=-1, errored="skip", order=0, stopped=False)
    record = state.scheduler.ledger.trial("t1")
    assert (record.losses, record.status) == ([(3, 2.0)], "completed")
    state.teardown()


@pytest.mark.parametrize("saves", [True, False])
def test_a_memory_older_than_the_experiment_takes_over_the_last_result_of_a_trial_that_is_stopped_before_it_returns(
    saves,
):
    state = Orders()
    state.add(saying=[True])
    state.save(copies=False)
    state.results(told=[(*LATEST[:-1], saves)])
    state.save(copies=False)
    state.crash(moment=1, shift=-1, errored="skip", order=0, stopped=False)
    record = state.scheduler.ledger.trial("t1")
    assert record.losses == ([(3, 2.0)] if saves else []), "without a checkpoint it comes again when the trial runs"
    state.the_memory_is_that_of_the_model()
    state.crash(moment=0, shift=0, errored="skip", order=0, stopped=True)
    record = state.scheduler.ledger.trial("t1")
    assert (record.losses, record.status) == ([(3, 2.0)], "completed")
    state.the_memory_is_that_of_the_model()
    state.teardown()
