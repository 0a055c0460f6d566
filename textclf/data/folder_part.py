"""A folder `split/label/*.txt` as parts of a data set."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

from textclf.data.encodings import codec_of, wrong_byte
from textclf.data.files import list_folder, subfolders, unreadable_file
from textclf.data.labels import Label
from textclf.errors import DataError, OnProblem, format_list, raise_problem


@dataclasses.dataclass(frozen=True)
class FolderPart:
    """The texts in the folder of one split: `label/*.txt`, in sorted order; a `Part`."""

    name: str
    encoding: str = "utf-8"
    holds_names: bool = True

    def check(self) -> None:
        labels = self._labels()
        if not labels:
            raise DataError(
                f"{self.name}: no folders, expected one for each label that holds .txt files"
            )
        if next(self.paths(), None) is None:
            raise DataError(f"{self.name}: no .txt files in {format_list(labels)}")

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        codec = codec_of(self.encoding)
        for number, (label, path) in enumerate(self.paths(), 1):
            try:
                with open(os.path.expanduser(path), "rb") as file:
                    content = file.read()
                yield number, content.decode(codec), label
            except UnicodeDecodeError as error:
                line = 1 + content[: error.start].decode(codec, "replace").count("\n")
                byte = content[error.start] if error.start < len(content) else 0
                on_problem(wrong_byte(f"{path}:{line}", byte, self.encoding, content[: 1 << 20]))
            except OSError as error:
                raise unreadable_file(path, error) from None

    def column_names(self) -> tuple[str, ...]:
        return ()

    def values(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return (() for _ in self.paths())

    def about_rows(self) -> int:
        return sum(1 for _ in self.paths())

    def location(self, line: int) -> str:
        if 1 <= line <= len(self._listing):
            return self._listing[line - 1]
        return f"{self.name}: file {line}"

    @functools.cached_property
    def _listing(self) -> list[str]:
        """Paths of all texts: the locations of a whole split are asked one by one."""
        return [path for _, path in self.paths()]

    def stamp(self) -> object:
        folder = os.path.expanduser(self.name)
        return [
            os.stat(path).st_mtime_ns
            for path in (folder, *(os.path.join(folder, label) for label in self._labels()))
        ]

    def paths(self) -> Iterator[tuple[str, str]]:
        """Yield label and path of every text, in reading order."""
        for label in self._labels():
            folder = os.path.join(self.name, label)
            for file in sorted(list_folder(folder)):
                if file.endswith(".txt") and not file.startswith("."):
                    yield label, os.path.join(folder, file)

    def _labels(self) -> list[str]:
        return subfolders(self.name)
