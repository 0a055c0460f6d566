"""Layout: names of the files of trained folders, and the versions of an export."""

import os
from pathlib import Path

from textclf.errors import ArtifactError

FORMAT_VERSION = 1  # of card.json, unless it has the part below
# Of a card with a threshold for two classes: older versions of textclf would ignore it.
THRESHOLD_FORMAT_VERSION = 2
CARD, CARD_PAGE, CONFIG, VOCABULARY = "card.json", "card.md", "config.yaml", "vocabulary.txt"
WEIGHTS, HISTORY, TENSORBOARD = "weights.npz", "history.jsonl", "tensorboard"
SAVED_MODEL, CHECKSUMS = "saved_model.pb", "assets.extra/checksums.json"
LANGUAGE_MODEL = "language_model.json"  # a folder that holds it is a language model
BENCHMARK = "benchmark.json"  # a folder that holds it is a benchmark


def exported_version(folder: str | os.PathLike) -> Path | None:
    """Return the exported version at a path: the folder itself or its newest version, else None."""
    folder = Path(folder)
    if os.path.exists(folder / SAVED_MODEL):
        return folder
    versions = [path for path in folder.glob("[0-9]*") if os.path.exists(path / SAVED_MODEL)]
    numbered = [path for path in versions if path.name.isdecimal()]
    return max(numbered, key=lambda path: int(path.name), default=None)


def find_export(folder: str | os.PathLike) -> Path:
    """Return the exported version at a path, as `exported_version`.

    Raises:
        ArtifactError: there is none.
    """
    version = exported_version(folder)
    if version is None:
        if os.path.exists(folder):
            problem = "holds no exported version; `textclf export` writes one"
        else:
            problem = "does not exist; `textclf export` writes such a folder"
        raise ArtifactError(f"{folder}: {problem}")
    return version
