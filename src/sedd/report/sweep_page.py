"""The page of a sweep: the answer, what to try next, the ranked table, the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sedd.files import write_atomically
from sedd.report.chart import DARK, LIGHT, Color
from sedd.report.figures import Figure, Table, svg_address
from sedd.report.plots import require_matplotlib
from sedd.report.sweep_plot import marginal_effects, parallel_coordinates
from sedd.report.verdict_view import resource, templates
from sedd.sweeps.rows import heads, row
from sedd.sweeps.trials import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

Draw = Callable[[Sweep, Mapping[Color, str]], "MatplotlibFigure"]
DRAWINGS: dict[str, tuple[str, Draw]] = {
    "parallel": ("Parallel coordinates of the trials that reached the end", parallel_coordinates),
    "marginal": ("The bound against each key", marginal_effects),
}


def write_sweep_page(sweep: Sweep, to: Path | None = None) -> Path:
    """Write the page of a sweep and its figures as PNG beside it; returns the page, by default `report.html` in the
    directory of the sweep.

    Raises:
        SeddError: if matplotlib is missing.
    """
    require_matplotlib()
    page = (sweep.directory or Path()) / "report.html" if to is None else to
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, draw) in DRAWINGS.items():
        draw(sweep, LIGHT).savefig(folder / f"{name}.png", metadata={"Software": None})
    write_atomically(page, render(sweep).encode())
    return page


def render(sweep: Sweep) -> str:
    """The complete page. It holds no script and loads nothing."""
    return (
        templates()
        .get_template("sweep.html.jinja")
        .render(
            css=resource("page.css"),
            sweep=sweep,
            name="sweep" if sweep.directory is None else sweep.directory.resolve().name,
            colour="good" if sweep.winner is not None else "wait",
            label="winner" if sweep.winner is not None else "no winner",
            table=Table(heads(sweep), tuple(row(sweep, trial) for trial in sweep.trials)),
            figures={name: _figure(sweep, name, title, draw) for name, (title, draw) in DRAWINGS.items()},
        )
    )


def _figure(sweep: Sweep, name: str, title: str, draw: Draw) -> Figure:
    light, dark = (svg_address(draw(sweep, colors), name) for colors in (LIGHT, DARK))
    return Figure(name, title, light, dark, ())
