"""Evaluation: a `Report` of metrics computed from true classes and probabilities.

There are two kinds of task. *One-of*: each example has exactly one class; the prediction is the
arg max. *Multi-label*: an example has any number of classes; a class is predicted if its
probability is at least its threshold. Metrics are defined as in scikit-learn where it has them:

- Precision, recall and F1 are 0 if their denominator is 0 (`zero_division=0`).
- Macro averages include **all** of `class_names`. A class without examples counts as 0 and lowers
  them, so `Report.notes` names it. Weighted averages weight each class by its support.
- ROC-AUC and average precision are means over the classes with both positive and negative
  examples, each against the rest, and None if there is no such class.
- The Brier score (`brier_loss`) is the mean squared error of the probabilities. One-of: the mean
  over texts of half the sum over classes, which is in [0, 1]. Multi-label: the mean over texts and
  classes. Lower is better.
- Cohen's kappa and MCC (Matthews' correlation coefficient) exist for one-of tasks only. Kappa is
  None if truth and predictions are all the same class.
- The top-k accuracy is the share of texts whose class is among the k most probable ones, for k = 3,
  5 and 10 if there are at least 2 k classes.
- Log loss is the mean negative natural logarithm of the true class's probability (multi-label:
  the mean binary cross-entropy over examples and classes). Probabilities of every dtype are
  clipped to [2**-23, 1 - 2**-23], the epsilon of float32. A float32 network and a float64
  baseline therefore have the same loss if a wrong prediction has probability 1.
- Intervals: `intervals.py` states the methods.

The public names are imported on first use, so that reading a report does not import NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textclf.evaluation.by_task import scoring_of
    from textclf.evaluation.calibration import choose_abstention, fit_temperature
    from textclf.evaluation.decision import fit_decision, fit_thresholds
    from textclf.evaluation.measure import evaluate
    from textclf.evaluation.mixture import estimate_gain, fit_mixture, measure_gain
    from textclf.evaluation.operating import (
        OperatingPoint,
        Target,
        choose_operating_thresholds,
        operating_points,
    )
    from textclf.evaluation.ranking import ClassCurves, class_curves
    from textclf.evaluation.report import (
        CalibrationBin,
        ClassScores,
        CoveragePoint,
        Gain,
        LengthBin,
        Report,
        metric_names,
    )
    from textclf.evaluation.requirements import Requirement, check_requirements
    from textclf.evaluation.scores import contributions, macro_f1
    from textclf.evaluation.selection import choose_thresholds
    from textclf.evaluation.slices import (
        Grouping,
        Slice,
        group_by_quantile,
        group_by_value,
        score_slices,
        warnings_of,
    )

_MODULES = {
    "by_task": ("scoring_of",),
    "calibration": ("choose_abstention", "fit_temperature"),
    "decision": ("fit_decision", "fit_thresholds"),
    "measure": ("evaluate",),
    "mixture": ("estimate_gain", "fit_mixture", "measure_gain"),
    "operating": (
        *("OperatingPoint", "Target", "choose_operating_thresholds", "operating_points"),
    ),
    "ranking": ("ClassCurves", "class_curves"),
    "report": (
        *("CalibrationBin", "ClassScores", "CoveragePoint", "Gain", "LengthBin", "Report"),
        "metric_names",
    ),
    "requirements": ("Requirement", "check_requirements"),
    "scores": ("contributions", "macro_f1"),
    "selection": ("choose_thresholds",),
    "slices": (
        *("Grouping", "Slice", "group_by_quantile", "group_by_value", "score_slices"),
        "warnings_of",
    ),
}

__all__ = [
    "CalibrationBin",
    "ClassCurves",
    "ClassScores",
    "CoveragePoint",
    "Gain",
    "Grouping",
    "LengthBin",
    "OperatingPoint",
    "Report",
    "Requirement",
    "Slice",
    "Target",
    "check_requirements",
    "choose_abstention",
    "choose_operating_thresholds",
    "choose_thresholds",
    "class_curves",
    "contributions",
    "estimate_gain",
    "evaluate",
    "fit_decision",
    "fit_mixture",
    "fit_temperature",
    "fit_thresholds",
    "group_by_quantile",
    "group_by_value",
    "macro_f1",
    "measure_gain",
    "metric_names",
    "operating_points",
    "score_slices",
    "scoring_of",
    "warnings_of",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
