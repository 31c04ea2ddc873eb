"""The options that determine the content of a prepared store, besides the source itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sedd.config.alphabet import OwnSymbols
from sedd.config.sections import Data, Residues
from sedd.data.alphabet import BUILT_IN, Alphabet, ids_alphabet, text_alphabet
from sedd.data.chosen import fixed_alphabet, found_in_data
from sedd.data.prepare.sources import find
from sedd.data.store import describe_file
from sedd.data.tokenizer import TokenizedAlphabet
from sedd.errors import DataError


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `prepare`, most of them those of `sedd.config.sections.Data`."""

    alphabet: str | OwnSymbols = "protein"
    residues: Residues = field(default_factory=Residues)
    holdout: float = 0.01
    """Share set aside for validation; 0 makes a train store only."""
    clusters: Path | None = None
    column: str | None = None
    """Tables: the column of sequences."""
    format: str = "auto"
    """`lines`: bare residues are one sequence per line."""
    min_length: int = 2
    chunk_length: int = 256
    symbols: tuple[str, ...] | None = None
    """Text and ids: the alphabet, instead of the characters, or the largest id, found in the source."""
    tokenizer: str = ""
    """Ids: the content of the tokenizer of the model, which reads text in place of numbers."""
    symbols_also_in: tuple[Path, ...] = ()
    """Text and ids: more files whose symbols belong to the alphabet too (held-out files of their own)."""

    @classmethod
    def from_config(cls, data: Data) -> Self:
        """The options that a run file states. With a held-out file of its own, nothing is set aside."""
        own = data.valid is not None
        return cls(
            alphabet=data.alphabet,
            residues=data.residues,
            holdout=0.0 if own else data.holdout,
            clusters=None if own or data.clusters is None else Path(data.clusters).expanduser(),
            column=data.column,
            format=data.format,
            min_length=data.min_length,
            chunk_length=data.chunk_length,
            symbols_also_in=find(data.valid).files if data.valid is not None and found_in_data(data.alphabet) else (),
        )

    def fixed_alphabet(self) -> Alphabet | None:
        """The alphabet, where it does not depend on the data."""
        if self.alphabet == "text":
            return None if self.symbols is None else text_alphabet(self.symbols)
        if self.alphabet == "ids" and self.symbols is not None and self.tokenizer:
            return TokenizedAlphabet.of(len(self.symbols), self.tokenizer)
        if self.alphabet == "ids":
            return None if self.symbols is None else ids_alphabet(len(self.symbols))
        return fixed_alphabet(self.alphabet)

    def to_dict(self, describe: Callable[[Path], dict[str, Any]] | None = None) -> dict[str, Any]:
        """For the manifest: only what matters for this alphabet; files by name, size and hash, or as `describe` says.

        Raises:
            DataError: if a file cannot be read.
        """
        describe = describe or file_identity
        own: dict[str, Any] = {
            "alphabet": self._alphabet_identity(),
            "holdout": self.holdout,
            "min_length": self.min_length,
        }
        if found_in_data(self.alphabet):
            if self.alphabet == "text":
                own["chunk_length"] = self.chunk_length
                own["symbols"] = None if self.symbols is None else "".join(self.symbols)
            else:
                own["symbols"] = None if self.symbols is None else len(self.symbols)
                own |= {} if self.column is None else {"column": self.column}
            if self.tokenizer:
                own["tokenizer"] = hashlib.sha256(self.tokenizer.encode()).hexdigest()
            more = [describe(path) for path in self.symbols_also_in]
            own["symbols_also_in"] = more[0] if len(more) == 1 else more or None
        else:
            own["residues"] = self.residues.model_dump()
            own["clusters"] = None if self.clusters is None else describe(self.clusters)
            own["column"] = self.column
            own["format"] = None if self.format == "auto" else self.format
        return own

    def _alphabet_identity(self) -> str | dict[str, Any]:
        """The name of a built-in alphabet; else its symbols too, which the run file or the plugin may change."""
        fixed = self.fixed_alphabet()
        named = isinstance(self.alphabet, str) and (fixed is None or self.alphabet in BUILT_IN)
        return str(self.alphabet) if named or fixed is None else fixed.to_dict()


def file_identity(path: Path) -> dict[str, Any]:
    """Name, size and sha256 of a file that is named in the options. Raises DataError if it cannot be read."""
    try:
        return {"name": path.name, **describe_file(path)}
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def differences(recorded: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """One line for every option that differs."""
    lines = []
    for key in sorted({*recorded, *wanted}):
        old, new = recorded.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and key == "residues":
            default = Residues().model_dump()  # a store of an earlier version lacks the keys that came later
            lines += differences(default | old, default | new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: the store has {_shown(old)}, wanted {_shown(new)}")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "symbols" in value:
        return str(value["name"]) + f" ({', '.join(map(repr, value['symbols'][:20]))}; {len(value['symbols'])} symbols)"
    if isinstance(value, dict) and "sha256" in value:
        return f"{value['name']} (sha256 {value['sha256'][:12]})"
    return repr(value)
