"""The text of a configuration file, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sedd.config.yaml_bounds import MOST_BYTES
from sedd.config.yaml_lines import parse
from sedd.errors import ConfigError
from sedd.files import read_bounded


def read_text(path: Path) -> str:
    """The content of a file in UTF-8.

    Raises:
        FileNotFoundError: if there is none.
        ConfigError: if it cannot be read, is too large, or is no text.
    """
    try:
        return read_bounded(path, most=MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a YAML file. Raises ConfigError if it is missing, cannot be read, or is no mapping."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    return parse(text, str(path))[0]
