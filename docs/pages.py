"""Hooks of the site: files of the repository become pages of it, studies' pages with dates, and links lead there."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))  # a hook is loaded by its file

import computed
import dates

ROOT = Path(__file__).parents[1]
PICTURES = {".png", ".svg"}
LINK = re.compile(r"\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def sources() -> dict[str, Path]:
    """Pages of the site whose text lies elsewhere in the repository, each by its place on the site."""
    studies = {f"results/{name}/index.md": folder / "README.md" for name, folder in computed.places().items()}
    return {"contributing.md": ROOT / "CONTRIBUTING.md", "changelog.md": ROOT / "CHANGELOG.md", **studies}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add those pages, and the studies' pictures."""
    for place, source in sources().items():
        files.append(File.generated(config, place, content=source.read_text()))
    for name, folder in computed.places().items():
        for picture in folder.iterdir():
            if picture.suffix in PICTURES:
                files.append(File.generated(config, f"results/{name}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links from where the text lies become links from where the site has it; a study's page gets its date."""
    place, known = page.file.src_uri, sources()
    told = linked(markdown, place, known)
    if not place.startswith("results/") or place not in known:
        return told
    heading, rest = told.split("\n", 1)
    return f"{heading}\n\n{dates.dated(PurePosixPath(place).parent.name, known[place].parent)}\n{rest}"


def linked(markdown: str, place: str, known: dict[str, Path]) -> str:
    """The text of a page with its links to `known` files of the repository led to their places on the site."""
    source = known.get(place, ROOT / "docs" / place)
    places = {path: uri for uri, path in known.items()}
    folder = PurePosixPath(place).parent

    def led(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / found[1]))
        if target.is_relative_to(ROOT / "docs"):
            uri = target.relative_to(ROOT / "docs").as_posix()
        elif target in places:
            uri = places[target]
        else:
            return found[0]
        return f"]({os.path.relpath(uri, folder)}{found[2] or ''})"

    return LINK.sub(led, markdown)
