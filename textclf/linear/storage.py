"""File of a fitted linear model, with its logits of the validation split."""

import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from textclf.linear.fitting import Fitted, Selection
from textclf.linear.model import LinearModel
from textclf.text.ngrams import NgramBlock

_ARRAY = "model/"  # prefix of the arrays of the model


class _Description(msgspec.Struct, frozen=True):
    """Values of a fitted linear model that are not arrays."""

    selection: Selection
    blocks: tuple[tuple[str, int, int], ...]
    num_buckets: int
    max_tokens: int


def save_fitted(fitted: Fitted, path: Path) -> None:
    """Write a fitted linear model; the file appears complete or not at all.

        save_fitted(fitted, path)
        load_fitted(path).model.arrays

    Args:
        path: file to write, with the ending `.npz`; replaced if it exists.
    """
    model = fitted.model
    blocks = tuple((block.kind, block.shortest, block.longest) for block in model.blocks)
    description = _Description(fitted.selection, blocks, model.num_buckets, model.max_tokens)
    arrays: dict[str, Any] = {_ARRAY + name: array for name, array in model.arrays.items()}
    arrays["description"] = np.frombuffer(msgspec.json.encode(description), np.uint8)
    arrays["validation_classes"] = fitted.validation_classes
    arrays["validation_logits"] = fitted.validation_logits
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        temporary = Path(folder, path.name)
        np.savez(temporary, **arrays)
        os.replace(temporary, path)


def load_fitted(path: Path) -> Fitted:
    """Read a file of `save_fitted`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    try:
        return _load(path)
    except (EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: is not a fitted linear model ({error})") from error


def _load(path: Path) -> Fitted:
    with np.load(path, allow_pickle=False) as stored:
        description = msgspec.json.decode(stored["description"].tobytes(), type=_Description)
        model = LinearModel(
            [NgramBlock(*block) for block in description.blocks],
            {name.removeprefix(_ARRAY): stored[name] for name in stored if name.startswith(_ARRAY)},
            num_buckets=description.num_buckets,
            max_tokens=description.max_tokens,
        )
        return Fitted(
            model, description.selection, stored["validation_classes"], stored["validation_logits"]
        )
