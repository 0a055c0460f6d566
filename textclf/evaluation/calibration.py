"""How far probabilities can be believed: temperatures, and when not to answer at all."""

from collections.abc import Sequence

import numpy as np

from textclf.evaluation.report import CoveragePoint
from textclf.evaluation.selection import cuts

_MAX_TEMPERATURE = 100.0


def fit_temperature(
    y_true: np.ndarray, logits: np.ndarray, *, multi_label: bool
) -> float | tuple[float, ...]:
    """Fit the temperature, the number that logits are divided by, to validation data.

    Minimizes the log loss (Guo et al. 2017, "On Calibration of Modern Neural Networks") plus that
    of one additional row whose label is spread evenly over the classes. That row keeps a model
    without errors on validation from becoming certain of everything (the idea of Platt 1999,
    "Probabilistic Outputs for Support Vector Machines", section 2.2); its weight does not depend
    on the number of classes. A temperature that does not lower the log loss itself is replaced by
    1. The order of the probabilities does not change.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: float [n, C].

    Returns:
        One temperature, or one a class for multi-label, each in [0.01, 100]; 1.0 for a label that
        every example or no example has.
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

    top = differences.max(axis=1)  # at least 0, the true class's
    below_top = differences - top[:, np.newaxis]
    mean_top = top.mean()
    # The additional row has the mean logits of all rows. Its share of the rows:
    share = 1 / (len(differences) + 1)
    mean_difference = differences.mean()

    def log_loss(scale: float) -> float:
        return float(scale * mean_top + np.log(np.exp(scale * below_top).sum(axis=1)).mean())

    def smoothed_log_loss(log_scale: float) -> float:
        scale = float(np.exp(log_scale))
        return log_loss(scale) - share * scale * mean_difference

    limit = np.log(_MAX_TEMPERATURE)
    # Convex in the scale, so with one minimum in its logarithm too.
    best = minimize_scalar(
        smoothed_log_loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-5}
    )
    scale = float(np.exp(best.x))
    return 1 / scale if log_loss(scale) < log_loss(1.0) else 1.0


def without_temperature(
    p: np.ndarray, temperature: float | Sequence[float], multi_label: bool
) -> np.ndarray:
    """The probabilities that the same logits have at temperature 1; float64 [n, C]."""
    p = np.asarray(p, np.float64)
    smallest = float(np.finfo(np.float32).tiny)
    if multi_label:
        p = np.clip(p, smallest, 1 - 2.0**-24)
        return 1 / (1 + np.exp(-np.asarray(temperature) * (np.log(p) - np.log1p(-p))))
    scaled = np.asarray(temperature) * np.log(np.maximum(p, smallest))
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


# === Not answering ===


def coverage_points(
    y_true: np.ndarray, p: np.ndarray, shares: Sequence[float]
) -> tuple[CoveragePoint, ...]:
    """The points of least coverage that answer at least these shares of the examples.

    Examples of equal confidence are answered together or not at all.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C].
    """
    curve = _CoverageCurve(y_true, p)
    return tuple(curve.answering(share) for share in shares)


def coverage_at(y_true: np.ndarray, p: np.ndarray, abstain_below: float) -> CoveragePoint:
    """The point of a given threshold, compared in float32 as in the exported graph."""
    confidence, right = _confidence(y_true, p)
    answered = confidence >= np.float32(abstain_below)
    accuracy = float(right[answered].mean()) if answered.any() else None
    return CoveragePoint(float(answered.mean()), float(abstain_below), accuracy)


def choose_abstention(
    y_true: np.ndarray,
    p: np.ndarray,
    *,
    precision: float | None = None,
    coverage: float | None = None,
) -> CoveragePoint | None:
    """The confidence below which not to answer, chosen on validation.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C], calibrated.
        precision: the wanted share of right answers: the point of largest coverage that has it.
        coverage: or the wanted share of answered examples: the point of least coverage that has
            it, where answers are most precise.

    Returns:
        The point; None where no threshold reaches the precision.
    """
    curve = _CoverageCurve(y_true, p)
    if coverage is not None:
        return curve.answering(coverage)
    assert precision is not None
    enough = np.flatnonzero(curve.accuracy >= precision - 1e-12)
    return curve.point(int(enough[-1])) if len(enough) else None


class _CoverageCurve:
    """What is answered, and how well, for every threshold of confidence; coverage grows."""

    def __init__(self, y_true: np.ndarray, p: np.ndarray):
        confidence, right = _confidence(y_true, p)
        _, where, self.thresholds = cuts(confidence)
        self.thresholds[-1] = 0  # everything is answered
        num_answered = np.bincount(where).cumsum()
        self.coverage = num_answered / len(confidence)
        self.accuracy = np.bincount(where, right).cumsum() / num_answered

    def answering(self, share: float) -> CoveragePoint:
        return self.point(int(np.argmax(self.coverage >= share - 1e-12)))

    def point(self, cut: int) -> CoveragePoint:
        return CoveragePoint(
            float(self.coverage[cut]), float(self.thresholds[cut]), float(self.accuracy[cut])
        )


def _confidence(y_true: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each example's highest probability, float32 [n], and whether that class is right."""
    p = np.asarray(p).astype(np.float32)
    label_ids = p.argmax(axis=1)
    rows = np.arange(len(p))
    right = y_true[rows, label_ids] if y_true.ndim == 2 else y_true == label_ids
    return p[rows, label_ids], right
