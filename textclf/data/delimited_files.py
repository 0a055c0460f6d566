"""CSV and TSV: rows of cells, with or without quoting, and the errors of uneven rows.

By default `csv.reader` takes a stray quote as the start of a field and silently joins the rows up
to the next quote (454 of the 9,600 rows of ChnSentiCorp), and it accepts a quote that is never
closed. Here quoting is a setting, and such quotes are errors.
"""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Iterator

from textclf.errors import OnProblem, RowError, raise_problem

# A longer quoted field means a quote that is never closed. The limit bounds the memory of a row.
MAX_FIELD_CHARACTERS = 1 << 27

_QUOTES_ARE_TEXT = "if quotes are ordinary characters in this file, use data.quoting=none"


@dataclasses.dataclass(frozen=True)
class Dialect:
    """The way in which a CSV or TSV file is written.

    Attributes:
        delimiter: one character.
        quoting: `minimal`; `backslash`, which is minimal with a backslash that escapes the next
            character; or `none`.
        header: whether the first row names the columns.
    """

    delimiter: str
    quoting: str
    header: bool

    def parse(
        self, stream: io.TextIOBase, path: str, on_problem: OnProblem
    ) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of every row as written, including the header.

        Blank lines and a first line `sep=;` are left out.

        Args:
            stream: the text of the file, opened with `newline` of `line_end`.
            path: the file, for messages.
            on_problem: called with the error of a row that cannot be parsed.
        """
        if self.quoting == "none":
            return self._parse_unquoted(stream)
        return self._parse_quoted(stream, path, on_problem)

    def rows_in(
        self, text: str, path: str, on_problem: OnProblem = raise_problem
    ) -> Iterator[list[str]]:
        """Yield the cells of every row of a text, including the header.

        Args:
            text: a whole file or its beginning.
            path: the file, for messages.
            on_problem: called with the error of a row that cannot be parsed.
        """
        stream = io.StringIO(text, newline=self.line_end(text))
        for _, cells in self.parse(stream, path, on_problem):
            yield cells

    def line_end(self, beginning: str) -> str:
        """Return the `newline` argument with which a file is opened.

        Args:
            beginning: the first characters of the file.
        """
        # The csv module needs the original line ends. Without quotes a row ends at "\n", so that
        # a carriage return in a text does not split the row, unless the file has no "\n".
        return "" if self.quoting != "none" else plain_line_end(beginning)

    def _parse_unquoted(self, stream: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
        for line, content in enumerate(stream, 1):
            content = content.rstrip("\r\n")
            if content and not (line == 1 and separator_in(content)):
                yield line, content.split(self.delimiter)

    def _parse_quoted(
        self, stream: io.TextIOBase, path: str, on_problem: OnProblem
    ) -> Iterator[tuple[int, list[str]]]:
        first = stream.readline()
        skipped = 1 if separator_in(first) else 0
        lines = stream if skipped else itertools.chain([first], stream)
        start = 1 + skipped  # the first line of the current row
        # The default limit of 131,072 characters a field is global and shorter than a book.
        csv.field_size_limit(MAX_FIELD_CHARACTERS)
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            strict=True,
            escapechar="\\" if self.quoting == "backslash" else None,
        )
        try:
            for cells in reader:
                if cells:
                    yield start, cells
                start = reader.line_num + skipped + 1
        except csv.Error as error:
            problem = _explain(str(error), start, reader.line_num + skipped)
            fix = f"double a quote inside a quoted field; {_QUOTES_ARE_TEXT}"
            # The end of the broken field is unknown, so reading stops here.
            on_problem(RowError(f"{path}:{start}", problem, fix, ends_reading=True))

    def uneven_row(
        self, path: str, line: int, count: int, first_line: int, expected: int
    ) -> RowError:
        """Return the error for a row whose number of cells is wrong.

        Args:
            path: the file.
            line: the line of the row.
            count: its number of cells.
            first_line: the line of the first row.
            expected: the number of cells of the first row.
        """
        first = "the header" if self.header else "the first row"
        quotes = "" if self.quoting == "none" else f"; {_QUOTES_ARE_TEXT}"
        return RowError(
            f"{path}:{line}",
            f"{_count_fields(count)}, expected {expected} as in {first} (line {first_line})",
            f"fix the line, or check data.delimiter={self.delimiter!r} and "
            f"data.quoting={self.quoting}{quotes}",
        )

    def wrong_header(self, path: str, line: int, count: int, expected: int) -> RowError:
        """Return the error for a header with another number of cells than all rows.

        Args:
            path: the file.
            line: the line of the header.
            count: its number of cells.
            expected: the number of cells of the rows.
        """
        return RowError(
            f"{path}:{line}",
            f"the header has {_count_fields(count)}, and the rows have {expected}",
            "complete the header (a column without a name may hold row numbers), or check "
            f"data.delimiter={self.delimiter!r} and data.quoting={self.quoting}; if backslashes "
            "escape delimiters in this file, use data.quoting=backslash",
            ends_reading=True,
        )


def plain_line_end(beginning: str) -> str:
    """Return the `newline` argument for a file whose lines end at "\\n", or at "\\r" only."""
    return "\r" if "\r" in beginning and "\n" not in beginning else "\n"


def separator_in(line: str) -> str | None:
    """Return the delimiter that a first line `sep=;`, as written by Excel, names, else None."""
    match = re.fullmatch(r'"?sep=(.)"?[\r\n]*', line, re.IGNORECASE)
    return match[1] if match else None


def fit_row(cells: list[str], header: list[str] | None, width: int) -> list[str] | None:
    """Return a row with `width` cells if nothing is lost, else None.

    Empty cells after the last column are dropped; some programs end each row with a delimiter.
    Columns without a name at the end may be missing.

        fit_row(["good", "pos", ""], ["text", "label"], 2)    # ["good", "pos"]

    Args:
        cells: the row as written.
        header: the first row if it names the columns, else None.
        width: the number of columns.
    """
    if len(cells) > width:
        return None if any(cell.strip() for cell in cells[width:]) else cells[:width]
    if header is None or any(name.strip() for name in header[len(cells) :]):
        return None
    return cells + [""] * (width - len(cells))


def _explain(problem: str, start: int, end: int) -> str:
    """Return a sentence for an error of the csv module in a row from line `start` to `end`."""
    if "expected after" in problem:
        closing = "" if end == start else f" (the quote of line {start} closes on line {end})"
        return f"text follows the closing quote of a field, expected a delimiter{closing}"
    if "unexpected end" in problem:
        return "a quote is opened and never closed"
    if "field larger" in problem:
        return f"a quote is opened and not closed within {MAX_FIELD_CHARACTERS:,} characters"
    return problem


def _count_fields(count: int) -> str:
    return f"{count} field" if count == 1 else f"{count} fields"
