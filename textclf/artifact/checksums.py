"""Checksums: SHA-256 of the files of a folder."""

import hashlib
import os
from pathlib import Path

from textclf.errors import ArtifactError


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: str | os.PathLike, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder by relative path, sorted.

    Args:
        folder: the folder.
        without: relative paths to leave out.
    """
    folder = Path(folder)
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    return {name: sha256(folder / name) for name in names if name not in without}


def check_files(folder: str | os.PathLike, files: dict[str, str]) -> None:
    """Compare files with their SHA-256.

    Args:
        folder: the folder.
        files: expected SHA-256 by relative path.

    Raises:
        ArtifactError: files are missing or differ; one line for each.
    """
    folder = Path(folder)
    problems = []
    for name, expected in files.items():
        try:
            is_equal = sha256(folder / name) == expected
        except OSError:
            problems.append(f"{folder / name}: is missing; restore it from a copy")
            continue
        if not is_equal:
            problems.append(
                f"{folder / name}: differs from its checksum in the card; restore it from a copy"
            )
    if problems:
        raise ArtifactError("\n".join(problems))
