"""The command line: thin words over the library. Expected errors are one message and exit code 2."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sedd.config import Config
from sedd.data import PrepareOptions, open_data, open_whole, prepare
from sedd.devices import choose
from sedd.errors import DataError, SeddError, SeddWarning
from sedd.evaluation.bound import Bound
from sedd.plugins import KINDS, describe, discover
from sedd.pretrained import load
from sedd.profile import rounded
from sedd.runfile import load_config, schema
from sedd.sampling.writing import write_samples
from sedd.training.run import Run
from sedd.training.trainer import Trainer

FEW = 20
"""With fewer held-out sequences than this, `sedd train` warns."""

app = typer.Typer(
    help="Train SEDD models (score entropy discrete diffusion) with noise curricula.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Prepare data.", no_args_is_help=True)
app.add_typer(data_app, name="data")
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides such as optim.lr=3e-4 (values in YAML).")]
Device = Annotated[str | None, typer.Option(help="Device backend: auto, cpu, cuda, mps, xpu or a plugin's.")]
RunPath = Annotated[Path, typer.Argument(help="A run directory, or one checkpoint in it.")]


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A preset (quickstart, uniref50, ...) or a YAML file.")],
    overrides: Overrides = None,
    device: Device = None,
    run: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<date-time>.")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue --run, by default the newest in runs/; start it if there is none."),
    ] = False,
    samples: Annotated[int, typer.Option(min=0, help="Sequences to sample at the end, where the model can.")] = 10,
) -> None:
    """Train a model: `sedd train quickstart`, `sedd train uniref50 data.train=my.fasta.gz optim.lr=1e-4`."""
    loaded = load_config(config, *(overrides or []), *([f"device.type={device}"] if device else []))
    if resume and run is None:
        run = Run.newest()
    choose(loaded.device)  # like the next check: before minutes are spent on preparing data
    if run is not None:
        Run(run).check(loaded, resume=resume)
    with _data_progress() as progress:
        dataset = open_data(loaded.data, seed=loaded.seed, progress=progress)
    if len(dataset.valid) < FEW:
        warnings.warn(
            f"only {len(dataset.valid)} held-out sequences: the bound is rough. Raise data.holdout or give data.valid",
            SeddWarning,
            stacklevel=1,
        )
    trainer = Trainer(loaded, run=run, resume=resume, data=dataset)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    err.print(dataset.summary, markup=False)
    err.print(f"{parameters:,} parameters on {trainer.device}, run {trainer.run.path}", markup=False)
    if trainer.state.step:
        err.print(f"Resumed at step {trainer.state.step:,}")
    bound = trainer.fit()
    written = _final_samples(trainer, samples)
    _summary(trainer, bound, written)


@contextmanager
def _data_progress() -> Iterator[Callable[[int, int, int], None]]:
    """A bar for data that must be prepared first; it appears at the first report, so that a cached store shows none."""
    columns = (TextColumn("preparing data"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        bar = Progress(
            *columns,
            TextColumn("{task.fields[count]:,} sequences"),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        task = bar.add_task("", count=0, total=None)

        def report(done: int, total: int, count: int) -> None:
            if not bar.live.is_started:
                stack.enter_context(bar)
            bar.update(task, completed=done, total=total, count=count)

        yield report


def _final_samples(trainer: Trainer, count: int) -> Path | None:
    """Samples at the end of a run, unless its noise stops too early for that (the configuration has warned then)."""
    if not count or trainer.config.prior_kept > Config.GENERATES_BELOW:
        return None
    kind = "txt" if trainer.data.alphabet.name == "text" else "fasta"
    path = trainer.run.samples / f"step-{trainer.state.step:08d}.{kind}"
    origin = {"run": trainer.run.path, "step": trainer.state.step, "seed": 0}
    write_samples(path, trainer.sample(count), trainer.data.alphabet, **origin)
    return path


def _summary(trainer: Trainer, bound: Bound, samples: Path | None) -> None:
    rows = {"held-out bound": f"{bound.nats:.4f} ± {bound.stderr:.4f} nats per residue ({bound.bits:.3f} bits)"}
    exact = trainer.data.exact_nll
    if exact is not None and not bound.cropped and bound.sequences == len(trainer.data.valid):
        rows["exact value"] = f"{exact:.4f} nats per residue, of these held-out sequences"
        rows["gap to exact"] = f"{bound.nats - exact:.4f} nats per residue"
    elif exact is not None:
        rows["exact value"] = f"{exact:.4f} nats per residue, over all held-out sequences in full: not comparable"
    run = trainer.run
    rows |= {"run": str(run.path), "metrics": str(run.metrics), "checkpoints": str(run.checkpoints)}
    if samples:
        rows["samples"] = str(samples)
    for name, text in rows.items():
        out.print(f"{name:<15}{text}", markup=False)


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[str | None, typer.Argument(help="FASTA, text or store; default: the run's held-out set.")] = None,
    masks: Annotated[int, typer.Option(min=1, help="Noise levels per sequence.")] = 8,
    sequences: Annotated[int, typer.Option(min=1, help="At most this many sequences.")] = 1_000,
    device: Annotated[str, typer.Option(help="Device backend.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The likelihood bound of a trained model, nats per residue."""
    model = load(run, device=device)
    with _data_progress() as progress:
        if data is None:
            dataset = open_data(model.config.data, seed=model.config.seed, progress=progress)
            if dataset.fingerprint != model.trained_on:
                raise DataError(
                    f"{run} was trained on other data than data.train={model.config.data.train} gives now; "
                    "name the file to evaluate: sedd evaluate RUN FASTA"
                )
            held = dataset.valid
        else:
            held = open_whole(model.config.data, data, model.alphabet, progress=progress)
    bound = model.bound(held, masks=masks, count=sequences)
    if as_json:
        lists = {name: rounded(value) for name, value in asdict(bound).items() if isinstance(value, tuple)}
        numbers = {"step": model.step, **asdict(bound), "bits": bound.bits, "perplexity": bound.perplexity} | lists
        finite = {name: value for name, value in numbers.items() if name in lists or math.isfinite(value)}
        typer.echo(json.dumps(finite))
        return
    out.print(f"bound        {bound.nats:.4f} ± {bound.stderr:.4f} nats per residue")
    out.print(f"             {bound.bits:.4f} bits per residue, perplexity {bound.perplexity:.3f}")
    top = -math.expm1(-model.config.noise.sigma_max)
    out.print(f"of which     {bound.trained:.4f} at the noise it was trained on, mask rates up to {top:.1%}")
    out.print(
        f"over         {bound.sequences:,} sequences, {bound.residues:,} residues; weights of step {model.step:,}"
    )
    if bound.cropped:
        out.print(f"             {bound.cropped:,} of them cropped to {model.config.model.length:,} residues")


@app.command()
def sample(
    run: RunPath,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many sequences.")] = 10,
    length: Annotated[int | None, typer.Option(min=1, help="Residues; default: lengths of the training set.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the run's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 0,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default: print.")] = None,
    device: Annotated[str, typer.Option(help="Device backend.")] = "auto",
) -> None:
    """Generate sequences from a trained model."""
    model = load(run, device=device)
    sequences = model.sample(count, length=length, steps=steps, seed=seed)
    write_samples(to, sequences, model.alphabet, run=run, step=model.step, seed=seed)
    if to is not None:
        err.print(f"{count} {'sequence' if count == 1 else 'sequences'} in {to}", markup=False)


@data_app.command("prepare")
def data_prepare(
    source: Annotated[Path, typer.Argument(metavar="IN", help="FASTA (plain or gzip) or text file.")],
    store: Annotated[Path, typer.Argument(metavar="OUT", help="Directory for the token store.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Options such as alphabet=esm holdout=0.01.")] = None,
) -> None:
    """Write a memory-mapped token store, split into `train` and `valid`; a killed one continues where it stopped."""
    options = [item.removeprefix("data.") for item in overrides or []]  # as for `train`, too
    config = load_config({}, *(f"data.{item}" for item in options))
    with _data_progress() as progress:
        prepared = prepare(source, store, options=PrepareOptions.from_config(config.data), progress=progress)
    out.print(str(prepared), markup=False)
    settings = "".join(f" data.{item}" for item in options)
    out.print(f"Train on it: sedd train small data.train={store}{settings}", markup=False)


@app.command()
def plugins() -> None:
    """List what is installed, from where, with its options; broken plugins at the end."""
    found = discover()
    for kind in KINDS:
        shared = describe(kind.base)
        common = f"\nall have {_options(shared)}" if shared else ""
        table = Table(title=f"[bold]{kind.section}.{kind.base.discriminator}[/bold]{common}", title_justify="left")
        for column in ("name", "from", "what, and its own options"):
            table.add_column(column, overflow="fold")
        for plugin in found.plugins:
            if plugin.kind is kind:
                words = (plugin.cls.__doc__ or "").strip().splitlines()[0]
                own = {name: text for name, text in describe(plugin.cls).items() if shared.get(name) != text}
                table.add_row(plugin.name, plugin.source, escape(words) + (f"\n{_options(own)}" if own else ""))
        out.print(table)
    for problem in found.problems:
        err.print(f"[red]broken[/red] {escape(str(problem))}")
    if found.problems:
        raise typer.Exit(1)


def _options(options: Mapping[str, str]) -> str:
    return escape(", ".join(f"{name}: {text}" for name, text in options.items()))


@app.command("schema")
def print_schema(
    to: Annotated[Path | None, typer.Argument(help="File to write; default: print.")] = None,
) -> None:
    """Write the JSON schema of run files, installed plugins included."""
    text = json.dumps(schema(), indent=2)
    if to is None:
        typer.echo(text)
    else:
        to.write_text(text + "\n", encoding="utf-8")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    err.print(f"[yellow]warning:[/yellow] {escape(str(message))}")


def main() -> None:
    """Entry point of the command `sedd`."""
    warnings.showwarning = _show_warning
    try:
        app()
    except SeddError as error:
        _fail(str(error))
    except OSError as error:  # the disk is full, a file is in the way or not ours: nothing a traceback would explain
        _fail(": ".join(filter(None, (error.filename and str(error.filename), error.strerror or str(error)))))
    except torch.OutOfMemoryError as error:
        _fail(f"out of memory ({error}). Halve training.batch_size and double training.accum: the run stays the same")
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    err.print(f"[red]error:[/red] {escape(message)}")
    sys.exit(2)
