"""Tests of metrics, intervals, calibration, thresholds and reports.

References are hand-worked examples, scikit-learn and SciPy.
"""

import dataclasses
import json
import math
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference
from sklearn.exceptions import UndefinedMetricWarning

from textclf.errors import DataError
from textclf.evaluation import (
    ClassCurves,
    Report,
    choose_abstention,
    choose_thresholds,
    class_curves,
    evaluate,
    fit_temperature,
    metric_names,
)
from textclf.tasks import MultiLabel, OneOf, task_of

ABC = ("a", "b", "c")


def one_of(true: str, predicted: str, *, sure: float = 0.8, **settings: Any) -> Report:
    """Evaluate predictions written as letters, each with probability `sure`."""
    y_true = np.array([ABC.index(letter) for letter in true])
    p = np.full((len(true), 3), (1 - sure) / 2)
    p[np.arange(len(true)), [ABC.index(letter) for letter in predicted]] = sure
    return evaluate(y_true, p, class_names=ABC, multi_label=False, **settings)


def several(true: list[str], predicted: list[str], **settings: Any) -> Report:
    """Evaluate sets of classes written as strings of letters, "" for no class."""
    y_true = np.array([[letter in row for letter in ABC] for row in true])
    p = np.array([[0.9 if letter in row else 0.2 for letter in ABC] for row in predicted])
    return evaluate(y_true, p, class_names=ABC, multi_label=True, **settings)


def random_one_of(n: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(num_classes), n)
    # Half of the true classes follow the probabilities, so that scores are neither 0 nor 1.
    likely = np.array([rng.choice(num_classes, p=row) for row in p])
    return np.where(rng.random(n) < 0.5, likely, rng.integers(0, num_classes, n)), p


# === Metrics ===


def test_one_of_metrics_equal_a_hand_worked_example_of_three_classes():
    report = one_of("aaabbc", "aabbcc")
    assert report.confusion_matrix == ((2, 1, 0), (0, 1, 1), (0, 0, 1))
    assert report.get("accuracy") == pytest.approx(4 / 6)
    assert [c.precision for c in report.classes] == pytest.approx([1, 1 / 2, 1 / 2])
    assert [c.recall for c in report.classes] == pytest.approx([2 / 3, 1 / 2, 1])
    assert [c.f1 for c in report.classes] == pytest.approx([4 / 5, 1 / 2, 2 / 3])
    assert [c.support for c in report.classes] == [3, 2, 1]
    assert [c.num_predicted for c in report.classes] == [2, 2, 2]
    assert report.get("macro_precision") == pytest.approx(2 / 3)
    assert report.get("macro_recall") == pytest.approx(13 / 18)
    assert report.get("macro_f1") == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert report.get("weighted_precision") == pytest.approx((3 * 1 + 2 / 2 + 1 / 2) / 6)
    assert report.get("weighted_recall") == pytest.approx(4 / 6)
    assert report.get("weighted_f1") == pytest.approx((3 * 4 / 5 + 2 / 2 + 2 / 3) / 6)
    assert report.get("log_loss") == pytest.approx(-(4 * math.log(0.8) + 2 * math.log(0.1)) / 6)
    assert report.get("calibration_error") == pytest.approx(0.8 - 4 / 6)
    assert report.num_examples == 6
    assert report.notes == (
        "too few examples for an interval of macro F1: it needs an average of 4 per class, "
        "there are 2.0",
    )


def test_multi_label_metrics_equal_a_hand_worked_example():
    report = several(["a", "ab", "", "b", "bc"], ["a", "a", "b", "b", "c"])
    assert report.confusion_matrix is None
    a, b, c = report.classes
    assert (a.precision, a.recall, a.f1, a.support, a.num_predicted) == (1, 1, 1, 2, 2)
    assert (b.precision, b.recall, b.support, b.num_predicted) == (
        1 / 2,
        pytest.approx(1 / 3),
        3,
        2,
    )
    assert b.f1 == pytest.approx(2 / 5)
    assert (c.precision, c.recall, c.f1, c.support) == (1, 1, 1, 1)
    assert report.get("micro_precision") == pytest.approx(4 / 5)
    assert report.get("micro_recall") == pytest.approx(4 / 6)
    assert report.get("micro_f1") == pytest.approx(8 / 11)
    assert report.get("macro_f1") == pytest.approx((1 + 2 / 5 + 1) / 3)
    assert report.get("weighted_f1") == pytest.approx((2 + 3 * 2 / 5 + 1) / 6)
    assert report.get("subset_accuracy") == pytest.approx(2 / 5)
    assert report.get("hamming_loss") == pytest.approx(3 / 15)
    # At .9: 4 true and 1 false positives. At .2: 2 false and 8 true negatives.
    cost = 4 * math.log(0.9) + math.log(0.1) + 2 * math.log(0.2) + 8 * math.log(0.8)
    assert report.get("log_loss") == pytest.approx(-cost / 15)
    assert report.get("calibration_error") == pytest.approx((5 * (0.9 - 4 / 5)) / 15)
    assert report.notes[0] == "1 of 5 examples have no class"


def test_roc_auc_counts_correctly_ordered_pairs_and_half_of_the_ties():
    y_true = np.array([0, 0, 1, 1])
    for column, area in (([0.1, 0.4, 0.35, 0.8], 3 / 4), ([0.1, 0.4, 0.4, 0.8], 3.5 / 4)):
        second = np.array(column)
        p = np.stack([1 - second, second], axis=1)
        report = evaluate(y_true, p, class_names=("no", "yes"), multi_label=False)
        assert report.get("roc_auc") == pytest.approx(area)


@given(n=st.integers(1, 60), num_classes=st.integers(2, 6), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_one_of_metrics_agree_with_scikit_learn(n: int, num_classes: int, seed: int):
    y_true, p = random_one_of(n, num_classes, seed)
    names = [f"class {c}" for c in range(num_classes)]
    report = evaluate(y_true, p, class_names=names, multi_label=False, bootstrap_samples=0)
    y_pred, ids = p.argmax(axis=1), range(num_classes)
    assert report.get("accuracy") == pytest.approx(reference.accuracy_score(y_true, y_pred))
    expected = reference.precision_recall_fscore_support(
        y_true, y_pred, labels=ids, zero_division=0
    )
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [getattr(scores, name) for scores in report.classes] == pytest.approx(values)
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(
            y_true, y_pred, labels=ids, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert report.get(f"{average}_{name}") == pytest.approx(value)
    assert report.get("log_loss") == pytest.approx(reference.log_loss(y_true, p, labels=ids))
    matrix = reference.confusion_matrix(y_true, y_pred, labels=ids)
    assert np.array_equal(np.array(report.confusion_matrix), matrix)
    present = [c for c in ids if 0 < (y_true == c).sum() < n]
    if num_classes == 2:
        present = present[1:]
    areas = [reference.roc_auc_score(y_true == c, p[:, c]) for c in present]
    assert report.metrics["roc_auc"] == (pytest.approx(np.mean(areas)) if areas else None)
    present = [c for c in ids if 0 < (y_true == c).sum() < n]
    precisions = [reference.average_precision_score(y_true == c, p[:, c]) for c in present]
    assert report.metrics["average_precision"] == (
        pytest.approx(np.mean(precisions)) if precisions else None
    )
    assert [report.classes[c].average_precision for c in present] == pytest.approx(precisions)
    if len({*y_true, *y_pred}) > 1:
        kappa = reference.cohen_kappa_score(y_true, y_pred)
        assert report.get("cohen_kappa") == pytest.approx(kappa)
        assert report.get("mcc") == pytest.approx(reference.matthews_corrcoef(y_true, y_pred))
    if num_classes == 2:
        brier = reference.brier_score_loss(y_true, p[:, 1], labels=[0, 1], pos_label=1)
        assert report.get("brier_loss") == pytest.approx(brier)
    else:
        one_hot = np.eye(num_classes)[y_true]
        assert report.get("brier_loss") == pytest.approx(((p - one_hot) ** 2).sum() / n / 2)
    if num_classes == 6:
        top_3 = np.mean([y in np.argsort(-row)[:3] for y, row in zip(y_true, p, strict=True)])
        assert report.get("top_3_accuracy") == pytest.approx(top_3)


@given(n=st.integers(1, 60), num_classes=st.integers(1, 6), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_multi_label_metrics_agree_with_scikit_learn(n: int, num_classes: int, seed: int):
    rng = np.random.default_rng(seed)
    p = rng.random((n, num_classes)).round(1)  # rounded: ties and values on the thresholds
    y_true = rng.random((n, num_classes)) < p / 2
    thresholds = rng.choice([0.3, 0.5, 0.7], num_classes)
    names = [f"class {c}" for c in range(num_classes)]
    report = evaluate(
        y_true, p, class_names=names, multi_label=True, thresholds=thresholds, bootstrap_samples=0
    )
    y_pred = p >= thresholds
    assert [c.threshold for c in report.classes] == list(thresholds)
    for average in ("micro", "macro", "weighted"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            expected = reference.precision_recall_fscore_support(
                y_true.astype(int), y_pred.astype(int), average=average, zero_division=0,
                labels=range(num_classes) if num_classes > 1 else [1],
            )  # fmt: skip
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            if f"{average}_{name}" in report.metrics:
                assert report.get(f"{average}_{name}") == pytest.approx(value)
    assert report.get("hamming_loss") == pytest.approx((y_true != y_pred).mean())
    assert report.get("subset_accuracy") == pytest.approx((y_true == y_pred).all(1).mean())
    losses = [
        reference.log_loss(y_true[:, c], np.clip(p[:, c], 2**-23, 1 - 2**-23), labels=[0, 1])
        for c in range(num_classes)
    ]
    assert report.get("log_loss") == pytest.approx(np.mean(losses))
    present = [c for c in range(num_classes) if 0 < y_true[:, c].sum() < n]
    areas = [reference.roc_auc_score(y_true[:, c], p[:, c]) for c in present]
    assert report.metrics["roc_auc"] == (pytest.approx(np.mean(areas)) if areas else None)
    precisions = [reference.average_precision_score(y_true[:, c], p[:, c]) for c in present]
    assert report.metrics["average_precision"] == (
        pytest.approx(np.mean(precisions)) if precisions else None
    )
    assert report.get("brier_loss") == pytest.approx(((p - y_true) ** 2).mean())


def test_kappa_is_undefined_and_mcc_0_if_truth_and_predictions_are_one_class():
    report = one_of("aaa", "aaa")
    assert report.metrics["cohen_kappa"] is None and report.get("mcc") == 0


def test_top_k_accuracies_need_twice_as_many_classes():
    names = []
    for num_classes in (5, 6, 10, 20):
        y_true, p = random_one_of(50, num_classes)
        report = evaluate(y_true, p, class_names=range(num_classes), multi_label=False)
        names.append([name for name in report.metrics if name.startswith("top_")])
    assert names == [
        [],
        ["top_3_accuracy"],
        ["top_3_accuracy", "top_5_accuracy"],
        ["top_3_accuracy", "top_5_accuracy", "top_10_accuracy"],
    ]


@pytest.mark.parametrize("num_classes", [1, 2, 7, 28])
@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_metric_names_are_those_of_a_report_in_their_order(multi_label: bool, num_classes: int):
    num_classes = max(num_classes, 1 if multi_label else 2)
    y_true, p = random_one_of(60, num_classes)
    if multi_label:
        y_true = np.eye(num_classes, dtype=bool)[y_true]
    names = [str(c) for c in range(num_classes)]
    report = evaluate(y_true, p, class_names=names, multi_label=multi_label, temperature=1.0)
    assert tuple(report.metrics) == metric_names(report.task)


def test_curves_equal_a_hand_worked_example():
    p = np.array([0.1, 0.4, 0.35, 0.8])
    (curves,) = class_curves(np.array([[False], [False], [True], [True]]), p[:, None], ("yes",))
    # Selected are, from the lowest threshold: 4, 3, 2 and 1 examples with 2, 2, 1 and 1 positives.
    expected = [(0.1, 2 / 4, 1), (0.35, 2 / 3, 1), (0.4, 1 / 2, 1 / 2), (0.8, 1, 1 / 2)]
    assert np.array(curves.precision_recall) == pytest.approx(np.array(expected))
    assert curves.average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert curves.roc == (
        *((None, 0, 0), (0.8, 0, 0.5), (0.4, 0.5, 0.5), (0.35, 0.5, 1), (0.1, 1, 1)),
    )
    assert curves.roc_auc == pytest.approx(3 / 4)


def test_thinned_curves_keep_their_ends_and_their_area():
    rng = np.random.default_rng(0)
    is_positive = rng.random((20_000, 1)) < 0.3
    p = rng.normal(is_positive, 1.0)
    (curves,) = class_curves(is_positive, p, ("yes",))
    assert 100 < len(curves.precision_recall) <= 200 and 100 < len(curves.roc) <= 200
    _, false_rates, true_rates = map(np.array, zip(*curves.roc, strict=True))
    assert (false_rates[0], true_rates[0], false_rates[-1], true_rates[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true_rates, false_rates) == pytest.approx(curves.roc_auc, abs=0.002)
    _, precision, recall = map(np.array, zip(*curves.precision_recall, strict=True))
    assert recall[0] == 1 and recall[-1] < 0.02
    area = (np.diff(-recall) * (precision[:-1] + precision[1:]) / 2).sum()
    assert area == pytest.approx(curves.average_precision, abs=0.02)


def test_curves_of_a_class_without_examples_are_empty():
    curves = class_curves(np.zeros((3, 1), bool), np.full((3, 1), 0.5), ("yes",))
    assert curves[0] == ClassCurves("yes", None, None, (), ())
    json.dumps([dataclasses.asdict(curve) for curve in curves], allow_nan=False)


def test_log_loss_of_a_wrong_certain_prediction_is_equal_in_float32_and_float64():
    for dtype in (np.float32, np.float64):
        p = np.array([[1, 0]], dtype=dtype)
        report = evaluate(np.array([1]), p, class_names=("no", "yes"), multi_label=False)
        assert report.get("log_loss") == pytest.approx(23 * math.log(2))


# === Calibration ===


def test_calibration_error_weights_bins_by_their_number_of_examples():
    # .65 twice, right once: gap .15. .95 six times, always right: gap .05.
    second = np.array([0.65, 0.65] + [0.95] * 6)
    p = np.stack([1 - second, second], axis=1)
    y_true = np.array([1, 0] + [1] * 6)
    report = evaluate(y_true, p, class_names=("no", "yes"), multi_label=False, calibration_bins=10)
    assert report.get("calibration_error") == pytest.approx((2 * 0.15 + 6 * 0.05) / 8)
    filled = {round(b.lower, 1): (b.count, b.accuracy) for b in report.calibration if b.count}
    assert filled == {0.6: (2, 0.5), 0.9: (6, 1.0)}
    empty = report.calibration[0]
    assert (empty.lower, empty.count, empty.mean_confidence, empty.accuracy) == (0, 0, None, None)


def test_calibration_bins_include_their_upper_edge_and_the_first_bin_zero():
    p = np.array([[0.0], [0.25], [0.5], [0.500001], [1.0]])
    report = evaluate(
        np.zeros((5, 1), bool), p, class_names="x", multi_label=True, calibration_bins=4
    )
    assert [b.count for b in report.calibration] == [2, 1, 1, 1]
    assert [b.upper for b in report.calibration] == [0.25, 0.5, 0.75, 1.0]


def test_calibration_error_is_small_for_calibrated_and_large_for_sharpened_probabilities():
    rng = np.random.default_rng(0)
    second = rng.random(20_000)
    y_true = (rng.random(20_000) < second).astype(int)
    sharp = second**4 / (second**4 + (1 - second) ** 4)
    errors = [
        evaluate(
            y_true,
            np.stack([1 - q, q], 1),
            class_names="ab",
            multi_label=False,
            bootstrap_samples=0,
        ).get("calibration_error")
        for q in (second, sharp)
    ]
    assert errors[0] < 0.02 and errors[1] > 0.1


# === Invariances ===


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_order_of_examples_does_not_change_the_report(multi_label: bool):
    y_true, p = random_one_of(300, 4)
    if multi_label:
        y_true = np.random.default_rng(1).random((300, 4)) < p
    num_tokens = np.arange(300) % 37
    order = np.random.default_rng(2).permutation(300)
    known: dict[str, Any] = {"class_names": "abcd", "multi_label": multi_label}
    report = evaluate(y_true, p, num_tokens=num_tokens, truncated=num_tokens > 30, **known)
    reordered = evaluate(
        y_true[order], p[order], num_tokens=num_tokens[order],
        truncated=num_tokens[order] > 30, **known,
    )  # fmt: skip
    assert reordered.metrics == pytest.approx(report.metrics)
    assert reordered.intervals == report.intervals, "the intervals must be bitwise equal"
    for field in ("classes", "confusion_matrix", "by_length", "truncated", "notes"):
        assert getattr(reordered, field) == getattr(report, field)


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_order_of_classes_does_not_change_the_metrics(multi_label: bool):
    y_true, p = random_one_of(300, 4)
    p[:, 3] *= 0.3  # makes the classes differ
    p /= p.sum(axis=1, keepdims=True)
    order = np.array([2, 0, 3, 1])
    if multi_label:
        y_true = np.random.default_rng(1).random((300, 4)) < p
        moved = y_true[:, order]
    else:
        moved = np.argsort(order)[y_true]
    thresholds = np.array([0.1, 0.2, 0.3, 0.4]) if multi_label else None
    report = evaluate(y_true, p, class_names="abcd", multi_label=multi_label, thresholds=thresholds)
    reordered = evaluate(
        moved, p[:, order], class_names="cadb", multi_label=multi_label,
        thresholds=None if thresholds is None else thresholds[order],
    )  # fmt: skip
    assert reordered.metrics == pytest.approx(report.metrics)
    assert {c.name: c for c in reordered.classes} == {c.name: c for c in report.classes}
    for name, interval in report.intervals.items():
        assert reordered.intervals[name] == pytest.approx(interval, abs=0.02)


def test_evaluate_accepts_float32_probabilities_and_lists():
    y_true, p = random_one_of(50, 3)
    known: dict[str, Any] = {"class_names": ABC, "multi_label": False}
    exact = evaluate(y_true, p, **known)
    single = evaluate(y_true.tolist(), p.astype(np.float32), **known)
    assert single.confusion_matrix == exact.confusion_matrix
    assert single.metrics == pytest.approx(exact.metrics, abs=1e-5)


# === Missing classes, perfect and constant predictions ===


def test_class_without_examples_counts_as_zero_in_macro_averages_and_is_in_a_note():
    report = one_of("aabb", "aabb")
    assert report.classes[2].support == 0 and report.classes[2].f1 == 0
    assert report.get("accuracy") == 1 and report.get("weighted_f1") == 1
    assert report.get("macro_f1") == pytest.approx(2 / 3)
    assert any("no example has 'c'" in note for note in report.notes)
    assert any("average precision skip" in note and "'c'" in note for note in report.notes)
    assert report.get("roc_auc") == 1


def test_roc_auc_is_undefined_if_all_examples_have_the_same_class():
    report = one_of("aaa", "aab")
    assert report.metrics["roc_auc"] is None
    assert any("ROC-AUC and average precision are undefined" in note for note in report.notes)
    assert report.get("macro_f1") == pytest.approx(0.8 / 3)


@pytest.mark.parametrize("fill", [False, True])
def test_multi_label_evaluation_works_without_positives_and_without_negatives(fill: bool):
    y_true = np.full((4, 2), fill)
    report = evaluate(y_true, np.full((4, 2), 0.3), class_names="ab", multi_label=True)
    assert report.metrics["roc_auc"] is None
    assert report.get("micro_f1") == report.get("macro_f1") == report.get("weighted_f1") == 0
    assert any("4 of 4 examples are predicted to have no class" in note for note in report.notes)


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
@pytest.mark.parametrize("num_classes", [2, 28, 100])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_intervals_of_perfect_predictions_end_at_1_and_start_below_1(
    num_classes: int, multi_label: bool, confidence: float
):
    names = [str(c) for c in range(num_classes)]
    y_true = np.arange(4 * num_classes) % num_classes
    p = np.eye(num_classes)[y_true]
    report = evaluate(
        p > 0 if multi_label else y_true, p, class_names=names, multi_label=multi_label,
        confidence=confidence,
    )  # fmt: skip
    assert len(report.intervals) == (3 if multi_label else 2)
    for low, high in report.intervals.values():
        assert 1 - 20 / len(y_true) < low < 1 - 0.1 / len(y_true) and high == 1
    for scores in report.classes:
        for low, high in (scores.precision_interval, scores.recall_interval, scores.f1_interval):
            assert 0.3 < low < 0.9 and high == 1


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_intervals_of_wrong_predictions_start_at_0_and_end_above_0(multi_label: bool):
    y_true = np.arange(40) % 4
    p = np.eye(4)[(y_true + 1) % 4]
    truth = np.eye(4, dtype=bool)[y_true] if multi_label else y_true
    report = evaluate(truth, p, class_names="abcd", multi_label=multi_label)
    assert len(report.intervals) == (3 if multi_label else 2)
    for low, high in report.intervals.values():
        assert low == 0 and 0 < high < 0.2
    for scores in report.classes:
        for low, high in (scores.precision_interval, scores.recall_interval, scores.f1_interval):
            assert low == 0 and 0 < high < 0.5


def test_constant_predictions_are_reported_in_a_note():
    report = one_of("aabbc", "aaaaa")
    assert report.get("accuracy") == pytest.approx(2 / 5)
    assert report.get("macro_f1") == pytest.approx((4 / 7) / 3)
    assert report.notes[0] == "every prediction is 'a'"


def test_class_without_predictions_is_reported_in_a_note():
    assert one_of("aabbc" * 3, "aabba" * 3).notes == (
        "never predicted, although examples have it: 'c'",
    )


def test_notes_list_at_most_10_classes_and_count_the_rest():
    names = [f"class {c}" for c in range(30)]
    report = evaluate(np.array([0]), np.full((1, 30), 1 / 30), class_names=names, multi_label=False)
    assert any("'class 10' and 19 more" in note for note in report.notes)


def test_evaluate_accepts_one_class_and_one_example():
    report = evaluate(np.array([0]), np.ones((1, 1)), class_names=["only"], multi_label=False)
    assert report.get("accuracy") == 1 and report.confusion_matrix == ((1,),)


# === Intervals ===


def test_intervals_are_reproducible_with_the_same_seed():
    first, again, other = (one_of("aaabbc" * 9, "aabbcc" * 9, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.intervals != other.intervals and first.metrics == other.metrics


def test_intervals_do_not_depend_on_the_chunk_size_of_the_bootstrap(
    monkeypatch: pytest.MonkeyPatch,
):
    one_chunk = one_of("aaabbc" * 9, "aabbcc" * 9)
    monkeypatch.setattr("textclf.evaluation.intervals.MAX_BOOTSTRAP_CELLS", 40)
    chunked = one_of("aaabbc" * 9, "aabbcc" * 9)
    for name, interval in one_chunk.intervals.items():
        assert chunked.intervals[name] == pytest.approx(interval, rel=1e-9)


def test_report_has_no_intervals_with_zero_bootstrap_samples():
    report = one_of("abc" * 4, "abc" * 4, bootstrap_samples=0)
    assert report.intervals == {} and report.notes == ()
    for scores in report.classes:
        assert scores.precision_interval is scores.recall_interval is scores.f1_interval is None


def test_macro_f1_interval_requires_4_examples_per_class_on_average_and_1_of_each():
    assert "macro_f1" in one_of("abc" * 4, "abc" * 4).intervals
    assert "macro_f1" in one_of("a" * 10 + "bc", "a" * 10 + "bc").intervals, "4 on average"
    few = one_of("abc" * 3 + "ab", "abc" * 3 + "ab")
    assert set(few.intervals) == {"accuracy"}
    assert few.notes == (
        "too few examples for an interval of macro F1: it needs an average of 4 per class, "
        "there are 3.7",
    )
    absent = one_of("ab" * 20, "ab" * 20)
    assert set(absent.intervals) == {"accuracy"}
    assert (
        "too few examples for an interval of macro F1: it needs an example of each class"
        in absent.notes
    )


def test_multi_label_report_without_positives_has_no_f1_interval():
    y_true = np.zeros((40, 3), bool)
    report = evaluate(y_true, np.full((40, 3), 0.9), class_names=ABC, multi_label=True)
    assert set(report.intervals) == {"subset_accuracy"}
    y_true[:20, 0] = True  # two classes have no positives, but all classes together have some
    report = evaluate(y_true, np.full((40, 3), 0.9), class_names=ABC, multi_label=True)
    assert set(report.intervals) == {"subset_accuracy", "micro_f1"}
    assert report.classes[1].recall_interval is None
    assert report.classes[1].precision_interval == pytest.approx((0, 0.0876), abs=1e-4)


def test_precision_and_recall_intervals_equal_the_wilson_intervals_of_scipy():
    """The F1 interval is computed from the interval of the Jaccard index."""
    report = one_of("a" * 12 + "b" * 9 + "c" * 4, "a" * 10 + "bb" + "b" * 7 + "ac" + "cccb")

    def wilson(count: int, total: int) -> Any:
        return pytest.approx(tuple(binomtest(count, total).proportion_ci(method="wilson")))

    a = report.classes[0]
    assert a.recall_interval == wilson(10, 12) and a.precision_interval == wilson(10, 11)
    low, high = binomtest(10, 13).proportion_ci(method="wilson")
    assert a.f1_interval == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    assert report.intervals["accuracy"] == wilson(20, 25)


@pytest.mark.parametrize("rows", [4, 10])
@pytest.mark.parametrize("num_classes", [2, 28])
@pytest.mark.parametrize("recall", [0.7, 0.95])
def test_macro_f1_intervals_cover_the_population_score_at_their_level(
    num_classes: int, rows: int, recall: float
):
    """The coverages have a standard deviation of 0.8 points (28 classes: 1.5)."""
    rng = np.random.default_rng(0)
    y_true = np.repeat(np.arange(num_classes), rows)
    trials, covered = 800 if num_classes == 2 else 200, 0
    for trial in range(trials):
        # Wrong predictions are spread evenly, so precision, recall and F1 are equal.
        other = (y_true + rng.integers(1, num_classes, len(y_true))) % num_classes
        y_pred = np.where(rng.random(len(y_true)) < recall, y_true, other)
        report = evaluate(
            y_true, np.eye(num_classes)[y_pred], class_names=list(map(str, range(num_classes))),
            multi_label=False, bootstrap_samples=200, seed=trial,
        )  # fmt: skip
        low, high = report.intervals["macro_f1"]
        assert low <= report.get("macro_f1") <= high
        covered += low <= recall <= high
    assert covered / trials >= (0.93 if rows == 10 else 0.9)


def test_accuracy_interval_is_close_to_the_normal_approximation_for_1000_examples():
    report = one_of("a" * 1000, "a" * 800 + "b" * 200, bootstrap_samples=4000)
    low, high = report.intervals["accuracy"]
    half = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.002)


def test_intervals_are_wider_at_a_higher_confidence_level():
    narrow, wide = (
        one_of("aaabbc" * 20, "aabbcc" * 20, confidence=level).intervals["macro_f1"]
        for level in (0.8, 0.99)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_intervals_agree_with_a_plain_bootstrap_over_examples(multi_label: bool):
    y_true, p = random_one_of(120, 3)
    if multi_label:  # classes of different size and score, so that micro and macro differ
        y_true = np.random.default_rng(1).random((120, 3)) < p * [1, 0.6, 0.2]
    report = evaluate(y_true, p, class_names=ABC, multi_label=multi_label, bootstrap_samples=2000)
    rng = np.random.default_rng(5)
    name = "micro_f1" if multi_label else "accuracy"
    drawn: dict[str, list[float]] = {name: [], "macro_f1": []}
    for _ in range(400):
        rows = rng.integers(0, 120, 120)
        resampled = evaluate(
            y_true[rows], p[rows], class_names=ABC, multi_label=multi_label, bootstrap_samples=0
        )
        for key, values in drawn.items():
            values.append(resampled.get(key))
    assert set(report.intervals) - set(drawn) == ({"subset_accuracy"} if multi_label else set())
    for key, values in drawn.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert report.intervals[key] == pytest.approx((low, high), abs=0.03)


def test_multi_label_intervals_cover_the_population_scores_at_their_level():
    """The errors of a row are correlated; the coverages have a standard deviation of 1 point."""
    rng = np.random.default_rng(0)
    num_rows, num_classes, recall, trials = 8, 6, 0.8, 400
    covered = dict.fromkeys(("micro_f1", "macro_f1"), 0)
    for trial in range(trials):
        y_true = np.zeros((num_rows, num_classes), bool)
        for c in range(num_classes):
            y_true[(np.arange(4) + c) % num_rows, c] = True
        # A row with errors has equal expected numbers of false negatives and false positives.
        error = rng.choice([0.0, 2 * (1 - recall)], (num_rows, 1))
        y_pred = y_true ^ (rng.random(y_true.shape) < error)
        report = evaluate(
            y_true, y_pred.astype(float), class_names="abcdef", multi_label=True,
            bootstrap_samples=200, seed=trial,
        )  # fmt: skip
        for name in covered:
            low, high = report.intervals[name]
            covered[name] += low <= recall <= high
    assert min(covered.values()) / trials >= 0.93


def test_report_from_dict_accepts_classes_without_intervals():
    values = one_of("abc" * 4, "abc" * 4).to_dict()
    for scores in values["classes"]:
        for name in ("precision_interval", "recall_interval", "f1_interval"):
            del scores[name]
    assert Report.from_dict(values).classes[0].f1_interval is None


def test_accuracy_intervals_cover_the_true_accuracy_at_their_level():
    rng = np.random.default_rng(0)
    p = np.tile([0.3, 0.7], (150, 1))
    covered = 0
    for trial in range(300):
        y_true = (rng.random(150) < 0.75).astype(int)  # so the true accuracy is 0.75
        low, high = evaluate(
            y_true, p, class_names="ab", multi_label=False, bootstrap_samples=300,
            confidence=0.9, seed=trial,
        ).intervals["accuracy"]  # fmt: skip
        covered += low <= 0.75 <= high
    assert 0.84 <= covered / 300 <= 0.95


def test_bootstrap_of_25000_examples_takes_less_than_10_seconds():
    rng = np.random.default_rng(0)
    y_true = rng.random((25_000, 28)) < 0.04
    p = np.clip(y_true * 0.5 + rng.random((25_000, 28)) * 0.6, 0, 1)
    start = time.process_time()
    evaluate(y_true, p, class_names=[str(c) for c in range(28)], multi_label=True)
    assert time.process_time() - start < 10


# === Length bins ===


def test_length_bins_partition_the_examples_and_average_to_the_accuracy():
    y_true, p = random_one_of(500, 3)
    num_tokens = np.random.default_rng(1).integers(1, 80, 500)
    report = evaluate(y_true, p, class_names=ABC, multi_label=False, num_tokens=num_tokens)
    bins = report.by_length
    assert len(bins) == 4 and sum(b.num_examples for b in bins) == 500
    assert min(b.num_examples for b in bins) > 100, (
        "quantile bins have about equal numbers of examples"
    )
    for left, right in zip(bins, bins[1:], strict=False):
        assert left.max_tokens < right.min_tokens
    assert (bins[0].min_tokens, bins[-1].max_tokens) == (num_tokens.min(), num_tokens.max())
    for b in bins:
        in_bin = (num_tokens >= b.min_tokens) & (num_tokens <= b.max_tokens)
        assert b.num_examples == in_bin.sum()
        assert b.score == pytest.approx((p.argmax(1) == y_true)[in_bin].mean())
    mean = sum(b.score * b.num_examples for b in bins) / 500
    assert mean == pytest.approx(report.get("accuracy"))


def test_equal_lengths_are_in_one_length_bin():
    report = one_of("aab", "abb", num_tokens=np.array([7, 7, 7]))
    (only,) = report.by_length
    assert (only.min_tokens, only.max_tokens, only.num_examples) == (7, 7, 3)


def test_multi_label_length_bins_contain_micro_f1():
    lengths = np.array([1, 1, 5, 5])
    report = several(["a", "b", "c", ""], ["a", "a", "c", ""], num_tokens=lengths, length_bins=2)
    assert [b.score for b in report.by_length] == pytest.approx([2 / 4, 1])
    assert report.length_metric == "micro_f1"


def test_report_scores_truncated_texts_only_if_there_are_any():
    cut = np.array([False, True, True, True])
    report = one_of("aabb", "abbb", truncated=cut, num_tokens=np.array([1, 9, 8, 12]))
    assert report.truncated is not None
    assert (report.truncated.min_tokens, report.truncated.max_tokens) == (8, 12)
    assert report.truncated.num_examples == 3
    assert report.truncated.score == pytest.approx(2 / 3)
    assert one_of("aabb", "abbb", truncated=np.zeros(4, bool)).truncated is None
    alone = one_of("aabb", "abbb", truncated=cut).truncated
    assert alone is not None and alone.min_tokens is None and alone.num_examples == 3


def test_report_scores_the_texts_that_each_limit_cuts():
    limits = {"text.sequence_length": 8, "text.linear_length": 9, "unreached": 12}
    report = one_of("aabb", "abbb", num_tokens=np.array([1, 9, 8, 12]), length_limits=limits)
    assert list(report.truncated_by) == ["text.sequence_length", "text.linear_length"]
    network, linear = report.truncated_by.values()
    assert (network.num_examples, network.min_tokens, network.max_tokens) == (2, 9, 12)
    assert (network.score, linear.num_examples, linear.score) == (0.5, 1, 1)
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert one_of("ab", "ab", length_limits=limits).truncated_by == {}, "no lengths are known"


# === Predictions and thresholds ===


def test_select_returns_the_first_of_equally_probable_classes():
    chosen = OneOf(3).select(np.array([[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]))
    assert chosen.tolist() == [0, 2] and chosen.dtype == np.int64


def test_select_includes_probabilities_equal_to_the_threshold_in_float32():
    thresholds = np.array([0.1, 0.7], np.float32)
    p = np.array([[0.1, 0.7], [0.0999, 0.6999]])  # float64: 0.1 is less than float32's 0.1
    assert p[0, 0] < thresholds[0], "the case needs a float64 below the float32 threshold"
    assert MultiLabel(2).select(p, thresholds).tolist() == [[True, True], [False, False]]


def test_evaluate_predicts_with_the_thresholds_of_the_argument():
    y_true = np.array([[True, False], [False, True]])
    p = np.array([[0.3, 0.6], [0.1, 0.9]])
    known: dict[str, Any] = {"class_names": "ab", "multi_label": True}
    assert evaluate(y_true, p, thresholds=np.array([0.2, 0.8]), **known).get("micro_f1") == 1
    plain = evaluate(y_true, p, **known)
    assert plain.get("micro_f1") == pytest.approx(2 / 4)
    assert [c.threshold for c in plain.classes] == [0.5, 0.5]


def test_chosen_threshold_is_midway_between_neighbouring_probabilities():
    y_true = np.array([[1], [1], [0], [0]], bool)
    p = np.array([[0.4], [0.3], [0.1], [0.05]])
    thresholds = choose_thresholds(y_true, p)
    assert thresholds.dtype == np.float32 and thresholds == pytest.approx([0.2])


def test_chosen_threshold_is_nearest_to_one_half_among_equal_f1():
    # Selecting one (F1 2/3) or all four of them with 2 right (F1 4/6): 0.75 or 0.1.
    y_true = np.array([[1], [0], [0], [1]], bool)
    p = np.array([[0.9], [0.6], [0.3], [0.2]])
    assert choose_thresholds(y_true, p) == pytest.approx([0.75])
    p = np.array([[0.99], [0.95], [0.9], [0.8]])  # now 0.97 or 0.4
    assert choose_thresholds(y_true, p) == pytest.approx([0.4])
    p = np.array([[0.875], [0.625], [0.55], [0.5]])  # 0.75 and 0.25 are equally near
    assert choose_thresholds(y_true, p) == pytest.approx([0.75])


def test_chosen_threshold_prefers_higher_f1_to_being_near_one_half():
    # 99 of 100 positives at .9 (F1 198/199, threshold .75), one negative more (198/200, .35).
    p = np.array([0.9] * 99 + [0.6] + [0.1] * 51)[:, None]
    y_true = np.array([True] * 99 + [False] + [True] + [False] * 50)[:, None]
    assert choose_thresholds(y_true, p) == pytest.approx([0.75])


def test_chosen_threshold_is_below_1_even_if_only_1_separates_the_examples():
    p = np.array([[1], [np.nextafter(np.float32(1), np.float32(0))]], np.float32)
    (threshold,) = choose_thresholds(np.array([[True], [False]]), p)
    assert 0.4 < threshold < 0.6


def test_chosen_threshold_of_a_class_without_positives_is_one_half():
    y_true = np.array([[1, 0], [0, 0]], bool)
    thresholds = choose_thresholds(y_true, np.array([[0.3, 0.9], [0.2, 0.8]]))
    assert thresholds == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_chosen_threshold_is_one_half_if_all_probabilities_are_zero_or_one(value: float):
    assert choose_thresholds(np.ones((3, 1), bool), np.full((3, 1), value)) == pytest.approx([0.5])


def test_chosen_threshold_separates_neighbouring_float32_numbers():
    low = np.float32(0.3)
    for _ in range(2):  # the midpoint is rounded once down and once up
        high = np.nextafter(low, np.float32(1))
        p = np.array([[high], [low]], np.float32)
        y_true = np.array([[True], [False]])
        assert MultiLabel(1).select(p, choose_thresholds(y_true, p)).tolist() == [[True], [False]]
        low = high


@given(
    p=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=25),
    grid=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=100, deadline=None)
def test_chosen_threshold_has_the_highest_f1_of_all_thresholds(
    p: list[float], grid: bool, seed: int
):
    column = np.array(p, np.float32)[:, None]
    if grid:
        column = column.round(1)
    y_true = np.random.default_rng(seed).random(column.shape) < 0.4
    (chosen,) = choose_thresholds(y_true, column)
    assert 0 < chosen < 1

    def f1(threshold: float) -> float:
        return reference.f1_score(y_true[:, 0], column[:, 0] >= threshold, zero_division=0)

    inside = [value for value in column[:, 0] if 0 < value < 1] + [0.5]
    assert f1(chosen) >= max(map(f1, inside)) - 1e-9


# === Reports ===


def reports() -> list[Report]:
    lengths = np.array([1, 2, 3, 3, 9, 12])
    return [
        one_of("aaabbc", "aabbcc", num_tokens=lengths, truncated=lengths > 3),
        one_of("aaa", "aab"),
        several(["a", "ab", "", "b", "bc"], ["a", "a", "b", "b", "c"]),
    ]


@pytest.mark.parametrize("report", reports(), ids=["one-of", "undefined", "multi-label"])
def test_report_is_unchanged_by_a_json_round_trip(report: Report):
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert Report.from_dict(json.loads(text)) == report
    assert json.loads(text) == report.to_dict(), "to_dict must return JSON types only"


def test_report_from_dict_rejects_missing_unknown_and_malformed_entries():
    values = one_of("abc", "abc").to_dict()
    with pytest.raises(DataError, match="missing or unknown metrics, scores"):
        Report.from_dict({**{k: v for k, v in values.items() if k != "metrics"}, "scores": 1})
    with pytest.raises(DataError, match="not an evaluation report"):
        Report.from_dict({**values, "classes": [{"nonsense": 1}]})
    with pytest.raises(DataError, match="not an evaluation report"):
        Report.from_dict({**values, "intervals": 3})


def test_report_get_rejects_an_unknown_metric_and_suggests_a_similar_name():
    with pytest.raises(
        DataError, match="no metric 'macro-f1'.*accuracy, macro_f1.*mean 'macro_f1'"
    ):
        one_of("abc", "abc").get("macro-f1")
    with pytest.raises(DataError) as caught:
        one_of("abc", "abc").get("zzz")
    assert "mean" not in str(caught.value)


def test_report_get_rejects_an_undefined_metric():
    with pytest.raises(DataError, match="'roc_auc' is undefined for these 3 examples"):
        one_of("aaa", "aab").get("roc_auc")


def test_one_of_and_multi_label_reports_have_the_metrics_of_their_task():
    plain, multi = one_of("abc", "abc"), several(["a"], ["a"])
    assert "accuracy" in plain.metrics and "accuracy" not in multi.metrics
    for name in ("micro_f1", "micro_precision", "micro_recall", "subset_accuracy", "hamming_loss"):
        assert name in multi.metrics and name not in plain.metrics


# === Invalid arguments ===


def test_evaluate_and_choose_thresholds_reject_zero_examples():
    with pytest.raises(DataError, match="no example to evaluate"):
        evaluate(np.zeros(0, int), np.zeros((0, 2)), class_names="ab", multi_label=False)
    with pytest.raises(DataError, match="no example to evaluate"):
        choose_thresholds(np.zeros((0, 2), bool), np.zeros((0, 2)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_evaluate_and_choose_thresholds_reject_values_outside_0_to_1(value: float):
    p = np.array([[0.5, 0.5], [0.5, value]])
    with pytest.raises(DataError, match="1 of 2 examples .the first is row 1. have a probability"):
        evaluate(np.array([0, 1]), p, class_names="ab", multi_label=False)
    with pytest.raises(DataError, match="row 1"):
        choose_thresholds(np.zeros((2, 2), bool), p)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p": np.full((2, 3), 1 / 3)}, "a column for each class name"),
        ({"p": np.full((2, 2), 0.9)}, "must sum to 1"),
        ({"y_true": np.array([0, 2])}, "from 0 to 1"),
        ({"y_true": np.array([0, -1])}, "from 0 to 1"),
        ({"y_true": np.array([0.0, 1.0])}, "whole numbers"),
        ({"y_true": np.array([0])}, "whole numbers"),
        ({"thresholds": np.array([0.5, 0.5])}, "are for two classes: that of the positive"),
        ({"num_tokens": np.array([1])}, "num_tokens"),
        ({"truncated": np.array([True])}, "truncated"),
        ({"multi_label": True}, "y_true"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": 95}, "confidence"),
        ({"bootstrap_samples": -1}, "bootstrap_samples"),
        ({"calibration_bins": 0}, "calibration_bins"),
        ({"length_bins": 0}, "length_bins"),
    ],
)  # fmt: skip
def test_evaluate_rejects_invalid_arguments(changes: dict[str, Any], message: str):
    arguments: dict[str, Any] = {
        "y_true": np.array([0, 1]), "p": np.full((2, 2), 0.5), "class_names": "ab",
        "multi_label": False,
    }  # fmt: skip
    evaluate(**arguments)
    with pytest.raises(ValueError, match=message):
        evaluate(**{**arguments, **changes})


def test_importing_evaluation_does_not_import_scipy_scikit_learn_or_tensorflow():
    code = (
        "import sys, textclf.evaluation, textclf.report, textclf.baselines;"
        "print(sorted({'scipy', 'sklearn', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# === Calibration ===


def draw_examples(temperature, n=20_000, num_classes=3, seed=0):
    """Return classes drawn from calibrated logits, and these logits times `temperature`."""
    rng = np.random.default_rng(seed)
    calibrated = rng.normal(scale=1.5, size=(n, num_classes))
    p = softmax(calibrated)
    y_true = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return y_true, calibrated * temperature


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fit_temperature_recovers_the_scale_of_the_logits(temperature):
    y_true, logits = draw_examples(temperature)
    fitted = fit_temperature(OneOf(logits.shape[1]), y_true, logits)
    assert fitted == pytest.approx(temperature, rel=0.04)
    before = evaluate(y_true, softmax(logits), class_names="abc", multi_label=False)
    after = evaluate(
        y_true, softmax(logits / fitted), class_names="abc", multi_label=False, temperature=fitted
    )
    assert after.metrics["uncalibrated_error"] == pytest.approx(before.get("calibration_error"))
    assert after.get("calibration_error") < 0.02
    assert after.metrics["accuracy"] == before.metrics["accuracy"]


def log_losses(y_true, logits, temperature, *, multi_label):
    """Return the log losses at a temperature: float64 [C] for multi-label, otherwise [1]."""
    z = logits / np.asarray(temperature)
    if multi_label:
        return (np.logaddexp(0, z) - y_true * z).mean(axis=0)
    rows = np.arange(len(z))
    return np.array([(np.logaddexp.reduce(z, axis=1) - z[rows, y_true]).mean()])


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_fit_temperature_minimizes_the_log_loss_of_the_rows_and_one_evenly_labelled_row(
    multi_label: bool,
):
    y_true, logits = draw_examples(2.0, n=50, num_classes=4)
    if multi_label:
        y_true, logits = y_true[:, np.newaxis] < 2, logits[:, :1]
        targets = (50 * y_true + 1 / 2) / 51
    else:
        targets = (50 * np.eye(4)[y_true] + 1 / 4) / 51
    temperature = fit_temperature(
        task_of(multi_label=multi_label, num_classes=logits.shape[1]), y_true, logits
    )
    temperature = np.ravel(temperature)[0]

    def smoothed_log_loss(temperature):
        z = logits / temperature
        if multi_label:
            return (np.logaddexp(0, z) - targets * z).mean()
        return -(targets * np.log(softmax(z))).sum(axis=1).mean()

    others = temperature * np.array([0.8, 0.95, 0.99, 1.01, 1.05, 1.25])
    assert temperature != 1
    assert all(smoothed_log_loss(temperature) < smoothed_log_loss(other) for other in others)


@given(
    num_rows=st.integers(20, 10_000),
    num_classes=st.integers(2, 500),
    factor=st.sampled_from([0.1, 1 / 3, 1.0, 3.0, 10.0]),
    share_learned=st.sampled_from([0.0, 0.9, 1.0]),
    multi_label=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_fit_temperature_never_increases_the_validation_log_loss(
    num_rows: int,
    num_classes: int,
    factor: float,
    share_learned: float,
    multi_label: bool,
    seed: int,
):
    num_rows = max(20, min(num_rows, 400_000 // num_classes))
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_rows, num_classes))
    y_true = rng.integers(0, num_classes, num_rows)
    learned = rng.random(num_rows) < share_learned
    logits[learned, y_true[learned]] += 5
    logits *= factor
    if multi_label:  # many classes of few rows have one or two positives
        logits -= 3 * factor
        y_true = np.eye(num_classes, dtype=bool)[y_true]
    temperature = fit_temperature(
        task_of(multi_label=multi_label, num_classes=logits.shape[1]), y_true, logits
    )
    before = log_losses(y_true, logits, 1.0, multi_label=multi_label)
    after = log_losses(y_true, logits, temperature, multi_label=multi_label)
    assert (after <= before + 1e-12).all()
    assert ((np.array(temperature) >= 0.01) & (np.array(temperature) <= 100)).all()


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("num_classes", [2, 10, 60, 500])
def test_fit_temperature_recovers_the_scale_for_any_number_of_classes(
    num_classes: int, factor: float
):
    y_true, logits = draw_examples(factor, n=1000, num_classes=num_classes)
    assert fit_temperature(OneOf(logits.shape[1]), y_true, logits) == pytest.approx(factor, rel=0.1)
    rng = np.random.default_rng(1)
    several = rng.random(logits.shape) < 1 / (1 + np.exp(-logits / factor))
    temperatures = fit_temperature(MultiLabel(logits.shape[1]), several, logits)
    assert np.median(temperatures) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("num_classes", [2, 60, 200])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_fit_temperature_does_not_worsen_the_calibration_of_an_accurate_model_on_new_rows(
    num_classes: int, factor: float
):
    """Nine of ten rows have a high logit of the true class, the others are noise."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, num_classes, 2_400)
    logits = rng.normal(size=(len(y_true), num_classes))
    recognized = np.flatnonzero(rng.random(len(y_true)) < 0.9)
    margins = math.log(num_classes) + rng.normal(4, 1.5, len(recognized))
    logits[recognized, y_true[recognized]] += margins
    logits *= factor
    fitted_on, new = slice(0, 240), slice(240, None)
    temperature = fit_temperature(OneOf(num_classes), y_true[fitted_on], logits[fitted_on])
    before, after = (
        evaluate(
            y_true[new], softmax(logits[new] / t), class_names=list(map(str, range(num_classes))),
            multi_label=False, bootstrap_samples=0,
        )
        for t in (1.0, temperature)
    )  # fmt: skip
    assert after.get("log_loss") <= before.get("log_loss") + 0.005
    # No temperature calibrates both kinds of rows; at the lowest log loss, the error is about 0.03.
    assert after.get("calibration_error") <= before.get("calibration_error") + 0.02


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_fit_temperature_returns_1_if_no_scale_improves_the_logits(multi_label: bool):
    y_true = np.arange(40) % 2
    if multi_label:
        y_true = y_true[:, np.newaxis] == np.arange(2)
    temperature = fit_temperature(
        task_of(multi_label=multi_label, num_classes=2), y_true, np.zeros((40, 2))
    )
    assert temperature == ((1.0, 1.0) if multi_label else 1.0)
    assert fit_temperature(OneOf(1), np.zeros(9, int), np.arange(9.0)[:, None]) == 1.0


def test_fit_temperature_fits_each_label_and_returns_1_for_a_label_without_positives():
    rng = np.random.default_rng(0)
    calibrated = rng.normal(scale=2, size=(20_000, 3))
    y_true = rng.random(calibrated.shape) < 1 / (1 + np.exp(-calibrated))
    y_true[:, 2] = False
    fitted = fit_temperature(MultiLabel(3), y_true, calibrated * [0.5, 4.0, 1.0])
    assert fitted == pytest.approx((0.5, 4.0, 1.0), rel=0.06)
    assert fitted[2] == 1.0
    p = 1 / (1 + np.exp(-calibrated))
    report = evaluate(y_true, p, class_names="abc", multi_label=True, temperature=(0.5, 4.0, 1.0))
    uncalibrated = evaluate(
        y_true, 1 / (1 + np.exp(-calibrated * [0.5, 4.0, 1.0])), class_names="abc", multi_label=True
    )
    assert report.metrics["uncalibrated_error"] == pytest.approx(
        uncalibrated.get("calibration_error")
    )


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_fit_temperature_keeps_probabilities_below_1_without_validation_errors(multi_label):
    y_true = np.arange(20) % 2
    logits = np.where(np.eye(2, dtype=bool)[y_true], 1.0, -1.0)
    truth = np.eye(2, dtype=bool)[y_true] if multi_label else y_true
    fitted = np.array(
        fit_temperature(
            task_of(multi_label=multi_label, num_classes=logits.shape[1]), truth, logits
        )
    )
    p = 1 / (1 + np.exp(-logits / fitted)) if multi_label else softmax(logits / fitted)
    assert 0.9 < p.max() < 0.98


def test_coverage_points_contain_the_accuracy_of_the_most_confident_examples():
    p = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.55])
    p = np.stack([p, 1 - p], axis=1)
    y_true = np.array([0, 0, 1, 0, 1, 0])
    report = evaluate(
        y_true, p, class_names="ab", multi_label=False, abstain_below=0.65, bootstrap_samples=0
    )
    points = {round(point.coverage, 3): point for point in report.coverage}
    assert points[1.0].abstain_below == 0 and points[1.0].accuracy == pytest.approx(4 / 6)
    half = points[0.5]  # 0.9 and both 0.8: equal confidences are answered together
    assert half.abstain_below == pytest.approx(0.75) and half.accuracy == pytest.approx(2 / 3)
    assert report.abstention.coverage == pytest.approx(4 / 6)
    assert report.abstention.accuracy == pytest.approx(3 / 4)
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_choose_abstention_reaches_the_requested_precision_or_coverage_or_returns_none():
    p = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.55])
    p = np.stack([p, 1 - p], axis=1)
    y_true = np.array([1, 0, 0, 0, 1, 1])  # the most confident answer is wrong
    chosen = choose_abstention(OneOf(2), y_true, p, precision=0.7)
    assert (chosen.coverage, chosen.accuracy) == (pytest.approx(4 / 6), pytest.approx(3 / 4))
    assert chosen.abstain_below == pytest.approx(0.65)
    assert choose_abstention(OneOf(2), y_true, p, precision=0.8) is None
    # Precision is 2/3 at coverages 1/2 and 1; the higher coverage is chosen.
    again = choose_abstention(OneOf(2), np.array([0, 0, 1, 0, 0, 1]), p, precision=2 / 3)
    assert (again.coverage, again.accuracy) == (1, pytest.approx(2 / 3))
    chosen = choose_abstention(OneOf(2), y_true, p, coverage=0.5)
    assert chosen.coverage == 0.5 and chosen.abstain_below == pytest.approx(0.75)
    assert choose_abstention(OneOf(2), y_true, p, coverage=1).abstain_below == 0
    several = np.eye(2, dtype=bool)[y_true]
    assert choose_abstention(MultiLabel(2), several, p, precision=0.7).coverage == pytest.approx(
        4 / 6
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_micro_f1_thresholds_have_the_highest_micro_f1_of_all(drawn: st.DataObject) -> None:
    n = drawn.draw(st.integers(1, 6))
    rows = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.95, 1.0]), min_size=2, max_size=2)
    p = np.array(drawn.draw(st.lists(rows, min_size=n, max_size=n)), np.float32)
    y_true = np.array(drawn.draw(st.lists(st.lists(st.booleans(), min_size=2, max_size=2),
                                          min_size=n, max_size=n)))  # fmt: skip

    def micro_f1(thresholds: Any) -> float:
        selected = MultiLabel(2).select(p, np.array(thresholds))
        return 2 * (selected & y_true).sum() / max(selected.sum() + y_true.sum(), 1)

    chosen = choose_thresholds(y_true, p, maximize="micro_f1")
    assert ((chosen > 0) & (chosen < 1)).all() and chosen.dtype == np.float32
    grid = [0.05, 0.2, 0.4, 0.6, 0.8, 0.97]
    best = max(micro_f1((one, other)) for one in grid for other in grid)
    assert micro_f1(chosen) == pytest.approx(best)


def test_micro_f1_thresholds_without_influence_on_micro_f1_are_near_one_half() -> None:
    p = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.3]])
    y_true = np.array([[False, True], [False, True], [False, False]])
    assert choose_thresholds(y_true, p, maximize="micro_f1").tolist() == pytest.approx([0.5, 0.55])
    nothing = np.zeros_like(y_true)
    assert choose_thresholds(nothing, p, maximize="micro_f1").tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="expected one of macro_f1, micro_f1"):
        choose_thresholds(y_true, p, maximize="accuracy")
