"""Scores of slices of the examples, and a test whether they are worse than the rest.

For each slice, the null hypothesis is that its examples are a random sample of all examples. The
p-value is the probability that such a sample has a score at most as high.

- One class per text: the number of correct predictions in a random sample is hypergeometric, so the
  p-value is that of Fisher's exact test (one-sided).
- Several labels: micro F1 of a slice is below that of all examples, F, if the sum of
  2 right - F (true + predicted) over its examples is negative. The p-value is the share of random
  samples with a sum at most as high (a permutation test; Monte Carlo with `NUM_SAMPLES`).

Many slices are tested at once. Holm's correction (1979, "A Simple Sequentially Rejective Multiple
Test Procedure") bounds the probability of one or more false warnings in all slices together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from textclf.display import count_of
from textclf.evaluation.by_task import scoring_of
from textclf.evaluation.intervals import score_intervals
from textclf.tasks import Task

MIN_EXAMPLES = 10  # of a separate slice; smaller ones are combined
NUM_SAMPLES = 20_000
_MAX_CELLS = 4_000_000  # random numbers drawn at once


class Grouping(NamedTuple):
    """Groups of examples.

    Attributes:
        names: of the groups.
        ids: int64 [n], the group of each example, an index into `names`.
    """

    names: tuple[str, ...]
    ids: np.ndarray


@dataclass(frozen=True)
class Slice:
    """Score of the examples with one value of a column.

    Attributes:
        by: the column, or `length`, `unknown_fraction` or `script`.
        value: the value or the range of values.
        num_examples: number of examples in the slice.
        score: accuracy, or micro F1 for multi-label.
        interval: (low, high) of the score of this slice alone; None if the report has no intervals.
        rest: score of all other examples; None if there is none.
        p_value: probability of a score at most as high in a random sample of this size; None
            without other examples.
        adjusted_p_value: corrected for the number of slices.
        is_worse: whether the slice is significantly worse than the rest.
    """

    by: str
    value: str
    num_examples: int
    score: float
    interval: tuple[float, float] | None
    rest: float | None
    p_value: float | None
    adjusted_p_value: float | None
    is_worse: bool


def score_slices(
    task: Task,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    groupings: Mapping[str, Grouping],
    *,
    confidence: float = 0.95,
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> tuple[Slice, ...]:
    """Return the scores of all groups with examples, in the order of the groups.

        score_slices(task, y_true, y_pred, {"country": Grouping(("DE", "FR"), ids)})

    Args:
        task: of the model.
        y_true, y_pred: int64 [n], or bool [n, C] for multi-label.
        groupings: groups by name, such as that of a column.
        confidence: level of the intervals. The probability that any slice is called worse although
            all are equally good is at most 1 - confidence.
        bootstrap_samples: see `evaluate`.
        seed: of all random numbers.
    """
    scoring = scoring_of(task)
    test = _ChanceTest(task, y_true, y_pred, seed)
    slices = []
    for by, (names, ids) in groupings.items():
        for index, name in enumerate(names):
            mask = ids == index
            size = int(mask.sum())
            if not size:
                continue
            counts = scoring.counts(y_true[mask], y_pred[mask])
            has_rest = size < len(ids)
            interval = None
            if bootstrap_samples:
                interval = score_intervals(
                    scoring, y_true[mask], y_pred[mask], bootstrap_samples, confidence, seed
                ).get(task.headline)
            rest = None
            if has_rest:
                others = scoring.counts(y_true[~mask], y_pred[~mask])
                rest = scoring.headline(others, len(ids) - size)
            slices.append(
                Slice(
                    by=by,
                    value=name,
                    num_examples=size,
                    score=scoring.headline(counts, size),
                    interval=interval,
                    rest=rest,
                    p_value=test.p_value(mask) if has_rest else None,
                    adjusted_p_value=None,
                    is_worse=False,
                )
            )
    return _corrected(slices, 1 - confidence)


def warnings_of(slices: Sequence[Slice], metric: str, confidence: float) -> list[str]:
    """Return a sentence on each slice that is significantly worse, the worst first.

    Args:
        metric: name of the score, in words.
        confidence: as for `score_slices`.
    """
    worse = sorted((s for s in slices if s.is_worse), key=lambda s: s.score)
    num_tests = sum(s.p_value is not None for s in slices)
    sentences = []
    for s in worse:
        ends = ""
        if s.interval is not None:
            low, high = s.interval
            ends = f", {100 * confidence:.4g} % interval {low:.3f} to {high:.3f}"
        assert s.adjusted_p_value is not None
        p = "< 0.0001" if s.adjusted_p_value < 1e-4 else f"= {s.adjusted_p_value:.4f}"
        sentences.append(
            f"{s.by} {s.value!r}: {metric} {s.score:.3f} ({s.num_examples:,} examples{ends}) is "
            f"lower than {s.rest:.3f} of the other examples by more than chance (p {p}, corrected "
            f"for {num_tests:,} slices)"
        )
    return sentences


# === Groups ===


def group_by_quantile(
    values: np.ndarray, num_groups: int, *, digits: int | None = None
) -> Grouping:
    """Return at most `num_groups` groups of about equal size, the lowest values first.

    Equal values are in the same group.

    Args:
        values: float or int [n].
        digits: number of decimal places in the names; None for whole numbers, or four digits.
    """
    levels = np.linspace(0, 1, num_groups + 1)[1:]
    upper = np.unique(np.quantile(values, levels, method="inverted_cdf"))
    ids = np.searchsorted(upper, values, side="left")

    def shown(value: float) -> str:
        if digits is not None:
            return f"{value:.{digits}f}"
        return f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"

    names = []
    for index in range(len(upper)):
        members = values[ids == index]
        low, high = shown(members.min()), shown(members.max())
        names.append(low if low == high else f"{low} to {high}")
    return Grouping(tuple(names), ids.astype(np.int64))


def group_by_value(names: Sequence[str], ids: np.ndarray) -> Grouping:
    """Return a group for each value with `MIN_EXAMPLES` examples, the most frequent first.

    The other values are combined into one group, the last.

    Args:
        names: the values.
        ids: int64 [n], the value of each example, an index into `names`.
    """
    counts = np.bincount(ids, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    large = [int(index) for index in order if counts[index] >= MIN_EXAMPLES]
    shown = [names[index] or "(empty)" for index in large]
    new_ids = np.full(len(names), len(large), np.int64)
    new_ids[large] = np.arange(len(large))
    num_small = int((counts > 0).sum()) - len(large)
    if num_small:
        shown.append(f"({count_of(num_small, 'other value')})")
    return Grouping(tuple(shown), new_ids[ids])


# === Tests ===


class _ChanceTest:
    """Probability that a random sample of the examples scores at most as high as a slice."""

    def __init__(self, task: Task, y_true: np.ndarray, y_pred: np.ndarray, seed: int):
        scoring = scoring_of(task)
        self._seed = seed
        self._is_exact = not scoring.has_micro_average
        if self._is_exact:
            self._values = scoring.is_exact(y_true, y_pred).astype(np.int64)
            return
        f1 = scoring.headline(scoring.counts(y_true, y_pred), len(y_true))
        right = (y_true & y_pred).sum(axis=1)
        either = y_true.sum(axis=1) + y_pred.sum(axis=1)
        self._values = 2 * right - f1 * either

    def p_value(self, mask: np.ndarray) -> float:
        """Return the p-value of the examples in `mask`, bool [n]."""
        values, size = self._values, int(mask.sum())
        if self._is_exact:
            from scipy.stats import hypergeom

            right = int(values[mask].sum())
            return float(hypergeom.cdf(right, len(values), int(values.sum()), size))
        return self._monte_carlo(values[mask].sum(), size)

    def _monte_carlo(self, total: float, size: int) -> float:
        values = self._values
        distinct, counts = np.unique(values, return_counts=True)
        random = np.random.default_rng(self._seed)
        at_most, chunk = 0, max(1, _MAX_CELLS // len(distinct))
        for start in range(0, NUM_SAMPLES, chunk):
            drawn = random.multivariate_hypergeometric(
                counts, size, min(chunk, NUM_SAMPLES - start), method="marginals"
            )
            at_most += int((drawn @ distinct <= total + 1e-9).sum())
        # The slice is one of the samples, so that the p-value is never 0.
        return (at_most + 1) / (NUM_SAMPLES + 1)


def _corrected(slices: list[Slice], alpha: float) -> tuple[Slice, ...]:
    """Return the slices with Holm's adjusted p-values and verdicts."""
    import dataclasses

    tested = [index for index, s in enumerate(slices) if s.p_value is not None]
    tested.sort(key=lambda index: slices[index].p_value or 0.0)
    highest = 0.0
    for rank, index in enumerate(tested):
        p_value = slices[index].p_value
        assert p_value is not None
        highest = max(highest, min(1.0, p_value * (len(tested) - rank)))
        slices[index] = dataclasses.replace(
            slices[index], adjusted_p_value=highest, is_worse=highest <= alpha
        )
    return tuple(slices)
