"""Results and verdicts as tables: CSV, Markdown, and plain text for a terminal."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from textclf.study.grid import Grid, Run

_COST = {
    "weights": ("weights", "{:,.0f}"),
    "training_seconds": ("s a training", "{:,.1f}"),
    "tokens_per_second": ("tokens/s", "{:,.0f}"),
    "peak_memory_mb": ("peak MiB", "{:,.0f}"),
    "latency_p50_ms": ("p50 ms", "{:,.2f}"),
    "latency_p99_ms": ("p99 ms", "{:,.2f}"),
    "texts_per_second": ("texts/s", "{:,.0f}"),
    "size_mb": ("export MiB", "{:,.2f}"),
}

# Nothing else has as high a mean for less of it.
_PARETO = {"training_seconds": "training", "latency_p50_ms": "answer"}
PARETO_WORDS = (
    "Pareto: no other cell has as high a mean for less time of training, or of an answer (p50)."
)


def results_csv(
    grid: Grid, results: Mapping[str, Mapping[str, Any]], failures: Mapping[str, str]
) -> str:
    """A row for every run of the grid, made or not."""
    rows = [_row(run, results.get(run.name), failures.get(run.name)) for run in grid.runs]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(run: Run, result: Mapping[str, Any] | None, reason: str | None) -> dict[str, Any]:
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
    row |= {f"test_{name}": value for name, value in result["test"].items()}
    row |= {f"validation_{name}": value for name, value in (result["validation"] or {}).items()}
    row["best_epoch"] = result.get("best_epoch", "")
    row["steps"] = result.get("steps", "")
    row["ended_by"] = result.get("ended_by", "")
    row["epochs"] = len(result["history"]) if "history" in result else ""
    row |= result["cost"]
    row |= {"host": result["machine"]["host"], "code": result["code"][:12]}
    return row


def markdown(summary: Mapping[str, Any]) -> str:
    """The verdicts and tables of all data sets."""
    parts = ["# Which cell?"]
    if summary["notes"]:
        parts.append("\n".join(f"- {note}" for note in summary["notes"]))
    for dataset, found in summary["datasets"].items():
        parts.append(f"## {dataset}")
        parts.append("\n".join(found["words"]))
        parts.append(_markdown_table(*scores_table(found)))
        parts.append(PARETO_WORDS)
        for title, comparisons in families(found):
            lines = "\n".join(f"- {comparison['words']}" for comparison in comparisons)
            parts.append(f"{title}, corrected for their number (Holm):\n\n{lines}")
    return "\n\n".join(parts) + "\n"


# Columns that stand together on a terminal, where one table of all is too wide.
_SCORES = ("sd", "range", "seeds", "Pareto")
_TRAINING = ("weights", "s a training", "tokens/s", "peak MiB")
_ANSWERS = ("p50 ms", "p99 ms", "texts/s", "export MiB")


def plain(summary: Mapping[str, Any], *, width: int) -> str:
    """Return the verdicts and tables of all data sets as text of at most `width` columns."""
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    def sentence(words: str) -> RenderableType:
        line = Table.grid(padding=(0, 1))
        line.add_row("-", Text(words))
        return line

    def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
        shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
        for index, name in enumerate(header):
            is_name = index == 0 or name == "Pareto"
            shown.add_column(
                Text(name),
                justify="left" if is_name else "right",
                overflow="fold",
                no_wrap=not is_name and name != "range",
            )
        for row in rows:
            shown.add_row(*map(Text, row))
        return shown

    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, highlight=False, emoji=False)
    for note in summary["notes"]:
        console.print(sentence(note))
    for dataset, found in summary["datasets"].items():
        console.print(Text(f"\n{dataset}\n{'=' * len(dataset)}\n"))
        for words in found["words"]:
            console.print(Text(words))
        header, rows = scores_table(found)
        for columns in ((found["metric"], *_SCORES), _TRAINING, _ANSWERS):
            kept = [0, *(index for index, name in enumerate(header) if name in columns)]
            if len(kept) > 1:
                console.print()
                console.print(
                    table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])
                )
        console.print(Text(f"\n{PARETO_WORDS}"))
        for title, comparisons in families(found):
            console.print(Text(f"\n{title}, corrected for their number (Holm):\n"))
            for comparison in comparisons:
                console.print(sentence(comparison["words"]))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def families(found: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """The comparisons that are corrected together, with a title."""
    named = {"Between cells": "comparisons", "With the simple classifiers": "with_simple"}
    return [(title, found[key]) for title, key in named.items() if found[key]]


def scores_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the score over the seeds, and what it costs."""
    is_loss = found["metric"] == "log_loss"
    known = [name for name in _COST if any(name in cell["cost"] for cell in found["cells"])]
    header = ["cell", found["metric"], "sd", "range", "seeds", *(_COST[name][0] for name in known)]
    header.append("Pareto")
    rows = []
    for cell in found["cells"]:

        def score(value: float | None) -> str:
            return "-" if value is None else f"{value:.3f}" if is_loss else f"{100 * value:.1f}"

        seeds = str(len(cell["seeds"])) if cell["is_random"] else "-"
        spread = f"{score(cell['min'])} to {score(cell['max'])}" if seeds not in "-1" else "-"
        shared = "*" if cell["cost"].get("shared_cores") else ""
        costs = [
            _COST[name][1].format(cell["cost"][name])
            + (shared if name not in ("weights", "size_mb", "peak_memory_mb") else "")
            if name in cell["cost"]
            else "-"
            for name in known
        ]
        best = ", ".join(_PARETO[name] for name in cell["pareto"])
        mean, sd = score(cell["mean"]), score(cell["sd"])
        rows.append([cell["name"], mean, sd, spread, seeds, *costs, best or "-"])
    return header, rows


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )
