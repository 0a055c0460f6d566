"""JSON files: one object a line or one array of objects, streamed with the lines of the objects."""

import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from textclf.errors import OnProblem, RowError

_CHUNK_CHARACTERS = 1 << 16  # read at a time from an array
_BLANKS = re.compile(r"[ \t\r\n]*")
_EXPECTED = (
    'expected one object a line, such as {"text": "fine", "label": "pos"}, or one array of objects'
)


def object_lines(
    stream: io.TextIOBase, path: str, on_problem: OnProblem
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of every line that is not blank.

    Args:
        stream: the text of the file.
        path: the file, for messages.
        on_problem: called with the error of each line that holds no object.
    """
    for line, text in enumerate(stream, 1):
        if text.isspace():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            on_problem(_not_json(path, line, error, text))
            continue
        if type(record) is not dict:
            on_problem(_not_an_object(path, line, record))
            continue
        yield line, _replace_surrogates(record) if "\\u" in text else record


def array_objects(
    stream: io.TextIOBase, path: str, on_problem: OnProblem
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield first line and object of every element of an array; memory holds a part of the file.

    Args:
        stream: the text of the file, which begins with `[` after blanks.
        path: the file, for messages.
        on_problem: called with the error of each element that is no object. Reading ends at the
            first error of JSON.
    """
    decode = json.JSONDecoder().raw_decode
    text = stream.read(_CHUNK_CHARACTERS)
    position = text.index("[") + 1
    line, is_first = 1 + text.count("\n", 0, position), True
    while True:
        start = _skip_blanks(text, position)
        has_comma = not is_first and text.startswith(",", start)
        start = _skip_blanks(text, start + 1) if has_comma else start
        error: Exception | None = None
        if text.startswith("]", start) and not has_comma:
            if not _is_blank(itertools.chain([text[start + 1 :]], _chunks(stream))):
                error = ValueError("text follows the end of the array")
                on_problem(_not_json(path, line + text.count("\n", position, start), error))
            return
        if start < len(text) and not (is_first or has_comma):
            error = ValueError("a comma is missing after an object")
        else:
            try:
                record, end = decode(text, start)
            except (ValueError, RecursionError) as failure:
                error = failure
        if error is not None:
            # Twice as much each time, so that a long value is parsed only a few times.
            size = max(_CHUNK_CHARACTERS, len(text) - position)
            if _is_cut(error, text) and (more := stream.read(size)):
                text, position = text[position:] + more, 0
                continue
            on_problem(_not_json(path, line + text.count("\n", position, start), error))
            return
        line += text.count("\n", position, start)
        if type(record) is dict:
            is_escaped = text.find("\\u", start, end) >= 0
            yield line, _replace_surrogates(record) if is_escaped else record
        else:
            on_problem(_not_an_object(path, line, record))
        line += text.count("\n", start, end)
        position, is_first = end, False


def _chunks(stream: io.TextIOBase) -> Iterator[str]:
    return iter(lambda: stream.read(_CHUNK_CHARACTERS), "")


def _is_blank(parts: Iterator[str]) -> bool:
    return not any(part and not part.isspace() for part in parts)


def _is_cut(error: Exception, text: str) -> bool:
    """Return whether a value may be incomplete only because the text read so far ends in it."""
    return isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(text) - 8 or error.msg.startswith("Unterminated string")
    )


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _replace_surrogates(value: Any) -> Any:
    """Replace half a surrogate pair, which JSON can escape and no encoding can write, by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    return value


def _not_json(path: str, line: int, error: Exception, text: str = "") -> RowError:
    reason = error.msg if isinstance(error, json.JSONDecodeError) else error
    if text.rstrip().endswith(",") and "Extra data" in str(reason):
        reason = "a comma follows the object"
    # Only an error in an array, which has no `text`, hides where the next object begins.
    return RowError(f"{path}:{line}", f"not JSON ({reason})", _EXPECTED, ends_reading=not text)


def _not_an_object(path: str, line: int, record: Any) -> RowError:
    kind = {"list": "array", "str": "string", "NoneType": "null"}.get(
        type(record).__name__, type(record).__name__
    )
    return RowError(f"{path}:{line}", f"a JSON {kind}, not an object", _EXPECTED)
