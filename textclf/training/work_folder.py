"""The folder of an unfinished training, which one process at a time may use."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from textclf.errors import ArtifactError

_LOCK = "lock"


@contextlib.contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """Make the folder `OUTPUT.unfinished` and remove it at the end.

    It holds what only the running training needs. A folder that a killed training left is emptied.

    Raises:
        ArtifactError: another process is training into the same output, or the folder holds files
            that are not ours.
    """
    output = Path(os.path.abspath(output))
    folder = output.with_name(output.name + ".unfinished")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder))
        except filelock.Timeout:
            raise ArtifactError(
                f"{output}: another training is writing there; wait for it or name another folder"
            ) from None
        except OSError as error:
            raise ArtifactError(
                f"{folder}: cannot be written ({error.strerror}); name another output folder"
            ) from None
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


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
