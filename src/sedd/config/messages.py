"""What is wrong with a configuration: where, which value, what was expected, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sedd.errors import ConfigError
from sedd.plugins.registry import KINDS, Kind, registry

KeyPath = tuple[str | int, ...]
"""The keys that lead to a value; numbers count the items of a list: `("trackers", 0, "type")`."""

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
"""Keys of sedd, and the names that other libraries have for them."""


MOST_LINES = 10
"""Lines of an error."""
MOST_NAMES = 12
"""Unknown keys of a section that an error names, where it has no line for each."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration."""

    path: KeyPath
    """The keys that lead to it, as in a run file; empty if it is about no key."""
    text: str
    unknown: bool = False
    """Whether it is that the key is unknown."""

    def located(self, prefix: str) -> str:
        """The line of the error message; `prefix` is where the key was given."""
        # An override contains key and value itself: `optim.lr=fast: expected a number`, without repeating them.
        key, expected, rest = self.text.partition(": expected ")
        repeated = expected and prefix.split("=", 1)[0] == key.split("=", 1)[0]
        return f"{prefix}expected {rest}" if repeated else prefix + self.text


class InvalidConfigError(ConfigError):
    """A configuration with unknown keys or values that are not allowed; has a line for each of them."""

    problems: Sequence[Problem] = ()

    @staticmethod
    def of(problems: Sequence[Problem], where: Callable[[KeyPath], str] = lambda path: "") -> InvalidConfigError:
        """The error for `problems`; `where` tells the place of a key, for example ``"run.yaml:12: "``."""
        lines = [problem.located(where(problem.path)) for problem in problems]
        if len(lines) > MOST_LINES:
            lines = _fewer_lines(problems, where)
        error = InvalidConfigError("\n".join(lines), keys=[dotted(problem.path) for problem in problems])
        error.problems = problems
        return error


def _fewer_lines(problems: Sequence[Problem], where: Callable[[KeyPath], str]) -> list[str]:
    """At most `MOST_LINES` lines: the unknown keys of each section in one of them, and the first of all others."""
    groups: dict[KeyPath, list[Problem]] = {}
    for problem in problems:
        if problem.unknown:
            groups.setdefault(problem.path[:-1], []).append(problem)
    others = [problem.located(where(problem.path)) for problem in problems if not problem.unknown]
    unknown = []
    for section, members in groups.items():
        names = [str(problem.path[-1]) for problem in members]
        shown = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" * (len(names) > MOST_NAMES))
        place = f"in {dotted(section)}" if section else "at the top"
        unknown.append(f"{where(members[0].path)}unknown keys {place}: {shown}")
    lines = [*others, *unknown]
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[: MOST_LINES - 1], f"and {len(lines) - MOST_LINES + 1} more lines like these"]


def dotted(path: KeyPath) -> str:
    """A path as it is written in an override: `optim.lr`."""
    return ".".join(map(str, path))


def problems(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong.

    Args:
        error: the error of pydantic.
        model: the configuration, for the keys that exist.
        data: what was validated, in the long form.
    """
    return [_problem(item, model, data) for item in error.errors(include_url=False)]


def _problem(item: Mapping[str, Any], model: type[BaseModel], data: Mapping[str, Any]) -> Problem:
    path: KeyPath = item["loc"]
    value, key = item.get("input"), dotted(path)
    match item["type"]:
        case "extra_forbidden":
            return Problem(path, f"unknown key {key!r}; {_suggestion(path, model, data)}", unknown=True)
        case "not_installed":
            return _not_installed(path, value)
        case "missing":
            text = f"{key!r} is missing and has no default"
        case "value_error":
            text = f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
        case "model_type" | "dict_type" | "model_attributes_type":
            text = f"{key}={_short(value)}: expected keys and values"
        case _:
            text = f"{key}={_short(value)}: {item['msg'].replace('Input should be', 'expected')}"
    return Problem(path, text)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return f"a number of {value.bit_length():,} bits" if isinstance(value, int) else "numbers that are too long"
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(path: KeyPath, model: type[BaseModel], data: Mapping[str, Any]) -> list[str]:
    """The keys that may be given in the section at `path`."""
    fields = model.model_fields
    kind = _kind_at(path)
    if kind is not None:
        depth = len(kind.path) + kind.many  # a list of parts, or one part
        part: Any = data
        for key in path[:depth]:
            part = part[key]
        name = str(part.get(kind.base.discriminator, kind.default))
        fields, path = registry().of(kind.section)[name].model_fields, path[depth:]
    for key in path:
        if isinstance(key, str):  # numbers count the items of a list, all of one type
            inner = _inner_model(fields[key].annotation) if key in fields else None
            fields = inner.model_fields if inner else {}
    return list(fields)


def _kind_at(path: KeyPath) -> Kind | None:
    """The kind of the plugin section at the beginning of `path`."""
    return next((kind for kind in KINDS if path[: len(kind.path)] == kind.path), None)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The first model in a type: `Stage` of `tuple[Stage, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_inner_model, get_args(annotation))), None)


def _suggestion(path: KeyPath, model: type[BaseModel], data: Mapping[str, Any]) -> str:
    """A did-you-mean for an unknown key: the word of another library, a similar key, or a key of another section."""
    key, section = str(path[-1]), path[:-1]
    for ours, theirs in SYNONYMS.items():
        if key.lower().replace("-", "_") in theirs:
            return f"did you mean {ours!r}?"
    known = _known_keys(section, model, data)
    if close := difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        return f"did you mean {dotted((*section, close[0]))!r}?"
    for name, info in model.model_fields.items():
        if key in _usual_keys(name, info.annotation):
            return f"did you mean '{name}.{key}'?"
    return f"{dotted(section) or 'the configuration'} has the keys {', '.join(known)}"


def _usual_keys(section: str, annotation: Any) -> Collection[str]:
    """The keys of a section; of one that holds a part, those of the default part."""
    kind = next((kind for kind in KINDS if kind.section == section and kind.default), None)
    part = registry().of(section)[str(kind.default)] if kind else annotation
    return getattr(part, "model_fields", {})


def _not_installed(path: KeyPath, value: Any) -> Problem:
    kind = _kind_at(path)
    assert kind is not None  # noqa: S101  # tells the type checker
    discriminator, names = kind.base.discriminator, sorted(registry().of(kind.section))
    if not isinstance(value, Mapping):
        text = f"{dotted(path)}={_short(value)}: expected keys and values, such as {discriminator}: {names[0]}"
        return Problem(path, text)
    path = (*path, discriminator)
    name = value.get(discriminator)
    if name is None:
        return Problem(path, f"{dotted(path)} is missing; installed are {', '.join(names)}")
    if close := difflib.get_close_matches(str(name), names, n=1):
        advice = f"did you mean {close[0]!r}? Installed are {', '.join(names)}"
    else:
        advice = f"install the plugin that provides it, or choose one of {', '.join(names)}"
    if problems := registry().problems:
        advice += f". Plugins that cannot be used: {'; '.join(map(str, problems))}"
    return Problem(path, f"{dotted(path)}={_short(name)} is not installed; {advice}")
