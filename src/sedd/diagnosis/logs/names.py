"""What a name in a log stands for: step, epoch, training loss, held-out loss, learning rate, norm of the gradient."""

from __future__ import annotations

import re
from functools import cache

_GLUED = re.compile(r"^(train|training|val|valid|validation|eval|test|dev|avg|mean|batch|epoch)(loss|losses)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile(r"[^a-z0-9]+")

_TRAIN = {"train", "training", "trn", "tr"}
_HELD_OUT = {"val", "valid", "validation", "validate", "eval", "evaluation", "test", "dev", "heldout", "holdout"}
_LOSS = {"loss", "losses"}
_OTHER_LOSSES = ({"nll"}, {"nelbo"}, {"ce"}, {"xent"}, {"cross", "entropy"}, {"score", "entropy"}, {"bpd"}, {"vlb"},
                 {"objective"}, {"cost"})  # fmt: skip
"""Words that stand for a loss where no name has the word loss."""
_NOT_A_LOSS = {"scale", "scaler", "weight", "weights", "best", "min", "max", "std", "stderr", "sem", "var", "variance",
               "ratio", "diff", "delta", "count", "num", "number", "time", "grad", "norm", "lr", "threshold", "spike",
               "spikes", "id", "name", "type", "fn", "lowest", "previous", "prev", "final", "last", "old",
               "initial", "target"}  # fmt: skip
"""Words that turn a name with `loss` into something else, such as `loss_scale`."""
_ONE_STEP = {"step", "batch", "iter", "iteration", "minibatch", "current", "raw"}
_MEAN = {"epoch", "avg", "average", "mean", "smooth", "smoothed", "ema", "running", "cumulative"}
_NEUTRAL = {"metrics", "metric", "trainer", "scalars", "scalar", "log", "logs", "nats", "model"}

_STEPS = (
    "optimizer_step", "optimizer_steps", "optim_step", "opt_step", "gradient_step", "global_step", "global_steps",
    "global_iter", "global_iteration", "step", "steps", "iteration", "iterations", "iter", "iters", "itr", "it",
    "updates", "batch", "batch_idx",
)  # fmt: skip
"""Names of steps without words such as `train`, the preferred ones first: a logger's own counter is often called `step`
where `global_step` counts optimizer steps."""


def run_of(name: str) -> str:
    """The run that a column of an export of Weights & Biases belongs to, as in `run - train/loss`; else empty."""
    return name.rpartition(" - ")[0]


@cache
def words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case, without its run: `run - train/lossStep` is train, loss, step."""
    text = _CAMEL.sub("_", name.rpartition(" - ")[2]).lower()
    found = [word for word in _NO_WORD.split(text) if word]
    return tuple(part for word in found for part in (_GLUED.sub(r"\1 \2", word)).split())


@cache
def step_rank(name: str) -> int | None:
    """Place of a name among those of steps, 0 for the best; None if it is not one."""
    core = "_".join(word for word in words(name) if word not in _TRAIN | {"trainer", "num", "n", "current"})
    return _STEPS.index(core) if core in _STEPS else None


@cache
def is_epoch(name: str) -> bool:
    """Whether a name counts epochs."""
    core = [word for word in words(name) if word not in _TRAIN | {"trainer", "current", "num", "n"}]
    return core in (["epoch"], ["epochs"])


def is_lr(name: str) -> bool:
    """Whether a name is a learning rate, also that of one parameter group."""
    found = words(name)
    return not _LOSS & set(found) and ("lr" in found or {"learning", "rate"} <= set(found))


def is_grad_norm(name: str) -> bool:
    """Whether a name is the norm of a gradient."""
    found = set(words(name))
    both = bool({"grad", "grads", "gradient", "gradients", "g"} & found) and "norm" in found
    return not _LOSS & found and (both or bool({"gradnorm", "gnorm"} & found))


def _is_held_out(found: set[str]) -> bool:
    return bool(_HELD_OUT & found) or {"held", "out"} <= found


def _is_loss(found: set[str]) -> bool:
    return bool(_LOSS & found) and not _NOT_A_LOSS & found


def _is_other_loss(found: set[str]) -> bool:
    return any(loss <= found for loss in _OTHER_LOSSES) and not (_NOT_A_LOSS | _LOSS) & found


@cache
def loss_rank(name: str) -> int | None:
    """Place of a name among those of training losses; None if it is not one.

    0 `train_loss`, 1 `train_loss_step`, 2 `loss`, 3 `loss_step`, 4 `total_loss`, 5 `train_loss_epoch`, 6 `loss_epoch`,
    7 other names with `loss`, 8 other words for a loss such as `nll`, 9 `value`.
    """
    found = set(words(name)) - _NEUTRAL
    if _is_held_out(found):
        return None
    if _is_other_loss(found):
        return 8
    if found == {"value"}:
        return 9
    if not _is_loss(found):
        return None
    train, rest = bool(_TRAIN & found), found - _TRAIN - _LOSS
    if not rest:
        return 0 if train else 2
    if rest <= _ONE_STEP:
        return 1 if train else 3
    if rest == {"total"}:
        return 4
    if rest <= _MEAN:
        return 5 if train else 6
    return 7


@cache
def held_out_rank(name: str) -> int | None:
    """Place of a name among those of held-out losses; None if it is not one. Validation comes before test, and the
    mean over the held-out data before the loss of one batch."""
    found = set(words(name)) - _NEUTRAL
    if not _is_held_out(found) or not (_is_loss(found) or _is_other_loss(found)):
        return None
    kind = 0 if {"val", "valid", "validation", "validate"} & found else 2 if "test" in found else 1
    rest = found - _HELD_OUT - {"held", "out"} - _LOSS - _TRAIN
    form = 0 if not rest else 1 if rest <= _MEAN | {"total"} else 3 if rest <= _ONE_STEP else 2
    return 10 * form + kind if _is_loss(found) else 100 + kind


def is_known(name: str) -> bool:
    """Whether a name stands for anything that a curve needs."""
    return (
        step_rank(name) is not None or loss_rank(name) is not None or held_out_rank(name) is not None or is_epoch(name)
    )


def is_data(text: str) -> bool:
    """Whether a cell says which data its row is of: `train`, `val`."""
    found = set(words(text))
    return bool(found) and found <= _TRAIN | _HELD_OUT
