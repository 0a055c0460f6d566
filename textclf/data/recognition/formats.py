"""The encoding of a file and the kind of JSON that it holds."""

import codecs
import itertools
import json
import re
from typing import Any

from textclf.data.encodings import codec_of, guess_encoding, is_mostly_utf_8
from textclf.errors import DataError

# Encodings that the bytes prove; others are guesses.
CERTAIN_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")

_OBJECT = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:')
_ARRAY = re.compile(r"\s*\[\s*\{\s*[\"}]")


def decode_sample(
    path: str, sample: bytes, is_whole: bool, known: str | None = None
) -> tuple[str, str]:
    """Return the encoding of a sample and its text.

    Args:
        path: the file, for messages.
        sample: the beginning of the file.
        is_whole: whether the sample is the whole file.
        known: the encoding, if it is known.

    Raises:
        DataError: no encoding fits, or the file is not text.
    """
    if known is not None:
        # The reader reports the lines that are not in this encoding.
        return known, sample.decode(codec_of(known), "replace")
    encoding = guess_encoding(sample)
    if encoding not in CERTAIN_ENCODINGS and is_mostly_utf_8(sample):
        # The reader reports the lines that are not UTF-8.
        return "utf-8", sample.decode("utf-8", "replace")
    beginning = sample[: 1 << 16].decode("latin-1")
    try:
        text = codecs.getincrementaldecoder(codec_of(encoding))().decode(sample, is_whole)
        beginning, problem = text[: 1 << 16], None
    except UnicodeDecodeError as error:
        if encoding in CERTAIN_ENCODINGS:
            return encoding, sample.decode(encoding, "replace")  # the reader reports the line
        line = 1 + (sample[: error.start].count(b"\n") or sample[: error.start].count(b"\r"))
        text, problem = "", f"line {line} is not {encoding}, the best guess"
    controls = len(re.findall(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", beginning))
    if controls > len(beginning) / 20:
        raise DataError(
            f"{path}: the file is not text, expected CSV, TSV, JSON or Parquet; export the table "
            "as CSV (UTF-8)"
        )
    if problem is not None:
        raise DataError(
            f"{path}: the encoding could not be recognised ({problem}); save the file as UTF-8, "
            "or set its encoding in data.encoding"
        )
    return encoding, text


def json_format(text: str) -> str | None:
    """Return `json` for an array of objects, `jsonl` for objects, None for other text."""
    text = text[: 1 << 20].lstrip("\ufeff \t\r\n")
    if _ARRAY.match(text):
        return "json"
    lines = itertools.islice((line for line in text.splitlines() if line.strip()), 20)
    are_objects = list(map(_is_object_line, lines))
    if sum(are_objects) * 2 > len(are_objects):
        return "jsonl"
    first, end = _first_object(text)
    return "jsonl" if first and "\n" in text[:end] else None


def _is_object_line(line: str) -> bool:
    """Return whether a line is an object, valid or not, and not the first cell of a CSV row."""
    if not _OBJECT.match(line):
        return False
    first, end = _first_object(line.lstrip())
    return first is None or line.lstrip()[end:].strip() in ("", ",")


def _first_object(text: str) -> tuple[dict[str, Any] | None, int]:
    """Return the object at the beginning of a text, or None, and the position of its end."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None, 0
    return (value, end) if isinstance(value, dict) else (None, 0)
