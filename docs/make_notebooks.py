"""Run the notebooks and keep what they show: `python docs/make_notebooks.py [NAME ...]`; needs the extra `dev`."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

FOLDER = Path(__file__).parent / "notebooks"
SECONDS = 900
"""After which a cell is given up."""
RAN = "sedd_ran"
"""The key of the metadata that holds the digest of the code that made the outputs."""


def digest(notebook: Any) -> str:
    """A digest of the code of a notebook, in the order of its cells."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def run(file: Path, folder: Path) -> Any:
    """Run a notebook from top to bottom in a folder; returns it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(file, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", record_timing=False, extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.execute()
    return notebook


def tidy(notebook: Any) -> None:
    """Remove what differs from machine to machine, and note which code was run."""
    notebook["metadata"]["language_info"] = {"name": "python"}
    notebook["metadata"][RAN] = digest(notebook)
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def main(names: list[str]) -> None:
    """Run the named notebooks, or all."""
    for file in sorted(FOLDER.glob("*.ipynb")):
        if not names or file.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                notebook = run(file, Path(folder))
            tidy(notebook)
            file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
