"""Slices of a split: by any column of the data, by length, by unknown tokens and by script."""

import json
import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textclf.data import Dataset
from textclf.data.recognition.scripts import script_of
from textclf.errors import DataError
from textclf.progress import OnProgress, no_progress

if TYPE_CHECKING:
    from textclf.classifier import Scores
    from textclf.evaluation import Grouping


# Slices that are computed from the texts. A column of the data with such a name takes precedence.
COMPUTED = ("length", "unknown_fraction", "script")

_MAX_NUMBERS = 10  # a column with more different numbers is divided into ranges
_MAX_VALUES = 100_000


def group_examples(
    dataset: Dataset,
    split: str,
    scores: "Scores",
    by: Sequence[str],
    num_ranges: int,
    on_progress: OnProgress = no_progress,
) -> "dict[str, Grouping]":
    """Return the groups of the examples by each column.

    Args:
        dataset: the data; the split is read again.
        split: an existing split.
        scores: of the split.
        by: columns of the data, and names of `COMPUTED`.
        num_ranges: number of ranges of numbers.

    Raises:
        DataError: a column has too many different values.
    """
    from textclf import evaluation

    by = list(dict.fromkeys(by))
    columns = [name for name in by if name in dataset.column_names(split)]
    groupings = dict(
        zip(
            columns,
            _group_columns(dataset, split, columns, num_ranges, on_progress),
            strict=True,
        )
    )
    for name in by:
        if name in groupings:
            continue
        if name == "length":
            groupings[name] = evaluation.group_by_quantile(scores.num_tokens, num_ranges)
        elif name == "unknown_fraction":
            assert scores.unknown_fraction is not None
            shares = scores.unknown_fraction
            groupings[name] = evaluation.group_by_quantile(shares, num_ranges, digits=3)
        else:
            groupings[name] = _group_scripts(dataset, split, on_progress)
    return {name: groupings[name] for name in by}


def _group_columns(
    dataset: Dataset, split: str, columns: Sequence[str], num_ranges: int, on_progress: OnProgress
) -> "list[Grouping]":
    collected = [_Column(name) for name in columns]
    if not columns:
        return []
    total = dataset.splits[split].num_examples
    for number, values in enumerate(dataset.column_values(split, columns), 1):
        for column, value in zip(collected, values, strict=True):
            column.add(value)
        if number % 4096 == 0:
            on_progress("reading the columns", number, total)
    return [column.grouping(num_ranges) for column in collected]


def _group_scripts(dataset: Dataset, split: str, on_progress: OnProgress) -> "Grouping":
    column, total = _Column("script"), dataset.splits[split].num_examples
    for number, example in enumerate(dataset.examples(split), 1):
        column.add(script_of(example.text))
        if number % 1024 == 0:
            on_progress("finding the scripts", number, total)
    return column.grouping(1)


class _Column:
    """Values of a column as codes, and as numbers if all are numbers: 12 bytes per row."""

    def __init__(self, name: str):
        self._name = name
        self._codes = array("i")
        self._code_of: dict[str, int] = {}
        self._numbers: array | None = array("d")
        self._has_codes = True

    def add(self, value: Any) -> None:
        """Add the value of the next row.

        Raises:
            DataError: there are too many different values, and not all are numbers.
        """
        written = _written(value)
        if self._numbers is not None:
            number = _number(written)
            if number is None:
                self._numbers = None
            else:
                self._numbers.append(number)
        if self._has_codes:
            self._codes.append(self._code_of.setdefault(written, len(self._code_of)))
            self._has_codes = len(self._code_of) <= _MAX_VALUES
        if not self._has_codes and self._numbers is None:
            raise DataError(
                f"--by {self._name}: more than {_MAX_VALUES:,} different values; choose a column "
                "with fewer"
            )

    def grouping(self, num_ranges: int) -> "Grouping":
        """Return the groups: ranges of many different numbers, otherwise single values."""
        import numpy as np

        from textclf.evaluation import Grouping, group_by_quantile, group_by_value

        if self._numbers is None or len(self._code_of) - ("" in self._code_of) <= _MAX_NUMBERS:
            return group_by_value(list(self._code_of), np.frombuffer(self._codes, np.int32))
        numbers = np.frombuffer(self._numbers, np.float64)
        is_empty = np.isnan(numbers)
        ranges = group_by_quantile(numbers[~is_empty], num_ranges)
        ids = np.full(len(numbers), len(ranges.names))
        ids[~is_empty] = ranges.ids
        return Grouping((*ranges.names, "(empty)"), ids)


def _written(value: Any) -> str:
    """Return a value of a column as text; "" for a missing one."""
    if isinstance(value, str):
        return value.strip()
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _number(written: str) -> float | None:
    """Return the number in a text, NaN for an empty text, None if it is not a finite number."""
    if not written:
        return math.nan
    try:
        number = float(written)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
