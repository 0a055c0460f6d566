"""Scores of the order of the probabilities: average precision, areas, curves.

The curves of a class are those of the class against the rest. They show the result of every
threshold, so they do not depend on the thresholds in use.
"""

from dataclasses import dataclass

import numpy as np

MAX_POINTS = 200  # of a curve


@dataclass(frozen=True)
class ClassCurves:
    """Precision-recall and ROC curve of one class.

    Attributes:
        name: name of the class.
        average_precision, roc_auc: areas; None without both positive and negative examples.
        precision_recall: points (threshold, precision, recall), at most `MAX_POINTS`, the lowest
            threshold first; empty without positive examples.
        roc: points (threshold, false positive rate, true positive rate), the highest threshold
            first; the threshold of the first point, which selects nothing, is None. Empty without
            both positive and negative examples.
    """

    name: str
    average_precision: float | None
    roc_auc: float | None
    precision_recall: tuple[tuple[float, float, float], ...]
    roc: tuple[tuple[float | None, float, float], ...]


def average_precisions(is_positive: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the average precision of each class against the rest, NaN where it is undefined.

    Args:
        is_positive: bool [n, C].
        p: float [n, C].

    Returns:
        float64 [C].
    """
    from sklearn.metrics import average_precision_score

    scores = np.full(p.shape[1], np.nan)
    for c in np.flatnonzero(_has_both(is_positive)):
        scores[c] = average_precision_score(is_positive[:, c], p[:, c])
    return scores


def roc_areas(is_positive: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the ROC area of each class against the rest, NaN where it is undefined.

    The area is the share of (positive, negative) pairs in the correct order, a tie counting as
    half. That is the Mann-Whitney statistic, which is computed from ranks.

    Args:
        is_positive: bool [n, C].
        p: float [n, C].

    Returns:
        float64 [C].
    """
    num_positives = is_positive.sum(axis=0)
    areas = np.full(p.shape[1], np.nan)
    for c in np.flatnonzero(_has_both(is_positive)):
        n_positive = int(num_positives[c])
        _, value_ids, value_counts = np.unique(p[:, c], return_inverse=True, return_counts=True)
        # Ranks of the distinct values; equal values share their mean rank.
        ranks = np.cumsum(value_counts) - (value_counts - 1) / 2
        rank_sum = ranks[value_ids[is_positive[:, c]]].sum()
        num_ordered_pairs = rank_sum - n_positive * (n_positive + 1) / 2
        areas[c] = num_ordered_pairs / (n_positive * (len(is_positive) - n_positive))
    return areas


def class_curves(
    is_positive: np.ndarray, p: np.ndarray, names: tuple[str, ...]
) -> tuple[ClassCurves, ...]:
    """Return the curves of each class.

        class_curves(task.indicators(y_true), p, ("no", "yes"))[1].average_precision

    Args:
        is_positive: bool [n, C], True for each class of each example.
        p: float [n, C].
        names: of the classes.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    precisions, areas = average_precisions(is_positive, p), roc_areas(is_positive, p)
    has_both = _has_both(is_positive)
    curves = []
    for c, name in enumerate(names):
        true, scores = is_positive[:, c], p[:, c].astype(np.float64)
        precision_recall: tuple = ()
        roc: tuple = ()
        if true.any():
            precision, recall, thresholds = precision_recall_curve(
                true, scores, drop_intermediate=True
            )
            # The last point of scikit-learn, precision 1 at recall 0, has no threshold.
            precision_recall = _points(thresholds, precision[:-1], recall[:-1])
        if has_both[c]:
            false_rate, true_rate, thresholds = roc_curve(true, scores)
            roc = _points(thresholds, false_rate, true_rate)
        curves.append(
            ClassCurves(
                name=name,
                average_precision=float(precisions[c]) if has_both[c] else None,
                roc_auc=float(areas[c]) if has_both[c] else None,
                precision_recall=precision_recall,
                roc=roc,
            )
        )
    return tuple(curves)


def _points(thresholds: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple:
    """Return at most `MAX_POINTS` points of a curve, about equally far from each other."""
    chosen = np.arange(len(x))
    if len(x) > MAX_POINTS:
        distance = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        wanted = np.linspace(0, distance[-1], MAX_POINTS)
        chosen = np.unique(np.minimum(np.searchsorted(distance, wanted), len(x) - 1))
    return tuple(
        (float(threshold) if np.isfinite(threshold) else None, float(a), float(b))
        for threshold, a, b in zip(thresholds[chosen], x[chosen], y[chosen], strict=True)
    )


def _has_both(is_positive: np.ndarray) -> np.ndarray:
    """Return bool [C], whether a class has both positive and negative examples."""
    num_positives = is_positive.sum(axis=0)
    return (num_positives > 0) & (num_positives < len(is_positive))
