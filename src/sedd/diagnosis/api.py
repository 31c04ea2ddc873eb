"""`sedd.forecast` and `sedd.diagnose`: the training loss that a configuration implies, and the verdict on a run."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sedd.config.config import Config
from sedd.config.sections import Data
from sedd.data import Dataset, open_data
from sedd.data.prepare.preparing import Progress
from sedd.data.prepare.sources import find
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.curve import Unit
from sedd.diagnosis.curve_fit.verdicts import judge_curve
from sedd.diagnosis.diagnosis import Diagnosis, evenly_spaced
from sedd.diagnosis.forecast import Forecast, make_forecast
from sedd.diagnosis.foreign import LoadedConfig, load_any, load_recorded, loaded_config
from sedd.diagnosis.foreign import load_without_advice as load_without_advice
from sedd.diagnosis.foresight import DataFacts
from sedd.diagnosis.judge import unseen
from sedd.diagnosis.logs.reading import log_in, read_log
from sedd.diagnosis.monitor import Monitor
from sedd.diagnosis.predictors import Predictor, of_profile
from sedd.errors import CheckpointError, ConfigError, DataError
from sedd.files import bounded_lines
from sedd.runs.directory import RunDirectory
from sedd.runs.history import LONGEST_LINE, RecordError, read_metrics
from sedd.runs.metrics import padded

MOST_LINES = 5_000
"""Train lines of a metrics file that are read; of a longer one, every k-th."""
ROWS = 1_000
"""Most rows of the forecast that comes with a curve."""
_EXPECTED = (
    "give a run directory, its metrics.jsonl, or the log of another program with a configuration (config, --config)"
)
FIRST_LINES = 100
"""Lines in which a metrics file is recognised: a kill may have torn the first ones."""


def forecast(
    config: Config | str | Path,
    *,
    data: str | Path | Dataset | None = None,
    run: str | Path | None = None,
    steps: Sequence[int] | None = None,
    throughput: float | None = None,
    symbols: int | None = None,
) -> Forecast:
    """The training loss that a configuration implies for an untrained and a unigram model, nats per residue.

    Args:
        config: a `Config`, the name of a preset, or the path of a run file, of sedd or of another trainer.
        data: a FASTA or text file, a prepared store, or a `Dataset`, for the token frequencies and lengths. The default
            is `data.train` if it is given and exists, else the data of `run`, else the average of UniProtKB/Swiss-Prot.
        run: a run directory or its `metrics.jsonl`: the loss by mask rate of that model becomes a third predictor.
        steps: optimizer steps of the rows; by default the ramp in eighths and the end.
        throughput: residues per second, for durations.
        symbols: size of the alphabet, if it is larger than that of the data.

    Raises:
        ConfigError: if the configuration is invalid, a step is negative, or the run has another graph or head.
        DataError: if the data cannot be read.
        CheckpointError: if the run has no metrics yet.

    Examples:
        >>> import sedd
        >>> forecast = sedd.forecast("quickstart", steps=[0, 800])
        >>> [round(row.untrained, 2) for row in forecast.rows]
        [0.3, 2.99]
    """
    loaded = LoadedConfig(config) if isinstance(config, Config) else load_any(config)
    return forecast_of(loaded, data=data, run=run, steps=steps, throughput=throughput, symbols=symbols)


def forecast_of(
    loaded: LoadedConfig,
    *,
    data: str | Path | Dataset | None = None,
    run: str | Path | None = None,
    steps: Sequence[int] | None = None,
    throughput: float | None = None,
    symbols: int | None = None,
) -> Forecast:
    """As `forecast`, for a configuration that is loaded, perhaps from the file of another trainer."""
    config = loaded.config
    if throughput is not None and not 0.0 < throughput < float("inf"):
        raise ConfigError(f"throughput={throughput}: expected a number of residues per second above 0")
    dataset = data if isinstance(data, Dataset) else dataset_of(config, data)
    records = [] if run is None else _metrics(Path(run))[1]
    statistics = _statistics(config, dataset, records, symbols or loaded.symbols)
    return make_forecast(
        config,
        statistics if symbols is None else statistics.among(symbols),
        steps=steps,
        trained=None if run is None else _trained(Path(run), records, config),
        throughput=throughput,
        facts=None if dataset is None else DataFacts.of(config, dataset),
        notes=loaded.notes,
    )


def diagnose(
    path: str | Path,
    *,
    config: Config | str | Path | None = None,
    symbols: int | None = None,
    loss: str | None = None,
    unit: Unit | None = None,
) -> Diagnosis:
    """Whether the curriculum or the model moved the loss of a run, and what to do about it.

    Args:
        path: a run directory, its `metrics.jsonl`, or the log of another program: a CSV or another table, JSON lines,
            a `trainer_state.json`, TensorBoard event files, a text log, or a directory with one of these.
        config: a `Config`, the name of a preset, or the path of a run file; by default the `config.yaml` beside the
            metrics file. The log of another program needs it.
        symbols: size of the alphabet, if it is larger than that of the data.
        loss: of the log of another program, the column, key or tag of the training loss; by default the one that is
            clearly meant.
        unit: of the log of another program, what its losses count: nats per `residue`, nats per `masked` residue, nats
            per `sequence`, or `bits` per residue.

    Raises:
        ConfigError: if the configuration is missing or invalid, for example because a plugin is not installed; if there
            is no column `loss`; or if a package is missing that reads the log.
        CheckpointError: if there is no metrics file, or a line of it is damaged; names the line.
        DataError: if it is not clear what the columns of a log are, or a line cannot be read; names the line.
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file}: no such file or directory; {_EXPECTED}")
    if not _is_run(file):
        return _of_curve(file, config, symbols, loss, unit)
    if loss is not None or unit is not None:
        raise ConfigError(
            f"{file} is a run of sedd, whose losses are known; loss and unit (--loss, --unit) are for "
            "the logs of other programs"
        )
    return _of_run(file, config, symbols)


def dataset_of(config: Config, data: str | Path | None = None, *, progress: Progress | None = None) -> Dataset | None:
    """The data of a forecast: `data`, or those of the configuration if they exist; else None.

    Raises:
        DataError: if they cannot be read.
    """
    section = config.data
    if data is not None and str(data) != section.train:
        # `valid` and `clusters` of the configuration belong to other data.
        section = section.model_copy(update={"train": str(data), "valid": None, "clusters": None})
    elif data is None and not _names_data(section):
        return None
    return open_data(section, seed=config.seed, progress=progress)


def _names_data(section: Data) -> bool:
    """Whether a configuration names data that exist. `synthetic` is only the default where it is not written down."""
    if section.train == "synthetic":
        return "train" in section.model_fields_set
    try:
        find(section.train)
    except DataError:
        return False
    return True


def _statistics(
    config: Config, dataset: Dataset | None, records: Sequence[dict[str, Any]], symbols: int | None = None
) -> DataStatistics:
    if dataset is not None:
        return DataStatistics.of(dataset, longest=config.model.length)
    known = next((record for record in records if record.get("kind") == "data"), None)
    if known is None:
        return DataStatistics.usual(config, symbols)
    counts = np.array(known["letter_counts"], np.float64)
    source = f"the {known['sequences']:,} training sequences of the run"
    return DataStatistics(counts / counts.sum(), float(known["mean_length"]), source)


def _trained(run: Path, records: Sequence[dict[str, Any]], config: Config) -> Predictor:
    """The last profile that a run has recorded."""
    recorded = _recorded_config(run)
    for section, key in (("graph", "type"), ("model", "head")):
        value = getattr(getattr(config, section), key)
        if (trained_with := recorded.get(section, {}).get(key, value)) != value:
            raise ConfigError(
                f"{run} was trained with {section}.{key}={trained_with}, and this configuration has {value}; its loss "
                "by mask rate cannot be used",
                keys=[f"{section}.{key}"],
            )
    profile = next((record.get("profile") for record in reversed(records) if record.get("kind") == "train"), None)
    if not profile:
        raise CheckpointError(f"{run}: no loss by mask rate was recorded yet; wait for the first logged step")
    return of_profile(padded(profile, missing=np.nan))


def _recorded_config(run: Path) -> dict[str, Any]:
    """The configuration of a run as plain data, since its plugins may not be installed; empty where there is none."""
    directory = RunDirectory(run if run.is_dir() else run.parent)
    config = directory.config() if directory.config_file.exists() else {}
    return {name: section for name, section in config.items() if isinstance(section, dict)}


def _config_of(file: Path) -> LoadedConfig:
    """The configuration beside a metrics file."""
    recorded = RunDirectory(file.parent).config_file
    if not recorded.exists():
        raise ConfigError(
            f"{file} has no config.yaml beside it; name the configuration it was trained with (config, --config)"
        )
    try:
        return load_recorded(recorded)
    except ConfigError as error:
        raise ConfigError(
            f"{error}\nInstall the plugins that the run was trained with, or name an equivalent configuration "
            "(config=, or --config of sedd diagnose)",
            keys=error.keys,
        ) from None


def _metrics(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    file = path / "metrics.jsonl" if path.is_dir() else path
    records = read_metrics(file, most=MOST_LINES)
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise CheckpointError(f"{file}:{number}: not a metrics line of sedd; {_EXPECTED}")
    return file, records


def _is_run(path: Path) -> bool:
    """Whether a path is a run of this package, or its metrics file, whose first JSON line has a `kind`."""
    if path.is_dir():
        return (path / "metrics.jsonl").exists() or not log_in(path)
    with contextlib.suppress(OSError):  # a line that is too long, for example, is not one of a run
        for line in itertools.islice(bounded_lines(path, longest=LONGEST_LINE), FIRST_LINES):
            if line.lstrip().startswith(b"{"):
                with contextlib.suppress(ValueError, RecursionError):
                    record = json.loads(line)
                    return isinstance(record, dict) and "kind" in record
    return path.name == "metrics.jsonl"


def _of_run(path: Path, config: Config | str | Path | None, symbols: int | None) -> Diagnosis:
    file, records = _metrics(path)
    config = (loaded := _config_of(file) if config is None else loaded_config(config)).config
    statistics = _statistics(config, None, records, symbols or loaded.symbols)
    statistics = statistics if symbols is None else statistics.among(symbols)
    has_profile = any(record.get("kind") == "train" and record.get("profile") for record in records)
    implied = make_forecast(
        config,
        statistics,
        trained=_trained(path, records, config) if has_profile else None,
        throughput=_rate(records),
        notes=loaded.notes,
    )
    monitor = Monitor(config, {name: implied.predictors[name] for name in ("untrained", "unigram")})
    for number, record in enumerate(records, 1):
        try:
            monitor.observe(record)
        except RecordError as error:
            raise CheckpointError(
                f"not a metrics line of this version of sedd ({error}); {_EXPECTED}", file=file, line=number
            ) from None
    return Diagnosis(
        source=str(path),
        config=config,
        verdict=monitor.verdict(),
        forecast=implied,
        history=monitor.history,
        by_chance=monitor.by_chance,
        unseen=unseen(monitor.facts()),
    )


def _rate(records: Sequence[dict[str, Any]]) -> float | None:
    """Residues per second of a run so far; None where it is unknown."""
    last = next((record for record in reversed(records) if record.get("kind") == "train"), None)
    return None if last is None or not last.get("seconds") else float(last["residues"]) / float(last["seconds"])


def _of_curve(
    file: Path, config: Config | str | Path | None, symbols: int | None, loss: str | None, unit: Unit | None
) -> Diagnosis:
    if config is None:
        raise ConfigError(
            f"{file}: a curve does not contain its configuration; name a preset or a run file with the same noise and "
            "curriculum (config, --config)"
        )
    loaded = loaded_config(config, clock="theirs")
    curve = read_log(file, loss=loss, unit=unit or loaded.unit)
    steps = curve.steps[evenly_spaced(len(curve), ROWS)].tolist()
    implied = forecast_of(loaded, symbols=symbols, steps=steps)
    fit, verdict = judge_curve(curve, implied)
    return Diagnosis(source=str(file), config=implied.config, verdict=verdict, forecast=implied, external_curve=fit)
