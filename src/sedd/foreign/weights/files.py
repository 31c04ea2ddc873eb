"""Files of tensors: safetensors, or what `torch.save` wrote, read with `weights_only=True` and in no other way."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from torch import Tensor

from sedd.errors import CheckpointError
from sedd.files import check_regular

LFS_POINTER = b"version https://git-lfs"


def read(path: Path) -> dict[str, Any]:
    """The content of a file of tensors, on the CPU.

    Raises:
        CheckpointError: if it is damaged, has other objects than tensors, numbers and texts, or is not a mapping.
    """
    check_regular(path)
    _refuse_pointer(path)
    content: Any = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"has a {type(content).__name__}, expected names and tensors", file=path)
    return dict(content)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_tensors(content: object, path: Path, what: str = "the file") -> dict[str, Tensor]:
    """`content` as named tensors. Raises CheckpointError if it is something else; names it."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{what} has a {type(content).__name__}, expected names and tensors", file=path)
    wrong = next((name for name, value in content.items() if not isinstance(value, Tensor)), None)
    if wrong is not None:
        kind = type(content[wrong]).__name__
        raise CheckpointError(f"{what}: {str(wrong)[:80]} is a {kind}, expected a tensor", file=path)
    return {str(name): value for name, value in content.items()}


def without_wrapper(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that DistributedDataParallel and torch.compile add to all names."""
    plain = dict(tensors)
    for prefix in ("module.", "_orig_mod.", "module."):
        if plain and all(name.startswith(prefix) for name in plain):
            plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    return plain


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the reader has errors of its own
        raise CheckpointError(f"damaged ({str(error)[:200]}); copy or download it again", file=path) from None


def _torch(path: Path) -> Any:
    with path.open("rb") as file:  # what cannot be opened is another error than what is damaged
        return _loaded(file, path)


def _loaded(file: IO[bytes], path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about how the file was written
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file raises whatever its bytes lead to, OSError included
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise CheckpointError(
                f"has the object {found[1]}, and to load it could run code; it is not loaded. Save tensors alone, with "
                "the program that wrote it: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')",
                file=path,
            ) from None
        message = "damaged, or not a file of tensors that torch.save wrote; copy or download it again"
        raise CheckpointError(message, file=path) from None


def _refuse_pointer(path: Path) -> None:
    """Raise CheckpointError for what a clone without Git LFS leaves in place of a large file."""
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            message = "a pointer of Git LFS, not the weights themselves; download them (`git lfs pull`)"
            raise CheckpointError(message, file=path)
