"""Numbers that somebody chose stand in their wing's `tuning.py`, with what chose them; what is elsewhere is a fact."""

import ast
import re
from itertools import takewhile
from pathlib import Path

import pytest

DATE = r"\d+ [A-Z][a-z]+ 20\d\d"
ROOT = Path(__file__).parents[1] / "ray_glocal"
TUNED = sorted(ROOT.rglob("tuning.py"))
# What shows a user something, or plays Ray's cluster: no training depends on it.
SHOWN = {ROOT / "__main__.py", *(ROOT / "report").rglob("*.py"), *(ROOT / "simulate").rglob("*.py")}
OTHERS = sorted(set(ROOT.rglob("*.py")) - set(TUNED) - SHOWN)

# By reason: numbers that nobody tuned, each as `file:` and its name, or the number itself where it has none.
FACTS = {
    "rounding: two numbers that were meant to be the same, or one that is no more than the last bits of others": """
        hypergradient/hyperparameters/hyperparameter.py: 1e-06
        koopman/coordinates.py: _ROUNDING
        koopman/disk.py: UNIT_TOLERANCE
        koopman/dmd.py: 12
        koopman/prediction.py: _CLOSE _NEGLIGIBLE
        koopman/proposals.py: 12 _TURN
        koopman/rank.py: _ROUNDING
        koopman/window.py: _STILL
        koopman/window_forecast.py: 1e-12
        options.py: CLOSE
        scheduling/seeding.py: _DIGITS
        scheduling/surrogate.py: _DIGITS
        session/bounds.py: SAME
        session/first_order/repeats.py: SAME
    """,
    "keeps a quotient, a power or an infinity within what a number holds": """
        hypergradient/gradient/differences.py: ROUGH 1e-300
        hypergradient/hyperparameters/coordinates.py: 50.0
        koopman/dmd.py: _TINY _DEPENDENT
        koopman/forecasters/ensemble.py: _FAR _EXACT
        koopman/forecasters/evidence.py: _FAR
        koopman/forecasters/relaxation.py: _EXACT
        koopman/pooling.py: _TINY
        koopman/prediction.py: FAR
        koopman/window.py: LARGEST SMALLEST
        scheduling/coverage.py: 1e-09
        scheduling/evidence.py: _LEAST
        scheduling/proposed.py: _WORST
        scheduling/surrogate.py: _EPSILON _HUGE _RATIOS
        session/first_order/beginning.py: 1e-09
        session/windows/gate.py: 1e-12
        validation/scores.py: EXACT
    """,
    "mathematics: a derivative, an integral, a distribution, a fixed point, quarters of a window": """
        hypergradient/hyperparameters/rates.py: WHOLE
        hypergradient/kernels/hard.py: 3 6
        hypergradient/rules/adam.py: 3
        hypergradient/state/marks.py: GOLDEN
        koopman/deviation.py: 6
        koopman/forecasters/candidates.py: 3 4
        koopman/forecasters/mean.py: 4
        koopman/rank.py: 0.56 0.95 1.82 1.43
        scheduling/coverage.py: 64
        scheduling/evidence.py: 1.4826
        scheduling/factor.py: 3
        tune/reading.py: 100.0
        validation/scores.py: NINETY
    """,
    "another library's own number: an argument's default, a formula, a dimension, a limit": """
        hypergradient/kernels/batch_norm.py: 3
        hypergradient/kernels/cells.py: 4 5
        hypergradient/kernels/distance.py: FEW p 3
        hypergradient/kernels/embedding_bag.py: norm_type
        hypergradient/kernels/group_norm.py: eps
        hypergradient/kernels/layer_norm.py: eps
        hypergradient/kernels/unsupported.py: UNSUPPORTED
        hypergradient/problem/clipping.py: _TINY
        hypergradient/rules/muon.py: 0.2
        hypergradient/state/heap.py: LARGEST
        hypergradient/state/layout.py: ALIGNMENT
        scheduling/coverage.py: 31
        tune/deadline.py: _STDERR
        validation/data.py: 32
    """,
    "defaults of Lion's paper": """
        hypergradient/lion.py: lr betas
    """,
    "counts: passes in plain steps, losses of one kind, snapshots that a forecast needs, a unit, a version": """
        hypergradient/problem/losses.py: 3
        session/first_order/adaptation.py: TWENTIETHS 4
        session/pacing/cost.py: FORWARD REPLAY HESSIAN_PRODUCT
        session/settings.py: 4
        schedule/files.py: FORMAT VERSION
        session/state/checkpoint.py: VERSION
        validation/recording.py: 4
    """,
    "what a machine is asked for: seconds that somebody waits, threads, bytes and rows at a time": """
        scheduling/proposed.py: 16
        scheduling/snapshot.py: _CHUNK
        tune/deadline.py: _MARGIN
        tune/preflight.py: _WAIT
        tune/retention.py: PERIOD PATIENCE THREADS
        tune/snapshots.py: _PART
    """,
    "a sentence's own, a mark, or what stands for nothing": """
        hypergradient/problem/trained.py: SHOWN
        koopman/selection.py: 0.001
        schedule/best.py: _LISTED
        schedule/schedule.py: _LISTED
        scheduling/journal.py: _RARE
        session/windows/recorder.py: NEVER
        tune/preflight.py: _NAMED
        tune/rulebook.py: _OWN
    """,
}
KNOWN = {
    (file, number)
    for listed in FACTS.values()
    for file, _, numbers in (line.strip().partition(":") for line in listed.split("\n") if line.strip())
    for number in numbers.split()
}


def numbers(node):
    """Literals within a node, but those of texts and indices, of sizes of caches, and of how often a tuple repeats."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            yield node
        case ast.JoinedStr() | ast.keyword(arg="maxsize"):
            pass
        case ast.BinOp(left=ast.Tuple(), op=ast.Mult()) | ast.BinOp(right=ast.Tuple(), op=ast.Mult()):
            pass
        case ast.Subscript(value=value):
            yield from numbers(value)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from numbers(child)


def constants(body):
    """Names that a module's or a class's body assigns, each with its value."""
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((part.id, node) for each in targets for part in ast.walk(each) if isinstance(part, ast.Name))


def defaults(tree):
    """Fields of classes and arguments of functions, each with its default."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from ((name, each.value) for name, each in constants(node.body))
        if isinstance(node, ast.arguments):
            last = reversed([*node.posonlyargs, *node.args])
            pairs = [*zip(last, reversed(node.defaults)), *zip(node.kwonlyargs, node.kw_defaults)]  # noqa: B905
            yield from ((argument.arg, value) for argument, value in pairs if value is not None)


def found(source):
    """What in a file somebody may have chosen: names of constants and of what has a default, and numbers without one.

    A default may stay where a user reads it, if what chose it stands beside it.
    """
    tree = ast.parse(source)
    own = [(name, node.value) for name, node in constants(tree.body)]
    optional = list(defaults(tree))
    inside = {part for _, value in own + optional for part in ast.walk(value)}
    return {
        *(name for name, value in own if any(x.value not in (0, 1) or type(x.value) is float for x in numbers(value))),
        *(n for n, v in optional if any(x.value not in (0, 1) for x in numbers(v)) and not evidence(v, source)),
        *(ast.unparse(x) for x in numbers(tree) if x.value not in (0, 0.5, 1, 2) and x not in inside),
    }


def evidence(node, source):
    """Whether a comment beside or above says what chose a number: a date, a study that the file names, or nothing."""
    lines = source.splitlines()
    _, _, comment = lines[node.end_lineno - 1].partition("  # ")
    above = takewhile(lambda line: re.match(r" *# [^-]", line), reversed(lines[: node.lineno - 1]))
    comment = "\n".join([*list(above)[::-1], comment])
    studies = re.findall(r'"(\w[\w ]*)"', ast.get_docstring(ast.parse(source)) or "")
    known = "|".join([DATE, "untested", "by arithmetic", "by definition", *studies])
    return re.search(rf"\b({known})\b", comment, re.IGNORECASE)


def test_no_tuned_number_hides_outside_a_file_of_constants():
    elsewhere = {(str(path.relative_to(ROOT)), name) for path in OTHERS for name in found(path.read_text())}
    assert elsewhere - KNOWN == set()
    assert KNOWN - elsewhere == set(), "these facts are gone"


def test_every_wing_has_its_file_of_constants():
    wings = {str(path.parent.relative_to(ROOT)) for path in TUNED}
    assert wings >= {
        "hypergradient",
        "hypergradient/first_order",
        "hypergradient/kernels",
        "koopman",
        "scheduling",
        "session",
        "session/first_order",
        "session/pacing",
        "session/windows",
        "tune",
        "validation",
    }


@pytest.mark.parametrize("path", TUNED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_tuned_number_says_what_chose_it_or_that_nothing_did(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert [name for name, node in constants(tree.body) if not evidence(node, source)] == []
    assert re.search(DATE, ast.get_docstring(tree)), "the file says when"
    assert all(isinstance(node, ast.Assign | ast.Import | ast.Expr) for node in tree.body)


@pytest.mark.parametrize(
    "line",
    [
        "SHARE = 0.5",
        "SHARE: float = 1.0",
        "A, B = 1, 0.5",
        "PART = 1 / 6",
        "G = math.exp(-3)",
        "T = np.array([3])",
        "MOST = 2",
        "def f(share=0.5): ...",
        "def f(*, most=3): ...",
        "class A:\n    share: float = 0.5",
        "class A:\n    share: float = 0.5  # of a step, which is a comment and no evidence",
        "def f():\n    return x > 1e-3",
        "share = lambda x: 7 * x",
    ],
)
def test_a_number_in_any_of_its_forms_is_found(line):
    assert found(line)


@pytest.mark.parametrize(
    "line",
    [
        'NAME = "a"',
        "FIRST = 0",
        "def f(start=0, scale=1.0): ...",
        "def f():\n    return x[3:7] ** 2 / 2, (None,) * 8",
        "def f():\n    return f'{100 * x:.2g} %'",
        "class A:\n    share: float = 0.5  # .3 is worse (30 November 2026)",
        "class A:\n    # .3 is worse,\n    # .7 untested\n    share: float = 0.5",
    ],
)
def test_what_nobody_chose_or_says_what_chose_it_is_none(line):
    assert not found(line)


def test_a_number_without_evidence_is_noticed():
    source = '''"""Evidence: "the bed" is a study."""
A = 0.5
B = 0.5  # of a step
C = 0.5  # of a step; the bed
# of a loss,
# untested
D = 0.5
# ---- untested part ----
E = 0.5
'''
    assert [n for n, node in constants(ast.parse(source).body) if not evidence(node, source)] == ["A", "B", "E"]
