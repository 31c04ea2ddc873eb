"""`sedd quality`: how good generated sequences are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sedd.cli.app import AsJson, DataOverrides, app
from sedd.cli.console import err, out, print_json, print_saved, working
from sedd.config.sections import Data
from sedd.data import PROTEIN, Alphabet, Dataset, Sequences, open_whole
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.progress import DataProgress
from sedd.data.prepare.readers import read_fasta
from sedd.errors import DataError
from sedd.evaluation.quality import Quality, TrainingIndex, judge
from sedd.evaluation.quality.alignment import blast_like
from sedd.evaluation.quality.novelty import MOST_SEARCHED
from sedd.evaluation.quality.table import LEGEND, quality_table
from sedd.pretrained import Pretrained, load
from sedd.report.plots import require_matplotlib
from sedd.report.quality_plot import quality_figure
from sedd.runs.located_data import open_run_data


@app.command()
def quality(
    subject: Annotated[
        Path, typer.Argument(metavar="SAMPLES|RUN", help="A FASTA of samples, or a run to sample from.")
    ],
    overrides: DataOverrides = None,
    reference: Annotated[
        str | None, typer.Option(help="Natural sequences (FASTA or store); default for a run: its held-out set.")
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="Training sequences, for novelty; default for a run: its training set.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Of a run: how many sequences to sample.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples and same numbers.")] = 0,
    align: Annotated[
        bool, typer.Option("--align", help="Align with the nearest training sequence (Biopython).")
    ] = False,
    device: Annotated[str, typer.Option(help="Of a run: device backend.")] = "auto",
    plot: Annotated[Path | None, typer.Option(help="Draw the numbers into this file (PNG).")] = None,
    as_json: AsJson = False,
) -> None:
    """How good samples are, beside held-out natural sequences and shuffled ones."""
    if plot is not None:
        require_matplotlib()
    if align:
        blast_like()
    judged = _judge(subject, overrides or [], reference, train, samples=samples, seed=seed, align=align, device=device)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        quality_figure(judged).savefig(plot)
    if as_json:
        print_json(judged.to_dict())
        return
    # Files and pipes have no width; rich would assume 80 columns, too few for this table.
    console = out if out.is_terminal else Console(file=out.file, width=100, highlight=False)
    console.print(quality_table(judged), soft_wrap=False)
    for line in (judged.sentence, *judged.notes, LEGEND):
        out.print(line, markup=False)
    if plot is not None:
        print_saved(plot)


def _judge(
    subject: Path,
    overrides: Sequence[str],
    reference: str | None,
    train: str | None,
    *,
    samples: int,
    seed: int,
    align: bool,
    device: str,
) -> Quality:
    """Judge a FASTA of samples, or a run by `samples` sequences drawn from it."""
    model = load(subject, device=device) if subject.is_dir() else None
    natural: Sequences | None = None
    training: Sequences | None = None
    if model is not None:
        alphabet, options, longest = model.alphabet, model.config.data, model.config.model.length
        if reference is None or train is None:
            dataset, _ = own_data(model, subject, overrides)
            natural, training = dataset.valid, dataset.train
    elif reference is None:
        raise DataError(f"{subject}: natural sequences to compare with are missing; add --reference NATURAL.fasta")
    else:
        alphabet, options, longest = PROTEIN, Data(min_length=1), None
    sequences = [] if model is not None else _read(subject, alphabet)
    with DataProgress(err) as progress:
        if reference is not None:
            natural = open_whole(options, reference, alphabet, progress=progress)
        if train is not None:
            training = open_whole(options, train, alphabet, progress=progress)
    if model is not None:
        sequences = _sample(model, samples, seed)
    assert natural is not None  # noqa: S101  # the run's own, where none is named
    index = None
    if training is not None:
        with working(f"indexing {min(len(training), MOST_SEARCHED):,} training sequences"):
            index = TrainingIndex.of(training, alphabet)
    with working(f"judging {len(sequences):,} samples{', with alignments' if align else ''}"):
        return judge(sequences, natural, alphabet=alphabet, training=index, longest=longest, align=align, seed=seed)


def _sample(model: Pretrained, count: int, seed: int) -> list[str]:
    """`model.sample`, with progress."""
    request = model.generation.sample(count, seed=seed)
    with working(f"drawing {count:,} samples", count) as show:
        return [model.alphabet.decode(sample.tokens) for sample in model.generation.draw(request, report=show)]


def own_data(model: Pretrained, run: Path, overrides: Sequence[str]) -> tuple[Dataset, Data]:
    """The data of a run, and the section that names their files. Raises DataError if they are nowhere, or others."""
    with DataProgress(err) as progress:
        return open_run_data(model.config, run, trained_on=model.trained_on, overrides=overrides, progress=progress)


def _read(file: Path, alphabet: Alphabet) -> list[str]:
    """Samples of a FASTA file. Nothing is repaired: a residue outside the alphabet is a fault of the sampler."""
    if not file.exists():
        raise DataError(f"{file}: neither a run nor a FASTA file of samples")
    sequences = []
    for record in read_fasta(ByteStream(file)):
        text = record.sequence if isinstance(record.sequence, str) else record.sequence.decode("ascii", "replace")
        try:
            alphabet.encode(text)
        except DataError as error:
            raise DataError(f"{file}:{record.line}: {record.name}: {error}") from None
        if not text:
            raise DataError(f"{file}:{record.line}: {record.name} is empty; expected at least one residue")
        sequences.append(text)
    return sequences
