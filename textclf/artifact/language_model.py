"""Card of a language model, stored as `language_model.json`."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from textclf.artifact.layout import LANGUAGE_MODEL
from textclf.errors import ArtifactError

_FORMAT_VERSION = 1  # raised when older versions of textclf cannot read the card


class LanguageModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Description of a folder that `textclf pretrain` has written.

        artifact.read_language_model("runs/lm").perplexity["forward"]

    Attributes:
        config: the resolved configuration, as returned by `Config.to_dict`.
        sources: sources of texts beside the training split.
        num_texts, num_tokens: trained texts and their tokens.
        unknown_fraction: share of tokens that are not in the vocabulary.
        num_cut: texts that were cut at the limit of `pretraining.tokens.MAX_TOKENS`.
        num_removed: texts left out because they are in validation or test.
        num_held_out: tokens of the held-out texts.
        epochs: passes over the texts.
        perplexity: direction -> perplexity on these texts.
        versions: package to version.
        created: UTC time of writing, ISO 8601.
        files: SHA-256 of every other file of the folder.
        format_version: version of this format.
    """

    config: dict[str, Any]
    sources: tuple[str, ...]
    num_texts: int
    num_tokens: int
    unknown_fraction: float
    num_cut: int
    num_removed: int
    num_held_out: int
    epochs: int
    perplexity: dict[str, float]
    versions: dict[str, str]
    created: str
    files: dict[str, str] = {}
    format_version: int = _FORMAT_VERSION

    def to_json(self) -> str:
        """Return the content of `language_model.json`."""
        return json.dumps(msgspec.to_builtins(self), ensure_ascii=False, indent=2) + "\n"


def is_language_model(folder: str | os.PathLike) -> bool:
    """Return whether a folder was written by `textclf pretrain`."""
    return os.path.exists(Path(folder) / LANGUAGE_MODEL)


def read_language_model(folder: str | os.PathLike) -> LanguageModelCard:
    """Read the card of a language model.

    Raises:
        ArtifactError: there is none, it is damaged, or its format is newer than this textclf.
    """
    path = Path(folder) / LANGUAGE_MODEL
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["format_version"]
        if version <= _FORMAT_VERSION:
            return msgspec.convert(values, LanguageModelCard)
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}); run `textclf pretrain` again"
        ) from None
    raise ArtifactError(
        f"{path}: format {version} is newer than format {_FORMAT_VERSION}, the newest that this "
        "textclf reads; upgrade textclf"
    )
