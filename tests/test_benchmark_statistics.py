"""The statistics of comparisons keep the error rates that they claim, on simulated runs.

`pytest -s` prints the error rates and the power beside them.
"""

import numpy as np
import pytest
from scipy import special

from textclf import evaluation
from textclf.study import significance

NUM_COMPARISONS = 2000


def simulate(rng, num_seeds, num_examples, between_seeds, between_cells, gain=0.0, num_cells=2):
    """float64 [cells, seeds, examples], 1 for an answer that is right.

    Examples differ in difficulty, cells in which of them they find hard, seeds in how well the
    training went; the rest is chance. With `gain` 0 the cells are equally good in expectation.
    """
    difficulty = rng.normal(1.5, 2, num_examples)
    taste = rng.normal(0, between_cells, (num_cells, 1, num_examples))
    luck = rng.normal(0, between_seeds, (num_cells, num_seeds, 1))
    logits = difficulty + taste + luck
    logits[0] += gain
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)


# === Which cell? ===


def two_sided(difference, parts):
    """The p-value of a difference from its variances, each with its degrees of freedom."""
    variance = sum(v for v, _ in parts)
    df = variance**2 / sum(v**2 / n for v, n in parts) if variance else 1
    return 2 * special.stdtr(df, -abs(difference) / np.sqrt(variance)) if variance else 1.0


def by_the_plain_sum(found, a, b):
    """The p-value if the noise of single answers is counted between seeds and between examples."""
    seeds = [(s2 / len(a), len(a) - 1) for s2 in found.seed_variances]
    examples = (a.mean(axis=0) - b.mean(axis=0)).var(ddof=1) / a.shape[1]
    return two_sided(found.difference, [*seeds, (examples, np.inf)])


def by_seeds_alone(found, a):
    """The p-value if the examples count as all that there are (Welch's test)."""
    return two_sided(found.difference, [(s2 / len(a), len(a) - 1) for s2 in found.seed_variances])


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize(("between_seeds", "between_cells"), [(0.02, 0.0), (0.4, 0.5), (0.02, 2)])
def test_equal_cells_are_told_apart_as_often_as_the_level_says(
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
        others += by_the_plain_sum(found, a, b) < 0.05, by_seeds_alone(found, a) < 0.05
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
def test_a_classifier_without_chance_is_compared_at_the_level_too(between_seeds):
    rng = np.random.default_rng(5)
    false = 0
    for _ in range(NUM_COMPARISONS):
        # Its answers are fixed, and as good as the cell's are in the mean over all seeds.
        fixed = rng.random(300) < 0.7
        drawn = rng.random((5, 300)) < 0.7 + between_seeds * rng.normal(0, 0.1, (5, 1))
        found = significance.compare_cells(
            drawn.astype(float), fixed[np.newaxis].astype(float), is_random=(True, False)
        )
        false += found.p_value < 0.05
    print(f"\nagainst a fixed classifier, {between_seeds}: {false / NUM_COMPARISONS:.3f}")
    assert 0.03 <= false / NUM_COMPARISONS <= 0.07


def test_a_hand_worked_comparison():
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


def test_one_seed_says_nothing_and_says_so():
    rng = np.random.default_rng(0)
    a, b = simulate(rng, 3, 100, 0.1, 0.1)
    found = significance.compare_cells(a[:1], b)
    assert found.difference == pytest.approx(a[0].mean() - b.mean())
    assert (found.p_value, found.interval, found.standard_error) == (None, None, None)
    with pytest.raises(ValueError, match="one seed"):
        found.power(0.01, 0.05)


def test_equal_answers_are_no_difference():
    a = simulate(np.random.default_rng(0), 3, 100, 0.1, 0.1)[0]
    assert significance.compare_cells(a, a).p_value == 1.0
    fixed = significance.compare_cells(a[:1], a[:1], is_random=(False, False))
    assert (fixed.p_value, fixed.interval) == (1.0, (0.0, 0.0))


def test_equal_scores_have_no_effect_size_of_rounding():
    a = np.array([[1.0] * 49 + [0.0]] * 5)
    a = np.array([np.roll(row, seed) for seed, row in enumerate(a)])
    b = np.array([[1.0] * 30 + [0.0] * 20])
    found = significance.compare_cells(a, b, is_random=(True, False))
    assert found.seed_variances == (0.0, 0.0) and found.effect_size is None


def test_one_example_says_nothing():
    found = significance.compare_cells(np.ones((3, 1)), np.array([[1.0], [0.0], [1.0]]))
    assert found.p_value is found.interval is None


def test_seeds_that_tie_by_chance_are_no_proof():
    a, b = np.ones((2, 2, 10))
    a[0, 0] = a[1, 1] = 0  # 0.9 and 0.9
    b[0, [2, 3]] = b[1, [4, 5]] = 0  # 0.8 and 0.8
    found = significance.compare_cells(a, b)
    assert found.seed_variances == (0.0, 0.0)
    assert found.p_value > 0.05 and found.interval[0] < 0 < found.interval[1]


def test_other_examples_are_refused():
    with pytest.raises(ValueError, match="not the same test split"):
        significance.compare_cells(np.ones((2, 5)), np.ones((2, 6)))


def test_the_power_that_is_planned_is_the_power_that_comes():
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


def test_the_seeds_needed_are_the_fewest_that_do():
    rng = np.random.default_rng(2)
    found = significance.compare_cells(*simulate(rng, 3, 3000, 0.3, 0.0))
    needed = found.seeds_needed(0.02, 0.05)
    assert needed is not None and needed > 3
    assert found.power(0.02, 0.05, needed) >= 0.8 > found.power(0.02, 0.05, needed - 1)
    powers = [found.power(0.1, 0.01, num_seeds) for num_seeds in range(2, 200)]
    assert (np.diff(powers) >= -1e-9).all() and powers[-1] > 0.99
    few = significance.compare_cells(*simulate(rng, 3, 50, 0.0, 3.0))
    assert few.seeds_needed(0.005, 0.05) is None, "50 examples never show half a point"


def test_holm_corrects_as_holm_did_and_keeps_the_level_of_the_family():
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


# === Which of these two models? ===


def test_two_equally_good_models_are_told_apart_as_often_as_the_level_says():
    rng = np.random.default_rng(4)
    by_bootstrap = by_mcnemar = found_bootstrap = found_mcnemar = 0
    for _ in range(NUM_COMPARISONS):
        for gain in (0.0, 0.6):
            right = simulate(rng, 1, 400, 0.0, 1.0, gain)[:, 0]
            found = significance.compare_models(
                right[0], right[1], right=(right[0] > 0, right[1] > 0), num_resamples=500
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


def test_a_hand_worked_comparison_of_models():
    a = np.array([1, 1, 1, 1, 0, 1.0])
    b = np.array([1, 0, 0, 0, 1, 1.0])
    found = significance.compare_models(a, b, right=(a > 0, b > 0))
    assert (found.only_a_right, found.only_b_right) == (3, 1)
    # P(1 or fewer of 4) twice is 10 / 16, less the probability of 1 of 4, which is 4 / 16.
    assert found.mcnemar_p_value == pytest.approx(6 / 16)
    assert found.difference == pytest.approx(2 / 6)
    same = significance.compare_models(a, a, right=(a > 0, a > 0))
    assert (same.interval, same.mcnemar_p_value) == ((0.0, 0.0), 1.0)


# === What an example contributes ===


@pytest.mark.parametrize(
    ("multi_label", "metric"),
    [(many, metric) for many in (False, True) for metric in evaluation.contributed(many)],
)
def test_contributions_are_values_or_pseudo_values_of_the_metric(multi_label, metric):
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

    found = evaluation.contributions(metric, y_true, p, thresholds)
    everything = np.arange(n)
    whole = score(everything)
    without = np.array([score(np.delete(everything, j)) for j in range(n)])
    pseudo = n * whole - (n - 1) * without
    np.testing.assert_allclose(found, pseudo + whole - pseudo.mean(), atol=1e-9)
    assert found.mean() == pytest.approx(whole)


def test_a_class_of_a_single_example_adds_nothing_to_a_perfect_score():
    y_true = np.array([0] * 60 + [1] * 39 + [2])
    assert evaluation.contributions("macro_f1", y_true, np.eye(3)[y_true]).mean() == 1.0


def test_a_metric_of_another_task_has_no_contributions():
    p = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="micro_f1"):
        evaluation.contributions("micro_f1", np.array([0, 1]), p)
    with pytest.raises(ValueError, match="accuracy"):
        evaluation.contributions("accuracy", np.ones((2, 2), bool), p, np.full(2, 0.5))
