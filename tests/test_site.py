"""The site: what the search index and the copy button make of a page."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def formulas() -> list[str]:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    pages = re.sub(r"^```.*?^```|`[^`\n]+`", "", pages, flags=re.MULTILINE | re.DOTALL)
    display = re.findall(r"\$\$(.+?)\$\$", pages, re.DOTALL)
    return display + re.findall(r"(?<!\$)\$([^$\n]+)\$(?!\$)", pages)


def test_no_formula_of_the_docs_is_latex_in_the_search_index(hooks: ModuleType, tmp_path: Path) -> None:
    found = formulas()
    assert len(found) > 20
    entries = [{"title": "", "text": f"<p>of \\({formula}\\) and \\[{formula}\\] here</p>"} for formula in found]
    (tmp_path / "search").mkdir()
    file = tmp_path / "search" / "search_index.json"
    file.write_text(json.dumps({"docs": entries}))
    hooks.on_post_build(config={"site_dir": str(tmp_path)})
    texts = [entry["text"] for entry in json.loads(file.read_text())["docs"]]
    assert [text for text in texts if re.search(r"\\[a-zA-Z()\[\]]|[{}]", text)] == []
    assert hooks.without_latex(r"a bound on \(-\log p(x_0)\)") == "a bound on -log p(x_0)"


def test_pages_for_a_task_come_first_in_the_search(hooks: ModuleType) -> None:
    def boost(path: str) -> float:
        page = SimpleNamespace(file=SimpleNamespace(src_uri=path), meta={})
        assert hooks.on_page_markdown("text", page=page, config=None, files=None) == "text"
        return float(page.meta["search"]["boost"])

    order = ["how-to/a.md", "tutorial/a.md", "explanation/a.md", "reference/a.md", "reference/api/a.md"]
    assert sorted(order, key=boost, reverse=True) == order


def test_the_copy_button_leaves_out_prompts_and_output() -> None:
    css = (ROOT / "docs/assets/site.css").read_text(encoding="utf-8")
    assert re.search(r"\[data-md-copying\] \.gp.*display: none", css)
    assert "assets/site.css" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_sources_for_zensical_need_no_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    zensical = importlib.import_module("build_with_zensical")
    zensical.prepare(tmp_path)
    settings = (tmp_path / "mkdocs.yml").read_text(encoding="utf-8")
    assert "hooks:" not in settings
    named = re.findall(r": ([a-z/-]+\.md)$", settings, flags=re.MULTILINE)
    assert {"notebooks/train-and-diagnose.md", "index.md"} <= set(named)
    assert [name for name in named if not (tmp_path / "docs" / name).exists()] == []
    for page in (tmp_path / "docs").rglob("*.md"):
        links = re.findall(r"\]\(([^)\s#]+\.(?:md|ipynb|png))\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_search_index_of_zensical_has_no_latex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    (tmp_path / "search.json").write_text(json.dumps({"items": [{"title": "", "text": r"the noise \(\sigma\)"}]}))
    importlib.import_module("build_with_zensical").finish(tmp_path)
    assert json.loads((tmp_path / "search.json").read_text())["items"][0]["text"] == "the noise σ"
