"""Reading of the texts to classify, in windows of rows.

A window is what is classified at once: its texts are sorted by length, so a large one needs less
padding. Windows of a file are full. A stream yields what is available, so that its texts are
answered promptly.
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from textclf.errors import ConfigError, DataError

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.config import Overrides
    from textclf.data.tables import Table
    from textclf.model_data import OnNote

WINDOW_ROWS = 4096


class UnusedSettingError(ConfigError):
    """A setting that has no effect on this input."""


class Row(NamedTuple):
    """A text and, for a table, its row.

    Attributes:
        text: the text to classify.
        values: the cells of a CSV or TSV row; for other tables, column -> value; None if no table.
    """

    text: str
    values: list[str] | dict[str, Any] | None = None


class Window(NamedTuple):
    """Rows that are classified and written together.

    Attributes:
        texts: the texts to classify; str, or bytes in UTF-8.
        num_empty: number of texts without any visible character.
        rows: the rows in Python; empty if there is a batch.
        batch: the rows as a `pyarrow.RecordBatch`; None if there are rows.
    """

    texts: Sequence[str | bytes]
    num_empty: int
    rows: list[Row]
    batch: Any = None


class Input(NamedTuple):
    """Windows of texts to classify, and their table, if any.

    Attributes:
        windows: the windows, in the order of the input.
        name: name of the input in messages.
        table: the table that contains the texts; None for lines.
        may_block: True if the next window may not be available yet.
        about_rows: returns the number of rows, or an estimate; 0 if it is unknown.
    """

    windows: Iterator[Window]
    name: str
    table: "Table | None" = None
    may_block: bool = False
    about_rows: Callable[[], int] = lambda: 0


def open_input(
    source: str | os.PathLike | BinaryIO,
    card: "Card",
    lines: bool,
    overrides: "Overrides",
    on_note: "OnNote",
    stack: contextlib.ExitStack,
    *,
    keeps_arrow: bool,
) -> Input:
    """Open a file or a stream, and read its first window unless it may block.

    Args:
        source, lines, overrides, on_note: see `predict_file`.
        card: the card of the model.
        stack: closes what was opened.
        keeps_arrow: True to read a Parquet file as batches instead of rows.

    Raises:
        ConfigError: an override has no effect on this input.
        DataError: the input cannot be read, or a text column is missing.
    """
    from textclf.data.lines import available_bytes, open_lines
    from textclf.data.tables import Table
    from textclf.model_data import is_pipe, set_values

    if not isinstance(source, str | os.PathLike):
        name = "stdin" if source is getattr(sys.stdin, "buffer", None) else "the stream"
        stream = available_bytes(source)
        return _open_lines(stream, name, card, overrides, on_note, may_block=True)
    path = os.fspath(source)
    is_text = path.lower().removesuffix(".gz").endswith(".txt")
    if not lines and not (is_text and "data.format" not in set_values(overrides)):
        return _open_table(path, card, overrides, on_note, keeps_arrow)
    stream = stack.enter_context(open_lines(path))
    if is_pipe(path):
        return _open_lines(available_bytes(stream), path, card, overrides, on_note, may_block=True)
    about_rows = Table(path, "csv", ",", "none", False, "utf-8").about_rows
    rows = _open_lines(stream, path, card, overrides, on_note, may_block=False)
    return rows._replace(about_rows=about_rows)


def windows_of(rows: Iterable[Row]) -> Iterator[Window]:
    """Yield windows of `WINDOW_ROWS` rows; the last one may be shorter. Rows are read lazily."""
    rows = iter(rows)
    while window := list(itertools.islice(rows, WINDOW_ROWS)):
        texts = [row.text for row in window]
        yield Window(texts, sum(not text or text.isspace() for text in texts), window)


def _read_first(windows: Iterator[Window]) -> Iterator[Window]:
    """Read the first window now, so that its errors are raised before TensorFlow is imported."""
    first = next(windows, None)
    return iter(()) if first is None else itertools.chain([first], windows)


def _open_lines(
    stream: BinaryIO,
    name: str,
    card: "Card",
    overrides: "Overrides",
    on_note: "OnNote",
    *,
    may_block: bool,
) -> Input:
    """Return the lines of a stream; the first window is read now unless the stream may block.

    Raises:
        DataError: the stream cannot be read.
        UnusedSettingError: an override has no effect on lines.
    """
    from textclf.config.settings import FILE_ENDINGS
    from textclf.data.encodings import codec_of
    from textclf.data.lines import decode_lines, note_table
    from textclf.model_data import set_values

    values = set_values(overrides)
    for setting, value in values.items():
        if setting != "data.encoding":
            raise UnusedSettingError(
                [
                    f"{setting}={value}: only data.encoding applies to lines; save a table "
                    f"with the ending {', '.join(FILE_ENDINGS)}, or set data.format"
                ]
            )
    encoding = values.get("data.encoding")
    codec_of(encoding or "utf-8")
    lists = decode_lines(stream, encoding, name=name, on_note=on_note)
    lists = note_table(lists, name, card.config["data"], on_note)
    if may_block:
        available = (window for lines in lists for window in windows_of(map(Row, lines)))
        return Input(available, name, may_block=True)
    rows = map(Row, itertools.chain.from_iterable(lists))
    return Input(_read_first(windows_of(rows)), name)


def _open_table(
    path: str, card: "Card", overrides: "Overrides", on_note: "OnNote", keeps_arrow: bool
) -> Input:
    """Open a table and check that it has the text columns.

    Raises:
        DataError: it cannot be read, or a text column is missing.
    """
    from textclf import model_data
    from textclf.data.tables import Table, format_of

    if os.path.isdir(os.path.expanduser(path)):
        raise DataError(f"{path}: is a folder; choose a file in it")
    if "data.format" not in model_data.set_values(overrides):
        try:
            format_of(path)
        except DataError as error:
            # Raises a more specific error for a missing or binary file.
            if not model_data.is_pipe(path):
                Table(path, "csv", ",", "minimal", True, "utf-8").check_file()
            raise DataError(
                f"{error}; for one text per line use --lines or the ending .txt"
            ) from None
    config, table = model_data.file_to_read(
        card, path, overrides, needs_labels=False, on_note=on_note
    )
    required = config.data.text_columns
    columns = model_data.find_columns(table, required)
    if None in columns:
        raise model_data.missing_column(table, required[columns.index(None)])
    names = [name for name in columns if name]
    separator = config.data.text_separator
    if keeps_arrow and table.format == "parquet":
        from textclf.prediction.parquet import read_windows

        windows = read_windows(table, names, separator)
    else:
        windows = windows_of(_rows(table, names, separator))
    return Input(_read_first(windows), path, table, about_rows=table.about_rows)


def _rows(table: "Table", columns: Sequence[str], separator: str) -> Iterator[Row]:
    """Yield the rows of a table.

    Raises:
        DataError: a row cannot be read, or a text is missing or has another type.
    """
    if table.format in ("csv", "tsv"):
        names = table.columns()[1]
        numbers = [names.index(name) for name in columns]
        for _, cells in table.cells():
            yield Row(separator.join([cells[number] for number in numbers]), cells)
        return
    for line, record in table.records():
        try:
            values = [record[name] for name in columns]
        except KeyError as error:  # JSON objects may have different keys
            raise DataError(
                f"{table.path}:{line}: no key {error.args[0]!r}; add it with a text"
            ) from None
        texts = [
            text_of(value, f"{table.path}:{line}: {name!r}")
            for name, value in zip(columns, values, strict=True)
        ]
        yield Row(separator.join(texts), record)


def text_of(value: Any, location: str) -> str:
    """Return the text of a value: as in CSV, an empty value is empty and a number is a text.

    Args:
        value: a value of a JSON or Parquet table.
        location: file, row and column, for messages.

    Raises:
        DataError: the value has another type.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise DataError(
            f"{location} is {type(value).__name__}, expected a text; "
            "fix the value, or set data.text_columns"
        )
    return "" if value is None or value != value else str(value)
