"""The plot of a comparison: the bound against steps, residues and hours."""

from __future__ import annotations

from pathlib import Path

from sedd.comparison.bound_curves import CLOCKS, Z95, Clock
from sedd.comparison.compare import Comparison
from sedd.errors import ConfigError
from sedd.report.plots import new_figure

AXES: dict[Clock, tuple[str, float]] = {
    "steps": ("optimizer steps", 1.0),
    "residues": ("training residues", 1.0),
    "seconds": ("hours in training steps", 3600.0),
}
"""Label and unit of each clock."""


def plot(comparison: Comparison, to: Path) -> None:
    """Draw the bound of the compared runs over their shared range of mask rates, with 95 % bands.

    The ending of the file `to` is the format, for example PNG.

    Raises:
        ConfigError: if matplotlib cannot write files of that ending.
        SeddError: if matplotlib is missing.
    """
    figure = new_figure(12, 4, dpi=150)
    formats = figure.canvas.get_supported_filetypes()
    if to.suffix.removeprefix(".") not in formats:
        raise ConfigError(f"{to}: unknown picture format; give a name that ends in .{', .'.join(sorted(formats))}")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, clock in zip(panels, CLOCKS, strict=True):
        label, unit = AXES[clock]
        for curve in comparison.curves:
            x, half = curve.positions(clock) / unit, Z95 * curve.stderr
            (line,) = axes.plot(x, curve.nats, marker=".", label=curve.run)
            axes.fill_between(x, curve.nats - half, curve.nats + half, color=line.get_color(), alpha=0.2, lw=0)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    low, high = comparison.mask_rates
    panels[0].set_ylabel(f"bound over mask rates {low:.1%} to {high:.1%}\nnats per residue, 95 % bands")
    panels[0].legend()
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to)
