"""Models without towers that every trained model is measured against."""

from trainer.baselines.base import Baseline
from trainer.baselines.registry import BASELINES, Entry, fit_baselines, parameters_of

__all__ = ["BASELINES", "Baseline", "Entry", "fit_baselines", "parameters_of"]
