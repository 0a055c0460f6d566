"""Significance of differences between cells (architectures) and between trained models.

*Architectures.* The unit is a training run. A cell is trained with several seeds and tested on one
test split, so its score varies with the seed and with the sample of test examples.
`compare_cells` adds both variances and uses a t distribution with Satterthwaite's degrees of
freedom.

*Trained models.* `compare_models` resamples the examples and treats the models as fixed. The result
does not hold for the architectures: other seeds give other models.

`holm` corrects the p-values of several comparisons. scipy is imported on first use.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

__all__ = [
    "CellDifference",
    "ModelDifference",
    "compare_cells",
    "compare_models",
    "holm",
]

# Lower bound for the test variance, as a share of residual noise: the scores of a few seeds may be
# equal by chance. A larger share makes the test too conservative.
_MIN_NOISE_SHARE = 0.25
_ROUNDING = 1e-20  # variances below are rounding errors of equal scores
_MAX_SEEDS = 1000  # search limit of seeds_needed
_CHUNK = 1_000_000  # numbers drawn at once while resampling


class CellDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Mean score of cell A minus mean score of cell B.

    Attributes:
        difference: in the unit of the metric.
        seed_variances: variance of the score between the seeds of A and of B; None for one seed, 0
            for a classifier without randomness.
        test_variance: variance of the difference between samples of test examples.
        num_seeds: of A and of B.
        confidence: of the interval.
        standard_error: of `difference`; None if a seed variance is unknown.
        degrees_of_freedom: Satterthwaite's; None with `standard_error`.
        p_value: two-sided, for no difference; None with `standard_error`.
        interval: of the difference; None with `standard_error`, or if neither seeds nor examples
            show a spread.
        effect_size: the difference in standard deviations between seeds (Hedges' g); None if the
            scores of all seeds are equal.
    """

    difference: float
    seed_variances: tuple[float | None, float | None]
    test_variance: float
    num_seeds: tuple[int, int]
    confidence: float
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    p_value: float | None = None
    interval: tuple[float, float] | None = None
    effect_size: float | None = None

    def power(self, difference: float, alpha: float, num_seeds: int | None = None) -> float:
        """Return the probability of detecting a true `difference` at the level `alpha`.

        Args:
            difference: in the unit of the metric.
            alpha: level of the test.
            num_seeds: seeds of each cell; None for the actual numbers.

        Raises:
            ValueError: a seed variance is unknown.
        """
        from scipy import stats

        seeds = self.num_seeds if num_seeds is None else (num_seeds, num_seeds)
        variance, df = _total(self._variances(seeds))
        if variance == 0:
            return 1.0
        limit = stats.t.isf(alpha / 2, df)
        shift = difference / np.sqrt(variance)
        far, near = stats.nct.cdf(-limit, df, shift), stats.nct.sf(limit, df, shift)
        # scipy returns NaN where the far tail is too small to be computed.
        return float(near + np.nan_to_num(far))

    def seeds_needed(self, difference: float, alpha: float, power: float = 0.8) -> int | None:
        """Return the smallest number of seeds per cell that detects `difference` with this power.

        None if no number does, because the test split is too small.
        """
        if self.power(difference, alpha, _MAX_SEEDS) < power:
            return None
        low, high = 1, _MAX_SEEDS  # bisection: the power grows with the seeds
        while high - low > 1:
            num_seeds = (low + high) // 2
            if self.power(difference, alpha, num_seeds) >= power:
                high = num_seeds
            else:
                low = num_seeds
        return high

    def _variances(self, num_seeds: tuple[int, int]) -> list[tuple[float, float]]:
        """Return the components of the variance with their degrees of freedom."""
        components = []
        for variance, n_before, n in zip(
            self.seed_variances, self.num_seeds, num_seeds, strict=True
        ):
            if variance is None:
                raise ValueError("the variance between seeds is unknown with one seed")
            if variance > 0 and n_before > 1:
                components.append((variance / n, n - 1.0))
        return [*components, (self.test_variance, np.inf)]


def compare_cells(
    a: np.ndarray,
    b: np.ndarray,
    *,
    confidence: float = 0.95,
    is_random: tuple[bool, bool] = (True, True),
) -> CellDifference:
    """Compare two cells, each trained with several seeds and tested on the same examples.

    With c[i, j] the contribution of example j to the score of seed i (`evaluation.contributions`),
    s2 the variance of the score between the n seeds of a cell, and d[j] the difference between the
    mean contributions of example j:

        variance = s2_A / n_A + s2_B / n_B + (var(d) / m - r_A - r_B)

    The last term is the variance of testing on m examples. var(d) includes the chance of a single
    seed to answer a single example correctly, which s2 includes too. So r = MS / (n m) is
    subtracted, with MS the residual mean square of seeds by examples in an analysis of variance of
    two crossed random factors. Without the subtraction the level of 5 % becomes about 1 % if seeds
    differ little; without the last term it becomes 13 to 42 % if cells find different texts hard
    (tests/test_significance.py prints both). The degrees of freedom are Satterthwaite's (1946, "An
    approximate distribution of estimates of variance components").

        difference = compare_cells(lstm, gru)  # two float64 [5, 1821]
        difference.p_value, difference.interval

    Args:
        a: float64 [seeds, m], contributions of cell A.
        b: float64 [seeds, m], contributions of cell B.
        confidence: of the interval.
        is_random: False for a classifier without randomness; it has one row and no seed variance.

    Raises:
        ValueError: the numbers of examples differ.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} examples: not the same test split")
    num_examples = a.shape[1]
    difference = float(a.mean() - b.mean())
    seed_variances = (_seed_variance(a, is_random[0]), _seed_variance(b, is_random[1]))
    noise = _residual_noise(a, is_random[0]) + _residual_noise(b, is_random[1])
    result = CellDifference(
        difference=difference,
        seed_variances=seed_variances,
        test_variance=_test_variance(a, b, seed_variances, noise),
        num_seeds=(len(a), len(b)),
        confidence=confidence,
    )
    if None in seed_variances or num_examples == 1:
        return result
    return _with_t_test(result, num_examples)


def _with_t_test(result: CellDifference, num_examples: int) -> CellDifference:
    """Return the difference with its p-value, interval and effect size."""
    from scipy import special

    difference = result.difference
    variance, df = _total(result._variances(result.num_seeds))
    error = float(np.sqrt(variance))
    interval = None
    if error > 0:
        p_value = 2 * special.stdtr(df, -abs(difference) / error)
        half = -error * special.stdtrit(df, (1 - result.confidence) / 2)
        interval = (float(difference - half), float(difference + half))
    else:  # no spread: the sign test of equal differences of all examples
        p_value = 1.0 if difference == 0 else 2.0 ** (1 - num_examples)
    return replace(
        result,
        standard_error=error,
        degrees_of_freedom=float(df),
        p_value=float(p_value),
        interval=interval,
        effect_size=_hedges_g(difference, result.seed_variances, result.num_seeds),
    )


def _seed_variance(cell: np.ndarray, is_random: bool) -> float | None:
    """Return the variance of the score between seeds; None for a single seed."""
    if not is_random:
        return 0.0
    if len(cell) == 1:
        return None
    variance = float(cell.mean(axis=1).var(ddof=1))
    return variance if variance > _ROUNDING else 0.0


def _residual_noise(cell: np.ndarray, is_random: bool) -> float:
    """Return r, the chance of single answers in the mean contributions of a cell."""
    num_seeds, num_examples = cell.shape
    if not is_random or num_seeds == 1:
        return 0.0
    score = cell.mean(axis=1)
    residual = cell - score[:, np.newaxis] - cell.mean(axis=0) + cell.mean()
    mean_square = (residual**2).sum() / ((num_seeds - 1) * max(num_examples - 1, 1))
    return float(mean_square / (num_seeds * num_examples))


def _test_variance(
    a: np.ndarray,
    b: np.ndarray,
    seed_variances: tuple[float | None, float | None],
    noise: float,
) -> float:
    """Return the variance of the difference between samples of test examples."""
    num_examples = a.shape[1]
    if num_examples == 1:
        return np.inf
    between_seeds = sum(
        (variance or 0.0) / len(cell) for variance, cell in zip(seed_variances, (a, b), strict=True)
    )
    by_example = a.mean(axis=0) - b.mean(axis=0)
    return max(
        float(by_example.var(ddof=1) / num_examples - noise),
        _MIN_NOISE_SHARE * noise - between_seeds,
        0.0,
    )


def _total(variances: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the sum of independent variance estimates and its degrees of freedom."""
    variance = sum(part for part, _ in variances)
    weight = sum(part**2 / df for part, df in variances)
    return variance, variance**2 / weight if weight > 0 else np.inf


def _hedges_g(
    difference: float, variances: Sequence[float | None], num_seeds: tuple[int, int]
) -> float | None:
    weighted = [(v, n - 1) for v, n in zip(variances, num_seeds, strict=True) if v is not None]
    df = sum(n for _, n in weighted)
    pooled = sum(v * n for v, n in weighted) / df if df else 0.0
    if pooled == 0:
        return None
    return float(difference / np.sqrt(pooled) * (1 - 3 / (4 * df - 1)))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p-values for their number (Holm 1979).

    Returns:
        float64 [n], in the same order.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


# === Trained models ===


class ModelDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Score of one trained model minus the score of another on the same examples.

    Attributes:
        difference: in the unit of the metric.
        interval: paired bootstrap interval; None if all examples have the same difference, so that
            resampling shows no spread.
        p_value: two-sided, for no difference: McNemar's if `is_correct` was passed, else of the
            sign-flip test.
        confidence: of the interval.
        only_a_right: examples that only the first model answers correctly; None without
            `is_correct`.
        only_b_right: examples that only the second model answers correctly.
        mcnemar_p_value: two-sided, mid-p (Fagerland et al. 2013, "The McNemar test for binary
            matched-pairs data"): the exact test is too conservative.
    """

    difference: float
    interval: tuple[float, float] | None
    p_value: float
    confidence: float
    only_a_right: int | None
    only_b_right: int | None
    mcnemar_p_value: float | None


def compare_models(
    a: np.ndarray,
    b: np.ndarray,
    *,
    is_correct: tuple[np.ndarray, np.ndarray] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    num_comparisons: int = 1,
    seed: int = 0,
) -> ModelDifference:
    """Compare two trained models on the examples that both have answered.

    The interval is the percentile interval of the paired bootstrap (Efron 1979). The p-value is
    that of the sign-flip test, which exchanges the answers of the models at random (Fisher 1935);
    for accuracy this is McNemar's test, which needs no resampling.

        compare_models(a, b, is_correct=(selected_a == y_true, selected_b == y_true))

    Args:
        a: float64 [m], contribution of each example to the score of the first model.
        b: float64 [m], the same for the second model.
        is_correct: bool [m] each, for accuracy.
        confidence: of the interval.
        num_resamples: of the bootstrap; with 0 there is no interval. The sign-flip test uses as
            many, but enough for the level 1 - confidence after a correction for
            `num_comparisons`.
        num_comparisons: number of comparisons that are corrected together.
        seed: of the resampling.
    """
    differences = a - b
    only_a = only_b = mcnemar = None
    if is_correct is not None:
        only_a = int((is_correct[0] & ~is_correct[1]).sum())
        only_b = int((is_correct[1] & ~is_correct[0]).sum())
        p_value = mcnemar = _mcnemar_mid_p(only_a, only_b)
    else:
        num_flips = max(num_resamples, int(np.ceil(20 * num_comparisons / (1 - confidence))))
        p_value = _sign_flip_p_value(differences, num_flips, seed)
    return ModelDifference(
        difference=float(differences.mean()),
        interval=_bootstrap_interval(differences, confidence, num_resamples, seed),
        p_value=p_value,
        confidence=confidence,
        only_a_right=only_a,
        only_b_right=only_b,
        mcnemar_p_value=mcnemar,
    )


def _mcnemar_mid_p(only_a: int, only_b: int) -> float:
    from scipy import stats

    total, fewer = only_a + only_b, min(only_a, only_b)
    if total == 0:
        return 1.0
    exact = 2 * stats.binom.cdf(fewer, total, 0.5)
    return float(min(1.0, exact - stats.binom.pmf(fewer, total, 0.5)))


def _bootstrap_interval(
    differences: np.ndarray, confidence: float, num_resamples: int, seed: int
) -> tuple[float, float] | None:
    # Equal differences are interchangeable, so a resample is a multinomial draw of few values.
    values, counts = np.unique(differences, return_counts=True)
    if len(values) == 1 or num_resamples == 0:
        return None
    n = len(differences)
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            rng.multinomial(n, counts / n, size=size) @ values / n
            for size in _chunks(num_resamples, len(values))
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _sign_flip_p_value(differences: np.ndarray, num_flips: int, seed: int) -> float:
    """Return the two-sided p-value of a symmetric distribution of the differences around 0."""
    # Differences of equal size are interchangeable: the number of positive ones is binomial.
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if len(sizes) == 0:
        return 1.0
    observed = abs(differences.sum()) * (1 - 1e-9)  # equal sums may differ by rounding
    rng = np.random.default_rng(seed)
    num_extreme = 0
    for size in _chunks(num_flips, len(sizes)):
        num_positive = rng.binomial(counts, 0.5, size=(size, len(sizes)))
        num_extreme += int((np.abs((2 * num_positive - counts) @ sizes) >= observed).sum())
    return (1 + num_extreme) / (1 + num_flips)


def _chunks(total: int, width: int) -> list[int]:
    """Return the sizes of chunks with `total` rows that hold at most `_CHUNK` numbers each."""
    rows = max(1, _CHUNK // width)
    return [min(rows, total - start) for start in range(0, total, rows)]
