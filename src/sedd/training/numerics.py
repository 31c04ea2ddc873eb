"""Precision, compilation and layout of a run: what `auto` meant when it began is in its checkpoints, and is kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from sedd.errors import SeddWarning
from sedd.plugins.contracts import Backend, Layout

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


@dataclass(frozen=True)
class Numerics:
    """What decides the rounding of a run besides its device, and the order of its batches."""

    precision: str
    """`float32` or `bfloat16`."""
    compiled: bool
    layout: Layout = "rows"
    """`rows` or `packed`."""

    @staticmethod
    def of(trainer: Trainer) -> Numerics:
        """Those of the training steps of a trainer."""
        return Numerics(trainer.backend.precision, trainer.compiled, trainer.layout)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `of_state` reads back."""
        return asdict(self)

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Numerics | None:
        """Those in the state of a checkpoint; None where it has none that are known."""
        match state.get("numerics"):
            case {"precision": "float32" | "bfloat16" as precision, "compiled": bool(compiled)}:
                layout: Layout = "packed" if state["numerics"].get("layout") == "packed" else "rows"
                return Numerics(precision, compiled, layout)
        return None


def keep_precision(backend: Backend, began: Numerics | None, *, wanted: str) -> Backend:
    """The backend with the precision that a run began with, if its configuration leaves it to sedd.

    Args:
        backend: as this machine would have it.
        began: what the run began with; None for a new run.
        wanted: `device.precision` of the configuration.
    """
    if began is None or wanted != "auto" or backend.precision == began.precision:
        return backend
    kept = backend.model_copy(update={"precision": began.precision})
    device = backend.part_name()
    if not _computes(kept):
        warnings.warn(
            f"the run began in {began.precision} (device.precision=auto), which {device} cannot compute here: it goes "
            f"on in {backend.precision}, and its losses differ by rounding",
            SeddWarning,
            stacklevel=3,
        )
        return backend
    if began.precision == "bfloat16" and not kept.fast_bfloat16():
        warnings.warn(
            f"the run began in bfloat16 (device.precision=auto) and keeps it, but {device} has no instructions for it "
            "here: it is slow. Set device.precision=float32 to change it",
            SeddWarning,
            stacklevel=3,
        )
    return kept


def say_what_changed(began: Numerics | None, now: Numerics) -> None:
    """Warn if a trainer that was made for a new run goes on with a checkpoint of other numerics."""
    if began is not None and began != now:
        warnings.warn(
            f"the checkpoint is of a run with {began}, which goes on with {now}: its losses differ by rounding. "
            "Trainer(..., resume=True) keeps what the run began with",
            SeddWarning,
            stacklevel=3,
        )


def _computes(backend: Backend) -> bool:
    """Whether a matrix product in the precision of the backend is computed in it."""
    expected = torch.bfloat16 if backend.precision == "bfloat16" else torch.float32
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns, and computes in float32
            ones = torch.ones(2, 2, device=backend.device())
            with backend.autocast():
                return (ones @ ones).dtype == expected
    except Exception:  # devices fail in ways of their own
        return False
