"""`sedd quality`: how good generated sequences are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from sedd.cli.app import AsJson, DataOverrides, app
from sedd.cli.console import err, out, print_json, print_saved, working
from sedd.cli.user_file import Column, UserFile, opened, with_column
from sedd.config.run_file import load_config
from sedd.config.sections import Data
from sedd.data import Alphabet, Dataset, Sequences
from sedd.data.chosen import fixed_alphabet, residue_policy
from sedd.data.overlap import found_in
from sedd.data.prepare.progress import DataProgress
from sedd.data.prepare.reading import SequenceFile
from sedd.data.prepare.sources import is_pipe, regular_file
from sedd.data.prepare.symbols import cleaner_for
from sedd.data.prepare.tally import Tally
from sedd.errors import DataError
from sedd.evaluation.quality import Quality, TrainingIndex, judge
from sedd.evaluation.quality.alignment import blast_like
from sedd.evaluation.quality.novelty import MOST_SEARCHED
from sedd.evaluation.quality.table import LEGEND, quality_table
from sedd.plain_text import SafeConsole
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
    column: Column = None,
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
    judged, files, tally = _judge(
        subject, overrides or [], reference, train, column, samples=samples, seed=seed, align=align, device=device
    )
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        quality_figure(judged).savefig(plot)
    if as_json:
        inputs = {name: file.to_dict() for name, file in files.items()}
        inputs |= {} if tally is None else {"samples": {"file": str(subject), **tally.to_dict()}}
        print_json(judged.to_dict() | ({"input": inputs} if inputs else {}))
        return
    # Files and pipes have no width; rich would assume 80 columns, too few for this table.
    console = out if out.is_terminal else SafeConsole(file=out.file, width=100, highlight=False)
    console.print(quality_table(judged), soft_wrap=False)
    for line in (judged.sentence, *judged.notes, LEGEND):
        out.print(line, markup=False)
    if tally is not None and (tally.lost or tally.repaired or tally.noted):
        out.print(f"Samples, {subject}: {tally}", markup=False)
    for name, file in files.items():
        file.show(f"{name.capitalize()} sequences")
    if plot is not None:
        print_saved(plot)


class _Judged(NamedTuple):
    """A judgement, and what there is to say of the files that it read, by the name of their part."""

    quality: Quality
    files: dict[str, UserFile]
    samples: Tally | None
    """How the samples were read, if from a file."""


def _judge(
    subject: Path,
    overrides: Sequence[str],
    reference: str | None,
    train: str | None,
    column: str | None,
    *,
    samples: int,
    seed: int,
    align: bool,
    device: str,
) -> _Judged:
    """Judge a FASTA of samples, or a run by `samples` sequences drawn from it."""
    model = load(subject, device=device) if subject.is_dir() else None
    natural: Sequences | None = None
    training: Sequences | None = None
    tally: Tally | None = None
    if model is not None:
        alphabet, options, longest = model.alphabet, model.config.data, model.config.model.length
        sequences = list[str]()
        if reference is None or train is None:
            dataset, _ = own_data(model, subject, overrides)
            natural, training = dataset.valid, dataset.train
    elif reference is None:
        raise DataError(f"{subject}: natural sequences to compare with are missing; add --reference NATURAL.fasta")
    else:
        given = with_column(load_config({}, "data.min_length=1", *overrides).data, column)
        stated = any(word.startswith("data.alphabet") for word in overrides)
        sequences, tally, options = read_samples(subject, given, guess=not stated)
        alphabet, longest = _alphabet(options, subject), None
    options = with_column(options, column)
    files: dict[str, UserFile] = {}
    if train is not None:
        training = opened(options, train, alphabet)
        files["training"] = UserFile(train, options, alphabet, training, None, np.zeros(len(training), bool))
    if reference is not None:
        natural = opened(options, reference, alphabet)
        known = np.zeros(len(natural), bool) if training is None else found_in(training, natural)
        files["reference"] = UserFile(reference, options, alphabet, natural, longest, known)
    if model is not None:
        sequences = _sample(model, samples, seed)
    assert natural is not None  # noqa: S101  # the run's own, where none is named
    index = None
    if training is not None:
        with working(f"indexing {min(len(training), MOST_SEARCHED):,} training sequences"):
            index = TrainingIndex.of(training, alphabet)
    with working(f"judging {len(sequences):,} samples{', with alignments' if align else ''}"):
        judged = judge(sequences, natural, alphabet=alphabet, training=index, longest=longest, align=align, seed=seed)
    return _Judged(judged, files, tally)


def _sample(model: Pretrained, count: int, seed: int) -> list[str]:
    """`model.sample`, with progress."""
    request = model.generation.sample(count, seed=seed)
    with working(f"drawing {count:,} samples", count) as show:
        return [model.alphabet.decode(sample.tokens) for sample in model.generation.draw(request, report=show)]


def own_data(model: Pretrained, run: Path, overrides: Sequence[str]) -> tuple[Dataset, Data]:
    """The data of a run, and the section that names their files. Raises DataError if they are nowhere, or others."""
    with DataProgress(err) as progress:
        return open_run_data(model.config, run, trained_on=model.trained_on, overrides=overrides, progress=progress)


def read_samples(file: Path, options: Data, *, guess: bool) -> tuple[list[str], Tally, Data]:
    """The samples in a file of sequences, how they were read, and the options with their alphabet.

    Args:
        file: FASTA, or another format of sequences.
        options: how the file is read.
        guess: whether they are proteins, of the alphabet of ESM if a sample has one of its ambiguous amino acids
            (X, B, U, Z, O), which models with that alphabet draw.

    Raises:
        DataError: if there is no such file, it cannot be read, or the alphabet depends on the data.
    """
    if not file.exists() and not is_pipe(file):
        raise DataError(f"{file}: neither a run nor a FASTA file of samples")
    with regular_file(file) as path:
        alphabet = None if guess else _alphabet(options, file)
        form = SequenceFile.of(path, column=options.column, lines=options.format == "lines", alphabet=alphabet)
        if guess:
            symbols = {symbol for record in form.read() for symbol in bytes(record.sequence).upper()}  # type: ignore[arg-type]
            options = options.model_copy(update={"alphabet": "esm" if symbols & set(b"XBUZO") else "protein"})
        alphabet, policy = _alphabet(options, file), residue_policy(options.alphabet, options.residues)
        clean = cleaner_for(alphabet)(alphabet, policy, min_length=1, source=file.name, alignment=form.alignment)
        sequences = [sequence.decode() for record in form.read() for sequence in clean(record)]
    if not sequences:
        raise DataError(f"no sample is left.\n{clean.tally}", file=file)
    return sequences, clean.tally, options


def _alphabet(options: Data, file: Path) -> Alphabet:
    """The alphabet of samples in a file. Raises DataError if only the data can say it."""
    if (found := fixed_alphabet(options.alphabet)) is None:
        raise DataError(
            f"{file}: data.alphabet={options.alphabet}: which symbols there are only the model can say; judge its run: "
            "sedd quality RUN"
        )
    return found
