"""The checked data set: class names, splits and findings; examples are streamed from the source."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textclf.config import Data
from textclf.data.copying import copy_rows, ending, settings_of_copy, write_examples
from textclf.data.findings import Findings
from textclf.data.labels import BadLabel, Label, names_of
from textclf.data.parts import Part
from textclf.data.scan import Lines, location_of
from textclf.data.splits import DROPPED, SplitSummary
from textclf.data.table_part import TablePart
from textclf.data.tolerant_part import BadRows, TolerantPart
from textclf.errors import DataError
from textclf.splits import SPLITS
from textclf.tasks import Task, task_of


class Example(NamedTuple):
    """A text with its classes.

    Attributes:
        row: the row number within the split, from 0 in reading order.
        fields: input → value. "text" is the text, with the columns of `data.text_columns` joined.
            Other inputs (numbers, categories) have the names of their columns.
        label_ids: indices into the class names, ascending; exactly one unless multi-label.
    """

    row: int
    fields: Mapping[str, str | float]
    label_ids: tuple[int, ...]

    @property
    def text(self) -> str:
        """Return the field "text", which every example has."""
        return self.fields["text"]  # type: ignore[return-value]


class Dataset:
    """Examples with known classes, in splits. Returned by `textclf.data.open_dataset`.

    Attributes:
        class_names: index → name.
        multi_label: whether an example may have several classes, or none.
        splits: split → summary, for the existing ones of train, validation and test.
        findings: the oddities found by the first pass.
        fingerprint: SHA-256 in hexadecimal of all texts, labels, splits and class names.
    """

    def __init__(
        self,
        *,
        settings: Data,
        parts: Mapping[str, Part],
        class_names: Sequence[str],
        splits: dict[str, SplitSummary],
        findings: Findings,
        fingerprint: str,
        routes: Mapping[str, bytes],
        lines: Mapping[str, Lines],
        stamps: Mapping[str, object],
        leaked: Mapping[str, np.ndarray],
    ):
        """Store the results of the first pass.

        Args:
            settings: section `data`.
            parts: part → rows; the key is a split, or "all" for a file that is split.
            routes: part → the split of each of its rows, a byte each.
            lines: part → lines of its rows.
            stamps: part → the stamp of its source during the first pass.
            leaked: split → int64, its rows whose text is in train too.
            class_names, splits, findings, fingerprint: see the attributes.
        """
        self.class_names = tuple(class_names)
        self.multi_label = settings.multi_label
        self.splits = splits
        self.findings = findings
        self.fingerprint = fingerprint
        self._settings = settings
        self._parts = parts
        self._routes = routes
        self._lines = lines
        self._stamps = stamps
        self._leaked = leaked

    @property
    def task(self) -> Task:
        """Task of the labels."""
        return task_of(multi_label=self.multi_label, num_classes=len(self.class_names))

    def examples(self, split: str) -> Iterator[Example]:
        """Yield the examples of a split from its source, in the same order each time.

            for example in dataset.examples("train"):
                print(example.text, example.label_ids)

        Raises:
            DataError: the source has changed since the data set was opened.
            KeyError: the split does not exist.
        """
        return (example for _, example in self._rows(split))

    def located_examples(self, split: str) -> Iterator[tuple[str, Example]]:
        """Yield the location of each example, such as `reviews.csv:17`, and the example.

        Raises:
            DataError, KeyError: as for `examples`.
        """
        part = self._parts[self._part_of(split)]
        return ((part.location(line), example) for line, example in self._rows(split))

    def column_names(self, split: str) -> tuple[str, ...]:
        """Return the names of all columns of the source of a split.

        They are empty if the source has texts and labels only.
        """
        return self._parts[self._part_of(split)].column_names()

    def column_values(self, split: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the values of columns in each example of a split, in the order of `examples`.

            for (country,) in dataset.column_values("test", ["country"]): ...

        Args:
            split: an existing split.
            columns: some of `column_names`.

        Yields:
            The values: strings of CSV and TSV, otherwise values of any type; None for a key that a
            JSON object lacks.

        Raises:
            DataError: the source has changed since the data set was opened.
        """
        key = self._part_of(split)
        part, route, code = self._parts[key], self._routes[key], SPLITS.index(split)
        if part.stamp() != self._stamps[key]:
            raise self._changed(part)
        num_read = 0
        for num_read, values in enumerate(part.values(columns), 1):
            if num_read > len(route):
                raise self._changed(part)
            if route[num_read - 1] == code:
                yield values
        if num_read != len(route):
            raise self._changed(part)

    def _rows(self, split: str) -> Iterator[tuple[int, Example]]:
        """Yield the line and the example of each row of a split."""
        self.splits[split]
        key = self._part_of(split)
        part, route, code = self._parts[key], self._routes[key], SPLITS.index(split)
        if part.stamp() != self._stamps[key]:
            raise self._changed(part)
        ids: dict[Label, tuple[int, ...]] = {}
        index = {name: number for number, name in enumerate(self.class_names)}
        row, num_read, num_rows = 0, 0, len(route)
        for num_read, (line, text, label) in enumerate(part.rows(), 1):
            if num_read > num_rows:
                raise self._changed(part)
            if route[num_read - 1] != code:
                continue
            label_ids = ids.get(label)
            if label_ids is None:
                try:
                    names = names_of(label, self._settings, self.class_names, part.holds_names)
                    label_ids = ids[label] = tuple(sorted(index[name] for name in names))
                except (KeyError, BadLabel):
                    raise self._changed(part, line) from None
            yield line, Example(row, {"text": text}, label_ids)
            row += 1
        if num_read != num_rows:
            raise self._changed(part)

    def check_split(self, split: str) -> None:
        """Check that a split exists.

        Raises:
            DataError: it does not.
        """
        if split not in self.splits:
            advice = f"use --split or set data.{split}" if split in SPLITS else "choose one of them"
            raise DataError(
                f"the data have no split {split}, only {', '.join(self.splits)}; {advice}"
            )

    def location(self, split: str, row: int) -> str:
        """Return the location of a row of a split, such as `reviews.csv:17`.

        Raises:
            IndexError: the split has no such row.
        """
        return self.locations(split)(row)

    def locations(self, split: str) -> Callable[[int], str]:
        """Return `location` for many rows of a split; it takes 8 bytes of memory for each row."""
        key = self._part_of(split)
        route = np.frombuffer(self._routes[key], np.uint8)
        rows = np.flatnonzero(route == SPLITS.index(split))
        return lambda row: location_of(self._parts[key], self._lines[key], int(rows[row]))

    def leaked(self, split: str) -> np.ndarray:
        """Return bool [num_examples of `split`]: whether the normalised text is in train too."""
        is_leaked = np.zeros(self.splits[split].num_examples, bool)
        is_leaked[self._leaked.get(split, slice(0))] = True
        return is_leaked | (split == "train")

    def copy(self, folder: Path, is_kept: np.ndarray) -> Data:
        """Write train, validation and test to files, and return the settings that read them.

            settings = dataset.copy(Path("copy"), np.ones(1000, bool))

        A file of validation or test is copied byte by byte.

        Args:
            folder: an existing folder.
            is_kept: bool [num_examples of train], the rows of train to write.

        Raises:
            DataError: the source has changed since the data set was opened.
            OSError: a file cannot be written.
        """
        files = {}
        for split in self.splits:
            key, stem = self._part_of(split), folder / split
            part = self._parts[key]
            if part.stamp() != self._stamps[key]:
                raise self._changed(part)
            if not isinstance(part, TablePart):
                files[split] = write_examples(
                    (
                        (example.text, tuple(self.class_names[i] for i in example.label_ids))
                        for example in self.examples(split)
                        if split != "train" or is_kept[example.row]
                    ),
                    stem,
                    self.multi_label,
                )
            elif key == split != "train":
                files[split] = stem.with_name(split + ending(part.name))
                shutil.copyfile(part.table.file, files[split])
            else:
                route = np.frombuffer(self._routes[key], np.uint8)
                mask = route == SPLITS.index(split)
                if split == "train":
                    mask[mask] = is_kept
                    mask |= route == DROPPED  # the settings drop these rows again
                files[split] = copy_rows(part, mask, stem)
        paths = {split: str(path) for split, path in files.items()}
        return settings_of_copy(self._settings, paths, self._parts.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the files, folders or data sets that hold the rows."""
        return tuple(part.name for part in self._parts.values())

    @property
    def bad_rows(self) -> dict[str, BadRows]:
        """Rows left out because of `open_dataset(..., skip_bad_rows=True)`, by part.

        The key is a split, or "all" for a file that is split; parts without such rows are missing.
        """
        return {
            key: part.bad_rows
            for key, part in self._parts.items()
            if isinstance(part, TolerantPart) and part.bad_rows.count
        }

    def _part_of(self, split: str) -> str:
        if split in self._parts:
            return split
        return "all" if "all" in self._parts else "train"

    def _changed(self, part: Part, line: int | None = None) -> DataError:
        location = part.name if line is None else part.location(line)
        return DataError(
            f"{location}: the data changed after they were checked; start again, and leave the "
            "source unchanged while it is in use"
        )
