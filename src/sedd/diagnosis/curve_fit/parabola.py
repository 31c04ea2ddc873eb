"""A slow curve through scattered values: the parabola of least squares through each value and its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def slow_curve(values: Array, width: int) -> Array:
    """The parabola through each value and its neighbours, at that value, (points,).

    Args:
        values: (points,), at least 3.
        width: lines that a parabola goes through; at most as many as there are.
    """
    half = max(1, min(width, len(values) - 1 + len(values) % 2) // 2)
    x = np.arange(-half, half + 1) / half
    fit = np.linalg.pinv(np.stack([np.ones(len(x)), x, x * x], 1))
    found = np.empty(len(values))
    found[half : len(values) - half] = np.convolve(values, fit[0][::-1], "valid")
    ends = np.polynomial.polynomial.polyval
    found[:half] = ends(x[:half], fit @ values[: len(x)])
    found[len(values) - half :] = ends(x[half + 1 :], fit @ values[-len(x) :])
    return found
