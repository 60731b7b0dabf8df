"""What a study's page concludes is computed from its rows."""

import ast

import pytest

from .conftest import STUDIES


@pytest.mark.parametrize("name", sorted(place.stem for place in STUDIES.glob("*.py")))
def test_no_study_types_its_findings(name):
    body = ast.parse((STUDIES / f"{name}.py").read_text()).body
    typed = {
        target.id
        for line in body
        if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Constant | ast.JoinedStr)
        for target in (line.targets if isinstance(line, ast.Assign) else [line.target])
        if isinstance(target, ast.Name)
    }
    assert "FOUND" not in typed
