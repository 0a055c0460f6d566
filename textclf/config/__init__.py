"""What an experiment is: every setting with its type, range, default and help.

A configuration file is YAML with the sections `data`, `text`, `model`, `training`,
`evaluation` and `export`, and holds only what differs from the defaults. Precedence is
defaults < file < `--set section.setting=value`. Every mistake is found at once, each with the
path of the setting, what was expected and, for a misspelt name, the likeliest right one.

    settings     the sections, and the rules that say when a setting is read
    reading      YAML to plain values with their places, and back
    resolution   layers, overrides, and all that can be wrong with them

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
        The configuration, and notices about settings of the file which an override made
        meaningless and which were therefore dropped.

    Raises:
        ConfigError: with every mistake of the file and of the overrides.
    """
    path = Path(path)
    if path.suffix.lower() in (*FILE_ENDINGS, ".gz", ".txt"):
        raise ConfigError(
            [
                f"{path}: is a file of texts by its name, expected a configuration; `textclf init "
                f"{shlex.quote(str(path))} {shlex.quote(path.stem + '.yaml')}` writes one"
            ]
        )
    try:
        text = reading.read_text(path)
    except FileNotFoundError:
        near = closest(path.name, _names(path.parent))
        hint = f"did you mean {path.parent / near}?" if near else "name a YAML file"
        raise ConfigError([f"{path}: no such configuration file; {hint}"]) from None
    except OSError as error:
        raise ConfigError(
            [f"{path}: cannot be read ({error.strerror}); expected a YAML file"]
        ) from None
    except ValueError as error:  # no text, or no path
        raise ConfigError([str(error)]) from None
    return from_yaml(text, overrides, place=str(path))


def from_yaml(
    text: str, overrides: Overrides = (), *, place: str = "configuration"
) -> tuple[Config, list[str]]:
    """The same from the text of a configuration file, which messages call `place`."""
    try:
        found = reading.parse(text, place, holds_text)
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    values = {} if found.value is None else found.value
    base = Layer(values, found.places, place, frozenset(found.unreadable))
    return resolve(base, overrides, found.problems, is_experiment=True)


def from_dict(
    values: Mapping[str, Mapping[str, Any]], overrides: Overrides = ()
) -> tuple[Config, list[str]]:
    """The same from plain values, for instance those of `Config.to_dict`.

    Unlike a file, they may leave out the training data: a trained classifier is evaluated on
    `data.test` alone.
    """
    return resolve(Layer(values, {}), overrides, [], is_experiment=False)


def resolve_path(path: str, setting: str) -> str:
    """Replaces a leading `${NAME}` by the environment variable and `~` by the home folder.

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
                    f"set it to the folder that is meant, for instance: export {match[1]}=..."
                ]
            )
        path = value + path[match.end() :]
    return os.path.expanduser(path)


def paths(config: Config) -> dict[str, str]:
    """Return the settings that hold a path, with the path as it is written."""
    data = config.data.to_dict()
    no_paths = {"data.source"} if data_format(data) in ("tfds", "demo") else set()
    if data_format(data) in ("folder", "tfds", "demo"):  # these hold the names of splits
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
        ConfigError: with every environment variable that is not set.
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
    """Looks for what a training with these settings needs on this machine besides its data.

    Args:
        config: with its paths resolved.

    Raises:
        ConfigError: with every package and file that is missing.
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
                f"{vectors}: holds vectors of {width} numbers, and model.embedding_dim is "
                f"{config.model.embedding_dim}; set model.embedding_dim to {width}"
            )
    if problems:
        raise ConfigError(problems)


def to_yaml(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Plain values as YAML text that `load` reads back."""
    return reading.dump(values)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration file, for editors."""
    _, sections = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    for path, setting in SETTINGS.items():
        section, name = path.split(".")
        described = sections[SECTIONS[section].__name__]["properties"][name]
        described["default"] = setting.default
        if "enum" in described:  # msgspec sorts them
            described["enum"] = list(choices(path))
        _widen(described)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **sections.pop("Config"),
        "title": "textclf configuration",
        # The rest of the docstring is for readers of the code.
        "description": (Config.__doc__ or "").partition("\n")[0],
        "$defs": sections,
    }


def _widen(schema: dict[str, Any]) -> None:
    """Let a setting's schema accept what its reader does: scalars as texts, one text as a list."""
    for alternative in schema.get("anyOf", [schema]):
        if alternative.get("type") == "string" and "enum" not in alternative:
            alternative["type"] = _SCALARS
        elif alternative.get("type") == "array":
            alternative["items"]["type"] = _SCALARS
            alternative["type"] = ["array", *_SCALARS]


_SCALARS = ["string", "number", "boolean"]


def _vector_width(path: str) -> int | None:
    """How many numbers the first line of a file of vectors has, or says that the others have."""
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


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
