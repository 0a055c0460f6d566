"""What a file of unknown make holds: its format, its columns, its labels.

Everything here is a guess from the beginning of the file, made to be written into a config that a
person then reads. What is certain and what is not stands in `notes`.
"""

import collections
import dataclasses
import io
import itertools
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from textclf.data.parts import LABEL_NAMES, SPLITS, TEXT_NAMES, FolderPart
from textclf.data.sources import split_names
from textclf.data.tables import (
    Table,
    format_of,
    guess_encoding,
    missing_file,
    open_table,
)
from textclf.errors import DataError

_SAMPLE_BYTES = 1 << 24
_MAX_RECORDS = 50_000
_DELIMITERS = (",", "\t", ";", "|")
_LABEL_SEPARATORS = (",", "|", ";", " ")
# Files that list class names, next to data whose labels are numbers.
_NAME_FILES = ("classes.txt", "labels.txt", "class_names.txt", "label_names.txt", "categories.txt")
_OTHER_NAMES = ("id", "idx", "index", "guid", "name", "date", "user", "author", "url", "lang")


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What a file seems to hold; fields named as the settings of section `data` fit them.

    Attributes:
        format: `csv`, `tsv`, `jsonl`, `parquet` or `folder`.
        delimiter, quoting: of csv and tsv, else None and `auto`.
        header: whether the first row names the columns.
        encoding: certain if `utf-8` or `utf-8-sig`, else a suggestion.
        text_columns: names, or numbers from 1 where there is no header.
        label_column: the same, or None where no column looks like labels.
        multi_label: whether rows seem to have several labels.
        label_separator: between several labels of one text.
        label_ids, class_names_file: where the labels are numbers that count the lines of a file
            of names next to the data, that file; else `names` and None.
        script: of most letters: `latin`, `han`, `kana`, `cyrillic`, …, `mixed` or `none`.
        class_names_seen: the labels seen, sorted (numbers by value).
        num_rows_seen: rows looked at, the header not counted.
        notes: what a person should look at, a sentence each.
    """

    format: str
    delimiter: str | None
    quoting: str
    header: bool
    encoding: str
    text_columns: tuple[str, ...]
    label_column: str | None
    multi_label: bool
    label_separator: str
    label_ids: str
    class_names_file: str | None
    script: str
    class_names_seen: tuple[str, ...]
    num_rows_seen: int
    notes: tuple[str, ...]


def recognise(path: str | os.PathLike[str]) -> Recognised:
    """Looks at the beginning of a file, or at a folder `split/label/*.txt`.

    Args:
        path: may begin with `~`; a text format may end in `.gz`.

    Raises:
        DataError: there is no such file, it is empty, or it is no table.
    """
    path = os.fspath(path)
    full = os.path.expanduser(path)
    if os.path.isdir(full):
        return _folder(path)
    if not os.path.exists(full):
        raise missing_file(path)
    raw = Table(path, "csv", ",", "minimal", True, "utf-8")
    raw.check_file()
    sample = raw.sample(_SAMPLE_BYTES)
    whole = len(sample) < _SAMPLE_BYTES
    if sample.startswith(b"PAR1"):
        return _records(path, "parquet", "utf-8", None, [])
    encoding = guess_encoding(sample)
    notes = []
    if encoding not in ("utf-8", "utf-8-sig"):
        notes.append(f"not UTF-8; {encoding} is a guess, so look at some texts")
    text = sample.decode(encoding, "replace")
    if not whole:
        text = text[: text.rfind("\n") + 1]
        notes.append("only the beginning of the file was looked at")
    if not text.strip():
        raise DataError(f"{path}: the file is empty, expected rows")
    if text.lstrip().startswith("{") and _is_json_object(text.lstrip().split("\n", 1)[0]):
        return _records(path, "jsonl", encoding, text, notes)
    return _delimited(path, encoding, text, whole, notes)


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


# === CSV and TSV ===


def _delimited(path: str, encoding: str, text: str, whole: bool, notes: list[str]) -> Recognised:
    try:
        format = format_of(path)
    except DataError:
        format = "auto"
    if format not in ("csv", "tsv"):
        format = "auto"
    beginning = "".join(itertools.islice(io.StringIO(text, newline="\n"), 1000))
    usual = "\t" if format == "tsv" else ","
    best, delimiter = (0.0, False, 0), None
    for candidate in _DELIMITERS:
        for quoting in ("minimal", "none"):
            rows, _ = _parsed(path, beginning, candidate, quoting, whole=False)
            share, width = _consistency(rows)
            if width > 1 and share >= 0.9 and (share, candidate == usual, width) > best:
                best, delimiter = (share, candidate == usual, width), candidate
    if delimiter is None:
        delimiter = usual
    if format == "auto":
        format = "tsv" if delimiter == "\t" else "csv"

    quoting, rows = _quoting(path, text, delimiter, format, whole, notes)
    width = collections.Counter(map(len, rows)).most_common(1)[0][0]
    ragged = sum(len(row) != width for row in rows)
    if ragged:
        some = "1 row does" if ragged == 1 else f"{ragged} rows do"
        notes.append(
            f"{some} not have {width} fields as the others have; `textclf data check` says where"
        )
    even = [row for row in rows if len(row) == width]
    header = _has_header(even)
    first = even.pop(0) if header else [""] * width
    names = open_table(path, format=format, header=header).names_of(first)
    columns = {name: [row[at] for row in even] for at, name in enumerate(names)}
    return _recognised(
        path,
        columns,
        notes,
        format=format,
        delimiter=delimiter,
        quoting=quoting,
        header=header,
        encoding=encoding,
    )


def _parsed(
    path: str, text: str, delimiter: str, quoting: str, whole: bool
) -> tuple[list[list[str]], bool]:
    """The rows up to the first mistake of quoting, and whether there was one."""
    rows = []
    try:
        for cells in Table(path, "csv", delimiter, quoting, True, "utf-8").rows_in(text):
            rows.append(cells)
    except DataError as error:
        # A sample may end inside a quoted field.
        return rows, whole or "never closed" not in str(error)
    return rows, False


def _consistency(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """The share of rows that have the most common number of fields, and that number."""
    if not rows:
        return 0.0, 0
    width, count = collections.Counter(map(len, rows)).most_common(1)[0]
    return count / len(rows), width


def _quoting(
    path: str, text: str, delimiter: str, format: str, whole: bool, notes: list[str]
) -> tuple[str, list[list[str]]]:
    bare, _ = _parsed(path, text, delimiter, "none", whole)
    if '"' not in text:
        return ("none" if format == "tsv" else "minimal"), bare
    quoted, broken = _parsed(path, text, delimiter, "minimal", whole)
    bare_share = _consistency(bare)[0]
    if broken:
        notes.append("quotes are ordinary characters here: read as quoting, they break rows")
        return "none", bare
    seldom = sum(any('"' in cell for cell in row) for row in bare) < len(bare) / 2
    if bare_share == 1 and len(quoted) < len(bare) and seldom:
        notes.append(
            "quotes are ordinary characters here: read as quoting, they would leave "
            f"{len(quoted)} of {len(bare)} rows"
        )
        return "none", bare
    if bare_share == 1 and format == "tsv":
        wrapped = sum(any(len(c) > 1 and c[0] == c[-1] == '"' for c in row) for row in bare)
        # Quoted by the program that wrote it, or only where a text happens to be a quotation?
        return ("minimal", quoted) if wrapped > 0.9 * len(bare) else ("none", bare)
    return ("minimal", quoted) if _consistency(quoted)[0] >= bare_share else ("none", bare)


def _has_header(rows: list[list[str]]) -> bool:
    first, rest = rows[0], rows[1:]
    cells = [cell.strip() for cell in first]
    known = {*TEXT_NAMES, *LABEL_NAMES, *_OTHER_NAMES}
    if any(cell.lower() in known for cell in cells):
        return True
    if not rest or any(len(cell) > 40 or len(cell.split()) > 4 for cell in cells):
        return False
    columns = {str(at): [row[at] for row in rest] for at in range(len(first))}
    texts = _text_columns(columns)
    label = _label_column(columns, texts)
    if label is None:
        return False
    values = set(columns[label.name])
    at = int(label.name)
    if cells[at] in values or cells[at] in label.atoms or _is_integer(cells[at]):
        return False
    # A row of names is shorter than the texts below it.
    return all(len(cells[int(name)]) * 2 < _mean_length(columns[name]) for name in texts)


# === JSON lines and Parquet ===


def _records(
    path: str, format: str, encoding: str, text: str | None, notes: list[str]
) -> Recognised:
    rows: list[dict[str, Any]] = []
    if text is None:
        table = open_table(path, format=format)
        found = itertools.islice(table.records(), _MAX_RECORDS + 1)
        rows = [record for _, record in found]
        if len(rows) > _MAX_RECORDS:
            rows.pop()
            notes.append("only the beginning of the file was looked at")
    else:
        for line, content in enumerate(text.split("\n"), 1):
            if content.strip():
                if not _is_json_object(content):
                    raise DataError(f"{path}:{line}: not a JSON object, expected one a line")
                rows.append(json.loads(content))
    if not rows:
        raise DataError(f"{path}: no rows, expected at least one row")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return _recognised(
        path,
        columns,
        notes,
        format=format,
        delimiter=None,
        quoting="auto",
        header=True,
        encoding=encoding,
    )


# === Folders ===


def _folder(path: str) -> Recognised:
    found = sorted(entry for entry in os.listdir(os.path.expanduser(path)) if entry[0] != ".")
    try:
        splits = split_names(path, found, {}, where="folder")
        parts = {split: FolderPart(os.path.join(path, name)) for split, name in splits.items()}
        for part in parts.values():
            part.check()
    except DataError as error:
        tables = [name for name in found if "." in name][:5]
        hint = f"; or name one of its files ({', '.join(tables)})" if tables else ""
        raise DataError(f"{path}: expected split/label/*.txt{hint}: {error}") from None
    paths = [found_path for part in parts.values() for found_path in part.paths()]
    texts, encodings = [], collections.Counter[str]()
    for _, file in paths[:: max(1, len(paths) // 200)]:
        with open(os.path.expanduser(file), "rb") as stream:
            content = stream.read(1 << 16)
        encoding = guess_encoding(content)
        encodings[encoding] += 1
        texts.append(content.decode(encoding, "replace"))
    encoding = next((name for name in encodings if not name.startswith("utf-8")), "utf-8")
    missing = [split for split in SPLITS if split not in parts]
    notes = [f"no folder for {split}" for split in missing]
    if encoding != "utf-8":
        notes.append(f"not UTF-8; {encoding} is a guess, so look at some texts")
    return Recognised(
        format="folder",
        delimiter=None,
        quoting="auto",
        header=True,
        encoding=encoding,
        text_columns=("text",),
        label_column="label",
        multi_label=False,
        label_separator=",",
        label_ids="names",
        class_names_file=None,
        script=_script(texts),
        class_names_seen=tuple(sorted({label for label, _ in paths})),
        num_rows_seen=len(paths),
        notes=tuple(notes),
    )


# === Columns ===


@dataclasses.dataclass(frozen=True)
class _LabelColumn:
    name: str
    separator: str | None  # of several labels; "" where the values are lists
    atoms: frozenset[str]


def _recognised(
    path: str, columns: Mapping[str, list[Any]], notes: list[str], **how: Any
) -> Recognised:
    texts = _text_columns(columns)
    label = _label_column(columns, texts, by_name=how["header"])
    if len(texts) > 1:
        notes.append(f"several columns hold text and are joined: {', '.join(texts)}")
    if label is None:
        notes.append("no column looks like labels")
    atoms = label.atoms if label else frozenset[str]()
    numbers = bool(atoms) and all(_is_integer(atom) for atom in atoms)
    label_ids, names_file = _names_of_ids(path, atoms) if numbers else ("names", None)
    if numbers and names_file is None:
        notes.append(
            "the labels are numbers and become the class names, unless data.label_ids and "
            "data.class_names say what they count"
        )
    shown = sorted(atoms, key=lambda atom: (int(atom), "") if numbers else (0, atom))
    sample = [value for name in texts for value in columns[name][:2000] if isinstance(value, str)]
    return Recognised(
        **how,
        text_columns=tuple(texts),
        label_column=label.name if label else None,
        multi_label=label is not None and label.separator is not None,
        label_separator=(label.separator if label else None) or ",",
        label_ids=label_ids,
        class_names_file=names_file,
        script=_script(sample),
        class_names_seen=tuple(shown),
        num_rows_seen=len(next(iter(columns.values()))),
        notes=tuple(notes),
    )


def _mean_length(values: Sequence[Any]) -> float:
    return sum(len(value) for value in values if isinstance(value, str)) / max(1, len(values))


def _num_words(text: str) -> int:
    """Blanks separate words, and a Han character counts as half a word."""
    return len(text.split()) + sum("\u4e00" <= character <= "\u9fff" for character in text) // 2


def _text_columns(columns: Mapping[str, list[Any]]) -> list[str]:
    """The column with the longest texts, and others that hold sentences, in their order."""
    strings = {
        name: [value for value in values[:5000] if isinstance(value, str)]
        for name, values in columns.items()
    }
    strings = {name: values for name, values in strings.items() if values}
    if not strings:
        return []
    words = {name: sum(map(_num_words, values)) / len(values) for name, values in strings.items()}
    longest = max(strings, key=lambda name: (words[name] >= 2, _mean_length(strings[name])))
    return [
        name
        for name, values in strings.items()
        if name == longest or (words[name] >= 3 and len(set(values)) > len(values) / 2)
    ]


def _label_column(
    columns: Mapping[str, list[Any]], texts: Sequence[str], by_name: bool = False
) -> _LabelColumn | None:
    """The column with few different values; a usual name decides between several."""
    found: list[tuple[tuple[int, int], _LabelColumn]] = []
    for name, values in columns.items():
        label = None if name in texts else _as_labels(name, values)
        if label is not None:
            usual = by_name and name.lower() in LABEL_NAMES
            rank = LABEL_NAMES.index(name.lower()) if usual else len(LABEL_NAMES)
            found.append(((rank, len(label.atoms)), label))
    return min(found, key=lambda item: item[0])[1] if found else None


def _as_labels(name: str, values: Sequence[Any]) -> _LabelColumn | None:
    few = max(2, len(values) // 2)
    if any(isinstance(value, list) for value in values):
        lists = [value for value in values if isinstance(value, list)]
        atoms = frozenset(_written(item) for value in lists for item in value)
        return _LabelColumn(name, "", atoms) if 1 <= len(atoms) <= few else None
    if any(isinstance(value, float | dict | bytes) for value in values):
        return None
    written = [_written(value) for value in values if value not in (None, "")]
    different = frozenset(written)
    for separator in _LABEL_SEPARATORS:
        several = sum(separator in value for value in written)
        atoms = frozenset(
            atom.strip() for value in different for atom in value.split(separator) if atom.strip()
        )
        if (
            several >= max(2, len(values) / 100)
            and 2 <= len(atoms) < len(different)
            and len(atoms) <= few
            and (separator != " " or all(map(_is_integer, atoms)))
        ):
            return _LabelColumn(name, separator, atoms)
    if 2 <= len(different) <= few and len(different) < max(3, len(written)):
        return _LabelColumn(name, None, different)
    return None


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _is_integer(written: str) -> bool:
    return re.fullmatch(r"[+-]?\d{1,9}", written) is not None


def _names_of_ids(path: str, atoms: Iterable[str]) -> tuple[str, str | None]:
    """What the numbers count: the lines of a file of names in the same folder, if there is one."""
    ids = {int(atom) for atom in atoms}
    for name in _NAME_FILES:
        file = os.path.join(os.path.dirname(path), name)
        try:
            with open(os.path.expanduser(file), encoding="utf-8-sig") as stream:
                num_names = sum(1 for line in stream if line.strip())
        except (OSError, UnicodeDecodeError):
            continue
        if min(ids) == 0 and num_names / 2 <= max(ids) + 1 <= num_names:
            return "from_zero", file
        if min(ids) == 1 and max(ids) == num_names:
            return "from_one", file
    return "names", None


def _script(texts: Iterable[str]) -> str:
    counts: collections.Counter[str] = collections.Counter()
    for character in "".join(text[:500] for text in texts)[:50_000]:
        if character.isalpha():
            counts[unicodedata.name(character, "other").split()[0].lower()] += 1
    total = counts.total()
    if not total:
        return "none"
    # A Han character is a word or half of one, a Latin letter a fifth: so two fifths are plenty.
    if counts["hiragana"] + counts["katakana"] > 0.15 * total:
        return "kana"
    if counts["cjk"] > 0.1 * total:
        return "han" if counts["cjk"] > 0.4 * total else "mixed"
    script, count = counts.most_common(1)[0]
    return script if count > 0.7 * total else "mixed"
