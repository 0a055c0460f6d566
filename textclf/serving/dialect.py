"""TF Serving's REST format: JSON requests to texts, outputs to JSON.

The rules and messages are those of TF Serving (json_tensor.cc and http_rest_api_handler.cc), so
that a client of this server can move to TF Serving. Messages are quoted with their typing errors.
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
EXPLAIN_SIGNATURE = "explain"
_INT64 = range(-(2**63), 2**63)
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class RequestError(Exception):
    """Request that is answered with an error.

    Attributes:
        code: the HTTP status code.
        closes_connection: True if the connection is closed after the response.
    """

    def __init__(self, code: int, message: str, *, closes_connection: bool = False):
        self.code = code
        self.closes_connection = closes_connection
        super().__init__(message)


class ModelSpec(NamedTuple):
    """Model that a path names, by version or label; without both, its newest version."""

    name: str
    version: int | None
    label: str | None

    def __str__(self) -> str:
        if self.version is None:
            return f"Latest({self.name})"
        return f"Specific({self.name}, {self.version})"


# === Requests ===


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object at the beginning of a body.

    NaN and Infinity are numbers. Bytes after the object are ignored. Invalid UTF-8 in a string
    becomes lone surrogates, which `_text_bytes` turns back: a text may be any bytes.

    Raises:
        RequestError: 400, the body does not begin with a JSON object.
    """
    text = body.decode("utf-8", "surrogateescape")
    start = _WHITESPACE.match(text).end()  # type: ignore[union-attr]
    if start == len(text):
        raise RequestError(400, "JSON Parse error: The document is empty")
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8", "surrogateescape"))
        raise RequestError(400, f"JSON Parse error: {error.msg}. at offset: {offset}") from None
    except RecursionError:
        raise RequestError(400, "JSON Parse error: The document is nested too deeply.") from None
    except ValueError:  # a number of more than 4300 digits
        raise RequestError(400, "JSON Parse error: Number too big to be stored.") from None
    if not isinstance(value, dict):
        raise RequestError(400, f"JSON Value: {_excerpt(value)} Is not object")
    return value


def signature_name(request: Mapping[str, Any]) -> str:
    """Return the signature that a request names, or the default signature.

    Raises:
        RequestError: 400, the name is not a string.
    """
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError(
            400, f"JSON Value: {_excerpt(request)} 'signature_name' key must be a string value."
        )
    return name or DEFAULT_SIGNATURE


def read_texts(request: Mapping[str, Any], input_name: str) -> tuple[list[bytes], str]:
    """Return the texts of a predict request and its form, which its answer has too.

    Args:
        request: {"instances": [text, ...]} or {"instances": [{input_name: text}, ...]} (the row
            form), or {"inputs": [text, ...]} or {"inputs": {input_name: [text, ...]}} (the column
            form), where a text is a string or {"b64": "..."}.
        input_name: the name of the signature's input.

    Returns:
        The texts, [n], and `ROW` or `COLUMN`.

    Raises:
        RequestError: 400, the request has neither form or both, or a value is not a text.
    """
    if ROW in request and COLUMN in request:
        raise RequestError(
            400,
            f"JSON Value: {_excerpt(request)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist ",
        )
    if ROW in request:
        return _read_rows(request, input_name), ROW
    if COLUMN in request:
        return _read_column(request[COLUMN], input_name), COLUMN
    raise RequestError(400, "Missing 'inputs' or 'instances' key")


def _read_rows(request: Mapping[str, Any], input_name: str) -> list[bytes]:
    rows = request[ROW]
    if not isinstance(rows, list):
        raise RequestError(
            400, f"JSON Value: {_excerpt(request)} Excepting 'instances' to be an list/array"
        )
    if not rows:
        raise RequestError(400, f"JSON Value: {_excerpt(request)} No values in 'instances' array")
    are_objects = _is_object(rows[0])
    texts = []
    for index, row in enumerate(rows):
        if are_objects and not _is_object(row):
            message = f"Expecting object but got list at item {index} of input list"
            raise RequestError(400, message)
        if not are_objects and _is_object(row):
            message = f"Expecting value/list but got object at item {index} of input list"
            raise RequestError(400, message)
        location = f"Failed to process element: {index}"
        if are_objects:
            if set(row) != {input_name}:
                raise RequestError(
                    400,
                    f"{location} of 'instances' list. JSON object: {_excerpt(row)} keys must be "
                    f"equal to: {input_name}",
                )
            location += f" key: {input_name}"
            row = row[input_name]
        texts.append(_text_bytes(row, f"{location} of 'instances' list. Error: "))
    return texts


def _read_column(column: Any, input_name: str) -> list[bytes]:
    if _is_object(column):
        if input_name not in column:
            raise RequestError(400, f"Missing named input: {input_name} in 'inputs' object.")
        column = column[input_name]
    if not isinstance(column, list):
        raise RequestError(
            400, f"'inputs' must be a list of texts, of shape [batch], found: {_excerpt(column)}"
        )
    return [_text_bytes(value, "") for value in column]


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and "b64" in value


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _text_bytes(value: Any, location: str) -> bytes:
    """Return the bytes of a string or of {"b64": "..."}.

    Args:
        value: a JSON value.
        location: the beginning of an error message.

    Raises:
        RequestError: 400, the value has another type or is not base64.
    """
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            message = "JSON Parse error: The surrogate pair in string is invalid."
            raise RequestError(400, message) from None
    if _is_base64(value) and isinstance(value["b64"], str):
        try:
            # Both alphabets are accepted, with and without padding.
            encoded = value["b64"].encode("ascii").translate(None, b"=").replace(b"-", b"+")
            encoded = encoded.replace(b"_", b"/")
            return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            message = f"{location}Unable to base64 decode {_excerpt(value)}"
            raise RequestError(400, message) from None
    raise RequestError(
        400,
        f"{location}JSON Value: {_excerpt(value)} Type: {_type_name(value)} is not of expected "
        "type: string",
    )


def read_examples(request: Mapping[str, Any]) -> list[bytes]:
    """Return the examples of a classify request as serialized `tf.Example`s.

    Args:
        request: {"examples": [{feature: value or [value, ...]}, ...]} and optionally "context",
            an object of features for the examples that do not have them.

    Returns:
        Serialized examples, [n].

    Raises:
        RequestError: 400, the request does not have this form, or a feature has values of
            several types.
    """
    examples = request.get("examples")
    if not isinstance(examples, list) or not examples:
        raise RequestError(
            400,
            f"JSON Value: {_excerpt(request)} When method is classify, key 'examples' is expected "
            "and must be an list/array with at least one example",
        )
    context = request.get("context", {})
    for value, role in [(context, "context"), *((example, "example") for example in examples)]:
        if not isinstance(value, dict):
            raise RequestError(400, f"JSON Value: {_excerpt(value)} {role} must be an object")
    return [_serialize_example({**context, **example}) for example in examples]


def _serialize_example(features: Mapping[str, Any]) -> bytes:
    # Imported here, so that the module can be imported without TensorFlow.
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example()
    for name, values in features.items():
        key = _text_bytes(name, "").decode("utf-8", "replace")
        feature = example.features.feature[key]
        types = set()
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) or _is_base64(value):
                feature.bytes_list.value.append(_text_bytes(value, f"Feature: {key} "))
                types.add("bytes")
            elif isinstance(value, bool | int):
                if int(value) not in _INT64:
                    message = f"Feature: {key} has uint64 element. Only int64 is supported."
                    raise RequestError(400, message)
                feature.int64_list.value.append(int(value))
                types.add("int64")
            elif isinstance(value, float):
                with np.errstate(over="ignore"):
                    feature.float_list.value.append(float(np.float32(value)))
                types.add("float")
            else:
                raise RequestError(
                    400,
                    f"Feature: {key} has element with unexpected JSON type: {_type_name(value)}",
                )
        if len(types) > 1:
            raise RequestError(400, f"Unexpected element type in feature: {key}")
    return example.SerializeToString(deterministic=True)


# === Responses ===


def format_predictions(outputs: Mapping[str, np.ndarray], form: str) -> dict[str, Any]:
    """Return the response to a predict request, ready for JSON.

    Args:
        outputs: the outputs of the signature by name, each [n, ...].
        form: `ROW` or `COLUMN`.

    Returns:
        {"predictions": [n values, or n objects if there are several outputs]}, or
        {"outputs": values, or an object of values}.
    """
    columns = {name: _to_list(name, values) for name, values in outputs.items()}
    is_single = len(columns) == 1
    if form == COLUMN:
        return {"outputs": next(iter(columns.values())) if is_single else columns}
    if is_single:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def format_classifications(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the response to a classify request: {"results": [[[label, score], ...], ...]}.

    Args:
        outputs: "classes", string [n, num_classes], and "scores", float32 [n, num_classes].
    """
    classes = _to_list("classes", outputs["classes"])
    scores = outputs["scores"].tolist()
    return {
        "results": [
            [list(pair) for pair in zip(*row, strict=True)]
            for row in zip(classes, scores, strict=True)
        ]
    }


def format_status(states: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """Return the response to a status request.

    Args:
        states: (state, error message) by version number.
    """
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": state,
                "status": {
                    "error_code": "UNKNOWN" if message else "OK",
                    "error_message": message,
                },
            }
            for number, (state, message) in sorted(states.items(), reverse=True)
        ]
    }


def _to_list(name: str, values: np.ndarray) -> list[Any]:
    """Return the values of an output as nested lists; base64 if its name ends in _bytes."""
    if values.dtype != object:
        return values.tolist()
    return _decode_strings(values.tolist(), as_base64=name.endswith("_bytes"))


def _decode_strings(value: Any, *, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_decode_strings(item, as_base64=as_base64) for item in value]
    if as_base64:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace")


def to_json(value: Any) -> bytes:
    """Return the JSON of a response; NaN and Infinity are bare tokens, as TF Serving's are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


# === Values in error messages ===


def _type_name(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "True", False: "False", None: "Null"}[value]
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _excerpt(value: Any) -> str:
    """Return the beginning of a value as JSON, for an error message."""
    try:
        text = json.dumps(_shorten(value), ensure_ascii=True)
    except (RecursionError, ValueError):
        text = "..."
    return text if len(text) <= 256 else text[:256] + "..."


def _shorten(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and depth > 4:
        return "..."
    if isinstance(value, str):
        return value[:256]
    if isinstance(value, list):
        return [_shorten(item, depth + 1) for item in value[:16]]
    if isinstance(value, dict):
        items = list(value.items())[:16]
        return {key[:256]: _shorten(item, depth + 1) for key, item in items}
    return value
