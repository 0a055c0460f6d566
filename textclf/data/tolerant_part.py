"""A part of a data set without the rows that cannot be used, which are counted instead.

Commands that train refuse such data. The audit reports all of the bad rows and the other findings
in one run.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

from textclf.config import Data
from textclf.data.labels import BadLabel, Label, names_of
from textclf.data.parts import Part
from textclf.errors import DataError, OnProblem, RowError, did_you_mean, format_list, raise_problem

_NUM_EXAMPLES = 20


@dataclasses.dataclass
class BadRows:
    """Rows of a part that cannot be used.

    Attributes:
        count: their number.
        examples: the first of them: location, problem and fix.
        end: error after which the rest of the part was not read; None if all of it was.
    """

    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)
    end: str | None = None

    def add(self, error: DataError) -> None:
        """Count the row of an error."""
        self.count += 1
        if len(self.examples) < _NUM_EXAMPLES:
            self.examples.append(str(error))
        if getattr(error, "ends_reading", True):
            self.end = str(error)


class TolerantPart:
    """The rows of another part that can be used; a `Part`.

    Rows are left out that cannot be read, that have no label or several where one is expected, and
    whose label is not a class.

    Attributes:
        bad_rows: the rows left out, after `rows` was read to its end.
        labels: class names of the rows, after `rows` was read to its end.
    """

    def __init__(
        self,
        part: Part,
        settings: Data,
        class_names: Sequence[str] | None,
        known: Callable[[], Set[str] | None],
    ):
        """Wrap a part.

        Args:
            part: a checked part.
            settings: section `data`.
            class_names: the names that ids count, or None.
            known: returns the labels that a row may have, or None if it may have any. It is called
                when `rows` begins.
        """
        self.bad_rows = BadRows()
        self.labels: set[str] = set()
        self._part, self._settings, self._class_names, self._known = (
            part, settings, class_names, known,
        )  # fmt: skip

    @property
    def name(self) -> str:
        return self._part.name

    @property
    def holds_names(self) -> bool:
        return self._part.holds_names

    def check(self) -> None:
        self._part.check()

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        """Yield the rows that can be used; `on_problem` is never called.

        Raises:
            DataError: no row can be used; with the first errors.
        """
        bad_rows, labels, known = BadRows(), set[str](), self._known()
        errors: dict[Label, BadLabel | None] = {}
        has_rows = False
        try:
            for line, text, label in self._part.rows(bad_rows.add):
                if label not in errors:
                    errors[label] = self._error_of(label, known, labels)
                if (error := errors[label]) is not None:
                    is_shown = len(bad_rows.examples) < _NUM_EXAMPLES
                    location = self.location(line) if is_shown else ""
                    bad_rows.add(RowError(location, error.problem, error.fix))
                    continue
                has_rows = True
                yield line, text, label
        except DataError as error:
            if not has_rows:
                raise
            bad_rows.add(error)
        if not has_rows and bad_rows.count:
            raise DataError("\n".join(bad_rows.examples))
        self.bad_rows, self.labels = bad_rows, labels

    def column_names(self) -> tuple[str, ...]:
        return ()  # `values` of the other part would be those of the bad rows too

    def values(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return (() for _ in self.rows())

    def about_rows(self) -> int:
        return self._part.about_rows()

    def location(self, line: int) -> str:
        return self._part.location(line)

    def stamp(self) -> object:
        return self._part.stamp()

    def _error_of(self, label: Label, known: Set[str] | None, labels: set[str]) -> BadLabel | None:
        """Return the reason why a label cannot be used; otherwise add its names to `labels`."""
        try:
            names = names_of(label, self._settings, self._class_names, self.holds_names)
        except BadLabel as error:
            return error
        for name in names:
            if known is not None and name not in known:
                listing = "among the labels of train"
                fix = "fix the label, or drop such rows with data.drop_unknown_labels=true"
                if self._class_names is not None:
                    listing, fix = "in data.class_names", "fix the label, or add it to the names"
                return BadLabel(
                    f"label {name!r} is not {listing} ({format_list(sorted(known), 5)})",
                    f"{fix}{did_you_mean(name, known)}",
                )
        labels.update(names)
        return None


def tolerant_parts(
    parts: dict[str, Part], settings: Data, class_names: Sequence[str] | None
) -> dict[str, TolerantPart]:
    """Return the parts without the rows that cannot be used.

    Args:
        parts: split → rows, train first; the key of a file to be split is "all".
        settings: section `data`.
        class_names: the classes in order; None for the names in train.
    """
    tolerant: dict[str, TolerantPart] = {}

    def known_in(key: str) -> Set[str] | None:
        if class_names is not None:
            is_dropped = settings.drop_unknown_labels and key not in ("all", "train")
            return None if is_dropped else set(class_names)
        if key in ("all", "train") or settings.drop_unknown_labels:
            return None
        return tolerant["train"].labels  # train has been read before

    for key, part in parts.items():
        tolerant[key] = TolerantPart(part, settings, class_names, lambda key=key: known_in(key))  # type: ignore[misc]
    return tolerant
