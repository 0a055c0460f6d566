"""Configuration of an experiment: its settings, and reading and checking of files.

A configuration file is YAML with the sections `data`, `text`, `model`, `training` and
`evaluation`, and contains only settings that differ from their defaults. Precedence is
defaults < file < `--set section.setting=value`. All errors are reported
together, each with the path of the setting, the expected value and, for a misspelt name, a
suggestion.

    settings     the settings, and the rules for when each is read
    reading      conversion of YAML to plain values with their locations, and back
    resolution   overrides, and checks of names, values and combinations

    config, notices = load("reviews.yaml", ["training.epochs=3"])
    config.model.units
"""

import importlib.util
import itertools
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from textclf.config import reading
from textclf.config.resolution import Layer, Overrides, resolve
from textclf.config.settings import (
    FILE_ENDINGS,
    PATH_SETTINGS,
    RULES,
    SECTIONS,
    SETTINGS,
    Config,
    Data,
    Training,
    choices,
    data_format,
    expected,
    holds_text,
)
from textclf.errors import ConfigError, closest, install_command

__all__ = [
    "PATH_SETTINGS",
    "RULES",
    "SECTIONS",
    "SETTINGS",
    "Config",
    "Data",
    "Training",
    "check_environment",
    "choices",
    "data_format",
    "expected",
    "from_dict",
    "from_yaml",
    "holds_text",
    "json_schema",
    "load",
    "paths",
    "resolve_path",
    "to_yaml",
    "with_paths",
]


def load(path: str | os.PathLike, overrides: Overrides = ()) -> tuple[Config, list[str]]:
    """Read a configuration file and apply overrides.

    Returns:
        The configuration, and notices about settings of the file that were dropped because an
        override disabled them.

    Raises:
        ConfigError: lists all errors of the file and of the overrides.
    """
    path = Path(path)
    if path.suffix.lower() in (*FILE_ENDINGS, ".gz", ".txt"):
        raise ConfigError(
            [
                f"{path}: is a data file by its name, expected a configuration; create one with "
                f"`textclf init {shlex.quote(str(path))} {shlex.quote(path.stem + '.yaml')}`"
            ]
        )
    try:
        text = reading.read_text(path)
    except FileNotFoundError:
        near = closest(path.name, _list_folder(path.parent))
        hint = f"did you mean {path.parent / near}?" if near else "name a YAML file"
        raise ConfigError([f"{path}: no such configuration file; {hint}"]) from None
    except OSError as error:
        raise ConfigError(
            [f"{path}: cannot be read ({error.strerror}); expected a YAML file"]
        ) from None
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError([str(error)]) from None
    return from_yaml(text, overrides, place=str(path))


def from_yaml(
    text: str, overrides: Overrides = (), *, place: str = "configuration"
) -> tuple[Config, list[str]]:
    """Read the text of a configuration file and apply overrides, like `load`.

    Args:
        place: name of the file in messages.
    """
    try:
        parsed = reading.parse(text, place, holds_text)
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    values = {} if parsed.value is None else parsed.value
    base = Layer(values, parsed.locations, place, frozenset(parsed.unreadable))
    return resolve(base, overrides, parsed.problems, is_experiment=True)


def from_dict(
    values: Mapping[str, Mapping[str, Any]], overrides: Overrides = ()
) -> tuple[Config, list[str]]:
    """Check plain values, such as those of `Config.to_dict`, and apply overrides.

    Unlike a file, they may omit the training data: a trained classifier is evaluated on
    `data.test` alone.
    """
    return resolve(Layer(values, {}), overrides, [], is_experiment=False)


def resolve_path(path: str, setting: str) -> str:
    """Replace a leading `${NAME}` by the environment variable and `~` by the home folder.

    Raises:
        ConfigError: the variable is not set.
    """
    match = re.match(r"\$\{(\w+)\}", path)
    if match:
        value = os.environ.get(match[1])
        if not value:
            raise ConfigError(
                [
                    f"{setting}: the environment variable {match[1]} in {path!r} is not set; "
                    f"set it to the folder, for instance: export {match[1]}=..."
                ]
            )
        path = value + path[match.end() :]
    return os.path.expanduser(path)


def paths(config: Config) -> dict[str, str]:
    """Return setting -> path as written, of the settings that hold a path."""
    data = config.data.to_dict()
    no_paths = {"data.source"} if data_format(data) in ("tfds", "demo") else set()
    if data_format(data) in ("folder", "tfds", "demo"):  # their values are names of splits
        no_paths |= {"data.train", "data.validation", "data.test"}
    written = {}
    for setting in PATH_SETTINGS:
        section, name = setting.split(".")
        path = getattr(getattr(config, section), name)
        if path is not None and setting not in no_paths:
            written[setting] = path
    return written


def with_paths(config: Config) -> Config:
    """Return the configuration with every path setting resolved by `resolve_path`.

    Raises:
        ConfigError: lists all environment variables that are not set.
    """
    problems: list[str] = []
    values = msgspec.to_builtins(config)
    for setting, path in paths(config).items():
        section, name = setting.split(".")
        try:
            values[section][name] = resolve_path(path, setting)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return Config.of(values)


def check_environment(config: Config) -> None:
    """Check that this machine has the packages and files for a training, except the data.

    Args:
        config: a configuration with resolved paths.

    Raises:
        ConfigError: lists all missing packages and files.
    """
    problems = []
    if config.training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        problems.append(
            "training.tensorboard: tensorboard is not installed; install it with "
            f"{install_command('tensorboard')} or remove the setting"
        )
    vectors = config.model.embedding_vectors
    if vectors is not None and not os.path.isfile(vectors):
        problems.append(
            f"{vectors}: no such file; model.embedding_vectors names a GloVe, word2vec or "
            "fastText text file"
        )
    elif vectors is not None:
        width = _vector_width(vectors)
        if width not in (None, config.model.embedding_dim):
            problems.append(
                f"{vectors}: contains vectors of {width} numbers, but model.embedding_dim is "
                f"{config.model.embedding_dim}; set model.embedding_dim to {width}"
            )
    if problems:
        raise ConfigError(problems)


def to_yaml(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return plain values as YAML text, which `load` reads back."""
    return reading.dump(values)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file, for editors."""
    _, sections = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    for path, setting in SETTINGS.items():
        section, name = path.split(".")
        schema = sections[SECTIONS[section].__name__]["properties"][name]
        schema["default"] = setting.default
        if "enum" in schema:  # msgspec sorts the words
            schema["enum"] = list(choices(path))
        _allow_scalars(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **sections.pop("Config"),
        "title": "textclf configuration",
        # The first line; the rest of the docstring is about the Python class.
        "description": (Config.__doc__ or "").partition("\n")[0],
        "$defs": sections,
    }


def _allow_scalars(schema: dict[str, Any]) -> None:
    """Allow any scalar for a text and one scalar for a list of texts, as `load` does."""
    for alternative in schema.get("anyOf", [schema]):
        if alternative.get("type") == "string" and "enum" not in alternative:
            alternative["type"] = _SCALARS
        elif alternative.get("type") == "array":
            alternative["items"]["type"] = _SCALARS
            alternative["type"] = ["array", *_SCALARS]


_SCALARS = ["string", "number", "boolean"]


def _vector_width(path: str) -> int | None:
    """Return the size of the vectors in a file, from its header or its first vector.

    None if it cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            fields = file.readline(1 << 20).split()
    except OSError:
        return None
    if len(fields) == 2 and all(field.isdecimal() for field in fields):  # word2vec, fastText
        return int(fields[1])
    numbers = itertools.takewhile(_is_number, reversed(fields[1:]))
    return sum(1 for _ in numbers) or None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _list_folder(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
