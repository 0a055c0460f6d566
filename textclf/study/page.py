"""Report of a benchmark as one HTML page without external resources."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from textclf import evaluation, pages
from textclf.study.plots import Plots
from textclf.study.records import Result
from textclf.study.runs import Grid, display_name
from textclf.study.summary import DatasetSummary, Summary
from textclf.study.tables import (
    PARETO_WORDS,
    TITLE,
    comparison_groups,
    has_cost,
    parts,
    scores_table,
)
from textclf.tasks import Task

_MAX_CLASSES = 20  # of a confusion matrix


def render(grid: Grid, folder: Path, results: Mapping[str, Result], summary: Summary) -> str:
    """Return the page as HTML.

    Args:
        grid: the benchmark.
        folder: of the benchmark, for the command on the page.
        results: the finished runs by name.
        summary: of `summary.summarize`.
    """
    versions: dict[str, str] = {}
    for result in results.values():
        versions |= result.versions
    return pages.render(
        Path(__file__).parent,
        "page.html",
        heading=TITLE,
        title=Path(grid.path).stem,
        notes=summary.notes,
        confidence=f"{100 * grid.confidence:g}",
        datasets=[
            _dataset(name, dataset, [r for r in results.values() if r.dataset == name])
            for name, dataset in summary.datasets.items()
        ],
        command=f"textclf benchmark {shlex.quote(grid.path)} {shlex.quote(str(folder))}",
        versions=versions,
        pareto_words=PARETO_WORDS,
    )


def _dataset(name: str, dataset: DatasetSummary, results: Sequence[Result]) -> dict[str, Any]:
    """Return the values of the template for one data set."""
    return {
        **msgspec.structs.asdict(dataset),
        "name": name,
        "parts": [
            _part(heading, part, results if part is dataset else [r.of_network() for r in results])
            for heading, part in parts(dataset)
        ],
    }


def _part(heading: str, dataset: DatasetSummary, results: Sequence[Result]) -> dict[str, Any]:
    """Return the values of the template for the mixtures or for the networks alone."""
    # In the order of the table: the best cell first.
    by_cell = {
        cell.cell: [r for r in results if r.cell == cell.cell and r.seed in cell.seeds]
        for cell in dataset.cells
    }
    header, rows = scores_table(dataset)
    task, y_true = results[0].data.task, results[0].y_true.unpack()
    y_true = task.check_classes(y_true, len(y_true))
    plots = Plots(task, dataset, by_cell, y_true, heading)
    return {
        "heading": heading,
        "words": dataset.words,
        "header": header,
        "rows": rows,
        "has_cost": has_cost(dataset),
        "shared": any(cell.cost is not None and cell.cost.shared_cores for cell in dataset.cells),
        "plots": list(plots.draw_all() if has_cost(dataset) else plots.draw_answers()),
        "comparisons": comparison_groups(dataset),
        "confusions": list(_confusions(task, dataset.class_names, by_cell, y_true)),
    }


def _confusions(
    task: Task,
    class_names: Sequence[str],
    by_cell: Mapping[str, Sequence[Result]],
    y_true: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """Yield the confusion matrix of each cell, as shares of the true class."""
    if len(class_names) > _MAX_CLASSES:
        return
    scoring = evaluation.scoring_of(task)
    for cell, results in by_cell.items():
        shares = np.zeros((len(class_names), len(class_names)))
        for result in results:
            predicted = task.select(result.probabilities.unpack(), result.thresholds)
            matrix = scoring.confusion_matrix(y_true, predicted)
            if matrix is None:  # a text can have several classes
                return
            shares += np.array(matrix) / len(results)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
        rows = zip(class_names, shares.round(4).tolist(), strict=True)
        yield {"name": display_name(cell), "rows": list(rows)}
