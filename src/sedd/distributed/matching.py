"""Whether saved tensors fit a network: the same names, shapes and number formats."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def mismatch(current: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> str | None:
    """The first difference between the tensors of a network and saved ones; None if these can be loaded."""
    if current.keys() != saved.keys():
        names = sorted(current.keys() ^ saved.keys())
        return f"{', '.join(names[:3])}: only in one of the two"
    for name, tensor in current.items():
        for what in ("shape", "dtype"):
            here, there = (_in_words(getattr(each, what)) for each in (tensor, saved[name]))
            if here != there:
                return f"{name}: {there} in the checkpoint, {here} in the network"
    return None


def _in_words(value: object) -> str:
    return str(tuple(value) if isinstance(value, tuple) else value)
