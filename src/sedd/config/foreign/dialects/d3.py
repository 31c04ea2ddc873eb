"""D3-DNA: SEDD for DNA with labels; geometric noise, epochs."""

from __future__ import annotations

from typing import Any

from sedd.config.foreign import conversions as to
from sedd.config.foreign.dialect import Dialect, Implied, NotExpressible, Rule, drop, only
from sedd.config.foreign.family import FAMILY, IMPLIED, SUMMED
from sedd.config.foreign.source import Source

LABELS = "sedd trains without labels: the model is that of the sequences alone"
EPOCHS = "sedd counts optimizer steps: set training.n_iters to epochs x sequences / batch"


def dna(source: Source, value: Any) -> str:
    """The alphabet of the four bases."""
    if value != 4:
        raise NotExpressible("an alphabet of the four bases has 4 tokens")
    return "dna"


DIALECT = Dialect(
    name="d3",
    title="D3-DNA",
    signs=frozenset({
        "dataset.num_classes", "dataset.signal_dim", "dataset.sequence_length", "model.class_dropout_prob",
        "model.architecture", "training.max_epochs", "training.checkpoint_every_n_epochs",
        "training.val_every_n_epochs", "data.oracle_model", "data.zenodo_record",
    }),
    rules=(
        # key of theirs, ours, conversion, why
        *FAMILY,
        *SUMMED,
        Rule("tokens", "data.alphabet", dna, "the four bases"),
        Rule("data.data_file", "data.train", to.sequences, "sedd does not read HDF5; write the sequences as FASTA"),
        Rule("noise.type", "noise.type", to.noise_type("geometric", other="D3-DNA has the geometric noise alone")),
        Rule("noise.sigma_min", "noise.sigma_min"),
        Rule("noise.sigma_max", "noise.sigma_max"),
        only("model.architecture", "transformer", why="the transformer that sedd has too",
             otherwise="sedd has a transformer, not a convolution"),
        only("nn", "transformer", why="the transformer that sedd has too",
             otherwise="sedd has a transformer, not a convolution"),
        Rule("sampling.batch_size", "sampling.batch_size"),
        Rule("sampling.num_samples", "sampling.count"),
        *drop(LABELS, "dataset.num_classes", "dataset.signal_dim", "model.class_dropout_prob"),
        *drop(EPOCHS, "training.max_epochs", "training.val_every_n_epochs", "training.checkpoint_every_n_epochs"),
        *drop("sampling.every is in optimizer steps", "training.snapshot_sampling"),
        *drop("its effect is in model.length", "dataset.sequence_length"),
        *drop("the data are named in data.train", "dataset", "data"),
    ),
    implied=(
        *IMPLIED,
        Implied("data.train", to.YOUR_DATA, "write the name of your file there"),
        Implied("data.alphabet", "dna", "the four bases"),
        Implied("noise.type", "geometric", "D3-DNA has the geometric noise alone"),
        Implied("lr_schedule.type", "constant", "their learning rate is constant after the warm-up"),
    ),
    unit="nats per sequence (a sum over its positions)",
    loss_kind="sum",
    unused_groups=frozenset({"hydra"}),
    order=2,
)  # fmt: skip
"""t is drawn from [0.001, 1] there and from [0, 1] here, which changes the expected loss by less than 0.1 %."""
