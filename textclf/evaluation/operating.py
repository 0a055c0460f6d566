"""Operating points: thresholds that reach a precision, a recall, an F-beta or low costs.

All are chosen on validation. "Precision at least P" and "recall at least R" mean that the one-sided
lower bound of Clopper and Pearson (1934, "The Use of Confidence or Fiducial Limits") at the level
`CONFIDENCE` is at least P or R, so that few examples do not reach a target by luck. The bound is
valid for one threshold fixed in advance; for the best of many, it is slightly optimistic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from textclf.evaluation.selection import check_probabilities, selection_curve
from textclf.tasks import Task

CONFIDENCE = 0.9  # of the one-sided bounds


class Target(NamedTuple):
    """Aim of a threshold; exactly one field is set.

    Attributes:
        precision: minimum lower bound of the precision; the threshold with the highest recall is
            chosen.
        recall: minimum lower bound of the recall; the threshold with the fewest predictions is
            chosen.
        beta: weight of the recall in F-beta, which is maximized (1: F1; 2: recall matters more).
        cost: cost of a false positive and of a false negative, whose sum is minimized.
    """

    precision: float | None = None
    recall: float | None = None
    beta: float | None = None
    cost: tuple[float, float] | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """Figures of a class at a threshold.

    Attributes:
        threshold: lowest probability at which the class is predicted.
        num_predicted: number of examples for which it is predicted.
        precision, recall, f1: scores; precision is None without predictions, recall without
            examples of the class.
        precision_bound, recall_bound: one-sided lower bounds at the level `CONFIDENCE`.
        false_positives, false_negatives: numbers of examples.
        is_in_use: whether it is the threshold of the model.
    """

    threshold: float
    num_predicted: int
    precision: float | None
    precision_bound: float
    recall: float | None
    recall_bound: float
    f1: float
    false_positives: int
    false_negatives: int
    is_in_use: bool = False


def choose_operating_thresholds(
    task: Task, y_true: np.ndarray, p: np.ndarray, target: Target, positive: int | None = None
) -> tuple[list[float | None], list[float | None]]:
    """Choose the threshold of each class, or of the positive one of two classes.

        choose_operating_thresholds(OneOf(2), y_true, p, Target(precision=0.9), positive=1)

    Args:
        task: several labels, or one of two classes.
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C], calibrated.
        target: aim of each threshold.
        positive: one-of: id of the positive class.

    Returns:
        Two lists of C values: the thresholds in (0, 1), None for a class whose target is out of
        reach and for the class that is not the positive one; and the highest bound of precision or
        recall, None for other targets.

    Raises:
        DataError: there is no example, or a probability is not a number in [0, 1].
    """
    check_probabilities(p)
    is_positive = task.indicators(y_true)
    p = np.asarray(p).astype(np.float32)
    thresholds: list[float | None] = [None] * p.shape[1]
    bounds: list[float | None] = [None] * p.shape[1]
    for c in range(p.shape[1]) if positive is None else [positive]:
        thresholds[c], bounds[c] = _choose(is_positive[:, c], p[:, c], target)
    return thresholds, bounds


def operating_points(
    is_positive: np.ndarray,
    p: np.ndarray,
    thresholds: Sequence[float],
    in_use: float | None = None,
) -> list[OperatingPoint]:
    """Return the figures of one class at thresholds.

    Args:
        is_positive: bool [n].
        p: float [n], compared with the thresholds in float32 like the exported graph.
        thresholds: k thresholds.
        in_use: the threshold of the model, one of them; None without one.
    """
    is_positive = np.asarray(is_positive)
    p = np.asarray(p).astype(np.float32)
    num_positives = int(is_positive.sum())
    limits = np.asarray(thresholds, np.float32)
    # Numbers of examples with p >= threshold, int64 [k].
    selected, right = (
        len(values) - np.searchsorted(np.sort(values), limits) for values in (p, p[is_positive])
    )
    precision_bounds = lower_bounds(right, selected)
    recall_bounds = lower_bounds(right, np.full_like(right, num_positives))
    return [
        OperatingPoint(
            threshold=float(threshold),
            num_predicted=num_selected,
            precision=num_right / num_selected if num_selected else None,
            precision_bound=float(precision_bounds[k]),
            recall=num_right / num_positives if num_positives else None,
            recall_bound=float(recall_bounds[k]),
            f1=2 * num_right / max(num_selected + num_positives, 1),
            false_positives=num_selected - num_right,
            false_negatives=num_positives - num_right,
            is_in_use=threshold == in_use,
        )
        for k, (threshold, num_selected, num_right) in enumerate(
            zip(thresholds, selected.tolist(), right.tolist(), strict=True)
        )
    ]


def lower_bounds(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the one-sided lower bounds of the shares count / total; 0 where the count is 0.

    Args:
        count, total: int [...].
    """
    from scipy.special import betaincinv

    bounds = betaincinv(np.maximum(count, 1), total - count + 1, 1 - CONFIDENCE)
    return np.where(count > 0, bounds, 0.0)


def _choose(
    is_positive: np.ndarray, p: np.ndarray, target: Target
) -> tuple[float | None, float | None]:
    """Return the threshold of one class and the highest bound, from bool [n] and float32 [n]."""
    thresholds, selected, right = selection_curve(is_positive, p)
    num_positives = int(is_positive.sum())
    if target.precision is not None or target.recall is not None:
        totals = selected if target.precision is not None else np.full_like(right, num_positives)
        bounds = lower_bounds(right, totals)
        wanted = target.precision if target.precision is not None else target.recall
        reached = np.flatnonzero(bounds >= wanted)
        if not len(reached):
            return None, float(bounds.max())
        # Thresholds are in descending order, so the first of equal ones has the fewest predictions.
        best = reached[right[reached].argmax()] if target.precision is not None else reached[0]
        return float(thresholds[best]), float(bounds.max())
    if target.beta is not None:
        weight = target.beta**2
        score = (1 + weight) * right / (selected + weight * num_positives).clip(1e-12)
        preferred = 0.5
    else:
        assert target.cost is not None
        per_positive, per_negative = target.cost
        score = -(per_positive * (selected - right) + per_negative * (num_positives - right))
        preferred = per_positive / (per_positive + per_negative)  # the best one if p were exact
    best_ones = np.flatnonzero(score >= score.max() - 1e-12)
    return float(thresholds[best_ones[np.abs(thresholds[best_ones] - preferred).argmin()]]), None
