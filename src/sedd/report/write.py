"""Writes the report of a run: one HTML file, and its main plots as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sedd.errors import SeddError
from sedd.files import write_atomically
from sedd.report.bound_charts import bound_chart
from sedd.report.charts import attribution_chart, loss_chart
from sedd.report.contents import gather
from sedd.report.heatmap import Heat, draw_heat, heat_map
from sedd.report.page import render
from sedd.report.plots import draw


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report."""

    page: Path
    pictures: tuple[Path, ...]
    """PNG files, in a directory beside the page that has its name."""


def write_report(run: str | Path, out: str | Path | None = None) -> WrittenReport:
    """Write the report of a run.

    Args:
        run: a run directory, finished or not.
        out: the HTML file; by default `report.html` in the run directory. Its directory is made. Pictures go to a
            directory of the same name without `.html`.

    Raises:
        CheckpointError: if `run` is not a run directory, or its metrics are damaged; names the line.
        SeddError: if `out` does not end in `.html`, or matplotlib is missing.
    """
    page = Path(run) / "report.html" if out is None else Path(out)
    if page.suffix not in (".html", ".htm"):
        raise SeddError(f"{page}: the report is an HTML file; give a name that ends in .html")
    contents = gather(Path(run))
    text = render(contents)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, text.encode())
    folder, pictures = page.with_suffix(""), []
    for make in (loss_chart, attribution_chart, bound_chart, heat_map):
        chart = make(contents)
        if chart is None:
            continue
        folder.mkdir(exist_ok=True)
        pictures.append(folder / f"{chart.name}.png")
        figure = draw_heat(chart) if isinstance(chart, Heat) else draw(chart)
        figure.savefig(pictures[-1], metadata={"Software": None})
    return WrittenReport(page, tuple(pictures))
