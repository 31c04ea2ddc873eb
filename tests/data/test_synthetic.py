from __future__ import annotations

import numpy as np
import pytest

from sedd.data.alphabet import PROTEIN
from sedd.data.synthetic import Chain, SyntheticSource
from sedd.errors import DataError


def source(**changes: object) -> SyntheticSource:
    options = {"sequences": 5000, "min_length": 40, "max_length": 120, "order": 2.0, "seed": 0} | changes
    return SyntheticSource(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [0.0, 0.5, 2.0, 10.0])
def test_letter_frequencies_are_stationary_exactly(order: float) -> None:
    chain = Chain(order)
    assert np.allclose(chain.frequencies @ chain.transition, chain.frequencies, rtol=0, atol=1e-15)
    assert np.allclose(chain.transition.sum(1), 1.0, rtol=0, atol=1e-14)
    assert np.allclose(chain.joint.sum(0), chain.frequencies, rtol=0, atol=1e-15)


def test_order_lowers_the_entropy_rate_from_that_of_independent_letters() -> None:
    rates = [Chain(order).rate for order in (0.0, 1.0, 2.0, 4.0)]
    assert rates[0] == pytest.approx(Chain(0.0).letter_entropy, abs=1e-12)
    assert rates == sorted(rates, reverse=True)
    assert 2.2 < rates[2] < 2.4
    assert 2.87 < Chain(2.0).letter_entropy < 2.90


def test_the_empirical_distribution_is_the_exact_one() -> None:
    data = source(sequences=20_000)
    letters = data.token_counts / data.token_counts.sum()
    assert np.abs(letters - data.chain.frequencies).max() < 1e-3
    pairs = np.zeros((20, 20))
    for i in range(len(data)):
        np.add.at(pairs, (data[i][:-1], data[i][1:]), 1)
    expected = data.chain.joint * pairs.sum()
    # 399 degrees of freedom, of which the margins are nearly fixed; six standard deviations.
    assert ((pairs - expected) ** 2 / expected).sum() < 399 + 6 * np.sqrt(2 * 399)


def test_the_mean_negative_log_likelihood_agrees_with_the_entropy() -> None:
    data = source()
    terms = np.array([-data.chain.log_probs(data[i]).sum() for i in range(len(data))])
    assert data.nll() == pytest.approx(terms.sum() / data.lengths.sum(), rel=1e-12)
    spread = terms.std() * np.sqrt(len(data)) / data.lengths.sum()
    assert abs(data.nll() - data.entropy) < 4 * spread
    assert data.nll(10) == pytest.approx(terms[:10].sum() / data.lengths[:10].sum(), rel=1e-12)


def test_log_probabilities_of_all_short_sequences_sum_to_one() -> None:
    chain = Chain(2.0)
    letters = np.stack(np.meshgrid(range(20), range(20), range(20), indexing="ij"), -1).reshape(-1, 3)
    assert sum(np.exp(chain.log_probs(row).sum()) for row in letters) == pytest.approx(1.0, abs=1e-12)


def test_the_same_seed_gives_the_same_set_and_parts_are_independent() -> None:
    one, again, other, held = source(), source(), source(seed=1), source(part="valid")
    assert np.array_equal(one._tokens, again._tokens)
    assert one.token_counts.tolist() != other.token_counts.tolist() != held.token_counts.tolist()
    more = source(sequences=6000)
    assert np.array_equal(one.lengths, more.lengths[:5000])
    assert np.array_equal(one[4095], more[4095])


def test_lengths_keep_their_bounds_and_vary() -> None:
    data = source()
    assert (data.lengths.min(), data.lengths.max()) == (40, 120)
    assert data.lengths.std() > 10
    assert all(len(data[i]) == data.lengths[i] for i in range(0, 5000, 500))
    assert set(source(min_length=7, max_length=7).lengths) == {7}


def test_sequences_are_letters_of_the_protein_alphabet_and_cannot_be_changed() -> None:
    data = source(sequences=3)
    assert len(PROTEIN.decode(data[-1])) == data.lengths[-1]
    assert not data[0].flags.writeable
    with pytest.raises(IndexError):
        data[3]


def test_impossible_sets_are_refused() -> None:
    with pytest.raises(DataError):
        source(min_length=5, max_length=4)
