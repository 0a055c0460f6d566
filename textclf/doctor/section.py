"""Section: one part of an examination, for machines and for people."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from textclf.display import Document, Notes, Table


class Section(NamedTuple):
    """A part of an examination.

    Attributes:
        key: name of the part in the JSON object.
        values: the result as plain values; None if the part was left out.
        parts: the same result as tables and notes.
        problems: sentences: location, problem, fix.
    """

    key: str
    values: Any
    parts: Sequence[Table | Notes]
    problems: Sequence[str] = ()

    @property
    def document(self) -> Document:
        """The tables and notes."""
        return Document("", self.parts)


def list_table(heading: str, rows: Sequence[Sequence[str]], remark: str = "") -> Table:
    """Return a table of names and values without a header."""
    return Table(["", ""], rows, "tt", heading=heading, remark=remark, has_header=False)


def format_bytes(number: float) -> str:
    """Return a number of bytes in a decimal unit, such as "1.2 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return (
                f"{number:.0f} {unit}"
                if unit == "bytes" or number >= 100
                else (f"{number:.1f} {unit}")
            )
        number /= 1000
    return f"{number:.1f} TB"
