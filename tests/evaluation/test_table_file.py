"""Tables that commands write: CSV always, Parquet with its extra."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from sedd.errors import SeddError
from sedd.evaluation.table_file import ROWS, Columns, table_file
from tests.cli.commands import sedd_
from tests.conftest import TINY

COLUMNS: Columns = {"id": str, "residues": int, "nats": float}
LINES: list[tuple[Any, ...]] = [("a", 3, 1 / 3), ("=b", None, math.nan), ("c", 5, None)]


def _write(path: Path) -> None:
    with table_file(path, COLUMNS) as table:
        for line in LINES:
            table.row(line)
        table.flush()


def test_a_csv_file_has_six_digits_and_no_formulas(tmp_path) -> None:
    _write(tmp_path / "new" / "table.csv")
    rows = list(csv.reader((tmp_path / "new" / "table.csv").read_text().splitlines()))
    assert rows == [["id", "residues", "nats"], ["a", "3", "0.333333"], ["'=b", "", ""], ["c", "5", ""]]


def test_a_parquet_file_has_typed_columns_and_complete_numbers(tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    _write(tmp_path / "new" / "table.parquet")
    table = parquet.read_table(tmp_path / "new" / "table.parquet")
    assert [str(field.type) for field in table.schema] == ["string", "int64", "double"]
    assert table.to_pylist() == [
        {"id": "a", "residues": 3, "nats": 1 / 3},
        {"id": "=b", "residues": None, "nats": None},
        {"id": "c", "residues": 5, "nats": None},
    ]


def test_an_empty_and_a_long_parquet_file_have_all_rows(tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    for number in (0, 2 * ROWS + 1):
        with table_file(tmp_path / "table.parquet", COLUMNS) as table:
            for row in range(number):
                table.row((str(row), row, float(row)))
        assert parquet.read_table(tmp_path / "table.parquet")["residues"].to_pylist() == list(range(number))


def test_after_an_error_an_earlier_parquet_file_is_as_it_was(tmp_path) -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    _write(path := tmp_path / "table.parquet")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), table_file(path, COLUMNS) as table:
        table.row(("x", 1, 1 / 0))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_without_pyarrow_the_error_names_the_extra_and_nothing_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SeddError, match="parquet"):
        _write(tmp_path / "new" / "table.parquet")
    assert list(tmp_path.iterdir()) == []


def test_commands_write_parquet_where_the_name_says_so(tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    run = tmp_path / "run"
    sedd_("train", "quickstart", *TINY, "--run", run, "--samples", "1")
    (tmp_path / "w.fasta").write_text(">w\nMKV\n>x\nX\n>y\nACDE\n")
    for name in ("csv", "parquet"):
        table = tmp_path / f"bounds.{name}"
        sedd_("evaluate", run, tmp_path / "w.fasta", "--per-sequence", table, "--device", "cpu", "--masks", "2")
    rows = parquet.read_table(tmp_path / "bounds.parquet").to_pylist()
    lines = list(csv.DictReader((tmp_path / "bounds.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [line["id"] for line in lines] == ["w", "x", "y"]
    assert [f"{row['nats']:.6g}" for row in rows if row["nats"]] == [line["nats"] for line in lines if line["nats"]]
    (tmp_path / "wild.fasta").write_text(">w\nMKV\n")
    scores = tmp_path / "scores.parquet"
    sedd_("score-variants", run, tmp_path / "wild.fasta", "--all-singles", "--no-bound", "--out", scores)
    assert parquet.read_table(scores).num_rows == 3 * 19
