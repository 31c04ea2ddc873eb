"""Samples and their quality while a run trains, drawn with EMA weights.

Sampling has random generators of its own, so samples do not change the training curve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sedd.config.config import Config
from sedd.config.sections import Sampling
from sedd.distributed.signals import interruptible
from sedd.errors import SeddError
from sedd.evaluation.quality import Quality, TrainingIndex, judge
from sedd.runs.metrics import SamplesRecord
from sedd.runs.step_report import StepReport
from sedd.sampling.predictors.base import Report
from sedd.sampling.sampler import no_progress
from sedd.sampling.writing import write_samples
from sedd.training.collectives import generate_texts

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer

MAX_SEARCHED = 20_000
"""Training sequences searched for neighbours: 80 MB for proteins, in memory from the first samples on."""


def due(options: Sampling, step: int) -> bool:
    """Whether samples are written after this optimizer step."""
    return step in options.at_steps or (options.every is not None and step % options.every == 0)


def generates(config: Config) -> bool:
    """Whether the noise is strong enough to generate complete sequences."""
    return config.prior_kept <= Config.GENERATES_BELOW


def samples_file(trainer: Trainer) -> Path:
    """The file for samples of the current step."""
    kind = "txt" if trainer.data.alphabet.is_text or trainer.data.alphabet.separator else "fasta"
    return trainer.run.samples / f"step-{trainer.state.step:08d}.{kind}"


def write_step(trainer: Trainer, count: int, *, report: Report = no_progress) -> tuple[Path, list[str]]:
    """Write samples of the current EMA weights to the run; returns the file and the samples.

    `report` is called with the number of samples that are done.
    """
    path = samples_file(trainer)
    with trainer.parallel.full_ema() as network:
        generation = trainer._pretrained(network).generation
        sequences = generate_texts(generation, generation.sample(count), trainer.world, report=report)
    origin = {"run": trainer.run.path, "step": trainer.state.step, "seed": 0}
    if trainer.world.is_main:
        write_samples(path, sequences, trainer.data.alphabet, **origin)
    return path, sequences


@contextmanager
def silently(what: str) -> Iterator[Report]:
    """Show nothing around what takes long."""
    yield no_progress


class SamplesAtSteps:
    """Writes and judges samples at the steps of `sampling.at_steps` and `sampling.every`; called after every step.

    Args:
        trainer: its EMA weights are used.
        say: prints a line of text.
        doing: opened, with what is done, around what takes long.
        track: receives the step, the samples and their file.
    """

    def __init__(
        self,
        trainer: Trainer,
        say: Callable[[str], None],
        doing: Callable[[str], AbstractContextManager[Report]] = silently,
        track: Callable[[int, Sequence[str], Path], None] = lambda step, samples, file: None,
    ) -> None:
        self._trainer, self._say, self._doing, self._track = trainer, say, doing, track
        self._explained = False

    def __call__(self, report: StepReport) -> list[dict[str, Any]]:
        """The record for the metrics file, if samples are due and can be judged.

        Raises:
            Interrupted: if a signal cuts it short; the run draws the samples again when it goes on.
        """
        options = self._trainer.config.sampling
        if not due(options, report.step):
            return []
        if not generates(self._trainer.config):
            self._explain("the noise of this model is too weak to generate complete sequences (raise noise.sigma_max)")
            return []
        with self._doing(f"drawing {options.count:,} samples") as show:
            path, sequences = write_step(self._trainer, options.count, report=lambda done: show(done / options.count))
        if not self._trainer.world.is_main:
            return []
        self._track(report.step, sequences, path)
        try:
            # The other ranks wait for this one, so that only a single process can be cut short.
            alone = interruptible() if self._trainer.world.size == 1 else nullcontext()
            with self._doing("judging samples"), alone:
                quality = self._judge(sequences)
        except SeddError as error:  # too few held-out sequences, for example; training goes on
            self._explain(f"the samples in {path} are not judged: {error}")
            return []
        self._say(f"Samples of step {report.step:,} in {path}. {quality.sentence}")
        return [SamplesRecord(report.step, quality.numbers(), quality.to_dict()).to_dict()]

    def _judge(self, sequences: list[str]) -> Quality:
        data = self._trainer.data
        longest = self._trainer.config.model.length
        return judge(sequences, data.valid, alphabet=data.alphabet, training=self._index, longest=longest)

    @cached_property
    def _index(self) -> TrainingIndex:
        data = self._trainer.data
        return TrainingIndex.of(data.train, data.alphabet, most=MAX_SEARCHED)

    def _explain(self, why: str) -> None:
        if not self._explained:
            self._say(f"The quality of samples is not recorded: {why}")
        self._explained = True
