"""No test is timed: the machine may be busy. Each process computes with one thread, for several run side by side."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch and NumPy once, when they are imported, and by processes
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
