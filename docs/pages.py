"""Hooks of the site: the studies' pages become pages of it, each with commit and date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))  # a hook is loaded by its file

import changed_lines

import results

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "examples" / "studies" / "results"
PICTURES = {".png", ".svg"}


def places() -> dict[str, Path]:
    """Folder of each study's page, by its name on the site."""
    found = sorted(STUDIES.rglob("README.md"))
    return {"-".join(page.parent.relative_to(STUDIES).parts): page.parent for page in found}


def title(page: Path) -> str:
    """Its first heading."""
    return page.read_text().split("\n", 1)[0].removeprefix("# ")


def _git(*words: str) -> str:
    told = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip()


def written(page: Path) -> str:
    """When the repository took the page in; empty where its history is not at hand."""
    if _git("rev-parse", "--is-shallow-repository") != "false":
        return ""
    told = _git("log", "-1", "--format=%h, %cs", "--", str(page.relative_to(ROOT)))
    return f"*Taken in at commit {told}.*" if told else ""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each study's page, its pictures and the table of all of them."""
    for name, folder in places().items():
        page = folder / "README.md"
        heading, rest = page.read_text().split("\n", 1)
        told = f"{heading}\n\n{written(page)}\n{rest}"
        files.append(File.generated(config, f"results/{name}/index.md", content=told))
        for picture in folder.iterdir():
            if picture.suffix in PICTURES:
                files.append(File.generated(config, f"results/{name}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put in what pages ask for by a comment: the studies' pages, the comparison's results, the lines that changed."""
    asked = {
        "pages of the studies": _listed,
        "results of the comparison": lambda: results.results(results.PAGE.read_text()),
        "conclusions of the comparison": lambda: results.conclusions(results.PAGE.read_text()),
        "lines changed": changed_lines.sentence,
    }
    return re.sub(r"<!-- ([a-z ]+) -->", lambda found: asked[found[1]]() if found[1] in asked else found[0], markdown)


def _listed() -> str:
    return "\n".join(f"- [{title(folder / 'README.md')}]({name}/index.md)" for name, folder in places().items())
