"""The notebooks of the docs run from top to bottom, and what they show was made by the code that they have."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
PNG = b"\x89PNG"


def module(name: str) -> ModuleType:
    """A script of `docs/`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def make_notebooks() -> ModuleType:
    return module("make_notebooks")


@pytest.fixture(scope="module")
def notebook_pages() -> ModuleType:
    return module("notebook_pages")


def test_there_are_two_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["from-fasta-to-designs", "train-and-diagnose"]


@pytest.mark.long
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(
    file: Path, make_notebooks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    done = make_notebooks.run(file, tmp_path)
    shown = [output for cell in done["cells"] for output in cell.get("outputs", [])]
    assert {output["output_type"] for output in shown} <= {"display_data", "execute_result", "stream"}
    assert not [output for output in shown if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 5
    if file.stem == "from-fasta-to-designs":
        designs = (tmp_path / "designs.fasta").read_text().splitlines()[1::2]
        assert len(designs) == 300
        assert {(text[0], text[6], text[9], text[22], text[26]) for text in designs} == {tuple("MCCHH")}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_what_a_notebook_shows_was_made_by_its_code(file: Path, make_notebooks: ModuleType) -> None:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    assert notebook["metadata"][make_notebooks.RAN] == make_notebooks.digest(notebook), (
        f"run python docs/make_notebooks.py {file.stem}"
    )


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_page_has_the_code_the_outputs_and_the_pictures(file: Path, notebook_pages: ModuleType) -> None:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    page = notebook_pages.page_of(notebook, file.stem)
    assert page.markdown.startswith("# ")
    assert page.markdown.count("{.python .notebook}") == sum(c["cell_type"] == "code" for c in notebook["cells"])
    assert f"({file.stem}/{file.stem}.ipynb)" in page.markdown
    assert len(page.pictures) >= 5
    for name, picture in page.pictures.items():
        assert picture.startswith(PNG)
        assert f"![]({file.stem}/{name})" in page.markdown


def test_text_of_a_cell_has_no_colours(notebook_pages: ModuleType) -> None:
    stream = {"output_type": "stream", "name": "stdout", "text": ["\x1b[1mbold\x1b[0m\n"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["print()"], "outputs": [stream]},
    ]
    page = notebook_pages.page_of({"cells": cells}, "name")
    assert "``` {.text .notebook-output}\nbold\n```" in page.markdown
    assert not page.pictures
