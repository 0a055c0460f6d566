"""TF Serving's REST dialect: from a request's bytes to texts, from answers to JSON.

Its rules and messages are those of json_tensor.cc and http_rest_api_handler.cc of TF Serving, so
that a client which is answered here is answered there. Nothing here knows HTTP or TensorFlow's
runtime.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

ROW, COLUMN = "instances", "inputs"
DEFAULT_SIGNATURE = "serving_default"
_INT64 = range(-(2**63), 2**63)
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        code: of HTTP.
        closes: whether the connection ends with the answer.
    """

    def __init__(self, code: int, message: str, *, closes: bool = False):
        self.code = code
        self.closes = closes
        super().__init__(message)


class Target(NamedTuple):
    """What a path means: a model, of it a version or a label (else the newest), and the verb."""

    name: str
    version: int | None
    label: str | None
    verb: str

    def spec(self) -> str:
        """As TF Serving names it in messages."""
        if self.version is None:
            return f"Latest({self.name})"
        return f"Specific({self.name}, {self.version})"


_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<verb>:predict|:classify|:regress|/metadata|)",
    re.IGNORECASE,
)
_VERBS = {"POST": (":predict", ":classify", ":regress"), "GET": ("/metadata", "")}


def target(method: str, path: str) -> Target:
    """Reads a path below /v1/.

    Raises:
        RequestError: 400, as TF Serving answers whatever it does not know.
    """
    match = _PATH.fullmatch(path)
    verb = match["verb"].lower() if match else None
    if match is None or verb not in _VERBS.get("GET" if method == "HEAD" else method, ()):
        raise RequestError(400, f"Malformed request: {method} {path[:256]}")
    version = None if match["version"] is None else int(match["version"])
    return Target(match["name"], version, match["label"], verb.strip(":/") or "status")


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a body begins with; bare NaN and Infinity are numbers.

    Bytes that are not UTF-8 stay in the strings as halves of surrogate pairs, which `_text` turns
    back: texts are any bytes.

    Raises:
        RequestError: 400.
    """
    written = body.decode("utf-8", "surrogateescape")
    start = _WHITESPACE.match(written).end()  # type: ignore[union-attr]
    if start == len(written):
        raise RequestError(400, "JSON Parse error: The document is empty")
    try:
        # What follows the document is left alone.
        value, _ = _DECODER.raw_decode(written, start)
    except json.JSONDecodeError as error:
        offset = len(written[: error.pos].encode("utf-8", "surrogateescape"))
        raise RequestError(400, f"JSON Parse error: {error.msg}. at offset: {offset}") from None
    except RecursionError:
        raise RequestError(400, "JSON Parse error: The document is nested too deeply.") from None
    except ValueError:  # a number of thousands of digits
        raise RequestError(400, "JSON Parse error: Number too big to be stored.") from None
    if not isinstance(value, dict):
        raise RequestError(400, f"JSON Value: {_shown(value)} Is not object")
    return value


def signature_name(request: Mapping[str, Any]) -> str:
    """The signature that a request names, or the default one.

    Raises:
        RequestError: 400, it is no string.
    """
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError(
            400, f"JSON Value: {_shown(request)} 'signature_name' key must be a string value."
        )
    return name or DEFAULT_SIGNATURE


def texts_of(request: Mapping[str, Any], input_name: str) -> tuple[list[bytes], str]:
    """The texts of a predict request, and its form, which is that of the answer.

    Args:
        request: {"instances": [text, ...]} or {"instances": [{input_name: text}, ...]} (the row
            form), or {"inputs": [text, ...]} or {"inputs": {input_name: [text, ...]}} (the column
            form), where a text is a string or {"b64": "..."}.
        input_name: the one input of the signature.

    Returns:
        The texts, [n], and `ROW` or `COLUMN`.

    Raises:
        RequestError: 400.
    """
    if ROW in request and COLUMN in request:
        raise RequestError(
            400,
            f"JSON Value: {_shown(request)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist ",
        )
    if ROW in request:
        return _rows(request[ROW], request, input_name), ROW
    if COLUMN in request:
        return _column(request[COLUMN], input_name), COLUMN
    raise RequestError(400, "Missing 'inputs' or 'instances' key")


def _rows(rows: Any, request: Mapping[str, Any], input_name: str) -> list[bytes]:
    if not isinstance(rows, list):
        raise RequestError(
            400, f"JSON Value: {_shown(request)} Excepting 'instances' to be an list/array"
        )
    if not rows:
        raise RequestError(400, f"JSON Value: {_shown(request)} No values in 'instances' array")
    named = _is_object(rows[0])
    texts = []
    for index, row in enumerate(rows):
        if named and not _is_object(row):
            message = f"Expecting object but got list at item {index} of input list"
            raise RequestError(400, message)
        if not named and _is_object(row):
            message = f"Expecting value/list but got object at item {index} of input list"
            raise RequestError(400, message)
        where = f"Failed to process element: {index}"
        if named:
            if set(row) != {input_name}:
                raise RequestError(
                    400,
                    f"{where} of 'instances' list. JSON object: {_shown(row)} keys must be equal "
                    f"to: {input_name}",
                )
            where += f" key: {input_name}"
            row = row[input_name]
        texts.append(_text(row, f"{where} of 'instances' list. Error: "))
    return texts


def _column(column: Any, input_name: str) -> list[bytes]:
    if _is_object(column):
        if input_name not in column:
            raise RequestError(400, f"Missing named input: {input_name} in 'inputs' object.")
        column = column[input_name]
    if not isinstance(column, list):
        raise RequestError(
            400, f"'inputs' must be a list of texts, of shape [batch], found: {_shown(column)}"
        )
    return [_text(value, "") for value in column]


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and "b64" in value


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _text(value: Any, where: str) -> bytes:
    """The bytes of a string or of {"b64": "..."}."""
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            message = "JSON Parse error: The surrogate pair in string is invalid."
            raise RequestError(400, message) from None
    if _is_base64(value) and isinstance(value["b64"], str):
        try:
            written = value["b64"].encode("ascii").translate(None, b"=").replace(b"-", b"+")
            written = written.replace(b"_", b"/")
            return base64.b64decode(written + b"=" * (-len(written) % 4), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            message = f"{where}Unable to base64 decode {_shown(value)}"
            raise RequestError(400, message) from None
    raise RequestError(
        400,
        f"{where}JSON Value: {_shown(value)} Type: {_type(value)} is not of expected type: string",
    )


def examples_of(request: Mapping[str, Any]) -> list[bytes]:
    """The serialized `tf.Example`s of a classify request.

    Args:
        request: {"examples": [{feature: value or [value, ...]}, ...]}, and optionally "context",
            an object of features that every example has unless it names them itself.

    Raises:
        RequestError: 400.
    """
    examples = request.get("examples")
    if not isinstance(examples, list) or not examples:
        raise RequestError(
            400,
            f"JSON Value: {_shown(request)} When method is classify, key 'examples' is expected "
            "and must be an list/array with at least one example",
        )
    context = request.get("context", {})
    for value, what in [(context, "context"), *((example, "example") for example in examples)]:
        if not isinstance(value, dict):
            raise RequestError(400, f"JSON Value: {_shown(value)} {what} must be an object")
    return [_example({**context, **example}) for example in examples]


def _example(features: Mapping[str, Any]) -> bytes:
    # TensorFlow is loaded where requests are read, and this module stays light without it.
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example()
    for name, values in features.items():
        key = _text(name, "").decode("utf-8", "replace")
        feature = example.features.feature[key]
        kinds = set()
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) or _is_base64(value):
                feature.bytes_list.value.append(_text(value, f"Feature: {key} "))
                kinds.add("bytes")
            elif isinstance(value, bool | int):
                if int(value) not in _INT64:
                    message = f"Feature: {key} has uint64 element. Only int64 is supported."
                    raise RequestError(400, message)
                feature.int64_list.value.append(int(value))
                kinds.add("int64")
            elif isinstance(value, float):
                with np.errstate(over="ignore"):
                    feature.float_list.value.append(float(np.float32(value)))
                kinds.add("float")
            else:
                raise RequestError(
                    400,
                    f"Feature: {key} has element with unexpected JSON type: {_type(value)}",
                )
        if len(kinds) > 1:
            raise RequestError(400, f"Unexpected element type in feature: {key}")
    return example.SerializeToString(deterministic=True)


def predictions(answers: Mapping[str, np.ndarray], form: str) -> dict[str, Any]:
    """The answer to a predict request, ready for JSON.

    Args:
        answers: the outputs of the signature, each [n, ...].
        form: `ROW` or `COLUMN`.

    Returns:
        {"predictions": [n values, or n objects if there are several outputs]}, or
        {"outputs": values, or an object of values}.
    """
    columns = {name: _column_values(name, values) for name, values in answers.items()}
    single = len(columns) == 1
    if form == COLUMN:
        return {"outputs": next(iter(columns.values())) if single else columns}
    if single:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def classifications(answers: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The answer to a classify request: {"results": [[[label, score], ...], ...]}."""
    classes = _column_values("classes", answers["classes"])
    scores = answers["scores"].tolist()
    return {
        "results": [
            [list(pair) for pair in zip(*row, strict=True)]
            for row in zip(classes, scores, strict=True)
        ]
    }


def _column_values(name: str, values: np.ndarray) -> list[Any]:
    if values.dtype != object:
        return values.tolist()
    return _decoded(values.tolist(), name.endswith("_bytes"))


def _decoded(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_decoded(each, as_base64) for each in value]
    if as_base64:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace")


def to_json(value: Any) -> bytes:
    """JSON of an answer; numbers that are not finite become bare tokens, as TF Serving's do."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return written.encode("utf-8", "backslashreplace")


def _type(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "True", False: "False", None: "Null"}[value]
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _shown(value: Any) -> str:
    """The beginning of a value, for a message: a message is no echo of megabytes."""
    try:
        written = json.dumps(_shortened(value), ensure_ascii=True)
    except (RecursionError, ValueError):
        written = "..."
    return written if len(written) <= 256 else written[:256] + "..."


def _shortened(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and depth > 4:
        return "..."
    if isinstance(value, str):
        return value[:256]
    if isinstance(value, list):
        return [_shortened(each, depth + 1) for each in value[:16]]
    if isinstance(value, dict):
        items = list(value.items())[:16]
        return {key[:256]: _shortened(each, depth + 1) for key, each in items}
    return value
