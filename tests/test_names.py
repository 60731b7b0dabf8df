"""Names stand for one thing: whoever greps for a class finds it once."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from ray_glocal.names import entry_key, entry_labels, norm_label

ROOT = Path(__file__).parents[1] / "ray_glocal"


def classes(place):
    return [node.name for node in ast.walk(ast.parse(place.read_text())) if isinstance(node, ast.ClassDef)]


def test_no_class_has_the_name_of_another():
    count = Counter(name for place in ROOT.rglob("*.py") for name in classes(place) if not name.startswith("_"))
    assert len(count) > 100
    assert [name for name, times in count.items() if times > 1] == []


@pytest.mark.parametrize("name", ["lr", "net/lr", "weights[0]", "a.b"])
def test_labels_of_entries_become_keys_without_brackets_and_bars(name):
    assert entry_labels(name, 1) == (name,)
    assert [entry_key(label) for label in entry_labels(name, 12)] == [f"{name}.{place}" for place in range(12)]
    assert entry_key(norm_label(name)) == f"{name}.norm"
