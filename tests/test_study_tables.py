"""Tables of a benchmark: complete, escaped, and narrow enough for a terminal."""

import csv
from pathlib import Path

import msgspec
import pytest
from studies import MIXTURES, summarized, typed, with_network_alone, write_grids

from textclf.study import summary, tables
from textclf.study.summary import Summary

RUNS = Path(__file__).parents[1] / "benchmarks" / "runs"


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    return write_grids(tmp_path, reviews)


def test_benchmark_tables_contain_each_cell_and_results_csv_each_run(folder: Path):
    benchmark, results, report = summarized(folder, {"gru": [0.8, 0.81, 0.82]})
    markdown = tables.markdown(report)
    assert "| GRU | 81.0 | 1.0 | 80.0 to 82.0 | 3 | training, answer | 3.0 | 2.00 |" in markdown
    report.datasets["tiny"].cells[0] = msgspec.structs.replace(
        report.datasets["tiny"].cells[0], name="a|b"
    )
    assert r"| a\|b |" in tables.markdown(report)
    del results["tiny.gru.seed2"]
    text = tables.results_csv(benchmark, typed(results), {})
    rows = list(csv.DictReader(text.splitlines()))
    statuses = {row["run"]: row["status"] for row in rows}
    assert statuses["tiny.gru.seed2"] == "missing" and statuses["tiny.gru.seed1"] == "finished"
    row = next(row for row in rows if row["run"] == "tiny.bigru.seed1")
    assert (row["encoder"], row["bidirectional"], row["seed"]) == ("gru", "True", "1")


def test_benchmark_tables_with_long_names_fit_the_terminal():
    content = (RUNS / "sst2" / "verdicts.json").read_bytes()
    report = msgspec.json.decode(content, type=Summary)
    dataset = report.datasets["sst2"]
    dataset.cells[0] = msgspec.structs.replace(
        dataset.cells[0], name=f"gru-embedding_vectors={'ü' * 72}"
    )
    text = tables.plain(report, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("ü") == 3 * 72, "a long name is folded and not cut"
    _, rows = tables.scores_table(dataset)
    for figure in (cell for row in rows for cell in row[1:-1]):
        assert figure in text, f"{figure} is cut"


def test_tables_of_mixtures_have_a_part_for_the_networks_alone(folder: Path):
    benchmark, results, _ = summarized(folder, {"gru": 0.8}, MIXTURES)
    for run in benchmark.runs:
        if run.linear is not None:
            results[run.name] = with_network_alone(results[run.name], run, 0.6)
    report = summary.summarize(benchmark, typed(results), {})
    alone, mixtures = tables.markdown(report).split("### Mixture with the linear model")
    assert "### Network alone" in alone
    assert "| GRU | 60.0 | 0.0 | 60.0 to 60.0 | 3 |\n" in alone, "its cost is not known"
    assert "| GRU | 80.0 | 0.0 | 80.0 to 80.0 | 3 | training, answer | 6.0 |" in mixtures
    assert "Pareto" not in alone and "Pareto front" in mixtures
    text = tables.plain(report, width=80)
    assert "tiny: Network alone\n" in text and "tiny: Mixture with the linear model\n" in text
    assert max(map(len, text.splitlines())) <= 80
    rows = csv.DictReader(tables.results_csv(benchmark, typed(results), {}).splitlines())
    scores = {
        row["run"]: (row["test_accuracy"], row["network_alone_test_accuracy"]) for row in rows
    }
    assert scores["tiny.gru.seed1"] == ("0.8", "0.6") and scores["tiny.linear_model"][1] == ""
