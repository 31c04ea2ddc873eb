from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sedd.data.prepare.clusters import Clusters
from sedd.errors import DataError


def clusters(tmp_path: Path, content: bytes) -> Clusters:
    path = tmp_path / "c.tsv"
    path.write_bytes(content)
    return Clusters(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_members_of_a_cluster_share_a_number(tmp_path: Path, pack: object) -> None:
    found = clusters(tmp_path, pack(b"id\tcluster\na\tA\nb\tA\textra\r\n\nc\tC"))  # type: ignore[operator]
    assert found["a"] == found["b"] != found["c"]
    assert len(found) == 4
    with pytest.raises(KeyError):
        found["d"]


def test_an_id_may_be_listed_twice_but_not_in_two_clusters(tmp_path: Path) -> None:
    assert clusters(tmp_path, b"a\tA\na\tA\n")["a"]
    with pytest.raises(DataError) as caught:
        clusters(tmp_path, b"a\tA\nb\tB\na\tB\n")
    assert (caught.value.file, caught.value.line) == (tmp_path / "c.tsv", 3)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (b"\n\n", 1),
        (b"a\tA\nb B\n", 2),
        (b"a\tA\nb\t\n", 2),
        (b"a\tA\nb\t", 2),
        (gzip.compress(b"a\tA\n", mtime=0)[:-3], 2),
    ],
)
def test_an_unreadable_cluster_file_is_an_error_with_file_and_line(tmp_path: Path, content: bytes, line: int) -> None:
    with pytest.raises(DataError) as caught:
        clusters(tmp_path, content)
    assert (caught.value.file, caught.value.line) == (tmp_path / "c.tsv", line)
