"""Scores computed from counts, from probabilities, and by length, confidence or example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textclf.evaluation.report import CalibrationBin, ClassScores, LengthBin
from textclf.evaluation.selection import select

LOG_LOSS_CLIP = 2.0**-23


@dataclass(frozen=True)
class Counts:
    """Counts behind precision, recall and F1; each [..., C], with resamples in the first axis."""

    right: np.ndarray  # examples that have the class and for which it is predicted
    true: np.ndarray  # examples that have the class: the support
    predicted: np.ndarray  # examples for which the class is predicted

    @property
    def precision(self) -> np.ndarray:
        return ratio(self.right, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        return ratio(self.right, self.true)

    @property
    def f1(self) -> np.ndarray:
        return ratio(2 * self.right, self.true + self.predicted)

    def summed(self) -> "Counts":
        """Return the sums over all classes, [..., 1], from which micro averages are computed."""
        return Counts(
            self.right.sum(-1, keepdims=True),
            self.true.sum(-1, keepdims=True),
            self.predicted.sum(-1, keepdims=True),
        )


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return numerator / denominator, and 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def class_counts(y_true: np.ndarray, y_pred: np.ndarray, num_classes: int) -> Counts:
    """Count the examples of each class; y_true and y_pred are int64 [n] or bool [n, C]."""
    if y_true.ndim == 2:
        return Counts((y_true & y_pred).sum(0), y_true.sum(0), y_pred.sum(0))
    right = y_true[y_true == y_pred]
    return Counts(*(np.bincount(ids, minlength=num_classes) for ids in (right, y_true, y_pred)))


def macro_f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Return the mean F1 of the classes; y_true and y_pred are bool [n, C]."""
    return float(class_counts(y_true, y_pred, y_true.shape[1]).f1.mean())


def averages(counts: Counts, n: int, multi_label: bool) -> dict[str, float]:
    """Return the metrics that depend on the counts alone, the most important first."""
    scores = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
    micro = counts.summed()
    metrics: dict[str, float] = {}
    if multi_label:
        metrics["micro_f1"] = float(micro.f1[0])
    else:
        metrics["accuracy"] = float(counts.right.sum() / n)
    metrics["macro_f1"] = float(counts.f1.mean())
    metrics["weighted_f1"] = float(ratio((counts.f1 * counts.true).sum(), counts.true.sum()))
    if multi_label:
        metrics["micro_precision"] = float(micro.precision[0])
        metrics["micro_recall"] = float(micro.recall[0])
    for name in ("precision", "recall"):
        metrics[f"macro_{name}"] = float(scores[name].mean())
    for name in ("precision", "recall"):
        weighted = ratio((scores[name] * counts.true).sum(), counts.true.sum())
        metrics[f"weighted_{name}"] = float(weighted)
    return metrics


def class_scores(
    counts: Counts,
    names: tuple[str, ...],
    thresholds: np.ndarray | None,
    intervals: Sequence[Mapping[str, tuple[float, float] | None]],
) -> tuple[ClassScores, ...]:
    """Return the scores of each class; `intervals` has a dict by field name for each class."""
    precision, recall, f1 = counts.precision, counts.recall, counts.f1
    return tuple(
        ClassScores(
            name=name,
            precision=float(precision[c]),
            recall=float(recall[c]),
            f1=float(f1[c]),
            support=int(counts.true[c]),
            num_predicted=int(counts.predicted[c]),
            threshold=None if thresholds is None else float(thresholds[c]),
            **intervals[c],
        )
        for c, name in enumerate(names)
    )


def confusion_matrix(
    y_true: np.ndarray, y_pred: np.ndarray, num_classes: int
) -> tuple[tuple[int, ...], ...]:
    """Return the counts [true][predicted]; y_true and y_pred are int64 [n]."""
    cells = np.bincount(y_true * num_classes + y_pred, minlength=num_classes**2)
    return tuple(tuple(row) for row in cells.reshape(num_classes, num_classes).tolist())


def log_loss(y_true: np.ndarray, p: np.ndarray, multi_label: bool) -> float:
    """Return the mean log loss; y_true is int64 [n] or bool [n, C], p is float64 [n, C]."""
    p = np.clip(p, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    if multi_label:
        return float(-np.log(np.where(y_true, p, 1 - p)).mean())
    return float(-np.log(p[np.arange(len(p)), y_true]).mean())


def roc_auc(
    y_true: np.ndarray, p: np.ndarray, names: tuple[str, ...], multi_label: bool
) -> tuple[float | None, list[str]]:
    """Return the mean one-vs-rest area, None if undefined, and notes on skipped classes."""
    is_positive = (
        y_true if multi_label else np.equal.outer(y_true, np.arange(len(names)))
    )  # bool [n, C]
    num_positives = is_positive.sum(axis=0)
    defined = (num_positives > 0) & (num_positives < len(is_positive))
    if not defined.any():
        return None, ["ROC-AUC is undefined: no class has both positive and negative examples"]
    # The area is the share of (positive, negative) pairs in the correct order, a tie counting as
    # half. That is the Mann-Whitney statistic, which is computed from ranks.
    areas = []
    for c in np.flatnonzero(defined):
        n_positive = num_positives[c]
        _, value_ids, value_counts = np.unique(p[:, c], return_inverse=True, return_counts=True)
        # Ranks of the distinct values; equal values share their mean rank.
        ranks = np.cumsum(value_counts) - (value_counts - 1) / 2
        rank_sum = ranks[value_ids[is_positive[:, c]]].sum()
        num_ordered_pairs = rank_sum - n_positive * (n_positive + 1) / 2
        areas.append(num_ordered_pairs / (n_positive * (len(is_positive) - n_positive)))
    notes = []
    if not defined.all():
        skipped = listed([name for name, ok in zip(names, defined, strict=True) if not ok])
        notes.append(
            f"ROC-AUC skips classes without both positive and negative examples: {skipped}"
        )
    return float(np.mean(areas)), notes


# === Calibration ===


def bins_by_confidence(
    y_true: np.ndarray, y_pred: np.ndarray, p: np.ndarray, num_bins: int, multi_label: bool
) -> tuple[CalibrationBin, ...]:
    """Return `num_bins` calibration bins of equal width, empty ones included."""
    if multi_label:
        confidence, is_correct = p.ravel(), y_true.ravel()
    else:
        confidence, is_correct = p.max(axis=1), y_true == y_pred
    edges = np.linspace(0, 1, num_bins + 1)
    # Bin b contains edges[b] < confidence <= edges[b + 1], as in the paper. Bin 0 also contains 0.
    bin_ids = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(bin_ids, minlength=num_bins)
    mean_confidence = ratio(np.bincount(bin_ids, confidence, num_bins), counts)
    accuracy = ratio(np.bincount(bin_ids, is_correct, num_bins), counts)
    return tuple(
        CalibrationBin(
            lower=float(edges[b]),
            upper=float(edges[b + 1]),
            count=int(counts[b]),
            mean_confidence=float(mean_confidence[b]) if counts[b] else None,
            accuracy=float(accuracy[b]) if counts[b] else None,
        )
        for b in range(num_bins)
    )


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """Return the mean of |accuracy - mean confidence|, weighted by the counts of the bins."""
    gaps = [
        b.count * abs(b.accuracy - b.mean_confidence)
        for b in bins
        if b.accuracy is not None and b.mean_confidence is not None
    ]
    return sum(gaps) / sum(b.count for b in bins)


# === By length ===


def bins_by_length(
    num_tokens: np.ndarray, y_true: np.ndarray, y_pred: np.ndarray, num_bins: int
) -> tuple[LengthBin, ...]:
    """Return the scores of at most `num_bins` quantile bins of the lengths, shortest first."""
    # The upper bounds are lengths of texts, so that equal lengths are in the same bin.
    levels = np.linspace(0, 1, num_bins + 1)[1:]
    upper = np.unique(np.quantile(num_tokens, levels, method="inverted_cdf"))
    bin_ids = np.searchsorted(upper, num_tokens, side="left")
    return tuple(length_bin(bin_ids == b, num_tokens, y_true, y_pred) for b in range(len(upper)))


def length_bin(
    mask: np.ndarray, num_tokens: np.ndarray | None, y_true: np.ndarray, y_pred: np.ndarray
) -> LengthBin:
    """Return the score of the examples in `mask`, bool [n] with at least one True."""
    true, predicted = y_true[mask], y_pred[mask]
    if y_true.ndim == 2:
        score = class_counts(true, predicted, y_true.shape[1]).summed().f1[0]
    else:
        score = (true == predicted).mean()
    return LengthBin(
        min_tokens=None if num_tokens is None else int(num_tokens[mask].min()),
        max_tokens=None if num_tokens is None else int(num_tokens[mask].max()),
        num_examples=int(mask.sum()),
        score=float(score),
    )


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Return quoted names separated by commas; names after the first `limit` are only counted."""
    shown = ", ".join(repr(name) for name in names[:limit])
    more = len(names) - limit
    return f"{shown} and {more:,} more" if more > 0 else shown


# === By example ===


def contributed(multi_label: bool) -> tuple[str, ...]:
    """Return the metrics available in `contributions`, the main metric of the task first."""
    if multi_label:
        return ("macro_f1", "micro_f1", "log_loss")
    return ("accuracy", "macro_f1", "log_loss")


def contributions(
    metric: str, y_true: np.ndarray, p: np.ndarray, thresholds: np.ndarray | None = None
) -> np.ndarray:
    """Return the contribution of each example to a metric; their mean is the metric.

    For accuracy and log loss the contributions are the values of the examples. F1 is not a mean
    over examples; its contributions are jackknife pseudo-values (Tukey 1958),
    n * F1 - (n - 1) * (F1 without the example), shifted by a constant so that their mean is F1.
    Without the shift the mean is higher than F1 if a class has a single example.

    Args:
        metric: one of `contributed(multi_label)`.
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C].
        thresholds: float [C] for multi-label; otherwise None.

    Returns:
        float64 [n].

    Raises:
        ValueError: the metric is not one of `contributed(multi_label)`.
    """
    multi_label = y_true.ndim == 2
    if metric not in contributed(multi_label):
        available = ", ".join(contributed(multi_label))
        raise ValueError(f"no contributions to {metric!r}; choose from {available}")
    if metric == "log_loss":
        clipped = np.clip(p.astype(float), LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
        if multi_label:
            return -np.log(np.where(y_true, clipped, 1 - clipped)).mean(axis=1)
        return -np.log(clipped[np.arange(len(p)), y_true])
    selected = select(p, thresholds)
    if metric == "accuracy":
        return (selected == y_true).astype(float)
    classes = np.arange(p.shape[1])
    true, predicted = (
        (y_true, selected)
        if multi_label
        else (np.equal.outer(ids, classes) for ids in (y_true, selected))
    )  # bool [n, C]
    one = Counts(true & predicted, true, predicted)  # counts of each example alone
    total = Counts(one.right.sum(0), one.true.sum(0), one.predicted.sum(0))
    without_one = Counts(
        total.right - one.right, total.true - one.true, total.predicted - one.predicted
    )
    n = len(y_true)
    if metric == "micro_f1":
        total, without_one = total.summed(), without_one.summed()
    f1 = total.f1.mean()
    pseudo_values = n * f1 - (n - 1) * without_one.f1.mean(axis=-1)
    return pseudo_values + (f1 - pseudo_values.mean())
