"""A trained model, loaded from a run or a checkpoint: sample from it, score sequences with it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from sedd.config import Config
from sedd.contracts import Backend
from sedd.curricula import Constant
from sedd.data import Alphabet, Sequences
from sedd.devices import choose
from sedd.errors import CheckpointError, DataError, SeddWarning
from sedd.evaluation.bound import Bound, Estimator
from sedd.graphs import Graph, make_graph
from sedd.heads import outputs
from sedd.model import Transformer
from sedd.plugins import registry
from sedd.sampling.lengths import LengthDistribution
from sedd.sampling.sampler import Sampler
from sedd.training import checkpoint


@dataclass(frozen=True)
class Pretrained:
    """A model that generates and scores; made by `sedd.load`."""

    config: Config
    """The configuration of the run."""
    network: nn.Module
    """In eval mode, frozen, on the device of `backend`."""
    graph: Graph
    """The forward process."""
    alphabet: Alphabet
    """What token ids mean."""
    lengths: LengthDistribution
    """Lengths of the training sequences."""
    backend: Backend
    """Where it runs."""
    step: int
    """Optimizer steps that the weights were trained for."""
    trained_on: Mapping[str, Any]
    """`Dataset.fingerprint` of the training data."""

    def sample(self, count: int, *, length: int | None = None, steps: int | None = None, seed: int = 0) -> list[str]:
        """Generate sequences.

        Args:
            count: how many.
            length: residues in each; by default drawn from the lengths of the training data.
            steps: denoising steps; by default `sampling.steps` of the configuration.
            seed: the same seed gives the same samples.

        Raises:
            SamplingError: if the noise stops too early to start from nothing, or the length is impossible.
        """
        options = self.config.sampling.model_copy(update={"steps": steps} if steps else {})
        sampler = Sampler(self.graph, self.config.model, self.config.noise, self.backend, options)
        lengths = self.lengths.of_samples(count, length, seed=seed)
        return [self.alphabet.decode(tokens) for tokens in sampler(self.network, lengths, seed=seed)]

    def nelbo(self, sequences: Sequence[str], *, masks: int = 8, seed: int = 0) -> Bound:
        """Upper bound on -log p, nats per residue, over all residues of some sequences.

        Args:
            sequences: in the letters of the alphabet; longer ones than `model.length` are cropped.
            masks: stratified noise levels per sequence; more of them lower the variance.
            seed: keys the noise.

        Raises:
            DataError: if there are no sequences, or a letter is not in the alphabet.
        """
        if isinstance(sequences, str) or not sequences or not all(sequences):
            raise DataError("nelbo needs a list with at least one sequence, and none may be empty")
        return self.bound([self.alphabet.encode(text) for text in sequences], masks=masks, seed=seed)

    def bound(self, data: Sequences, *, masks: int = 8, count: int | None = None, seed: int = 0) -> Bound:
        """The same for token ids: any object with `len` and integer arrays as items, at most `count` of them."""
        estimate = Estimator(
            data,
            self.graph,
            self.config.model,
            self.config.noise,
            self.backend,
            count=len(data) if count is None else count,
            masks=masks,
            batch_size=self.config.evaluation.batch_size,
            seed=seed,
        )
        return estimate(self.network)


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
        path: a run directory or one checkpoint in it.
        which: of a run: the checkpoint with the best held-out bound, or the latest.
        weights: averaged (`ema`) or raw (`model`).
        device: a device backend by name.
        model: the network, if it was your own.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged.
    """
    for name, given, known in (("which", which, ("best", "latest")), ("weights", weights, ("ema", "model"))):
        if given not in known:
            raise CheckpointError(f"{name}={given!r}: expected {known[0]!r} or {known[1]!r}")
    found, saved = _find(Path(path), which)
    config = _config(saved.config, device)
    alphabet = Alphabet.from_dict(saved.state["alphabet"])
    graph = make_graph(config.graph.type, alphabet.n)
    backend = choose(config.device)
    network = model or Transformer(config.model, states=graph.states, outputs=outputs(graph, config.model))
    try:
        network.load_state_dict(dict(saved.tensors[weights]))
    except RuntimeError as error:
        first = str(error).partition("\n\t")[2].partition("\n")[0]
        raise CheckpointError(
            f"{found}: the weights do not fit {type(network).__name__} ({first[:120]} ...); if the run trained a "
            "network of your own, pass it: sedd.load(run, model=...)"
        ) from None
    network.eval().requires_grad_(False).to(backend.device())
    lengths = LengthDistribution.from_json(saved.state["lengths"])
    step = int(saved.state["train"]["step"])
    return Pretrained(config, network, graph, alphabet, lengths, backend, step, saved.state["data"])


def _config(saved: Mapping[str, Any], device: str) -> Config:
    """The configuration of a checkpoint, on another device perhaps, without what only training needs."""
    data = dict(saved) | {"device": {"type": device, "precision": saved["device"]["precision"]}, "trackers": ()}
    if data["curriculum"]["difficulty_ramp"] not in registry().of("curriculum"):
        data["curriculum"] = Constant()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # what was said when the run began need not be said again
        return Config(**data)


def _find(path: Path, which: str) -> tuple[Path, checkpoint.Checkpoint]:
    if (path / "manifest.json").exists():
        return path, checkpoint.read(path)
    latest = checkpoint.latest(path / "checkpoints")
    if latest is None:
        raise CheckpointError(f"{path} is neither a run with checkpoints nor a checkpoint; give one of these")
    best = latest[1].state["train"]["best_step"]
    if which == "best" and best is not None:
        chosen = path / "checkpoints" / f"step-{best:08d}"
        try:
            return chosen, checkpoint.read(chosen)
        except CheckpointError as error:
            warnings.warn(f"{error}; using {latest[0].name} instead of the best", SeddWarning, stacklevel=3)
    return latest
