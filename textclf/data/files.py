"""Files and folders: errors of opening them, and kinds of files that hold no text."""

import os

from textclf.errors import DataError, closest_file

_EXPORT = "export the table as CSV (UTF-8)"
# First bytes of files that are not text, the kind of the file and the fix.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", "unpack it and name the file inside"),
    (b"PK\x05\x06", "an empty zip archive", "name a file of texts"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", _EXPORT),
    (b"\x1f\x8b", "compressed with gzip", "give it a name that ends in .gz"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name the file inside"),
    (b"Rar!", "a rar archive", "unpack it and name the file inside"),
    (b"%PDF", "a PDF file", "extract its text first"),
    (b"{\\rtf", "a rich text (RTF) file", "save it as plain text"),
    (b"SQLite format 3", "an SQLite database", _EXPORT),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"\x93NUMPY", "a NumPy file", _EXPORT),
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "run git lfs pull"),
)


def missing_file(path: str, kind: str = "file") -> DataError:
    """Return the error for a path that does not exist, with the most similar name that does.

    Args:
        path: the path; may begin with `~`.
        kind: the word for the missing thing, `file` or `folder`.
    """
    full = os.path.expanduser(path)
    folder = os.path.dirname(full) or "."
    # The first folder of the path that does not exist is the one to fix.
    while not os.path.isdir(folder):
        full, folder = folder, os.path.dirname(folder) or "."
    try:
        siblings = os.listdir(folder)
    except OSError:
        siblings = []
    near = closest_file(os.path.basename(full), siblings)
    if near is not None:
        hint = f"; did you mean {near!r}?"
    else:
        hint = "" if os.path.isabs(full) else f"; the path is relative to {os.getcwd()}"
    if full != os.path.expanduser(path):
        return DataError(f"{path}: no such {kind}: the folder {full} does not exist{hint}")
    return DataError(f"{path}: no such {kind}{hint}")


def unreadable_file(path: str, error: OSError) -> DataError:
    """Return the error for a file that cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return missing_file(path)
    if isinstance(error, PermissionError):
        return DataError(f"{path}: no permission to read the file; change its mode or its owner")
    return DataError(f"{path}: cannot be read: {error.strerror}")


def refuse_other_kinds(path: str, beginning: bytes) -> None:
    """Check that the first bytes of a file are not those of a known kind without text.

    Args:
        path: the path for messages; the end of a zip archive is read from it.
        beginning: the first bytes of the file; 512 are enough.

    Raises:
        DataError: the file is an archive, a spreadsheet, a pickle and so on.
    """
    for signature, kind, fix in _SIGNATURES:
        if beginning.startswith(signature):
            if signature == b"PK\x03\x04" and b"xl/" in beginning + _end_of_file(path):
                kind, fix = "an Excel file", _EXPORT
            raise DataError(f"{path}: the file is {kind}, expected text; {fix}")
    if beginning[257:262] == b"ustar":
        raise DataError(
            f"{path}: the file is a tar archive, expected text; unpack it and name the file inside"
        )
    # A pickle begins with the opcode PROTO and the number of its protocol.
    if beginning[:1] == b"\x80" and beginning[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(f"{path}: the file is a Python pickle, expected text; {_EXPORT}")
    first_tag = beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    if first_tag.startswith((b"<!doctype html", b"<html")):
        raise DataError(
            f"{path}: the file is a web page (HTML), expected a table; download the data again"
        )


def _end_of_file(path: str) -> bytes:
    """Return the last 64 KB, where a zip archive lists its members; b"" of stdin."""
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - (1 << 16)))
            return stream.read()
    except OSError:
        return b""


def list_folder(folder: str) -> list[str]:
    """Return the names in a folder.

    Raises:
        DataError: the folder does not exist or cannot be listed.
    """
    try:
        return os.listdir(os.path.expanduser(folder))
    except FileNotFoundError:
        raise missing_file(folder, "folder") from None
    except NotADirectoryError:
        raise DataError(f"{folder}: a file, expected a folder (data.format=folder)") from None
    except PermissionError:
        raise DataError(f"{folder}: no permission to list the folder; change its mode") from None


def subfolders(folder: str) -> list[str]:
    """Return the sorted names of the folders in a folder; hidden ones are left out.

    Raises:
        DataError: the folder does not exist or cannot be listed.
    """
    full = os.path.expanduser(folder)
    return sorted(
        name
        for name in list_folder(folder)
        if not name.startswith((".", "__")) and os.path.isdir(os.path.join(full, name))
    )
