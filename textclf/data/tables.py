"""Tables on disk: CSV, TSV, JSON and Parquet, streamed row by row.

A mistake in a file is a `DataError` that names the file, the line and the setting that fixes it.
Lines count from 1, the header included; a Parquet file has rows instead, also from 1.

Why this is more than a call of `csv.reader`: by default that reader takes a stray quote for the
beginning of a field and silently swallows the rows up to the next one (454 of 9,600 in one well
known Chinese data set), and it closes the last open quote at the end of the file without an error.
"""

import codecs
import contextlib
import csv
import dataclasses
import difflib
import gzip
import io
import itertools
import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from textclf.config.settings import FILE_ENDINGS
from textclf.errors import DataError

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "folder", "tfds", "demo")
TABLE_FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
# An object a line or an array of objects: the first character of the file decides.
JSON_FORMATS = ("jsonl", "json")

# A quoted field longer than this is a quote that is never closed; it bounds the memory of a row.
MAX_FIELD_CHARACTERS = 1 << 27

_QUOTES_ARE_TEXT = "if quotes are ordinary characters in this file, use data.quoting=none"
_DETECTION_BYTES = 1 << 16  # of a file's beginning, for its line ends and its kind

# === Opening ===


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def missing_file(path: str, what: str = "file") -> DataError:
    """The mistake of a path that does not exist, with the nearest name that does."""
    full = os.path.expanduser(path)
    folder = os.path.dirname(full) or "."
    # The first folder of the path that does not exist is the one to fix.
    while not os.path.isdir(folder):
        full, folder = folder, os.path.dirname(folder) or "."
    try:
        siblings = os.listdir(folder)
    except OSError:
        siblings = []
    hint = did_you_mean(os.path.basename(full), siblings)
    if not hint and not os.path.isabs(full):
        hint = "; a relative path starts at the current folder"
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


# Encodings that are guessed, the most common first.
_GUESSED = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("gb18030", "big5", "cp949", "cp932", "euc_jp", "iso2022_jp", "utf_16_le", "utf_16_be"),
    "mac_roman",
)
_JAPANESE = ("cp932", "euc_jp")


def _is_japanese(text: str) -> bool:
    foreign = [character for character in text if not character.isascii()]
    return sum("\u3041" <= character <= "\u3096" for character in foreign) > 0.1 * len(foreign)


def _is_common_chinese(text: str) -> bool:
    """Return whether most characters are in GB 2312, which holds the common ones.

    Any two bytes may look like a rare Han character ("\xe9u" does), but not like a common one.
    """
    foreign = "".join(character for character in text if not character.isascii())
    return len(foreign.encode("gb2312", "ignore")) > len(foreign)


def _is_korean(text: str) -> bool:
    foreign = [character for character in text if not character.isascii()]
    hangul = sum("\uac00" <= character <= "\ud7a3" for character in foreign)
    return hangul > 0.9 * len(foreign)


# Many bytes fit each of these encodings: what their text must look like, in the order of checks.
_PLAUSIBLE: dict[str, Callable[[str], bool]] = {
    "cp949": _is_korean,
    "gb18030": _is_common_chinese,
}


def guess_encoding(sample: bytes) -> str:
    """Return an encoding in which the bytes make sense; they may end within a character.

    The answer is certain for UTF-8 and for byte order marks, and a suggestion otherwise. Where no
    known encoding fits, it is `cp1252`, which then cannot decode the bytes.
    """
    if sample.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if encoding := _utf_16_without_mark(sample):
        return encoding
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        if b"\x1b$" not in sample:  # the escape that begins Japanese in ISO-2022-JP
            return "utf-8"
    import charset_normalizer

    # ASCII lines say nothing, and the last line may be cut.
    lines = [line for line in sample.split(b"\n") if not line.isascii() or b"\x1b" in line]
    foreign = b"\n".join(lines[:-1] or lines)[:_DETECTION_BYTES]
    foreign = foreign[: foreign.rfind(b"\n") + 1] or foreign
    matches = charset_normalizer.from_bytes(
        foreign, cp_isolation=list(_GUESSED), preemptive_behaviour=False, enable_fallback=False
    )
    best = matches.best()
    if best is None:
        return "cp1252"
    # Hiragana, half of every Japanese text, does not come about by chance.
    for match in matches:
        for encoding in match.could_be_from_charset:
            if encoding in _JAPANESE and _is_japanese(foreign.decode(encoding, "ignore")):
                return encoding
    tied = {
        encoding
        for match in matches
        if (match.chaos, match.coherence) == (best.chaos, best.coherence)
        for encoding in match.could_be_from_charset
    }
    for encoding, is_plausible in _PLAUSIBLE.items():
        if encoding in tied and is_plausible(foreign.decode(encoding, "ignore")):
            return encoding
    return next(encoding for encoding in _GUESSED if encoding in tied)


def _utf_16_without_mark(sample: bytes) -> str | None:
    """Return `utf-16-le` or `utf-16-be` where NUL bytes show one of them, else None."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if even + odd < max(1, len(sample) / 50) or min(even, odd) * 10 > max(even, odd):
        return None
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None
    return encoding if "\0" not in text else None


def _mark_byte(error: UnicodeError) -> tuple[str, int]:
    """Decode each wrong byte as the lone surrogate U+D800 + byte, which no valid text holds."""
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xD800 + byte) for byte in wrong), error.end


codecs.register_error("textclf.mark", _mark_byte)
_MARKED_BYTE = re.compile("[\ud800-\ud8ff]")


class RowError(DataError):
    """A mistake in one row; the rows after it can still be read.

    Args:
        place: file and line.
        problem: what is wrong.
        fix: what to do; a list of mistakes states each fix once.
    """

    def __init__(self, place: str, problem: str, fix: str):
        self.place, self.problem, self.fix = place, problem, fix
        super().__init__(f"{place}: {problem}; {fix}")


# Called with the mistake of a row, which is then skipped; it may raise it.
OnProblem = Callable[[RowError], None]


def raise_problem(problem: RowError) -> None:
    """Raise the mistake of a row: the reader stops at the first one."""
    raise problem


def is_mostly_utf_8(sample: bytes) -> bool:
    """Return whether nearly all characters outside ASCII are UTF-8, and a few bytes are not."""
    text = sample.decode("utf-8", "replace")
    wrong = text.count("\ufffd") - sample.count("\ufffd".encode())
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    return foreign - wrong > 10 * wrong


def wrong_byte(place: str, byte: int, encoding: str, sample: bytes) -> RowError:
    """Return the mistake of a byte that is not in `encoding`.

    Args:
        place: file and line.
        sample: bytes around it, from which the right encoding is guessed.
    """
    guess = guess_encoding(sample)
    if codec_of(encoding) == "utf-8-sig" and is_mostly_utf_8(sample):
        fix = "most of the file is UTF-8: fix these bytes"
    elif codec_of(guess) == codec_of(encoding):
        fix = "save the file as UTF-8 or set data.encoding"
    else:
        fix = f"name the encoding of the file, perhaps data.encoding={guess}"
    return RowError(place, f"byte 0x{byte:02x} is not {encoding}", fix)


# === Kinds of files ===

_EXPORT = "export the table as CSV (UTF-8)"
# The first bytes of files that are not text, what they are and what to do.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", "unpack it and name the file inside"),
    (b"PK\x05\x06", "an empty zip archive", "name a file of texts"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", _EXPORT),
    (b"\x1f\x8b", "compressed with gzip", "give it a name that ends in .gz"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name the file inside"),
    (b"Rar!", "a rar archive", "unpack it and name the file inside"),
    (b"%PDF", "a PDF file", "extract its text first"),
    (b"{\\rtf", "a rich text (RTF) file", "save it as plain text"),
    (b"SQLite format 3", "an SQLite database", _EXPORT),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"\x93NUMPY", "a NumPy file", _EXPORT),
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "run git lfs pull"),
)


def refuse_other_kinds(path: str, beginning: bytes) -> None:
    """Raise `DataError` if a file's first bytes (512 are enough) are not those of a text file."""
    for signature, kind, fix in _SIGNATURES:
        if beginning.startswith(signature):
            if signature == b"PK\x03\x04" and b"xl/" in beginning + _tail(path):
                kind, fix = "an Excel file", _EXPORT
            raise DataError(f"{path}: the file is {kind}, expected text; {fix}")
    if beginning[257:262] == b"ustar":
        raise DataError(
            f"{path}: the file is a tar archive, expected text; unpack it and name the file inside"
        )
    # A pickle has no name of its own: its protocol, a frame or an opcode, and binary data.
    if beginning[:1] == b"\x80" and beginning[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(f"{path}: the file is a Python pickle, expected text; {_EXPORT}")
    if (
        beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:15]
        .lower()
        .startswith((b"<!doctype html", b"<html"))
    ):
        raise DataError(
            f"{path}: the file is a web page (HTML), expected a table; download the data again"
        )


def _tail(path: str) -> bytes:
    """Return the last 64 KB of a file, where a zip archive lists its members; b"" of stdin."""
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - (1 << 16)))
            return stream.read()
    except OSError:
        return b""


# === Lists in one cell ===

_LIST_ITEM = re.compile(
    r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([+-]?\d+(?:\.\d+)?|None|nan))\s*(,|(?=['"\s])|$)"""
)
_LIST_ENDS = {"[": "]", "(": ")", "{": "}"}


def parse_list(cell: str) -> tuple[str, ...] | None:
    """Return the items of a list written as text, as pandas, NumPy or JSON write it.

    Items are quoted strings or numbers; None if the cell is no such list.

        parse_list("['good', 'fast']")    # ("good", "fast")
        parse_list("good, fast")          # None
    """
    cell = cell.strip()
    if len(cell) < 2 or _LIST_ENDS.get(cell[0]) != cell[-1]:
        return None
    inside = cell[1:-1].strip()
    items, position = [], 0
    while position < len(inside):
        match = _LIST_ITEM.match(inside, position)
        if match is None:
            return None
        single, double, bare, _ = match.groups()
        quoted = single if single is not None else double
        items.append(bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        position = match.end()
    return tuple(items)


# === Tables ===


@dataclasses.dataclass(frozen=True)
class Table:
    """One file of rows and columns.

    Attributes:
        path: as the user wrote it; messages name the file so.
        format: one of `TABLE_FORMATS`.
        delimiter: one character; csv and tsv only.
        quoting: `minimal`, `backslash` (the same, and a backslash takes the next character as it
            is) or `none`; csv and tsv only.
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
        """Check that there is a readable file with at least one byte, of the right kind.

        Raises:
            DataError: there is none.
        """
        with self._mistakes_named():
            mode = os.stat(self.file).st_mode
        if stat.S_ISDIR(mode):
            raise DataError(
                f"{self.path}: a folder, expected a file; a folder of split/label/*.txt goes into "
                "data.source"
            )
        beginning = self.sample(_DETECTION_BYTES)
        if not beginning:
            raise DataError(f"{self.path}: the file is empty, expected rows")
        if self.format == "parquet":
            return
        if beginning.startswith(b"PAR1"):
            raise DataError(
                f"{self.path}: the file is Parquet, expected {self.format}; set data.format=parquet"
            )
        refuse_other_kinds(self.path, beginning)
        if codec_of(self.encoding) == "utf-8-sig" and (guess := _utf_16_without_mark(beginning)):
            raise DataError(
                f"{self.path}: the file is {guess.upper()}, not {self.encoding}; "
                f"set data.encoding={guess}, or save it as UTF-8"
            )

    def columns(self) -> tuple[int, tuple[str, ...]]:
        """Return the line that names the columns, and their names; only the first row is read.

        A file without header has the names "1", "2", …; so has an unnamed or repeated column,
        by its position.
        """
        if self.format == "parquet":
            import pyarrow.parquet

            with self._mistakes_named():
                return 1, tuple(pyarrow.parquet.read_schema(self.file).names)
        if self.format in JSON_FORMATS:
            for line, record in self._json_rows(raise_problem):
                return line, tuple(record)
            raise self._no_rows()
        for line, cells in self._raw_rows(raise_problem):
            return line, self.names_of(cells)
        raise self._no_rows()

    def first_row(self) -> list[str]:
        """Return the cells of the first row of a CSV or TSV file as they are written."""
        for _, cells in self._raw_rows(raise_problem):
            return cells
        raise self._no_rows()

    def cells(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of every row of a CSV or TSV file.

        The header and blank lines are left out. All rows have as many cells as the first one; see
        `fit_row`.

        Args:
            on_problem: called with the mistake of each row that cannot be read.

        Raises:
            DataError: the file cannot be read.
        """
        rows = self._raw_rows(on_problem)
        first_line, first = next(rows, (0, []))
        if not first:
            raise self._no_rows()
        if not self.header:
            yield first_line, first
        width = len(first)
        # While no row is like the header, a second row that is not may show that the header is
        # wrong and not the rows.
        is_first_trusted, ragged = not self.header, list[tuple[int, int]]()
        for line, cells in rows:
            if len(cells) != width:
                fitted = fit_row(cells, first if self.header else None, width)
                if fitted is None:
                    if is_first_trusted:
                        on_problem(self._ragged(line, len(cells), first_line, width))
                        continue
                    ragged.append((line, len(cells)))
                    if len(ragged) == 2 and ragged[0][1] == len(cells):
                        on_problem(self._wrong_header(first_line, width, len(cells)))
                        return
                    continue
                cells = fitted
            if not is_first_trusted:
                is_first_trusted = True
                for bad_line, count in ragged:
                    on_problem(self._ragged(bad_line, count, first_line, width))
            yield line, cells
        if not is_first_trusted:
            for bad_line, count in ragged:
                on_problem(self._ragged(bad_line, count, first_line, width))

    def records(
        self, columns: Sequence[str] | None = None, on_problem: OnProblem = raise_problem
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield line number and column → value of every row; of a Parquet file only `columns`.

        Args:
            on_problem: called with the mistake of each row that cannot be read.
        """
        if self.format in JSON_FORMATS:
            yield from self._json_rows(on_problem)
        elif self.format == "parquet":
            yield from self._parquet_rows(columns)
        else:
            names = self.columns()[1]
            for line, cells in self.cells(on_problem):
                yield line, dict(zip(names, cells, strict=True))

    # --- Text formats ---

    def _raw_rows(self, on_problem: OnProblem) -> Iterator[tuple[int, list[str]]]:
        """Yield every row of a CSV or TSV file as it is written, the header among them."""
        last = 0
        try:
            with self._mistakes_named(), self._open_text() as stream:
                for last, cells in self._parsed(stream, on_problem):
                    yield last, cells
            return
        except _UndecodableError:
            pass
        # Decode again, now with wrong bytes marked, and go on after the last good row.
        with self._mistakes_named(), self._open_text(errors="textclf.mark") as stream:
            for line, cells in self._parsed(
                stream, lambda problem: on_problem(problem) if self._line(problem) > last else None
            ):
                if line <= last:
                    continue
                marked = _MARKED_BYTE.search(self.delimiter.join(cells))
                if marked:
                    on_problem(self._wrong_byte(line, marked[0]))
                else:
                    yield line, cells

    def _line(self, problem: RowError) -> int:
        return int(problem.place.rpartition(":")[2])

    def _wrong_byte(self, line: int, mark: str) -> RowError:
        place = f"{self.path}:{line}"
        return wrong_byte(place, ord(mark) - 0xD800, self.encoding, self.sample(1 << 20))

    def _parsed(
        self, stream: io.TextIOBase, on_problem: OnProblem
    ) -> Iterator[tuple[int, list[str]]]:
        if self.quoting == "none":
            return self._unquoted(stream)
        return self._quoted(stream, on_problem)

    def _unquoted(self, stream: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
        for line, content in enumerate(stream, 1):
            content = content.rstrip("\r\n")
            if content and not (line == 1 and is_separator_line(content)):
                yield line, content.split(self.delimiter)

    def _quoted(
        self, stream: io.TextIOBase, on_problem: OnProblem
    ) -> Iterator[tuple[int, list[str]]]:
        first = stream.readline()
        skipped = 1 if is_separator_line(first) else 0
        lines = stream if skipped else itertools.chain([first], stream)
        start = 1 + skipped  # the line on which the row being read begins
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
            problem = str(error)
            end = reader.line_num + skipped
            where = "" if end == start else f" (the quote of line {start} closes on line {end})"
            if "expected after" in problem:
                problem = f"text follows the closing quote of a field, expected a delimiter{where}"
            elif "unexpected end" in problem:
                problem = "a quote is opened and never closed"
            elif "field larger" in problem:
                problem = (
                    f"a quote is opened and not closed within {MAX_FIELD_CHARACTERS:,} characters"
                )
            fix = f"a quote inside a quoted field is doubled; {_QUOTES_ARE_TEXT}"
            # What follows cannot be told apart from the inside of a field.
            on_problem(RowError(f"{self.path}:{start}", problem, fix))

    def _json_rows(self, on_problem: OnProblem) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the objects of a JSON file: one a line, or those of one array."""
        last = 0
        try:
            with self._mistakes_named(), self._open_text() as stream:
                for last, record in self._json_records(stream, on_problem):
                    yield last, record
            return
        except _UndecodableError:
            pass
        with self._mistakes_named(), self._open_text(errors="textclf.mark") as stream:
            for line, record in self._json_records(
                stream, lambda problem: on_problem(problem) if self._line(problem) > last else None
            ):
                if line <= last:
                    continue
                marked = _MARKED_BYTE.search(json.dumps(record, ensure_ascii=False))
                if marked:
                    on_problem(self._wrong_byte(line, marked[0]))
                else:
                    yield line, record

    def _json_records(
        self, stream: io.TextIOBase, on_problem: OnProblem
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        beginning = self.sample(_DETECTION_BYTES).decode(codec_of(self.encoding), "replace")
        if beginning.lstrip().startswith("["):
            yield from self._json_array(stream, on_problem)
            return
        for line, text in enumerate(stream, 1):
            if text.isspace():
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                on_problem(self._bad_json(line, error, text))
                continue
            if type(record) is not dict:
                on_problem(self._no_object(line, record))
                continue
            yield line, _whole_characters(record) if "\\u" in text else record

    def _json_array(
        self, stream: io.TextIOBase, on_problem: OnProblem
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the objects of an array, with only a part of the file in memory."""
        decode = json.JSONDecoder().raw_decode
        text = stream.read(_DETECTION_BYTES)
        at = text.index("[") + 1
        line, is_first = 1 + text.count("\n", 0, at), True
        while True:
            start = _after_blanks(text, at)
            has_comma = not is_first and text.startswith(",", start)
            start = _after_blanks(text, start + 1) if has_comma else start
            if text.startswith("]", start) and not has_comma:
                rest = itertools.chain([text[start + 1 :]], iter(lambda: stream.read(1 << 16), ""))
                if any(part and not part.isspace() for part in rest):
                    error: Exception = ValueError("text follows the end of the array")
                    on_problem(self._bad_json(line + text.count("\n", at, start), error))
                return
            if start < len(text) and not (is_first or has_comma):
                error = ValueError("a comma is missing after an object")
                on_problem(self._bad_json(line + text.count("\n", at, start), error))
                return
            try:
                record, end = decode(text, start)
            except (ValueError, RecursionError) as failure:
                # A value that the end of the text cuts, or a mistake.
                is_cut = isinstance(failure, json.JSONDecodeError) and (
                    failure.pos >= len(text) - 8 or failure.msg.startswith("Unterminated string")
                )
                # Twice as much each time, so that a long value is not parsed too often.
                more = stream.read(max(1 << 16, len(text) - at)) if is_cut else ""
                if more:
                    text, at = text[at:] + more, 0
                    continue
                on_problem(self._bad_json(line + text.count("\n", at, start), failure))
                return
            line += text.count("\n", at, start)
            if type(record) is dict:
                is_escaped = text.find("\\u", start, end) >= 0
                yield line, _whole_characters(record) if is_escaped else record
            else:
                on_problem(self._no_object(line, record))
            line += text.count("\n", start, end)
            at, is_first = end, False

    def _bad_json(self, line: int, error: Exception, text: str = "") -> RowError:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        if text.rstrip().endswith(",") and "Extra data" in str(reason):
            reason = "a comma follows the object"
        return RowError(f"{self.path}:{line}", f"not JSON ({reason})", _JSON_EXPECTED)

    def _no_object(self, line: int, record: Any) -> RowError:
        kind = {"list": "array", "str": "string", "NoneType": "null"}.get(
            type(record).__name__, type(record).__name__
        )
        return RowError(f"{self.path}:{line}", f"a JSON {kind}, not an object", _JSON_EXPECTED)

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
        """Return the beginning of the file, unpacked."""
        with self._mistakes_named(), self._open_bytes() as stream:
            return stream.read(num_bytes)

    def about_rows(self) -> int:
        """Estimate the number of rows: exact for Parquet, else from lines at the beginning."""
        if self.format == "parquet":
            import pyarrow.parquet

            with self._mistakes_named():
                return pyarrow.parquet.ParquetFile(self.file).metadata.num_rows
        sample = self.sample(1 << 18)
        lines = max(sample.count(b"\n") or sample.count(b"\r"), 1)
        size = os.path.getsize(self.file)
        if self.file.lower().endswith(".gz"):
            with open(self.file, "rb") as stream:
                stream.seek(-4, os.SEEK_END)  # the unpacked size modulo 2 ** 32 (RFC 1952)
                size = int.from_bytes(stream.read(4), "little")
        return max(size * lines // max(len(sample), 1), 1)

    def names_of(self, first: list[str]) -> tuple[str, ...]:
        """Return the names of the columns, given the first row; see `columns`."""
        written = [cell.strip() if self.header else "" for cell in first]
        names: list[str] = []
        for number, name in enumerate(written, 1):
            if not name or written.count(name) > 1:
                name = str(number)
                while name in written or name in names:  # a column may be called "2"
                    name += "_"
            names.append(name)
        return tuple(names)

    def rows_in(self, text: str, on_problem: OnProblem = raise_problem) -> Iterator[list[str]]:
        """Yield the rows of a text as this CSV or TSV file would give them, header included."""
        stream = io.StringIO(text, newline=self._newline(text))
        for _, cells in self._parsed(stream, on_problem):
            yield cells

    def _newline(self, beginning: str) -> str:
        """Return the `newline` argument with which this file's lines are read."""
        # The csv module wants line ends as they are. Without quotes a row ends at "\n", so that a
        # carriage return in a text does not break a row in two; unless there is no "\n" at all.
        if self.format in ("csv", "tsv") and self.quoting != "none":
            return ""
        return "\r" if "\r" in beginning and "\n" not in beginning else "\n"

    def _open_text(self, errors: str = "strict") -> io.TextIOWrapper:
        codec = codec_of(self.encoding)
        beginning = self.sample(_DETECTION_BYTES).decode(codec, "replace")
        newline = self._newline(beginning)
        return io.TextIOWrapper(self._open_bytes(), encoding=codec, errors=errors, newline=newline)

    @contextlib.contextmanager
    def _mistakes_named(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            if self.format == "parquet":
                raise DataError(f"{self.path}: a string is not UTF-8: {error.reason}") from None
            raise _UndecodableError from None
        except FileNotFoundError:
            raise missing_file(self.path) from None
        except PermissionError:
            raise DataError(
                f"{self.path}: no permission to read the file; change its mode or its owner"
            ) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self.path}: not a whole gzip file: {error}") from None
        except (OSError, ValueError) as error:
            # pyarrow's errors derive from these two.
            if self.format == "parquet":
                raise DataError(f"{self.path}: no Parquet file can be read: {error}") from None
            if isinstance(error, OSError):
                raise DataError(f"{self.path}: cannot be read: {error.strerror}") from None
            raise

    def _no_rows(self) -> DataError:
        return DataError(f"{self.path}: the file is empty, expected rows")

    def _ragged(self, line: int, found: int, first_line: int, expected: int) -> RowError:
        like = "the header" if self.header else "the first row"
        quotes = "" if self.quoting == "none" else f"; {_QUOTES_ARE_TEXT}"
        return RowError(
            f"{self.path}:{line}",
            f"{_fields(found)}, expected {expected} as in {like} (line {first_line})",
            f"fix the line, or check data.delimiter={self.delimiter!r} and "
            f"data.quoting={self.quoting}{quotes}",
        )

    def _wrong_header(self, line: int, found: int, expected: int) -> RowError:
        return RowError(
            f"{self.path}:{line}",
            f"the header has {_fields(found)}, and the rows have {expected}",
            "complete the header (a column without a name may be row numbers), or check "
            f"data.delimiter={self.delimiter!r} and data.quoting={self.quoting}; if backslashes "
            "escape delimiters in this file, use data.quoting=backslash",
        )


def _after_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


_BLANKS = re.compile(r"[ \t\r\n]*")
_JSON_EXPECTED = (
    'expected one object a line, such as {"text": "fine", "label": "pos"}, or one array of objects'
)


class _UndecodableError(Exception):
    """A byte is not in the encoding of the file; the file is read again to find its line."""


def _fields(count: int) -> str:
    return f"{count} field" if count == 1 else f"{count} fields"


def is_separator_line(line: str) -> bool:
    """Return whether a first line is Excel's `sep=;`, which is no row."""
    return separator_in(line) is not None


def separator_in(line: str) -> str | None:
    """Return the delimiter that Excel's first line `sep=;` names, else None."""
    match = re.fullmatch(r'"?sep=(.)"?[\r\n]*', line, re.IGNORECASE)
    return match[1] if match else None


def fit_row(cells: list[str], header: list[str] | None, width: int) -> list[str] | None:
    """Return a row with `width` cells where nothing is lost by it, else None.

    Empty cells beyond the last column are dropped, as programs that end each row with a delimiter
    write them; columns without a name at the end may be missing.

    Args:
        cells: the row as it is written.
        header: the first row if it names the columns, else None.
        width: the number of columns.
    """
    if len(cells) > width:
        return None if any(cell.strip() for cell in cells[width:]) else cells[:width]
    if header is None or any(name.strip() for name in header[len(cells) :]):
        return None
    return cells + [""] * (width - len(cells))


def _whole_characters(value: Any) -> Any:
    """Replace half a surrogate pair, which JSON can escape and no encoding can write, by U+FFFD."""
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
    """Return the table at `path` with every `auto` resolved; nothing is read yet.

    Raises:
        DataError: the ending names no format, or the settings contradict each other.
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
    """Return the format that the ending of a file names, `.gz` aside.

    Raises:
        DataError: the ending names none.
    """
    stem = path[:-3] if path.lower().endswith(".gz") else path
    ending = os.path.splitext(stem)[1].lower()
    if ending not in FILE_ENDINGS:
        raise DataError(
            f"{path}: the ending {ending!r} names no format; use --set data.format=csv, tsv, json, "
            f"jsonl or parquet (known endings: {', '.join(FILE_ENDINGS)})"
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
    """Yield the rows of a CSV, TSV, JSON or Parquet file with all their columns.

    Args:
        path: the file; may begin with `~`, and a text format may end in `.gz`.
        format, delimiter, quoting, header, encoding: as the settings of section `data`.

    Yields:
        The line on which a row begins (of a Parquet file the row), from 1, and column → value:
        strings from CSV and TSV, values as they are from JSON and Parquet. Columns without
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
