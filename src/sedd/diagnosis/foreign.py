"""Forecasts for the run files of other trainers: converted in memory, and in the unit of their loss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sedd.config.config import Config
from sedd.config.foreign.convert import Converted, convert
from sedd.config.foreign.source import Clock
from sedd.config.run_file import ForeignFileError, load_config
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.curve import Unit
from sedd.diagnosis.curve_fit.trainers import mismatched_loss
from sedd.diagnosis.forecast import Forecast, default_steps, make_forecast
from sedd.diagnosis.predictors import Predictor, untrained
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.schedule import Schedule
from sedd.errors import ConfigError, SeddWarning
from sedd.runs.directory import RunDirectory

POSITIONS = 2_000
"""Positions on the noise path of a mean over t."""


@dataclass(frozen=True, eq=False)
class LoadedConfig:
    """A configuration, and what was assumed if it is that of another trainer."""

    config: Config
    converted: Converted | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, one sentence each; empty for a run file of sedd."""
        return self.converted.assumptions if self.converted is not None else ()

    @property
    def symbols(self) -> int | None:
        """Size of the alphabet, where only the run file says it: of a text without data."""
        is_text = self.config.data.alphabet == "text"
        return self.converted.symbols if self.converted is not None and is_text else None

    @property
    def unit(self) -> Unit | None:
        """The unit of the losses in the log of another trainer, where its loss is a sum over a sequence."""
        return "sequence" if self.converted is not None and self.converted.dialect.loss_kind == "sum" else None


def load_any(source: str | Path, *overrides: str, clock: Clock = "ours") -> LoadedConfig:
    """A preset, a run file, or the run file of another trainer, which is converted without being written.

    Args:
        source: as for `load_config`.
        overrides: dotted assignments, in the keys of sedd.
        clock: of a converted file: whether its steps are optimizer steps, or those of the other program's log.

    Raises:
        ConfigError: as `load_config` and `convert`.
    """
    try:
        return LoadedConfig(load_config(source, *overrides))
    except ForeignFileError:
        converted = convert(source, force=True, clock=clock)
    config = load_config(converted.config.to_dict(parts=True), *overrides) if overrides else converted.config
    return LoadedConfig(config, converted)


def load_quietly(source: str | Path, *overrides: str, clock: Clock = "ours") -> LoadedConfig:
    """`load_any` without the warnings on settings, which are shown when a model is trained with them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        return load_any(source, *overrides, clock=clock)


def load_recorded(file: Path) -> LoadedConfig:
    """The configuration of a run, without trackers and metrics that are not installed here: no verdict depends on them.

    Raises:
        ConfigError: if anything else is wrong with it.
    """
    try:
        return load_quietly(file)
    except ConfigError as error:
        if not error.keys or not all(key.startswith(("trackers.", "evaluation.metrics.")) for key in error.keys):
            raise
    data = RunDirectory(file.parent).config()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        evaluation = {**data.get("evaluation", {}), "metrics": ()}
        return LoadedConfig(Config(**{**data, "trackers": (), "evaluation": evaluation}))


def load_without_advice(source: str | Path, *overrides: str) -> Config:
    """Load a configuration without the warnings on its settings, which are shown when it is trained."""
    return load_quietly(source, *overrides).config


def loaded_config(config: Config | str | Path, clock: Clock = "ours") -> LoadedConfig:
    """A configuration that may be loaded already."""
    return LoadedConfig(config) if isinstance(config, Config) else load_quietly(config, clock=clock)


@dataclass(frozen=True)
class ForeignRow:
    """The loss of one step without learning, in their unit and in ours."""

    their_step: int
    step: int
    """Optimizer step."""
    theirs: float
    """Loss of an untrained model as their program reports it, in `Dialect.unit`."""
    ours: float
    """Loss of an untrained model in sedd, nats per residue."""
    unigram: float
    """Loss of the unigram model in sedd, nats per residue."""


def foreign_rows(converted: Converted, forecast: Forecast, steps: Sequence[int] | None = None) -> list[ForeignRow]:
    """The forecast of a converted configuration in both units, by optimizer step."""
    config, source, dialect = forecast.config, converted.source, converted.dialect
    symbols = converted.symbols or len(forecast.statistics.frequencies)
    predictor = untrained(make_graph(config.graph.type, symbols), config.model)
    factor = source.length if dialect.loss_kind == "sum" else 1
    per_step = source.accum if dialect.counts_micro_batches else 1
    rows = []
    for step in default_steps(config) if steps is None else steps:
        theirs = factor * _their_loss(converted, config, predictor, step)
        ours, unigram = forecast.loss(step, "untrained"), forecast.loss(step)
        rows.append(ForeignRow(per_step * step, step, theirs, ours, unigram))
    return rows


def foreign_forecast(converted: Converted) -> Forecast:
    """The forecast of a converted configuration without data."""
    symbols = converted.symbols if converted.config.data.alphabet == "text" else None
    return make_forecast(converted.config, DataStatistics.usual(converted.config, symbols))


def _their_loss(converted: Converted, config: Config, predictor: Predictor, step: int) -> float:
    """Loss of an untrained model in the other program, nats per position."""
    schedule = Schedule(config)
    difficulty = schedule.difficulty(step)
    if converted.dialect.corrupts == "consistent" or difficulty == 1.0:
        return predictor.loss(*schedule.mask_range(difficulty))
    if config.curriculum.mode == "bias":  # t is warped, and no weight makes up for that
        t = ((torch.arange(POSITIONS, dtype=torch.float64) + 0.5) / POSITIONS) ** (1.0 / difficulty)
        rates = -np.expm1(-config.noise.total(t).numpy())
        middle = (predictor.mask_rates[1:] + predictor.mask_rates[:-1]) / 2
        density = np.interp(rates, middle, np.diff(predictor.integral) / np.diff(predictor.mask_rates))
        return float((density * config.noise.rate(t).numpy() * (1.0 - rates)).mean())
    return mismatched_loss(predictor, difficulty, *schedule.mask_range(1.0))
