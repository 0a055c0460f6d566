"""A data set: counted and checked in a first pass, streamed from its source ever after.

When the first pass is over, one byte a row stays: the split that it goes to.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from textclf.data.findings import Findings, compare, report_oddities
from textclf.data.parts import SPLITS, Label, Part, Settings
from textclf.data.scan import BadLabel, Lines, Scan, names_of, odd_names, place_of, read
from textclf.data.splits import CHUNK_ROWS, DROPPED, repeated, set_aside
from textclf.errors import DataError

_MAX_PROBLEMS = 10


class Example(NamedTuple):
    """One text with its classes.

    Attributes:
        row: from 0, in the order in which its split is read.
        text: as it stands in the source, its columns joined.
        label_ids: indices into the class names, ascending; one unless multi-label.
    """

    row: int
    text: str
    label_ids: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """What a split holds.

    Attributes:
        num_examples: rows.
        class_counts: int64 [C], rows that have each class.
    """

    num_examples: int
    class_counts: np.ndarray


class Dataset:
    """Examples with known classes, in splits. Made by `textclf.data.open_dataset`.

    Attributes:
        class_names: index → name.
        multi_label: whether an example may have several classes, or none.
        splits: split → summary, for those of train, validation and test that exist.
        findings: what the first pass saw.
        fingerprint: SHA-256 in hexadecimal of all texts, labels, splits and class names.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        parts: Mapping[str, Part],
        class_names: Sequence[str],
        splits: dict[str, SplitSummary],
        findings: Findings,
        fingerprint: str,
        routes: Mapping[str, bytes],
        lines: "Mapping[str, Lines]",
        stamps: Mapping[str, object],
        leaked: Mapping[str, np.ndarray],
    ):
        self.class_names = tuple(class_names)
        self.multi_label = settings.multi_label
        self.splits = splits
        self.findings = findings
        self.fingerprint = fingerprint
        self._settings = settings
        self._parts = parts
        self._routes = routes  # part → the split of each of its rows, a byte each
        self._lines = lines
        self._stamps = stamps
        self._leaked = leaked

    def examples(self, split: str) -> Iterator[Example]:
        """Streams a split from its source, in the same order each time.

        Raises:
            DataError: the source is no longer what it was when the data set was opened.
            KeyError: there is no such split.
        """
        self.splits[split]
        key = self._part_of(split)
        part, route, code = self._parts[key], self._routes[key], SPLITS.index(split)
        if part.stamp() != self._stamps[key]:
            raise self._changed(part)
        ids: dict[Label, tuple[int, ...]] = {}
        index = {name: number for number, name in enumerate(self.class_names)}
        row = number = 0
        for number, (line, text, raw) in enumerate(part.rows(), 1):
            if number > len(route):
                raise self._changed(part)
            if route[number - 1] != code:
                continue
            label_ids = ids.get(raw)
            if label_ids is None:
                try:
                    names = names_of(raw, self._settings, self.class_names, part.holds_names)
                    label_ids = ids[raw] = tuple(sorted(index[name] for name in names))
                except (KeyError, BadLabel):
                    raise self._changed(part, line) from None
            yield Example(row, text, label_ids)
            row += 1
        if number != len(route):
            raise self._changed(part)

    def place(self, split: str, row: int) -> str:
        """Where a row of a split stands, such as `reviews.csv:17`.

        Raises:
            IndexError: the split has no such row.
        """
        key = self._part_of(split)
        route = np.frombuffer(self._routes[key], np.uint8)
        row_of_part = int(np.flatnonzero(route == SPLITS.index(split))[row])
        return place_of(self._parts[key], self._lines[key], row_of_part)

    def leaked(self, split: str) -> np.ndarray:
        """bool [num_examples of `split`]: the text, normalised, stands in train too."""
        marks = np.zeros(self.splits[split].num_examples, bool)
        marks[self._leaked.get(split, slice(0))] = True
        return marks | (split == "train")

    def _part_of(self, split: str) -> str:
        if split in self._parts:
            return split
        return "all" if "all" in self._parts else "train"

    def _changed(self, part: Part, line: int | None = None) -> DataError:
        where = part.name if line is None else part.place(line)
        return DataError(
            f"{where}: the data changed after they were checked; start again, and leave the "
            "source alone while it is in use"
        )


# === Opening ===


def open_parts(
    settings: Settings,
    parts: dict[str, Part],
    class_names: tuple[str, ...] | None,
    on_progress: Callable[[str, int, int], None],
) -> Dataset:
    """Reads all parts once, makes the splits, checks them.

    Raises:
        DataError: the data cannot be used.
    """
    stamps = {key: part.stamp() for key, part in parts.items()}
    digest = hashlib.sha256()
    scan = read(settings, parts, class_names, digest, on_progress)
    for key, part in parts.items():
        if part.stamp() != stamps[key]:
            raise DataError(f"{part.name}: the data changed while they were read; start again")

    findings = Findings()
    hashes = np.frombuffer(scan.hashes, "<u8")
    codes = np.frombuffer(scan.codes, np.int32)
    route = np.zeros(len(codes), np.uint8)
    for key, (start, stop) in scan.bounds.items():
        route[start:stop] = 0 if key == "all" else SPLITS.index(key)
    if scan.problems:
        problems = scan.problem_lines()
        # The labels of a train that was not read in full are not known.
        if class_names is not None and not settings.drop_unknown_labels:
            problems += _unknown_labels(scan, class_names, set(class_names))
        raise DataError("\n".join(problems))
    if settings.skip_unlabelled:
        _skip_unlabelled(scan, codes, route, findings)
    if settings.drop_leaked_train:
        findings.dropped_leaked_train = _drop_leaked_train(hashes, route)
    _check_labels(scan, settings, class_names, codes, route, findings)
    stratified = _make_splits(scan, settings, hashes, codes, route)
    if class_names is None:
        present = {name for code in _first_rows(codes, route, 0) for name in scan.label_sets[code]}
        class_names = tuple(sorted(present))
    splits = _summaries(scan, codes, route, class_names)
    for split, summary in splits.items():
        if missing := np.flatnonzero(summary.class_counts == 0).tolist():
            findings.missing_classes[split] = tuple(class_names[index] for index in missing)
    leaked = compare(scan, hashes, codes, route, findings)
    report_oddities(scan, route, findings)
    if not stratified:
        findings.notes += _shares_by_hash(splits, settings)
    if "train" in splits and len(class_names) > max(10, splits["train"].num_examples / 2):
        findings.notes.append(
            f"{len(class_names)} classes for {splits['train'].num_examples} rows of train: is "
            f"data.label_column={settings.label_column} the label?"
        )

    findings.notes += odd_names(class_names)
    if settings.multi_label:
        findings.notes += _unlabelled(scan, codes, route)

    digest.update(route.tobytes())
    digest.update(json.dumps([settings.multi_label, class_names]).encode())
    routes = {key: route[start:stop].tobytes() for key, (start, stop) in scan.bounds.items()}
    return Dataset(
        settings=settings,
        parts=parts,
        class_names=class_names,
        splits=splits,
        findings=findings,
        fingerprint=digest.hexdigest(),
        routes=routes,
        lines=scan.lines,
        stamps=stamps,
        leaked=leaked,
    )


def _chunks(num_rows: int) -> Iterator[slice]:
    """Slices over all rows: numpy's temporary arrays then stay small whatever the data."""
    for start in range(0, num_rows, CHUNK_ROWS):
        yield slice(start, start + CHUNK_ROWS)


def _first_rows(codes: np.ndarray, route: np.ndarray, split: int) -> dict[int, int]:
    """Code → the first row that has it, of the rows that go to a split."""
    first: dict[int, int] = {}
    for chunk in _chunks(len(codes)):
        rows = np.flatnonzero(route[chunk] == split)
        found, at = np.unique(codes[chunk][rows], return_index=True)
        for code, row in zip(found.tolist(), (rows[at] + chunk.start).tolist(), strict=True):
            first.setdefault(code, row)
    return first


def _drop_leaked_train(hashes: np.ndarray, route: np.ndarray) -> int:
    dropped = 0
    for rows, starts in repeated(hashes):
        if len(rows):
            elsewhere = np.logical_or.reduceat(route[rows] != 0, starts)
            sizes = np.diff(np.append(starts, len(rows)))
            leaked = rows[np.repeat(elsewhere, sizes) & (route[rows] == 0)]
            route[leaked] = DROPPED
            dropped += len(leaked)
    return dropped


def _check_labels(
    scan: Scan,
    settings: Settings,
    class_names: Sequence[str] | None,
    codes: np.ndarray,
    route: np.ndarray,
    findings: Findings,
) -> None:
    """Check that train has two classes and knows all labels, or drop rows with unknown ones.

    Raises:
        DataError: with every unknown label, and where train has one class only.
    """
    learnt = {n for code in _first_rows(codes, route, 0) for n in scan.label_sets[code]}
    known = learnt if class_names is None else set(class_names)
    if settings.drop_unknown_labels:
        for key in set(scan.parts) - {"all", "train"}:
            unknown = [c for c, names in enumerate(scan.label_sets) if not known.issuperset(names)]
            start, stop = scan.bounds[key]
            rows = start + np.flatnonzero(np.isin(codes[start:stop], unknown))
            rows = rows[route[rows] != DROPPED]
            if len(rows):
                route[rows] = DROPPED
                findings.dropped_unknown_labels[key] = len(rows)
    dropping = set(scan.parts) - {"all", "train"} if settings.drop_unknown_labels else set()
    problems = _unknown_labels(scan, class_names, known, dropping)
    for key in {"all", "train"} & set(scan.parts):
        if len(learnt) < (1 if settings.multi_label else 2):
            only = f"one class only ({next(iter(learnt))!r})" if learnt else "no label at all"
            problems.append(
                f"{scan.parts[key].name}: {only} in train, expected at least two classes; is "
                f"data.label_column={settings.label_column} the label?"
            )
    if problems:
        raise DataError("\n".join(problems))


def _unknown_labels(
    scan: Scan,
    class_names: Sequence[str] | None,
    known: Set[str],
    ignored_parts: Set[str] = frozenset(),
) -> list[str]:
    """Return a sentence for each label that is not known, with its first place.

    Args:
        class_names: as the settings give them, else None.
        known: the labels that the model will have.
        ignored_parts: parts that may have other labels.
    """
    where = "among the labels of train" if class_names is None else "in data.class_names"
    listed = ", ".join(sorted(known)[:12] if class_names is None else class_names[:12])
    listed += f" and {len(known) - 12} more" if len(known) > 12 else ""
    problems = []
    for key, first_lines in scan.first_lines.items():
        is_train = key in ("all", "train")
        if key in ignored_parts or (class_names is None and is_train):
            continue  # only dropped rows can have a label that train does not know
        first_line: dict[str, int] = {}
        for code, line in first_lines.items():
            for name in set(scan.label_sets[code]) - known:
                first_line[name] = min(line, first_line.get(name, line))
        for name, line in sorted(first_line.items(), key=lambda item: (item[1], item[0])):
            near = difflib.get_close_matches(name, known, n=1)
            fix = (
                "fix the label, or add it to the names"
                if is_train
                else "use data.drop_unknown_labels=true to leave such rows out"
            )
            problems.append(
                f"{scan.parts[key].place(line)}: label {name!r} is not {where} ({listed}); {fix}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [f"and {len(problems) - _MAX_PROBLEMS} more unknown labels"]
    return problems


def _codes_without_label(scan: Scan) -> list[int]:
    return [code for code, names in enumerate(scan.label_sets) if not names]


def _skip_unlabelled(scan: Scan, codes: np.ndarray, route: np.ndarray, findings: Findings) -> None:
    """Drop the rows without a label, and count them."""
    without = _codes_without_label(scan)
    for key, (start, stop) in scan.bounds.items():
        rows = start + np.flatnonzero(np.isin(codes[start:stop], without))
        route[rows] = DROPPED
        if len(rows):
            findings.skipped_unlabelled[key] = len(rows)


def _make_splits(
    scan: Scan, settings: Settings, hashes: np.ndarray, codes: np.ndarray, route: np.ndarray
) -> bool:
    """Sets validation, and of a single file the test, aside; says whether it was stratified."""
    if "all" in scan.parts:
        key, fractions = "all", (settings.validation_fraction, settings.test_fraction)
    elif "train" in scan.parts and "validation" not in scan.parts:
        key, fractions = "train", (settings.validation_fraction, 0.0)
    else:
        return True
    start, stop = scan.bounds[key]
    hashes, codes, route = hashes[start:stop], codes[start:stop], route[start:stop]
    # Train keeps one text of each class, so that it knows all of them.
    pinned: dict[str, int] = {}
    for code, row in _first_rows(codes, route, 0).items():
        for name in scan.label_sets[code]:
            pinned[name] = min(row, pinned.get(name, row))
    here = route == 0
    rows: Any = np.flatnonzero(here) if len(codes) <= settings.in_memory_rows else slice(None)
    first = np.array(sorted(pinned.values()), np.int64)
    chosen, stratified = set_aside(
        hashes[rows],
        codes[rows],
        np.searchsorted(rows, first) if isinstance(rows, np.ndarray) else first,
        fractions=fractions,
        seed=settings.split_seed,
        pool_rare=settings.multi_label,
        in_memory_rows=settings.in_memory_rows,
    )
    if isinstance(rows, np.ndarray):
        route[rows] = chosen
    else:
        np.copyto(route, chosen, where=here)
    for split, fraction in enumerate(fractions, 1):
        if fraction > 0 and not (route == split).any():
            name = SPLITS[split]
            why = _too_few(scan, hashes[here], codes[here], len(first), fraction)
            raise DataError(
                f"{scan.parts[key].name}: {why} to "
                f"set data.{name}_fraction={fraction} of them aside for {name}; add rows, or name "
                f"a file in data.{name}"
            )
    return stratified


def _too_few(
    scan: Scan, hashes: np.ndarray, codes: np.ndarray, num_kept: int, fraction: float
) -> str:
    """Return why no row can be set aside, as the beginning of a sentence.

    Args:
        hashes: uint64 [N], of the texts.
        codes: int32 [N], the label sets of the rows.
        num_kept: rows that stay in train, one of each class.
        fraction: the share to set aside.
    """
    num_rows, num_texts = len(codes), len(np.unique(hashes))
    if round(num_rows * fraction) < 1:
        return f"{num_rows} rows are too few"
    if num_texts < num_rows / 2:
        return (
            f"{num_rows} rows hold {num_texts} different texts, of which equal ones stay in one "
            "split: too few"
        )
    if num_kept > num_rows / 2:
        classes = {name for code in np.unique(codes).tolist() for name in scan.label_sets[code]}
        return (
            f"{num_rows} rows in {len(classes)} classes are too few beside the one of each class "
            "that train keeps,"
        )
    return f"{num_rows} rows are too few"


def _unlabelled(scan: Scan, codes: np.ndarray, route: np.ndarray) -> Iterator[str]:
    without = _codes_without_label(scan)
    for number, split in enumerate(SPLITS):
        count = sum(
            int(((codes[chunk] == code) & (route[chunk] == number)).sum())
            for code in without
            for chunk in _chunks(len(codes))
        )
        if count:
            yield f"{split}: {count} {'row' if count == 1 else 'rows'} without any label"


def _shares_by_hash(splits: Mapping[str, SplitSummary], settings: Settings) -> list[str]:
    total = sum(summary.num_examples for summary in splits.values())
    counts = np.sum([summary.class_counts for summary in splits.values()], axis=0)
    notes = []
    for split, summary in splits.items():
        shares = 100 * summary.class_counts / np.maximum(counts, 1)
        notes.append(
            f"{split}: chosen by a hash of the text, since there are more rows than "
            f"data.in_memory_rows={settings.in_memory_rows}; it has "
            f"{100 * summary.num_examples / total:.2f} % of the rows, and of the single classes "
            f"{shares.min():.2f} to {shares.max():.2f} %"
        )
    return notes


def _summaries(
    scan: Scan, codes: np.ndarray, route: np.ndarray, class_names: Sequence[str]
) -> dict[str, SplitSummary]:
    index = {name: number for number, name in enumerate(class_names)}
    by_code = np.zeros((len(SPLITS), len(scan.label_sets)), np.int64)
    for chunk in _chunks(len(codes)):
        for number in range(len(SPLITS)):
            by_code[number] += np.bincount(
                codes[chunk][route[chunk] == number], minlength=len(scan.label_sets)
            )
    splits = {}
    for number, split in enumerate(SPLITS):
        if not by_code[number].any():
            if split in scan.parts:
                raise DataError(
                    f"{scan.parts[split].name}: no row is left for {split}, all were dropped; "
                    "check the labels and data.drop_unknown_labels, data.drop_leaked_train"
                )
            continue
        class_counts = np.zeros(len(class_names), np.int64)
        for code in np.flatnonzero(by_code[number]).tolist():
            for name in scan.label_sets[code]:
                class_counts[index[name]] += by_code[number, code]
        splits[split] = SplitSummary(int(by_code[number].sum()), class_counts)
    return splits
