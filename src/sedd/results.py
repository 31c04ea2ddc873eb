"""Every type that a public method returns or a public field holds, beyond those in `sedd` itself.

Import them for annotations: `from sedd.results import Likelihood`.
"""

from sedd.comparison.bound_curves import Curve, Point
from sedd.comparison.comparable import Rule
from sedd.comparison.paired import PairedDifference
from sedd.diagnosis.attribution import Cumulative
from sedd.diagnosis.external_curve import ExternalCurveFit
from sedd.diagnosis.forecast import Phase, Row
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.rises import Rise
from sedd.diffusion.graphs import Graph
from sedd.diffusion.loss_profile import LossProfile
from sedd.diffusion.parametrization import Parametrization
from sedd.diffusion.process import Process
from sedd.diffusion.schedule import Schedule, StepSettings
from sedd.evaluation.likelihood import Control, Likelihood, RateBin, SequenceBound
from sedd.evaluation.quality import Quality, TrainingIndex
from sedd.evaluation.quality import Row as QualityRow
from sedd.evaluation.variants import VariantScore
from sedd.runs.differences import Difference
from sedd.runs.directory import RunDirectory
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord, TrainRecord
from sedd.runs.state import TrainState
from sedd.sampling.generation import Choices, Generation, Request
from sedd.sampling.lengths import LengthDistribution
from sedd.sampling.sample_batch import Sample

__all__ = [
    "BoundRecord",
    "Choices",
    "Control",
    "Cumulative",
    "Curve",
    "Difference",
    "ExternalCurveFit",
    "Generation",
    "Graph",
    "History",
    "LengthDistribution",
    "Likelihood",
    "LossProfile",
    "PairedDifference",
    "Parametrization",
    "Phase",
    "Point",
    "Predictor",
    "Process",
    "Quality",
    "QualityRow",
    "RateBin",
    "Request",
    "Rise",
    "Row",
    "Rule",
    "RunDirectory",
    "Sample",
    "Schedule",
    "SequenceBound",
    "StepSettings",
    "TrainRecord",
    "TrainState",
    "TrainingIndex",
    "VariantScore",
]
