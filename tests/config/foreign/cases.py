"""Run files of other trainers: small ones of our own, and the real ones where they are there."""

from __future__ import annotations

from pathlib import Path

import pytest

OWN = Path(__file__).parent / "files"
SHARED = Path(__file__).parents[3].parent / "shared" / "foreign"
NAMES = ("sedd", "pls", "mdlm", "d3")
SHARED_NAMES = {
    "sedd.yaml": "sedd", "pls_proteins.yaml": "pls", "pls_uniref50.yaml": "pls", "pls_uniref50_stable.yaml": "pls",
    "mdlm.yaml": "mdlm", "d3_dna.yaml": "d3",
}  # fmt: skip
"""The real files, with the name of the dialect of each."""


def shared(name: str) -> Path:
    """A real file; skips the test where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("the run files of other trainers are not beside this checkout (../shared/foreign)")
    return SHARED / name


FILES = [pytest.param(lambda name=name: OWN / f"{name}.yaml", name, id=name) for name in NAMES]
FILES += [
    pytest.param(lambda file=file: shared(file), dialect, id=f"shared-{file}") for file, dialect in SHARED_NAMES.items()
]
"""Functions that return a file, each with the name of its dialect."""
TINY = (
    "data.train=synthetic", "data.valid=null", "data.alphabet=protein", "data.holdout=0.1",
    "data.synthetic.sequences=100", "data.synthetic.min_length=8", "data.synthetic.max_length=16",
    "model.hidden_size=16", "model.cond_dim=8", "model.n_blocks=1", "model.n_heads=2", "model.length=16",
    "training.n_iters=10", "training.batch_size=4", "training.accum=2", "training.eval_every=5",
    "training.log_every=5", "optim.warmup=2", "lr_schedule.end_step=null", "curriculum.preschool_time=4",
    "evaluation.sequences=8", "evaluation.masks=1", "evaluation.train_sequences=0", "checkpoint.every=10",
    "sampling.every=null", "device.type=cpu", "device.precision=float32",
)  # fmt: skip
"""Overrides that make ten steps of any converted file quick."""
