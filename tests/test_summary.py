"""Verdicts on cells, and notes on the limits of a benchmark."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from studies import (
    CELLS,
    MIXTURES,
    TINY,
    by_pair,
    made_up_result,
    packed,
    summarized,
    typed,
    with_network_alone,
    write_grids,
)

from textclf import evaluation
from textclf.errors import ConfigError
from textclf.study import comparison, grid, summary
from textclf.study.page import render
from textclf.study.records import to_float16
from textclf.tasks import MultiLabel, OneOf


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    return write_grids(tmp_path, reviews)


def test_verdicts_distinguish_better_no_difference_and_too_few_seeds(folder: Path):
    accuracies = {"gru": 0.8, "bigru": [0.8, 0.802, 0.799], "bisimple_rnn": [0.5, 0.9, 0.7]}
    accuracies |= {"tfidf_logistic_regression": 0.9, "bag_of_embeddings": 0.6}
    _, _, report = summarized(folder, accuracies)
    dataset = report.datasets["tiny"]
    cells = by_pair(dataset.comparisons)
    even = cells["bigru", "gru"]
    assert even.verdict == "no difference shown" and even.power > 0.8
    assert "no difference shown between BiGRU and GRU: the means differ by 0.0 points" in even.words
    few = next(c for pair, c in cells.items() if "bisimple_rnn" in pair)
    assert few.verdict == "too few seeds" and few.seeds_needed > 3
    assert f"{few.seeds_needed} seeds per cell are needed" in few.words
    simple = by_pair(dataset.with_simple)
    assert simple["tfidf_logistic_regression", "gru"].verdict == "better"
    assert simple["gru", "bag_of_embeddings"].verdict == "better"
    words = " ".join(dataset.words)
    assert "No recurrent network is shown to be better than TF-IDF + logistic" in words
    assert "TF-IDF + logistic regression is better than GRU and BiGRU." in words
    assert "GRU and BiGRU are better than a bag of embeddings." in words
    undecided = "2 comparisons are undecided (too few seeds or test texts); details below."
    assert undecided in words
    assert [cell.cell for cell in dataset.cells][0] == "tfidf_logistic_regression"


def test_cells_with_equal_scores_on_each_text_have_no_interval_and_no_power(folder: Path):
    _, _, report = summarized(folder, {"gru": 1.0, "bigru": 1.0, "bisimple_rnn": 0.5})
    alike = by_pair(report.datasets["tiny"].comparisons)["gru", "bigru"]
    assert alike.verdict == "no difference" and alike.interval is None and alike.power is None
    assert alike.words == "no difference: GRU and BiGRU have equal scores on all 4,000 texts"


def test_cells_are_not_compared_by_macro_f1_with_too_few_rows():
    rng = np.random.default_rng(0)
    y_true = np.array([0] * 30 + [1] * 2 + [2] * 2 + [3] * 2 + list(range(4, 10)))
    p = {cell: rng.dirichlet(np.ones(10), (3, len(y_true))) for cell in "ab"}
    for cell, boost in (("a", 5.0), ("b", 0.0)):
        p[cell][:, np.arange(len(y_true)), y_true] += boost
    values = {
        cell: np.stack(
            [evaluation.contributions(OneOf(10), "macro_f1", y_true, row) for row in p[cell]]
        )
        for cell in "ab"
    }
    assert not comparison.enough_rows(OneOf(10), "macro_f1", y_true[:39]), "3.9 rows per class"
    assert comparison.enough_rows(OneOf(10), "macro_f1", y_true), "4.2 rows per class"
    assert not comparison.enough_rows(OneOf(11), "macro_f1", y_true), "a class without rows"
    assert comparison.enough_rows(OneOf(10), "accuracy", y_true[:5])
    several = np.eye(3, dtype=bool)[np.arange(11) % 3]
    assert not comparison.enough_rows(MultiLabel(3), "macro_f1", several)
    [refused] = comparison.Comparison("macro_f1", values, has_enough_rows=False).pairs([("a", "b")])
    assert refused.verdict == "too few rows"
    assert refused.p_value is None and refused.interval is None and refused.power is None
    assert "there are too few rows for macro_f1, which needs 4 per class" in refused.words
    [compared] = comparison.Comparison("macro_f1", values).pairs([("a", "b")])
    assert compared.verdict == "better", "the rule must decide for this test to mean anything"


def test_p_values_of_several_comparisons_are_corrected(folder: Path):
    accuracies = {"gru": 0.8, "bigru": [0.8, 0.83, 0.81], "bisimple_rnn": [0.78, 0.8, 0.81]}
    _, _, report = summarized(folder, accuracies)
    cells = report.datasets["tiny"].comparisons
    assert all(c.p_value_holm >= c.p_value for c in cells)
    smallest = min(cells, key=lambda c: c.p_value)
    assert smallest.p_value_holm == pytest.approx(3 * smallest.p_value)


def test_verdicts_use_the_corrected_p_values():
    rng = np.random.default_rng(0)
    num_decided_by_correction = 0
    for _ in range(100):
        accuracy = [[0.8], [0.82], [0.83]] + rng.normal(0, 0.005, (3, 3))
        right = rng.random((3, 3, 1000)) < accuracy[:, :, np.newaxis]
        compared = comparison.Comparison(
            "accuracy", dict(zip("abc", right.astype(float), strict=True))
        )
        for c in compared.pairs([("a", "b"), ("a", "c"), ("b", "c")]):
            assert (c.verdict == "better") == (c.p_value_holm < 0.05)
            num_decided_by_correction += c.p_value < 0.05 <= c.p_value_holm
    assert num_decided_by_correction > 10, "the correction must matter for this test"


def test_pareto_front_contains_no_cell_inferior_in_mean_and_cost(folder: Path):
    accuracies = {"gru": 0.8, "bigru": 0.9, "bisimple_rnn": 0.7, "fasttext": 0.6}
    benchmark, results, _ = summarized(folder, accuracies)
    seconds = {"majority": 0, "gru": 4, "bigru": 4, "bisimple_rnn": 5}
    for result in results.values():
        result["cost"]["training_seconds"] = float(seconds.get(result["cell"], 1))
    cells = summary.summarize(benchmark, typed(results), {}).datasets["tiny"].cells
    front = {cell.cell for cell in cells if "training_seconds" in cell.pareto}
    assert front == {"majority", "fasttext", "bigru"}
    results["tiny.gru.seed0"]["machine"] = {"host": "there"}
    cells = summary.summarize(benchmark, typed(results), {}).datasets["tiny"].cells
    assert not any(cell.pareto for cell in cells), "times of two machines are not comparable"


def test_verdict_by_log_loss_prefers_the_lower_loss(folder: Path):
    accuracies = {"gru": 0.8, "bigru": 0.9, "bisimple_rnn": 0.5}
    _, _, report = summarized(folder, accuracies, CELLS + "metric: log_loss\n")
    assert ("bigru", "gru") in by_pair(report.datasets["tiny"].comparisons)


def test_summary_reports_saturated_and_aborted_networks(folder: Path):
    benchmark, results, _ = summarized(folder, {})
    results["tiny.gru.seed1"] |= {"ended_by": "not finite"}
    results["tiny.gru.seed1"]["history"] = [{"val_loss": None}, {"val_loss": 0.5}]
    results["tiny.gru.seed1"]["cost"]["new_in_a_later_version"] = 1
    for result in results.values():
        if "gradient_by_distance" in result:
            result["gradient_by_distance"]["0"] = 0.0
    records = typed(results)
    report = summary.summarize(benchmark, records, {})
    assert any("tiny.gru.seed1 ended early" in note for note in report.notes)
    assert "tiny.gru.seed1 ended early" in render(benchmark, folder, records, report)


def test_notes_of_a_summary_name_the_limits_of_the_comparison(folder: Path):
    benchmark, results, _ = summarized(folder, {"gru": 0.8})
    names = list(results)
    results[names[2]]["code"] = "other"
    results[names[3]]["machine"] = {"host": "there"}
    results[names[4]]["cost"]["shared_cores"] = True
    results[names[4]]["test_reads"] = 2
    results[names[4]]["cost"]["code"] = "newer"
    results[names[5]]["vocabulary"] = "w"
    del results[names[-1]]
    report = summary.summarize(benchmark, typed(results), {names[-2]: "no memory"})
    notes = "\n".join(report.notes)
    assert f"1 of {len(names)} runs are missing" in notes
    assert f"{names[-2]} failed: no memory" in notes
    for part in (
        "2 versions of the code", "2 machines", "cores to themselves",
        "measured with another version", "different vocabularies",
        f"{names[4]} read the test split 2 times",
    ):  # fmt: skip
        assert part in notes
    for name in names[:-1]:
        results[name]["cost"]["shared_cores"] = results[name]["cell"] == "gru"
    notes = "\n".join(summary.summarize(benchmark, typed(results), {}).notes)
    assert "were measured on shared cores and are not comparable" in notes


def test_multi_label_cells_are_compared_by_macro_f1(folder: Path):
    several = TINY.replace("}}\nmodel", ", multi_label: true, label_separator: ';'}}\nmodel")
    (folder / "tiny.yaml").write_text(several.format(reviews=folder / "reviews.csv"))
    (folder / "cells.yaml").write_text(CELLS + "metric: accuracy\n")
    with pytest.raises(
        ConfigError, match="accuracy is not available for tiny, which has any number of classes"
    ):
        grid.read(folder / "cells.yaml")
    (folder / "cells.yaml").write_text(CELLS)
    benchmark = grid.read(folder / "cells.yaml")
    rng = np.random.default_rng(0)
    y_true = rng.random((500, 3)) < [0.5, 0.2, 0.05]
    limits = np.array([0.5, 0.4, 0.3], np.float32)
    results = {}
    for run in benchmark.runs:
        better = 0.3 if run.cell == "bigru" else 0.1
        p = np.clip(0.4 * rng.random((500, 3)) + better * y_true, 0, 1).astype(np.float32)
        report = evaluation.evaluate(
            y_true, p, class_names="abc", multi_label=True, thresholds=limits, bootstrap_samples=0
        )
        results[run.name] = made_up_result(run, 0.5) | {
            "data": {"multi_label": True, "class_names": list("abc"), "splits": {"test": 500},
                     "fingerprint": "f", "leaked_test_rows": 0},
            "test": report.to_dict()["metrics"], "thresholds": limits.tolist(),
            "probabilities": packed(to_float16(MultiLabel(3), p, limits)),
            "y_true": packed(y_true.astype(np.uint8)),
        }  # fmt: skip
        if run.kind == "network":
            results[run.name]["num_tokens"] = packed(np.arange(500, dtype=np.int32) % 50)
    report = summary.summarize(benchmark, typed(results), {})
    dataset = report.datasets["tiny"]
    assert dataset.metric == "macro_f1"
    assert by_pair(dataset.comparisons)["bigru", "gru"].verdict == "better"
    page = render(benchmark, folder, typed(results), report)
    assert "share of correct labels" in page and "Confusion matrix" not in page


def test_networks_alone_and_mixtures_have_their_own_verdicts(folder: Path):
    benchmark, results, _ = summarized(folder, {"linear_model": 0.7, "gru": 0.8}, MIXTURES)
    networks = {"gru": 0.6, "bigru": 0.9}
    for run in benchmark.runs:
        if run.linear is not None:
            accuracy = networks.get(run.cell, 0.5)
            results[run.name] = with_network_alone(results[run.name], run, accuracy)
    dataset = summary.summarize(benchmark, typed(results), {}).datasets["tiny"]
    mixtures, alone = by_pair(dataset.comparisons), by_pair(dataset.network_alone.comparisons)
    assert mixtures["gru", "bigru"].verdict == alone["bigru", "gru"].verdict == "better"
    assert by_pair(dataset.with_simple)["gru", "linear_model"].verdict == "better"
    assert by_pair(dataset.network_alone.with_simple)["linear_model", "gru"].verdict == "better"
    assert "GRU is better than the linear model." in dataset.words
    assert "No mixture is shown to be better than TF-IDF + logistic regression." not in " ".join(
        dataset.network_alone.words
    )
    assert "The linear model is better than BiSimpleRNN and GRU." in dataset.network_alone.words
    means = {cell.cell: cell.mean for cell in dataset.network_alone.cells}
    assert (means["gru"], means["bigru"]) == pytest.approx((0.6, 0.9))
    assert means["linear_model"] == pytest.approx(0.7), "simple classifiers are in both parts"
    assert all(cell.cost is None for cell in dataset.network_alone.cells)


def test_training_time_of_a_mixture_includes_the_fit_of_the_linear_model(folder: Path):
    benchmark, results, _ = summarized(folder, {}, MIXTURES)
    results["tiny.linear_model"]["cost"]["training_seconds"] = 20.0
    cells = summary.summarize(benchmark, typed(results), {}).datasets["tiny"].cells
    seconds = {cell.cell: cell.cost.training_seconds for cell in cells}
    assert (seconds["gru"], seconds["linear_model"], seconds["majority"]) == (23.0, 20.0, 3.0)


def test_mixtures_of_an_older_version_are_summarized_without_networks_alone(folder: Path):
    benchmark, results, report = summarized(folder, {"gru": 0.8}, MIXTURES)
    assert report.datasets["tiny"].network_alone is None
    assert "network_alone" not in msgspec.to_builtins(report)["datasets"]["tiny"]
    assert any("12 of 12 mixtures were trained by an older version" in n for n in report.notes)
    for run in benchmark.runs:
        if run.cell == "gru" and run.seed != 2:
            results[run.name] = with_network_alone(results[run.name], run, 0.6)
    dataset = summary.summarize(benchmark, typed(results), {}).datasets["tiny"]
    seeds = {cell.cell: cell.seeds for cell in dataset.network_alone.cells}
    assert seeds["gru"] == [0, 1] and "bigru" not in seeds
    _, _, without = summarized(folder, {})
    assert without.datasets["tiny"].network_alone is None and without.notes == []
