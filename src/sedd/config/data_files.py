"""Recognise sequences where a run file is expected, by content first: the most frequent slip of a first day."""

from __future__ import annotations

import shlex
from pathlib import Path

from sedd.config.yaml_lines import parse
from sedd.errors import ConfigError

HEAD = 1 << 16
"""Bytes that are read."""
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
"""How files of gzip, bzip2, xz, zstandard and zip begin."""
SEQUENCES = (b">", b";", b"@", b"# STOCKHOLM", b"LOCUS ", b"ID   ", b"CLUSTAL")
"""How FASTA, FASTQ, Stockholm, GenBank, EMBL and Clustal files begin."""
RUN_FILES = (".yaml", ".yml")


def holds_sequences(path: Path) -> bool:
    """Whether a file or directory is data to train on and not a run file; reads 64 KiB of a file at most."""
    if path.is_dir():
        return (path / "train" / "manifest.json").is_file() or (path / "tokens.bin").is_file()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(COMPRESSED) or start.startswith(SEQUENCES) or b"\0" in head:
        return True
    return path.suffix.lower() not in RUN_FILES and (len(head) == HEAD or not _has_sections(head))


def train_command(path: str | Path) -> str:
    """The command that trains on a file or store."""
    return f"sedd train small {shlex.quote(f'data.train={path}')}"


def _has_sections(head: bytes) -> bool:
    try:
        data, _ = parse(head.decode("utf-8-sig"), "")
    except (ConfigError, UnicodeDecodeError):
        return False
    return bool(data)
