"""From true classes and probabilities to a `Report` of how good the predictions are.

Two tasks share everything here: *one-of* (each example has exactly one class; the prediction is
the arg max) and *multi-label* (any number of classes; a class is predicted where its probability
reaches its threshold). The definitions are scikit-learn's wherever it has one:

- Precision, recall and F1 whose denominator is zero are 0 (`zero_division=0`).
- Macro averages run over **all** of `class_names`, also over a class without a single example
  here, which then counts as 0; weighted averages weigh each class by its support. `Report.notes`
  names such classes, because they pull the macro averages down.
- ROC-AUC: the mean of one class against the rest over the classes that some examples have and
  some lack, undefined (None) if there is none; of two classes both areas are the same.
- Log loss is the mean negative natural logarithm of the true class's probability (multi-label:
  the mean binary cross-entropy over examples and classes). Probabilities are clipped to
  [2**-23, 1 - 2**-23], float32's epsilon, whatever their dtype: so a float32 network and a
  float64 baseline that are both wrong with certainty pay the same.
- Intervals: `intervals.py` states the methods.

The names below are imported when they are used, so that reading a report needs no NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textclf.evaluation.calibration import choose_abstention, fit_temperature
    from textclf.evaluation.decision import fit_decision
    from textclf.evaluation.measure import evaluate
    from textclf.evaluation.report import (
        CalibrationBin,
        ClassScores,
        CoveragePoint,
        LengthBin,
        Report,
    )
    from textclf.evaluation.scores import contributed, contributions, macro_f1
    from textclf.evaluation.selection import choose_thresholds, select

_MODULES = {
    "calibration": ("choose_abstention", "fit_temperature"),
    "decision": ("fit_decision",),
    "measure": ("evaluate",),
    "report": ("CalibrationBin", "ClassScores", "CoveragePoint", "LengthBin", "Report"),
    "scores": ("contributed", "contributions", "macro_f1"),
    "selection": ("choose_thresholds", "select"),
}

__all__ = [
    "CalibrationBin",
    "ClassScores",
    "CoveragePoint",
    "LengthBin",
    "Report",
    "choose_abstention",
    "choose_thresholds",
    "contributed",
    "contributions",
    "evaluate",
    "fit_decision",
    "fit_temperature",
    "macro_f1",
    "select",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
