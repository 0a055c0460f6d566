"""Labels: lists in one cell, values of a label column, class names, and similar names."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from textclf.config import Data
from textclf.data.splits import normalise

# A label as written: one string, or several strings where the format has lists.
Label = str | tuple[str, ...]

_LIST_ITEM = re.compile(
    r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([+-]?\d+(?:\.\d+)?|None|nan))\s*(,|(?=['"\s])|$)"""
)
_LIST_ENDS = {"[": "]", "(": ")", "{": "}"}


class BadLabel(Exception):
    """A label that cannot be used.

    Args:
        problem: what is wrong with the cell, without its location.
        fix: the remedy.
    """

    def __init__(self, problem: str, fix: str):
        self.problem, self.fix = problem, fix
        super().__init__(f"{problem}; {fix}")


# === Values of a label column ===


def parse_list(cell: str) -> tuple[str, ...] | None:
    """Return the items of a list written as text, in the notation of pandas, NumPy or JSON.

        parse_list("['good', 'fast']")    # ("good", "fast")
        parse_list("good, fast")          # None

    Returns:
        The quoted strings and numbers as strings; None if the cell is not such a list.
    """
    cell = cell.strip()
    if len(cell) < 2 or _LIST_ENDS.get(cell[0]) != cell[-1]:
        return None
    inside = cell[1:-1].strip()
    items, position = [], 0
    while position < len(inside):
        match = _LIST_ITEM.match(inside, position)
        if match is None:
            return None
        single, double, bare, _ = match.groups()
        quoted = single if single is not None else double
        items.append(bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        position = match.end()
    return tuple(items)


class LabelReader:
    """A function from the values of one label column to labels, the same for all formats.

    If the first cell with a label holds a list written as text (`['a', 'b']`), all cells must.

    Args:
        column: the name of the column, for messages.
    """

    def __init__(self, column: str):
        self._column = column
        self._list_line: int | None = None  # the line with the first list
        self._is_first = True
        self._lists: dict[str, Label] = {}

    def __call__(self, line: int, value: Any) -> Label:
        """Return a label, "" without one, or several labels.

        Args:
            line: the line of the row.
            value: a string, integer, truth value, null, NaN or list.

        Raises:
            BadLabel: the value cannot be a label.
        """
        if isinstance(value, list):
            return tuple(self._name(item) for item in value)
        if value is None or value != value:  # NaN, with which pandas writes a missing label
            return ""
        name = self._name(value)
        if not name or not isinstance(value, str):
            return name
        if self._is_first:
            self._is_first = False
            self._list_line = line if parse_list(name) is not None else None
        return name if self._list_line is None else self._items(name)

    def _items(self, name: str) -> Label:
        if name not in self._lists:
            items = parse_list(name)
            if items is None:
                raise BadLabel(
                    f"label {name!r} is not a list, but the label of line {self._list_line} is",
                    "write all labels as lists or none",
                )
            self._lists[name] = tuple(item.strip() for item in items)
        return self._lists[name]

    def _name(self, value: Any) -> str:
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            return str(int(value))
        raise BadLabel(
            f"{self._column!r} holds {show_value(value)}",
            "write a string or an integer (or, with data.multi_label=true, a list of them)",
        )


def show_value(value: Any) -> str:
    """Return a value as messages show it, at most 40 characters."""
    shown = "nothing (null)" if value is None else repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


# === Class names ===


def names_of(
    label: Label, settings: Data, class_names: Sequence[str] | None, holds_names: bool
) -> tuple[str, ...]:
    """Return the sorted class names of a label.

    The result is empty for a multi-label example without classes, and for a row that
    `settings.skip_unlabelled` skips.

    Args:
        label: the label as written.
        settings: section `data`.
        class_names: the names that ids count; None if the labels are names.
        holds_names: whether the source holds names, so that `label_ids` does not apply.

    Raises:
        BadLabel: there are too many labels or none, or an id is out of range.
    """
    if settings.multi_label:
        if holds_names and isinstance(label, str):
            label = (label,)
        names = sorted(written_labels(label, settings))
    else:
        names = [label] if isinstance(label, str) else list(label)
        if len(names) > 1:
            raise BadLabel(
                f"{len(names)} labels, expected one",
                "use data.multi_label=true if a text may have several",
            )
        if not names or not names[0]:
            if settings.skip_unlabelled:
                return ()
            raise BadLabel(
                "no label, expected one",
                "set data.skip_unlabelled=true to skip rows without a label",
            )
    names = [settings.rename_labels.get(name, name) for name in names]
    if settings.label_ids != "names" and not holds_names:
        assert class_names is not None, "find_parts checks that ids have names"
        names = [_name_of_id(name, settings.label_ids, class_names) for name in names]
    return tuple(sorted(set(names)))


def written_labels(label: Label, settings: Data) -> set[str]:
    """Return the labels of a row as they are written, without empty ones."""
    if isinstance(label, str):
        label = tuple(label.split(settings.label_separator)) if settings.multi_label else (label,)
    return {name for item in label if (name := item.strip())}


def _name_of_id(written: str, label_ids: str, class_names: Sequence[str]) -> str:
    first = 0 if label_ids == "from_zero" else 1
    expected = (
        f"expected an integer from {first} to {first + len(class_names) - 1} "
        f"(data.label_ids={label_ids}, {len(class_names)} class names)"
    )
    fix = "fix the label or the class names"
    try:
        index = int(written) - first
    except ValueError:
        raise BadLabel(f"label {written!r} is not an integer, {expected}", fix) from None
    if not 0 <= index < len(class_names):
        raise BadLabel(f"label id {written} is out of range, {expected}", fix)
    return class_names[index]


def similar_names(names: Sequence[str]) -> list[list[str]]:
    """Return groups of names of equal appearance.

        similar_names(["spam", "Spam", "ham"])    # [["spam", "Spam"]]

    They differ only in case, width, composition, white space, invisible characters or the notation
    of a number (1 and 1.0).
    """
    similar: dict[object, list[str]] = {}
    for name in names:
        similar.setdefault(_visible_form(name), []).append(name)
    return [group for group in similar.values() if len(group) > 1]


def odd_names(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence about each group of `similar_names`, and one about names that are lists."""
    for group in similar_names(names):
        yield (
            f"{len(group)} classes hardly differ in their names: "
            f"{', '.join(map(ascii, group))}; if they are one class, use one name"
        )
    lists = [name for name in names if parse_list(name)]
    if lists:
        yield (
            f"{len(lists)} classes look like lists: {', '.join(lists[:3])}; the first label of a "
            "file decides whether its labels are lists, so write all of them as lists or none"
        )


def _visible_form(name: str) -> object:
    """Return the number that a name is, else the name without differences that are not visible."""
    normalised = "".join(
        character
        for character in normalise(name)
        # Format and control characters, and the variation selectors of emoji.
        if unicodedata.category(character) not in ("Cf", "Cc")
        and not "\ufe00" <= character <= "\ufe0f"
        and not character.isspace()
    )
    try:
        return float(normalised)
    except ValueError:
        return normalised
