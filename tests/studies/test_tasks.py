"""The tasks that all studies share, and the store of their rows."""

import math
import re
import shutil
from dataclasses import dataclass, replace

import pyarrow.parquet as pq
import pytest
import torch

from study import HOME, Study, markdown
from tasks import TASKS, Shuffled, loss, mean_loss


@dataclass(frozen=True)
class Cell:
    number: int


def squared(cell):
    return [{"number": cell.number, "square": cell.number**2}]


def refused(cell):
    raise AssertionError(f"{cell} was run before")


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("digits")])
def test_an_untrained_network_knows_nothing_and_a_trained_one_more(name):
    task = TASKS[name]
    data, model = task.data(), task.model(0)
    assert mean_loss(model, data.val) == pytest.approx(math.log(10), abs=0.4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        for batch in Shuffled(data.train, seed=0):
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()
    assert mean_loss(model, data.val) < 1.3


def test_batches_are_reproducible_and_cover_an_epoch_once():
    data = TASKS["digits-linear"].data().train
    first, again = (list(Shuffled(data, seed=3, size=100)) for _ in range(2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert sorted(torch.cat([x.sum((1, 2, 3)) for x, _ in first])) == sorted(data[0].sum((1, 2, 3)))


def test_a_cell_that_was_run_is_read_back(tmp_path):
    study = Study("squares", tmp_path, smoke=True, workers=1)
    cells = [Cell(2), Cell(3)]
    rows = study.rows(cells, squared)
    assert [row["square"] for row in rows] == [4, 9]
    assert study.rows(cells, refused) == rows


def test_a_clone_takes_up_what_the_page_publishes(tmp_path):
    study = Study("squares", tmp_path / "here", smoke=True, workers=1)
    cells = [Cell(2), Cell(3)]
    rows = study.rows(cells, squared)
    study.publish("Squares", "", [*rows, {"root": 1.5, "cell": "of another study"}])
    (tmp_path / "there").mkdir()
    shutil.copy(tmp_path / "here" / "rows.parquet", tmp_path / "there")
    clone = replace(study, out=tmp_path / "there")
    assert clone.kept(cells) == []
    clone.take_up(cells[:1])
    assert clone.kept(cells) == rows[:1]
    assert [row["square"] for row in clone.rows(cells, squared)] == [4, 9], "and what was not taken up is run"
    replace(study, out=tmp_path / "nowhere").take_up(cells)


def test_rows_of_different_kinds_keep_all_their_columns(tmp_path):
    Study("mixed", tmp_path, smoke=True, workers=1).publish("Mixed", "", [{"a": 1}, {"b": 2.0}])
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": 2.0}]


def test_a_page_holds_its_table_and_figure(tmp_path):
    table = markdown(["a", "b"], [["x", 0.12345]])
    assert table.splitlines()[2] == "| x | 0.123 |"
    Study("squares", tmp_path, smoke=True, workers=1).publish("Squares", table, [{"a": 1}], lambda f: f.subplots())
    assert (tmp_path / "figure.png").stat().st_size > 1000
    page = (tmp_path / "README.md").read_text()
    assert "squares.py --smoke" in page
    assert re.search(r"^Written \d{4}-\d\d-\d\d", page, re.MULTILINE)


def test_every_published_page_tells_a_commit():
    pages = sorted((HOME / "results").rglob("README.md"))
    assert len(pages) > 15
    assert not [page for page in pages if not re.search(r" at commit [0-9a-f]{7}", page.read_text())]
