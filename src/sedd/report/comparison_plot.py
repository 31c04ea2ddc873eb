"""The picture of a comparison: the bound against steps, residues and hours."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sedd.comparison.bound_curves import CLOCKS, Z95, Clock
from sedd.comparison.compare import Comparison
from sedd.errors import ConfigError

AXES: dict[Clock, tuple[str, float]] = {
    "steps": ("optimizer steps", 1.0),
    "residues": ("training residues", 1.0),
    "seconds": ("hours in training steps", 3600.0),
}
"""Label and unit of each clock."""


def plot(comparison: Comparison, to: Path) -> None:
    """Draw the bound of the compared runs over their shared range of mask rates, with 95 % bands.

    Args:
        comparison: made by `compare`.
        to: file to write; its ending says the format, PNG for example.

    Raises:
        ConfigError: if matplotlib is not installed, or the ending is none that it knows.
    """
    try:
        figure_type = import_module("matplotlib.figure").Figure  # no pyplot: no window, no state to leave behind
    except ImportError:
        raise ConfigError("--plot needs matplotlib; pip install 'sedd-torch[report]'") from None
    figure = figure_type(figsize=(12, 4), layout="constrained")
    known = figure.canvas.get_supported_filetypes()
    if to.suffix.removeprefix(".") not in known:
        raise ConfigError(f"{to}: no picture format; give a name that ends in .{', .'.join(sorted(known))}")
    panels = figure.subplots(1, 3, sharey=True)
    for panel, clock in zip(panels, CLOCKS, strict=True):
        label, unit = AXES[clock]
        for curve in comparison.curves:
            there, half = curve.positions(clock) / unit, Z95 * curve.stderr
            (line,) = panel.plot(there, curve.nats, marker=".", label=curve.run)
            panel.fill_between(there, curve.nats - half, curve.nats + half, color=line.get_color(), alpha=0.2, lw=0)
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
    low, high = comparison.mask_rates
    panels[0].set_ylabel(f"bound over mask rates {low:.1%} to {high:.1%}\nnats per residue, 95 % bands")
    panels[0].legend()
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, dpi=150)
