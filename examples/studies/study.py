"""What every study does around its own question: run its cells once each, keep their rows, publish a page.

A study is a list of cells, each a frozen dataclass, and a function that turns a cell into rows. Cells that were run
before are read back, so an interrupted study goes on where it was; one that asks for it takes up what its page
publishes, too.
"""

import argparse
import hashlib
import subprocess
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch

HOME = Path(__file__).parent
Row = dict[str, Any]
C = TypeVar("C")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
CELL = "cell"  # column of published rows that tells which cell they are of
Draw = Callable[[Any], None]  # on a matplotlib figure


@dataclass(frozen=True)
class Study:
    """One study's folder, as the command line chose it.

    Args:
        name: Of its script and of its folder under `results/`.
        out: Folder of its rows and its page.
        smoke: Whether to run a small part, to see that everything works.
        workers: Processes; each computes with one thread.
        options: What the command line said of the study's own.
        command: Those options as they were typed.
    """

    name: str
    out: Path
    smoke: bool
    workers: int
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def rows(self, cells: Iterable[C], run: Callable[[C], Sequence[Row]]) -> list[Row]:
        """The rows of all cells, run in `workers` processes where they are not there yet; in the order of the cells.

        Args:
            cells: Frozen dataclasses whose `repr` names them uniquely.
            run: A function at the top of a module.
        """
        told = list(cells)
        places = {cell: self._place(cell) for cell in told}
        (self.out / "cells").mkdir(parents=True, exist_ok=True)
        missing = [cell for cell in told if not places[cell].exists()]
        with ProcessPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            futures = {pool.submit(run, cell): cell for cell in missing}
            for count, future in enumerate(as_completed(futures), 1):
                _write(places[futures[future]], list(future.result()))
                print(f"{count} of {len(missing)}: {futures[future]}", flush=True)
        return self.kept(told)

    def kept(self, cells: Iterable[object]) -> list[Row]:
        """The rows of those cells that were run, in the order of the cells; each tells its cell."""
        places = (self._place(cell) for cell in cells)
        return [{**row, CELL: place.stem} for place in places if place.exists() for row in read(place)]

    def take_up(self, cells: Iterable[object]) -> None:
        """Keep those of the cells whose rows were published and that were not run here: a fresh clone goes on there."""
        place = self.out / "rows.parquet"
        published: dict[str, list[Row]] = {}
        for row in read(place) if place.exists() else []:
            published.setdefault(row.pop(CELL, None) or "", []).append(row)
        (self.out / "cells").mkdir(parents=True, exist_ok=True)
        for own in (self._place(cell) for cell in cells):
            if own.stem in published and not own.exists():
                _write(own, [_without_gaps(row) for row in published[own.stem]])

    def _place(self, cell: object) -> Path:
        return self.out / "cells" / f"{_digest(cell)}.parquet"

    def publish(self, title: str, text: str, rows: Sequence[Row], draw: Draw | dict[str, Draw] | None = None) -> None:
        """Write `README.md` (title, command, date, commit, the text with its tables), `rows.parquet` and the figures.

        Args:
            title: Of the page.
            text: Markdown.
            rows: What the text summarizes.
            draw: Draws on a matplotlib figure, `figure.png`; or several, by the names of their files.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        _write(self.out / "rows.parquet", list(rows))
        words = [f"python examples/studies/{self.name}.py", "--smoke" if self.smoke else "", self.command]
        parts = [f"# {title}", f"```\n{' '.join(filter(None, words))}\n```", _written(), text]
        for name, drawn in (draw if isinstance(draw, dict) else {"figure": draw} if draw else {}).items():
            _save(self.out / f"{name}.png", drawn)
            parts.append(f"![The {name.replace('-', ' ')}]({name}.png)")
        page = "\n\n".join(parts) + "\n"
        (self.out / "README.md").write_text(page)
        print(page)


def study(name: str, description: str | None, **options: Any) -> Study:
    """The study that the command line asks for: `--smoke`, `--out FOLDER`, `--workers N`, and options of its own.

    Args:
        name: Of its script.
        description: For `--help`.
        options: Defaults of its own options, each of the type that is asked for; `False` makes a switch.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="run a small part, in under a minute")
    parser.add_argument("--out", type=Path, help="folder of rows and page")
    parser.add_argument("--workers", type=int, default=2)
    for option, default in options.items():
        if default is False:
            parser.add_argument(f"--{option}", action="store_true")
        else:
            parser.add_argument(f"--{option}", type=type(default), default=default, help=f"{default} by default")
    told = parser.parse_args()
    out = told.out or HOME / "results" / (name + "-smoke" if told.smoke else name)
    own = {option: getattr(told, option) for option in options}
    typed = {option: "" if value is True else f" {value}" for option, value in own.items() if value != options[option]}
    command = " ".join(f"--{option}{value}" for option, value in typed.items())
    return Study(name, out, told.smoke, told.workers, own, command)


def markdown(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table; numbers get three significant digits."""
    body = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in line] for line in lines]
    rows = [list(header), ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _save(place: Path, draw: Draw) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    draw(figure)
    figure.savefig(place, dpi=110)


def commit() -> str:
    """The present commit, in short; empty outside a repository."""
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HOME
    )
    return told.stdout.strip()


def _written() -> str:
    """When a page is written, and at which commit."""
    at = commit()
    return f"Written {datetime.now(timezone.utc):%Y-%m-%d}{f' at commit {at}' if at else ''}."


def read(place: Path) -> list[Row]:
    """The rows of a file that a study wrote."""
    told: list[Row] = pq.read_table(place).to_pylist()
    return told


def chosen(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Rows with these values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def gathered(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """Values by their keys, in order of appearance."""
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def span(values: Iterable[float], show: Callable[[float], str]) -> str:
    """From the least to the greatest, or what both are."""
    known = list(values)
    return " to ".join(dict.fromkeys(show(end) for end in (min(known), max(known))))


def _digest(cell: object) -> str:
    return hashlib.sha256(repr(cell).encode()).hexdigest()[:16]


def _without_gaps(row: Row) -> Row:
    """A row without the columns that only other cells' rows have."""
    return {name: value for name, value in row.items() if value is not None}


def _write(place: Path, rows: list[Row]) -> None:
    """Write rows whole or not at all; a column that a row lacks is empty there."""
    columns = dict.fromkeys(name for row in rows for name in row)
    part = place.with_suffix(".part")
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows]), part)
    part.replace(place)
