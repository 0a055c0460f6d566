"""Files of checkpoints: written whole, checked when they are read, and the newest two are kept.

A checkpoint is a folder:

    arrays.npz       arrays by name
    checkpoint.json  the position, numbers, and the checksums of the other files
    ...              further files of the caller
"""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from textclf import artifact
from textclf.errors import ArtifactError
from textclf.training.work_folder import CHECKPOINT, FORMAT, Position, checkpoint_folders

_ARRAYS = "arrays.npz"
_NUM_KEPT = 2


class Manifest(msgspec.Struct, kw_only=True):
    """Content of `checkpoint.json`.

    Attributes:
        format: number of the format.
        position: where the training was.
        files: SHA-256 of the other files by name.
        numbers: what the caller stored beside the arrays, as plain values.
    """

    format: int
    position: Position
    files: dict[str, str]
    numbers: dict[str, Any]


class Stored(msgspec.Struct, frozen=True):
    """A checkpoint whose files are whole.

    Attributes:
        folder: its folder; the name is its number.
        manifest: its numbers.
    """

    folder: Path
    manifest: Manifest

    def arrays(self) -> Any:
        """Return the arrays by name, to be closed: they are read when they are used."""
        return np.load(self.folder / _ARRAYS)


class CheckpointFiles:
    """The checkpoints of one training.

        files = CheckpointFiles(folder, minutes=10)
        files.write({"weights": array}, {"loss": 0.5}, Position(epoch=1, step=7))
        stored, notices = files.newest()

    Args:
        folder: holds a folder for each checkpoint.
        minutes: interval after which `is_due` is true.
    """

    def __init__(self, folder: Path, *, minutes: float):
        self.folder = folder
        self._seconds = 60 * minutes
        self._written_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """True if the interval has passed since the last checkpoint."""
        return time.monotonic() - self._written_at >= self._seconds

    def write(
        self,
        arrays: Mapping[str, np.ndarray],
        numbers: Mapping[str, Any],
        position: Position,
        write_more: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        """Write a checkpoint beside the others, then remove all but the newest two.

        Args:
            write_more: called with the folder, for further files.

        Raises:
            ArtifactError: it cannot be written, for instance because the disk is full. The
                former ones are unchanged.
        """
        former = checkpoint_folders(self.folder)
        number = int(former[-1].name) + 1 if former else 1
        with artifact.write_folder(self.folder / f"{number:06d}", overwrite=False) as folder:
            np.savez(folder / _ARRAYS, **arrays)  # type: ignore[arg-type]
            write_more(folder)
            manifest = Manifest(
                format=FORMAT,
                position=position,
                files=artifact.checksums(folder),
                numbers=dict(numbers),
            )
            (folder / CHECKPOINT).write_bytes(msgspec.json.encode(manifest))
        for folder in former[: 1 - _NUM_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)
        self._written_at = time.monotonic()

    def newest(self) -> tuple[Stored | None, tuple[str, ...]]:
        """Return the newest whole checkpoint, and a sentence for each damaged one, now removed."""
        notices: list[str] = []
        for folder in reversed(checkpoint_folders(self.folder)):
            try:
                return self.read(folder), tuple(notices)
            except ArtifactError:
                notices.append(f"the checkpoint {folder} is damaged and was skipped")
                shutil.rmtree(folder)
        return None, tuple(notices)

    @staticmethod
    def read(folder: Path) -> Stored:
        """Return a checkpoint.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        try:
            manifest = msgspec.json.decode((folder / CHECKPOINT).read_bytes(), type=Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise ArtifactError(f"{folder / CHECKPOINT}: cannot be read ({error})") from error
        artifact.check_files(folder, manifest.files)
        return Stored(folder, manifest)
