"""`sedd train`: train a model, evaluate it and sample from it."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import ConfigOption, Device, Overrides, app, chosen_config, config_names
from sedd.cli.console import err, working
from sedd.cli.train_summary import print_summary
from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import Dataset, open_data
from sedd.data.prepare.progress import DataProgress
from sedd.data.statistics import DataStatistics, share_longer
from sedd.devices import choose
from sedd.diagnosis.foresight import DataFacts, foresee
from sedd.distributed.supervise import Supervisor, reject_torchrun
from sedd.errors import ConfigError, SeddWarning
from sedd.processes import python_command
from sedd.runs import checkpoint
from sedd.runs.changes import allowed_keys
from sedd.runs.directory import RunDirectory
from sedd.runs.located_data import open_run_data
from sedd.runs.plugin_record import check_installed
from sedd.training.samples import due, generates, samples_file, write_step
from sedd.training.trainer import Trainer


@app.command()
def train(
    config: Annotated[
        str | None,
        typer.Argument(
            help="A preset (quickstart, uniref50, ...) or a YAML file; with --resume: that of the run.",
            autocompletion=config_names,
        ),
    ] = None,
    overrides: Overrides = None,
    config_option: ConfigOption = None,
    device: Device = None,
    # torchrun, under Python 3.11, takes `--run` for the beginning of its own `--run-path`.
    run: Annotated[
        Path | None, typer.Option("--run", "--run-dir", help="Run directory; by default runs/<date-time>.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue --run, by default the newest in runs/; start CONFIG if there is none."),
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[,KEY]", help="With --resume: change these on purpose, such as optim.lr."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Sequences to sample at the end, where the model can.")] = 10,
    supervise: Annotated[
        int | None,
        typer.Option(min=1, help="Start so many processes here; when one dies, start all again from the checkpoint."),
    ] = None,
) -> None:
    """Train a model: `sedd train quickstart`, `sedd train small data.train=my.fasta.gz`; `sedd train --resume`."""
    if supervise is not None:
        reject_torchrun()
    if resume and run is None:
        run = RunDirectory.newest()
    allowed = allowed_keys(allow or [])
    config, overrides = _words(*chosen_config(config, config_option, overrides or []))
    loaded = _configuration(
        config, [*overrides, *([f"device.type={device}"] if device else [])], run if resume else None
    )
    choose(loaded.device)  # like the next check: before minutes are spent on preparing data
    if run is not None:
        RunDirectory(run, allow=allowed).check(loaded, resume=resume)
    if supervise is not None:
        arguments = [*filter(None, [config]), *overrides, *(["--device", device] if device else [])]
        arguments += ["--samples", str(samples), *(["--allow", ",".join(allowed)] if allowed else [])]
        raise typer.Exit(
            _supervised(arguments, run or RunDirectory.fresh().claim().path, size=supervise, resume=resume)
        )
    dataset = _dataset(loaded, run if resume else None)
    trainer = Trainer(loaded, run=run, resume=resume, data=dataset, allow=allowed)
    trainer.claim_run()  # before its name is printed
    parameters = sum(p.numel() for p in trainer.network.parameters())
    _warn(trainer, parameters)
    err.print(dataset.summary, markup=False)
    if cropped := share_longer(dataset.train, longest=loaded.model.length):
        err.print(
            f"{cropped:.1%} of the training sequences are longer than model.length={loaded.model.length:,} residues: "
            "each step trains on a random part of them",
            markup=False,
        )
    processes = f" x {trainer.world.size} processes" if trainer.world.size > 1 else ""
    precision = f"{trainer.backend.precision}{', compiled' if trainer.compiled else ''}"
    err.print(
        f"{parameters:,} parameters on {trainer.device}{processes}, {precision}; run {trainer.run.path}", markup=False
    )
    if trainer.state.step:
        err.print(f"Resumed at step {trainer.state.step:,}")
    bound = trainer.fit(progress=not err.quiet)
    written = _final_samples(trainer, samples)
    print_summary(trainer, bound, written)


def _dataset(config: Config, run: Path | None) -> Dataset:
    """The data to train on; those of the `run` to continue, even if they or the run were moved."""
    trained_on = {} if run is None else RunDirectory(run).fingerprint()
    with DataProgress(err) as progress:
        if run is not None and trained_on and _is_gone(config.data.train):
            return open_run_data(config, run, trained_on=trained_on, progress=progress)[0]
        return open_data(config.data, seed=config.seed, progress=progress)


def _is_gone(given: str | Sequence[str]) -> bool:
    """Whether a file of these is not there any more. A pattern is left to the search for files."""
    names = [given] if isinstance(given, str) else given
    return any(not Path(name).expanduser().exists() and not has_magic(name) for name in names)


def _words(config: str | None, overrides: list[str]) -> tuple[str | None, list[str]]:
    """The run file and the overrides: where the first word is an override, there is no run file."""
    if config is None or "=" not in config or Path(config).exists():
        return config, overrides
    return None, [config, *overrides]


def _configuration(config: str | None, overrides: list[str], run: Path | None) -> Config:
    """The configuration of a run file, or of the `run` to continue.

    Raises:
        ConfigError: if there is neither.
    """
    if config is not None:
        return load_config(config, *overrides)
    file = None if run is None else RunDirectory(run).config_file
    if run is not None and file is not None and file.is_file():
        directory = RunDirectory(run)
        check_installed(
            directory.config(), directory.environment(), "curriculum", "noise", "model", "device", file=file
        )
        # As parts, so that another device takes over only those options of the recorded one that it has.
        return load_config(load_config(file).to_dict(parts=True), *overrides)
    if run is not None:
        raise ConfigError(f"{run}: no run to continue; name the preset or run file to begin with: sedd train small ...")
    preset = shlex.join(["sedd", "train", "small", *overrides])
    raise ConfigError(
        f"what to train? Name a preset or a run file, such as {preset}; to continue the newest run: sedd train --resume"
    )


def _warn(trainer: Trainer, parameters: int) -> None:
    """Warn of settings that are known not to do what is meant, before a run begins."""
    if not trainer.world.is_main or trainer.state.step:
        return
    config, dataset = trainer.config, trainer.data
    statistics = DataStatistics.of(dataset, longest=config.model.length)
    for known in foresee(config, statistics, DataFacts.of(config, dataset, parameters=parameters)):
        if known.act:
            warnings.warn(known.sentence, SeddWarning, stacklevel=1)


def _supervised(arguments: list[str], run: Path, *, size: int, resume: bool) -> int:
    """Train in several processes, again and again until it is done; returns the exit code."""
    resumed = python_command("-m", "sedd", "train", *arguments, "--run", str(run), "--resume")

    def newest() -> str | None:
        checkpoints = checkpoint.listing(run / "checkpoints")
        return checkpoints[-1].name if checkpoints else None

    first, log = resumed if resume else resumed[:-1], partial(err.print, markup=False)
    return Supervisor(first, resumed, size=size, newest_checkpoint=newest, log=log).run()


def _final_samples(trainer: Trainer, count: int) -> Path | None:
    """Write samples at the end of a run; None if its noise stops too early for that (the configuration has warned)."""
    if not count or not generates(trainer.config):
        return None
    options, file = trainer.config.sampling, samples_file(trainer)
    if due(options, trainer.state.step) and options.count >= count and trainer.world.broadcast_object(file.exists):
        return file  # `fit` has written at least as many
    with working(f"drawing {count:,} samples", count) as show:
        return write_step(trainer, count, report=show)[0]
