"""Conversions that several dialects share: batch sizes, clocks, clipping, noise, names of data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sedd.config.foreign.dialect import Convert, Dropped, NotExpressible
from sedd.config.foreign.source import Source

SEDD_EPS = 1e-3
"""eps of the log-linear noise of SEDD and MDLM, which no run file changes: 1 - eps is the mask rate at t = 1."""
YOUR_DATA = "YOUR.fasta.gz"
"""Stands for the user's sequences, as in the presets."""
YOUR_TEXT = "YOUR.txt"
WRITE_DATA = "the name of a data set; write the name of your file there"


# Clocks and batches ---------------------------------------------------------------------------------------------------


def own_steps(key: str) -> Convert:
    """A number of steps of the program's own clock."""
    return lambda source, value: source.steps(key)


def why_clock(source: Source, value: Any) -> str:
    """Why a number of steps changed; empty where an optimizer step has one micro-batch."""
    if source.accum == 1 or source.clock == "theirs":
        return ""
    return f"they count micro-batches, sedd counts optimizer steps, of {source.accum} micro-batches each"


def updates(key: str) -> Convert:
    """A number of optimizer steps."""
    return lambda source, value: source.updates(key)


def micro_batches(source: Source, value: Any = None) -> int:
    """Micro-batches of an optimizer step over all processes."""
    return source.accum * source.count("ngpus", 1)


def micro_batch(source: Source, value: Any) -> int:
    """Sequences of a micro-batch of one process, where theirs is the number of an optimizer step over all of them."""
    total, parts = source.count("training.batch_size"), micro_batches(source)
    if total % parts:
        raise NotExpressible(f"{total} sequences do not divide into {parts} micro-batches (ngpus x accum)")
    return total // parts


def why_batch(source: Source, value: Any) -> str:
    """Why the size of a batch changed; empty where a step has one micro-batch."""
    if micro_batches(source) == 1:
        return ""
    return (
        "theirs counts an optimizer step over all GPUs and micro-batches, sedd's a micro-batch of one process; "
        "batch_size x accum is the same"
    )


def why_accum(source: Source, value: Any) -> str:
    """Why the number of micro-batches changed."""
    gpus = source.count("ngpus", 1)
    return f"the micro-batches of {gpus} GPUs; sedd shares them among the processes that there are" if gpus > 1 else ""


def sample_every(source: Source, value: Any) -> int | None:
    """Steps between two sets of samples: at every snapshot."""
    return source.steps("training.snapshot_freq") if value is True and "training.snapshot_freq" in source else None


# The optimizer --------------------------------------------------------------------------------------------------------


def clip_of_sum(source: Source, value: Any) -> float:
    """Largest norm of the gradient of a mean, from that of a sum over the positions of a sequence."""
    norm = source.number("optim.grad_clip")
    if norm == 0.0:
        raise NotExpressible("0 scales every gradient to zero there; a negative value is what switches clipping off")
    return 0.0 if norm < 0.0 else norm / source.length


def eps_of_sum(source: Source, value: Any) -> float:
    """The number added to the denominator, for a gradient that is `length` times smaller."""
    return source.number("optim.eps") / source.length


def decays_all(source: Source, value: Any) -> str:
    """Why a weight decay means something else here; empty where there is none."""
    return "theirs acts on all tensors, that of sedd on matrices: not on biases, norms and embeddings" if value else ""


# Noise ----------------------------------------------------------------------------------------------------------------


def is_loglinear(source: Source) -> bool:
    """Whether the noise is log-linear."""
    return bool(source.get("noise.type") == "loglinear")


def noise_type(*known: str, other: str = "") -> Convert:
    """The type of the noise, one of those that both programs compute alike."""

    def convert(source: Source, value: Any) -> Any:
        if value not in known:
            raise NotExpressible(f"{other or 'sedd has no such noise'}; known are {', '.join(known)}")
        return value

    return convert


def sigma_max(source: Source, value: Any = None) -> Any:
    """sigma(1): of the log-linear noise -log(eps), whatever the file says."""
    return loglinear_end(source) if is_loglinear(source) else value


def sigma_min(source: Source, value: Any = None) -> Any:
    """sigma(0): of the log-linear noise 0, whatever the file says."""
    return 0.0 if is_loglinear(source) else value


def loglinear_end(source: Source, value: Any = None) -> float | None:
    """sigma(1) = -log(eps) of the log-linear noise; None for any other one."""
    if not is_loglinear(source):
        return None
    eps = source.number("noise.eps", SEDD_EPS) if source.dialect.reads_eps else SEDD_EPS
    if not 0.0 < eps < 1.0:
        raise source.error("noise.eps", eps, "expected a number between 0 and 1")
    return -math.log(eps)


def loglinear_start(source: Source, value: Any = None) -> float | None:
    """sigma(0) = 0 of the log-linear noise; None for any other one."""
    return 0.0 if is_loglinear(source) else None


def why_sigma(source: Source, value: Any) -> str:
    """Why the range of the noise changed."""
    if not is_loglinear(source):
        return ""
    return "loglinear ignores sigma_min and sigma_max: sigma(t) = -log(1 - (1 - eps) t), from 0 to -log(eps)"


# Data -----------------------------------------------------------------------------------------------------------------


def sequences(source: Source, value: Any) -> Any:
    """Training data: a file that is there, or a name to replace."""
    return value if isinstance(value, str) and Path(value).is_file() else YOUR_DATA


def text(source: Source, value: Any) -> Any:
    """Text to train on: a file that is there, or a name to replace."""
    return value if isinstance(value, str) and Path(value).is_file() else YOUR_TEXT


def held_out(source: Source, value: Any) -> Any:
    """Held-out data: a file that is there. Raises Dropped for anything else."""
    if isinstance(value, str) and Path(value).is_file():
        return value
    raise Dropped("the name of a data set; the share data.holdout of the training sequences is held out")
