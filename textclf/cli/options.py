"""Options that commands share, and the configurations and files they select."""

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from textclf.cli.terminal import note_all
from textclf.errors import ArtifactError, ConfigError, DataError
from textclf.splits import SPLITS
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.config import Config, Data
    from textclf.data.tables import Table

_SAMPLE_ROWS = 1000


def argument_text(argument: str, name: str) -> str:
    """Decode an argument of the command line as UTF-8, in any locale.

    An argument that is not UTF-8 is decoded in the encoding of the locale.

    Args:
        name: name of the argument in messages.

    Raises:
        UsageError: it is in neither encoding.
    """
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        pass
    try:
        argument.encode()
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        encodings = "UTF-8" if encoding == "utf-8" else f"UTF-8 or {encoding}"
        raise click.UsageError(
            f"{name} '{argument}': not {encodings}; put the text into a file, and set its encoding "
            "with --set data.encoding=..."
        ) from None
    return argument


def _override_texts(
    context: click.Context, option: click.Parameter, overrides: tuple[str, ...]
) -> tuple[str, ...]:
    if all(map(str.isascii, overrides)):
        return overrides
    from textclf.config import PATH_SETTINGS

    # Paths keep the encoding of the locale, which the file system uses.
    return tuple(
        override
        if override.partition("=")[0].strip() in PATH_SETTINGS
        else argument_text(override, "--set")
        for override in overrides
    )


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    callback=_override_texts,
    metavar="SECTION.SETTING=VALUE",
    help="Override one setting; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
split_option = click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="test",
    show_default=True,
    help="The split to report on.",
)
path = click.Path(path_type=Path)


def load_config(file: Path, overrides: Sequence[str]) -> "Config":
    """Read a configuration file; write its notices to stderr."""
    from textclf.config import Config

    resolved = Config.load(file, overrides)
    note_all(resolved.notices)
    return resolved


def check_sections(overrides: Sequence[str], sections: Sequence[str], command: str) -> None:
    """Check that a command reads all overridden settings.

    Raises:
        ConfigError: lists the settings that it does not read.
    """
    problems = []
    for override in overrides:
        name = override.partition("=")[0]
        if name.partition(".")[0] not in sections:
            readable = " and ".join(f"{section}.*" for section in sections)
            problems.append(
                f"--set {name}: `textclf {command}` reads {readable} only; train "
                "again to change other settings"
            )
    if problems:
        raise ConfigError(problems)


def read_card(model: Path) -> "Card":
    """Read the card of a trained folder, an exported version or the newest of several versions.

    Raises:
        ArtifactError: `model` is none of these.
    """
    from textclf import artifact

    version = artifact.exported_version(model)
    if version is None:
        return artifact.read_card(model)
    extra = version / "assets.extra"
    if not os.path.exists(extra / artifact.CARD):
        raise ArtifactError(
            f"{version}: is not a SavedModel of textclf (assets.extra/{artifact.CARD} is missing); "
            "create one with `textclf export`"
        )
    return artifact.read_card(extra)


def data_to_score(
    card: "Card", source: str | None, split: str, is_split_set: bool, overrides: Sequence[str]
) -> tuple["Config", str, str]:
    """Return the configuration of the data on which a trained classifier is scored.

    Args:
        source: a file (all rows are scored) or another value of data.source; None for the
            training data.
        split: the split to score, if the source has several.
        is_split_set: whether the user set --split.

    Returns:
        The configuration with these data, the split to score, and a description of both.

    Raises:
        ConfigError: an override is invalid for these data.
        DataError: the file cannot be read.
    """
    from textclf.config import Config

    if source is None:
        resolved = Config.from_dict(card.config, overrides)
        note_all(resolved.notices)
        return resolved, split, split
    if source == "demo" or source.startswith("tfds:") or os.path.isdir(os.path.expanduser(source)):
        resolved, notes = _with_data(card, {"source": source}, overrides)
        note_all(notes)
        return resolved, split, f"{split} of {source}"
    if is_split_set:
        raise click.UsageError(f"--split does not apply to a file ({source}); omit it")
    return file_to_read(card, source, overrides, needs_labels=True)[0], "test", source


# === Files read by a trained classifier ===


def file_to_read(
    card: "Card", file: str, overrides: Sequence[str], *, needs_labels: bool
) -> tuple["Config", "Table"]:
    """Return the configuration with which a trained classifier reads a file; notes go to stderr.

    The settings are those of the training, except overridden ones. If the required columns are
    missing or the first rows cannot be read, separator and quoting are detected from the file.

    Args:
        needs_labels: whether the label column is required in addition to the text columns.

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
    note_all(notes)
    return config, table


def set_values(overrides: Sequence[str]) -> dict[str, str]:
    """Return setting -> value as written."""
    pairs = (override.partition("=") for override in overrides)
    return {setting.strip(): value for setting, _, value in pairs}


def find_columns(table: "Table", required: Sequence[str]) -> list[str | None]:
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


def _fit(table: "Table", required: Sequence[str]) -> _Fit:
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


def _recognised_settings(table: "Table", values: dict[str, str]) -> dict[str, str]:
    """Return the detected separator and quoting of a CSV or TSV file if not set and different.

    Args:
        table: the table with its current settings.
        values: overridden settings.

    Raises:
        DataError: the file has another format.
    """
    from textclf import data

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


def _table_of(config: "Config") -> "Table":
    """Open the table `data.test`.

    Raises:
        DataError: the format of its ending is unknown, or it is a pipe.
    """
    from textclf.config import with_paths
    from textclf.data.tables import open_table

    settings = with_paths(config).data
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
    card: "Card", location: dict[str, Any], overrides: Sequence[str]
) -> tuple["Config", list[str]]:
    """Return the configuration of a card with other data, and notes for the user.

    Args:
        location: settings of section `data` that locate the other data; further settings of that
            section replace those of the card.

    Raises:
        ConfigError: an override is invalid for these data.
    """
    from textclf.config import Config, data_format, is_read

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
    from textclf.data.encodings import codec_of, guess_encoding
    from textclf.data.tables import Table

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


# === Checks before the data are read ===


def prepare_sources(settings: "Config") -> "Data":
    """Check the sources and return section `data`, the argument of `data.open_dataset`.

    Args:
        settings: a configuration with resolved paths.

    Raises:
        DataError: lists all errors that can be detected without reading the data.
    """
    from textclf.config import data_format

    if data_format(settings.data.to_dict()) == "tfds":
        import_tensorflow()  # before tensorflow-datasets does, to suppress its log output
    from textclf import data

    data.check_sources(settings.data)
    return settings.data


def check_split(splits: Sequence[str], split: str) -> None:
    if split not in splits:
        raise DataError(
            f"the data have no split {split}, only {', '.join(splits)}; use --split or set "
            f"data.{split}"
        )
