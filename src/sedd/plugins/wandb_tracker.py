"""The tracker of Weights & Biases."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sedd.plugins.contracts import Tracker
from sedd.plugins.tracked_run import TrackedRun, imported

LEVELS = {"info": "INFO", "warning": "WARN", "critical": "ERROR"}
"""Severities of alarms, in the words of W&B."""
MOST_SAMPLES = 100
"""Sequences in a table."""


@dataclass
class WandbSession:
    """A run at W&B."""

    wandb: Any
    """The package."""
    run: Any
    known: TrackedRun


class Wandb(Tracker):
    """Weights & Biases, online or offline, with alarms, samples and files; needs `pip install wandb`."""

    type: Literal["wandb"] = "wandb"
    project: str = "sedd"
    """The project, which is made if need be."""
    entity: str | None = None
    """User or team; by default the one that is logged in."""
    name: str | None = None
    """Name of the run; by default that of the run directory."""
    group: str | None = None
    """Group of runs that belong together."""
    tags: tuple[str, ...] = ()
    """Tags of the run."""
    mode: Literal["auto", "online", "offline"] = "auto"
    """`offline`: write to `wandb/` in the run directory and contact nobody; `wandb sync` sends it later. `auto`: as the
    environment variable WANDB_MODE says, by default online."""

    def open(self, run: Path, config: Mapping[str, Any]) -> WandbSession:
        mode = os.environ.get("WANDB_MODE", "online") if self.mode == "auto" else self.mode
        if mode not in ("online", "shared"):
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it is read when W&B is imported
        wandb = imported("wandb", "wandb")
        known = TrackedRun(run, f"wandb {self.entity or ''}/{self.project}")
        if known.id is None:
            known.remember(uuid.uuid4().hex[:8])
        settings = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        opened = wandb.init(
            project=self.project, entity=self.entity, name=self.name or run.resolve().name, group=self.group,
            tags=list(self.tags), id=known.id, resume="allow", mode=mode, dir=str(run.resolve()),
            config=dict(config), settings=settings, reinit="create_new",
        )  # fmt: skip
        return WandbSession(wandb, opened, known)

    def log(self, session: WandbSession, step: int, metrics: Mapping[str, float]) -> None:
        _send(session, step, dict(metrics))

    def log_alarm(self, session: WandbSession, step: int, alarm: Mapping[str, Any]) -> None:
        level = getattr(session.wandb.AlertLevel, LEVELS[alarm["severity"]])
        if session.known.first(step, f"alarm {alarm['rule']}"):
            session.run.alert(title=alarm["rule"], text=f"step {step}: {alarm['message']}", level=level)

    def log_samples(self, session: WandbSession, step: int, samples: Sequence[str], file: Path) -> None:
        table = session.wandb.Table(columns=["sequence"], data=[[sample] for sample in samples[:MOST_SAMPLES]])
        _send(session, step, {"samples": table})

    def log_file(self, session: WandbSession, file: Path) -> None:
        session.run.save(str(file.resolve()), base_path=str(file.resolve().parent), policy="now")

    def close(self, session: WandbSession) -> None:
        session.run.finish()


def _send(session: WandbSession, step: int, values: Mapping[str, Any]) -> None:
    if unsent := session.known.unsent(step, values):
        session.run.log({name: value for name, value in values.items() if name in unsent}, step=step)
        session.known.sent(step, unsent)
