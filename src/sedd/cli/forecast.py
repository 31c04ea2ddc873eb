"""`sedd forecast`: the training loss that a configuration implies, before training."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from sedd.cli.app import AsJson, ConfigOption, Device, Overrides, app, chosen_config, config_names
from sedd.cli.console import err, number, out, print_json, print_saved, table, working
from sedd.config.config import Config
from sedd.data import STRATA, Dataset, open_data
from sedd.data.prepare.progress import DataProgress
from sedd.diagnosis.api import dataset_of, forecast_of
from sedd.diagnosis.forecast import Forecast, Row
from sedd.diagnosis.foreign import load_quietly
from sedd.diagnosis.foresight import RULES
from sedd.diagnosis.logs.reading import read_log
from sedd.diagnosis.predictors import entropy
from sedd.errors import ConfigError, SeddWarning
from sedd.terminal.activity import duration
from sedd.training.trainer import Trainer

MEASURED_STEPS = 5
"""Optimizer steps that --measure times, after one warm-up step."""
MEASURE_SECONDS = 20.0
"""Time after which --measure begins no further step."""


@app.command("forecast")
def forecast_run(
    config: Annotated[
        str | None,
        typer.Argument(help="A preset (quickstart, uniref50, ...) or a YAML file.", autocompletion=config_names),
    ] = None,
    overrides: Overrides = None,
    config_option: ConfigOption = None,
    data: Annotated[
        str | None, typer.Option(help="FASTA, text or store, for its token frequencies; default: data.train.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Optimizer steps of the table: 0,500,1000.")] = None,
    run: Annotated[Path | None, typer.Option(help="A trained run, whose loss by mask rate becomes a column.")] = None,
    symbols: Annotated[int | None, typer.Option(min=1, help="Size of the alphabet, if larger than the data's.")] = None,
    expect: Annotated[
        str | None,
        typer.Option(help="Losses you expect: 0=0.3,5000=0.8, or a log with step and loss; drawn too."),
    ] = None,
    throughput: Annotated[float | None, typer.Option(help="Residues per second, for the duration.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure the throughput on this machine, in a few steps.")
    ] = False,
    device: Device = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this file (PNG).")] = None,
    as_json: AsJson = False,
) -> None:
    """What the training loss will be at each step even if nothing is learnt: before you train."""
    # The advice on the configuration is printed below, not as warnings.
    config, overrides = chosen_config(config, config_option, overrides or [])
    if config is None:
        raise ConfigError("a forecast of what? Name a preset or a run file, such as sedd forecast uniref50")
    source = load_quietly(config, *overrides, *([f"device.type={device}"] if device else []))
    loaded = source.config
    expected = {} if expect is None else _expected(expect)
    rows = [] if steps is None else [_step(text, "--steps") for text in steps.split(",")]
    if measure and throughput is not None:
        raise ConfigError("--throughput and --measure: give one of the two")
    with DataProgress(err) as progress:
        dataset = dataset_of(loaded, data, progress=progress)
    if dataset is not None and data is not None:
        err.print(dataset.summary, markup=False)
    measurement = ""
    if measure:
        err.print("Measuring some optimizer steps ...")
        throughput, measurement = measure_throughput(loaded, dataset)
    with working("working out the losses"):
        implied = forecast_of(
            source,
            data=dataset,
            run=run,
            steps=rows or sorted(expected) or None,
            throughput=throughput,
            symbols=symbols,
        )
    judgements = implied.judge(expected)
    if plot is not None:
        _draw(implied, expected, plot)
    if as_json:
        more = {"measured": measurement} if measurement else {}
        more |= {"data": dataset.summary} if dataset is not None and data is not None else {}
        print_json(implied.to_dict() | {"expected": judgements} | more)
        return
    out.print(f"{implied.summary}\n", markup=False)
    out.print(_table(implied))
    for line in _sentences(implied, measurement):
        out.print(line, markup=False)
    if judgements:
        out.print("\nExpected losses")
        for line in judgements:
            out.print(f"  {line}", markup=False)
    if plot is not None:
        print_saved(plot)


def _expected(text: str) -> dict[int, float]:
    """Losses by optimizer step, from `0=0.3,5000=0.8` or a CSV file."""
    if "=" not in text:
        curve = read_log(Path(text))
        pairs = zip(curve.steps.tolist(), curve.losses.tolist(), strict=True)
        return {step: loss for step, loss in pairs if math.isfinite(loss)}
    losses = {}
    for item in text.split(","):
        step, _, loss = item.partition("=")
        try:
            value = float(loss)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"--expect {item!r}: expected step=loss, such as 5000=0.8")
        losses[_step(step, "--expect")] = value
    return losses


def _step(text: str, option: str) -> int:
    if not text.strip().isdecimal():
        raise ConfigError(f"{option} {text!r}: expected optimizer steps, integers such as 0,500,1000")
    return int(text)


def _table(implied: Forecast) -> Table:
    columns = ["step", "difficulty", "mask rates", "lr", "untrained", "unigram"]
    names = (*columns, "run") if "run" in implied.predictors else columns
    made = table("Training loss of models that do not learn, nats per residue", *map(number, names))
    made.box, made.pad_edge, made.collapse_padding = box.SIMPLE, False, True
    for column in made.columns:
        column.no_wrap = True
    for row in implied.rows:
        made.add_row(f"{row.step:,}", *_cells(row))
    made.add_section()
    made.add_row("no curriculum", *_cells(implied.full))
    return made


def _cells(row: Row) -> list[str]:
    losses = [f"{loss:.3f}" for loss in (row.untrained, row.unigram, row.run) if loss is not None]
    mask_rates = f"{100 * row.mask_rate_min:.1f}–{row.mask_rate_max:.1%}"
    return [f"{row.difficulty:.3f}", mask_rates, f"{row.lr:.2g}", *losses]


def _sentences(implied: Forecast, measurement: str) -> Iterator[str]:
    statistics = implied.statistics
    yield (
        f"untrained: every one of {len(statistics.frequencies)} symbols is equally likely. unigram: predicts the token "
        f"frequencies ({entropy(statistics.frequencies):.3f} nats; {statistics.source})."
    )
    rise = implied.rises["unigram"]
    if rise.per_1000 > 0:
        yield (
            f"Steepest rise without any learning: {rise.per_1000:.3g} nats per 1,000 steps, steps {rise.first:,} to "
            f"{rise.last:,}."
        )
    for known in implied.before_training:
        kind = "False alarm" if known.about in RULES else "Change this" if known.act else "Known before training"
        yield f"{kind}: {known}"
    yield (
        f"Monte Carlo error of the loss of one step: {implied.scatter['start']:.0%} at the start, "
        f"{implied.scatter['full']:.0%} at full difficulty."
    )
    for phase in implied.phases:
        time_ = "" if phase.hours is None else f", {duration(3600.0 * phase.hours)}"
        yield f"Phase {phase.name}: steps {phase.first:,} to {phase.last:,}{time_}."
    if implied.throughput is None:
        yield "Duration: give --throughput (residues per second), or --measure."
    else:
        step = f"{implied.residues_per_step:,.0f} residues per step"
        yield f"At {implied.throughput:,.0f} residues per second, {step}{measurement}."
    yield from (f"Note: {advice}." for advice in implied.config.advice())
    yield from (f"Assumed: {note}" for note in implied.notes)


def _draw(implied: Forecast, expected: Mapping[int, float], file: Path) -> None:
    from sedd.report.forecast_plot import forecast_figure  # matplotlib is an extra

    if not file.parent.is_dir():
        raise ConfigError(f"{file}: there is no directory {file.parent}; make it first")
    try:
        forecast_figure(implied, expected).savefig(file, dpi=150)
    except ValueError as error:  # a file type that cannot be drawn
        raise ConfigError(f"{file}: cannot be drawn ({error}); name a .png") from None


def measure_throughput(config: Config, dataset: Dataset | None) -> tuple[float, str]:
    """Residues per second in a few optimizer steps, and what was measured, in words.

    A measured step has at most as many micro-batches as there are strata of length: further ones take as long each.
    Without data, built-in sequences of up to `model.length` residues are used. Nothing is written.

    Raises:
        DeviceError, ConfigError: if the configuration cannot be trained on this machine.
    """
    training = config.training
    accum = min(training.accum, STRATA)
    residues = training.batch_residues and max(1, training.batch_residues * accum // training.accum)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # on the shortened configuration
        steps = {"eval_every": 10**9, "n_iters": max(100, training.n_iters)}
        config = config.replace(training={"accum": accum, "batch_residues": residues, **steps})
    trainer = Trainer(config, data=dataset or _synthetic(config))
    began, rates = time.perf_counter(), []
    for report in trainer.steps():
        rates.append(report.residues_per_second)
        if len(rates) > MEASURED_STEPS or (len(rates) > 1 and time.perf_counter() - began > MEASURE_SECONDS):
            break
    size = f"{residues:,} residues" if residues else f"{training.batch_size * accum} sequences"
    return median(rates[1:]), f"; measured in {len(rates) - 1} steps ({size} each) on {trainer.device}"


def _synthetic(config: Config) -> Dataset:
    longest = config.model.length
    size = {"sequences": 1000, "min_length": min(60, longest), "max_length": longest}
    synthetic = config.data.synthetic.model_copy(update=size)
    source = {"train": "synthetic", "alphabet": "protein", "valid": None, "synthetic": synthetic}
    return open_data(config.data.model_copy(update=source), seed=config.seed)
