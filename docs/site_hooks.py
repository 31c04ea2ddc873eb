"""Hooks of MkDocs: notebooks become pages, and in the search pages for a task come first and formulas are readable."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

BOOSTS = {
    "how-to/": 4.0,
    "tutorial/": 3.0,
    "notebooks/": 3.0,
    "index.md": 2.0,
    "reference/api/": 0.25,
    "reference/": 0.5,
}
"""How much a match on a page counts, by the first folder that fits; 1 for the others."""
MATH = re.compile(r"\\\\?\((.+?)\\\\?\)|\\\\?\[(.+?)\\\\?\]", re.DOTALL)
SYMBOLS = {
    r"\sigma": "σ", r"\log": "log ", r"\ln": "ln ", r"\int": "∫", r"\sum": "∑", r"\cdot": "·", r"\le": "≤", r"\ge": "≥",
    r"\in": "∈", r"\alpha": "α", r"\beta": "β", r"\to": "→", r"\approx": "≈", r"\neq": "≠", r"\times": "×",
    r"\infty": "∞", r"\lambda": "λ", r"\mu": "μ", r"\theta": "θ", r"\partial": "∂", r"\pm": "±", r"\mid": "|",
}  # fmt: skip


def on_files(files: Any, *, config: Any) -> Any:
    """Make a page of each notebook, with its pictures and the notebook itself beside it."""
    from mkdocs.structure.files import File

    class PageOfNotebook(File):
        def is_documentation_page(self) -> bool:
            return True

    pages = _beside("notebook_pages")
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        folder = notebook.src_uri.removesuffix(".ipynb")
        text = notebook.content_string
        made = pages.page_of(json.loads(text), notebook.name)
        files.remove(notebook)
        files.append(PageOfNotebook.generated(config, notebook.src_uri, content=made.markdown))
        files.append(File.generated(config, f"{folder}/{notebook.name}.ipynb", content=text))
        for name, picture in made.pictures.items():
            files.append(File.generated(config, f"{folder}/{name}", content=picture))
    return files


def _beside(name: str) -> Any:
    """A module beside this file: MkDocs loads hooks by path, so that they cannot import each other."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Set how much a page counts in the search."""
    path = page.file.src_uri
    boost = next((value for start, value in BOOSTS.items() if path.startswith(start)), 1.0)
    page.meta.setdefault("search", {})["boost"] = boost
    return markdown


def on_post_build(*, config: Any, **_: Any) -> None:
    """Write formulas in the search index as plain text: nothing typesets them there."""
    file = Path(config["site_dir"]) / "search" / "search_index.json"
    if file.exists():
        index = json.loads(file.read_text(encoding="utf-8"))
        for entry in index["docs"]:
            for key in ("title", "text"):
                entry[key] = without_latex(entry[key])
        file.write_text(json.dumps(index), encoding="utf-8")


def without_latex(text: str) -> str:
    """`text` with `\\(...\\)` and `\\[...\\]` as plain symbols."""
    return MATH.sub(lambda match: _plain(match[1] or match[2]), text)


def _plain(formula: str) -> str:
    formula = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"(\1)/(\2)", formula)
    formula = re.sub(r"\\(?:text|mathrm|operatorname|mathbf|mathbb|hat|bar)\s*\{([^{}]*)\}", r"\1", formula)
    formula = re.sub(r"\\[a-zA-Z]+", lambda match: SYMBOLS.get(match[0], " "), formula)
    formula = re.sub(r"\\[,;:! ]|\\\\|&amp;|[{}]", lambda match: " " if match[0] not in "{}" else "", formula)
    return re.sub(r"\s+", " ", formula).strip()
