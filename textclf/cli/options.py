"""Options that commands share, and the decoding of arguments."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from textclf.cli.terminal import note, note_all
from textclf.errors import ConfigError, TextclfError
from textclf.splits import SPLITS

if TYPE_CHECKING:
    from textclf.config import Config


@contextlib.contextmanager
def errors_with_options(*names: str) -> Iterator[None]:
    """Name arguments of the library in errors as the options that the user wrote.

    A message that begins with `positive=spam: ` then begins with `--positive spam: `.

    Args:
        names: of the arguments, such as `each_label`.
    """
    pattern = re.compile(rf"^({'|'.join(names)})(?:=|(?=: ))", re.MULTILINE)

    def option(match: re.Match) -> str:
        return f"--{match[1].replace('_', '-')}" + (" " if match[0].endswith("=") else "")

    try:
        yield
    except TextclfError as error:
        raise TextclfError(pattern.sub(option, str(error))) from error


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


class TextCommand(click.Command):
    """Command whose error for an unknown option explains texts that begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            near = (
                f"did you mean {error.possibilities[0]}? Otherwise " if error.possibilities else ""
            )
            raise click.UsageError(
                f"{error.option_name}: no such option; {near}put -- before texts that begin with a "
                "dash",
                ctx,
            ) from None


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


def load_config_of(source: str, overrides: Sequence[str]) -> "Config":
    """Read a configuration file, or return settings for a value of `data.source`.

    The columns and the format of a file are detected from its first rows.
    """
    from textclf import recipes
    from textclf.config import Config

    if source.endswith((".yaml", ".yml")):
        return load_config(Path(source), overrides)
    if os.path.exists(os.path.expanduser(source)):
        return recipes.load_config(source, overrides, data_only=True, on_note=note)
    resolved = Config.from_dict({"data": {"source": source}}, overrides)
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


def split_of(context: click.Context, source: str | None) -> str | None:
    """Return the value of --split, or None if it is not set.

    Raises:
        UsageError: it is set and the source is a file.
    """
    if context.get_parameter_source("split") is not ParameterSource.COMMANDLINE:
        return None
    from textclf.model_data import is_file

    if source is not None and is_file(source):
        raise click.UsageError(f"--split does not apply to a file ({source}); omit it")
    return context.params["split"]
