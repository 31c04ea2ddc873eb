"""What is wrong with a run file, in the words of its writer: where, what was given, expected, and probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sedd.plugins.registry import KINDS, registry

Place = tuple[str | int, ...]
"""A path of keys, as written in the run file or (with the names of union members in it) as pydantic reports it."""
Where = Callable[[Place], str]
"""Tells where a path was given, for example ``"run.yaml:12: "``."""

SYNONYMS = {
    "seed": ("random_seed", "rng_seed"),
    "data.train": ("dataset", "data_path", "train_file", "train_path"),
    "data.valid": ("valid_file", "val_path", "validation"),
    "noise.type": ("schedule", "noise_schedule"),
    "curriculum.difficulty_ramp": ("ramp", "curriculum_type"),
    "curriculum.preschool_time": ("ramp_steps", "curriculum_steps"),
    "model.hidden_size": ("d_model", "dim", "embed_dim", "hidden_dim", "n_embd"),
    "model.length": ("block_size", "context_length", "max_len", "max_seq_len", "seq_len", "sequence_length"),
    "model.n_blocks": ("depth", "layers", "n_layer", "n_layers", "num_hidden_layers", "num_layers"),
    "model.n_heads": ("heads", "n_head", "num_attention_heads", "num_heads"),
    "optim.lr": ("learning_rate", "max_lr", "peak_lr"),
    "optim.weight_decay": ("decay", "wd"),
    "optim.grad_clip": ("clip_grad", "clip_grad_norm", "gradient_clip_val", "max_grad_norm"),
    "optim.warmup": ("num_warmup_steps", "warmup_iters", "warmup_steps"),
    "optim.beta1": ("adam_beta1", "betas"),
    "optim.beta2": ("adam_beta2",),
    "optim.eps": ("adam_epsilon", "epsilon"),
    "lr_schedule.type": ("lr_scheduler", "lr_scheduler_type", "scheduler"),
    "ema.decay": ("ema_decay", "ema_rate"),
    "training.n_iters": ("iterations", "max_iters", "max_steps", "n_steps", "num_steps", "steps", "total_steps"),
    "training.batch_size": ("micro_batch_size", "per_device_train_batch_size", "train_batch_size"),
    "training.accum": ("accumulate_grad_batches", "grad_accum", "gradient_accumulation_steps"),
    "training.log_every": ("log_freq", "log_interval", "logging_steps"),
    "training.eval_every": ("eval_freq", "eval_interval", "eval_steps", "val_check_interval"),
    "checkpoint.every": ("save_every", "save_interval", "save_steps", "snapshot_freq"),
    "checkpoint.keep": ("save_total_limit", "save_top_k"),
    "device.precision": ("amp", "dtype", "mixed_precision"),
}
"""Our keys, and what other libraries call them."""


def explain(error: ValidationError, model: type[BaseModel], where: Where) -> list[str]:
    """A line for everything that is wrong.

    Args:
        error: what pydantic found.
        model: the whole configuration, for the keys that exist.
        where: tells where a path was given.
    """
    lines = []
    for item in error.errors(include_url=False):
        place, text = where(_written(item["loc"])), _one(item, model)
        # An override says key and value itself: `optim.lr=fast: expected a number` rather than both of them twice.
        doubled = ": expected " in text and text.split("=", 1)[0] == place.split("=", 1)[0]
        lines.append(place + (text[text.index("expected ") :] if doubled else text))
    return lines


def _one(item: Mapping[str, Any], model: type[BaseModel]) -> str:
    path = _written(item["loc"])
    name, given = ".".join(map(str, path)), item.get("input")
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {name!r}; {_meant(path, item['loc'], model)}"
        case "union_tag_invalid" | "union_tag_not_found":
            return _unknown_part(path, given)
        case "missing":
            return f"{name!r} is missing and has no default"
        case "value_error":
            return f"{name}: {item['ctx']['error']}" if name else str(item["ctx"]["error"])
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"{name}={_short(given)}: expected keys and values"
        case _:
            return f"{name}={_short(given)}: {item['msg'].replace('Input should be', 'expected')}"


def _written(location: Place) -> Place:
    """A pydantic location without the names of union members in it: what the user wrote."""
    if location and location[0] in {kind.section for kind in KINDS}:
        cut = 2 if location[0] == "trackers" else 1
        return location[:cut] + location[cut + 1 :]
    return location


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(location: Place, model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields of the section at a pydantic location."""
    fields: Mapping[str, FieldInfo] = model.model_fields
    if location and location[0] in {kind.section for kind in KINDS}:
        cut = 2 if location[0] == "trackers" else 1
        fields = registry().of(str(location[0]))[str(location[cut])].model_fields
        location = location[cut + 1 :]
    for key in location:
        if isinstance(key, str):  # numbers count the items of a list, all of one type
            inner = _inner_model(fields[key].annotation) if key in fields else None
            fields = inner.model_fields if inner else {}
    return fields


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The first model in a type: `Stage` of `tuple[Stage, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_inner_model, get_args(annotation))), None)


def _meant(path: Place, location: Place, model: type[BaseModel]) -> str:
    """A did-you-mean for an unknown key: another library's word, a like one in its section, or its own elsewhere."""
    key = str(path[-1])
    here = list(_fields(location[:-1], model))
    section = ".".join(map(str, path[:-1]))
    for ours, theirs in SYNONYMS.items():
        if key.lower().replace("-", "_") in theirs:
            return f"did you mean {ours!r}?"
    if close := difflib.get_close_matches(key, here, n=1, cutoff=0.5):
        return f"did you mean {'.'.join(filter(None, (section, close[0])))!r}?"
    for name, info in model.model_fields.items():
        if key in getattr(info.annotation, "model_fields", {}):
            return f"did you mean '{name}.{key}'?"
    return f"{section or 'the configuration'} has the keys {', '.join(here)}"


def _unknown_part(path: Place, given: Any) -> str:
    kind = next(kind for kind in KINDS if kind.section == path[0])
    key, names = kind.base.discriminator, sorted(registry().of(kind.section))
    name = ".".join(map(str, path))
    if not isinstance(given, Mapping):
        return f"{name}={_short(given)}: expected keys and values, such as {key}: {names[0]}"
    value = given.get(key)
    if value is None:
        return f"{name}.{key} is missing; installed are {', '.join(names)}"
    if close := difflib.get_close_matches(str(value), names, n=1):
        advice = f"did you mean {close[0]!r}? Installed are {', '.join(names)}"
    else:
        advice = f"install the plugin that provides it, or choose one of {', '.join(names)}"
    return f"{name}.{key}={_short(value)} is not installed; {advice}"
