"""The fenced blocks of README, docs and CONTRIBUTING, with the comment that says what each is run with."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"(?:<!-- block: ([a-z ]+) -->\n)?^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        page: The page's path from the root.
        line: Of the page, at which its fence stands.
        language: As the fence says; empty where it does not.
        marks: Words of the comment before it.
        text: What it holds.
    """

    page: str
    line: int
    language: str
    marks: tuple[str, ...]
    text: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in their order."""
    text, name = page.read_text(), page.relative_to(ROOT).as_posix()
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        found.append(Block(name, line, match[2], tuple((match[1] or "").split()), match[3]))
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
