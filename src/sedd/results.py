"""Every type that a public method returns or a public field holds, beyond those in `sedd` itself.

Import them for annotations: `from sedd.results import Likelihood`.
"""

from sedd.comparison.bound_curves import Curve, Point
from sedd.comparison.comparable import Rule
from sedd.comparison.paired import PairedDifference
from sedd.comparison.ranking import Ranked
from sedd.config.alphabet import OwnSymbols
from sedd.config.sections import Sampling
from sedd.data import Cursor, Sequences
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.cumulative import Cumulative
from sedd.diagnosis.curve import Curve as ExternalCurve
from sedd.diagnosis.curve_fit.result import ExternalCurveFit
from sedd.diagnosis.forecast import Phase, Row
from sedd.diagnosis.foresight import DataFacts, Foresight
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.rises import Rise
from sedd.diagnosis.verdict import Remedy
from sedd.diffusion.graphs import BoundIntegrand, Graph
from sedd.diffusion.loss_profile import LossProfile
from sedd.diffusion.parametrization import Parametrization
from sedd.diffusion.process import Process
from sedd.diffusion.schedule import Schedule, StepSettings
from sedd.evaluation.embedding import Embedder
from sedd.evaluation.evaluated import EvaluatedSequences
from sedd.evaluation.likelihood import Control, Likelihood, RateBin, SequenceBound
from sedd.evaluation.paired import Paired
from sedd.evaluation.quality import Quality, TrainingIndex
from sedd.evaluation.quality import Row as QualityRow
from sedd.evaluation.quality.novelty import Neighbours
from sedd.evaluation.quality.packed import PackedSequences
from sedd.evaluation.variants import VariantScore
from sedd.plugins.effects import Effect
from sedd.plugins.recorders import Recorder
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.differences import Difference
from sedd.runs.directory import RunDirectory
from sedd.runs.history import History
from sedd.runs.metrics import (
    BoundRecord,
    ChangedRecord,
    DataRecord,
    EvaluatedRecord,
    RecordedBound,
    RollbackRecord,
    SkippedRecord,
    TrainRecord,
)
from sedd.runs.metrics_record import MetricsRecord
from sedd.runs.state import TrainState, Window
from sedd.runs.stopped_record import StoppedRecord
from sedd.sampling.generation import Choices, Generation, Request
from sedd.sampling.lengths import LengthDistribution
from sedd.sampling.sample_batch import Sample
from sedd.sweeps.contrasts import Contrast
from sedd.sweeps.space import RangeAxis, ValueAxis
from sedd.sweeps.tasks import Measurement, Task
from sedd.sweeps.trials import Trial

__all__ = [
    "BoundIntegrand", "BoundRecord", "ChangedRecord", "Checkpoint", "Choices", "Contrast", "Control", "Cumulative",
    "Cursor", "Curve", "DataFacts", "DataRecord", "DataStatistics", "Difference", "Effect", "Embedder",
    "EvaluatedRecord", "EvaluatedSequences", "ExternalCurve", "ExternalCurveFit", "Foresight", "Generation",
    "Graph", "History", "LengthDistribution", "Likelihood", "LossProfile", "Measurement", "MetricsRecord",
    "Neighbours", "OwnSymbols", "PackedSequences", "Paired", "PairedDifference", "Parametrization", "Phase",
    "Point", "Predictor", "Process", "Quality", "QualityRow", "RangeAxis", "Ranked", "RateBin", "RecordedBound",
    "Recorder", "Remedy", "Request", "Rise", "RollbackRecord", "Row", "Rule", "RunDirectory", "Sample", "Sampling",
    "Schedule", "SequenceBound", "Sequences", "SkippedRecord", "StepSettings", "StoppedRecord", "Task", "TrainRecord",
    "TrainState", "TrainingIndex", "Trial", "ValueAxis", "VariantScore", "Window",
]  # fmt: skip
