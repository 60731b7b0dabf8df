"""A change to what hangs on something, taken back."""

import copy

from ray_glocal.hypergradient.state.surroundings import Surroundings


class Held:
    """Of the user's own."""

    def __init__(self, value):
        self.value = value


def around(root, *apart, name="root"):
    return Surroundings({name: root}, apart)


def put_back(root, change, read):
    """Whether a change is undone: what is read before it and after it, and after putting all back."""
    surroundings = around(root)
    before = copy.deepcopy(read())
    captured = surroundings.capture()
    change()
    changed = copy.deepcopy(read())
    captured.restore()
    return str(before), str(changed), str(read())


def check(root, change, read):
    before, changed, after = put_back(root, change, read)
    assert before != changed
    assert after == before
