"""Hooks of MkDocs for the search of the site: pages for a task come first, and formulas are readable in the results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

BOOSTS = {"how-to/": 4.0, "tutorial/": 3.0, "index.md": 2.0, "reference/api/": 0.25, "reference/": 0.5}
"""How much a match on a page counts, by the first folder that fits; 1 for the others."""
MATH = re.compile(r"\\\\?\((.+?)\\\\?\)|\\\\?\[(.+?)\\\\?\]", re.DOTALL)
SYMBOLS = {
    r"\sigma": "σ", r"\log": "log ", r"\ln": "ln ", r"\int": "∫", r"\sum": "∑", r"\cdot": "·", r"\le": "≤", r"\ge": "≥",
    r"\in": "∈", r"\alpha": "α", r"\beta": "β", r"\to": "→", r"\approx": "≈", r"\neq": "≠", r"\times": "×",
    r"\infty": "∞", r"\lambda": "λ", r"\mu": "μ", r"\theta": "θ", r"\partial": "∂", r"\pm": "±", r"\mid": "|",
}  # fmt: skip


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
