"""PLS (protein_lig_sedd): SEDD for proteins, with a curriculum, and steps that are micro-batches."""

from __future__ import annotations

from typing import Any

from sedd.config.foreign import conversions as to
from sedd.config.foreign.dialect import Dialect, Dropped, Implied, NotExpressible, Rule, drop, only
from sedd.config.foreign.family import FAMILY, IMPLIED
from sedd.config.foreign.source import Source

RAMPS = ("linear", "exponential", "cosine")


def has_curriculum(source: Source) -> bool:
    """Whether the noise grows over the run."""
    return "curriculum" in source and source.flag("curriculum.enabled", True)


def _while_enabled(source: Source) -> None:
    if not has_curriculum(source):
        raise Dropped("curriculum.enabled is false")


def ramp(source: Source, value: Any = None) -> str:
    """The name of the curriculum."""
    if not has_curriculum(source):
        return "constant"
    name = str(source.get("curriculum.difficulty_ramp", "exponential"))
    if name not in RAMPS:
        raise NotExpressible(f"sedd has no such curriculum; known are {', '.join(RAMPS)}")
    return name


def why_ramp(source: Source, value: Any) -> str:
    """Why the curriculum means something else here."""
    if not has_curriculum(source):
        return "without a curriculum, or with curriculum.enabled false, every step has the full noise"
    exponential = (
        "theirs, 1 - e^(-3p), is at 0.955 at preschool_time and jumps; " if ramp(source) == "exponential" else ""
    )
    return f"{exponential}they corrupt with d sigma but weight and condition with sigma; sedd does all with d sigma"


def preschool_time(source: Source, value: Any) -> int:
    """The end of the curriculum."""
    _while_enabled(source)
    return source.steps("curriculum.preschool_time")


def mode(source: Source, value: Any) -> str:
    """How the difficulty changes the noise."""
    _while_enabled(source)
    return "bias" if source.flag("curriculum.probabilistic", False) else "scale"


def cosine(source: Source, value: Any) -> str:
    """The learning rate after the warm-up."""
    if value not in ("cosine_with_warmup", "constant"):
        raise NotExpressible("sedd has a cosine and a constant learning rate")
    return "constant" if value == "constant" else "cosine"


def warmup(source: Source, value: Any) -> int:
    """Optimizer steps of the warm-up; those of `lr_schedule` count where it has them."""
    if "lr_schedule.warmup_steps" in source:
        raise Dropped("the schedule uses lr_schedule.warmup_steps")
    return source.updates("optim.warmup")


def schedule_end(source: Source, value: Any) -> int:
    """Optimizer step at which the cosine ends."""
    if source.get("lr_schedule.type") == "constant":
        raise Dropped("the learning rate is constant")
    return source.updates("lr_schedule.max_steps")


def clip(source: Source, value: Any) -> float:
    """Largest norm of the gradient of a mean."""
    return max(0.0, source.number("optim.grad_clip"))


def length(source: Source, value: Any) -> int:
    """Residues at which sequences are cut."""
    return min(source.length, source.count("data.max_protein_len", source.length))


def precision(source: Source, value: Any) -> str:
    """Precision of the matrix products."""
    return "auto" if source.flag("memory.mixed_precision", True) else "float32"


def holdout(source: Source, value: Any) -> float:
    """The share that is held out."""
    return source.number("data.val_ratio")


def from_train_ratio(source: Source, value: Any = None) -> float | None:
    """The share that is held out where the file has only the share to train on."""
    if "data.val_ratio" in source or "data.train_ratio" not in source:
        return None
    return round(1.0 - source.number("data.train_ratio"), 12)


DIALECT = Dialect(
    name="pls",
    title="PLS (protein_lig_sedd)",
    signs=frozenset({
        "model.n_blocks_prot", "model.n_blocks_lig", "model.esm_dim", "model.molformer_dim", "data.max_protein_len",
        "data.max_ligand_len", "data.use_structure", "data.vocab_size_protein", "data.vocab_size_ligand",
        "curriculum.enabled", "curriculum.probabilistic", "lr_schedule.min_lr_ratio", "lr_schedule.max_steps",
        "training.task", "memory.mixed_precision", "memory.max_memory_per_gpu", "training.force_reprocess",
    }),
    rules=(
        # key of theirs, ours, conversion, why
        *FAMILY,
        Rule("training.seed", "seed"),
        Rule("tokens", "data.alphabet", lambda source, value: "protein",
             "their symbols are amino acids, special and unused tokens; sedd has the 20 amino acids, and no pads"),
        Rule("data.train", "data.train", to.sequences, to.WRITE_DATA),
        Rule("data.valid", "data.valid", to.held_out),
        Rule("data.val_ratio", "data.holdout", holdout),
        Rule("noise.type", "noise.type", to.noise_type("loglinear", "geometric", "cosine")),
        Rule("noise.sigma_min", "noise.sigma_min", to.sigma_min, to.why_sigma),
        Rule("noise.sigma_max", "noise.sigma_max", to.sigma_max, to.why_sigma),
        Rule("curriculum.difficulty_ramp", "curriculum.difficulty_ramp", ramp, why_ramp),
        Rule("curriculum.preschool_time", "curriculum.preschool_time", preschool_time, to.why_clock),
        Rule("curriculum.probabilistic", "curriculum.mode", mode,
             "true warps t without importance weights; `bias` is the nearest, and has the weights"),
        Rule("model.n_blocks_prot", "model.n_blocks"),
        Rule("model.length", "model.length", length, lambda source, value: (
            "proteins are cut at data.max_protein_len" if length(source, value) != value else "")),
        Rule("training.n_iters", "training.n_iters", to.own_steps("training.n_iters"), to.why_clock),
        Rule("training.log_freq", "training.log_every", to.own_steps("training.log_freq"), to.why_clock),
        Rule("training.eval_freq", "training.eval_every", to.own_steps("training.eval_freq"), to.why_clock),
        Rule("training.snapshot_freq", "checkpoint.every", to.own_steps("training.snapshot_freq"), to.why_clock),
        Rule("training.snapshot_sampling", "sampling.every", to.sample_every, "samples are drawn at every snapshot"),
        Rule("training.ema", "ema.decay", why="theirs is saved and never restored, so a resumed run began it anew"),
        only("training.task", "protein_only", why="sedd trains on proteins", otherwise="sedd trains on one sequence, "
             "not on pairs of protein and ligand"),
        Rule("optim.warmup", "optim.warmup", warmup),
        Rule("optim.grad_clip", "optim.grad_clip", clip, "their loss is a mean over all positions, pads included; "
             "sedd's one over residues"),
        Rule("optim.eps", "optim.eps"),
        Rule("lr_schedule.type", "lr_schedule.type", cosine, "a linear warm-up comes first, with optim.warmup"),
        Rule("lr_schedule.warmup_steps", "optim.warmup", to.updates("lr_schedule.warmup_steps")),
        Rule("lr_schedule.max_steps", "lr_schedule.end_step", schedule_end, "their schedule counts optimizer steps, "
             "while n_iters counts micro-batches: where it is longer than the run, the learning rate never gets low"),
        Rule("lr_schedule.min_lr_ratio", "lr_schedule.min_ratio"),
        Rule("memory.gradient_checkpointing", "training.activation_checkpointing"),
        Rule("memory.mixed_precision", "device.precision", precision,
             "auto is bfloat16, where the hardware has it, without a scaler"),
        *drop("loglinear reads it, and its effect is in noise.sigma_max; other noises ignore it", "noise.eps"),
        *drop("its effect is in curriculum.difficulty_ramp", "curriculum.enabled"),
        *drop("its effect is in data.holdout", "data.train_ratio"),
        *drop("its effect is in model.length", "data.max_protein_len"),
        *drop("every checkpoint of sedd can be resumed", "training.snapshot_freq_for_preemption"),
        *drop("the run ends at training.n_iters", "training.epochs", "training.max_samples"),
        *drop("sedd prepares data once, with as many processes as there are cores", "training.num_workers",
              "training.force_reprocess"),
        *drop("sedd has no ligands, structures and embeddings", "data.max_ligand_len", "data.use_structure",
              "data.vocab_size_protein", "data.vocab_size_ligand", "model.esm_dim", "model.molformer_dim",
              "model.n_blocks_lig"),
        *drop("device: auto takes the GPU; --device chooses another one", "model.device", "memory.max_memory_per_gpu"),
        *drop("sedd is started with torchrun", "ngpus"),
        *drop("data.cache is where sedd keeps prepared data", "data.cache_dir"),
        *drop("sedd logs what a diagnosis needs; trackers are in trackers", "monitoring", "wandb"),
    ),
    implied=(
        *IMPLIED,
        Implied("data.holdout", from_train_ratio, "what is left of data.train_ratio"),
        Implied("noise.sigma_min", to.loglinear_start, "sigma(0) of their log-linear noise"),
        Implied("noise.sigma_max", to.loglinear_end, "sigma(1) = -log(eps) of their log-linear noise"),
        Implied("curriculum.difficulty_ramp", ramp, why_ramp),
        Implied("lr_schedule.type", "constant", "as in SEDD, where the file has no lr_schedule"),
        Implied("sampling.at_steps", [], "samples are drawn at snapshots"),
    ),
    unit="nats per position (a mean, pads included)",
    corrupts="mismatched",
    counts_micro_batches=True,
    reads_eps=True,
    unused_groups=frozenset({"hydra"}),
    order=3,
    composes=False,
)  # fmt: skip
"""t is drawn from [0.001, 1] there and from [0, 1] here, which changes the expected loss by less than 0.1 %."""
