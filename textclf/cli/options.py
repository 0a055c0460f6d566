"""The options that commands share, and what they resolve to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textclf.cli.terminal import note_all
from textclf.errors import ArtifactError, ConfigError, DataError
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.config import Config

SPLITS = ("train", "validation", "test")

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
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
    """Where the texts stand that a trained classifier is scored on.

    Args:
        source: a file whose rows are all scored, or anything else that data.source may be; None
            for the data of the training.
        split: which part, where there are several.
        is_split_given: whether the user named it.

    Returns:
        The configuration with these data, the split to score, and both in words.

    Raises:
        ConfigError: the overrides do not fit.
    """
    from textclf.config import from_dict

    if source is None:
        resolved, notices = from_dict(card.config, overrides)
        note_all(notices)
        return resolved, split, split
    if source == "demo" or source.startswith("tfds:") or os.path.isdir(os.path.expanduser(source)):
        return moved(card, {"source": source}, overrides), split, f"{split} of {source}"
    if is_split_given:
        raise click.UsageError(f"--split: all rows of the file {source} are scored; leave it")
    # A file given as test needs no train beside it, and no row of it is set aside.
    return moved(card, {"test": source}, overrides), "test", source


def moved(card: "Card", place: dict[str, Any], overrides: Sequence[str]) -> "Config":
    """The configuration of a card with other data in the place of its own.

    Args:
        place: where the other data are, as settings of section `data`.

    Raises:
        ConfigError: the overrides do not fit.
    """
    from textclf.config import RULES, from_dict

    own = ("source", "train", "validation", "test", "format", "data_dir", "class_names_file")
    kept = {name: value for name, value in card.config["data"].items() if name not in own}
    place = {**place, "class_names": list(card.class_names)}
    values = {"data": kept | place}
    readable = {}
    for name, value in kept.items():
        # A delimiter means nothing for Parquet, and nobody asked for it here.
        rule = RULES.get(f"data.{name}")
        state = None if rule is None else rule.state(values)
        if rule is None or state is None or state in rule.read_in:
            readable[name] = value
    file = place.get("test") or place.get("source") or ""
    is_set = any(override.startswith("data.encoding=") for override in overrides)
    if "encoding" in readable and not is_set and _is_other_utf8(file, readable["encoding"]):
        trained = readable.pop("encoding")
        note_all(
            [f"{file}: is read as the UTF-8 that it is, though the training data were {trained}"]
        )
    resolved, notices = from_dict({**card.config, "data": readable | place}, overrides)
    note_all(notices)
    return resolved


def _is_other_utf8(file: str, encoding: str) -> bool:
    """Whether a file is UTF-8, and would be misread in an encoding that takes any bytes."""
    from textclf.data.tables import Table, codec_of, guess_encoding

    if codec_of(encoding) == codec_of("utf-8") or not os.path.isfile(os.path.expanduser(file)):
        return False
    try:
        sample = Table(file, "csv", ",", "minimal", True, "utf-8").sample(1 << 20)
    except DataError:
        return False
    return not sample.isascii() and codec_of(guess_encoding(sample)) == codec_of("utf-8")


def prepare_sources(settings: "Config") -> dict[str, Any]:
    """The arguments of `data.open_dataset`, after a look at the sources.

    Args:
        settings: with its paths resolved.

    Raises:
        DataError: with all mistakes that can be seen without reading the data.
    """
    from textclf.config import data_format

    arguments = settings.data.to_dict()
    if data_format(arguments) == "tfds":
        import_tensorflow()  # tensorflow-datasets imports it, noise and all
    from textclf import data

    data.check_sources(**arguments)
    return arguments


def check_split(splits: Sequence[str], split: str) -> None:
    if split not in splits:
        raise DataError(
            f"the data have no {split} split; they have {', '.join(splits)}: use --split, or set "
            f"data.{split}"
        )
