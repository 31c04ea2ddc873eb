"""Ways to denoise. A new one is a file in this package, a line in `PREDICTORS`, and its name in `Sampling.predictor`.

| predictor               | draws from                                       | evaluations per sequence           |
|-------------------------|--------------------------------------------------|------------------------------------|
| `first_hitting`         | the model, exactly (`absorb` only)               | residues drawn / `tokens_per_step` |
| `ancestral`, `analytic` | the model as `steps` grow; one residue exactly   | at most `steps` + 1                |
| `euler`                 | the model as `steps` grow                        | at most `steps` + 1                |
"""

from __future__ import annotations

from sedd.sampling.predictors.analytic import Analytic
from sedd.sampling.predictors.ancestral import Ancestral
from sedd.sampling.predictors.base import Predictor
from sedd.sampling.predictors.euler import Euler
from sedd.sampling.predictors.first_hitting import FirstHitting
from sedd.sampling.predictors.steps import StepPredictor

__all__ = ["PREDICTORS", "Predictor", "StepPredictor"]

PREDICTORS: dict[str, Predictor] = {
    "euler": Euler(),
    "analytic": Analytic(),
    "ancestral": Ancestral(),
    "first_hitting": FirstHitting(),
}
"""Predictors by their name in `sampling.predictor`."""
