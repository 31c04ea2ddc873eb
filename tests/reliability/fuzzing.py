"""Random inputs: FASTA files against another parser, configurations and checkpoints."""

from __future__ import annotations

import gzip
import io
import warnings
from pathlib import Path
from random import Random

import pytest

import sedd
from sedd.config.run_file import dump, load_config
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.readers import read_fasta
from sedd.errors import CheckpointError, ConfigError
from sedd.runs import checkpoint, manifest
from tests.reliability.result import Result, Tally, lost_unless, silent_unless
from tests.reliability.runs import configuration, error_of, fresh, train

LETTERS = "ACDEFGHIKLMNPQRSTVWYXBZJUO*-acdefghiklmnpqrstvwy"
PRINTABLE = "".join(map(chr, range(33, 127)))
Pairs = list[tuple[str, str]]


def fuzzed_fasta(scale: float, seed: int, workdir: Path) -> Result:
    """Random FASTA files, read as Biopython reads them."""
    random, count = Random(seed), max(100, round(5000 * scale))
    tally, file = Tally(workdir, count), workdir / "x.fasta"
    parse, name = _reference()
    tally.note(f"FASTA is compared with {name}")
    for _ in range(count):
        text = _random_fasta(random)
        data = text.encode()
        file.write_bytes(gzip.compress(data, 1) if random.random() < 0.1 else data)
        with tally.case(repr(text[:120])):
            found = [(record.name, _text(record.sequence)) for record in read_fasta(ByteStream(file))]
            expected = parse(text)
            lost_unless(len(found) == len(expected), f"{len(found)} records, expected {len(expected)}")
            different = [pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1]]
            silent_unless(not different, f"found and expected: {different[:1]}")
    tally.control("a residue less", found=parse(">a\nACD\n") != [("a", "AC")])
    return tally.result


def _text(sequence: bytes | str) -> str:
    return sequence.decode() if isinstance(sequence, bytes) else sequence


def _reference() -> tuple:  # type: ignore[type-arg]
    try:
        from Bio.SeqIO.FastaIO import SimpleFastaParser
    except ImportError:
        return _plain, "a plain parser, because Biopython is not installed"

    def parse(text: str) -> Pairs:
        lines = io.StringIO(text, newline=None)
        return [((title.split(None, 1) or [""])[0], sequence) for title, sequence in SimpleFastaParser(lines)]

    return parse, "Biopython's parser"


def _plain(text: str) -> Pairs:
    records: Pairs = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith(">"):
            records.append(((line[1:].split() or [""])[0], ""))
        elif records:
            records[-1] = (records[-1][0], records[-1][1] + line.replace(" ", ""))
    return records


def _random_fasta(random: Random) -> str:
    """Records with headers of printable characters, lines of any width, blank lines, spaces and CRs."""
    end = random.choice(("\n", "\n", "\r\n"))
    spaces, blank = random.choice((0.0, 0.0, 0.1)), random.choice((0.0, 0.0, 0.2))
    parts: list[str] = []
    for _ in range(random.choice((1, 1, 2, 3, random.randrange(1, 40)))):
        words = ["".join(random.choices(PRINTABLE.replace(">", ""), k=random.randrange(1, 12)))]
        words += ["".join(random.choices(PRINTABLE, k=random.randrange(1, 9))) for _ in range(random.randrange(4))]
        parts.append(">" + " ".join(words))
        sequence = "".join(random.choices(LETTERS, k=random.choice((0, 1, 5, 60, random.randrange(400)))))
        width = random.choice((1, 7, 60, 80, 1000))
        for begin in range(0, len(sequence), width):
            line = sequence[begin : begin + width]
            parts.append("".join(letter + " " * (random.random() < spaces) for letter in line))
            parts += [""] * (random.random() < blank)
    return end.join(parts) + end * random.randrange(3)


def fuzzed_configurations(scale: float, seed: int, workdir: Path) -> Result:
    """Random run files and overrides."""
    random, count = Random(seed), max(50, round(2000 * scale))
    tally, file = Tally(workdir, count), workdir / "run.yaml"
    good = dump(configuration())
    keys = _keys(configuration().to_dict())
    for _ in range(count):
        text = good if random.random() < 0.3 else _mutated(good, random)
        overrides = [f"{random.choice(keys)}={random.choice(VALUES)}" for _ in range(random.randrange(3))]
        if random.random() < 0.1:
            overrides.append("".join(random.choices(PRINTABLE, k=random.randrange(1, 20))))
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        with tally.case(f"{overrides} {_difference(good, text)}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = error_of(lambda o=overrides: load_config(file, *o))
            lost_unless(error is None or isinstance(error, ConfigError | sedd.SeddError), f"{error!r}")
            if error is None:
                config = load_config(file, *overrides)
                file.write_text(dump(config), encoding="utf-8")
                silent_unless(load_config(file).to_dict() == config.to_dict(), "what is written is read otherwise")
    return tally.result


VALUES = (
    "1",
    "0",
    "-1",
    "1e-3",
    "1e400",
    "nan",
    ".inf",
    "true",
    "null",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "x",
    "''",
    "auto",
    "99999999999999999999",
    "0.5",
    "linear",
    "absorb",
    "csv",
    "[csv]",
    "[{type: csv, name: x}]",
    "~",
    "!!str 1",
    "a: b",
)


def _keys(data: dict, before: str = "") -> list[str]:  # type: ignore[type-arg]
    keys = []
    for key, value in data.items():
        keys += [before + key, *(_keys(value, f"{before}{key}.") if isinstance(value, dict) else [])]
    return keys


def _mutated(text: str, random: Random) -> str:
    """Text with a few characters or lines removed, repeated, replaced or moved."""
    for _ in range(random.randrange(1, 5)):
        begin = random.randrange(len(text) + 1)
        end = min(len(text), begin + random.choice((0, 1, 1, 2, 20)))
        piece = "".join(
            random.choices(":-[]{}&*!|>'\"%@`#,? \n\t\0\x1b0123456789.eaé\U0001f600", k=random.randrange(4))
        )
        kind = random.randrange(3)
        if kind == 0:
            text = text[:begin] + piece + text[end:]
        elif kind == 1:
            text = text[:end] + text[begin:end] + text[end:]
        else:
            lines = text.split("\n")
            line = random.randrange(len(lines))
            lines.insert(random.randrange(len(lines) + 1), " " * random.randrange(5) + lines.pop(line).strip())
            text = "\n".join(lines)
    return text


def _difference(good: str, text: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(good, text, strict=False)) if a != b), min(len(good), len(text)))
    return repr(text[max(0, at - 20) : at + 40])


def fuzzed_checkpoints(scale: float, seed: int, workdir: Path) -> Result:
    """Random bytes in checkpoints whose hashes are right."""
    random, count = Random(seed), max(40, round(1500 * scale))
    run = train(configuration(), fresh(workdir)).run
    (path,) = checkpoint.listing(run.checkpoints)[-1:]
    known = manifest.Manifest.read(path)
    files = {name: (path / name).read_bytes() for name in known.files}
    tally = Tally(workdir, count)
    trainer = sedd.Trainer(configuration(), run=run.path, resume=True)
    for _ in range(count):
        name = random.choice(sorted(files))
        data = _mutated_bytes(files[name], random)
        (path / name).write_bytes(data)
        entries = dict(known.files) | {name: manifest.Entry.of(data)}
        (path / "manifest.json").write_bytes(manifest.Manifest(known.step, entries, known.run).to_bytes())
        with tally.case(f"{name}: {_difference(files[name].decode('latin-1'), data.decode('latin-1'))}"):
            error = error_of(lambda: checkpoint.read(path))
            lost_unless(error is None or isinstance(error, CheckpointError), f"{error!r}")
            if error is None:
                with pytest.MonkeyPatch.context() as patched:
                    patched.setattr(type(trainer.run), "latest", lambda self: (path, checkpoint.read(path)))
                    error = error_of(trainer.restore)
                lost_unless(error is None or isinstance(error, CheckpointError), f"{error!r}")
        (path / name).write_bytes(files[name])
    return tally.result


def _mutated_bytes(data: bytes, random: Random) -> bytes:
    """Bytes with a few of them replaced, mostly near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 4)):
        most = random.choice((16, 2_000, len(changed)))
        at = random.randrange(min(most, len(changed)))
        end = at + random.choice((0, 1, 1, 1, 5))
        changed[at:end] = random.choice(
            (random.randbytes(1), b"9", b"-", b"[", b"null", b"", b'"', b"\\u0000", b"1e999")
        )
    return bytes(changed)
