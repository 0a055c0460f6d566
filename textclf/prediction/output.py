"""File of the answers: checked before the work, written next to its name and renamed."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from textclf.artifact.folders import open_atomically
from textclf.config.settings import FILE_ENDINGS
from textclf.errors import DataError


def format_of_output(path: str | os.PathLike) -> str | None:
    """Return csv, tsv, jsonl or parquet by the ending of a file; None for other endings."""
    format = FILE_ENDINGS.get(os.path.splitext(os.fspath(path))[1].lower())
    return "jsonl" if format == "json" else format


def check_output(
    path: str | os.PathLike, source: str | os.PathLike | BinaryIO, *, overwrite: bool
) -> None:
    """Check that the answers can be written to a file.

    Args:
        path: the file to write.
        source: the input: a file or a binary stream.
        overwrite: True if an existing file may be replaced.

    Raises:
        DataError: the file is the input, exists and may not be replaced, has the ending of a
            compressed file, or its folder cannot be written.
    """
    full = os.path.expanduser(path)
    with contextlib.suppress(OSError):  # the output does not exist, or the stream has no file
        if isinstance(source, str | os.PathLike):
            is_input = os.path.samefile(full, os.path.expanduser(source))
        else:
            is_input = os.path.samestat(os.stat(full), os.fstat(source.fileno()))
        if is_input and os.path.isfile(full):
            raise DataError(f"{path}: is the input; write the answers to another file")
    if os.fspath(path).lower().endswith(".gz"):
        raise DataError(f"{path}: the answers are not compressed; name a file without .gz")
    if os.path.isdir(full):
        raise DataError(f"{path}: is a folder; name a file in it")
    if not _is_replaced(full):
        return
    if os.path.lexists(full) and not overwrite:
        raise DataError(f"{path}: exists already; name another file or add --overwrite")
    folder = os.path.dirname(os.path.realpath(full))
    if not os.path.isdir(folder):
        raise DataError(f"{path}: there is no folder {folder}; create it, or name another file")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_writable(path, error) from None


@contextlib.contextmanager
def replaced_file(path: str | os.PathLike, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Yield a temporary file that becomes `path` when the block ends.

    If the block fails or the process dies, nothing has changed under that name. A device or a pipe
    is written directly. If `path` is a link, the file that it leads to is replaced.

    Args:
        path: the file to write.
        overwrite: True if an existing file may be replaced.

    Raises:
        DataError: the file cannot be written, or another process has written it.
    """
    full = os.path.realpath(os.path.expanduser(path))
    if not _is_replaced(full):
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(open(full, "wb"))
            except OSError as error:
                raise _not_writable(path, error) from None
            yield stream
        return
    try:
        with open_atomically(Path(full), replace=overwrite) as file:
            yield file
    except FileExistsError:
        raise DataError(
            f"{path}: was written by another process meanwhile; name another file"
        ) from None
    except OSError as error:  # readers have made a DataError of theirs
        raise _not_writable(path, error) from None


def _is_replaced(full: str) -> bool:
    """Return False for devices and pipes, which exist and are no regular files."""
    return os.path.isfile(full) or not os.path.exists(full)


def _not_writable(path: str | os.PathLike, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written ({error.strerror}); choose another file")
