"""What to do about a verdict: consequences of its evidence, with values that are computed for the run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sedd.config.config import Config
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.verdict import Remedy
from sedd.plugins.contracts import Network
from sedd.runs.metrics import TrainRecord

CLIP_QUANTILE = 0.95
"""Share of the earlier gradient norms that lie under a new `optim.grad_clip`."""
LR_FACTOR = 0.4
"""Factor on the learning rate where the run does not show which one was still good: 5e-5 becomes 2e-5."""


def two_digits(value: float) -> float:
    """`value` rounded to two significant digits."""
    return float(f"{value:.2g}")


def go_back(step: int | None) -> Remedy:
    """Return to a checkpoint from before the trouble, which began at `step` at the earliest."""
    if not step:
        return Remedy("start the run again: there is no step before the trouble")
    return Remedy(
        f"go back to the last checkpoint at or before step {step:,}",
        "monitoring.on_divergence=rollback does it by itself",
    )


def of_rise(config: Config, needed: int | None) -> tuple[Remedy, ...]:
    """The curriculum climbs faster than a rule allows; `needed` is the `preschool_time` that would not."""
    limit, preschool = config.monitoring.max_rise, config.curriculum.preschool_time
    remedies = [Remedy("nothing has to be done: held-out sequences are evaluated without the curriculum")]
    if needed is not None and preschool < needed <= config.training.n_iters:
        remedies.append(
            Remedy(
                f"for a gentler ramp, curriculum.preschool_time={needed} (now {preschool:,})",
                f"the loss then climbs by less than {limit:g} nats per residue in 1,000 steps",
                tried=False,
            )
        )
    return tuple(remedies)


def of_divergence(facts: RunFacts, since: tuple[int, int] | None) -> tuple[Remedy, ...]:
    """The model got worse after some step."""
    optim, lines = facts.config.optim, facts.lines
    begin = since[0] if since else 0
    before = [line for line in lines if line.step <= begin] or lines[:1]
    now, good = lines[-1].lr, before[-1].lr
    remedies = [go_back(_checkpoint_step(facts, begin))]
    if now > 2.5 * max(line.lr for line in before) and begin >= optim.warmup:
        remedies.append(
            Remedy(
                f"keep the learning rate at {good:.2g}: it jumped to {now:.2g} after step {begin:,} (a restart, or a "
                "schedule that rises again?)",
                tried=True,
            )
        )
    elif begin < optim.warmup and good < 0.7 * optim.lr:
        remedies.append(
            Remedy(f"optim.lr={two_digits(good):g}", f"the warm-up went well up to it (step {begin:,})", tried=True)
        )
        remedies.append(Remedy(f"or optim.warmup={round(1.5 * optim.warmup)}: a slower warm-up", tried=False))
    else:
        remedies.append(Remedy(f"optim.lr={two_digits(LR_FACTOR * good):g} (now {good:.2g})", tried=False))
    return (*remedies, *_clipping(facts.config, before))


def of_instability(facts: RunFacts, since: tuple[int, int] | None, *, skips: bool) -> tuple[Remedy, ...]:
    """Steps are skipped, or the loss oscillates."""
    optim = facts.config.optim
    precision = Remedy("device.precision=float32", "if the gradients are finite then, bfloat16 overflowed", tried=False)
    lower = Remedy(f"optim.lr={two_digits(LR_FACTOR * optim.lr):g} (now {optim.lr:g})", tried=False)
    if skips:
        clip = () if optim.grad_clip else (Remedy("optim.grad_clip=1 (now off)", tried=False),)
        return (*((precision,) if facts.config.device.precision != "float32" else ()), lower, *clip)
    begin = since[0] if since else 0
    before = [line for line in facts.lines if line.step <= begin] or facts.lines[:1]
    return (
        lower,
        *_clipping(facts.config, before),
        larger_batch(facts.config),
        go_back(_checkpoint_step(facts, begin)),
    )


def of_past_instability(facts: RunFacts) -> tuple[Remedy, ...]:
    """The bound was worse for a while, and came back."""
    lr = facts.config.optim.lr
    return (
        Remedy("go on: the model has recovered"),
        Remedy(f"optim.lr={two_digits(LR_FACTOR * lr):g} (now {lr:g})", "if it happens again", tried=False),
        *_clipping(facts.config, facts.lines),
    )


def of_data(since: tuple[int, int] | None) -> tuple[Remedy, ...]:
    """The token frequencies of the training sequences changed."""
    where = f"from a step between {since[0]:,} and {since[1]:,} on" if since else "of the last steps"
    return (
        Remedy(
            f"look at the training sequences {where}, and at the file they come from",
            "`sedd data prepare` reports what it repaired and dropped",
        ),
        Remedy("leave the learning rate and the curriculum as they are: neither is the cause"),
    )


def of_overfitting(facts: RunFacts, best_step: int) -> tuple[Remedy, ...]:
    """Held-out data get worse while training data get better."""
    model, data = facts.config.model, facts.history.data
    sequences = f" (now {data.sequences:,} sequences)" if data is not None else ""
    dropout: float | None = getattr(model, "dropout", None)  # networks of plugins may have none
    low = dropout is not None and dropout < 0.2
    more = (Remedy(f"model.dropout=0.2 (now {dropout:g})", tried=False),) if low else ()
    return (
        Remedy(f"use the best checkpoint, of step {best_step:,}, and stop", "more steps make it worse"),
        Remedy(f"more training sequences{sequences}", "the only remedy that also makes the best bound better"),
        Remedy(f"training.n_iters={best_step}: stop earlier", "monitoring.on_divergence=stop does it by itself"),
        *more,
        Remedy(
            f"a smaller model{_now(model)}",
            "it memorises later",
            tried=False,
        ),
    )


def of_leak() -> tuple[Remedy, ...]:
    """The training loss sees its targets."""
    return (
        Remedy("look for clean tokens among the inputs of the network in training mode", "labels, features, caches"),
        Remedy("check that a sequence is not predicted from the others of its batch, and that pads are masked"),
        Remedy("do not trust the training loss; the held-out bound is not affected"),
    )


def of_averages(config: Config, steps: int) -> tuple[Remedy, ...]:
    """The averaged weights do not follow the trained ones."""
    horizon = max(10, steps // 20)
    decay = float(f"{1.0 - 1.0 / horizon:.6g}")
    warmup = (
        () if config.ema.warmup else (Remedy("ema.warmup=true (now false)", "the average follows early", tried=False),)
    )
    return (
        *warmup,
        Remedy(
            f"ema.decay={decay:g} (now {config.ema.decay:g})",
            f"the average then covers the last {horizon:,} of {steps:,} steps",
            tried=False,
        ),
        Remedy("the trained weights themselves are not affected: nothing has to be trained again but the average"),
    )


def of_held_out(facts: RunFacts) -> tuple[Remedy, ...]:
    """The held-out sequences are of another kind."""
    valid = facts.config.data.valid
    source = f"data.valid={valid}" if valid else "how data.holdout and data.clusters split the sequences"
    return (
        Remedy(f"look at the held-out sequences: {source}", "same alphabet, same kind of sequences, same cleaning?"),
        Remedy("to hold out sequences of the training set itself, remove data.valid and set data.holdout", tried=False),
        Remedy("the model is not at fault: do not change the learning rate or the curriculum"),
    )


def of_plateau(facts: RunFacts, rung: str) -> tuple[Remedy, ...]:
    """The model does not improve: at the `uniform` predictor, at the `unigram` model, or `late`."""
    config, optim, model = facts.config, facts.config.optim, facts.config.model
    norms = np.array([line.grad_norm for line in facts.lines[-20:]])
    size = f"a larger model{_now(model)}"
    higher = Remedy(f"optim.lr={two_digits(2.5 * optim.lr):g} (now {optim.lr:g}), if it is too low", tried=False)
    lower = Remedy(f"optim.lr={two_digits(LR_FACTOR * optim.lr):g} (now {optim.lr:g}), if it is too high", tried=False)
    if rung == "uniform" and len(norms) and float(norms.max()) == 0.0:
        return (
            Remedy(
                "look for what cuts the gradient off: it is 0 at every step",
                "frozen parameters, a detached output, a head that is not trained",
            ),
        )
    if rung == "uniform":
        return (
            Remedy("check that the network sees its inputs and that its head is trained", "the gradient is not 0"),
            lower, higher,
        )  # fmt: skip
    if rung == "unigram":
        return (
            Remedy("wait, if this is early: the order of residues takes longer to learn than their frequencies"),
            higher, lower, larger_batch(config), Remedy(size, tried=False),
        )  # fmt: skip
    return (
        Remedy("stop here, if the bound is good enough: the best checkpoint is kept"),
        larger_batch(config),
        Remedy(size, tried=False),
        Remedy("more training sequences"),
    )


def larger_batch(config: Config) -> Remedy:
    """A gradient with less Monte Carlo error."""
    training = config.training
    if training.batch_residues:
        return Remedy(
            f"training.batch_residues={2 * training.batch_residues} (now {training.batch_residues})",
            "a less noisy gradient",
            tried=False,
        )
    return Remedy(f"training.accum={2 * training.accum} (now {training.accum})", "a less noisy gradient", tried=False)


def of_more(evidence: Evidence | None) -> tuple[Remedy, ...]:
    """The data do not decide."""
    wait = "train longer, or with larger batches" if evidence is not None else "train until more lines are logged"
    return (Remedy(wait, "the errors become smaller"),)


def _now(model: Network) -> str:
    """The size of a network, in brackets; empty where its options do not say it as the built-in network's do."""
    blocks, width = getattr(model, "n_blocks", None), getattr(model, "hidden_size", None)
    return f" (now {blocks} blocks of width {width})" if blocks and width else ""


def _clipping(config: Config, before: Sequence[TrainRecord]) -> tuple[Remedy, ...]:
    norms, present = np.array([line.grad_norm for line in before]), config.optim.grad_clip
    clip = two_digits(float(np.quantile(norms, CLIP_QUANTILE)))
    if len(norms) < 5 or clip <= 0 or (present and clip >= 0.8 * present):
        return ()
    return (
        Remedy(
            f"optim.grad_clip={clip:g} (now {f'{present:g}' if present else 'off'})",
            f"{CLIP_QUANTILE:.0%} of the earlier gradient norms are smaller",
            tried=False,
        ),
    )


def _checkpoint_step(facts: RunFacts, begin: int) -> int | None:
    """The last evaluation at or before a step, else the last line; None if there is none."""
    steps = [bound.step for bound in facts.history.bounds if bound.step <= begin]
    return max(steps, default=None) or max((line.step for line in facts.lines if line.step <= begin), default=None)
