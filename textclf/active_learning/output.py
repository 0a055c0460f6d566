"""Texts to label next as a table, and as CSV or JSON lines in which a person adds the labels."""

import csv
import io
import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from textclf.display import WIDTH, Document, Notes, Table, shorten, tidy, to_text
from textclf.errors import DataError
from textclf.prediction.output import check_output, format_of_output, replaced_file

if TYPE_CHECKING:
    from textclf.active_learning.selection import NextText, Selection
    from textclf.artifact import Card

NUM_SHOWN = 20  # texts of a table on a terminal
_MAX_CLASSES = 2  # of a text on a terminal


def check_selection_file(path: str | os.PathLike, source: Any, *, overwrite: bool) -> None:
    """Check that the texts can be written to a file.

    Args:
        path: the file to write.
        source: the input: a file, a binary stream, or strings.
        overwrite: whether an existing file may be replaced.

    Raises:
        DataError: its ending is neither .csv nor .jsonl, it is the input, exists and may not be
            replaced, or cannot be written.
    """
    if format_of_output(path) not in ("csv", "jsonl"):
        raise DataError(f"{path}: the texts are CSV or JSON lines; name a file .csv or .jsonl")
    has_file = isinstance(source, str | os.PathLike) or hasattr(source, "fileno")
    check_output(path, source if has_file else io.BytesIO(), overwrite=overwrite)


def label_column_of(card: "Card") -> str:
    """Return the column of the label in the training data, or "label" if it has no name."""
    column = str(card.config["data"].get("label_column", "label"))
    return "label" if column.isdecimal() else column


def write_selection(
    selection: "Selection", path: str | os.PathLike, *, overwrite: bool = False
) -> None:
    """Write texts as CSV or JSON lines, by the ending of the file.

        write_selection(selection, "next.csv")

    The columns are those of the input, the column of the label (empty if the input has none),
    rank, row, the measure, predicted, and the probability of each class as `p_CLASS`; in JSON lines
    the object `probabilities`. An underscore is appended to a name that the input already has.
    Texts without a table have the text column of the training data.

    Args:
        path: a file .csv or .jsonl.
        overwrite: whether an existing file may be replaced.

    Raises:
        DataError: the file cannot be written.
    """
    records = list(_records(selection, is_csv=format_of_output(path) == "csv"))
    with replaced_file(path, overwrite=overwrite) as file:
        if format_of_output(path) == "jsonl":
            for record in records:
                line = json.dumps(record, ensure_ascii=False, default=str)
                # A lone surrogate, which JSON may contain, cannot be written as UTF-8.
                file.write(f"{line}\n".encode(errors="replace"))
            return
        # JSON objects may have different keys.
        columns = list(dict.fromkeys(name for record in records for name in record))
        stream = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for record in records:
            writer.writerow([_cell(record.get(name)) for name in columns])
        stream.flush()
        stream.detach()


def _records(selection: "Selection", *, is_csv: bool) -> Iterable[dict[str, Any]]:
    """Yield the columns of each text; those of the input first."""
    inputs = [text.columns or {selection.text_column: text.text} for text in selection.texts]
    taken = {name for columns in inputs for name in columns} | {selection.label_column}
    names: dict[str, str] = {}  # answer -> column
    for rank, (text, columns) in enumerate(zip(selection.texts, inputs, strict=True), 1):
        answers: dict[str, Any] = {
            "rank": rank,
            "row": text.row,
            selection.by: text.score,
            "predicted": text.predicted,
        }
        if is_csv:
            answers |= {f"p_{name}": p for name, p in text.probabilities.items()}
        else:
            answers["probabilities"] = text.probabilities
        for name in answers:
            if name not in names:
                names[name] = _free(name, taken)
                taken.add(names[name])
        yield {
            **columns,
            selection.label_column: columns.get(selection.label_column),
            **{names[name]: value for name, value in answers.items()},
        }


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _cell(value: Any) -> str:
    """Return a value as a cell of CSV; nested values are JSON."""
    if value is None:
        return ""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


# === Table ===


def format_selection(selection: "Selection", *, title: str = "", width: int = WIDTH) -> str:
    """Format texts as a table that ends with a line break.

        print(format_selection(selection), end="")

    Args:
        title: above the table; "" for none.
        width: maximum number of columns of a line; texts are shortened.
    """
    return to_text(document(selection, title=title, max_texts=NUM_SHOWN, width=width), width)


def document(
    selection: "Selection", *, title: str = "", max_texts: int | None, width: int | None = None
) -> Document:
    """Return a table of the texts.

    Args:
        max_texts: largest number of texts; None for all.
        width: number of columns of a line, to which texts are shortened; None for whole texts.
    """
    shown = selection.texts[:max_texts]
    cells = [
        [str(rank), f"{text.row:,}", f"{text.score:.3f}", _classes(text)]
        for rank, text in enumerate(shown, 1)
    ]
    header = ["rank", "row", selection.by, "predicted"]
    room = None
    if width is not None:
        columns = zip(header, *cells, strict=True)
        room = max(width - sum(max(map(_width, column)) + 2 for column in columns), 20)
    texts = [" ".join(tidy(text.text).split()) for text in shown]
    if room is not None:
        texts = [shorten(text, room, keep_end=False) for text in texts]
    rows = [[*row, text] for row, text in zip(cells, texts, strict=True)]
    parts: list[Table | Notes] = [Table([*header, "text"], rows, "rrrtt")]
    remaining = len(selection.texts) - len(shown)
    if remaining:
        parts.append(Notes("", [f"and {remaining:,} more"], has_bullets=False))
    return Document(title, parts)


def _classes(text: "NextText") -> str:
    """Return the most probable classes with their probabilities."""
    ranked = sorted(text.probabilities.items(), key=lambda item: -item[1])[:_MAX_CLASSES]
    return ", ".join(f"{shorten(name, 16)} {p:.2f}" for name, p in ranked)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
