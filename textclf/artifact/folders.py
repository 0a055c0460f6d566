"""Output folders: check them before the work, write them atomically after it.

A folder is written next to its destination and renamed when it is complete and on the disk. A
failed or killed process leaves the former folder. Only portable calls are used.
"""

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from textclf.artifact.layout import BENCHMARK, CARD, SAVED_MODEL, WEIGHTS, exported_version
from textclf.errors import ArtifactError

# Name ending of a former folder while the new one takes its place; see `_replace`.
_FORMER = ".former"


def check_nesting(folder: str | os.PathLike, *, is_version: bool = False) -> None:
    """Check that a new folder is not inside one that is replaced or verified as a whole.

    Args:
        is_version: the folder is an exported version, which may be next to others.

    Raises:
        ArtifactError: it is inside a trained folder, an exported version or, if it is not a
            version, a folder of exported versions.
    """
    for outer in Path(os.path.realpath(folder)).parents:
        if _is_trained(outer):
            raise ArtifactError(
                f"{folder}: is inside the trained folder {outer}, which `textclf train "
                "--overwrite` replaces as a whole; name a folder outside it"
            )
        if os.path.exists(outer / SAVED_MODEL):
            raise ArtifactError(
                f"{folder}: is inside the exported version {outer}, whose files `textclf verify` "
                "checks as a whole; name a folder outside it"
            )
        # Versions in the current folder may be next to all other files.
        is_working_folder = Path(os.path.realpath(os.curdir)).is_relative_to(outer)
        if not is_version and not is_working_folder and exported_version(outer) is not None:
            raise ArtifactError(
                f"{folder}: is inside {outer}, a folder of exported versions; name a folder "
                "outside it"
            )


def _is_trained(folder: Path) -> bool:
    return os.path.exists(folder / CARD) and os.path.exists(folder / WEIGHTS)


def _inner_artifact(folder: Path) -> Path | None:
    """Return a trained folder, an exported version or a benchmark below a folder, if any."""
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        if _is_trained(inner) or any(
            os.path.exists(inner / name) for name in (SAVED_MODEL, BENCHMARK)
        ):
            return inner
    return None


def check_output(folder: str | os.PathLike, *, overwrite: bool, is_ours: tuple[str, ...]) -> None:
    """Check, before the long work, that `write_folder` can write a folder.

    Args:
        folder: the folder to write.
        overwrite: True if it may be replaced.
        is_ours: an existing folder is only replaced if it contains one of these files, so that
            `--overwrite` never removes another program's folder.

    Raises:
        ArtifactError: the folder exists and may not be replaced, is inside another artefact, or
            its parent is not writable.
    """
    folder = Path(os.path.abspath(folder))
    restore_folder(folder)
    # os.path instead of Path: Path.exists raises without permission to look.
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ArtifactError(f"{folder}: is a file; name a folder that can be written")
    if os.path.ismount(folder):
        raise ArtifactError(
            f"{folder}: is a mount point, which cannot be replaced; name a folder below it"
        )
    check_nesting(folder, is_version=SAVED_MODEL in is_ours)
    if os.path.isdir(folder) and os.listdir(folder):
        if exported_version(folder) is not None:
            raise ArtifactError(f"{folder}: holds an exported model; name another folder")
        if not any((folder / name).exists() for name in is_ours):
            raise ArtifactError(
                f"{folder}: exists and was not written by textclf; name another folder"
            )
        if not overwrite:
            raise ArtifactError(f"{folder}: exists already; name another folder or add --overwrite")
        inner = _inner_artifact(folder)
        if inner is not None:
            raise ArtifactError(
                f"{folder}: --overwrite would remove {inner} too; move that folder, or name "
                "another one for the training"
            )
    check_writable(folder, within=Path(os.path.realpath(folder)).parent)


def check_writable(folder: Path, *, within: Path) -> None:
    """Check that `folder` can be written into `within`, or into its first existing parent.

    Raises:
        ArtifactError: it cannot.
    """
    while not os.path.exists(within):
        within = within.parent
    try:
        with tempfile.TemporaryDirectory(dir=within, prefix=".textclf-"):
            pass
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be written, because {within} does not allow it "
            f"({error.strerror}); name another folder"
        ) from None


def check_file(path: Path, *, overwrite: bool) -> None:
    """Check, before the long work, that a file can be written.

    Raises:
        ArtifactError: it exists and may not be replaced, or its folder cannot be written.
    """
    if os.path.isdir(path):
        raise ArtifactError(f"{path}: is a folder; name a file in it")
    if os.path.lexists(path) and not overwrite:
        raise existing_file(path)
    folder = Path(os.path.abspath(path)).parent
    if not os.path.isdir(folder):
        raise ArtifactError(f"{path}: there is no folder {folder}; create it, or name another file")
    check_writable(path, within=folder)


def check_page(path: Path, *, overwrite: bool) -> None:
    """Check, before the long work, that an HTML page can be written; see `check_file`."""
    if path.suffix.lower() != ".html":
        raise ArtifactError(f"{path}: is an HTML page; name a file that ends in .html")
    check_file(path, overwrite=overwrite)


def existing_file(path: Path) -> ArtifactError:
    """Return the error for a file that may not be replaced."""
    return ArtifactError(f"{path}: exists already; name another file or add --overwrite")


def write_file(path: Path, content: str, *, replace: bool = True) -> bool:
    """Write a file atomically.

    Args:
        path: the file; its folder must exist.
        content: written as UTF-8.
        replace: True if an existing file may be replaced.

    Returns:
        False if the file exists and may not be replaced.

    Raises:
        ArtifactError: the file cannot be written.
    """
    try:
        with open_atomically(path, replace=replace) as file:
            file.write(content.encode())
    except FileExistsError:
        return False
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror}); free some space or name another file"
        ) from None
    return True


@contextlib.contextmanager
def open_atomically(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Yield a temporary file that becomes `path` when the block ends.

    If the block fails or the process dies, nothing has changed under that name.

    Args:
        path: the file; its folder must exist.
        replace: True if an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and may not be replaced.
        OSError: the file cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _umask() -> int:
    """Return the umask of the process, which `mkstemp` and `mkdtemp` ignore."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextlib.contextmanager
def write_folder(
    folder: str | os.PathLike, *, overwrite: bool, staging: Path | None = None
) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block ends.

        with artifact.write_folder("runs/reviews", overwrite=True) as temporary:
            (temporary / "notes.txt").write_text("...")

    If the block fails or the process dies, the former folder remains. If `folder` is a link, the
    folder that it leads to is replaced.

    Args:
        folder: the folder to write; its parents are created.
        overwrite: True if a folder that is not empty may be replaced.
        staging: folder of the temporary folder, for a caller that removes it after a kill; by
            default, and if it is on another file system, the parent of `folder`.

    Raises:
        ArtifactError: the disk is full or not writable, or another process has written a folder
            that may not be replaced.
    """
    shown, folder = os.path.abspath(folder), Path(os.path.realpath(folder))
    temporary, had_parent = None, folder.parent.exists()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(folder)
        # A rename does not leave its file system.
        if staging is None or staging.stat().st_dev != folder.parent.stat().st_dev:
            staging = folder.parent
        temporary = Path(tempfile.mkdtemp(dir=staging, prefix=f".{folder.name}-"))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            if not path.is_symlink():  # what a link leads to is not ours
                _sync(path)
        if overwrite:
            _replace(folder, temporary)
        else:
            os.rename(temporary, folder)  # fails if the folder is not empty
        _sync(folder.parent)
    except OSError as error:
        raise ArtifactError(
            f"{shown}: cannot be written ({error.strerror or error}); what was there before is "
            "unchanged; free some space or name another folder"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not had_parent:
            with contextlib.suppress(OSError):  # the parent is not empty: it has the new folder
                folder.parent.rmdir()


def restore_folder(folder: str | os.PathLike) -> None:
    """Move the former folder back if a process was killed between the renames of `_replace`.

    Without such a folder, or if `folder` exists, nothing is done. A process that is replacing
    `folder` at this moment notices the restored folder and replaces it.
    """
    with contextlib.suppress(OSError):  # without permission the folder stays missing
        folder = Path(os.path.realpath(folder))
        if not os.path.lexists(folder):
            formers = [
                path
                for path in folder.parent.glob(f".*{_FORMER}")
                # .NAME-RANDOM-ATTEMPT.former; NAME may contain hyphens, the other two do not.
                if path.name.rsplit("-", 2)[0] == f".{folder.name}"
            ]
            if formers:
                newest = max(formers, key=lambda path: path.stat().st_mtime_ns)
                os.rename(newest, folder)


def _replace(folder: Path, new: Path) -> None:
    """Move `new` to `folder` and remove the former folder, if there is one.

    No portable call exchanges two folders, so this takes two renames. The former folder is kept
    next to `folder`, under a name that `restore_folder` looks for, until the new one has its
    place: a process killed between the renames loses nothing.
    """
    formers = []
    try:
        for attempt in itertools.count():
            former = folder.with_name(f"{new.name}-{attempt}{_FORMER}")
            with contextlib.suppress(FileNotFoundError):  # there is no former folder
                os.rename(folder, former)
                formers.append(former)
            try:
                os.rename(new, folder)
                break
            except OSError as error:
                # Between the renames another process restored or wrote the folder: try again.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    except BaseException:  # also Ctrl-C
        restore_folder(folder)
        raise
    for former in formers:
        # Renamed first, so that a half removed folder is never restored.
        removed = new.with_name(former.name.removesuffix(_FORMER))
        with contextlib.suppress(FileNotFoundError):  # another process restored it
            os.rename(former, removed)
            shutil.rmtree(removed, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
