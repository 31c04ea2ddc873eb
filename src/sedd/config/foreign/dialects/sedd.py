"""SEDD (louaaron/Score-Entropy-Discrete-Diffusion): a loss summed over a sequence, steps of the optimizer."""

from __future__ import annotations

from typing import Any

from sedd.config.foreign import conversions as to
from sedd.config.foreign.dialect import Dialect, Implied, Rule, drop
from sedd.config.foreign.family import FAMILY, IMPLIED, SUMMED
from sedd.config.foreign.source import Source

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
        *FAMILY,
        *SUMMED,
        Rule("tokens", "data.alphabet", text_or_protein,
             "their vocabulary of {tokens} ids has no characters; text is read as characters here, and "
             "data.alphabet: ids reads sequences of ids"),
        Rule("data.train", "data.train", to.text, to.WRITE_DATA),
        Rule("data.valid", "data.valid", to.held_out),
        Rule("noise.type", "noise.type", to.noise_type("loglinear", "geometric")),
        Rule("noise.sigma_min", "noise.sigma_min", to.sigma_min, to.why_sigma),
        Rule("noise.sigma_max", "noise.sigma_max", to.sigma_max, to.why_sigma),
        Rule("training.eval_freq", "training.eval_every", to.own_steps("training.eval_freq")),
        Rule("training.snapshot_freq", "checkpoint.every", to.own_steps("training.snapshot_freq")),
        Rule("training.snapshot_sampling", "sampling.every", to.sample_every, "samples are drawn at every snapshot"),
        *drop("every checkpoint of sedd can be resumed", "training.snapshot_freq_for_preemption"),
        *drop("data.cache is where sedd keeps prepared data", "data.cache_dir"),
    ),
    implied=(
        *IMPLIED,
        Implied("noise.sigma_min", to.loglinear_start, "sigma(0) of their log-linear noise"),
        Implied("noise.sigma_max", to.loglinear_end, "sigma(1) of their log-linear noise, whose eps is 0.001"),
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
