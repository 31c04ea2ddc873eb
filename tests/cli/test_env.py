"""`sedd env`, and the unrelated package of the same name."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import sedd
from sedd.cli.unrelated_package import warn_of_unrelated_package
from sedd.files import cache_directory
from tests.cli.commands import sedd_


def test_env_says_versions_devices_plugins_and_directories() -> None:
    found = json.loads(sedd_("env", "--json"))
    assert (found["sedd"], found["torch"]) == (sedd.__version__, torch.__version__)
    assert found["packages"]["numpy"] == version("numpy")
    assert found["cache"] == str(cache_directory())
    assert len(found["accelerators"]) >= torch.cuda.device_count()
    assert found["broken plugins"] == []
    printed = sedd_("env").splitlines()
    assert [line.split("  ")[0] for line in printed] == list(found)
    assert all(str(found[name]) in printed[i] for i, name in enumerate(found) if isinstance(found[name], str))


def test_the_unrelated_package_is_noticed_only_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_unrelated_package()
    assert capsys.readouterr().err == ""
    (tmp_path / "sedd-9.9.9.dist-info").mkdir()
    (tmp_path / "sedd-9.9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: sedd\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    warn_of_unrelated_package()
    assert "9.9.9" in capsys.readouterr().err
