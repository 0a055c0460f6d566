"""Confidence intervals: Wilson's for shares of examples, a bootstrap for macro and micro F1.

A resampling alone understates what few examples leave open: it shows no spread where all
predictions are right, and a class that is absent from a resampling has an F1 of 0 there. Each
resampling therefore gets pseudo-counts, half an example with a right and half with a wrong
prediction in each class on average (the prior of Jeffreys).

- Pseudo-counts move each class's F1 towards the middle. In the mean of many classes these shifts
  add up, while random errors cancel. The interval is moved back so that a shift remains that is as
  much smaller than the classes' own as the spread of the mean is smaller than theirs. This is
  how intervals of several parameters are combined into one of their sum (Zou and Donner 2008,
  "Construction of confidence limits about effect measures").
- The F1 of a sample is on average below that of the population, by F1 (1 - F1) / (true +
  predicted) where all counts are random, and by less where each class's number of examples is
  fixed. How a test split was drawn is unknown, so the upper end is moved up by this bias and the
  lower end is not.
"""

import numpy as np

from textclf.evaluation.scores import Counts, class_counts

MAX_BOOTSTRAP_CELLS = 1_000_000  # numbers drawn at once while resampling: 8 MB, in a few copies
MIN_EXAMPLES_A_CLASS = 4  # the mean over the classes; with fewer, macro F1 has no interval
_PSEUDO_COUNT = 0.5


def wilson(count: np.ndarray, total: np.ndarray, confidence: float) -> np.ndarray:
    """Return Wilson's intervals of the shares count / total (Wilson 1927).

    Args:
        count, total: int [...], with total > 0.

    Returns:
        float64 [..., 2]: the lower and the upper ends.
    """
    from scipy.special import ndtri

    squared = ndtri((1 + confidence) / 2) ** 2
    middle = (count + squared / 2) / (total + squared)
    half = np.sqrt(squared * (count * (total - count) / total + squared / 4)) / (total + squared)
    # In exact arithmetic the ends are 0 and 1 where the share is.
    low = np.where(count == 0, 0.0, middle - half)
    high = np.where(count == total, 1.0, middle + half)
    return np.stack([low, high], axis=-1)


def class_intervals(
    counts: Counts, confidence: float
) -> tuple[dict[str, tuple[float, float] | None], ...]:
    """Return Wilson's intervals of each class's precision, recall and F1.

    Of the examples that have a class or were given it, let J be the share that have it and were
    given it. F1 is 2 J / (1 + J), which grows with J, so its interval follows from that of J.

    Returns:
        The fields `precision_interval`, `recall_interval` and `f1_interval` of each
        `ClassScores`; None where no example was given the class, has it, or either.
    """
    right, either = counts.right, counts.true + counts.predicted - counts.right
    ends, defined = {}, {}
    for name, total in (("precision", counts.predicted), ("recall", counts.true), ("f1", either)):
        ends[name] = wilson(right, np.maximum(total, 1), confidence)
        defined[name] = total > 0
    ends["f1"] = 2 * ends["f1"] / (1 + ends["f1"])
    return tuple(
        {
            f"{name}_interval": (float(ends[name][c, 0]), float(ends[name][c, 1]))
            if defined[name][c]
            else None
            for name in ends
        }
        for c in range(len(right))
    )


def score_intervals(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    num_classes: int,
    multi_label: bool,
    num_samples: int,
    confidence: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Return the intervals of the overall scores.

    Accuracy and subset accuracy have Wilson's. Macro F1 has one only where each class has an
    example and the classes have `MIN_EXAMPLES_A_CLASS` on average, micro F1 only where an example
    has a class.
    """
    counts = class_counts(y_true, y_pred, num_classes)
    is_right = (y_true == y_pred).all(axis=1) if multi_label else y_true == y_pred
    low, high = wilson(is_right.sum(), np.array(len(is_right)), confidence)
    intervals = {"subset_accuracy" if multi_label else "accuracy": (float(low), float(high))}
    has_macro = not too_few_examples(counts)
    has_micro = multi_label and bool(counts.true.any())
    if not (has_macro or has_micro):
        return intervals
    samples = _bootstrap(y_true, y_pred, num_classes, multi_label, num_samples, seed)
    tail = (1 - confidence) / 2
    if multi_label:
        tail = _expanded_tail(tail, len(y_true))
    ends = {name: np.quantile(values, [tail, 1 - tail]) for name, values in samples.items()}
    if has_micro:
        intervals["micro_f1"] = _including(float(counts.summed().f1[0]), *ends["micro_f1"])
    if has_macro:
        estimate, macro = counts.f1.mean(), samples["macro_f1"]
        spread = samples["class_spread"].mean()
        cancelled = 1 - macro.std() / spread if spread else 0.0
        shift = cancelled * (estimate - macro.mean())
        bias = (counts.f1 * (1 - counts.f1) / (counts.true + counts.predicted)).mean()
        low, high = ends["macro_f1"] + shift
        intervals["macro_f1"] = _including(float(estimate), low, high + bias)
    return intervals


def too_few_examples(counts: Counts) -> bool:
    """Decide whether the classes have too few examples for an interval of macro F1."""
    return bool(counts.true.min() == 0 or counts.true.mean() < MIN_EXAMPLES_A_CLASS)


def _expanded_tail(tail: float, n: int) -> float:
    """Return the share of resamplings to leave out on each side where n examples are few.

    The classes of one example are often right or wrong together, so with few examples resampling
    understates the variance and the tails are Student's (the expanded percentile interval of
    Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3).
    """
    from scipy.special import ndtr, stdtrit

    if n < 2:
        return tail
    return float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, tail)))


def _including(estimate: float, low: float, high: float) -> tuple[float, float]:
    return max(0.0, min(float(low), estimate)), min(1.0, max(float(high), estimate))


def _bootstrap(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    num_classes: int,
    multi_label: bool,
    num_samples: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Resample the examples with replacement (Efron 1979), with pseudo-counts.

    Examples with the same truth and the same prediction are interchangeable, so a resampling of
    n examples is one multinomial draw of how many fall into each distinct *cell* (truth,
    prediction). A confusion matrix of two classes has four cells, however large n is.

    Returns:
        `macro_f1` and for multi-label `micro_f1`, float64 [num_samples], and `class_spread`,
        float64 [C], the standard deviation of each class's F1.
    """
    from scipy.sparse import csr_array

    if multi_label:
        packed = np.packbits(np.concatenate([y_true, y_pred], axis=1), axis=1)
        _, first, cell_counts = np.unique(packed, axis=0, return_index=True, return_counts=True)
        true, predicted = y_true[first], y_pred[first]  # bool [cells, C]
        right = true & predicted
        indicators = [csr_array(cells.astype(np.float64)) for cells in (right, true, predicted)]
    else:
        cells, cell_counts = np.unique(y_true * num_classes + y_pred, return_counts=True)
        true, predicted = np.divmod(cells, num_classes)  # int64 [cells]
        rows = np.arange(len(cells))
        shape = (len(cells), num_classes)
        same = true == predicted
        indicators = [
            csr_array((np.ones(len(ids)), (at, ids)), shape=shape)
            for at, ids in ((rows[same], true[same]), (rows, true), (rows, predicted))
        ]

    n = len(y_true)
    rng = np.random.default_rng(seed)
    in_classes = _PseudoCounts(seed, multi_label)
    in_all = _PseudoCounts(seed, multi_label)
    macro, micro = np.empty(num_samples), np.empty(num_samples)
    sums, squares = np.zeros(num_classes), np.zeros(num_classes)
    chunk = max(1, MAX_BOOTSTRAP_CELLS // max(len(cell_counts), num_classes))
    for start in range(0, num_samples, chunk):
        size = min(chunk, num_samples - start)
        draws = rng.multinomial(n, cell_counts / n, size=size).astype(np.float64)  # [size, cells]
        counts = Counts(*((indicator.T @ draws.T).T for indicator in indicators))  # [size, C]
        f1 = in_classes.added_to(counts).f1
        macro[start : start + size] = f1.mean(axis=1)
        sums += f1.sum(axis=0)
        squares += (f1**2).sum(axis=0)
        if multi_label:
            micro[start : start + size] = in_all.added_to(counts.summed()).f1[:, 0]
    variance = squares / num_samples - (sums / num_samples) ** 2
    samples = {"macro_f1": macro, "class_spread": np.sqrt(np.maximum(variance, 0))}
    return samples | ({"micro_f1": micro} if multi_label else {})


class _PseudoCounts:
    """Random pseudo-counts, which do not depend on how many resamplings get them at once."""

    def __init__(self, seed: int, multi_label: bool):
        self._multi_label = multi_label
        self._right, self._missed, self._extra = (
            np.random.default_rng([seed, stream]) for stream in range(3)
        )

    def added_to(self, counts: Counts) -> Counts:
        """Return counts [size, C] with pseudo-counts in each class of each resampling."""
        size, num_classes = shape = counts.right.shape
        right = self._right.standard_gamma(_PSEUDO_COUNT, shape)
        missed = self._missed.standard_gamma(_PSEUDO_COUNT / 2, shape)
        if self._multi_label:
            extra = self._extra.standard_gamma(_PSEUDO_COUNT / 2, shape)
        else:  # what one class misses, another one gets
            offsets = self._extra.integers(1, max(num_classes, 2), (size, 1))
            extra = np.take_along_axis(missed, (np.arange(num_classes) + offsets) % num_classes, 1)
        return Counts(
            counts.right + right, counts.true + right + missed, counts.predicted + right + extra
        )
