"""Merging of layers of plain values into a configuration, with all errors reported together."""

import codecs
import contextlib
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from textclf.config import reading
from textclf.config.reading import format_name, format_value
from textclf.config.settings import (
    RULES,
    SECTIONS,
    SETTINGS,
    Config,
    choices,
    data_format,
    expected,
    get,
)
from textclf.errors import ConfigError, closest


class Layer(NamedTuple):
    """Values that take precedence over those of earlier layers.

    Attributes:
        values: section -> setting -> plain value.
        locations: section or setting -> its location, such as "reviews.yaml:7" or "--set".
        name: name of the layer in messages, such as "reviews.yaml"; "" for none.
        unreadable: settings whose values were already reported as invalid.
    """

    values: Any
    locations: Mapping[str, str]
    name: str = ""
    unreadable: frozenset[str] = frozenset()


# "section.setting=value" as on the command line, or "section.setting" -> value.
Overrides = Sequence[str] | Mapping[str, Any]


def resolve(
    base: Layer, overrides: Overrides, problems: Sequence[str], *, is_experiment: bool
) -> tuple[Config, list[str]]:
    """Apply the overrides to the base and check the result.

    Args:
        base: the values of a file or a dictionary.
        overrides: "section.setting=value", the last one for a setting takes effect; or
            "section.setting" -> value.
        problems: errors of the base that are already known.
        is_experiment: whether training data are required.

    Returns:
        The configuration, and notices about dropped settings.

    Raises:
        ConfigError: lists all errors.
    """
    resolution = _Resolution(base, overrides, problems)
    return resolution.config(is_experiment), resolution.notices


class _Resolution:
    def __init__(self, base: Layer, overrides: Overrides, problems: Sequence[str]):
        self.problems = list(problems)
        self.notices: list[str] = []
        self._name = base.name
        self._values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self._base_values: dict[str, dict[str, Any]] = {}  # before the overrides
        self._overridden: set[str] = set()
        self._locations: dict[str, str] = {}
        self._invalid = set(base.unreadable)  # settings with an invalid value
        self._incomplete_sections: set[str] = set()  # sections with errors in names or structure
        self._add(base)
        # An invalid value of the file is reported even if an override replaces it.
        self._check_values()
        self._base_values = {section: dict(settings) for section, settings in self._values.items()}
        top = (
            _mapped_overrides(overrides, self.problems)
            if isinstance(overrides, Mapping)
            else _read_overrides(overrides, self.problems)
        )
        self._overridden = set(top.locations)
        self._invalid -= self._overridden
        self._add(top)
        self._check_values(self._overridden)

    def config(self, is_experiment: bool) -> Config:
        self._drop_unread()
        self._check_contradictions(is_experiment)
        if self.problems:
            raise ConfigError(sorted(self.problems, key=self._line))
        return Config.of(self._values)

    def _problem(self, path: str, message: str, *, section: str = "") -> None:
        location = self._locations.get(path) or self._locations.get(section) or self._name
        name = _format_path(path)
        self.problems.append(
            (f"{location} " if location == "--set" else f"{location}: " if location else "")
            + f"{name}: {message}"
        )

    def _line(self, problem: str) -> float:
        """Return the line of a problem, its sort key; problems of overrides come last."""
        match = re.match(re.escape(self._name) + r":(\d+): ", problem)
        return int(match[1]) if match and self._name else math.inf

    # === Names and values of single settings ===

    def _add(self, layer: Layer) -> None:
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
                self._problem(section, _unknown_section(section))
            elif settings is None:  # every line of the section is commented out
                continue
            elif not isinstance(settings, Mapping):
                self._incomplete_sections.add(section)
                self._problem(
                    section, f"expected settings in this section, found {format_value(settings)}"
                )
            else:
                for inner_key, value in settings.items():
                    name = _key_text(inner_key)
                    if f"{section}.{name}" not in SETTINGS:
                        self._incomplete_sections.add(section)
                        self._problem(f"{section}.{name}", _unknown_setting(section, name))
                    else:
                        self._values[section][name] = value

    def _check_values(self, only: set[str] | None = None) -> None:
        for section, settings in self._values.items():
            for name in list(settings):
                path = f"{section}.{name}"
                if only is not None and path not in only:
                    continue
                try:
                    settings[name] = _check_value(path, settings[name])
                except ValueError as error:
                    self._problem(path, str(error))
                    self._invalid.add(path)
                    del settings[name]

    # === Settings without effect ===

    def _drop_unread(self) -> None:
        """Drop settings disabled by an override; report settings that never had an effect."""
        for path, rule in RULES.items():
            section, name = path.split(".")
            if self._values[section].get(name) is None:  # null sets nothing
                continue
            state = rule.state(self._values)
            before = state if path in self._overridden else rule.state(self._base_values)
            if state is None or self._may_depend_on_invalid(path):
                continue
            if state in rule.read_in and not (
                rule.resets_on_change and before not in (state, None)
            ):
                continue
            if before != state and (before is None or before in rule.read_in):
                value = self._values[section].pop(name)
                if value != SETTINGS[path].default:  # dropping a default changes nothing
                    location = self._locations.get(path)
                    prefix = f"{location}: " if location else ""
                    self.notices.append(f"{prefix}{path}: dropped, because now {state}")
            else:
                self._problem(
                    path,
                    f"has no effect, because {state}; it applies only if {rule.needed}; remove it",
                )
                self._invalid.add(path)  # avoids further messages about this setting

    def _may_depend_on_invalid(self, path: str) -> bool:
        """Return whether an invalid value may decide whether a setting is read."""
        deciding = {
            "data": {"data.format", "data.source", "data.validation", "data.multi_label"},
            "model": {"model.encoder", "model.num_layers"},
            "training": {"training.optimizer", "training.schedule", "data.multi_label"},
        }
        return bool(self._invalid & deciding.get(path.split(".")[0], set()))

    # === Contradictions ===

    def _check(self, is_broken: bool, path: str, message: str, *others: str) -> None:
        if is_broken and not self._invalid & {path, *others}:
            self._problem(path, message)

    def _check_contradictions(self, is_experiment: bool) -> None:
        values, check = self._values, self._check
        source, train, validation, test = (
            get(values, f"data.{name}") for name in ("source", "train", "validation", "test")
        )
        kind = data_format(values["data"])
        missing = source is None and train is None
        check(
            missing
            and (is_experiment or (validation is None and test is None))
            and "data" not in self._incomplete_sections,
            "data.source",
            "no training data; set data.source to a file, a folder, tfds:NAME or demo, or "
            "data.train to a file",
            "data.train",
        )
        for name, path in (("train", train), ("validation", validation), ("test", test)):
            has_splits = kind in ("folder", "tfds", "demo")
            has_splits |= path is not None and (path == "demo" or path.startswith("tfds:"))
            check(
                source is None and path is not None and has_splits,
                f"data.{name}",
                "expected a file; a folder, a tfds data set and the demo contain all splits: use "
                "data.source for them",
                "data.source",
                "data.format",
            )
        earlier = {} if train is None else {_normal_path(train): "train"}
        for name, path in (("validation", validation), ("test", test)):
            if path is None:
                continue
            check(
                _normal_path(path) in earlier,
                f"data.{name}",
                f"{format_value(path)} is also data.{earlier.get(_normal_path(path))}; use "
                "a different file for each split",
                "data.train",
                "data.validation",
                "data.source",
            )
            earlier.setdefault(_normal_path(path), name)
        fractions = get(values, "data.validation_fraction") + get(values, "data.test_fraction")
        fraction = f"data.{'test' if 'test_fraction' in values['data'] else 'validation'}_fraction"
        check(
            source is not None and kind not in ("folder", "tfds", "demo") and fractions >= 1,
            fraction,
            "leaves no rows for train, together with data."
            + ("validation_fraction" if fraction == "data.test_fraction" else "test_fraction")
            + "; expected a sum below 1",
            "data.validation_fraction",
            "data.test_fraction",
            "data.source",
            "data.format",
        )
        encoding = get(values, "data.encoding")
        check(
            not _is_encoding(encoding),
            "data.encoding",
            f"unknown text encoding {format_value(encoding)}; expected an encoding of Python such "
            "as utf-8, utf-16, gb18030, big5, shift_jis or cp1252"
            + _suggest(
                encoding.lower(), ("utf-8", "utf-16", "gb18030", "gbk", "latin-1", "cp1252")
            ),
        )
        is_quoted = {"minimal": True, "auto": kind == "csv"}.get(get(values, "data.quoting"), False)
        check(
            get(values, "data.delimiter") == '"' and is_quoted,
            "data.delimiter",
            '" is also the quote character; use another delimiter, or set data.quoting to none',
            "data.quoting",
            "data.format",
        )
        self._check_classes(kind)
        check(
            get(values, "model.encoder") == "bag" and get(values, "model.pooling") == "last",
            "model.pooling",
            "the encoder bag has no last state; expected one of max, mean, max_mean, attention",
            "model.encoder",
        )
        patience = get(values, "training.patience_epochs")
        check(
            get(values, "training.schedule") == "plateau"
            and 0 < patience <= get(values, "training.plateau_patience_epochs"),
            "training.plateau_patience_epochs",
            f"training stops after training.patience_epochs={patience} epochs without improvement, "
            "so the learning rate is never lowered; expected fewer epochs",
            "training.patience_epochs",
            "training.schedule",
        )
        check(
            get(values, "model.embedding_vectors") is None
            and get(values, "model.train_embedding") is False,
            "model.train_embedding",
            "random initial vectors must be trained; set model.embedding_vectors or remove this "
            "setting",
            "model.embedding_vectors",
        )

    def _check_classes(self, kind: str | None) -> None:
        values, check = self._values, self._check
        names = get(values, "data.class_names")
        names_file = get(values, "data.class_names_file")
        check(
            names is not None and names_file is not None,
            "data.class_names_file",
            "data.class_names is also set; remove one of them",
            "data.class_names",
        )
        check(
            # Most published data sets contain the class names.
            get(values, "data.label_ids") != "names"
            and names is None
            and names_file is None
            and kind != "tfds",
            "data.label_ids",
            "numbers need class names; set data.class_names or data.class_names_file",
            "data.class_names",
            "data.class_names_file",
            "data.source",
            "data.format",
        )
        if names is None:
            return
        repeated = [name for index, name in enumerate(names) if name in names[:index]]
        check(
            bool(repeated),
            "data.class_names",
            f"{format_value((repeated or [''])[0])} occurs twice; remove one of them",
        )
        check(
            len(names) < 2 and not get(values, "data.multi_label"),
            "data.class_names",
            "one class is not enough; expected at least two classes, or data.multi_label",
            "data.multi_label",
        )
        weights = get(values, "training.class_weights")
        check(
            isinstance(weights, Mapping) and set(weights) != set(names),
            "training.class_weights",
            f"expected a weight for each of {', '.join(names)}; found {', '.join(weights)}",
            "data.class_names",
        )


def _normal_path(path: str) -> str:
    # Only certain equality counts: "train" and "train[:80%]" are names of splits.
    return os.path.normpath(path)


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        return False
    return True


# === Names and values ===


def _key_text(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else repr(key)


def _check_value(path: str, value: Any) -> Any:
    """Check and convert the value of one setting.

    Raises:
        ValueError: it is invalid; the message is a sentence without the path.
    """
    with contextlib.suppress(TypeError, ValueError, msgspec.ValidationError):
        return msgspec.convert(_as_texts(path, _plain(value)), SETTINGS[path].declared)
    raise ValueError(
        f"expected {expected(path)}, found {format_value(value)}{_suggest_fix(path, value)}"
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


# === Overrides ===


def _mapped_overrides(overrides: Mapping[str, Any], problems: list[str]) -> Layer:
    values: dict[str, dict[str, Any]] = {}
    for path, value in overrides.items():
        section, _, name = path.partition(".")
        if path in SETTINGS:
            values.setdefault(section, {})[name] = value
        else:
            problem = (
                _unknown_setting(section, name) if section in SECTIONS else _unknown_path(path)
            )
            problems.append(f"{_format_path(path)}: {problem}")
    return Layer(values, {f"{s}.{n}": "" for s in values for n in values[s]})


def _read_overrides(overrides: Sequence[str], problems: list[str]) -> Layer:
    values: dict[str, dict[str, Any]] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        path = path.strip()
        section, _, name = path.partition(".")
        if not equals:
            problems.append(
                f"--set {_format_path(path)}: expected section.setting=value, for instance "
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
            problem = (
                _unknown_setting(section, name) if section in SECTIONS else _unknown_path(path)
            )
            problems.append(f"--set {_format_path(path)}: {problem}")
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


# === Messages ===


def _suggest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    near = closest(word, words, cutoff)
    return f"; did you mean {near}?" if near else ""


def _format_path(path: str) -> str:
    return ".".join(format_name(part) for part in path.split(".", 1))


def _unknown_section(section: str) -> str:
    homes = [path for path in SETTINGS if path.split(".")[1] == section]
    if homes:
        home = homes[0].split(".")[0]
        return f"unknown section; it is a setting of {home}: move it below `{home}:`"
    listed = f"; expected one of {', '.join(SECTIONS)}"
    return f"unknown section{_suggest(section.lower(), SECTIONS, 0.5) or listed}"


def _unknown_setting(section: str, name: str) -> str:
    """Return the message for an unknown setting of a section."""
    if not name:
        return f"is a section; expected {section}.SETTING=VALUE"
    near = _suggest(name, SECTIONS[section].__struct_fields__)
    if near:
        return "unknown setting" + near.replace("did you mean ", f"did you mean {section}.")
    elsewhere = [path for path in SETTINGS if path.split(".")[1] == name]
    if elsewhere:
        return f"unknown setting; did you mean {elsewhere[0]}?"
    names = ", ".join(SECTIONS[section].__struct_fields__)
    return f"unknown setting; the settings of {section} are {names}"


def _unknown_path(path: str) -> str:
    # The likeliest error is a setting without its section (`--set epochs=3`).
    bare = [known for known in SETTINGS if known.split(".")[1] == path]
    if bare:
        return f"unknown setting; did you mean {bare[0]}?"
    hint = (
        _suggest(path, SETTINGS)
        or "; expected section.setting=value, for instance training.epochs=3"
    )
    return f"unknown setting{hint}"


def _suggest_fix(path: str, value: Any) -> str:
    """Return the likeliest fix of a value, as the end of a sentence."""
    alternatives = SETTINGS[path].kinds
    words = choices(path)
    if words and isinstance(value, str):
        return _suggest(value.lower(), words, 0.5)
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
