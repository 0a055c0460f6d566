"""From texts to labels: `predict`.

Rows are read, answered and written in chunks, so that memory stays flat and answers appear while
the input still comes in.
"""

import codecs
import csv
import gzip
import io
import itertools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from textclf.cli import options
from textclf.cli.terminal import Progress
from textclf.errors import DataError
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.data.tables import Table

CHUNK_ROWS = 1024
READ_BYTES = 1 << 16
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class Row(NamedTuple):
    """A text and, of a table, all the columns of its row."""

    text: str
    columns: dict[str, Any]


class Input(NamedTuple):
    """Rows to answer, in chunks as they come in, and the table they are from, if any."""

    chunks: Iterator[list[Row]]
    table: "Table | None" = None


class _Predict(click.Command):
    """Says what to do about a text that looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            near = f"did you mean {error.possibilities[0]}? Else " if error.possibilities else ""
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
    help="Texts to answer: CSV, TSV, JSON lines or Parquet by its ending, else a file of lines; "
    "- for lines from stdin.",
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
    top_k: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the label of each TEXT, or of each row of --input.

    MODEL is a trained folder or an exported SavedModel. Answers come in the order of the texts.
    The other columns of a table come back beside them: CSV and TSV as they came, with the
    columns predicted and confidence; JSON lines and Parquet as JSON lines. Put -- before texts
    that begin with a dash.

    \b
    Examples:
      textclf predict runs/reviews "not bad at all" "never again"
      textclf predict runs/reviews --top-k 3 -- "- 5 stars, really"
      textclf predict runs/reviews --input new.csv --set data.text_columns=review > answered.csv
      cat lines.txt | textclf predict saved_models/reviews/1 --input - --json
    """
    if texts and input_file is not None:
        raise click.UsageError("give either texts or --input, not both")
    if not texts and input_file is None:
        raise click.UsageError(
            "nothing to answer: give texts, --input FILE, or --input - for stdin"
        )
    options.check_sections(overrides, ("data",), "predict")
    if overrides and input_file is None:
        raise click.UsageError("--set says how --input is read; texts need none")
    card = options.read_card(model)
    if input_file is None:
        source = Input(_chunked(Row(text, {}) for text in texts))
    else:
        source = _open(input_file, card, overrides)
    import_tensorflow()
    from textclf import classifier

    predictor = classifier.load_predictor(model)
    write = _writer(source.table, card, as_json, top_k)
    # Answers on the same terminal are progress enough.
    is_quiet = input_file is None or sys.stdout is None or sys.stdout.isatty()
    with Progress() as progress:
        done = 0
        for chunk in source.chunks:
            answers = predictor.answers([row.text for row in chunk])
            click.echo(write(chunk, answers), nl=False)
            done += len(chunk)
            if not is_quiet:
                progress.update(f"{done:,} texts answered", 0, 0, key="answering")


# === Reading ===


def _chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        yield chunk


def _open(path: str, card: "Card", overrides: Sequence[str]) -> Input:
    given = {override.partition("=")[0].removeprefix("data.") for override in overrides}
    name = path.lower().removesuffix(".gz")
    if path == "-" or (not name.endswith(ENDINGS) and "format" not in given):
        encoding = "utf-8"
        for override in overrides:
            setting, _, value = override.partition("=")
            if setting != "data.encoding":
                raise click.UsageError(
                    f"--set {override}: lines have an encoding and nothing else; put a table into "
                    "a file that ends in .csv, .tsv, .jsonl or .parquet, or set data.format"
                )
            encoding = value
        return Input(_lines(path, encoding))
    table, columns = _open_table(path, card, overrides, given)
    separator = options.moved(card, {"test": path}, overrides).data.text_separator
    return Input(_chunked(_rows(table, columns, separator)), table)


def _lines(path: str, encoding: str) -> Iterator[list[Row]]:
    """Chunks of lines, as soon as they are there.

    Raises:
        DataError: the file cannot be read, or is not in this encoding.
    """
    from textclf.data.tables import codec_of

    codec_of(encoding)
    return _decoded(_binary(path), encoding, "stdin" if path == "-" else path)


def _binary(path: str) -> Any:
    if path == "-":
        if sys.stdin is None:
            raise DataError("stdin is closed; pipe texts into it, or name a file with --input")
        return sys.stdin.buffer
    from textclf.data.tables import missing_file

    full = os.path.expanduser(path)
    try:
        opened = gzip.open if path.lower().endswith(".gz") else open
        return click.get_current_context().with_resource(opened(full, "rb"))
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name a file") from None


def _decoded(stream: Any, encoding: str, place: str) -> Iterator[list[Row]]:
    from textclf.data.tables import codec_of

    decoder = codecs.getincrementaldecoder(codec_of(encoding))()
    rest, num_lines = "", 0
    try:
        while True:
            # Whatever is there already: a slow writer gets its answers line by line.
            data = stream.read1(READ_BYTES)
            try:
                decoded = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, "replace")
                raise DataError(
                    f"{place}:{num_lines + 1 + before.count(chr(10))}: is not {encoding} "
                    f"({error.reason}); name the encoding with --set data.encoding=..., "
                    "for instance latin-1 or gb18030"
                ) from None
            *lines, rest = (rest + decoded).split("\n")
            if not data and rest:
                lines.append(rest)
            num_lines += len(lines)
            yield from _chunked(Row(line.removesuffix("\r"), {}) for line in lines)
            if not data:
                return
    except (OSError, EOFError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(f"{place}: cannot be read ({error})") from None


def _open_table(
    path: str, card: "Card", overrides: Sequence[str], given: set[str]
) -> tuple["Table", list[str]]:
    """The table and its text columns.

    It is read as the training data were, where the columns of the texts are found that way, else
    with the separator and the quoting that it seems to have. What was set goes before both.

    Raises:
        DataError: it cannot be read, or does not have the text columns.
    """
    from textclf import data
    from textclf.data.parts import TEXT_NAMES, listed
    from textclf.data.tables import open_table

    config = options.moved(card, {"test": path}, overrides)
    how = config.data.to_dict("format", "delimiter", "quoting", "header", "encoding")
    wanted = config.data.text_columns
    table = open_table(path, **how)
    table.check_file()
    found = table.columns()[1]
    columns = _columns(found, wanted, table)
    if columns is None and table.format in ("csv", "tsv"):
        recognised = data.recognise(path)
        for name in {"delimiter", "quoting"} - given:
            how[name] = getattr(recognised, name)
        table = open_table(path, **how)
        found = table.columns()[1]
        columns = _columns(found, wanted, table)
    if columns is not None:
        return table, columns
    is_text = table.format in ("csv", "tsv")
    guesses = [*TEXT_NAMES, *(recognised.text_columns if is_text else ()), found[0]]
    likely = next(name for name in guesses if name in found)
    missing = next(name for name in wanted if _columns(found, [name], table) is None)
    advice = f"use --set {shlex.quote(f'data.text_columns=[{likely}]')}"
    if is_text and table.header and not recognised.header:
        advice += ", or --set data.header=false --set data.text_columns=[1] if this line is a row"
    raise DataError(f"{path}: no column {missing!r}; found {listed(found)}; {advice}")


def _columns(found: Sequence[str], wanted: Sequence[str], table: "Table") -> list[str] | None:
    """The names of the wanted columns, which may be numbers from 1; None if one is missing."""
    names = []
    for name in wanted:
        is_number = name.isdecimal() and 1 <= int(name) <= len(found)
        if name in found:
            names.append(name)
        elif is_number and table.format != "jsonl":
            names.append(found[int(name) - 1])
        else:
            return None
    return names


def _rows(table: "Table", columns: Sequence[str], separator: str) -> Iterator[Row]:
    for line, record in table.records():
        try:
            values = [record[name] for name in columns]
        except KeyError as error:  # JSON lines need not all have the same fields
            raise DataError(
                f"{table.path}:{line}: no {error.args[0]!r}, expected a text; add it"
            ) from None
        texts = ["" if value is None else str(value) for value in values]
        yield Row(separator.join(texts), record)


# === Writing ===

Writer = Callable[[list[Row], dict[str, Any]], str]


def _writer(table: "Table | None", card: "Card", as_json: bool, top_k: int | None) -> Writer:
    """What turns a chunk of rows and their answers into output."""
    names = card.class_names
    if as_json:
        return lambda rows, answers: _json_lines(
            {"text": row.text, **answer, **({"columns": row.columns} if row.columns else {})}
            for row, answer in zip(rows, _full(answers, card, top_k), strict=True)
        )
    if table is None and top_k is None:
        return lambda rows, answers: "".join(
            f"{', '.join(labels)}\n" for labels in _labels(answers, card)
        )
    if table is None:
        return lambda rows, answers: "".join(
            "\t".join(f"{names[c]} {p:.4f}" for c, p in ranks) + "\n"
            for ranks in _ranked(answers, top_k)
        )
    if table.format in ("csv", "tsv"):
        return _table_writer(table, card, top_k)

    def write_records(rows: list[Row], answers: dict[str, Any]) -> str:
        return _json_lines(
            row.columns | _beside(row.columns, labels if card.multi_label else labels[0], ranks)
            for row, labels, ranks in zip(
                rows, _labels(answers, card), _answers(answers, card, top_k), strict=True
            )
        )

    def _beside(taken: Iterable[str], label: Any, ranks: list[tuple[str, float]]) -> dict:
        new = _new_columns(taken, max(1, top_k or 1, len(ranks)))
        (first, p), *more = ranks
        values = [label if top_k is None else first, round(p, 6)]
        for name, q in more:
            values += [name, round(q, 6)]
        return dict(zip(new, values, strict=False))

    return write_records


def _table_writer(table: "Table", card: "Card", top_k: int | None) -> Writer:
    """Rows as they came, with their separator and quoting, and the answers in further columns."""
    separator = card.config["data"].get("label_separator", ",")
    is_quoted = table.quoting != "none"
    has_begun = not table.header  # a file without a header gets none

    def line(values: Iterable[str]) -> str:
        if not is_quoted:
            return table.delimiter.join(values) + "\n"
        text = io.StringIO()
        csv.writer(text, delimiter=table.delimiter, lineterminator="\n").writerow(values)
        return text.getvalue()

    def write(rows: list[Row], answers: dict[str, Any]) -> str:
        nonlocal has_begun
        lines = []
        all_ranks = _answers(answers, card, top_k)
        if not has_begun:
            has_begun = True
            names = list(rows[0].columns)
            lines.append(line([*names, *_new_columns(names, len(all_ranks[0]))]))
        for row, labels, ranks in zip(rows, _labels(answers, card), all_ranks, strict=True):
            (first, p), *more = ranks
            values = [first if top_k is not None else separator.join(labels), f"{p:.4f}"]
            for name, q in more:
                values += [name, f"{q:.4f}"]
            lines.append(line([*row.columns.values(), *values]))
        return "".join(lines)

    return write


def _new_columns(taken: Iterable[str], num_ranks: int) -> list[str]:
    """Names for the answers' columns that the table does not have yet."""
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
    """The labels of each text: one, or of a multi-label model those that are selected."""
    names = card.class_names
    if not card.multi_label:
        return [[names[c]] for c in answers["label_id"].tolist()]
    rows = answers["selected"].tolist()
    return [[name for name, chosen in zip(names, row, strict=True) if chosen] for row in rows]


def _ranked(answers: dict[str, Any], top_k: int | None) -> list[list[tuple[int, float]]]:
    """The `top_k` most probable classes of each text, or all of them, with their probability."""
    import numpy as np

    p = answers["probabilities"]  # [texts, classes]
    order = np.argsort(-p, axis=1, kind="stable")[:, :top_k]
    return [
        list(zip(classes, values, strict=True))
        for classes, values in zip(
            order.tolist(), np.take_along_axis(p, order, axis=1).tolist(), strict=True
        )
    ]


def _answers(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> list[list[tuple[str, float]]]:
    names = card.class_names
    return [[(names[c], p) for c, p in ranks] for ranks in _ranked(answers, top_k or 1)]


def _full(answers: dict[str, Any], card: "Card", top_k: int | None) -> Iterator[dict[str, Any]]:
    """Everything known of each answer; the probabilities of all classes, or the first `top_k`."""
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
