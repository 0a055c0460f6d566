"""Trained folders: names of their files, their card, checksums, and atomic writing.

A trained folder:

    FOLDER/
    ├── card.json         description of the classifier (`Card`), with checksums of the other files
    ├── card.md           the same description for people
    ├── config.yaml       the whole resolved configuration, ready for `textclf train`
    ├── vocabulary.txt    one token per line, in the order of their ids
    ├── weights.npz       the weights of the network by name, readable with NumPy alone
    ├── history.jsonl     one line per epoch
    ├── paths.json        absolute paths of the training, without a checksum (`config.trained`)
    └── tensorboard/      event files, if requested

The modules of this package:

    layout.py       names of the files; find an exported version
    card.py         Card: description of a trained classifier; imported when it is used
    language_model.py
                    the card of a language model; imported when it is used
    reading.py      read_card, read_model_card: the card of a model, or the reason why it cannot be
                    read
    checksums.py    SHA-256 of the files of a folder
    folders.py      check an output folder; write a folder or a file atomically

Nothing here imports TensorFlow or NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from textclf.artifact.checksums import check_files, checksums, sha256
from textclf.artifact.folders import (
    check_nesting,
    check_output,
    check_writable,
    restore_folder,
    write_file,
    write_folder,
)
from textclf.artifact.layout import (
    BENCHMARK,
    CARD,
    CARD_PAGE,
    CHECKSUMS,
    CONFIG,
    FORMAT_VERSION,
    HISTORY,
    LANGUAGE_MODEL,
    TENSORBOARD,
    THRESHOLD_FORMAT_VERSION,
    VOCABULARY,
    WEIGHTS,
    exported_version,
    find_export,
)
from textclf.artifact.reading import read_card, read_model_card

if TYPE_CHECKING:
    from textclf.artifact.card import (
        Calibration,
        Card,
        DataSummary,
        LinearSummary,
        PastDecision,
        SplitSize,
        TextSummary,
        TrainingSummary,
        TrainTokens,
    )
    from textclf.artifact.language_model import (
        LanguageModelCard,
        is_language_model,
        read_language_model,
    )

__all__ = [
    "BENCHMARK",
    "CARD",
    "CARD_PAGE",
    "CHECKSUMS",
    "CONFIG",
    "FORMAT_VERSION",
    "HISTORY",
    "LANGUAGE_MODEL",
    "TENSORBOARD",
    "THRESHOLD_FORMAT_VERSION",
    "VOCABULARY",
    "WEIGHTS",
    "Calibration",
    "Card",
    "DataSummary",
    "LanguageModelCard",
    "LinearSummary",
    "PastDecision",
    "SplitSize",
    "TextSummary",
    "TrainTokens",
    "TrainingSummary",
    "check_files",
    "check_nesting",
    "check_output",
    "check_writable",
    "checksums",
    "exported_version",
    "find_export",
    "is_language_model",
    "read_card",
    "read_language_model",
    "read_model_card",
    "restore_folder",
    "sha256",
    "write_file",
    "write_folder",
]


_LANGUAGE_MODEL = ("LanguageModelCard", "is_language_model", "read_language_model")


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "language_model" if name in _LANGUAGE_MODEL else "card"
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
