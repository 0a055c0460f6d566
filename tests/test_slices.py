"""Slices of a split: planted bad slices are found, equally good ones are not, groups are complete."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact

from textclf.evaluation import Grouping, group_by_quantile, group_by_value, score_slices
from textclf.evaluation.slices import warnings_of
from textclf.tasks import MultiLabel, OneOf, Task


def planted(
    task: Task, rng: np.random.Generator, ids: np.ndarray, error_rates: list[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted classes, wrong with the rate of the group of the example."""
    n, rates = len(ids), np.array(error_rates)[ids]
    if isinstance(task, OneOf):
        y_true = rng.integers(0, task.num_outputs, n)
        shift = rng.integers(1, task.num_outputs, n)
        wrong = rng.random(n) < rates
        return y_true, np.where(wrong, (y_true + shift) % task.num_outputs, y_true)
    y_true = rng.random((n, task.num_outputs)) < 0.3
    return y_true, y_true ^ (rng.random(y_true.shape) < rates[:, np.newaxis])


@pytest.mark.parametrize("task", [OneOf(3), MultiLabel(4)], ids=["one_of", "multi_label"])
def test_planted_bad_slice_is_worse_and_equal_ones_are_not(task: Task) -> None:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 6, 1200)
    y_true, y_pred = planted(task, rng, ids, [0.1, 0.1, 0.3, 0.1, 0.1, 0.1])
    groups = {"country": Grouping(tuple("ABCDEF"), ids)}
    slices = score_slices(task, y_true, y_pred, groups, bootstrap_samples=200)
    assert [s.value for s in slices if s.is_worse] == ["C"]
    assert [s.num_examples for s in slices] == np.bincount(ids).tolist()
    bad = slices[2]
    assert bad.interval is not None and bad.rest is not None
    assert bad.interval[0] <= bad.score <= bad.interval[1] < bad.rest
    (sentence,) = warnings_of(slices, "score", 0.95)
    assert sentence.startswith(f"country 'C': score {bad.score:.3f} ({bad.num_examples} examples")
    assert "corrected for 6 slices" in sentence


@pytest.mark.parametrize("task", [OneOf(3), MultiLabel(4)], ids=["one_of", "multi_label"])
def test_equally_good_slices_are_rarely_called_worse_however_many_there_are(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textclf.evaluation.slices.NUM_SAMPLES", 2000)
    num_trials, num_false, num_uncorrected = 120, 0, 0
    for trial in range(num_trials):
        rng = np.random.default_rng(trial)
        ids = rng.integers(0, 15, 600)
        y_true, y_pred = planted(task, rng, ids, [0.2] * 15)
        groups = {"country": Grouping(tuple(map(str, range(15))), ids)}
        slices = score_slices(task, y_true, y_pred, groups, bootstrap_samples=0)
        num_false += any(s.is_worse for s in slices)
        num_uncorrected += any(s.p_value < 0.05 for s in slices if s.p_value is not None)
    # At a rate of 5 %, more than 12 of 120 have a probability of 0.6 %.
    assert num_false <= 12
    assert num_uncorrected > 30, "without correction, most trials must have a false warning"


def test_p_value_of_a_slice_equals_fishers_exact_test() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, 200)
    y_true, y_pred = planted(OneOf(2), rng, ids, [0.1, 0.2, 0.4])
    slices = score_slices(OneOf(2), y_true, y_pred, {"x": Grouping(("a", "b", "c"), ids)})
    right = y_true == y_pred
    raw = []
    for index, part in enumerate(slices):
        inside = ids == index
        table = [
            [(right & inside).sum(), (~right & inside).sum()],
            [(right & ~inside).sum(), (~right & ~inside).sum()],
        ]
        assert part.p_value == pytest.approx(fisher_exact(table, alternative="less").pvalue)
        assert part.score == pytest.approx(right[inside].mean())
        assert part.rest == pytest.approx(right[~inside].mean())
        raw.append(part.p_value)
    adjusted = [part.adjusted_p_value for part in slices]
    assert adjusted[int(np.argmin(raw))] == pytest.approx(3 * min(raw))
    assert all(p <= holm <= 1 for p, holm in zip(raw, adjusted, strict=True))


def test_adjusted_p_values_never_fall_from_a_smaller_to_a_larger_p_value() -> None:
    # Without this rule of Holm, a slice would be worse although one with a smaller p-value is not.
    ids = np.repeat([0, 1, 2, 3], [20, 20, 20, 40])
    y_pred = np.zeros(100, np.int64)
    y_pred[[*range(6), *range(20, 26), *range(40, 45)]] = 1
    groups = {"x": Grouping(tuple("abcd"), ids)}
    slices = score_slices(OneOf(2), np.zeros(100, np.int64), y_pred, groups, bootstrap_samples=0)
    in_order = sorted(slices, key=lambda part: part.p_value or 0.0)
    assert [part.value for part in in_order] == ["a", "b", "c", "d"]
    adjusted = [part.adjusted_p_value for part in in_order]
    assert adjusted[0] == adjusted[1] == pytest.approx(4 * in_order[0].p_value)
    assert adjusted == sorted(adjusted)


def test_slices_of_all_columns_are_corrected_together() -> None:
    rng = np.random.default_rng(2)
    y_true, y_pred = planted(OneOf(2), rng, np.zeros(200, np.int64), [0.2])
    ids = [rng.integers(0, 2, 200) for _ in range(5)]
    groups = {f"column {number}": Grouping(("a", "b"), part) for number, part in enumerate(ids)}
    slices = score_slices(OneOf(2), y_true, y_pred, groups, bootstrap_samples=0)
    smallest = min(slices, key=lambda part: part.p_value or 0.0)
    assert smallest.adjusted_p_value == pytest.approx(min(1, 10 * smallest.p_value))
    assert 10 * smallest.p_value < 1, "the p-value must be small for this test to mean anything"


def test_level_of_the_warnings_is_that_of_the_intervals() -> None:
    ids = np.repeat([0, 1], [20, 180])
    y_pred = np.zeros(200, np.int64)
    y_pred[[*range(6), *range(20, 36)]] = 1
    groups = {"x": Grouping(("few", "many"), ids)}
    verdicts = {}
    for confidence in (0.9, 0.95, 0.99):
        slices = score_slices(
            OneOf(2), np.zeros(200, np.int64), y_pred, groups, confidence=confidence
        )
        verdicts[confidence] = slices[0].is_worse
    p = slices[0].adjusted_p_value
    assert 0.01 < p < 0.05, "the p-value must be between the levels"
    assert verdicts == {0.9: True, 0.95: True, 0.99: False}


def test_monte_carlo_p_value_of_single_labels_is_close_to_the_exact_one() -> None:
    rng = np.random.default_rng(3)
    ids = (rng.random(300) < 0.2).astype(int)
    y_true, y_pred = planted(OneOf(3), rng, ids, [0.2, 0.3])
    groups = {"x": Grouping(("a", "b"), ids)}
    exact = score_slices(OneOf(3), y_true, y_pred, groups, bootstrap_samples=0)
    # One label each as several labels: micro F1 is the accuracy.
    one_hot = [np.equal.outer(classes, np.arange(3)) for classes in (y_true, y_pred)]
    sampled = score_slices(MultiLabel(3), *one_hot, groups, bootstrap_samples=0)
    for a, b in zip(exact, sampled, strict=True):
        assert b.score == pytest.approx(a.score)
        assert b.p_value == pytest.approx(a.p_value, abs=0.02)


def test_slice_of_all_examples_has_no_test() -> None:
    y_true, y_pred = np.array([0, 1] * 10), np.zeros(20, int)
    groups = {"x": Grouping(("a",), np.zeros(20, int))}
    (only,) = score_slices(OneOf(2), y_true, y_pred, groups)
    assert (only.score, only.rest, only.p_value, only.is_worse) == (0.5, None, None, False)


def test_quantile_groups_contain_all_values_and_equal_values_are_together() -> None:
    values = np.array([0, 0, 0, 0, 0, 3, 5, 9])
    grouping = group_by_quantile(values, 4)
    assert grouping.names == ("0", "3", "5 to 9")
    assert grouping.ids.tolist() == [0, 0, 0, 0, 0, 1, 2, 2]


def test_rare_values_are_one_group_after_the_frequent_ones() -> None:
    ids = np.array([0] * 12 + [1] * 20 + [2] * 3 + [3] * 9)
    grouping = group_by_value(["DE", "", "FR", "x"], ids)
    assert grouping.names == ("(empty)", "DE", "(2 other values)")
    assert np.bincount(grouping.ids).tolist() == [20, 12, 12]


@pytest.mark.parametrize("changes", [{"seed": 0}, {"seed": 0, "confidence": 0.99}])
def test_slices_are_reproducible_and_follow_the_level(changes: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    ids = rng.integers(0, 2, 100)
    y_true, y_pred = planted(MultiLabel(3), rng, ids, [0.1, 0.2])
    groups = {"x": Grouping(("a", "b"), ids)}
    first, second = (
        score_slices(MultiLabel(3), y_true, y_pred, groups, bootstrap_samples=50, **changes)
        for _ in range(2)
    )
    assert first == second
