"""The command `predict`.

Rows are read, predicted and written in chunks, so that memory use is constant and results appear
while the input is still being read.
"""

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import json
import os
import re
import shlex
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, say
from textclf.errors import DataError
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.data.tables import Table

CHUNK_ROWS = 1024
READ_BYTES = 1 << 16


class Row(NamedTuple):
    """A text and, for a table, its row.

    Attributes:
        text: the text to classify.
        values: the cells of a CSV or TSV row; for other tables, column -> value; None if no table.
    """

    text: str
    values: list[str] | dict[str, Any] | None = None


class Input(NamedTuple):
    """Rows to classify, in chunks, and their table, if any."""

    chunks: Iterator[list[Row]]
    name: str
    table: "Table | None" = None


class _Predict(click.Command):
    """Command whose error for an unknown option explains texts that begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            near = (
                f"did you mean {error.possibilities[0]}? Otherwise " if error.possibilities else ""
            )
            raise click.UsageError(
                f"{error.option_name}: no such option; {near}put -- before texts that begin with a "
                "dash",
                ctx,
            ) from None


@click.command(cls=_Predict)
@click.argument("model", type=options.path)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "--input",
    "input_file",
    metavar="FILE",
    help="Texts to classify: a table (CSV, TSV, JSON or Parquet, by file ending), the lines of a "
    ".txt file, or - for the lines of stdin. A text file may end in .gz.",
)
@click.option(
    "--lines",
    "is_lines",
    is_flag=True,
    help="Classify each line of --input, for any file ending.",
)
@click.option(
    "--top-k", type=click.IntRange(min=1), help="Print the K most probable classes of each text."
)
@options.set_option
@options.json_option
def predict(
    model: Path,
    texts: tuple[str, ...],
    input_file: str | None,
    is_lines: bool,
    top_k: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the label of each TEXT, or of each row of --input.

    MODEL is a trained folder or an exported SavedModel. The output has the order of the input.
    For CSV and TSV it is the table with the added columns predicted and confidence; for JSON and
    Parquet it is JSON lines with these fields added. A table is read with the settings of the
    training data; if they do not fit its first rows, separator and quoting are detected. Put --
    before texts that begin with a dash.

    \b
    Examples:
      textclf predict runs/reviews "not bad at all" "never again"
      textclf predict runs/reviews --top-k 3 -- "- 5 stars, really"
      textclf predict runs/reviews --input new.csv --set data.text_columns=review > answered.csv
      cat lines.txt | textclf predict saved_models/reviews/1 --input - --json
    """
    if texts and input_file is not None:
        raise click.UsageError("use either texts or --input, not both")
    if not texts and input_file is None:
        raise click.UsageError("no texts; add texts, --input FILE, or --input - for stdin")
    if is_lines and input_file is None:
        raise click.UsageError("--lines applies only to --input; omit it")
    options.check_sections(overrides, ("data",), "predict")
    if overrides and input_file is None:
        raise click.UsageError("--set applies only to --input; omit it")
    texts = tuple(options.argument_text(text, "TEXT") for text in texts)
    card = options.read_card(model)
    if input_file is None:
        source = Input(_chunked(map(Row, texts)), "texts")
    elif is_lines or _is_lines(input_file, overrides):
        source = _open_lines(input_file, card, overrides)
    else:
        source = _open_table(input_file, card, overrides)
    import_tensorflow()
    from textclf import classifier

    predictor = classifier.load_predictor(model)
    header, write = _writer(source.table, card, as_json, top_k)
    # Results on the same terminal already show the progress.
    is_quiet = input_file is None or sys.stdout is None or sys.stdout.isatty()
    with Progress() as progress:
        done = num_empty = 0
        for chunk in source.chunks:
            answers = predictor.answers([row.text for row in chunk])
            click.echo(header + write(chunk, answers), nl=False)
            header = ""
            done += len(chunk)
            num_empty += sum(not row.text or row.text.isspace() for row in chunk)
            if not is_quiet:
                progress.update(f"{done:,} texts classified", 0, 0, key="classifying")
    if not done:
        click.echo(header, nl=False)
        say(f"note: {source.name}: no texts to classify")
    elif num_empty and input_file is not None:
        say(f"note: {source.name}: {num_empty:,} of {done:,} texts are empty; ignore their labels")


# === Reading ===


def _chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        yield chunk


def _read_first(chunks: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """Read the first chunk now, so that its errors are reported before TensorFlow is imported."""
    first = next(chunks, None)
    return iter(()) if first is None else itertools.chain([first], chunks)


# --- Lines ---


def _is_lines(path: str, overrides: Sequence[str]) -> bool:
    """Return whether each line is a text: for stdin, and a .txt file without data.format."""
    is_text = path.lower().removesuffix(".gz").endswith(".txt")
    return path == "-" or (is_text and "data.format" not in options.set_values(overrides))


def _open_lines(path: str, card: "Card", overrides: Sequence[str]) -> Input:
    """Open a file of lines, or stdin.

    Raises:
        DataError: the file cannot be read.
        UsageError: an override has no effect on lines.
    """
    from textclf.config.settings import FILE_ENDINGS
    from textclf.data.encodings import codec_of

    values = options.set_values(overrides)
    for setting, value in values.items():
        if setting != "data.encoding":
            raise click.UsageError(
                f"--set {setting}={value}: only data.encoding applies to lines; save a table "
                f"with the ending {', '.join(FILE_ENDINGS)}, or set data.format"
            )
    encoding = values.get("data.encoding")
    codec_of(encoding or "utf-8")
    name = "stdin" if path == "-" else path
    chunks = _with_header_note(_decoded(_binary(path), encoding, name), name, card)
    is_waiting = path == "-" or options.is_pipe(path)
    return Input(chunks if is_waiting else _read_first(chunks), name)


def _binary(path: str) -> Any:
    if path == "-":
        if sys.stdin is None:
            raise DataError("stdin is closed; pipe texts into it, or use --input FILE")
        return sys.stdin.buffer
    from textclf.data.files import missing_file

    full = os.path.expanduser(path)
    try:
        opened = gzip.open if path.lower().endswith(".gz") else open
        return click.get_current_context().with_resource(opened(full, "rb"))
    except FileNotFoundError:
        raise missing_file(path) from None
    except PermissionError:
        raise DataError(
            f"{path}: no permission to read the file; change its mode or its owner"
        ) from None
    except IsADirectoryError:
        raise _folder(path) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); choose another file") from None


def _folder(path: str) -> DataError:
    return DataError(f"{path}: is a folder; choose a file in it")


def _decoded(stream: Any, encoding: str | None, name: str) -> Iterator[list[Row]]:
    """Yield chunks of lines as soon as they are available.

    Args:
        encoding: None for UTF-8, or UTF-16 after a byte order mark.
        name: name of the stream in messages.

    Raises:
        DataError: the stream cannot be read, is not in this encoding, or is not text.
    """
    from textclf.data.encodings import codec_of
    from textclf.data.files import refuse_other_kinds

    decoder, line_end = None, None
    rest, num_lines = "", 0
    try:
        while True:
            # Returns available bytes, so that a slow writer gets a result for each line.
            data = stream.read1(READ_BYTES)
            if decoder is None:
                refuse_other_kinds(name, data)
                is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                if encoding is None and is_utf_16:
                    say(f"note: {name}: reading as UTF-16")
                encoding = encoding or ("utf-16" if is_utf_16 else "utf-8")
                decoder = codecs.getincrementaldecoder(codec_of(encoding))()
            try:
                decoded = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding or "utf-8", "replace")
                line = num_lines + 1 + len(_LINE_END.findall(before))
                raise DataError(
                    f"{name}:{line}: is not {encoding} ({error.reason}); set the encoding with "
                    "--set data.encoding=..., for instance latin-1 or gb18030"
                ) from None
            text = rest + decoded
            if "\0" in decoded:
                line = num_lines + 1 + len(_LINE_END.findall(text[: text.index("\0")]))
                raise DataError(
                    f"{name}:{line}: contains a NUL character, so it is not text in {encoding}; "
                    "choose a text file, or set the encoding with --set data.encoding=..., for "
                    "instance utf-16-le"
                )
            if line_end is None and "\n" in text:
                line_end = _NEWLINE  # a carriage return in a line is part of the text
            elif line_end is None and "\r" in (text[:-1] if data else text):
                line_end = _LINE_END
            *lines, rest = [text] if line_end is None else line_end.split(text)
            if not data and rest:
                lines.append(rest)
            num_lines += len(lines)
            yield from _chunked(map(Row, lines))
            if not data:
                return
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(f"{name}: cannot be read ({error}); check the file") from None


_NEWLINE = re.compile("\r?\n")
_LINE_END = re.compile("\r\n|\r|\n")


def _with_header_note(chunks: Iterator[list[Row]], name: str, card: "Card") -> Iterator[list[Row]]:
    """Yield the chunks; print a note if the first line looks like a table."""
    first = next(chunks, None)
    if first is None:
        return
    if _looks_like_table(first[0].text, card.config["data"]):
        advice = "save the table" if name == "stdin" else "rename the file"
        say(
            f"note: {name}: the first line looks like a table, but each line is classified as one "
            f"text; {advice} with the ending of its format, such as .csv, to read its columns"
        )
    yield first
    yield from chunks


def _looks_like_table(line: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a line is JSON or a header with the text columns of the training data."""
    if line.strip() in ("[", "{") or re.match(r"\s*(\[\s*)?\{\s*\"", line):
        return True
    required = set(settings.get("text_columns", ["text"]))
    has_names = settings.get("header", True)
    return has_names and any(
        required <= {cell.strip(' "') for cell in line.split(delimiter)} for delimiter in ",\t;|"
    )


# --- Tables ---


def _open_table(path: str, card: "Card", overrides: Sequence[str]) -> Input:
    """Open a table and check that it has the text columns.

    Raises:
        DataError: it cannot be read, or a text column is missing.
    """
    from textclf.data.tables import Table, format_of

    if os.path.isdir(os.path.expanduser(path)):
        raise _folder(path)
    if "data.format" not in options.set_values(overrides):
        try:
            format_of(path)
        except DataError as error:
            # Raises a more specific error for a missing or binary file.
            if not options.is_pipe(path):
                Table(path, "csv", ",", "minimal", True, "utf-8").check_file()
            raise DataError(
                f"{error}; for one text per line use --lines or the ending .txt"
            ) from None
    config, table = options.file_to_read(card, path, overrides, needs_labels=False)
    required = config.data.text_columns
    columns = options.find_columns(table, required)
    if None in columns:
        raise _missing_column(table, required[columns.index(None)])
    rows = _rows(table, [name for name in columns if name], config.data.text_separator)
    return Input(_read_first(_chunked(rows)), path, table)


def _missing_column(table: "Table", missing: str) -> DataError:
    """Return the error for a table without a required text column."""
    from textclf import data
    from textclf.data.column_names import TEXT_NAMES
    from textclf.errors import format_list

    names = table.columns()[1]
    guesses, has_header, delimiter = [*TEXT_NAMES], True, table.delimiter
    if table.format in ("csv", "tsv"):
        with contextlib.suppress(DataError):
            recognised = data.recognise(table.path)
            guesses += recognised.text_columns
            has_header = recognised.header
            delimiter = recognised.delimiter or delimiter
    likely = next(name for name in [*guesses, names[0]] if name in names)
    setting = f"data.text_columns=[{likely}]"
    if len(names) == 1 and delimiter != table.delimiter and delimiter in names[0]:
        setting = f"data.delimiter={delimiter}"
    advice = f"use --set {shlex.quote(setting)}"
    if table.header and not has_header:
        advice += ", or --set data.header=false --set data.text_columns=[1] if this line is a row"
    return DataError(f"{table.path}: no column {missing!r}; found {format_list(names)}; {advice}")


def _rows(table: "Table", columns: Sequence[str], separator: str) -> Iterator[Row]:
    """Yield the rows of a table.

    Raises:
        DataError: a row cannot be read, or a text is missing or has another type.
    """
    if table.format in ("csv", "tsv"):
        names = table.columns()[1]
        numbers = [names.index(name) for name in columns]
        for _, cells in table.cells():
            yield Row(separator.join([cells[number] for number in numbers]), cells)
        return
    for line, record in table.records():
        try:
            values = [record[name] for name in columns]
        except KeyError as error:  # JSON objects may have different keys
            raise DataError(
                f"{table.path}:{line}: no key {error.args[0]!r}; add it with a text"
            ) from None
        for name, value in zip(columns, values, strict=True):
            # As in CSV, an empty value is an empty text and a number is a text.
            if isinstance(value, bool) or not isinstance(value, str | int | float | None):
                raise DataError(
                    f"{table.path}:{line}: {name!r} is {type(value).__name__}, expected a text; "
                    "fix the value, or set data.text_columns"
                )
        texts = ["" if value is None or value != value else str(value) for value in values]
        yield Row(separator.join(texts), record)


# === Writing ===

Writer = Callable[[list[Row], dict[str, Any]], str]


def _writer(
    table: "Table | None", card: "Card", as_json: bool, top_k: int | None
) -> tuple[str, Writer]:
    """Return the header of the output (may be empty) and a function that formats results."""
    names = card.class_names
    if as_json:
        columns = table.columns()[1] if table is not None else ()

        def write_all(rows: list[Row], answers: dict[str, Any]) -> str:
            return _json_lines(
                {"text": row.text, **answer, **_columns(row, columns)}
                for row, answer in zip(rows, _complete_results(answers, card, top_k), strict=True)
            )

        return "", write_all
    if table is None and top_k is None:
        return "", lambda rows, answers: "".join(
            f"{', '.join(labels)}\n" for labels in _labels(answers, card)
        )
    if table is None:
        return "", lambda rows, answers: "".join(
            "\t".join(f"{names[c]} {p:.4f}" for c, p in ranks) + "\n"
            for ranks in _ranked(answers, top_k)
        )
    if table.format in ("csv", "tsv"):
        return _table_writer(table, card, top_k)

    def write_records(rows: list[Row], answers: dict[str, Any]) -> str:
        lines = []
        all_ranks = _ranked_names(answers, card, top_k)
        for row, labels, ranks in zip(rows, _labels(answers, card), all_ranks, strict=True):
            assert isinstance(row.values, dict)
            label = labels if card.multi_label else labels[0]
            lines.append(row.values | _result_columns(row.values, label, ranks))
        return _json_lines(lines)

    def _result_columns(taken: Iterable[str], label: Any, ranks: list[tuple[str, float]]) -> dict:
        new = _new_columns(taken, max(1, top_k or 1, len(ranks)))
        (first, p), *more = ranks
        values = [label if top_k is None else first, round(p, 6)]
        for name, q in more:
            values += [name, round(q, 6)]
        return dict(zip(new, values, strict=False))

    return "", write_records


def _columns(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Return the row of a table as the entry `columns` of its result."""
    if isinstance(row.values, list):
        return {"columns": dict(zip(names, row.values, strict=True))}
    return {"columns": row.values} if row.values else {}


def _table_writer(table: "Table", card: "Card", top_k: int | None) -> tuple[str, Writer]:
    """Return the header with the new columns and a function that formats rows in this format."""
    separator = card.config["data"].get("label_separator", ",")

    def line(values: list[str]) -> str:
        if table.quoting != "none":
            return _quoted_line(values, table)
        return table.delimiter.join(values) + "\n"

    def write(rows: list[Row], answers: dict[str, Any]) -> str:
        lines = []
        all_ranks = _ranked_names(answers, card, top_k)
        for row, labels, ranks in zip(rows, _labels(answers, card), all_ranks, strict=True):
            assert isinstance(row.values, list)
            (first, p), *more = ranks
            values = [first if top_k is not None else separator.join(labels), f"{p:.4f}"]
            for name, q in more:
                values += [name, f"{q:.4f}"]
            if table.quoting == "none" and any(table.delimiter in value for value in values):
                raise DataError(
                    f"{table.path}: the label {values[0]!r} contains the separator of the table, "
                    "which has no quoting; use --json"
                )
            lines.append(line([*row.values, *values]))
        return "".join(lines)

    if not table.header:
        return "", write
    cells = table.first_row()
    num_ranks = min(top_k or 1, len(card.class_names))
    return line([*cells, *_new_columns(map(str.strip, cells), num_ranks)]), write


def _quoted_line(cells: list[str], table: "Table") -> str:
    """Return a row in the quoting of the table."""
    escape = "\\" if table.quoting == "backslash" else None
    text = io.StringIO()
    # With this line terminator, cells with a lone carriage return are quoted.
    csv.writer(text, delimiter=table.delimiter, escapechar=escape, lineterminator="\r\n").writerow(
        cells
    )
    return text.getvalue().removesuffix("\r\n") + "\n"


def _new_columns(taken: Iterable[str], num_ranks: int) -> list[str]:
    """Return names for the result columns that do not occur in the table."""
    taken, names = set(taken), []
    for rank in range(1, num_ranks + 1):
        for name in ("predicted", "confidence"):
            name += "" if rank == 1 else f"_{rank}"
            while name in taken:
                name += "_"
            names.append(name)
    return names


def _json_lines(values: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False, default=str) + "\n" for value in values)


def _labels(answers: dict[str, Any], card: "Card") -> list[list[str]]:
    """Return the labels of each text: one, or the selected ones of a multi-label model."""
    names = card.class_names
    if not card.multi_label:
        return [[names[c]] for c in answers["label_id"].tolist()]
    rows = answers["selected"].tolist()
    return [[name for name, chosen in zip(names, row, strict=True) if chosen] for row in rows]


def _ranked(answers: dict[str, Any], top_k: int | None) -> list[list[tuple[int, float]]]:
    """Return the `top_k` most probable classes of each text (default: all) and probabilities."""
    import numpy as np

    p = answers["probabilities"]  # [texts, classes]
    order = np.argsort(-p, axis=1, kind="stable")[:, :top_k]
    return [
        list(zip(classes, values, strict=True))
        for classes, values in zip(
            order.tolist(), np.take_along_axis(p, order, axis=1).tolist(), strict=True
        )
    ]


def _ranked_names(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> list[list[tuple[str, float]]]:
    names = card.class_names
    return [[(names[c], p) for c, p in ranks] for ranks in _ranked(answers, top_k or 1)]


def _complete_results(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the complete result of each text, with the `top_k` or all probabilities."""
    names = card.class_names
    all_labels = _labels(answers, card)
    ranked = _ranked(answers, top_k) if top_k is not None else None
    for index, p in enumerate(answers["probabilities"].tolist()):
        if ranked is None:
            shown = dict(zip(names, p, strict=True))
        else:
            shown = {names[c]: q for c, q in ranked[index]}
        labels = {"labels": all_labels[index]} if card.multi_label else {}
        yield {
            "label": names[int(answers["label_id"][index])],
            **labels,
            "confidence": float(answers["confidence"][index]),
            "probabilities": shown,
            "num_tokens": int(answers["num_tokens"][index]),
            "unknown_fraction": float(answers["unknown_fraction"][index]),
            "truncated": bool(answers["truncated"][index]),
            "abstain": bool(answers["abstain"][index]),
        }
