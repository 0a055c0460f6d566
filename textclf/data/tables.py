"""Tables as they lie on disk: CSV, TSV, JSON lines and Parquet, streamed row by row.

Whatever is wrong with a file is a `DataError` that names the file, the line and the setting that
mends it. Lines count from 1, the header included; a Parquet file has rows instead, also from 1.

Why this is more than a call of `csv.reader`: by default that reader takes a stray quote for the
beginning of a field and silently swallows the rows up to the next one (454 of 9,600 in one well
known Chinese set), and it closes the last open quote at the end of the file without a word.
"""

import codecs
import contextlib
import csv
import dataclasses
import difflib
import gzip
import io
import json
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from textclf.errors import DataError

FORMATS = ("csv", "tsv", "jsonl", "parquet", "folder", "tfds", "demo")
TABLE_FORMATS = ("csv", "tsv", "jsonl", "parquet")

# A quoted field over more lines than this is far more often a stray quote than a long text.
MAX_LINES_OF_A_FIELD = 100

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_QUOTES_ARE_TEXT = "if quotes are ordinary characters in this file, use data.quoting=none"


# === Opening ===


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def missing_file(path: str, what: str = "file") -> DataError:
    """The mistake of a path that does not exist, with the nearest name that does."""
    full = os.path.expanduser(path)
    folder = os.path.dirname(full) or "."
    # The first folder on the way that does not exist is the one to mend.
    while not os.path.isdir(folder):
        full, folder = folder, os.path.dirname(folder) or "."
    try:
        siblings = os.listdir(folder)
    except OSError:
        siblings = []
    hint = did_you_mean(os.path.basename(full), siblings)
    if not hint and not os.path.isabs(full):
        hint = "; a path is looked up from the current folder"
    if full != os.path.expanduser(path):
        return DataError(f"{path}: no such {what}: the folder {full} does not exist{hint}")
    return DataError(f"{path}: no such {what}{hint}")


def codec_of(encoding: str) -> str:
    """The codec that reads `encoding`; UTF-8 with or without a byte order mark.

    Raises:
        DataError: Python knows no text encoding of this name.
    """
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        known = ["utf-8", "utf-16", "gb18030", "gbk", "big5", "shift_jis", "euc-kr", "cp1252"]
        hint = did_you_mean(encoding.lower(), [*known, "latin-1", "cp1251", "koi8-r"])
        raise DataError(
            f"data.encoding: {encoding!r} is no text encoding that Python knows{hint}; "
            f"usual ones are {', '.join(known)}"
        ) from None
    return "utf-8-sig" if name == "utf-8" else name


def guess_encoding(sample: bytes) -> str:
    """An encoding in which the bytes, perhaps cut in the middle of a character, make sense.

    Certain for UTF-8 and for byte order marks; `gb18030` and `cp1252` are suggestions.
    """
    if sample.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding in ("utf-8", "gb18030"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeDecodeError:
            continue
        foreign = "".join(character for character in text if not character.isascii())
        # Any two bytes may look like a rare Han character ("\xe9u" does); the usual ones, two
        # bytes each in GB 2312, do not come about by chance.
        if encoding == "utf-8" or len(foreign.encode("gb2312", "ignore")) > len(foreign):
            return encoding
    return "cp1252"


def wrong_byte(place: str, stream: BinaryIO, encoding: str) -> DataError:
    """The mistake of bytes that are not in `encoding`: names the line of the first of them."""
    decoder = codecs.getincrementaldecoder(codec_of(encoding))()
    line, sample, byte = 1, b"", b""
    while True:
        chunk = stream.read(1 << 16)
        sample = sample if len(sample) > 1 << 20 else sample + chunk
        try:
            line += decoder.decode(chunk, final=not chunk).count("\n")
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, "replace").count("\n")
            byte = error.object[error.start : error.start + 1]
            sample += stream.read(1 << 16)
            break
        if not chunk:
            break
    guess = guess_encoding(sample)
    advice = (
        "save it as UTF-8 or set data.encoding"
        if codec_of(guess) == codec_of(encoding)
        else f"name the encoding of the file, perhaps data.encoding={guess}"
    )
    shown = f"byte 0x{byte.hex()}" if byte else "the end of the file"
    return DataError(f"{place}:{line}: {shown} is not {encoding}; {advice}")


# === Tables ===


@dataclasses.dataclass(frozen=True)
class Table:
    """One file of rows and columns.

    Attributes:
        path: as the user wrote it; that is how messages name it.
        format: one of `TABLE_FORMATS`.
        delimiter: one character; csv and tsv only.
        quoting: `minimal` or `none`; csv and tsv only.
        header: whether the first row names the columns; csv and tsv only.
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
        return os.path.expanduser(self.path)

    def check_file(self) -> None:
        """Raises `DataError` unless there is a file with at least one byte that may be read."""
        with self._mistakes_named():
            mode = os.stat(self.file).st_mode
        if stat.S_ISDIR(mode):
            raise DataError(
                f"{self.path}: a folder, expected a file; a folder of split/label/*.txt goes into "
                "data.source"
            )
        with self._mistakes_named(), self._open_bytes() as stream:
            empty = not stream.read(1)
        if empty:
            raise DataError(f"{self.path}: the file is empty, expected rows")

    def columns(self) -> tuple[int, tuple[str, ...]]:
        """The line that names the columns, and their names; only the first row is read.

        A file without header has the names "1", "2", …; so has an unnamed or repeated column,
        by its position.
        """
        if self.format == "parquet":
            import pyarrow.parquet

            with self._mistakes_named():
                return 1, tuple(pyarrow.parquet.read_schema(self.file).names)
        if self.format == "jsonl":
            for line, record in self._json_rows():
                return line, tuple(record)
            raise self._no_rows()
        with self._mistakes_named(), self._open_text() as stream:
            for line, cells in self._raw_cells(stream):
                return line, self.names_of(cells)
        raise self._no_rows()

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of every row of a CSV or TSV file, without header and blank lines.

        Raises:
            DataError: a row has more or fewer cells than the first one; a stray quote; a byte
                that is not in the encoding.
        """
        with self._mistakes_named(), self._open_text() as stream:
            rows = self._raw_cells(stream)
            first_line, first = next(rows, (0, []))
            width = len(first)
            if not first:
                raise self._no_rows()
            if not self.header:
                yield first_line, first
            for line, cells in rows:
                if len(cells) != width:
                    raise self._ragged(line, len(cells), first_line, width)
                yield line, cells

    def records(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number and column → value of every row; of a Parquet file only `columns`."""
        if self.format == "jsonl":
            yield from self._json_rows()
        elif self.format == "parquet":
            yield from self._parquet_rows(columns)
        else:
            names = self.columns()[1]
            for line, cells in self.cells():
                yield line, dict(zip(names, cells, strict=True))

    # --- Text formats ---

    def _raw_cells(self, stream: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
        return self._quoted(stream) if self.quoting == "minimal" else self._unquoted(stream)

    def _unquoted(self, stream: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
        for line, content in enumerate(stream, 1):
            content = content.rstrip("\r\n")
            if content:
                yield line, content.split(self.delimiter)

    def _quoted(self, stream: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
        start = 1  # the line on which the row being read begins

        def lines() -> Iterator[str]:
            for line, content in enumerate(stream, 1):
                if line - start >= MAX_LINES_OF_A_FIELD:
                    raise DataError(
                        f"{self.path}:{start}: a quoted field spans more than "
                        f"{MAX_LINES_OF_A_FIELD} lines, most likely a stray quote; "
                        f"{_QUOTES_ARE_TEXT} (if the text is so long, save it as JSON lines)"
                    )
                yield content

        # The default limit of 131,072 characters a field is global and shorter than a book.
        csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
        reader = csv.reader(lines(), delimiter=self.delimiter, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            problem = str(error)
            if "expected after" in problem:
                problem = "text follows the closing quote of a field, expected a delimiter"
            elif "unexpected end" in problem:
                problem = "a quote is opened and never closed"
            raise DataError(
                f"{self.path}:{start}: {problem}; a quote inside a quoted field is doubled; "
                f"{_QUOTES_ARE_TEXT}"
            ) from None

    def _json_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._mistakes_named(), self._open_text() as stream:
            for line, content in enumerate(stream, 1):
                if content.isspace():
                    continue
                try:
                    record = json.loads(content)
                except (ValueError, RecursionError) as error:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                    raise DataError(
                        f"{self.path}:{line}: not JSON ({reason}); expected one object a line, "
                        'such as {"text": "fine", "label": "pos"}'
                    ) from None
                if type(record) is not dict:
                    raise DataError(
                        f"{self.path}:{line}: a JSON {type(record).__name__}, expected an object, "
                        'such as {"text": "fine", "label": "pos"}'
                    )
                yield line, _whole_characters(record) if "\\u" in content else record

    # --- Parquet ---

    def _parquet_rows(self, columns: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
        import pyarrow.parquet

        row = 0
        with self._mistakes_named(), pyarrow.parquet.ParquetFile(self.file) as file:
            # Few rows a batch: they are Python objects while they are here.
            for batch in file.iter_batches(
                batch_size=4096, columns=None if columns is None else list(columns)
            ):
                names = batch.schema.names
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    row += 1
                    yield row, dict(zip(names, values, strict=True))

    # --- Files and their mistakes ---

    def _open_bytes(self) -> BinaryIO:
        if self.file.lower().endswith(".gz"):
            return gzip.open(self.file, "rb")  # type: ignore[return-value]
        return open(self.file, "rb")

    def sample(self, num_bytes: int) -> bytes:
        """The beginning of the file, unpacked."""
        with self._mistakes_named(), self._open_bytes() as stream:
            return stream.read(num_bytes)

    def about_rows(self) -> int:
        """How many rows there are: of Parquet exactly, of text by the lines of its beginning."""
        if self.format == "parquet":
            import pyarrow.parquet

            with self._mistakes_named():
                return pyarrow.parquet.ParquetFile(self.file).metadata.num_rows
        sample = self.sample(1 << 18)
        lines = max(sample.count(b"\n"), 1)
        size = os.path.getsize(self.file)
        if self.file.lower().endswith(".gz"):
            with open(self.file, "rb") as stream:
                stream.seek(-4, os.SEEK_END)  # the unpacked size modulo 2 ** 32 (RFC 1952)
                size = int.from_bytes(stream.read(4), "little")
        return max(size * lines // max(len(sample), 1), 1)

    def names_of(self, first: list[str]) -> tuple[str, ...]:
        """The names of the columns, given the first row; see `columns`."""
        names = [cell.strip() if self.header else "" for cell in first]
        return tuple(
            name if name and names.count(name) == 1 else str(number)
            for number, name in enumerate(names, 1)
        )

    def rows_in(self, text: str) -> Iterator[list[str]]:
        """The rows of a text as this CSV or TSV file would give them, the header among them."""
        newline = "" if self.quoting == "minimal" else "\n"
        for _, cells in self._raw_cells(io.StringIO(text, newline)):
            yield cells

    def _open_text(self) -> io.TextIOWrapper:
        # The csv module wants line ends as they are. Without quotes a row ends at "\n" alone, so
        # that a carriage return, which is text there, does not break a row in two.
        quoted = self.format in ("csv", "tsv") and self.quoting == "minimal"
        codec = codec_of(self.encoding)
        return io.TextIOWrapper(self._open_bytes(), encoding=codec, newline="" if quoted else "\n")

    @contextlib.contextmanager
    def _mistakes_named(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            if self.format == "parquet":
                raise DataError(f"{self.path}: a string is not UTF-8: {error.reason}") from None
            with self._open_bytes() as stream:
                mistake = wrong_byte(self.path, stream, self.encoding)
            raise mistake from None
        except FileNotFoundError:
            raise missing_file(self.path) from None
        except PermissionError:
            raise DataError(
                f"{self.path}: no permission to read the file; change its mode or its owner"
            ) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self.path}: no whole gzip file: {error}") from None
        except (OSError, ValueError) as error:
            # pyarrow's errors derive from these two.
            if self.format == "parquet":
                raise DataError(f"{self.path}: no Parquet file can be read: {error}") from None
            if isinstance(error, OSError):
                raise DataError(f"{self.path}: cannot be read: {error.strerror}") from None
            raise

    def _no_rows(self) -> DataError:
        return DataError(f"{self.path}: the file is empty, expected rows")

    def _ragged(self, line: int, found: int, first_line: int, expected: int) -> DataError:
        like = "the header" if self.header else "the first row"
        return DataError(
            f"{self.path}:{line}: {found} {'field' if found == 1 else 'fields'}, expected "
            f"{expected} as in {like} (line {first_line}); mend the line, or check "
            f"data.delimiter={self.delimiter!r} and data.quoting={self.quoting}"
        )


def _whole_characters(value: Any) -> Any:
    """JSON may escape half a surrogate pair, which no encoding can write: it becomes U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value


def open_table(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    delimiter: str | None = None,
    quoting: str = "auto",
    header: bool = True,
    encoding: str = "utf-8",
) -> Table:
    """The table at `path` with everything `auto` decided; nothing is read yet.

    Raises:
        DataError: the ending tells no format, or the settings contradict each other.
    """
    path = os.fspath(path)
    if format == "auto":
        format = format_of(path)
    if format not in TABLE_FORMATS:
        raise DataError(
            f"{path}: data.format={format} is not for files; expected {', '.join(TABLE_FORMATS)}"
        )
    if format == "parquet" and path.lower().endswith(".gz"):
        raise DataError(f"{path}: Parquet compresses by itself; unpack the file first (gunzip)")
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
    """The format that the ending of a file tells, `.gz` aside.

    Raises:
        DataError: the ending tells none.
    """
    stem = path[:-3] if path.lower().endswith(".gz") else path
    ending = os.path.splitext(stem)[1].lower()
    if ending not in _ENDINGS:
        raise DataError(
            f"{path}: the ending {ending!r} tells no format; use --set data.format=csv, tsv, jsonl "
            f"or parquet (known endings: {', '.join(_ENDINGS)})"
        )
    return _ENDINGS[ending]


def read_table(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    delimiter: str | None = None,
    quoting: str = "auto",
    header: bool = True,
    encoding: str = "utf-8",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Streams the rows of a CSV, TSV, JSON lines or Parquet file with all their columns.

    Args:
        path: the file; may begin with `~`, and a text format may end in `.gz`.
        format, delimiter, quoting, header, encoding: as the settings of section `data`.

    Yields:
        The line on which a row begins (of a Parquet file the row), from 1, and column → value:
        strings from CSV and TSV, values as they are from JSON lines and Parquet. Columns without
        a name of their own are called by their number, "1", "2", …

    Raises:
        DataError: at the first row that cannot be read; see the module's docstring.
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
