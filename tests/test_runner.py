"""The runner executes each run once, keeps finished runs and survives crashes and Ctrl-C."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
import pytest
from studies import GRID, run_benchmark, write_grids
from test_cli import on_terminal, screen_lines

from textclf import artifact, classifier, linear
from textclf.cli import main
from textclf.study import folder as folders
from textclf.study import grid, running


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    return write_grids(tmp_path, reviews)


@pytest.fixture(scope="module")
def finished(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return a folder with a finished benchmark in `out`, and the result of the command."""
    folder = write_grids(tmp_path_factory.mktemp("benchmark"), reviews)
    return folder, run_benchmark(folder, "grid.yaml", "out")


def test_a_dry_run_lists_the_runs_and_executes_none(folder: Path):
    (folder / "grid.yaml").write_text(GRID.replace("[2, 3]", "[2]").replace("seeds: 1", "seeds: 2"))
    result = run_benchmark(folder, "grid.yaml", "out", "--dry-run")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == ["tiny.majority", "tiny.tfidf_logistic_regression"] and len(lines) == 6
    assert re.fullmatch(r"tiny\.embedding_dim=2\.seed1: \d+ s, \d+ MiB", lines[5])
    assert "6 runs: 0 finished, 0 failed, 6 to execute" in result.stderr
    assert "of training, estimated from the first steps" in result.stderr
    assert not (folder / "out").exists()


def test_estimate_of_a_benchmark_includes_calibrations_and_trainings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    text = GRID.replace("[2, 3]", "[2]").replace("seeds: 1", "seeds: 2")
    (folder / "grid.yaml").write_text(text + "budget: {minutes: 3}\n")
    benchmark = grid.read(folder / "grid.yaml")
    plan = running.plan(benchmark, folder / "out", benchmark.runs, jobs=2)
    assert plan.calibration_seconds == [180.0]
    seconds = {run.name: estimate and estimate.seconds for run, estimate in plan.runs}
    assert seconds["tiny.majority"] is None and seconds["tiny.embedding_dim=2.seed1"] == 180.0
    assert plan.total_seconds == 180 + 2 * 180 / 2, "calibrations run one at a time"


def test_results_of_runs_contain_all_figures_of_the_reports(finished: tuple[Path, Any]):
    folder, output = finished
    assert output.exit_code == 0, output.output
    benchmark = grid.read(folder / "grid.yaml")
    results = folders.finished(benchmark, folder / "out")
    assert list(results) == [run.name for run in benchmark.runs] and len(results) == 5
    result = results["tiny.embedding_dim=2.seed0"]
    p = result.probabilities.unpack()
    y_true = result.y_true.unpack()
    assert p.dtype == np.float16 and len(p) == len(y_true) == result.data.splits["test"]
    assert (p.argmax(axis=1) == y_true).mean() == result.test["accuracy"]
    stored = json.loads((folder / "out/results/tiny.embedding_dim=2.seed0.json").read_text())
    assert stored["cost"].keys() >= {
        "weights", "training_seconds", "tokens_per_second", "peak_memory_mb", "latency_p50_ms",
        "latency_p99_ms", "texts_per_second", "size_mb",
    }  # fmt: skip
    assert len(result.history) == 1 and stored["cost"]["shared_cores"] is False
    vocabularies = {r.vocabulary for r in results.values() if r.vocabulary is not None}
    assert len(vocabularies) == 1, "runs of a data set share it"
    for line in (folder / "out" / "test_reads.jsonl").read_text().splitlines():
        assert json.loads(line)["run"] in results
    with open(folder / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == list(results)
    assert {row["status"] for row in rows} == {"finished"}
    verdicts = json.loads((folder / "out" / "verdicts.json").read_text())
    words = verdicts["datasets"]["tiny"]["comparisons"][0]["words"]
    assert "one seed is not enough for a verdict: other seeds give other scores" in words
    assert words in output.stdout


def test_finished_runs_are_not_executed_again(finished: tuple[Path, Any]):
    folder, _ = finished
    results = folder / "out" / "results"
    (results / "tiny.majority.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    again = run_benchmark(folder, "grid.yaml", "out", "--json")
    assert again.exit_code == 0 and "4 finished, 0 failed, 1 to execute" in again.stderr
    assert len(json.loads(again.stdout)["datasets"]["tiny"]["cells"]) == 5
    after = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    assert after.keys() == before.keys() | {"tiny.majority.json"}
    assert before.items() <= after.items()


def test_benchmark_executes_only_missing_runs_with_their_package_installed(
    finished: tuple[Path, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(finished[0] / "out", folder / "out", dirs_exist_ok=True)
    for name in (
        "fasttext.seed0",
        "majority",
        "tfidf_logistic_regression",
        "embedding_dim=2.seed0",
    ):
        (folder / "out" / "results" / f"tiny.{name}.json").unlink()
    failed = folder / "out" / "failures" / "tiny.embedding_dim=2.seed0.json"
    failed.write_text(json.dumps({"reason": "it failed before"}))
    monkeypatch.setitem(sys.modules, "fasttext", None)  # not installed
    unavailable = "1 not possible (fastText is not installed)"
    reported = run_benchmark(folder, "grid.yaml", "out", "--report-only")
    assert f"5 runs: 1 finished, 1 failed, {unavailable}, 2 missing\n" in reported.stderr
    assert "2 of 5 runs are missing" in reported.stdout
    assert "fastText is not compared because it is not installed" in reported.stdout
    planned = run_benchmark(folder, "grid.yaml", "out", "--retry-failed", "--dry-run")
    assert f"5 runs: 1 finished, 0 failed, {unavailable}, 3 to execute\n" in planned.stderr
    result = run_benchmark(folder, "grid.yaml", "out")
    assert f"5 runs: 1 finished, 1 failed, {unavailable}, 2 to execute\n" in result.stderr
    assert re.findall(r"^(\d/\d) tiny\.(\w+)", result.stderr, re.MULTILINE) == [
        ("1/2", "majority"),
        ("2/2", "tfidf_logistic_regression"),
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_verdicts_on_a_terminal_fit_its_width(finished: tuple[Path, Any], columns: int):
    folder, _ = finished
    arguments = [folder / "grid.yaml", folder / "out", "--report-only"]
    command = [sys.executable, "-m", "textclf", "benchmark", *arguments]
    exit_code, written = on_terminal(*command, columns=columns)
    assert exit_code == 0
    lines = screen_lines(written)
    shown = [line for line in lines if not line.startswith("written: ")]
    assert all(len(line) <= columns for line in shown), "\n".join(lines)
    assert not [line for line in lines if line.startswith(("|", "#", "reading"))]
    for header in ("accuracy +sd", "weights +training s", "p50 ms +p99 ms"):
        assert any(re.match(rf"cell +(.* )?{header}", line) for line in lines), "\n".join(lines)
    # Without a terminal the output is Markdown.
    piped = run_benchmark(folder, "grid.yaml", "out", "--report-only").stdout
    assert piped == (folder / "out" / "report.md").read_text("utf-8")


def test_benchmark_reports_finished_runs_if_some_are_missing(
    finished: tuple[Path, Any], folder: Path
):
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: 2"))
    nothing = run_benchmark(folder, "grid.yaml", "out", "--report-only")
    assert nothing.exit_code == 1 and "contains no finished run of" in nothing.stderr
    shutil.copytree(finished[0] / "out", folder / "out", dirs_exist_ok=True)
    result = run_benchmark(folder, "grid.yaml", "out", "--report-only")
    assert result.exit_code == 0, result.output
    assert "3 of 8 runs are missing" in result.stdout
    assert "3 of 8 runs are missing" in (folder / "out" / "report.md").read_text("utf-8")
    other = run_benchmark(folder, "grid.yaml", "out", "--report-only", "--dry-run")
    assert other.exit_code == 2 and "--report-only executes nothing" in other.stderr


def test_a_benchmark_without_seeds_reports_no_verdicts(folder: Path):
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: 0"))
    result = run_benchmark(folder, "grid.yaml", "out", "--json")
    assert result.exit_code == 0, result.output
    dataset = json.loads(result.stdout)["datasets"]["tiny"]
    assert [cell["is_random"] for cell in dataset["cells"]] == [False, False]
    words = "No cell of the grid has a finished run, so there is no verdict."
    assert dataset["words"] == [words]
    assert words in (folder / "out" / "report.html").read_text("utf-8")


def test_a_run_over_a_limit_fails_with_its_reason_and_the_benchmark_continues(folder: Path):
    (folder / "grid.yaml").write_text(GRID + "memory_mb_per_run: 30\n")
    result = run_benchmark(folder, "grid.yaml", "out", "--jobs", "2")
    assert result.exit_code == 1 and "5 of 5 runs have no result" in result.stderr
    assert "the grid allows memory_mb_per_run: 30" in result.stdout
    assert len(list((folder / "out" / "failures").iterdir())) == 5
    assert not list((folder / "out" / "claims").iterdir())
    again = run_benchmark(folder, "grid.yaml", "out")
    assert "0 finished, 5 failed, 0 to execute" in again.stderr
    assert "--retry-failed executes them again" in again.stderr


def test_runs_of_a_killed_benchmark_stop_and_are_taken_over(folder: Path):
    command = [sys.executable, "-m", "textclf", "benchmark", "grid.yaml", "out"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    claims = folder / "out" / "claims"
    until = time.monotonic() + 60
    parent = psutil.Process(process.pid)
    while not (claims.is_dir() and list(claims.glob("*.json")) and parent.children()):
        assert time.monotonic() < until
        time.sleep(0.05)
    [worker_process] = parent.children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    while worker_process.is_running():
        assert time.monotonic() < until, "a worker must end with its runner"
        time.sleep(0.05)
    events = running.execute(grid.read(folder / "grid.yaml"), folder / "out")
    first = next(events)
    assert isinstance(first, running.Started)
    assert f"process {process.pid}" in first.taken_over and "has ended" in first.taken_over
    events.close()
    assert not list(claims.glob("*.json"))


def test_ctrl_c_between_two_events_of_a_benchmark_stops_the_active_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, interrupt_at: Callable[[str], None]
):
    monkeypatch.chdir(folder)
    interrupt_at("1/5 ")  # the first run has ended, and the second is active
    with pytest.raises(click.ClickException, match="interrupted") as caught:
        main(["benchmark", "grid.yaml", "out", "--jobs", "2"], standalone_mode=False)
    # The exception keeps the frames alive, so garbage collection cannot have released the claims.
    assert not list((folder / "out" / "claims").glob("*.json"))
    assert caught.value.__context__ is not None


def test_a_time_budget_is_calibrated_once_and_shared_cores_are_measured_again(
    folder: Path, finished: tuple[Path, Any]
):
    (folder / "grid.yaml").write_text(GRID.replace("[2, 3]", "[2]") + "budget: {minutes: 0.02}\n")
    # Two of the simple classifiers, which have no budget, are finished.
    left_out = shutil.ignore_patterns("*embedding_dim*", "*majority*", "test_reads.jsonl")
    shutil.copytree(finished[0] / "out", folder / "out", ignore=left_out)
    output = run_benchmark(folder, "grid.yaml", "out", "--jobs", "2")
    assert output.exit_code == 0, output.output
    benchmark = grid.read(folder / "grid.yaml")
    [calibration] = benchmark.calibrations
    path = folder / "out" / "results" / f"{calibration.name}.json"
    content = path.read_bytes()
    calibrated = json.loads(content)
    assert calibrated["seconds"] >= 1.2 and calibrated["steps"] > 0
    assert f"{calibration.name}: {calibrated['steps']:,} steps in " in output.stderr
    results = folders.finished(benchmark, folder / "out")
    [network] = [result for result in results.values() if result.kind == "network"]
    card = artifact.read_card(folder / "out" / "models" / network.run)
    assert card.config["training"]["max_steps"] == calibrated["steps"]
    assert network.calibration is not None and network.calibration.steps == calibrated["steps"]
    assert network.steps == calibrated["steps"] or network.ended_by == "early stopping"
    # Each cell has been measured with the cores to itself.
    assert [result.cost.shared_cores for result in results.values()] == [False] * len(results)
    assert f"{network.run}.measurement: measured alone" in output.stderr
    measured = json.loads((folder / "out" / "results" / f"{network.run}.json").read_text())
    expected = {"weights", "training_seconds", "latency_p50_ms", "size_mb", "code"}
    assert measured["cost"].keys() >= expected
    assert len((folder / "out" / "test_reads.jsonl").read_text().splitlines()) == 2
    (folder / "out" / "results" / "tiny.majority.json").unlink()
    assert run_benchmark(folder, "grid.yaml", "out").exit_code == 0
    assert path.read_bytes() == content, "all runs of a cell make the calibrated steps"


def test_runs_of_a_cell_fail_if_their_calibration_failed(folder: Path):
    text = GRID.replace("[2, 3]", "[2]") + "budget: {minutes: 5}\nmemory_mb_per_run: 30\n"
    (folder / "grid.yaml").write_text(text)
    result = run_benchmark(folder, "grid.yaml", "out", "--jobs", "2")
    assert result.exit_code == 1 and "4 of 4 runs have no result" in result.stderr
    names = {path.name for path in (folder / "out" / "failures").iterdir()}
    assert "tiny.embedding_dim=2.calibration.json" in names
    assert "tiny.embedding_dim=2.seed0.json" not in names, "it was never started"
    assert "tiny.embedding_dim=2.seed0 failed: stopped at" in result.stdout


def test_mixtures_of_a_benchmark_share_a_linear_model_that_is_fitted_once(folder: Path):
    text = GRID.replace("[2, 3]", "[2]").replace("seeds: 1", "seeds: 2")
    (folder / "grid.yaml").write_text(text + "settings: {model.linear: mixture}\n")
    benchmark = grid.read(folder / "grid.yaml")
    out = folder / "out"
    output = run_benchmark(folder, "grid.yaml", "out", "--jobs", "2", "--json")
    assert output.exit_code == 0, output.output
    [path] = (out / "linear").iterdir()
    [fit] = benchmark.linear_models
    assert path == folders.linear_model_path(fit, out)
    stored = linear.load_fitted(path)
    results = folders.finished(benchmark, out)
    for seed in (0, 1):
        result = results[f"tiny.embedding_dim=2.seed{seed}"]
        model = classifier.load(out / "models" / result.run)
        for name, array in stored.model.arrays.items():
            assert (model.linear.arrays[name] == array).all(), name
        alone = result.network_alone
        p, y_true = alone.probabilities.unpack(), result.y_true.unpack()
        assert alone.test["accuracy"] == (p.argmax(axis=1) == y_true).mean()
        assert (p != result.probabilities.unpack()).any()
        assert result.test_reads == 1
    result = results["tiny.linear_model"]
    assert result.network_alone is None and result.cost.shared_cores is False
    assert result.cost.training_seconds > 0 and result.cost.size_mb > 0
    [dataset] = json.loads(output.stdout)["datasets"].values()
    assert "the linear model" in {cell["name"] for cell in dataset["cells"]}
    assert len(dataset["network_alone"]["cells"]) == len(dataset["cells"])
    # A run that is repeated uses the fitted model; only the run that fits it writes the file.
    before = path.stat().st_mtime_ns
    (out / "results" / "tiny.embedding_dim=2.seed1.json").unlink()
    shutil.rmtree(out / "models")
    assert run_benchmark(folder, "grid.yaml", "out").exit_code == 0
    assert path.stat().st_mtime_ns == before
    assert [file.name for file in (out / "models").iterdir()] == ["tiny.embedding_dim=2.seed1"]


def test_mixtures_fail_if_the_fit_of_their_linear_model_failed(folder: Path):
    text = GRID.replace("[2, 3]", "[2]") + "settings: {model.linear: mixture}\n"
    (folder / "grid.yaml").write_text(text + "memory_mb_per_run: 30\n")
    result = run_benchmark(folder, "grid.yaml", "out", "--jobs", "2")
    assert result.exit_code == 1 and "5 of 5 runs have no result" in result.stderr
    names = {path.name for path in (folder / "out" / "failures").iterdir()}
    assert "tiny.linear_model.json" in names
    assert "tiny.embedding_dim=2.seed0.json" not in names, "it was never started"
    assert "tiny.embedding_dim=2.seed0 failed: stopped at" in result.stdout
