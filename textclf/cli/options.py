"""The options that commands share, and what they resolve to."""

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from textclf.cli.terminal import note_all
from textclf.errors import ArtifactError, ConfigError, DataError
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.config import Config, Data
    from textclf.data.tables import Table

SPLITS = ("train", "validation", "test")
_TRIED_ROWS = 1000


def argument_text(argument: str, name: str) -> str:
    """Return an argument of the command line as UTF-8, whatever the locale says.

    An argument that is not UTF-8 is in the encoding of the locale.

    Args:
        name: what a message calls the argument.

    Raises:
        UsageError: it is in neither.
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

    # A path stays in the encoding of the locale, in which files are opened.
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
    """The configuration of a file; its notices go to stderr."""
    from textclf.config import load

    resolved, notices = load(file, overrides)
    note_all(notices)
    return resolved


def check_sections(overrides: Sequence[str], sections: Sequence[str], command: str) -> None:
    """Refuses overrides of settings that a command does not read.

    Raises:
        ConfigError: with each of them.
    """
    problems = []
    for override in overrides:
        name = override.partition("=")[0]
        if name.partition(".")[0] not in sections:
            readable = " and ".join(f"{section}.*" for section in sections)
            problems.append(
                f"--set {name}: `textclf {command}` reads {readable} only; what a trained "
                "classifier is was settled by its training"
            )
    if problems:
        raise ConfigError(problems)


def read_card(model: Path) -> "Card":
    """The card of a trained folder, of an exported version, or of the newest version in it.

    Raises:
        ArtifactError: it is none of these.
    """
    from textclf import artifact

    version = artifact.exported_version(model)
    if version is None:
        return artifact.read_card(model)
    extra = version / "assets.extra"
    if not os.path.exists(extra / artifact.CARD):
        raise ArtifactError(
            f"{version}: is a SavedModel that textclf did not write (assets.extra/{artifact.CARD} "
            "is missing); `textclf export` writes one"
        )
    return artifact.read_card(extra)


def data_to_score(
    card: "Card", source: str | None, split: str, is_split_given: bool, overrides: Sequence[str]
) -> tuple["Config", str, str]:
    """Return the configuration of the data on which a trained classifier is scored.

    Args:
        source: a file whose rows are all scored, or anything else that data.source may be; None
            for the data of the training.
        split: the split to score, where there are several.
        is_split_given: whether the user named it.

    Returns:
        The configuration with these data, the split to score, and both in words.

    Raises:
        ConfigError: the overrides do not fit.
        DataError: the file cannot be read.
    """
    from textclf.config import from_dict

    if source is None:
        resolved, notices = from_dict(card.config, overrides)
        note_all(notices)
        return resolved, split, split
    if source == "demo" or source.startswith("tfds:") or os.path.isdir(os.path.expanduser(source)):
        resolved, notes = _with_data(card, {"source": source}, overrides)
        note_all(notes)
        return resolved, split, f"{split} of {source}"
    if is_split_given:
        raise click.UsageError(f"--split: all rows of the file {source} are scored; leave it")
    return file_to_read(card, source, overrides, needs_labels=True)[0], "test", source


# === Files for a trained classifier ===


def file_to_read(
    card: "Card", file: str, overrides: Sequence[str], *, needs_labels: bool
) -> tuple["Config", "Table"]:
    """Return how a trained classifier reads a file; notes go to stderr.

    Settings that `overrides` set are kept, the others are those of the training. If the wanted
    columns are not found with them, or the first rows cannot be read, separator and quoting are
    recognised from the file.

    Args:
        needs_labels: whether the label column is wanted, not only the text columns.

    Returns:
        The configuration with the file as `data.test`, and the table. The wanted columns may still
        be missing.

    Raises:
        ConfigError: the overrides do not fit.
        DataError: the file cannot be read.
    """
    _check_path(file)
    # A file given as test needs no train, and none of its rows is set aside.
    config, notes = _with_data(card, {"test": file}, overrides)
    table = _table_of(config)
    table.check_file()
    wanted = [*config.data.text_columns, *([config.data.label_column] if needs_labels else [])]
    is_text = table.format in ("csv", "tsv")
    if is_text and _is_doubtful(fit := _fit(table, wanted), wanted):
        changes = _recognised_settings(table, set_values(overrides))
        if changes:
            other, other_notes = _with_data(card, {"test": file, **changes}, overrides)
            other_table = _table_of(other)
            if _fit(other_table, wanted) > fit:
                shown = " and ".join(f"data.{name}={value!r}" for name, value in changes.items())
                notes = [*other_notes, f"{file}: read with {shown}, recognised from the file"]
                config, table = other, other_table
    note_all(notes)
    return config, table


def set_values(overrides: Sequence[str]) -> dict[str, str]:
    """Return setting -> value as written, of overrides."""
    pairs = (override.partition("=") for override in overrides)
    return {setting.strip(): value for setting, _, value in pairs}


def find_columns(table: "Table", wanted: Sequence[str]) -> list[str | None]:
    """Return the names of columns that are named or numbered from 1; None for a missing one.

    Raises:
        DataError: the first row cannot be read.
    """
    names = table.columns()[1]
    # The keys of JSON objects have no order that the file guarantees.
    is_numbered = table.format in ("csv", "tsv", "parquet")

    def find(column: str) -> str | None:
        if column in names:
            return column
        if is_numbered and column.isdecimal() and 1 <= int(column) <= len(names):
            return names[int(column) - 1]
        return None

    return [find(str(column)) for column in wanted]


class _Fit(NamedTuple):
    """How well a table's settings fit its file; the greater fits better.

    Attributes:
        num_wanted: the wanted columns that are there.
        is_readable: whether the first rows can be read.
        num_columns: all columns.
    """

    num_wanted: int
    is_readable: bool
    num_columns: int


def _fit(table: "Table", wanted: Sequence[str]) -> _Fit:
    try:
        columns = find_columns(table, wanted)
        num_columns = len(table.columns()[1])
    except DataError:
        return _Fit(0, False, 0)
    try:
        for _ in itertools.islice(table.cells(), _TRIED_ROWS):
            pass
        is_readable = True
    except DataError:
        is_readable = False
    return _Fit(len(columns) - columns.count(None), is_readable, num_columns)


def _is_doubtful(fit: _Fit, wanted: Sequence[str]) -> bool:
    # The number 1 is a column with any separator.
    is_whole_row = fit.num_columns == 1 and wanted[0].isdecimal()
    return fit.num_wanted < len(wanted) or not fit.is_readable or is_whole_row


def _recognised_settings(table: "Table", values: dict[str, str]) -> dict[str, str]:
    """Return separator and quoting of a CSV or TSV file where they are not set and differ.

    Args:
        table: as it is read so far.
        values: what the user set.

    Raises:
        DataError: the file holds another format.
    """
    from textclf import data

    try:
        recognised = data.recognise(table.path)
    except DataError:
        return {}
    if recognised.format not in ("csv", "tsv"):
        raise DataError(
            f"{table.path}: the file holds {recognised.format}, not {table.format}; "
            f"use --set data.format={recognised.format}"
        )
    if "data.delimiter" in values and recognised.delimiter != table.delimiter:
        return {}  # the quoting was recognised for another separator
    settings = {"delimiter": recognised.delimiter or table.delimiter, "quoting": recognised.quoting}
    return {
        name: value
        for name, value in settings.items()
        if f"data.{name}" not in values and value != getattr(table, name)
    }


def _table_of(config: "Config") -> "Table":
    """Return the table `data.test`.

    Raises:
        DataError: its ending tells no format, or it is a pipe.
    """
    from textclf.config import with_paths
    from textclf.data.tables import open_table

    settings = with_paths(config).data
    assert settings.test is not None
    how = settings.to_dict("format", "delimiter", "quoting", "header", "encoding")
    table = open_table(settings.test, **how)
    if is_pipe(table.path):
        raise DataError(f"{table.path}: a pipe can be read only once; save the table in a file")
    return table


def is_pipe(path: str) -> bool:
    """Return whether a path is there and is neither a file nor a folder."""
    full = os.path.expanduser(path)
    return os.path.exists(full) and not (os.path.isfile(full) or os.path.isdir(full))


def _check_path(file: str) -> None:
    """Refuse a path that is not text in the encoding of the locale: settings are text.

    Raises:
        DataError: it is not.
    """
    try:
        file.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{file}: the path is not text in {sys.getfilesystemencoding()}, the encoding of the "
            "locale; rename the file, or set PYTHONUTF8=1 if the path is UTF-8"
        ) from None


def _with_data(
    card: "Card", place: dict[str, Any], overrides: Sequence[str]
) -> tuple["Config", list[str]]:
    """Return the configuration of a card with other data, and notes for the user.

    Args:
        place: where the other data are, as settings of section `data`; also other settings of that
            section, which replace those of the card.

    Raises:
        ConfigError: the overrides do not fit.
    """
    from textclf.config import RULES, data_format, from_dict

    own = ["source", "train", "validation", "test", "format", "data_dir", "class_names_file"]
    values_set = set_values(overrides)
    new_format = data_format({**place, "format": values_set.get("data.format", "auto")})
    if new_format != data_format(card.config["data"]):
        own += ["delimiter", "quoting"]  # they are said of the other format
    kept = {name: value for name, value in card.config["data"].items() if name not in own}
    place = {**place, "class_names": list(card.class_names)}
    values = {"data": kept | place}

    def is_read(name: str) -> bool:
        """Return whether a setting has a meaning for these data, as a delimiter for CSV."""
        rule = RULES.get(f"data.{name}")
        state = None if rule is None else rule.state(values)
        return rule is None or state is None or state in rule.read_in

    readable = {name: value for name, value in kept.items() if is_read(name)}
    notes = []
    file = place.get("test")
    if file and is_read("encoding") and "data.encoding" not in values_set:
        encoding = _other_encoding(file, trained := kept.get("encoding", "utf-8"))
        if encoding is not None:
            readable["encoding"] = encoding
            notes.append(
                f"{file}: reading as {encoding.upper()} (the training data were {trained})"
            )
    resolved, notices = from_dict({**card.config, "data": readable | place}, overrides)
    return resolved, [*notes, *notices]


def _other_encoding(file: str, trained: str) -> str | None:
    """Return the encoding of a file if it is certain and the trained one would misread the file."""
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


# === Before the data are read ===


def prepare_sources(settings: "Config") -> "Data":
    """Check the sources and return section `data`, the argument of `data.open_dataset`.

    Args:
        settings: with its paths resolved.

    Raises:
        DataError: with all mistakes that can be seen without reading the data.
    """
    from textclf.config import data_format

    if data_format(settings.data.to_dict()) == "tfds":
        import_tensorflow()  # tensorflow-datasets imports it, noise and all
    from textclf import data

    data.check_sources(settings.data)
    return settings.data


def check_split(splits: Sequence[str], split: str) -> None:
    if split not in splits:
        raise DataError(
            f"the data have no {split} split; they have {', '.join(splits)}: use --split, or set "
            f"data.{split}"
        )
