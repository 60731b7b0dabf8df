"""Parquet tables as rows, from a file and from what was in one."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_glocal import tables

ROWS = [{"step": step, "name": "größe", "value": 0.1 * step, "several": [1.0, None]} for step in range(40)]


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "lr=0.1" / "rows.parquet"  # a name of a trial's folder, which is no partition
    place.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), place)
    return place


def test_a_file_and_its_content_have_the_same_rows(file):
    assert tables.rows(file) == tables.rows(file.read_bytes()) == ROWS


def test_whatever_is_wrong_with_it_raises_one_of_the_named_errors(file):
    whole, draw, refused = file.read_bytes(), random.Random(0), 0
    cut = [whole[:length] for length in range(0, len(whole), 50)]
    wrong = [whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :] for at in range(len(whole))]
    for content in cut + wrong:
        try:
            tables.rows(content)
        except tables.UNREADABLE:
            refused += 1
    assert refused > len(cut)
    for place in (file.parent, file.with_name("none")):
        with pytest.raises(tables.UNREADABLE):
            tables.rows(place)
