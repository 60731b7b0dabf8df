"""What pages say of the code is there: messages, keys of metrics, words; and the README is short and up to date."""

import ast
import re

import changed_lines
import computed
import pyarrow.parquet as pq
import pytest
from blocks import DOCS, PAGES, ROOT

import ray_glocal
import results

MESSAGES = re.findall(r"^### `(.*)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
SHOWN = sorted({*PAGES, ROOT / "CHANGELOG.md", *(ROOT / "cluster").rglob("*.md"), *(ROOT / "examples").rglob("*.md")})
LINKS = [(page, link) for page in SHOWN for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if ":" not in link]


def texts():
    """Every constant text of the library, adjacent ones as one, and those between the braces of an f-string."""
    for source in (ROOT / "ray_glocal").rglob("*.py"):
        nodes = ast.walk(ast.parse(source.read_text()))
        yield from (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


TEXTS = list(texts())
CLASSES = [node for source in (ROOT / "ray_glocal").rglob("*.py") for node in ast.parse(source.read_text()).body]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_the_librarys(message):
    assert any(message in text for text in TEXTS)


def test_there_are_messages():
    assert len(MESSAGES) > 30


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8192


def test_pages_tell_what_is_computed():
    assert not computed.stale()


def test_a_part_is_computed_anew_within_a_line_and_on_lines_of_its_own():
    line = "They differ in <!-- computed: lines changed -->2 lines<!-- end -->.\n"
    page = f"{line}<!-- computed: LICENSE -->\nold\n<!-- end -->"
    within, own = computed.fresh(page).split(".\n", 1)
    assert within == f"They differ in <!-- computed: lines changed -->{changed_lines.sentence()}<!-- end -->"
    assert own.startswith("<!-- computed: LICENSE -->\n\n<!-- block: plain -->\n```python\nMIT License")
    assert own.endswith("```\n\n<!-- end -->")
    with pytest.raises(KeyError, match="nothing"):
        computed.fresh("<!-- computed: nothing --><!-- end -->")


def incumbents(page, task, method):
    """By the rows beside a page: test losses at the lowest validation loss within the budget, mean over the seeds."""
    rows = pq.read_table(page.with_name("rows.parquet")).to_pylist()
    own = [row for row in rows if (row["section"], row["task"], row["method"]) == ("search", task, method)]
    within = [row for row in own if row["cost"] <= row["budget"]]
    seeds = sorted({row["seed"] for row in within})
    picked = [min((row for row in within if row["seed"] == seed), key=lambda row: row["val"]) for seed in seeds]
    return sum(row["test"] for row in picked) / len(seeds)


def test_simulated_and_real_losses_are_those_of_the_rows():
    told = re.findall(r"([\w+-]+) (\.\d+) and (\.\d+)", results.simulated_and_real())
    assert [name for name, *_ in told] == ["glocal", "asha+averaging", "random"]
    for name, *losses in told:
        rows = [incumbents(page, "digits-relu", name) for page in (results.TUNING, results.REAL)]
        assert [float(loss) for loss in losses] == pytest.approx(rows, abs=0.0006)


def test_what_is_said_by_kind_of_space_is_on_the_pages():
    said, spaces = results.kinds(), re.findall(r"^\| (?:Few|Many|Weights) .*$", results.PAGE.read_text(), re.MULTILINE)
    for space in spaces:
        final = space.split("|")[-3].split("[")[0]
        assert f"{float(final):.2f}".lstrip("0") in said
    rank, loss = re.search(r"the rank is ([\d.]+), the loss ([\d.]+)\.", said).groups()
    conclusions = results.TUNING.read_text()
    assert float(rank) == pytest.approx(float(re.search(r"mean rank ([\d.]+)", conclusions)[1]), abs=0.05)
    assert float(loss) == pytest.approx(float(re.search(r"1/2, ([\d.]+) \[[^]]*\] at 1\.", conclusions)[1]), abs=0.005)


def test_no_page_holds_what_only_the_site_would_put_in():
    comments = {word for page in PAGES for word in re.findall(r"<!-- (\w+)", page.read_text())}
    assert comments == {"block", "computed", "end"}
    assert not [page for page in PAGES if "--8<--" in page.read_text()]


def test_results_that_are_not_there_are_an_error():
    with pytest.raises(ValueError, match="has no table that begins with"):
        results.table("# Empty", "| method |")


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}: {link}" for page, link in LINKS])
def test_a_link_leads_somewhere(page, link):
    assert (page.parent / link.split("#")[0]).exists()


def test_every_metric_of_a_session_is_in_the_table():
    page = (DOCS / "report.md").read_text()
    keys = re.findall(r"`([\w/]+)`", ray_glocal.GlocalSession.metrics.__doc__ or "")
    assert len(keys) > 15
    assert all(f"`{key}`" in page for key in keys if key != "at_report")


def test_the_glossary_is_in_order_and_has_the_designs_words():
    words = re.findall(r"^\| ([\w'].*?) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert words == sorted(words, key=str.lower)
    for word in ("elasticity", "rung", "ledger", "duty cycle", "potential", "window elasticity", "averaged weights"):
        assert word in words


COINED = """
    Axes Carrier Course Evidence Forecaster Generation Guard Holder Judge Keeping Ledger Logbook Look Observation
    Outline Passage Recorder RestorePoint Retention Retreat Rulebook Rung Segment Snapshot Standing Surroundings Tape
    Terms Trace Window
"""


@pytest.mark.parametrize("name", COINED.split())
def test_a_class_whose_name_is_a_word_of_this_project_is_in_the_glossary(name):
    assert any(isinstance(node, ast.ClassDef) and node.name == name for node in CLASSES)
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    assert re.search(rf"^\| (.*, )?{word}(,.*)? \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)


def test_every_constant_that_the_method_names_is_there():
    page = (DOCS / "how.md").read_text()
    method = page[page.index("### 2. Where to begin") : page.index("### The constants")]
    names = set(re.findall(r"\b[A-Z][A-Z_]+\b", method))
    assert len(names) > 25
    parts = [ROOT / "ray_glocal" / part / "first_order" / "tuning.py" for part in ("session", "hypergradient")]
    constants = [node for part in parts for node in ast.walk(ast.parse(part.read_text()))]
    assert names <= {node.id for node in constants if isinstance(node, ast.Name)}
