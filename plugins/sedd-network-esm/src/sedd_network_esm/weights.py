"""Weights of ESM-2 and DPLM in the Hugging Face layout: `config.json` with `model_type: esm`, and named tensors.

The names of the network's parameters are those of the layout. What the file has besides them is known, and left out:
the last layer where it is tied, constants of the rotary embeddings, and layers that a masked language model does not
use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

import sedd

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
EMBEDDINGS, DECODER = "esm.embeddings.word_embeddings.weight", "lm_head.decoder.weight"
BIAS, DECODER_BIAS = "lm_head.bias", "lm_head.decoder.bias"
ROTARY = r"esm\.encoder\.layer\.(\d+|\*)\.attention\.self\.rotary_embeddings\.inv_freq"
UNUSED = {
    r"esm\.embeddings\.position_ids": "numbers from 0, which are no parameters",
    r"esm\.embeddings\.position_embeddings\.weight": "rotary embeddings are used in place of learnt positions",
    r"esm\.contact_head\..*": "predicts contacts from attention, which sedd does not",
    r"esm\.pooler\..*": "not part of the masked language model",
}
"""Patterns of tensors that are left out, each with the reason."""
REQUIRED = {
    "vocab_size": 33,
    "mask_token_id": 32,
    "position_embedding_type": "rotary",
    "hidden_act": "gelu",
    "emb_layer_norm_before": False,
}
"""Values of `config.json` that the network has built in."""
OPTIONAL = {"hidden_act", "emb_layer_norm_before"}
"""Those that may be left out."""


def recognises(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is that of ESM-2 or DPLM."""
    return config.get("model_type") == "esm" and not config.get("is_folding_model")


def published(config: Mapping[str, Any], read: Callable[[], Mapping[str, Tensor]]) -> sedd.PublishedWeights:
    """The weights of a hub folder, from its `config.json` and what reads its tensors.

    Raises:
        CheckpointError: if the network does not have what a key asks for, or tied tensors differ.
    """
    from sedd_network_esm import Esm

    for key, value in REQUIRED.items():
        given = config.get(key)
        if given != value and not (given is None and key in OPTIONAL):
            raise sedd.CheckpointError(f"{key} is {given!r}; this network has {value!r} only")
    keys = {"hidden_size": "hidden_size", "n_blocks": "num_hidden_layers", "n_heads": "num_attention_heads"}
    keys |= {"intermediate_size": "intermediate_size", "length": "max_position_embeddings"}
    if missing := [theirs for theirs in keys.values() if type(config.get(theirs)) is not int]:
        raise sedd.CheckpointError(f"{', '.join(missing)}: missing, or no whole number")
    options: dict[str, Any] = {ours: config[theirs] for ours, theirs in keys.items()}
    options |= {"length": options["length"] - 2, "layer_norm_eps": config.get("layer_norm_eps", 1e-12)}
    options |= {"dropout": config.get("hidden_dropout_prob", 0.0)}
    options |= {"token_dropout": config.get("token_dropout", False), "tie_embeddings": _tied(config)}
    model = Esm.model_validate(options)
    tensors = {_today(name): tensor for name, tensor in read().items()}
    remarks = [*_tie(tensors, tied=model.tie_embeddings), *_left_out(tensors, model.hidden_size // model.n_heads)]
    return sedd.PublishedWeights(
        layout="hub folder of ESM-2 or DPLM",
        model=model,
        tensors=tensors,
        n=REQUIRED["mask_token_id"],  # type: ignore[arg-type]  # an int
        alphabet="esm",
        drawn=AMINO_ACIDS,
        remarks=tuple(remarks),
    )


def _today(name: str) -> str:
    """The name of a tensor; transformers 5 writes the oldest names of layer norms, `gamma` and `beta`."""
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name))


def _tied(config: Mapping[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings", True))


def _tie(tensors: dict[str, Tensor], *, tied: bool) -> Iterator[str]:
    """Remove copies of tied tensors. Raises CheckpointError if a copy differs."""
    copies = {DECODER_BIAS: BIAS} | ({DECODER: EMBEDDINGS} if tied else {})
    for copy, original in copies.items():
        if copy not in tensors:
            continue
        if original not in tensors or not torch.equal(tensors[copy], tensors[original]):
            raise sedd.CheckpointError(f"{copy} is tied to {original} and differs from it")
        del tensors[copy]
        yield f"{copy} is left out: a copy of {original}"


def _left_out(tensors: dict[str, Tensor], head_dim: int) -> Iterator[str]:
    """Remove what the network does not use. Raises CheckpointError if the angles of a rotary embedding are others."""
    rotary = [name for name in tensors if re.fullmatch(ROTARY, name)]
    expected = 10_000.0 ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    for name in rotary:
        given = tensors.pop(name)
        if given.shape != expected.shape or not torch.allclose(given.float(), expected, rtol=1e-2):
            raise sedd.CheckpointError(f"{name}: not the frequencies 10000^(-2i/{head_dim}) of this network")
    if rotary:
        yield f"{len(rotary)} tensors such as {rotary[0]} are left out: constants, and those of this network"
    for pattern, reason in UNUSED.items():
        for name in [name for name in tensors if re.fullmatch(pattern, name)]:
            del tensors[name]
            yield f"{name} is left out: {reason}"
