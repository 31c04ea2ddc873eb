"""Figures as SVG inside a page: colours and fonts are the page's own, so that they follow its light or dark scheme."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import matplotlib

from sedd.report.plots import PAPER, Color, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that no chart uses stand for the page's variables until the SVG is written.
_STANDINS: dict[Color, str] = {color: f"#0102{place:02x}" for place, color in enumerate(PAPER, 16)}
WIDE = Theme(_STANDINS, width=820, font=12)
NARROW = Theme(_STANDINS, width=340, font=11)
"""Drawn for phones: shrunk to their width, a wide chart could not be read."""


def embed(figure: Figure, *, name: str, title: str, description: str, kind: str) -> str:
    """An `<svg>` element.

    Args:
        figure: drawn with `WIDE` or `NARROW`.
        name: what its ids begin with; different for each figure of a page.
        title: what a screen reader says first; HTML-escaped already.
        description: what it says then; escaped, too.
        kind: its class on the page.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sedd", "path.simplify_threshold": 0.2}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    width, height = figure.get_size_inches() * 72
    inside = svg.partition(">")[2]
    inside = re.sub(r"<metadata>.*?</metadata>", "", inside, flags=re.DOTALL)
    inside = re.sub(r"<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", inside, flags=re.DOTALL)  # it would hold for the page
    words = f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    head = (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-title {name}-desc"'
        f' data-axes="{_axes(figure)}">'
    )
    return head + words + _ours(_numbered(inside, name))


def _numbered(svg: str, name: str) -> str:
    """Ids that no other figure has; those that nothing refers to go."""
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", svg))
    wanted = {each for pair in used for each in pair if each}
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in wanted else "", svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)


def _ours(svg: str) -> str:
    """The page's colours and fonts in place of stand-ins, fewer digits and line ends."""
    for color, standin in _STANDINS.items():
        svg = svg.replace(standin, "currentColor" if color == "ink" else f"var(--{color})")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r' (?:d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    return re.sub(r"\s*\n\s*", " ", svg)


def _axes(figure: Figure) -> str:
    """Where the pointer is, in data: left, right, top, bottom in the SVG, and the data there, for each pair of axes."""
    height = figure.get_size_inches()[1] * 72
    scale = 72 / figure.dpi
    found = []
    for axes in figure.axes:
        box = axes.get_window_extent()
        place = (box.x0 * scale, box.x1 * scale, height - box.y1 * scale, height - box.y0 * scale)
        found.append(" ".join(f"{value:.6g}" for value in (*place, *axes.get_xlim())))
    return ";".join(found)
