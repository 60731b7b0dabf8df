"""Scheduling without Ray: what happened (the ledger), what to do about it (rules), whom to try next (seeding).

NumPy only. Losses are minimised throughout; directions, Tune's words and its hooks live in `ray_glocal.tune`.
"""
