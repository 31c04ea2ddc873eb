"""Turns a notebook and the outputs in it into a page of the site: Markdown, and the pictures beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class NotebookPage:
    """A page made of a notebook."""

    markdown: str
    pictures: dict[str, bytes] = field(default_factory=dict)
    """PNG files by name, in a folder that has the name of the notebook."""


def page_of(notebook: dict[str, Any], name: str) -> NotebookPage:
    """The page of a notebook; `name` is that of its file, without the ending."""
    page = NotebookPage("")
    parts: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source.strip():
            parts.append(f"``` {{.python .notebook}}\n{source}\n```")
            parts += (part for output in cell["outputs"] for part in _output(output, name, page.pictures))
    parts.insert(1, f"[Download this notebook]({name}/{name}.ipynb){{ .md-button download }}")
    page.markdown = "\n\n".join(parts) + "\n"
    return page


def _output(output: dict[str, Any], name: str, pictures: dict[str, bytes]) -> Iterator[str]:
    """What one output of a cell looks like; the richest of its forms."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = f"{len(pictures) + 1}.png"
        pictures[picture] = base64.b64decode("".join(data["image/png"]))
        yield f"![]({name}/{picture}){{ .notebook-output }}"
    elif "text/markdown" in data:
        yield "".join(data["text/markdown"])
    else:
        text = COLOURS.sub("", "".join(output.get("text", data.get("text/plain", "")))).rstrip()
        if text:
            yield f"``` {{.text .notebook-output}}\n{text}\n```"
