"""Files as people have them: every format is read, or refused by its name with what to do."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from sedd.config.sections import Residues
from sedd.data.prepare import formats, sources
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import Prepared, prepare
from sedd.data.prepare.reading import SequenceFile
from sedd.data.prepare.sources import find
from sedd.errors import DataError, SeddWarning

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SEQUENCES = ["MKVLAAGIVWQEFHIKL", "MPELPDAAHHCSPPQDW", "MRKAYMLPDDFHWIAYN"]
GENBANK = "".join(
    f"LOCUS       P{i} 17 aa\nDEFINITION  x.\nACCESSION   P{i}\nVERSION     P{i}.1\nFEATURES             Location\n"
    f"ORIGIN\n        1 {s[:10].lower()} {s[10:].lower()}\n//\n"
    for i, s in enumerate(SEQUENCES)
)
SWISSPROT = "".join(
    f"ID   T{i}_HUMAN   Reviewed;  17 AA.\nAC   P{i}; Q{i};\nDT   01-JAN-1990.\nSQ   SEQUENCE   17 AA;  1 MW;\n"
    f"     {s[:10]} {s[10:]}\n//\n"
    for i, s in enumerate(SEQUENCES)
)
STOCKHOLM = (
    "# STOCKHOLM 1.0\n#=GF ID x\n\n"
    + "".join(f"P{i}  {s[:9]}--\n#=GR P{i} SS  {'H' * 11}\n" for i, s in enumerate(SEQUENCES))
    + "#=GC SS_cons HHHHHHHHHHH\n\n"
    + "".join(f"P{i}  {s[9:]}..\n" for i, s in enumerate(SEQUENCES))
    + "//\n"
)
PIR = "".join(f">P1;P{i}\nprotein {i}, of Homo sapiens\n  {s[:9]}\n{s[9:]}*\n" for i, s in enumerate(SEQUENCES))
JSON_LINES = "".join(f'{{"id": "P{i}", "seq": "{s}", "score": {i}}}\n' for i, s in enumerate(SEQUENCES))


def table(delimiter: str) -> str:
    rows = [f'P{i}{delimiter}"{i}{delimiter} x"{delimiter}{s}\n' for i, s in enumerate(SEQUENCES)]
    return f"name{delimiter}note{delimiter}Protein sequence\n" + "".join(rows)


def prepared(tmp_path: Path, content: str | bytes, name: str = "in.dat", **options: object) -> Prepared:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return prepare(path, tmp_path / "out", options=PrepareOptions(holdout=0.0, **options))  # type: ignore[arg-type]


def sequences(found: Prepared) -> list[str]:
    return [found.train.alphabet.decode(found.train[i]) for i in range(len(found.train))]


def records(tmp_path: Path, content: str | bytes, **options: object) -> list[tuple[str, str]]:
    path = tmp_path / "in.dat"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    file = SequenceFile.of(path, **options)  # type: ignore[arg-type]
    found = [(record.name, bytes(record.sequence).decode()) for record in file.read()]  # type: ignore[arg-type]
    return [(name, sequence.upper().translate(str.maketrans("", "", "-.*"))) for name, sequence in found]


@pytest.mark.parametrize(
    ("content", "options", "names"),
    [
        (GENBANK, {}, ["P0.1", "P1.1", "P2.1"]),
        (SWISSPROT, {}, ["P0", "P1", "P2"]),
        (STOCKHOLM, {}, ["P0", "P1", "P2"]),
        (PIR, {}, ["P0", "P1", "P2"]),
        (JSON_LINES, {"column": "seq"}, ["P0", "P1", "P2"]),
        (table(","), {"column": "Protein sequence"}, ["P0", "P1", "P2"]),
        (table("\t"), {"column": "Protein sequence"}, ["P0", "P1", "P2"]),
        (table(";"), {"column": "3"}, ["P0", "P1", "P2"]),
        ("\ufeff# a comment\n" + table(","), {"column": "Protein sequence"}, ["P0", "P1", "P2"]),
        ("".join(f"P{i}\t{s}\n" for i, s in enumerate(SEQUENCES)), {"column": "2"}, ["P0", "P1", "P2"]),
        ("sequence\n" + "\n".join(SEQUENCES), {"column": "sequence"}, ["row_2", "row_3", "row_4"]),
        ("\n".join(SEQUENCES), {"lines": True}, ["line_1", "line_2", "line_3"]),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_formats_of_sequences_are_read(
    tmp_path: Path, content: str, options: dict[str, object], names: list[str], line_end: str
) -> None:
    found = records(tmp_path, content.replace("\n", line_end), **options)
    assert found == list(zip(names, SEQUENCES, strict=True))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
@pytest.mark.parametrize("content", [GENBANK, PIR, table(",")])
def test_every_format_may_be_compressed(tmp_path: Path, content: str, compress: object) -> None:
    packed = compress(content.encode())  # type: ignore[operator]
    assert [sequence for _, sequence in records(tmp_path, packed, column="Protein sequence")] == SEQUENCES


@pytest.mark.parametrize(
    ("content", "name", "remedy"),
    [
        (table(","), "CSV", "data.column=Protein sequence"),
        (table("\t"), "TSV", "data.column=Protein sequence"),
        (JSON_LINES, "JSON lines", "data.column=seq"),
        ("id,value\na,MKVLAAGIVW\nb,MPELPDAAHH\n", "CSV", "data.column=value"),
        ("a\tMKVLAAGIVW\nb\tMPELPDAAHH\n", "TSV", "data.column=2"),
        ("\n".join(SEQUENCES), "without a FASTA header", "data.format=lines"),
        ("sequence\n" + "\n".join(SEQUENCES), "title 'sequence'", "data.column=sequence"),
        ("@r\nACGT\n+\nIIII\n", "FASTQ", "translat"),
        ("CLUSTAL W\n\na  MKV\n", "Clustal", "FASTA"),
        ("#NEXUS\nbegin data;\n", "NEXUS", "FASTA"),
        (" 2 5\na  MKVLA\nb  MKVLG\n", "PHYLIP", "FASTA"),
        ("HEADER    HYDROLASE\nSEQRES   1 A\n", "PDB", "sequences"),
        ("data_1ABC\n#\n_entry.id 1ABC\n", "mmCIF", "sequences"),
        ("HMMER3/f [3.3]\n", "HMMER", "FASTA"),
        ('[{"sequence": "MKV"}]', "JSON", "data.column"),
        ("<!DOCTYPE html>\n<html>", "web page", "download"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
        (b"PK\x03\x04....", "zip", "Convert"),
        (b"\x89HDF\r\n", "HDF5", "Convert"),
    ],
)
def test_other_files_are_refused_by_the_name_of_their_format_with_a_way_out(
    tmp_path: Path, content: str | bytes, name: str, remedy: str
) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, content)
    assert caught.value.file == tmp_path / "in.dat"
    assert name in str(caught.value)
    assert remedy in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.dat"]


def test_every_refused_format_says_what_to_do() -> None:
    assert all(refused.title and refused.remedy for refused in formats.REFUSED.values())
    assert set(formats.REFUSED) - {"msf", "gff", "xml", "tar"} <= {name for name, _ in formats._PATTERNS} | {"json"}


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.fastq", "x", "x.fasta.gz", "x.fa.bz2"])
def test_the_content_counts_and_not_the_name(tmp_path: Path, name: str) -> None:
    content = "".join(f">s{i}\n{s}\n" for i, s in enumerate(SEQUENCES))
    assert sequences(prepared(tmp_path, content, name)) == SEQUENCES


@pytest.mark.parametrize("content", [table(","), JSON_LINES, GENBANK, PIR, ">a\nMKV\n>b\nMKL\n"])
def test_a_file_of_sequences_that_is_trained_on_as_text_is_warned_of(tmp_path: Path, content: str) -> None:
    with pytest.warns(SeddWarning, match=r"data\.alphabet=protein"):
        prepared(tmp_path, content, alphabet="text", chunk_length=4)


@pytest.mark.parametrize(
    "content", ["Hello, world.\nTo be, or not.\nYes, no.\n", "\n".join(SEQUENCES), "a,b\n1,2\n3,4\n"]
)
def test_text_is_not_taken_for_sequences(tmp_path: Path, content: str) -> None:
    assert prepared(tmp_path, content, alphabet="text", chunk_length=4).tally.kept


ALIGNED = "".join(f">s{i}\n{s[:5]}--{s[5:9]}ac{s[9:]}\n" for i, s in enumerate(SEQUENCES))


@pytest.mark.parametrize(
    ("content", "repaired", "dropped"),
    [
        ("#17,17\t1,1\n" + ALIGNED, {"comments": 1}, {}),
        ("#A3M#\n" + ALIGNED, {"comments": 1}, {}),
        ("# made by hand\n; and checked\n\n" + ALIGNED, {"comments": 2}, {}),
        (ALIGNED + "\0", {"nul_bytes": 1}, {}),
        (ALIGNED.rstrip() + "\0\0\n\0", {"nul_bytes": 3}, {}),
        (ALIGNED.replace(">s1", "\0>s1"), {"nul_bytes": 1}, {}),
        (">ss_pred\nCCHHEEC\n>ss_conf\n9999999\n>aa_dssp\nMKV\n" + ALIGNED, {}, {"annotation": 3}),
        (ALIGNED + ">s1_consensus\nMKVLAAG\n>Consensus\nMK\n>ss_other\nMK\n", {}, {"annotation": 3}),
    ],
)
def test_what_alignments_have_beside_proteins_is_removed_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, repaired: dict[str, int], dropped: dict[str, int]
) -> None:
    for block in (1 << 20, 7):
        monkeypatch.setattr("sedd.data.prepare.bytestream.BLOCK", block)
        tally = prepared(tmp_path, content, name=f"{block}.a3m").tally
        (tmp_path / "out").rename(tmp_path / f"out-{block}")
        counted = {kind: found.records for kind, found in tally.repaired.items()}
        assert counted == {"gaps": 3, "lowercase": 3} | repaired
        assert {kind: found.records for kind, found in tally.dropped.items()} == dropped
        assert tally.read == 3 + sum(dropped.values())


@pytest.mark.parametrize("content", ["\0" * 9, ">a\nMK\0V\n", ">a\n\0MKV\n", ">a\0b\nMKV\n", "\0>a\nMK\n\0MK\n"])
def test_nul_bytes_inside_a_record_are_still_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="NUL"):
        prepared(tmp_path, content)


def test_proteins_named_like_annotation_are_kept_where_nothing_is_aligned(tmp_path: Path) -> None:
    names = ["ss_12", "aa_7", "consensus_design_1"]
    content = "".join(f">{name}\n{s}\n" for name, s in zip(names, SEQUENCES, strict=True))
    assert sequences(prepared(tmp_path, content)) == SEQUENCES


DNA = ["ATGCTCCTGTCCGAACGTTCATGAGAAACG", "ATGGGCTGGGAGGCCCATTGGGACATGGAT", "ATGACCACGCGGCTCTAGAGTACGCTATTT"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("T", "U"),
        lambda text: text[:-6] + "RYKMNB",
        lambda text: text.lower(),
        lambda text: text[:20],
        lambda text: text[:9] + "---" + text[9:],
    ],
)
@pytest.mark.parametrize("alphabet", ["protein", "esm"])
def test_nucleotides_are_refused_with_a_way_out(tmp_path: Path, change: object, alphabet: str) -> None:
    content = "".join(f">g{i}\n{change(text)}\n" for i, text in enumerate(DNA))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"data\.residues\.nucleotides=keep"):
        prepared(tmp_path, content, alphabet=alphabet)


def test_nucleotides_can_be_kept_and_many_of_them_are_warned_of(tmp_path: Path) -> None:
    dna = "".join(f">g{i}\n{text}\n" for i, text in enumerate(DNA))
    keep = Residues(nucleotides="keep")
    assert sequences(prepared(tmp_path, dna, "dna.fa", residues=keep)) == DNA
    (tmp_path / "out").rename(tmp_path / "before")
    proteins = "".join(f">p{i}\n{text * 2}\n" for i, text in enumerate(SEQUENCES))
    with pytest.warns(SeddWarning, match="3 of 5 sequences are nucleotides"):
        prepared(tmp_path, dna + proteins.rpartition(">")[0], "both.fa")
    (tmp_path / "out").rename(tmp_path / "both")
    assert prepared(tmp_path, dna + proteins * 2, "few.fa").tally.noted["nucleotides"].records == 3


@pytest.mark.parametrize("separator", "/:|")
def test_chains_are_named_and_counted_or_cut(tmp_path: Path, separator: str) -> None:
    content = f">a\n{SEQUENCES[0]}*{separator}{SEQUENCES[1].lower()}\n>b\n{SEQUENCES[2]}\n"
    dropped = prepared(tmp_path, content, "a.fa").tally.dropped["chains"]
    assert (dropped.records, dropped.characters) == (1, separator)
    (tmp_path / "out").rename(tmp_path / "before")
    found = prepared(tmp_path, content, "b.fa", residues=Residues(chains="split"))
    assert sequences(found) == SEQUENCES
    assert set(found.tally.repaired) == {"chains", "stop", "lowercase"}
    with pytest.raises(DataError, match=r"data\.residues\.chains=split"):
        prepare(tmp_path / "a.fa", tmp_path / "e", options=PrepareOptions(residues=Residues(chains="error")))


def test_characters_that_are_no_residues_are_named(tmp_path: Path) -> None:
    tally = prepared(tmp_path, f">a\nMK1V2\n>b\nMK@V\n>c\n{SEQUENCES[0]}\n>d\nMXK\n>e\nMBK\n").tally
    assert tally.dropped["illegal"].characters == "12@"
    assert tally.dropped["ambiguous"].characters == "BX"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "a.fasta").write_text(f">a\n{SEQUENCES[0]}")
    (folder / "b.fasta.gz").write_bytes(gzip.compress(f">b\n{SEQUENCES[1]}\n".encode()))
    (folder / "c.gb").write_text(GENBANK.split("//\n")[2] + "//\n")
    (folder / ".hidden").write_text("x")
    return folder


def test_folders_patterns_and_lists_are_read_as_one_file(shards: Path, tmp_path: Path) -> None:
    options = PrepareOptions(holdout=0.0)
    for number, given in enumerate((shards, shards / "*", [shards / "a.fasta", *sorted(shards.glob("[bc]*"))])):
        found = prepare(find(given), tmp_path / str(number), options=options)
        assert sequences(found) == SEQUENCES
        assert found.tally.read == 3
        assert len(find(given).files) == 3
    again = prepare(find(shards), tmp_path / "0", options=options)
    assert sequences(again) == SEQUENCES
    (shards / "a.fasta").write_text(f">a\n{SEQUENCES[0][::-1]}")
    with pytest.raises(DataError):
        prepare(find(shards), tmp_path / "0", options=options)
    with pytest.raises(DataError, match="no file matches"):
        find(shards / "*.nothing")


@pytest.mark.long
def test_the_number_of_workers_changes_no_byte_of_many_files(shards: Path, tmp_path: Path) -> None:
    (shards / "d.a3m").write_text(f"#17\t1\n>d\nmkvl--{SEQUENCES[0]}\n\0")
    found = [
        prepare(find(shards), tmp_path / str(workers), options=PrepareOptions(holdout=0.3), workers=workers)
        for workers in (1, 2)
    ]
    assert str(found[0].tally) == str(found[1].tally)
    assert set(found[0].tally.repaired) == {"comments", "nul_bytes", "lowercase", "gaps"}
    for part in ("train/tokens.bin", "train/offsets.npy", "valid/tokens.bin"):
        assert (tmp_path / "1" / part).read_bytes() == (tmp_path / "2" / part).read_bytes()


def test_an_error_in_one_of_many_files_names_it(shards: Path, tmp_path: Path) -> None:
    (shards / "b.md").write_text("# Notes\nThese are our proteins.\n")
    with pytest.raises(DataError) as caught:
        prepare(find(shards), tmp_path / "out", options=PrepareOptions())
    assert caught.value.file == shards / "b.md"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000])
def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path, deep: bytes) -> None:
    path = tmp_path / "deep.json"
    path.write_bytes(deep)
    with pytest.raises(DataError) as caught:
        prepare(path, tmp_path / "out", options=PrepareOptions())
    assert caught.value.file == path


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = "".join(f">s{i}\n{s}\n" for i, s in enumerate(SEQUENCES))
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(content.encode()),))
    writer.start()
    found = prepare(pipe, tmp_path / "out", options=PrepareOptions(holdout=0.3))
    writer.join()
    assert len(found.train) + len(found.valid or ()) == 3


def test_a_pipe_whose_writer_is_slow_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WAIT_FOR_WRITER", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as file:
            time.sleep(0.6)
            file.write(f">a\n{SEQUENCES[0]}\n".encode())

    writer = threading.Thread(target=write)
    writer.start()
    assert len(prepare(pipe, tmp_path / "out", options=PrepareOptions(holdout=0.0)).train) == 1
    writer.join()


def test_a_pipe_that_nothing_writes_to_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WAIT_FOR_WRITER", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DataError) as caught:
        prepare(pipe, tmp_path / "out", options=PrepareOptions())
    assert caught.value.file == pipe
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_replaced_by_one_of_equal_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_text(f">a\n{SEQUENCES[0]}\n")
    prepare(path, tmp_path / "out", options=PrepareOptions(holdout=0.0))
    state = path.stat()
    path.write_text(f">a\n{SEQUENCES[1]}\n")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(DataError, match="another"):
        prepare(path, tmp_path / "out", options=PrepareOptions(holdout=0.0))


def test_a_column_of_a_parquet_table_is_read_as_that_of_a_csv_table(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    names = [f"p{i}" for i in range(9000)]
    sequences = ["ACDEFGHIKLMNPQRSTVWY"[i % 20] * (3 + i % 7) for i in range(9000)]
    lines = "".join(f"{name},{sequence}\n" for name, sequence in zip(names, sequences, strict=True))
    (tmp_path / "table.csv").write_text(f"id,sequence\n{lines}")
    table = arrow.table({"id": names, "y": list(range(9000)), "sequence": sequences})
    parquet.write_table(table, tmp_path / "table.parquet", row_group_size=1000)
    read = [list(SequenceFile.of(tmp_path / f"table.{kind}", column="sequence").read()) for kind in ("csv", "parquet")]
    first, other = ([(record.name, record.sequence) for record in records] for records in read)
    assert first == other
    with pytest.raises(DataError) as caught:
        SequenceFile.of(tmp_path / "table.parquet")
    assert "data.column=sequence" in str(caught.value)
    with pytest.raises(DataError, match="no column 'seq'"):
        list(SequenceFile.of(tmp_path / "table.parquet", column="seq").read())


def test_a_damaged_parquet_table_is_named(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    file = tmp_path / "table.parquet"
    parquet.write_table(arrow.table({"sequence": [f"ACD{'ACDEF'[i % 5] * i}" for i in range(3000)]}), file)
    content = bytearray(file.read_bytes())
    content[100:400] = bytes(300)
    for damaged in (bytes(content), bytes(content[:200])):
        file.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            list(SequenceFile.of(file, column="sequence").read())
        assert caught.value.file == file


def test_a_parquet_table_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "table.parquet").write_bytes(b"PAR1" + bytes(50))
    with pytest.raises(DataError, match="parquet"):
        list(SequenceFile.of(tmp_path / "table.parquet", column="sequence").read())
