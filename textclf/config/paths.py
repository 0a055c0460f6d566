"""Paths in a configuration: environment variables, the home folder and the folder of the file."""

import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from textclf.config.settings import FORMATS_WITH_SPLITS, PATH_SETTINGS, data_format
from textclf.errors import ConfigError

if TYPE_CHECKING:
    from textclf.config.experiment import Config

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def resolve_path(path: str, setting: str, fixed: str | None = None) -> str:
    """Return the path that a setting means, from the current folder.

        resolve_path("${DATA}/train.csv", "data.train")

    Args:
        path: as written. A leading `${NAME}` is replaced by the environment variable, and `~` by
            the home folder; any other relative path is relative to the current folder.
        setting: name of the setting in messages.
        fixed: absolute path that replaces `path`, as in `Config.fixed_paths`; None for none.

    Raises:
        ConfigError: the variable is not set.
    """
    if fixed is not None:
        return _shorten(_absolute(fixed))
    match = _VARIABLE.match(path)
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


def fix_paths(values: Any, folder: str) -> dict[str, str]:
    """Return setting -> absolute path, of the paths that are relative to the folder of a file.

    Args:
        values: plain values of the file, which are not checked yet.
        folder: absolute path.
    """
    fixed = {}
    for setting in PATH_SETTINGS:
        path = value_of(values, setting)
        if isinstance(path, str) and not (path.startswith("~") or _VARIABLE.match(path)):
            fixed[setting] = os.path.join(folder, path)
    return fixed


def value_of(values: Any, setting: str) -> Any:
    """Return the value of a setting in unchecked plain values; None if there is none."""
    for key in setting.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _shorten(path: str) -> str:
    """Return an absolute path relative to the current folder if it begins with that."""
    short = path.removeprefix(os.path.join(os.getcwd(), ""))
    return path if short.startswith(("~", "tfds:")) else short  # these have another meaning


def paths(config: "Config") -> dict[str, str]:
    """Return setting -> path as written, of the settings that hold a path."""
    data = config.data.to_dict()
    kind = data_format(data)
    no_paths = {"data.source"} if kind in ("tfds", "demo") else set()
    if kind in FORMATS_WITH_SPLITS:  # their values are names of splits
        no_paths |= {"data.train", "data.validation", "data.test"}
    written = {}
    for setting in PATH_SETTINGS:
        section, name = setting.split(".")
        path = getattr(getattr(config, section), name)
        if path is not None and setting not in no_paths:
            written[setting] = path
    return written


def with_paths(config: "Config") -> "Config":
    """Return the configuration with every path setting resolved by `resolve_path`.

    Its paths are absolute or relative to the current folder.

    Raises:
        ConfigError: lists all environment variables that are not set.
    """
    problems: list[str] = []
    values = msgspec.to_builtins(config)
    for setting, path in paths(config).items():
        section, name = setting.split(".")
        try:
            values[section][name] = resolve_path(path, setting, config.fixed_paths.get(setting))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return config.of(values)


def absolute_paths(config: "Config") -> dict[str, str]:
    """Return setting -> absolute path, of the settings that hold a path.

    Raises:
        ConfigError: lists all environment variables that are not set.
    """
    return {setting: _absolute(path) for setting, path in paths(with_paths(config)).items()}


def _absolute(path: str) -> str:
    whole = os.path.join(os.getcwd(), path)
    # The slash at the end says that a path is a folder.
    short = (
        os.path.join(os.path.normpath(whole), "") if path[-1] == "/" else os.path.normpath(whole)
    )
    # In `link/..`, the parent is that of the folder to which the link leads.
    return short if os.path.realpath(short) == os.path.realpath(whole) else whole
