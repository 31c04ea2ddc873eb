"""Golden texts: what a command prints, pinned once, with numbers, paths and table lines normalised.

`UPDATE_GOLDEN=1 pytest tests/cli tests/diagnosis` writes them anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

NUMBER = re.compile(r"(?<![\w#])[-+−]?(\d+(,\d{3}(?!\d))*(\.\d+)?|\.\d+)(e[-+]?\d+)?")


def normalised(text: str, paths: Mapping[str | Path, str] | None = None) -> str:
    """`text` with `paths` replaced by their names, numbers by #, and runs of spaces, rules and # by one of them."""
    for path, name in sorted((paths or {}).items(), key=lambda item: -len(str(item[0]))):
        text = text.replace(str(path), name)
    text = re.sub(r"choose one of [\w, -]+", "choose one of INSTALLED", text)  # plugins may be installed besides
    text = NUMBER.sub("#", text)
    text = re.sub(r"[┏┓┗┛┡┩└┘┳┻╇┴┬┼━─┃│]+", " ", text)
    lines = (re.sub(r"[ \t]+", " ", line).strip() for line in text.splitlines())
    return "\n".join(re.sub(r"#( #)+", "# ...", line) for line in lines if line).strip() + "\n"


def assert_golden(text: str, file: Path, paths: Mapping[str | Path, str] | None = None) -> None:
    """Assert that the normalised text is that of the file."""
    found = normalised(text, paths)
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8"), f"{file.name}: if this is meant, run with UPDATE_GOLDEN=1"
