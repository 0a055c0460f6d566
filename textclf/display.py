"""Documents of tables and notes, as plain text for terminals and files and as HTML for notebooks.

    document = Document("Scores", [Table(["model", "accuracy"], [["lstm", "0.912"]], "n r")])
    print(to_text(document), end="")

Names of classes and models come from the user's data. In text, long names are shortened in the
middle, because names often share a prefix, and characters that would move the cursor are shown as
"?". In HTML, every text is escaped.
"""

import bisect
import functools
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from rich.console import Console

# Width of text that is not written to a terminal, so that it is the same everywhere.
WIDTH = 96
# Columns of names are narrowed to the minimum before a table is split. They are wider than these
# limits if shortened names would be equal.
_MIN_NAME_WIDTH = 20
_MAX_NAME_WIDTH = 40
# Longer lines of prose are hard to read.
_MAX_NOTES_WIDTH = 100
# A command in a sentence, which stays on one line so that it can be copied.
_COMMAND = re.compile("`textclf [^`]+`")
_PLACEHOLDER = "\ue000"  # for private use, so texts do not contain it


@dataclass(frozen=True)
class Table:
    """Table with a header and aligned columns.

    Attributes:
        header: one text for each column.
        rows: cells of each row.
        layout: a letter for each column: n for names, which may be shortened; f for names that are
            folded instead, such as paths; t for other texts; r for numbers, which are aligned to
            the right. Texts and numbers are never cut. Blanks separate groups of columns: a table
            that is too wide is split between groups, and each part repeats the first group.
        heading: noun above the table; "" for none.
        num_totals: number of rows at the end that are below a line.
        remark: sentence below the table; "" for none.
        is_matrix: whether the columns after the first are counts, one column for each row. In text,
            the header of a wide matrix has numbers; in HTML, cells are shaded by their share of the
            row.
        has_header: whether the table has a header; False for a list of names and values.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    layout: str
    heading: str = ""
    num_totals: int = 0
    remark: str = ""
    is_matrix: bool = False
    has_header: bool = True

    @property
    def kinds(self) -> str:
        """The letter of each column."""
        return self.layout.replace(" ", "")

    def shares(self) -> list[list[float]]:
        """Return the share of each count of a matrix in its row, [row][column]."""
        counts = [[int(cell.replace(",", "")) for cell in row[1:]] for row in self.rows]
        return [[count / max(sum(row), 1) for count in row] for row in counts]


@dataclass(frozen=True)
class Notes:
    """Sentences below a heading, as a list with bullets or as paragraphs.

    Attributes:
        heading: noun above the sentences; "" for none.
    """

    heading: str
    sentences: Sequence[str]
    has_bullets: bool = True


@dataclass(frozen=True)
class Document:
    """Title, tables and notes; a title of "" is omitted."""

    title: str
    parts: Sequence[Table | Notes]


# === Text ===


def to_text(document: Document, width: int = WIDTH) -> str:
    """Return a document as plain text that ends with a line break.

    Args:
        width: maximum number of columns of a line; a Chinese character has two. Lines are longer
            only if a name of `_MIN_NAME_WIDTH` columns and a group of numbers do not fit.
    """
    blocks = [_title(document.title, width)] if document.title else []
    for part in document.parts:
        if isinstance(part, Notes):
            blocks.append(_notes(part, width))
        else:
            blocks += _tables(part, width)
    return "\n\n".join(blocks) + "\n"


def tidy(text: str) -> str:
    """Replace white space by spaces and other unprintable characters by "?"."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def shorten(text: str, width: int, *, keep_end: bool = True) -> str:
    """Shorten a text to `width` columns by replacing its middle, or its end, with an ellipsis."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    indices = range(len(text) + 1)
    right = (width - 1) // 2 if keep_end else 0
    left = width - 1 - right
    start = bisect.bisect_right(indices, left, key=lambda i: cell_len(text[:i])) - 1
    end = bisect.bisect_left(indices, -right, key=lambda i: -cell_len(text[i:]))
    return f"{text[:start]}…{text[end:]}"


def count_of(count: int, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun, such as `3 rows`; `nouns` is an irregular plural."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def excerpt(text: str, max_characters: int = 200) -> str:
    """Return the beginning of a text on one line; an ellipsis stands for the rest."""
    text = text.lstrip()
    # White space that becomes one blank may hide half of the characters.
    line = " ".join(text[: 2 * max_characters].split())
    is_whole = len(line) <= max_characters and len(text) <= 2 * max_characters
    return line if is_whole else f"{line[: max_characters - 1]}…"


def _console(width: int) -> "Console":
    """Return a console that writes plain text of any height into memory."""
    from rich.console import Console

    # Everything that rich would read from the environment is set: terminal, colours, size.
    return Console(
        file=io.StringIO(), width=width, height=25, force_terminal=False, color_system=None,
        legacy_windows=False, highlight=False, emoji=False, markup=False,
    )  # fmt: skip


def _rendered(renderable: Any, width: int) -> str:
    """Return the lines of a renderable without trailing spaces."""
    console = _console(width)
    console.print(renderable, crop=False)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def _title(text: str, width: int) -> str:
    """Return the underlined title."""
    from rich.cells import cell_len

    title = shorten(tidy(text), width)
    return f"{title}\n{'=' * cell_len(title)}"


def _notes(notes: Notes, width: int) -> str:
    """Return the wrapped sentences below their heading."""
    from rich.text import Text

    width = min(width, _MAX_NOTES_WIDTH)
    lines = [_rendered(Text(tidy(notes.heading)), width)] if notes.heading else []
    lines += [
        _sentence(tidy(text), width, has_bullet=notes.has_bullets) for text in notes.sentences
    ]
    return "\n".join(lines)


def _sentence(sentence: str, width: int, *, has_bullet: bool) -> str:
    """Return a wrapped sentence; commands in it are not wrapped."""
    from rich.cells import cell_len
    from rich.table import Column
    from rich.table import Table as RichTable
    from rich.text import Text

    # While lines are broken, a word of no more than a line stands for each command.
    room = width - len("- (") - len(");")
    text = Text(_COMMAND.sub(lambda m: _PLACEHOLDER * min(cell_len(m[0]), room), sentence))
    if has_bullet:
        bullet = RichTable.grid("", Column(overflow="fold"), padding=(0, 1))
        bullet.add_row("-", text)
        rendered = _rendered(bullet, width)
    else:
        rendered = _rendered(text, width)
    commands = iter(_COMMAND.findall(sentence))
    pattern = rf"{_PLACEHOLDER}+(?:\n *{_PLACEHOLDER}+)*"
    return re.sub(pattern, lambda _: next(commands), rendered)


def _tables(table: Table, width: int) -> Iterator[str]:
    """Yield the lines of a table, or of the parts of a table that is too wide."""
    from rich.cells import cell_len

    parts = list(_parts(table, width))
    if table.is_matrix and len(parts) > 1:
        table = _numbered(table)
        parts = list(_parts(table, width))
    for index, columns in enumerate(parts):
        lines = _rendered(_rich_table(table, columns), width).split("\n")
        first_total = len(table.rows) - table.num_totals
        num_totals = sum(row >= first_total for row in _rows(table, columns))
        if num_totals:
            rule = "-" * max(map(cell_len, lines))
            lines.insert(len(lines) - num_totals, rule)
        heading = [table.heading] if table.heading and index == 0 else []
        remark = [_rendered(tidy(table.remark), width)] if index == len(parts) - 1 else []
        yield "\n".join([*heading, *lines, *filter(None, remark)])


def _parts(table: Table, width: int) -> Iterator[list[int]]:
    """Yield the columns of each part of a table."""
    indices = iter(range(len(table.kinds)))
    first, *groups = ([next(indices) for _ in group] for group in table.layout.split())
    everything = [*first, *(column for group in groups for column in group)]
    if _measure(_rich_table(table, everything), width=10**6).minimum <= width:
        yield everything
        return
    part = first
    for group in groups:
        widest = _measure(_rich_table(table, [*part, *group]), width=10**6).maximum
        if widest > width and part != first:
            yield part
            part = first
        part = [*part, *group]
    yield part


def _numbered(table: Table) -> Table:
    """Return a matrix with numbered rows and columns."""
    numbers = [str(index + 1) for index in range(len(table.rows))]
    rows = [
        [f"{n} {name}", *counts] for n, (name, *counts) in zip(numbers, table.rows, strict=True)
    ]
    return Table(
        [table.header[0], *numbers], rows, table.layout, heading=table.heading, remark=table.remark
    )


def _rows(table: Table, columns: Sequence[int]) -> list[int]:
    """Return the indices of the rows that some columns show: those that have more than a name."""
    cells = columns[1:] or columns
    return [index for index, row in enumerate(table.rows) if any(row[c] for c in cells)]


def _rich_table(table: Table, columns: Sequence[int]) -> Any:
    """Return some columns of a table, with the rows of `_rows`, as a table of rich."""
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable.grid(padding=(0, 2, 0, 0), pad_edge=False)
    shown = (table.rows[index] for index in _rows(table, columns))
    rows = [[tidy(row[column]) for column in columns] for row in shown]
    if table.has_header:
        rows.insert(0, [tidy(table.header[column]) for column in columns])
    cells_by_column = []
    for column, *texts in zip(columns, *rows, strict=True):
        kind, cells = table.kinds[column], [Text(text) for text in texts]
        if kind in "nf":
            min_width = _distinct_width(texts) if kind == "n" else _MIN_NAME_WIDTH
            cells = [_name_type()(text, min_width, is_folded=kind == "f") for text in texts]
        rich_table.add_column(
            justify="right" if kind == "r" else "left",
            no_wrap=kind not in "nf",
            min_width=max(map(cell_len, texts), default=0) if kind in "rt" else None,
        )
        cells_by_column.append(cells)
    for row in zip(*cells_by_column, strict=True):
        rich_table.add_row(*row)
    return rich_table


def _measure(renderable: Any, width: int) -> Any:
    """Return the smallest and the largest width of a renderable, as rich measures it."""
    from rich.measure import Measurement

    console = _console(width)
    return Measurement.get(console, console.options, renderable)


def _distinct_width(names: Sequence[str]) -> int:
    """Return the smallest width, at least the minimum, at which shortened names are distinct."""
    from rich.cells import cell_len

    distinct = set(names)
    for width in range(_MIN_NAME_WIDTH, max(map(cell_len, distinct), default=0)):
        if len({shorten(name, width) for name in distinct}) == len(distinct):
            return width
    return max([_MIN_NAME_WIDTH, *map(cell_len, distinct)])


@functools.cache
def _name_type() -> Any:
    """Return the class of cells with names, defined when rich is needed."""
    from rich.cells import cell_len
    from rich.measure import Measurement
    from rich.text import Text

    class Name:
        """Name that takes the width of its column, which should be at least `min_width`."""

        def __init__(self, name: str, min_width: int, *, is_folded: bool):
            self.name, self.min_width, self.is_folded = name, min_width, is_folded

        def __rich_measure__(self, console: Any, options: Any) -> Measurement:
            natural = min(cell_len(self.name), max(_MAX_NAME_WIDTH, self.min_width))
            narrow = min(natural, self.min_width)
            return Measurement(narrow, max(narrow, min(natural, options.max_width)))

        def __rich_console__(self, console: Any, options: Any) -> Iterator[Text]:
            if self.is_folded:
                yield Text(self.name, overflow="fold")
            else:
                yield Text(shorten(self.name, options.max_width), no_wrap=True)

    return Name


# === HTML ===


def to_html(document: Document) -> str:
    """Return a document as an HTML fragment without external resources, for a notebook.

    Its colours suit light and dark pages.
    """
    environment = template_environment(Path(__file__).parent)
    return environment.get_template("display.html").render(document=document)


def template_environment(*folders: Path) -> "jinja2.Environment":
    """Return the environment of the HTML templates in folders, which escapes all values.

    template_environment(Path(__file__).parent).get_template("page.html").render(title="reviews")
    """
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
