"""A trained model, loaded from a run, a checkpoint or an exported folder: sample from it, score sequences with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sedd.config.config import Config
from sedd.data import Alphabet, Sequences
from sedd.devices import choose
from sedd.diffusion.process import Process
from sedd.distributed.matching import mismatch
from sedd.errors import CheckpointError, ConfigError, DataError, SeddWarning
from sedd.evaluation.bound import Bound
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.likelihood import Likelihood, SequenceBound, likelihood
from sedd.evaluation.mutations import parse, wild_type
from sedd.evaluation.notation import NotScoredError
from sedd.evaluation.variants import VariantScore, scores
from sedd.model.transformer import Transformer
from sedd.plugins.contracts import Backend
from sedd.plugins.curricula import Constant
from sedd.plugins.registry import registry
from sedd.runs.content import refusing_alien_content
from sedd.runs.finding import find
from sedd.sampling.generation import Choices, Generation
from sedd.sampling.lengths import LengthDistribution


@dataclass(frozen=True)
class Pretrained:
    """A model that generates and scores; made by `sedd.load`."""

    config: Config
    """The configuration of the run."""
    network: nn.Module
    """In eval mode, frozen, on the device of `backend`."""
    process: Process
    """Forward process, noise schedule and parametrization."""
    alphabet: Alphabet
    """What token ids mean."""
    lengths: LengthDistribution
    """Lengths of the training sequences."""
    backend: Backend
    """Kind of device and precision."""
    device: torch.device
    """Where it runs."""
    step: int
    """Optimizer steps that the weights were trained for."""
    trained_on: Mapping[str, Any]
    """`Dataset.fingerprint` of the training data."""
    token_counts: NDArray[np.int64] | None = None
    """(n,): how often each symbol occurs in the training data, where it is known; others are never sampled."""

    @property
    def generation(self) -> Generation:
        """Draws samples one by one, with their costs and in constant memory; `sedd sample` uses it."""
        model = (self.config, self.network, self.process, self.backend, self.device, self.alphabet, self.lengths)
        return Generation(*model, token_counts=self.token_counts)

    def sample(self, count: int, *, length: int | None = None, seed: int = 0, **options: Unpack[Choices]) -> list[str]:
        """Generate sequences from nothing.

        Args:
            count: how many.
            length: residues of each; by default drawn from the lengths of the training data.
            seed: the same seed gives the same samples, whatever the batch size.
            options: keys of the `sampling` section for this call: `predictor`, `steps`, `tokens_per_step`,
                `noise_removal`, `temperature`, `top_p`, `batch_size`. And a `constraint`: called after each step as
                `constraint(tokens, to_draw)` with token ids, (batch, length), and True at residues that are to be
                drawn, (batch, length). Returns the token ids to continue with. Masked residues have the id n.

        Raises:
            SamplingError: if the noise stops too early to start from nothing, or the length is impossible.
        """
        return self.generation.texts(self.generation.sample(count, length=length, seed=seed, **options))

    def infill(
        self, templates: Sequence[str], *, num_samples: int = 1, seed: int = 0, **options: Unpack[Choices]
    ) -> list[str]:
        """Fill in templates; fixed residues stay as they are.

        With `absorb` the residues are drawn from the model's conditional distribution given the fixed ones, as exactly
        as the predictor draws. With `uniform` they tend to that distribution as `sweeps` grow.

        Args:
            templates: such as `MK__AC?`: `_`, `?`, `.` or `<mask>` where a residue is to be drawn.
            num_samples: samples of each template, one after the other.
            seed: the same seed gives the same samples.
            options: as for `sample`, and `sweeps`.

        Raises:
            SamplingError: if a template is empty, has nothing to draw, is too long, or has more to draw than the noise
                of the model allows.
            DataError: if a letter is not in the alphabet.
        """
        return self.generation.texts(self.generation.infill(templates, num_samples=num_samples, seed=seed, **options))

    def redesign(
        self,
        sequences: Sequence[str],
        *,
        share: float = 0.3,
        num_samples: int = 1,
        seed: int = 0,
        **options: Unpack[Choices],
    ) -> list[str]:
        """Redraw a random share of the residues of each sequence; the others stay as they are.

        Args:
            sequences: complete, without marks.
            share: of the residues, rounded down, at least one; chosen anew for each sample.
            num_samples: samples of each sequence, one after the other.
            seed: the same seed gives the same samples.
            options: as for `infill`.

        Raises:
            SamplingError: as `infill`, and if the share is not in (0, 1].
            DataError: if a letter is not in the alphabet.
        """
        request = self.generation.redesign(sequences, share=share, num_samples=num_samples, seed=seed, **options)
        return self.generation.texts(request)

    def nelbo(self, sequences: Sequence[str], *, masks: int = 8, seed: int = 0) -> Bound:
        """Upper bound on -log p, nats per residue, over all residues of some sequences.

        `sequences` are in symbols of the alphabet; `masks` and `seed` are those of `bound`.

        Raises:
            DataError: if there are no sequences, or a symbol is not in the alphabet.
        """
        if isinstance(sequences, str) or not sequences or not all(sequences):
            raise DataError("nelbo needs a list with at least one sequence, and none may be empty")
        return self.bound([self.alphabet.encode(text) for text in sequences], masks=masks, seed=seed)

    def bound(self, data: Sequences, *, masks: int = 8, count: int | None = None, seed: int = 0) -> Bound:
        """Upper bound on -log p, nats per residue, over sequences of token ids.

        Args:
            data: any object with `len` and integer arrays as items; longer ones than `model.length` are cropped.
            masks: stratified noise levels per sequence; more of them lower the variance.
            count: number of sequences, at most; of more sequences, a keyed choice.
            seed: keys the noise and the choice of sequences.
        """
        return self._estimator(data, masks, count, seed)(self.network)

    def likelihood(
        self,
        data: Sequences,
        *,
        masks: int = 8,
        count: int | None = None,
        seed: int = 0,
        token_counts: Any = None,
        token_counts_source: str = "the training data",  # noqa: S107  # tokens of sequences, no password
        controls: bool = True,
        on_sequences: Callable[[Sequence[SequenceBound]], object] | None = None,
        report: Callable[[float], object] | None = None,
    ) -> Likelihood:
        """Upper bound on -log p with a 95 % interval, by mask rate, and beside controls.

        Memory does not grow with the number of sequences.

        Args:
            data: token ids: any object with `len` and integer arrays as items.
            masks: noise levels per sequence.
            count: number of sequences, at most; of more sequences, a keyed choice.
            seed: keys the noise, the choice of sequences and the order of the shuffled control.
            token_counts: (n,) token counts of the training data (`Dataset.token_counts`); by default those of `data`.
            token_counts_source: a human-readable description of where `token_counts` come from.
            controls: whether to compute the controls, which takes twice as long.
            on_sequences: called with the bounds of some sequences at a time, in the order of the data.
            report: called with the share of the work that is done, 0 to 1, after every batch.

        Raises:
            DataError: if there are no sequences.
        """
        if not len(data):
            raise DataError("there are no sequences to evaluate; give at least one")
        return likelihood(
            self._estimator(data, masks, count, seed),
            self.network,
            token_counts=token_counts,
            token_counts_source=token_counts_source,
            controls=controls,
            on_sequences=on_sequences,
            report=report,
        )

    def score_variants(
        self, sequence: str, mutations: Sequence[str], *, masks: int = 32, bound: bool = True, seed: int = 0
    ) -> list[VariantScore]:
        """Compare point mutations of a sequence with the sequence itself; scores above 0 prefer the mutant.

        Args:
            sequence: the wild type, in symbols of the alphabet, at most `model.length` residues.
            mutations: such as `A42G` or `p.Ala42Gly`, positions from 1; several at once joined with `:`, `,` or `;`;
                `p.=` or `_wt` for the wild type, which scores 0.
            masks: noise levels for the difference of the bounds; more of them lower its standard error.
            bound: whether to compute that difference, which takes `masks` evaluations for each variant.
            seed: keys the noise.

        Raises:
            DataError: if a mutation cannot be read, is no substitution or does not fit the sequence, or the sequence is
                too long.
        """
        wild = wild_type(sequence, self.alphabet, self.config.model.length)
        try:
            parsed = [parse(text, wild, self.alphabet) for text in mutations]
        except NotScoredError as error:
            raise DataError(f"a mutation is {error}; leave it out, there is no score for it") from None
        # bfloat16 leaves two or three digits of a log-probability: enough for a mean over residues, too few for one.
        precise = self.backend.model_copy(update={"precision": "float32"})
        estimator = replace(self._estimator([wild], masks, 1, seed), backend=precise)
        return list(scores(estimator, self.network, wild, parsed, bound=bound))

    def _estimator(self, data: Sequences, masks: int, count: int | None, seed: int) -> Estimator:
        count = len(data) if count is None else count
        length, batch_size = self.config.model.length, self.config.evaluation.batch_size
        return Estimator(data, self.process, self.backend, self.device, length, count, masks, batch_size, seed)


@refusing_alien_content
def load(
    path: str | Path,
    *,
    which: Literal["best", "latest"] = "best",
    weights: Literal["ema", "model"] = "ema",
    device: str = "auto",
    model: nn.Module | None = None,
) -> Pretrained:
    """Load a trained model.

    Args:
        path: a run directory, one checkpoint in it, or a folder that `sedd export` wrote, which has a single set of
            weights.
        which: of a run: the checkpoint with the best held-out bound, or the latest.
        weights: averaged (`ema`) or raw (`model`).
        device: a device backend by name.
        model: the network, if it was your own.

    Raises:
        ConfigError: if `which` or `weights` is something else.
        CheckpointError: if there is no checkpoint, or it is damaged.
    """
    for name, given, known in (("which", which, ("best", "latest")), ("weights", weights, ("ema", "model"))):
        if given not in known:
            raise ConfigError(f"{name}={given!r}: expected {known[0]!r} or {known[1]!r}")
    found, saved = find(Path(path), which)
    config = _config(saved.config, device)
    alphabet = Alphabet.from_dict(saved.state["alphabet"])
    process = Process.of(config, alphabet.n)
    backend = choose(config.device)
    place = backend.device()
    network = model or Transformer(config.model, states=process.graph.states, outputs=process.outputs)
    if problem := mismatch(network.state_dict(), saved.tensors.get(weights, {})):
        raise CheckpointError(
            f"{found}: the weights do not fit {type(network).__name__} ({problem[:120]}); if the run trained a "
            "network of your own, pass it: sedd.load(run, model=...)"
        )
    network.load_state_dict(dict(saved.tensors[weights]))
    network.eval().requires_grad_(False).to(place)
    lengths, step = LengthDistribution.from_dict(saved.state["lengths"]), int(saved.state["train"]["step"])
    return Pretrained(
        config, network, process, alphabet, lengths, backend, place, step, saved.state["data"],
        None if (counts := saved.state.get("token_counts")) is None else np.array(counts, np.int64),
    )  # fmt: skip


def _config(saved: Mapping[str, Any], device: str) -> Config:
    """The configuration of a checkpoint, on another device perhaps, without what only training needs."""
    data = dict(saved) | {"device": {"type": device, "precision": saved["device"]["precision"]}, "trackers": ()}
    data["evaluation"] = {**data.get("evaluation", {}), "metrics": ()}
    if data["curriculum"]["difficulty_ramp"] not in registry().of("curriculum"):
        data["curriculum"] = Constant()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # what was said when the run began need not be said again
        return Config(**data)
