"""Counts, the scores that follow from them, and how far probabilities can be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textclf.evaluation.report import CalibrationBin, ClassScores, LengthBin
from textclf.evaluation.selection import select

LOG_LOSS_CLIP = 2.0**-23


@dataclass(frozen=True)
class Counts:
    """What precision, recall and F1 are made of; each [..., C], resamplings in front."""

    right: np.ndarray  # examples that have the class and were given it
    true: np.ndarray  # examples that have it: the support
    predicted: np.ndarray  # examples that were given it

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
        """All classes as one, [..., 1]: precision, recall and F1 of this are the micro ones."""
        return Counts(
            self.right.sum(-1, keepdims=True),
            self.true.sum(-1, keepdims=True),
            self.predicted.sum(-1, keepdims=True),
        )


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def class_counts(y_true: np.ndarray, y_pred: np.ndarray, num_classes: int) -> Counts:
    if y_true.ndim == 2:
        return Counts((y_true & y_pred).sum(0), y_true.sum(0), y_pred.sum(0))
    right = y_true[y_true == y_pred]
    return Counts(*(np.bincount(ids, minlength=num_classes) for ids in (right, y_true, y_pred)))


def macro_f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """The mean F1 of the classes; both bool [n, C]."""
    return float(class_counts(y_true, y_pred, y_true.shape[1]).f1.mean())


def averages(counts: Counts, n: int, multi_label: bool) -> dict[str, float]:
    """The metrics that follow from the counts alone, the most wanted first."""
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
    """Return the scores of each class, with the intervals of each class by field name."""
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
    cells = np.bincount(y_true * num_classes + y_pred, minlength=num_classes**2)
    return tuple(tuple(row) for row in cells.reshape(num_classes, num_classes).tolist())


def log_loss(y_true: np.ndarray, p: np.ndarray, multi_label: bool) -> float:
    p = np.clip(p, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    if multi_label:
        return float(-np.log(np.where(y_true, p, 1 - p)).mean())
    return float(-np.log(p[np.arange(len(p)), y_true]).mean())


def roc_auc(
    y_true: np.ndarray, p: np.ndarray, names: tuple[str, ...], multi_label: bool
) -> tuple[float | None, list[str]]:
    has = y_true if multi_label else np.equal.outer(y_true, np.arange(len(names)))  # bool [n, C]
    num_having = has.sum(axis=0)
    defined = (num_having > 0) & (num_having < len(has))
    if not defined.any():
        return None, ["ROC-AUC is undefined: each class is had by every example or by none"]
    # The area is the share of (having, lacking) pairs in the right order, ties counting half:
    # the statistic of Mann and Whitney, which ranks give without looking at pairs.
    areas = []
    for c in np.flatnonzero(defined):
        num_lower = num_having[c] * (num_having[c] + 1) / 2
        _, place, equal = np.unique(p[:, c], return_inverse=True, return_counts=True)
        ranks = np.cumsum(equal) - (equal - 1) / 2  # of the distinct scores; equal ones share one
        wins = ranks[place[has[:, c]]].sum() - num_lower
        areas.append(wins / (num_having[c] * (len(has) - num_having[c])))
    notes = []
    if not defined.all():
        left_out = listed([name for name, ok in zip(names, defined, strict=True) if not ok])
        notes.append(f"ROC-AUC leaves out what every or no example has: {left_out}")
    return float(np.mean(areas)), notes


# === Calibration ===


def bins_by_confidence(
    y_true: np.ndarray, y_pred: np.ndarray, p: np.ndarray, num_bins: int, multi_label: bool
) -> tuple[CalibrationBin, ...]:
    if multi_label:
        confidence, right = p.ravel(), y_true.ravel()
    else:
        confidence, right = p.max(axis=1), y_true == y_pred
    edges = np.linspace(0, 1, num_bins + 1)
    # Bin b holds edges[b] < confidence <= edges[b + 1], as in the paper, and bin 0 also 0 itself.
    where = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(where, minlength=num_bins)
    mean_confidence = ratio(np.bincount(where, confidence, num_bins), counts)
    accuracy = ratio(np.bincount(where, right, num_bins), counts)
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
    # Upper bounds that are real lengths, so that equal lengths never stand in two bins.
    levels = np.linspace(0, 1, num_bins + 1)[1:]
    upper = np.unique(np.quantile(num_tokens, levels, method="inverted_cdf"))
    where = np.searchsorted(upper, num_tokens, side="left")
    return tuple(length_bin(where == b, num_tokens, y_true, y_pred) for b in range(len(upper)))


def length_bin(
    chosen: np.ndarray, num_tokens: np.ndarray | None, y_true: np.ndarray, y_pred: np.ndarray
) -> LengthBin:
    true, predicted = y_true[chosen], y_pred[chosen]
    if y_true.ndim == 2:
        score = class_counts(true, predicted, y_true.shape[1]).summed().f1[0]
    else:
        score = (true == predicted).mean()
    return LengthBin(
        min_tokens=None if num_tokens is None else int(num_tokens[chosen].min()),
        max_tokens=None if num_tokens is None else int(num_tokens[chosen].max()),
        num_examples=int(chosen.sum()),
        score=float(score),
    )


def listed(names: Sequence[str], limit: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    more = len(names) - limit
    return f"{shown} and {more:,} more" if more > 0 else shown


# === By example ===


def contributed(multi_label: bool) -> tuple[str, ...]:
    """The metrics to which examples contribute, a task's own first."""
    if multi_label:
        return ("macro_f1", "micro_f1", "log_loss")
    return ("accuracy", "macro_f1", "log_loss")


def contributions(
    metric: str, y_true: np.ndarray, p: np.ndarray, thresholds: np.ndarray | None = None
) -> np.ndarray:
    """What each example contributes to a metric: numbers whose mean is the metric.

    Of accuracy and log loss these are the examples' own values. An F1 is no mean over examples;
    there they are the pseudo-values of the jackknife (Tukey 1958), n * F1 - (n - 1) * F1 without
    the example, moved together so that their mean is F1: of a class with a single example it would
    be the more above it, the fewer classes there are.

    Args:
        metric: one of those `contributed` to in this task.
        y_true: int64 [n], or bool [n, C] for several labels.
        p: float [n, C].
        thresholds: float [C] for several labels.

    Returns:
        float64 [n].
    """
    multi_label = y_true.ndim == 2
    if metric not in contributed(multi_label):
        raise ValueError(f"no contributions to {metric!r} in this task")
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
    each = Counts(true & predicted, true, predicted)
    whole = Counts(each.right.sum(0), each.true.sum(0), each.predicted.sum(0))
    without = Counts(
        whole.right - each.right, whole.true - each.true, whole.predicted - each.predicted
    )
    n = len(y_true)
    if metric == "micro_f1":
        whole, without = whole.summed(), without.summed()
    value = whole.f1.mean()
    pseudo = n * value - (n - 1) * without.f1.mean(axis=-1)
    return pseudo + (value - pseudo.mean())
