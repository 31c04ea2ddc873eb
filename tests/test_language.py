"""Names and sentences use the field's terms: the words of CONTRIBUTING's glossary that were worst do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    *(ROOT / "src").rglob("*.py"),
    *(ROOT / "src").rglob("*.jinja"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "plugins").rglob("*.py"),
    ROOT / "README.md",
]
WORDS = {
    r"\bluck(y|ily)?\b": "Monte Carlo error",
    r"\bknow(s|ing)? nothing\b": "uniform predictor, untrained model",
    r"\b(knows?|knowing) (only )?the letters\b": "unigram model",
    r"\bletters (alone|only)\b": "unigram model",
    r"\bletter frequenc": "token frequencies",
    r"(?<![\"`])little signal(?![\"`])": "inconclusive",
    r"\bthe loss looks\b": "positions that contribute to the loss",
    r"\b(Noised|noised_loss)\b": "CorruptedBatch, score_entropy_loss",
    r"\bseen_in\b": "padding_mask",
    r"\b(faded|fading)\b": "scaled, ema_update",
    r"\b(Replicated|copy_from_first|put_together)\b": "Ddp, broadcast_, all_reduce_parts",
    r"\bSilence\b": "NullRecorder",
    r"\bElsewhere\b": "ExternalCurveFit",
    r"\b(OnePass|_filled)\b": "FusedCpuAttention, _bucketed_length",
    r"\b(HOPELESS|STUCK|NOTICEABLE)\b": "UNTRAINED_RATIO, UNIGRAM_MARGIN, MIN_RELATIVE_WARNING",
    r"\b(GroupError|LostError)\b": "DistributedError, RankLostError",
    r"\bwhole or not at all\b": "atomic",
    r"\b(refuse_switches|not a switch)\b": "reject_bools, got a boolean",
    r"\bhow sure\b": "95% CI",
    r"\btaken for granted\b": "Assumptions",
    r"\bnum_per_template\b": "num_samples",
    r"\bsomebody\b": "a user",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_private_vocabulary_is_nowhere(word: str) -> None:
    pattern = re.compile(word)
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:90]}"
        for file in FILES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"use instead: {WORDS[word]}"
