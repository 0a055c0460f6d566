"""Data for a trained model: the data on which it is scored, and the files that it reads.

The settings are those of the training, except overridden ones. If they do not fit a file, separator
and quoting are detected from the file. `textclf evaluate`, `compare` and `predict` all read files
in this way.

    data = data_to_score(card, "new.csv")           # checked, but not read yet
    config, table = file_to_read(card, "new.csv", needs_labels=False)
"""

import contextlib
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textclf import artifact, data
from textclf import config as configuration
from textclf.artifact import Card
from textclf.config import Config, Data, Overrides, data_format, is_read
from textclf.data.column_names import TEXT_NAMES
from textclf.data.encodings import codec_of, guess_encoding
from textclf.data.tables import Table, open_table
from textclf.errors import ArtifactError, ConfigError, DataError, format_list

OnNote = Callable[[str], None]  # called with a sentence for the user

_SAMPLE_ROWS = 1000


class DataToScore(NamedTuple):
    """Data on which a model is scored; they are checked and not read yet.

    Attributes:
        section: section `data` with resolved paths.
        split: the split to score.
        description: the split, the source or both, for a title.
        settings: arguments of `evaluation.evaluate`: section `evaluation`.
        is_training_data: whether they are the data of the training.
        used_as: the setting of the training that names the file, such as data.train, if the model
            was fitted or chosen with it; otherwise None.
    """

    section: Data
    split: str
    description: str
    settings: dict[str, Any]
    is_training_data: bool
    used_as: str | None = None


def data_to_score(
    card: Card,
    source: str | os.PathLike | None = None,
    *,
    paths: Mapping[str, str],
    split: str | None = None,
    overrides: Overrides = (),
    advice: str = "other data",
    on_note: OnNote = lambda note: None,
) -> DataToScore:
    """Return the checked data on which a trained model is scored.

        paths = config.read_trained_paths("runs/reviews")
        data_to_score(card, paths=paths)                  # the test split of the training data
        data_to_score(card, "new.csv", paths=paths)       # all rows of a file

    Args:
        card: the card of the model.
        paths: setting -> absolute path in the training, as of `config.read_trained_paths`.
        source: a file (all rows are scored) or another value of data.source; None for the
            training data.
        split: the split to score, of a source with several; default: test.
        overrides: settings of the sections `data` and `evaluation`.
        advice: the argument that names other data, for a message about missing training data.
        on_note: called with notes about settings that were dropped or detected.

    Raises:
        ConfigError: an override is invalid for these data.
        DataError: the data cannot be read, or `split` was passed for a file.
    """
    configuration.check_sections(overrides, ("data", "evaluation"))
    source = None if source is None else os.fspath(source)
    used_as = None
    if source is not None and is_file(source):
        if split is not None:
            raise DataError(f"{source}: all rows of a file are scored; omit the split")
        config, _ = file_to_read(card, source, overrides, needs_labels=True, on_note=on_note)
        split, description = "test", source
        used_as = note_use_in_training(source, paths, on_note)
    else:
        split = split or "test"
        if source is None:
            config = training_config(card, paths, overrides)
            notes = [*config.notices]
            description = split
        else:
            config, notes = _with_data(card, {"source": source}, overrides)
            description = f"{split} of {source}"
        for note in notes:
            on_note(note)
        if source is None:
            check_trained_paths(config, paths, overrides, advice=advice)
    section = configuration.with_paths(config).data
    data.check_sources(section)
    settings = config.evaluation.to_dict()
    return DataToScore(section, split, description, settings, source is None, used_as)


def note_use_in_training(
    source: str, paths: Mapping[str, str], on_note: OnNote, *, model: str | None = None
) -> str | None:
    """Return the setting of the training that names a file, except for data.test, and note it.

    Args:
        source: the file.
        paths: setting -> absolute path in the training, as of `config.read_trained_paths`.
        on_note: called with the note.
        model: the trained folder, if the note must name it.
    """
    path = os.path.realpath(os.path.expanduser(source))
    for setting in ("data.source", "data.train", "data.validation"):
        if setting in paths and os.path.realpath(paths[setting]) == path:
            of_model = "" if model is None else f" of {model}"
            on_note(
                f"{source}: is {setting} of the training{of_model}, so the model or its settings "
                "were chosen on its texts, and the score is too high"
            )
            return setting
    return None


def is_file(source: str) -> bool:
    """Return whether a value of data.source is a file: it has no splits."""
    is_folder = os.path.isdir(os.path.expanduser(source))
    return not (is_folder or source == "demo" or source.startswith("tfds:"))


def card_config(folder: Path, card: Card) -> Config:
    """Return the configuration in the card of a trained folder.

    Raises:
        ArtifactError: it is invalid.
    """
    try:
        return Config.from_dict(card.config)
    except ConfigError as error:
        raise ArtifactError(
            f"{folder / artifact.CARD}: the configuration is not valid: {error}"
        ) from None


def training_config(card: Card, paths: Mapping[str, str], overrides: Overrides = ()) -> Config:
    """Return the configuration of a training, with the paths at which its data still are.

    A path is that of the training or, if that no longer exists, the one in the card, which is
    relative to the current folder.

    Args:
        card: the card of the model.
        paths: setting -> absolute path in the training, as of `config.read_trained_paths`.
        overrides: settings that replace those of the training.

    Raises:
        ConfigError: an override is invalid for these data.
    """
    existing = configuration.existing_paths(paths)
    return Config.from_dict(card.config, overrides, fixed_paths=existing)


def check_trained_paths(
    config: Config, paths: Mapping[str, str], overrides: Overrides, *, advice: str = ""
) -> None:
    """Check that the files and folders of the training still exist.

    Args:
        config: as of `training_config`.
        paths, overrides: those of `training_config`; overridden paths are not checked.
        advice: the argument that names other data, for the message; "" if there is none.

    Raises:
        DataError: lists the paths that do not exist.
    """
    overridden = set_values(overrides)
    missing = {
        setting: path
        for setting, path in configuration.paths(config).items()
        if setting.startswith("data.")
        and setting not in overridden
        and not os.path.exists(_resolve(path, setting, config))
    }
    if not missing:
        return
    resolved = {setting: _resolve(path, setting, config) for setting, path in missing.items()}
    known = {setting: paths[setting] for setting in missing if setting in paths}
    others = [path for setting, path in resolved.items() if known.get(setting, path) != path]
    is_relative = any(not os.path.isabs(resolved[setting]) for setting in missing.keys() - known)
    here = f" in {os.getcwd()}"
    alternatives = [advice] if advice else []
    alternatives.append(" ".join(f"--set {setting}=PATH" for setting in missing))
    raise DataError(
        f"{', '.join((missing | known).values())}: no such file or folder"
        + (here if is_relative else "")
        + (f", and no {', '.join(others)}{here}" if others else "")
        + f"; the model was trained with {' and '.join(missing)} at this path; "
        + (
            "the model does not record the folder of these data, as an export never does; run the "
            "command in the folder to which the path is relative, or "
            if is_relative
            else ""
        )
        + f"specify the data: {' or '.join(alternatives)}"
    )


def _resolve(path: str, setting: str, config: Config) -> str:
    return configuration.resolve_path(path, setting, config.fixed_paths.get(setting))


# === Files ===


def file_to_read(
    card: Card,
    file: str,
    overrides: Overrides = (),
    *,
    needs_labels: bool,
    on_note: OnNote = lambda note: None,
) -> tuple[Config, Table]:
    """Return the configuration with which a trained model reads a file, and its table.

    The settings are those of the training, except overridden ones. If the required columns are
    missing or the first rows cannot be read, separator and quoting are detected from the file.

    Args:
        file: a table; its rows are not split.
        needs_labels: whether the label column is required in addition to the text columns.
        on_note: called with notes about settings that were dropped or detected.

    Returns:
        The configuration with the file as `data.test`, and the table. Required columns may still
        be missing.

    Raises:
        ConfigError: an override is invalid for this file.
        DataError: the file cannot be read.
    """
    _check_path(file)
    # As data.test, the file needs no training split and is not split itself.
    config, notes = _with_data(card, {"test": file}, overrides)
    table = _table_of(config)
    table.check_file()
    required = [*config.data.text_columns, *([config.data.label_column] if needs_labels else [])]
    is_text = table.format in ("csv", "tsv")
    if is_text and _is_doubtful(fit := _fit(table, required), required):
        changes = _recognised_settings(table, set_values(overrides))
        if changes:
            other, other_notes = _with_data(card, {"test": file, **changes}, overrides)
            other_table = _table_of(other)
            if _fit(other_table, required) > fit:
                assignments = " and ".join(
                    f"data.{name}={value!r}" for name, value in changes.items()
                )
                notes = [*other_notes, f"{file}: read with {assignments}, detected from the file"]
                config, table = other, other_table
    for note in notes:
        on_note(note)
    return config, table


def set_values(overrides: Overrides) -> dict[str, Any]:
    """Return setting -> value, which is as written for `section.setting=value`."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    pairs = (override.partition("=") for override in overrides)
    return {setting.strip(): value for setting, _, value in pairs}


def find_columns(table: Table, required: Sequence[str]) -> list[str | None]:
    """Return the names of columns specified by name or by number from 1; None if missing.

    Raises:
        DataError: the first row cannot be read.
    """
    names = table.columns()[1]
    # The keys of JSON objects have no guaranteed order.
    is_numbered = table.format in ("csv", "tsv", "parquet")

    def find(column: str) -> str | None:
        if column in names:
            return column
        if is_numbered and column.isdecimal() and 1 <= int(column) <= len(names):
            return names[int(column) - 1]
        return None

    return [find(str(column)) for column in required]


def missing_column(table: Table, missing: str) -> DataError:
    """Return the error for a table without a required text column."""
    names = table.columns()[1]
    guesses, has_header, delimiter = [*TEXT_NAMES], True, table.delimiter
    if table.format in ("csv", "tsv"):
        with contextlib.suppress(DataError):
            recognised = data.recognise(table.path)
            guesses += recognised.text_columns
            has_header = recognised.header
            delimiter = recognised.delimiter or delimiter
    likely = next(name for name in [*guesses, names[0]] if name in names)
    setting = f"data.text_columns=[{likely}]"
    if len(names) == 1 and delimiter != table.delimiter and delimiter in names[0]:
        setting = f"data.delimiter={delimiter}"
    advice = f"use --set {shlex.quote(setting)}"
    if table.header and not has_header:
        advice += ", or --set data.header=false --set data.text_columns=[1] if this line is a row"
    return DataError(f"{table.path}: no column {missing!r}; found {format_list(names)}; {advice}")


class _Fit(NamedTuple):
    """Measure of how well a table's settings fit its file; greater is better.

    Attributes:
        num_required: number of required columns that exist.
        is_readable: whether the first rows can be read.
        num_columns: number of all columns.
    """

    num_required: int
    is_readable: bool
    num_columns: int


def _fit(table: Table, required: Sequence[str]) -> _Fit:
    try:
        columns = find_columns(table, required)
        num_columns = len(table.columns()[1])
    except DataError:
        return _Fit(0, False, 0)
    try:
        for _ in itertools.islice(table.cells(), _SAMPLE_ROWS):
            pass
        is_readable = True
    except DataError:
        is_readable = False
    return _Fit(len(columns) - columns.count(None), is_readable, num_columns)


def _is_doubtful(fit: _Fit, required: Sequence[str]) -> bool:
    # Column number 1 exists with any separator.
    is_whole_row = fit.num_columns == 1 and required[0].isdecimal()
    return fit.num_required < len(required) or not fit.is_readable or is_whole_row


def _recognised_settings(table: Table, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the detected separator and quoting of a CSV or TSV file if not set and different.

    Args:
        table: the table with its current settings.
        values: overridden settings.

    Raises:
        DataError: the file has another format.
    """
    try:
        recognised = data.recognise(table.path)
    except DataError:
        return {}
    if recognised.format not in ("csv", "tsv"):
        raise DataError(
            f"{table.path}: the file is {recognised.format}, not {table.format}; "
            f"use --set data.format={recognised.format}"
        )
    if "data.delimiter" in values and recognised.delimiter != table.delimiter:
        return {}  # the quoting was detected for another separator
    settings = {"delimiter": recognised.delimiter or table.delimiter, "quoting": recognised.quoting}
    return {
        name: value
        for name, value in settings.items()
        if f"data.{name}" not in values and value != getattr(table, name)
    }


def _table_of(config: Config) -> Table:
    """Open the table `data.test`.

    Raises:
        DataError: the format of its ending is unknown, or it is a pipe.
    """
    settings = configuration.with_paths(config).data
    assert settings.test is not None
    names = ("format", "delimiter", "quoting", "header", "encoding")
    table = open_table(settings.test, **settings.to_dict(*names))
    if is_pipe(table.path):
        raise DataError(f"{table.path}: a pipe can be read only once; save the table in a file")
    return table


def is_pipe(path: str) -> bool:
    """Return whether a path exists and is neither a file nor a folder."""
    full = os.path.expanduser(path)
    return os.path.exists(full) and not (os.path.isfile(full) or os.path.isdir(full))


def _check_path(file: str) -> None:
    """Check that a path can be decoded in the encoding of the locale, as settings are text.

    Raises:
        DataError: it cannot.
    """
    try:
        file.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{file}: the path is not valid in {sys.getfilesystemencoding()}, the encoding of the "
            "locale; rename the file, or set PYTHONUTF8=1 if the path is UTF-8"
        ) from None


def _with_data(
    card: Card, location: dict[str, Any], overrides: Overrides
) -> tuple[Config, list[str]]:
    """Return the configuration of a card with other data, and notes for the user.

    Args:
        location: settings of section `data` that locate the other data; further settings of that
            section replace those of the card.

    Raises:
        ConfigError: an override is invalid for these data.
    """
    replaced = ["source", "train", "validation", "test", "format", "data_dir", "class_names_file"]
    values_set = set_values(overrides)
    new_format = data_format({**location, "format": values_set.get("data.format", "auto")})
    if new_format != data_format(card.config["data"]):
        replaced += ["delimiter", "quoting"]  # they describe the old format
    kept = {name: value for name, value in card.config["data"].items() if name not in replaced}
    location = {**location, "class_names": list(card.class_names)}
    values = {"data": kept | location}
    # A delimiter, for instance, has an effect only for CSV and TSV.
    readable = {name: value for name, value in kept.items() if is_read(f"data.{name}", values)}
    notes = []
    file = location.get("test")
    if file and is_read("data.encoding", values) and "data.encoding" not in values_set:
        encoding = _other_encoding(file, trained := kept.get("encoding", "utf-8"))
        if encoding is not None:
            readable["encoding"] = encoding
            notes.append(
                f"{file}: reading as {encoding.upper()} (the training data were {trained})"
            )
    resolved = Config.from_dict({**card.config, "data": readable | location}, overrides)
    return resolved, [*notes, *resolved.notices]


def _other_encoding(file: str, trained: str) -> str | None:
    """Return the encoding of a file if it is certain and the training encoding would misread it."""
    if not os.path.isfile(os.path.expanduser(file)):
        return None
    try:
        sample = Table(file, "csv", ",", "minimal", True, "utf-8").sample(1 << 20)
    except DataError:
        return None
    encoding = guess_encoding(sample).removesuffix("-sig")
    is_certain = encoding in ("utf-8", "utf-16")
    if not is_certain or codec_of(encoding) == codec_of(trained):
        return None
    is_same = sample.isascii() and sample.decode(trained, "replace").isascii()
    return None if is_same else encoding
