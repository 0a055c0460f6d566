"""Tables of results and verdicts: CSV, Markdown, and plain text for a terminal."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import asdict

from textclf.display import Document, Notes, Table, to_text
from textclf.study.comparison import CellComparison
from textclf.study.records import Result
from textclf.study.runs import MIXTURE_TITLE, NETWORK_TITLE, Grid, Run
from textclf.study.summary import CellSummary, DatasetSummary, Summary

TITLE = "Comparison of architectures"
_COST_COLUMNS = {
    "weights": ("weights", "{:,.0f}"),
    "training_seconds": ("training s", "{:,.1f}"),
    "tokens_per_second": ("tokens/s", "{:,.0f}"),
    "peak_memory_mb": ("peak MiB", "{:,.0f}"),
    "latency_p50_ms": ("p50 ms", "{:,.2f}"),
    "latency_p99_ms": ("p99 ms", "{:,.2f}"),
    "texts_per_second": ("texts/s", "{:,.0f}"),
    "size_mb": ("export MiB", "{:,.2f}"),
}
_NOT_TIMES = ("weights", "size_mb", "peak_memory_mb")  # do not depend on other runs

_PARETO = {"training_seconds": "training", "latency_p50_ms": "answer"}
PARETO_WORDS = (
    "Pareto front: no other model has an equal or better mean at lower cost (training time, or "
    "time of an answer, p50)."
)

# Groups of columns on a terminal: a table that is too wide is split between them.
_SCORE_COLUMNS = ("sd", "range", "seeds", "Pareto")
_TRAINING_COLUMNS = ("weights", "training s", "tokens/s", "peak MiB")
_ANSWER_COLUMNS = ("p50 ms", "p99 ms", "texts/s", "export MiB")


def results_csv(grid: Grid, results: Mapping[str, Result], failures: Mapping[str, str]) -> str:
    """Return CSV with a row for each run of the grid, finished or not."""
    rows = [_row(run, results.get(run.name), failures.get(run.name)) for run in grid.runs]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(run: Run, result: Result | None, reason: str | None) -> dict[str, Any]:
    is_recurrent = run.kind == "network" and run.config.model.encoder != "bag"
    row: dict[str, Any] = {
        "run": run.name,
        "dataset": run.dataset,
        "cell": run.cell,
        "encoder": run.config.model.encoder if run.kind == "network" else run.cell,
        "bidirectional": run.config.model.bidirectional if is_recurrent else "",
        "units": run.config.model.units if is_recurrent else "",
        "seed": run.seed if run.is_random else "",
        "status": "finished" if result else "failed" if reason else "missing",
        "reason": reason or "",
    }
    if result is None:
        return row
    row |= {f"test_{name}": value for name, value in result.test.items()}
    if result.network_alone is not None:
        alone = result.network_alone.test
        row |= {f"network_alone_test_{name}": value for name, value in alone.items()}
    row |= {f"validation_{name}": value for name, value in (result.validation or {}).items()}
    row["best_epoch"] = result.best_epoch
    row["steps"] = result.steps
    row["ended_by"] = result.ended_by
    row["epochs"] = None if result.history is None else len(result.history)
    row |= {name: value for name, value in asdict(result.cost).items() if value is not None}
    row |= {"host": result.machine.host, "code": result.code[:12]}
    return row


def parts(dataset: DatasetSummary) -> list[tuple[str, DatasetSummary]]:
    """Return the parts of the report of a data set with their headings; "" without mixtures."""
    if dataset.network_alone is None:
        return [("", dataset)]
    return [(NETWORK_TITLE, dataset.network_alone), (MIXTURE_TITLE, dataset)]


def has_cost(dataset: DatasetSummary) -> bool:
    """Decide whether the cost of the cells is known."""
    return any(cell.cost is not None for cell in dataset.cells)


def scores_table(dataset: DatasetSummary) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: the score over the seeds, and the cost if it is known."""
    costs = [
        name
        for name in _COST_COLUMNS
        if any(getattr(cell.cost, name, None) is not None for cell in dataset.cells)
    ]
    header = ["cell", dataset.metric, *_SCORE_COLUMNS]
    header += [_COST_COLUMNS[name][0] for name in costs]
    rows = [_score_row(cell, dataset.metric, costs) for cell in dataset.cells]
    if not costs:  # without costs, there is no Pareto front
        return header[:-1], [row[:-1] for row in rows]
    return header, rows


def _score_row(cell: CellSummary, metric: str, costs: Sequence[str]) -> list[str]:
    def score(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:.3f}" if metric == "log_loss" else f"{100 * value:.1f}"

    def cost(name: str) -> str:
        value = getattr(cell.cost, name)
        if cell.cost is None or value is None:
            return "-"
        mark = "*" if cell.cost.shared_cores and name not in _NOT_TIMES else ""
        return _COST_COLUMNS[name][1].format(value) + mark

    has_range = cell.is_random and len(cell.seeds) > 1
    return [
        cell.name,
        score(cell.mean),
        score(cell.sd),
        f"{score(cell.min)} to {score(cell.max)}" if has_range else "-",
        str(len(cell.seeds)) if cell.is_random else "-",
        ", ".join(_PARETO[name] for name in cell.pareto) or "-",
        *map(cost, costs),
    ]


def comparison_groups(dataset: DatasetSummary) -> list[tuple[str, Sequence[CellComparison]]]:
    """Return the comparisons that are corrected together, with a title for each group."""
    groups = [
        ("Between cells", dataset.comparisons),
        ("With the simple classifiers", dataset.with_simple),
    ]
    return [(title, comparisons) for title, comparisons in groups if comparisons]


def markdown(summary: Summary) -> str:
    """Return the verdicts and tables of all data sets as Markdown."""
    blocks = [f"# {TITLE}"]
    if summary.notes:
        blocks.append("\n".join(f"- {note}" for note in summary.notes))
    for name, dataset in summary.datasets.items():
        blocks.append(f"## {name}")
        for heading, part in parts(dataset):
            blocks += [f"### {heading}"] if heading else []
            blocks.append("\n".join(part.words))
            blocks.append(_markdown_table(*scores_table(part)))
            blocks += [PARETO_WORDS] if has_cost(part) else []
            for title, comparisons in comparison_groups(part):
                lines = "\n".join(f"- {comparison.words}" for comparison in comparisons)
                blocks.append(f"{title} (Holm correction):\n\n{lines}")
    return "\n\n".join(blocks) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def plain(summary: Summary, *, width: int) -> str:
    """Return the verdicts and tables of all data sets as text of at most `width` columns."""
    documents = [Document("", [Notes("", summary.notes)])] if summary.notes else []
    for name, dataset in summary.datasets.items():
        for heading, part in parts(dataset):
            content: list[Table | Notes] = [Notes("", part.words, has_bullets=False)]
            content.append(_plain_table(*scores_table(part)))
            if has_cost(part):
                content.append(Notes("", [PARETO_WORDS], has_bullets=False))
            for title, comparisons in comparison_groups(part):
                words = [comparison.words for comparison in comparisons]
                content.append(Notes(f"{title} (Holm correction)", words))
            documents.append(Document(f"{name}: {heading}" if heading else name, content))
    return "\n".join(to_text(document, width) for document in documents)


def _plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return the table of scores and cost with its columns in groups."""
    groups = [
        [index for index, column in enumerate(header) if column in names]
        for names in ((header[1], *_SCORE_COLUMNS), _TRAINING_COLUMNS, _ANSWER_COLUMNS)
    ]
    order = [0, *(index for group in groups for index in group)]
    kinds = ["".join("t" if header[i] == "Pareto" else "r" for i in group) for group in groups]
    return Table(
        [header[index] for index in order],
        [[row[index] for index in order] for row in rows],
        " ".join(["f", *kinds]),
    )
