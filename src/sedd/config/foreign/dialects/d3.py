"""D3-DNA: SEDD for DNA with labels; geometric noise, epochs."""

from __future__ import annotations

from typing import Any

from sedd.config.foreign import conversions as to
from sedd.config.foreign.dialect import Dialect, Implied, NotExpressible, Rule, drop, only
from sedd.config.foreign.source import Source

LABELS = "sedd trains without labels: the model is that of the sequences alone"
EPOCHS = "sedd counts optimizer steps: set training.n_iters to epochs x sequences / batch"
CLIP = "their loss is a sum over the {length} positions of a sequence, and so is its gradient; negative switches it off"
SIZES = "hidden_size", "cond_dim", "length", "n_blocks", "n_heads"


def dna(source: Source, value: Any) -> str:
    """The alphabet of the four bases."""
    if value != 4:
        raise NotExpressible("an alphabet of the four bases has 4 tokens")
    return to.alphabet("dna", "text")


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
        Rule("tokens", "data.alphabet", dna, "the four bases"),
        Rule("data.data_file", "data.train", to.sequences, "sedd does not read HDF5; write the sequences as FASTA"),
        Rule("graph.type", "graph.type"),
        Rule("noise.type", "noise.type", to.noise_type("geometric", other="D3-DNA has the geometric noise alone")),
        Rule("noise.sigma_min", "noise.sigma_min"),
        Rule("noise.sigma_max", "noise.sigma_max"),
        only("model.type", "ddit", why="the transformer that sedd has too", otherwise="another network than ddit"),
        only("model.architecture", "transformer", why="the transformer that sedd has too",
             otherwise="sedd has a transformer, not a convolution"),
        only("nn", "transformer", why="the transformer that sedd has too",
             otherwise="sedd has a transformer, not a convolution"),
        *(Rule(f"model.{key}", f"model.{key}") for key in (*SIZES, "dropout", "scale_by_sigma")),
        Rule("training.batch_size", "training.batch_size", to.micro_batch, to.why_batch),
        Rule("training.accum", "training.accum", to.micro_batches, to.why_accum),
        Rule("training.n_iters", "training.n_iters", to.own_steps("training.n_iters")),
        Rule("training.log_freq", "training.log_every", to.own_steps("training.log_freq")),
        Rule("training.ema", "ema.decay"),
        only("training.weight", "standard", why="the weight dsigma/dt, which sedd has too",
             otherwise="another weight than dsigma/dt"),
        only("optim.optimizer", "AdamW", why="the optimizer of sedd", otherwise="sedd has AdamW alone"),
        Rule("optim.lr", "optim.lr"),
        Rule("optim.warmup", "optim.warmup", to.updates("optim.warmup")),
        Rule("optim.weight_decay", "optim.weight_decay", why=to.decays_all),
        Rule("optim.grad_clip", "optim.grad_clip", to.clip_of_sum, CLIP),
        Rule("optim.beta1", "optim.beta1"),
        Rule("optim.beta2", "optim.beta2"),
        Rule("optim.eps", "optim.eps", to.eps_of_sum, "it is compared with a gradient that is {length} times larger"),
        Rule("sampling.predictor", "sampling.predictor", to.noise_type(
            "euler", "analytic", other="sedd has no such sampler")),
        Rule("sampling.steps", "sampling.steps"),
        Rule("sampling.noise_removal", "sampling.noise_removal"),
        Rule("sampling.batch_size", "sampling.batch_size"),
        Rule("sampling.num_samples", "sampling.count"),
        Rule("eval.batch_size", "evaluation.batch_size"),
        *drop(LABELS, "dataset.num_classes", "dataset.signal_dim", "model.class_dropout_prob"),
        *drop(EPOCHS, "training.max_epochs", "training.val_every_n_epochs", "training.checkpoint_every_n_epochs"),
        *drop("sampling.every is in optimizer steps", "training.snapshot_sampling"),
        *drop("its effect is in model.length", "dataset.sequence_length"),
        *drop("the data are named in data.train", "dataset", "data"),
        *drop("not used by sedd: the bound is in nats per residue", "eval", "graph.file", "graph.report_all"),
        *drop("sedd is started with torchrun", "ngpus", "nnodes"),
        *drop("a name", "model.name", "work_dir"),
        *drop("trackers of sedd are in trackers", "wandb"),
        *drop("sedd names its runs with --run", "hydra"),
    ),
    implied=(
        Implied("data.train", to.YOUR_DATA, "write the name of your file there"),
        Implied("data.alphabet", to.alphabet("dna", "text"), "the four bases"),
        Implied("noise.type", "geometric", "D3-DNA has the geometric noise alone"),
        Implied("model.head", "score", "their network gives the log-score"),
        Implied("model.gate_init", 0.0, "their gates start at 0"),
        Implied("training.accum", to.micro_batches, "their micro-batches are divided among the GPUs"),
        Implied("lr_schedule.type", "constant", "their learning rate is constant after the warm-up"),
    ),
    unit="nats per sequence (a sum over its positions)",
    loss_kind="sum",
    unused_groups=frozenset({"hydra"}),
    order=2,
)  # fmt: skip
"""t is drawn from [0.001, 1] there and from [0, 1] here, which changes the expected loss by less than 0.1 %."""
