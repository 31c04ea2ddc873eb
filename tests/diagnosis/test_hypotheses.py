"""The decision between hypotheses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedd.diagnosis.hypotheses import DECISIVE, HYPOTHESES, certainty, decide, in_percent

NAMES = list(HYPOTHESES)


def test_without_evidence_nothing_is_decided():
    found = decide(dict.fromkeys(("healthy", "divergence", "instability", "overfitting", "leak", "data change"), 0.0))
    assert found.kind == "inconclusive"
    assert found.likeliest == "healthy"


def test_the_posterior_is_prior_times_likelihood():
    found = decide({"healthy": 0.0, "leak": 2.0})
    odds = HYPOTHESES["leak"].prior * math.exp(2.0) / HYPOTHESES["healthy"].prior
    assert found.probabilities["leak"] / found.probabilities["healthy"] == pytest.approx(odds)
    assert found.runner_up == "leak"


def test_hypotheses_with_the_same_action_decide_together_and_the_likelier_one_gives_its_name():
    found = decide({"healthy": 0.0, "divergence": 8.0, "instability": 7.9})
    assert found.kind == "learning"
    assert found.probability < DECISIVE < found.probability + found.probabilities["instability"]
    assert found.runner_up == "instability"


def test_a_verdict_on_the_input_needs_less_than_one_on_the_model():
    assert decide({"healthy": 0.0, "unit": 5.0, "divergence": 1.0}).kind == "unit"
    assert decide({"healthy": 0.0, "unit": 5.0, "divergence": 1.0}).probability < DECISIVE
    assert decide({"healthy": 0.0, "unit": 2.5}).kind == "inconclusive"
    assert decide({"healthy": 0.0, "divergence": 5.0}).kind == "inconclusive"


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(-20, 20), min_size=1))
def test_probabilities_add_up_and_the_winner_is_the_likeliest_of_its_action(scores):
    found = decide(scores)
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert found.runner_up != HYPOTHESES[found.likeliest].kind
    assert (found.runner_up is None) == (len(found.probabilities) == 1)
    assert certainty(found)


@pytest.mark.parametrize("scores", [{}, {"gremlins": 1.0}])
def test_unknown_hypotheses_are_refused(scores):
    with pytest.raises(ValueError, match="hypotheses"):
        decide(scores)


def test_no_probability_is_shown_as_certain():
    assert "100" not in in_percent(1.0)
    assert in_percent(0.0) != "0 %"
