"""A user's own sequences become a data set: every item checked, some set aside, letters counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sedd.config.sections import Data
from sedd.data.alphabet import text_alphabet
from sedd.data.user import user_dataset
from sedd.errors import DataError


def test_the_parts_are_disjoint_complete_and_the_same_for_the_same_seed():
    items = [np.array([i % 20, (i + 1) % 20, i % 7]) for i in range(50)]
    made, again = (user_dataset(items, Data(holdout=0.2), seed=3) for _ in range(2))
    assert (len(made.train), len(made.valid)) == (40, 10)
    seen = sorted(tuple(part[i].tolist()) for part in (made.train, made.valid) for i in range(len(part)))
    assert seen == sorted(tuple(item.tolist()) for item in items)
    assert [made.valid[i].tolist() for i in range(10)] == [again.valid[i].tolist() for i in range(10)]


def test_letters_are_counted_over_the_training_part_only():
    made = user_dataset([[0, 0, 1], [2, 3], [4]], Data(holdout=0.3), seed=0)
    expected = np.bincount(np.concatenate([made.train[i] for i in range(len(made.train))]), minlength=20)
    assert made.token_counts.tolist() == expected.tolist()
    assert made.train.lengths.tolist() == [len(made.train[i]) for i in range(len(made.train))]


def test_tensors_and_another_alphabet_are_taken():
    made = user_dataset([torch.tensor([0, 1]), torch.tensor([1, 1])], Data(), seed=0, alphabet=text_alphabet("ab"))
    assert made.alphabet.n == 2
    with pytest.raises(DataError) as caught:
        user_dataset([[0, 1], [2, 0]], Data(), seed=0, alphabet=text_alphabet("ab"))
    assert caught.value.record == "item 1 of your data"


def test_text_needs_an_alphabet():
    with pytest.raises(DataError):
        user_dataset([[0, 1], [1, 0]], Data(alphabet="text"), seed=0)


def test_strings_are_encoded_and_copies_stay_on_one_side():
    made = user_dataset(["MKV", "MKV", "ACD", "ACD", "WY"] * 10, Data(holdout=0.3), seed=1)
    sides = [{tuple(part[i].tolist()) for i in range(len(part))} for part in (made.train, made.valid)]
    assert all(sides)
    assert not sides[0] & sides[1]
    with pytest.raises(DataError) as caught:
        user_dataset(["MKV", "ABC"], Data(), seed=0)
    assert caught.value.record == "item 1 of your data"
    with pytest.raises(DataError) as caught:
        user_dataset(["MKV", "MKV"], Data(), seed=0)
    assert caught.value.record is None


def test_a_path_or_a_generator_is_no_data():
    with pytest.raises(DataError) as caught:
        user_dataset("my.fasta", Data(), seed=0)
    assert caught.value.file == Path("my.fasta")
    with pytest.raises(DataError):
        user_dataset((word for word in ["MK", "VL"]), Data(), seed=0)


class Column:
    """A filtered column of a table, as pandas has it: `[]` takes labels, `iloc` positions."""

    ndim = 1

    def __init__(self, items: dict[int, str]) -> None:
        self.items, self.iloc = items, list(items.values())

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, label: int) -> str:
        return self.items[label]


class Table(Column):
    ndim, columns = 2, ("id", "sequence")


def test_a_filtered_column_of_a_table_is_read_by_position():
    made = user_dataset(Column({0: "MKV", 4: "ACD", 7: "WYF"}), Data(holdout=0.3), seed=0)
    decoded = {made.alphabet.decode(part[i]) for part in (made.train, made.valid) for i in range(len(part))}
    assert decoded == {"MKV", "ACD", "WYF"}


@pytest.mark.parametrize("source", [Table({0: "a"}), {"a": "MKV", "b": "ACD"}])
def test_a_table_or_a_dictionary_is_refused_with_what_to_give(source: object):
    with pytest.raises(DataError, match="give"):
        user_dataset(source, Data(), seed=0)
