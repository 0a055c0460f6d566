"""A data set: counted and checked in a first pass, streamed from its source ever after.

The first pass keeps 12 bytes a row (a hash of the text and a number for its labels) and one for the
split it goes to; only the last stays when the pass is over.
"""

import dataclasses
import difflib
import hashlib
import itertools
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from textclf.data.sources import SPLITS, Label, Part, Settings
from textclf.data.splits import CHUNK_ROWS, normalise, repeated, set_aside, text_hash
from textclf.errors import DataError

_DROPPED = 255
_NUM_EXAMPLES = 5  # places named by a finding
_MAX_PROBLEMS = 10
# More different labels (or sets of labels) than this means that the column holds something else.
_MAX_LABELS = 200_000


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
    dropped_unknown_labels: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped_leaked_train: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dicts, lists, strings and integers, for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def sentences(self) -> list[str]:
        """What was seen, a sentence each; empty where there is nothing to say."""
        said = []
        for split, count in self.dropped_unknown_labels.items():
            said.append(f"{split}: {count} rows dropped for labels that train does not have")
        if self.dropped_leaked_train:
            said.append(
                f"train: {self.dropped_leaked_train} rows dropped, whose texts stand in validation "
                "or test"
            )
        for split, names in self.missing_classes.items():
            said.append(f"{split}: no example of {', '.join(names)}")
        kinds: list[tuple[str, Mapping[str, Finding]]] = [
            ("repeat an earlier text", self.duplicates),
            ("hold no text", self.empty_texts),
            ("hold a NUL byte", self.nul_bytes),
            ("hold broken characters (U+FFFD)", self.broken_characters),
        ]
        for what, by_split in kinds:
            for split, finding in by_split.items():
                said.append(f"{split}: {finding.count} rows {what}{_such_as(finding)}")
        for pair, finding in self.shared.items():
            first, second = pair.split("/")
            said.append(
                f"{second}: the texts of {finding.count} rows stand in {first} too"
                f"{_such_as(finding)}"
            )
        if self.conflicting_labels.count:
            said.append(
                f"{self.conflicting_labels.count} texts occur with different labels"
                f"{_such_as(self.conflicting_labels)}"
            )
        return said + self.notes


def _such_as(finding: Finding) -> str:
    return f" ({'; '.join(finding.places)})" if finding.places else ""


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
        lines: "Mapping[str, _Lines]",
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
                    names = _names_of(raw, self._settings, self.class_names, part.holds_names)
                    label_ids = ids[raw] = tuple(sorted(index[name] for name in names))
                except (KeyError, _BadLabel):
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
        return _place(self._parts[key], self._lines[key], row_of_part)

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


# === Labels ===


class _BadLabel(Exception):
    """What is wrong with a label, without its place."""


def _names_of(
    raw: Label, settings: Settings, class_names: Sequence[str] | None, holds_names: bool
) -> tuple[str, ...]:
    """The class names, sorted, that a label as written stands for."""
    if settings.multi_label:
        if isinstance(raw, str):
            raw = (raw,) if holds_names else tuple(raw.split(settings.label_separator))
        names = [name for part in raw if (name := part.strip())]
    else:
        names = [raw] if isinstance(raw, str) else list(raw)
        if len(names) > 1:
            raise _BadLabel(
                f"{len(names)} labels, expected one; use data.multi_label=true if a text may have "
                "several"
            )
        if not names or not names[0]:
            raise _BadLabel("no label, expected one; drop the row, or use data.multi_label=true")
    if settings.label_ids != "names" and not holds_names:
        assert class_names is not None, "find_parts sees to it that ids have names"
        names = [_name_of_id(name, settings.label_ids, class_names) for name in names]
    return tuple(sorted(set(names)))


def _name_of_id(written: str, label_ids: str, class_names: Sequence[str]) -> str:
    first = 0 if label_ids == "from_zero" else 1
    expected = (
        f"expected an integer from {first} to {first + len(class_names) - 1} "
        f"(data.label_ids={label_ids}, {len(class_names)} class names)"
    )
    try:
        index = int(written) - first
    except ValueError:
        raise _BadLabel(f"label {written!r} is no integer; {expected}") from None
    if not 0 <= index < len(class_names):
        raise _BadLabel(f"label id {written} is out of range; {expected}")
    return class_names[index]


# === The first pass ===


class _Lines:
    """Row → line of one part; in most files a line is a row, so only the jumps are kept."""

    def __init__(self) -> None:
        self._rows = array("q")
        self._starts = array("q")
        self._too_many = False

    def jump(self, row: int, line: int) -> None:
        """From `row` on, lines are counted from `line`."""
        if len(self._rows) > 10_000 + row // 8:
            self._too_many = True  # two bytes a row at most
        else:
            self._rows.append(row)
            self._starts.append(line)

    def line(self, row: int) -> int | None:
        """None where only reading again can tell."""
        if self._too_many:
            return None
        at = int(np.searchsorted(np.frombuffer(self._rows, np.int64), row, "right")) - 1
        return self._starts[at] + row - self._rows[at]


def _place(part: Part, lines: _Lines, row: int) -> str:
    line = lines.line(row)
    if line is None:
        line = next(itertools.islice(part.rows(), row, None))[0]
    return part.place(line)


@dataclasses.dataclass
class _Scan:
    """What the first pass keeps of the rows of all parts, one part after the other."""

    parts: Mapping[str, Part]
    hashes: bytearray = dataclasses.field(default_factory=bytearray)  # 8 bytes a row
    codes: array = dataclasses.field(default_factory=lambda: array("i"))  # into label_sets
    label_sets: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    bounds: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # part → rows
    lines: dict[str, _Lines] = dataclasses.field(default_factory=dict)
    # part → code → the line that has it first
    first_lines: dict[str, dict[int, int]] = dataclasses.field(default_factory=dict)
    # The rows with something odd about the text, and what it is.
    odd_rows: array = dataclasses.field(default_factory=lambda: array("q"))
    odd_kinds: bytearray = dataclasses.field(default_factory=bytearray)

    def place(self, row: int) -> str:
        key = next(key for key, (start, stop) in self.bounds.items() if start <= row < stop)
        return _place(self.parts[key], self.lines[key], row - self.bounds[key][0])

    def names(self, row: int) -> str:
        return ", ".join(self.label_sets[self.codes[row]]) or "no label"


def open_parts(
    settings: Settings, parts: dict[str, Part], class_names: tuple[str, ...] | None
) -> Dataset:
    """Reads all parts once, makes the splits, checks them.

    Raises:
        DataError: the data cannot be used.
    """
    stamps = {key: part.stamp() for key, part in parts.items()}
    digest = hashlib.sha256()
    scan = _read(settings, parts, class_names, digest)
    for key, part in parts.items():
        if part.stamp() != stamps[key]:
            raise DataError(f"{part.name}: the data changed while they were read; start again")

    findings = Findings()
    hashes = np.frombuffer(scan.hashes, "<u8")
    codes = np.frombuffer(scan.codes, np.int32)
    route = np.zeros(len(codes), np.uint8)
    for key, (start, stop) in scan.bounds.items():
        route[start:stop] = 0 if key == "all" else SPLITS.index(key)

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
    leaked = _compare(scan, hashes, codes, route, findings)
    _report_oddities(scan, route, findings)
    if not stratified:
        findings.notes += _shares_by_hash(splits, settings)
    if "train" in splits and len(class_names) > splits["train"].num_examples / 2:
        findings.notes.append(
            f"{len(class_names)} classes for {splits['train'].num_examples} rows of train: is "
            f"data.label_column={settings.label_column} the label?"
        )

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


def _read(
    settings: Settings,
    parts: Mapping[str, Part],
    class_names: Sequence[str] | None,
    digest: Any,
) -> _Scan:
    """The first pass: this loop is what the time of opening a data set goes into."""
    scan = _Scan(parts)
    hashes, label_sets = scan.hashes, scan.label_sets
    code_of: dict[tuple[str, ...], int] = {}
    for key, part in parts.items():
        start = len(scan.codes)
        lines = scan.lines[key] = _Lines()
        first_lines = scan.first_lines[key] = {}
        known: dict[Label, tuple[int, str]] = {}
        expected_line = -1
        digest.update(f"part {key}\n".encode())
        row = start - 1
        for line, text, raw in part.rows():
            row += 1
            if line != expected_line:
                lines.jump(row - start, line)
            expected_line = line + 1
            entry = known.get(raw)
            if entry is None:
                try:
                    names = _names_of(raw, settings, class_names, part.holds_names)
                except _BadLabel as problem:
                    raise DataError(f"{part.place(line)}: {problem}") from None
                if len(known) >= _MAX_LABELS:
                    raise DataError(
                        f"{part.place(line)}: more than {_MAX_LABELS} different labels so far; "
                        f"is data.label_column={settings.label_column} the label?"
                    )
                code = code_of.setdefault(names, len(label_sets))
                if code == len(label_sets):
                    label_sets.append(names)
                first_lines.setdefault(code, line)
                entry = known[raw] = code, "\x1f".join(names)
            scan.codes.append(entry[0])
            digest.update(f"{entry[1]}\x1e{len(text)}\x1e{text}".encode())
            normalised = normalise(text)
            hashes += text_hash(normalised)
            if not normalised or "\0" in text or "\ufffd" in text:
                scan.odd_rows.append(row)
                scan.odd_kinds.append(
                    (not normalised) + 2 * ("\0" in text) + 4 * ("\ufffd" in text)
                )
        scan.bounds[key] = start, row + 1
    return scan


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
            route[leaked] = _DROPPED
            dropped += len(leaked)
    return dropped


def _check_labels(
    scan: _Scan,
    settings: Settings,
    class_names: Sequence[str] | None,
    codes: np.ndarray,
    route: np.ndarray,
    findings: Findings,
) -> None:
    """Refuses a train with one class and labels that train does not have, or drops their rows."""
    learnt = {n for code in _first_rows(codes, route, 0) for n in scan.label_sets[code]}
    known = learnt if class_names is None else set(class_names)
    where = "among the labels of train" if class_names is None else "in data.class_names"
    listed = ", ".join(sorted(known)[:12] if class_names is None else class_names[:12])
    listed += f" and {len(known) - 12} more" if len(known) > 12 else ""
    problems = []
    for key, first_lines in scan.first_lines.items():
        unknown = {
            code: next(name for name in scan.label_sets[code] if name not in known)
            for code in first_lines
            if not known.issuperset(scan.label_sets[code])
        }
        if key not in ("all", "train") and settings.drop_unknown_labels and unknown:
            start, stop = scan.bounds[key]
            rows = start + np.flatnonzero(np.isin(codes[start:stop], [*unknown]))
            route[rows] = _DROPPED
            findings.dropped_unknown_labels[key] = len(rows)
            continue
        if class_names is None and key in ("all", "train"):
            continue  # only dropped rows can have a label that train does not know
        named: dict[str, int] = {}
        for code, name in unknown.items():
            named[name] = min(first_lines[code], named.get(name, first_lines[code]))
        for name, line in sorted(named.items(), key=lambda item: item[1]):
            near = difflib.get_close_matches(name, known, n=1)
            advice = (
                "mend the labels or the names"
                if key in ("all", "train")
                else "use data.drop_unknown_labels=true to leave such rows out"
            )
            problems.append(
                f"{scan.parts[key].place(line)}: label {name!r} is not {where} ({listed}); {advice}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [f"and {len(problems) - _MAX_PROBLEMS} more unknown labels"]
    for key in {"all", "train"} & set(scan.parts):
        if len(learnt) < (1 if settings.multi_label else 2):
            only = f"one class only ({next(iter(learnt))!r})" if learnt else "no label at all"
            problems.append(
                f"{scan.parts[key].name}: {only} in train, expected at least two classes; is "
                f"data.label_column={settings.label_column} the label?"
            )
    if problems:
        raise DataError("\n".join(problems))


def _make_splits(
    scan: _Scan, settings: Settings, hashes: np.ndarray, codes: np.ndarray, route: np.ndarray
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
            raise DataError(
                f"{scan.parts[key].name}: {len(codes)} rows are too few to set "
                f"data.{name}_fraction={fraction} of them aside for {name}; add rows, or give "
                f"data.{name}"
            )
    return stratified


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
    scan: _Scan, codes: np.ndarray, route: np.ndarray, class_names: Sequence[str]
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


# === What is worth telling ===


class _Places:
    """Counts things and remembers the first few, as tuples of rows."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[int, ...]] = []

    def add(self, *rows: np.ndarray) -> None:
        """Arrays of equal length: the first names the thing, the others belong to it."""
        self.count += len(rows[0])
        few = np.argsort(rows[0], kind="stable")[:_NUM_EXAMPLES]
        found = zip(*(column[few].tolist() for column in rows), strict=True)
        self._first = sorted([*self._first, *found])[:_NUM_EXAMPLES]

    def finding(self, scan: _Scan, with_labels: bool = False) -> Finding:
        def shown(row: int) -> str:
            return scan.place(row) + (f" ({scan.names(row)})" if with_labels else "")

        return Finding(self.count, tuple(" = ".join(map(shown, rows)) for rows in self._first))


def _compare(
    scan: _Scan, hashes: np.ndarray, codes: np.ndarray, route: np.ndarray, findings: Findings
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
        kept = route[rows] != _DROPPED
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


def _report_oddities(scan: _Scan, route: np.ndarray, findings: Findings) -> None:
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
