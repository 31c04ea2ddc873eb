"""Build the site with Zensical, the successor of Material for MkDocs: `python docs/build_with_zensical.py FOLDER`.

Needs `pip install zensical 'mkdocstrings[python]'`; tried with Zensical 0.0.73. Zensical runs no hooks, so this script
does before and after it what `site_hooks.py` does for MkDocs: notebooks become pages, and formulas in the search are
readable. Pages of the search have no weights.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from notebook_pages import page_of
from site_hooks import without_latex

ROOT = Path(__file__).parent.parent


def prepare(folder: Path) -> None:
    """Write sources that need no hook: `mkdocs.yml`, `docs/` with notebooks as Markdown, and `src/` for the API."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for file in sorted((folder / "docs").rglob("*.ipynb")):
        page = page_of(json.loads(file.read_text(encoding="utf-8")), file.stem)
        beside = file.with_suffix("")
        beside.mkdir()
        for name, picture in page.pictures.items():
            (beside / name).write_bytes(picture)
        file.with_suffix(".md").write_text(page.markdown, encoding="utf-8")
        file.rename(beside / file.name)
    for page_file in (folder / "docs").rglob("*.md"):
        page_file.write_text(_link_pages(page_file.read_text(encoding="utf-8")), encoding="utf-8")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").replace(".ipynb", ".md")
    (folder / "mkdocs.yml").write_text(re.sub(r"^hooks:.*\n", "", settings, flags=re.MULTILINE), encoding="utf-8")


def _link_pages(text: str) -> str:
    """Links to notebooks lead to their pages; links to the files themselves, in a folder of the same name, stay."""
    return re.sub(r"\]\((?!([\w-]+)/\1\.ipynb)([^)\s]+)\.ipynb\)", r"](\2.md)", text)


def finish(site: Path) -> None:
    """Write formulas in the search index as plain text."""
    file = site / "search.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    for item in index["items"]:
        for key in ("title", "text"):
            item[key] = without_latex(item[key])
    file.write_text(json.dumps(index), encoding="utf-8")


def main(to: Path) -> None:
    """Build the site into a folder, which must not exist."""
    program = shutil.which("zensical")
    if program is None:
        raise SystemExit("needs Zensical on the PATH: pip install zensical 'mkdocstrings[python]'")
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        subprocess.run([program, "build", "--strict"], cwd=name, check=True)  # noqa: S603  # found just above
        finish(Path(name) / "site")
        shutil.copytree(Path(name) / "site", to)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
