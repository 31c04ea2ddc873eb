"""A number with half of its 95 % interval, as text: as many decimals as the error has, two significant digits of it."""

from __future__ import annotations

import math

MOST = 6
"""Decimals printed at most."""


def decimals(error: float, *, of: tuple[float, ...] = ()) -> int:
    """Decimals that show two significant digits of `error`; where it is not known, two of the largest of `of`."""
    size = error if math.isfinite(error) and error > 0 else max((abs(v) for v in of if math.isfinite(v)), default=0.0)
    if size <= 0:
        return 4
    rounded = float(f"{size:.1e}")  # 0.0996 is 0.10
    return min(max(1 - math.floor(math.log10(rounded)), 0), MOST)


def plus_minus(value: float, error: float, *, sign: bool = True) -> str:
    """`+1.234 ± 0.056`; "about +1.2" where the error, half of a 95 % interval, is not known."""
    form = "+" if sign else ""
    digits = decimals(error, of=(value,))
    if not math.isfinite(error):
        return f"about {value:{form}.{digits}f}"
    return f"{value:{form}.{digits}f} ± {error:.{digits}f}"
