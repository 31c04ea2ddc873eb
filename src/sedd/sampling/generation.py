"""Requests for samples, and the model that fulfils them: what a trainer and a loaded model have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from sedd.config.config import Config
from sedd.config.sections import Sampling
from sedd.data import Alphabet, Sequences
from sedd.diffusion.process import Process
from sedd.errors import SamplingError
from sedd.plugins.contracts import Backend
from sedd.sampling.lengths import LengthDistribution
from sedd.sampling.levels import check_template
from sedd.sampling.predictors import PREDICTORS
from sedd.sampling.predictors.base import Report
from sedd.sampling.sample_batch import Constraint, Sample
from sedd.sampling.sampler import Sampler, no_progress
from sedd.sampling.templates import BlankTemplates, RandomRedesigns, RepeatedTemplates, parse_sequence, parse_template


class Choices(TypedDict, total=False):
    """A constraint, and options of the `sampling` section (`sedd.config.sections.Sampling`); None: that of the run."""

    constraint: Constraint | None
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
    """What to draw, and how. Together with the model it determines the samples."""

    templates: Sequences
    """One per sample, (length,) ids with n at the residues to draw."""
    options: Sampling
    """The `sampling` section."""
    seed: int
    """Of all random numbers."""
    names: Sequence[str] = ()
    """Names of the user's templates, each with equally many samples; empty for generation from nothing."""
    constraint: Constraint | None = None
    """Applied after each step."""
    origin: dict[str, Any] = field(default_factory=dict)
    """More keys for the headers of sample files."""

    def describe(self, index: int) -> dict[str, Any]:
        """What determines sample `index` besides the model, for its header; options only if they differ from the
        default, except `steps`."""
        names = self.names
        template = {"template": names[index * len(names) // len(self.templates)]} if names else {}
        options, default = self.options, Sampling()
        keys = [*PREDICTORS[options.predictor].parameters, "noise_removal", "temperature", "top_p"]
        keys += ["sweeps"] if names else []
        values = {key: getattr(options, key) for key in keys}
        described = {key: value for key, value in values.items() if key == "steps" or value != getattr(default, key)}
        return template | self.origin | {"seed": self.seed, "predictor": options.predictor} | described


@dataclass(frozen=True)
class Generation:
    """A model that draws samples: `sample`, `infill` and `redesign` make a `Request`, and `draw` fulfils it."""

    config: Config
    network: nn.Module
    process: Process
    backend: Backend
    device: torch.device
    alphabet: Alphabet
    lengths: LengthDistribution
    token_counts: NDArray[np.int64] | None = None
    """(n,): how often each symbol occurs in the training set. Symbols that do not occur are never drawn."""

    def sample(self, count: int, *, length: int | None = None, seed: int = 0, **options: Unpack[Choices]) -> Request:
        """A request for `count` sequences from nothing; arguments and errors are those of `Pretrained.sample`."""
        lengths = self.lengths.of_samples(count, length, seed=seed)
        return self._request(BlankTemplates(lengths, self.process.graph.n), seed, options)

    def infill(
        self,
        templates: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        num_samples: int = 1,
        seed: int = 0,
        **options: Unpack[Choices],
    ) -> Request:
        """A request to fill in templates; arguments and errors are those of `Pretrained.infill`.

        `names` appear in errors and headers; by default "template 1" and so on.
        """
        names = _names(templates, names, num_samples, "template")
        parsed = [parse_template(text, self.alphabet, name) for text, name in zip(templates, names, strict=True)]
        return self._request(RepeatedTemplates(parsed, num_samples), seed, options, names)

    def redesign(
        self,
        sequences: Sequence[str],
        *,
        share: float,
        names: Sequence[str] | None = None,
        num_samples: int = 1,
        seed: int = 0,
        **options: Unpack[Choices],
    ) -> Request:
        """A request to redraw a random share of sequences; arguments and errors are those of `Pretrained.redesign`.

        `names` appear in errors and headers; by default "sequence 1" and so on.
        """
        if not 0.0 < share <= 1.0:
            message = f"cannot redesign a share of {share:g}; expected more than 0, and at most 1"
            raise SamplingError(message, about="share")
        names = _names(sequences, names, num_samples, "sequence")
        parsed = [parse_sequence(text, self.alphabet, name) for text, name in zip(sequences, names, strict=True)]
        redesigns = RandomRedesigns(parsed, num_samples, share, self.process.graph.n, seed)
        return self._request(redesigns, seed, options, names, redesign=share)

    def draw(self, request: Request, *, first: int = 0, report: Report = no_progress) -> Iterator[Sample]:
        """The samples of a request from index `first`, batch by batch, in constant memory."""
        length, constraint = self.config.model.length, request.constraint
        sampler = Sampler(
            self.process, self.backend, self.device, request.options, length, constraint, never=self._never()
        )
        return sampler(self.network, request.templates, seed=request.seed, first=first, report=report)

    def _never(self) -> torch.Tensor | None:
        """(n,) bool: the symbols that no training sequence has; None where there is no such symbol."""
        if self.token_counts is None or self.token_counts.all() or not self.token_counts.any():
            return None
        return torch.from_numpy(self.token_counts == 0)

    def texts(self, request: Request) -> list[str]:
        """All samples of a request as text."""
        return [self.alphabet.decode(sample.tokens) for sample in self.draw(request)]

    def _request(
        self, templates: Sequences, seed: int, choices: Choices, names: Sequence[str] = (), **origin: Any
    ) -> Request:
        for index, name in enumerate(names):
            template = templates[index * len(templates) // len(names)]
            check_template(template, name, process=self.process, max_length=self.config.model.length)
        changes = {name: value for name, value in choices.items() if name != "constraint" and value is not None}
        try:
            options = Sampling.model_validate(self.config.sampling.model_dump() | changes)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise SamplingError(f"{name}={first['input']!r}: {first['msg']}", about=name) from None
        keys = [name.replace(" ", "-") for name in names]  # a value in a header has no spaces
        return Request(templates, options, seed, keys, choices.get("constraint"), origin)


def _names(texts: Sequence[str], names: Sequence[str] | None, num_samples: int, kind: str) -> list[str]:
    if isinstance(texts, str) or not texts:
        raise SamplingError(f"expected a list with at least one {kind}; got {texts!r}", about=f"{kind}s")
    if num_samples < 1:
        raise SamplingError(f"num_samples={num_samples}; expected 1 or more", about="num_samples")
    return [f"{kind} {number}" for number in range(1, len(texts) + 1)] if names is None else list(names)
