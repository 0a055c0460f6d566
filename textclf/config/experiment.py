"""The configuration of an experiment: a value read from a file, YAML text or plain values."""

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from textclf.config import reading, trained
from textclf.config.paths import fix_paths
from textclf.config.resolution import Layer, Overrides, Resolved, resolve
from textclf.config.rules import RULES
from textclf.config.settings import FILE_ENDINGS, Sections, Values, holds_text
from textclf.errors import ConfigError, closest_file


class Config(Sections, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Configuration of an experiment; a missing setting has its default.

        config = Config.from_dict({"data": {"source": "reviews.csv"}, "model": {"units": 32}})
        config.model.units
        config = config.replace({"model.encoder": "gru"})

    `load`, `from_yaml`, `from_dict` and `replace` check values; the constructor checks nothing.

    A relative path that was written in a file is relative to the folder of that file; `fixed_paths`
    holds its absolute path. All other relative paths are relative to the current folder. Equality,
    `to_dict` and the YAML form of a configuration contain the paths as written.
    """

    @classmethod
    def of(cls, values: Values) -> "Config":
        """Return the configuration of plain values that were checked before."""
        return msgspec.convert(values, cls)

    @classmethod
    def load(cls, path: str | os.PathLike, overrides: Overrides = ()) -> "Config":
        """Read a configuration file, whose relative paths are relative to its folder.

            config = Config.load("reviews.yaml", {"training.epochs": 3})

        In the `config.yaml` of a trained folder, paths lead to the data of the training from any
        folder. Where the data were moved, they are relative to the current folder.

        Args:
            path: a YAML file.
            overrides: "section.setting" -> value, or a list of "section.setting=value".

        Raises:
            ConfigError: lists all errors of the file and of the overrides.
        """
        path = Path(path)
        text, folder = _read_file(path), path.parent
        if trained.is_trained(folder):
            return cls._of_text(
                text,
                overrides,
                str(path),
                lambda values: trained.fix_trained_paths(values, folder),
                is_trained=True,
            )
        is_pipe = str(path).startswith(("/dev/", "/proc/"))
        return cls.from_yaml(text, overrides, name=str(path), folder=None if is_pipe else folder)

    @classmethod
    def from_yaml(
        cls,
        text: str,
        overrides: Overrides = (),
        *,
        name: str = "configuration",
        folder: str | os.PathLike | None = None,
    ) -> "Config":
        """Return the configuration in the text of a configuration file.

        Args:
            text: YAML.
            overrides: as for `load`.
            name: name of the file in messages.
            folder: folder of relative paths in the text; default: the current folder.

        Raises:
            ConfigError: lists all errors of the text and of the overrides.
        """
        if folder is None:
            return cls._of_text(text, overrides, name, lambda values: {})
        # An absolute folder still holds if the current folder changes.
        absolute = os.path.abspath(folder)
        return cls._of_text(text, overrides, name, lambda values: fix_paths(values, absolute))

    @classmethod
    def _of_text(
        cls,
        text: str,
        overrides: Overrides,
        name: str,
        fix: Callable[[Any], dict[str, str]],
        *,
        is_trained: bool = False,
    ) -> "Config":
        """Return the configuration in a text; `fix` maps its plain values to its fixed paths.

        With `is_trained`, it is the text of a trained folder, perhaps of an older textclf.
        """
        try:
            parsed = reading.parse(text, name, holds_text)
        except ValueError as error:
            raise ConfigError([str(error)]) from None
        values = {} if parsed.value is None else parsed.value
        if is_trained:
            trained.drop_removed_settings(values, keep_used=True)
        unreadable = frozenset(parsed.unreadable)
        base = Layer(values, parsed.locations, name, unreadable, fix(values))
        return cls._of_resolved(resolve(base, overrides, parsed.problems, is_experiment=True))

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Mapping[str, Any]],
        overrides: Overrides = (),
        *,
        fixed_paths: Mapping[str, str] | None = None,
    ) -> "Config":
        """Return the configuration of plain values: section -> setting -> value.

        Unlike a file, they may omit the training data: a trained classifier is evaluated on
        `data.test` alone.

        Args:
            values: such as those of `to_dict`.
            overrides: as for `load`.
            fixed_paths: such as `Config.fixed_paths`; default: paths are relative to the current
                folder.

        Raises:
            ConfigError: lists all errors.
        """
        base = Layer(values, {}, fixed_paths=fixed_paths or {})
        return cls._of_resolved(resolve(base, overrides, [], is_experiment=False))

    def replace(self, overrides: Overrides) -> "Config":
        """Return a copy with other values: "section.setting" -> value.

        Settings that lose their effect are dropped; `notices` lists them. A new path is relative to
        the current folder.

        Raises:
            ConfigError: lists all errors.
        """
        return type(self).from_dict(self.to_dict(), overrides, fixed_paths=self.fixed_paths)

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about settings that an override disabled and that were dropped."""
        return vars(self).get("_notices", ())

    @property
    def fixed_paths(self) -> Mapping[str, str]:
        """Setting -> absolute path, of the paths that do not depend on the current folder."""
        return vars(self).get("_fixed_paths", {})

    @classmethod
    def _of_resolved(cls, resolved: Resolved) -> "Config":
        config = cls.of(resolved.values)
        vars(config)["_notices"] = resolved.notices
        vars(config)["_fixed_paths"] = resolved.fixed_paths
        return config

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return all settings that have an effect, as plain values.

        A setting without effect (such as `reset_after` of an LSTM) is left out, so that
        `from_dict(config.to_dict())` returns an equal configuration.
        """
        values = msgspec.to_builtins(self)
        for path, rule in RULES.items():
            if rule.applies(self) is False:
                section, name = path.split(".")
                del values[section][name]
        return values


def holds_data(path: str | os.PathLike) -> bool:
    """Return whether a path is that of data and not of a configuration, by its name.

        holds_data("reviews.csv.gz")    # True

    These are the files that `FILE_ENDINGS` names, also compressed, and folders.
    """
    path = os.fspath(path)
    name = path.lower().removesuffix(".gz")
    return os.path.splitext(name)[1] in FILE_ENDINGS or os.path.isdir(os.path.expanduser(path))


def _read_file(path: Path) -> str:
    """Return the text of a configuration file.

    Raises:
        ConfigError: it cannot be read, or its name is that of a data file.
    """
    if path.suffix.lower() in (*FILE_ENDINGS, ".gz", ".txt"):
        raise ConfigError(
            [
                f"{path}: is a data file by its name, expected a configuration; create one with "
                f"`textclf init {shlex.quote(str(path))} {shlex.quote(path.stem + '.yaml')}`"
            ]
        )
    try:
        return reading.read_text(path)
    except FileNotFoundError:
        prefix = str(path).removesuffix(path.name)
        near = closest_file(path.name, _list_folder(path.parent))
        hint = "" if near is None else f"; did you mean {prefix}{near}?"
        raise ConfigError(
            [f"{path}: no such configuration file{hint or '; name a YAML file'}"]
        ) from None
    except OSError as error:
        raise ConfigError(
            [f"{path}: cannot be read ({error.strerror}); expected a YAML file"]
        ) from None
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError([str(error)]) from None


def _list_folder(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
