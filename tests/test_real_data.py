"""Real proteins and real text go all the way: file, store, training, kill, resume, samples."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import sedd
from sedd.runs import checkpoint

SMALL = (
    "model.hidden_size=32", "model.cond_dim=16", "model.n_blocks=1", "model.n_heads=2", "model.length=64",
    "training.batch_size=16", "training.accum=1", "evaluation.sequences=64", "evaluation.masks=1", "device.type=cpu",
)  # fmt: skip


@pytest.mark.long
def test_the_stable_preset_trains_on_proteins_and_resumes_after_a_kill(real_data, tmp_path):
    options = (
        *SMALL, f"data.train={real_data / 'uniref_10k.fasta.gz'}",
        f"data.clusters={real_data / 'uniref_10k_clusters.tsv.gz'}",
        f"data.cache={tmp_path / 'cache'}", "training.n_iters=60", "training.eval_every=60", "checkpoint.every=5",
        "optim.warmup=10", "curriculum.preschool_time=30",
    )  # fmt: skip
    run = tmp_path / "run"
    command = [sys.executable, "-m", "sedd", "train", "uniref50_stable", *options, "--run", str(run), "--resume"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not checkpoint.listing(run / "checkpoints"):
        assert first.poll() is None, first.communicate()[1].decode()
        time.sleep(0.02)
    first.kill()
    first.communicate()
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert "Resumed at step" in second.stderr
    assert "61% of the residues" in second.stderr.replace("\n", " ")
    assert sedd.load(run, which="latest", device="cpu").step == 60


def test_a_few_steps_on_text_learn_its_letters(real_data, tmp_path):
    config = sedd.load_config(
        "uniref50",
        *SMALL,
        f"data.train={real_data / 'text' / 'wikitext2_valid_text8style.txt'}",
        f"data.valid={real_data / 'text' / 'wikitext2_test_text8style.txt'}",
        "data.alphabet=text",
        f"data.cache={tmp_path / 'cache'}",
        "training.n_iters=120", "training.eval_every=120", "optim.lr=1e-2", "optim.warmup=10",
        "curriculum.preschool_time=20", "ema.decay=0.9",
    )  # fmt: skip
    trainer = sedd.Trainer(config)
    *_, last = trainer.steps()
    assert trainer.data.alphabet.n == 27
    assert last.bound is not None
    assert 2.0 < last.bound.nats < 2.95  # ln 27 is 3.30, letter frequencies give 2.84
    assert set(trainer.sample(1, length=30)[0]) <= set("abcdefghijklmnopqrstuvwxyz ")


@pytest.mark.parametrize("name", ["proteins_train.fasta.gz"])
def test_hardly_any_compute_goes_to_pads(real_data: Path, tmp_path, name):
    config = sedd.load_config(
        "uniref50", *SMALL, "model.length=512", "training.batch_size=32", "training.compile=off",
        f"data.train={real_data / name}", f"data.cache={tmp_path / 'cache'}",
    )  # fmt: skip
    trainer = sedd.Trainer(config)
    computed = residues = 0
    for part in (part for batch in trainer.batches.window(0) for part in batch.parts()):
        computed += len(part) * (-(-int(part.lengths.max()) // 8) * 8)
        residues += part.residues
    assert residues / computed > 0.95
