"""`sedd.forecast` and `sedd.diagnose`: what a configuration will show, and what a run did."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import Dataset, open_data
from sedd.data.prepare.preparing import Progress
from sedd.data.statistics import DataStatistics
from sedd.diagnosis import external_curve as elsewhere
from sedd.diagnosis.curve_file import read_curve
from sedd.diagnosis.diagnosis import Diagnosis
from sedd.diagnosis.forecast import Forecast, make_forecast
from sedd.diagnosis.monitor import Monitor
from sedd.diagnosis.predictors import Predictor, of_profile
from sedd.errors import CheckpointError, ConfigError, DataError, SeddWarning
from sedd.runs.directory import RunDirectory
from sedd.runs.history import read_metrics
from sedd.runs.metrics import padded

_ANOTHER = "give a run directory, its metrics.jsonl, or a CSV of step,loss with a configuration (config, --config)"


def forecast(
    config: Config | str | Path,
    *,
    data: str | Path | Dataset | None = None,
    run: str | Path | None = None,
    steps: Sequence[int] | None = None,
    throughput: float | None = None,
    symbols: int | None = None,
) -> Forecast:
    """What the training loss of a configuration will be, before training: nats per residue at each step.

    Args:
        config: a `Config`, the name of a preset, or the path of a run file.
        data: a FASTA or text file, a prepared store, or a `Dataset`, for the letter frequencies and lengths. Without
            it those of `data.train` are taken where it is there, else those of `run`, else those of proteins at large.
        run: a run directory or its `metrics.jsonl`: the loss by mask rate of that model becomes a third predictor.
        steps: optimizer steps of the rows; by default a few that show the shape.
        throughput: residues per second, for durations.
        symbols: size of the alphabet, if it is larger than that of the data.

    Raises:
        ConfigError: if the configuration cannot be used, a step is negative, or the run has another graph or head.
        DataError: if the data cannot be read.
        CheckpointError: if the run has no metrics yet.

    Examples:
        >>> import sedd
        >>> found = sedd.forecast("quickstart", steps=[0, 800])
        >>> [round(row.untrained, 2) for row in found.rows]
        [0.3, 2.99]
    """
    config = config if isinstance(config, Config) else load_config(config)
    if throughput is not None and not 0.0 < throughput < float("inf"):
        raise ConfigError(f"throughput={throughput}: expected a number of residues per second above 0")
    dataset = data if isinstance(data, Dataset) else dataset_of(config, data)
    records = [] if run is None else _metrics(Path(run))[1]
    letters = _letters(config, dataset, records)
    return make_forecast(
        config,
        letters if symbols is None else letters.among(symbols),
        steps=steps,
        trained=None if run is None else _trained(Path(run), records, config),
        throughput=throughput,
    )


def diagnose(path: str | Path, *, config: Config | str | Path | None = None, symbols: int | None = None) -> Diagnosis:
    """Whether the curriculum or the model moved the loss of a run, and what to do about it.

    Args:
        path: a run directory, its `metrics.jsonl`, or a CSV with the columns step and loss (nats per residue) that
            another program wrote.
        config: a `Config`, the name of a preset, or the path of a run file; by default the one of the run. A CSV, and a
            metrics file that lies alone, have none.
        symbols: size of the alphabet, if it is larger than that of the data.

    Raises:
        ConfigError: if the configuration is missing or cannot be used, for example because a plugin is not installed.
        CheckpointError: if there is no metrics file, or a line of it is damaged; names the line.
        DataError: if a line of a CSV cannot be read; names the line.
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file}: no such file or directory; {_ANOTHER}")
    if file.is_dir() or _is_metrics(file):
        return _of_run(file, config, symbols)
    return _of_curve(file, config, symbols)


def dataset_of(config: Config, data: str | Path | None = None, *, progress: Progress | None = None) -> Dataset | None:
    """The data that a forecast goes by: `data`, or those of the configuration where they are there; else None.

    Raises:
        DataError: if they cannot be read.
    """
    section = config.data
    if data is not None and str(data) != section.train:
        # What is held out, and by which clusters, was said of other data.
        section = section.model_copy(update={"train": str(data), "valid": None, "clusters": None})
    elif data is None and section.train != "synthetic" and not Path(section.train).expanduser().exists():
        return None
    return open_data(section, seed=config.seed, progress=progress)


# Data statistics, profiles, configurations ------------------------------------------------------------------------


def _letters(config: Config, dataset: Dataset | None, records: Sequence[dict[str, Any]]) -> DataStatistics:
    if dataset is not None:
        return DataStatistics.of(dataset, longest=config.model.length)
    known = next((record for record in records if record.get("kind") == "data"), None)
    if known is None:
        return DataStatistics.usual(config)
    counts = np.array(known["letter_counts"], np.float64)
    source = f"the {known['sequences']:,} training sequences of the run"
    return DataStatistics(counts / counts.sum(), float(known["mean_length"]), source)


def _trained(run: Path, records: Sequence[dict[str, Any]], config: Config) -> Predictor:
    """The last profile that a run has recorded."""
    theirs = _recorded(run)
    for section, key in (("graph", "type"), ("model", "head")):
        here = getattr(getattr(config, section), key)
        if (there := theirs.get(section, {}).get(key, here)) != here:
            raise ConfigError(
                f"{run} was trained with {section}.{key}={there}, and this configuration has {here}; its loss by mask "
                "rate says nothing here",
                keys=[f"{section}.{key}"],
            )
    profile = next((record.get("profile") for record in reversed(records) if record.get("kind") == "train"), None)
    if not profile:
        raise CheckpointError(f"{run}: no loss by mask rate was recorded yet; a run has it from its first line on")
    return of_profile(padded(profile, missing=np.nan))


def _recorded(run: Path) -> dict[str, Any]:
    """The configuration of a run as plain data, since its plugins may be missing here; empty where there is none."""
    directory = RunDirectory(run if run.is_dir() else run.parent)
    config = directory.config() if directory.config_file.exists() else {}
    return {name: section for name, section in config.items() if isinstance(section, dict)}


def quietly(source: str | Path, *overrides: str) -> Config:
    """A configuration without its advice: whoever trained with it was told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        return load_config(source, *overrides)


def _given(config: Config | str | Path) -> Config:
    return config if isinstance(config, Config) else quietly(config)


def _config_of(file: Path) -> Config:
    """The configuration beside a metrics file."""
    recorded = RunDirectory(file.parent).config_file
    if not recorded.exists():
        raise ConfigError(f"{file} lies alone, without a config.yaml; name the configuration it was trained with "
                          "(config, --config)")  # fmt: skip
    try:
        return quietly(recorded)
    except ConfigError as error:
        raise ConfigError(
            f"{error}\nInstall the plugins that the run was trained with, or name a configuration like its own "
            "(config=, or --config of sedd diagnose)",
            keys=error.keys,
        ) from None


# Runs and curves ------------------------------------------------------------------------------------------------------


def _metrics(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    file = path / "metrics.jsonl" if path.is_dir() else path
    records = read_metrics(file)
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise CheckpointError(f"{file}:{number}: no metrics line of sedd; {_ANOTHER}")
    return file, records


def _is_metrics(file: Path) -> bool:
    if file.suffix == ".jsonl":
        return True
    with file.open("rb") as opened:
        return opened.read(100).lstrip().startswith(b"{")


def _of_run(path: Path, config: Config | str | Path | None, symbols: int | None) -> Diagnosis:
    file, records = _metrics(path)
    chosen = _config_of(file) if config is None else _given(config)
    letters = _letters(chosen, None, records)
    letters = letters if symbols is None else letters.among(symbols)
    has_profile = any(record.get("kind") == "train" and record.get("profile") for record in records)
    found = make_forecast(
        chosen, letters, trained=_trained(path, records, chosen) if has_profile else None, throughput=_rate(records)
    )
    monitor = Monitor(chosen, {name: found.predictors[name] for name in ("untrained", "unigram")})
    for number, record in enumerate(records, 1):
        try:
            monitor.observe(record)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{file}:{number}: no metrics line of this version of sedd ({type(error).__name__}: {error}); "
                f"{_ANOTHER}"
            ) from None
    return Diagnosis(
        source=str(path),
        config=chosen,
        verdict=monitor.verdict(),
        forecast=found,
        history=monitor.history,
    )


def _rate(records: Sequence[dict[str, Any]]) -> float | None:
    """Residues per second of a run so far."""
    last = next((record for record in reversed(records) if record.get("kind") == "train"), None)
    return None if last is None or not last.get("seconds") else float(last["residues"]) / float(last["seconds"])


def _of_curve(file: Path, config: Config | str | Path | None, symbols: int | None) -> Diagnosis:
    if config is None:
        raise ConfigError(
            f"{file}: a curve alone does not say how it was trained; name a preset or a run file with the same noise "
            "and curriculum (config, --config)"
        )
    curve = read_curve(file)
    found = forecast(_given(config), symbols=symbols, steps=[int(step) for step in curve.steps])
    compared = elsewhere.compare(curve, found)
    return Diagnosis(
        source=str(file),
        config=found.config,
        verdict=elsewhere.judge(compared, found),
        forecast=found,
        elsewhere=compared,
    )
