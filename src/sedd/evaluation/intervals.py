"""95 % intervals, and how they are printed: `±` is half of a 95 % interval, everywhere in sedd."""

from __future__ import annotations

import math

Z95 = 1.959964
"""The 97.5 % quantile of the normal distribution."""
MOST = 6
"""Decimals printed at most."""


def half_width(stderr: float, sequences: int) -> float:
    """Half the width of the 95 % interval over `sequences` sequences; infinite below three.

    `stderr` has the divisor n; the factor sqrt(n / (n - 1)) turns it into n - 1.
    """
    freedom = sequences - 1
    return math.inf if freedom < 2 else student(freedom) * math.sqrt(sequences / freedom) * stderr


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t: half of a 95 % interval over its standard error.

    The expansion of Hill, 1970, in 1 / degrees of freedom; within 3 % from two on.
    """
    z, v = Z95, float(freedom)
    quantile = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return quantile + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)


def with_error(nats: float, half: float) -> str:
    """A bound in nats per residue with half of its 95 % interval, four decimals; in words where that is not known."""
    return f"{nats:.4f} ± {half:.4f}" if math.isfinite(half) else f"{nats:.4f} (error not known)"


def decimals(error: float, *, of: tuple[float, ...] = ()) -> int:
    """Decimals that show two significant digits of `error`; where it is not known, two of the largest of `of`."""
    size = error if math.isfinite(error) and error > 0 else max((abs(v) for v in of if math.isfinite(v)), default=0.0)
    if size <= 0:
        return 4
    rounded = float(f"{size:.1e}")  # 0.0996 is 0.10
    return min(max(1 - math.floor(math.log10(rounded)), 0), MOST)


def plus_minus(value: float, error: float) -> str:
    """`+1.234 ± 0.056`: two significant digits of the error; "about +1.2" where it is not known."""
    digits = decimals(error, of=(value,))
    if not math.isfinite(error):
        return f"about {value:+.{digits}f}"
    return f"{value:+.{digits}f} ± {error:.{digits}f}"
