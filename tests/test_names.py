"""Names stand for one thing: whoever greps for a class finds it once."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1] / "ray_glocal"


def classes(place):
    return [node.name for node in ast.walk(ast.parse(place.read_text())) if isinstance(node, ast.ClassDef)]


def test_no_class_has_the_name_of_another():
    count = Counter(name for place in ROOT.rglob("*.py") for name in classes(place) if not name.startswith("_"))
    assert len(count) > 100
    assert [name for name, times in count.items() if times > 1] == []
