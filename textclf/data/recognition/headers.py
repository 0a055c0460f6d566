"""The header of a CSV or TSV file: whether the first row names the columns."""

import collections
from collections.abc import Mapping, Sequence

from textclf.data.column_names import is_usual_name
from textclf.data.recognition.columns import Labels, choose_text_columns, labels_in, mean_length
from textclf.data.recognition.values import (
    MISSING,
    clean_cell,
    kind_of_cell,
    kind_of_column,
    shorten,
)


def find_header(rows: Sequence[Sequence[str]]) -> tuple[bool, str | None]:
    """Return whether the first row names the columns, and the reason unless its names are usual.

    Args:
        rows: rows with the same number of cells.
    """
    cells = list(map(clean_cell, rows[0]))
    # Joined files repeat the header.
    rest = [row for row in rows[1:] if list(map(clean_cell, row)) != cells] or rows[1:]
    columns = {str(index): [row[index].strip() for row in rest] for index in range(len(cells))}
    counts = [collections.Counter(values) for values in columns.values()]
    texts, _ = choose_text_columns(columns, {})
    labels = [
        label
        for name, values in columns.items()
        if name not in texts and (label := labels_in(name, values)) is not None
    ]
    if any(
        is_usual_name(cell) and cell not in seen for cell, seen in zip(cells, counts, strict=True)
    ):
        return True, None
    for cell, values in zip(cells, columns.values(), strict=True):
        kind = kind_of_column(values)
        if kind and cell.casefold() not in MISSING and kind_of_cell(cell) is None:
            return True, f"the column {shorten(cell)} holds {kind} on all other lines"
    for index, seen in enumerate(counts):
        filled = seen.total() - seen[""]
        if (
            filled >= 19
            and str(index) not in texts
            and cells[index]
            and cells[index] not in seen
            and min(count for value, count in seen.items() if value) > 1
        ):
            return True, f"{shorten(cells[index])} occurs once, all other labels twice or more"
    if _may_be_names(cells, columns, counts, texts, labels):
        names = ", ".join(shorten(cell) for cell in cells[:3])
        return True, f"{names} are shorter than the texts and are no label of another line"
    return False, None


def _may_be_names(
    cells: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    counts: Sequence[Mapping[str, int]],
    texts: Sequence[str],
    labels: Sequence[Labels],
) -> bool:
    """Return whether the first row is short and unlike the labels and texts of the other rows.

    Args:
        cells: the first row.
        columns: index as text → the cells of the other rows.
        counts: the number of times that each cell occurs in a column.
        texts: the columns that hold texts.
        labels: the columns that may hold labels.
    """
    if not labels or any(len(cell) > 40 or len(cell.split()) > 4 for cell in cells):
        return False
    for label in labels:
        cell = cells[int(label.name)]
        if cell in counts[int(label.name)] or cell in label.atoms or kind_of_cell(cell) is not None:
            return False
    return all(len(cells[int(name)]) * 2 < mean_length(columns[name]) for name in texts)
