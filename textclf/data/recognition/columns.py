"""The columns of texts and labels among those of a table."""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from textclf.data.column_names import (
    LABEL_NAMES,
    OTHER_NAMES,
    TEXT_NAMES,
    label_rank,
    plain_name,
)
from textclf.data.labels import parse_list
from textclf.data.recognition.values import (
    MISSING,
    as_label,
    is_integer,
    is_label,
    is_missing,
    is_number,
    kind_of_column,
    shorten,
)
from textclf.errors import format_list

_LABEL_SEPARATORS = (",", "|", ";", " ")


# === Texts ===


def choose_text_columns(
    columns: Mapping[str, list[Any]], titles: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the columns that hold texts, in their order, or candidates if no choice is safe.

    Chosen are the column with a usual name or with the longest texts, and others with sentences.

    Args:
        columns: column → values.
        titles: column → its name in the header; empty without a header.
    """
    strings = {
        name: [value for value in values[:5000] if isinstance(value, str)]
        for name, values in columns.items()
    }
    names = {name: plain_name(titles.get(name, "")) for name in columns}
    strings = {
        name: values
        for name, values in strings.items()
        if any(value.strip() for value in values)
        and (names[name] in TEXT_NAMES or kind_of_column(values) is None)
    }
    unlike_labels = {n: v for n, v in strings.items() if names[n] not in LABEL_NAMES}
    strings = unlike_labels or ({} if len(columns) > 1 else strings)
    if not strings:
        return [], []
    words = {name: sum(map(_count_words, values)) / len(values) for name, values in strings.items()}
    is_varied = {name: len(set(values)) > len(values) / 2 for name, values in strings.items()}

    def rank(name: str) -> tuple[bool, bool, float]:
        is_filled = sum(map(bool, map(str.strip, strings[name]))) > len(columns[name]) / 2
        is_named = names[name] in TEXT_NAMES and is_filled
        return is_named, words[name] >= 2, mean_length(strings[name])

    best = max(strings, key=rank)
    if names[best] not in TEXT_NAMES and words[best] < 2:
        varied = [name for name in strings if is_varied[name] and names[name] not in OTHER_NAMES]
        if len(varied) > 1:
            return [], varied
    return [name for name in strings if name == best or (words[name] >= 3 and is_varied[name])], []


def mean_length(values: Sequence[Any]) -> float:
    """Return the mean number of characters; values that are no strings count as empty."""
    return sum(len(value) for value in values if isinstance(value, str)) / max(1, len(values))


def _count_words(text: str) -> float:
    """Return the number of words; a Han character or kana is half a word."""
    unspaced = sum(
        "\u3040" <= character <= "\u30ff" or "\u4e00" <= character <= "\u9fff" for character in text
    )
    return len(text.split()) + unspaced // 2


# === Values as labels ===


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels in a column.

    Attributes:
        name: the column.
        separator: between several labels in a cell; "" if the cells are lists, None if each cell
            holds one label.
        atoms: the different single labels.
        counts: value → the number of cells with it.
    """

    name: str
    separator: str | None
    atoms: frozenset[str]
    counts: collections.Counter[Any]


def labels_in(name: str, values: Sequence[Any]) -> Labels | None:
    """Return the labels of a column with few different values, else None.

    Args:
        name: the column.
        values: its values.
    """
    filled = [value for value in values if not is_missing(value)]
    few = max(2, len(filled) // 2)
    items = [item for value in filled for item in (value if isinstance(value, list) else [value])]
    if not all(is_label(item) for item in items if not is_missing(item)):
        return None
    if any(isinstance(value, list) for value in filled):
        lists = [tuple(map(as_label, value)) for value in filled if isinstance(value, list)]
    else:
        lists = _parse_lists(filled)
    if lists:
        atoms = frozenset(item for items in lists for item in items if item)
        if 1 <= len(atoms) <= few:
            return Labels(name, "", atoms, collections.Counter(lists))
        return None
    labels = [as_label(value) for value in filled]
    counts = collections.Counter(labels)
    if separated := _separated(name, labels, counts, few, len(values)):
        return separated
    if 2 <= len(counts) <= few and len(counts) < max(3, len(labels)):
        return Labels(name, None, frozenset(counts), counts)
    return None


def _separated(
    name: str, labels: Sequence[str], counts: collections.Counter[str], few: int, num_rows: int
) -> Labels | None:
    """Return the labels of a column whose cells hold several labels with a separator, else None.

    Args:
        name: the column.
        labels: the filled cells.
        counts: the number of times that each occurs.
        few: maximum number of different labels.
        num_rows: rows of the table.
    """
    if all(re.fullmatch(r"\d+,\d{1,2}", label) for label in counts):  # decimal commas
        return None
    for separator in _LABEL_SEPARATORS:
        num_with_separator = sum(separator in label for label in labels)
        atoms = frozenset(
            atom.strip() for label in counts for atom in label.split(separator) if atom.strip()
        )
        if (
            num_with_separator >= max(2, num_rows / 100)
            and 2 <= len(atoms) < len(counts)
            and len(atoms) <= few
            and (separator != " " or all(map(is_integer, atoms)))
        ):
            return Labels(name, separator, atoms, counts)
    return None


def _parse_lists(values: Sequence[Any]) -> list[tuple[str, ...]]:
    """Return the lists that the cells hold as text; none if one cell holds no list."""
    lists = []
    for value in values:
        items = parse_list(value) if isinstance(value, str) else None
        if items is None:
            return []
        lists.append(tuple(item.strip() for item in items))
    return lists


def _any_labels(name: str, values: Sequence[Any]) -> Labels:
    """Return the labels of a column that is called a label column, for values of any kind."""
    counts = collections.Counter(as_label(value) for value in values if not is_missing(value))
    return Labels(name, None, frozenset(counts), counts)


# === The choice of the label column ===


def choose_label_column(
    columns: Mapping[str, list[Any]], titles: Mapping[str, str], texts: Sequence[str]
) -> tuple[Labels | None, list[str], bool]:
    """Choose the column of labels: by its name, or the only one with few different values.

    Args:
        columns: column → values.
        titles: column → its name in the header; empty without a header.
        texts: the columns that hold texts.

    Returns:
        The column, or None if no choice is safe; all columns that may hold labels; and whether
        these look like one column of 0 and 1 for each class.
    """
    ranks = {name: label_rank(titles.get(name, "")) for name in columns}
    read = {name: labels_in(name, values) for name, values in columns.items() if name not in texts}
    labels = {name: label for name, label in read.items() if label is not None}
    num_rows = len(next(iter(columns.values())))
    half_filled = {name for name, label in labels.items() if label.counts.total() * 2 >= num_rows}
    named = {name for name in labels if ranks[name] is not None}
    is_other = {name: plain_name(titles.get(name, "")) in OTHER_NAMES for name in labels}
    candidates = [
        name
        for name in labels
        if name in named or (name in half_filled and _tier(labels[name]) < 2 and not is_other[name])
    ] or [name for name in half_filled if _tier(labels[name]) < 2]

    # A column with a usual name is chosen whatever its values are.
    usual = [name for name, rank in ranks.items() if rank is not None and rank[0] == 0]
    usual = [name for name in usual if name not in texts]
    if usual:

        def order(name: str) -> tuple[bool, bool, tuple[int, int] | None]:
            return name not in labels, name not in half_filled, ranks[name]

        best, *others = sorted(usual, key=order)
        if best in labels and others and order(others[0]) == order(best):
            return None, candidates, False  # a repeated name
        if best in labels or not candidates:
            chosen = labels.get(best) or _any_labels(best, columns[best])
            return chosen, candidates or [best], False
    binary = [name for name in candidates if _is_binary(labels[name])]
    if binary and not usual:
        # A class without any row is a column of zeros.
        zeros = [name for name in read if name not in labels and _is_zero(columns[name])]
        binary, candidates = binary + zeros, candidates + zeros
    binary_named = [name for name in binary if name in named]
    if len(binary) > 1 and len(binary_named) != 1 and not (named - set(binary)):
        return None, candidates, True
    if best_named := _only_best(named & half_filled or named, lambda name: ranks[name] or ()):
        return labels[best_named], candidates, False
    if named:
        return None, candidates, False
    best_fitting = _only_best(candidates, lambda name: (_tier(labels[name]),))
    return labels[best_fitting] if best_fitting else None, candidates, False


def _only_best(names: Iterable[str], key: Callable[[str], tuple[int, ...]]) -> str | None:
    """Return the name with the smallest key, or None if several have it."""
    ranked = sorted((key(name), name) for name in names)
    is_tied = len(ranked) > 1 and ranked[0][0] == ranked[1][0]
    return ranked[0][1] if ranked and not is_tied else None


def _tier(label: Labels) -> int:
    """Return how well the values of a column fit labels: 0 well, 1 less, 2 not at all."""
    if label.separator is not None:
        return 0
    if not all(map(is_number, label.atoms)):
        return 2 if kind_of_column(label.atoms) == "dates" else 0
    if not all(map(is_integer, label.atoms)):
        return 2
    return 0 if len(label.atoms) <= 10 else 1


def _is_binary(label: Labels) -> bool:
    return label.separator is None and label.atoms in (
        *({"0", "1"}, {"0.0", "1.0"}, {"true", "false"}, {"True", "False"}, {"TRUE", "FALSE"}),
    )


def _is_zero(values: Sequence[Any]) -> bool:
    return {as_label(value).lower() for value in values if not is_missing(value)} in (
        *({"0"}, {"0.0"}, {"false"}),
    )


# === Columns that the user has chosen ===


def find_text_columns(
    columns: Mapping[str, list[Any]], titles: Mapping[str, str], known: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Return the text columns that are known, or what `choose_text_columns` returns.

    Args:
        columns, titles: as for `choose_text_columns`.
        known: settings of section `data` that are not guessed, by name.
    """
    if "text_columns" in known:
        names = [_column(name, columns) for name in known["text_columns"]]
        return [name for name in names if name is not None], []
    label = _column(known["label_column"], columns) if "label_column" in known else None
    others = {name: values for name, values in columns.items() if name != label}
    return choose_text_columns(others, titles)


def find_label_column(
    columns: Mapping[str, list[Any]],
    titles: Mapping[str, str],
    texts: Sequence[str],
    known: Mapping[str, Any],
) -> tuple[Labels | None, list[str], bool]:
    """Return the label column that is known, or what `choose_label_column` returns.

    Args:
        columns, titles, texts: as for `choose_label_column`.
        known: settings of section `data` that are not guessed, by name.
    """
    if "label_column" not in known:
        label, candidates, are_classes = choose_label_column(columns, titles, texts)
        name = label.name if label else None
    else:
        name, candidates, are_classes = _column(known["label_column"], columns), [], False
        label = None
    if name is not None and not known.keys().isdisjoint(
        ("label_column", "multi_label", "label_separator")
    ):
        label = _set_labels(
            name,
            columns[name],
            multi_label=known.get("multi_label"),
            separator=known.get("label_separator"),
        )
    return label, candidates, are_classes


def _column(name: str, columns: Mapping[str, list[Any]]) -> str | None:
    """Return a column by its name or by its number from 1; None if it does not exist."""
    if name in columns:
        return name
    is_number = name.isdecimal() and 1 <= int(name) <= len(columns)
    return list(columns)[int(name) - 1] if is_number else None


def _set_labels(
    name: str, values: Sequence[Any], *, multi_label: bool | None, separator: str | None
) -> Labels:
    """Return the labels of a column that the user has chosen.

    Args:
        name: the column.
        values: its values.
        multi_label: whether a cell holds several labels; None if that is unknown.
        separator: between several labels; None if it is unknown.
    """
    label = labels_in(name, values) or _any_labels(name, values)
    if multi_label is False:
        return _any_labels(name, values)
    is_several = multi_label or label.separator is not None
    if not is_several or label.separator == "" or (separator is None and label.separator):
        return label
    counts = _any_labels(name, values).counts
    atoms = {atom.strip() for cell in counts for atom in cell.split(separator or ",")}
    return Labels(name, separator or ",", frozenset(atoms - {""}), counts)


# === Remarks ===


def label_notes(
    label: Labels,
    values: Sequence[Any],
    texts: Sequence[Sequence[Any]],
    *,
    skip_unlabelled: bool,
) -> Iterator[str]:
    """Yield a sentence about each oddity of a label column.

    Args:
        label: the labels of the column.
        values: its values.
        texts: the values of each text column.
        skip_unlabelled: whether rows without a label are skipped.
    """
    name, num_filled = label.name, label.counts.total()
    num_unlabelled = len(values) - num_filled
    if not num_filled:
        yield f"the column {name} is empty"
    elif num_unlabelled and label.separator is None:
        have, are = ("has", "is") if num_unlabelled == 1 else ("have", "are")
        skipped = f" and {are} skipped (data.skip_unlabelled)" if skip_unlabelled else ""
        yield f"{num_unlabelled} of {len(values)} rows {have} no label in {name}{skipped}"
    if len(label.counts) == num_filled > 2:
        yield f"all {num_filled} labels of {name} are different"
    elif len(label.atoms) == 1:
        yield f"{name} holds one class only, {shorten(next(iter(label.atoms)))}"
    if texts and mean_length(values) > max(map(mean_length, texts)):
        yield f"the labels of {name} are longer than the texts"
    num_lists = sum(isinstance(v, str) and parse_list(v) is not None for v in values)
    if num_lists and label.separator != "":
        yield (
            f"{num_lists} of {num_filled} labels of {name} are lists written as text; write all of "
            "them as lists or none"
        )
    missing = sorted(atom for atom in label.atoms if atom.casefold() in MISSING - {"none", "?"})
    if missing:
        yield (
            f"{format_list(missing)} is a class here; leave the cell empty if it means that there "
            "is no label"
        )
