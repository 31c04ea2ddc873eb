from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sedd.data.overlap import found_in
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import prepare

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(np.array), min_size=1, max_size=30)


@given(SEQUENCES, SEQUENCES)
def test_exactly_the_sequences_of_the_other_set_are_found(others: list[np.ndarray], some: list[np.ndarray]) -> None:
    known = {tuple(sequence) for sequence in others}
    assert found_in(others, some).tolist() == [tuple(sequence) in known for sequence in some]


def test_a_store_gives_the_same_answer_as_its_sequences_one_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACDE"), int(rng.integers(2, 5)))) for _ in range(400)]
    (tmp_path / "a.fasta").write_text("".join(f">s\n{text}\n" for text in texts[:300]))
    store = prepare(tmp_path / "a.fasta", tmp_path / "out", options=PrepareOptions(holdout=0.0)).train
    some = [store.alphabet.encode(text) for text in texts[200:]]
    expected = [text in set(texts[:300]) for text in texts[200:]]
    assert found_in(store, some).tolist() == found_in(list(store), some).tolist() == expected
    assert 0 < sum(expected) < len(expected)
