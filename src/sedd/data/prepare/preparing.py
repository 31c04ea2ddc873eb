"""From files of sequences or text to token stores, once, in constant memory.

Everything is written to a hidden directory beside the target, which is renamed at the end: a target that exists is
complete. A preparation that was interrupted starts over.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from sedd.data.alphabet import Alphabet, ids_alphabet, text_alphabet
from sedd.data.chosen import found_in_data, residue_policy
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clusters import Clusters
from sedd.data.prepare.encoding import (
    Encoded,
    Work,
    encode_ids,
    encode_text,
    file_chunks,
    file_encoder,
    layout_repairs,
    work,
)
from sedd.data.prepare.nucleotides import refuse_nucleotides, refuse_proteins
from sedd.data.prepare.options import PrepareOptions, differences
from sedd.data.prepare.parallel import cores, map_in_order
from sedd.data.prepare.reading import SequenceFile, text_warning, token_records
from sedd.data.prepare.sources import Source, find, is_pipe, regular_file
from sedd.data.prepare.split import KEYS, SplitWriter
from sedd.data.prepare.tally import Tally
from sedd.data.prepare.text import largest_id, read_characters
from sedd.data.store import TokenStore, is_store, read_manifest
from sedd.errors import DataError, SeddWarning
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
    source: Path | Source,
    out: Path,
    *,
    options: PrepareOptions,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Prepared:
    """Write `out/train` and `out/valid`, or return at once if they are complete already.

    Sequences are encoded by `workers` processes; the bytes written do not depend on their number. The default is the
    number of available cores, at most 8, or 1 (no process is started) for less than 128 MiB.

    Args:
        source: a file, a folder of files, a pattern such as `shards/*.fasta`, a pipe, or `-` for standard input.
        out: directory to write; the name of a store that exists, or of nothing.
        options: how the source is read.
        progress: called as the work goes on.
        workers: number of processes.

    Raises:
        DataError: if the source cannot be used (with file and line), nothing would be left on one of the sides, or
            `out` holds something else (with the list of differences).
    """
    out = Path(out)
    try:
        with ExitStack() as stack:
            if isinstance(source, str | Path):
                source = _found(Path(source), stack)
            return _prepared(source, out, options, progress, workers)
    except OSError as error:
        raise DataError(f"{error.filename or out}: {error.strerror or error}. Solve that and start again") from error


def _found(path: Path, stack: ExitStack) -> Source:
    if is_pipe(path):
        path = stack.enter_context(regular_file(path))
    source = find(path)
    for file in source.files:
        if not file.is_file():
            raise DataError("neither a file nor a directory", file=file)
    return source


def _prepared(
    source: Source, out: Path, options: PrepareOptions, progress: Progress | None, workers: int | None
) -> Prepared:
    if options.alphabet == "text":
        for file in source.files:
            if (message := text_warning(file)) is not None:
                warnings.warn(message, SeddWarning, stacklevel=4)
    if _is_complete(source, out, options):  # before any lock: a finished store may lie in a read-only place
        return opened(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.parent / f".{out.name}.lock"):
        if not _is_complete(source, out, options):
            _Preparation(source, out, options, progress, workers).run()
        return opened(out)


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


def _is_complete(source: Source, out: Path, options: PrepareOptions) -> bool:
    """Whether `out` is what would be written; False if it does not exist or is empty, an error otherwise."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not is_store(out / "train"):
        raise DataError("exists and is not a prepared store; choose another place or remove it", file=out)
    manifest = read_manifest(out / "train")
    differ = differences(manifest["options"], options.to_dict())
    if not source.is_as_recorded(manifest["source"]):
        differ.append(f"source: the store was made from another {manifest['source']['name']}, wanted {source.path}")
    if differ:
        raise DataError(
            "holds a store made with other options; remove it or choose another place:\n  " + "\n  ".join(differ),
            file=out,
        )
    return True


class _Preparation:
    """One run of `prepare` while it holds the lock."""

    def __init__(
        self, source: Source, out: Path, options: PrepareOptions, progress: Progress | None, workers: int | None
    ) -> None:
        self.source, self.out, self.options, self.progress = source, out, options, progress
        self.total = source.size
        default = min(cores(), MOST_WORKERS) if self.total >= PARALLEL_FROM else 1
        self.workers = default if workers is None else workers
        self.state = source.state()
        self.partial = out.parent / f".{out.name}.partial"

    def run(self) -> None:
        """Write the stores and move them to their place; nothing stays behind if that fails."""
        if self.partial.is_symlink():
            self.partial.unlink()  # ours is a directory; what a link points to is none of ours
        shutil.rmtree(self.partial, ignore_errors=True)  # of a process that was killed
        try:
            alphabet = self.options.fixed_alphabet() or self._alphabet_of_data()
            clusters = None if self.options.clusters is None else Clusters(self.options.clusters)
            # Only now: what is no file of clusters at all is refused before it is read to its end.
            self.options_identity = self.options.to_dict()
            threshold = int(self.options.holdout * KEYS) if self.options.holdout > 0 else None
            while (better := self._write(alphabet, clusters, threshold)) is not None:
                shutil.rmtree(self.partial)
                threshold = better
            self._publish()
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _alphabet_of_data(self) -> Alphabet:
        files = (*self.source.files, *self.options.symbols_also_in)
        if self.options.alphabet == "ids":
            records = ((token_records(ByteStream(path), self.options.column), path) for path in files)
            return ids_alphabet(1 + max(largest_id(*each) for each in records))
        symbols: set[str] = set()
        for path in files:
            for text, _ in read_characters(ByteStream(path)):
                symbols.update(text)
        return text_alphabet(symbols)

    def _write(self, alphabet: Alphabet, clusters: Clusters | None, threshold: int | None) -> int | None:
        """Write both stores; a better threshold, if with this one a side of the split stays empty."""
        with closing(SplitWriter(self.partial, alphabet, threshold=threshold, clusters=clusters)) as split:
            self._report(0, split.tally)
            # Closed explicitly: an error or Ctrl-C must not leave worker processes behind.
            with closing(self._encoded(alphabet)) as chunks:
                for chunk in chunks:
                    split.add(chunk)
                    self._report(chunk.done, split.tally)
            self._report(self.total, split.tally)
            if alphabet.has_amino_acids and self.options.residues.nucleotides == "refuse":
                refuse_nucleotides(split.tally, self.source.path)
            if alphabet.is_nucleic:
                refuse_proteins(split.tally, self.source.path, alphabet.name)
            split.check(self.source.path)
            if (better := split.better_threshold(self.source.path)) is None:
                self._finish(split)
            return better

    def _encoded(self, alphabet: Alphabet) -> Generator[Encoded]:
        """The chunks of all files in their order, and after those of a file the repairs of its layout."""
        options, done = self.options, 0
        if found_in_data(options.alphabet):
            for path in self.source.files:
                stream = ByteStream(path)
                for chunk in self._encoded_text(stream, alphabet):
                    yield chunk._replace(done=done + chunk.done)
                done += stream.total
                yield layout_repairs(stream)._replace(done=done)
            return
        yield from map_in_order(work, self._chunks(alphabet), workers=self.workers)

    def _encoded_text(self, stream: ByteStream, alphabet: Alphabet) -> Iterator[Encoded]:
        options = self.options
        if options.alphabet == "ids":
            return encode_ids(stream, alphabet, column=options.column, min_length=options.min_length)
        return encode_text(stream, alphabet, chunk_length=options.chunk_length, min_length=options.min_length)

    def _chunks(self, alphabet: Alphabet) -> Generator[Work]:
        options, done = self.options, 0
        by_name, policy = options.clusters is not None, residue_policy(options.alphabet, options.residues)
        for path in self.source.files:
            file = SequenceFile.of(path, column=options.column, lines=options.format == "lines", alphabet=alphabet)
            stream = ByteStream(path)
            encoder = file_encoder(file, alphabet, policy, min_length=options.min_length, by_name=by_name)
            for chunk in file_chunks(file, stream):
                yield encoder, chunk._replace(done=done + chunk.done)
            done += stream.total

    def _report(self, done: int, tally: Tally) -> None:
        if self.progress is not None:
            self.progress(done, self.total, tally.sequences)

    def _finish(self, split: SplitWriter) -> None:
        if self.source.state() != self.state:
            raise DataError("changed while it was read; start again", file=self.source.path)
        cancelled, stores = Event(), split.stores()
        with ThreadPoolExecutor() as threads:  # most of it is hashing, which releases the interpreter lock
            try:
                source = threads.submit(self.source.described, cancelled=cancelled).result()
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
