"""`sedd diagnose --against`: did fine-tuning help, and what was forgotten?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sedd
from sedd.comparison.fine_tuning import Change, Part, fine_tuning
from sedd.errors import CheckpointError
from tests.cli.commands import failed, sedd_
from tests.conftest import TINY

HALVES = ("ACDEFGHIKL", "MNPQRSTVWY")


def fasta(path: Path, symbols: str, count: int = 300) -> Path:
    rng = np.random.default_rng(len(symbols) + ord(symbols[0]))
    texts = ["".join(rng.choice(list(symbols), 20)) for _ in range(count)]
    path.write_text("".join(f">{i}\n{text}\n" for i, text in enumerate(texts)))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parent that was trained on one half of the amino acids, and a run that was fine-tuned on the other half."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = (fasta(folder / f"{name}.fasta", symbols) for name, symbols in zip("ab", HALVES, strict=True))
    fasta(folder / "more_a.fasta", HALVES[0][::-1])
    options = ("data.holdout=0.2", "training.n_iters=40", "training.eval_every=40", "checkpoint.every=40",
               "ema.decay=0.9", "optim.lr=0.01", f"data.cache={folder / 'cache'}")  # fmt: skip
    config = sedd.load_config("quickstart", *TINY, *options, f"data.train={first}")
    sedd.Trainer(config, run=folder / "parent").fit(progress=False)
    tuned = config.replace(data={"train": str(second)}, training={"init_from": str(folder / "parent")})
    sedd.Trainer(tuned, run=folder / "tuned").fit(progress=False)
    return folder


def test_what_helped_and_what_was_forgotten_is_said(runs):
    found = fine_tuning(runs / "tuned", str(runs / "more_a.fasta"), sequences=100, masks=4, device="cpu")
    assert found.helped is not None
    assert (found.helped.whole.sign, found.forgotten.whole.sign) == (-1, 1)
    assert found.forgotten.sequences == 100
    for change in (found.helped, found.forgotten):
        assert change.run_nats - change.parent_nats == pytest.approx(change.whole.nats, abs=1e-9)
        assert sum(part.nats for part in change.parts) == pytest.approx(change.whole.nats, abs=1e-9)


def test_the_command_prints_it(runs):
    text = sedd_("diagnose", runs / "tuned", "--against", runs / "more_a.fasta")
    assert "Fine-tuning helped" in text
    assert "Something was forgotten" in text
    data = json.loads(sedd_("diagnose", runs / "tuned", "--against", runs / "more_a.fasta", "--json"))
    assert data["fine_tuning"]["helped"]["whole"]["nats"] < 0 < data["fine_tuning"]["forgotten"]["whole"]["nats"]


def test_a_model_against_itself_decides_nothing():
    part = Part(0.0, 1.0, 0.0, 0.0)
    assert part.sign == 0
    assert Part(0.0, 1.0, -0.3, float("inf")).sign == 0
    change = Change("x", 1, 2.0, 2.0, Part(0.0, 1.0, float("nan"), float("inf")), (part,))
    assert change.to_dict()["whole"]["nats"] is None


def test_a_run_that_was_not_fine_tuned_is_refused(runs, monkeypatch, capsys):
    with pytest.raises(CheckpointError):
        fine_tuning(runs / "parent", str(runs / "a.fasta"))
    failed(monkeypatch, capsys, "diagnose", runs / "tuned", "--against", runs / "nowhere.fasta")
