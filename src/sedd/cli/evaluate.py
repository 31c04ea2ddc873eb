"""`sedd evaluate`: the likelihood bound of a trained model, its error, its parts by mask rate, and controls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from sedd.cli.app import AsJson, RunPath, Weights, Which, app
from sedd.cli.console import margin, number, out, print_json, print_table, table, working
from sedd.cli.quality import own_data, quality
from sedd.cli.user_file import Column, UserFile
from sedd.data import Sequences
from sedd.data.prepare.source_records import SourceRecord, source_records
from sedd.data.prepare.sources import find
from sedd.errors import ConfigError
from sedd.evaluation.intervals import Z95
from sedd.evaluation.likelihood import Likelihood
from sedd.evaluation.sequence_table import sequence_table
from sedd.pretrained import Pretrained, load
from sedd.runs.directory import RunDirectory
from sedd.runs.located_data import split_overrides

DEFAULT_SEQUENCES = 1_000
"""Sequences that are evaluated without --sequences and --per-sequence."""
CONTROLS = {
    "uniform": "uniform distribution",
    "unigram": "token frequencies",
    "composition": "rest of the sequence",
    "shuffled": "the model, shuffled",
}
"""What the prediction of each control is based on."""


EvaluatedData = tuple[Sequences, Iterator[SourceRecord] | None, np.ndarray | None]
"""Sequences, the records of their file where there is one, and the token counts of the training data where known."""


@app.command()
def evaluate(
    run: RunPath,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATA] [OVERRIDES]...",
            help="FASTA, text or store; default: the run's held-out set, which data.train=PATH data.valid=PATH find.",
        ),
    ] = None,
    masks: Annotated[int, typer.Option(min=1, help="Noise levels per sequence.")] = 8,
    sequences: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"At most this many sequences; default: {DEFAULT_SEQUENCES:,}, or all with --per-sequence."
        ),
    ] = None,
    per_sequence: Annotated[
        Path | None, typer.Option(help="Write the bound of each sequence into this file (CSV, or .parquet).")
    ] = None,
    column: Column = None,
    weights: Weights = "ema",
    which: Which = "best",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Evaluate token frequencies and shuffled data too.")
    ] = True,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Instead of the bound, judge this many samples (`sedd quality`).")
    ] = None,
    device: Annotated[str, typer.Option(help="Device backend.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """The likelihood bound of a trained model, nats per residue, beside controls."""
    data, overrides = _data_and_overrides(words or [])
    if samples is not None:
        quality(run, overrides, reference=data, samples=samples, column=column, device=device, as_json=as_json)
        return
    model = load(run, which=which, weights=weights, device=device)
    file = None if data is None else UserFile.of_model(model, data, column)
    store, records, token_counts = _held_out(model, run, overrides) if file is None else _of_file(file, run)
    available = len(store)
    count = min(available, sequences or (DEFAULT_SEQUENCES if per_sequence is None else available))
    with ExitStack() as stack:
        write_rows = None
        if per_sequence is not None:
            remarks = () if file is None else (file.remarks,)
            write_rows = stack.enter_context(sequence_table(per_sequence, records, *remarks))
        show = stack.enter_context(working(f"evaluating {count:,} sequences", 1.0))
        likelihood = model.likelihood(
            store,
            masks=masks,
            count=count,
            token_counts=token_counts,
            controls=controls,
            on_sequences=write_rows,
            report=show,
        )
    if as_json:
        print_json({"step": model.step, **likelihood.to_dict(), **({} if file is None else {"input": file.to_dict()})})
        return
    _show(likelihood, model, available=available)
    if file is not None:
        file.show("Data")
    if per_sequence is not None:
        ids = "" if records is not None else "; ids are numbers in the order of the data, which has no names"
        _show_row("per sequence", f"{likelihood.bound.sequences:,} bounds in {per_sequence}{ids}")


def _data_and_overrides(words: Sequence[str]) -> tuple[str | None, list[str]]:
    paths, overrides = split_overrides(words)
    if len(paths) > 1:
        raise ConfigError(f"one file at a time can be evaluated, got {len(paths)}: {', '.join(paths)}")
    return (paths[0] if paths else None), overrides


def _held_out(model: Pretrained, run: Path, overrides: Sequence[str]) -> EvaluatedData:
    dataset, section = own_data(model, run, overrides)
    valid = section.valid
    is_file = isinstance(valid, str) and Path(valid).expanduser().is_file()
    records = source_records(find(valid), section, model.alphabet) if valid and is_file else None
    return dataset.valid, records, dataset.token_counts


def _of_file(file: UserFile, run: Path) -> EvaluatedData:
    folder = run.parent.parent if (run / "manifest.json").exists() else run
    record = RunDirectory(folder).data_record()
    return file.store, file.records(), None if record is None else np.array(record.token_counts)


def _show(likelihood: Likelihood, model: Pretrained, *, available: int) -> None:
    bound, half = likelihood.bound, likelihood.half_width
    low, high = likelihood.interval
    interval = f"{low:.4f} to {high:.4f}" if math.isfinite(half) else "too few sequences for an interval"
    _show_row("bound", f"{bound.nats:.4f} nats per residue")
    _show_row("", f"{bound.bits:.4f} bits per residue, perplexity {bound.perplexity:.3f}")
    _show_row("95% CI", interval)
    if math.isfinite(half):
        _show_row("", f"± {half:.4f} (half of a 95 % interval): {_error_parts(likelihood, available=available)}")
    top = -math.expm1(-model.config.noise.sigma_max)
    _show_row("within the trained noise", f"{bound.trained:.4f} of the bound, mask rates up to {top:.1%}")
    of_all = "" if bound.sequences == available else f" of {available:,}"
    residues = f"{bound.residues:,} residues; weights of step {model.step:,}"
    _show_row("sequences", f"{bound.sequences:,}{of_all}, {residues}")
    if bound.cropped:
        _show_row("", f"{bound.cropped:,} of them cropped to {model.config.model.length:,} residues")
    _show_rates(likelihood, model)
    if likelihood.controls:
        _show_controls(likelihood)


def _show_row(name: str, text: str) -> None:
    out.print(f"{name:<26}{text}", markup=False)


def _error_parts(likelihood: Likelihood, *, available: int) -> str:
    """The parts of the interval, and the option that would narrow it most."""
    if not math.isfinite(likelihood.half_width_masks):
        return "with a single mask per sequence its parts are unknown; give --masks 2 or more"
    more = "more --masks" if likelihood.half_width_masks > likelihood.half_width_sequences else "more --sequences"
    if more == "more --sequences" and likelihood.bound.sequences == available:
        more = "more data"
    return (
        f"± {likelihood.half_width_sequences:.4f} from the choice of sequences, "
        f"± {likelihood.half_width_masks:.4f} from the masks ({likelihood.masks} per sequence); "
        f"{more} would narrow it most"
    )


def _show_rates(likelihood: Likelihood, model: Pretrained) -> None:
    value = "cross-entropy" if model.process.graph.has_mask else "nats per unit of mask rate"
    made = table("By mask rate", "mask rate", *map(number, (value, "±", "part of the bound")))
    for rate in likelihood.rates:
        known = math.isfinite(rate.nats)
        cells = (f"{rate.nats:.4f}", margin(rate.stderr), f"{rate.part:.4f}") if known else ("-", "-", "-")
        made.add_row(f"{rate.low:.0%} to {rate.high:.0%}", *cells)
    print_table(made)


def _show_controls(likelihood: Likelihood) -> None:
    numbers = map(number, ("nats per residue", "difference", "±"))
    made = table("Controls, on the same residues", "control", "based on", *numbers)
    for name, control in likelihood.controls.items():
        cells = (f"{control.nats:.4f}", f"{control.difference:+.4f}", margin(control.difference_stderr))
        made.add_row(name, CONTROLS[name], *cells)
    print_table(made)
    out.print(
        f"Token frequencies are those of {escape(likelihood.token_counts_source)}. "
        "The difference is the bound less the control; ± is half of a 95 % interval."
    )
    shuffled = likelihood.controls["shuffled"]
    if not shuffled.difference + Z95 * shuffled.difference_stderr < 0.0:
        out.print(
            "The model is no better on these sequences than on the same residues shuffled: it is not shown that it has "
            "learnt more than the composition of sequences."
        )
