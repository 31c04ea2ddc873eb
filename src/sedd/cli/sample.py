"""`sedd sample`: generate sequences from a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sedd.cli.app import RunPath, app
from sedd.cli.console import err, working
from sedd.errors import SamplingError
from sedd.pretrained import Pretrained, load
from sedd.sampling.generation import Choices, Request
from sedd.sampling.predictors import PREDICTORS
from sedd.sampling.templates import read_templates
from sedd.sampling.writing import sample_id, trim_incomplete, write_stream

DEFAULT_COUNT = 10
"""Sequences without --count."""


@app.command()
def sample(
    run: RunPath,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="How many sequences; default: 10.")] = None,
    length: Annotated[int | None, typer.Option(min=1, help="Residues; default: lengths of the training set.")] = None,
    template: Annotated[Path | None, typer.Option(help="FASTA of templates such as MK__AC? to fill in.")] = None,
    mark: Annotated[
        str | None, typer.Option(help="A symbol of the templates, such as X, that marks residues to draw too.")
    ] = None,
    num_samples: Annotated[int, typer.Option("--num-per-template", min=1, help="Sequences for each template.")] = 1,
    redesign: Annotated[
        float | None, typer.Option(help="Draw this random share of each sequence of --template anew.")
    ] = None,
    predictor: Annotated[str | None, typer.Option(help=f"{', '.join(PREDICTORS)}; default: the run's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the run's.")] = None,
    tokens_per_step: Annotated[
        int | None, typer.Option(min=1, help="first_hitting: residues per evaluation; above 1 an approximation.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Other than 1: changes the distribution.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Other than 1: changes the distribution.")] = None,
    sweeps: Annotated[int | None, typer.Option(min=0, help="uniform, templates: Gibbs sweeps at the end.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sequences at a time.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 0,
    to: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write, compressed if it ends in .gz; default: print.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --out where it was interrupted.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file --out that exists.")] = False,
    device: Annotated[str, typer.Option(help="Device backend.")] = "auto",
) -> None:
    """Generate sequences from a trained model: from nothing, from templates, or by redesigning a share of sequences."""
    _check_options(count, length, template, redesign, mark)
    _check_file(to, resume=resume, force=force)
    model = load(run, device=device)
    options = Choices(
        predictor=predictor,
        steps=steps,
        tokens_per_step=tokens_per_step,
        temperature=temperature,
        top_p=top_p,
        sweeps=sweeps,
        batch_size=batch_size,
    )
    if template is None:
        request = model.generation.sample(
            DEFAULT_COUNT if count is None else count, length=length, seed=seed, **options
        )
    else:
        request = _from_file(model, template, mark, num_samples, redesign, seed, options)
    _write(model, request, run, to, resume)


def _check_options(
    count: int | None, length: int | None, template: Path | None, redesign: float | None, mark: str | None
) -> None:
    """Raise a SamplingError for options that contradict each other."""
    if template is not None and (count is not None or length is not None):
        raise SamplingError("--count and --length do not go with --template; use --num-per-template")
    if redesign is not None and template is None:
        raise SamplingError("--redesign needs sequences: give a FASTA with --template")
    if mark is not None and template is None:
        raise SamplingError("--mark needs templates: give a FASTA with --template")


def _check_file(to: Path | None, *, resume: bool, force: bool) -> None:
    """Raise a SamplingError rather than write over samples, which may have taken hours."""
    if resume and to is None:
        raise SamplingError("--resume needs the file to go on with: give --out")
    if to is None or resume or force or not to.is_file() or not to.stat().st_size:
        return
    raise SamplingError(
        f"{to} exists; go on with it (--resume), write over it (--force), or choose another --out", about=str(to)
    )


def _from_file(
    model: Pretrained, path: Path, mark: str | None, samples: int, share: float | None, seed: int, options: Choices
) -> Request:
    names, texts = zip(*read_templates(path, model.alphabet, mark=mark), strict=True)
    if share is None:
        return model.generation.infill(texts, names=names, num_samples=samples, seed=seed, **options)
    return model.generation.redesign(texts, share=share, names=names, num_samples=samples, seed=seed, **options)


def _write(model: Pretrained, request: Request, run: Path, to: Path | None, resume: bool) -> None:
    def describe(index: int) -> tuple[str, dict[str, object]]:
        origin = {"run": run, "step": model.step, **request.describe(index)}
        template = np.asarray(request.templates[index], np.int64).tobytes()
        return sample_id(index, origin | {"run": run.resolve()}, template), origin

    total = len(request.templates)
    first = trim_incomplete(to, model.alphabet, describe) if resume and to is not None else 0
    with working(f"drawing {total:,} samples", total) as show:
        samples = model.generation.draw(request, first=first, report=show) if first < total else iter(())
        write_stream(to, samples, model.alphabet, describe, append=first > 0)
    if to is not None:
        already = f", {first} of them drawn before" if first else ""
        err.print(f"{total} {'sequence' if total == 1 else 'sequences'} in {to}{already}", markup=False)
