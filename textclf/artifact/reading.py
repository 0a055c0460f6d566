"""Reading: the card of a trained folder, or the reason why it cannot be read."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.artifact.folders import restore_folder
from textclf.artifact.layout import (
    CARD,
    LANGUAGE_MODEL,
    SAVED_MODEL,
    THRESHOLD_FORMAT_VERSION,
    WEIGHTS,
    exported_version,
)
from textclf.errors import ArtifactError

if TYPE_CHECKING:
    from textclf.artifact.card import Card


def read_card(folder: str | os.PathLike) -> "Card":
    """Read `card.json`. TensorFlow is not imported.

    If a process was killed while it replaced the folder, the former folder is restored first.

    Raises:
        ArtifactError: the folder is not a trained folder, its card is damaged, its format is newer
            than this textclf, or its network has a part that this textclf no longer has.
    """
    folder = Path(folder)
    path = folder / CARD
    restore_folder(folder)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{folder}: {_why_no_card(folder)}") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}); restore it from a copy or train again"
        ) from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, int):
        raise ArtifactError(
            f"{path}: has no format_version, so it is not a card of textclf; `textclf train` "
            "writes one"
        )
    if version > THRESHOLD_FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format {version} is newer than format {THRESHOLD_FORMAT_VERSION}, the "
            "newest that this textclf reads; upgrade textclf"
        )
    # Imported here: a wrong folder is refused in half the time without msgspec.
    import msgspec

    from textclf.artifact.card import Card
    from textclf.config import drop_removed_settings

    # An export has its graph and no weights file: it does not need the settings of the network.
    used = drop_removed_settings(values.get("config"), keep_used=False)
    if used and (folder / WEIGHTS).exists():
        raise ArtifactError(
            f"{folder}: was trained with {' and '.join(used)}, which this textclf does not have; "
            "train the model again without it"
        )
    try:
        return msgspec.convert(values, Card)
    except msgspec.ValidationError as error:
        raise ArtifactError(
            f"{path}: is damaged ({error}); restore it from a copy or train again"
        ) from None


def read_model_card(model: str | os.PathLike) -> "Card":
    """Read the card of a trained folder, an exported version or the newest of several versions.

    Raises:
        ArtifactError: `model` is none of these.
    """
    version = exported_version(model)
    if version is None:
        return read_card(model)
    extra = version / "assets.extra"
    if not os.path.exists(extra / CARD):
        raise ArtifactError(
            f"{version}: is not a SavedModel of textclf (assets.extra/{CARD} is missing); "
            "create one with `textclf export`"
        )
    return read_card(extra)


def _why_no_card(folder: Path) -> str:
    """Return the reason why a folder has no card, and the fix."""
    if os.path.exists(folder / SAVED_MODEL):
        return "is an exported SavedModel; a folder written by `textclf train` is needed here"
    if os.path.exists(folder / LANGUAGE_MODEL):
        return (
            "is a language model; train a classifier from it with --set "
            f"training.init_from={folder}"
        )
    if not os.path.exists(folder):
        return "does not exist; `textclf train` writes such a folder"
    return f"is not a trained folder (it has no {CARD}); `textclf train` writes one"
