"""Choice of the curves to show: all classes, or averages and the worst of many classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from textclf import evaluation
from textclf.evaluation import ClassCurves

MAX_CLASSES = 6  # with a curve each; with more classes, averages and the worst are shown
NUM_WORST = 5
# Pairs of an example and a class; sorting more for the micro average takes minutes.
_MAX_PAIRS = 20_000_000
_GRID = np.linspace(0, 1, 101)


class Curve(NamedTuple):
    """Curves of a class or of an average.

    Attributes:
        name: of the class or of the average.
        roc: false and true positive rates, two lists.
        precision_recall: recall and precision, two lists.
        roc_auc, average_precision: areas; None if they are undefined.
        is_average: whether it is an average over classes.
    """

    name: str
    roc: tuple[list[float], list[float]]
    precision_recall: tuple[list[float], list[float]]
    roc_auc: float | None
    average_precision: float | None
    is_average: bool = False


def curves_to_show(
    curves: Sequence[ClassCurves], is_positive: np.ndarray, p: np.ndarray
) -> list[Curve]:
    """Return the curves of up to six classes, or averages and the worst of more classes.

    With two classes, both curves have the same information; both are shown.

    Args:
        curves: of each class, see `evaluation.class_curves`.
        is_positive: bool [n, C].
        p: float [n, C].
    """
    drawable = [c for c in curves if c.roc and c.precision_recall]
    if len(curves) <= MAX_CLASSES:
        return [_curve(c) for c in drawable]
    worst = sorted(drawable, key=lambda c: c.average_precision or 0.0)[:NUM_WORST]
    averages = [_macro(drawable)] if drawable else []
    if is_positive.size <= _MAX_PAIRS:
        (pooled,) = evaluation.class_curves(
            is_positive.reshape(-1, 1), p.reshape(-1, 1), ("micro average",)
        )
        if pooled.roc and pooled.precision_recall:  # not without a positive example
            averages.insert(0, _curve(pooled)._replace(is_average=True))
    return [*averages, *map(_curve, worst)]


def _curve(curves: ClassCurves) -> Curve:
    _, false_rates, true_rates = zip(*curves.roc, strict=True)
    _, precisions, recalls = zip(*curves.precision_recall, strict=True)
    return Curve(
        curves.name,
        (list(false_rates), list(true_rates)),
        (list(recalls), list(precisions)),
        curves.roc_auc,
        curves.average_precision,
    )


def _macro(curves: Sequence[ClassCurves]) -> Curve:
    """Return the mean true positive rates and the mean precisions over the classes."""
    true_rates, precisions = [], []
    for part in map(_curve, curves):
        true_rates.append(np.interp(_GRID, *part.roc))
        recall, precision = (np.array(values)[::-1] for values in part.precision_recall)
        # The precision at a recall is that of the threshold with the next higher recall.
        at = np.minimum(np.searchsorted(recall, _GRID - 1e-12), len(recall) - 1)
        precisions.append(precision[at])
    mean_rates, mean_precisions = np.mean(true_rates, axis=0), np.mean(precisions, axis=0)
    return Curve(
        "macro average",
        (_GRID.tolist(), mean_rates.tolist()),
        (_GRID.tolist(), mean_precisions.tolist()),
        float(np.mean([c.roc_auc for c in curves])),
        float(np.mean([c.average_precision for c in curves])),
        is_average=True,
    )
