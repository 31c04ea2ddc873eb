"""One page of a diagnosis, of a run or of the log of another program: the answer, what to do, the picture."""

from __future__ import annotations

from pathlib import Path

from sedd.diagnosis.alarms import grouped
from sedd.diagnosis.diagnosis import Diagnosis
from sedd.errors import SeddError
from sedd.files import write_atomically
from sedd.report.diagnosis_plot import diagnosis_chart, diagnosis_figure
from sedd.report.figures import figure_of
from sedd.report.verdict_view import resource, templates, view_of


def write_page(diagnosis: Diagnosis, file: Path) -> None:
    """Write the page of a diagnosis, for `sedd diagnose --html`.

    Raises:
        SeddError: if the name does not end in `.html`, its directory does not exist, or matplotlib is missing.
    """
    if file.suffix not in (".html", ".htm"):
        raise SeddError(f"{file}: the page is an HTML file; give a name that ends in .html")
    _check_folder(file)
    write_atomically(file, render(diagnosis).encode())


def write_picture(diagnosis: Diagnosis, file: Path) -> None:
    """Write the picture of a diagnosis, for `sedd diagnose --plot`.

    Raises:
        SeddError: if nothing was logged yet, the directory does not exist, the file type cannot be drawn, or matplotlib
            is missing.
    """
    _check_folder(file)
    figure = diagnosis_figure(diagnosis)
    if figure is None:
        raise SeddError(f"{diagnosis.source}: nothing was logged yet, so there is nothing to draw")
    try:
        figure.savefig(file, dpi=150)
    except ValueError as error:
        raise SeddError(f"{file}: cannot be drawn ({error}); name a .png") from None


def _check_folder(file: Path) -> None:
    if not file.parent.is_dir():
        raise SeddError(f"{file}: there is no directory {file.parent}; make it first")


def render(diagnosis: Diagnosis) -> str:
    """The complete page. It holds no script and loads nothing."""
    chart = diagnosis_chart(diagnosis)
    return (
        templates()
        .get_template("diagnosis.html.jinja")
        .render(
            css=resource("page.css"),
            diagnosis=diagnosis,
            name=Path(diagnosis.source).resolve().name,
            is_run=diagnosis.external_curve is None,
            view=view_of(diagnosis.verdict),
            figure=None if chart is None else figure_of(chart),
            alarms=[(severity, group[-1]) for severity, group in grouped(diagnosis.alarms) if severity != "info"],
        )
    )
