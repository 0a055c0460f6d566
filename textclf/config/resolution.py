"""From layers of plain values to a configuration: precedence, and every mistake at once."""

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
from textclf.config.reading import shown, shown_name
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
    """Values that take precedence over those of the layers before.

    Attributes:
        values: section -> setting -> plain value.
        places: section or setting -> where it stands, such as "reviews.yaml:7" or "--set".
        name: what messages call the whole layer, such as "reviews.yaml"; "" for none.
        unreadable: settings that are given but whose values are already known to be no good.
    """

    values: Any
    places: Mapping[str, str]
    name: str = ""
    unreadable: frozenset[str] = frozenset()


# "section.setting=value" as the command line gives them, or "section.setting" -> value.
Overrides = Sequence[str] | Mapping[str, Any]


def resolve(
    base: Layer, overrides: Overrides, problems: Sequence[str], *, is_experiment: bool
) -> tuple[Config, list[str]]:
    """Puts the overrides over the base and checks the whole.

    Args:
        base: the values of a file or a dictionary.
        overrides: "section.setting=value", of which the last one of a setting counts; or
            "section.setting" -> value.
        problems: what is known to be wrong with the base.
        is_experiment: there must be something to train on.

    Returns:
        The configuration, and notices about dropped settings.

    Raises:
        ConfigError: with every mistake.
    """
    resolution = _Resolution(base, overrides, problems)
    return resolution.config(is_experiment), resolution.notices


class _Resolution:
    def __init__(self, base: Layer, overrides: Overrides, problems: Sequence[str]):
        self.problems = list(problems)
        self.notices: list[str] = []
        self._name = base.name
        self._values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self._of_base: dict[str, dict[str, Any]] = {}  # what the values were before the overrides
        self._overridden: set[str] = set()
        self._places: dict[str, str] = {}
        self._wrong = set(base.unreadable)  # settings whose value is no good
        self._misspelt: set[str] = set()  # sections that may hold more than was understood
        self._add(base)
        # A wrong value of the file is a mistake of the file, whatever is put over it.
        self._check_values()
        self._of_base = {section: dict(settings) for section, settings in self._values.items()}
        given = (
            _mapped_overrides(overrides, self.problems)
            if isinstance(overrides, Mapping)
            else _read_overrides(overrides, self.problems)
        )
        self._overridden = set(given.places)
        self._wrong -= self._overridden
        self._add(given)
        self._check_values(self._overridden)

    def config(self, is_experiment: bool) -> Config:
        self._drop_unread()
        self._check_contradictions(is_experiment)
        if self.problems:
            raise ConfigError(sorted(self.problems, key=self._line))
        return Config.of(self._values)

    def _problem(self, path: str, message: str, *, section: str = "") -> None:
        place = self._places.get(path) or self._places.get(section) or self._name
        name = _shown_path(path)
        self.problems.append(
            (f"{place} " if place == "--set" else f"{place}: " if place else "")
            + f"{name}: {message}"
        )

    def _line(self, problem: str) -> float:
        """Where a problem goes in the list: in the order of the file, then the overrides."""
        match = re.match(re.escape(self._name) + r":(\d+): ", problem)
        return int(match[1]) if match and self._name else math.inf

    # === What is known, and right by itself ===

    def _add(self, layer: Layer) -> None:
        self._places |= layer.places
        if not isinstance(layer.values, Mapping):
            where = f"{layer.name}: " if layer.name else ""
            found = shown(layer.values)
            self.problems.append(
                f"{where}expected sections such as `data:` and `model:`, found {found}"
            )
            self._misspelt |= set(SECTIONS)
            return
        for key, settings in layer.values.items():
            section = _name(key)
            if section not in SECTIONS:
                self._misspelt |= set(SECTIONS)
                self._problem(section, _unknown_section(section))
            elif settings is None:  # a section whose every line is commented out
                continue
            elif not isinstance(settings, Mapping):
                self._misspelt.add(section)
                self._problem(section, f"expected settings below it, found {shown(settings)}")
            else:
                for inner_key, value in settings.items():
                    name = _name(inner_key)
                    if f"{section}.{name}" not in SETTINGS:
                        self._misspelt.add(section)
                        self._problem(f"{section}.{name}", _unknown(section, name))
                    else:
                        self._values[section][name] = value

    def _check_values(self, only: set[str] | None = None) -> None:
        for section, settings in self._values.items():
            for name in list(settings):
                path = f"{section}.{name}"
                if only is not None and path not in only:
                    continue
                try:
                    settings[name] = _checked(path, settings[name])
                except ValueError as error:
                    self._problem(path, str(error))
                    self._wrong.add(path)
                    del settings[name]

    # === What is read ===

    def _drop_unread(self) -> None:
        """Drops what an override made meaningless; refuses what never had a meaning."""
        for path, rule in RULES.items():
            section, name = path.split(".")
            if self._values[section].get(name) is None:  # null asks for nothing
                continue
            state = rule.state(self._values)
            before = state if path in self._overridden else rule.state(self._of_base)
            if state is None or self._hinges_on_wrong(path):
                continue
            if state in rule.read_in and not (rule.follows and before not in (state, None)):
                continue
            if before != state and (before is None or before in rule.read_in):
                value = self._values[section].pop(name)
                if value != SETTINGS[path].default:  # a default is no loss
                    place = self._places.get(path)
                    where = f"{place}: " if place else ""
                    self.notices.append(f"{where}{path}: dropped, because now {state}")
            else:
                self._problem(
                    path,
                    f"has no effect, because {state}; it is read only if {rule.needed}; remove it "
                    "or change that",
                )
                self._wrong.add(path)  # one sentence is enough

    def _hinges_on_wrong(self, path: str) -> bool:
        """Whether a wrong value may be what seems to leave a setting unread."""
        deciding = {
            "data": {"data.format", "data.source", "data.validation", "data.multi_label"},
            "model": {"model.encoder", "model.num_layers"},
            "training": {"training.optimizer", "training.schedule", "data.multi_label"},
        }
        return bool(self._wrong & deciding.get(path.split(".")[0], set()))

    # === What contradicts ===

    def _check(self, is_broken: bool, path: str, message: str, *others: str) -> None:
        if is_broken and not self._wrong & {path, *others}:
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
            and "data" not in self._misspelt,
            "data.source",
            "nothing says where the texts are; set data.source to a file, a folder, tfds:NAME or "
            "demo, or data.train to a file",
            "data.train",
        )
        for name, path in (("train", train), ("validation", validation), ("test", test)):
            is_whole = kind in ("folder", "tfds", "demo")
            is_whole |= path is not None and (path == "demo" or path.startswith("tfds:"))
            check(
                source is None and path is not None and is_whole,
                f"data.{name}",
                "expected a file; a folder, a tfds data set or the demo holds all splits: name it "
                "as data.source",
                "data.source",
                "data.format",
            )
        earlier = {} if train is None else {_normal(train): "train"}
        for name, path in (("validation", validation), ("test", test)):
            if path is None:
                continue
            check(
                _normal(path) in earlier,
                f"data.{name}",
                f"{shown(path)} is data.{earlier.get(_normal(path))} already; what is chosen or "
                "tested on one split must not stand in another",
                "data.train",
                "data.validation",
                "data.source",
            )
            earlier.setdefault(_normal(path), name)
        fractions = get(values, "data.validation_fraction") + get(values, "data.test_fraction")
        given = f"data.{'test' if 'test_fraction' in values['data'] else 'validation'}_fraction"
        check(
            source is not None and kind not in ("folder", "tfds", "demo") and fractions >= 1,
            given,
            "leaves nothing for train together with data."
            + ("validation_fraction" if given == "data.test_fraction" else "test_fraction")
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
            f"Python knows no text encoding {shown(encoding)}; expected one such as utf-8, "
            "utf-16, gb18030, big5, shift_jis or cp1252"
            + _near(encoding.lower(), ("utf-8", "utf-16", "gb18030", "gbk", "latin-1", "cp1252")),
        )
        is_quoted = {"minimal": True, "auto": kind == "csv"}.get(get(values, "data.quoting"), False)
        check(
            get(values, "data.delimiter") == '"' and is_quoted,
            "data.delimiter",
            'a " cannot both quote columns and stand between them; set data.quoting to none',
            "data.quoting",
            "data.format",
        )
        self._check_classes(kind)
        check(
            get(values, "model.encoder") == "bag" and get(values, "model.pooling") == "last",
            "model.pooling",
            "a bag has no order and so no last; expected one of max, mean, max_mean, attention",
            "model.encoder",
        )
        check(
            get(values, "training.abstain_precision") is not None
            and get(values, "training.abstain_coverage") is not None,
            "training.abstain_coverage",
            "one threshold cannot be chosen for training.abstain_precision too; remove one of them",
            "training.abstain_precision",
        )
        patience = get(values, "training.patience_epochs")
        check(
            get(values, "training.schedule") == "plateau"
            and 0 < patience <= get(values, "training.plateau_patience_epochs"),
            "training.plateau_patience_epochs",
            f"training stops after training.patience_epochs={patience} epochs without improvement, "
            "so the rate would never be lowered; expected fewer",
            "training.patience_epochs",
            "training.schedule",
        )
        check(
            get(values, "model.embedding_vectors") is None
            and get(values, "model.train_embedding") is False,
            "model.train_embedding",
            "vectors that begin at random must be trained; set model.embedding_vectors or remove "
            "this",
            "model.embedding_vectors",
        )

    def _check_classes(self, kind: str | None) -> None:
        values, check = self._values, self._check
        names = get(values, "data.class_names")
        names_file = get(values, "data.class_names_file")
        check(
            names is not None and names_file is not None,
            "data.class_names_file",
            "class names come from data.class_names already; remove one of them",
            "data.class_names",
        )
        check(
            # Published data sets mostly name their classes themselves.
            get(values, "data.label_ids") != "names"
            and names is None
            and names_file is None
            and kind != "tfds",
            "data.label_ids",
            "numbers need names: set data.class_names or data.class_names_file",
            "data.class_names",
            "data.class_names_file",
            "data.source",
            "data.format",
        )
        if names is None:
            return
        twice = [name for index, name in enumerate(names) if name in names[:index]]
        check(
            bool(twice),
            "data.class_names",
            f"{shown((twice or [''])[0])} is named twice; remove one of them",
        )
        check(
            len(names) < 2 and not get(values, "data.multi_label"),
            "data.class_names",
            "one class leaves nothing to tell apart; expected at least two, or data.multi_label",
            "data.multi_label",
        )
        weights = get(values, "training.class_weights")
        check(
            isinstance(weights, Mapping) and set(weights) != set(names),
            "training.class_weights",
            f"expected a weight for each of {', '.join(names)}; found {', '.join(weights)}",
            "data.class_names",
        )


def _normal(path: str) -> str:
    # Only what is certainly the same file; "train" and "train[:80%]" are names of splits.
    return os.path.normpath(path)


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        return False
    return True


# === Names and values ===


def _name(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else repr(key)


def _checked(path: str, value: Any) -> Any:
    """The value of a setting, taken by itself.

    Raises:
        ValueError: it is no good; a sentence without the path.
    """
    with contextlib.suppress(TypeError, ValueError, msgspec.ValidationError):
        return msgspec.convert(_as_texts(path, _plain(value)), SETTINGS[path].declared)
    raise ValueError(f"expected {expected(path)}, found {shown(value)}{_mend(path, value)}")


def _as_texts(path: str, value: Any) -> Any:
    """Return a whole number as a text, and one text as a list, where a setting holds these.

    Floats, true and false are left: of a value from Python, the written form is not known.
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


_OF_NUMPY = {"b": bool, "i": int, "u": int, "f": float}


def _plain(value: Any, depth: int = 1) -> Any:
    """A value of Python's own types; those of NumPy and subclasses become one.

    Raises:
        TypeError, ValueError: it is, or holds, something else, or what no file could keep.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        value.encode()  # not the half of a surrogate pair
        return str.__str__(value)
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise ValueError("a number of more than 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("no number")
        return float(value)  # msgspec takes no other kind of it
    # Not deeper than a setting can be: anchors of YAML make a short file very deep.
    if isinstance(value, Mapping) and depth:
        return {_plain(key, 0): _plain(item, 0) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [_plain(item, 0) for item in value]
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic) and value.dtype.kind in _OF_NUMPY:
        return _plain(_OF_NUMPY[value.dtype.kind](value))
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
            problem = _unknown(section, name) if section in SECTIONS else _unknown_path(path)
            problems.append(f"{_shown_path(path)}: {problem}")
    return Layer(values, {f"{s}.{n}": "" for s in values for n in values[s]})


def _read_overrides(overrides: Sequence[str], problems: list[str]) -> Layer:
    values: dict[str, dict[str, Any]] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        path = path.strip()
        section, _, name = path.partition(".")
        if not equals:
            problems.append(
                f"--set {_shown_path(path)}: expected section.setting=value, for instance "
                "--set training.epochs=3"
            )
        elif path in SETTINGS:
            try:
                value = _override(path, text)
            except ValueError as error:
                problems.append(f"--set {path}: cannot read {shown(text)} ({error})")
                values.get(section, {}).pop(name, None)
            else:
                values.setdefault(section, {})[name] = value
        else:
            problem = _unknown(section, name) if section in SECTIONS else _unknown_path(path)
            problems.append(f"--set {_shown_path(path)}: {problem}")
    return Layer(values, {f"{s}.{n}": "--set" for s in values for n in values[s]})


def _override(path: str, text: str) -> Any:
    """The value of an override: texts as they stand, everything else as YAML."""
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


# === Sentences ===


def _near(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    near = closest(word, words, cutoff)
    return f"; did you mean {near}?" if near else ""


def _shown_path(path: str) -> str:
    return ".".join(shown_name(part) for part in path.split(".", 1))


def _unknown_section(section: str) -> str:
    homes = [path for path in SETTINGS if path.split(".")[1] == section]
    if homes:
        home = homes[0].split(".")[0]
        return f"unknown section; it is a setting of {home}: write it below `{home}:`"
    listed = f"; expected one of {', '.join(SECTIONS)}"
    return f"unknown section{_near(section.lower(), SECTIONS, 0.5) or listed}"


def _unknown(section: str, name: str) -> str:
    """What to say about a name that a section does not have."""
    if not name:
        return f"is a section; expected {section}.SETTING=VALUE"
    near = _near(name, SECTIONS[section].__struct_fields__)
    if near:
        return "unknown setting" + near.replace("did you mean ", f"did you mean {section}.")
    elsewhere = [path for path in SETTINGS if path.split(".")[1] == name]
    if elsewhere:
        return f"unknown setting; did you mean {elsewhere[0]}?"
    return f"unknown setting; {section} has {', '.join(SECTIONS[section].__struct_fields__)}"


def _unknown_path(path: str) -> str:
    # A bare setting name (`--set epochs=3`) is the likeliest slip.
    bare = [known for known in SETTINGS if known.split(".")[1] == path]
    if bare:
        return f"unknown setting; did you mean {bare[0]}?"
    hint = (
        _near(path, SETTINGS) or "; expected section.setting=value, for instance training.epochs=3"
    )
    return f"unknown setting{hint}"


def _mend(path: str, value: Any) -> str:
    """The likeliest way to mend a value, as the end of a sentence."""
    alternatives = SETTINGS[path].kinds
    words = choices(path)
    if words and isinstance(value, str):
        return _near(value.lower(), words, 0.5)
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
