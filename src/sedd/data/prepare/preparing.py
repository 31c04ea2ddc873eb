"""From a FASTA or text file to token stores, once: in constant memory, and restartable at any moment.

Everything is written to a hidden sibling of the target and renamed at the end. Now and then the writers make their
files durable and `progress.json` records how far they are; who comes after a killed process goes on from there,
and ends with the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import Alphabet, text_alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clusters import Clusters
from sedd.data.prepare.encoding import Encoded, FastaEncoder, encode_text
from sedd.data.prepare.options import PrepareOptions, differences
from sedd.data.prepare.parallel import cores, in_order
from sedd.data.prepare.readers import START, Position, read_characters, read_chunks
from sedd.data.prepare.tally import Tally
from sedd.data.prepare.writer import StoreWriter, Written
from sedd.data.store import FORMAT, TokenStore, describe_file, is_store, read_manifest
from sedd.errors import DataError
from sedd.files import locked, sync_directory, write_json

Progress = Callable[[int, int, int], object]
"""Called with bytes done, bytes in all, and sequences written so far."""

SAVE_EVERY = 500_000
"""Records between two durable states, about: a state lies between two chunks."""
PARALLEL_FROM = 128 << 20
"""Bytes of a file that is worth the seconds in which worker processes start."""
MOST_WORKERS = 8
"""By default; more wait for the process that reads and writes."""
_FORMAT = 2
"""Of the saved state: others are not gone on with."""
_FULL = 1 << 64


@dataclass(frozen=True)
class Prepared:
    """The stores in a directory, and what became of the source's sequences."""

    path: Path
    train: TokenStore
    valid: TokenStore | None
    tally: Tally

    def __str__(self) -> str:
        held = "" if self.valid is None else f", {len(self.valid):,} for validation"
        return f"{self.path}: {len(self.train):,} sequences to train on{held}\n{self.tally}"


def prepare(
    source: Path,
    out: Path,
    *,
    options: PrepareOptions,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Prepared:
    """Write `out/train` and `out/valid`, or return at once where they are complete already.

    A FASTA file is encoded by `workers` processes; the bytes written do not depend on their number. By default it is
    that of the available cores, at most 8, or 1 (nothing is started) for a file below 128 MiB.

    Raises:
        DataError: if the source cannot be used (with file and line), if nothing would be left on one of the sides, or
            if `out` holds something else (with the list of differences).
    """
    source, out = Path(source), Path(out)
    if not source.is_file():
        raise DataError(f"{source}: no such file")
    try:
        if _complete(source, out, options):  # before any lock: a finished store may lie where nobody may write
            return opened(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out.parent / f".{out.name}.lock"):
            if not _complete(source, out, options):
                _Preparation(source, out, options, progress, workers).run()
            return opened(out)
    except OSError as error:
        raise DataError(
            f"{error.filename or out}: {error.strerror or error}. Solve that and start again, it goes on "
            "where it stopped"
        ) from error


def opened(out: Path) -> Prepared:
    """The stores that `prepare` wrote to `out`."""
    train = TokenStore.open(out / "train")
    valid = TokenStore.open(out / "valid") if is_store(out / "valid") else None
    return Prepared(out, train, valid, Tally.from_dict(train.manifest["tally"]))


def verify(out: Path) -> list[TokenStore]:
    """The stores in `out`, or the store `out`, after all of their bytes were compared with their hashes.

    Raises:
        DataError: if there is none, or one is damaged.
    """
    parts = [path for path in (out, out / "train", out / "valid") if is_store(path)]
    if not parts:
        raise DataError(f"{out}: no token store; expected a directory that `sedd data prepare` wrote")
    return [TokenStore.open(path, verify=True) for path in parts]


def _complete(source: Path, out: Path, options: PrepareOptions) -> bool:
    """Whether `out` is what would be written; an error if it is something else, False if it is not there."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not is_store(out / "train"):
        raise DataError(f"{out}: exists and is not a prepared store; choose another place or remove it")
    manifest = read_manifest(out / "train")
    differ = differences(manifest["options"], options.to_dict())
    if not _same_source(source, manifest["source"]):
        differ.append(f"source: the store was made from another {manifest['source']['name']}, wanted {source}")
    if differ:
        raise DataError(
            f"{out}: holds a store made with other options; remove it or choose another place:\n  "
            + "\n  ".join(differ)
        )
    return True


def _same_source(source: Path, recorded: dict[str, Any]) -> bool:
    """Size and time of change answer at once; only where the time differs the hash has to."""
    state = _state_of(source)
    if state["size"] != recorded["size"]:
        return False
    return bool(
        state["mtime_ns"] == recorded["mtime_ns"] or describe_file(source)["sha256"] == recorded["sha256"]
    )  # fmt: skip


def _state_of(source: Path) -> dict[str, Any]:
    state = source.stat()
    return {"name": source.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns}


@dataclass
class _State:
    """All that a restart needs."""

    threshold: int
    """A sequence is held out when its 64-bit hash is below this."""
    position: Position = START
    train: Written | None = None
    valid: Written | None = None
    tally: Tally | None = None
    lowest: int = _FULL
    highest: int = -1
    symbols: tuple[str, ...] | None = None


class _Preparation:
    """One run of `prepare` under the lock."""

    def __init__(
        self, source: Path, out: Path, options: PrepareOptions, progress: Progress | None, workers: int | None
    ) -> None:
        self.source, self.out, self.options, self.progress = source, out, options, progress
        self.workers = _workers(source) if workers is None else workers
        self.partial = out.parent / f".{out.name}.partial"
        self.identity = {"format": [FORMAT, _FORMAT], "source": _state_of(source), "options": options.to_dict()}
        self.clusters = None if options.clusters is None else Clusters(options.clusters)
        self.missing: tuple[int, str] = (0, "")

    def run(self) -> None:
        state = self._restored()
        try:
            alphabet = self._alphabet(state)
            # A tiny file may leave one side empty. The hashes seen then say where to cut instead; once is enough.
            while (threshold := self._write(state, alphabet)) is not None:
                shutil.rmtree(self.partial)
                state = _State(threshold, symbols=state.symbols)
        except DataError:
            shutil.rmtree(self.partial, ignore_errors=True)  # the source has to change: nothing to go on with
            raise
        self._publish()

    def _restored(self) -> _State:
        fresh = _State(int(self.options.holdout * _FULL))
        try:
            saved = json.loads((self.partial / "progress.json").read_text("utf-8"))
        except (OSError, ValueError):
            saved = {}
        if not isinstance(saved, dict) or saved.get("identity") != self.identity:
            shutil.rmtree(self.partial, ignore_errors=True)
            return fresh
        state = saved["state"]
        return _State(
            threshold=state["threshold"],
            position=Position(*state["position"]),
            train=Written(**state["train"]),
            valid=Written(**state["valid"]) if state["valid"] else None,
            tally=Tally.from_dict(state["tally"]),
            lowest=state["lowest"],
            highest=state["highest"],
            symbols=tuple(state["symbols"]) if state["symbols"] else None,
        )

    def _alphabet(self, state: _State) -> Alphabet:
        fixed = self.options.fixed_alphabet()
        if fixed is not None:
            return fixed
        if state.symbols is None:
            symbols: set[str] = set()
            for path in (self.source, self.options.symbols_also_in):
                if path is not None:
                    for text, _ in read_characters(ByteStream(path)):
                        symbols.update(text)
            state.symbols = tuple(sorted(symbols))
        return text_alphabet(state.symbols)

    def _write(self, state: _State, alphabet: Alphabet) -> int | None:
        """Write both stores; a threshold to start again with, where one of them stayed empty."""
        train = StoreWriter(self.partial / "train", alphabet, state.train or Written())
        valid = None
        if self.options.holdout > 0:
            valid = StoreWriter(self.partial / "valid", alphabet, state.valid or Written())
        try:
            tally = self._fill(state, train, valid)
            self._check_clusters(tally)
            again = self._recut(state, train, valid, tally)
            if again is None:
                self._finish(train, valid, tally)
            return again
        finally:
            train.close()
            if valid is not None:
                valid.close()

    def _fill(self, state: _State, train: StoreWriter, valid: StoreWriter | None) -> Tally:
        stream = ByteStream(self.source)
        tally, unsaved = state.tally or Tally(), 0
        self._report(stream, state.position.offset if self._seekable(stream) else 0, tally)
        with closing(self._encoded(stream, state.position, train.alphabet)) as parts:
            for part in parts:
                if unsaved >= SAVE_EVERY:
                    self._check_clusters(tally)
                    self._save(state, part.start, train, valid, tally)
                    unsaved = 0
                self._take(part, state, train, valid)
                tally.add(part.tally)
                unsaved += part.tally.read
                self._report(stream, part.done, tally)
        self._report(stream, stream.total, tally)
        return tally

    def _report(self, stream: ByteStream, done: int, tally: Tally) -> None:
        if self.progress is not None:
            self.progress(done, stream.total, tally.sequences)

    def _seekable(self, stream: ByteStream) -> bool:
        return not stream.gzip and self.options.alphabet != "text"

    def _encoded(self, stream: ByteStream, start: Position, alphabet: Alphabet) -> Generator[Encoded]:
        options = self.options
        if options.alphabet == "text":
            yield from encode_text(
                stream, alphabet, chunk_length=options.chunk_length, min_length=options.min_length, start=start
            )
        else:
            by_name = self.clusters is not None
            encode = FastaEncoder(self.source, alphabet, options.residues, options.min_length, by_name)
            # Closed here and not when it is collected: an error or Ctrl-C must not leave processes behind.
            with closing(in_order(encode, read_chunks(stream, start), workers=self.workers)) as parts:
                yield from parts

    def _take(self, part: Encoded, state: _State, train: StoreWriter, valid: StoreWriter | None) -> None:
        """Append the sequences of a part, each to its side."""
        keys = self._cluster_numbers(part) if self.clusters is not None else part.keys
        if not len(keys):
            return
        state.lowest, state.highest = min(state.lowest, int(keys.min())), max(state.highest, int(keys.max()))
        if valid is None:
            train.extend(part.ids, part.lengths)
            return
        held = np.repeat(keys < np.uint64(state.threshold), part.pieces)
        ends = np.cumsum(part.lengths) * train.alphabet.dtype.itemsize
        cuts = np.flatnonzero(held[1:] != held[:-1])  # between two sides
        bounds = [0, *ends[cuts].tolist(), len(part.ids)]
        runs = [part.ids[begin:end] for begin, end in pairwise(bounds)]
        first, second = (valid, train) if held[0] else (train, valid)
        first.extend(b"".join(runs[0::2]), part.lengths[held == held[0]])
        second.extend(b"".join(runs[1::2]), part.lengths[held != held[0]])

    def _cluster_numbers(self, part: Encoded) -> NDArray[np.uint64]:
        """Equal for members of one cluster; ids that no cluster has are noted in `missing`."""
        assert self.clusters is not None  # noqa: S101  # tells the type checker
        numbers, known = self.clusters.find(part.keys)
        if not known.all():
            name, line = part.names[int(np.argmin(known))]
            number, first = self.missing
            self.missing = number + int((~known).sum()), first or f"{name!r} at {self.source}:{line}"
        return numbers

    def _check_clusters(self, tally: Tally) -> None:
        number, first = self.missing
        if number:
            raise DataError(
                f"{self.options.clusters}: lists no cluster for {number:,} of {tally.kept:,} sequences, first {first}. "
                "Expected lines of `sequence id <tab> cluster id` (MMseqs2 writes the representative first: swap "
                "its columns)"
            )

    def _save(
        self, state: _State, position: Position, train: StoreWriter, valid: StoreWriter | None, tally: Tally
    ) -> None:
        saved = {
            "threshold": state.threshold,
            "position": list(position),
            "train": asdict(train.save()),
            "valid": None if valid is None else asdict(valid.save()),
            "tally": tally.to_dict(),
            "lowest": state.lowest,
            "highest": state.highest,
            "symbols": None if state.symbols is None else "".join(state.symbols),
        }
        write_json(self.partial / "progress.json", {"identity": self.identity, "state": saved})

    def _recut(self, state: _State, train: StoreWriter, valid: StoreWriter | None, tally: Tally) -> int | None:
        if not tally.sequences:
            raise DataError(f"{self.source}: no sequence is left.\n{tally}")
        if valid is None:
            return None
        train.save(), valid.save()
        if train.sequences and valid.sequences:
            return None
        if state.lowest == state.highest:
            kind = "cluster" if self.clusters is not None else "sequence"
            raise DataError(
                f"{self.source}: only one distinct {kind} is left, so nothing can be held out; give more data, or a "
                f"held-out file as data.valid.\n{tally}"
            )
        return state.lowest + 1 if train.sequences else state.highest

    def _finish(self, train: StoreWriter, valid: StoreWriter | None, tally: Tally) -> None:
        if _state_of(self.source) != self.identity["source"]:
            raise DataError(f"{self.source}: changed while it was read; start again")
        writers = {"train": train} | ({} if valid is None else {"valid": valid})
        with ThreadPoolExecutor() as threads:  # hashing is most of it, and lets other threads run
            hashed = threads.submit(describe_file, self.source)
            for sealed in [threads.submit(writer.seal) for writer in writers.values()]:
                sealed.result()
            source = self.identity["source"] | hashed.result()
        about = {"options": self.identity["options"], "source": source, "tally": tally.to_dict()}
        for split, writer in writers.items():
            writer.finish({"split": split, **about})

    def _publish(self) -> None:
        (self.partial / "progress.json").unlink(missing_ok=True)
        if self.out.exists():
            self.out.rmdir()  # `_complete` has seen that it is empty
        for name in ("train", "valid"):
            if (self.partial / name).is_dir():
                sync_directory(self.partial / name)
        sync_directory(self.partial)
        self.partial.rename(self.out)
        sync_directory(self.out.parent)


def _workers(source: Path) -> int:
    return min(cores(), MOST_WORKERS) if source.stat().st_size >= PARALLEL_FROM else 1
