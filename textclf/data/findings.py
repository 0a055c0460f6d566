"""What the first pass saw that does not keep the data from being used."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from textclf.data.parts import SPLITS
from textclf.data.scan import Scan
from textclf.data.splits import DROPPED, repeated

_NUM_PLACES = 5  # places named by a finding


@dataclasses.dataclass(frozen=True)
class Finding:
    """How often something was seen, and where it was seen first."""

    count: int = 0
    places: tuple[str, ...] = ()


@dataclasses.dataclass
class Findings:
    """What the first pass saw; nothing here keeps the data from being used.

    Rows that were dropped are counted as dropped and nowhere else.

    Attributes:
        duplicates: split → rows whose text, normalised, stands earlier in the same split.
        shared: "train/test" and so on → rows of the second split whose text, normalised, stands
            in the first.
        conflicting_labels: texts that occur with different labels, all splits together.
        empty_texts: split → rows without any visible character.
        nul_bytes: split → rows with a NUL byte.
        broken_characters: split → rows with U+FFFD, which stands for what somebody could not
            decode.
        missing_classes: split → class names without any example in it.
        skipped_unlabelled: part ("all" for a file that is split) → rows skipped since they have no
            label.
        dropped_unknown_labels: split → rows dropped for a label that train does not have.
        dropped_leaked_train: rows of train dropped since their text stands in another split.
        notes: other things worth knowing, a sentence each.
    """

    duplicates: dict[str, Finding] = dataclasses.field(default_factory=dict)
    shared: dict[str, Finding] = dataclasses.field(default_factory=dict)
    conflicting_labels: Finding = Finding()
    empty_texts: dict[str, Finding] = dataclasses.field(default_factory=dict)
    nul_bytes: dict[str, Finding] = dataclasses.field(default_factory=dict)
    broken_characters: dict[str, Finding] = dataclasses.field(default_factory=dict)
    missing_classes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    skipped_unlabelled: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped_unknown_labels: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped_leaked_train: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dicts, lists, strings and integers, for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def sentences(self, num_places: int = _NUM_PLACES) -> list[str]:
        """What was seen, a sentence each; empty where there is nothing to say.

        Args:
            num_places: how many places a sentence names at most.
        """

        def such_as(finding: Finding) -> str:
            places = "; ".join(finding.places[:num_places])
            more = "; ..." if finding.count > num_places else ""
            return f" ({places}{more})" if places else ""

        said = []
        for part, count in self.skipped_unlabelled.items():
            where = "" if part == "all" else f"{part}: "
            said.append(f"{where}{_rows(count)} without a label skipped")
        for split, count in self.dropped_unknown_labels.items():
            said.append(f"{split}: {_rows(count)} dropped for labels that train does not have")
        if self.dropped_leaked_train:
            said.append(
                f"train: {_rows(self.dropped_leaked_train)} dropped, since the texts stand in "
                "validation or test too"
            )
        for split, names in self.missing_classes.items():
            said.append(f"{split}: no example of {', '.join(names)}")
        kinds: list[tuple[str, Mapping[str, Finding]]] = [
            ("with a text that stands earlier too", self.duplicates),
            ("without text", self.empty_texts),
            ("with a NUL byte", self.nul_bytes),
            ("with broken characters (U+FFFD)", self.broken_characters),
        ]
        for what, by_split in kinds:
            for split, finding in by_split.items():
                said.append(f"{split}: {_rows(finding.count)} {what}{such_as(finding)}")
        for pair, finding in self.shared.items():
            first, second = pair.split("/")
            said.append(
                f"{second}: {_rows(finding.count)} with a text that stands in {first} too"
                f"{such_as(finding)}"
            )
        if self.conflicting_labels.count:
            said.append(
                f"texts that occur with different labels: {self.conflicting_labels.count}"
                f"{such_as(self.conflicting_labels)}"
            )
        return said + self.notes


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


class _Places:
    """Counts things and remembers the first few, as tuples of rows."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[int, ...]] = []

    def add(self, *rows: np.ndarray) -> None:
        """Arrays of equal length: the first names the thing, the others belong to it."""
        self.count += len(rows[0])
        few = np.argsort(rows[0], kind="stable")[:_NUM_PLACES]
        found = zip(*(column[few].tolist() for column in rows), strict=True)
        self._first = sorted([*self._first, *found])[:_NUM_PLACES]

    def finding(self, scan: Scan, with_labels: bool = False) -> Finding:
        def shown(row: int) -> str:
            return scan.place(row) + (f" ({scan.names(row)})" if with_labels else "")

        return Finding(self.count, tuple(" = ".join(map(shown, rows)) for rows in self._first))


def compare(
    scan: Scan, hashes: np.ndarray, codes: np.ndarray, route: np.ndarray, findings: Findings
) -> dict[str, np.ndarray]:
    """Looks for equal texts; returns, for each split, which of its rows stand in train too."""
    duplicates = [_Places() for _ in SPLITS]
    shared = {(a, b): _Places() for b in range(len(SPLITS)) for a in range(b)}
    conflicts = _Places()
    leaked: dict[int, list[np.ndarray]] = {1: [], 2: []}
    for rows, starts in repeated(hashes):
        group = np.zeros(len(rows), np.int64)
        group[starts] = 1
        group = np.cumsum(group)
        kept = route[rows] != DROPPED
        rows, group = rows[kept], group[kept]
        if not len(rows):
            continue
        where = route[rows].astype(np.int64)
        # Rows of a group ascend, and so do their splits: each split of a group is one run.
        new_group = np.append(True, group[1:] != group[:-1])
        new_run = new_group | np.append(True, where[1:] != where[:-1])
        run_first = rows[np.flatnonzero(new_run)[np.cumsum(new_run) - 1]]
        for split, places in enumerate(duplicates):
            again = ~new_run & (where == split)
            places.add(rows[again], run_first[again])
        starts = np.flatnonzero(new_group)
        number = np.cumsum(new_group) - 1
        for (a, b), places in shared.items():
            first_in_a = np.full(len(starts), -1)
            in_a = new_run & (where == a)
            first_in_a[number[in_a]] = rows[in_a]
            both = (where == b) & (first_in_a[number] >= 0)
            places.add(rows[both], first_in_a[number][both])
            if a == 0:
                leaked[b].append(rows[both])
        other_label = codes[rows] != codes[rows[starts]][number]
        _, first_other = np.unique(number[other_label], return_index=True)
        others = rows[other_label][first_other]
        conflicts.add(rows[starts][number[other_label][first_other]], others)
    findings.duplicates = {
        split: places.finding(scan)
        for split, places in zip(SPLITS, duplicates, strict=True)
        if places.count
    }
    findings.shared = {
        f"{SPLITS[a]}/{SPLITS[b]}": places.finding(scan)
        for (a, b), places in shared.items()
        if places.count
    }
    findings.conflicting_labels = conflicts.finding(scan, with_labels=True)
    return {
        SPLITS[split]: np.searchsorted(
            np.flatnonzero(route == split), np.sort(np.concatenate(found))
        )
        for split, found in leaked.items()
        if found
    }


def report_oddities(scan: Scan, route: np.ndarray, findings: Findings) -> None:
    rows = np.frombuffer(scan.odd_rows, np.int64) if scan.odd_rows else np.zeros(0, np.int64)
    kinds = np.frombuffer(bytes(scan.odd_kinds), np.uint8)
    for bit, found in (
        (1, findings.empty_texts),
        (2, findings.nul_bytes),
        (4, findings.broken_characters),
    ):
        for number, split in enumerate(SPLITS):
            places = _Places()
            places.add(rows[(kinds & bit > 0) & (route[rows] == number)])
            if places.count:
                found[split] = places.finding(scan)
