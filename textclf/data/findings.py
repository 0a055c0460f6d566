"""Findings of the first pass: duplicates, leaks, label conflicts and odd texts."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from textclf.config import Data
from textclf.data.labels import odd_names
from textclf.data.scan import BROKEN_CHARACTER, EMPTY_TEXT, NUL_BYTE, Scan
from textclf.data.splits import DROPPED, SplitSummary, chunks, repeated
from textclf.splits import SPLITS

_NUM_LOCATIONS = 5  # locations in a finding
# A class is rare if the most frequent one has more than so many times its training texts.
_IMBALANCE = 10


@dataclasses.dataclass(frozen=True)
class Finding:
    """The number of rows with an oddity and the locations of the first ones."""

    count: int = 0
    locations: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Imbalance:
    """Classes that are rare in train: the most frequent one has more than 10 times their texts.

    Attributes:
        most_frequent: the most frequent class.
        num_examples: its training texts.
        rare: class name → its training texts, the rarest first; at least one.
        ADVICE: what raised the recall of rare classes most (docs/recipes.md).
    """

    ADVICE: ClassVar = "for a higher recall of rare classes, try training.class_weights: effective"

    most_frequent: str
    num_examples: int
    rare: dict[str, int]

    def sentence(self, num_classes: int) -> str:
        """Return the imbalance as a sentence, with the first classes."""
        names = [f"{name} {count:,}" for name, count in self.rare.items()]
        more = ", ..." if len(names) > num_classes else ""
        classes = "1 class has" if len(names) == 1 else f"{len(names)} classes have"
        return (
            f"train: {classes} less than a tenth of the {self.num_examples:,} texts of "
            f"{self.most_frequent} ({', '.join(names[:num_classes])}{more})"
        )


@dataclasses.dataclass
class Findings:
    """Oddities of a data set that do not prevent its use.

    Dropped rows are counted as dropped and not otherwise.

    Attributes:
        duplicates: split → rows whose normalised text occurs earlier in the same split.
        shared: "train/test" and so on → rows of the second split whose normalised text occurs in
            the first.
        conflicting_labels: texts with different labels, in any splits.
        empty_texts: split → rows without any visible character.
        nul_bytes: split → rows with a NUL byte.
        broken_characters: split → rows with U+FFFD, the replacement of an undecodable byte.
        missing_classes: split → class names without any example in it.
        imbalance: the rare classes of train; None if there are none.
        skipped_unlabelled: part ("all" for a file that is split) → rows skipped because they have
            no label.
        dropped_unknown_labels: split → rows dropped for a label that is not in train.
        dropped_leaked_train: rows of train dropped because their text occurs in another split.
        notes: other remarks, one sentence each.
    """

    duplicates: dict[str, Finding] = dataclasses.field(default_factory=dict)
    shared: dict[str, Finding] = dataclasses.field(default_factory=dict)
    conflicting_labels: Finding = Finding()
    empty_texts: dict[str, Finding] = dataclasses.field(default_factory=dict)
    nul_bytes: dict[str, Finding] = dataclasses.field(default_factory=dict)
    broken_characters: dict[str, Finding] = dataclasses.field(default_factory=dict)
    missing_classes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    imbalance: Imbalance | None = None
    skipped_unlabelled: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped_unknown_labels: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped_leaked_train: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain dicts, lists, strings and integers, for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def sentences(self, num_locations: int = _NUM_LOCATIONS) -> list[str]:
        """Return one sentence for each finding.

        Args:
            num_locations: maximum number of locations in a sentence.
        """

        def locations_of(finding: Finding) -> str:
            locations = "; ".join(finding.locations[:num_locations])
            more = "; ..." if finding.count > num_locations else ""
            return f" ({locations}{more})" if locations else ""

        sentences = []
        for part, count in self.skipped_unlabelled.items():
            prefix = "" if part == "all" else f"{part}: "
            sentences.append(f"{prefix}{_count_rows(count)} without a label skipped")
        for split, count in self.dropped_unknown_labels.items():
            sentences.append(f"{split}: {_count_rows(count)} dropped for labels not in train")
        if self.dropped_leaked_train:
            sentences.append(
                f"train: {_count_rows(self.dropped_leaked_train)} dropped because the texts are in "
                "validation or test too"
            )
        for split, names in self.missing_classes.items():
            sentences.append(f"{split}: no example of {', '.join(names)}")
        if self.imbalance is not None:
            sentences.append(self.imbalance.sentence(num_locations))
        kinds: list[tuple[str, Mapping[str, Finding]]] = [
            ("with a text that occurs earlier", self.duplicates),
            ("without text", self.empty_texts),
            ("with a NUL byte", self.nul_bytes),
            ("with broken characters (U+FFFD)", self.broken_characters),
        ]
        for description, by_split in kinds:
            for split, finding in by_split.items():
                sentences.append(
                    f"{split}: {_count_rows(finding.count)} {description}{locations_of(finding)}"
                )
        for pair, finding in self.shared.items():
            first, second = pair.split("/")
            sentences.append(
                f"{second}: {_count_rows(finding.count)} with a text that is in {first} too"
                f"{locations_of(finding)}"
            )
        if self.conflicting_labels.count:
            sentences.append(
                f"texts that occur with different labels: {self.conflicting_labels.count}"
                f"{locations_of(self.conflicting_labels)}"
            )
        return sentences + self.notes


def _count_rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


# === Equal texts ===


class _Locations:
    """A counter of tuples of rows that keeps the first few."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[int, ...]] = []

    def add(self, *rows: np.ndarray) -> None:
        """Count tuples of rows.

        Args:
            rows: int64 [N] each; the first column orders the tuples.
        """
        self.count += len(rows[0])
        few = np.argsort(rows[0], kind="stable")[:_NUM_LOCATIONS]
        tuples = zip(*(column[few].tolist() for column in rows), strict=True)
        self._first = sorted([*self._first, *tuples])[:_NUM_LOCATIONS]

    def finding(self, scan: Scan, with_labels: bool = False) -> Finding:
        """Return the count and the locations of the first tuples.

        Args:
            scan: the first pass.
            with_labels: whether the labels are written after each location.
        """

        def show(row: int) -> str:
            return scan.location(row) + (f" ({scan.names(row)})" if with_labels else "")

        return Finding(self.count, tuple(" = ".join(map(show, rows)) for rows in self._first))


class _EqualTexts:
    """Counts of duplicates, texts shared by splits, and conflicting labels."""

    def __init__(self) -> None:
        self.duplicates = [_Locations() for _ in SPLITS]
        self.shared = {(a, b): _Locations() for b in range(len(SPLITS)) for a in range(b)}
        self.conflicts = _Locations()
        self.leaked: dict[int, list[np.ndarray]] = {1: [], 2: []}  # split → rows also in train

    def add(
        self, rows: np.ndarray, group: np.ndarray, split: np.ndarray, codes: np.ndarray
    ) -> None:
        """Count groups of rows with equal texts.

        Args:
            rows: int64 [R], rows of the groups, ascending within each.
            group: int64 [R], the number of each row's group, ascending.
            split: int64 [R], the split of each row.
            codes: int32 [R], the label set of each row.
        """
        # Rows of a group ascend, and so do their splits: each split is one run of a group.
        new_group = np.append(True, group[1:] != group[:-1])
        new_run = new_group | np.append(True, split[1:] != split[:-1])
        first_of_run = rows[np.flatnonzero(new_run)[np.cumsum(new_run) - 1]]
        for number, locations in enumerate(self.duplicates):
            is_duplicate = ~new_run & (split == number)
            locations.add(rows[is_duplicate], first_of_run[is_duplicate])
        starts = np.flatnonzero(new_group)
        index = np.cumsum(new_group) - 1  # of each row's group, from 0
        for (a, b), locations in self.shared.items():
            first_in_a = np.full(len(starts), -1)
            is_first = new_run & (split == a)
            first_in_a[index[is_first]] = rows[is_first]
            in_both = (split == b) & (first_in_a[index] >= 0)
            locations.add(rows[in_both], first_in_a[index][in_both])
            if a == 0:
                self.leaked[b].append(rows[in_both])
        differs = codes != codes[starts][index]
        _, first_other = np.unique(index[differs], return_index=True)
        others = rows[differs][first_other]
        self.conflicts.add(rows[starts][index[differs][first_other]], others)


def compare_texts(
    scan: Scan, hashes: np.ndarray, codes: np.ndarray, route: np.ndarray, findings: Findings
) -> dict[str, np.ndarray]:
    """Find equal texts and write them into the findings.

    Args:
        scan: the first pass.
        hashes: uint64 [N], of the normalised texts.
        codes: int32 [N], the label sets of the rows.
        route: uint8 [N], the split of each row, or `DROPPED`.
        findings: receives `duplicates`, `shared` and `conflicting_labels`.

    Returns:
        Split → int64, those of its rows (counted within the split) whose text is in train too.
    """
    equal = _EqualTexts()
    for rows, starts in repeated(hashes):
        group = np.zeros(len(rows), np.int64)
        group[starts] = 1
        group = np.cumsum(group)
        is_kept = route[rows] != DROPPED
        rows, group = rows[is_kept], group[is_kept]
        if len(rows):
            equal.add(rows, group, route[rows].astype(np.int64), codes[rows])
    findings.duplicates = {
        split: locations.finding(scan)
        for split, locations in zip(SPLITS, equal.duplicates, strict=True)
        if locations.count
    }
    findings.shared = {
        f"{SPLITS[a]}/{SPLITS[b]}": locations.finding(scan)
        for (a, b), locations in equal.shared.items()
        if locations.count
    }
    findings.conflicting_labels = equal.conflicts.finding(scan, with_labels=True)
    return {
        SPLITS[split]: np.searchsorted(
            np.flatnonzero(route == split), np.sort(np.concatenate(rows))
        )
        for split, rows in equal.leaked.items()
        if rows
    }


# === Other oddities ===


def find_odd_texts(scan: Scan, route: np.ndarray, findings: Findings) -> None:
    """Write empty texts, NUL bytes and broken characters into the findings.

    Args:
        scan: the first pass.
        route: uint8 [N], the split of each row, or `DROPPED`.
        findings: receives `empty_texts`, `nul_bytes` and `broken_characters`.
    """
    rows = np.frombuffer(scan.odd_rows, np.int64) if scan.odd_rows else np.zeros(0, np.int64)
    kinds = np.frombuffer(bytes(scan.odd_kinds), np.uint8)
    for bit, by_split in (
        (EMPTY_TEXT, findings.empty_texts),
        (NUL_BYTE, findings.nul_bytes),
        (BROKEN_CHARACTER, findings.broken_characters),
    ):
        for number, split in enumerate(SPLITS):
            locations = _Locations()
            locations.add(rows[(kinds & bit > 0) & (route[rows] == number)])
            if locations.count:
                by_split[split] = locations.finding(scan)


def find_imbalance(class_names: Sequence[str], counts: np.ndarray) -> Imbalance | None:
    """Return the classes that are rare in train, or None.

    Args:
        class_names: the names of the classes.
        counts: int64 [C], training texts of each; a class without any is another finding.
    """
    most = int(np.argmax(counts))
    order = np.argsort(counts, kind="stable").tolist()
    rare = {
        class_names[i]: int(counts[i]) for i in order if 0 < _IMBALANCE * counts[i] < counts[most]
    }
    return Imbalance(class_names[most], int(counts[most]), rare) if rare else None


def find_odd_classes(
    scan: Scan,
    settings: Data,
    codes: np.ndarray,
    route: np.ndarray,
    splits: Mapping[str, SplitSummary],
    class_names: Sequence[str],
    is_stratified: bool,
) -> Iterator[str]:
    """Yield a sentence about each oddity of the classes and of their shares in the splits.

    Args:
        scan: the first pass.
        settings: section `data`.
        codes: int32 [N], the label sets of the rows.
        route: uint8 [N], the split of each row, or `DROPPED`.
        splits: split → summary.
        class_names: the names of the classes.
        is_stratified: whether splits made by fraction are stratified.
    """
    if not is_stratified:
        yield from _shares_of_hashed_splits(splits, settings)
    if "train" in splits and len(class_names) > max(10, splits["train"].num_examples / 2):
        yield (
            f"{len(class_names)} classes for {splits['train'].num_examples} rows of train; check "
            f"that data.label_column={settings.label_column} holds labels"
        )
    if unused := sorted(settings.rename_labels.keys() - scan.written):
        yield (
            f"data.rename_labels: no row has the label {', '.join(unused)}; write it as in the "
            "data, or remove it"
        )
    yield from odd_names(class_names)
    yield from _unlabelled(scan, codes, route)


def _shares_of_hashed_splits(splits: Mapping[str, SplitSummary], settings: Data) -> Iterator[str]:
    total = sum(summary.num_examples for summary in splits.values())
    counts = np.sum([summary.class_counts for summary in splits.values()], axis=0)
    for split, summary in splits.items():
        shares = 100 * summary.class_counts / np.maximum(counts, 1)
        yield (
            f"{split}: chosen by a hash of the text because there are more rows than "
            f"data.in_memory_rows={settings.in_memory_rows}; it has "
            f"{100 * summary.num_examples / total:.2f} % of the rows, and "
            f"{shares.min():.2f} to {shares.max():.2f} % of each class"
        )


def _unlabelled(scan: Scan, codes: np.ndarray, route: np.ndarray) -> Iterator[str]:
    without = scan.codes_without_label()
    for number, split in enumerate(SPLITS):
        count = sum(
            int(((codes[chunk] == code) & (route[chunk] == number)).sum())
            for code in without
            for chunk in chunks(len(codes))
        )
        if count:
            yield f"{split}: {_count_rows(count)} without any label"
