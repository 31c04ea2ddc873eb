"""From a FASTA or text file to token stores, once, in constant memory.

Everything is written to a hidden directory beside the target, which is renamed at the end: a target that exists is
complete. A preparation that was interrupted starts over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from sedd.data.alphabet import Alphabet, text_alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clusters import Clusters
from sedd.data.prepare.encoding import Encoded, FastaEncoder, encode_text
from sedd.data.prepare.options import PrepareOptions, differences
from sedd.data.prepare.parallel import cores, map_in_order
from sedd.data.prepare.readers import read_chunks
from sedd.data.prepare.split import KEYS, SplitWriter
from sedd.data.prepare.tally import Tally
from sedd.data.prepare.text import read_characters
from sedd.data.store import TokenStore, describe_file, is_store, read_manifest
from sedd.errors import DataError
from sedd.files import locked, sync_directory

Progress = Callable[[int, int, int], object]
"""Called with bytes done, bytes in all, and sequences written so far."""

PARALLEL_FROM = 128 << 20
"""Bytes of a file for which the seconds that worker processes need to start are worth it."""
MOST_WORKERS = 8
"""By default; more would wait for the process that reads and writes."""


@dataclass(frozen=True)
class Prepared:
    """The stores in a directory, and the tally of the source's records."""

    path: Path
    train: TokenStore
    valid: TokenStore | None
    tally: Tally

    def __str__(self) -> str:
        held = "" if self.valid is None else f", {len(self.valid):,} for validation"
        return f"{self.path}: {len(self.train):,} sequences to train on{held}\n{self.tally}"


def prepare(
    source: Path, out: Path, *, options: PrepareOptions, progress: Progress | None = None, workers: int | None = None
) -> Prepared:
    """Write `out/train` and `out/valid`, or return at once if they are complete already.

    A FASTA file is encoded by `workers` processes; the bytes written do not depend on their number. The default is the
    number of available cores, at most 8, or 1 (no process is started) for a file below 128 MiB. Raises DataError if the
    source cannot be used (with file and line), if nothing would be left on one of the sides, or if `out` holds
    something else (with the list of differences).
    """
    source, out = Path(source), Path(out)
    if not source.is_file():
        raise DataError("no such file", file=source)
    try:
        if _is_complete(source, out, options):  # before any lock: a finished store may lie in a read-only place
            return opened(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out.parent / f".{out.name}.lock"):
            if not _is_complete(source, out, options):
                _Preparation(source, out, options, progress, workers).run()
            return opened(out)
    except OSError as error:
        raise DataError(f"{error.filename or out}: {error.strerror or error}. Solve that and start again") from error


def opened(out: Path) -> Prepared:
    """The stores that `prepare` wrote to `out`."""
    train = TokenStore.open(out / "train")
    valid = TokenStore.open(out / "valid") if is_store(out / "valid") else None
    return Prepared(out, train, valid, Tally.from_dict(train.manifest["tally"]))


def verify(out: Path) -> list[TokenStore]:
    """The stores in `out`, or the store `out`, after all of their bytes were compared with their hashes. Raises
    DataError if there is none, or one is damaged."""
    parts = [path for path in (out, out / "train", out / "valid") if is_store(path)]
    if not parts:
        raise DataError("no token store; expected a directory that `sedd data prepare` wrote", file=out)
    return [TokenStore.open(path, verify=True) for path in parts]


def _is_complete(source: Path, out: Path, options: PrepareOptions) -> bool:
    """Whether `out` is what would be written; False if it does not exist or is empty, an error otherwise."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not is_store(out / "train"):
        raise DataError("exists and is not a prepared store; choose another place or remove it", file=out)
    manifest = read_manifest(out / "train")
    differ = differences(manifest["options"], options.to_dict())
    if not _same_source(source, manifest["source"]):
        differ.append(f"source: the store was made from another {manifest['source']['name']}, wanted {source}")
    if differ:
        raise DataError(
            "holds a store made with other options; remove it or choose another place:\n  " + "\n  ".join(differ),
            file=out,
        )
    return True


def _same_source(source: Path, recorded: dict[str, Any]) -> bool:
    """Size and time of change are compared first; the hash only where the time differs."""
    state = _state_of(source)
    if state["size"] != recorded["size"]:
        return False
    return bool(state["mtime_ns"] == recorded["mtime_ns"] or describe_file(source)["sha256"] == recorded["sha256"])


def _state_of(source: Path) -> dict[str, Any]:
    state = source.stat()
    return {"name": source.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns}


class _Preparation:
    """One run of `prepare` while it holds the lock."""

    def __init__(
        self, source: Path, out: Path, options: PrepareOptions, progress: Progress | None, workers: int | None
    ) -> None:
        self.source, self.out, self.options, self.progress = source, out, options, progress
        default = min(cores(), MOST_WORKERS) if source.stat().st_size >= PARALLEL_FROM else 1
        self.workers = default if workers is None else workers
        self.state, self.options_identity = _state_of(source), options.to_dict()
        self.partial = out.parent / f".{out.name}.partial"

    def run(self) -> None:
        """Write the stores and move them to their place; nothing stays behind if that fails."""
        if self.partial.is_symlink():
            self.partial.unlink()  # ours is a directory; what a link points to is none of ours
        shutil.rmtree(self.partial, ignore_errors=True)  # of a process that was killed
        try:
            alphabet = self.options.fixed_alphabet() or self._alphabet_of_text()
            clusters = None if self.options.clusters is None else Clusters(self.options.clusters)
            threshold = int(self.options.holdout * KEYS) if self.options.holdout > 0 else None
            while (better := self._write(alphabet, clusters, threshold)) is not None:
                shutil.rmtree(self.partial)
                threshold = better
            self._publish()
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _alphabet_of_text(self) -> Alphabet:
        symbols: set[str] = set()
        for path in (self.source, self.options.symbols_also_in):
            if path is not None:
                for text, _ in read_characters(ByteStream(path)):
                    symbols.update(text)
        return text_alphabet(symbols)

    def _write(self, alphabet: Alphabet, clusters: Clusters | None, threshold: int | None) -> int | None:
        """Write both stores; a better threshold, if with this one a side of the split stays empty."""
        stream = ByteStream(self.source)
        with closing(SplitWriter(self.partial, alphabet, threshold=threshold, clusters=clusters)) as split:
            self._report(stream, 0, split.tally)
            # Closed explicitly: an error or Ctrl-C must not leave worker processes behind.
            with closing(self._encoded(stream, alphabet)) as chunks:
                for chunk in chunks:
                    split.add(chunk)
                    self._report(stream, chunk.done, split.tally)
            self._report(stream, stream.total, split.tally)
            split.check(self.source)
            if (better := split.better_threshold(self.source)) is None:
                self._finish(split)
            return better

    def _encoded(self, stream: ByteStream, alphabet: Alphabet) -> Generator[Encoded]:
        options = self.options
        if options.alphabet == "text":
            yield from encode_text(stream, alphabet, chunk_length=options.chunk_length, min_length=options.min_length)
        else:
            encode = FastaEncoder(
                self.source, alphabet, options.residues, options.min_length, by_name=options.clusters is not None
            )
            yield from map_in_order(encode, read_chunks(stream), workers=self.workers)

    def _report(self, stream: ByteStream, done: int, tally: Tally) -> None:
        if self.progress is not None:
            self.progress(done, stream.total, tally.sequences)

    def _finish(self, split: SplitWriter) -> None:
        if _state_of(self.source) != self.state:
            raise DataError("changed while it was read; start again", file=self.source)
        cancelled, stores = Event(), split.stores()
        with ThreadPoolExecutor() as threads:  # most of it is hashing, which releases the interpreter lock
            try:
                source = self.state | threads.submit(describe_file, self.source, cancelled=cancelled).result()
                about = {"options": self.options_identity, "source": source, "tally": split.tally.to_dict()}
                finish = [
                    threads.submit(store.finish, {"split": name, **about}, cancelled=cancelled)
                    for name, store in stores.items()
                ]
                for future in finish:
                    future.result()
            finally:
                cancelled.set()  # after Ctrl-C nobody waits until gigabytes are hashed

    def _publish(self) -> None:
        if self.out.exists():
            self.out.rmdir()  # empty, see `_is_complete`
        for directory in (*self.partial.iterdir(), self.partial):
            sync_directory(directory)
        self.partial.rename(self.out)
        sync_directory(self.out.parent)
