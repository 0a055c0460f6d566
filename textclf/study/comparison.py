"""Verdicts on pairs of cells, with the sentences that explain them."""

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from textclf.evaluation.intervals import MIN_EXAMPLES_A_CLASS, too_few_examples
from textclf.study import significance
from textclf.study.runs import display_name
from textclf.study.significance import CellDifference
from textclf.tasks import Task

WANTED_POWER = 0.8

BETTER = "better"
NO_DIFFERENCE = "no difference shown"
IDENTICAL = "no difference"  # equal on each text, so that nothing can be estimated
TOO_FEW_SEEDS = "too few seeds"
TEST_TOO_SMALL = "test split too small"
ONE_SEED = "one seed"
TOO_FEW_ROWS = "too few rows"


class CellComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of two cells, the better one first.

    Attributes:
        a: the cell with the better mean.
        b: the other cell.
        verdict: "better", "no difference shown", "no difference" (equal on each text), "too few
            seeds", "test split too small", "one seed" or "too few rows".
        difference: mean of a minus mean of b.
        interval: of the difference; None if it is unknown.
        p_value: two-sided, for no difference.
        p_value_holm: corrected for the number of comparisons.
        standard_error: see `significance.CellDifference`, as the next four.
        degrees_of_freedom: None if infinite.
        seed_variances: of a and b.
        test_variance: None if infinite.
        effect_size: Hedges' g.
        power: probability of detecting the smallest relevant difference.
        seeds_needed: per cell, to detect `difference_sought` with `WANTED_POWER`.
        difference_sought: the difference of `seeds_needed`.
        words: the verdict as a sentence.
    """

    a: str
    b: str
    verdict: str
    difference: float
    interval: tuple[float, float] | None
    p_value: float | None
    p_value_holm: float | None
    standard_error: float | None
    degrees_of_freedom: float | None
    seed_variances: tuple[float | None, float | None]
    test_variance: float | None
    effect_size: float | None
    power: float | None
    seeds_needed: int | None
    difference_sought: float | None
    words: str


class Comparison:
    """Comparison of cells that were tested on the same examples."""

    def __init__(
        self,
        metric: str,
        contributions: Mapping[str, np.ndarray],
        *,
        fixed: Collection[str] = (),
        confidence: float = 0.95,
        smallest_difference: float = 0.01,
        has_enough_rows: bool = True,
    ):
        """
        Args:
            metric: name of the score.
            contributions: by cell, float64 [seeds, examples], of `evaluation.contributions`.
            fixed: cells without randomness.
            confidence: of the intervals.
            smallest_difference: the smallest relevant difference, in the unit of the metric.
            has_enough_rows: False if the classes have too few rows for the metric; then no
                comparison has a verdict (see `enough_rows`).
        """
        self.metric = metric
        self.contributions = contributions
        self.fixed = fixed
        self.confidence = confidence
        self.smallest_difference = smallest_difference
        self.has_enough_rows = has_enough_rows
        self.num_examples = next(iter(contributions.values())).shape[1]

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[CellComparison]:
        """Compare pairs of cells; the p-values are corrected for their number (Holm)."""
        differences = []
        for a, b in pairs:
            if (
                sign(self.metric) * (self.contributions[a].mean() - self.contributions[b].mean())
                < 0
            ):
                a, b = b, a
            differences.append((a, b, self._difference(a, b)))
        known = [d.p_value for _, _, d in differences if d.p_value is not None]
        corrected = iter(significance.holm(known))
        return [
            self._compare(
                a, b, d, None if d.p_value is None else float(next(corrected)), len(known)
            )
            for a, b, d in differences
        ]

    def _difference(self, a: str, b: str) -> CellDifference:
        difference = significance.compare_cells(
            self.contributions[a],
            self.contributions[b],
            confidence=self.confidence,
            is_random=(a not in self.fixed, b not in self.fixed),
        )
        if self.has_enough_rows:
            return difference
        return msgspec.structs.replace(
            difference,
            standard_error=None,
            degrees_of_freedom=None,
            p_value=None,
            interval=None,
            effect_size=None,
        )

    def _compare(
        self, a: str, b: str, d: CellDifference, p_holm: float | None, num_comparisons: int
    ) -> CellComparison:
        alpha, smallest = 1 - self.confidence, self.smallest_difference
        power = seeds_needed = sought = None
        if p_holm is None:
            verdict = ONE_SEED if self.has_enough_rows else TOO_FEW_ROWS
        elif d.interval is None:  # no spread to compute a power from
            verdict = BETTER if p_holm < alpha else TEST_TOO_SMALL
            if d.difference == 0:
                verdict = IDENTICAL
        else:
            # At the level of the first and strictest step of Holm's procedure.
            power = d.power(smallest, alpha / num_comparisons)
            if p_holm < alpha:
                verdict = BETTER
            elif power >= WANTED_POWER:
                verdict = NO_DIFFERENCE
            else:
                verdict = TEST_TOO_SMALL
                # If no number of seeds detects the smallest difference, try the observed one.
                for sought in sorted({smallest, max(smallest, abs(d.difference))}):
                    seeds_needed = d.seeds_needed(sought, alpha / num_comparisons, WANTED_POWER)
                    if seeds_needed is not None:
                        verdict = TOO_FEW_SEEDS
                        break
        comparison = CellComparison(
            a=a,
            b=b,
            verdict=verdict,
            difference=d.difference,
            interval=d.interval,
            p_value=d.p_value,
            p_value_holm=p_holm,
            standard_error=d.standard_error,
            degrees_of_freedom=_finite(d.degrees_of_freedom),
            seed_variances=d.seed_variances,
            test_variance=_finite(d.test_variance),
            effect_size=d.effect_size,
            power=power,
            seeds_needed=seeds_needed,
            difference_sought=sought,
            words="",
        )
        return msgspec.structs.replace(comparison, words=self._words(comparison))

    def _words(self, c: CellComparison) -> str:
        """Return the verdict as a sentence."""
        a, b = display_name(c.a), display_name(c.b)
        means = f"the means differ by {amount(c.difference, self.metric)}"
        if c.interval is not None:
            interval = amount_range(c.interval, self.metric)
            means += f" ({100 * self.confidence:g} % interval {interval})"
        smallest = amount(self.smallest_difference, self.metric)
        if c.verdict == IDENTICAL:
            return (
                f"no difference: {a} and {b} have equal scores on all {self.num_examples:,} texts"
            )
        if c.verdict == TOO_FEW_ROWS:
            return f"{a} and {b}: {too_few_rows(self.metric)}; {means}"
        if c.verdict == ONE_SEED:
            reason = (
                "one test text is not enough for a verdict"
                if self.num_examples == 1
                else "one seed is not enough for a verdict: other seeds give other scores"
            )
            return f"{a} and {b}: {reason}; {means}"
        if c.verdict == BETTER:
            return f"{a} is better than {b}: {means}, p {p_text(c.p_value_holm)} after Holm"
        if c.verdict == NO_DIFFERENCE:
            return (
                f"no difference shown between {a} and {b}: {means}; a difference of {smallest} "
                f"would have been detected with a probability of {c.power:.2f}"
            )
        if c.verdict == TOO_FEW_SEEDS:
            assert c.difference_sought is not None
            return (
                f"too few seeds to decide between {a} and {b}: {means}; "
                f"{c.seeds_needed} seeds per cell are needed to detect a difference of "
                f"{amount(c.difference_sought, self.metric)} ({100 * WANTED_POWER:g} % power)"
            )
        return (
            f"the test split is too small to decide between {a} and {b}: {means}; with "
            f"{self.num_examples:,} test texts, more seeds cannot reveal a difference of "
            f"{smallest} ({100 * WANTED_POWER:g} % power)"
        )


def sign(metric: str) -> float:
    """Return 1 if higher values of the metric are better, else -1."""
    return -1.0 if metric == "log_loss" else 1.0


def enough_rows(task: Task, metric: str, y_true: np.ndarray) -> bool:
    """Decide whether the classes have enough rows for a comparison by the metric.

    The pseudo-values of macro F1 are dominated by classes of 1 to 3 rows. The rule is that of the
    intervals of macro F1 in a report: 4 rows per class on average and at least 1 in each class.

    Args:
        task: of the models.
        metric: name of the metric.
        y_true: int64 [n], or bool [n, C] for multi-label data.
    """
    if metric != "macro_f1":
        return True
    return not too_few_examples(task.indicators(y_true).sum(axis=0))


def too_few_rows(metric: str) -> str:
    """Return the reason for a comparison without a verdict, see `enough_rows`."""
    return (
        f"there are too few rows for {metric}, which needs {MIN_EXAMPLES_A_CLASS} per class on "
        "average and at least one of each class"
    )


# === Wording ===


def amount(difference: float, metric: str) -> str:
    """Return a difference of two scores with its unit."""
    return f"{difference:.3f}" if metric == "log_loss" else f"{100 * difference:.1f} points"


def amount_range(interval: tuple[float, float], metric: str) -> str:
    """Return the ends of an interval with their unit."""
    low, high = (amount(end, metric) for end in interval)
    return f"{low.partition(' ')[0]} to {high}"


def p_text(value: float | None) -> str:
    """Return a p-value with three digits."""
    assert value is not None
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else value
