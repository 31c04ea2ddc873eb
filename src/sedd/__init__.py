"""Train SEDD models (score entropy discrete diffusion) with noise curricula.

>>> import sedd
>>> config = sedd.load_config("quickstart", "training.n_iters=200")
>>> sedd.Trainer(config).fit()  # doctest: +SKIP
"""

# torch reads this variable when it is imported

import logging
import os
from importlib.metadata import PackageNotFoundError, version

# OpenMP threads spin before they sleep: by default for milliseconds. On cores that other programs also use, a waiting
# thread then keeps the thread that it waits for from running, and small steps take several times as long. 1,000
# iterations (the default of libgomp if there are more threads than cores) were as fast on idle cores.
if "OMP_WAIT_POLICY" not in os.environ:  # a policy chosen by the user stays
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from sedd.comparison.compare import Comparison, compare
from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import Dataset
from sedd.data.alphabet import Alphabet
from sedd.diagnosis.alarms import Alarm
from sedd.diagnosis.api import diagnose, forecast
from sedd.diagnosis.attribution import Attribution
from sedd.diagnosis.diagnosis import Diagnosis
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.verdict import Verdict
from sedd.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    DistributedError,
    PluginError,
    RankLostError,
    SamplingError,
    SeddError,
    SeddWarning,
    TrainingError,
)
from sedd.evaluation.bound import Bound
from sedd.plugins.contracts import (
    Backend,
    Curriculum,
    Metric,
    Network,
    Noise,
    Part,
    PublishedWeights,
    Ramp,
    Tracker,
    Vocabulary,
)  # fmt: skip
from sedd.plugins.hookspecs import hookimpl
from sedd.pretrained import Pretrained, load
from sedd.runs.step_report import StepReport
from sedd.sweeps.sweep import sweep
from sedd.sweeps.trials import Sweep
from sedd.training.trainer import Trainer

try:
    __version__ = version("sedd-torch")
except PackageNotFoundError:  # a clone on the path that was never installed
    __version__ = "unknown"

logging.getLogger("sedd").addHandler(logging.NullHandler())

__all__ = [
    "Alarm", "Alphabet", "Attribution", "Backend", "Bound", "CheckpointError", "Comparison", "Config",
    "ConfigError", "Curriculum", "DataError", "Dataset", "DeviceError", "Diagnosis", "DistributedError", "Forecast",
    "Metric", "Network", "Noise", "Part", "PluginError", "Pretrained", "PublishedWeights", "Ramp", "RankLostError",
    "SamplingError", "SeddError", "SeddWarning", "StepReport", "Sweep", "Tracker", "Trainer", "TrainingError",
    "Verdict", "Vocabulary", "compare", "diagnose", "forecast", "hookimpl", "load", "load_config", "sweep",
]  # fmt: skip
