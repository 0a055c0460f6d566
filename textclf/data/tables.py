"""Tables on disk: CSV, TSV, JSON and Parquet files, streamed row by row.

An error in a file is a `DataError` with file, line and the setting that fixes it. Lines are
counted from 1 and include the header; a Parquet file has rows instead, also counted from 1.
"""

import contextlib
import dataclasses
import gzip
import io
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

from textclf.config import FILE_ENDINGS
from textclf.data.delimited_files import Dialect, fit_row, plain_line_end
from textclf.data.encodings import (
    MARK_ERRORS,
    MARKED_BYTE,
    byte_of_mark,
    codec_of,
    utf_16_without_mark,
    wrong_byte,
)
from textclf.data.files import missing_file, refuse_other_kinds, unreadable_file
from textclf.data.json_files import array_objects, object_lines
from textclf.errors import DataError, OnProblem, raise_problem

TABLE_FORMATS = tuple(dict.fromkeys(FILE_ENDINGS.values()))
# Both formats hold one object a line or one array of objects, which the first character decides.
JSON_FORMATS = ("jsonl", "json")

_DETECTION_BYTES = 1 << 16  # of the beginning of a file, for its line ends and its kind

_PARQUET_BYTES = 1 << 20  # of each column that are read at once

_Row = TypeVar("_Row")


@dataclasses.dataclass(frozen=True)
class Table:
    """A file of rows and columns.

    Attributes:
        path: as the user wrote it; messages use it.
        format: one of `TABLE_FORMATS`.
        delimiter, quoting, header: see `Dialect`; csv and tsv only.
        encoding: of a text format.
    """

    path: str
    format: str
    delimiter: str
    quoting: str
    header: bool
    encoding: str

    @property
    def file(self) -> str:
        """Return the path with `~` replaced by the home folder."""
        return os.path.expanduser(self.path)

    @property
    def dialect(self) -> Dialect:
        """Return the way in which a CSV or TSV file is written."""
        return Dialect(self.delimiter, self.quoting, self.header)

    def check_file(self) -> None:
        """Check that the file can be read, is not empty and is of the right kind.

        Raises:
            DataError: it is not.
        """
        with self._errors_with_path():
            mode = os.stat(self.file).st_mode
        if stat.S_ISDIR(mode):
            raise DataError(
                f"{self.path}: a folder, expected a file; a folder of split/label/*.txt goes into "
                "data.source"
            )
        beginning = self.sample(_DETECTION_BYTES)
        if not beginning:
            raise self._empty()
        if self.format == "parquet":
            return
        if beginning.startswith(b"PAR1"):
            raise DataError(
                f"{self.path}: the file is Parquet, expected {self.format}; set data.format=parquet"
            )
        refuse_other_kinds(self.path, beginning)
        if codec_of(self.encoding) == "utf-8-sig" and (guess := utf_16_without_mark(beginning)):
            raise DataError(
                f"{self.path}: the file is {guess.upper()}, not {self.encoding}; "
                f"set data.encoding={guess}, or save it as UTF-8"
            )

    # === Rows ===

    def columns(self) -> tuple[int, tuple[str, ...]]:
        """Return the line with the names of the columns, and the names. Read only the first row.

        In a file without header the names are "1", "2", and so on. A column whose name is empty or
        repeated is named by its position too.
        """
        if self.format == "parquet":
            return 1, tuple(self.arrow_schema().names)
        if self.format in JSON_FORMATS:
            for line, record in self._json_rows(raise_problem):
                return line, tuple(record)
            raise self._empty()
        for line, cells in self._raw_rows(raise_problem):
            return line, self.column_names(cells)
        raise self._empty()

    def column_names(self, first: list[str]) -> tuple[str, ...]:
        """Return the names of the columns of a CSV or TSV file.

        Args:
            first: the cells of the first row; see `columns`.
        """
        written = [cell.strip() if self.header else "" for cell in first]
        names: list[str] = []
        for number, name in enumerate(written, 1):
            if not name or written.count(name) > 1:
                name = str(number)
                while name in written or name in names:  # a column may be called "2"
                    name += "_"
            names.append(name)
        return tuple(names)

    def first_row(self) -> list[str]:
        """Return the cells of the first row of a CSV or TSV file as written."""
        for _, cells in self._raw_rows(raise_problem):
            return cells
        raise self._empty()

    def cells(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of every row of a CSV or TSV file.

        The header and blank lines are left out. All rows have as many cells as the first one; see
        `fit_row`.

        Args:
            on_problem: called with the error of each row that cannot be read.

        Raises:
            DataError: the file cannot be read.
        """
        dialect, rows = self.dialect, self._raw_rows(on_problem)
        first_line, first = next(rows, (0, []))
        if not first:
            raise self._empty()
        if not self.header:
            yield first_line, first
        width = len(first)
        # Until a row has as many cells as the header, the header may be the error: two uneven
        # rows of the same width are reported as a wrong header.
        is_width_confirmed, uneven = not self.header, list[tuple[int, int]]()
        for line, cells in rows:
            if len(cells) != width:
                fitted = fit_row(cells, first if self.header else None, width)
                if fitted is None:
                    if is_width_confirmed:
                        on_problem(
                            dialect.uneven_row(self.path, line, len(cells), first_line, width)
                        )
                        continue
                    uneven.append((line, len(cells)))
                    if len(uneven) == 2 and uneven[0][1] == len(cells):
                        on_problem(dialect.wrong_header(self.path, first_line, width, len(cells)))
                        return
                    continue
                cells = fitted
            if not is_width_confirmed:
                is_width_confirmed = True
                for bad_line, count in uneven:
                    on_problem(dialect.uneven_row(self.path, bad_line, count, first_line, width))
            yield line, cells
        if not is_width_confirmed:
            for bad_line, count in uneven:
                on_problem(dialect.uneven_row(self.path, bad_line, count, first_line, width))

    def records(
        self, columns: Sequence[str] | None = None, on_problem: OnProblem = raise_problem
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield line number and column → value of every row.

        Args:
            columns: the columns to read of a Parquet file; default: all.
            on_problem: called with the error of each row that cannot be read.
        """
        if self.format in JSON_FORMATS:
            yield from self._json_rows(on_problem)
        elif self.format == "parquet":
            yield from self._parquet_rows(columns)
        else:
            names = self.columns()[1]
            for line, cells in self.cells(on_problem):
                yield line, dict(zip(names, cells, strict=True))

    def about_rows(self) -> int:
        """Return the number of rows: exact for Parquet, else estimated from the first lines."""
        if self.format == "parquet":
            import pyarrow.parquet

            with self._errors_with_path():
                return pyarrow.parquet.ParquetFile(self.file).metadata.num_rows
        sample = self.sample(1 << 18)
        lines = max(sample.count(b"\n") or sample.count(b"\r"), 1)
        size = os.path.getsize(self.file)
        if self.file.lower().endswith(".gz"):
            with open(self.file, "rb") as stream:
                stream.seek(-4, os.SEEK_END)  # the unpacked size modulo 2 ** 32 (RFC 1952)
                size = int.from_bytes(stream.read(4), "little")
        return max(size * lines // max(len(sample), 1), 1)

    # === Formats ===

    def _raw_rows(self, on_problem: OnProblem) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of every row of a CSV or TSV file, including the header."""
        dialect = self.dialect
        return self._decoded_rows(
            lambda stream, report: dialect.parse(stream, self.path, report),
            self.delimiter.join,
            on_problem,
        )

    def _json_rows(self, on_problem: OnProblem) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield line number and object of every object of a JSON file."""
        beginning = self.sample(_DETECTION_BYTES).decode(codec_of(self.encoding), "replace")
        parse = array_objects if beginning.lstrip().startswith("[") else object_lines
        return self._decoded_rows(
            lambda stream, report: parse(stream, self.path, report),
            lambda record: json.dumps(record, ensure_ascii=False),
            on_problem,
        )

    def _decoded_rows(
        self,
        parse: Callable[[io.TextIOBase, OnProblem], Iterator[tuple[int, _Row]]],
        text_of: Callable[[_Row], str],
        on_problem: OnProblem,
    ) -> Iterator[tuple[int, _Row]]:
        """Yield the rows of a text file; rows with wrong bytes are problems.

        Args:
            parse: yields line number and row, given the text and a function for problems.
            text_of: returns a text that contains all characters of a row.
            on_problem: called with the error of each row that cannot be read.
        """
        last = 0
        try:
            with self._errors_with_path(), self._open_text() as stream:
                for last, row in parse(stream, on_problem):
                    yield last, row
            return
        except _UndecodableError:
            pass

        def report_new(problem: Any) -> None:
            if int(problem.location.rpartition(":")[2]) > last:
                on_problem(problem)

        # Decode again with marks for wrong bytes, and continue after the last good row.
        with self._errors_with_path(), self._open_text(errors=MARK_ERRORS) as stream:
            for line, row in parse(stream, report_new):
                if line <= last:
                    continue
                if mark := MARKED_BYTE.search(text_of(row)):
                    byte, sample = byte_of_mark(mark[0]), self.sample(1 << 20)
                    on_problem(wrong_byte(f"{self.path}:{line}", byte, self.encoding, sample))
                else:
                    yield line, row

    def _parquet_rows(self, columns: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
        import pyarrow.parquet

        row = 0
        with self._errors_with_path(), pyarrow.parquet.ParquetFile(self.file) as file:
            # Small batches, because their values become Python objects.
            for batch in file.iter_batches(
                batch_size=4096, columns=None if columns is None else list(columns)
            ):
                names = batch.schema.names
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    row += 1
                    yield row, dict(zip(names, values, strict=True))

    def arrow_schema(self) -> Any:
        """Return the `pyarrow.Schema` of a Parquet file, with its metadata.

        Raises:
            DataError: the file cannot be read.
        """
        import pyarrow.parquet

        with self._errors_with_path():
            return pyarrow.parquet.read_schema(self.file)

    def record_batches(self, max_rows: int) -> Iterator[Any]:
        """Yield the rows of a Parquet file as `pyarrow.RecordBatch`es, with all columns.

        Args:
            max_rows: largest number of rows of a batch.

        Raises:
            DataError: the file cannot be read.
        """
        import pyarrow.parquet

        # With a buffer, a row group is read in parts, whatever its size.
        with (
            self._errors_with_path(),
            pyarrow.parquet.ParquetFile(self.file, buffer_size=_PARQUET_BYTES) as file,
        ):
            for batch in file.iter_batches(batch_size=max_rows):
                batch.validate(full=True)  # strings are UTF-8
                yield batch

    # === Files ===

    def text_lines(self) -> Iterator[str]:
        """Yield the lines of a text file with their ends, counted as `cells` and `records` do."""
        with self._errors_with_path(), self._open_text() as stream:
            yield from stream

    def sample(self, num_bytes: int) -> bytes:
        """Return the first bytes of the file, unpacked."""
        with self._errors_with_path(), self._open_bytes() as stream:
            return stream.read(num_bytes)

    def _open_bytes(self) -> BinaryIO:
        if self.file.lower().endswith(".gz"):
            return gzip.open(self.file, "rb")  # type: ignore[return-value]
        return open(self.file, "rb")

    def _open_text(self, errors: str = "strict") -> io.TextIOWrapper:
        codec = codec_of(self.encoding)
        beginning = self.sample(_DETECTION_BYTES).decode(codec, "replace")
        is_json = self.format in JSON_FORMATS
        newline = plain_line_end(beginning) if is_json else self.dialect.line_end(beginning)
        return io.TextIOWrapper(self._open_bytes(), encoding=codec, errors=errors, newline=newline)

    @contextlib.contextmanager
    def _errors_with_path(self) -> Iterator[None]:
        """Replace errors of reading the file by a `DataError` that names it."""
        try:
            yield
        except UnicodeDecodeError as error:
            if self.format == "parquet":
                raise DataError(f"{self.path}: a string is not UTF-8: {error.reason}") from None
            raise _UndecodableError from None
        except (FileNotFoundError, PermissionError) as error:
            raise unreadable_file(self.path, error) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self.path}: not a complete gzip file: {error}") from None
        except (OSError, ValueError) as error:
            # The errors of pyarrow derive from these two.
            if self.format == "parquet":
                raise DataError(f"{self.path}: cannot be read as Parquet: {error}") from None
            if isinstance(error, OSError):
                raise unreadable_file(self.path, error) from None
            raise

    def _empty(self) -> DataError:
        return DataError(f"{self.path}: the file is empty, expected rows")


class _UndecodableError(Exception):
    """A byte that is invalid in the encoding; the file is read again to find its line."""


# === Opening ===


def open_table(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    delimiter: str | None = None,
    quoting: str = "auto",
    header: bool = True,
    encoding: str = "utf-8",
) -> Table:
    """Return the table at `path` with every `auto` resolved. Nothing is read yet.

    Args:
        path, format, delimiter, quoting, header, encoding: see `read_table`.

    Raises:
        DataError: the file ending is unknown, or the settings contradict each other.
    """
    path = os.fspath(path)
    if format == "auto":
        format = format_of(path)
    if format not in TABLE_FORMATS:
        raise DataError(
            f"{path}: data.format={format} is not for files; expected {', '.join(TABLE_FORMATS)}"
        )
    if format == "parquet" and path.lower().endswith(".gz"):
        raise DataError(f"{path}: Parquet has its own compression; unpack the file first (gunzip)")
    codec_of(encoding)
    if delimiter is None:
        delimiter = "\t" if format == "tsv" else ","
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise DataError(
            f"data.delimiter: {delimiter!r} cannot separate columns; expected one character"
        )
    if quoting == "auto":
        quoting = "none" if format == "tsv" else "minimal"
    return Table(path, format, delimiter, quoting, header, encoding)


def format_of(path: str) -> str:
    """Return the format for the ending of a file; an ending `.gz` is ignored.

        format_of("reviews.csv.gz")    # "csv"

    Raises:
        DataError: the ending is unknown. If the file does not exist, the error says so instead.
    """
    stem = path[:-3] if path.lower().endswith(".gz") else path
    ending = os.path.splitext(stem)[1].lower()
    if ending not in FILE_ENDINGS:
        if not os.path.exists(os.path.expanduser(path)):
            raise missing_file(path)
        raise DataError(
            f"{path}: no format is known for the ending {ending!r}; use --set data.format=csv, "
            f"tsv, json, jsonl or parquet (known endings: {', '.join(FILE_ENDINGS)})"
        )
    return FILE_ENDINGS[ending]


def read_table(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    delimiter: str | None = None,
    quoting: str = "auto",
    header: bool = True,
    encoding: str = "utf-8",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a CSV, TSV, JSON or Parquet file with all columns.

        for line, row in read_table("reviews.csv"):
            print(line, row["text"])

    Args:
        path: the file; may begin with `~`, and a text format may end in `.gz`.
        format, delimiter, quoting, header, encoding: see the settings of section `data`.

    Yields:
        The first line of a row (the row number in Parquet), from 1, and column → value: strings
        from CSV and TSV, values of any type from JSON and Parquet. A column without a name is
        called by its number, "1", "2", and so on.

    Raises:
        DataError: at the first row that cannot be read.
    """
    table = open_table(
        path,
        format=format,
        delimiter=delimiter,
        quoting=quoting,
        header=header,
        encoding=encoding,
    )
    table.check_file()
    yield from table.records()
