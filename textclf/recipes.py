"""Recipes: from a data file to a configuration, as of `textclf init`.

    recipe = make_recipe("reviews.csv", config_file="reviews.yaml")
    recipe.check()                      # reads the data once
    result = textclf.train(recipe.config, "runs/reviews")

Format, columns, task and script are detected, and files of other splits beside `train.csv`. The
configuration is a text with comments on the guesses that a person should review.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from textclf import config as configuration
from textclf import data
from textclf.config import Config
from textclf.data import Recognised
from textclf.data.column_names import TO_CHOOSE
from textclf.data.recognition import CERTAIN_ENCODINGS
from textclf.data.tables import open_table
from textclf.errors import DataError, format_list

# File names that denote a split.
_SPLIT_STEMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was made from a data file.

    Attributes:
        text: YAML with comments.
        config: the same settings, checked. A column that could not be detected is `CHANGE_ME`.
        description: the detected format, task and script on one line.
        notes: sentences about uncertain guesses and files that are left out.
        choices: sentences about columns that the user must choose; empty if all were detected.
        open_settings: the settings of these choices.
        is_whole: whether the data can be read to their end, so that `check` reads them.
    """

    text: str
    config: Config
    description: str
    notes: tuple[str, ...]
    choices: tuple[str, ...]
    open_settings: tuple[str, ...]
    is_whole: bool

    def check(
        self, on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    ) -> None:
        """Check that the data can be read with the configuration, unless a choice is open.

        Args:
            on_progress: called with a stage, the rows read and their total.

        Raises:
            DataError: they cannot; `notes` may explain it.
        """
        if self.choices:
            return
        section = configuration.with_paths(self.config).data
        data.check_sources(section)
        if self.is_whole:
            data.open_dataset(section, on_progress=on_progress)


def make_recipe(source: str | os.PathLike, *, config_file: str | os.PathLike) -> Recipe:
    """Detect the format of a data file and return a configuration for it.

        print(make_recipe("reviews.csv", config_file="reviews.yaml").text)

    Args:
        source: CSV, TSV, JSON or Parquet, or a folder split/label/*.txt.
        config_file: path of the configuration, for the commands in its comments; it is not
            written.

    Raises:
        DataError: the file cannot be read, or no column looks like texts or labels.
    """
    file, config_file = Path(source), Path(config_file)
    recognised = data.recognise(str(file))
    is_chosen = bool(recognised.text_columns) and recognised.label_column is not None
    if recognised.first_problem is not None and not (is_chosen and recognised.is_whole):
        raise DataError(recognised.first_problem)
    for columns, candidates, kind in (
        (recognised.text_columns, recognised.text_candidates, "texts"),
        (recognised.label_column, recognised.label_candidates, "labels"),
    ):
        if not columns and not candidates:
            raise DataError(
                f"{file}: no column looks like {kind}; write {config_file} by hand, with "
                f"data.source, data.text_columns and data.label_column"
            )
    notes = list(recognised.notes)
    splits = _find_splits(file, recognised, notes)
    text = _config_text(config_file, file, splits, recognised)
    config = Config.from_yaml(text, place=str(config_file), folder=config_file.parent)
    choices = dict(_open_choices(recognised))
    return Recipe(
        text=text,
        config=config,
        description=_describe(recognised),
        notes=tuple(notes),
        choices=tuple(choices.values()),
        open_settings=tuple(choices),
        is_whole=recognised.is_whole,
    )


def _open_choices(recognised: Recognised) -> Iterator[tuple[str, str]]:
    """Yield each setting that the user must choose, and a sentence about the choice."""
    if not recognised.text_columns:
        yield (
            "data.text_columns",
            f"{format_list(recognised.text_candidates)} may contain the texts",
        )
    if recognised.label_column is None:
        sentence = f"{format_list(recognised.label_candidates)} may contain the labels"
        if recognised.are_classes:
            sentence += (
                "; if they are one column for each class, write the class names into one column, "
                "separated by commas, and set data.multi_label: true"
            )
        yield "data.label_column", sentence


def _find_splits(file: Path, recognised: Recognised, notes: list[str]) -> dict[str, Path]:
    """Return split -> file if `file` is named like train and its folder has other splits.

    A file without the columns of `file` is omitted with a note.
    """
    name, dot, endings = file.name.partition(".")
    if recognised.format == "folder" or name.lower() not in _SPLIT_STEMS["train"]:
        return {}
    files = {"train": file}
    for split in ("validation", "test"):
        for stem in _SPLIT_STEMS[split]:
            sibling = file.with_name(stem + dot + endings)
            if split not in files and os.path.isfile(sibling.expanduser()):
                if missing := _missing_columns(sibling, recognised):
                    notes.append(f"{sibling} is omitted: it has no column {missing[0]}")
                else:
                    files[split] = sibling
    return files if len(files) > 1 else {}


def _missing_columns(file: Path, recognised: Recognised) -> list[str]:
    """Return the text and label columns that a file does not have."""
    table = open_table(
        file,
        format=recognised.format,
        delimiter=recognised.delimiter,
        quoting=recognised.quoting,
        header=recognised.header,
        encoding=recognised.encoding,
    )
    try:
        _, names = table.columns()
    except DataError:
        return []  # reported when the data are read
    required = [*recognised.text_columns, recognised.label_column]
    return [name for name in required if name is not None and name not in names]


def _describe(recognised: Recognised) -> str:
    """Return a description of the detected format on one line."""
    names = {
        "csv": "CSV",
        "tsv": "TSV",
        "jsonl": "JSON lines",
        "json": "JSON",
        "parquet": "Parquet",
    }
    description = names.get(recognised.format, recognised.format)
    if recognised.delimiter is not None:
        delimiters = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
        description += f", {delimiters.get(recognised.delimiter, recognised.delimiter)}-separated"
        quotings = {
            "none": "not quoted",
            "minimal": "quoted",
            "backslash": "quoted with backslashes",
        }
        description += f", {quotings[recognised.quoting]}"
        description += ", with a header" if recognised.header else ", without a header"
    task = "several labels per text" if recognised.multi_label else "one label per text"
    return (
        f"{description}; {recognised.encoding}; {task}, "
        f"{len(recognised.class_names_seen)} classes in the first "
        f"{recognised.num_rows_seen:,} rows; script: {recognised.script}"
    )


def _quoted(value: Any) -> str:
    """Return a value as YAML on one line, with escapes for characters that are not printable."""

    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        return character if character.isprintable() else f"\\U{ord(character):08x}"

    # JSON is YAML, except for characters that YAML reads as line breaks or does not allow.
    return re.sub(r"[^ -~]", escaped, json.dumps(value, ensure_ascii=False))


def _config_text(
    config: Path, file: Path, splits: Mapping[str, Path], recognised: Recognised
) -> str:
    """Return a configuration with the detected settings and comments on those to review."""
    name = shlex.quote(str(config))
    lines = [
        f"# Created:  textclf init {shlex.quote(str(file))} {name}",
        f"# Check:    textclf data check {name}",
        f"# Train:    textclf train {name} {shlex.quote(f'runs/{config.stem}')}",
        f"# Settings: textclf config show {name}",
        "data:",
    ]
    if splits:
        lines += [
            f"  {split}: {_quoted(_written_path(str(path), config))}"
            for split, path in splits.items()
        ]
    else:
        lines.append(f"  source: {_quoted(_written_path(str(file), config))}")
    lines.append(f"  format: {recognised.format}")
    if recognised.format in ("csv", "tsv"):
        comment = "whether the first row names the columns"
        if recognised.header_reason is not None:
            comment = _quoted(f"{recognised.header_reason}; set false if it is a text")[1:-1]
        lines += [
            f"  delimiter: {_quoted(recognised.delimiter)}",
            f'  quoting: {recognised.quoting}  # whether " quotes a field',
            f"  header: {_quoted(recognised.header)}  # {comment}",
        ]
    if recognised.format != "folder":
        lines += _columns(recognised)
    if recognised.multi_label:
        lines += [
            "  multi_label: true  # a text may have several labels, or none",
            f"  label_separator: {_quoted(recognised.label_separator)}",
        ]
    if recognised.skip_unlabelled:
        lines.append("  skip_unlabelled: true  # rows without a label are omitted")
    if recognised.format != "parquet" and recognised.encoding not in ("utf-8", "utf-8-sig"):
        guess = "" if recognised.encoding in CERTAIN_ENCODINGS else "  # a guess: check some texts"
        lines.append(f"  encoding: {recognised.encoding}{guess}")
    if recognised.label_column is not None:
        lines += _classes(recognised, config)
    if not splits and recognised.format != "folder":
        lines += [
            "  validation_fraction: 0.1  # share of rows used to choose the best epoch",
            "  test_fraction: 0.1  # share of rows never used in training",
        ]
    lines += [
        "text:",
        f"  unit: {recognised.unit}  # detected script: {recognised.script}; "
        + _unit_comment(recognised),
        "model:",
        "  encoder: lstm  # simple_rnn, lstm, gru or bag",
        "training:",
        "  epochs: 10  # maximum; stops early when validation no longer improves",
    ]
    return "\n".join(lines) + "\n"


def _written_path(path: str, config: Path) -> str:
    """Return a path as it is written in a configuration file: relative to the file's folder."""
    folder = os.path.realpath(config.parent)
    if os.path.isabs(path) or path.startswith("~") or folder == os.getcwd():
        return path
    return os.path.relpath(path, folder)


def _unit_comment(recognised: Recognised) -> str:
    if recognised.unit == "character":
        return "it has no spaces between words, so with unit word a sentence is one token"
    return "a Han character is a word"


def _columns(recognised: Recognised) -> list[str]:
    """Return the lines of the text and label columns, with `TO_CHOOSE` for an open choice."""
    texts, label = list(recognised.text_columns), recognised.label_column
    text_comment, label_comment = "several columns are joined", ""
    if not texts:
        texts = [TO_CHOOSE]
        text_comment = f"one or more of {_quoted(list(recognised.text_candidates))}"
    if label is None:
        label_comment = f"  # one of {_quoted(list(recognised.label_candidates))}"
    return [
        f"  text_columns: {_quoted(texts)}  # {text_comment}",
        f"  label_column: {_quoted(TO_CHOOSE if label is None else label)}{label_comment}",
    ]


def _classes(recognised: Recognised, config: Path) -> list[str]:
    """Return comments about the classes, and the setting of a file of class names."""
    names = [
        _quoted(name if len(name) <= 60 else name[:57] + "...")
        for name in recognised.class_names_seen[:10]
    ]
    num_names = len(recognised.class_names_seen)
    more = f" and {num_names - 10} more" if num_names > 10 else ""
    seen = ", ".join(names) + more
    lines = [f"  # labels in the first {recognised.num_rows_seen:,} rows: {seen}"]
    if recognised.class_names_file is not None:
        return [
            *lines,
            f"  class_names_file: {_quoted(_written_path(recognised.class_names_file, config))}",
            f"  label_ids: {recognised.label_ids}  # the labels are line numbers of this file",
        ]
    numbers = {int(name) for name in recognised.class_names_seen if name.isdecimal()}
    first = min(numbers, default=-1)
    # Consecutive numbers may be class numbers; 1 and 5, such as stars, are not.
    if first in (0, 1) and numbers == set(range(first, first + num_names)):
        lines += [
            "  # If these are numbers of classes that have names, set:",
            "  # class_names: [NAME, NAME]",
            f"  # label_ids: {'from_one' if first == 1 else 'from_zero'}",
        ]
    return lines
