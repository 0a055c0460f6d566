"""Paths in a configuration: environment variables, the home folder and the folder of the file."""

import os
import re

import msgspec

from textclf.config.experiment import Config
from textclf.config.settings import FORMATS_WITH_SPLITS, PATH_SETTINGS, data_format
from textclf.errors import ConfigError


def resolve_path(path: str, setting: str, folder: str | None = None) -> str:
    """Return the path that a setting means, from the current folder.

        resolve_path("../data/train.csv", "data.train", "/home/me/reviews/configs")

    Args:
        path: as written. A leading `${NAME}` is replaced by the environment variable, and `~` by
            the home folder.
        setting: name of the setting in messages.
        folder: absolute folder to which a relative path without these is joined; default: the
            current folder.

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
        return os.path.expanduser(value + path[match.end() :])
    if folder is None or path.startswith("~"):
        return os.path.expanduser(path)
    return _shorten(os.path.join(folder, path))


def _shorten(path: str) -> str:
    """Return an absolute path relative to the current folder if it begins with that."""
    short = path.removeprefix(os.path.join(os.getcwd(), ""))
    return path if short.startswith(("~", "tfds:")) else short  # these have another meaning


def paths(config: Config) -> dict[str, str]:
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


def with_paths(config: Config) -> Config:
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
            values[section][name] = resolve_path(path, setting, config.folders.get(setting))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return Config.of(values)
