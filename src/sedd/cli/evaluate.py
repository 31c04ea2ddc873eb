"""`sedd evaluate`: the likelihood bound of a trained model, how sure it is, and what it is worth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from sedd.cli.app import RunPath, app, data_progress, err, out
from sedd.cli.quality import show_quality
from sedd.data import Sequences, open_data, open_whole
from sedd.errors import DataError
from sedd.evaluation.likelihood import Likelihood
from sedd.evaluation.names import names_in
from sedd.evaluation.scatter import Z95
from sedd.evaluation.table import table
from sedd.pretrained import Pretrained, load
from sedd.runs.directory import RunDirectory

USUAL = 1_000
"""Sequences that are evaluated where neither their number nor a table of all is asked for."""
ABOUT = {
    "uniform": "any letter",
    "unigram": "letter frequencies",
    "composition": "rest of the sequence",
    "shuffled": "the model, shuffled",
}


@dataclass(frozen=True, eq=False)
class _Held:
    """What is evaluated."""

    sequences: Sequences
    names: Iterator[str] | None
    """Of all sequences, where a file has them."""
    letters: np.ndarray | None
    """Letter counts of the training data, where they are known."""


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[str | None, typer.Argument(help="FASTA, text or store; default: the run's held-out set.")] = None,
    masks: Annotated[int, typer.Option(min=1, help="Noise levels per sequence.")] = 8,
    sequences: Annotated[
        int | None,
        typer.Option(min=1, help=f"At most this many sequences; default: {USUAL:,}, or all with --per-sequence."),
    ] = None,
    per_sequence: Annotated[
        Path | None, typer.Option(help="Write the bound of each sequence into this file (CSV).")
    ] = None,
    weights: Annotated[Literal["ema", "model"], typer.Option(help="Averaged or raw weights.")] = "ema",
    which: Annotated[
        Literal["best", "latest"], typer.Option(help="Of a run: the checkpoint with the best bound, or the latest.")
    ] = "best",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="What letters alone, and shuffled data, would give.")
    ] = True,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Instead of the bound, judge this many samples (`sedd quality`).")
    ] = None,
    device: Annotated[str, typer.Option(help="Device backend.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The likelihood bound of a trained model, nats per residue, beside controls."""
    if samples is not None:
        show_quality(run, reference=data, samples=samples, device=device, as_json=as_json)
        return
    model = load(run, which=which, weights=weights, device=device)
    with data_progress() as progress:
        held = _held_out(model, run, progress) if data is None else _of_file(model, run, data, progress)
    count = min(len(held.sequences), sequences or (USUAL if per_sequence is None else len(held.sequences)))
    with ExitStack() as stack:
        rows = None if per_sequence is None else stack.enter_context(table(per_sequence, held.names))
        advance = stack.enter_context(_progress(count))

        def each(bounds: Any) -> None:
            if rows is not None:
                rows(bounds)
            advance(len(bounds))

        found = model.likelihood(
            held.sequences, masks=masks, count=count, letters=held.letters, controls=controls, each=each
        )
    if as_json:
        typer.echo(json.dumps({"step": model.step, **found.to_json()}))
        return
    _show(found, model, all_of=len(held.sequences))
    if per_sequence is not None:
        named = "" if held.names is not None else "; ids are numbers in the order of the data, which has no names"
        out.print(f"each         {found.bound.sequences:,} sequences in {per_sequence}{named}", markup=False)


def _held_out(model: Pretrained, run: Path, progress: Callable[[int, int, int], None]) -> _Held:
    data = model.config.data
    dataset = open_data(data, seed=model.config.seed, progress=progress)
    if dataset.fingerprint != model.trained_on:
        raise DataError(
            f"{run} was trained on other data than data.train={data.train} gives now; "
            "name the file to evaluate: sedd evaluate RUN FASTA"
        )
    names = None if data.valid is None else _names(model, data.valid)
    return _Held(dataset.valid, names, dataset.token_counts)


def _of_file(model: Pretrained, run: Path, name: str, progress: Callable[[int, int, int], None]) -> _Held:
    store = open_whole(model.config.data, name, model.alphabet, progress=progress)
    folder = run.parent.parent if (run / "manifest.json").exists() else run
    record = RunDirectory(folder).data_record()
    return _Held(store, _names(model, name), None if record is None else np.array(record.token_counts))


def _names(model: Pretrained, name: str) -> Iterator[str] | None:
    path = Path(name).expanduser()
    return names_in(path, model.config.data, model.alphabet) if path.is_file() else None


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    with Progress(console=err, transient=True) if err.is_terminal else nullcontext() as bar:
        task = None if bar is None else bar.add_task("evaluating", total=total)
        yield lambda done: None if bar is None or task is None else bar.advance(task, done)


def _show(found: Likelihood, model: Pretrained, *, all_of: int) -> None:
    bound = found.bound
    low, high = found.interval
    sure = (
        f"95 % interval {low:.4f} to {high:.4f}" if math.isfinite(found.half) else "too few sequences for an interval"
    )
    out.print(f"bound        {bound.nats:.4f} nats per residue, {sure}")
    out.print(f"             {bound.bits:.4f} bits per residue, perplexity {bound.perplexity:.3f}")
    if math.isfinite(found.half):
        out.print(f"how sure     ± {found.half:.4f}: {_shares(found, all_of=all_of)}")
    top = -math.expm1(-model.config.noise.sigma_max)
    out.print(f"of which     {bound.trained:.4f} at the noise it was trained on, mask rates up to {top:.1%}")
    part = "" if bound.sequences == all_of else f" of {all_of:,}"
    out.print(
        f"over         {bound.sequences:,}{part} sequences, {bound.residues:,} residues; weights of step {model.step:,}"
    )
    if bound.cropped:
        out.print(f"             {bound.cropped:,} of them cropped to {model.config.model.length:,} residues")
    _show_rates(found, model)
    if found.controls:
        _show_controls(found)


def _shares(found: Likelihood, *, all_of: int) -> str:
    """What the interval is made of."""
    if not math.isfinite(found.half_masks):
        return "with a single mask per sequence it cannot be said from what; give --masks 2 or more"
    more = "more --masks" if found.half_masks > found.half_sequences else "more --sequences"
    if more == "more --sequences" and found.bound.sequences == all_of:
        more = "more data"
    return (
        f"± {found.half_sequences:.4f} from which sequences, ± {found.half_masks:.4f} from which masks "
        f"({found.masks} for each); {more} would narrow it most"
    )


def _show_rates(found: Likelihood, model: Pretrained) -> None:
    what = "cross-entropy" if model.config.graph.type == "absorb" else "nats per unit of mask rate"
    shown = _table("By mask rate", "mask rate", what, "±", "part of the bound")
    for each in found.rates:
        known = math.isfinite(each.nats)
        cells = (f"{each.nats:.4f}", _half(each.stderr), f"{each.part:.4f}") if known else ("-", "-", "-")
        shown.add_row(f"{each.low:.0%} to {each.high:.0%}", *cells)
    _print(shown)


def _show_controls(found: Likelihood) -> None:
    shown = _table("Controls, on the same residues", "control", "knows", "nats per residue", "bound less it", "±")
    for name, each in found.controls.items():
        shown.add_row(name, ABOUT[name], f"{each.nats:.4f}", f"{each.less:+.4f}", _half(each.less_stderr))
    _print(shown)
    out.print(f"Letter frequencies are those of {escape(found.letters)}. ± is half of a 95 % interval.")
    shuffled = found.controls["shuffled"]
    if not shuffled.less + Z95 * shuffled.less_stderr < 0.0:
        out.print(
            "The model is no better on these sequences than on the same residues shuffled: nothing says that it has "
            "learnt more than which letters there are."
        )


def _half(stderr: float) -> str:
    return f"{Z95 * stderr:.4f}" if math.isfinite(stderr) else "?"


def _table(title: str, *columns: str) -> Table:
    made = Table(title=f"[bold]{title}[/bold]", title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 or column == "knows" else "right", overflow="fold")
    return made


def _print(made: Table) -> None:
    out.print()
    out.print(made, soft_wrap=False)
