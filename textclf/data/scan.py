"""The first pass: read every row of every part once and keep a few bytes of each.

Kept are 8 bytes of hash and 4 bytes of label a row, and the rows that take several lines.
"""

import dataclasses
import itertools
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from textclf.data.parts import Label, Part, Settings
from textclf.data.splits import normalise, text_hash
from textclf.data.tables import RowError, parse_list
from textclf.errors import DataError

# Mistakes of rows that one message lists.
_MAX_PROBLEMS = 20
# More different labels (or sets of labels) than this means that the column holds something else.
_MAX_LABELS = 200_000


# === Labels ===


class BadLabel(Exception):
    """A label that cannot be used.

    Args:
        problem: what is wrong, without its place.
        fix: what to do.
    """

    def __init__(self, problem: str, fix: str):
        self.problem, self.fix = problem, fix
        super().__init__(f"{problem}; {fix}")


def names_of(
    raw: Label, settings: Settings, class_names: Sequence[str] | None, holds_names: bool
) -> tuple[str, ...]:
    """Return the class names, sorted, of a label as written.

    None at all: for a multi-label example without classes, and for a row that
    `settings.skip_unlabelled` skips.

    Raises:
        BadLabel: there are too many labels or none, or an id counts no class name.
    """
    if settings.multi_label:
        if isinstance(raw, str):
            raw = (raw,) if holds_names else tuple(raw.split(settings.label_separator))
        names = [name for part in raw if (name := part.strip())]
    else:
        names = [raw] if isinstance(raw, str) else list(raw)
        if len(names) > 1:
            raise BadLabel(
                f"{len(names)} labels, expected one",
                "use data.multi_label=true if a text may have several",
            )
        if not names or not names[0]:
            if settings.skip_unlabelled:
                return ()
            raise BadLabel(
                "no label, expected one",
                "set data.skip_unlabelled=true to skip rows without a label",
            )
    if settings.label_ids != "names" and not holds_names:
        assert class_names is not None, "find_parts checks that ids have names"
        names = [_name_of_id(name, settings.label_ids, class_names) for name in names]
    return tuple(sorted(set(names)))


def _name_of_id(written: str, label_ids: str, class_names: Sequence[str]) -> str:
    first = 0 if label_ids == "from_zero" else 1
    expected = (
        f"expected an integer from {first} to {first + len(class_names) - 1} "
        f"(data.label_ids={label_ids}, {len(class_names)} class names)"
    )
    fix = "fix the label or the class names"
    try:
        index = int(written) - first
    except ValueError:
        raise BadLabel(f"label {written!r} is no integer, {expected}", fix) from None
    if not 0 <= index < len(class_names):
        raise BadLabel(f"label id {written} is out of range, {expected}", fix)
    return class_names[index]


def odd_names(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for class names that are hardly different, or are lists in one cell.

    Names are hardly different if only case, width, composition, invisible characters or the way
    to write a number (1 and 1.0) tell them apart.
    """
    similar: dict[object, list[str]] = {}
    for name in names:
        similar.setdefault(_visible_form(name), []).append(name)
    for group in similar.values():
        if len(group) > 1:
            yield (
                f"{len(group)} classes hardly differ in their names: "
                f"{', '.join(map(ascii, group))}; if they are one class, write them alike"
            )
    lists = [name for name in names if parse_list(name)]
    if lists:
        yield (
            f"{len(lists)} classes look like lists: {', '.join(lists[:3])}; the first label of a "
            "file decides whether its labels are lists, so write all of them as lists or none"
        )


def _visible_form(name: str) -> object:
    normalised = "".join(
        character
        for character in normalise(name)
        # Format and control characters, and the variation selectors of emoji.
        if unicodedata.category(character) not in ("Cf", "Cc")
        and not "\ufe00" <= character <= "\ufe0f"
    ).strip()
    try:
        return float(normalised)
    except ValueError:
        return normalised


# === Rows ===


class Lines:
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


def place_of(part: Part, lines: Lines, row: int) -> str:
    line = lines.line(row)
    if line is None:
        line = next(itertools.islice(part.rows(), row, None))[0]
    return part.place(line)


@dataclasses.dataclass
class Scan:
    """What the first pass keeps of the rows of all parts, one part after the other."""

    parts: Mapping[str, Part]
    hashes: bytearray = dataclasses.field(default_factory=bytearray)  # 8 bytes a row
    codes: array = dataclasses.field(default_factory=lambda: array("i"))  # into label_sets
    label_sets: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    bounds: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # part → rows
    lines: dict[str, Lines] = dataclasses.field(default_factory=dict)
    # part → code → the line that has it first
    first_lines: dict[str, dict[int, int]] = dataclasses.field(default_factory=dict)
    # The rows with something odd about the text, and what it is.
    odd_rows: array = dataclasses.field(default_factory=lambda: array("q"))
    odd_kinds: bytearray = dataclasses.field(default_factory=bytearray)
    problems: list[RowError] = dataclasses.field(default_factory=list)

    def problem_lines(self) -> list[str]:
        """Return the mistakes of rows, one a line; a fix is stated where it is first needed."""
        lines, fixes = [], set()
        for problem in self.problems[:_MAX_PROBLEMS]:
            fix = "" if problem.fix in fixes else f"; {problem.fix}"
            fixes.add(problem.fix)
            lines.append(f"{problem.place}: {problem.problem}{fix}")
        if len(self.problems) > _MAX_PROBLEMS:
            lines.append(f"and more: only the first {_MAX_PROBLEMS} mistakes are listed")
        return lines

    def place(self, row: int) -> str:
        key = next(key for key, (start, stop) in self.bounds.items() if start <= row < stop)
        return place_of(self.parts[key], self.lines[key], row - self.bounds[key][0])

    def names(self, row: int) -> str:
        return ", ".join(self.label_sets[self.codes[row]]) or "no label"


def read(
    settings: Settings,
    parts: Mapping[str, Part],
    class_names: Sequence[str] | None,
    digest: Any,
    on_progress: Callable[[str, int, int], None],
) -> Scan:
    """Read every row once; the time of opening a data set is spent in this loop.

    Mistakes of rows are collected in `Scan.problems`; reading ends when there are too many.
    """
    num_rows = sum(part.about_rows() for part in parts.values())
    scan = Scan(parts)
    hashes, label_sets = scan.hashes, scan.label_sets
    code_of: dict[tuple[str, ...], int] = {}

    def add_problem(problem: RowError) -> None:
        scan.problems.append(problem)
        if len(scan.problems) > _MAX_PROBLEMS:
            raise _TooManyProblems

    for key, part in parts.items():
        start = len(scan.codes)
        lines = scan.lines[key] = Lines()
        first_lines = scan.first_lines[key] = {}
        known: dict[Label, tuple[int, str]] = {}
        expected_line = -1
        digest.update(f"part {key}\n".encode())
        row = start - 1
        try:
            for line, text, raw in part.rows(add_problem):
                if (row + 1) % 4096 == 0:
                    on_progress("reading the data", row + 1, max(num_rows, row + 1))
                entry = known.get(raw)
                if entry is None:
                    try:
                        names = names_of(raw, settings, class_names, part.holds_names)
                    except BadLabel as error:
                        add_problem(RowError(part.place(line), error.problem, error.fix))
                        continue
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
                        (not normalised) + 2 * ("\0" in text) + 4 * ("\ufffd" in text)
                    )
        except _TooManyProblems:
            pass
        scan.bounds[key] = start, row + 1
        if len(scan.problems) > _MAX_PROBLEMS:
            break
    return scan


class _TooManyProblems(Exception):
    """More mistakes than one message lists."""
