"""Values of cells: their kinds, and their form as labels."""

import re
from collections.abc import Iterable
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)*|[.,]\d+)(?:[eE][+-]?\d+)?\s?%?")
_DATE = re.compile(
    r"(?:\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[T ,].{0,30})?"
)
# Cells that mean a missing value, in lower case.
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?", r"\n"})
_TRUTH = frozenset({"true", "false", "yes", "no"})


def clean_cell(cell: str) -> str:
    """Return a cell without white space and byte order mark at its ends."""
    return cell.strip("\ufeff \t\r\n\xa0")


def shorten(cell: str) -> str:
    """Return a cell in quotes, cut after 40 characters, for messages."""
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def kind_of_cell(cell: str) -> str | None:
    """Return `dates`, `numbers` or `truth values` if a cell holds such a value, else None."""
    if _DATE.fullmatch(cell):
        return "dates"
    if is_number(cell):
        return "numbers"
    return "truth values" if cell.casefold() in _TRUTH else None


def kind_of_column(values: Iterable[Any]) -> str | None:
    """Return the kind that all cells have; None if kinds differ or fewer than two are filled."""
    filled = [
        v.strip() for v in values if isinstance(v, str) and v.strip().casefold() not in MISSING
    ]
    kinds = {kind_of_cell(value) for value in filled} if len(filled) > 1 else {None}
    return kinds.pop() if len(kinds) == 1 else None


def is_missing(value: Any) -> bool:
    """Return whether a value is null, NaN or blank."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def is_label(value: Any) -> bool:
    """Return whether `LabelReader` accepts a value as a label."""
    return isinstance(value, str | int) or (isinstance(value, float) and value.is_integer())


def as_label(value: Any) -> str:
    """Return the label for a value, as `LabelReader` writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else "" if value is None else value).strip()


def is_integer(label: str) -> bool:
    """Return whether a label is an integer of at most nine digits."""
    return re.fullmatch(r"[+-]?\d{1,9}", label) is not None


def is_number(label: str) -> bool:
    """Return whether a label is a number, with or without decimals or a percent sign."""
    return _NUMBER.fullmatch(label) is not None
