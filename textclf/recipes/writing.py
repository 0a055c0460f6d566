"""Writing of a recipe: the text of its configuration, with comments on what to review."""

import json
import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textclf import config as configuration
from textclf.config import Config, Overrides
from textclf.data import Recognised
from textclf.data.column_names import TO_CHOOSE
from textclf.data.recognition import CERTAIN_ENCODINGS
from textclf.recipes.choice import Choice

_CLASS_SETTINGS = {"data.class_names", "data.class_names_file", "data.label_ids"}


class Line(NamedTuple):
    """A line of a configuration: a setting, or a comment if `name` is "".

    Attributes:
        section: the section.
        name: the setting.
        value: its value as YAML.
        comment: without `#`; "" for none.
        is_about_value: whether the comment is only true for this value.
    """

    section: str
    name: str
    value: str
    comment: str = ""
    is_about_value: bool = False

    @property
    def setting(self) -> str:
        """The setting with its section."""
        return f"{self.section}.{self.name}"

    def __str__(self) -> str:
        comment = f"# {self.comment}" if self.comment else ""
        return f"  {self.name}: {self.value}  {comment}".rstrip() if self.name else f"  {comment}"


def header(file: Path, config_file: Path, overrides: Overrides) -> list[str]:
    """Return the comments with the commands that create and use a configuration.

    Args:
        overrides: the options of the command that creates it.
    """
    name = _shell(str(config_file))
    if isinstance(overrides, Mapping):
        overrides = [f"{setting}={_as_option(value)}" for setting, value in overrides.items()]
    options = "".join(f" --set {_shell(override)}" for override in overrides)
    return [
        f"# Created:  textclf init {_shell(str(file))} {name}{options}",
        f"# Check:    textclf data check {name}",
        f"# Train:    textclf train {name} {_shell(f'runs/{config_file.stem}')}",
        f"# Settings: textclf config show {name}",
    ]


def _shell(text: str) -> str:
    """Quote a text for a shell, on one line."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "\\'")
    return "$'" + _escape_unprintable(escaped) + "'"


def _as_option(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return json.dumps(value, ensure_ascii=False)


def to_text(comments: Sequence[str], lines: Sequence[Line]) -> str:
    """Return a configuration as YAML.

    Args:
        comments: lines before the first section.
        lines: those of a section follow each other.
    """
    text, section = [*comments], ""
    for line in lines:
        if line.section != section:
            section = line.section
            text.append(f"{section}:")
        text.append(str(line))
    return "\n".join(text) + "\n"


def written_path(path: str, config_file: Path) -> str:
    """Return a path as it is written in a configuration file: relative to the file's folder."""
    folder = os.path.realpath(config_file.parent)
    if os.path.isabs(path) or path.startswith(("~", "${")) or folder == os.getcwd():
        return path
    return os.path.relpath(path, folder)


def apply_overrides(
    lines: Sequence[Line],
    base: Config,
    config: Config,
    settings: Collection[str],
    config_file: Path,
) -> list[Line]:
    """Return lines with the values of overrides.

    A replaced value loses a comment about the former value. Settings that the overrides disabled
    are left out. Others are added at the end of their section.

    Args:
        lines: of the configuration without the overrides.
        base: this configuration.
        config: with the overrides; a relative path in them is relative to the current folder.
        settings: the overridden ones.
        config_file: the file to which written paths are relative.
    """
    before, values, paths = base.to_dict(), config.to_dict(), configuration.paths(config)

    def written(setting: str) -> str:
        section, name = setting.split(".")
        value = values[section][name]
        if setting in paths and setting not in config.fixed_paths:
            value = written_path(value, config_file)
        return _written(setting, value)

    kept = []
    for line in lines:
        if not line.name:
            if not (line.is_about_value and _CLASS_SETTINGS & {*settings}):
                kept.append(line)
        elif line.name in values[line.section] and line.setting in settings:
            comment = "" if line.is_about_value else line.comment
            kept.append(line._replace(value=written(line.setting), comment=comment))
        elif values[line.section].get(line.name) == before[line.section][line.name]:
            kept.append(line)
    present = {line.setting for line in kept}
    added = []
    for setting in settings:
        section, name = setting.split(".")
        if setting not in present and name in values[section]:
            added.append(Line(section, name, written(setting)))
    return [line for section in values for line in [*kept, *added] if line.section == section]


def draft(
    config_file: Path, file: Path, splits: Mapping[str, Path], recognised: Recognised
) -> list[Line]:
    """Return the lines with the detected settings and comments on those to review.

    Args:
        splits: split -> file, if each split is a file.
    """
    files = splits or {"source": file}
    lines = [
        Line("data", name, _quoted(written_path(str(path), config_file)))
        for name, path in files.items()
    ]
    lines.append(Line("data", "format", recognised.format))
    if recognised.format in ("csv", "tsv"):
        comment = "whether the first row names the columns"
        if recognised.header_reason is not None:
            comment = _quoted(f"{recognised.header_reason}; set false if it is a text")[1:-1]
        is_reason = recognised.header_reason is not None
        lines += [
            Line("data", "delimiter", _quoted(recognised.delimiter)),
            Line("data", "quoting", recognised.quoting, 'whether " quotes a field'),
            Line("data", "header", _quoted(recognised.header), comment, is_reason),
        ]
    if recognised.format != "folder":
        lines += _columns(recognised)
    if recognised.multi_label:
        comment = "a text may have several labels, or none"
        lines += [
            Line("data", "multi_label", "true", comment, is_about_value=True),
            Line("data", "label_separator", _quoted(recognised.label_separator)),
        ]
    if recognised.skip_unlabelled:
        comment = "rows without a label are omitted"
        lines.append(Line("data", "skip_unlabelled", "true", comment, is_about_value=True))
    if recognised.format != "parquet" and recognised.encoding not in ("utf-8", "utf-8-sig"):
        guess = "" if recognised.encoding in CERTAIN_ENCODINGS else "a guess: check some texts"
        lines.append(Line("data", "encoding", recognised.encoding, guess, is_about_value=True))
    if recognised.label_column is not None:
        lines += _classes(recognised, config_file)
    if not splits and recognised.format != "folder":
        lines += [
            Line(
                "data", "validation_fraction", "0.1", "share of rows used to choose the best epoch"
            ),
            Line("data", "test_fraction", "0.1", "share of rows never used in training"),
        ]
    script = f"detected script: {recognised.script}; {_unit_comment(recognised)}"
    return [*lines, Line("text", "unit", recognised.unit, script, is_about_value=True)]


def lines_of(choices: Sequence[Choice]) -> list[Line]:
    """Return the lines of chosen settings, with the reasons as comments."""
    lines = []
    for setting, value, reason in choices:
        section, name = setting.split(".")
        lines.append(Line(section, name, _written(setting, value), reason, is_about_value=True))
    return lines


def _unit_comment(recognised: Recognised) -> str:
    if recognised.unit == "character":
        return "it has no spaces between words, so with unit word a sentence is one token"
    return "a Han character is a word"


def _columns(recognised: Recognised) -> list[Line]:
    """Return the lines of the text and label columns, with `TO_CHOOSE` for an open choice."""
    texts, label = list(recognised.text_columns), recognised.label_column
    text_comment, label_comment = "several columns are joined", ""
    if not texts:
        text_comment = f"one or more of {_quoted(list(recognised.text_candidates))}"
    if label is None:
        label_comment = f"one of {_quoted(list(recognised.label_candidates))}"
    return [
        Line("data", "text_columns", _quoted(texts or [TO_CHOOSE]), text_comment, not texts),
        Line(
            "data",
            "label_column",
            _quoted(TO_CHOOSE if label is None else label),
            label_comment,
            is_about_value=True,
        ),
    ]


def _classes(recognised: Recognised, config_file: Path) -> list[Line]:
    """Return comments about the classes, and the setting of a file of class names."""
    names = [
        _quoted(name if len(name) <= 60 else name[:57] + "...")
        for name in recognised.class_names_seen[:10]
    ]
    num_names = len(recognised.class_names_seen)
    more = f" and {num_names - 10} more" if num_names > 10 else ""
    seen = ", ".join(names) + more
    lines = [_comment(f"labels in the first {recognised.num_rows_seen:,} rows: {seen}")]
    if recognised.class_names_file is not None:
        path = _quoted(written_path(recognised.class_names_file, config_file))
        comment = "the labels are line numbers of this file"
        return [
            *lines,
            Line("data", "class_names_file", path),
            Line("data", "label_ids", recognised.label_ids, comment, is_about_value=True),
        ]
    numbers = {int(name) for name in recognised.class_names_seen if name.isdecimal()}
    first = min(numbers, default=-1)
    # Consecutive numbers may be class numbers; 1 and 5, such as stars, are not.
    if first in (0, 1) and numbers == set(range(first, first + num_names)):
        lines += [
            _comment("If these are numbers of classes that have names, set:", is_advice=True),
            _comment("class_names: [NAME, NAME]", is_advice=True),
            _comment(f"label_ids: {'from_one' if first == 1 else 'from_zero'}", is_advice=True),
        ]
    return lines


def _comment(text: str, *, is_advice: bool = False) -> Line:
    """Return a comment in section `data`; `is_advice`: it is about a setting that may be set."""
    return Line("data", "", "", text, is_advice)


def _written(setting: str, value: Any) -> str:
    """Return the value of a setting as YAML; a word of a choice is not quoted."""
    is_word = isinstance(value, str) and configuration.choices(setting)
    return value if is_word else _value(value)


def _value(value: Any) -> str:
    """Return the value of a setting as YAML on one line."""
    if isinstance(value, str | list) or value is None:
        return _quoted(value)
    (_, line) = configuration.to_yaml({"section": {"name": value}}).splitlines()
    return line.partition(": ")[2]


def _quoted(value: Any) -> str:
    """Return a value as YAML on one line, with escapes for characters that are not printable."""
    # JSON is YAML, except for characters that YAML reads as line breaks or does not allow.
    return _escape_unprintable(json.dumps(value, ensure_ascii=False))


def _escape_unprintable(text: str) -> str:
    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        return character if character.isprintable() else f"\\U{ord(character):08x}"

    return re.sub(r"[^ -~]", escaped, text)
