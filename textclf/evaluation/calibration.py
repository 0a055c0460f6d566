"""How far probabilities can be believed: temperatures, and when not to answer at all."""

from collections.abc import Callable, Sequence

import numpy as np

from textclf.evaluation.report import CoveragePoint
from textclf.evaluation.selection import cuts

_MAX_TEMPERATURE = 100.0


def fit_temperature(
    y_true: np.ndarray, logits: np.ndarray, *, multi_label: bool
) -> float | tuple[float, ...]:
    """The number that logits are divided by so that probabilities are as good as they can be.

    Minimises the log loss on validation (Guo et al. 2017, "On Calibration of Modern Neural
    Networks"), with targets smoothed as if each class had been seen once more (Platt 1999,
    "Probabilistic Outputs for Support Vector Machines", section 2.2), so that a model that is
    right throughout does not become certain of everything. The order of the probabilities, and
    so every prediction, stays.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: float [n, C].

    Returns:
        One temperature, or one a class for multi-label, each in [0.01, 100]; 1.0 for a class
        that every example or none has.
    """
    z = np.asarray(logits, np.float64)
    n, num_classes = z.shape
    if not multi_label:
        mean_true = z[np.arange(n), y_true].mean()
        share = num_classes / (n + num_classes)
        target = (1 - share) * mean_true + share * z.mean()  # the smoothed targets' mean logit

        def log_loss(scale: float) -> float:
            scaled = scale * z
            top = scaled.max(axis=1)
            sums = np.exp(scaled - top[:, np.newaxis]).sum(axis=1)
            return float((top + np.log(sums)).mean() - scale * target)

        return _best_temperature(log_loss)
    return tuple(_class_temperature(y_true[:, c], z[:, c]) for c in range(num_classes))


def _class_temperature(y_true: np.ndarray, z: np.ndarray) -> float:
    num_true = int(y_true.sum())
    num_false = len(y_true) - num_true
    if not num_true or not num_false:
        return 1.0
    target = np.where(y_true, (num_true + 1) / (num_true + 2), 1 / (num_false + 2))

    def log_loss(scale: float) -> float:
        return float((np.logaddexp(0, scale * z) - scale * target * z).mean())

    return _best_temperature(log_loss)


def _best_temperature(log_loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    limit = np.log(_MAX_TEMPERATURE)
    # Convex in the scale, so with one minimum in its logarithm too.
    found = minimize_scalar(
        lambda log_scale: log_loss(float(np.exp(log_scale))),
        bounds=(-limit, limit),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(-found.x))


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
