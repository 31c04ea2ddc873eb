"""Weights of another program as an ordinary run directory, with where they came from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sedd.config.config import Config
from sedd.data import Alphabet, ids_alphabet
from sedd.data.alphabet import BUILT_IN
from sedd.data.tokenizer import TokenizedAlphabet
from sedd.errors import CheckpointError, ConfigError, DataError, SeddWarning, install_extra
from sedd.files import read_bounded
from sedd.foreign.weights.files import sha256
from sedd.foreign.weights.fitting import fitted
from sedd.foreign.weights.published import Published
from sedd.foreign.weights.source import open_source
from sedd.runs import checkpoint
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.directory import RunDirectory
from sedd.runs.imported import UNKNOWN_DATA, Origin
from sedd.runs.plugin_record import plugins_of
from sedd.runs.state import TrainState
from sedd.sampling.lengths import LengthDistribution

TOKENIZER = "tokenizer.json"
MOST_TOKENIZER = 64 << 20
"""Bytes."""
ALPHABETS = ("ids", *BUILT_IN)


@dataclass(frozen=True)
class Imported:
    """A run that was made of weights of another program."""

    run: Path
    origin: Origin
    config: Config
    alphabet: Alphabet
    parameters: int
    """Numbers in all tensors."""
    remarks: tuple[str, ...]
    """What was changed on the way, one sentence each."""


def import_weights(path: Path, run: Path, *, weights: str | None = None, alphabet: str | None = None) -> Imported:
    """Write a run directory with the weights of another program, both as averaged and as raw ones.

    Args:
        path: a hub folder of SEDD, MDLM or the network of a plugin, a training directory of SEDD or PLS, or a file of
            weights in one.
        run: directory to write; nothing is written before all of `path` is read and fits.
        weights: of a training directory: `ema` (by default) or `raw`.
        alphabet: what the ids mean: `protein`, `esm`, `dna`, `rna`, or `ids` where it is not known. By default what
            the layout says; else text, if a `tokenizer.json` is beside the weights and the package tokenizers is
            installed; else `ids`.

    Raises:
        CheckpointError: if `path` cannot be imported, or `run` holds something already.
        ConfigError: if `weights` or `alphabet` does not fit.
    """
    found = open_source(path, weights)
    known = alphabet or (None if found.alphabet == "ids" else found.alphabet)
    symbols, remarks = _of_tokenizer(found) if known is None else (_alphabet(known, found.n), ())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # advice on training, and there is none
        config = Config(
            **found.sections,
            data={"alphabet": symbols.name, "train": UNKNOWN_DATA},
            curriculum={"difficulty_ramp": "constant"},
        )
    tensors, converted = fitted(found, config)
    origin = Origin(str(found.file.resolve()), sha256(found.file), found.layout, found.weights)
    directory = RunDirectory(run)
    directory.check(config, resume=False)
    with directory.lock():
        directory.begin(config, resume=False, imported_from=origin.file, imported_sha256=origin.sha256)
        content = Checkpoint(
            tensors={"model": tensors, "ema": tensors},
            state={
                "train": TrainState(step=found.step).to_dict(),
                "ema_updates": 0,
                "alphabet": symbols.to_dict(),
                "lengths": LengthDistribution((config.model.length,) * 2).to_dict(),
                "token_counts": _drawn(found, symbols),
                "data": {"train": None, "valid": None, "alphabet": symbols.to_dict()},
                "plugins": plugins_of(config),
                "imported": origin.to_dict(),
            },
            config=config.to_dict(),
            run=directory.identity(),
        )
        checkpoint.write(directory.checkpoints, found.step, content)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    return Imported(run, origin, config, symbols, parameters, found.remarks + converted + remarks)


def _of_tokenizer(found: Published) -> tuple[Alphabet, tuple[str, ...]]:
    """The ids with the tokenizer beside the weights, if there is one that can be used, and a remark on it."""
    file = found.file.parent / TOKENIZER
    if not file.is_file():
        return ids_alphabet(found.n), ()
    if find_spec("tokenizers") is None:
        left_out = f"{file} is left out, because the package tokenizers is missing; for text {install_extra('hf')}"
        return ids_alphabet(found.n), (f"{left_out}, and import again",)
    try:
        content = read_bounded(file, most=MOST_TOKENIZER).decode()
        return TokenizedAlphabet.of(found.n, content), (f"text is read and written with {file}",)
    except (DataError, ValueError, OSError) as error:
        raise CheckpointError(f"{error}; leave it out with --alphabet ids", file=file) from None


def _drawn(found: Published, symbols: Alphabet) -> list[int] | None:
    """In place of token counts, which are not known: 1 for symbols that samples are made of, 0 for others; None where
    all are, or the alphabet is not the one of the layout."""
    if found.drawn is None or symbols.name != found.alphabet:
        return None
    return [int(symbol in set(found.drawn)) for symbol in symbols.symbols]


def _alphabet(name: str, n: int) -> Alphabet:
    if name not in ALPHABETS:
        raise ConfigError(f"alphabet={name!r}: expected one of {', '.join(ALPHABETS)}")
    known = BUILT_IN.get(name) or ids_alphabet(n)
    if known.n != n:
        raise ConfigError(
            f"alphabet={name!r} has {known.n} symbols, and the checkpoint has {n:,}; take 'ids' to have numbers"
        )
    return known
