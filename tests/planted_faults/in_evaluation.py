"""Faults in the held-out bound, its errors, and the controls."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

ESTIMATOR, STATISTICS, CONTROLS = "evaluation/estimator.py", "evaluation/statistics.py", "evaluation/controls.py"
INTERVALS, PAIRED, LIKELIHOOD = "evaluation/intervals.py", "evaluation/paired.py", "evaluation/likelihood.py"
ERRORS = ("evaluation/test_likelihood.py", "evaluation/test_paired.py", "evaluation/test_bound.py")

FAULTS = (
    Fault(
        "strata forgotten in the bound",
        ESTIMATOR,
        "np.asarray((level + within[ranks]) / self.masks)",
        "np.asarray(within[ranks])",
    ),
    Fault(
        "parts not divided by the masks",
        ESTIMATOR,
        "integrand.values[:, None] * integrand.shares / self.masks",
        "integrand.values[:, None] * integrand.shares",
    ),
    Fault(
        "the same masks at every level", ESTIMATOR, '"bound-noise", level, int(sample))', '"bound-noise", int(sample))'
    ),
    Fault(
        "conditioned beyond the trained noise",
        ESTIMATOR,
        "sigma.clamp(min=sigma_min, max=self.process.noise.sigma_max).float()",
        "sigma.clamp(min=sigma_min).float()",
    ),
    Fault(
        "sequences in the order of length",
        ESTIMATOR,
        "rows = batch_ranks - first",
        "rows = np.arange(len(batch_ranks))",
    ),
    Fault(
        "variance not by squared lengths",
        STATISTICS,
        "float(lengths**2 @ variance)",
        "float(lengths @ variance)",
        ERRORS,
    ),
    Fault("n for n - 1", STATISTICS, "nats**2) * self.sequences / (self.sequences - 1)", "nats**2)", ERRORS),
    Fault(
        "error of the numerator alone",
        STATISTICS,
        "self._norm(numerator - ratio * denominator)",
        "self._norm(numerator)",
        ERRORS,
    ),
    Fault(
        "mean over sequences",
        STATISTICS,
        "mean = float(residues @ values) / total",
        "mean = float(values.mean())",
        ERRORS,
    ),
    Fault(
        "mean of the masks not centred",
        STATISTICS,
        "(values - values.mean(0)) * math.sqrt",
        "values * math.sqrt",
        ERRORS,
    ),
    Fault(
        "variance over one mask",
        STATISTICS,
        "pair_variance(values) / masks**2",
        "pair_variance(values) / masks",
        ERRORS,
    ),
    Fault(
        "n - 1 the wrong way round",
        INTERVALS,
        "math.sqrt(sequences / freedom)",
        "math.sqrt(freedom / sequences)",
        ERRORS,
    ),
    Fault("normal quantile for few sequences", INTERVALS, "student(freedom) * math.sqrt(", "Z95 * math.sqrt(", ERRORS),
    Fault("a residue predicts itself", CONTROLS, "np.maximum(counts - 1, 0)", "np.maximum(counts, 0)", ERRORS),
    Fault(
        "frequencies of the wrong sequences",
        CONTROLS,
        "-(counts @ np.log(frequencies)) / counts.sum(1)",
        "-(counts @ np.log(frequencies)) / counts.sum()",
        ERRORS,
    ),
    Fault(
        "difference the wrong way round",
        PAIRED,
        "mean_over_residues(a - b, lengths)",
        "mean_over_residues(b - a, lengths)",
        ERRORS,
    ),
    Fault(
        "part of the masks from the mean",
        LIKELIHOOD,
        "math.sqrt(statistics.squared_mask_variance)",
        "math.sqrt(statistics.mask_variance)",
        ERRORS,
    ),
    Fault(
        "part without the width of its range",
        LIKELIHOOD,
        "return self.nats * (self.high - self.low)",
        "return self.nats",
        ERRORS,
    ),
    Fault(
        "other probe at each evaluation",
        "evaluation/probe.py",
        "replace=False, shuffle=False)",
        "replace=True, shuffle=False)",
        ("training/test_evaluating.py", "evaluation/test_bound.py"),
    ),
    Fault(
        "bits for nats",
        "evaluation/bound.py",
        "return self.nats / math.log(2.0)",
        "return self.nats * math.log(2.0)",
        ERRORS,
    ),
)

ROOM = Room("evaluation", ("evaluation/test_bound.py", "test_bounds.py", "evaluation/test_likelihood.py"), FAULTS)
