"""A table as a part of a data set: its text and label columns."""

import contextlib
import dataclasses
import itertools
import os
import shlex
from collections.abc import Generator, Iterator, Sequence, Set
from typing import Any

from textclf.config import Data
from textclf.data.column_names import TO_CHOOSE, suggest_column
from textclf.data.files import missing_file
from textclf.data.labels import BadLabel, Label, LabelReader, show_value
from textclf.data.tables import JSON_FORMATS, Table
from textclf.errors import DataError, OnProblem, RowError, format_list, raise_problem

_SAMPLE_ROWS = 1000


def _ignore(problem: RowError) -> None:
    """Skip a row that cannot be read."""


@dataclasses.dataclass(frozen=True)
class TablePart:
    """The rows of one file; a `Part`."""

    table: Table
    settings: Data
    holds_names: bool = False

    @property
    def name(self) -> str:
        return self.table.path

    def check(self) -> None:
        self.table.check_file()
        self._find_columns()
        # Errors of rows are reported together when all rows are read.
        with contextlib.suppress(RowError):
            next(self.rows(), None)

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        texts, label = self._find_columns()
        read_label = LabelReader(self.settings.label_column)
        rows = self._text_rows if self.table.format in ("csv", "tsv") else self._record_rows
        has_rows = False

        def report(problem: RowError) -> None:
            nonlocal has_rows
            has_rows = True
            on_problem(problem)

        labels: dict[str, Label] = {}  # cell → label
        for line, text, value in rows(texts, label, report):
            has_rows = True
            written = labels.get(value) if type(value) is str else None
            if written is None:
                try:
                    written = read_label(line, value)
                except BadLabel as error:
                    report(RowError(self.location(line), error.problem, error.fix))
                    continue
                if type(value) is str:
                    labels[value] = written
            yield line, text, written
        if not has_rows:
            raise DataError(f"{self.name}: no rows below the header, expected at least one row")

    def texts(self) -> Generator[str]:
        """Yield the texts alone; the label column may be missing.

        Raises:
            DataError: at the first row that cannot be read.
        """
        columns, _ = self._find_columns(needs_label=False)
        rows = self._text_rows if self.table.format in ("csv", "tsv") else self._record_rows
        for _, text, _ in rows(columns, columns[0], raise_problem):
            yield text

    def column_names(self) -> tuple[str, ...]:
        return self.table.columns()[1]

    def values(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        if self.table.format in ("csv", "tsv"):
            names = self.table.columns()[1]
            indices = [names.index(column) for column in columns]
            for _, cells in self.table.cells():
                yield tuple(cells[index] for index in indices)
        else:
            for _, record in self.table.records(columns):
                yield tuple(record.get(column) for column in columns)

    def about_rows(self) -> int:
        return self.table.about_rows()

    def location(self, line: int) -> str:
        return f"{self.name}:{line}"

    def stamp(self) -> object:
        try:
            status = os.stat(self.table.file)
        except OSError:
            raise missing_file(self.name) from None
        return status.st_size, status.st_mtime_ns

    def columns_with(self, labels: Set[str]) -> list[str]:
        """Return the columns in which the first rows hold only these labels."""
        names = self.table.columns()[1]
        others: dict[str, set[str]] = {name: set() for name in names}
        if self.table.format in ("csv", "tsv"):
            rows: Iterator[dict[str, Any]] = (
                dict(zip(names, cells, strict=True)) for _, cells in self.table.cells(_ignore)
            )
        else:
            rows = (record for _, record in self.table.records(on_problem=_ignore))
        for row in itertools.islice(rows, _SAMPLE_ROWS):
            for name in others:
                others[name].add(str(row.get(name, "")).strip())
        return [name for name, values in others.items() if values <= labels]

    def _text_rows(
        self, texts: list[str], label: str, on_problem: OnProblem
    ) -> Iterator[tuple[int, str, str]]:
        """Yield line, text and label cell of every row of a CSV or TSV file."""
        _, names = self.table.columns()
        text_indices, label_index = [names.index(name) for name in texts], names.index(label)
        if len(text_indices) == 1:
            (text_index,) = text_indices
            for line, cells in self.table.cells(on_problem):
                yield line, cells[text_index], cells[label_index]
        else:
            join = self.settings.text_separator.join
            for line, cells in self.table.cells(on_problem):
                yield line, join([cells[index] for index in text_indices]), cells[label_index]

    def _record_rows(
        self, texts: list[str], label: str, on_problem: OnProblem
    ) -> Iterator[tuple[int, str, Any]]:
        """Yield line, text and label value of every row of a JSON or Parquet file."""
        join = self.settings.text_separator.join
        for line, record in self.table.records([*dict.fromkeys([*texts, label])], on_problem):
            try:
                values = [record[name] for name in texts]
                value = record[label]
            except KeyError as error:
                on_problem(
                    RowError(
                        self.location(line),
                        f"no key {error.args[0]!r}; the keys are {format_list([*record])}",
                        "add it, or set data.text_columns and data.label_column",
                    )
                )
                continue
            wrong = next((name for name in texts if type(record[name]) is not str), None)
            if wrong is not None:
                on_problem(
                    RowError(
                        self.location(line),
                        f"{wrong!r} holds {show_value(record[wrong])}, expected a string",
                        "fix the value or drop the row",
                    )
                )
                continue
            yield line, values[0] if len(values) == 1 else join(values), value

    # === Columns ===

    def _find_columns(self, *, needs_label: bool = True) -> tuple[list[str], str]:
        """Return the names of the text columns and of the label column.

        Args:
            needs_label: False to return an empty name for the label column.

        Raises:
            DataError: with all columns that the file does not have.
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

        texts = [find(wanted, "text_columns") for wanted in self.settings.text_columns]
        label = find(self.settings.label_column, "label_column") if needs_label else ""
        if problems:
            raise DataError("\n".join(problems))
        return texts, label

    def _missing_column(self, wanted: str, setting: str, line: int, names: Sequence[str]) -> str:
        """Return the message about a column that the file does not have."""
        if wanted == TO_CHOOSE:
            taken = {*self.settings.text_columns, self.settings.label_column}
            free = [name for name in names if name not in taken]
            return (
                f"{self.name}: data.{setting} is still {TO_CHOOSE}; set it to one of "
                f"{format_list(free)}"
            )
        if self.table.format in ("csv", "tsv") and not self.table.header:
            return (
                f"{self.name}: no column {wanted!r} (data.{setting}); the file has no header "
                f"(data.header=false), so its columns are the numbers 1 to {len(names)}"
            )
        advice = suggest_column(wanted, setting, names, self.settings)
        others = [mark for mark in ";\t|," if mark in names[0] and mark != self.table.delimiter]
        if len(names) == 1 and others and self.table.format in ("csv", "tsv"):
            advice = f"use --set {shlex.quote(f'data.delimiter={others[0]}')}"
        if any(len(name.split()) > 3 or name.isdecimal() for name in names):
            advice += ", or data.header=false if this line is a row"
        return f"{self.name}:{line}: no column {wanted!r}; found {format_list(names)}; {advice}"
