"""How many residues per second this machine trains: `sedd forecast --measure`."""

from __future__ import annotations

import time
import warnings
from statistics import median

from sedd.config.config import Config
from sedd.data import STRATA, Dataset, open_data
from sedd.errors import SeddWarning
from sedd.training.trainer import Trainer

STEPS = 5
"""Optimizer steps that are measured, after one that warms up."""
SECONDS = 20.0
"""No further one is begun after so long."""


def measured(config: Config, dataset: Dataset | None) -> tuple[float, str]:
    """Residues per second of a few optimizer steps, and what was measured, in words.

    Of many micro-batches a step here has only as many as it has strata of length: more of them take as long each.
    Without data, built-in sequences of up to `model.length` residues stand in. Nothing is written.

    Raises:
        DeviceError, ConfigError: if the configuration cannot be trained here.
    """
    training = config.training
    accum = min(training.accum, STRATA)
    residues = training.batch_residues and max(1, training.batch_residues * accum // training.accum)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # of the shortened configuration
        config = config.replace(
            training={
                "accum": accum,
                "batch_residues": residues,
                "eval_every": 10**9,
                "n_iters": max(100, training.n_iters),
            }
        )
    if dataset is None:
        longest = config.model.length
        made = {"sequences": 1000, "min_length": min(60, longest), "max_length": longest}
        data = config.data.model_copy(
            update={
                "train": "synthetic",
                "alphabet": "protein",
                "valid": None,
                "synthetic": config.data.synthetic.model_copy(update=made),
            }
        )
        dataset = open_data(data, seed=config.seed)
    trainer = Trainer(config, data=dataset)
    began, rates = time.perf_counter(), []
    for report in trainer.steps():
        rates.append(report.residues_per_second)
        if len(rates) > STEPS or (len(rates) > 1 and time.perf_counter() - began > SECONDS):
            break
    size = f"{residues:,} residues" if residues else f"{training.batch_size * accum} sequences"
    words = f"; measured in {len(rates) - 1} steps ({size} each) on {trainer.device}"
    return median(rates[1:]), words
