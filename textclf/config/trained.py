"""Configurations of trained folders: paths of the training, and settings that no longer exist.

The card and `config.yaml` of a trained folder hold the paths as written, so that the same training
in another place gives the same bytes. `paths.json` holds where they were. No card, export, report
or checksum contains it, and a folder without it can be used: its relative paths are then relative
to the current folder.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textclf.config.paths import value_of
from textclf.config.settings import PATH_SETTINGS, REMOVED_SETTINGS
from textclf.errors import ConfigError

_FILE = "paths.json"
_CARD = "card.json"


def is_trained(folder: str | os.PathLike) -> bool:
    """Return whether a folder has a card: its configuration is a copy, with paths as written."""
    return os.path.isfile(os.path.join(folder, _CARD))


def write_trained_paths(folder: str | os.PathLike, paths: Mapping[str, str]) -> None:
    """Write `paths.json`.

    Args:
        paths: setting -> absolute path, as of `absolute_paths`.
    """
    # ASCII, because a path may hold bytes that are not UTF-8.
    text = json.dumps(dict(paths), indent=2) + "\n"
    Path(folder, _FILE).write_text(text, encoding="ascii")


def read_trained_paths(folder: str | os.PathLike) -> dict[str, str]:
    """Return setting -> absolute path in the training; empty without `paths.json`.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = Path(folder, _FILE)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: cannot be read ({error}); remove the file"]) from None
    values = values if isinstance(values, dict) else {}
    return {name: value for name, value in values.items() if _is_path(name, value)}


def _is_path(setting: str, value: Any) -> bool:
    return setting in PATH_SETTINGS and isinstance(value, str) and os.path.isabs(value)


def existing_paths(trained_paths: Mapping[str, str]) -> dict[str, str]:
    """Return the paths of a training at which there still is a file or folder."""
    return {setting: path for setting, path in trained_paths.items() if os.path.exists(path)}


def fix_trained_paths(values: Any, folder: Path) -> dict[str, str]:
    """Return setting -> absolute path, of the paths in the `config.yaml` of a trained folder.

    Paths that were changed in the file since the training are left out.

    Args:
        values: plain values of the file, which are not checked yet.
        folder: the trained folder.

    Raises:
        ConfigError: `paths.json` cannot be read.
    """
    fixed = existing_paths(read_trained_paths(folder))
    if not fixed:
        return {}
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    trained = value_of(card, "config")
    return {
        setting: path
        for setting, path in fixed.items()
        if value_of(values, setting) == value_of(trained, setting)
    }


def drop_removed_settings(values: Any, *, keep_used: bool) -> list[str]:
    """Delete settings that no longer exist from the configuration of a trained folder.

        drop_removed_settings({"model": {"ngram_buckets": 0}}, keep_used=True)    # []

    Args:
        values: plain values, which are not checked yet; they are changed.
        keep_used: whether settings that had an effect in the training are kept.

    Returns:
        The removed settings that had an effect in the training.
    """
    used = []
    for setting, removed in REMOVED_SETTINGS.items():
        value = value_of(values, setting)
        if value is None:
            continue
        is_used = value != removed.without_effect
        if is_used:
            used.append(setting)
        if not (is_used and keep_used):
            section, name = setting.split(".")
            del values[section][name]
    return used
