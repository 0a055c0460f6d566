"""Scores from counts, from probabilities, and by length, confidence or example."""

from collections.abc import Mapping, Sequence

import numpy as np

from textclf.evaluation.by_task import Scoring, format_classes, scoring_of
from textclf.evaluation.counts import Counts, ratio
from textclf.evaluation.ranking import average_precisions, roc_areas
from textclf.evaluation.report import CalibrationBin, ClassScores, LengthBin
from textclf.tasks import Task

LOG_LOSS_CLIP = 2.0**-23


def macro_f1(task: Task, y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Return the mean F1 of the classes."""
    return float(scoring_of(task).counts(y_true, y_pred).f1.mean())


def averages(scoring: Scoring, counts: Counts, n: int) -> dict[str, float]:
    """Return the metrics that depend on the counts alone, the most important first."""
    scores = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
    metrics = {scoring.task.headline: scoring.headline(counts, n)}
    metrics["macro_f1"] = float(counts.f1.mean())
    metrics["weighted_f1"] = float(ratio((counts.f1 * counts.true).sum(), counts.true.sum()))
    if scoring.has_micro_average:
        micro = counts.summed()
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
    ranking: Mapping[str, np.ndarray],
) -> tuple[ClassScores, ...]:
    """Return the scores of each class.

    Args:
        intervals: field name -> interval, for each class.
        ranking: the scores by class of `ranking_scores`.
    """
    precision, recall, f1 = counts.precision, counts.recall, counts.f1
    return tuple(
        ClassScores(
            name=name,
            precision=float(precision[c]),
            recall=float(recall[c]),
            f1=float(f1[c]),
            support=int(counts.true[c]),
            num_predicted=int(counts.predicted[c]),
            # Of two classes only the positive one has a threshold.
            threshold=float(thresholds[c]) if thresholds is not None and thresholds[c] else None,
            roc_auc=_defined(ranking["roc_auc"][c]),
            average_precision=_defined(ranking["average_precision"][c]),
            **intervals[c],
        )
        for c, name in enumerate(names)
    )


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def log_losses(scoring: Scoring, y_true: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the log loss of each decision, float64 [n], or [n, C] for multi-label."""
    clipped = np.clip(p.astype(np.float64), LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return scoring.log_losses(y_true, clipped)


def ranking_scores(
    is_positive: np.ndarray, p: np.ndarray, names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, float | None], list[str]]:
    """Return average precision and ROC area of each class, their means, and notes.

    Args:
        is_positive: bool [n, C], True for each class of each example.
        p: float [n, C].
        names: of the classes.

    Returns:
        `average_precision` and `roc_auc` of the classes, float64 [C], NaN where undefined; their
        means over the classes where they are defined, None if there are none; notes on the others.
    """
    by_class = {
        "roc_auc": roc_areas(is_positive, p),
        "average_precision": average_precisions(is_positive, p),
    }
    defined = ~np.isnan(by_class["roc_auc"])
    if not defined.any():
        problem = "no class has both positive and negative examples"
        notes = [f"ROC-AUC and average precision are undefined: {problem}"]
        return by_class, dict.fromkeys(by_class), notes
    notes = []
    if not defined.all():
        skipped = [name for name, ok in zip(names, defined, strict=True) if not ok]
        notes.append(
            "ROC-AUC and average precision skip classes without both positive and negative "
            f"examples: {format_classes(skipped)}"
        )
    means: dict[str, float | None] = {
        name: float(values[defined].mean()) for name, values in by_class.items()
    }
    return by_class, means, notes


# === Calibration ===


def bins_by_confidence(
    confidence: np.ndarray, is_correct: np.ndarray, num_bins: int
) -> tuple[CalibrationBin, ...]:
    """Return `num_bins` calibration bins of equal width, empty ones included.

    Args:
        confidence, is_correct: [k], of `Scoring.confidences`.
        num_bins: number of bins.
    """
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
    scoring: Scoring,
    num_tokens: np.ndarray,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    num_bins: int,
) -> tuple[LengthBin, ...]:
    """Return the scores of at most `num_bins` quantile bins of the lengths, shortest first."""
    # The upper bounds are lengths of texts, so that equal lengths are in the same bin.
    levels = np.linspace(0, 1, num_bins + 1)[1:]
    upper = np.unique(np.quantile(num_tokens, levels, method="inverted_cdf"))
    bin_ids = np.searchsorted(upper, num_tokens, side="left")
    return tuple(
        length_bin(scoring, bin_ids == b, num_tokens, y_true, y_pred) for b in range(len(upper))
    )


def length_bin(
    scoring: Scoring,
    mask: np.ndarray,
    num_tokens: np.ndarray | None,
    y_true: np.ndarray,
    y_pred: np.ndarray,
) -> LengthBin:
    """Return the score of the examples in `mask`, bool [n] with at least one True."""
    num_examples = int(mask.sum())
    counts = scoring.counts(y_true[mask], y_pred[mask])
    return LengthBin(
        min_tokens=None if num_tokens is None else int(num_tokens[mask].min()),
        max_tokens=None if num_tokens is None else int(num_tokens[mask].max()),
        num_examples=num_examples,
        score=scoring.headline(counts, num_examples),
    )


# === By example ===


def contributions(
    task: Task,
    metric: str,
    y_true: np.ndarray,
    p: np.ndarray,
    thresholds: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Return the contribution of each example to a metric; their mean is the metric.

    For accuracy and log loss the contributions are the values of the examples. F1 is not a mean
    over examples; its contributions are jackknife pseudo-values (Tukey 1958),
    n * F1 - (n - 1) * (F1 without the example), shifted by a constant so that their mean is F1.
    Without the shift the mean is higher than F1 if a class has a single example.

    Args:
        task: of the model.
        metric: one of `task.comparison_metrics`.
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C].
        thresholds: float [C] for multi-label; otherwise None.

    Returns:
        float64 [n].

    Raises:
        ValueError: the metric is not one of `task.comparison_metrics`.
    """
    if metric not in task.comparison_metrics:
        available = ", ".join(task.comparison_metrics)
        raise ValueError(f"no contributions to {metric!r}; choose from {available}")
    scoring, n = scoring_of(task), len(y_true)
    if metric == "log_loss":
        return log_losses(scoring, y_true, p).reshape(n, -1).mean(axis=1)
    y_pred = task.select(p, thresholds)
    if metric == "accuracy":
        return scoring.is_exact(y_true, y_pred).astype(float)
    true, predicted = task.indicators(y_true), task.indicators(y_pred)  # bool [n, C]
    one = Counts(true & predicted, true, predicted)  # counts of each example alone
    total = Counts(one.right.sum(0), one.true.sum(0), one.predicted.sum(0))
    without_one = Counts(
        total.right - one.right, total.true - one.true, total.predicted - one.predicted
    )
    if metric == "micro_f1":
        total, without_one = total.summed(), without_one.summed()
    f1 = total.f1.mean()
    pseudo_values = n * f1 - (n - 1) * without_one.f1.mean(axis=-1)
    return pseudo_values + (f1 - pseudo_values.mean())
