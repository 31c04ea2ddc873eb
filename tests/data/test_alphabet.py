from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedd.data.alphabet import ESM, PROTEIN, Alphabet, text_alphabet
from sedd.errors import DataError

CHARACTERS = st.characters(exclude_categories=["Cs"])


@given(st.text(alphabet="ACDEFGHIKLMNPQRSTVWY"))
def test_protein_sequences_survive_encoding_and_decoding(sequence: str) -> None:
    ids = PROTEIN.encode(sequence)
    assert ids.dtype == np.uint8
    assert PROTEIN.decode(ids) == sequence
    assert PROTEIN.encode(sequence.encode()).tolist() == ids.tolist()


@given(st.sets(CHARACTERS, min_size=2, max_size=300), st.data())
def test_text_survives_encoding_and_decoding(symbols: set[str], data: st.DataObject) -> None:
    alphabet = text_alphabet(symbols)
    text = data.draw(st.text(alphabet=sorted(symbols)))
    assert alphabet.decode(alphabet.encode(text)) == text
    assert alphabet.encode(text.encode()).tolist() == alphabet.encode(text).tolist()


@pytest.mark.parametrize(("n", "dtype"), [(255, np.uint8), (256, np.uint16), (65_534, np.uint16)])
def test_ids_and_mask_fit_the_smallest_type(n: int, dtype: type) -> None:
    codes = [code for code in range(0x100, 0x20000) if not 0xD800 <= code < 0xE000]
    alphabet = text_alphabet(map(chr, codes[:n]))
    assert alphabet.dtype == dtype
    assert np.iinfo(dtype).max >= alphabet.mask_id == n
    last = alphabet.symbols[-1]
    assert alphabet.decode(alphabet.encode(last)) == last


def test_esm_ids_are_those_of_esm2() -> None:
    assert ESM.n == ESM.mask_id == 32
    assert ESM.encode("LAGVSERTIDPKQNFYMHWCXBUZO.-").tolist() == list(range(4, 31))
    assert ESM.symbols[:4] == ("<cls>", "<pad>", "<eos>", "<unk>")
    assert ESM.symbols[31] == "<null_1>"
    assert ESM.decode([0, 4, 32]) == "<cls>L_"


@pytest.mark.parametrize(
    ("alphabet", "text", "letter", "position"),
    [
        (PROTEIN, "ACXA", "X", 2),
        (PROTEIN, b"ACxA", "x", 2),
        (PROTEIN, "Aé", "é", 1),
        (ESM, "LJ", "J", 1),
        (text_alphabet("aé"), "aéb", "b", 2),
        (text_alphabet("ab"), "abé", "é", 2),
    ],
)
def test_an_unknown_letter_is_named_with_its_position(
    alphabet: Alphabet, text: str | bytes, letter: str, position: int
) -> None:
    with pytest.raises(DataError, match=rf"'{letter}' at position {position} "):
        alphabet.encode(text)


def test_mask_is_shown_by_a_symbol_that_is_not_real() -> None:
    assert PROTEIN.decode([0, 20]) == "A_"
    assert text_alphabet("a_").decode([0, 1, 2]) == "_a▒"


def test_ids_outside_the_alphabet_cannot_be_decoded() -> None:
    with pytest.raises(DataError):
        PROTEIN.decode([0, 21])


@pytest.mark.parametrize("alphabet", [PROTEIN, ESM, text_alphabet("ab\n é")])
def test_an_alphabet_survives_json_and_pickle(alphabet: Alphabet) -> None:
    assert Alphabet.from_dict(json.loads(json.dumps(alphabet.to_dict()))) == alphabet
    alphabet.encode(alphabet.symbols[5 % alphabet.n] if len(alphabet.symbols[5 % alphabet.n]) == 1 else "A")
    assert pickle.loads(pickle.dumps(alphabet)) == alphabet


@pytest.mark.parametrize("symbols", [(), ("a",), ("a", "a"), ("a", "")])
def test_impossible_alphabets_are_refused(symbols: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        Alphabet("x", symbols)


@pytest.mark.parametrize("description", [{"name": "x"}, {"tokenizer": "{}"}, {}, None, 5, ["name"]])
def test_a_description_that_is_none_is_refused(description: Any) -> None:
    with pytest.raises(DataError):
        Alphabet.from_dict(description)
