"""Hidden states of a network for clean sequences: one vector per residue, or their mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sedd.data.alphabet import Alphabet
from sedd.diffusion.process import Process
from sedd.errors import ConfigError, DataError
from sedd.plugins.contracts import Backend

Vectors = NDArray[np.float32]
WINDOW_RESIDUES = 32_768
"""Residues that are read before they are sorted into batches; a longer sequence is a window of its own."""
BATCH_RESIDUES = 8_192
"""Residues of a batch, padding included; a longer sequence is a batch of its own."""


@dataclass(frozen=True)
class Embedder:
    """Embeds sequences with the hidden states of a network.

    Nothing is corrupted, and the network is conditioned on the least sigma of the noise schedule. It computes in
    float32 whatever `device.precision` is.

    Args:
        network: in eval mode, with a method `hidden_states`; see `sedd.Network.build`.
        process: gives sigma.
        backend: of the device.
        device: where the network is.
        layer: which of the hidden states: 0 is the embedding of the tokens, -1 what the last layer reads.
        pool: `mean` over the residues, or None for one vector per residue.
    """

    network: nn.Module
    process: Process
    backend: Backend
    device: torch.device
    layer: int = -1
    pool: Literal["mean"] | None = "mean"

    def __post_init__(self) -> None:
        if self.pool not in ("mean", None):
            raise ConfigError(f"pool={self.pool!r}: expected 'mean' or None, a vector for each residue")

    def __call__(self, sequences: Iterable[NDArray[Any]]) -> Iterator[Vectors]:
        """Embed sequences of token ids, in their order and in bounded memory.

        Args:
            sequences: integer arrays (length,), without MASK.

        Yields:
            float32, (size,) with `pool`, else (length, size).

        Raises:
            ConfigError: if the network has no hidden states, or not that one.
            DataError: if a sequence is empty.
        """
        window: list[NDArray[Any]] = []
        residues = 0
        for sequence in sequences:
            if not len(sequence):
                raise DataError("an empty sequence has no hidden states; leave it out")
            if window and residues + len(sequence) > WINDOW_RESIDUES:
                yield from self._window(window)
                window, residues = [], 0
            window.append(sequence)
            residues += len(sequence)
        yield from self._window(window)

    def _window(self, sequences: list[NDArray[Any]]) -> list[Vectors]:
        """The embeddings of some sequences in their order; those of similar length share a batch."""
        found: dict[int, Vectors] = {}
        batch: list[int] = []
        for index in sorted(range(len(sequences)), key=lambda index: len(sequences[index])):
            if batch and (len(batch) + 1) * len(sequences[index]) > BATCH_RESIDUES:
                found |= self._batch(sequences, batch)
                batch = []
            batch.append(index)
        if batch:
            found |= self._batch(sequences, batch)
        return [found[index] for index in range(len(sequences))]

    @torch.no_grad()
    def _batch(self, sequences: list[NDArray[Any]], batch: list[int]) -> dict[int, Vectors]:
        lengths = np.array([len(sequences[index]) for index in batch])
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens = np.zeros(mask.shape, np.int64)
        tokens[mask] = np.concatenate([sequences[index] for index in batch])
        padding = None if mask.all() else torch.from_numpy(mask).to(self.device)
        state = self._state(torch.from_numpy(tokens).to(self.device), padding).float()
        rows = (state[row, :length] for row, length in enumerate(lengths))
        return {
            index: (row.mean(0) if self.pool == "mean" else row).cpu().numpy()
            for index, row in zip(batch, rows, strict=True)
        }

    def _state(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """The hidden state (batch, length, size) of `layer`."""
        sigma = torch.full((len(tokens),), self.process.sigma_range[0], device=self.device)
        precise = self.backend.model_copy(update={"precision": "float32"})
        with precise.autocast():
            states = hidden_states(self.network)(tokens, sigma, mask)
            kept: deque[Tensor] = deque(maxlen=max(1, -self.layer))
            count = 0
            for state in states:
                kept.append(state)
                count += 1
                if count == self.layer + 1:
                    break
        there = count > self.layer if self.layer >= 0 else count >= -self.layer
        if not there:
            raise ConfigError(
                f"layer={self.layer}: {type(self.network).__name__} has {count} hidden states; give 0 to {count - 1}, "
                f"or -{count} to -1 counted from the last"
            )
        found: Any = kept[-1] if self.layer >= 0 else kept[0]
        if not isinstance(found, Tensor) or found.dim() != 3 or found.shape[:2] != tokens.shape:
            given = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(
                f"hidden_states of {type(self.network).__name__} yields {given}; expected (batch, length, size) with "
                f"(batch, length) = {tuple(tokens.shape)}"
            )
        return found


def hidden_states(network: nn.Module) -> Any:
    """The method `hidden_states` of a network. Raises ConfigError if it has none; says what to provide."""
    method = getattr(network, "hidden_states", None)
    if not callable(method):
        raise ConfigError(
            f"the network {type(network).__name__} does not say what its hidden states are; give it a method "
            "hidden_states(tokens, sigma, mask) that yields (batch, length, size) after the embedding and after each "
            "layer"
        )
    return method


def encoded(sequences: Sequence[str], alphabet: Alphabet, longest: int) -> list[NDArray[Any]]:
    """Token ids of some sequences. Raises DataError if there are none, one is empty or longer than `longest`, or a
    symbol is not in the alphabet."""
    if isinstance(sequences, str) or not len(sequences):
        raise DataError("expected a list with at least one sequence")
    ids = [alphabet.encode(text) for text in sequences]
    for number, sequence in enumerate(ids, 1):
        if not 0 < len(sequence) <= longest:
            raise DataError(
                f"sequence {number} has {len(sequence):,} residues; the model takes 1 to {longest:,} (model.length): "
                "leave it out, or embed parts of it"
            )
    return ids
