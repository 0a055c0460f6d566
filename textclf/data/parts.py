"""Parts of a data set: the protocol of their streams of rows, and the built-in demo texts."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from textclf import demo
from textclf.data.labels import Label
from textclf.errors import OnProblem, raise_problem


class Part(Protocol):
    """A stream of rows: one file, folder, published split or split of the demo.

    A part can be streamed repeatedly and yields the same rows each time. It yields labels as they
    are written; `labels.names_of` turns them into class names.

    Attributes:
        name: the name for messages.
        holds_names: whether the source holds names of classes, so that `label_ids` does not apply.
    """

    @property
    def name(self) -> str: ...

    @property
    def holds_names(self) -> bool: ...

    def check(self) -> None:
        """Check everything that can be seen without reading all rows.

        Raises:
            DataError: all errors, one per line.
        """

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        """Yield line (or number) from 1, text and label of every row.

        Args:
            on_problem: called with the error of each row that cannot be read.
        """

    def column_names(self) -> tuple[str, ...]:
        """Return the names of all columns; empty if the source has texts and labels only."""

    def values(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the values of columns in every row, in the order of `rows`.

        Args:
            columns: some of `column_names`.
        """

    def about_rows(self) -> int:
        """Return the number of rows, estimated if only reading all of them would tell."""

    def location(self, line: int) -> str:
        """Return the location of a row for messages, such as `reviews.csv:17`.

        Args:
            line: the line that `rows` yielded with the row.
        """

    def stamp(self) -> object:
        """Return a value that changes when the source changes, as far as that is cheap to see."""


@dataclasses.dataclass(frozen=True)
class DemoPart:
    """One split of the built-in texts; a `Part`."""

    split: str
    holds_names: bool = True

    @property
    def name(self) -> str:
        return f"demo {self.split}"

    def check(self) -> None:
        """Do nothing: the demo always exists."""

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        for number, (text, label) in enumerate(demo.examples(self.split), 1):
            yield number, text, label

    def column_names(self) -> tuple[str, ...]:
        return ()

    def values(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return (() for _ in range(self.about_rows()))

    def about_rows(self) -> int:
        return demo.NUM_EXAMPLES[self.split]

    def location(self, line: int) -> str:
        return f"{self.name}:{line}"

    def stamp(self) -> object:
        return None
