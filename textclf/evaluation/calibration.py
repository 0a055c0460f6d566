"""Calibration of probabilities by a temperature, and abstention below a confidence."""

from collections.abc import Sequence

import numpy as np

from textclf.evaluation.report import CoveragePoint
from textclf.evaluation.selection import cuts

_MAX_TEMPERATURE = 100.0


def fit_temperature(
    y_true: np.ndarray, logits: np.ndarray, *, multi_label: bool
) -> float | tuple[float, ...]:
    """Fit the temperature, the divisor of the logits, on validation data.

    Minimize the log loss (Guo et al. 2017, "On Calibration of Modern Neural Networks") of all rows
    and one additional row whose label is spread evenly over the classes. Without that row, a model
    without validation errors would get probabilities of 0 and 1 (see Platt 1999, "Probabilistic
    Outputs for Support Vector Machines", section 2.2). Its weight does not depend on the number of
    classes. A temperature that does not lower the log loss of the rows alone is replaced by 1.
    The temperature does not change the order of the probabilities.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: float [n, C].

    Returns:
        One temperature; for multi-label C temperatures. Each is in [0.01, 100], and 1.0 for a
        label without both positive and negative examples.
    """
    z = np.asarray(logits, np.float64)
    if not multi_label:
        return _best_temperature(z - z[np.arange(len(z)), y_true][:, np.newaxis])
    return tuple(
        _best_temperature(_label_differences(y_true[:, c], z[:, c]))
        if 0 < y_true[:, c].sum() < len(z)
        else 1.0
        for c in range(z.shape[1])
    )


def _label_differences(y_true: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the two-class form of one label: a logit of 0 for "no" and z for "yes"."""
    difference = np.where(y_true, -z, z)
    return np.stack([np.zeros_like(difference), difference], axis=1)


def _best_temperature(differences: np.ndarray) -> float:
    """Fit one temperature to logits minus the true class's logit, float64 [n, C]."""
    from scipy.optimize import minimize_scalar

    row_max = differences.max(axis=1)  # at least 0, the value of the true class
    below_max = differences - row_max[:, np.newaxis]
    mean_max = row_max.mean()
    # The additional row has the mean logits of all rows. Its share of the rows:
    share = 1 / (len(differences) + 1)
    mean_difference = differences.mean()

    def log_loss(scale: float) -> float:
        return float(scale * mean_max + np.log(np.exp(scale * below_max).sum(axis=1)).mean())

    def smoothed_log_loss(log_scale: float) -> float:
        scale = float(np.exp(log_scale))
        return log_loss(scale) - share * scale * mean_difference

    limit = np.log(_MAX_TEMPERATURE)
    # The loss is convex in the scale, so it has one minimum in the log scale too.
    best = minimize_scalar(
        smoothed_log_loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-5}
    )
    scale = float(np.exp(best.x))
    return 1 / scale if log_loss(scale) < log_loss(1.0) else 1.0


def without_temperature(
    p: np.ndarray, temperature: float | Sequence[float], multi_label: bool
) -> np.ndarray:
    """Return the probabilities of the same logits at temperature 1.

    Args:
        p: float [n, C], probabilities at `temperature`.
        temperature: one number, or C numbers for multi-label.

    Returns:
        float64 [n, C].
    """
    p = np.asarray(p, np.float64)
    smallest = float(np.finfo(np.float32).tiny)
    if multi_label:
        p = np.clip(p, smallest, 1 - 2.0**-24)
        return 1 / (1 + np.exp(-np.asarray(temperature) * (np.log(p) - np.log1p(-p))))
    scaled = np.asarray(temperature) * np.log(np.maximum(p, smallest))
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


# === Abstention ===


def coverage_points(
    y_true: np.ndarray, p: np.ndarray, shares: Sequence[float]
) -> tuple[CoveragePoint, ...]:
    """Return for each share the point of lowest coverage that is at least this share.

    Examples of equal confidence are either all answered or all abstained from.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C].
        shares: minimum coverages, each in [0, 1].
    """
    curve = _CoverageCurve(y_true, p)
    return tuple(curve.with_coverage(share) for share in shares)


def coverage_at(y_true: np.ndarray, p: np.ndarray, abstain_below: float) -> CoveragePoint:
    """Return coverage and accuracy at a threshold, compared in float32 like the exported graph."""
    confidence, is_correct = _confidence_and_correctness(y_true, p)
    answered = confidence >= np.float32(abstain_below)
    accuracy = float(is_correct[answered].mean()) if answered.any() else None
    return CoveragePoint(float(answered.mean()), float(abstain_below), accuracy)


def choose_abstention(
    y_true: np.ndarray,
    p: np.ndarray,
    *,
    precision: float | None = None,
    coverage: float | None = None,
) -> CoveragePoint | None:
    """Choose the confidence below which the model abstains, on validation data.

    Give either `precision` or `coverage`.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C], calibrated.
        precision: minimum share of correct answers; selects the highest coverage that has it.
        coverage: minimum share of answered examples; selects the lowest coverage that has it,
            where answers are most precise.

    Returns:
        The selected point; None if no threshold reaches the precision.
    """
    curve = _CoverageCurve(y_true, p)
    if coverage is not None:
        return curve.with_coverage(coverage)
    assert precision is not None
    precise = np.flatnonzero(curve.accuracy >= precision - 1e-12)
    return curve.point(int(precise[-1])) if len(precise) else None


class _CoverageCurve:
    """Coverage and accuracy at every confidence threshold, in order of increasing coverage."""

    def __init__(self, y_true: np.ndarray, p: np.ndarray):
        confidence, is_correct = _confidence_and_correctness(y_true, p)
        _, cut_ids, self.thresholds = cuts(confidence)
        self.thresholds[-1] = 0  # the last point answers every example
        num_answered = np.bincount(cut_ids).cumsum()
        self.coverage = num_answered / len(confidence)
        self.accuracy = np.bincount(cut_ids, is_correct).cumsum() / num_answered

    def with_coverage(self, share: float) -> CoveragePoint:
        """Return the point of lowest coverage that is at least `share`."""
        return self.point(int(np.argmax(self.coverage >= share - 1e-12)))

    def point(self, cut: int) -> CoveragePoint:
        return CoveragePoint(
            float(self.coverage[cut]), float(self.thresholds[cut]), float(self.accuracy[cut])
        )


def _confidence_and_correctness(y_true: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest probability, float32 [n], and if its class is correct, bool [n]."""
    p = np.asarray(p).astype(np.float32)
    label_ids = p.argmax(axis=1)
    rows = np.arange(len(p))
    is_correct = y_true[rows, label_ids] if y_true.ndim == 2 else y_true == label_ids
    return p[rows, label_ids], is_correct
