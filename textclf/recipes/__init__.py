"""Recipes: from a data file to a configuration, as of `textclf init`.

    recipe = make_recipe("reviews.csv", config_file="reviews.yaml")
    result = textclf.train(recipe.config, "runs/reviews")

Format, columns, task and script are detected, and files of other splits beside `train.csv`. Model
and training settings are chosen by the number of texts, their lengths and classes (`choice`). The
configuration is a text with comments on the guesses that a person should review, which `writing`
makes.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from textclf import config as configuration
from textclf import data
from textclf.config import Config, Overrides
from textclf.data import Recognised
from textclf.data.files import refuse_other_kinds
from textclf.data.tables import TABLE_FORMATS, open_table
from textclf.errors import ConfigError, DataError, format_list
from textclf.progress import OnProgress, no_progress
from textclf.recipes import choice, writing

# File names that denote a split.
_SPLIT_STEMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
# Rare classes that are named in a note.
_NAMED_CLASSES = 3


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was made from a data file.

    Attributes:
        text: YAML with comments.
        config: the same settings, checked. A column that could not be detected is `CHANGE_ME`.
        description: the detected format, task and script on one line.
        notes: sentences about uncertain guesses and files that are left out.
        rare_classes: a sentence about the rare classes of train, which a training says as well; ""
            if there are none, or if classes are weighed.
        choices: sentences about columns that the user must choose; empty if all were detected.
        open_settings: the settings of these choices.
    """

    text: str
    config: Config
    description: str
    notes: tuple[str, ...]
    rare_classes: str
    choices: tuple[str, ...]
    open_settings: tuple[str, ...]


def make_recipe(
    source: str | os.PathLike,
    *,
    config_file: str | os.PathLike,
    overrides: Overrides = (),
    data_only: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: OnProgress = no_progress,
) -> Recipe:
    """Detect the format of a data file, read the data, and return a configuration for them.

        print(make_recipe("reviews.csv", config_file="reviews.yaml").text)

    The data are not read to their end if the user must choose a column, or if the file is large;
    the settings are then chosen by the rows that were read.

    Args:
        source: CSV, TSV, JSON or Parquet, or a folder split/label/*.txt.
        config_file: path of the configuration, for the commands in its comments and for relative
            paths; it is not written.
        overrides: settings that are not detected, as for `Config.load`. A relative path is
            relative to the current folder. With `data.validation` or `data.test`, a file is the
            training split.
        data_only: whether only the settings of the data and their unit are detected, by the first
            rows. Then rows may be bad.
        on_note: called with each of the recipe's notes before the data are read; they may explain
            an error.
        on_progress: called with a stage, the rows read and their total.

    Raises:
        ConfigError: an override is invalid.
        DataError: the file cannot be read, or no column looks like texts or labels.
    """
    file, config_file = Path(source), Path(config_file)
    settings = _read_settings(file, overrides)
    known = {
        setting.removeprefix("data."): value
        for setting, value in settings.items()
        if setting.startswith("data.")
    }
    recognised = data.recognise(str(file), known)
    _check_recognised(file, config_file, recognised, data_only=data_only)
    notes = list(recognised.notes)
    splits = _find_splits(file, recognised, known, notes)
    for note in notes:
        on_note(note)
    lines = writing.draft(config_file, file, splits, recognised)
    open_choices = dict(_open_choices(recognised))
    properties = _estimate_properties(recognised)
    if not data_only and recognised.is_whole and not open_choices:
        properties = _measure_properties(config_file, lines, settings, on_progress)
    comments = writing.header(file, config_file, overrides)

    def complete(choices: Sequence[choice.Choice]) -> tuple[str, Config, tuple[str, ...]]:
        """Return text, configuration and notices with the overrides."""
        chosen = [*lines, *writing.lines_of(choices)]
        text, config = _parse(config_file, chosen, comments)
        if not settings:
            return text, config, ()
        changed = config.replace(overrides)
        chosen = writing.apply_overrides(chosen, config, changed, settings, config_file)
        return *_parse(config_file, chosen, comments), changed.notices

    try:
        text, config, notices = complete([] if data_only else choice.choose(properties))
    except ConfigError:
        # Settings of a network are an order for one.
        text, config, notices = complete(choice.choose(properties, with_network=True))
    for note in notices:
        on_note(note)
    rare_classes = ""
    if properties.imbalance is not None and config.training.class_weights == "none":
        rare_classes = (
            f"{properties.imbalance.sentence(_NAMED_CLASSES)}; {properties.imbalance.ADVICE}"
        )
    return Recipe(
        text=text,
        config=config,
        description=_describe(recognised),
        notes=(*notes, *notices),
        rare_classes=rare_classes,
        choices=tuple(open_choices.values()),
        open_settings=tuple(open_choices),
    )


def _parse(
    config_file: Path, lines: Sequence[writing.Line], comments: Sequence[str] = ()
) -> tuple[str, Config]:
    """Return a configuration as text and as settings."""
    text = writing.to_text(comments, lines)
    return text, Config.from_yaml(text, name=str(config_file), folder=config_file.parent)


def _measure_properties(
    config_file: Path,
    lines: Sequence[writing.Line],
    settings: Mapping[str, Any],
    on_progress: OnProgress,
) -> choice.Properties:
    """Read the data and return their properties.

    Args:
        settings: the overridden ones; those of the data and their unit are used.

    Raises:
        DataError: the data cannot be read.
    """
    of_data = {
        setting: value
        for setting, value in settings.items()
        if setting.startswith("data.") or setting == "text.unit"
    }
    config = configuration.with_paths(_parse(config_file, lines)[1].replace(of_data))
    data.check_sources(config.data)
    dataset = data.open_dataset(config.data, on_progress=on_progress)
    return choice.measure(dataset, config.text.unit)


def _estimate_properties(recognised: Recognised) -> choice.Properties:
    return choice.Properties(
        num_texts=recognised.num_rows_seen,
        num_classes=len(recognised.class_names_seen),
        is_multi_label=recognised.multi_label,
        length=None,
    )


def load_config(
    path: str | os.PathLike,
    overrides: Overrides = (),
    *,
    data_only: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: OnProgress = no_progress,
) -> Config:
    """Return the configuration in a file, or the one that is made from a data file.

        load_config("reviews.yaml")
        load_config("reviews.csv", {"data.label_column": "stars"}, on_note=print)

    A relative path of a data file is relative to the current folder.

    Args:
        path: a configuration, or a data file as of `config.holds_data`.
        overrides: as for `Config.load`.
        data_only: as for `make_recipe`; the path is that of data, whatever its name.
        on_note: called with notes on what was detected and on settings that were dropped.
        on_progress: called with a stage, the rows read and their total, if the data are read.

    Raises:
        ConfigError: the configuration or an override is invalid.
        DataError: the data file cannot be read, or the user must choose a column.
    """
    file = Path(path)
    if not (data_only or configuration.holds_data(file)):
        if file.suffix not in (".yaml", ".yml", ".txt") and file.is_file():
            _check_configuration(file)
        config = Config.load(file, overrides)
        for note in config.notices:
            on_note(note)
        return config
    if configuration.is_trained(file):
        raise DataError(
            f"{file}: is a trained folder, expected a configuration or data; name its "
            f"configuration, {file / 'config.yaml'}"
        )
    recipe = make_recipe(
        file,
        config_file=_config_file_of(file),
        overrides=overrides,
        data_only=data_only,
        on_progress=on_progress,
    )
    if recipe.choices:
        sets = " ".join(f"--set {setting}=COLUMN" for setting in recipe.open_settings)
        raise DataError(
            f"{file}: {'; '.join(recipe.choices)}; choose with {sets}, or write a configuration "
            f"with `{_init_command(file)}` and set {' and '.join(recipe.open_settings)} in it"
        )
    columns = recipe.config.data.to_dict("text_columns", "label_column")
    if recipe.config.data.format != "folder":
        on_note(
            f"{file}: texts in {format_list(columns['text_columns'])}, labels in "
            f"{columns['label_column']}"
        )
    on_note(f"{file}: {recipe.description}")
    for note in recipe.notes:
        on_note(note)
    return recipe.config


def _check_configuration(file: Path) -> None:
    """Check that a file that is not called YAML is likely to be a configuration.

    Raises:
        DataError: it is an archive, for instance, or does not name the section `data`.
    """
    with open(file, "rb") as stream:
        beginning = stream.read(1 << 16)
    refuse_other_kinds(str(file), beginning[:512])
    if not re.search(rb"""\bdata["']?\s*:""", beginning):
        raise DataError(
            f"{file}: is not a configuration, and its name is not that of a data file; write a "
            f"configuration with `{_init_command(file)}`"
        )


def _init_command(file: Path) -> str:
    return f"textclf init {shlex.quote(str(file))} {shlex.quote(str(_config_file_of(file)))}"


def _config_file_of(file: Path) -> Path:
    return Path(f"{file.name.partition('.')[0] or 'data'}.yaml")


def _read_settings(file: Path, overrides: Overrides) -> dict[str, Any]:
    """Return setting -> value of the overrides.

    Raises:
        ConfigError: an override is invalid, or sets what the file is.
    """
    settings = configuration.read_overrides(overrides)
    is_folder = os.path.isdir(file.expanduser())
    problems = [
        f"{setting}: {file} is the data; remove this setting"
        for setting in ("data.source", *(() if is_folder else ("data.train",)))
        if setting in settings
    ]
    kinds = ("auto", "folder") if is_folder else ("auto", *TABLE_FORMATS)
    if settings.get("data.format", "auto") not in kinds:
        problems.append(
            f"data.format: {file} is a {'folder' if is_folder else 'file'}; expected one of "
            f"{', '.join(kinds)}"
        )
    if problems:
        raise ConfigError(problems)
    return settings


def _check_recognised(
    file: Path, config_file: Path, recognised: Recognised, *, data_only: bool
) -> None:
    """Check that a configuration can be made.

    Raises:
        DataError: a row cannot be read, or no column looks like texts or labels.
    """
    is_chosen = bool(recognised.text_columns) and recognised.label_column is not None
    if recognised.first_problem is not None and not (
        is_chosen and (recognised.is_whole or data_only)
    ):
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


def _find_splits(
    file: Path, recognised: Recognised, known: Mapping[str, Any], notes: list[str]
) -> dict[str, Path]:
    """Return split -> file if other splits are set, or `file` is named like train and others exist.

    A file without the columns of `file` is omitted with a note.

    Args:
        known: settings of section `data` that are not detected, by name.
        notes: receives sentences for the user.
    """
    if recognised.format == "folder":
        return {}
    name, dot, endings = file.name.partition(".")
    is_train = name.lower() in _SPLIT_STEMS["train"]
    files = {"train": file}
    for split in ("validation", "test"):
        if split in known:
            if known[split] is not None:
                files[split] = Path(known[split])
            continue
        for stem in _SPLIT_STEMS[split] if is_train else ():
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
