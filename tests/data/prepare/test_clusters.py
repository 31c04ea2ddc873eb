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


@pytest.mark.parametrize(
    "content",
    [b"a\ta\na\tb\nc\tc\na\td\n", b"a\tb\na\td\na\ta\n\nc\tc", b"a\tA\nb\tA\nd\tA\nc\tC\n"],
)
def test_the_order_of_mmseqs2_is_recognized(tmp_path: Path, content: bytes) -> None:
    listed = clusters(tmp_path, content)
    assert listed.representative_first == (b"\tA" not in content)
    assert listed["a"] == listed["b"] == listed["d"] != listed["c"]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("P1\tC", "sp|P1|X_HUMAN"),
        ("sp|P1|X_HUMAN\tC", "P1"),
        ("sp|P1|X_HUMAN\tC", "tr|P1|OTHER"),
        ("NP_1.1\tC", "gi|7|ref|NP_1.1|"),
    ],
)
def test_ids_are_found_by_their_accession(tmp_path: Path, row: str, name: str) -> None:
    listed = clusters(tmp_path, f"{row}\nP2\tD\nP3\tC\n".encode())
    with pytest.raises(KeyError):
        listed[name]
    assert listed.by_alias(name) == listed["P3"] != listed["P2"]
    assert listed.by_alias("sp|P9|X") is None


def test_cluster_files_of_cd_hit_are_read(tmp_path: Path) -> None:
    listed = clusters(
        tmp_path,
        b">Cluster 0\n0\t60aa, >p0... *\n1\t60aa, >sp|P1|ABCDEFGH_HUM... at 91.67%\n>Cluster 1\n0\t6aa, >p3... *\n",
    )
    assert listed.cd_hit
    assert listed["p0"] == listed.by_alias("sp|P1|ABCDEFGH_HUMAN") == listed.by_alias("P1") != listed["p3"]
    with pytest.raises(DataError) as caught:
        clusters(tmp_path, b">Cluster 0\np0\n")
    assert caught.value.line == 2
