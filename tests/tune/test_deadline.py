"""Deadlines in processes of their own, which they end."""

import subprocess
import sys
import time

import pytest

from ray_glocal.errors import ArgumentError, HangError
from ray_glocal.tune.deadline import deadline, watched


def run(body):
    """Exit status and stderr of a process."""
    script = f"import re, time\nfrom ray_glocal.tune.deadline import deadline, watched\n{body}\nprint('after')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_process_that_hangs_ends_and_says_where():
    status, out, err = run("def hang():\n    time.sleep(99)\nwith deadline(0.1):\n    hang()")
    assert (status, out) == (1, "")
    assert "A step took longer than 0.1 s: unless it comes back within 1 s, this worker ends. Tune retries the" in err
    assert "in hang" in err


@pytest.mark.slow
def test_a_call_that_never_returns_to_python_ends_too():
    status, out, err = run("with deadline(0.1):\n    re.match('(a|a)*$', 'a' * 64 + 'b')")
    assert (status, out) == (1, "")
    assert "Timeout" in err


@pytest.mark.slow
def test_a_deadline_is_over_with_its_block_and_covers_every_batch_alone():
    body = "for n in watched(range(4), 1.0):\n    time.sleep(0.7)\n    if n == 2: break\ntime.sleep(2.5)"
    assert run(body) == (0, "after\n", "")


def test_without_a_limit_nothing_is_armed():
    with deadline(None):
        assert list(watched(iter("abc"), None)) == ["a", "b", "c"]


def test_batches_arrive_in_order_and_errors_go_through():
    assert list(watched([1, 2, 3], 60)) == [1, 2, 3]

    def broken():
        yield 1
        raise RuntimeError("the loader raises")

    with pytest.raises(RuntimeError, match="the loader raises"):
        list(watched(broken(), 60))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "1"])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ArgumentError, match=r"`seconds` must be a positive number; got .*\. Pass None for no limit"):
        list(watched([1], seconds))


@pytest.mark.slow
def test_a_class_trainable_that_hangs_at_a_batch_ends_at_its_step_timeout():
    body = """
from ray_glocal.tune import GlocalTrainable

class Session:
    at_report = done = True
    metrics = dict
    def restore(self, source): pass
    def step(self, batch): time.sleep(batch)
    def batches(self, loader): return loader

class Hanging(GlocalTrainable):
    step_timeout = 0.5
    def build(self, config): return Session(), [0, 99]

trainable = Hanging(config={})
trainable.train()
print("reported", flush=True)
trainable.train()
"""
    status, out, err = run(body)
    assert (status, out) == (1, "reported\n")
    assert "A step took longer than 0.5 s: unless it comes back within 1 s, this worker ends." in err


def test_a_step_that_comes_back_after_its_deadline_fails_its_trial_and_not_the_process():
    with pytest.raises(HangError, match=r"^A step took longer than 0.01 s, and came back: .* Raise `step_timeout`"):
        list(watched(map(time.sleep, [0.2]), 0.01))


def test_a_step_that_fails_after_its_deadline_says_why_it_failed():
    def late():
        time.sleep(0.2)
        raise RuntimeError("the loader raises")
        yield

    with pytest.raises(RuntimeError, match="the loader raises"):
        list(watched(late(), 0.01))
