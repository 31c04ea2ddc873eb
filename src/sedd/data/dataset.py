"""Opening the `data` section of a run file: the synthetic source, a file (prepared once into a cache), or a store."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.config.sections import Data
from sedd.data.alphabet import Alphabet
from sedd.data.chosen import found_in_data
from sedd.data.order import Sequences
from sedd.data.prepare.options import PrepareOptions, differences
from sedd.data.prepare.preparing import Prepared, Progress, opened, prepare
from sedd.data.prepare.sources import Source, file_state, find, is_pipe
from sedd.data.prepare.tally import Tally
from sedd.data.store import FORMAT, TokenStore, is_store
from sedd.data.synthetic import SyntheticSource
from sedd.data.tokenizer import TokenizedAlphabet
from sedd.errors import DataError
from sedd.files import cache_directory

Files = str | tuple[str, ...]
"""A file, a folder, a pattern or a store; or several files."""
LEAST_SYNTHETIC_VALID = 256


@dataclass(frozen=True, eq=False)
class Dataset:
    """The sequences of a run: for training, and held out for evaluation."""

    train: Sequences
    """Training sequences."""
    valid: Sequences
    """Held-out sequences, on which the bound is evaluated."""
    alphabet: Alphabet
    """Symbols of the ids."""
    token_counts: NDArray[np.int64]
    """(n,): how often each symbol occurs in `train`."""
    exact_nll: float | None
    """Exact -log p per residue of `valid` in nats, where it is known."""
    summary: str
    """Human-readable tally: how many records were read, kept, repaired and dropped."""

    def __post_init__(self) -> None:
        for name, part in self._parts():
            if not len(part):
                raise DataError(f"the {name} part of the data set is empty; it needs at least one sequence")

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Sizes and hashes that distinguish data sets, as JSON values."""
        parts = {name: {"sequences": len(part), "identity": identity(part)} for name, part in self._parts()}
        return {**parts, "alphabet": self.alphabet.to_dict()}

    def _parts(self) -> tuple[tuple[str, Sequences], ...]:
        return ("train", self.train), ("valid", self.valid)


def identity(source: Sequences) -> str:
    """A hash of the sequences: of all if the source records it (a store does), else of 4,096 spread evenly."""
    known = getattr(source, "identity", None)
    if isinstance(known, str):
        return known
    digest = hashlib.sha256()
    for index in np.unique(np.linspace(0, len(source) - 1, 4096).astype(np.int64)):
        ids = np.asarray(source[int(index)], "<i8")
        digest.update(len(ids).to_bytes(8, "little") + ids.tobytes())
    return digest.hexdigest()


def open_data(data: Data, *, seed: int, progress: Progress | None = None) -> Dataset:
    """The sequences that `data` describes; a file is prepared first, unless the cache has it. Raises DataError if there
    is no such file, or it cannot be used as `data` says."""
    if data.train == "synthetic":
        return _synthetic(data, seed)
    options = PrepareOptions.from_config(data)
    train = _open(data, data.train, options, progress)
    if data.valid is None:
        if train.valid is None:
            raise DataError(
                "this store has no held-out part; set data.valid, prepare it with a holdout, or give the directory "
                "that holds `train` and `valid`",
                file=train.path,
            )
        return _dataset(train, train.valid, str(train))
    valid = open_whole(data, data.valid, train.train.alphabet, progress=progress)
    tally = Tally.from_dict(valid.manifest["tally"])
    return _dataset(train, valid, f"train: {train}\nvalid: {valid.path}: {len(valid):,} sequences\n{tally}")


def open_whole(data: Data, name: Files, alphabet: Alphabet, *, progress: Progress | None = None) -> TokenStore:
    """All sequences of a file, nothing held out, read with the options of `data` and encoded in `alphabet`. Raises
    DataError as `open_data`, and if a symbol is not in the alphabet."""
    path = Path(name if isinstance(name, str) else name[0]).expanduser()
    if is_store(path / "train") and is_store(path / "valid"):
        raise DataError(f"holds a train and a valid store; name one of them, for example {path / 'valid'}", file=path)
    options = PrepareOptions(
        alphabet=data.alphabet,
        residues=data.residues,
        holdout=0.0,
        column=data.column,
        format=data.format,
        min_length=data.min_length,
        chunk_length=data.chunk_length,
        symbols=alphabet.symbols if found_in_data(data.alphabet) else None,
        tokenizer=alphabet.tokenizer if isinstance(alphabet, TokenizedAlphabet) else "",
    )
    store = _open(data, name, options, progress).train
    if (store.alphabet.symbols, store.alphabet.separator) != (alphabet.symbols, alphabet.separator):
        raise DataError(
            f"read with alphabet {store.alphabet.name!r} of {store.alphabet.n} symbols, and the model has "
            f"{alphabet.name!r} of {alphabet.n}; give data in the alphabet that the model was trained with",
            file=path,
        )
    return store


def _dataset(train: Prepared, valid: TokenStore, summary: str) -> Dataset:
    store = train.train
    if valid.alphabet != store.alphabet:
        raise DataError(f"its alphabet {valid.alphabet.name!r} differs from that of {store.path}", file=valid.path)
    return Dataset(store, valid, store.alphabet, store.token_counts, None, summary)


def _synthetic(data: Data, seed: int) -> Dataset:
    if data.alphabet != "protein":
        raise DataError("data.train=synthetic has the protein alphabet; another data.alphabet needs data of your own")
    if data.valid is not None:
        raise DataError("data.train=synthetic draws its own held-out sequences; remove data.valid")
    options = data.synthetic.model_dump()
    train = SyntheticSource(**options, seed=seed, part="train")
    held = max(LEAST_SYNTHETIC_VALID, round(data.holdout * data.synthetic.sequences))
    valid = SyntheticSource(**options | {"sequences": held}, seed=seed, part="valid")
    summary = (
        f"synthetic: {len(train):,} sequences of {train.lengths.min()} to {train.lengths.max()} residues, "
        f"{len(valid):,} for validation; entropy of the source {train.entropy:.4f} nats per residue (unigram: "
        f"{train.chain.letter_entropy:.4f})"
    )
    return Dataset(train, valid, train.alphabet, train.token_counts, valid.nll(), summary)


def _open(data: Data, given: Files, options: PrepareOptions, progress: Progress | None) -> Prepared:
    prepared = _found(data, given, options, progress)
    # Of several processes on one machine the first one reads a large store.
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    for store in (prepared.train, prepared.valid):
        if store is not None:
            store.verify(background=first)
    return prepared


def _found(data: Data, given: Files, options: PrepareOptions, progress: Progress | None) -> Prepared:
    if isinstance(given, str) and (path := Path(given).expanduser()).is_dir() and _holds_store(path):
        return _open_store(path, options)
    source = find(given)
    for file in source.files:
        if is_pipe(file):
            raise DataError(
                "a pipe, which can be read only once; write a file, or a store that can be used again: "
                "`zcat my.fasta.gz | sedd data prepare - STORE`",
                file=file,
            )
        if not file.is_file():
            raise DataError("neither a file nor a directory", file=file)
    cache = cache_directory() if data.cache is None else Path(data.cache).expanduser()
    try:
        return prepare(source, cache / _cache_name(source, options), options=options, progress=progress)
    except DataError as error:
        reason = error.__cause__
        own = {str(file) for file in source.files}
        if error.file is not None or not isinstance(reason, OSError) or reason.filename in own:
            raise
        raise DataError(
            f"prepared data cannot be written to {cache} ({reason.strerror or reason}). Choose another directory: "
            "data.cache=DIRECTORY, or the environment variable XDG_CACHE_HOME"
        ) from error


def _holds_store(path: Path) -> bool:
    return is_store(path) or is_store(path / "train")


def _open_store(path: Path, options: PrepareOptions) -> Prepared:
    """A directory that `sedd data prepare` wrote, or one of the stores in it."""
    if is_store(path):
        store = TokenStore.open(path)
        prepared = Prepared(path, store, None, Tally.from_dict(store.manifest["tally"]))
    else:
        prepared = opened(path)
    if lines := _conflicts(prepared.train, options):
        raise DataError(
            "prepared with other options than this run states; prepare it again, or change the run:\n  "
            + "\n  ".join(f"data.{line}" for line in lines),
            file=path,
        )
    return prepared


def _conflicts(store: TokenStore, options: PrepareOptions) -> list[str]:
    """Options of the store that differ from those of the run.

    The split was made with the store: it is not compared for a run with a held-out file of its own, and a run without
    a cluster file accepts the clusters of the store.
    """
    recorded, wanted = dict(store.manifest["options"]), options.to_dict()
    unimportant = {"symbols", "symbols_also_in"}
    if options.holdout == 0.0 or store.manifest.get("split") == "valid":
        unimportant |= {"holdout", "clusters"}
    if options.clusters is None:
        unimportant.add("clusters")
    if not recorded.get("holdout"):
        unimportant.add("holdout")  # nothing was held out: there is a better message for that
    old, new = ({key: one[key] for key in one.keys() - unimportant} for one in (recorded, wanted))
    return differences(old, new)


def _cache_name(source: Source, options: PrepareOptions) -> str:
    """A directory name that is unique to the files, their state, and the options. The state has the time at which a
    file was last changed in any way (ctime), so that a file of equal size and time is not taken for the one before."""
    places = [str(file.resolve()) for file in source.files]
    identity = [FORMAT, places, source.state(), options.to_dict(file_state)]
    digest = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=8).hexdigest()
    return f"{source.files[0].name.split('.')[0]}-{digest}"
