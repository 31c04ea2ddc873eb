"""Whether a checkpoint belongs to a run: what does not is refused by name, before any weight changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sedd.distributed.matching import mismatch
from sedd.runs import changes, checkpoint
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.history import changed_keys
from sedd.runs.imported import is_imported
from sedd.runs.state import TrainState
from sedd.training.muon import expected_moments
from sedd.training.optimizer_state import problem_with_state

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


def without_moments(trainer: Trainer) -> list[str]:
    """The names of the trained parameters that have had no gradient yet: the optimizer keeps nothing for them."""
    return [name for name, parameter in _trained(trainer).items() if not trainer.optimizer.state.get(parameter)]


def problem_with(trainer: Trainer, path: Path, saved: Checkpoint) -> str | None:
    """Why a checkpoint does not belong to the run of a trainer; None if it does. Needs its tensors."""
    if is_imported(saved.state):
        return "it has imported weights, and no state of an optimizer to go on from; start a new run"
    own = trainer.run.identity()
    if own and saved.run and own != saved.run:
        return f"it is of another run ({saved.run}; this one is {own}); remove it, or resume the run that it is of"
    refused, _ = changes.split(saved.config, trainer.config.to_dict(), trainer.run.allow)
    if refused:  # but for what was changed on purpose after this checkpoint
        known = changed_keys(trainer.run.read_metrics())
        refused = [item for item in refused if item.key not in known]
    if refused:
        lines = (f"\n  {item.key}: {item.values[0]!r} in the checkpoint, {item.values[1]!r} now" for item in refused)
        return f"it was trained with another configuration:{''.join(lines)}\n{changes.advice(refused)}"
    try:
        return _problem_with_state(trainer, path, saved) or _problem_with_tensors(trainer, saved)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"its content is not that of a checkpoint ({type(error).__name__}: {error}); use another one"


def _problem_with_state(trainer: Trainer, path: Path, saved: Checkpoint) -> str | None:
    state = TrainState.from_dict(saved.state["train"])
    if state.step != checkpoint.step_of(path):
        return f"it is of step {state.step:,}; rename it"
    if saved.state["data"] != trainer.data.fingerprint:
        return _problem_with_data(saved.state["data"], trainer.data.fingerprint)
    return None


def _problem_with_data(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between the data that a checkpoint was trained on and those of a trainer."""
    sequences = f"{was['train']['sequences']:,} sequences, and now {now['train']['sequences']:,}"
    before, alphabet = was.get("alphabet", now["alphabet"]), now["alphabet"]
    if before == alphabet:
        return f"it was trained on other data: {sequences}; resume with the same data, or start a new run"
    return (
        f"it was trained with the alphabet {before['name']!r} of {len(before['symbols']):,} symbols, and now it is "
        f"{alphabet['name']!r} of {len(alphabet['symbols']):,}, or in another order; resume with the same one (and "
        "version of its plugin), or start a new run"
    )


def _problem_with_tensors(trainer: Trainer, saved: Checkpoint) -> str | None:
    network = type(trainer.network).__name__
    for name, module in (("model", trainer.network), ("ema", trainer.ema.network)):
        if problem := mismatch(module.state_dict(), saved.tensors[name]):
            return f"the weights do not fit {network}: {problem}"
    if trainer.config.optim.own is not None:
        return problem_with_state(trainer.optimizer, saved.state["optimizer"], saved.tensors["optimizer"])
    updates = saved.state["ema_updates"]
    if type(updates) is not int or updates < 0:
        return f"ema_updates is {updates!r}, expected a number of updates"
    missing = saved.state.get("without_moments", list(_trained(trainer)) if updates == 0 else [])
    moments = expected_moments(trainer.optimizer)
    expected = {
        f"{name}/{kind}": parameter if kind != "step" else torch.zeros(())
        for name, parameter in _trained(trainer).items()
        if name not in missing
        for kind in moments[parameter]
    }
    if problem := _problem_with_moments(expected, saved.tensors["optimizer"]):
        return f"the moments of {trainer.config.optim.optimizer} do not fit {network}: {problem}"
    return None


def _problem_with_moments(expected: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> str | None:
    if lost := sorted(expected.keys() - saved.keys()):
        return f"{', '.join(lost[:3])} missing; without them the run would not go on as it was"
    return mismatch(expected, saved)


def _trained(trainer: Trainer) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in trainer.network.named_parameters() if parameter.requires_grad}
