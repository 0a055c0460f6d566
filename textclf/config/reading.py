"""Conversion of YAML text to plain values with their locations, and back.

The YAML library only parses. Scalars are converted here, by the core schema of YAML 1.2: `no` and
dates are texts, `1e-3` is a number. Keys and the scalars of settings that hold texts are kept as
written: a class `007` or `1.0` does not become a number.
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from textclf.config.messages import format_name

_MERGE = "tag:yaml.org,2002:merge"
_STANDARD = "tag:yaml.org,2002:"


class Parsed(NamedTuple):
    """Contents of a YAML text.

    Attributes:
        value: plain values, without unreadable ones.
        locations: section or setting -> "file:line".
        problems: errors in single values and names, as sentences.
        unreadable: settings whose values are left out.
    """

    value: Any
    locations: dict[str, str]
    problems: list[str]
    unreadable: set[str]


def parse(text: str, file_name: str, is_text: Callable[[tuple[str, ...]], bool]) -> Parsed:
    """Read YAML text.

    Args:
        text: one document.
        file_name: name of the file in messages.
        is_text: returns whether the scalar at a path (keys and positions from the root) is kept
            as written; null is always null.

    Raises:
        ValueError: it is not YAML; one sentence that begins with the location.
    """
    reader = _Reader(file_name, is_text)
    value = reader.value(_compose(text, file_name), ())
    for section, name in reader.unreadable:
        if isinstance(value, dict) and isinstance(value.get(section), dict):
            value[section].pop(name, None)  # missing if a second section replaced it
    unreadable = {f"{section}.{name}" for section, name in reader.unreadable}
    return Parsed(value, reader.locations, reader.problems, unreadable)


def parse_value(text: str, *, as_text: bool) -> Any:
    """Read the value of one setting.

    Args:
        text: YAML.
        as_text: whether every scalar in it is kept as a text.

    Raises:
        ValueError: it is not YAML; one sentence.
    """
    reader = _Reader("", lambda path: False, as_text)
    value = reader.value(_compose(text, ""), ())
    if reader.problems:
        raise ValueError(reader.problems[0])
    return value


def _compose(text: str, file_name: str) -> Any:
    """Return the tree of YAML nodes; None for an empty document."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an anchor that is defined twice
            return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = str(error.problem or "not readable").strip().split("\n")[0]
        if problem.startswith("but "):
            problem = f"{error.context} {problem}"
        raise ValueError(_not_yaml(file_name, line, problem, text)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise ValueError(
            _not_yaml(file_name, line, f"the character U+{code:04X} is not allowed in YAML", text)
        ) from None
    except RecursionError:
        raise ValueError(_not_yaml(file_name, 1, "nested too deeply", text)) from None
    except Exception as error:  # the parser raises other types on malformed text
        raise ValueError(
            _not_yaml(file_name, 1, str(error).split("\n")[0] or type(error).__name__, text)
        ) from None


def _not_yaml(file_name: str, line: int, problem: str, text: str) -> str:
    lines = text.splitlines()
    content = lines[line - 1] if line <= len(lines) else ""
    hint = ""
    if re.match(r"\s*\t", content):
        hint = "; indent with spaces, not with tabs"
    elif "mapping values" in problem:
        hint = "; put a text that contains `: ` in quotes"
    elif "another document" in problem:
        hint = "; write one document per file"
    elif "cannot start any token" in problem or "alias" in problem or "anchor" in problem:
        hint = "; put the text in quotes"
    problem = problem if len(problem) <= 120 else problem[:117] + "..."
    return (f"{file_name}:{line}: " if file_name else "") + f"not valid YAML: {problem}{hint}"


class _Reader:
    """Converter of YAML nodes to values; collects locations and problems."""

    def __init__(
        self, file_name: str, is_text: Callable[[tuple[str, ...]], bool], as_text: bool = False
    ):
        self.locations: dict[str, str] = {}
        self.problems: list[str] = []
        self.unreadable: set[tuple[str, str]] = set()  # (section, setting)
        self._file_name = file_name
        self._is_text = is_text
        self._as_text = as_text
        self._open: list[Any] = []  # nodes from the root to the current one
        # Each anchor is converted at most twice: as texts and as values.
        self._converted: dict[tuple[int, bool], Any] = {}

    def value(self, node: Any, path: tuple[str, ...]) -> Any:
        if node is None:
            return None
        if any(node is other for other in self._open):
            self._unreadable(
                node, path, "refers to a value that contains itself; write the value out"
            )
            return None
        key = (id(node), self._is_text(path))
        if key in self._converted and len(path) > 2:
            return self._converted[key]
        self._open.append(node)
        kind = type(node).__name__
        value: Any
        if kind == "MappingNode":
            value = self._mapping(node, path)
        elif kind == "SequenceNode":
            value = [self.value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        else:
            value = self._scalar(node, path)
        self._open.pop()
        self._converted[key] = value
        return value

    def _mapping(self, node: Any, path: tuple[str, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE and not self._as_text:
                for part in self._merged(value_node, path):
                    for key, value in part.items():
                        merged.setdefault(key, value)
                continue
            if type(key_node).__name__ != "ScalarNode":
                self._add_problem(
                    key_node, path, "expected a name before the colon, found a collection"
                )
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            inner = (*path, key)
            if key in lines:
                self._add_problem(
                    key_node,
                    inner,
                    f"is also set in line {lines[key]}; remove one of them",
                )
            lines[key] = line
            if len(inner) <= 2:
                self.locations[".".join(inner)] = f"{self._file_name}:{line}"
            values[key] = self.value(value_node, inner)
        return merged | values

    def _merged(self, node: Any, path: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return the mappings of `<<: *base` or `<<: [*one, *two]`, in order of precedence."""
        value = self.value(node, path)
        parts = value if isinstance(value, list) else [value]
        if all(isinstance(part, dict) for part in parts):
            return parts
        self._add_problem(node, (*path, "<<"), "expected a mapping to merge")
        return []

    def _scalar(self, node: Any, path: tuple[str, ...]) -> Any:
        written, tag = node.value, str(node.tag)
        if self._as_text:
            return written
        if not tag.startswith(_STANDARD):
            self._unreadable(node, path, f"the tag {tag[:40]} is not supported; remove it")
            return written
        if self._is_text(path) and tag != f"{_STANDARD}null":
            return written
        try:
            return _VALUES.get(tag.removeprefix(_STANDARD), str)(written)
        except ValueError:  # `1:30`, `!!int three`, a number of thousands of digits
            return written

    def _unreadable(self, node: Any, path: tuple[str, ...], problem: str) -> None:
        self._add_problem(node, path, problem)
        if len(path) >= 2:
            self.unreadable.add((path[0], path[1]))

    def _add_problem(self, node: Any, path: tuple[str, ...], problem: str) -> None:
        line = node.start_mark.line + 1
        location = f"{self._file_name}:{line}: " if self._file_name else ""
        name = ".".join(format_name(part) for part in path)
        self.problems.append(location + (f"{name}: " if name else "") + problem)


def _parse_int(written: str) -> int:
    digits = written.lower()
    if "_" in digits:
        raise ValueError("YAML 1.2 has no underscores in numbers")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2], 10)
    return sign * int(digits[2:] if base != 10 else digits, base)


def _parse_float(written: str) -> float:
    if "_" in written:
        raise ValueError("YAML 1.2 has no underscores in numbers")
    return float(re.sub(r"\.(inf|nan)$", r"\1", written.lower()))


def _parse_bool(written: str) -> bool:
    if written.lower() not in ("true", "false"):  # yes and on are YAML 1.1
        raise ValueError(written)
    return written.lower() == "true"


_VALUES = {
    "int": _parse_int,
    "float": _parse_float,
    "bool": _parse_bool,
    "null": lambda written: None,
}


# === Writing ===

_PLAIN = re.compile(r"[A-Za-z_$][\w$./{}-]*", re.ASCII)
_NOT_TEXT = re.compile(r"(?i:true|false|null|yes|no|on|off|y|n)")


def to_yaml(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return sections of plain values as YAML text, which `Config.from_yaml` reads back."""
    lines = []
    for section, settings in values.items():
        lines.append(f"{_written(section)}:" + ("" if settings else " {}"))
        lines += [f"  {_written(name)}: {_written(value)}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and not _NOT_TEXT.fullmatch(value):
            return value
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(k)}: {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        # In brackets `,` and `}` end an unquoted text.
        items = (_quoted(item) if isinstance(item, str) else _written(item) for item in value)
        return "[" + ", ".join(items) + "]"
    if isinstance(value, float):
        # YAML 1.1 reads 1e-05 as a text.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return json.dumps(value)


def _quoted(text: str) -> str:
    """Return a text in double quotes, with escapes for characters that are not printable."""
    return "".join(
        ['"', *(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in text), '"']
    )


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def read_text(path: Path) -> str:
    """Return the text of a configuration file; a UTF-8 byte order mark is accepted.

    Raises:
        ValueError: it is not UTF-8; one sentence that begins with the location.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError(f"{path}: is UTF-16; save it as UTF-8") from None
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: is not UTF-8 (byte 0x{content[error.start]:02x}); save it as UTF-8"
        ) from None
