"""When the rows of a study's page were taken in, and how often what they measure was changed since then."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
SESSIONS = ("hypergradient", "session")
SEARCHES = ("scheduling", "tune", "simulate")
MEASURED = {  # parts of `ray_glocal`, by the page's name on the site
    "ablation": (*SESSIONS, "koopman", "validation"),
    "architectures": SESSIONS,
    "bed": ("hypergradient", "koopman", "validation"),
    "compare-held-out": (*SESSIONS, *SEARCHES),
    "compare-tuning": (*SESSIONS, *SEARCHES),
    "compare-tuning-quick": (*SESSIONS, *SEARCHES),
    "compare-tuning-real": (*SESSIONS, *SEARCHES),
    "convergence": ("hypergradient", "koopman"),
    "cost": (*SESSIONS, "koopman"),
    "crossing": SEARCHES,
    "end_to_end": SESSIONS,
    "engine": ("hypergradient",),
    "engine-accelerator": ("hypergradient",),
    "engine-sessions": SESSIONS,
    "kernels": ("hypergradient",),
    "learning_rate": SESSIONS,
    "penalties": SESSIONS,
    "quadratic": ("hypergradient", "koopman"),
    "reweighting": SESSIONS,
    "scale": SEARCHES,
    "seeding": SEARCHES,
}


def _git(*words: str) -> str:
    told = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip()


def dated(name: str, folder: Path) -> str:
    """A sentence on a page's rows; empty where the repository's history is not at hand."""
    rows = str(folder / "rows.parquet")
    if _git("rev-parse", "--is-shallow-repository") != "false":
        return ""
    committed = _git("log", "-1", "--format=%h %cs", "--", rows)
    if not committed or _git("status", "--porcelain", "--", rows):
        return "*Its rows are not committed yet.*"
    commit, date = committed.split()
    parts = [f"ray_glocal/{part}" for part in MEASURED[name]]
    since = int(_git("rev-list", "--count", f"{commit}..HEAD", "--", *parts))
    changed = f"{since} commit{'s' * (since != 1)} changed" if since else "nothing changed"
    return f"*Rows of {date}, commit {commit}; since then {changed} {_listed(parts)}.*"


def _listed(parts: list[str]) -> str:
    *most, last = [f"`{part}`" for part in parts]
    return f"{', '.join(most)} or {last}" if most else last
