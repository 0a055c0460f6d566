"""Thresholds for multi-label, and checks of probabilities."""

import numpy as np

from textclf.errors import DataError
from textclf.tasks import THRESHOLD_METRICS


def choose_thresholds(
    y_true: np.ndarray, p: np.ndarray, *, maximize: str = "macro_f1"
) -> np.ndarray:
    """Choose the thresholds with the highest macro or micro F1 on validation probabilities.

    Candidates are the midpoints between neighbouring probabilities, and between the lowest one and
    0, as far as they are in (0, 1). Of equally good candidates, choose the nearest to 0.5, and of
    two equally near ones the higher. For macro F1, the F1 of each class is maximized separately;
    the threshold is 0.5 if F1 is 0 at every candidate, for example without positives. For micro F1,
    a further candidate selects no example of the class.

    Args:
        y_true: bool [n, C].
        p: float [n, C], converted to float32 as in serving.
        maximize: one of `tasks.THRESHOLD_METRICS`.

    Returns:
        float32 [C], each in (0, 1).

    Raises:
        DataError: there is no example, or a probability is not a number in [0, 1].
        ValueError: the shapes differ or are not [n, C], or the metric is unknown.
    """
    if maximize not in THRESHOLD_METRICS:
        raise ValueError(f"maximize={maximize!r}: expected one of {', '.join(THRESHOLD_METRICS)}")
    y_true = np.asarray(y_true, dtype=bool)
    p = np.asarray(p)
    if p.ndim != 2 or y_true.shape != p.shape:
        raise ValueError(f"y_true {y_true.shape} and p {p.shape} must both be [n, C]")
    check_probabilities(p)
    p32 = p.astype(np.float32)
    if maximize == "micro_f1":
        return _micro_f1_thresholds(y_true, p32)
    return np.array(
        [_best_threshold(y_true[:, c], p32[:, c]) for c in range(p32.shape[1])], dtype=np.float32
    )


def _best_threshold(y_true: np.ndarray, p: np.ndarray) -> np.float32:
    """Choose the threshold of one class from y_true, bool [n], and p, float32 [n]."""
    half = np.float32(0.5)
    num_positives = int(y_true.sum())
    values, cut_ids, thresholds = cuts(p)  # cut k selects p >= values[k]
    num_selected = np.bincount(cut_ids, minlength=len(values)).cumsum()
    num_correct = np.bincount(cut_ids[y_true], minlength=len(values)).cumsum()
    f1 = 2 * num_correct / (num_selected + num_positives)

    allowed = (thresholds > 0) & (thresholds < 1) & (f1 > 0)
    if not allowed.any():
        return half
    f1 = np.where(allowed, f1, -1.0)
    # Equal fractions of different counts may differ in the last bit.
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    # Thresholds are in descending order, so the first of equally near ones is the highest.
    return thresholds[best[np.abs(thresholds[best] - half).argmin()]]


def _micro_f1_thresholds(y_true: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Choose the thresholds with the highest micro F1 from y_true, bool [n, C], and p, float32.

    Micro F1 is a ratio of sums over the classes: 2 * correct / (selected + positives). By the
    method of Dinkelbach (1967), "On Nonlinear Fractional Programming", its maximum r is found by
    maximizing 2 * correct - r * selected, separately for each class, with the r of the previous
    step, until r does not change.
    """
    num_positives = int(y_true.sum())
    curves = [selection_curve(y_true[:, c], p[:, c]) for c in range(p.shape[1])]
    half, ratio = np.float32(0.5), 0.0
    while True:
        choices = []
        for thresholds, num_selected, num_correct in curves:
            gain = 2 * num_correct - ratio * num_selected
            best = np.flatnonzero(gain >= gain.max() - 1e-9)
            choices.append(best[np.abs(thresholds[best] - half).argmin()])
        pairs = list(zip(curves, choices, strict=True))
        correct = sum(int(curve[2][choice]) for curve, choice in pairs)
        selected = sum(int(curve[1][choice]) for curve, choice in pairs)
        if correct == 0:
            return np.full(p.shape[1], half)
        improved = 2 * correct / (selected + num_positives)
        if improved <= ratio + 1e-12:
            return np.array([curve[0][choice] for curve, choice in pairs], np.float32)
        ratio = improved


def selection_curve(y_true: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the candidates of one class: thresholds, numbers selected and correct, each [k].

    The thresholds, float32, are in descending order; the first selects nothing.
    """
    values, cut_ids, thresholds = cuts(p)
    num_selected = np.bincount(cut_ids, minlength=len(values)).cumsum()
    num_correct = np.bincount(cut_ids[y_true], minlength=len(values)).cumsum()
    half = np.float32(0.5)
    nothing = half if values[0] < half else np.float32((np.float64(values[0]) + 1) / 2)
    thresholds = np.append(nothing, thresholds)
    num_selected, num_correct = np.append(0, num_selected), np.append(0, num_correct)
    # A probability that rounds to 1 leaves no threshold that selects nothing.
    allowed = (thresholds > 0) & (thresholds < 1)
    allowed[0] &= thresholds[0] > values[0]
    return thresholds[allowed], num_selected[allowed], num_correct[allowed]


def cuts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all thresholds that divide the values differently, the highest first.

    Args:
        values: float32 [n], not negative.

    Returns:
        The distinct values in descending order, float32 [k]; the index of each value among them,
        int64 [n]; the thresholds, float32 [k]: midpoints between a distinct value and the next
        lower one, the last midway to 0.
    """
    distinct, cut_ids = np.unique(values, return_inverse=True)
    distinct, cut_ids = distinct[::-1], len(distinct) - 1 - cut_ids
    below = np.append(distinct[1:], np.float32(0))
    midpoints = ((distinct.astype(np.float64) + below) / 2).astype(np.float32)
    # The midpoint of neighbouring float32 numbers is rounded to one of them. Rounded down, it
    # would also select the lower value.
    return distinct, cut_ids, np.where(midpoints > below, midpoints, distinct)


def check_probabilities(p: np.ndarray) -> None:
    """Raise DataError if p, float [n, C], is empty or a value is not a number in [0, 1]."""
    if len(p) == 0:
        raise DataError(
            "there is no example to evaluate; expected at least one; check that the split is not "
            "empty"
        )
    # The negation also catches NaN, for which every comparison is false.
    invalid = np.flatnonzero(~((p >= 0) & (p <= 1)).all(axis=1))
    if len(invalid):
        raise DataError(
            f"{len(invalid):,} of {len(p):,} examples (the first is row {invalid[0]}) have a "
            "probability that is not a number from 0 to 1; the model's weights may not be finite; "
            "train it again with a lower learning rate"
        )
