"""Merging of layers of plain values into a configuration, with all errors reported together."""

import contextlib
import math
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from textclf.config import reading
from textclf.config.contradictions import ANY_DATA, CHECKS, TRAINING_DATA
from textclf.config.messages import (
    expected,
    format_path,
    format_value,
    suggest_fix,
    unknown_section,
    unknown_setting,
)
from textclf.config.rules import RULES, Rule, depends_on
from textclf.config.settings import SECTIONS, SETTINGS, Sections, choices
from textclf.errors import ConfigError


class Layer(NamedTuple):
    """Values that take precedence over those of earlier layers.

    Attributes:
        values: section -> setting -> plain value.
        locations: section or setting -> its location, such as "reviews.yaml:7" or "--set".
        name: the layer in messages, such as "reviews.yaml"; "" for none.
        unreadable: settings whose values were already reported as invalid.
        fixed_paths: path setting -> absolute path; without an entry, a relative path is relative
            to the current folder.
    """

    values: Any
    locations: Mapping[str, str]
    name: str = ""
    unreadable: frozenset[str] = frozenset()
    fixed_paths: Mapping[str, str] = types.MappingProxyType({})


class Resolved(NamedTuple):
    """Checked values of all layers.

    Attributes:
        values: section -> setting -> value, of the settings that are set.
        notices: sentences about settings that an override disabled and that were dropped.
        fixed_paths: as in `Layer`, of the paths of the base that were not overridden.
    """

    values: dict[str, dict[str, Any]]
    notices: tuple[str, ...]
    fixed_paths: dict[str, str]


# "section.setting=value" as on the command line, or "section.setting" -> value.
Overrides = Sequence[str] | Mapping[str, Any]


def check_sections(overrides: Overrides, sections: Sequence[str]) -> None:
    """Check that overrides are in the sections that are read for a trained model.

        check_sections({"data.encoding": "latin-1"}, ("data", "evaluation"))

    Raises:
        ConfigError: lists the others.
    """
    names = (override.partition("=")[0].strip() for override in overrides)
    problems = [
        f"{name}: only settings of {' and '.join(sections)} can be overridden; train again to "
        "change other settings"
        for name in names
        if name.partition(".")[0] not in sections
    ]
    if problems:
        raise ConfigError(problems)


def resolve(
    base: Layer, overrides: Overrides, problems: Sequence[str], *, is_experiment: bool
) -> Resolved:
    """Apply the overrides to the base and check the result.

    Args:
        base: the values of a file or a dictionary.
        overrides: "section.setting=value", where the last value of a setting takes effect; or
            "section.setting" -> value.
        problems: errors of the base that are already known.
        is_experiment: whether training data are required.

    Raises:
        ConfigError: lists all errors.
    """
    return _Resolution(base, overrides, problems).finish(is_experiment)


class _Resolution:
    def __init__(self, base: Layer, overrides: Overrides, problems: Sequence[str]):
        self.problems = list(problems)
        self.notices: list[str] = []
        self._name = base.name
        self._values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self._base_paths = base.fixed_paths
        self._base_values: dict[str, dict[str, Any]] = {}  # before the overrides
        self._overridden: set[str] = set()
        self._locations: dict[str, str] = {}
        self._invalid = set(base.unreadable)  # settings with an invalid value
        self._incomplete_sections: set[str] = set()  # sections with errors in names or structure
        self._add_layer(base)
        # An invalid value of the base is reported even if an override replaces it.
        self._check_values()
        self._base_values = {section: dict(settings) for section, settings in self._values.items()}
        top = _layer_of(overrides, self.problems)
        self._overridden = set(top.locations)
        self._invalid -= self._overridden
        self._add_layer(top)
        self._check_values(self._overridden)

    def finish(self, is_experiment: bool) -> Resolved:
        self._drop_unread()
        self._check_contradictions(is_experiment)
        if self.problems:
            raise ConfigError(sorted(self.problems, key=self._line_number))
        return Resolved(self._values, tuple(self.notices), self._fixed_paths())

    def _fixed_paths(self) -> dict[str, str]:
        """Return the fixed paths of the settings that come from the base."""
        fixed = {}
        for setting, path in self._base_paths.items():
            section, name = setting.split(".")
            if setting not in self._overridden and self._values[section].get(name) is not None:
                fixed[setting] = path
        return fixed

    def _add_problem(self, path: str, message: str) -> None:
        location = self._locations.get(path) or self._name
        name = format_path(path)
        self.problems.append(
            (f"{location} " if location == "--set" else f"{location}: " if location else "")
            + f"{name}: {message}"
        )

    def _line_number(self, problem: str) -> float:
        """Return the line of a problem, its sort key; problems of overrides come last."""
        match = re.match(re.escape(self._name) + r":(\d+): ", problem)
        return int(match[1]) if match and self._name else math.inf

    # === Names and values of single settings ===

    def _add_layer(self, layer: Layer) -> None:
        self._locations |= layer.locations
        if not isinstance(layer.values, Mapping):
            prefix = f"{layer.name}: " if layer.name else ""
            self.problems.append(
                f"{prefix}expected sections such as `data:` and `model:`, "
                f"found {format_value(layer.values)}"
            )
            self._incomplete_sections |= set(SECTIONS)
            return
        for key, settings in layer.values.items():
            section = _key_text(key)
            if section not in SECTIONS:
                self._incomplete_sections |= set(SECTIONS)
                self._add_problem(section, unknown_section(section))
            elif settings is None:  # every line of the section is commented out
                continue
            elif not isinstance(settings, Mapping):
                self._incomplete_sections.add(section)
                self._add_problem(
                    section, f"expected settings in this section, found {format_value(settings)}"
                )
            else:
                for inner_key, value in settings.items():
                    name = _key_text(inner_key)
                    if f"{section}.{name}" not in SETTINGS:
                        self._incomplete_sections.add(section)
                        self._add_problem(f"{section}.{name}", unknown_setting(f"{section}.{name}"))
                    else:
                        self._values[section][name] = value

    def _check_values(self, only: set[str] | None = None) -> None:
        for section, settings in self._values.items():
            for name in list(settings):
                path = f"{section}.{name}"
                if only is not None and path not in only:
                    continue
                try:
                    settings[name] = check_value(path, settings[name])
                except ValueError as error:
                    self._add_problem(path, str(error))
                    self._invalid.add(path)
                    del settings[name]

    # === Rules between settings ===

    def _sections(self) -> Sections:
        return msgspec.convert(self._values, Sections)

    def _drop_unread(self) -> None:
        """Drop settings disabled by an override; report settings without effect in the base."""
        before = msgspec.convert(self._base_values, Sections)
        for path, rule in RULES.items():
            section, name = path.split(".")
            if self._values[section].get(name) is None:  # null sets nothing
                continue
            now = self._sections()
            if rule.applies(now) is None or depends_on(rule.fact.reads, now, self._invalid):
                continue
            is_file_value = path not in self._overridden
            if rule.applies(now) and not (
                is_file_value and rule.resets_on_change and _differs(rule, before, now)
            ):
                continue
            if is_file_value and rule.applies(before) is not False:
                value = self._values[section].pop(name)
                if value != SETTINGS[path].default:  # dropping a default changes nothing
                    location = self._locations.get(path)
                    prefix = f"{location}: " if location else ""
                    self.notices.append(
                        f"{prefix}{path}: dropped, because now {rule.describe(now)}"
                    )
            else:
                reason = (
                    f" without the override, because {rule.describe(before)}"
                    if rule.applies(now)
                    else f", because {rule.describe(now)}"
                )
                self._add_problem(
                    path,
                    f"has no effect{reason}; it applies only if {rule.condition}; remove it",
                )
                self._invalid.add(path)  # avoids further messages about this setting

    def _check_contradictions(self, is_experiment: bool) -> None:
        config = self._sections()
        for check in (TRAINING_DATA if is_experiment else ANY_DATA, *CHECKS):
            section = check.setting.split(".")[0]
            if check.is_about_missing and section in self._incomplete_sections:
                continue
            if check.reads(config, self._invalid):
                continue
            problem = check.problem(config)
            if problem is not None:
                self._add_problem(check.setting, problem)


def _differs(rule: Rule, before: Sections, now: Sections) -> bool:
    """Return whether the fact of a rule was known before and has another value now."""
    value = rule.fact.value(before)
    return value is not None and value != rule.fact.value(now)


# === Overrides ===


def read_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return setting -> value of overrides, each checked separately.

    Raises:
        ConfigError: lists all errors.
    """
    problems: list[str] = []
    layer = _layer_of(overrides, problems)
    values = {}
    for setting, location in layer.locations.items():
        section, name = setting.split(".")
        try:
            values[setting] = check_value(setting, layer.values[section][name])
        except ValueError as error:
            problems.append(f"{location} {setting}: {error}".lstrip())
    if problems:
        raise ConfigError(problems)
    return values


def _layer_of(overrides: Overrides, problems: list[str]) -> Layer:
    if isinstance(overrides, Mapping):
        return _mapped_overrides(overrides, problems)
    return _read_overrides(overrides, problems)


def _mapped_overrides(overrides: Mapping[str, Any], problems: list[str]) -> Layer:
    values: dict[str, dict[str, Any]] = {}
    for path, value in overrides.items():
        section, _, name = path.partition(".")
        if path in SETTINGS:
            values.setdefault(section, {})[name] = value
        else:
            problems.append(f"{format_path(path)}: {unknown_setting(path)}")
    return Layer(values, {f"{s}.{n}": "" for s in values for n in values[s]})


def _read_overrides(overrides: Sequence[str], problems: list[str]) -> Layer:
    values: dict[str, dict[str, Any]] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        path = path.strip()
        section, _, name = path.partition(".")
        if not equals:
            problems.append(
                f"--set {format_path(path)}: expected section.setting=value, for instance "
                "--set training.epochs=3"
            )
        elif path in SETTINGS:
            try:
                value = _override(path, text)
            except ValueError as error:
                problems.append(f"--set {path}: cannot read {format_value(text)} ({error})")
                values.get(section, {}).pop(name, None)
            else:
                values.setdefault(section, {})[name] = value
        else:
            problems.append(f"--set {format_path(path)}: {unknown_setting(path)}")
    return Layer(values, {f"{s}.{n}": "--set" for s in values for n in values[s]})


def _override(path: str, text: str) -> Any:
    """Return the value of an override: a text unchanged, any other type from YAML."""
    alternatives = SETTINGS[path].kinds
    if text == "" and type(None) in alternatives:
        return None
    if list[str] in alternatives:
        return reading.parse_value(text, as_text=True) if text[:1] == "[" else [_unescape(text)]
    if str in alternatives:
        return _unescape(text)
    if choices(path) and (not text.startswith("{") or len(alternatives) == 1):
        return text
    return reading.parse_value(text, as_text=False)


def _unescape(text: str) -> str:
    escapes = {"\\t": "\t", "\\n": "\n", "\\\\": "\\"}
    return re.sub(r"\\[tn\\]", lambda match: escapes[match[0]], text)


def _key_text(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else repr(key)


# === Values of single settings ===


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
