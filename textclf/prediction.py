"""Prediction of files: rows are read, predicted and written in chunks.

Memory use is constant, and answers appear while the input is still being read.

    predict_file("runs/reviews", "new.csv", "answered.csv")
"""

import contextlib
import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

from textclf import artifact, trace
from textclf.errors import ConfigError, DataError
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.classifier import Predictor
    from textclf.config import Overrides
    from textclf.data.tables import Table
    from textclf.model_data import OnNote

CHUNK_ROWS = 1024


class UnusedSettingError(ConfigError):
    """A setting that has no effect on this input."""


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


class PredictionCounts(NamedTuple):
    """Number of texts that were classified, and of special ones among them.

    Attributes:
        num_texts: all texts.
        num_empty: texts without any visible character.
        num_unknown: texts with tokens, but none in the vocabulary.
        num_abstained: texts whose confidence is below the card's `abstain_below`.
    """

    num_texts: int
    num_empty: int
    num_unknown: int
    num_abstained: int


def predict_file(
    model: "Predictor | str | os.PathLike",
    source: str | os.PathLike | BinaryIO,
    output: str | os.PathLike | TextIO,
    *,
    lines: bool = False,
    as_json: bool = False,
    top_k: int | None = None,
    overrides: "Overrides" = (),
    on_note: "OnNote" = lambda note: None,
    on_progress: Callable[[int], None] = lambda num_texts: None,
) -> PredictionCounts:
    """Classify the rows of a file and write them with their labels, in the same order.

        textclf.predict_file("runs/reviews", "new.csv", "answered.csv")
        textclf.predict_file(model, "comments.txt", "labels.txt", top_k=2)

    A CSV or TSV table is written with the added columns `predicted` and `confidence`, and `abstain`
    (true or false) if the card has `abstain_below`; a JSON or Parquet table as JSON lines with
    these fields, and lines as one label a line. A table is read
    with the settings of the training; if they do not fit its first rows, separator and quoting are
    detected. The first rows are checked before the model is loaded.

    Args:
        model: a loaded model, a trained folder, or an exported version.
        source: a table, a file of lines (`.txt`), or a binary stream of lines.
        output: the file to write, which is replaced, or a text stream.
        lines: read each line of the file as a text, whatever its name.
        as_json: write all outputs as JSON lines.
        top_k: write the most probable classes, at most this number.
        overrides: "section.setting" -> value, in the section `data`.
        on_note: called with notes, such as settings that were detected and the numbers of empty
            texts, of texts without a known token, and of texts from which the model abstains.
        on_progress: called with the number of texts that have been written.

    Raises:
        ArtifactError: the folder does not contain a model.
        ConfigError: an override is invalid or has no effect on this file.
        DataError: the file cannot be read, or has no text column. If a later row cannot be read,
            `output` contains the chunks before it.
        ValueError: `top_k` is less than 1.
    """
    from textclf.config import check_sections

    _check_top_k(top_k)
    check_sections(overrides, ("data",))
    card = _card_of(model)
    with contextlib.ExitStack() as stack:
        rows = _open(source, card, lines, overrides, on_note, stack)
        predictor = _load(model)
        if isinstance(output, str | os.PathLike):
            output = stack.enter_context(_open_output(output, source))
        counts = _write_answers(predictor, rows, output, as_json, top_k, on_progress)
    _note_counts(counts, f"{rows.name}: ", card, on_note)
    return counts


def predict_texts(
    model: "Predictor | str | os.PathLike",
    texts: Iterable[str],
    output: TextIO,
    *,
    as_json: bool = False,
    top_k: int | None = None,
    on_note: "OnNote" = lambda note: None,
) -> PredictionCounts:
    """Classify texts and write a line for each, in the format of `predict_file`.

        predict_texts("runs/reviews", ["not bad at all"], sys.stdout, top_k=2)

    Args:
        model, as_json, top_k: see `predict_file`.
        texts: raw strings.
        output: a text stream.
        on_note: called with the numbers of empty texts, of texts without a known token, and of
            texts from which the model abstains.

    Raises:
        ArtifactError: the folder does not contain a model.
    """
    _check_top_k(top_k)
    card = _card_of(model)
    rows = Input(_chunked(map(Row, texts)), "texts")
    counts = _write_answers(_load(model), rows, output, as_json, top_k, lambda num_texts: None)
    _note_counts(counts, "", card, on_note)
    return counts


def _note_counts(counts: PredictionCounts, prefix: str, card: "Card", on_note: "OnNote") -> None:
    """Report texts whose labels should not be used."""
    if not counts.num_texts:
        on_note(f"{prefix}no texts to classify")
        return
    of_texts = f"of {counts.num_texts:,} texts"
    if counts.num_empty:
        on_note(f"{prefix}{counts.num_empty:,} {of_texts} are empty; ignore their labels")
    if counts.num_unknown:
        on_note(
            f"{prefix}{counts.num_unknown:,} {of_texts} have no token of the vocabulary; ignore "
            "their labels"
        )
    if counts.num_abstained:
        on_note(
            f"{prefix}the model abstains from {counts.num_abstained:,} {of_texts}: their "
            f"confidence is below {card.abstain_below:.4f}; ignore their labels"
        )


def _check_top_k(top_k: int | None) -> None:
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected at least 1, found {top_k}")


def _card_of(model: "Predictor | str | os.PathLike") -> "Card":
    if isinstance(model, str | os.PathLike):
        return artifact.read_model_card(model)
    return model.card


def _load(model: "Predictor | str | os.PathLike") -> "Predictor":
    if not isinstance(model, str | os.PathLike):
        return model
    import_tensorflow()
    from textclf import classifier

    trace.mark("imports of textclf that need it")
    predictor = classifier.load_predictor(model)
    trace.mark("reading the model")
    return predictor


def _write_answers(
    predictor: "Predictor",
    rows: Input,
    output: TextIO,
    as_json: bool,
    top_k: int | None,
    on_progress: Callable[[int], None],
) -> PredictionCounts:
    """Predict chunk by chunk, and write each chunk before the next one is read."""
    header, write = _writer(rows.table, predictor.card, as_json, top_k)
    num_texts = num_empty = num_unknown = num_abstained = 0
    for chunk in rows.chunks:
        trace.mark("reading the texts")
        answers = predictor.answers([row.text for row in chunk])
        trace.mark("further answers" if num_texts else "first answers")
        output.write(header + write(chunk, answers))
        output.flush()
        header = ""
        num_texts += len(chunk)
        num_empty += sum(not row.text or row.text.isspace() for row in chunk)
        num_unknown += int((answers["unknown_fraction"] == 1).sum())
        num_abstained += int(answers["abstain"].sum())
        on_progress(num_texts)
    output.write(header)
    output.flush()
    return PredictionCounts(num_texts, num_empty, num_unknown, num_abstained)


def _open_output(path: str | os.PathLike, source: str | os.PathLike | BinaryIO) -> TextIO:
    """Open the file to write; line breaks are written as they are.

    Raises:
        DataError: it is the input, has the ending of a compressed file, or cannot be written.
    """
    full = os.path.expanduser(path)
    with contextlib.suppress(OSError):  # the output does not exist, or the stream has no file
        if isinstance(source, str | os.PathLike):
            is_input = os.path.samefile(full, os.path.expanduser(source))
        else:
            is_input = os.path.samestat(os.stat(full), os.fstat(source.fileno()))
        if is_input and os.path.isfile(full):
            raise DataError(f"{path}: is the input; write the answers to another file")
    if os.fspath(path).lower().endswith(".gz"):
        raise DataError(f"{path}: the answers are not compressed; name a file without .gz")
    try:
        # A lone surrogate, which JSON may contain, cannot be written as UTF-8.
        return open(full, "w", encoding="utf-8", errors="replace", newline="")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); choose another file"
        ) from None


# === Reading ===


def _open(
    source: str | os.PathLike | BinaryIO,
    card: "Card",
    lines: bool,
    overrides: "Overrides",
    on_note: "OnNote",
    stack: contextlib.ExitStack,
) -> Input:
    """Open a file or a stream; `stack` closes it."""
    if not isinstance(source, str | os.PathLike):
        name = "stdin" if source is getattr(sys.stdin, "buffer", None) else "the stream"
        return _open_lines(source, name, card, overrides, on_note, may_block=True)
    path = os.fspath(source)
    from textclf.model_data import is_pipe, set_values

    is_text = path.lower().removesuffix(".gz").endswith(".txt")
    if not lines and not (is_text and "data.format" not in set_values(overrides)):
        return _open_table(path, card, overrides, on_note)
    from textclf.data.lines import open_lines

    stream = stack.enter_context(open_lines(path))
    return _open_lines(stream, path, card, overrides, on_note, may_block=is_pipe(path))


def _chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        yield chunk


def _read_first(chunks: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """Read the first chunk now, so that its errors are raised before TensorFlow is imported."""
    first = next(chunks, None)
    return iter(()) if first is None else itertools.chain([first], chunks)


def _open_lines(
    stream: BinaryIO,
    name: str,
    card: "Card",
    overrides: "Overrides",
    on_note: "OnNote",
    *,
    may_block: bool,
) -> Input:
    """Return the lines of a stream; the first chunk is read now unless the stream may block.

    Raises:
        DataError: the stream cannot be read.
        UnusedSettingError: an override has no effect on lines.
    """
    from textclf.config.settings import FILE_ENDINGS
    from textclf.data.encodings import codec_of
    from textclf.data.lines import decode_lines, note_table
    from textclf.model_data import set_values

    values = set_values(overrides)
    for setting, value in values.items():
        if setting != "data.encoding":
            raise UnusedSettingError(
                [
                    f"{setting}={value}: only data.encoding applies to lines; save a table "
                    f"with the ending {', '.join(FILE_ENDINGS)}, or set data.format"
                ]
            )
    encoding = values.get("data.encoding")
    codec_of(encoding or "utf-8")
    lists = decode_lines(stream, encoding, name=name, on_note=on_note)
    lists = note_table(lists, name, card.config["data"], on_note)
    chunks = (chunk for lines in lists for chunk in _chunked(map(Row, lines)))
    return Input(chunks if may_block else _read_first(chunks), name)


def _open_table(path: str, card: "Card", overrides: "Overrides", on_note: "OnNote") -> Input:
    """Open a table and check that it has the text columns.

    Raises:
        DataError: it cannot be read, or a text column is missing.
    """
    from textclf import model_data
    from textclf.data.tables import Table, format_of

    if os.path.isdir(os.path.expanduser(path)):
        raise DataError(f"{path}: is a folder; choose a file in it")
    if "data.format" not in model_data.set_values(overrides):
        try:
            format_of(path)
        except DataError as error:
            # Raises a more specific error for a missing or binary file.
            if not model_data.is_pipe(path):
                Table(path, "csv", ",", "minimal", True, "utf-8").check_file()
            raise DataError(
                f"{error}; for one text per line use --lines or the ending .txt"
            ) from None
    config, table = model_data.file_to_read(
        card, path, overrides, needs_labels=False, on_note=on_note
    )
    required = config.data.text_columns
    columns = model_data.find_columns(table, required)
    if None in columns:
        raise model_data.missing_column(table, required[columns.index(None)])
    rows = _rows(table, [name for name in columns if name], config.data.text_separator)
    return Input(_read_first(_chunked(rows)), path, table)


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
            "\t".join(f"{name} {p:.4f}" for name, p in ranks) + "\n"
            for ranks in _ranked(answers, card, top_k)
        )
    if table.format in ("csv", "tsv"):
        return _table_writer(table, card, top_k)
    may_abstain = card.abstain_below is not None

    def write_records(rows: list[Row], answers: dict[str, Any]) -> str:
        lines = []
        all_ranks = _ranked(answers, card, top_k or 1)
        all_labels, abstains = _labels(answers, card), answers["abstain"].tolist()
        for row, labels, ranks, abstain in zip(rows, all_labels, all_ranks, abstains, strict=True):
            assert isinstance(row.values, dict)
            values: list[Any] = [value for name, p in ranks for value in (name, round(p, 6))]
            if top_k is None:
                values[0] = labels if card.multi_label else labels[0]
            if may_abstain:
                values.append(abstain)
            new = _new_columns(row.values, len(ranks), may_abstain)
            lines.append(row.values | dict(zip(new, values, strict=True)))
        return _json_lines(lines)

    return "", write_records


def _columns(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Return the row of a table as the entry `columns` of its result."""
    if isinstance(row.values, list):
        return {"columns": dict(zip(names, row.values, strict=True))}
    return {"columns": row.values} if row.values else {}


def _table_writer(table: "Table", card: "Card", top_k: int | None) -> tuple[str, Writer]:
    """Return the header with the new columns and a function that formats rows in this format."""
    separator = card.config["data"].get("label_separator", ",")
    may_abstain = card.abstain_below is not None

    def line(values: list[str]) -> str:
        if table.quoting != "none":
            return _quoted_line(values, table)
        return table.delimiter.join(values) + "\n"

    def write(rows: list[Row], answers: dict[str, Any]) -> str:
        lines = []
        all_ranks = _ranked(answers, card, top_k or 1)
        all_labels, abstains = _labels(answers, card), answers["abstain"].tolist()
        for row, labels, ranks, abstain in zip(rows, all_labels, all_ranks, abstains, strict=True):
            assert isinstance(row.values, list)
            values = [value for name, p in ranks for value in (name, f"{p:.4f}")]
            if top_k is None:
                values[0] = separator.join(labels)
            if may_abstain:
                values.append(str(abstain).lower())
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
    return line([*cells, *_new_columns(map(str.strip, cells), num_ranks, may_abstain)]), write


def _quoted_line(cells: list[str], table: "Table") -> str:
    """Return a row in the quoting of the table."""
    escape = "\\" if table.quoting == "backslash" else None
    text = io.StringIO()
    # With this line terminator, cells with a lone carriage return are quoted.
    csv.writer(text, delimiter=table.delimiter, escapechar=escape, lineterminator="\r\n").writerow(
        cells
    )
    return text.getvalue().removesuffix("\r\n") + "\n"


def _new_columns(taken: Iterable[str], num_ranks: int, may_abstain: bool) -> list[str]:
    """Return names for the result columns that do not occur in the table."""
    suffixes = ["", *(f"_{rank}" for rank in range(2, num_ranks + 1))]
    names = [name + suffix for suffix in suffixes for name in ("predicted", "confidence")]
    taken, free = set(taken), []
    for name in [*names, "abstain"] if may_abstain else names:
        while name in taken:
            name += "_"
        free.append(name)
    return free


def _json_lines(values: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False, default=str) + "\n" for value in values)


def _labels(answers: dict[str, Any], card: "Card") -> list[list[str]]:
    """Return the labels of each text: one, or the selected ones of a multi-label model."""
    names = card.class_names
    if not card.multi_label:
        return [[names[c]] for c in answers["label_id"].tolist()]
    rows = answers["selected"].tolist()
    return [[name for name, chosen in zip(names, row, strict=True) if chosen] for row in rows]


def _ranked(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> list[list[tuple[str, float]]]:
    """Return the `top_k` most probable classes of each text and their probabilities."""
    import numpy as np

    p = answers["probabilities"]  # [texts, classes]
    order = np.argsort(-p, axis=1, kind="stable")[:, :top_k]
    ranked = np.take_along_axis(p, order, axis=1)
    return [
        [(card.class_names[c], value) for c, value in zip(classes, values, strict=True)]
        for classes, values in zip(order.tolist(), ranked.tolist(), strict=True)
    ]


def _complete_results(
    answers: dict[str, Any], card: "Card", top_k: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the complete result of each text, with the `top_k` or all probabilities."""
    names = card.class_names
    all_labels = _labels(answers, card)
    pairs: Sequence[Iterable[tuple[str, float]]]
    if top_k is None:
        pairs = [zip(names, p, strict=True) for p in answers["probabilities"].tolist()]
    else:
        pairs = _ranked(answers, card, top_k)
    for index, shown in enumerate(map(dict, pairs)):
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
