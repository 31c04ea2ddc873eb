"""Text from files, made safe to show: headers, names and values may hold anything.

A terminal obeys control characters: an escape sequence in a FASTA header could clear the screen, set its title or type
text. A spreadsheet runs a cell that begins with `=` as a formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# C0 without tab and line feed, DEL, C1, line separators, marks that turn the direction of text around, and surrogates,
# by which Python stands for bytes of a file name that are no text.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?%?")


def printable(text: str) -> str:
    """The text with control characters written as escapes such as `\\x1b`; tabs and line feeds stay."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def spreadsheet_cell(text: str) -> str:
    """The text as a cell of a CSV file that no spreadsheet takes for a formula: with an apostrophe before `=`, `+`, `-`
    and `@`, unless it is a number."""
    text = printable(text)
    formula = text.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    return f"'{text}" if formula and not _NUMBER.fullmatch(text) else text


class SafeConsole(Console):
    """A rich console that shows control characters of what it prints instead of sending them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable; those of rich itself that control the terminal stay as they are."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text), style, control)
