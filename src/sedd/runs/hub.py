"""Models on the Hugging Face Hub, named `hf://user/name` or `hf://user/name@revision`; needs the extra `hf`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sedd.errors import CheckpointError, SeddError, install_extra

NAME = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
"""A `Path` has a single slash where the name has two."""


def local(source: str | Path) -> Path:
    """The folder of a model: `source` itself, or the copy of a repository of the Hub, downloaded if need be.

    The cache of huggingface_hub is used, and with `HF_HUB_OFFLINE=1` nothing else.

    Raises:
        CheckpointError: if there is no such repository, or it can be neither downloaded nor found in the cache.
        SeddError: if huggingface_hub is not installed.
    """
    found = NAME.fullmatch(str(source))
    if found is None:
        return Path(source)
    repository, revision = found.groups()
    hub = _hub()
    try:
        return Path(hub.snapshot_download(repository, revision=revision))
    except Exception as error:  # its errors come from several libraries
        raise CheckpointError(
            f"hf://{repository} cannot be read ({_reason(error)}); check the name and the network, or download it once "
            "and set HF_HUB_OFFLINE=1"
        ) from error


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload an exported folder as a repository `user/name`, made if there is none; returns its address.

    Raises:
        CheckpointError: if the name is none, or the upload fails.
        SeddError: if huggingface_hub is not installed.
    """
    repository = repository.removeprefix("hf://")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) is None:
        raise CheckpointError(f"{repository!r} names no repository; expected user/name")
    hub = _hub()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=str(folder), commit_message="Export of sedd")
    except Exception as error:  # as in `local`
        raise CheckpointError(
            f"{repository} was not uploaded ({_reason(error)}); log in with `hf auth login`. The folder is complete: "
            f"{folder}"
        ) from error
    return f"hf://{repository}"


def _hub() -> Any:
    try:
        import huggingface_hub  # type: ignore[import-not-found,unused-ignore]  # an extra
    except ImportError as missing:
        raise SeddError(f"hf:// needs huggingface_hub ({missing}): {install_extra('hf')}") from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
