"""A model that generates: what a trainer and a loaded model have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

import torch
from pydantic import ValidationError
from torch import nn

from sedd.config.config import Config
from sedd.config.sections import Sampling
from sedd.data import Alphabet, Sequences
from sedd.diffusion.process import Process
from sedd.errors import SamplingError
from sedd.plugins.contracts import Backend
from sedd.sampling.lengths import LengthDistribution
from sedd.sampling.levels import check
from sedd.sampling.rows import Projector, Sample
from sedd.sampling.sampler import Report, Sampler, no_progress
from sedd.sampling.templates import Blanks, Redesigns, Repeated, parse, whole


class Choices(TypedDict, total=False):
    """Options of the `sampling` section for one call, see `sedd.config.sections.Sampling`; None: that of the run."""

    predictor: str | None
    steps: int | None
    tokens_per_step: int | None
    noise_removal: bool | None
    temperature: float | None
    top_p: float | None
    sweeps: int | None
    batch_size: int | None


@dataclass(frozen=True)
class Request:
    """What to draw, and how."""

    templates: Sequences
    """One for each sample."""
    options: Sampling
    seed: int
    names: Sequence[str] = ()
    """Of the templates that were given; empty for generation from nothing."""
    project: Projector | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    """What else decides the samples, for people: goes into headers."""

    def describe(self, index: int) -> dict[str, Any]:
        """Everything that decides sample `index` besides the model, for its header."""
        each = len(self.templates) // max(1, len(self.names))
        template = {"template": self.names[index // each]} if self.names else {}
        plain, own = Sampling(), self.options
        first_hitting = own.predictor == "first_hitting"
        told = {} if first_hitting else {"steps": own.steps}
        wanted = ["tokens_per_step"] if first_hitting else []
        wanted += ["noise_removal", "temperature", "top_p", *(["sweeps"] if self.names else [])]
        told |= {name: getattr(own, name) for name in wanted if getattr(own, name) != getattr(plain, name)}
        return template | self.origin | {"seed": self.seed, "predictor": own.predictor} | told


@dataclass(frozen=True)
class Generation:
    """Makes requests of a model, and fulfils them."""

    config: Config
    network: nn.Module
    process: Process
    backend: Backend
    device: torch.device
    alphabet: Alphabet
    lengths: LengthDistribution

    def sample(
        self,
        count: int,
        *,
        length: int | None = None,
        seed: int = 0,
        project: Projector | None = None,
        **options: Unpack[Choices],
    ) -> Request:
        """`count` sequences from nothing; see `Pretrained.sample`."""
        lengths = self.lengths.of_samples(count, length, seed=seed)
        return Request(Blanks(lengths, self.process.graph.n), self._options(options), seed, project=project)

    def infill(
        self,
        templates: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        num_per_template: int = 1,
        seed: int = 0,
        project: Projector | None = None,
        **options: Unpack[Choices],
    ) -> Request:
        """Templates with residues to draw; see `Pretrained.infill`."""
        names = _names(templates, names, num_per_template, "template")
        parsed = [parse(text, self.alphabet, name) for text, name in zip(templates, names, strict=True)]
        self._check(parsed, names)
        chosen = Repeated(parsed, num_per_template)
        return Request(chosen, self._options(options), seed, [name.replace(" ", "-") for name in names], project)

    def redesign(
        self,
        sequences: Sequence[str],
        *,
        share: float,
        names: Sequence[str] | None = None,
        num_per_template: int = 1,
        seed: int = 0,
        project: Projector | None = None,
        **options: Unpack[Choices],
    ) -> Request:
        """Sequences of which a random share is drawn anew; see `Pretrained.redesign`."""
        if not 0.0 < share <= 1.0:
            raise SamplingError(f"cannot redesign a share of {share:g}; expected more than 0, and at most 1")
        names = _names(sequences, names, num_per_template, "sequence")
        parsed = [whole(text, self.alphabet, name) for text, name in zip(sequences, names, strict=True)]
        chosen = Redesigns(parsed, num_per_template, share, self.process.graph.n, seed)
        self._check([chosen[num_per_template * index] for index in range(len(parsed))], names)
        names = [name.replace(" ", "-") for name in names]
        return Request(chosen, self._options(options), seed, names, project, {"redesign": share})

    def draw(self, request: Request, *, first: int = 0, report: Report = no_progress) -> Iterator[Sample]:
        """The samples of a request from the `first` on, batch by batch, in constant memory."""
        sampler = Sampler(
            self.process,
            self.backend,
            self.device,
            request.options,
            max_length=self.config.model.length,
            project=request.project,
        )
        return sampler(self.network, request.templates, seed=request.seed, first=first, report=report)

    def texts(self, request: Request) -> list[str]:
        """All samples of a request in the letters of the alphabet."""
        return [self.alphabet.decode(sample.tokens) for sample in self.draw(request)]

    def _options(self, changes: Choices) -> Sampling:
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            return Sampling.model_validate(self.config.sampling.model_dump() | given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise SamplingError(f"{name}={first['input']!r}: {first['msg']}") from None

    def _check(self, templates: Sequence[Any], names: Sequence[str]) -> None:
        for template, name in zip(templates, names, strict=True):
            check(template, name, process=self.process, max_length=self.config.model.length)


def _names(texts: Sequence[str], names: Sequence[str] | None, each: int, kind: str) -> list[str]:
    if isinstance(texts, str) or not texts:
        raise SamplingError(f"expected a list with at least one {kind}; got {texts!r}")
    if each < 1:
        raise SamplingError(f"num_per_template={each}; expected 1 or more")
    return [f"{kind} {number}" for number in range(1, len(texts) + 1)] if names is None else list(names)
