"""The first pass: reads every row of every part once and keeps a few bytes of each.

It keeps 8 bytes of hash and 4 bytes of label a row, and where lines and rows drift apart.
"""

import dataclasses
import itertools
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from textclf.data.parts import Label, Part, Settings
from textclf.data.splits import normalise, text_hash
from textclf.errors import DataError

# More different labels (or sets of labels) than this means that the column holds something else.
_MAX_LABELS = 200_000


# === Labels ===


class BadLabel(Exception):
    """What is wrong with a label, without its place."""


def names_of(
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
            raise BadLabel(
                f"{len(names)} labels, expected one; use data.multi_label=true if a text may have "
                "several"
            )
        if not names or not names[0]:
            raise BadLabel("no label, expected one; drop the row, or use data.multi_label=true")
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
        raise BadLabel(f"label {written!r} is no integer; {expected}") from None
    if not 0 <= index < len(class_names):
        raise BadLabel(f"label id {written} is out of range; {expected}")
    return class_names[index]


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
    """The first pass: this loop is what the time of opening a data set goes into."""
    num_rows = sum(part.about_rows() for part in parts.values())
    scan = Scan(parts)
    hashes, label_sets = scan.hashes, scan.label_sets
    code_of: dict[tuple[str, ...], int] = {}
    for key, part in parts.items():
        start = len(scan.codes)
        lines = scan.lines[key] = Lines()
        first_lines = scan.first_lines[key] = {}
        known: dict[Label, tuple[int, str]] = {}
        expected_line = -1
        digest.update(f"part {key}\n".encode())
        row = start - 1
        for line, text, raw in part.rows():
            row += 1
            if row % 4096 == 0:
                on_progress("reading the data", row, max(num_rows, row))
            if line != expected_line:
                lines.jump(row - start, line)
            expected_line = line + 1
            entry = known.get(raw)
            if entry is None:
                try:
                    names = names_of(raw, settings, class_names, part.holds_names)
                except BadLabel as problem:
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
            digest.update(f"{entry[1]}\x1e{len(text)}\x1e{text}".encode("utf-8", "surrogatepass"))
            normalised = normalise(text)
            hashes += text_hash(normalised)
            if not normalised or "\0" in text or "\ufffd" in text:
                scan.odd_rows.append(row)
                scan.odd_kinds.append(
                    (not normalised) + 2 * ("\0" in text) + 4 * ("\ufffd" in text)
                )
        scan.bounds[key] = start, row + 1
    return scan
