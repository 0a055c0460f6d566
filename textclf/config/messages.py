"""Phrases of messages: names and values of settings, expected types, and suggestions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from msgspec import Meta

from textclf.config.settings import PATH_SETTINGS, REMOVED_SETTINGS, SECTIONS, SETTINGS, choices
from textclf.errors import did_you_mean

# === Names and values ===


def format_name(name: str) -> str:
    """Return a section's or setting's name for a message, quoted if it is unusual."""
    return name if re.fullmatch(r"[\w-]{1,60}", name) else format_value(name)


def format_value(value: Any) -> str:
    """Return a value for a message, on one line of at most 40 characters."""
    parts: list[str] = []
    _show(value, parts)
    text = "".join(parts)
    return text if len(text) <= 40 else text[:37] + "..."


def _show(value: Any, parts: list[str]) -> None:
    # Stops at the maximum length: YAML anchors can make a short file very large.
    if sum(map(len, parts)) > 40:
        return
    if isinstance(value, str):
        parts.append(repr(value[:60]))
    elif isinstance(value, Mapping):
        for index, (key, item) in enumerate(value.items()):
            parts.append(", " if index else "{")
            _show(key, parts)
            parts.append(": ")
            _show(item, parts)
            if sum(map(len, parts)) > 40:
                break
        parts.append("}" if value else "{}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            parts.append(", " if index else "[")
            _show(item, parts)
            if sum(map(len, parts)) > 40:
                break
        parts.append("]" if value else "[]")
    elif isinstance(value, bool) or value is None:
        parts.append({True: "true", False: "false", None: "null"}[value])
    elif isinstance(value, int) and abs(value) >= 10**30:
        parts.append("a number of more than 30 digits")
    else:
        parts.append(" ".join(repr(value).split()))


def format_path(path: str) -> str:
    """Return "section.setting" for a message, each name quoted if it is unusual."""
    return ".".join(format_name(part) for part in path.split(".", 1))


# === Types ===


def expected(path: str) -> str:
    """Describe the values that a setting accepts: "a number above 0"."""
    words = [_describe_type(path, kind) for kind in SETTINGS[path].kinds]
    if choices(path) and len(words) == 1:
        return f"one of {words[0]}"
    return " or ".join(words)


def _describe_type(path: str, kind: Any) -> str:
    limits = SETTINGS[path].limits
    is_never_empty = any(limit.min_length for limit in limits)
    if get_origin(kind) is Literal:
        function = " or package.module:function" if path == "model.encoder" else ""
        return ", ".join(get_args(kind)) + function
    if kind == dict[str, str]:
        return "a label for each label, such as {'0': neg}"
    if get_origin(kind) is dict:
        return "a number of at least 0 for each class"
    if get_origin(kind) is list:
        return "a list of at least one text" if is_never_empty else "a list of texts"
    if kind is str:
        if path in PATH_SETTINGS:
            return "a path"
        if path == "data.delimiter":
            return "one character (no line break)"
        return "a text that is not empty" if is_never_empty else "a text"
    words = {bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}
    return words[kind] + (_describe_range(limits) if kind in (int, float) else "")


def _describe_range(limits: Iterable[Meta]) -> str:
    words = [
        f"{word} {bound}"
        for limit in limits
        for word, bound in (
            ("of at least", limit.ge),
            ("above", limit.gt),
            ("at most", limit.le),
            ("below", limit.lt),
        )
        if bound is not None
    ]
    return " " + " and ".join(words) if words else ""


# === Suggestions ===


def unknown_section(section: str) -> str:
    """Return the message for an unknown section."""
    homes = [path for path in SETTINGS if path.split(".")[1] == section]
    if homes:
        home = homes[0].split(".")[0]
        return f"unknown section; it is a setting of {home}: move it below `{home}:`"
    hint = did_you_mean(section.lower(), SECTIONS, 0.5, prefix="")
    return "unknown section" + (hint or f"; expected one of {', '.join(SECTIONS)}")


def unknown_setting(path: str) -> str:
    """Return the message for an unknown or removed setting, written as "section.setting"."""
    if path in REMOVED_SETTINGS:
        return REMOVED_SETTINGS[path].advice
    section, _, name = path.partition(".")
    if section not in SECTIONS:
        # The likeliest error is a setting without its section (`--set epochs=3`).
        hint = _other_section(path) or did_you_mean(path, SETTINGS, prefix="")
        example = "; expected section.setting=value, for instance training.epochs=3"
        return "unknown setting" + (hint or example)
    if not name:
        return f"is a section; expected {section}.SETTING=VALUE"
    known = SECTIONS[section].__struct_fields__
    hint = did_you_mean(name, known, prefix=f"{section}.") or _other_section(name)
    return "unknown setting" + (hint or f"; the settings of {section} are {', '.join(known)}")


def _other_section(name: str) -> str:
    """Return a suggestion for the name of a setting of another section, or ""."""
    paths = [path for path in SETTINGS if path.split(".")[1] == name]
    return f"; did you mean {paths[0]}?" if paths else ""


def suggest_fix(path: str, value: Any) -> str:
    """Return the likeliest fix of a value, as the end of a sentence."""
    alternatives = SETTINGS[path].kinds
    words = choices(path)
    if words and isinstance(value, str):
        return did_you_mean(value.lower(), words, 0.5, prefix="")
    is_number = isinstance(value, int | float)
    if is_number and {str, list[str]} & {*alternatives}:
        return "; put it in quotes"
    if list[str] in alternatives and isinstance(value, list) and value:
        return "; put every entry in quotes"
    if isinstance(value, float) and int in alternatives and value.is_integer():
        return f"; write {int(value)}" if abs(value) < 1e15 else ""
    if isinstance(value, str) and bool in alternatives:
        truth = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower())
        return f"; write {truth}" if truth else ""
    return ""
