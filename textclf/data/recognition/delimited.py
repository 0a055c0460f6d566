"""The delimiter and the quoting of a CSV or TSV file."""

import collections
import io
import itertools
from collections.abc import Sequence

from textclf.data.delimited_files import Dialect, fit_row, separator_in
from textclf.errors import DataError

_DELIMITERS = (",", "\t", ";", "|")


def choose_delimiter(path: str, text: str, usual: str) -> str:
    """Return the delimiter that gives the most even rows of several cells.

    Args:
        path: the file, for messages.
        text: the beginning of the file.
        usual: the delimiter for the ending of the file, chosen if others are not better.
    """
    beginning = "".join(itertools.islice(io.StringIO(text, newline=""), 1000))
    named = separator_in(beginning.splitlines()[0])
    if named is not None and named != '"':
        return named
    best, delimiter = (0.0, False, 0), usual
    quotings = ("minimal", "none", "backslash") if "\\" in beginning else ("minimal", "none")
    for candidate, quoting in itertools.product(_DELIMITERS, quotings):
        rows, _ = parse_rows(path, beginning, candidate, quoting, is_whole=False)
        share, width = evenness(rows)
        if width > 1 and share >= 0.9 and (share, candidate == usual, width) > best:
            best, delimiter = (share, candidate == usual, width), candidate
    return delimiter


def evenness(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return the share of rows with the same number of cells for the reader, and that number."""
    if not rows:
        return 0.0, 0
    first = list(rows[0])
    num_fitting = sum(fit_row(list(row), first, len(first)) is not None for row in rows)
    width, count = collections.Counter(map(len, rows)).most_common(1)[0]
    if num_fitting >= count:
        width, count = len(first), num_fitting
    return count / len(rows), width


def choose_quoting(
    path: str, text: str, delimiter: str, format: str, is_whole: bool, notes: list[str]
) -> tuple[str, list[list[str]]]:
    """Return the quoting and the rows that it gives.

    Args:
        path: the file, for messages.
        text: the beginning of the file.
        delimiter: the delimiter.
        format: `csv` or `tsv`.
        is_whole: whether the text is the whole file.
        notes: receives remarks for the user.
    """
    bare, _ = parse_rows(path, text, delimiter, "none", is_whole)
    bare_share = evenness(bare)[0]
    if '"' in text:
        quoted, is_broken = parse_rows(path, text, delimiter, "minimal", is_whole)
    else:
        quoted, is_broken = bare, False
    quoted_share = 0.0 if is_broken else evenness(quoted)[0]
    cells_with_quotes = [cell for row in bare for cell in row if '"' in cell]
    are_all_wrapped = all(map(_is_wrapped, cells_with_quotes))
    if "\\" in text and quoted_share < 1:
        escaped, is_broken_escaped = parse_rows(path, text, delimiter, "backslash", is_whole)
        share = 0.0 if is_broken_escaped else evenness(escaped)[0]
        if share > quoted_share and (
            share > bare_share or (share == bare_share and are_all_wrapped)
        ):
            notes.append('backslashes escape delimiters or quotes here (data.quoting: "backslash")')
            return "backslash", escaped
    if '"' not in text:
        return ("none" if format == "tsv" else "minimal"), bare
    if is_broken:
        notes.append("quotes are ordinary characters here: read as quoting, they break rows")
        return "none", bare
    are_quotes_rare = sum(any('"' in cell for cell in row) for row in bare) < len(bare) / 2
    if bare_share == 1 and len(quoted) < len(bare) and are_quotes_rare:
        notes.append(
            "quotes are ordinary characters here: read as quoting, they would leave "
            f"{len(quoted)} of {len(bare)} rows"
        )
        return "none", bare
    if bare_share == 1 and format == "tsv":
        # Were they written by a program for all rows, or are some texts quotations?
        num_wrapped = sum(any(map(_is_wrapped, row)) for row in bare)
        if num_wrapped > 0.9 * len(bare):
            return "minimal", quoted
        if are_all_wrapped and all(map(_is_doubled, cells_with_quotes)):
            notes.append(
                f"{num_wrapped} rows have fields that a program may have quoted; if "
                'data.quoting: none leaves "" in the texts, use minimal'
            )
        return "none", bare
    return ("minimal", quoted) if quoted_share >= bare_share else ("none", bare)


def parse_rows(
    path: str, text: str, delimiter: str, quoting: str, is_whole: bool
) -> tuple[list[list[str]], bool]:
    """Return the rows up to the first error of quoting, and whether there was one.

    Args:
        path, text, delimiter, is_whole: as for `choose_quoting`.
        quoting: as of `Dialect`.
    """
    rows = []
    try:
        for cells in Dialect(delimiter, quoting, header=True).rows_in(text, path):
            rows.append(cells)
    except DataError as error:
        # A sample may end inside a quoted field.
        return rows, is_whole or "never closed" not in str(error)
    return rows, False


def _is_wrapped(cell: str) -> bool:
    """Return whether a cell begins and ends with a quote."""
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _is_doubled(cell: str) -> bool:
    """Return whether a quoted cell has quotes inside, all of them doubled."""
    inside = cell[1:-1]
    return '""' in inside and '"' not in inside.replace('""', "")
