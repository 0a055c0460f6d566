"""Recognition of files: format, columns and labels, guessed from the beginning of a file.

The guesses are written into a configuration, which a person then reads; `Recognised.notes` names
what is not certain. Rows are read by `tables.Table`, so a recognised file is read with the same
meaning afterwards.
"""

import codecs
import collections
import dataclasses
import io
import itertools
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from textclf.data.parts import LABEL_NAMES, SPLITS, TEXT_NAMES, FolderPart, listed
from textclf.data.scan import odd_names
from textclf.data.sources import split_names
from textclf.data.tables import (
    JSON_FORMATS,
    RowError,
    Table,
    codec_of,
    fit_row,
    format_of,
    guess_encoding,
    is_mostly_utf_8,
    missing_file,
    open_table,
    parse_list,
    separator_in,
)
from textclf.errors import DataError

# Encodings that the bytes prove; others are guesses.
CERTAIN_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")

_SAMPLE_BYTES = 1 << 24
_MAX_RECORDS = 50_000  # of Parquet
_MAX_FILES = 5_000  # of a folder
_DELIMITERS = (",", "\t", ";", "|")
_LABEL_SEPARATORS = (",", "|", ";", " ")
# Files that list class names, next to data whose labels are numbers.
_NAME_FILES = ("classes.txt", "labels.txt", "class_names.txt", "label_names.txt", "categories.txt")
_OTHER_NAMES = (
    *("id", "idx", "index", "guid", "uuid", "name", "date", "time", "timestamp", "created_at"),
    *("user", "author", "url", "link", "lang", "language", "country", "source", "split", "fold"),
)
# A column with one of these words in its name describes labels and holds none.
_NOT_LABELS = frozenset({"count", "num", "date", "time", "url", "confidence", "len", "length"})

# === Results ===


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognised:
    """Guesses about a file; fields named as the settings of section `data` fit them.

    Attributes:
        format: `csv`, `tsv`, `jsonl`, `json`, `parquet` or `folder`.
        delimiter, quoting: of csv and tsv, else None and `auto`.
        header: whether the first row names the columns.
        header_reason: why the first row is taken as the header; None without a header and where
            usual names show it.
        encoding: certain if one of `CERTAIN_ENCODINGS`, else a suggestion.
        text_columns: names, or numbers from 1 where there is no header. Empty where no column
            holds texts, or where a person must choose one of `text_candidates`.
        text_candidates: columns of which none is a safe guess, else empty.
        label_column: the same, or None where no column holds labels or a person must choose.
        label_candidates: all columns that may hold labels.
        are_classes: whether `label_candidates` look like one column of 0 and 1 for each class.
        multi_label: whether rows seem to have several labels.
        label_separator: between several labels of one text.
        label_ids, class_names_file: where the labels are numbers that count the lines of a file
            of names next to the data, that file; else `names` and None.
        skip_unlabelled: whether some rows have no label.
        script: of most letters: `latin`, `han`, `kana`, `cyrillic`, …, `mixed` or `none`.
        unit: the tokens to use, `word` or `character`.
        class_names_seen: the labels seen, sorted (numbers by value).
        num_rows_seen: rows looked at, the header not counted.
        is_whole: whether that was the whole file.
        first_problem: the first mistake of a row in the reader's words, or None.
        notes: what a person should look at, a sentence each.
    """

    format: str
    delimiter: str | None = None
    quoting: str = "auto"
    header: bool = True
    header_reason: str | None = None
    encoding: str
    text_columns: tuple[str, ...] = ("text",)
    text_candidates: tuple[str, ...] = ()
    label_column: str | None = "label"
    label_candidates: tuple[str, ...] = ()
    are_classes: bool = False
    multi_label: bool = False
    label_separator: str = ","
    label_ids: str = "names"
    class_names_file: str | None = None
    skip_unlabelled: bool = False
    script: str
    unit: str
    class_names_seen: tuple[str, ...]
    num_rows_seen: int
    is_whole: bool
    first_problem: str | None = None
    notes: tuple[str, ...]


def recognise(path: str | os.PathLike[str]) -> Recognised:
    """Guess how a file, or a folder `split/label/*.txt`, is written.

    Args:
        path: may begin with `~`; a text format may end in `.gz`.

    Raises:
        DataError: the file does not exist, is empty, is not text, or its first row cannot be read.
    """
    path = os.fspath(path)
    full = os.path.expanduser(path)
    if os.path.isdir(full):
        return _folder(path)
    if not os.path.exists(full):
        raise missing_file(path)
    try:
        ending = format_of(path)
    except DataError:
        ending = None
    # Latin-1 takes any bytes: the encoding is not known yet.
    raw = Table(path, "parquet", ",", "none", True, "latin-1")
    sample = raw.sample(_SAMPLE_BYTES)
    if ending == "parquet" or sample.startswith(b"PAR1"):
        return _records(open_table(path, format="parquet"), _MAX_RECORDS, [])
    dataclasses.replace(raw, format=ending or "csv").check_file()
    is_whole = len(sample) < _SAMPLE_BYTES
    encoding, text = _decoded(path, sample, is_whole)
    notes = []
    if encoding not in CERTAIN_ENCODINGS:
        notes.append(f"not UTF-8; {encoding} is a guess, so look at some texts")
    if not is_whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    if not text.strip("\ufeff \t\r\n"):
        raise DataError(f"{path}: the file is empty, expected rows")
    format = ending if ending in JSON_FORMATS else _json_format(text)
    if format is not None:
        table = open_table(path, format=format, encoding=encoding)
        # An array may be written on few lines; then the sample says little about its rows.
        limit = None if is_whole else max(text.count("\n"), 1000)
        return _records(table, limit, notes)
    return _delimited(path, ending, encoding, text, is_whole, notes)


def _decoded(path: str, sample: bytes, is_whole: bool) -> tuple[str, str]:
    """Return the encoding of a sample and its text.

    Raises:
        DataError: no encoding fits, or the file is not text.
    """
    encoding = guess_encoding(sample)
    if encoding not in CERTAIN_ENCODINGS and is_mostly_utf_8(sample):
        # The reader names the lines that are not UTF-8.
        return "utf-8", sample.decode("utf-8", "replace")
    beginning = sample[: 1 << 16].decode("latin-1")
    try:
        text = codecs.getincrementaldecoder(codec_of(encoding))().decode(sample, is_whole)
        beginning, problem = text[: 1 << 16], None
    except UnicodeDecodeError as error:
        if encoding in CERTAIN_ENCODINGS:
            return encoding, sample.decode(encoding, "replace")  # the reader names the line
        line = 1 + (sample[: error.start].count(b"\n") or sample[: error.start].count(b"\r"))
        text, problem = "", f"line {line} is not {encoding}, the best guess"
    controls = len(re.findall(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", beginning))
    if controls > len(beginning) / 20:
        raise DataError(
            f"{path}: the file is not text, expected CSV, TSV, JSON or Parquet; export the table "
            "as CSV (UTF-8)"
        )
    if problem is not None:
        raise DataError(
            f"{path}: the encoding could not be recognised ({problem}); save the file as UTF-8, "
            "or name its encoding in data.encoding"
        )
    return encoding, text


_OBJECT = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:')
_ARRAY = re.compile(r"\s*\[\s*\{\s*[\"}]")


def _json_format(text: str) -> str | None:
    """Return `json` for an array of objects, `jsonl` for objects, None for other text."""
    text = text[: 1 << 20].lstrip("\ufeff \t\r\n")
    if _ARRAY.match(text):
        return "json"
    lines = itertools.islice((line for line in text.splitlines() if line.strip()), 20)
    are_objects = list(map(_is_json_line, lines))
    if sum(are_objects) * 2 > len(are_objects):
        return "jsonl"
    first, end = _first_object(text)
    return "jsonl" if first and "\n" in text[:end] else None


def _is_json_line(line: str) -> bool:
    """Return whether a line is an object, also one with a mistake, and not a cell with others."""
    if not _OBJECT.match(line):
        return False
    first, end = _first_object(line.lstrip())
    return first is None or line.lstrip()[end:].strip() in ("", ",")


def _first_object(text: str) -> tuple[dict[str, Any] | None, int]:
    """Return the object at the beginning of a text, or None, and where it ends."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None, 0
    return (value, end) if isinstance(value, dict) else (None, 0)


def _read(
    table: Table, limit: int | None, notes: list[str]
) -> tuple[dict[str, list[Any]], list[RowError], bool]:
    """Return the columns of a table, the mistakes of its rows, and whether that is all of it.

    Args:
        limit: most rows to read; default: all.

    Raises:
        DataError: the first row cannot be read.
    """
    _, names = table.columns()
    problems: list[RowError] = []
    records = (record for _, record in table.records(on_problem=problems.append))
    rows = list(itertools.islice(records, limit))
    is_whole = limit is None or next(records, None) is None
    if not is_whole:
        notes.append("only the beginning of the file was looked at")
    keys = dict.fromkeys([*names, *(name for row in rows for name in row)])
    return {name: [row.get(name) for row in rows] for name in keys}, problems, is_whole


# === CSV and TSV ===


def _delimited(
    path: str, ending: str | None, encoding: str, text: str, is_whole: bool, notes: list[str]
) -> Recognised:
    usual = "\t" if ending == "tsv" else ","
    delimiter = _delimiter(path, text, usual)
    format = "tsv" if delimiter == "\t" and ending != "csv" else "csv"
    quoting, rows = _quoting(path, text, delimiter, format, is_whole, notes)
    if not rows:
        raise DataError(f"{path}: no rows, expected at least one row")
    _, width = _evenness(rows)
    first = rows[0]
    if len(first) == width:
        fitted = (fit_row(row, first, width) for row in rows)
        header, reason = _find_header([row for row in fitted if row is not None])
    else:
        header, reason = True, None  # of the wrong length, as the reader says
    table = open_table(
        path,
        format=format,
        delimiter=delimiter,
        quoting=quoting,
        header=header,
        encoding=encoding,
    )
    columns, problems, is_whole = _read(table, None if is_whole else len(rows), notes)
    if reason is not None:
        line, _ = table.columns()
        reason = f"line {line} is taken as the header: {reason}"
        notes.append(f"{reason}; set data.header: false if it is a text")
    # A repeated name is no name of a column, though it says what the column holds.
    titles = dict(zip(columns, map(_clean, first), strict=False)) if header else {}
    repeated = [title for title in dict.fromkeys(titles.values()) if title and title not in columns]
    if repeated:
        notes.append(
            f"the header has {listed(repeated)} more than once, so these columns are called by "
            "their numbers"
        )
    if header:
        again = sum(list(map(_clean, row)) == list(map(_clean, first)) for row in rows[1:])
        if again:
            rows_do = "1 row repeats" if again == 1 else f"{again} rows repeat"
            notes.append(f"{rows_do} the header, as in joined files; remove such lines")
    return _recognised(
        path,
        columns,
        titles,
        notes,
        problems,
        is_whole=is_whole,
        format=format,
        delimiter=delimiter,
        quoting=quoting,
        header=header,
        header_reason=reason,
        encoding=encoding,
    )


def _clean(cell: str) -> str:
    return cell.strip("\ufeff \t\r\n\xa0")


def _delimiter(path: str, text: str, usual: str) -> str:
    """Return the delimiter that gives the most even rows of several fields."""
    beginning = "".join(itertools.islice(io.StringIO(text, newline=""), 1000))
    named = separator_in(beginning.splitlines()[0])
    if named is not None and named != '"':
        return named
    best, delimiter = (0.0, False, 0), usual
    quotings = ("minimal", "none", "backslash") if "\\" in beginning else ("minimal", "none")
    for candidate, quoting in itertools.product(_DELIMITERS, quotings):
        rows, _ = _parsed(path, beginning, candidate, quoting, is_whole=False)
        share, width = _evenness(rows)
        if width > 1 and share >= 0.9 and (share, candidate == usual, width) > best:
            best, delimiter = (share, candidate == usual, width), candidate
    return delimiter


def _parsed(
    path: str, text: str, delimiter: str, quoting: str, is_whole: bool
) -> tuple[list[list[str]], bool]:
    """Return the rows up to the first mistake of quoting, and whether there was one."""
    rows = []
    try:
        for cells in Table(path, "csv", delimiter, quoting, True, "utf-8").rows_in(text):
            rows.append(cells)
    except DataError as error:
        # A sample may end inside a quoted field.
        return rows, is_whole or "never closed" not in str(error)
    return rows, False


def _evenness(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return the share of rows that the reader takes together, and their number of fields."""
    if not rows:
        return 0.0, 0
    first = list(rows[0])
    fitting = sum(fit_row(list(row), first, len(first)) is not None for row in rows)
    width, count = collections.Counter(map(len, rows)).most_common(1)[0]
    if fitting >= count:
        width, count = len(first), fitting
    return count / len(rows), width


def _quoting(
    path: str, text: str, delimiter: str, format: str, is_whole: bool, notes: list[str]
) -> tuple[str, list[list[str]]]:
    """Return the quoting and the rows that it gives."""
    bare, _ = _parsed(path, text, delimiter, "none", is_whole)
    bare_share = _evenness(bare)[0]
    if '"' in text:
        quoted, is_broken = _parsed(path, text, delimiter, "minimal", is_whole)
    else:
        quoted, is_broken = bare, False
    quoted_cells = [cell for row in bare for cell in row if '"' in cell]
    wrapped = [cell for cell in quoted_cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
    if "\\" in text and (is_broken or _evenness(quoted)[0] < 1):
        escaped, is_escaped_broken = _parsed(path, text, delimiter, "backslash", is_whole)
        share = 0.0 if is_escaped_broken else _evenness(escaped)[0]
        if share > (0 if is_broken else _evenness(quoted)[0]) and (
            share > bare_share or (share == bare_share and wrapped == quoted_cells)
        ):
            notes.append('backslashes escape delimiters or quotes here (data.quoting: "backslash")')
            return "backslash", escaped
    if '"' not in text:
        return ("none" if format == "tsv" else "minimal"), bare
    if is_broken:
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
        rows_wrapped = sum(any(len(c) > 1 and c[0] == c[-1] == '"' for c in row) for row in bare)
        # Quoted by the program that wrote it, or only where a text happens to be a quotation?
        if rows_wrapped > 0.9 * len(bare):
            return "minimal", quoted
        if wrapped == quoted_cells and all(_is_doubled(cell) for cell in wrapped):
            notes.append(
                f"{rows_wrapped} rows have fields that a program may have quoted; if "
                'data.quoting: none leaves "" in the texts, use minimal'
            )
        return "none", bare
    return ("minimal", quoted) if _evenness(quoted)[0] >= bare_share else ("none", bare)


def _is_doubled(cell: str) -> bool:
    """Return whether the quotes inside a quoted cell are doubled, and there are some."""
    inside = cell[1:-1]
    return '""' in inside and '"' not in inside.replace('""', "")


# --- Header ---

_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)*|[.,]\d+)(?:[eE][+-]?\d+)?\s?%?")
_DATE = re.compile(
    r"(?:\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[T ,].{0,30})?"
)
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?", r"\n"})
_TRUTH = frozenset({"true", "false", "yes", "no"})


def _kind(cell: str) -> str | None:
    """Return `dates`, `numbers` or `truth values` if a cell holds such a value, else None."""
    if _DATE.fullmatch(cell):
        return "dates"
    if _NUMBER.fullmatch(cell):
        return "numbers"
    return "truth values" if cell.casefold() in _TRUTH else None


def _kind_of_column(values: Iterable[Any]) -> str | None:
    """Return the kind of all cells that hold something, at least two; None for other columns."""
    filled = [
        v.strip() for v in values if isinstance(v, str) and v.strip().casefold() not in _MISSING
    ]
    kinds = {_kind(value) for value in filled} if len(filled) > 1 else {None}
    return kinds.pop() if len(kinds) == 1 else None


def _find_header(rows: Sequence[Sequence[str]]) -> tuple[bool, str | None]:
    """Return whether the first row names the columns, and why if its names are not usual ones."""
    cells = list(map(_clean, rows[0]))
    # Joined files repeat the header.
    rest = [row for row in rows[1:] if list(map(_clean, row)) != cells] or rows[1:]
    columns = {str(at): [row[at].strip() for row in rest] for at in range(len(cells))}
    counts = [collections.Counter(values) for values in columns.values()]
    usual = [
        _is_usual_name(cell) and cell not in seen for cell, seen in zip(cells, counts, strict=True)
    ]
    texts, _ = _text_columns(columns, {})
    labels = [
        label
        for name, values in columns.items()
        if name not in texts and (label := _as_labels(name, values)) is not None
    ]
    if any(usual):
        return True, None
    for cell, values in zip(cells, columns.values(), strict=True):
        kind = _kind_of_column(values)
        if kind and cell.casefold() not in _MISSING and _kind(cell) is None:
            return True, f"the column {_shortened(cell)} holds {kind} on all other lines"
    for at, seen in enumerate(counts):
        filled = seen.total() - seen[""]
        if (
            filled >= 19
            and str(at) not in texts
            and cells[at]
            and cells[at] not in seen
            and min(count for value, count in seen.items() if value) > 1
        ):
            return True, f"{_shortened(cells[at])} occurs once, all other labels twice or more"
    if not labels or any(len(cell) > 40 or len(cell.split()) > 4 for cell in cells):
        return False, None
    for label in labels:
        cell = cells[int(label.name)]
        if cell in counts[int(label.name)] or cell in label.atoms or _kind(cell) is not None:
            return False, None
    # A row of names is shorter than the texts below it.
    if all(len(cells[int(name)]) * 2 < _mean_length(columns[name]) for name in texts):
        names = ", ".join(_shortened(cell) for cell in cells[:3])
        return True, f"{names} are shorter than the texts and are no label of another line"
    return False, None


def _shortened(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


# --- Names of columns ---


def _plain(name: str) -> str:
    """Return a name in lower case, with `_` between its words and without brackets."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", unicodedata.normalize("NFKC", name))
    return "_".join(re.findall(r"[^\W_]+", name.casefold()))


def _is_usual_name(cell: str) -> bool:
    plain = _plain(cell)
    if plain in {*TEXT_NAMES, *LABEL_NAMES, *_OTHER_NAMES}:
        return True
    return "_" in cell and " " not in cell and _label_rank(cell) is not None


def _label_rank(title: str) -> tuple[int, int] | None:
    """Return how much a name is like that of a label column, the least first; None: not at all."""
    plain = _plain(title)
    if plain in LABEL_NAMES:
        return 0, LABEL_NAMES.index(plain)
    words = [word.rstrip("0123456789") for word in plain.split("_")]
    words = [word for word in words if word]
    if not words or _NOT_LABELS & set(words):
        return None
    for word in (words[-1], words[0]):
        if word in LABEL_NAMES:
            return 1, LABEL_NAMES.index(word)
    if words[0] in ("is", "has") and len(words) > 1:
        return 1, len(LABEL_NAMES)
    for rank, name in enumerate(LABEL_NAMES):
        if not name.isascii() and name in plain:
            return 1, rank
    return None


# === JSON and Parquet ===


def _records(table: Table, limit: int | None, notes: list[str]) -> Recognised:
    columns, problems, is_whole = _read(table, limit, notes)
    return _recognised(
        table.path,
        columns,
        {name: name for name in columns},
        notes,
        problems,
        is_whole=is_whole,
        format=table.format,
        encoding=table.encoding,
    )


# === Folders ===


def _folder(path: str) -> Recognised:
    names = sorted(entry for entry in os.listdir(os.path.expanduser(path)) if entry[0] != ".")
    try:
        splits = split_names(path, names, {}, where="folder")
        parts = {split: FolderPart(os.path.join(path, name)) for split, name in splits.items()}
        for part in parts.values():
            part.check()
    except DataError as error:
        tables = [name for name in names if "." in name][:5]
        hint = f"; or name one of its files ({', '.join(tables)})" if tables else ""
        raise DataError(f"{path}: expected split/label/*.txt{hint}: {error}") from None
    paths = [labelled_path for part in parts.values() for labelled_path in part.paths()]
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
    class_names = tuple(sorted({label for label, _ in paths}))
    notes += odd_names(class_names)
    script, unit = _script_and_unit(texts, notes)
    return Recognised(
        format="folder",
        encoding=encoding,
        script=script,
        unit=unit,
        class_names_seen=class_names,
        num_rows_seen=len(paths),
        is_whole=len(paths) <= _MAX_FILES,
        notes=tuple(notes),
    )


# === Columns ===


@dataclasses.dataclass(frozen=True)
class _Labels:
    """The labels that a column holds.

    Attributes:
        separator: of several labels in a cell; "" where the cells are lists, None for one label.
        atoms: the different labels.
        counts: how often each value occurs.
    """

    name: str
    separator: str | None
    atoms: frozenset[str]
    counts: collections.Counter[Any]


def _recognised(
    path: str,
    columns: Mapping[str, list[Any]],
    titles: Mapping[str, str],
    notes: list[str],
    problems: Sequence[RowError],
    **how: Any,
) -> Recognised:
    """Return what is recognised, given columns and, where there is a header, their titles."""
    num_rows = len(next(iter(columns.values()), []))
    if not num_rows:
        if problems:
            raise problems[0]
        raise DataError(f"{path}: no rows below the header, expected at least one row")
    firsts = {name: values[0] for name, values in columns.items()}
    if num_rows == 1 and all(isinstance(value, list | dict) for value in firsts.values()):
        raise DataError(
            f"{path}: one object that holds {listed([*firsts])}, expected one object for each "
            "text; save them one a line or as an array (pandas: orient='records')"
        )
    texts, text_candidates = _text_columns(columns, titles)
    label, candidates, are_classes = _label_column(columns, titles, texts)
    if len(texts) > 1:
        notes.append(f"several columns hold text and are joined: {listed(texts)}")
    if label is None and not candidates:
        notes.append("no column looks like labels")
    skip_unlabelled = False
    if label is not None:
        if others := [name for name in candidates if name != label.name]:
            notes.append(f"{listed(others)} may hold labels too; {label.name} is taken")
        skip_unlabelled = label.separator is None and label.counts.total() < num_rows
        notes += _label_notes(label, columns[label.name], [columns[name] for name in texts])
        notes += odd_names(sorted(label.atoms))
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
    script, unit = _script_and_unit(sample, notes)
    return Recognised(
        **how,
        text_columns=tuple(texts),
        text_candidates=tuple(text_candidates),
        label_column=label.name if label else None,
        label_candidates=tuple(candidates),
        are_classes=are_classes,
        multi_label=label is not None and label.separator is not None,
        label_separator=(label.separator if label else None) or ",",
        label_ids=label_ids,
        class_names_file=names_file,
        skip_unlabelled=skip_unlabelled,
        script=script,
        unit=unit,
        class_names_seen=tuple(shown),
        num_rows_seen=num_rows,
        first_problem=str(problems[0]) if problems else None,
        notes=tuple(notes),
    )


def _mean_length(values: Sequence[Any]) -> float:
    return sum(len(value) for value in values if isinstance(value, str)) / max(1, len(values))


def _num_words(text: str) -> float:
    """Return the number of words: between blanks, and half a word for a Han character or kana."""
    unspaced = sum(
        "\u3040" <= character <= "\u30ff" or "\u4e00" <= character <= "\u9fff" for character in text
    )
    return len(text.split()) + unspaced // 2


def _text_columns(
    columns: Mapping[str, list[Any]], titles: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the columns that hold texts, in their order, or those of which none is a safe guess.

    The column with a usual name or with the longest texts, and others that hold sentences.
    """
    strings = {
        name: [value for value in values[:5000] if isinstance(value, str)]
        for name, values in columns.items()
    }
    names = {name: _plain(titles.get(name, "")) for name in columns}
    strings = {
        name: values
        for name, values in strings.items()
        if any(value.strip() for value in values)
        and (names[name] in TEXT_NAMES or _kind_of_column(values) is None)
    }
    unlike_labels = {n: v for n, v in strings.items() if names[n] not in LABEL_NAMES}
    strings = unlike_labels or ({} if len(columns) > 1 else strings)
    if not strings:
        return [], []
    words = {name: sum(map(_num_words, values)) / len(values) for name, values in strings.items()}
    is_varied = {name: len(set(values)) > len(values) / 2 for name, values in strings.items()}

    def rank(name: str) -> tuple[bool, bool, float]:
        is_filled = sum(map(bool, map(str.strip, strings[name]))) > len(columns[name]) / 2
        is_named = names[name] in TEXT_NAMES and is_filled
        return is_named, words[name] >= 2, _mean_length(strings[name])

    longest = max(strings, key=rank)
    if names[longest] not in TEXT_NAMES and words[longest] < 2:
        varied = [name for name in strings if is_varied[name] and names[name] not in _OTHER_NAMES]
        if len(varied) > 1:
            return [], varied
    return [
        name for name in strings if name == longest or (words[name] >= 3 and is_varied[name])
    ], []


def _label_column(
    columns: Mapping[str, list[Any]], titles: Mapping[str, str], texts: Sequence[str]
) -> tuple[_Labels | None, list[str], bool]:
    """Choose the column of labels: by its name, or the only one with few different values.

    Returns:
        The column, or None where no choice is safe; all columns that may hold labels; and whether
        these look like one column of 0 and 1 for each class.
    """
    ranks = {name: _label_rank(titles.get(name, "")) for name in columns}
    read = {name: _as_labels(name, values) for name, values in columns.items() if name not in texts}
    labels = {name: label for name, label in read.items() if label is not None}
    num_rows = len(next(iter(columns.values())))
    half_filled = {name for name, label in labels.items() if label.counts.total() * 2 >= num_rows}
    named = {name for name in labels if ranks[name] is not None}
    is_other = {name: _plain(titles.get(name, "")) in _OTHER_NAMES for name in labels}
    candidates = [
        name
        for name in labels
        if name in named or (name in half_filled and _tier(labels[name]) < 2 and not is_other[name])
    ] or [name for name in half_filled if _tier(labels[name]) < 2]

    # An exact name is trusted, whatever the column holds.
    exact = [name for name, rank in ranks.items() if rank is not None and rank[0] == 0]
    exact = [name for name in exact if name not in texts]
    if exact:

        def order(name: str) -> tuple[bool, bool, tuple[int, int] | None]:
            return name not in labels, name not in half_filled, ranks[name]

        best, *others = sorted(exact, key=order)
        if best in labels and others and order(others[0]) == order(best):
            return None, candidates, False  # a repeated name
        if best in labels or not candidates:
            return labels.get(best) or _trusted(best, columns[best]), candidates or [best], False
    truths = [name for name in candidates if _is_truth(labels[name])]
    if truths and not exact:
        # A class that no row has is a column of zeros.
        zeros = [name for name in read if name not in labels and _is_zero(columns[name])]
        truths, candidates = truths + zeros, candidates + zeros
    truths_named = [name for name in truths if name in named]
    if len(truths) > 1 and len(truths_named) != 1 and not (named - set(truths)):
        return None, candidates, True
    if best_named := _best(named & half_filled or named, lambda n: ranks[n] or ()):
        return labels[best_named], candidates, False
    if named:
        return None, candidates, False
    best_fitting = _best(candidates, lambda name: (_tier(labels[name]),))
    return labels[best_fitting] if best_fitting else None, candidates, False


def _best(names: Iterable[str], key: Callable[[str], tuple[int, ...]]) -> str | None:
    """Return the only name with the least key, or None."""
    ranked = sorted((key(name), name) for name in names)
    is_tied = len(ranked) > 1 and ranked[0][0] == ranked[1][0]
    return ranked[0][1] if ranked and not is_tied else None


def _tier(label: _Labels) -> int:
    """Return how well a column without a usual name fits: 0 well, 1 less, 2 not at all."""
    if label.separator is not None:
        return 0
    if not all(map(_is_number, label.atoms)):
        return 2 if _kind_of_column(label.atoms) == "dates" else 0
    if not all(map(_is_integer, label.atoms)):
        return 2
    return 0 if len(label.atoms) <= 10 else 1


def _is_truth(label: _Labels) -> bool:
    return label.separator is None and label.atoms in (
        *({"0", "1"}, {"0.0", "1.0"}, {"true", "false"}, {"True", "False"}, {"TRUE", "FALSE"}),
    )


def _is_zero(values: Sequence[Any]) -> bool:
    return {_written(value).lower() for value in values if not _is_missing(value)} in (
        *({"0"}, {"0.0"}, {"false"}),
    )


def _trusted(name: str, values: Sequence[Any]) -> _Labels:
    """Return the labels of a column that is called so though it does not look like it."""
    counts = collections.Counter(_written(value) for value in values if not _is_missing(value))
    return _Labels(name, None, frozenset(counts), counts)


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _as_labels(name: str, values: Sequence[Any]) -> _Labels | None:
    """Return the labels of a column with few different values, else None."""
    filled = [value for value in values if not _is_missing(value)]
    few = max(2, len(filled) // 2)
    items = [item for value in filled for item in (value if isinstance(value, list) else [value])]
    if not all(_is_label(item) for item in items if not _is_missing(item)):
        return None
    if any(isinstance(value, list) for value in filled):
        lists = [tuple(map(_written, value)) for value in filled if isinstance(value, list)]
    else:
        lists = _parsed_lists(filled)
    if lists:
        atoms = frozenset(item for items in lists for item in items if item)
        return (
            _Labels(name, "", atoms, collections.Counter(lists)) if 1 <= len(atoms) <= few else None
        )
    written = [_written(value) for value in filled]
    counts = collections.Counter(written)
    has_decimal_commas = all(re.fullmatch(r"\d+,\d{1,2}", value) for value in counts)
    for separator in _LABEL_SEPARATORS if not has_decimal_commas else ():
        several = sum(separator in value for value in written)
        atoms = frozenset(
            atom.strip() for value in counts for atom in value.split(separator) if atom.strip()
        )
        if (
            several >= max(2, len(values) / 100)
            and 2 <= len(atoms) < len(counts)
            and len(atoms) <= few
            and (separator != " " or all(map(_is_integer, atoms)))
        ):
            return _Labels(name, separator, atoms, counts)
    if 2 <= len(counts) <= few and len(counts) < max(3, len(written)):
        return _Labels(name, None, frozenset(counts), counts)
    return None


def _parsed_lists(values: Sequence[Any]) -> list[tuple[str, ...]]:
    """Return the lists that the cells of a column hold as text; none if one cell holds no list."""
    lists = []
    for value in values:
        items = parse_list(value) if isinstance(value, str) else None
        if items is None:
            return []
        lists.append(tuple(item.strip() for item in items))
    return lists


def _is_label(value: Any) -> bool:
    """Return whether the reader takes a value as a label."""
    return isinstance(value, str | int) or (isinstance(value, float) and value.is_integer())


def _label_notes(
    label: _Labels, values: Sequence[Any], texts: Sequence[Sequence[Any]]
) -> Iterator[str]:
    """Yield a sentence for each thing about a column of labels that is odd."""
    name, num_filled = label.name, label.counts.total()
    unlabelled = len(values) - num_filled
    if not num_filled:
        yield f"the column {name} is empty"
    elif unlabelled and label.separator is None:
        yield (
            f"{unlabelled} of {len(values)} rows have no label in {name} and are skipped "
            "(data.skip_unlabelled)"
        )
    if len(label.counts) == num_filled > 2:
        yield f"all {num_filled} labels of {name} are different"
    elif len(label.atoms) == 1:
        yield f"{name} holds one class only, {_shortened(next(iter(label.atoms)))}"
    if texts and _mean_length(values) > max(map(_mean_length, texts)):
        yield f"the labels of {name} are longer than the texts"
    lists = sum(isinstance(v, str) and parse_list(v) is not None for v in values)
    if lists and label.separator != "":
        yield (
            f"{lists} of {num_filled} labels of {name} are lists written as text; write all of "
            "them as lists or none"
        )
    missing = sorted(atom for atom in label.atoms if atom.casefold() in _MISSING - {"none", "?"})
    if missing:
        yield (
            f"{listed(missing)} is a class here; leave the cell empty if it means that there is "
            "no label"
        )


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else "" if value is None else value).strip()


def _is_integer(written: str) -> bool:
    return re.fullmatch(r"[+-]?\d{1,9}", written) is not None


def _is_number(written: str) -> bool:
    return _NUMBER.fullmatch(written) is not None


def _names_of_ids(path: str, atoms: Iterable[str]) -> tuple[str, str | None]:
    """Return `label_ids` and the file of names in the same folder that the numbers count."""
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


# === Scripts ===

# Written without blanks between words, and not split by `text.Tokenizer` with unit `word`.
_UNSPACED_SCRIPTS = ("thai", "lao", "khmer", "myanmar")
# Longer runs of such letters than this, on average, are no single words.
_MAX_WORD_CHARACTERS = 8


def _script_and_unit(texts: Iterable[str], notes: list[str]) -> tuple[str, str]:
    """Return the script of most letters and the unit of tokens that fits it."""
    sample = "\n".join(text[:500] for text in texts)[:50_000]
    counts: collections.Counter[str] = collections.Counter()
    unspaced_letters: set[str] = set()
    for character in sample:
        if character.isalpha():
            words = unicodedata.name(character, "other").lower().split()
            name = words[1] if words[0] in ("halfwidth", "fullwidth") else words[0]
            counts[name] += 1
            if name in _UNSPACED_SCRIPTS:
                unspaced_letters.add(character)
    total = counts.total()
    if not total:
        return "none", "word"
    # The tokenizer takes a zero-width space, with which some texts separate words, for a blank.
    runs = [run for run in re.split(r"[\s\u200b]+", sample) if unspaced_letters & set(run)]
    is_separated = sum(map(len, runs)) <= _MAX_WORD_CHARACTERS * len(runs)
    unspaced = 0 if is_separated else sum(counts[script] for script in _UNSPACED_SCRIPTS)
    unit = "character" if unspaced > 0.5 * total else "word"
    if unspaced > 0.1 * total and unit == "word":
        script = max(_UNSPACED_SCRIPTS, key=lambda name: counts[name])
        notes.append(
            f"a part of the letters is {script}, which has no blanks between words, so a sentence "
            "becomes one token; try text.unit: character"
        )
    # A Han character is a word or half of one, a Latin letter a fifth: so two fifths are plenty.
    if counts["hiragana"] + counts["katakana"] > 0.15 * total:
        return "kana", unit
    if counts["cjk"] > 0.1 * total:
        return ("han" if counts["cjk"] > 0.4 * total else "mixed"), unit
    script, count = counts.most_common(1)[0]
    return (script if count > 0.7 * total else "mixed"), unit
