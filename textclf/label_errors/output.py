"""Suspected label errors as a table, and as CSV or JSON lines."""

import json
import os

from textclf.data import Dataset
from textclf.display import WIDTH, Document, Notes, Table, shorten, to_text
from textclf.label_errors.result import LabelErrors, SuspectRow
from textclf.prediction.output import format_of_output
from textclf.progress import OnProgress, no_progress
from textclf.scoring.example_files import (
    csv_cell,
    csv_line,
    write_lines_in_order,
)

NUM_SHOWN = 20  # suspects on a terminal
# Characters of a text on a wide and on a narrow terminal.
_TEXT_WIDTH, _NARROW_TEXT_WIDTH = 80, 40
_COLUMNS = (
    "rank", "row", "location", "text", "labels", "suggested_labels", "p_labels", "p_suggested",
    "quality", "conflicts", "reason",
)  # fmt: skip


def write_suspects(
    path: str | os.PathLike,
    dataset: Dataset,
    result: LabelErrors,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> None:
    """Write the suspects with their whole texts, most likely wrong first.

        write_suspects("suspects.csv", dataset, result)

    In CSV, lists (several labels, conflicts) are JSON, and a cell that a spreadsheet would evaluate
    as a formula begins with an apostrophe. The texts are never all in memory.

    Args:
        path: a file .csv or .jsonl; see `check_example_file`.
        dataset: the data of the search; train is read again.
        result: of the search.
        overwrite: True if an existing file may be replaced.
        on_progress: called with a stage, the rows read and their total.

    Raises:
        DataError: the file cannot be written, or the data have changed.
    """
    is_csv = format_of_output(path) == "csv"
    ranks = {suspect.row: rank for rank, suspect in enumerate(result.suspects)}
    lines_by_row = sorted(ranks)
    order = {row: index for index, row in enumerate(lines_by_row)}

    def lines():
        for example in dataset.examples("train"):
            if example.row % 1024 == 0:
                on_progress(f"writing {os.path.basename(path)}", example.row, result.num_rows)
            rank = ranks.get(example.row)
            if rank is not None:
                suspect = result.suspects[rank]
                yield _line(rank + 1, suspect, example.text, result.multi_label, is_csv)

    write_lines_in_order(
        path,
        csv_line(_COLUMNS) if is_csv else b"",
        lines(),
        [order[suspect.row] for suspect in result.suspects],
        overwrite=overwrite,
    )


def _line(rank: int, suspect: SuspectRow, text: str, multi_label: bool, is_csv: bool) -> bytes:
    def values_of(values: tuple):
        return list(values) if multi_label else values[0]

    values = {
        "rank": rank,
        "row": suspect.row,
        "location": suspect.location,
        "text": text,
        "labels": values_of(suspect.labels),
        "suggested_labels": values_of(suspect.suggested_labels),
        "p_labels": values_of(suspect.p_labels),
        "p_suggested": values_of(suspect.p_suggested),
        "quality": suspect.quality,
        "conflicts": list(suspect.conflicts),
        "reason": suspect.reason,
    }
    if not is_csv:
        return f"{json.dumps(values, ensure_ascii=False)}\n".encode(errors="replace")
    return csv_line([csv_cell(value) for value in values.values()])


def format_label_errors(result: LabelErrors, *, width: int = WIDTH) -> str:
    """Format the first suspects as text that ends with a line break.

        print(format_label_errors(find_label_errors(config)), end="")

    Args:
        width: maximum number of columns of a line, see `display.to_text`.
    """
    text_width = _TEXT_WIDTH if width >= WIDTH else _NARROW_TEXT_WIDTH
    return to_text(document(result, text_width=text_width), width)


def document(result: LabelErrors, *, text_width: int = _TEXT_WIDTH) -> Document:
    """Return the table of the first suspects, conflicts of equal texts, and notes."""
    shown = result.suspects[:NUM_SHOWN]
    folder = _common_folder([suspect.location for suspect in shown])
    rows = []
    for rank, suspect in enumerate(shown, 1):
        rows.append(
            [
                str(rank),
                suspect.location.removeprefix(folder),
                _labels(suspect.labels, suspect.p_labels),
                _labels(suspect.suggested_labels, suspect.p_suggested),
                f"{suspect.quality:.3f}",
                shorten(suspect.text, text_width, keep_end=False),
            ]
        )
    total = len(result.suspects)
    model = "linear model" if result.model_kind == "linear" else "network"
    sentences = [
        f"{total:,} of {result.num_judged:,} judged rows of train are suspects; the {model} agrees "
        f"with {100 * result.agreement:.1f} % of the labels ({result.num_folds} folds)."
    ]
    if result.num_conflicts:
        number = result.num_conflicts
        has = "texts have" if number > 1 else "text has"
        sentences.append(f"{number:,} {has} different labels in different rows.")
    if total:
        sentences.append("A suspect may be correct: read the text before you change its label.")
    parts: list[Table | Notes] = []
    if shown:
        header = ["", "row", "label (p)", "suggested (p)", "quality", "text"]
        remarks = [f"rows of {folder}"] if folder else []
        if total > len(shown):
            remarks.append(f"the first {len(shown)} of {total:,}; --output writes all of them")
        parts.append(
            Table(header, rows, "rnnnrf", heading="Suspected label errors",
                  remark=f"({'; '.join(remarks)})" if remarks else "")
        )  # fmt: skip
    parts.append(Notes("Summary" if shown else "Suspected label errors: none", sentences))
    if equal := [_without_folder(suspect, folder) for suspect in shown if suspect.conflicts]:
        parts.append(Notes("Equal texts with other labels", equal))
    if result.notes:
        parts.append(Notes("Not judged", result.notes))
    return Document("", parts)


def _labels(names: tuple[str, ...], p: tuple[float, ...]) -> str:
    pairs = zip(names, p, strict=True)
    return ", ".join(f"{name} {value:.2f}" for name, value in pairs) or "no label"


def _common_folder(locations: list[str]) -> str:
    """Return the folder of all locations, with a slash; "" without one."""
    folders = {os.path.dirname(location) for location in locations}
    return os.path.join(folders.pop(), "") if len(folders) == 1 else ""


def _without_folder(suspect: SuspectRow, folder: str) -> str:
    """Return location and reason of a suspect, without the folder of its files."""
    sentence = f"{suspect.location}: {suspect.reason}"
    for location in (suspect.location, *suspect.conflicts):  # a class may be named like the folder
        sentence = sentence.replace(location, location.removeprefix(folder))
    return sentence
