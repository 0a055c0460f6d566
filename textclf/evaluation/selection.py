"""From probabilities to predictions: `select`, and the thresholds it takes."""

import numpy as np

from textclf.errors import DataError


def select(p: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
    """Turns probabilities into predictions; the one place where that is decided.

    Args:
        p: float [n, C].
        thresholds: float [C] for multi-label; None for one-of.

    Returns:
        One-of: int64 [n], the most probable class, the first one of equals. Multi-label:
        bool [n, C], p >= threshold compared in float32, as the exported graph compares.
    """
    p = np.asarray(p)
    if thresholds is None:
        return p.argmax(axis=1).astype(np.int64)
    return p.astype(np.float32) >= np.asarray(thresholds, dtype=np.float32)


def choose_thresholds(y_true: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Chooses each class's threshold by its best F1, on validation probabilities.

    Every cut between two neighbouring probabilities is tried and the threshold put midway
    between them (the lowest cut: midway to 0). Among cuts of equal F1 the one nearest to 0.5
    is taken, the higher one of two equally near. A class without positives, or of which no cut
    finds a positive, keeps 0.5.

    Args:
        y_true: bool [n, C].
        p: float [n, C], taken as float32, which is what is served.

    Returns:
        float32 [C], each in (0, 1).

    Raises:
        DataError: there is no example, or a probability is not a number in [0, 1].
    """
    y_true = np.asarray(y_true, dtype=bool)
    p = np.asarray(p)
    if p.ndim != 2 or y_true.shape != p.shape:
        raise ValueError(f"y_true {y_true.shape} and p {p.shape} must both be [n, C]")
    check_probabilities(p)
    p32 = p.astype(np.float32)
    return np.array(
        [_best_threshold(y_true[:, c], p32[:, c]) for c in range(p32.shape[1])], dtype=np.float32
    )


def _best_threshold(y_true: np.ndarray, p: np.ndarray) -> np.float32:
    half = np.float32(0.5)
    num_positives = int(y_true.sum())
    values, where, middle = cuts(p)  # cut k selects p >= values[k]
    num_selected = np.bincount(where, minlength=len(values)).cumsum()
    num_right = np.bincount(where[y_true], minlength=len(values)).cumsum()
    f1 = 2 * num_right / (num_selected + num_positives)

    allowed = (middle > 0) & (middle < 1) & (f1 > 0)
    if not allowed.any():
        return half
    f1 = np.where(allowed, f1, -1.0)
    # Counts are whole numbers, so equal fractions may still differ in the last bit.
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    # `values` fall, so among equally near ones the first is the highest.
    return middle[best[np.abs(middle[best] - half).argmin()]]


def cuts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every place where numbers, sorted from the largest, can be cut in two.

    Args:
        values: float32 [n], not negative.

    Returns:
        The distinct values, falling, float32 [k]; where each number stands among them, int64 [n];
        and thresholds float32 [k] midway to the next lower one, the last midway to 0.
    """
    distinct, where = np.unique(values, return_inverse=True)
    distinct, where = distinct[::-1], len(distinct) - 1 - where
    below = np.append(distinct[1:], np.float32(0))
    middle = ((distinct.astype(np.float64) + below) / 2).astype(np.float32)
    # Between float32 neighbours the middle rounds onto one of them: onto the lower one would
    # take it in too.
    return distinct, where, np.where(middle > below, middle, distinct)


def check_probabilities(p: np.ndarray) -> None:
    if len(p) == 0:
        raise DataError(
            "there is no example to evaluate; expected at least one: check that the split is not "
            "empty"
        )
    # Written so that NaN, which compares as false, is caught too.
    wrong = np.flatnonzero(~((p >= 0) & (p <= 1)).all(axis=1))
    if len(wrong):
        raise DataError(
            f"{len(wrong):,} of {len(p):,} examples (the first is row {wrong[0]}) have a "
            "probability that is not a number from 0 to 1; the model's weights may not be finite: "
            "train it again with a lower learning rate"
        )
