"""Costs of a session, counted in steps and in seconds."""

from ray_glocal.session.pacing.cost import Cost, window_steps


def test_costs_are_counted():
    cost = Cost()
    assert cost.metrics() == {"cost/steps": 0, "cost/seconds": 0, "cost/share": 0, "cost/overhead": 0}
    cost = Cost(plain_steps=2, extra_steps=5, plain_seconds=3, extra_seconds=1)
    assert cost.metrics() == {"cost/steps": 7, "cost/seconds": 4, "cost/share": 0.25, "cost/overhead": 1 / 3}
    assert window_steps("adjoint", 10, 10, 1000, 4) == 34
    assert window_steps("adjoint", 10, 0, 1000, 4) == 24
    assert window_steps("forward", 10, 10, 2, 4) == 90
