"""Small benchmarks for tests: grid files, and results with known scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from click.testing import CliRunner

from textclf.cli import main
from textclf.study import grid, summary
from textclf.study.records import PackedArray, Result, to_float16
from textclf.study.runs import Grid, Run
from textclf.tasks import OneOf

TINY = """
data: {{source: {reviews}}}
model: {{encoder: bag, pooling: mean, embedding_dim: 5, linear: none}}
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
MIXTURES = CELLS.replace("settings: {", "settings: {model.linear: mixture, ")
Y_TRUE = np.arange(4000) % 2


def write_grids(folder: Path, reviews: Path) -> Path:
    """Write tiny.yaml, grid.yaml and cells.yaml; return the folder."""
    (folder / "tiny.yaml").write_text(TINY.format(reviews=reviews))
    (folder / "grid.yaml").write_text(GRID)
    (folder / "cells.yaml").write_text(CELLS)
    return folder


def run_benchmark(folder: Path, grid_file: str, output: str, *options: str) -> Any:
    """Run the command `benchmark` in this process."""
    arguments = ["benchmark", str(folder / grid_file), str(folder / output), *options]
    return CliRunner().invoke(main, arguments)


def packed(array: np.ndarray) -> dict[str, Any]:
    return msgspec.to_builtins(PackedArray.pack(array))


def made_up_result(run: Run, accuracy: float) -> dict[str, Any]:
    """Return the JSON of a result with this accuracy; each seed is correct on other texts."""
    rng = np.random.default_rng(sum(map(ord, run.name)))
    right = rng.permutation(len(Y_TRUE)) < accuracy * len(Y_TRUE)
    p = np.where(right == (Y_TRUE == 1), 0.9, 0.1)
    p = np.stack([1 - p, p], axis=1)
    log_loss = float(-np.log(p[np.arange(len(Y_TRUE)), Y_TRUE]).mean())
    network = {
        "history": [{"val_loss": 0.7}, {"val_loss": 0.5}],
        "num_tokens": packed(np.arange(4000, dtype=np.int32) % 50),
        "gradient_by_distance": {"0": 2.0, "1": 1.0, "8": 0.1},
    }
    return {
        "run": run.name, "cell": run.cell, "kind": run.kind, "seed": run.seed,
        "dataset": run.dataset, "thresholds": None, "vocabulary": "v", "code": "c" * 64,
        "data": {"multi_label": False, "class_names": ["no", "yes"], "splits": {"test": 4000},
                 "fingerprint": "f", "leaked_test_rows": 0},
        "test": {"accuracy": float(right.mean()), "log_loss": log_loss},
        "validation": {"accuracy": 0.5}, "started": 0.0, "ended": 1.0,
        "versions": {"textclf": "0"}, "machine": {"host": "here"}, "test_reads": 1, "steps": 10,
        "cost": {"training_seconds": 3.0, "latency_p50_ms": 2.0, "shared_cores": False},
        "probabilities": packed(to_float16(OneOf(2), p)),
        **(network if run.kind == "network" else {}),
        "y_true": packed(Y_TRUE.astype(np.int16)),
    }  # fmt: skip


def with_network_alone(result: dict[str, Any], run: Run, accuracy: float) -> dict[str, Any]:
    """Return the JSON of a mixture whose network alone has another accuracy."""
    alone = made_up_result(run, accuracy)
    return result | {
        "network_alone": {name: alone[name] for name in ("test", "thresholds", "probabilities")}
    }


def typed(results: Mapping[str, dict[str, Any]]) -> dict[str, Result]:
    """Return the records of results in JSON."""
    return {name: msgspec.convert(result, Result) for name, result in results.items()}


def summarized(
    folder: Path, accuracies: Mapping[str, Any], grid_text: str = CELLS
) -> tuple[Grid, dict[str, dict[str, Any]], summary.Summary]:
    """Return the grid, the JSON of made-up results and their summary.

    Args:
        folder: with the configuration files.
        accuracies: by cell, one number or one for each seed; 0.5 for other cells.
        grid_text: of cells.yaml.
    """
    (folder / "cells.yaml").write_text(grid_text)
    benchmark = grid.read(folder / "cells.yaml")
    results = {}
    for run in benchmark.runs:
        accuracy = accuracies.get(run.cell, 0.5)
        if isinstance(accuracy, list):
            accuracy = accuracy[run.seed]
        results[run.name] = made_up_result(run, accuracy)
    return benchmark, results, summary.summarize(benchmark, typed(results), {})


def by_pair(comparisons: list[Any]) -> dict[tuple[str, str], Any]:
    return {(comparison.a, comparison.b): comparison for comparison in comparisons}
