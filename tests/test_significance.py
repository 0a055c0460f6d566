"""Comparisons keep their error rates on simulated runs; `pytest -s` prints error rates and power."""

import numpy as np
import pytest
from scipy import special

from textclf import evaluation
from textclf.study import significance
from textclf.tasks import MultiLabel, OneOf, task_of

NUM_COMPARISONS = 2000


def simulate(rng, num_seeds, num_examples, between_seeds, between_cells, gain=0.0, num_cells=2):
    """Return correct answers as float64 [cells, seeds, examples].

    Examples vary in difficulty, cells in the examples that they find hard, seeds in their overall
    quality; the rest is chance. With `gain` 0 the cells are equally good in expectation.
    """
    difficulty = rng.normal(1.5, 2, num_examples)
    taste = rng.normal(0, between_cells, (num_cells, 1, num_examples))
    luck = rng.normal(0, between_seeds, (num_cells, num_seeds, 1))
    logits = difficulty + taste + luck
    logits[0] += gain
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)


# === Architectures ===


def two_sided(difference, parts):
    """Return the p-value of a difference from its variances with their degrees of freedom."""
    variance = sum(v for v, _ in parts)
    df = variance**2 / sum(v**2 / n for v, n in parts) if variance else 1
    return 2 * special.stdtr(df, -abs(difference) / np.sqrt(variance)) if variance else 1.0


def plain_sum_p_value(found, a, b):
    """Return the p-value that counts the noise of single answers twice."""
    seeds = [(s2 / len(a), len(a) - 1) for s2 in found.seed_variances]
    examples = (a.mean(axis=0) - b.mean(axis=0)).var(ddof=1) / a.shape[1]
    return two_sided(found.difference, [*seeds, (examples, np.inf)])


def welch_p_value(found, a):
    """Return the p-value that ignores the sampling of examples (Welch's test)."""
    return two_sided(found.difference, [(s2 / len(a), len(a) - 1) for s2 in found.seed_variances])


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize(("between_seeds", "between_cells"), [(0.02, 0.0), (0.4, 0.5), (0.02, 2)])
def test_share_of_equal_cells_called_different_is_the_level_of_the_test(
    num_seeds, between_seeds, between_cells
):
    rng = np.random.default_rng([num_seeds, int(100 * between_seeds), int(10 * between_cells)])
    kind = num_seeds, 200, between_seeds, between_cells
    false = 0
    others = np.zeros(2)
    for _ in range(NUM_COMPARISONS):
        a, b = simulate(rng, *kind)
        found = significance.compare_cells(a, b)
        false += found.p_value < 0.05
        assert (found.p_value < 0.05) != (found.interval[0] <= 0 <= found.interval[1])
        others += plain_sum_p_value(found, a, b) < 0.05, welch_p_value(found, a) < 0.05
    power = np.mean(
        [
            significance.compare_cells(*simulate(rng, *kind, gain=0.7)).p_value < 0.05
            for _ in range(200)
        ]
    )
    plain, seeds_alone = others / NUM_COMPARISONS
    print(
        f"\n{kind}: type-I error {false / NUM_COMPARISONS:.3f}, power at 0.7 logits {power:.2f}; "
        f"type-I error by the plain sum {plain:.3f}, by seeds alone {seeds_alone:.3f}"
    )
    assert 0.03 <= false / NUM_COMPARISONS <= 0.07
    if (between_seeds, between_cells) == (0.02, 0.0):
        assert plain < 0.03, "twice the noise is too much"
    if (between_seeds, between_cells) == (0.02, 2):
        assert seeds_alone > 0.1, "other examples would give other scores"


@pytest.mark.parametrize("between_seeds", [0.02, 0.4])
def test_comparison_with_a_classifier_without_randomness_keeps_its_level(between_seeds):
    rng = np.random.default_rng(5)
    false = 0
    for _ in range(NUM_COMPARISONS):
        # The answers of the classifier are fixed, and its accuracy is the mean of the cell.
        fixed = rng.random(300) < 0.7
        drawn = rng.random((5, 300)) < 0.7 + between_seeds * rng.normal(0, 0.1, (5, 1))
        found = significance.compare_cells(
            drawn.astype(float), fixed[np.newaxis].astype(float), is_random=(True, False)
        )
        false += found.p_value < 0.05
    print(f"\nagainst a fixed classifier, {between_seeds}: {false / NUM_COMPARISONS:.3f}")
    assert 0.03 <= false / NUM_COMPARISONS <= 0.07


def test_compare_cells_matches_a_calculation_by_hand():
    a = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], float)  # scores 0.75 and 0.75
    b = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], float)  # scores 0.25 and 0.5
    found = significance.compare_cells(a, b)
    assert found.difference == pytest.approx(0.375)
    assert found.seed_variances == (0.0, pytest.approx(1 / 32))
    # var(d): d = 0, 0.5, 0.5, 0.5. Residuals of A are +-0.5 in two columns: MS = 1 / 3; of B
    # they are 1/8 (three columns) and 3/8 (one), each twice: MS = (6 + 18) / 64 / 3 = 1 / 8.
    variance = 1 / 64 + max(1 / 16 / 4 - 1 / 3 / 8 - 1 / 8 / 8, 0)
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    assert found.degrees_of_freedom == pytest.approx(1.0)
    # Of the t distribution with one degree of freedom: p = 1 - 2 atan(t) / pi.
    assert found.p_value == pytest.approx(1 - 2 / np.pi * np.arctan(0.375 / np.sqrt(variance)))
    # (2 - 1) * 0 + (2 - 1) / 32 over two: pooled; Hedges' correction at two degrees of freedom.
    assert found.effect_size == pytest.approx(0.375 / np.sqrt(1 / 64) * (1 - 3 / 7))


def test_comparison_with_one_seed_has_no_p_value_and_no_power():
    rng = np.random.default_rng(0)
    a, b = simulate(rng, 3, 100, 0.1, 0.1)
    found = significance.compare_cells(a[:1], b)
    assert found.difference == pytest.approx(a[0].mean() - b.mean())
    assert (found.p_value, found.interval, found.standard_error) == (None, None, None)
    with pytest.raises(ValueError, match="one seed"):
        found.power(0.01, 0.05)


def test_equal_answers_have_the_p_value_1_and_no_interval():
    a = simulate(np.random.default_rng(0), 3, 100, 0.1, 0.1)[0]
    assert significance.compare_cells(a, a).p_value == 1.0
    fixed = significance.compare_cells(a[:1], a[:1], is_random=(False, False))
    assert (fixed.p_value, fixed.interval) == (1.0, None)


@pytest.mark.parametrize("num_examples", [2, 5, 6, 50])
def test_p_value_of_a_constant_difference_depends_on_the_number_of_examples(num_examples):
    found = significance.compare_cells(np.ones((3, num_examples)), np.zeros((3, num_examples)))
    assert found.interval is None and found.p_value == 2 * 0.5**num_examples
    assert (found.p_value < 0.05) == (num_examples >= 6)


def test_rounding_errors_of_equal_scores_give_no_effect_size():
    a = np.array([[1.0] * 49 + [0.0]] * 5)
    a = np.array([np.roll(row, seed) for seed, row in enumerate(a)])
    b = np.array([[1.0] * 30 + [0.0] * 20])
    found = significance.compare_cells(a, b, is_random=(True, False))
    assert found.seed_variances == (0.0, 0.0) and found.effect_size is None


def test_comparison_on_one_example_has_no_p_value():
    found = significance.compare_cells(np.ones((3, 1)), np.array([[1.0], [0.0], [1.0]]))
    assert found.p_value is found.interval is None


def test_equal_scores_of_two_seeds_by_chance_are_not_significant():
    a, b = np.ones((2, 2, 10))
    a[0, 0] = a[1, 1] = 0  # 0.9 and 0.9
    b[0, [2, 3]] = b[1, [4, 5]] = 0  # 0.8 and 0.8
    found = significance.compare_cells(a, b)
    assert found.seed_variances == (0.0, 0.0)
    assert found.p_value > 0.05 and found.interval[0] < 0 < found.interval[1]


def test_compare_cells_refuses_different_numbers_of_examples():
    with pytest.raises(ValueError, match="not the same test split"):
        significance.compare_cells(np.ones((2, 5)), np.ones((2, 6)))


def test_computed_power_matches_the_rate_of_detection():
    rng = np.random.default_rng(1)
    # Normal scores, so that the true variances are known: 0.02 between seeds, 0.5 of an example.
    differences = rng.normal(0, 0.5, (1000, 400)).mean(axis=1)
    runs = rng.normal(0, 0.02, (1000, 2, 5))
    planned, came = [], []
    for difference, (first, second) in zip(differences, runs, strict=True):
        examples = rng.normal(0, 0.5, 400)
        examples += difference - examples.mean()
        a = 0.06 + first[:, np.newaxis] + examples
        b = second[:, np.newaxis] + np.zeros(400)
        found = significance.compare_cells(a, b)
        came.append(found.p_value < 0.05)
        planned.append(found.power(0.06, 0.05))
    assert np.mean(planned) == pytest.approx(np.mean(came), abs=0.04)


def test_seeds_needed_is_the_smallest_sufficient_number():
    rng = np.random.default_rng(2)
    found = significance.compare_cells(*simulate(rng, 3, 3000, 0.3, 0.0))
    needed = found.seeds_needed(0.02, 0.05)
    assert needed is not None and needed > 3
    assert found.power(0.02, 0.05, needed) >= 0.8 > found.power(0.02, 0.05, needed - 1)
    powers = [found.power(0.1, 0.01, num_seeds) for num_seeds in range(2, 200)]
    assert (np.diff(powers) >= -1e-9).all() and powers[-1] > 0.99
    few = significance.compare_cells(*simulate(rng, 3, 50, 0.0, 3.0))
    assert few.seeds_needed(0.005, 0.05) is None, "50 examples cannot reveal half a point"


def test_holm_matches_a_calculation_by_hand_and_keeps_the_level_of_the_family():
    # Worked by hand: 0.01 * 4, 0.015 * 3, 0.03 * 2, and 0.04 * 1 no less than the one before.
    found = significance.holm([0.04, 0.01, 0.03, 0.015])
    np.testing.assert_allclose(found, [0.06, 0.04, 0.06, 0.045])
    assert significance.holm([0.9, 0.8]).max() <= 1 and significance.holm([]).shape == (0,)
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(NUM_COMPARISONS):
        cells = simulate(rng, 3, 200, 0.1, 0.5, num_cells=3)
        pairs = ((0, 1), (0, 2), (1, 2))
        p = [significance.compare_cells(cells[i], cells[j]).p_value for i, j in pairs]
        false += significance.holm(p).min() < 0.05
    print(f"\nany of three comparisons after Holm: {false / NUM_COMPARISONS:.3f}")
    assert 0.02 <= false / NUM_COMPARISONS <= 0.06


# === Trained models ===


def test_share_of_equal_models_called_different_is_the_level_of_the_test():
    rng = np.random.default_rng(4)
    by_bootstrap = by_mcnemar = found_bootstrap = found_mcnemar = 0
    for _ in range(NUM_COMPARISONS):
        for gain in (0.0, 0.6):
            right = simulate(rng, 1, 400, 0.0, 1.0, gain)[:, 0]
            found = significance.compare_models(
                right[0], right[1], is_correct=(right[0] > 0, right[1] > 0), num_resamples=500
            )
            low, high = found.interval
            if gain:
                found_bootstrap += not low <= 0 <= high
                found_mcnemar += found.mcnemar_p_value < 0.05
            else:
                by_bootstrap += not low <= 0 <= high
                by_mcnemar += found.mcnemar_p_value < 0.05
    rates = np.array([by_bootstrap, by_mcnemar, found_bootstrap, found_mcnemar]) / NUM_COMPARISONS
    print(f"\nbootstrap, McNemar: type-I {rates[:2]}, power at 0.6 logits {rates[2:]}")
    assert (rates[:2] >= 0.03).all() and (rates[:2] <= 0.07).all()


def test_compare_models_matches_a_calculation_by_hand():
    a = np.array([1, 1, 1, 1, 0, 1.0])
    b = np.array([1, 0, 0, 0, 1, 1.0])
    found = significance.compare_models(a, b, is_correct=(a > 0, b > 0))
    assert (found.only_a_right, found.only_b_right) == (3, 1)
    # P(1 or fewer of 4) twice is 10 / 16, less the probability of 1 of 4, which is 4 / 16.
    assert found.mcnemar_p_value == pytest.approx(6 / 16)
    assert found.difference == pytest.approx(2 / 6)
    same = significance.compare_models(a, a, is_correct=(a > 0, a > 0))
    assert (same.interval, same.mcnemar_p_value, same.p_value) == (None, 1.0, 1.0)


def test_the_sign_flip_p_value_matches_a_calculation_by_hand():
    # Of the 16 signs of 4 differences, only all positive and all negative are as extreme.
    a = np.array([0.1, 0.2, 0.3, 0.4, 0.0, 0.0])
    found = significance.compare_models(a, np.zeros(6), num_resamples=20_000)
    assert found.p_value == pytest.approx(2 / 16, abs=0.01)
    # Equal differences: all of 6 examples, without a spread for an interval.
    constant = significance.compare_models(np.full(6, 0.5), np.zeros(6), num_resamples=20_000)
    assert constant.interval is None
    assert constant.p_value == pytest.approx(2 / 64, abs=0.005)
    without = significance.compare_models(a, np.zeros(6), num_resamples=0)
    assert without.interval is None and without.p_value == pytest.approx(2 / 16, abs=0.1)


def test_number_of_sign_flips_suffices_for_the_correction_of_many_comparisons():
    many = significance.compare_models(
        np.linspace(0.1, 1, 50), np.zeros(50), num_resamples=10, num_comparisons=1000
    )
    assert many.p_value * 1000 < 0.06


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss"])
@pytest.mark.parametrize(("num_rows", "prior"), [(60, (0.4, 0.3, 0.3)), (60, (0.8, 0.1, 0.1))])
def test_the_sign_flip_test_keeps_its_level_and_detects_better_models(metric, num_rows, prior):
    rng = np.random.default_rng(7)
    num_comparisons = 400
    significant = {0.0: 0, 1.5: 0}
    for gain in significant:
        for _ in range(num_comparisons):
            y_true = np.concatenate([[0, 1, 2], rng.choice(3, num_rows - 3, p=prior)])
            hard = rng.normal(0, 1.2, (num_rows, 3))
            values = []
            for margin in (1.0 + gain, 1.0):
                logits = hard + rng.normal(0, 0.8, hard.shape) + margin * np.eye(3)[y_true]
                p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
                values.append(evaluation.contributions(OneOf(3), metric, y_true, p))
            found = significance.compare_models(*values, num_resamples=400)
            significant[gain] += found.p_value < 0.05
    level, power = (count / num_comparisons for count in significant.values())
    print(f"\nsign-flip test by {metric}, {num_rows} rows: level {level:.3f}, power {power:.2f}")
    assert 0.01 <= level <= 0.07 and power > 0.4


# === Contributions of examples ===


@pytest.mark.parametrize(
    ("multi_label", "metric"),
    [
        (kind.is_multi_label, metric)
        for kind in (OneOf, MultiLabel)
        for metric in kind.comparison_metrics
    ],
)
def test_contributions_equal_the_values_or_pseudo_values_of_the_metric(multi_label, metric):
    rng = np.random.default_rng(0)
    n, names = 60, ("a", "b", "c")
    if multi_label:
        y_true = rng.random((n, 3)) < [0.5, 0.3, 0.1]
        p = np.clip(0.5 * y_true + 0.6 * rng.random((n, 3)), 0, 1)
        thresholds = np.array([0.5, 0.4, 0.6], np.float32)
    else:
        y_true = rng.choice(3, n, p=[0.6, 0.3, 0.1])
        p = rng.dirichlet([1, 1, 1], n) + np.eye(3)[y_true]
        p /= p.sum(axis=1, keepdims=True)
        thresholds = None

    def score(kept):
        report = evaluation.evaluate(
            y_true[kept],
            p[kept],
            class_names=names,
            multi_label=multi_label,
            thresholds=thresholds,
            bootstrap_samples=0,
        )
        return report.get(metric)

    task = task_of(multi_label=multi_label, num_classes=3)
    found = evaluation.contributions(task, metric, y_true, p, thresholds)
    everything = np.arange(n)
    whole = score(everything)
    without = np.array([score(np.delete(everything, j)) for j in range(n)])
    pseudo = n * whole - (n - 1) * without
    np.testing.assert_allclose(found, pseudo + whole - pseudo.mean(), atol=1e-9)
    assert found.mean() == pytest.approx(whole)


def test_contributions_of_a_class_with_one_example_do_not_raise_a_perfect_score():
    y_true = np.array([0] * 60 + [1] * 39 + [2])
    contributions = evaluation.contributions(OneOf(3), "macro_f1", y_true, np.eye(3)[y_true])
    assert contributions.mean() == 1.0


def test_contributions_refuses_a_metric_of_the_wrong_task():
    p = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="micro_f1"):
        evaluation.contributions(OneOf(2), "micro_f1", np.array([0, 1]), p)
    with pytest.raises(ValueError, match="accuracy"):
        evaluation.contributions(
            MultiLabel(2), "accuracy", np.ones((2, 2), bool), p, np.full(2, 0.5)
        )
