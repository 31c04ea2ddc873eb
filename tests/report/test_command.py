"""`sedd report`, and its page in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from html import escape, unescape
from pathlib import Path
from typing import Any, Literal

import pytest
from typer.testing import CliRunner

import sedd
from sedd import cli
from sedd.report.write import write_report


def test_the_command_writes_to_the_given_file_and_opens_the_page(trained, tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = CliRunner().invoke(
        cli.app,
        ["report", str(trained), "--out", str(tmp_path / "deep" / "mine.html"), "--open"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == str(tmp_path / "deep" / "mine.html")
    assert opened == [(tmp_path / "deep" / "mine.html").as_uri()]
    assert (tmp_path / "deep" / "mine" / "loss.png").exists()


class Shelf(sedd.Tracker):
    """Keeps the files that it gets."""

    type: Literal["shelf"] = "shelf"

    def open(self, run: Path, config: Any) -> Any:
        return run

    def log(self, session: Any, step: int, metrics: Any) -> None:
        raise AssertionError("the report has no numbers for trackers")

    def log_file(self, session: Any, file: Path) -> None:
        shutil.copy(file, session / "shelf.html")

    def close(self, session: Any) -> None:
        (session / "closed").touch()


@pytest.mark.long
def test_the_page_is_sent_to_the_trackers_that_take_files(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, run := tmp_path / "run")
    (run / "checkpoints").rename(run / "elsewhere")
    config = sedd.load_config(run / "config.yaml")
    monkeypatch.setattr("sedd.cli.report.load_config", lambda file: config.replace(trackers=[Shelf(), "csv"]))
    result = CliRunner().invoke(cli.app, ["report", str(run), "--track"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (run / "shelf.html").read_bytes() == (run / "report.html").read_bytes()
    assert (run / "closed").exists()
    assert not (run / "metrics.csv").exists()
    monkeypatch.setattr("sedd.cli.report.load_config", lambda file: config)
    assert isinstance(CliRunner().invoke(cli.app, ["report", str(run), "--track"]).exception, sedd.ConfigError)


def test_a_wrong_run_or_file_is_an_error_that_names_it(trained, tmp_path):
    for run in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(sedd.CheckpointError) as caught:
            write_report(run)
        assert str(caught.value).startswith(f"{run} ")
    with pytest.raises(sedd.SeddError) as wrong:
        write_report(trained, tmp_path / "report.pdf")
    assert str(wrong.value).startswith(str(tmp_path / "report.pdf"))


def test_without_matplotlib_the_error_names_what_to_install(trained):
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv = ['sedd', 'report', sys.argv[1]]\n"
        "from sedd.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code, str(trained)], capture_output=True, text=True)
    assert result.returncode == 2
    assert "pip install -e '.[report]'" in result.stderr
    assert "Traceback" not in result.stderr


# In a browser --------------------------------------------------------------------------------------------------------

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=5000",
)  # fmt: skip
PROBE = """
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentWindow.document;
  const shown = [...page.querySelectorAll("img")].filter((image) => image.getBoundingClientRect().width > 0);
  document.title = JSON.stringify({
    width: page.documentElement.clientWidth, content: page.documentElement.scrollWidth,
    images: shown.map((image) => image.className),
    font: Math.min(...shown.map((image) => 16 * image.getBoundingClientRect().width / image.naturalWidth)),
  });
});
"""


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), pytest.param(1200, "dark", marks=pytest.mark.long)])
def test_in_chromium_the_page_fits_and_its_figures_follow_the_colour_scheme(trained, tmp_path, width, scheme):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    text = write_report(trained, tmp_path / "page.html").page.read_text(encoding="utf-8")
    frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{escape(text)}"></iframe>'
    (tmp_path / "frame.html").write_text(
        "<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'>"
        f"<title>none</title>{frame}<script>{PROBE}</script>"
    )
    dark = [] if scheme == "light" else ["--blink-settings=preferredColorScheme=0"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    result = subprocess.run(
        [browser, *FLAGS, *dark, profile, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
    )
    assert [line for line in result.stderr.splitlines() if "CONSOLE" in line] == []
    seen = json.loads(unescape(result.stdout.split("<title>")[1].split("</title>")[0]))
    assert seen["width"] in (width, width - 15)  # beside a scroll bar
    assert seen["content"] <= width
    assert seen["images"] == [scheme] * 7
    assert seen["font"] > 9.5  # pixels: legible
