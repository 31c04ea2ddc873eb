"""Faults in attribution, forecast, the monitor's mathematics, and the loading of other programs' logs."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

ATTRIBUTION, PREDICTORS = "diagnosis/attribution.py", "diagnosis/predictors.py"
RISES, BAYES = "diagnosis/rises.py", "diagnosis/bayes.py"
CLOCK, SERIES, NAMES = "diagnosis/logs/clock.py", "diagnosis/logs/series.py", "diagnosis/logs/names.py"
SPLIT = ("diagnosis/test_attribution.py", "diagnosis/test_attribution_intervals.py")
EXPECTED = ("diagnosis/test_predictors.py", "diagnosis/test_forecast.py")
MONITORED = ("diagnosis/test_bayes.py", "diagnosis/test_monitor.py")
RESUMED, COLUMNS = (
    ("diagnosis/test_logs_resumed.py",),
    ("diagnosis/test_logs_columns.py", "diagnosis/test_logs_tables.py"),
)

FAULTS = (
    Fault(
        "sign of the difficulty",
        ATTRIBUTION,
        "middle, allowed = (e_after - e) / 2",
        "middle, allowed = (e - e_after) / 2",
        SPLIT,
    ),
    Fault("learning at the later noise alone", ATTRIBUTION, "(e + e_after) / 2\n", "e_after\n", SPLIT),
    Fault("lines of both times counted twice", ATTRIBUTION, " + 2 * a_old * b_new * error.both", "", SPLIT),
    Fault(
        "draws of the earlier time added",
        ATTRIBUTION,
        "new.values * (w_after - e_after) - old.values * (w - e)",
        "new.values * (w_after - e_after) + old.values * (w - e)",
        SPLIT,
    ),
    Fault(
        "times swapped in the extrapolation",
        ATTRIBUTION,
        "fill(after.values, before.values, error.after, error.before,",
        "fill(after.values, after.values, error.after, error.before,",
        SPLIT,
    ),
    Fault(
        "kriged with the wrong sign",
        "diagnosis/unmeasured.py",
        "shape[missing] - share * slope, 0.0",
        "shape[missing] + share * slope, 0.0",
        SPLIT,
    ),
    Fault(
        "variance not of the mean",
        "diagnosis/profile_error.py",
        "(share**2 * lines.variance[pool])",
        "(share * lines.variance[pool])",
        SPLIT,
    ),
    Fault(
        "density the wrong way round",
        PREDICTORS,
        "probability).sum(1) * torch.exp(sigma))",
        "probability).sum(1) * torch.exp(-sigma))",
        EXPECTED,
    ),
    Fault(
        "tokens weighted by the noisy one",
        PREDICTORS,
        "torch.from_numpy(frequencies)[x0]",
        "torch.from_numpy(frequencies)[x_t]",
        EXPECTED,
    ),
    Fault(
        "nodes at the ends of the cells",
        PREDICTORS,
        "np.array([-1.0, 1.0]) / math.sqrt(3.0)",
        "np.array([-1.0, 1.0])",
        EXPECTED,
    ),
    Fault(
        "loss down to the lower end", PREDICTORS, "return float(ends[1] - ends[0])", "return float(ends[1])", EXPECTED
    ),
    Fault(
        "logarithm of the wrong base",
        PREDICTORS,
        "(positive * np.log(positive)).sum()",
        "(positive * np.log2(positive)).sum()",
        EXPECTED,
    ),
    Fault("rise per step", RISES, "* RISE_STEPS / window, first", "/ window, first", EXPECTED),
    Fault(
        "one look only",
        BAYES,
        "np.logaddexp.reduce(values) - math.log(len(values))",
        "np.logaddexp.reduce(values)",
        MONITORED,
    ),
    Fault(
        "series in the wrong tail", BAYES, "math.erfc(-z / math.sqrt(2.0))", "math.erfc(z / math.sqrt(2.0))", MONITORED
    ),
    Fault(
        "the earlier of repeated steps",
        SERIES,
        "            kept.pop()\n            repeated += 1\n",
        "            repeated += 1\n            continue\n",
        RESUMED,
    ),
    Fault(
        "one line of the first try kept",
        SERIES,
        "while kept and kept[-1].step >= point.step:",
        "while kept and kept[-1].step > point.step:",
        RESUMED,
    ),
    Fault("epochs from 1 counted from 0", CLOCK, "step=(epoch - start) * length", "step=epoch * length", RESUMED),
    Fault(
        "an epoch of the last logged step",
        CLOCK,
        "(last + 1, last + spacing) if first == 0",
        "(last, last + spacing) if first == 0",
        RESUMED,
    ),
    Fault("newest lines first not turned", CLOCK, "        rows.reverse()\n", "", RESUMED),
    Fault("test before validation", NAMES, "else 2 if", "else -1 if", COLUMNS),
    Fault(
        "loss of an epoch before that of a step",
        NAMES,
        "return 1 if train else 3\n",
        "return 5 if train else 7\n",
        COLUMNS,
    ),
    Fault(
        "a row without a cell shifted",
        "diagnosis/logs/table.py",
        "for name, cell in zip(names, cells, strict=False) if not",
        "for name, cell in zip(names, filter(None, cells), strict=False) if not",
        COLUMNS,
    ),
)

ROOM = Room("diagnosis", SPLIT, FAULTS)
