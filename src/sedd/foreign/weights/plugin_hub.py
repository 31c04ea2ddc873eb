"""A hub folder whose weights fit the network of a plugin: the plugin recognises its `config.json` and names its tensors
as the network does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from sedd.errors import CheckpointError, SeddError
from sedd.foreign.weights.files import as_tensors, read, without_wrapper
from sedd.foreign.weights.given import Given
from sedd.foreign.weights.published import Published
from sedd.plugins.checked import broken
from sedd.plugins.contracts import Network, PublishedWeights
from sedd.plugins.registry import registry


def published(given: Given, file: Path) -> Published | None:
    """The weights of a hub folder, from the first network that recognises its configuration; None if none does.

    Raises:
        CheckpointError: if a network does, and they do not fit it.
        PluginError: if a plugin is broken.
    """
    for cls in registry().of("model").values():
        assert issubclass(cls, Network)  # noqa: S101  # tells the type checker
        found = _of_class(cls, given, file)
        if found is not None:
            return Published(
                layout=found.layout,
                file=file,
                weights="published",
                tensors=found.tensors,
                sections={"graph": {"type": "absorb"}, "noise": {"type": "loglinear"}, "model": found.model},
                n=found.n,
                alphabet=found.alphabet,
                drawn=found.drawn,
                remarks=found.remarks,
            )
    return None


def _of_class(cls: type[Network], given: Given, file: Path) -> PublishedWeights | None:
    def tensors() -> dict[str, Tensor]:
        return without_wrapper(as_tensors(read(file), file))

    try:
        found: Any = cls.published(dict(given.data), tensors)
    except CheckpointError as error:
        if error.file is not None:
            raise
        raise CheckpointError(str(error), file=given.file) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the configuration"
        raise CheckpointError(f"{place}: {first['msg']}", file=given.file) from None
    except (SeddError, MemoryError):
        raise
    except Exception as error:  # a plugin may fail in any way
        raise broken(cls, "network", f"published() failed ({type(error).__name__}: {error})") from error
    if not isinstance(found, PublishedWeights | None):
        raise broken(cls, "network", f"published() returned {found!r:.80}, expected a sedd.PublishedWeights or None")
    return found
