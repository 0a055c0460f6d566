"""Recognition of files: format, columns and labels, guessed from the beginning of a file.

    formats     encoding, and kinds of JSON
    delimited   delimiter and quoting of CSV and TSV files
    values      kinds of cells
    columns     columns of texts and labels
    headers     whether the first row names the columns
    scripts     script of the texts and unit of their tokens

The guesses are written into a configuration for the user to read. `Recognised.notes` names the
uncertain ones. Rows are read by `tables.Table`, so that training reads the file in the same way.
"""

import collections
import dataclasses
import itertools
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from textclf.data.delimited_files import fit_row
from textclf.data.encodings import codec_of, guess_encoding
from textclf.data.files import missing_file
from textclf.data.folder_part import FolderPart
from textclf.data.labels import odd_names
from textclf.data.recognition.columns import (
    Labels,
    find_label_column,
    find_text_columns,
    label_notes,
)
from textclf.data.recognition.delimited import (
    choose_delimiter,
    choose_quoting,
    evenness,
    parse_rows,
)
from textclf.data.recognition.formats import CERTAIN_ENCODINGS, decode_sample, json_format
from textclf.data.recognition.headers import find_header
from textclf.data.recognition.scripts import script_and_unit
from textclf.data.recognition.values import clean_cell, is_integer
from textclf.data.sources import split_names
from textclf.data.tables import JSON_FORMATS, TABLE_FORMATS, Table, format_of, open_table
from textclf.errors import DataError, RowError, format_list
from textclf.splits import SPLITS

__all__ = ["CERTAIN_ENCODINGS", "Recognised", "recognise"]

_SAMPLE_BYTES = 1 << 24
_MAX_RECORDS = 50_000  # of a Parquet file
_MAX_FILES = 5_000  # of a folder
# Files of class names, which may be in the folder of data whose labels are numbers.
_NAME_FILES = ("classes.txt", "labels.txt", "class_names.txt", "label_names.txt", "categories.txt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognised:
    """Guesses about a file. Fields with the name of a setting of section `data` hold its value.

    Attributes:
        format: `csv`, `tsv`, `jsonl`, `json`, `parquet` or `folder`.
        delimiter, quoting: of csv and tsv; otherwise None and `auto`.
        header: whether the first row names the columns.
        header_reason: the reason for a header; None without one and if its names are usual.
        encoding: certain if it is one of `CERTAIN_ENCODINGS`, otherwise a suggestion.
        text_columns: names, or numbers from 1 without a header. Empty if no column holds texts or
            if the user must choose one of `text_candidates`.
        text_candidates: columns that may hold the texts, if no choice is safe; otherwise empty.
        label_column: name or number; None if no column holds labels or if the user must choose.
        label_candidates: all columns that may hold labels.
        are_classes: whether `label_candidates` look like one column of 0 and 1 for each class.
        multi_label: whether rows seem to have several labels.
        label_separator: between several labels of one text.
        label_ids, class_names_file: if the labels are numbers that count the lines of a file of
            names in the same folder, that file; otherwise `names` and None.
        skip_unlabelled: whether some rows have no label.
        script: of most letters: `latin`, `han`, `kana`, `cyrillic`, ..., `mixed` or `none`.
        unit: the tokens to use, `word` or `character`.
        class_names_seen: the labels seen, sorted (numbers by value).
        num_rows_seen: rows read, without the header.
        is_whole: whether these are all rows of the file.
        first_problem: the reader's message about the first error of a row, or None.
        notes: remarks for the user, one sentence each.
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


def recognise(path: str | os.PathLike[str], known: Mapping[str, Any] | None = None) -> Recognised:
    """Guess the format, the columns and the labels of a file, or of a folder `split/label/*.txt`.

        recognise("reviews.csv").label_column    # "stars"

    Args:
        path: may begin with `~`; a text format may end in `.gz`.
        known: settings of section `data` that are not guessed, by name. A column that does not
            exist is left to the reader to report.

    Raises:
        DataError: the file does not exist, is empty, is not text, or its first row cannot be read.
    """
    path, known = os.fspath(path), {} if known is None else known
    full = os.path.expanduser(path)
    if os.path.isdir(full):
        return _recognise_folder(path, known)
    if not os.path.exists(full):
        raise missing_file(path)
    set_format = known["format"] if known.get("format") in TABLE_FORMATS else None
    try:
        ending = set_format or format_of(path)
    except DataError:
        ending = None
    # The encoding is not known yet; Latin-1 decodes any bytes.
    raw = Table(path, "parquet", ",", "none", True, "latin-1")
    sample = raw.sample(_SAMPLE_BYTES)
    if ending == "parquet" or sample.startswith(b"PAR1"):
        return _recognise_records(open_table(path, format="parquet"), _MAX_RECORDS, [], known)
    dataclasses.replace(raw, format=ending or "csv").check_file()
    is_whole = len(sample) < _SAMPLE_BYTES
    encoding, text = decode_sample(path, sample, is_whole, known.get("encoding"))
    notes = []
    if encoding not in CERTAIN_ENCODINGS and "encoding" not in known:
        notes.append(_encoding_note(encoding))
    if not is_whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    if not text.strip("\ufeff \t\r\n"):
        raise DataError(f"{path}: the file is empty, expected rows")
    format = ending if ending in JSON_FORMATS else json_format(text)
    if format is not None and set_format not in ("csv", "tsv"):
        table = open_table(path, format=format, encoding=encoding)
        # The objects of an array may be on few lines, so their number is not that of the lines.
        limit = None if is_whole else max(text.count("\n"), 1000)
        return _recognise_records(table, limit, notes, known)
    return _recognise_delimited(path, ending, encoding, text, is_whole, notes, known)


def _encoding_note(encoding: str) -> str:
    return f"not UTF-8; {encoding} is a guess, so look at some texts"


# === Kinds of files ===


def _recognise_delimited(
    path: str,
    ending: str | None,
    encoding: str,
    text: str,
    is_whole: bool,
    notes: list[str],
    known: Mapping[str, Any],
) -> Recognised:
    """Return the guesses about a CSV or TSV file.

    Args:
        path: the file.
        ending: the format that is set or that its ending names, or None.
        encoding: the encoding.
        text: the file or its beginning.
        is_whole: whether the text is the whole file.
        notes: remarks so far.
        known: as for `recognise`.
    """
    usual = "\t" if ending == "tsv" else ","
    delimiter = known.get("delimiter") or choose_delimiter(path, text, usual)
    if ending is not None and ending == known.get("format"):
        format = ending
    else:
        format = "tsv" if delimiter == "\t" and ending != "csv" else "csv"
    quoting = known.get("quoting", "auto")
    if quoting == "auto":
        quoting, rows = choose_quoting(path, text, delimiter, format, is_whole, notes)
    else:
        rows, _ = parse_rows(path, text, delimiter, quoting, is_whole)
    if not rows:
        raise DataError(f"{path}: no rows, expected at least one row")
    _, width = evenness(rows)
    first = rows[0]
    if "header" in known:
        header, reason = known["header"], None
    elif len(first) == width:
        fitted = (fit_row(row, first, width) for row in rows)
        header, reason = find_header([row for row in fitted if row is not None])
    else:
        header, reason = True, None  # of the wrong length, which the reader reports
    table = open_table(
        path,
        format=format,
        delimiter=delimiter,
        quoting=quoting,
        header=header,
        encoding=encoding,
    )
    columns, problems, is_whole = _read_columns(table, None if is_whole else len(rows), notes)
    if reason is not None:
        line, _ = table.columns()
        reason = f"line {line} is taken as the header: {reason}"
        notes.append(f"{reason}; set data.header: false if it is a text")
    # A repeated name cannot name a column, but it says what the column holds.
    titles = dict(zip(columns, map(clean_cell, first), strict=False)) if header else {}
    if header:
        notes += _header_notes(columns, titles, rows)
    return _recognise_columns(
        path,
        columns,
        titles,
        notes,
        problems,
        known,
        is_whole=is_whole,
        format=format,
        delimiter=delimiter,
        quoting=quoting,
        header=header,
        header_reason=reason,
        encoding=encoding,
    )


def _header_notes(
    columns: Iterable[str], titles: Mapping[str, str], rows: Sequence[Sequence[str]]
) -> list[str]:
    """Return remarks about names that are repeated, and about rows that repeat the header.

    Args:
        columns: the names by which the columns are read.
        titles: column → its name in the header.
        rows: the rows as written, the header first.
    """
    notes, known = [], set(columns)
    repeated = [title for title in dict.fromkeys(titles.values()) if title and title not in known]
    if repeated:
        notes.append(
            f"the header has {format_list(repeated)} more than once, so these columns are called "
            "by their numbers"
        )
    header = list(map(clean_cell, rows[0]))
    count = sum(list(map(clean_cell, row)) == header for row in rows[1:])
    if count:
        repeat = "1 row repeats" if count == 1 else f"{count} rows repeat"
        notes.append(f"{repeat} the header, as in joined files; remove such lines")
    return notes


def _recognise_records(
    table: Table, limit: int | None, notes: list[str], known: Mapping[str, Any]
) -> Recognised:
    """Return the guesses about a JSON or Parquet file; see `_read_columns` and `recognise`."""
    columns, problems, is_whole = _read_columns(table, limit, notes)
    return _recognise_columns(
        table.path,
        columns,
        {name: name for name in columns},
        notes,
        problems,
        known,
        is_whole=is_whole,
        format=table.format,
        encoding=table.encoding,
    )


def _recognise_folder(path: str, known: Mapping[str, Any]) -> Recognised:
    names = sorted(entry for entry in os.listdir(os.path.expanduser(path)) if entry[0] != ".")
    try:
        chosen = {split: known[split] for split in SPLITS if known.get(split)}
        splits = split_names(path, names, chosen, kind="folder")
        parts = {split: FolderPart(os.path.join(path, name)) for split, name in splits.items()}
        for part in parts.values():
            part.check()
    except DataError as error:
        tables = [name for name in names if "." in name][:5]
        hint = f"; or name one of its files ({', '.join(tables)})" if tables else ""
        raise DataError(f"{path}: expected split/label/*.txt{hint}: {error}") from None
    files = [labelled_file for part in parts.values() for labelled_file in part.paths()]
    texts, encodings = [], collections.Counter[str]()
    for _, file in files[:: max(1, len(files) // 200)]:
        with open(os.path.expanduser(file), "rb") as stream:
            content = stream.read(1 << 16)
        encoding = known.get("encoding") or guess_encoding(content)
        encodings[encoding] += 1
        texts.append(content.decode(codec_of(encoding), "replace"))
    encoding = next((name for name in encodings if not name.startswith("utf-8")), "utf-8")
    notes = [f"no folder for {split}" for split in SPLITS if split not in parts]
    if encoding != "utf-8" and "encoding" not in known:
        notes.append(_encoding_note(encoding))
    class_names = tuple(sorted({label for label, _ in files}))
    notes += odd_names(class_names)
    script, unit = script_and_unit(texts, notes)
    return Recognised(
        format="folder",
        encoding=encoding,
        script=script,
        unit=unit,
        class_names_seen=class_names,
        num_rows_seen=len(files),
        is_whole=len(files) <= _MAX_FILES,
        notes=tuple(notes),
    )


# === Columns ===


def _read_columns(
    table: Table, limit: int | None, notes: list[str]
) -> tuple[dict[str, list[Any]], list[RowError], bool]:
    """Return column → values, the errors of rows, and whether these are all rows.

    Args:
        table: the file.
        limit: maximum number of rows; None for all.
        notes: receives remarks for the user.

    Raises:
        DataError: the first row cannot be read.
    """
    _, names = table.columns()
    problems: list[RowError] = []
    records = (record for _, record in table.records(on_problem=problems.append))
    rows = list(itertools.islice(records, limit))
    is_whole = limit is None or next(records, None) is None
    if not is_whole:
        notes.append("only the beginning of the file was read")
    keys = dict.fromkeys([*names, *(name for row in rows for name in row)])
    return {name: [row.get(name) for row in rows] for name in keys}, problems, is_whole


def _recognise_columns(
    path: str,
    columns: Mapping[str, list[Any]],
    titles: Mapping[str, str],
    notes: list[str],
    problems: Sequence[RowError],
    known: Mapping[str, Any],
    **fields: Any,
) -> Recognised:
    """Return the guesses about a table.

    Args:
        path: the file.
        columns: column → values.
        titles: column → its name in the header; empty without a header.
        notes: remarks so far.
        problems: errors of rows.
        known: as for `recognise`.
        **fields: fields of `Recognised` that are known.

    Raises:
        DataError: there are no rows.
    """
    num_rows = _check_rows(path, columns, problems)
    texts, text_candidates = find_text_columns(columns, titles, known)
    label, candidates, are_classes = find_label_column(columns, titles, texts, known)
    if len(texts) > 1 and "text_columns" not in known:
        notes.append(f"several columns hold text and are joined: {format_list(texts)}")
    if label is None and not candidates and "label_column" not in known:
        notes.append("no column looks like labels")
    skip_unlabelled = False
    if label is not None:
        if others := [name for name in candidates if name != label.name]:
            setting = shlex.quote(f"data.label_column={others[0]}")
            notes.append(
                f"{format_list([*map(repr, others)])} may hold labels too; {label.name!r} is "
                f"taken, unless --set {setting} names another column"
            )
        has_unlabelled = label.separator is None and label.counts.total() < num_rows
        skip_unlabelled = known.get("skip_unlabelled", has_unlabelled)
        notes += label_notes(
            label,
            columns[label.name],
            [columns[name] for name in texts],
            skip_unlabelled=skip_unlabelled,
        )
        notes += odd_names(sorted(label.atoms))
    class_names, label_ids, names_file = _recognise_classes(path, label, notes)
    sample = [value for name in texts for value in columns[name][:2000] if isinstance(value, str)]
    script, unit = script_and_unit(sample, notes)
    return Recognised(
        **fields,
        text_columns=tuple(texts or known.get("text_columns", ())),
        text_candidates=tuple(text_candidates),
        label_column=label.name if label else known.get("label_column"),
        label_candidates=tuple(candidates),
        are_classes=are_classes,
        multi_label=label is not None and label.separator is not None,
        label_separator=(label.separator if label else None) or ",",
        label_ids=label_ids,
        class_names_file=names_file,
        skip_unlabelled=skip_unlabelled,
        script=script,
        unit=unit,
        class_names_seen=class_names,
        num_rows_seen=num_rows,
        first_problem=str(problems[0]) if problems else None,
        notes=tuple(notes),
    )


def _check_rows(path: str, columns: Mapping[str, list[Any]], problems: Sequence[RowError]) -> int:
    """Return the number of rows.

    Raises:
        DataError: there are none, or the only one is a table in a single object.
    """
    num_rows = len(next(iter(columns.values()), []))
    if not num_rows:
        if problems:
            raise problems[0]
        raise DataError(f"{path}: no rows below the header, expected at least one row")
    if num_rows == 1 and all(isinstance(values[0], list | dict) for values in columns.values()):
        raise DataError(
            f"{path}: one object that holds {format_list([*columns])}, expected one object for "
            "each text; save them one per line or as an array (pandas: orient='records')"
        )
    return num_rows


def _recognise_classes(
    path: str, label: Labels | None, notes: list[str]
) -> tuple[tuple[str, ...], str, str | None]:
    """Return the labels in order, `label_ids`, and the file of names that the labels count.

    Args:
        path: the file.
        label: its labels, or None.
        notes: receives remarks for the user.
    """
    atoms = label.atoms if label else frozenset[str]()
    if not atoms or not all(map(is_integer, atoms)):
        return tuple(sorted(atoms)), "names", None
    label_ids, names_file = _find_class_names(path, atoms)
    if names_file is None:
        notes.append(
            "the labels are numbers and become the class names, unless data.label_ids and "
            "data.class_names say what they count"
        )
    return tuple(sorted(sorted(atoms), key=int)), label_ids, names_file


def _find_class_names(path: str, atoms: Iterable[str]) -> tuple[str, str | None]:
    """Return `label_ids` and the file in the same folder whose lines the labels count."""
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
