"""SEDD (louaaron/Score-Entropy-Discrete-Diffusion): a loss summed over a sequence, steps of the optimizer."""

from __future__ import annotations

from typing import Any

from sedd.config.foreign import conversions as to
from sedd.config.foreign.dialect import Dialect, Implied, Rule, drop, only
from sedd.config.foreign.source import Source

CLIP = "their loss is a sum over the {length} positions of a sequence, and so is its gradient; negative switches it off"
SIZES = "hidden_size", "cond_dim", "length", "n_blocks", "n_heads"


def text_or_protein(source: Source, value: Any) -> str:
    """The alphabet with so many symbols."""
    return {20: "protein", 33: "esm"}.get(source.count("tokens"), "text")


def network(hidden_size: int, n_blocks: int, n_heads: int) -> dict[str, Any]:
    """A published network."""
    sizes = dict(zip(SIZES, (hidden_size, 128, 1024, n_blocks, n_heads), strict=True))
    return {"type": "ddit", **sizes, "scale_by_sigma": True, "dropout": 0.1}


DIALECT = Dialect(
    name="sedd",
    title="SEDD (Score-Entropy-Discrete-Diffusion)",
    signs=frozenset({
        "tokens", "ngpus", "graph.file", "graph.report_all", "training.snapshot_freq", "training.weight",
        "training.snapshot_freq_for_preemption", "training.snapshot_sampling", "training.log_freq",
        "training.eval_freq", "eval.perplexity", "eval.perplexity_batch_size", "model.type",
    }),
    rules=(
        # key of theirs, ours, conversion, why
        Rule("tokens", "data.alphabet", text_or_protein,
             "their vocabulary of {tokens} ids has no letters; sedd reads sequences or text, of which it takes the "
             "characters"),
        Rule("data.train", "data.train", to.text, to.WRITE_DATA),
        Rule("data.valid", "data.valid", to.held_out),
        Rule("graph.type", "graph.type"),
        Rule("noise.type", "noise.type", to.noise_type("loglinear", "geometric")),
        Rule("noise.sigma_min", "noise.sigma_min", to.sigma_min, to.why_sigma),
        Rule("noise.sigma_max", "noise.sigma_max", to.sigma_max, to.why_sigma),
        only("model.type", "ddit", why="the transformer that sedd has too", otherwise="another network than ddit"),
        *(Rule(f"model.{key}", f"model.{key}") for key in (*SIZES, "dropout", "scale_by_sigma")),
        Rule("training.batch_size", "training.batch_size", to.micro_batch, to.why_batch),
        Rule("training.accum", "training.accum", to.micro_batches, to.why_accum),
        Rule("training.n_iters", "training.n_iters", to.own_steps("training.n_iters")),
        Rule("training.log_freq", "training.log_every", to.own_steps("training.log_freq")),
        Rule("training.eval_freq", "training.eval_every", to.own_steps("training.eval_freq")),
        Rule("training.snapshot_freq", "checkpoint.every", to.own_steps("training.snapshot_freq")),
        Rule("training.snapshot_sampling", "sampling.every", to.sample_every, "samples are drawn at every snapshot"),
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
        Rule("eval.batch_size", "evaluation.batch_size"),
        *drop("every checkpoint of sedd can be resumed", "training.snapshot_freq_for_preemption"),
        *drop("not used by sedd: the bound is in nats per residue", "eval", "graph.file", "graph.report_all"),
        *drop("sedd is started with torchrun", "ngpus", "nnodes"),
        *drop("data.cache is where sedd keeps prepared data", "data.cache_dir"),
        *drop("a name", "model.name", "work_dir"),
        *drop("sedd names its runs with --run", "hydra"),
        *drop("trackers of sedd are in trackers", "wandb"),
    ),
    implied=(
        Implied("noise.sigma_min", to.loglinear_start, "sigma(0) of their log-linear noise"),
        Implied("noise.sigma_max", to.loglinear_end, "sigma(1) of their log-linear noise, whose eps is 0.001"),
        Implied("model.head", "score", "their network gives the log-score"),
        Implied("model.gate_init", 0.0, "their gates start at 0"),
        Implied("training.accum", to.micro_batches, "their micro-batches are divided among the GPUs"),
        Implied("lr_schedule.type", "constant", "their learning rate is constant after the warm-up"),
        Implied("sampling.at_steps", [], "samples are drawn at snapshots"),
    ),
    unit="nats per sequence (a sum over its positions)",
    loss_kind="sum",
    groups={"model": {"small": network(768, 12, 12), "medium": network(1024, 24, 16)}},
    unused_groups=frozenset({"hydra"}),
    order=9,
)  # fmt: skip
"""t is drawn from [0.001, 1] there and from [0, 1] here, which changes the expected loss by less than 0.1 %."""
