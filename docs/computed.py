"""Parts of pages that are computed: `python docs/computed.py` writes them into the pages, `--check` compares.

A part stands between `<!-- computed: NAME -->` and `<!-- end -->`, so that a page reads whole wherever it is shown.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import changed_lines

import results

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "examples" / "studies" / "results"
RULES = ROOT / "examples" / "studies" / "comparison" / "README.md"
PART = re.compile(r"<!-- computed: ([\w ./-]+) -->(\n?).*?<!-- end -->", re.DOTALL)


def pages() -> list[Path]:
    """Those that may have computed parts."""
    return [ROOT / "README.md", RULES, *sorted((ROOT / "docs").rglob("*.md"))]


def places() -> dict[str, Path]:
    """Folder of each study's page, by its name on the site; of short runs to try a study there are none."""
    found = sorted(page for page in STUDIES.rglob("README.md") if not page.parent.name.endswith("-smoke"))
    return {"-".join(page.parent.relative_to(STUDIES).parts): page.parent for page in found}


def title(page: Path) -> str:
    """Its first heading."""
    return page.read_text().split("\n", 1)[0].removeprefix("# ")


def listed() -> str:
    """The studies' pages, for `docs/results/index.md`."""
    lines = [(name, folder / "README.md") for name, folder in places().items()]
    return "\n".join(f"- `{name}`: [{title(page)}](../../{page.relative_to(ROOT).as_posix()})" for name, page in lines)


def code(path: str) -> str:
    """A file of the repository as a block that the tests run as `marks` say."""
    marks = "script" if path.startswith("docs/from-asha/") else "plain"
    return f"<!-- block: {marks} -->\n```python\n{(ROOT / path).read_text()}```"


ASKED: dict[str, Callable[[], str]] = {
    "pages of the studies": listed,
    "results of the comparison": results.shown,
    "conclusions of the comparison": results.conclusions,
    "losses by kind of space": results.kinds,
    "agreement of the quick form": results.agreement,
    "simulated and real losses": results.simulated_and_real,
    "price of a hypergradient": results.price,
    "lines changed": changed_lines.sentence,
}


def told(name: str) -> str:
    """What stands for a name: a path is that file's code.

    Raises:
        KeyError: Nothing of that name is computed, nor is there such a file.
    """
    return code(name) if (ROOT / name).is_file() else ASKED[name]()


def fresh(page: str) -> str:
    """A page's text with its parts computed anew; a part of its own lines has an empty one on both sides."""

    def part(found: re.Match[str]) -> str:
        around = "\n\n" if found[2] else ""
        return f"<!-- computed: {found[1]} -->{around}{told(found[1])}{around}<!-- end -->"

    return PART.sub(part, page)


def stale() -> list[Path]:
    """Pages that tell something else than what is computed."""
    return [page for page in pages() if fresh(page.read_text()) != page.read_text()]


def main() -> int:
    """Write or check; 1 where a page is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a page is out of date")
    old = stale()
    if not parser.parse_args().check:
        for page in old:
            page.write_text(fresh(page.read_text()))
        return 0
    for page in old:
        print(f"{page.relative_to(ROOT)} is out of date: run `python docs/computed.py`.", file=sys.stderr)
    return int(bool(old))


if __name__ == "__main__":
    sys.exit(main())
