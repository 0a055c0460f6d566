"""Computation of a `Report` from true classes and probabilities."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from textclf.evaluation.by_task import Scoring, format_classes, scoring_of
from textclf.evaluation.calibration import coverage_at, coverage_points
from textclf.evaluation.counts import Counts
from textclf.evaluation.intervals import (
    MIN_EXAMPLES_A_CLASS,
    class_intervals,
    score_intervals,
    too_few_examples,
)
from textclf.evaluation.mixture import measure_gain
from textclf.evaluation.report import CalibrationBin, Report
from textclf.evaluation.scores import (
    averages,
    bins_by_confidence,
    bins_by_length,
    calibration_error,
    class_scores,
    length_bin,
    log_losses,
    ranking_scores,
)
from textclf.evaluation.selection import check_probabilities
from textclf.tasks import task_of

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


def evaluate(
    y_true: np.ndarray,
    p: np.ndarray,
    *,
    class_names: Sequence[str],
    multi_label: bool,
    thresholds: Sequence[float] | np.ndarray | None = None,
    num_tokens: np.ndarray | None = None,
    truncated: np.ndarray | None = None,
    length_limits: Mapping[str, int] = MappingProxyType({}),
    temperature: float | Sequence[float] | None = None,
    abstain_below: float | None = None,
    linear_p: np.ndarray | None = None,
    linear_thresholds: Sequence[float] | np.ndarray | None = None,
    bootstrap_samples: int = 1000,
    confidence: float = 0.95,
    calibration_bins: int = 15,
    length_bins: int = 4,
    seed: int = 0,
) -> Report:
    """Compute the report of predictions against the true classes.

        evaluate(y_true, p, class_names=["no", "yes"], multi_label=False).get("accuracy")

    The fields of a `tasks.Decision` are arguments of this function.

    Args:
        y_true: int64 [n], ids into `class_names` (one-of), or bool [n, C] (multi-label).
        p: float [n, C], probabilities; one-of: rows that sum to 1.
        class_names: C names, in the order of the columns of `p`.
        multi_label: whether an example may have several classes, or none. It is not inferred from
            the shape of `y_true`, because one-hot classes of a one-of task look the same.
        thresholds: float [C], see `tasks.Decision`; default: 0.5 for each label of multi-label,
            the most probable class for one-of.
        num_tokens: int [n], text lengths; if given, the report has scores by length.
        truncated: bool [n], True for texts that were longer than the length limit.
        length_limits: setting -> number of tokens that are read; with `num_tokens`, the report has
            the texts that each limit cuts.
        temperature: divisor of the logits behind `p`, one number or C numbers; if given, the
            report has the calibration error at temperature 1.
        abstain_below: confidence below which the model abstains; None if it never does. Only
            `Report.abstention` uses it; all other metrics include every example.
        linear_p: float [n, C], probabilities of the linear model of a mixture alone; if given, the
            report has the gain of the network.
        linear_thresholds: float [C], multi-label only: thresholds of the linear model alone.
        bootstrap_samples: number of resamples for the intervals of macro and micro F1; 0 for no
            intervals at all.
        confidence: level of the intervals, in (0, 1).
        calibration_bins: number of equal-width bins of the calibration error (Guo et al. 2017, "On
            Calibration of Modern Neural Networks"): the mean over predictions of
            |accuracy - mean confidence| of their bin. Multi-label pools all (example, class)
            pairs and compares the mean probability with the share of positives.
        length_bins: number of quantile bins of `num_tokens`; equal lengths share a bin, so there
            may be fewer.
        seed: seed of the resampling. No metric depends on the order of the examples. The order of
            the classes changes only the intervals, by resampling noise.

    Raises:
        DataError: there is no example, or a probability is not a number in [0, 1].
        ValueError: a shape does not match, or an argument is out of range.
    """
    names = tuple(class_names)
    scoring = scoring_of(task_of(multi_label=multi_label, num_classes=len(names)))
    task, p = scoring.task, np.asarray(p)
    y_true = _check_arrays(scoring, y_true, p, num_tokens=num_tokens, truncated=truncated)
    limits = task.check_thresholds(thresholds)
    _check_settings(bootstrap_samples, calibration_bins, length_bins, confidence)
    y_pred = task.select(p, thresholds)
    counts = scoring.counts(y_true, y_pred)
    metrics, bins, ranking, ranking_notes = _metrics(
        scoring, counts, names, y_true, y_pred, p.astype(np.float64), temperature, calibration_bins
    )
    intervals: dict[str, tuple[float, float]] = {}
    by_class: Sequence[Mapping[str, tuple[float, float] | None]] = [{}] * len(names)
    notes = [*_missing_classes(counts, names), *scoring.class_notes(y_true, y_pred, counts, names)]
    notes += ranking_notes
    if bootstrap_samples:
        intervals = score_intervals(scoring, y_true, y_pred, bootstrap_samples, confidence, seed)
        by_class = class_intervals(counts, confidence)
        notes += _interval_notes(counts)
    return Report(
        multi_label=multi_label,
        num_examples=len(p),
        class_names=names,
        metrics=metrics,
        intervals=intervals,
        confidence=float(confidence),
        bootstrap_samples=int(bootstrap_samples),
        classes=class_scores(counts, names, limits, by_class, ranking),
        confusion_matrix=scoring.confusion_matrix(y_true, y_pred),
        calibration=bins,
        coverage=coverage_points(task, y_true, p, COVERAGES, thresholds),
        abstention=None
        if abstain_below is None
        else coverage_at(task, y_true, p, abstain_below, thresholds),
        **_scores_by_length(
            scoring, y_true, y_pred, num_tokens, truncated, length_limits, length_bins
        ),
        notes=tuple(notes),
        gain=None
        if linear_p is None
        else measure_gain(
            task,
            y_true,
            p,
            _check_linear(scoring, linear_p, p.shape),
            mixture_thresholds=thresholds,
            linear_thresholds=linear_thresholds,
            confidence=float(confidence),
        ),
    )


def _check_linear(scoring: Scoring, linear_p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Check and return the probabilities of the linear model."""
    linear_p = np.asarray(linear_p)
    if linear_p.shape != shape:
        raise ValueError(f"linear_p {linear_p.shape} must have the shape of p, {shape}")
    check_probabilities(linear_p)
    scoring.check_probabilities(linear_p)
    return linear_p


def _check_settings(
    bootstrap_samples: int, calibration_bins: int, length_bins: int, confidence: float
) -> None:
    if bootstrap_samples < 0 or calibration_bins < 1 or length_bins < 1 or not 0 < confidence < 1:
        raise ValueError(
            "expected bootstrap_samples >= 0, calibration_bins >= 1, length_bins >= 1 and "
            f"0 < confidence < 1, got {bootstrap_samples}, {calibration_bins}, {length_bins} "
            f"and {confidence}"
        )


def _check_arrays(
    scoring: Scoring, y_true: np.ndarray, p: np.ndarray, **by_example: np.ndarray | None
) -> np.ndarray:
    """Check shapes and values; return y_true as int64 [n] or bool [n, C].

    Args:
        by_example: arrays that must be [n], by name.
    """
    num_classes = scoring.task.num_outputs
    if p.ndim != 2 or p.shape[1] != num_classes:
        raise ValueError(f"p {p.shape} must be [n, {num_classes}], a column for each class name")
    check_probabilities(p)
    n = len(p)
    y_true = scoring.task.check_classes(y_true, n)
    scoring.check_probabilities(p)
    for name, values in by_example.items():
        if values is not None and np.shape(values) != (n,):
            raise ValueError(f"{name} {np.shape(values)} must be [{n}]")
    return y_true


def _metrics(
    scoring: Scoring,
    counts: Counts,
    names: tuple[str, ...],
    y_true: np.ndarray,
    y_pred: np.ndarray,
    p: np.ndarray,
    temperature: float | Sequence[float] | None,
    num_bins: int,
) -> tuple[dict[str, float | None], tuple[CalibrationBin, ...], dict[str, np.ndarray], list[str]]:
    """Return metrics, calibration bins, and the classes' scores and notes of `ranking_scores`."""
    metrics: dict[str, float | None] = dict(averages(scoring, counts, len(p)))
    metrics |= scoring.extra_metrics(y_true, y_pred)
    metrics["log_loss"] = float(log_losses(scoring, y_true, p).mean())
    metrics |= scoring.probability_metrics(y_true, p)
    is_positive = scoring.task.indicators(y_true)
    ranking, means, notes = ranking_scores(is_positive, p, names)
    metrics |= means
    bins = bins_by_confidence(*scoring.confidences(y_true, y_pred, p), num_bins)
    metrics["calibration_error"] = calibration_error(bins)
    if temperature is not None:
        uncalibrated = scoring.without_temperature(p, temperature)
        confidences = scoring.confidences(y_true, y_pred, uncalibrated)
        metrics["uncalibrated_error"] = calibration_error(
            bins_by_confidence(*confidences, num_bins)
        )
    return metrics, bins, ranking, notes


def _scores_by_length(
    scoring: Scoring,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    num_tokens: np.ndarray | None,
    truncated: np.ndarray | None,
    limits: Mapping[str, int],
    num_bins: int,
) -> dict[str, Any]:
    """Return the fields `by_length`, `truncated` and `truncated_by` of a report."""
    lengths = None if num_tokens is None else np.asarray(num_tokens)
    is_truncated = np.zeros(len(y_true), bool) if truncated is None else np.asarray(truncated, bool)
    return {
        "by_length": ()
        if lengths is None
        else bins_by_length(scoring, lengths, y_true, y_pred, num_bins),
        "truncated": length_bin(scoring, is_truncated, lengths, y_true, y_pred)
        if is_truncated.any()
        else None,
        "truncated_by": {}
        if lengths is None
        else {
            setting: length_bin(scoring, lengths > limit, lengths, y_true, y_pred)
            for setting, limit in limits.items()
            if (lengths > limit).any()
        },
    }


def _missing_classes(counts: Counts, names: tuple[str, ...]) -> list[str]:
    """Return a note if classes have no example."""
    missing = [names[c] for c in np.flatnonzero(counts.true == 0)]
    if not missing:
        return []
    return [
        f"no example has {format_classes(missing)}: precision, recall and F1 count as 0 in the "
        "macro averages"
    ]


def _interval_notes(counts: Counts) -> list[str]:
    """Return a note if macro F1 has no interval."""
    if not too_few_examples(counts.true):
        return []
    if counts.true.min() == 0:
        reason = "it needs an example of each class"
    else:
        reason = (
            f"it needs an average of {MIN_EXAMPLES_A_CLASS} per class, there are "
            f"{counts.true.mean():.1f}"
        )
    return [f"too few examples for an interval of macro F1: {reason}"]
