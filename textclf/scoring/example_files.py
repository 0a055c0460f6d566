"""Files with a row for each example of a split: the worst mistakes first, or in order of the split.

The files are CSV or JSON lines. In CSV, a cell with text that begins with =, +, -, @ or a control
character is prefixed with an apostrophe, because a spreadsheet would evaluate it as a formula, and
texts may come from strangers. JSON lines contain every text unchanged.
"""

import csv
import io
import json
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from textclf.config import Data
from textclf.data import Dataset
from textclf.errors import DataError
from textclf.prediction.output import check_output, format_of_output, replaced_file
from textclf.progress import OnProgress, no_progress
from textclf.splits import SPLITS

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.classifier import Scores


_FORMULA_CHARACTERS = tuple("=+-@\t\r\n")


def check_example_file(path: str | os.PathLike, section: Data, *, overwrite: bool) -> None:
    """Check that a file of examples can be written.

    Args:
        path: the file to write.
        section: section `data` with the sources, which are never overwritten.
        overwrite: True if an existing file may be replaced.

    Raises:
        DataError: its ending is neither .csv nor .jsonl, it is a source of the data, exists and may
            not be replaced, or cannot be written.
    """
    if format_of_output(path) not in ("csv", "jsonl"):
        raise DataError(f"{path}: the examples are CSV or JSON lines; name a file .csv or .jsonl")
    sources = [section.source, *(getattr(section, split) for split in SPLITS)]
    for source in filter(None, sources):
        check_output(path, source, overwrite=overwrite)


def write_errors(
    path: str | os.PathLike,
    dataset: Dataset,
    split: str,
    card: "Card",
    scores: "Scores",
    *,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> None:
    """Write every example of a split with its text, the highest loss first.

        write_errors("errors.csv", dataset, "test", card, predictor.score(dataset))

    Examples of equal loss are in the order of the split. The texts are never all in memory.

    Args:
        path: a file .csv or .jsonl.
        dataset: the data; the split is read again.
        split: an existing split.
        card: of the model.
        scores: of the split.
        overwrite: True if an existing file may be replaced.
        on_progress: called with a stage, the examples done and their total.

    Raises:
        DataError: the file cannot be written, or the data have changed.
    """
    import numpy as np

    rows = _Rows(path, card, scores, has_text=True, digits=6)
    order = np.argsort(-rows.losses, kind="stable")
    lines = _lines(rows, dataset, split, path, on_progress)
    write_lines_in_order(path, rows.header(), lines, order.tolist(), overwrite=overwrite)


def write_predictions(
    path: str | os.PathLike,
    dataset: Dataset,
    split: str,
    card: "Card",
    scores: "Scores",
    *,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> None:
    """Write every example of a split without its text, in the order of the split.

    Probabilities have nine significant digits, which restore a float32 exactly.

    Args:
        path, dataset, split, card, scores, overwrite, on_progress: see `write_errors`.

    Raises:
        DataError: as for `write_errors`.
    """
    rows = _Rows(path, card, scores, has_text=False, digits=9)
    with replaced_file(path, overwrite=overwrite) as file:
        file.write(rows.header())
        file.writelines(_lines(rows, dataset, split, path, on_progress))


def write_lines_in_order(
    path: str | os.PathLike,
    header: bytes,
    lines: Iterator[bytes],
    order: Sequence[int],
    *,
    overwrite: bool,
) -> None:
    """Write lines in a given order, without keeping them in memory.

    Args:
        path: the file to write.
        header: the first line, or b"".
        lines: all lines, each with its line break.
        order: the index of the line at each position.
        overwrite: True if an existing file may be replaced.

    Raises:
        DataError: the file cannot be written.
    """
    with (
        replaced_file(path, overwrite=overwrite) as file,
        tempfile.TemporaryFile(dir=_folder(path)) as unsorted,
    ):
        ends = array("q", [0])
        for line in lines:
            unsorted.write(line)
            ends.append(ends[-1] + len(line))
        file.write(header)
        _copy(unsorted, file, ends, order)


def _lines(
    rows: "_Rows", dataset: Dataset, split: str, path: str | os.PathLike, on_progress: OnProgress
) -> Iterator[bytes]:
    """Yield the line of each example."""
    total = dataset.splits[split].num_examples
    for location, example in dataset.located_examples(split):
        yield rows.line(example.row, location, example.text)
        if example.row % 1024 == 0:
            on_progress(f"writing {os.path.basename(path)}", example.row, total)


def _copy(source: BinaryIO, target: BinaryIO, ends: Sequence[int], order: Sequence[int]) -> None:
    for row in order:
        source.seek(ends[row])
        target.write(source.read(ends[row + 1] - ends[row]))


def _folder(path: str | os.PathLike) -> str | None:
    """Return the folder of a file; None for a device or a pipe."""
    full = os.path.realpath(os.path.expanduser(path))
    is_special = os.path.exists(full) and not os.path.isfile(full)
    return None if is_special else os.path.dirname(full)


class _Rows:
    """Lines of a file of examples.

    Attributes:
        losses: float64 [n], log loss of each example; its mean is the metric.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        card: "Card",
        scores: "Scores",
        *,
        has_text: bool,
        digits: int,
    ):
        from textclf import evaluation

        task, decision = card.task, card.decision
        self._is_csv = format_of_output(path) == "csv"
        self._has_text = has_text
        self._digits = digits
        self._names = card.class_names
        self._is_multi_label = card.multi_label
        self._scores = scores
        y_pred = task.select(scores.p, decision.thresholds)
        self._true, self._predicted = scores.y_true, y_pred
        self._is_correct = evaluation.scoring_of(task).is_exact(scores.y_true, y_pred)
        self._abstain_below = decision.abstain_below
        self.losses = evaluation.contributions(task, "log_loss", scores.y_true, scores.p)

    def header(self) -> bytes:
        """Return the first line of a CSV file; empty for JSON lines."""
        if not self._is_csv:
            return b""
        names = list(self._values(0, "", ""))
        return csv_line([*names[:-1], *(f"p_{name}" for name in self._names)])

    def line(self, row: int, location: str, text: str) -> bytes:
        """Return the line of an example."""
        values = self._values(row, location, text)
        if not self._is_csv:
            return f"{json.dumps(values, ensure_ascii=False)}\n".encode(errors="replace")
        probabilities = values.pop("probabilities")
        return csv_line([*map(csv_cell, values.values()), *map(csv_cell, probabilities.values())])

    def _values(self, row: int, location: str, text: str) -> dict[str, Any]:
        import numpy as np

        scores, p = self._scores, self._scores.p[row]
        assert scores.unknown_fraction is not None
        values: dict[str, Any] = {"row": row, "location": location}
        if self._has_text:
            values["text"] = text
        values |= {
            "true": self._labels(self._true[row]),
            "predicted": self._labels(self._predicted[row]),
            "is_correct": bool(self._is_correct[row]),
            "loss": self._rounded(self.losses[row]),
            "num_tokens": int(scores.num_tokens[row]),
            "unknown_fraction": self._rounded(scores.unknown_fraction[row]),
            "truncated": bool(scores.truncated[row]),
        }
        if self._abstain_below is not None:
            label_id = p.argmax() if self._is_multi_label else self._predicted[row]
            values["abstain"] = bool(p[label_id] < np.float32(self._abstain_below))
        values["probabilities"] = dict(zip(self._names, map(self._rounded, p), strict=True))
        return values

    def _rounded(self, value: float) -> float:
        return float(f"{value:.{self._digits}g}")

    def _labels(self, classes: Any) -> str | list[str]:
        if self._is_multi_label:
            return [name for name, has in zip(self._names, classes, strict=True) if has]
        return self._names[classes]


def csv_cell(value: Any) -> str:
    """Return a value as a cell: lists of labels as JSON, because names may contain commas."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_CHARACTERS) else value
    return str(value)


def csv_line(cells: Sequence[str]) -> bytes:
    """Return a line of a CSV file, with its line break."""
    text = io.StringIO()
    # With this line terminator, cells with a lone carriage return are quoted.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return f"{text.getvalue().removesuffix(chr(13) + chr(10))}\n".encode(errors="replace")
