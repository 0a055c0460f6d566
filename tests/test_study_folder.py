"""The folder of a benchmark: other contents are refused, damaged files are named."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from studies import GRID, run_benchmark, summarized, typed, write_grids

from textclf import artifact
from textclf.errors import ArtifactError
from textclf.study import folder as folders
from textclf.study import grid, summary


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    return write_grids(tmp_path, reviews)


def test_benchmark_refuses_a_folder_with_foreign_files_or_a_different_benchmark(folder: Path):
    benchmark = grid.read(folder / "grid.yaml")
    (folder / "documents").mkdir()
    (folder / "documents" / "novel.txt").touch()
    with pytest.raises(ArtifactError, match="is not a benchmark"):
        folders.check(benchmark, folder / "documents")
    out = folder / "out"
    out.mkdir()
    folders.check(benchmark, out)
    folders.remember(benchmark, out)
    folders.check(benchmark, out)
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: 2"))
    folders.check(grid.read(folder / "grid.yaml"), out)  # more seeds are allowed
    (folder / "grid.yaml").write_text(
        GRID.replace("seeds: 1", "seeds: [3, 0]").replace("[2, 3]", "[4, 2, 3]")
    )
    folders.check(grid.read(folder / "grid.yaml"), out)  # in any order
    (folder / "grid.yaml").write_text(GRID + "settings: {training.epochs: 7}\n")
    folders.check(grid.read(folder / "grid.yaml"), out)  # no changed run has been started
    (out / "results").mkdir()
    (out / "results" / "tiny.embedding_dim=2.seed0.json").touch()
    with pytest.raises(ArtifactError, match="contains runs with settings that differ"):
        folders.check(grid.read(folder / "grid.yaml"), out)
    (folder / "grid.yaml").write_text(GRID.replace("tiny:", "huge:"))
    with pytest.raises(ArtifactError, match="contains another benchmark"):
        folders.check(grid.read(folder / "grid.yaml"), out)


@pytest.mark.parametrize(
    "damage",
    [
        *({key: None} for key in ("cost", "test", "thresholds", "probabilities", "y_true")),
        {"probabilities": {"dtype": "<f2", "shape": [4], "zlib_base64": "eA=="}},
        {"cost": {"training_seconds": 1.0}},
        {"test": {}},
    ],
    ids=str,
)
def test_a_damaged_result_of_a_run_is_reported_with_its_file(folder: Path, damage: dict[str, Any]):
    benchmark, results, _ = summarized(folder, {})
    (folder / "results").mkdir()
    name = "tiny.gru.seed0"
    changed = results[name] | damage
    kept = {key: value for key, value in changed.items() if damage.get(key, 0) is not None}
    (folder / "results" / f"{name}.json").write_text(json.dumps(kept))
    with pytest.raises(ArtifactError, match=f"{name}.json: cannot be read; remove it"):
        folders.finished(benchmark, folder)


def test_a_failure_record_of_a_finished_run_is_ignored(folder: Path):
    benchmark = grid.read(folder / "grid.yaml")
    name = benchmark.runs[0].name
    for kind, content in (("failures", {"reason": "locked"}), ("results", {"cost": {}})):
        (folder / kind).mkdir()
        (folder / kind / f"{name}.json").write_text(json.dumps(content))
    assert folders.failures(benchmark, folder) == {}
    (folder / "results" / f"{name}.json").unlink()
    assert folders.failures(benchmark, folder) == {name: "locked"}


def test_a_failed_measurement_is_reported_and_not_repeated(folder: Path):
    benchmark, results, _ = summarized(folder, {})
    out = folder / "out"
    for part in ("results", "failures"):
        (out / part).mkdir(parents=True)
    folders.remember(benchmark, out)
    for name, result in results.items():
        result["cost"]["shared_cores"] = name.startswith("tiny.gru.")
        (out / "results" / f"{name}.json").write_text(json.dumps(result))
    [measurement] = folders.unmeasured(benchmark, out)
    failure = out / "failures" / f"{measurement.name}.json"
    failure.write_text(json.dumps({"reason": "it took more than 1 minutes"}))
    assert folders.unmeasured(benchmark, out) == []
    report = run_benchmark(folder, "cells.yaml", "out", "--report-only").stdout
    assert "tiny.gru.seed0.measurement failed: it took more than 1 minutes" in report


def test_finished_fasttext_runs_are_reported_and_missing_ones_ignored_without_fasttext(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    benchmark, results, _ = summarized(folder, {"gru": 0.8})
    monkeypatch.setitem(sys.modules, "fasttext", None)
    assert not next(run for run in benchmark.runs if run.cell == "fasttext").is_available
    assert grid.read(folder / "cells.yaml").runs == benchmark.runs
    cells = summary.summarize(benchmark, typed(results), {}).datasets["tiny"].cells
    assert "fasttext" in {cell.cell for cell in cells}
    for seed in range(3):
        del results[f"tiny.fasttext.seed{seed}"]
    assert summary.summarize(benchmark, typed(results), {}).notes == [
        "fastText is not compared because it is not installed; install it with "
        "`.venv/bin/pip install '.[fasttext]'` in the checkout of textclf"
    ]


def test_a_written_result_of_a_run_is_not_replaced(tmp_path: Path):
    path = tmp_path / "result.json"
    assert artifact.write_file(path, "first", replace=False)
    assert not artifact.write_file(path, "second", replace=False)
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["result.json"]
