"""Lines of text, read from a file or from a stream as soon as they are available."""

import codecs
import gzip
import io
import os
import re
import select
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from textclf.data.encodings import codec_of
from textclf.data.files import refuse_other_kinds, unreadable_file
from textclf.errors import DataError

READ_BYTES = 1 << 16

# Bytes of a pipe that are joined: about 800 film reviews or 4,000 news.
_JOIN_BYTES = 1 << 20
# A reader at the other end does not notice these delays, and a fast writer fills the pipe again.
_PAUSE_SECONDS = 0.01
_JOIN_SECONDS = 0.05

_NEWLINE = re.compile("\r?\n")
_LINE_END = re.compile("\r\n|\r|\n")


def open_lines(path: str) -> BinaryIO:
    """Open a file of lines, which is decompressed if its name ends in .gz.

    Raises:
        DataError: it cannot be opened.
    """
    full = os.path.expanduser(path)
    try:
        if path.lower().endswith(".gz"):
            return gzip.open(full, "rb")  # type: ignore[return-value]
        return open(full, "rb")
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; choose a file in it") from None
    except OSError as error:
        raise unreadable_file(path, error) from None


def available_bytes(stream: BinaryIO) -> BinaryIO:
    """Return a stream whose `read1` joins what a pipe delivers without a pause.

    A pipe holds 64 KiB, which may be less than a hundred texts. What was read is never held back
    for more than `_JOIN_SECONDS`. A stream that is not a buffered file is returned itself.
    """
    return _AvailableBytes(stream) if isinstance(stream, io.BufferedReader) else stream  # type: ignore[return-value]


class _AvailableBytes:
    """Binary stream whose `read1` returns what is available, up to `_JOIN_BYTES`."""

    def __init__(self, stream: io.BufferedReader):
        self._stream = stream
        self.fileno = stream.fileno

    def read1(self, size: int) -> bytes:
        """Return bytes, at least one unless the stream has ended; `size` of one system call."""
        parts = [self._stream.read1(size)]
        num_bytes, end = len(parts[0]), time.monotonic() + _JOIN_SECONDS
        while parts[-1] and num_bytes < _JOIN_BYTES and self._is_ready(end):
            parts.append(self._stream.read1(size))
            num_bytes += len(parts[-1])
        return b"".join(parts)

    def _is_ready(self, end: float) -> bool:
        """Return True if the stream has bytes or ends, after a short wait before time `end`."""
        seconds = min(end - time.monotonic(), _PAUSE_SECONDS)
        try:
            return seconds > 0 and bool(select.select([self._stream], [], [], seconds)[0])
        except (OSError, ValueError):  # not a stream on which this system can wait
            return False


def decode_lines(
    stream: Any,
    encoding: str | None = None,
    *,
    name: str = "stdin",
    on_note: Callable[[str], None] = lambda note: None,
) -> Iterator[list[str]]:
    """Yield lists of lines as soon as they are available.

    Lines end with LF or CR LF; if the first line that ends does so with CR, with any of the three.

    Args:
        stream: a binary stream with `read1`.
        encoding: None for UTF-8, or UTF-16 after a byte order mark.
        name: name of the stream in messages.
        on_note: called with a note about the encoding if it was detected.

    Raises:
        DataError: the stream cannot be read, is not in this encoding, or is not text.
    """
    decoder, line_end = None, None
    rest, num_lines = "", 0
    try:
        while True:
            # Returns available bytes, so that a slow writer gets a result for each line.
            data = stream.read1(READ_BYTES)
            if decoder is None:
                refuse_other_kinds(name, data)
                if encoding is None:
                    encoding = _marked_encoding(data)
                    if encoding != "utf-8":
                        on_note(f"{name}: reading as {encoding.upper()}")
                decoder = codecs.getincrementaldecoder(codec_of(encoding))()
            decoded = _decode(decoder, data, encoding or "utf-8", name, num_lines)
            text = rest + decoded
            if "\0" in decoded:
                line = num_lines + 1 + len(_LINE_END.findall(text[: text.index("\0")]))
                raise _nul_character(f"{name}:{line}", encoding)
            if line_end is None and "\n" in text:
                line_end = _NEWLINE  # a carriage return in a line is part of the text
            elif line_end is None and "\r" in (text[:-1] if data else text):
                line_end = _LINE_END
            *lines, rest = [text] if line_end is None else line_end.split(text)
            if not data and rest:
                lines.append(rest)
            num_lines += len(lines)
            if lines:
                yield lines
            if not data:
                return
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(f"{name}: cannot be read ({error}); check the file") from None


def _marked_encoding(beginning: bytes) -> str:
    is_utf_16 = beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf_16 else "utf-8"


def _decode(
    decoder: codecs.IncrementalDecoder, data: bytes, encoding: str, name: str, num_lines: int
) -> str:
    """Decode the next bytes of a stream; no bytes end it.

    Raises:
        DataError: they are not in this encoding.
    """
    try:
        return decoder.decode(data, final=not data)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(encoding, "replace")
        line = num_lines + 1 + len(_LINE_END.findall(before))
        raise DataError(
            f"{name}:{line}: is not {encoding} ({error.reason}); set the encoding with "
            "--set data.encoding=..., for instance latin-1 or gb18030"
        ) from None


def _nul_character(location: str, encoding: str | None) -> DataError:
    return DataError(
        f"{location}: contains a NUL character, so it is not text in {encoding}; choose a text "
        "file, or set the encoding with --set data.encoding=..., for instance utf-16-le"
    )


def note_table(
    lists: Iterator[list[str]],
    name: str,
    settings: Mapping[str, Any],
    on_note: Callable[[str], None],
) -> Iterator[list[str]]:
    """Yield the lists of lines; call `on_note` first if the first line looks like a table.

    Args:
        name: name of the stream in messages.
        settings: section `data` of the training.
    """
    first = next(lists, None)
    if first is None:
        return
    if _looks_like_table(first[0], settings):
        advice = "save the table" if name == "stdin" else "rename the file"
        on_note(
            f"{name}: the first line looks like a table, but each line is classified as one "
            f"text; {advice} with the ending of its format, such as .csv, to read its columns"
        )
    yield first
    yield from lists


def _looks_like_table(line: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a line is JSON or a header with the text columns of the training data."""
    if line.strip() in ("[", "{") or re.match(r"\s*(\[\s*)?\{\s*\"", line):
        return True
    required = set(settings.get("text_columns", ["text"]))
    has_names = settings.get("header", True)
    return has_names and any(
        required <= {cell.strip(' "') for cell in line.split(delimiter)} for delimiter in ",\t;|"
    )
