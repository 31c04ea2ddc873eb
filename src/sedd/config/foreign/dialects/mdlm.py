"""MDLM (kuleshov-group/mdlm): masked diffusion on Lightning and Hydra; its loss is the bound of our normalised head."""

from __future__ import annotations

from typing import Any

from sedd.config.foreign import conversions as to
from sedd.config.foreign.dialect import Dialect, Dropped, Implied, NotExpressible, Rule, drop, only
from sedd.config.foreign.source import Source

HEADS = {"subs": "normalised", "sedd": "score"}
SAMPLERS = {"ddpm": "ancestral", "ddpm_cache": "ancestral", "analytic": "analytic"}
SIZES = "hidden_size", "cond_dim", "length", "n_blocks", "n_heads"
BATCH = "theirs is an optimizer step over all GPUs; batch_size x accum of sedd is the same"


def head(source: Source, value: Any) -> str:
    """What the network gives."""
    if value not in HEADS:
        raise NotExpressible("sedd has the parameterizations subs (head: normalised) and sedd (head: score)")
    return HEADS[value]


def micro_batch(source: Source) -> int:
    """Sequences of a micro-batch: those of the loader, where they are a number that divides the optimizer step."""
    total, one = source.count("loader.global_batch_size"), source.data.get("loader", {}).get("batch_size")
    return one if isinstance(one, int) and not isinstance(one, bool) and one > 0 and total % one == 0 else total


def clip(source: Source, value: Any) -> float:
    """Largest norm of the gradient; null switches clipping off."""
    return 0.0 if value is None else source.number("trainer.gradient_clip_val")


def precision(source: Source, value: Any) -> str:
    """Precision of the matrix products."""
    return "float32" if str(value).startswith("32") else "auto"


def sampler(source: Source, value: Any) -> str:
    """The sampler."""
    if value not in SAMPLERS:
        raise NotExpressible(f"sedd has no such sampler; known are {', '.join(SAMPLERS)}")
    return SAMPLERS[value]


def schedule(source: Source, value: Any) -> str:
    """The learning rate after the warm-up, from the name of a class or function."""
    name = str(value).rpartition(".")[2]
    if name == "CosineDecayWarmupLRScheduler":
        return "cosine"
    if name in ("get_constant_schedule_with_warmup", "get_constant_schedule"):
        return "constant"
    raise NotExpressible("sedd has a constant and a cosine learning rate")


def end_step(source: Source, value: Any) -> int:
    """Optimizer step at which the cosine ends: its steps come after those of the warm-up."""
    return round(source.number("lr_scheduler.t_initial") + source.number("lr_scheduler.warmup_t", 0))


def warmup(source: Source, value: Any) -> int:
    """Optimizer steps of the warm-up of a cosine."""
    return source.updates("lr_scheduler.warmup_t")


def lowest(source: Source, value: Any) -> float:
    """The last learning rate over the peak."""
    return source.number("lr_scheduler.lr_min") / source.number("optim.lr")


def own_path(source: Source, value: Any) -> Any:
    """Held-out data."""
    if value is None:
        raise Dropped("nothing is named")
    return to.held_out(source, value)


DIALECT = Dialect(
    name="mdlm",
    title="MDLM (kuleshov-group/mdlm)",
    signs=frozenset({
        "parameterization", "backbone", "diffusion", "subs_masking", "time_conditioning", "loader.global_batch_size",
        "training.sampling_eps", "training.antithetic_sampling", "training.change_of_variables", "trainer.max_steps",
        "lr_scheduler._target_",
    }),
    rules=(
        # key of theirs, ours, conversion, why
        Rule("seed", "seed"),
        Rule("data.train", "data.train", to.text, to.WRITE_DATA),
        Rule("data.valid", "data.valid", own_path),
        Rule("parameterization", "model.head", head,
             "subs is the normalised head, with the same bound; sedd is the raw score"),
        Rule("time_conditioning", "model.time_conditioning"),
        only("diffusion", "absorbing_state", why="graph.type: absorb", otherwise="sedd's bound of MDLM needs masks"),
        only("backbone", "dit", why="the transformer that sedd has too", otherwise="another network than dit"),
        only("T", 0, why="continuous time, as in sedd", otherwise="sedd has continuous time, T: 0"),
        only("training.importance_sampling", False, why="t is drawn evenly, as in sedd",
             otherwise="sedd draws t evenly"),
        only("training.change_of_variables", False, why="the integral over t, as in sedd",
             otherwise="sedd integrates over t"),
        only("model.type", "ddit", why="the transformer that sedd has too", otherwise="another network than ddit"),
        only("model.tie_word_embeddings", False, why="as in sedd", otherwise="sedd has an output layer of its own"),
        *(Rule(f"model.{key}", f"model.{key}") for key in (*SIZES, "dropout", "scale_by_sigma")),
        Rule("noise.type", "noise.type", to.noise_type("loglinear", "geometric", "linear")),
        Rule("noise.sigma_min", "noise.sigma_min", to.sigma_min, to.why_sigma),
        Rule("noise.sigma_max", "noise.sigma_max", to.sigma_max, to.why_sigma),
        Rule("loader.global_batch_size", "training.batch_size", lambda source, value: micro_batch(source), BATCH),
        Rule("loader.eval_batch_size", None, why="evaluation.batch_size changes memory, not results"),
        Rule("training.ema", "ema.decay"),
        Rule("optim.lr", "optim.lr"),
        Rule("optim.weight_decay", "optim.weight_decay", why=to.decays_all),
        Rule("optim.beta1", "optim.beta1"),
        Rule("optim.beta2", "optim.beta2"),
        Rule("optim.eps", "optim.eps"),
        Rule("trainer.gradient_clip_val", "optim.grad_clip", clip),
        Rule("trainer.max_steps", "training.n_iters", to.own_steps("trainer.max_steps")),
        Rule("trainer.log_every_n_steps", "training.log_every", to.own_steps("trainer.log_every_n_steps")),
        Rule("trainer.val_check_interval", "training.eval_every", to.own_steps("trainer.val_check_interval")),
        Rule("trainer.precision", "device.precision", precision, "auto is bfloat16 where the hardware has it"),
        Rule("lr_scheduler._target_", "lr_schedule.type", schedule, "the name of the schedule here"),
        Rule("lr_scheduler.num_warmup_steps", "optim.warmup", to.updates("lr_scheduler.num_warmup_steps"),
             "their first step has learning rate 0, that of sedd peak / warmup: one step ahead"),
        Rule("lr_scheduler.warmup_t", "optim.warmup", warmup, "sedd begins at 0, not at warmup_lr_init"),
        Rule("lr_scheduler.t_initial", "lr_schedule.end_step", end_step, "counted from the first step, not from the "
             "end of the warm-up"),
        Rule("lr_scheduler.lr_min", "lr_schedule.min_ratio", lowest, "as a fraction of optim.lr"),
        Rule("sampling.predictor", "sampling.predictor", sampler, "the same sampler by another name"),
        Rule("sampling.steps", "sampling.steps"),
        Rule("sampling.noise_removal", "sampling.noise_removal"),
        *drop("part of training.batch_size x training.accum", "loader.batch_size", "trainer.accumulate_grad_batches"),
        *drop("not used by their loss", "subs_masking"),
        *drop("sedd draws t from [0, 1], one in each of equal strata", "training.sampling_eps",
              "training.antithetic_sampling"),
        *drop("sedd's own loader and trainer do this", "loader", "trainer", "callbacks", "strategy", "mode"),
        *drop("an option of sedd sample or sedd evaluate", "sampling", "eval"),
        *drop("the data are named in data.train", "data"),
        *drop("not used with this noise or schedule", "noise", "lr_scheduler"),
        *drop("sedd writes and resumes its own checkpoints", "checkpointing"),
        *drop("a name", "model.name"),
        *drop("trackers of sedd are in trackers", "wandb"),
        *drop("sedd names its runs with --run", "hydra"),
    ),
    implied=(
        Implied("data.train", to.YOUR_TEXT, "write the name of your file there"),
        Implied("data.alphabet", "text", "their vocabulary has no characters; text is read as characters here, "
                "ids with data.alphabet: ids"),
        Implied("graph.type", "absorb", "their process masks tokens"),
        Implied("noise.sigma_min", to.loglinear_start, "sigma(0) of their log-linear noise"),
        Implied("noise.sigma_max", to.loglinear_end, "sigma(1) of their log-linear noise, whose eps is 0.001"),
        Implied("model.gate_init", 0.0, "their gates start at 0"),
        Implied("training.accum", lambda source: source.count("loader.global_batch_size") // micro_batch(source)
                if "loader.global_batch_size" in source else None, "the micro-batches of loader.batch_size"),
        Implied("lr_schedule.type", "constant", "where the file has no lr_scheduler"),
    ),
    unit="nats per token (a mean), the unit of sedd",
    symbols=50_257,  # the vocabulary of GPT-2
    groups={
        "model": {
            name: {"type": "ddit", "hidden_size": width, "cond_dim": 128, "length": 1024, "n_blocks": blocks,
                   "n_heads": heads, "scale_by_sigma": True, "dropout": 0.1}
            for name, width, blocks, heads in (("tiny", 512, 8, 8), ("small", 768, 12, 12), ("medium", 1024, 24, 16))
        },
        "noise": {
            "loglinear": {"type": "loglinear"},
            "linear": {"type": "linear", "sigma_min": 1e-3, "sigma_max": 7.0},
        },
        "lr_scheduler": {"constant_warmup": {
            "_target_": "transformers.get_constant_schedule_with_warmup", "num_warmup_steps": 2500}},
    },
    unused_groups=frozenset({"callbacks", "strategy", "data", "hydra"}),
    order=1,
)  # fmt: skip
