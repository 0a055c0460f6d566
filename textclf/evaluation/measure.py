"""Computation of a `Report` from true classes and probabilities."""

from collections.abc import Mapping, Sequence

import numpy as np

from textclf.evaluation.calibration import coverage_at, coverage_points, without_temperature
from textclf.evaluation.intervals import (
    MIN_EXAMPLES_A_CLASS,
    class_intervals,
    score_intervals,
    too_few_examples,
)
from textclf.evaluation.report import Report
from textclf.evaluation.scores import (
    Counts,
    averages,
    bins_by_confidence,
    bins_by_length,
    calibration_error,
    class_counts,
    class_scores,
    confusion_matrix,
    length_bin,
    listed,
    log_loss,
    roc_auc,
)
from textclf.evaluation.selection import check_probabilities, select

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


def evaluate(
    y_true: np.ndarray,
    p: np.ndarray,
    *,
    class_names: Sequence[str],
    multi_label: bool,
    thresholds: np.ndarray | None = None,
    num_tokens: np.ndarray | None = None,
    truncated: np.ndarray | None = None,
    temperature: float | Sequence[float] | None = None,
    abstain_below: float | None = None,
    bootstrap_samples: int = 1000,
    confidence: float = 0.95,
    calibration_bins: int = 15,
    length_bins: int = 4,
    seed: int = 0,
) -> Report:
    """Compute the report of predictions against the true classes.

    Args:
        y_true: int64 [n], ids into `class_names` (one-of), or bool [n, C] (multi-label).
        p: float [n, C], probabilities; one-of: rows that sum to 1.
        class_names: C names, in the order of the columns of `p`.
        thresholds: float [C], multi-label only; default: 0.5 for each class.
        num_tokens: int [n], text lengths; if given, the report has scores by length.
        truncated: bool [n], True for texts that were longer than the length limit.
        temperature: divisor of the logits behind `p`, one number or C numbers; if given, the
            report has the calibration error at temperature 1.
        abstain_below: confidence below which the model abstains; None if it never does. Only
            `Report.abstention` uses it; all other metrics include every example.
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
    p = np.asarray(p)
    y_true = _check_arguments(y_true, p, names, multi_label)
    n, num_classes = p.shape
    if thresholds is not None and not multi_label:
        raise ValueError("thresholds are for multi-label classification only")
    if multi_label:
        thresholds = np.full(num_classes, 0.5) if thresholds is None else np.asarray(thresholds)
        if thresholds.shape != (num_classes,):
            raise ValueError(f"thresholds {thresholds.shape} must be [{num_classes}]")
    for name, values in (("num_tokens", num_tokens), ("truncated", truncated)):
        if values is not None and np.shape(values) != (n,):
            raise ValueError(f"{name} {np.shape(values)} must be [{n}]")
    if bootstrap_samples < 0 or calibration_bins < 1 or length_bins < 1 or not 0 < confidence < 1:
        raise ValueError(
            "expected bootstrap_samples >= 0, calibration_bins >= 1, length_bins >= 1 and "
            f"0 < confidence < 1, got {bootstrap_samples}, {calibration_bins}, {length_bins} "
            f"and {confidence}"
        )

    y_pred = select(p, thresholds)
    p64 = p.astype(np.float64)
    counts = class_counts(y_true, y_pred, num_classes)
    notes = _class_notes(y_true, y_pred, counts, names, multi_label)

    metrics: dict[str, float | None] = dict(averages(counts, n, multi_label))
    if multi_label:
        metrics["subset_accuracy"] = float((y_true == y_pred).all(axis=1).mean())
        metrics["hamming_loss"] = float((y_true != y_pred).mean())
    metrics["log_loss"] = log_loss(y_true, p64, multi_label)
    metrics["roc_auc"], roc_auc_notes = roc_auc(y_true, p64, names, multi_label)
    notes += roc_auc_notes
    bins = bins_by_confidence(y_true, y_pred, p64, calibration_bins, multi_label)
    metrics["calibration_error"] = calibration_error(bins)
    if temperature is not None:
        uncalibrated = without_temperature(p64, temperature, multi_label)
        uncalibrated_bins = bins_by_confidence(
            y_true, y_pred, uncalibrated, calibration_bins, multi_label
        )
        metrics["uncalibrated_error"] = calibration_error(uncalibrated_bins)

    intervals: dict[str, tuple[float, float]] = {}
    intervals_by_class: Sequence[Mapping[str, tuple[float, float] | None]] = [{}] * num_classes
    if bootstrap_samples:
        intervals = score_intervals(
            y_true, y_pred, num_classes, multi_label, bootstrap_samples, confidence, seed
        )
        intervals_by_class = class_intervals(counts, confidence)
        notes += _interval_notes(counts)

    lengths = None if num_tokens is None else np.asarray(num_tokens)
    truncated_bin = None
    if truncated is not None and np.any(truncated):
        truncated_bin = length_bin(np.asarray(truncated, dtype=bool), lengths, y_true, y_pred)
    return Report(
        multi_label=multi_label,
        num_examples=n,
        class_names=names,
        metrics=metrics,
        intervals=intervals,
        confidence=float(confidence),
        bootstrap_samples=int(bootstrap_samples),
        classes=class_scores(counts, names, thresholds, intervals_by_class),
        confusion_matrix=None if multi_label else confusion_matrix(y_true, y_pred, num_classes),
        calibration=bins,
        coverage=coverage_points(y_true, p, COVERAGES),
        abstention=None if abstain_below is None else coverage_at(y_true, p, abstain_below),
        by_length=() if lengths is None else bins_by_length(lengths, y_true, y_pred, length_bins),
        truncated=truncated_bin,
        notes=tuple(notes),
    )


def _check_arguments(
    y_true: np.ndarray, p: np.ndarray, names: tuple[str, ...], multi_label: bool
) -> np.ndarray:
    """Check shapes and values; return y_true as int64 [n] or bool [n, C]."""
    y_true = np.asarray(y_true)
    if p.ndim != 2 or p.shape[1] != len(names):
        raise ValueError(f"p {p.shape} must be [n, {len(names)}], a column for each class name")
    check_probabilities(p)
    if multi_label:
        if y_true.shape != p.shape:
            raise ValueError(f"y_true {y_true.shape} must be bool {p.shape}")
        return y_true.astype(bool)
    if y_true.shape != p.shape[:1] or not np.issubdtype(y_true.dtype, np.integer):
        raise ValueError(f"y_true {y_true.dtype} {y_true.shape} must be whole numbers [{len(p)}]")
    if y_true.min() < 0 or y_true.max() >= len(names):
        raise ValueError(f"y_true must be from 0 to {len(names) - 1}, one of the classes")
    if np.abs(p.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3:
        raise ValueError("the rows of p must sum to 1; pass softmax probabilities, not logits")
    return y_true.astype(np.int64)


def _class_notes(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    counts: Counts,
    names: tuple[str, ...],
    multi_label: bool,
) -> list[str]:
    """Return notes on classes without examples or predictions and examples without classes."""
    notes = []
    n = len(y_true)
    if missing := [names[c] for c in np.flatnonzero(counts.true == 0)]:
        notes.append(
            f"no example has {listed(missing)}: precision, recall and F1 count as 0 "
            "in the macro averages"
        )
    predicted = np.flatnonzero(counts.predicted)
    if not multi_label and len(predicted) == 1 and len(names) > 1:
        notes.append(f"every prediction is {names[predicted[0]]!r}")
    elif never := [names[c] for c in np.flatnonzero((counts.predicted == 0) & (counts.true > 0))]:
        notes.append(f"never predicted, although examples have it: {listed(never)}")
    if multi_label:
        for values, verb in ((y_true, "have"), (y_pred, "are predicted to have")):
            if without := int((~values.any(axis=1)).sum()):
                notes.append(f"{without:,} of {n:,} examples {verb} no class")
    return notes


def _interval_notes(counts: Counts) -> list[str]:
    """Return a note if macro F1 has no interval."""
    if not too_few_examples(counts):
        return []
    if counts.true.min() == 0:
        reason = "it needs an example of each class"
    else:
        reason = (
            f"it needs an average of {MIN_EXAMPLES_A_CLASS} a class, there are "
            f"{counts.true.mean():.1f}"
        )
    return [f"too few examples for an interval of macro F1: {reason}"]
