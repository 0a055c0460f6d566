"""The folder of an unfinished training, which one process at a time may use.

`OUTPUT.unfinished` holds:

    lock            held by the running training
    record.json     settings and data of the training, see `Record`
    batches/        vocabulary and encoded texts
    linear.npz      the linear model, once it is fitted
    checkpoints/    see `checkpoints`
    history.jsonl   one line per complete epoch
    tensorboard/    event files, if requested
    mlflow_run      id of the run in MLflow, if requested

It is removed when the training is finished. Nothing here imports TensorFlow.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import msgspec

from textclf import artifact
from textclf.errors import ArtifactError

_LOCK = "lock"
_RECORD = "record.json"
_CHECKPOINTS = "checkpoints"
CHECKPOINT = "checkpoint.json"
# Raised when a training cannot be continued from the files of an older version.
FORMAT = 4


class Position(msgspec.Struct, frozen=True):
    """Where a training is: the epoch, from 1, and the steps done over all epochs."""

    epoch: int
    step: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and data of an unfinished training; content of `record.json`.

    Attributes:
        format: number of the format.
        command: of textclf, which trains.
        settings: every setting by its path, such as `training.epochs`.
        fingerprint: of the data.
        initial_weights: SHA-256 of the weights in `training.init_from`; "" without them.
        num_replicas: number of devices that share each batch, of all workers.
    """

    format: int = FORMAT
    command: str = "train"
    settings: dict[str, Any]
    fingerprint: str
    initial_weights: str
    num_replicas: int


class WorkFolder:
    """The folder of a training that runs.

    Attributes:
        path: the folder.
        checkpoints: the folder of the checkpoints.
        is_resumable: set to False when the training is finished; the folder is then removed.
    """

    def __init__(self, path: Path, checkpoints: Path):
        self.path = path
        self.checkpoints = checkpoints
        self.is_resumable = True

    @property
    def linear_model(self) -> Path:
        """The file of the linear model."""
        return self.path / "linear.npz"

    @property
    def has_checkpoint(self) -> bool:
        """True if there is a checkpoint."""
        return bool(checkpoint_folders(self.checkpoints))

    @property
    def record(self) -> Record | None:
        """The record of the training; None before it is written.

        Raises:
            ArtifactError: it is damaged, or of a newer version of textclf.
        """
        return _read_record(self.path)

    def write_record(self, record: Record) -> None:
        """Write or replace the record."""
        artifact.write_file(self.path / _RECORD, msgspec.json.encode(record).decode())

    def clear(self) -> None:
        """Remove all files but the lock."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()


def check_free(output: str | os.PathLike) -> None:
    """Check that no other process is training into an output folder.

    Raises:
        ArtifactError: one is.
    """
    lock = _folder_of(output) / _LOCK
    if lock.exists():
        try:
            with filelock.FileLock(lock, blocking=False):
                pass
        except filelock.Timeout:
            raise _in_use(output) from None
        except OSError:  # `work_folder` tells what is wrong
            pass


def unfinished_training(output: str | os.PathLike) -> str | None:
    """Return a phrase that describes the unfinished training of an output folder, or None.

    Raises:
        ArtifactError: its record is damaged, or of a newer version of textclf.
    """
    folder = _folder_of(output)
    if _read_record(folder) is None:
        return None
    for checkpoint in reversed(checkpoint_folders(folder / _CHECKPOINTS)):
        with contextlib.suppress(OSError, msgspec.MsgspecError, KeyError):
            content = msgspec.json.decode((checkpoint / CHECKPOINT).read_bytes())
            position = msgspec.convert(content["position"], Position)
            return f"an unfinished training (epoch {position.epoch}, step {position.step})"
    return "an unfinished training without a checkpoint"


def tracked_run(output: str | os.PathLike) -> Path:
    """Return the file with the id of the run in MLflow of the training of an output folder."""
    return _folder_of(output) / "mlflow_run"


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a folder, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdecimal())


@contextlib.contextmanager
def work_folder(output: str | os.PathLike, *, resume: bool = False) -> Iterator[WorkFolder]:
    """Make the folder `OUTPUT.unfinished`; keep it at the end if the training can be resumed.

    Args:
        output: the folder that the training will write.
        resume: keep the files of a former training; otherwise the folder is emptied.

    Raises:
        ArtifactError: another process is training into the same output, or the folder holds files
            that are not ours.
    """
    folder = _folder_of(output)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder))
        except filelock.Timeout:
            raise _in_use(output) from None
        except OSError as error:
            raise ArtifactError(
                f"{folder}: cannot be written ({error.strerror}); name another output folder"
            ) from None
        work = WorkFolder(folder, folder / _CHECKPOINTS)
        if not resume:
            work.clear()
        try:
            yield work
        except ArtifactError as error:  # for instance a full disk
            if work.has_checkpoint:
                raise ArtifactError(f"{error}; then continue with --resume") from error
            raise
        finally:
            if not (work.is_resumable and work.has_checkpoint):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def worker_folder(output: str | os.PathLike) -> Iterator[WorkFolder]:
    """Make a temporary folder for a worker that is not the chief.

    Its checkpoints are those of the chief, which the worker only reads.
    """
    with tempfile.TemporaryDirectory(prefix="textclf-") as temporary:
        yield WorkFolder(Path(temporary), _folder_of(output) / _CHECKPOINTS)


def _in_use(output: str | os.PathLike) -> ArtifactError:
    return ArtifactError(
        f"{output}: another training is writing there; wait for it or name another folder"
    )


def _folder_of(output: str | os.PathLike) -> Path:
    output = Path(os.path.abspath(output))
    return output.with_name(output.name + ".unfinished")


def _read_record(folder: Path) -> Record | None:
    path = folder / _RECORD
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        number = msgspec.json.decode(content)["format"]
        if number != FORMAT:
            age = "a newer" if number > FORMAT else "an older"
            raise ArtifactError(
                f"{folder}: was written by {age} version of textclf (format {number}, this one "
                f"reads {FORMAT}); use that version, or start again with --overwrite"
            )
        return msgspec.json.decode(content, type=Record)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: is damaged ({error}); start again with --overwrite") from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make a folder, or take over one that a killed training left, and hold its lock.

    Raises:
        filelock.Timeout: another process holds it.
        ArtifactError: the folder holds files that are not ours.
    """
    path = folder / _LOCK
    while True:
        if os.path.isdir(folder) and os.listdir(folder) and not path.exists():
            raise ArtifactError(
                f"{folder}: this folder is needed for the running training and holds other files; "
                "move it or name another output folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, blocking=False)
        # The former holder may have removed the folder after the lock file was opened.
        with contextlib.suppress(FileNotFoundError):
            lock.acquire()
        with _released(lock):
            if lock.is_locked and path.exists():
                yield
                return


@contextlib.contextmanager
def _released(lock: filelock.BaseFileLock) -> Iterator[None]:
    """Release a lock at the end, whether it was acquired or not."""
    try:
        yield
    finally:
        lock.release(force=True)
