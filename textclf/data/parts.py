"""Parts: streams of (line, text, label) rows, each of one file, folder, published split or demo.

A part can be streamed as often as one likes and gives the same rows each time. What its labels mean
is not decided here: a part gives them as they were written.
"""

import contextlib
import dataclasses
import difflib
import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from textclf import demo
from textclf.data.tables import (
    JSON_FORMATS,
    OnProblem,
    RowError,
    Table,
    codec_of,
    missing_file,
    parse_list,
    raise_problem,
    wrong_byte,
)
from textclf.errors import DataError

SPLITS = ("train", "validation", "test")

# What columns are usually called: for suggestions and for recognising files.
TEXT_NAMES = (
    *("text", "review", "sentence", "content", "body", "comment", "message", "tweet", "question"),
    *("document", "review_text", "text_a", "description", "summary", "title", "v2"),
    *("texte", "texto", "testo", "текст", "文本", "内容", "评论", "正文", "句子", "本文", "텍스트"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "category", "sentiment", "target", "stars", "rating"),
    *("polarity", "intent", "topic", "tag", "tags", "emotion", "score", "v1"),
    *("categoría", "categoria", "catégorie", "kategorie", "klasse", "etiqueta", "étiquette"),
    *(
        "метка",
        "класс",
        "标签",
        "标注",
        "类别",
        "分类",
        "情感",
        "极性",
        "评分",
        "ラベル",
        "라벨",
        "레이블",
    ),
)

# Written by `textclf init` for a column that a person must choose.
TO_CHOOSE = "CHANGE_ME"

# A label as written: one string, or several strings where the format has lists.
Label = str | tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of section `data`, by the same names and with the same defaults.

    Attributes:
        source: one source that holds all splits: a file (split by fraction), a folder
            `split/label/*.txt`, `tfds:NAME` or `tfds:NAME/CONFIG`, or `demo`.
        train, validation, test: without `source` the files of the splits; with a folder, a tfds
            source or the demo the names of its splits (default: found by their usual names).
            `test` alone is enough where class names are given.
        format: `auto` (by the ending) or one of `tables.FORMATS`.
        delimiter: between columns; default "," for csv and a tab for tsv.
        quoting: `auto` (minimal for csv, none for tsv), `minimal` or `none`.
        header: whether the first row names the columns.
        text_columns: by name, or by number from 1; several are joined with `text_separator`.
        label_column: by name, or by number from 1.
        multi_label: whether a text may have several labels, or none.
        label_separator: between the labels of one text; multi-label only.
        class_names, class_names_file: the classes in order, in the settings or one a line.
        label_ids: `names`, or `from_zero` / `from_one`: the labels count the class names.
        encoding: of text files; a UTF-8 byte order mark is accepted.
        data_dir: where tensorflow-datasets keeps its files.
        validation_fraction: share of train set aside where no validation split is given.
        test_fraction: share of a single file set aside for the test.
        split_seed: seed of the splits made by fraction.
        in_memory_rows: up to so many rows a split by fraction is stratified exactly.
        skip_unlabelled: skips rows without a label and counts them; not multi-label, where such
            rows are examples without any class.
        drop_unknown_labels: drops rows of validation and test whose label train does not have.
        drop_leaked_train: drops rows of train whose text stands in validation or test too.
    """

    source: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    format: str = "auto"
    delimiter: str | None = None
    quoting: str = "auto"
    header: bool = True
    text_columns: Sequence[str] = ("text",)
    text_separator: str = " "
    label_column: str = "label"
    multi_label: bool = False
    label_separator: str = ","
    class_names: Sequence[str] | None = None
    class_names_file: str | None = None
    label_ids: str = "names"
    encoding: str = "utf-8"
    data_dir: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    in_memory_rows: int = 1_000_000
    skip_unlabelled: bool = False
    drop_unknown_labels: bool = False
    drop_leaked_train: bool = False


class Part(Protocol):
    """One stream of rows.

    Attributes:
        name: for messages.
        holds_names: its labels are names by nature, so `label_ids` does not apply to them.
    """

    @property
    def name(self) -> str: ...

    @property
    def holds_names(self) -> bool: ...

    def check(self) -> None:
        """Raises `DataError` for what can be seen without reading it all."""

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        """Yield line (or number) from 1, text and label as written of every row.

        Args:
            on_problem: called with the mistake of each row that cannot be read.
        """

    def about_rows(self) -> int:
        """How many rows it has, at a guess where only reading it all could tell."""

    def place(self, line: int) -> str:
        """What messages call the row that `rows` gave with this line."""

    def stamp(self) -> object:
        """Differs when the part was changed in between, as far as that can be seen cheaply."""


# === Files ===


@dataclasses.dataclass(frozen=True)
class TablePart:
    """The rows of one file."""

    table: Table
    settings: Settings
    holds_names: bool = False

    @property
    def name(self) -> str:
        return self.table.path

    def check(self) -> None:
        self.table.check_file()
        self._find_columns()
        # The mistakes of rows are reported together when all of them are read.
        with contextlib.suppress(RowError):
            next(self.rows(), None)

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        texts, label = self._find_columns()
        read_label = _LabelReader(self.settings.label_column)
        rows = self._text_rows if self.table.format in ("csv", "tsv") else self._record_rows
        line = 0

        def report(problem: RowError) -> None:
            nonlocal line
            line = -1  # there are rows, though not good ones
            on_problem(problem)

        labels: dict[Any, Label] = {}  # value -> label, for values that are strings
        for line, text, raw in rows(texts, label, report):
            read = labels.get(raw) if type(raw) is str else None
            if read is None:
                try:
                    read = read_label(line, raw)
                except ValueError as error:
                    problem, _, fix = str(error).partition("; ")
                    report(RowError(self.place(line), problem, fix))
                    continue
                if type(raw) is str:
                    labels[raw] = read
            yield line, text, read
        if not line:
            raise DataError(f"{self.name}: no rows below the header, expected at least one row")

    def _text_rows(
        self, texts: list[str], label: str, on_problem: OnProblem
    ) -> Iterator[tuple[int, str, str]]:
        _, names = self.table.columns()
        text_at, label_at = [names.index(name) for name in texts], names.index(label)
        if len(text_at) == 1:
            (only,) = text_at
            for line, cells in self.table.cells(on_problem):
                yield line, cells[only], cells[label_at]
        else:
            join = self.settings.text_separator.join
            for line, cells in self.table.cells(on_problem):
                yield line, join([cells[at] for at in text_at]), cells[label_at]

    def _record_rows(
        self, texts: list[str], label: str, on_problem: OnProblem
    ) -> Iterator[tuple[int, str, Any]]:
        join = self.settings.text_separator.join
        for line, record in self.table.records([*dict.fromkeys([*texts, label])], on_problem):
            try:
                values = [record[name] for name in texts]
                raw = record[label]
            except KeyError as error:
                on_problem(
                    RowError(
                        self.place(line),
                        f"no key {error.args[0]!r}; the keys are {listed([*record])}",
                        "add it, or set data.text_columns and data.label_column",
                    )
                )
                continue
            wrong = next((name for name in texts if type(record[name]) is not str), None)
            if wrong is not None:
                on_problem(
                    RowError(
                        self.place(line),
                        f"{wrong!r} holds {_shown(record[wrong])}, expected a string",
                        "fix the value or drop the row",
                    )
                )
                continue
            yield line, values[0] if len(values) == 1 else join(values), raw

    def _find_columns(self) -> tuple[list[str], str]:
        """The names of the text columns and of the label column.

        Raises:
            DataError: the file does not have them; all that are missing at once.
        """
        line, names = self.table.columns()
        problems = []

        def find(wanted: str, setting: str) -> str:
            if wanted in names:
                return wanted
            if (
                wanted.isdecimal()
                and 1 <= int(wanted) <= len(names)
                and self.table.format not in JSON_FORMATS
            ):
                return names[int(wanted) - 1]
            problems.append(self._missing_column(wanted, setting, line, names))
            return wanted

        texts = [find(str(wanted), "text_columns") for wanted in self.settings.text_columns]
        label = find(str(self.settings.label_column), "label_column")
        if problems:
            raise DataError("\n".join(problems))
        return texts, label

    def _missing_column(self, wanted: str, setting: str, line: int, names: Sequence[str]) -> str:
        if wanted == TO_CHOOSE:
            taken = {*map(str, self.settings.text_columns), str(self.settings.label_column)}
            free = [name for name in names if name not in taken]
            return (
                f"{self.name}: data.{setting} is still {TO_CHOOSE}; set it to one of {listed(free)}"
            )
        if self.table.format in ("csv", "tsv") and not self.table.header:
            return (
                f"{self.name}: no column {wanted!r} (data.{setting}); the file has no header "
                f"(data.header=false), so its columns are the numbers 1 to {len(names)}"
            )
        advice = _advice(wanted, setting, names, self.settings)
        others = [mark for mark in ";\t|," if mark in names[0] and mark != self.table.delimiter]
        if len(names) == 1 and others and self.table.format in ("csv", "tsv"):
            advice = f"use --set {shlex.quote(f'data.delimiter={others[0]}')}"
        if any(len(name.split()) > 3 or name.isdecimal() for name in names):
            advice += ", or data.header=false if this line is a row"
        return f"{self.name}:{line}: no column {wanted!r}; found {listed(names)}; {advice}"

    def about_rows(self) -> int:
        return self.table.about_rows()

    def place(self, line: int) -> str:
        return f"{self.name}:{line}"

    def stamp(self) -> object:
        try:
            status = os.stat(self.table.file)
        except OSError:
            raise missing_file(self.name) from None
        return status.st_size, status.st_mtime_ns


class _LabelReader:
    """Turns the values of a label column into labels as a text format would hold them.

    If the first cell with a label holds a list written as text (`['a', 'b']`), all cells do.
    """

    def __init__(self, column: str):
        self._column = column
        self._list_line: int | None = None  # the line with the first list
        self._is_first = True
        self._lists: dict[str, Label] = {}

    def __call__(self, line: int, value: Any) -> Label:
        """Return a label, "" for none, or several labels.

        Raises:
            ValueError: the value is no label; problem and fix, separated by "; ".
        """
        if isinstance(value, list):
            return tuple(self._name(item) for item in value)
        if value is None or value != value:  # NaN, which is how pandas writes a missing label
            return ""
        name = self._name(value)
        if not name or not isinstance(value, str):
            return name
        if self._is_first:
            self._is_first = False
            self._list_line = line if parse_list(name) is not None else None
        return name if self._list_line is None else self._parsed(name)

    def _parsed(self, name: str) -> Label:
        if name not in self._lists:
            items = parse_list(name)
            if items is None:
                raise ValueError(
                    f"label {name!r} is no list, and the label of line {self._list_line} is one; "
                    "write all labels as lists or none"
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
        raise ValueError(
            f"{self._column!r} holds {_shown(value)}; write a string or an integer (or, with "
            "data.multi_label=true, a list of them)"
        )


def _advice(wanted: str, setting: str, names: Sequence[str], settings: Settings) -> str:
    """Return advice to set `text_columns` or `label_column` to a column of the file."""
    usual = TEXT_NAMES if setting == "text_columns" else LABEL_NAMES
    taken = {str(settings.label_column), *map(str, settings.text_columns)}
    free = [name for name in names if name not in taken]
    if not free:
        return f"the file has no column for it; add one, or set data.{setting}"
    near = difflib.get_close_matches(wanted, names, n=1) or [
        name for name in free if wanted.casefold() in name.casefold()
    ]
    known = [name for name in usual if name in free]
    guess = free[:1] if setting == "text_columns" else free[-1:]
    suggestion = (near or known or guess)[0]
    value = f"[{suggestion}]" if setting == "text_columns" else suggestion
    return f"use --set {shlex.quote(f'data.{setting}={value}')}"


def _shown(value: Any) -> str:
    shown = "nothing (null)" if value is None else repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def listed(names: Sequence[str]) -> str:
    """Names in a message: at most twelve, each at most 40 characters."""
    shown = [name if len(name) <= 40 else name[:37] + "..." for name in names[:12]]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(shown) + more if shown else "nothing"


# === A folder split/label/*.txt ===


@dataclasses.dataclass(frozen=True)
class FolderPart:
    """The texts of one split's folder: `label/*.txt`, in sorted order."""

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
            raise DataError(f"{self.name}: no .txt files in {listed(labels)}")

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
            except PermissionError:
                raise DataError(
                    f"{path}: no permission to read the file; change its mode or its owner"
                ) from None
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from None

    def about_rows(self) -> int:
        return sum(1 for _ in self.paths())

    def place(self, line: int) -> str:
        for number, (_, path) in enumerate(self.paths(), 1):
            if number == line:
                return path
        return f"{self.name}: file {line}"

    def stamp(self) -> object:
        folder = os.path.expanduser(self.name)
        return [
            os.stat(path).st_mtime_ns
            for path in (folder, *(os.path.join(folder, label) for label in self._labels()))
        ]

    def _labels(self) -> list[str]:
        return folders(self.name)

    def paths(self) -> Iterator[tuple[str, str]]:
        """Label and path of every text, in reading order."""
        for label in self._labels():
            folder = os.path.join(self.name, label)
            for file in sorted(_listing(folder)):
                if file.endswith(".txt") and not file.startswith("."):
                    yield label, os.path.join(folder, file)


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(os.path.expanduser(folder))
    except FileNotFoundError:
        raise missing_file(folder, "folder") from None
    except NotADirectoryError:
        raise DataError(f"{folder}: a file, expected a folder (data.format=folder)") from None
    except PermissionError:
        raise DataError(f"{folder}: no permission to list the folder; change its mode") from None


def folders(folder: str) -> list[str]:
    full = os.path.expanduser(folder)
    return sorted(
        name
        for name in _listing(folder)
        if not name.startswith((".", "__")) and os.path.isdir(os.path.join(full, name))
    )


# === tensorflow-datasets ===


@dataclasses.dataclass(frozen=True)
class TfdsPart:
    """One split of a tensorflow-datasets data set that is on this machine."""

    builder: Any
    source: str
    split: str
    settings: Settings

    @property
    def name(self) -> str:
        return f"tfds:{self.source} {self.split}"

    @property
    def holds_names(self) -> bool:
        return self._class_label() is not None

    def check(self) -> None:
        features = self.builder.info.features
        problems = []
        for setting, names in (
            ("text_columns", list(self.settings.text_columns)),
            ("label_column", [self.settings.label_column]),
        ):
            for name in names:
                if name not in features:
                    problems.append(
                        f"tfds:{self.source}: no feature {name!r}; found {listed([*features])}; "
                        f"{_advice(name, setting, [*features], self.settings)}"
                    )
        if problems:
            raise DataError("\n".join(problems))
        try:
            self.builder.info.splits[self.split]
        except (KeyError, ValueError) as error:
            raise DataError(f"{self.name}: no such split: {error}") from None

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        import tensorflow_datasets as tfds

        texts, label = list(self.settings.text_columns), self.settings.label_column
        class_label = self._class_label()
        # One file after the other, so that the order is the same each time.
        dataset = self.builder.as_dataset(
            split=self.split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys([*texts, label], True)),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        number = 0
        scalar = self.builder.info.features[label].shape == ()
        for values in tfds.as_numpy(dataset.batch(256) if scalar else dataset.batch(1)):
            for row in range(len(values[label])):
                number += 1
                try:
                    parts = [values[name][row].decode("utf-8") for name in texts]
                except (AttributeError, UnicodeDecodeError):
                    raise DataError(
                        f"{self.place(number)}: a feature of {texts} holds no text in UTF-8"
                    ) from None
                text = parts[0] if len(parts) == 1 else self.settings.text_separator.join(parts)
                raw = values[label][row]
                if scalar:
                    yield number, text, self._name(class_label, raw, number)
                else:
                    yield number, text, tuple(self._name(class_label, i, number) for i in raw)

    def _name(self, class_label: Any, raw: Any, number: int) -> str:
        if isinstance(raw, bytes):
            return raw.decode("utf-8").strip()
        if class_label is None:
            return str(int(raw))
        if int(raw) < 0:  # how tensorflow-datasets marks rows without a label
            if self.settings.skip_unlabelled:
                return ""
            raise DataError(
                f"{self.place(number)}: no label (-1), expected one of "
                f"{listed(class_label.names)}; choose another split with data.{self._ours()}, or "
                "set data.skip_unlabelled=true"
            )
        return class_label.int2str(int(raw))

    def _class_label(self) -> Any:
        """The ClassLabel feature that names the labels, or None."""
        features = dict(self.builder.info.features.items())
        feature = features.get(self.settings.label_column)
        feature = getattr(feature, "feature", feature)  # of a Sequence its element
        return feature if hasattr(feature, "int2str") else None

    def _ours(self) -> str:
        return next((ours for ours in SPLITS if getattr(self.settings, ours) == self.split), "test")

    def about_rows(self) -> int:
        return self.builder.info.splits[self.split].num_examples

    def place(self, line: int) -> str:
        return f"{self.name}:{line}"

    def stamp(self) -> object:
        return self.builder.info.splits[self.split].num_examples


# === The demo ===


@dataclasses.dataclass(frozen=True)
class DemoPart:
    """One split of the built-in texts."""

    split: str
    holds_names: bool = True

    @property
    def name(self) -> str:
        return f"demo {self.split}"

    def check(self) -> None:
        """The demo is always there."""

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        for number, (text, label) in enumerate(demo.examples(self.split), 1):
            yield number, text, label

    def about_rows(self) -> int:
        return demo.NUM_EXAMPLES[self.split]

    def place(self, line: int) -> str:
        return f"{self.name}:{line}"

    def stamp(self) -> object:
        return None
