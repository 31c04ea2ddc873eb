"""`sedd evaluate` and `sedd sample`: what a trained model does."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import RunPath, app, data_progress, err, out
from sedd.data import open_data, open_whole
from sedd.errors import DataError
from sedd.pretrained import load
from sedd.profile import rounded
from sedd.sampling.writing import write_samples


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
    with data_progress() as progress:
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
