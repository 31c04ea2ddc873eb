"""What a file holds, recognised by its content and never by its name."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from sedd.data.prepare.records import BOM

HEAD = 1 << 16
"""Bytes (after decompression) by which the format is recognized."""
TABLES = {"csv": "a CSV table", "tsv": "a TSV table", "jsonl": "JSON lines", "parquet": "a Parquet table"}
"""Formats that have columns."""
RECORDS = {
    "fasta": "FASTA",
    "pir": "PIR",
    "stockholm": "a Stockholm alignment",
    "genbank": "GenBank",
    "swissprot": "the text format of UniProtKB (or EMBL)",
}
"""Formats of sequences with names."""
LINES = "lines"
"""Bare residues, which may be one sequence per line or one sequence on many lines."""
SYMBOLS = "symbols"
"""One sequence per line, of any characters: of an alphabet that a run file lists or a plugin has."""
WORDS = "words"
"""Symbols with separators, one sequence per line or after each FASTA header."""
TEXT = "text"
"""Anything else."""


class Refused(NamedTuple):
    """A format that is not read."""

    title: str
    remedy: str


_TO_FASTA = "convert it to FASTA: `seqmagick convert IN OUT.fasta`, or Biopython's `AlignIO.convert`"
REFUSED = {
    "fastq": Refused("FASTQ: sequencing reads, which are nucleotides", "`seqkit fq2fa` makes a FASTA file for "
                     "data.alphabet=dna, and `seqkit translate` their translations for a model of proteins"),
    "clustal": Refused("a Clustal alignment", _TO_FASTA),
    "nexus": Refused("NEXUS", _TO_FASTA),
    "msf": Refused("an MSF alignment", _TO_FASTA),
    "phylip": Refused("a PHYLIP alignment", _TO_FASTA),
    "pdb": Refused("PDB coordinates", "download the sequences instead, for example pdb_seqres.txt.gz of wwPDB"),
    "mmcif": Refused("mmCIF coordinates", "download the sequences instead, for example pdb_seqres.txt.gz of wwPDB"),
    "hmm": Refused("an HMMER profile", "give the sequences that it was built from, as FASTA or Stockholm"),
    "gff": Refused("GFF annotation", "give the FASTA of the proteins: `gffread -y proteins.fasta -g GENOME IN`"),
    "json": Refused("JSON", "write one object per line: `jq -c '.[]' IN > OUT.jsonl`, then set data.column"),
    "html": Refused("a web page, perhaps the answer to a download that failed", "download the file again"),
    "xml": Refused("XML", "download FASTA instead"),
    "lfs": Refused("a pointer of Git LFS, not the file itself", "run `git lfs pull`"),
    "tar": Refused("a tar archive", "unpack it: `tar xf IN`"),
}  # fmt: skip
"""Formats that are recognized and refused, each with what to do instead."""

_PATTERNS = (
    ("stockholm", re.compile(rb"# STOCKHOLM")),
    ("pir", re.compile(rb">(P1|F1|DL|DC|RL|RC|N1|N3|XX);")),
    ("fasta", re.compile(rb">")),
    ("fastq", re.compile(rb"@[^\n]*\n[A-Za-z*.\-]+\r?\n\+")),
    ("genbank", re.compile(rb"LOCUS ")),
    ("swissprot", re.compile(rb"ID   [^\n]*(\n[A-Z]{2}(   [^\n]*)?)*\n(AC|SQ|DT|DE|XX)\b")),
    ("clustal", re.compile(rb"(CLUSTAL|MUSCLE \(|PROBCONS)")),
    ("nexus", re.compile(rb"#NEXUS", re.IGNORECASE)),
    ("msf", re.compile(rb"(!!AA_MULTIPLE|!!NA_MULTIPLE|PileUp|[^\n]*\bMSF: *\d+)")),
    ("phylip", re.compile(rb"[ \t]*\d+[ \t]+\d+[ \t]*\r?\n[ \t]*\S+[ \t]")),
    ("pdb", re.compile(rb"(HEADER    |SEQRES |ATOM  |CRYST1|REMARK  )")),
    ("mmcif", re.compile(rb"data_\S*\s+(#|_|loop_)")),
    ("hmm", re.compile(rb"HMMER\d")),
    ("gff", re.compile(rb"##gff-version")),
    ("html", re.compile(rb"<(!doctype html|html)", re.IGNORECASE)),
    ("xml", re.compile(rb"<\?xml")),
    ("lfs", re.compile(rb"version https://git-lfs")),
)  # fmt: skip
"""How a format begins, after a byte order mark, blank lines and comments."""
_RESIDUES = re.compile(rb"[A-Za-z*.\-]+")
_SEQUENCE = re.compile(r"[A-Za-z*.\-]{5,}")
SEQUENCE_COLUMNS = ("sequence", "seq", "sequences", "protein_sequence", "aa_sequence", "aaseq", "protein", "aa")
"""Usual names of a column of sequences, in lower case."""


def recognized(head: bytes) -> str:
    """The format of a file that begins with `head`: a key of `RECORDS`, `TABLES` or `REFUSED`, `LINES` or `TEXT`."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head[257:262] == b"ustar":
        return "tar"
    head = head.removeprefix(BOM)
    for start in (head.lstrip(), content := after_comments(head)):
        for name, pattern in _PATTERNS:
            if pattern.match(start):
                return name
    if content.startswith((b"{", b"[")):
        return _json_kind(content)
    if (delimiter := table_delimiter(content)) is not None:
        return "tsv" if delimiter == "\t" else "csv"
    return LINES if _is_lines(content) else TEXT


def is_alignment(head: bytes) -> bool:
    """Whether a FASTA file is an alignment (A2M, A3M, aligned FASTA), in which rows of annotation may lie."""
    if re.match(rb"\s*#(A3M#|\d+(,\d+)*\t\d)", head) or re.search(rb"^>(ss|sa|aa)_(pred|dssp|conf)\b", head, re.M):
        return True
    records = [part.partition(b"\n")[2] for part in re.split(rb"^>", head, flags=re.M)[1:]]
    return len(records) > 1 and 2 * sum(b"-" in record for record in records) >= len(records)


def table_delimiter(content: bytes) -> str | None:
    """The delimiter of a table that begins with `content`; None if the rows do not have equally many cells."""
    lines = _complete_lines(content)[:20]
    if len(lines) < 2:
        return None
    for delimiter in "\t,;|":
        rows = table_rows("\n".join(lines), delimiter)
        if len(rows) > 1 and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1:
            return delimiter
    return None


def table_rows(text: str, delimiter: str) -> list[list[str]]:
    """The cells of the rows of a table; none if it is not one."""
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error:
        return []


def sequence_column(rows: Sequence[Sequence[str]]) -> str | None:
    """The title of the column that holds sequences, if one does; `rows` begins with the titles. In a table without
    titles it is the number of the column."""
    titles = rows[0]
    for known in SEQUENCE_COLUMNS:
        for title in titles:
            if title.strip().lower() == known:
                return title.strip()
    for number, title in enumerate(titles):
        cells = [row[number].strip() for row in rows[1:] if len(row) > number]
        if cells and all(map(_is_sequence, cells)):
            return str(number + 1) if _is_sequence(title.strip()) else title.strip()
    return None


def _is_sequence(cell: str) -> bool:
    return cell.isupper() and _SEQUENCE.fullmatch(cell) is not None


def after_comments(head: bytes) -> bytes:
    """What follows the blank lines and the comment lines (`#`, `;`) at the beginning."""
    match = re.match(rb"(?:[ \t\r\n]|[#;][^\n]*(?:\n|$))*", head)
    return head if match is None else head[match.end() :]


def _complete_lines(content: bytes) -> list[str]:
    """The lines of the content without blank ones; without the last line, if it is cut off at the end of the head."""
    lines = content.decode("utf-8", "replace").splitlines()
    return [line for line in (lines[:-1] if len(content) >= HEAD - 1024 else lines) if line.strip()]


def _json_kind(content: bytes) -> str:
    first, end, _ = content.partition(b"\n")
    try:
        return "jsonl" if isinstance(json.loads(first), dict) and (end or len(content) < HEAD) else "json"
    except (ValueError, RecursionError):
        return "json"


def _is_lines(content: bytes) -> bool:
    lines = _complete_lines(content)
    return bool(lines) and all(_RESIDUES.fullmatch(line.strip().encode()) for line in lines)
