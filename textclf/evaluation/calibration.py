"""Calibration of probabilities by a temperature, and abstention below a confidence."""

from collections.abc import Sequence

import numpy as np

from textclf.evaluation.by_task import scoring_of
from textclf.evaluation.report import CoveragePoint
from textclf.evaluation.selection import cuts
from textclf.tasks import Task

_MAX_TEMPERATURE = 100.0


def fit_temperature(
    task: Task, y_true: np.ndarray, logits: np.ndarray
) -> float | tuple[float, ...]:
    """Fit the temperature, the divisor of the logits, on validation data.

    Minimize the log loss (Guo et al. 2017, "On Calibration of Modern Neural Networks") of all rows
    and one additional row whose label is spread evenly over the classes. Without that row, a model
    without validation errors would get probabilities of 0 and 1 (see Platt 1999, "Probabilistic
    Outputs for Support Vector Machines", section 2.2). Its weight does not depend on the number of
    classes. A temperature that does not lower the log loss of the rows alone is replaced by 1.
    The temperature does not change the order of the probabilities.

    Args:
        task: of the model.
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: float [n, C].

    Returns:
        One temperature; for multi-label C temperatures. Each is in [0.01, 100], and 1.0 for a
        label without both positive and negative examples.
    """
    z = np.asarray(logits, np.float64)
    return scoring_of(task).fit_temperature(y_true, z, _best_temperature)


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


# === Abstention ===


def coverage_points(
    task: Task,
    y_true: np.ndarray,
    p: np.ndarray,
    shares: Sequence[float],
    thresholds: Sequence[float] | np.ndarray | None = None,
) -> tuple[CoveragePoint, ...]:
    """Return for each share the point of lowest coverage that is at least this share.

    Examples of equal confidence are either all answered or all not answered.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C].
        shares: minimum coverages, each in [0, 1].
        thresholds: of the model, see `tasks.Decision`.
    """
    curve = _CoverageCurve(task, y_true, p, thresholds)
    return tuple(curve.with_coverage(share) for share in shares)


def coverage_at(
    task: Task,
    y_true: np.ndarray,
    p: np.ndarray,
    abstain_below: float,
    thresholds: Sequence[float] | np.ndarray | None = None,
) -> CoveragePoint:
    """Return coverage and accuracy at a confidence, compared in float32 like the exported graph."""
    confidence, is_correct = _confidence_and_correctness(task, y_true, p, thresholds)
    answered = confidence >= np.float32(abstain_below)
    accuracy = float(is_correct[answered].mean()) if answered.any() else None
    return CoveragePoint(float(answered.mean()), float(abstain_below), accuracy)


def choose_abstention(
    task: Task,
    y_true: np.ndarray,
    p: np.ndarray,
    *,
    precision: float | None = None,
    coverage: float | None = None,
) -> CoveragePoint | None:
    """Choose the confidence below which the model abstains, on validation data.

    Give either `precision` or `coverage`.

    Args:
        task: of the model.
        y_true: int64 [n], or bool [n, C] for multi-label.
        p: float [n, C], calibrated.
        precision: minimum share of correct answers; selects the highest coverage that reaches it.
        coverage: minimum share of answered examples; selects the lowest coverage that reaches it.

    Returns:
        The selected point; None if no threshold reaches the precision.
    """
    curve = _CoverageCurve(task, y_true, p)
    if coverage is not None:
        return curve.with_coverage(coverage)
    assert precision is not None
    precise = np.flatnonzero(curve.accuracy >= precision - 1e-12)
    return curve.point(int(precise[-1])) if len(precise) else None


class _CoverageCurve:
    """Coverage and accuracy at every confidence threshold, in order of increasing coverage."""

    def __init__(
        self,
        task: Task,
        y_true: np.ndarray,
        p: np.ndarray,
        thresholds: Sequence[float] | np.ndarray | None = None,
    ):
        confidence, is_correct = _confidence_and_correctness(task, y_true, p, thresholds)
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


def _confidence_and_correctness(
    task: Task,
    y_true: np.ndarray,
    p: np.ndarray,
    thresholds: Sequence[float] | np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the label, float32 [n], and if the label is correct, bool [n]."""
    p = np.asarray(p).astype(np.float32)
    label_ids = p.argmax(axis=1) if task.is_multi_label else task.select(p, thresholds)
    return p[np.arange(len(p)), label_ids], task.contain(y_true, label_ids)
