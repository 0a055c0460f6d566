"""The first pass: read every row of every part once and keep a few bytes of each.

Kept are 8 bytes of hash and 4 bytes of label a row, and the lines of rows that span several.
"""

import dataclasses
import itertools
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from textclf.config import Data
from textclf.data.labels import BadLabel, Label, names_of, written_labels
from textclf.data.parts import Part
from textclf.data.splits import normalise, text_hash
from textclf.errors import DataError, RowError
from textclf.progress import OnProgress

_MAX_PROBLEMS = 20  # errors of rows in one message
# More different labels (or sets of labels) mean that the column holds something else.
_MAX_LABELS = 200_000

# Bits of `Scan.odd_kinds`.
EMPTY_TEXT, NUL_BYTE, BROKEN_CHARACTER = 1, 2, 4


class Lines:
    """The first line of each row of a part; mostly a line is a row, so only jumps are kept."""

    def __init__(self) -> None:
        self._rows = array("q")
        self._starts = array("q")
        self._is_full = False

    def jump(self, row: int, line: int) -> None:
        """Record that lines are counted from `line` at `row`."""
        if len(self._rows) > 10_000 + row // 8:
            self._is_full = True  # memory limit: two bytes per row
        else:
            self._rows.append(row)
            self._starts.append(line)

    def line(self, row: int) -> int | None:
        """Return the first line of a row, or None if only reading again would tell."""
        if self._is_full:
            return None
        jump = int(np.searchsorted(np.frombuffer(self._rows, np.int64), row, "right")) - 1
        return self._starts[jump] + row - self._rows[jump]


def location_of(part: Part, lines: Lines, row: int) -> str:
    """Return the location of a row of a part for messages, such as `reviews.csv:17`."""
    line = lines.line(row)
    if line is None:
        line = next(itertools.islice(part.rows(), row, None))[0]
    return part.location(line)


@dataclasses.dataclass
class Scan:
    """The result of the first pass over all rows, one part after the other.

    Attributes:
        parts: the parts that were read.
        hashes: 8 bytes per row, the hash of its normalised text.
        codes: int32 per row, the index of its labels in `label_sets`.
        label_sets: the different sets of class names.
        bounds: part → its first row and the row after its last.
        lines: part → lines of its rows.
        first_lines: part → code → the first line with this code.
        written: labels as written; only with `data.rename_labels`.
        odd_rows: rows with an odd text.
        odd_kinds: a byte for each of them: `EMPTY_TEXT`, `NUL_BYTE` and `BROKEN_CHARACTER`.
        problems: errors of rows.
    """

    parts: Mapping[str, Part]
    hashes: bytearray = dataclasses.field(default_factory=bytearray)
    codes: array = dataclasses.field(default_factory=lambda: array("i"))
    label_sets: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    bounds: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    lines: dict[str, Lines] = dataclasses.field(default_factory=dict)
    first_lines: dict[str, dict[int, int]] = dataclasses.field(default_factory=dict)
    written: set[str] = dataclasses.field(default_factory=set)
    odd_rows: array = dataclasses.field(default_factory=lambda: array("q"))
    odd_kinds: bytearray = dataclasses.field(default_factory=bytearray)
    problems: list[RowError] = dataclasses.field(default_factory=list)

    def problem_lines(self) -> list[str]:
        """Return the errors of rows, one per line; each fix is stated once."""
        lines, fixes = [], set()
        for problem in self.problems[:_MAX_PROBLEMS]:
            fix = "" if problem.fix in fixes else f"; {problem.fix}"
            fixes.add(problem.fix)
            lines.append(f"{problem.location}: {problem.problem}{fix}")
        if len(self.problems) > _MAX_PROBLEMS:
            lines.append(f"and more: only the first {_MAX_PROBLEMS} errors are listed")
        return lines

    def location(self, row: int) -> str:
        """Return the location of a row for messages."""
        key = next(key for key, (start, stop) in self.bounds.items() if start <= row < stop)
        return location_of(self.parts[key], self.lines[key], row - self.bounds[key][0])

    def names(self, row: int) -> str:
        """Return the class names of a row for messages."""
        return ", ".join(self.label_sets[self.codes[row]]) or "no label"

    def codes_without_label(self) -> list[int]:
        """Return the codes of rows without any label: one or none."""
        return [code for code, names in enumerate(self.label_sets) if not names]


def scan_parts(
    settings: Data,
    parts: Mapping[str, Part],
    class_names: Sequence[str] | None,
    digest: Any,
    on_progress: OnProgress,
) -> Scan:
    """Read every row once. The time of opening a data set is spent here.

    Errors of rows are collected in `Scan.problems`; reading ends when there are too many.

    Args:
        settings: section `data`.
        parts: part → rows.
        class_names: the names that ids count, or None.
        digest: a hash object that is updated with texts and labels.
        on_progress: called with stage, rows read and number of rows.

    Raises:
        DataError: there are too many different labels, or a file cannot be read.
    """
    num_rows = sum(part.about_rows() for part in parts.values())

    def show_progress(rows: int) -> None:
        on_progress("reading the data", rows, max(num_rows, rows))

    scan = Scan(parts)
    labels = _LabelCodes(scan, settings, class_names)
    for key in parts:
        digest.update(f"part {key}\n".encode())
        try:
            _scan_part(scan, key, labels, digest, show_progress)
        except _TooManyProblems:
            break
    return scan


class _LabelCodes:
    """The codes of labels: the indices of their class names in `Scan.label_sets`.

    Args:
        scan: receives label sets and first lines.
        settings: section `data`.
        class_names: the names that ids count, or None.
    """

    def __init__(self, scan: Scan, settings: Data, class_names: Sequence[str] | None):
        self._scan, self._settings, self._class_names = scan, settings, class_names
        self._code_of: dict[tuple[str, ...], int] = {}

    def add(
        self, known: dict[Label, tuple[int, str]], key: str, line: int, label: Label
    ) -> tuple[int, str]:
        """Return the code and the joined class names of a label, and store them in `known`.

        Raises:
            BadLabel: the label cannot be used.
            DataError: there are too many different labels.
        """
        part, label_sets = self._scan.parts[key], self._scan.label_sets
        if self._settings.rename_labels:
            self._scan.written |= written_labels(label, self._settings)
        names = names_of(label, self._settings, self._class_names, part.holds_names)
        if len(known) >= _MAX_LABELS:
            raise DataError(
                f"{part.location(line)}: more than {_MAX_LABELS} different labels so far; "
                f"check that data.label_column={self._settings.label_column} holds labels"
            )
        code = self._code_of.setdefault(names, len(label_sets))
        if code == len(label_sets):
            label_sets.append(names)
        self._scan.first_lines[key].setdefault(code, line)
        entry = known[label] = code, "\x1f".join(names)
        return entry


def _scan_part(
    scan: Scan, key: str, labels: _LabelCodes, digest: Any, show_progress: Callable[[int], None]
) -> None:
    """Read every row of one part.

    Raises:
        _TooManyProblems: reading can stop.
    """
    part, hashes = scan.parts[key], scan.hashes
    lines = scan.lines[key] = Lines()
    scan.first_lines[key] = {}
    known: dict[Label, tuple[int, str]] = {}

    def add_problem(problem: RowError) -> None:
        scan.problems.append(problem)
        if len(scan.problems) > _MAX_PROBLEMS:
            raise _TooManyProblems

    start = len(scan.codes)
    row, expected_line = start - 1, -1
    try:
        for line, text, label in part.rows(add_problem):
            if (row + 1) % 4096 == 0:
                show_progress(row + 1)
            entry = known.get(label)
            if entry is None:
                try:
                    entry = labels.add(known, key, line, label)
                except BadLabel as error:
                    add_problem(RowError(part.location(line), error.problem, error.fix))
                    continue
            row += 1
            if line != expected_line:
                lines.jump(row - start, line)
            expected_line = line + 1
            scan.codes.append(entry[0])
            content = f"{entry[1]}\x1e{len(text)}\x1e{text}"
            digest.update(content.encode("utf-8", "surrogatepass"))
            normalised = normalise(text)
            hashes += text_hash(normalised)
            if not normalised or "\0" in text or "\ufffd" in text:
                scan.odd_rows.append(row)
                scan.odd_kinds.append(
                    EMPTY_TEXT * (not normalised)
                    + NUL_BYTE * ("\0" in text)
                    + BROKEN_CHARACTER * ("\ufffd" in text)
                )
    finally:
        scan.bounds[key] = start, row + 1


class _TooManyProblems(Exception):
    """More errors of rows than one message lists."""
