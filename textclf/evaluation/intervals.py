"""Confidence intervals: Wilson's for shares of examples, a bootstrap for macro and micro F1.

With few examples, resampling alone gives too narrow intervals: there is no spread if all
predictions are right, and a class that is missing from a resample has an F1 of 0 there. Each
resample therefore gets pseudo-counts: in each class, on average half an example with a right and
half with a wrong prediction (the prior of Jeffreys).

- Pseudo-counts move the F1 of each class towards the middle. In the mean of many classes these
  shifts add up, while random errors cancel. The interval is therefore moved back. The remaining
  shift is smaller than those of the classes by the ratio of the spread of the mean to the spread of
  the classes. Intervals of several parameters are combined in the same way into an interval of
  their sum (Zou and Donner 2008, "Construction of confidence limits about effect measures").
- The F1 of a sample is on average below that of the population, by F1 (1 - F1) / (true +
  predicted) if all counts are random, and by less if each class's number of examples is fixed. How
  a test split was drawn is unknown, so the upper end is moved up by this bias and the lower end is
  not.
"""

import numpy as np

from textclf.evaluation.by_task import Scoring
from textclf.evaluation.counts import Counts

MAX_BOOTSTRAP_CELLS = 1_000_000  # numbers drawn at once while resampling: 8 MB, a few copies
MIN_EXAMPLES_A_CLASS = 4  # mean over the classes; with fewer, macro F1 has no interval
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

    Let J be the number of examples that have a class and are predicted to have it, divided by the
    number that have it or are predicted to have it. F1 is 2 J / (1 + J), which increases with J, so
    its interval follows from that of J.

    Returns:
        The fields `precision_interval`, `recall_interval` and `f1_interval` of each
        `ClassScores`; None if the denominator of the score is 0.
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
    scoring: Scoring,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    num_samples: int,
    confidence: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Return the intervals of the overall scores.

    Accuracy and subset accuracy have Wilson intervals. Macro F1 has an interval only if each class
    has an example and the classes have `MIN_EXAMPLES_A_CLASS` on average, micro F1 only if an
    example has a class.
    """
    counts = scoring.counts(y_true, y_pred)
    n = len(y_true)
    low, high = wilson(scoring.is_exact(y_true, y_pred).sum(), np.array(n), confidence)
    intervals = {scoring.exact_metric: (float(low), float(high))}
    has_macro = not too_few_examples(counts.true)
    has_micro = scoring.has_micro_average and bool(counts.true.any())
    if not (has_macro or has_micro):
        return intervals
    samples = _bootstrap(scoring, y_true, y_pred, num_samples, seed)
    tail = scoring.tail((1 - confidence) / 2, n)
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


def too_few_examples(support: np.ndarray) -> bool:
    """Decide whether the classes have too few examples for an interval of macro F1.

    Args:
        support: int64 [C], examples of each class.
    """
    return bool(support.min() == 0 or support.mean() < MIN_EXAMPLES_A_CLASS)


def _including(estimate: float, low: float, high: float) -> tuple[float, float]:
    return max(0.0, min(float(low), estimate)), min(1.0, max(float(high), estimate))


def _bootstrap(
    scoring: Scoring, y_true: np.ndarray, y_pred: np.ndarray, num_samples: int, seed: int
) -> dict[str, np.ndarray]:
    """Resample the examples with replacement (Efron 1979), with pseudo-counts.

    Examples with the same truth and the same prediction are interchangeable, so a resample of
    n examples is one multinomial draw of the number of examples of each distinct pair (truth,
    prediction). With two classes there are at most four pairs, however large n is.

    Returns:
        `macro_f1` and, if the task has it, `micro_f1`, float64 [num_samples], and `class_spread`,
        float64 [C], the standard deviation of each class's F1.
    """
    n, num_classes = len(y_true), scoring.task.num_outputs
    indicators, pair_counts = scoring.distinct_pairs(y_true, y_pred)
    rng = np.random.default_rng(seed)
    in_classes = _PseudoCounts(seed, scoring)
    in_all = _PseudoCounts(seed, scoring)
    macro, micro = np.empty(num_samples), np.empty(num_samples)
    sums, squares = np.zeros(num_classes), np.zeros(num_classes)
    chunk = max(1, MAX_BOOTSTRAP_CELLS // max(len(pair_counts), num_classes))
    for start in range(0, num_samples, chunk):
        size = min(chunk, num_samples - start)
        draws = rng.multinomial(n, pair_counts / n, size=size).astype(np.float64)  # [size, pairs]
        counts = Counts(*((indicator.T @ draws.T).T for indicator in indicators))  # [size, C]
        f1 = in_classes.added_to(counts).f1
        macro[start : start + size] = f1.mean(axis=1)
        sums += f1.sum(axis=0)
        squares += (f1**2).sum(axis=0)
        if scoring.has_micro_average:
            micro[start : start + size] = in_all.added_to(counts.summed()).f1[:, 0]
    variance = squares / num_samples - (sums / num_samples) ** 2
    samples = {"macro_f1": macro, "class_spread": np.sqrt(np.maximum(variance, 0))}
    return samples | ({"micro_f1": micro} if scoring.has_micro_average else {})


class _PseudoCounts:
    """Random pseudo-counts, which do not depend on the number of resamples in a chunk."""

    def __init__(self, seed: int, scoring: Scoring):
        self._scoring = scoring
        self._right, self._missed, self._extra = (
            np.random.default_rng([seed, stream]) for stream in range(3)
        )

    def added_to(self, counts: Counts) -> Counts:
        """Return counts [size, C] with pseudo-counts in each class of each resample."""
        shape = counts.right.shape
        right = self._right.standard_gamma(_PSEUDO_COUNT, shape)
        missed = self._missed.standard_gamma(_PSEUDO_COUNT / 2, shape)
        extra = self._scoring.extra_pseudo_counts(self._extra, missed, _PSEUDO_COUNT / 2)
        return Counts(
            counts.right + right, counts.true + right + missed, counts.predicted + right + extra
        )
