"""Check and conversion of the value of one setting."""

import contextlib
import math
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from textclf.config.messages import expected, format_value, suggest_fix
from textclf.config.settings import SETTINGS


def check_value(path: str, value: Any) -> Any:
    """Return the value of a setting, checked and converted to built-in types.

        check_value("model.units", numpy.int64(32))    # 32

    Raises:
        ValueError: it is invalid; the message is a sentence without the path.
    """
    with contextlib.suppress(TypeError, ValueError, msgspec.ValidationError):
        return msgspec.convert(_as_texts(path, _plain(value)), SETTINGS[path].declared)
    raise ValueError(
        f"expected {expected(path)}, found {format_value(value)}{suggest_fix(path, value)}"
    )


def _as_texts(path: str, value: Any) -> Any:
    """Convert whole numbers to texts, and one text to a list, if the setting holds these.

    Floats, true and false are not converted: the written form of a Python value is unknown.
    """

    def as_text(value: Any) -> Any:
        return str(int(value)) if _is_whole(value) else value

    alternatives = SETTINGS[path].kinds
    if list[str] in alternatives:
        values = [value] if isinstance(value, str) or _is_whole(value) else value
        return [as_text(item) for item in values] if isinstance(values, list) else values
    return as_text(value) if str in alternatives else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_NUMPY_KINDS = {"b": bool, "i": int, "u": int, "f": float}


def _plain(value: Any, depth: int = 1) -> Any:
    """Convert a value to built-in types, from NumPy types and subclasses.

    Raises:
        TypeError, ValueError: it has or contains another type, or cannot be written to a file.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        value.encode()  # raises on a lone surrogate
        return str.__str__(value)
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise ValueError("a number of more than 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("no number")
        return float(value)  # msgspec does not accept subclasses
    # No setting is deeper, and YAML anchors can make a short file very deep.
    if isinstance(value, Mapping) and depth:
        return {_plain(key, 0): _plain(item, 0) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [_plain(item, 0) for item in value]
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic) and value.dtype.kind in _NUMPY_KINDS:
        return _plain(_NUMPY_KINDS[value.dtype.kind](value))
    if numpy and type(value) is numpy.ndarray and value.ndim == depth:
        return [_plain(item, 0) for item in value]
    raise TypeError(type(value).__name__)
