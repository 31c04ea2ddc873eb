"""Weights of another program as an ordinary run directory, with where they came from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from sedd.config.config import Config
from sedd.data import ESM, PROTEIN, Alphabet, ids_alphabet
from sedd.errors import ConfigError, SeddWarning
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

ALPHABETS = ("ids", "protein", "esm")


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
        alphabet: what the ids mean: `protein`, `esm`, or `ids` where it is not known; by default what the layout says.

    Raises:
        CheckpointError: if `path` cannot be imported, or `run` holds something already.
        ConfigError: if `weights` or `alphabet` does not fit.
    """
    found = open_source(path, weights)
    symbols = _alphabet(alphabet or found.alphabet, found.n)
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
    return Imported(run, origin, config, symbols, parameters, found.remarks + converted)


def _drawn(found: Published, symbols: Alphabet) -> list[int] | None:
    """In place of token counts, which are not known: 1 for symbols that samples are made of, 0 for others; None where
    all are, or the alphabet is not the one of the layout."""
    if found.drawn is None or symbols.name != found.alphabet:
        return None
    return [int(symbol in set(found.drawn)) for symbol in symbols.symbols]


def _alphabet(name: str, n: int) -> Alphabet:
    if name not in ALPHABETS:
        raise ConfigError(f"alphabet={name!r}: expected one of {', '.join(ALPHABETS)}")
    known = {"protein": PROTEIN, "esm": ESM}.get(name) or ids_alphabet(n)
    if known.n != n:
        raise ConfigError(
            f"alphabet={name!r} has {known.n} symbols, and the checkpoint has {n:,}; take 'ids' to have numbers"
        )
    return known
