"""Ids with a tokenizer of another program (`tokenizer.json`), so that text goes in and text comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import Alphabet, ids_alphabet
from sedd.errors import DataError, install_extra

MARK = "<mask>"


@dataclass(frozen=True)
class TokenizedAlphabet(Alphabet):
    """The ids of a vocabulary, and the tokenizer that makes them of text.

    Text of ids and back is not always the same text: a tokenizer may replace characters, and single ids may be parts
    of a character.
    """

    tokenizer: str = ""
    """The content of `tokenizer.json`, the file format of the package `tokenizers`."""

    @staticmethod
    def of(n: int, tokenizer: str) -> TokenizedAlphabet:
        """The alphabet of `n` ids. Raises DataError if it is no tokenizer, or the package is missing."""
        ids = ids_alphabet(n)
        made = TokenizedAlphabet(ids.name, ids.symbols, "", tokenizer)
        made._tokens(" ")
        return made

    @property
    def is_text(self) -> bool:
        return True

    @cached_property
    def has_words(self) -> bool:
        return True

    @cached_property
    def mask_symbol(self) -> str:
        """How `decode` shows MASK."""
        return MARK

    def length(self, text: str) -> int:
        """The number of ids of a text."""
        return len(self._tokens(text))

    def encode_bytes(self, text: str | bytes) -> bytes:
        """The ids of a text, as the bytes that a store holds. Raises DataError if one is not in the vocabulary."""
        ids = self._tokens(text if isinstance(text, str) else text.decode("utf-8", "replace"))
        if (wrong := next((number for number in ids if number >= self.n), None)) is not None:
            raise DataError(
                f"the tokenizer gives the id {wrong} in {str(text)[:40]!r}, and the model has 0 to {self.n - 1}; is it "
                "the tokenizer that the model was trained with?"
            )
        return np.array(ids, self.dtype).tobytes()

    def decode(self, ids: Iterable[int] | NDArray[Any]) -> str:
        """The text of `ids`, MASK as `<mask>`."""
        numbers = [int(number) for number in ids]
        if wrong := [number for number in numbers if not 0 <= number <= self.mask_id]:
            raise DataError(f"id {wrong[0]} is not in alphabet {self.name!r} (0..{self.n})")
        parts = [(masked, list(part)) for masked, part in groupby(numbers, key=lambda number: number == self.mask_id)]
        return "".join(MARK * len(part) if masked else self._text(part) for masked, part in parts)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return super().to_dict() | {"tokenizer": self.tokenizer}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_tokenizer"}

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            library = import_module("tokenizers")
        except ImportError as missing:
            raise DataError(
                f"the model reads text with a tokenizer, which needs the package tokenizers ({missing}): "
                f"{install_extra('hf')}"
            ) from None
        try:
            made = library.Tokenizer.from_str(self.tokenizer)
            made.no_padding()
            made.no_truncation()
        except Exception as error:  # the package has no error class of its own
            raise DataError(f"not a tokenizer ({str(error)[:200]}); expected a tokenizer.json") from None
        return made

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))
