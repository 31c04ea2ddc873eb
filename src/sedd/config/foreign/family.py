"""What the trainers that grew from SEDD have in common: lines of the tables of their dialects."""

from __future__ import annotations

from sedd.config.foreign import conversions as to
from sedd.config.foreign.dialect import Implied, Rule, drop, only

CLIP = "their loss is a sum over the {length} positions of a sequence, and so is its gradient; negative switches it off"

FAMILY = (
    # key of theirs, ours, conversion, why
    Rule("graph.type", "graph.type"),
    only("model.type", "ddit", why="the transformer that sedd has too", otherwise="another network than ddit"),
    *(Rule(f"model.{key}", f"model.{key}") for key in (
        "hidden_size", "cond_dim", "n_blocks", "n_heads", "dropout", "scale_by_sigma")),
    Rule("training.batch_size", "training.batch_size", to.micro_batch, to.why_batch),
    Rule("training.accum", "training.accum", to.micro_batches, to.why_accum),
    only("training.weight", "standard", why="the weight dsigma/dt, which sedd has too",
         otherwise="another weight than dsigma/dt"),
    only("optim.optimizer", "AdamW", why="the optimizer of sedd", otherwise="sedd has AdamW and Muon"),
    Rule("optim.lr", "optim.lr"),
    Rule("optim.weight_decay", "optim.weight_decay", why=to.decays_all),
    Rule("optim.beta1", "optim.beta1"),
    Rule("optim.beta2", "optim.beta2"),
    Rule("sampling.predictor", "sampling.predictor", to.noise_type(
        "euler", "analytic", other="sedd has no such sampler")),
    Rule("sampling.steps", "sampling.steps"),
    Rule("sampling.noise_removal", "sampling.noise_removal"),
    Rule("eval.batch_size", "evaluation.batch_size"),
    *drop("not used by sedd: the bound is in nats per residue", "eval", "graph.file", "graph.report_all"),
    *drop("a name", "model.name", "work_dir"),
    *drop("sedd names its runs with --run", "hydra"),
)  # fmt: skip
"""Keys that mean the same in all of them."""

SUMMED = (
    Rule("model.length", "model.length"),
    Rule("training.n_iters", "training.n_iters", to.own_steps("training.n_iters")),
    Rule("training.log_freq", "training.log_every", to.own_steps("training.log_freq")),
    Rule("training.ema", "ema.decay"),
    Rule("optim.warmup", "optim.warmup", to.updates("optim.warmup")),
    Rule("optim.grad_clip", "optim.grad_clip", to.clip_of_sum, CLIP),
    Rule("optim.eps", "optim.eps", to.eps_of_sum, "it is compared with a gradient that is {length} times larger"),
    *drop("sedd is started with torchrun", "ngpus", "nnodes"),
    *drop("trackers of sedd are in trackers", "wandb"),
)
"""Keys of those whose loss is a sum over a sequence, and whose steps are those of the optimizer."""

IMPLIED = (
    Implied("model.head", "score", "their network gives the log-score"),
    Implied("model.gate_init", 0.0, "their gates start at 0"),
    Implied("training.accum", to.micro_batches, "their micro-batches are divided among the GPUs"),
)
"""What all of them do whatever their run files say."""
