"""Which cell is better, and which of two trained models: two questions, each with its statistics.

*Which cell?* The unit is a training run. A cell is run with several seeds on one test split, so a
score varies with the seed and with the examples that happened to be tested, and both must be paid
for. `compare_cells` adds the two variances and uses a t distribution with Satterthwaite's degrees
of freedom; `holm` corrects for asking many such questions at once.

*Which of these two trained models?* `compare_models` resamples the examples, with the two models
as they are. It says nothing about cells: other seeds would have given other models.

scipy is imported when it is needed.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

__all__ = [
    "CellDifference",
    "ModelDifference",
    "compare_cells",
    "compare_models",
    "holm",
]

# Scores of a few seeds may tie by chance, and then nothing would be left of the variance: so much
# of the noise of single answers always is. More would lower the level of the test.
_LEAST_NOISE = 0.25
_ROUNDING = 1e-20  # a variance below is what sums of equal scores differ by
_MOST_SEEDS = 1000  # whoever needs more should rather find another question


@dataclasses.dataclass(frozen=True)
class CellDifference:
    """The mean score of cell A minus that of cell B.

    Attributes:
        difference: in the unit of the metric.
        seed_variances: of the score between the seeds of A and of B; None for one seed, 0 for a
            classifier that draws nothing at random.
        test_variance: of the difference, from one sample of test examples to another.
        num_seeds: of A and of B.
        standard_error: of `difference`; None where a seed variance is unknown.
        degrees_of_freedom: Satterthwaite's.
        p_value: two-sided, of no difference.
        interval: of the difference, at `confidence`.
        confidence: of the interval.
        effect_size: the difference in standard deviations between seeds (Hedges' g); None where
            seeds make no difference.
    """

    difference: float
    seed_variances: tuple[float | None, float | None]
    test_variance: float
    num_seeds: tuple[int, int]
    standard_error: float | None
    degrees_of_freedom: float | None
    p_value: float | None
    interval: tuple[float, float] | None
    confidence: float
    effect_size: float | None

    def power(self, difference: float, alpha: float, num_seeds: int | None = None) -> float:
        """The probability of finding a true `difference` at the level `alpha`.

        Args:
            num_seeds: of each cell, in place of those there were.

        Raises:
            ValueError: a seed variance is unknown.
        """
        from scipy import stats

        seeds = self.num_seeds if num_seeds is None else (num_seeds, num_seeds)
        variance, df = _total(self._parts(seeds))
        if variance == 0:
            return 1.0
        limit = stats.t.isf(alpha / 2, df)
        shift = difference / np.sqrt(variance)
        far, near = stats.nct.cdf(-limit, df, shift), stats.nct.sf(limit, df, shift)
        # scipy gives NaN where the far tail is too small to be worked out.
        return float(near + np.nan_to_num(far))

    def seeds_needed(self, difference: float, alpha: float, power: float = 0.8) -> int | None:
        """The fewest seeds a cell that find a true `difference` with this power.

        None if no number does, because the test split is too small.
        """
        if self.power(difference, alpha, _MOST_SEEDS) < power:
            return None
        low, high = 1, _MOST_SEEDS  # the power grows with the seeds
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self.power(difference, alpha, middle) >= power else (middle, high)
            )
        return high

    def _parts(self, num_seeds: tuple[int, int]) -> list[tuple[float, float]]:
        parts = []
        for variance, was, n in zip(self.seed_variances, self.num_seeds, num_seeds, strict=True):
            if variance is None:
                raise ValueError("one seed tells nothing about the variance between seeds")
            if variance > 0 and was > 1:
                parts.append((variance / n, n - 1.0))
        return [*parts, (self.test_variance, np.inf)]


@dataclasses.dataclass(frozen=True)
class ModelDifference:
    """The score of one trained model minus that of another, on the same examples.

    Attributes:
        difference: in the unit of the metric.
        interval: by resampling the examples in pairs, at `confidence`.
        confidence: of the interval.
        only_a_right: examples that the first has right and the second wrong; None in tasks of
            several labels.
        only_b_right: the other way round.
        mcnemar_p_value: two-sided, mid-p (Fagerland et al. 2013, "The McNemar test for binary
            matched-pairs data"): the exact test stays below its own level.
    """

    difference: float
    interval: tuple[float, float]
    confidence: float
    only_a_right: int | None
    only_b_right: int | None
    mcnemar_p_value: float | None


def compare_cells(
    a: np.ndarray,
    b: np.ndarray,
    *,
    confidence: float = 0.95,
    is_random: tuple[bool, bool] = (True, True),
) -> CellDifference:
    """Compares two cells, each trained with several seeds and tested on the same examples.

    With c[i, j] what example j contributes to the score of seed i (`evaluation.contributions`),
    s2 the variance of the score between a cell's n seeds, and d[j] the difference of what example
    j contributes on average:

        variance = s2_A / n_A + s2_B / n_B + (var(d) / m - r_A - r_B)

    The last part is that of testing on m examples. The chance by which a single seed gets a single
    example right is in s2 already and would be in var(d) a second time, so r = MS / (n m) is
    taken off, with MS the residual mean square of seeds by examples, as in an analysis of variance
    of two crossed random factors. Without that, the level of 5 % is one of about 1 % where seeds
    differ little; without the last part it is one of 13 to 42 % where cells find different texts
    hard (tests/test_benchmark_statistics.py prints both). The degrees of freedom are
    Satterthwaite's (1946, "An approximate distribution of estimates of variance components").

    Args:
        a: float64 [seeds, m], contributions of cell A.
        b: float64 [seeds, m], contributions of cell B.
        confidence: of the interval.
        is_random: whether each draws at random; what does not has one row and no seed variance.
    """
    from scipy import special

    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} examples: not the same test split")
    num_examples = a.shape[1]
    scores = [cell.mean(axis=1) for cell in (a, b)]
    difference = float(scores[0].mean() - scores[1].mean())
    seed_variances: list[float | None] = []
    noise = 0.0
    for cell, score, varies in zip((a, b), scores, is_random, strict=True):
        num_seeds = len(cell)
        if not varies:
            seed_variances.append(0.0)
        elif num_seeds == 1:
            seed_variances.append(None)
        else:
            variance = float(score.var(ddof=1))
            seed_variances.append(variance if variance > _ROUNDING else 0.0)
            residual = cell - score[:, np.newaxis] - cell.mean(axis=0) + cell.mean()
            mean_square = (residual**2).sum() / ((num_seeds - 1) * max(num_examples - 1, 1))
            noise += mean_square / (num_seeds * num_examples)
    by_example = a.mean(axis=0) - b.mean(axis=0)
    between_seeds = sum(
        (variance or 0.0) / len(cell) for variance, cell in zip(seed_variances, (a, b), strict=True)
    )
    test_variance = np.inf  # one example tells nothing of others
    if num_examples > 1:
        test_variance = max(
            float(by_example.var(ddof=1) / num_examples - noise),
            _LEAST_NOISE * noise - between_seeds,
            0.0,
        )
    found = CellDifference(
        difference=difference,
        seed_variances=(seed_variances[0], seed_variances[1]),
        test_variance=test_variance,
        num_seeds=(len(a), len(b)),
        standard_error=None,
        degrees_of_freedom=None,
        p_value=None,
        interval=None,
        confidence=confidence,
        effect_size=None,
    )
    if None in seed_variances or num_examples == 1:
        return found
    variance, df = _total(found._parts(found.num_seeds))
    error = float(np.sqrt(variance))
    if error > 0:
        p_value = 2 * special.stdtr(df, -abs(difference) / error)
    else:
        p_value = 1.0 if difference == 0 else 0.0
    half = -error * special.stdtrit(df, (1 - confidence) / 2)
    return dataclasses.replace(
        found,
        standard_error=error,
        degrees_of_freedom=float(df),
        p_value=float(p_value),
        interval=(float(difference - half), float(difference + half)),
        effect_size=_hedges_g(difference, seed_variances, found.num_seeds),
    )


def _total(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The sum of independent variance estimates, each with its degrees of freedom, and its own."""
    variance = sum(part for part, _ in parts)
    weight = sum(part**2 / df for part, df in parts)
    return variance, variance**2 / weight if weight > 0 else np.inf


def _hedges_g(
    difference: float, variances: Sequence[float | None], num_seeds: tuple[int, int]
) -> float | None:
    weighed = [(v, n - 1) for v, n in zip(variances, num_seeds, strict=True) if v is not None]
    df = sum(n for _, n in weighed)
    pooled = sum(v * n for v, n in weighed) / df if df else 0.0
    if pooled == 0:
        return None
    return float(difference / np.sqrt(pooled) * (1 - 3 / (4 * df - 1)))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values corrected for their number (Holm 1979), float64 [n], in the same order."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def compare_models(
    a: np.ndarray,
    b: np.ndarray,
    *,
    right: tuple[np.ndarray, np.ndarray] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> ModelDifference:
    """Compares two trained models on the examples that both have answered.

    Args:
        a: float64 [m], what each example contributes to the score of the first.
        b: float64 [m], the same for the second.
        right: bool [m] each, the examples that are answered rightly; None for several labels.
        confidence: of the interval.
        num_resamples: of the paired bootstrap (percentile interval, Efron 1979).
        seed: of the resampling.
    """
    from scipy import stats

    differences = a - b
    num_examples = len(differences)
    rng = np.random.default_rng(seed)
    # Equal differences are interchangeable, so a resampling is a multinomial draw of few cells.
    values, counts = np.unique(differences, return_counts=True)
    means = np.empty(num_resamples)
    chunk = max(1, 1_000_000 // len(values))
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        draws = rng.multinomial(num_examples, counts / num_examples, size=size)
        means[start : start + size] = draws @ values / num_examples
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    only_a = only_b = p_value = None
    if right is not None:
        only_a = int((right[0] & ~right[1]).sum())
        only_b = int((right[1] & ~right[0]).sum())
        total, fewer = only_a + only_b, min(only_a, only_b)
        exact = 2 * stats.binom.cdf(fewer, total, 0.5)
        p_value = float(min(1.0, exact - stats.binom.pmf(fewer, total, 0.5))) if total else 1.0
    return ModelDifference(
        difference=float(differences.mean()),
        interval=(float(low), float(high)),
        confidence=confidence,
        only_a_right=only_a,
        only_b_right=only_b,
        mcnemar_p_value=p_value,
    )
