"""Draw the two pictures of the README from a run: `python docs/make_pictures.py runs/demo`; needs Chromium."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

import sedd
from sedd.diagnosis.diagnosis import verdict_lines
from sedd.report.write import write_report

ASSETS = Path(__file__).parent / "assets"
COLUMNS, WIDTH = 110, 1200


def screenshot(page: Path, to: Path, *, width: int, height: int) -> None:
    """Write what Chromium shows of a page, at twice its size."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("needs chromium or google-chrome on the PATH")
    subprocess.run(  # noqa: S603  # our own pages
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1.5",
         f"--window-size={width},{height}", f"--screenshot={to}", page.resolve().as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip


def verdict(run: Path, folder: Path) -> None:
    """What `sedd diagnose` says first."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    console.print(f"[bold green]$[/] sedd diagnose {run}")
    found = sedd.diagnose(run).verdict
    console.print(f"[bold]{found.lead}[/]")
    for line in verdict_lines(found):
        console.print(line, markup=False)
    svg = console.export_svg(title="sedd diagnose", theme=MONOKAI)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None  # noqa: S101  # rich writes one
    page = folder / "verdict.html"
    page.write_text(f'<body style="margin:0"><div style="width:{WIDTH}px">{svg}</div>', encoding="utf-8")
    height = round(WIDTH * float(box[2]) / float(box[1]))
    screenshot(page, ASSETS / "verdict.png", width=WIDTH, height=height)


def report(run: Path, folder: Path) -> None:
    """The first screen of the report."""
    page = write_report(run, folder / "report.html").page
    screenshot(page, ASSETS / "report.png", width=1000, height=700)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        verdict(Path(sys.argv[1]), Path(name))
        report(Path(sys.argv[1]), Path(name))
