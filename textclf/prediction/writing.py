"""Text formats of the answers: labels, JSON lines, CSV and TSV."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from textclf.data.tables import Table
from textclf.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from textclf.artifact import Card
    from textclf.prediction.reading import Row

Writer = Callable[[list["Row"], dict[str, Any]], str]


def check_format(format: str | None, table: "Table | None", output: str, *, as_json: bool) -> None:
    """Check that an input can be written in a format.

    Args:
        format: of `output.format_of_output`; None for the format of the input.
        table: the table of the input; None for lines.
        output: name of the output, for messages.
        as_json: True if complete results are written.

    Raises:
        DataError: the format cannot hold nested values.
    """
    if format in (None, "jsonl"):
        return
    if as_json:
        raise DataError(f"{output}: the complete results are JSON lines; name a file .jsonl")
    if table is not None and table.format in ("jsonl", "json"):
        raise DataError(
            f"{output}: the rows of {table.path} are JSON objects, which may have different keys; "
            "name a file .jsonl"
        )


def text_writer(
    table: "Table | None",
    card: "Card",
    *,
    as_json: bool,
    top_k: int | None,
    format: str | None = None,
) -> tuple[str, Writer]:
    """Return the header of the output (may be empty) and a function that formats results.

    Args:
        table: the table of the input; None for lines.
        card: the card of the model.
        as_json, top_k: see `predict_file`.
        format: csv, tsv or jsonl; None for the format of the input.
    """
    if as_json:
        columns = table.columns()[1] if table is not None else ()

        def write_all(rows: list["Row"], answers: dict[str, Any]) -> str:
            return _json_lines(
                {"text": row.text, **answer, **_columns(row, columns)}
                for row, answer in zip(rows, _complete_results(answers, card, top_k), strict=True)
            )

        return "", write_all
    if format in ("csv", "tsv"):
        return _converted_table_writer(table, card, top_k, format)
    if format == "jsonl":
        return "", _record_writer(input_columns(table), card, top_k)
    if table is None and top_k is None:
        return "", lambda rows, answers: "".join(
            f"{', '.join(labels)}\n" for labels in _labels(answers, card)
        )
    if table is None:
        return "", lambda rows, answers: "".join(
            "\t".join(f"{name} {p:.4f}" for name, p in ranks) + "\n"
            for ranks in _ranked(answers, card, top_k)
        )
    if table.format in ("csv", "tsv"):
        return _table_writer(table, card, top_k)
    return "", _record_writer((), card, top_k)


def input_columns(table: "Table | None") -> Sequence[str]:
    """Return the names of the columns of the input; lines are the column "text"."""
    return ("text",) if table is None else table.columns()[1]


def _record_writer(columns: Sequence[str], card: "Card", top_k: int | None) -> Writer:
    """Return a function that formats rows as JSON lines.

    Args:
        columns: names of the cells of a row; not used for rows with names.
    """
    may_abstain = card.abstain_below is not None

    def write_records(rows: list["Row"], answers: dict[str, Any]) -> str:
        lines = []
        all_ranks = _ranked(answers, card, top_k or 1)
        all_labels, abstains = _labels(answers, card), answers["abstain"].tolist()
        for row, labels, ranks, abstain in zip(rows, all_labels, all_ranks, abstains, strict=True):
            record = row.values
            if not isinstance(record, dict):
                record = dict(zip(columns, record or [row.text], strict=True))
            values: list[Any] = [value for name, p in ranks for value in (name, round(p, 6))]
            if top_k is None:
                values[0] = labels if card.multi_label else labels[0]
            if may_abstain:
                values.append(abstain)
            new = new_columns(record, len(ranks), may_abstain)
            lines.append(record | dict(zip(new, values, strict=True)))
        return _json_lines(lines)

    return write_records


def _converted_table_writer(
    table: "Table | None", card: "Card", top_k: int | None, format: str
) -> tuple[str, Writer]:
    """Return the header and a function that formats rows of any input as CSV or TSV."""
    if table is not None and table.format == format:
        return _table_writer(table, card, top_k)
    names = input_columns(table)
    target = Table("", format, "\t" if format == "tsv" else ",", "minimal", True, "utf-8")

    def cells(row: "Row") -> list[str]:
        if isinstance(row.values, dict):
            return [_cell(row.values[name]) for name in names]
        return row.values or [row.text]

    return _table_writer(target, card, top_k, names, cells)


def _cell(value: Any) -> str:
    """Return a value of a Parquet file as a cell of CSV; nested values are JSON."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _columns(row: "Row", names: Sequence[str]) -> dict[str, Any]:
    """Return the row of a table as the entry `columns` of its result."""
    if isinstance(row.values, list):
        return {"columns": dict(zip(names, row.values, strict=True))}
    return {"columns": row.values} if row.values else {}


def _table_writer(
    table: "Table",
    card: "Card",
    top_k: int | None,
    header: Sequence[str] | None = None,
    cells_of: Callable[["Row"], list[str]] | None = None,
) -> tuple[str, Writer]:
    """Return the header with the new columns and a function that formats rows in this format.

    Args:
        table: its format is written.
        header: names of the columns; default: the first row of the table.
        cells_of: returns the cells of a row; default: the cells that were read.
    """
    separator = card.config["data"].get("label_separator", ",")
    may_abstain = card.abstain_below is not None

    def line(values: list[str]) -> str:
        if table.quoting != "none":
            return _quoted_line(values, table)
        return table.delimiter.join(values) + "\n"

    def write(rows: list["Row"], answers: dict[str, Any]) -> str:
        lines = []
        all_ranks = _ranked(answers, card, top_k or 1)
        all_labels, abstains = _labels(answers, card), answers["abstain"].tolist()
        for row, labels, ranks, abstain in zip(rows, all_labels, all_ranks, abstains, strict=True):
            cells = cells_of(row) if cells_of is not None else row.values
            assert isinstance(cells, list)
            values = [value for name, p in ranks for value in (name, f"{p:.4f}")]
            if top_k is None:
                values[0] = separator.join(labels)
            if may_abstain:
                values.append(str(abstain).lower())
            if table.quoting == "none" and any(table.delimiter in value for value in values):
                raise DataError(
                    f"{table.path}: the label {values[0]!r} contains the separator of the table, "
                    "which has no quoting; use --json"
                )
            lines.append(line([*cells, *values]))
        return "".join(lines)

    if not table.header:
        return "", write
    cells = table.first_row() if header is None else header
    num_ranks = min(top_k or 1, len(card.class_names))
    return line([*cells, *new_columns(map(str.strip, cells), num_ranks, may_abstain)]), write


def _quoted_line(cells: list[str], table: "Table") -> str:
    """Return a row in the quoting of the table."""
    escape = "\\" if table.quoting == "backslash" else None
    text = io.StringIO()
    # With this line terminator, cells with a lone carriage return are quoted.
    csv.writer(text, delimiter=table.delimiter, escapechar=escape, lineterminator="\r\n").writerow(
        cells
    )
    return text.getvalue().removesuffix("\r\n") + "\n"


def new_columns(taken: Iterable[str], num_ranks: int, may_abstain: bool) -> list[str]:
    """Return names for the result columns that do not occur in the table."""
    suffixes = ["", *(f"_{rank}" for rank in range(2, num_ranks + 1))]
    names = [name + suffix for suffix in suffixes for name in ("predicted", "confidence")]
    taken, free = set(taken), []
    for name in [*names, "abstain"] if may_abstain else names:
        while name in taken:
            name += "_"
        free.append(name)
    return free


def _json_lines(values: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False, default=str) + "\n" for value in values)


def _labels(answers: dict[str, Any], card: "Card") -> list[list[str]]:
    """Return the labels of each text: one, or the selected ones of a multi-label model."""
    names = card.class_names
    if not card.multi_label:
        return [[names[c]] for c in answers["label_id"].tolist()]
    rows = answers["selected"].tolist()
    return [[name for name, chosen in zip(names, row, strict=True) if chosen] for row in rows]


def rank_classes(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> tuple["np.ndarray", "np.ndarray"]:
    """Return the ids of the `top_k` most probable classes and their probabilities, [texts, k].

    One-of: the label comes first, also if a threshold made it the less probable of two classes.
    """
    import numpy as np

    p = answers["probabilities"]  # [texts, classes]
    keys = -p
    if not card.multi_label:
        keys = keys.copy()
        keys[np.arange(len(p)), answers["label_id"]] = -2
    order = np.argsort(keys, axis=1, kind="stable")[:, :top_k]
    return order, np.take_along_axis(p, order, axis=1)


def _ranked(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> list[list[tuple[str, float]]]:
    """Return the `top_k` most probable classes of each text and their probabilities."""
    order, ranked = rank_classes(answers, card, top_k)
    return [
        [(card.class_names[c], value) for c, value in zip(classes, values, strict=True)]
        for classes, values in zip(order.tolist(), ranked.tolist(), strict=True)
    ]


def _complete_results(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the complete result of each text, with the `top_k` or all probabilities."""
    names = card.class_names
    all_labels = _labels(answers, card)
    pairs: Sequence[Iterable[tuple[str, float]]]
    if top_k is None:
        pairs = [zip(names, p, strict=True) for p in answers["probabilities"].tolist()]
    else:
        pairs = _ranked(answers, card, top_k)
    for index, shown in enumerate(map(dict, pairs)):
        labels = {"labels": all_labels[index]} if card.multi_label else {}
        yield {
            "label": names[int(answers["label_id"][index])],
            **labels,
            "confidence": float(answers["confidence"][index]),
            "probabilities": shown,
            "num_tokens": int(answers["num_tokens"][index]),
            "unknown_fraction": float(answers["unknown_fraction"][index]),
            "truncated": bool(answers["truncated"][index]),
            "abstain": bool(answers["abstain"][index]),
        }
