"""Copy of a data set without leaks and duplicates. Only train loses rows."""

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from textclf import artifact
from textclf.artifact import folders
from textclf.audit.near_duplicates import NearDuplicates, NearPairs
from textclf.config import PATH_SETTINGS, Data, to_yaml
from textclf.data import Dataset, normalise
from textclf.data.splits import EMPTY_TEXT_HASH, repeated, text_hash
from textclf.display import count_of
from textclf.errors import ArtifactError, DataError
from textclf.progress import OnProgress, no_progress
from textclf.text import chunk_texts

DROPPED_ROWS = "dropped.csv"
_NUM_LOCATIONS = 5
_NONE = -1

_LEAK, _NEAR_LEAK, _DUPLICATE, _NEAR_DUPLICATE = 1, 2, 3, 4
_REASONS = {
    _LEAK: "leak",
    _NEAR_LEAK: "near leak",
    _DUPLICATE: "duplicate",
    _NEAR_DUPLICATE: "near-duplicate",
}


class Cleaning(msgspec.Struct, frozen=True):
    """Result of `clean`.

    Attributes:
        folder: the copy.
        rows_before, rows_after: rows of train.
        dropped: reason → dropped rows; leak, near leak, duplicate, near-duplicate.
        leaks_with_other_label: dropped rows whose label in the other split is different.
        conflicts: texts of train with different labels, whose rows were left alone.
        conflict_locations: locations of the first conflicts.
        settings: section `data` that reads the copy.
    """

    folder: str
    rows_before: int
    rows_after: int
    dropped: dict[str, int]
    leaks_with_other_label: int
    conflicts: int
    conflict_locations: tuple[str, ...]
    settings: Data

    def config_lines(self) -> str:
        """Return the section `data` as YAML, without defaults."""
        defaults = Data().to_dict()
        values = {
            name: value
            for name, value in self.settings.to_dict().items()
            if value != defaults[name]
        }
        return to_yaml({"data": values})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return msgspec.to_builtins(self)

    def sentences(self) -> list[str]:
        """Return the result in sentences."""
        count = self.rows_before - self.rows_after
        reasons = ", ".join(
            count_of(number, reason) for reason, number in self.dropped.items() if number
        )
        listed = f" ({reasons}; {self.folder}/{DROPPED_ROWS} lists them)" if reasons else ""
        lines = [f"train: {self.rows_before:,} rows, {count:,} dropped{listed}"]
        if self.leaks_with_other_label:
            lines.append(
                f"{self.leaks_with_other_label:,} of the leaks have another label in validation or "
                "test"
            )
        if self.conflicts:
            more = "; ..." if self.conflicts > len(self.conflict_locations) else ""
            texts = count_of(self.conflicts, "text") + " of train"
            locations = "; ".join(self.conflict_locations)
            lines.append(
                f"{texts} with different labels left alone; correct them: {locations}{more}"
            )
        return lines


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Check, before the long work, that a copy can be written.

    Raises:
        ArtifactError: the folder exists and may not be replaced, or cannot be written.
    """
    folders.check_output(folder, overwrite=overwrite, is_ours=(DROPPED_ROWS,))


def clean(
    dataset: Dataset,
    folder: Path,
    *,
    drop_leaks: bool,
    dedupe: bool,
    near_rows: int | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Cleaning:
    """Write a copy of a data set whose train has no leaks or no duplicates.

        result = clean(dataset, Path("cleaned"), drop_leaks=True, dedupe=True)
        print(result.config_lines())

    Only rows of train are dropped; validation and test are copied unchanged. The first row of each
    group of equal texts is kept. Rows with equal texts and different labels are left alone, because
    the right label is not known.

    Args:
        dataset: opened without `skip_bad_rows`.
        folder: the copy: a file for each split, and `dropped.csv` with the dropped rows.
        drop_leaks: whether to drop rows whose text is also in validation or test.
        dedupe: whether to drop rows whose text occurs earlier in train.
        near_rows: None for equal texts only; otherwise nearly equal texts count too, and up to this
            many rows of train are compared with each other.
        overwrite: whether an existing copy is replaced.
        on_progress: called with a stage, the rows done and their total.

    Raises:
        ArtifactError: the folder cannot be written.
        DataError: there is no train, the source is in `folder`, or a class would lose all rows.
    """
    check_folder(folder, overwrite=overwrite)
    if "train" not in dataset.splits:
        raise DataError("data.train is missing, and only train is cleaned; set data.train")
    _check_sources(dataset, folder)
    choice = _Choice(dataset)
    choice.read(on_progress)
    if drop_leaks:
        choice.drop_leaks()
    if dedupe:
        choice.drop_duplicates()
    if near_rows is not None:
        choice.drop_near(near_rows, on_progress, drop_leaks=drop_leaks, dedupe=dedupe)
    choice.check_classes()
    settings = _write(dataset, choice, folder, overwrite=overwrite)
    numbers = np.bincount(choice.reasons, minlength=len(_REASONS) + 1)
    return Cleaning(
        folder=str(folder),
        rows_before=len(choice.reasons),
        rows_after=int(numbers[0]),
        dropped={reason: int(numbers[code]) for code, reason in _REASONS.items()},
        leaks_with_other_label=choice.num_other_labels,
        conflicts=len(choice.conflicts),
        conflict_locations=tuple(
            choice.describe(pair) for pair in choice.conflicts[:_NUM_LOCATIONS]
        ),
        settings=settings,
    )


def _write(dataset: Dataset, choice: "_Choice", folder: Path, *, overwrite: bool) -> Data:
    """Write the copy and return the section `data` that reads it.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    with artifact.write_folder(folder, overwrite=overwrite) as temporary:
        try:
            settings = dataset.copy(temporary, choice.reasons == 0)
            choice.write(temporary / DROPPED_ROWS)
        except OSError as error:
            raise ArtifactError(
                f"{folder}: cannot be written ({error.strerror or error}); free some space or name "
                "another folder"
            ) from None
    return _moved(settings, temporary, folder)


def _check_sources(dataset: Dataset, folder: Path) -> None:
    """Check that replacing the folder would not remove a source.

    Raises:
        DataError: it would.
    """
    real = os.path.realpath(folder)
    for name in dataset.sources:
        source = os.path.realpath(os.path.expanduser(name))
        if os.path.lexists(source) and os.path.commonpath([real, source]) == real:
            raise DataError(f"{folder}: contains the source {name}; name another folder")


def _moved(settings: Data, temporary: Path, folder: Path) -> Data:
    """Return settings with absolute paths, with the final folder for the temporary one."""
    values = {}
    for setting in PATH_SETTINGS:
        section, _, name = setting.partition(".")
        value = getattr(settings, name, None) if section == "data" else None
        if isinstance(value, str):
            path = Path(value)
            if path.parent == temporary:
                path = folder / path.name
            values[name] = os.path.abspath(os.path.expanduser(path))
    return msgspec.structs.replace(settings, **values)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Hashes of the normalised texts of a split, uint64 [N], and codes of their labels [N]."""

    hashes: np.ndarray
    codes: np.ndarray


class _Choice:
    """The rows of train to drop.

    Attributes:
        reasons: uint8 [N], 0 for a kept row.
        conflicts: pairs of rows of train with equal texts and different labels, one pair per text.
        num_other_labels: dropped leaks that have another label in validation or test.
    """

    def __init__(self, dataset: Dataset):
        num_rows = dataset.splits["train"].num_examples
        self.reasons = np.zeros(num_rows, np.uint8)
        self.conflicts: list[tuple[int, int]] = []
        self.num_other_labels = 0
        self._other_split = np.full(num_rows, _NONE, np.int8)
        self._other_row = np.full(num_rows, _NONE, np.int64)
        self._dataset = dataset
        self._names = list(dataset.splits)
        self._rows: dict[str, _Rows] = {}
        self._codes: dict[tuple[int, ...], int] = {}

    def read(self, on_progress: OnProgress) -> None:
        """Read the texts of all splits; 12 bytes of each row are kept."""
        for split, summary in self._dataset.splits.items():
            hashes = np.zeros(summary.num_examples, "<u8")
            codes = np.zeros(summary.num_examples, np.int32)
            for example in self._dataset.examples(split):
                value = text_hash(normalise(example.text))
                hashes[example.row] = int.from_bytes(value, "little")
                codes[example.row] = self._codes.setdefault(example.label_ids, len(self._codes))
                if example.row % 4096 == 0:
                    on_progress(f"reading {split}", example.row, summary.num_examples)
            self._rows[split] = _Rows(hashes, codes)

    def drop_leaks(self) -> None:
        """Drop rows whose text is in validation or test."""
        train = self._rows["train"]
        for split, other in self._rows.items():
            if split == "train":
                continue
            order = np.argsort(other.hashes, kind="stable")
            known = other.hashes[order]
            index = np.minimum(np.searchsorted(known, train.hashes), len(known) - 1)
            is_leaked = (known[index] == train.hashes) & (train.hashes != EMPTY_TEXT_HASH)
            leaked = np.flatnonzero(is_leaked & (self.reasons == 0))
            others = order[index[leaked]]
            self._drop(leaked, _LEAK, split, others)
            self.num_other_labels += int((train.codes[leaked] != other.codes[others]).sum())

    def drop_duplicates(self) -> None:
        """Drop rows whose text occurs earlier in train, unless the labels differ."""
        train = self._rows["train"]
        left = np.flatnonzero(self.reasons == 0)
        for rows, starts in repeated(train.hashes[left]):
            if not len(rows):
                continue
            rows = left[rows]
            codes = train.codes[rows]
            differs = np.minimum.reduceat(codes, starts) != np.maximum.reduceat(codes, starts)
            sizes = np.diff(np.append(starts, len(rows)))
            is_first = np.zeros(len(rows), bool)
            is_first[starts] = True
            is_dropped = ~is_first & ~np.repeat(differs, sizes)
            firsts = np.repeat(rows[starts], sizes)
            self._drop(rows[is_dropped], _DUPLICATE, "train", firsts[is_dropped])
            for start, size in zip(starts[differs].tolist(), sizes[differs].tolist(), strict=True):
                group = codes[start : start + size]
                other = start + int(np.flatnonzero(group != group[0])[0])
                self.conflicts.append((int(rows[start]), int(rows[other])))
        self.conflicts.sort()

    def drop_near(
        self, near_rows: int, on_progress: OnProgress, *, drop_leaks: bool, dedupe: bool
    ) -> None:
        """Drop rows that are nearly equal to a row of validation or test, or to an earlier row."""
        with NearDuplicates(near_rows=near_rows, num_train_rows=len(self.reasons)) as search:
            for split in sorted(self._rows, key=lambda split: split == "train"):
                self._add(search, split, on_progress)
            if drop_leaks:
                for split in self._rows:
                    if split != "train":
                        pairs = search.pairs(split)
                        rows, first = np.unique(pairs.others, return_index=True)
                        self._drop(rows, _NEAR_LEAK, split, pairs.rows[first])
            if dedupe:
                self._drop_near_duplicates(search.pairs("train"))

    def _add(self, search: NearDuplicates, split: str, on_progress: OnProgress) -> None:
        total, codes = self._dataset.splits[split].num_examples, self._rows[split].codes
        examples = self._dataset.examples(split)
        for chunk in chunk_texts(examples, 2048, lambda example: example.text):
            texts = [normalise(example.text) for example in chunk]
            rows = np.array([example.row for example in chunk])
            is_added = np.array([bool(text) for text in texts])
            if split == "train":
                is_added &= self.reasons[rows] == 0
            kept = [text for text, is_kept in zip(texts, is_added, strict=True) if is_kept]
            rows = rows[is_added]
            if not kept:
                continue
            if split == "train":
                search.add_train(rows, kept, codes[rows])
            else:
                search.add_evaluation(split, rows, kept, codes[rows])
            on_progress(f"comparing {split}", int(rows[-1]) + 1, total)

    def _drop_near_duplicates(self, pairs: NearPairs) -> None:
        """Drop rows that are nearly equal to an earlier kept row with the same labels."""
        order = np.lexsort((pairs.others, pairs.rows))
        for index in order[~pairs.differ[order]].tolist():
            row, other = int(pairs.rows[index]), int(pairs.others[index])
            if not self.reasons[row] and not self.reasons[other]:
                self._drop(np.array([row]), _NEAR_DUPLICATE, "train", np.array([other]))

    def _drop(self, rows: np.ndarray, reason: int, split: str, others: np.ndarray) -> None:
        is_new = self.reasons[rows] == 0
        rows, others = rows[is_new], others[is_new]
        self.reasons[rows] = reason
        self._other_split[rows] = self._names.index(split)
        self._other_row[rows] = others

    def check_classes(self) -> None:
        """Check that each class of train keeps a row.

        Raises:
            DataError: a class would have none.
        """
        codes, is_kept = self._rows["train"].codes, self.reasons == 0
        sets = list(self._codes)
        before = {c for code in np.unique(codes).tolist() for c in sets[code]}
        after = {c for code in np.unique(codes[is_kept]).tolist() for c in sets[code]}
        if lost := sorted(self._dataset.class_names[c] for c in before - after):
            raise DataError(
                f"train would keep no row of {', '.join(lost)}, because validation or test have "
                "all of their texts; take rows of these classes out of validation and test, or "
                "leave out --drop-leaks"
            )

    def describe(self, pair: tuple[int, int]) -> str:
        """Return the locations of two rows of train with their labels."""
        sets = list(self._codes)

        def show(row: int) -> str:
            ids = sets[self._rows["train"].codes[row]]
            names = ", ".join(self._dataset.class_names[i] for i in ids)
            return f"{self._dataset.location('train', row)} ({names or 'no label'})"

        return " = ".join(map(show, pair))

    def write(self, path: Path) -> None:
        """Write the dropped rows as CSV: location, reason, and the similar row that is kept."""
        locations = {split: self._dataset.locations(split) for split in self._rows}
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["row", "reason", "like"])
            for row in np.flatnonzero(self.reasons).tolist():
                split = self._names[self._other_split[row]]
                like = locations[split](int(self._other_row[row]))
                writer.writerow([locations["train"](row), _REASONS[int(self.reasons[row])], like])
