"""Prediction of files: rows are read, predicted and written in windows.

    predict_file("runs/reviews", "new.csv", "answered.csv")

Memory use is constant. The next window is read while the network computes, and a stream is answered
as far as it is available.

    reading     files and streams to windows of texts
    writing     answers as labels, JSON lines, CSV and TSV
    parquet     windows and answers as record batches
    output      the file of the answers
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, TextIO

from textclf import artifact, trace
from textclf.errors import check_all
from textclf.prediction.reading import (
    WINDOW_ROWS,
    Input,
    Row,
    UnusedSettingError,
    Window,
    open_input,
    windows_of,
)
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.classifier import Predictor
    from textclf.config import Overrides
    from textclf.model_data import OnNote

__all__ = [
    "WINDOW_ROWS",
    "Input",
    "PredictionCounts",
    "Row",
    "UnusedSettingError",
    "Window",
    "answer_windows",
    "card_of",
    "load_model",
    "open_input",
    "predict_file",
    "predict_texts",
    "windows_of",
]


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
    on_start: Callable[[int], None] = lambda about_rows: None,
    overwrite: bool = False,
) -> PredictionCounts:
    """Classify the rows of a file and write them with their labels, in the same order.

        textclf.predict_file("runs/reviews", "new.csv", "answered.csv")
        textclf.predict_file(model, "comments.txt", "labels.txt", top_k=2)

    The columns `predicted` and `confidence` are added, and `abstain` (true or false) if the card
    has `abstain_below`. The ending of the output file chooses its format: CSV, TSV, JSON lines or
    Parquet. Parquet input keeps its types in Parquet output. With another ending, and in a text
    stream, a CSV or TSV table is written in its own format, a JSON or Parquet table as JSON lines,
    and lines as one label a line.

    A table is read with the settings of the training; if they do not fit its first rows, separator
    and quoting are detected. The first rows and the output are checked before the model is loaded.

    Args:
        model: a loaded model, a trained folder, or an exported version.
        source: a table, a file of lines (`.txt`), or a binary stream of lines.
        output: the file to write, or a text stream. The file has its name when it is complete.
        lines: read each line of the file as a text, whatever its name.
        as_json: write all outputs as JSON lines.
        top_k: write the most probable classes, at most this number.
        overrides: "section.setting" -> value, in the section `data`.
        on_note: called with notes, such as settings that were detected and the numbers of empty
            texts, of texts without a known token, and of texts from which the model abstains.
        on_progress: called with the number of texts that have been written.
        on_start: called before the first text with the number of rows, which is an estimate except
            for Parquet, and 0 for a stream.
        overwrite: True if an existing file may be replaced.

    Raises:
        ArtifactError: the folder does not contain a model.
        ConfigError: an override is invalid or has no effect on this file.
        DataError: the input cannot be read or has no text column, or the output cannot be written.
            If a later row cannot be read, there is no output file, and a stream contains the
            windows before it.
        TextclfError: several of these.
        ValueError: `top_k` is less than 1.
    """
    from textclf.config import check_sections

    _check_top_k(top_k)
    check_sections(overrides, ("data",))
    card = card_of(model)
    with contextlib.ExitStack() as stack:
        rows = _open_checked(
            source, output, card, lines, as_json, overrides, overwrite, on_note, stack
        )
        predictor = load_model(model)
        on_start(rows.about_rows())
        if not isinstance(output, str | os.PathLike):
            writer: _Sink = _TextSink(rows, card, output, as_json, top_k, None)
        else:
            writer = stack.enter_context(_open_sink(rows, card, output, as_json, top_k, overwrite))
        counts = _write_answers(predictor, rows, writer, on_progress)
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
    card = card_of(model)
    rows = Input(windows_of(map(Row, texts)), "texts", may_block=True)
    writer = _TextSink(rows, card, output, as_json, top_k, None)
    counts = _write_answers(load_model(model), rows, writer, lambda num_texts: None)
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


def card_of(model: "Predictor | str | os.PathLike") -> "Card":
    """Return the card of a loaded model, a trained folder or an exported version.

    Raises:
        ArtifactError: the folder does not contain a model.
    """
    if isinstance(model, str | os.PathLike):
        return artifact.read_model_card(model)
    return model.card


def load_model(model: "Predictor | str | os.PathLike") -> "Predictor":
    """Return a loaded model, or load a trained folder or an exported version.

    Raises:
        ArtifactError: the folder does not contain a model.
    """
    if not isinstance(model, str | os.PathLike):
        return model
    import_tensorflow()
    from textclf import classifier

    trace.mark("imports of textclf that need it")
    predictor = classifier.load_predictor(model)
    trace.mark("reading the model")
    return predictor


def _open_checked(
    source: str | os.PathLike | BinaryIO,
    output: str | os.PathLike | TextIO,
    card: "Card",
    lines: bool,
    as_json: bool,
    overrides: "Overrides",
    overwrite: bool,
    on_note: "OnNote",
    stack: contextlib.ExitStack,
) -> Input:
    """Check the output and open the input, and report the errors of both together."""
    from textclf.prediction.output import check_output, format_of_output
    from textclf.prediction.writing import check_format

    file = output if isinstance(output, str | os.PathLike) else None
    format = None if file is None else format_of_output(file)
    inputs: list[Input] = []

    def check_file() -> None:
        if file is not None:
            check_output(file, source, overwrite=overwrite)

    def open_rows() -> None:
        keeps_arrow = format == "parquet"
        inputs.append(
            open_input(source, card, lines, overrides, on_note, stack, keeps_arrow=keeps_arrow)
        )
        check_format(format, inputs[0].table, f"{file}", as_json=as_json)

    check_all(check_file, open_rows)
    return inputs[0]


class _Sink(Protocol):
    """Destination of windows with their answers."""

    def write(self, window: Window, answers: dict[str, Any]) -> None:
        """Write a window with the arrays of `Predictor.answers`."""

    def close(self) -> None:
        """Write what an output without rows contains, and what ends it."""


class _TextSink:
    """Text stream that is flushed after each window."""

    def __init__(
        self,
        rows: Input,
        card: "Card",
        stream: TextIO,
        as_json: bool,
        top_k: int | None,
        format: str | None,
    ):
        from textclf.prediction.writing import text_writer

        self._stream = stream
        self._header, self._format = text_writer(
            rows.table, card, as_json=as_json, top_k=top_k, format=format
        )

    def write(self, window: Window, answers: dict[str, Any]) -> None:
        self._stream.write(self._header + self._format(window.rows, answers))
        self._stream.flush()
        self._header = ""

    def close(self) -> None:
        self._stream.write(self._header)
        self._stream.flush()


@contextlib.contextmanager
def _open_sink(
    rows: Input,
    card: "Card",
    path: str | os.PathLike,
    as_json: bool,
    top_k: int | None,
    overwrite: bool,
) -> Iterator[_Sink]:
    """Open the output file; it has its name when the block ends without an error."""
    from textclf.prediction.output import format_of_output, replaced_file

    format = format_of_output(path)
    with replaced_file(path, overwrite=overwrite) as file:
        if format == "parquet":
            from textclf.prediction.parquet import AnswerWriter

            with contextlib.closing(AnswerWriter(file, card, top_k, rows.table)) as writer:
                yield writer
            return
        # A lone surrogate, which JSON may contain, cannot be written as UTF-8.
        stream = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
        yield _TextSink(rows, card, stream, as_json, top_k, format)
        stream.flush()
        stream.detach()


def _write_answers(
    predictor: "Predictor", rows: Input, writer: _Sink, on_progress: Callable[[int], None]
) -> PredictionCounts:
    """Predict window by window, and write each window as soon as it is answered."""
    num_texts = num_empty = num_unknown = num_abstained = 0
    for window, answers in answer_windows(predictor, rows):
        writer.write(window, answers)
        num_texts += len(window.texts)
        num_empty += window.num_empty
        num_unknown += int((answers["unknown_fraction"] == 1).sum())
        num_abstained += int(answers["abstain"].sum())
        on_progress(num_texts)
    writer.close()
    return PredictionCounts(num_texts, num_empty, num_unknown, num_abstained)


def answer_windows(predictor: "Predictor", rows: Input) -> Iterator[tuple[Window, dict[str, Any]]]:
    """Yield each window of an input with the arrays of `Predictor.answers`."""
    stage = "first answers"
    for window in rows.windows if rows.may_block else _read_ahead(rows.windows):
        trace.mark("reading the texts")
        answers = predictor.answers(window.texts, batch_size=None)
        trace.mark(stage)
        stage = "further answers"
        yield window, answers


def _read_ahead(windows: Iterator[Window]) -> Iterator[Window]:
    """Yield windows; the next one is read in a thread while the caller uses the last one."""
    with ThreadPoolExecutor(1, "reader") as reader:
        following = reader.submit(next, windows, None)
        while (window := following.result()) is not None:
            following = reader.submit(next, windows, None)
            yield window
