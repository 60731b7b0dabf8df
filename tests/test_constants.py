"""Numbers that somebody chose stand in their wing's `tuning.py`, with what chose them; what is elsewhere is a fact."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ray_glocal"
TUNED = sorted(ROOT.rglob("tuning.py"))
OTHERS = sorted(set(ROOT.rglob("*.py")) - set(TUNED))

# By reason: fractional constants that nobody tuned, each as `file: name`.
FACTS = {
    "rounding: two numbers that were meant to be the same, or one that is no more than the last bits of others": """
        hypergradient/hyperparameters/rates.py: CLOSE
        koopman/coordinates.py: _ROUNDING
        koopman/disk.py: UNIT_TOLERANCE
        koopman/prediction.py: _CLOSE _NEGLIGIBLE
        koopman/proposals.py: _TURN
        koopman/window.py: _STILL
        schedule/options.py: _CLOSE
        session/bounds.py: SAME
        session/first_order/repeats.py: SAME
    """,
    "keeps a quotient, a power or an infinity within what a number holds": """
        koopman/dmd.py: _TINY _DEPENDENT
        koopman/forecasters/ensemble.py: _FAR _EXACT
        koopman/forecasters/evidence.py: _FAR
        koopman/forecasters/relaxation.py: _EXACT
        koopman/pooling.py: _TINY
        koopman/prediction.py: FAR
        koopman/window.py: LARGEST SMALLEST
        scheduling/evidence.py: _LEAST
        scheduling/proposed.py: _WORST
        scheduling/surrogate.py: _EPSILON _HUGE _RATIOS
        validation/scores.py: EXACT
    """,
    "precision of a difference quotient, or of the check of a derivative by one": """
        hypergradient/gradient/differences.py: ROUGH
    """,
    "mathematics, or another library's own number": """
        hypergradient/hyperparameters/rates.py: WHOLE
        hypergradient/kernels/activation.py: LOG_TWICE_DENSITY TANH CUBE
        hypergradient/problem/clipping.py: _TINY
        hypergradient/state/marks.py: GOLDEN
        report/page/curves.py: SURE
        validation/scores.py: NINETY
    """,
    "convention of counting: passes of a network in plain steps": """
        session/pacing/cost.py: FORWARD REPLAY HESSIAN_PRODUCT
    """,
    "seconds that somebody waits for a machine": """
        report/notes.py: _SILENCE
        report/statusline.py: _REFRESH
        simulate/_compat.py: PATIENCE
        tune/deadline.py: _MARGIN
        tune/preflight.py: _WAIT
        tune/retention.py: PERIOD PATIENCE
    """,
    "display": """
        report/page/chart.py: _FAR _FEW
        report/page/curves.py: SMOOTHING _LEAST
        report/study.py: _ORDERS
    """,
    "a mark, or what stands for nothing": """
        scheduling/journal.py: _RARE
        tune/rulebook.py: _OWN
    """,
}
KNOWN = {
    (file, name)
    for listed in FACTS.values()
    for file, _, names in (line.strip().partition(":") for line in listed.split("\n") if line.strip())
    for name in names.split()
}


def assigned(source):
    """Names that a module's top level assigns, with the node of each assignment."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                    yield each.id, node


def fractional(node):
    """Whether a value is made of fractions: a literal, a quotient of numbers, or a function of `math`."""
    for part in ast.walk(node):
        match part:
            case ast.Constant(value=float()):
                return True
            case ast.BinOp(op=ast.Div(), left=ast.Constant() as left, right=ast.Constant()):
                return not isinstance(left.value, str)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="math"))):
                return True
    return False


def found(source):
    return {name for name, node in assigned(source) if name.isupper() and fractional(node.value)}


def without_comment(source):
    """Assignments of a file of constants with no comment beside or right above them."""
    lines = source.splitlines()
    for name, node in assigned(source):
        above = lines[node.lineno - 2].startswith("#") and not lines[node.lineno - 2].startswith("# ----")
        if not above and not re.search(r"  # \S+ \S+", lines[node.end_lineno - 1]):
            yield name


def test_no_tuned_number_hides_outside_a_file_of_constants():
    elsewhere = {(str(path.relative_to(ROOT)), name) for path in OTHERS for name in found(path.read_text())}
    assert elsewhere - KNOWN == set()
    assert KNOWN - elsewhere == set(), "these facts are gone"


def test_every_wing_has_its_file_of_constants():
    wings = {str(path.parent.relative_to(ROOT)) for path in TUNED}
    assert wings >= {
        "koopman",
        "scheduling",
        "session",
        "session/first_order",
        "session/pacing",
        "session/windows",
        "tune",
    }


@pytest.mark.parametrize("path", TUNED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_tuned_number_says_its_unit_and_the_file_what_chose_them_and_when(path):
    source = path.read_text()
    assert list(without_comment(source)) == []
    assert re.search(r"\d+ [A-Z][a-z]+ 20\d\d", ast.get_docstring(ast.parse(source)))
    assert all(isinstance(node, ast.Assign | ast.Import | ast.Expr) for node in ast.parse(source).body)


@pytest.mark.parametrize(
    "line",
    ["SHARE = 0.5", "SHARE: float = 0.5", "A, B = 1, 0.5", "PART = 1 / 6", "G = math.exp(-3)", "T = np.array([1.0])"],
)
def test_a_number_in_any_of_its_forms_is_found(line):
    assert found(line)


@pytest.mark.parametrize("line", ["MOST = 3", 'NAME = "a"', "share = 0.5", "def f():\n    SHARE = 0.5"])
def test_what_is_no_fraction_of_a_module_is_none(line):
    assert not found(line)


def test_a_number_without_a_comment_is_noticed():
    assert list(
        without_comment("\nA = 0.5\nB = 0.5  # of a step\n# of a loss\nC = 0.5\n# ---- part ----\nD = 1.0\n")
    ) == [
        "A",
        "D",
    ]
