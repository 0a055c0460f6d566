"""A benchmark makes each run once, keeps what is finished, and says what the runs say."""

import concurrent.futures
import csv
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromium
import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from test_cli import on_terminal, screen_lines

from textclf import artifact, evaluation, networks
from textclf.cli import comparing, main
from textclf.config import from_dict
from textclf.errors import ArtifactError, ConfigError, DataError
from textclf.study import budget, grid, running, summary, tables, worker
from textclf.study.page import render

ROOT = Path(__file__).parents[1]
TINY = """
data: {{source: {reviews}}}
model: {{encoder: bag, pooling: mean, embedding_dim: 5}}
training: {{epochs: 1, batch_size: 32, length_buckets: 2}}
evaluation: {{bootstrap_samples: 100}}
"""
GRID = """
datasets: {tiny: tiny.yaml}
grid:
  model.embedding_dim: [2, 3]
seeds: 1
"""
CELLS = """
datasets: {tiny: tiny.yaml}
settings: {model.embedding_dropout: 0.0}
grid:
  model.encoder: [simple_rnn, gru]
  model.bidirectional: [false, true]
exclude: [{model.encoder: simple_rnn, model.bidirectional: false}]
seeds: 3
"""


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY.format(reviews=reviews))
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "cells.yaml").write_text(CELLS)
    return tmp_path


@pytest.fixture(scope="module")
def made(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with a finished benchmark in `out`, and what the command said."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "tiny.yaml").write_text(TINY.format(reviews=reviews))
    (folder / "grid.yaml").write_text(GRID)
    return folder, run(folder, "grid.yaml", "out")


def run(folder: Path, grid_file: str, output: str, *options: str) -> Any:
    arguments = ["benchmark", str(folder / grid_file), str(folder / output), *options]
    return CliRunner().invoke(main, arguments)


# === The grid ===


def test_a_grid_is_every_combination_with_every_seed_and_the_simple_classifiers(folder: Path):
    found = grid.read(folder / "cells.yaml")
    names = [run.name for run in found.runs]
    assert names[:9] == [
        "tiny.majority",
        "tiny.tfidf_logistic_regression",
        "tiny.fasttext.seed0",
        "tiny.fasttext.seed1",
        "tiny.fasttext.seed2",
        "tiny.bisimple_rnn.seed0",
        "tiny.gru.seed0",
        "tiny.bigru.seed0",
        "tiny.bag_of_embeddings.seed0",
    ], "all cells with one seed come before the next seed"
    assert len(names) == len(set(names)) == 2 + 3 * 5
    by_name = {run.name: run for run in found.runs}
    assert by_name["tiny.bigru.seed2"].config.training.seed == 2
    assert by_name["tiny.bigru.seed2"].config.model.bidirectional is True
    assert by_name["tiny.gru.seed0"].config.model.embedding_dropout == 0.0
    assert by_name["tiny.bag_of_embeddings.seed1"].config.model.encoder == "bag"
    assert [run.cell for run in found.runs if run.is_asked and run.seed == 1] == [
        "bisimple_rnn",
        "gru",
        "bigru",
    ]
    fingerprints = {run.fingerprint for run in found.runs}
    assert len(fingerprints) == len(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected a benchmark with `datasets:` and `grid:`"),
        (GRID + "seed: 3", "grid.yaml:6: seed: no such entry; did you mean 'seeds'?"),
        (GRID.replace("tiny.yaml", "tini.yaml"), "no such configuration file; did you mean"),
        (GRID.replace("embedding_dim", "embeding_dim"), "did you mean 'model.embedding_dim'?"),
        (GRID.replace("[2, 3]", "[2, 2]"), "a value stands twice in [2, 2]"),
        (GRID.replace("[2, 3]", "3"), "expected a list of values, found 3"),
        (GRID.replace("[2, 3]", "[2, -3]"), "model.embedding_dim: expected"),
        (GRID.replace("seeds: 1", "seeds: -1"), "seeds: expected a number of seeds up to 1000"),
        (GRID.replace("seeds: 1", "seeds: [1, 1]"), "or a list of different ones"),
        (GRID.replace("model.embedding_dim: [2, 3]", "data.header: [true]"), "the same data"),
        (GRID.replace("model.embedding_dim: [2, 3]", "training.seed: [1]"), "name it as `seeds`"),
        (GRID + "metric: f1", "metric: expected one of accuracy, macro_f1"),
        (GRID + "metric: micro_f1", "micro_f1 is not of tiny, where a text has one label"),
        (GRID + "budget: 5", "budget: expected {weights: N}"),
        (GRID + "budget: {weights: 1.5}", "budget: expected {weights: N}"),
        (GRID + "budget: {minuts: 1}", "budget: expected {weights: N}"),
        (GRID + "budget: {minutes: .inf}", "budget: expected {weights: N}"),
        (GRID + "budget: {minutes: 240}", "leave nothing of minutes_per_run 240"),
        (
            GRID.replace("embedding_dim: [2, 3]", "embedding_vectors: [v/a.txt, v_a.txt]"),
            "would both be called embedding_vectors=v_a.txt",
        ),
        (CELLS + "budget: {weights: 7}", "gru: expected 24 to 201,498,624 weights"),
        (
            CELLS.replace("{model.emb", "{model.units: 4, model.emb") + "budget: {weights: 999}",
            "weights settles model.units, which stands here too",
        ),
        (
            GRID + "settings: {training.epochs: 2}\nbudget: {minutes: 1}",
            "minutes settles training.epochs, which stands here too",
        ),
        (GRID + "confidence: 95", "confidence: expected a number between 0.5 and 1, found 95"),
        (GRID + "exclude: [{model.embedding_dim: 9}]", "is no combination of the grid"),
        (
            GRID.replace("[2, 3]", "[1, 2]") + "exclude: [{model.embedding_dim: true}]",
            "is no combination of the grid",
        ),
        (
            GRID.replace("model.embedding_dim: [2, 3]", "training.learning_rate: [1, 1.0]"),
            "learning_rate=1.0 is the same as learning_rate=1; leave one out",
        ),
        (GRID + "smallest_difference: .inf", "smallest_difference: expected a number above 0"),
        (GRID + f"minutes_per_run: {'9' * 400}", "minutes_per_run: expected a number above 0"),
        (GRID + "datasets: {}", "datasets"),
        # A bag reads nothing of directions: an invalid combination.
        (
            GRID.replace("model.embedding_dim: [2, 3]", "model.bidirectional: [true, false]"),
            "model.bidirectional",
        ),
    ],
)
def test_a_mistake_in_a_grid_is_told_before_anything_runs(folder: Path, text: str, message: str):
    (folder / "grid.yaml").write_text(text)
    result = run(folder, "grid.yaml", "out")
    assert result.exit_code == 1 and message in result.stderr, result.output
    assert "Traceback" not in result.stderr and not (folder / "out").exists()


def test_texts_of_a_grid_are_taken_as_they_are_written(folder: Path):
    settings = "settings: {data.class_names: [007, 1.0], data.label_column: 02}\n"
    (folder / "grid.yaml").write_text(GRID + settings)
    for one in grid.read(folder / "grid.yaml").runs:
        assert one.config.data.class_names == ["007", "1.0"]
        assert one.config.data.label_column == "02"


def test_a_cell_with_a_long_value_is_called_by_a_part_of_it(folder: Path):
    paths = [f"{'vectors/' * 30}{name}.txt" for name in "ab"]
    text = GRID.replace("model.embedding_dim: [2, 3]", f"model.embedding_vectors: {paths}")
    (folder / "grid.yaml").write_text(text)
    cells = {run.cell for run in grid.read(folder / "grid.yaml").runs if run.is_asked}
    assert len(cells) == 2 and all(len(cell) == 100 for cell in cells)


def test_data_without_a_test_split_are_told_before_anything_runs(folder: Path, reviews: Path):
    (folder / "tiny.yaml").write_text(TINY.format(reviews=reviews).replace("source:", "train:"))
    result = run(folder, "grid.yaml", "out")
    assert result.exit_code == 1, result.output
    assert "tiny has no test split, on which cells are compared; set data.test" in result.stderr
    assert not (folder / "out").exists()


def test_the_simple_classifiers_are_there_whatever_settings_only_a_cell_reads(folder: Path):
    text = CELLS.replace("settings: {", "settings: {model.units: 4, model.num_layers: 2, ")
    (folder / "cells.yaml").write_text(text)
    found = grid.read(folder / "cells.yaml")
    cells = {run.cell: run.config for run in found.runs}
    assert cells.keys() > {"majority", "tfidf_logistic_regression", "bag_of_embeddings"}
    assert cells["bag_of_embeddings"].model.embedding_dim == cells["gru"].model.embedding_dim
    assert cells["bag_of_embeddings"].model.pooling == "max_mean"
    assert found.notices == (), "nobody has to hear what a bag does not read"


def test_an_output_that_cannot_be_written_is_told_before_anything_runs(folder: Path):
    for output in ("/proc/nowhere/out", str(folder / "tiny.yaml"), str(folder / "tiny.yaml/out")):
        result = CliRunner().invoke(main, ["benchmark", str(folder / "grid.yaml"), output])
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), output
        assert output in result.stderr and "name" in result.stderr


# === Budgets ===


@pytest.mark.parametrize("encoder", ["simple_rnn", "lstm", "gru"])
@pytest.mark.parametrize("changes", [{}, {"num_layers": 2}, {"reset_after": False}])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_weights_of_recurrent_layers_are_counted_as_they_are_made(
    encoder: str, changes: dict[str, Any], bidirectional: bool
):
    model = {
        "encoder": encoder, "bidirectional": bidirectional, "units": 5, "num_layers": 1,
        "embedding_dim": 3, "reset_after": True, **changes,
    }  # fmt: skip
    network = networks.build(vocabulary_size=9, num_classes=2, pooling="last", **model)
    made = sum(np.prod(w.shape) for layer in network.recurrent_layers for w in layer.weights)
    assert budget.recurrent_weights(model) == made


def test_a_budget_of_weights_gives_every_cell_the_units_that_come_nearest(folder: Path):
    (folder / "cells.yaml").write_text(CELLS + "budget: {weights: 5000}\n")
    found = grid.read(folder / "cells.yaml")
    for run in found.runs:
        model = run.config.model.to_dict()
        if run.kind == "network" and run.is_asked:
            each = [
                abs(budget.recurrent_weights({**model, "units": model["units"] + more}) - 5000)
                for more in (-1, 0, 1)
            ]
            assert each[1] == min(each) and each[1] < 250
            assert model["units"] != 64
    assert "gru: 37 units, 4,884 weights in the recurrent layers" in found.notices


def test_all_mistakes_of_a_grid_come_at_once(folder: Path):
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: x") + "metric: f\nodd: 1")
    with pytest.raises(ConfigError) as error:
        grid.read(folder / "grid.yaml")
    assert len(error.value.problems) == 3


def test_a_dry_run_names_the_runs_and_makes_nothing(folder: Path):
    (folder / "grid.yaml").write_text(GRID.replace("[2, 3]", "[2]").replace("seeds: 1", "seeds: 2"))
    result = run(folder, "grid.yaml", "out", "--dry-run")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == ["tiny.majority", "tiny.tfidf_logistic_regression"] and len(lines) == 6
    assert re.fullmatch(r"tiny\.embedding_dim=2\.seed1: \d+ s, \d+ MiB", lines[5])
    assert "6 runs: 0 finished, 0 failed, 6 to make" in result.stderr
    assert "of training, as far as the first steps tell" in result.stderr
    assert not (folder / "out").exists()


# === Making the runs ===


def test_every_run_is_one_file_and_the_report_needs_only_these(made: tuple[Path, Any]):
    folder, result = made
    assert result.exit_code == 0, result.output
    found = grid.read(folder / "grid.yaml")
    results = running.finished(found, folder / "out")
    assert list(results) == [run.name for run in found.runs] and len(results) == 5
    one = results["tiny.embedding_dim=2.seed0"]
    p = worker.unpack(one["probabilities"])
    y_true = worker.unpack(one["y_true"])
    assert p.dtype == np.float16 and len(p) == len(y_true) == one["data"]["splits"]["test"]
    assert (p.argmax(axis=1) == y_true).mean() == one["test"]["accuracy"]
    assert one["cost"].keys() >= {
        "weights", "training_seconds", "tokens_per_second", "peak_memory_mb", "latency_p50_ms",
        "latency_p99_ms", "texts_per_second", "size_mb",
    }  # fmt: skip
    assert len(one["history"]) == 1 and one["cost"]["shared_cores"] is False
    vocabularies = {r["vocabulary"] for r in results.values() if "vocabulary" in r}
    assert len(vocabularies) == 1, "runs of a data set share it"
    for line in (folder / "out" / "test_reads.jsonl").read_text().splitlines():
        assert json.loads(line)["run"] in results
    with open(folder / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == list(results)
    assert {row["status"] for row in rows} == {"finished"}
    verdicts = json.loads((folder / "out" / "verdicts.json").read_text())
    words = verdicts["datasets"]["tiny"]["comparisons"][0]["words"]
    assert "one seed says nothing about what another would have given" in words
    assert words in result.stdout


def test_what_is_finished_is_not_made_again(made: tuple[Path, Any]):
    folder, _ = made
    results = folder / "out" / "results"
    (results / "tiny.majority.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    again = run(folder, "grid.yaml", "out", "--json")
    assert again.exit_code == 0 and "4 finished, 0 failed, 1 to make" in again.stderr
    assert len(json.loads(again.stdout)["datasets"]["tiny"]["cells"]) == 5
    after = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    assert after.keys() == before.keys() | {"tiny.majority.json"}
    assert before.items() <= after.items()


def test_the_counts_of_runs_add_up_and_only_what_is_made_is_counted(
    made: tuple[Path, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(made[0] / "out", folder / "out", dirs_exist_ok=True)
    for name in (
        "fasttext.seed0",
        "majority",
        "tfidf_logistic_regression",
        "embedding_dim=2.seed0",
    ):
        (folder / "out" / "results" / f"tiny.{name}.json").unlink()
    failed = folder / "out" / "failures" / "tiny.embedding_dim=2.seed0.json"
    failed.write_text(json.dumps({"reason": "it failed before"}))
    monkeypatch.setitem(sys.modules, "fasttext", None)  # as if it were not installed
    impossible = "1 impossible here (fastText is not installed)"
    shown = run(folder, "grid.yaml", "out", "--report-only")
    assert f"5 runs: 1 finished, 1 failed, {impossible}, 2 not made\n" in shown.stderr
    assert "2 of 5 runs are not made yet" in shown.stdout
    assert "fastText is not compared, because it is not installed" in shown.stdout
    again = run(folder, "grid.yaml", "out", "--retry-failed", "--dry-run")
    assert f"5 runs: 1 finished, 0 failed, {impossible}, 3 to make\n" in again.stderr
    result = run(folder, "grid.yaml", "out")
    assert f"5 runs: 1 finished, 1 failed, {impossible}, 2 to make\n" in result.stderr
    assert re.findall(r"^(\d/\d) tiny\.(\w+)", result.stderr, re.MULTILINE) == [
        ("1/2", "majority"),
        ("2/2", "tfidf_logistic_regression"),
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_verdicts_on_a_terminal_are_tables_that_fit(made: tuple[Path, Any], columns: int):
    folder, _ = made
    arguments = [folder / "grid.yaml", folder / "out", "--report-only"]
    command = [sys.executable, "-m", "textclf", "benchmark", *arguments]
    exit_code, written = on_terminal(*command, columns=columns)
    assert exit_code == 0
    lines = screen_lines(written)
    shown = [line for line in lines if not line.startswith("written: ")]
    assert all(len(line) <= columns for line in shown), "\n".join(lines)
    assert not [line for line in lines if line.startswith(("|", "#", "reading"))]
    for header in ("accuracy +sd", "weights +s a training", "p50 ms +p99 ms"):
        assert any(re.match(rf"cell +{header}", line) for line in lines), "\n".join(lines)
    # Elsewhere it is Markdown still.
    piped = run(folder, "grid.yaml", "out", "--report-only").stdout
    assert piped == (folder / "out" / "report.md").read_text("utf-8")


def test_tables_for_a_terminal_fit_with_long_names_and_many_figures():
    verdicts = ROOT / "benchmarks" / "runs" / "sst2" / "verdicts.json"
    summarized = json.loads(verdicts.read_text(encoding="utf-8"))
    summarized["datasets"]["sst2"]["cells"][0]["name"] = f"gru-embedding_vectors={'ü' * 72}"
    text = tables.plain(summarized, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("ü") == 3 * 72, "a long name is folded and not cut"
    header, rows = tables.scores_table(summarized["datasets"]["sst2"])
    for figure in (cell for row in rows for cell in row[1:-1]):
        assert figure in text, f"{figure} is cut"


def test_what_is_finished_is_reported_while_the_rest_is_missing(
    made: tuple[Path, Any], folder: Path
):
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: 2"))
    nothing = run(folder, "grid.yaml", "out", "--report-only")
    assert nothing.exit_code == 1 and "holds no finished run of" in nothing.stderr
    shutil.copytree(made[0] / "out", folder / "out", dirs_exist_ok=True)
    result = run(folder, "grid.yaml", "out", "--report-only")
    assert result.exit_code == 0, result.output
    assert "3 of 8 runs are not made yet" in result.stdout
    assert "3 of 8 runs are not made yet" in (folder / "out" / "report.md").read_text("utf-8")
    other = run(folder, "grid.yaml", "out", "--report-only", "--dry-run")
    assert other.exit_code == 2 and "--report-only makes nothing" in other.stderr


def test_without_seeds_the_verdict_says_that_nothing_can_be_said(folder: Path):
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: 0"))
    result = run(folder, "grid.yaml", "out", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["datasets"]["tiny"]
    assert [cell["is_random"] for cell in found["cells"]] == [False, False]
    assert found["words"] == ["No cell of the grid has a finished run: nothing can be said of any."]
    assert "nothing can be said of any" in (folder / "out" / "report.html").read_text("utf-8")


def test_a_run_that_takes_too_much_fails_with_its_reason_and_the_rest_goes_on(folder: Path):
    (folder / "grid.yaml").write_text(GRID + "memory_mb_per_run: 30\n")
    result = run(folder, "grid.yaml", "out", "--jobs", "2")
    assert result.exit_code == 1 and "5 of 5 runs have no result" in result.stderr
    assert "the grid allows memory_mb_per_run: 30" in result.stdout
    assert len(list((folder / "out" / "failures").iterdir())) == 5
    assert not list((folder / "out" / "claims").iterdir())
    again = run(folder, "grid.yaml", "out")
    assert "0 finished, 5 failed, 0 to make" in again.stderr
    assert "--retry-failed makes them again" in again.stderr


def test_a_killed_benchmark_takes_its_runs_with_it_and_begins_them_anew(folder: Path):
    command = [sys.executable, "-m", "textclf", "benchmark", "grid.yaml", "out"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    claims = folder / "out" / "claims"
    until = time.monotonic() + 60
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (claims.is_dir() and list(claims.glob("*.json")) and children.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    [worker_process] = children.read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    while os.path.exists(f"/proc/{worker_process}"):
        assert time.monotonic() < until, "a run must not outlive who wanted it"
        time.sleep(0.05)
    found = grid.read(folder / "grid.yaml")
    events = running.make(found, folder / "out")
    first = next(events)
    assert isinstance(first, running.Begun)
    assert f"process {process.pid}" in first.taken_over and "has ended" in first.taken_over
    events.close()
    assert not list(claims.glob("*.json"))


def test_ctrl_c_between_two_events_gives_up_what_is_running(
    folder: Path, monkeypatch: pytest.MonkeyPatch, interrupt_at: Callable[[str], None]
):
    monkeypatch.chdir(folder)
    interrupt_at("1/5 ")  # the first run has ended, and the second is on its way
    with pytest.raises(click.ClickException, match="interrupted") as caught:
        main(["benchmark", "grid.yaml", "out", "--jobs", "2"], standalone_mode=False)
    # As long as the error is there, so are the runs that it went through.
    assert not list((folder / "out" / "claims").glob("*.json"))
    assert caught.value.__context__ is not None


def test_a_time_becomes_steps_once_and_shared_cores_are_measured_again(
    folder: Path, made: tuple[Path, Any]
):
    (folder / "grid.yaml").write_text(GRID.replace("[2, 3]", "[2]") + "budget: {minutes: 0.02}\n")
    # Two of the simple classifiers, which no budget touches, are there already.
    anew = shutil.ignore_patterns("*embedding_dim*", "*majority*", "test_reads.jsonl")
    shutil.copytree(made[0] / "out", folder / "out", ignore=anew)
    result = run(folder, "grid.yaml", "out", "--jobs", "2")
    assert result.exit_code == 0, result.output
    found = grid.read(folder / "grid.yaml")
    [calibration] = found.calibrations
    path = folder / "out" / "results" / f"{calibration.name}.json"
    kept = path.read_bytes()
    settled = json.loads(kept)
    assert settled["seconds"] >= 1.2 and settled["steps"] > 0
    assert f"{calibration.name}: {settled['steps']:,} steps in " in result.stderr
    results = running.finished(found, folder / "out")
    [cell] = [one for one in results.values() if one["kind"] == "network"]
    card = artifact.read_card(folder / "out" / "models" / cell["run"])
    assert card.config["training"]["max_steps"] == settled["steps"]
    assert cell["steps"] == settled["steps"] or cell["ended_by"] == "early stopping"
    # Every cell has been measured with the cores to itself.
    assert [one["cost"]["shared_cores"] for one in results.values()] == [False] * len(results)
    assert f"{cell['run']}.measurement: measured alone" in result.stderr
    assert cell["cost"].keys() >= {"weights", "training_seconds", "latency_p50_ms", "size_mb"}
    assert len((folder / "out" / "test_reads.jsonl").read_text().splitlines()) == 2
    (folder / "out" / "results" / "tiny.majority.json").unlink()
    assert run(folder, "grid.yaml", "out").exit_code == 0
    assert path.read_bytes() == kept, "every run of a cell makes the steps that were settled first"


def test_a_cell_whose_calibration_fails_is_not_waited_for(folder: Path):
    text = GRID.replace("[2, 3]", "[2]") + "budget: {minutes: 5}\nmemory_mb_per_run: 30\n"
    (folder / "grid.yaml").write_text(text)
    result = run(folder, "grid.yaml", "out", "--jobs", "2")
    assert result.exit_code == 1 and "4 of 4 runs have no result" in result.stderr
    names = {path.name for path in (folder / "out" / "failures").iterdir()}
    assert "tiny.embedding_dim=2.calibration.json" in names
    assert "tiny.embedding_dim=2.seed0.json" not in names, "it was never begun"
    assert "tiny.embedding_dim=2.seed0 failed: stopped at" in result.stdout


def test_a_calibration_goes_on_until_its_time_is_over_whatever_the_file_says(folder: Path):
    config = grid.read(folder / "grid.yaml").runs[-1].config
    training = replace(config.training, max_steps=20, epochs=2)
    config = replace(config, training=training)
    endless = budget.without_end(config).training
    assert endless.max_steps is None and endless.patience_epochs == 0 and endless.epochs >= 10_000
    settled = budget.with_steps(config, 77).training
    assert settled.max_steps == 77 and settled.epochs >= 77
    assert settled.patience_epochs == config.training.patience_epochs


def test_without_fasttext_its_results_are_used_and_its_runs_are_not_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    found, results, _ = summarized(folder, {"gru": 0.8})
    monkeypatch.setitem(sys.modules, "fasttext", None)
    assert not next(run for run in found.runs if run.cell == "fasttext").can_be_made
    assert grid.read(folder / "cells.yaml").runs == found.runs
    assert "fasttext" in {
        c["cell"] for c in summary.summarize(found, results, {})["datasets"]["tiny"]["cells"]
    }
    for seed in range(3):
        del results[f"tiny.fasttext.seed{seed}"]
    assert summary.summarize(found, results, {})["notes"] == [
        "fastText is not compared, because it is not installed; install it with "
        "`.venv/bin/pip install '.[fasttext]'` in the checkout of textclf"
    ]


def test_a_damaged_log_of_reads_stops_no_run(tmp_path: Path):
    (tmp_path / "test_reads.jsonl").write_text('{"run": "a", "ti')
    assert worker._log_test_read({"name": "b"}, tmp_path) == 1
    assert worker._log_test_read({"name": "b"}, tmp_path) == 2


def test_a_failure_beside_a_result_counts_for_nothing(folder: Path):
    found = grid.read(folder / "grid.yaml")
    name = found.runs[0].name
    for kind, content in (("failures", {"reason": "locked"}), ("results", {"cost": {}})):
        (folder / kind).mkdir()
        (folder / kind / f"{name}.json").write_text(json.dumps(content))
    assert running.failures(found, folder) == {}
    (folder / "results" / f"{name}.json").unlink()
    assert running.failures(found, folder) == {name: "locked"}


# === Claims ===


@pytest.fixture
def one_run(folder: Path) -> grid.Run:
    (folder / "claims").mkdir()
    return grid.read(folder / "grid.yaml").runs[0]


def test_only_one_takes_a_run_until_it_is_released(folder: Path, one_run: grid.Run):
    claim = running._Claim.take(one_run, folder)
    assert claim is not None and claim.taken_over == ""
    assert running._Claim.take(one_run, folder) is None
    claim.release()
    again = running._Claim.take(one_run, folder)
    assert again is not None
    claim.release()  # no longer its own
    assert running._Claim.take(one_run, folder) is None
    assert len(list((folder / "claims").iterdir())) == 1


def test_what_needs_the_cores_for_itself_is_one_at_a_time(folder: Path, one_run: grid.Run):
    claim = running._Claim.take(one_run.measurement, folder)
    (folder / "cells.yaml").write_text(CELLS + "budget: {minutes: 1}\n")
    another = grid.read(folder / "cells.yaml").calibrations[0]
    assert claim is not None and running._Claim.take(another, folder) is None
    claim.release()
    assert running._Claim.take(another, folder) is not None
    assert not running._others(folder), "this process is not another"
    holder = {"host": running.platform.node(), "pid": 1, "process_started": running._started(1)}
    (folder / "claims" / "other.json").write_text(json.dumps(holder))
    assert running._others(folder)
    dead = json.dumps({**holder, "process_started": "0"})
    for name in ("a.json", "z.json"):
        (folder / "claims" / name).write_text(dead)
    assert running._others(folder), "behind one that has ended too"


def test_of_many_who_ask_at_once_one_gets_the_run(folder: Path, one_run: grid.Run):
    for _ in range(50):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            start = threading.Barrier(8)

            def ask(_: int, start: threading.Barrier = start) -> Any:
                start.wait()
                return running._Claim.take(one_run, folder)

            [claim] = filter(None, pool.map(ask, range(8)))
        claim.release()


@pytest.mark.parametrize("minutes", [9, 11])
def test_a_claim_of_another_machine_is_taken_over_after_ten_silent_minutes(
    folder: Path, one_run: grid.Run, minutes: int
):
    path = folder / "claims" / f"{one_run.name}.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "process_started": "1"}))
    os.utime(path, (time.time() - 60 * minutes,) * 2)
    claim = running._Claim.take(one_run, folder)
    if minutes < 10:
        assert claim is None
    else:
        assert claim is not None
        assert claim.taken_over == "process 1 on elsewhere, silent for 11 minutes"


def test_a_heartbeat_keeps_a_claim(folder: Path, one_run: grid.Run):
    claim = running._Claim.take(one_run, folder)
    assert claim is not None
    path = folder / "claims" / f"{one_run.name}.json"
    os.utime(path, (1, 1))
    claim._touched -= running.HEARTBEAT_SECONDS
    claim.beat()
    assert time.time() - path.stat().st_mtime < 60


def test_the_first_of_two_results_stays(tmp_path: Path):
    path = tmp_path / "result.json"
    assert artifact.write_file(path, "first", replace=False)
    assert not artifact.write_file(path, "second", replace=False)
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["result.json"]


# === What may not change ===


def test_a_folder_of_something_else_or_of_another_benchmark_is_refused(folder: Path):
    found = grid.read(folder / "grid.yaml")
    (folder / "own").mkdir()
    (folder / "own" / "novel.txt").touch()
    with pytest.raises(ArtifactError, match="holds no benchmark"):
        running.check(found, folder / "own")
    out = folder / "out"
    out.mkdir()
    running.check(found, out)
    running._remember(found, out)
    running.check(found, out)
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: 2"))
    running.check(grid.read(folder / "grid.yaml"), out)  # more of the same is welcome
    (folder / "grid.yaml").write_text(
        GRID.replace("seeds: 1", "seeds: [3, 0]").replace("[2, 3]", "[4, 2, 3]")
    )
    running.check(grid.read(folder / "grid.yaml"), out)  # also before what was there
    (folder / "grid.yaml").write_text(GRID + "settings: {training.epochs: 7}\n")
    running.check(grid.read(folder / "grid.yaml"), out)  # nothing has been made of what changed
    (out / "results").mkdir()
    (out / "results" / "tiny.embedding_dim=2.seed0.json").touch()
    with pytest.raises(ArtifactError, match="describes otherwise now"):
        running.check(grid.read(folder / "grid.yaml"), out)
    (folder / "grid.yaml").write_text(GRID.replace("tiny:", "huge:"))
    with pytest.raises(ArtifactError, match="holds another benchmark"):
        running.check(grid.read(folder / "grid.yaml"), out)


def test_data_that_changed_between_runs_are_refused(folder: Path, reviews: Path):
    rows = reviews.read_text(encoding="utf-8")
    changed = folder / "changed.csv"
    (folder / "tiny.yaml").write_text(TINY.format(reviews=changed))
    found = grid.read(folder / "grid.yaml").runs[0]
    job = {
        "name": found.name, "dataset": found.dataset, "kind": found.kind, "cell": found.cell,
        "config": found.config.to_dict(), "folder": str(folder),
    }  # fmt: skip
    changed.write_text(rows, encoding="utf-8")
    worker.run(job, lambda *_: None)
    changed.write_text(rows + "one more,positive\n", encoding="utf-8")
    with pytest.raises(DataError, match="have changed since the first run"):
        worker.run(job, lambda *_: None)
    changed.write_text(rows, encoding="utf-8")
    worker.run(job, lambda *_: None)


# === Models ===


def test_two_models_are_compared_on_the_same_texts(made: tuple[Path, Any], reviews: Path):
    folder, _ = made
    models = [str(folder / "out/models" / f"tiny.embedding_dim={n}.seed0") for n in (2, 3)]
    result = CliRunner().invoke(main, ["compare", *models, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    [one] = found["comparisons"]
    results = running.finished(grid.read(folder / "grid.yaml"), folder / "out")
    scores = {
        name.split("/")[-1]: results[name.split("/")[-1]]["test"]["accuracy"] for name in models
    }
    assert {m["name"].split("/")[-1]: m["score"] for m in found["models"]} == pytest.approx(scores)
    assert one["difference"] == pytest.approx(
        abs(scores["tiny.embedding_dim=2.seed0"] - scores["tiny.embedding_dim=3.seed0"])
    )
    assert one["verdict"] in one["words"] and "McNemar" in one["words"] and found["cells"] == []
    printed = CliRunner().invoke(main, ["compare", *models, "--data", str(reviews)])
    assert "Which of these models?" in printed.stdout and "300 texts" in printed.stdout
    assert "Which cell?" not in printed.stdout, "one seed each says nothing of cells"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["one"], 2, "at least two models"),
        (["one", "one"], 2, "each of them once"),
        (["one", "nowhere"], 1, "nowhere: does not exist"),
        (["one", "other"], 1, "models of one task can be compared"),
        (["one", "strange"], 1, "was trained on other data than one; name what to score them on"),
        (["one", "same", "--metric", "micro_f1"], 2, "not of this task"),
        (["one", "same", "--data", "no.csv"], 1, "no.csv: no such file"),
    ],
)
def test_models_that_cannot_be_compared_are_refused_at_once(
    made: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], exit_code: int, message: str,
):  # fmt: skip
    model = made[0] / "out/models/tiny.embedding_dim=2.seed0"
    monkeypatch.chdir(tmp_path)
    for name in ("one", "same"):
        os.symlink(model, name)
    card = json.loads((model / "card.json").read_text())
    for name, change in (("other", {"class_names": ["x", "y"]}), ("strange", {"data": {}})):
        os.mkdir(name)
        Path(name, "card.json").write_text(json.dumps(card | change))
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == exit_code and message in result.stderr, result.output


def test_models_of_other_data_or_settings_are_other_cells():
    config = from_dict({"data": {"source": "demo"}})[0].to_dict()
    card = artifact.Card(("x", "y"), False, config, data={"fingerprint": "f"})
    longer = {**config, "training": {**config["training"], "epochs": 3}}
    seeded = {**config, "training": {**config["training"], "seed": 3}}
    cards = {
        "a": card,
        "b": dataclasses.replace(card, config=seeded),
        "c": dataclasses.replace(card, data={"fingerprint": "g"}),
        "d": dataclasses.replace(card, config=longer),
    }
    cells = comparing._cells(cards)
    assert cells["a"] == cells["b"] and len(set(cells.values())) == 3


def test_models_that_differ_in_the_seed_alone_are_one_cell():
    rng = np.random.default_rng(0)
    y_true = np.arange(1000) % 2

    def answers(accuracy: float) -> Any:
        right = rng.random(1000) < accuracy
        p = np.where(right == (y_true == 1), 0.9, 0.1)
        return y_true, np.stack([1 - p, p], axis=1), None

    scores = {"a0": answers(0.9), "a1": answers(0.9), "b0": answers(0.6), "b1": answers(0.6)}
    found = summary.compare_models(
        scores,
        cells={"a0": "A", "a1": "A", "b0": "B", "b1": "B"},
        metric="accuracy",
        confidence=0.95,
        num_resamples=200,
        seed=0,
    )
    assert len(found["comparisons"]) == 6
    [cells] = found["cells"]
    assert (cells["a"], cells["b"], cells["verdict"]) == ("A", "B", "better")
    verdicts = {(c["a"], c["b"]): c["verdict"] for c in found["comparisons"]}
    assert verdicts["a0", "b0"] == "better"
    assert "no difference shown" in {verdicts.get(("a0", "a1")), verdicts.get(("a1", "a0"))}


# === What the runs say ===


@pytest.mark.parametrize("multi_label", [False, True])
def test_rounding_changes_no_prediction(multi_label: bool):
    rng = np.random.default_rng(0)
    p = np.clip(0.5 + rng.normal(0, 1e-4, (1000, 3)), 0, 1).astype(np.float32)
    thresholds = np.array([0.5, 0.50001, 0.49999], np.float32) if multi_label else None
    small = worker.to_float16(p, thresholds)
    assert small.dtype == np.float16
    np.testing.assert_array_equal(
        evaluation.select(small, thresholds), evaluation.select(p, thresholds)
    )
    np.testing.assert_allclose(small, p, atol=2e-3)
    if multi_label:
        certain = worker.to_float16(np.full((1, 3), 0.9999, np.float32), thresholds)
        assert (certain < 1).all(), "the loss of a certainty is another one"
        assert (
            evaluation.select(p.astype(np.float16), thresholds) != evaluation.select(p, thresholds)
        ).any()
    np.testing.assert_array_equal(worker.unpack(worker.pack(small)), small)
    with pytest.raises(ValueError, match="not an array"):
        worker.unpack({**worker.pack(small), "zlib_base64": "eJwDAAAAAAE="})


Y_TRUE = np.arange(4000) % 2


def forged(run: grid.Run, accuracy: float) -> dict[str, Any]:
    """A result whose answers are right for this share of the texts, for others with each seed."""
    rng = np.random.default_rng(sum(map(ord, run.name)))
    right = rng.permutation(len(Y_TRUE)) < accuracy * len(Y_TRUE)
    p = np.where(right == (Y_TRUE == 1), 0.9, 0.1)
    p = np.stack([1 - p, p], axis=1)
    network = {
        "history": [{"val_loss": 0.7}, {"val_loss": 0.5}],
        "num_tokens": worker.pack(np.arange(4000, dtype=np.int32) % 50),
        "gradient_by_distance": {"0": 2.0, "1": 1.0, "8": 0.1},
    }
    return {
        "run": run.name, "cell": run.cell, "kind": run.kind, "seed": run.seed,
        "dataset": run.dataset, "thresholds": None, "vocabulary": "v", "code": "c" * 64,
        "data": {"multi_label": False, "class_names": ["no", "yes"], "splits": {"test": 4000},
                 "fingerprint": "f", "leaked_test_rows": 0},
        "test": {"accuracy": float(right.mean()), "log_loss": float(-np.log(p[range(4000), Y_TRUE]).mean())}, "validation": {"accuracy": 0.5},
        "versions": {"textclf": "0"}, "machine": {"host": "here"}, "test_reads": 1, "steps": 10,
        "cost": {"training_seconds": 3.0, "latency_p50_ms": 2.0, "shared_cores": False},
        "probabilities": worker.pack(worker.to_float16(p, None)),
        **(network if run.kind == "network" else {}),
        "y_true": worker.pack(Y_TRUE.astype(np.int16)),
    }  # fmt: skip


def summarized(folder: Path, accuracies: dict[str, Any], grid_text: str = CELLS) -> Any:
    (folder / "cells.yaml").write_text(grid_text)
    found = grid.read(folder / "cells.yaml")
    results = {}
    for one in found.runs:
        accuracy = accuracies.get(one.cell, 0.5)
        if isinstance(accuracy, list):
            accuracy = accuracy[one.seed]
        results[one.name] = forged(one, accuracy)
    return found, results, summary.summarize(found, results, {})


def by_pair(found: Any, key: str) -> dict[tuple[str, str], Any]:
    return {(c["a"], c["b"]): c for c in found["datasets"]["tiny"][key]}


def test_verdicts_say_better_none_and_too_few(folder: Path):
    accuracies = {"gru": 0.8, "bigru": [0.8, 0.802, 0.799], "bisimple_rnn": [0.5, 0.9, 0.7]}
    accuracies |= {"tfidf_logistic_regression": 0.9, "bag_of_embeddings": 0.6}
    _, _, found = summarized(folder, accuracies)
    cells = by_pair(found, "comparisons")
    even = cells["bigru", "gru"]
    assert even["verdict"] == "no difference shown" and even["power"] > 0.8
    assert "no difference shown between BiGRU and GRU: they differ by 0.0 points" in even["words"]
    few = next(c for pair, c in cells.items() if "bisimple_rnn" in pair)
    assert few["verdict"] == "too few seeds" and few["seeds_needed"] > 3
    assert f"{few['seeds_needed']} seeds a cell are needed" in few["words"]
    simple = by_pair(found, "with_simple")
    assert simple["tfidf_logistic_regression", "gru"]["verdict"] == "better"
    assert simple["gru", "bag_of_embeddings"]["verdict"] == "better"
    words = " ".join(found["datasets"]["tiny"]["words"])
    assert "No recurrent network here is shown to be better than TF-IDF + logistic" in words
    assert "TF-IDF + logistic regression is better than GRU and BiGRU." in words
    assert "GRU and BiGRU are better than a bag of embeddings." in words
    assert [c["cell"] for c in found["datasets"]["tiny"]["cells"]][0] == "tfidf_logistic_regression"


def test_why_a_cost_could_not_be_measured_is_told(folder: Path):
    found, results, _ = summarized(folder, {})
    out = folder / "out"
    for part in ("results", "failures"):
        (out / part).mkdir(parents=True)
    running._remember(found, out)
    for name, one in results.items():
        one["cost"]["shared_cores"] = name.startswith("tiny.gru.")
        (out / "results" / f"{name}.json").write_text(json.dumps(one))
    [measurement] = running.unmeasured(found, out)
    failure = out / "failures" / f"{measurement.name}.json"
    failure.write_text(json.dumps({"reason": "it took more than 1 minutes"}))
    assert running.unmeasured(found, out) == []
    said = run(folder, "cells.yaml", "out", "--report-only").stdout
    assert "tiny.gru.seed0.measurement failed: it took more than 1 minutes" in said


@pytest.mark.parametrize(
    "damage",
    [
        *({key: None} for key in ("cost", "test", "thresholds", "probabilities", "y_true")),
        {"probabilities": {"dtype": "<f2", "shape": [4], "zlib_base64": "eA=="}},
        {"cost": {"training_seconds": 1.0}},
    ],
    ids=str,
)
def test_a_damaged_result_is_named(folder: Path, damage: dict[str, Any]):
    found, results, _ = summarized(folder, {})
    (folder / "results").mkdir()
    name = "tiny.gru.seed0"
    changed = results[name] | damage
    kept = {key: value for key, value in changed.items() if damage.get(key, 0) is not None}
    (folder / "results" / f"{name}.json").write_text(json.dumps(kept))
    with pytest.raises(ArtifactError, match=f"{name}.json: cannot be read; remove it"):
        running.finished(found, folder)


def test_a_network_that_ended_early_or_lets_nothing_through_is_still_reported(folder: Path):
    found, results, _ = summarized(folder, {})
    results["tiny.gru.seed1"] |= {"ended_by": "not finite"}
    results["tiny.gru.seed1"]["cost"]["new_in_a_later_version"] = 1
    for one in results.values():
        if "gradient_by_distance" in one:
            one["gradient_by_distance"]["0"] = 0.0
    said = summary.summarize(found, results, {})
    assert any("tiny.gru.seed1 ended early" in note for note in said["notes"])
    assert "tiny.gru.seed1 ended early" in render(found, folder, results, said)


def test_mcnemar_is_asked_of_accuracy_alone():
    rng = np.random.default_rng(0)
    y_true = rng.integers(2, size=200)
    p = np.where(np.eye(2, dtype=bool)[y_true], 0.6, 0.4)
    surer = np.where(np.eye(2, dtype=bool)[y_true], 0.9, 0.1)
    compared = functools.partial(
        summary.compare_models,
        {"a": (y_true, p, None), "b": (y_true, surer, None)},
        cells={"a": "a", "b": "b"}, confidence=0.95, num_resamples=100, seed=0,
    )  # fmt: skip
    [one] = compared(metric="log_loss")["comparisons"]
    assert (one["verdict"], one["a"]) == ("better", "b") and "McNemar" not in one["words"]
    [one] = compared(metric="accuracy")["comparisons"]
    assert one["verdict"] == "no difference shown" and "McNemar" in one["words"]


def test_more_comparisons_need_more_evidence(folder: Path):
    accuracies = {"gru": 0.8, "bigru": [0.8, 0.83, 0.81], "bisimple_rnn": [0.78, 0.8, 0.81]}
    _, _, found = summarized(folder, accuracies)
    cells = by_pair(found, "comparisons")
    assert all(c["p_value_holm"] >= c["p_value"] for c in cells.values())
    smallest = min(cells.values(), key=lambda c: c["p_value"])
    assert smallest["p_value_holm"] == pytest.approx(3 * smallest["p_value"])


def test_a_verdict_stands_on_the_corrected_value():
    rng = np.random.default_rng(0)
    between = 0
    for _ in range(100):
        accuracy = [[0.8], [0.82], [0.83]] + rng.normal(0, 0.005, (3, 3))
        right = rng.random((3, 3, 1000)) < accuracy[:, :, np.newaxis]
        comparison = summary.Comparison(
            "accuracy", dict(zip("abc", right.astype(float), strict=True))
        )
        for one in comparison.pairs([("a", "b"), ("a", "c"), ("b", "c")]):
            assert (one["verdict"] == "better") == (one["p_value_holm"] < 0.05)
            between += one["p_value"] < 0.05 <= one["p_value_holm"]
    assert between > 10, "the correction must decide something for this test to mean anything"


def test_what_is_beaten_for_less_is_not_on_the_front(folder: Path):
    accuracies = {"gru": 0.8, "bigru": 0.9, "bisimple_rnn": 0.7, "fasttext": 0.6}
    found, results, _ = summarized(folder, accuracies)
    seconds = {"majority": 0, "gru": 4, "bigru": 4, "bisimple_rnn": 5}
    for one in results.values():
        one["cost"]["training_seconds"] = float(seconds.get(one["cell"], 1))
    cells = summary.summarize(found, results, {})["datasets"]["tiny"]["cells"]
    front = {cell["cell"] for cell in cells if "training_seconds" in cell["pareto"]}
    assert front == {"majority", "fasttext", "bigru"}
    results["tiny.gru.seed0"]["machine"] = {"host": "there"}
    cells = summary.summarize(found, results, {})["datasets"]["tiny"]["cells"]
    assert not any(cell["pareto"] for cell in cells), "times of two machines do not compare"


def test_a_loss_is_better_when_it_is_lower(folder: Path):
    accuracies = {"gru": 0.8, "bigru": 0.9, "bisimple_rnn": 0.5}
    _, results, found = summarized(folder, accuracies, CELLS + "metric: log_loss\n")
    assert ("bigru", "gru") in by_pair(found, "comparisons")


def test_what_limits_the_comparison_is_noted(folder: Path):
    found, results, _ = summarized(folder, {"gru": 0.8})
    names = list(results)
    results[names[2]]["code"] = "other"
    results[names[3]]["machine"] = {"host": "there"}
    results[names[4]]["cost"]["shared_cores"] = True
    results[names[4]]["test_reads"] = 2
    results[names[4]]["cost"]["code"] = "newer"
    results[names[5]]["vocabulary"] = "w"
    del results[names[-1]]
    notes = "\n".join(summary.summarize(found, results, {names[-2]: "no memory"})["notes"])
    assert f"1 of {len(names)} runs are not made yet" in notes
    assert f"{names[-2]} failed: no memory" in notes
    for part in ("2 different versions of textclf's code", "2 machines", "cores to themselves",
                 "measured with another version", "different vocabularies",
                 f"2 times for {names[4]}"):  # fmt: skip
        assert part in notes
    for name in names[:-1]:
        results[name]["cost"]["shared_cores"] = results[name]["cell"] == "gru"
    notes = "\n".join(summary.summarize(found, results, {})["notes"])
    assert "were measured on shared cores and do not compare" in notes


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    if chromium.PROGRAM is None:
        pytest.skip("no Chromium on this machine: this test looks at the report with one")
    with chromium.page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, False), (360, True)])
def test_the_report_is_one_page_that_fits_and_can_be_read(
    page: chromium.Page, folder: Path, width: int, dark: bool
):
    found, results, said = summarized(folder, {"gru": [0.8, 0.81, 0.82], "bigru": 0.9})
    said["notes"].append("<b>a note</b>")
    (folder / "report.html").write_text(render(found, folder, results, said), encoding="utf-8")
    page.open(f"file://{folder}/report.html", width=width, height=800, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), "
        "s.getAttribute('aria-label'), s.getBoundingClientRect().width])"
    )
    assert len(images) == 7
    for role, label, shown in images:
        assert role == "img" and len(label) > 30 and 200 < shown < width
    names = ("BiGRU", "GRU", "BiSimpleRNN", "TF-IDF + logistic regression", "a bag of embeddings")
    for picture in page.evaluate("[...document.querySelectorAll('svg')].map(s => s.textContent)"):
        assert all(name in picture for name in names[:3])
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids)), "two plots share an id"
    colours = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, "
        "getComputedStyle(document.querySelector('svg text')).fill]"
    )
    dark_ones = ["rgb(13, 17, 23)", "rgb(230, 237, 243)"]
    assert colours == (dark_ones if dark else ["rgb(255, 255, 255)", "rgb(27, 31, 36)"])
    text = page.evaluate("document.body.innerText")
    assert "<b>a note</b>" in text and "BiGRU is better than GRU" in text
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    assert page.problems == []


def test_a_report_of_several_labels_compares_them_by_their_own_metric(folder: Path):
    several = TINY.replace("}}\nmodel", ", multi_label: true, label_separator: ';'}}\nmodel")
    (folder / "tiny.yaml").write_text(several.format(reviews=folder / "reviews.csv"))
    (folder / "cells.yaml").write_text(CELLS + "metric: accuracy\n")
    with pytest.raises(ConfigError, match="accuracy is not of tiny, where a text has several"):
        grid.read(folder / "cells.yaml")
    (folder / "cells.yaml").write_text(CELLS)
    found = grid.read(folder / "cells.yaml")
    rng = np.random.default_rng(0)
    y_true = rng.random((500, 3)) < [0.5, 0.2, 0.05]
    limits = np.array([0.5, 0.4, 0.3], np.float32)
    results = {}
    for one in found.runs:
        better = 0.3 if one.cell == "bigru" else 0.1
        p = np.clip(0.4 * rng.random((500, 3)) + better * y_true, 0, 1).astype(np.float32)
        report = evaluation.evaluate(
            y_true, p, class_names="abc", multi_label=True, thresholds=limits, bootstrap_samples=0
        )
        results[one.name] = forged(one, 0.5) | {
            "data": {"multi_label": True, "class_names": list("abc"), "splits": {"test": 500},
                     "fingerprint": "f", "leaked_test_rows": 0},
            "test": report.to_dict()["metrics"], "thresholds": limits.tolist(),
            "probabilities": worker.pack(worker.to_float16(p, limits)),
            "y_true": worker.pack(y_true.astype(np.uint8)),
        }  # fmt: skip
        if one.kind == "network":
            results[one.name]["num_tokens"] = worker.pack(np.arange(500, dtype=np.int32) % 50)
    said = summary.summarize(found, results, {})
    assert said["datasets"]["tiny"]["metric"] == "macro_f1"
    assert by_pair(said, "comparisons")["bigru", "gru"]["verdict"] == "better"
    page = render(found, folder, results, said)
    assert "share of labels right" in page and "What is taken for what" not in page
    (folder / "report.html").write_text(page)


def test_gradients_by_distance_are_those_of_a_cell_worked_by_hand(model: Any):
    # Of a linear recurrence h[t] = w h[t - 1] + v x[t], dh[n - 1] / dx[n - 1 - k] is v w^k.
    network = networks.build(
        vocabulary_size=model.text_encoder.vocabulary_size, num_classes=2, encoder="simple_rnn", bidirectional=False, units=1,
        num_layers=1, pooling="last", embedding_dim=1,
    )  # fmt: skip
    cell = network.recurrent_layers[0].cell
    cell.activation = keras.activations.linear
    for variable, value in zip(cell.weights, ([[3.0]], [[0.5]], [0.0]), strict=True):
        variable.assign(value)

    class OneWord:
        text_encoder = model.text_encoder

    OneWord.network = network  # type: ignore[attr-defined]
    found = worker.gradient_by_distance(OneWord, ["a b c d e f", "a b"])
    assert found == pytest.approx({"0": 3.0, "1": 1.5, "2": 0.75, "4": 3 / 16})
    assert worker.gradient_by_distance(model, ["good"]).keys() == {"0"}


def test_tables_hold_every_cell_and_escape_what_they_must(folder: Path):
    found, results, said = summarized(folder, {"gru": [0.8, 0.81, 0.82]})
    page = tables.markdown(said)
    assert "| GRU | 81.0 | 1.0 | 80.0 to 82.0 | 3 | 3.0 | 2.00 |" in page
    del results["tiny.gru.seed2"]
    rows = list(csv.DictReader(tables.results_csv(found, results, {}).splitlines()))
    statuses = {row["run"]: row["status"] for row in rows}
    assert statuses["tiny.gru.seed2"] == "missing" and statuses["tiny.gru.seed1"] == "finished"
    row = next(row for row in rows if row["run"] == "tiny.bigru.seed1")
    assert (row["encoder"], row["bidirectional"], row["seed"]) == ("gru", "True", "1")
