"""Plugins that are installed for a test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sedd.plugins.registry import registry


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put a distribution on the path as pip does: a module, and metadata with its entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(distribution: str, source: str, *, entries: tuple[str, ...] = (), module: str = "") -> None:
        module = module or distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = entries or (f"{distribution} = {module}",)
        (info / "entry_points.txt").write_text("[sedd]\n" + "\n".join(lines) + "\n")
        registry.cache_clear()

    yield put
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    registry.cache_clear()
