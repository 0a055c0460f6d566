"""Data files for tests: written to a temporary folder, and data sets opened from them."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from textclf import data
from textclf.errors import DataError


def write(path: Path, content: str | bytes) -> str:
    """Write a file (texts as UTF-8) and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return str(path)


def write_csv(path: Path, rows: Iterable[Sequence[Any]], **dialect: Any) -> str:
    """Write a CSV file and return its path."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", **dialect).writerows(rows)
    return write(path, stream.getvalue())


def good_rows(number: int = 40, classes: Sequence[str] = ("neg", "pos")) -> list[list[str]]:
    """Return a header and rows with different texts."""
    rows = [[f"text {index}", classes[index % len(classes)]] for index in range(number)]
    return [["text", "label"], *rows]


def good_csv(path: Path, number: int = 40, extra: str | bytes = "") -> str:
    """Write a CSV file of `good_rows` with `extra` at its end, and return its path."""
    write_csv(path, good_rows(number))
    extra = extra.encode("utf-8") if isinstance(extra, str) else extra
    return write(path, path.read_bytes() + extra)


def contents(dataset: data.Dataset, *splits: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return text and class names of the examples of some splits, or of all."""
    return [
        (example.text, tuple(dataset.class_names[index] for index in example.label_ids))
        for split in splits or dataset.splits
        for example in dataset.examples(split)
    ]


def sizes(dataset: data.Dataset) -> dict[str, int]:
    """Return split → number of examples."""
    return {split: summary.num_examples for split, summary in dataset.splits.items()}


def error_of(**settings: Any) -> str:
    """Return the message with which opening a data set fails."""
    with pytest.raises(DataError) as caught:
        data.open_dataset(**settings)
    return str(caught.value)


def errors_of(**settings: Any) -> list[str]:
    """Return the lines of the message with which opening a data set fails."""
    return error_of(**settings).split("\n")


def texts_of(dataset: data.Dataset) -> dict[str, list[str]]:
    return {split: [e.text for e in dataset.examples(split)] for split in dataset.splits}


GOOD = "text,label\n" + "".join(f"text {i},{('neg', 'pos')[i % 2]}\n" for i in range(40))


def write_rows(path: Path, labels: list[str], header: str = "text,label") -> str:
    """Write a CSV file of 20 different texts for each label."""
    lines = [f"text {n} {c},{label}" for n in range(20) for c, label in enumerate(labels)]
    return write(path, "\n".join([header, *lines]) + "\n")


ROWS = [(f'the "text" of {i}, with a comma', ("bad", "good")[i % 2]) for i in range(40)]


def in_csv(rows: Sequence[Sequence[Any]], header: str = "text,label", **options: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", **options).writerows(rows)
    return f"{header}\n{stream.getvalue()}" if header else stream.getvalue()


def read_as_recognised(path: str) -> tuple[data.Recognised, list[tuple[str, tuple[str, ...]]]]:
    """Return the recognition of a file, and its texts and labels read with it, sorted."""
    recognised = data.recognise(path)
    assert recognised.label_column is not None
    dataset = data.open_dataset(
        source=path,
        format=recognised.format,
        delimiter=recognised.delimiter,
        quoting=recognised.quoting,
        header=recognised.header,
        encoding=recognised.encoding,
        text_columns=list(recognised.text_columns),
        label_column=recognised.label_column,
        multi_label=recognised.multi_label,
        label_separator=recognised.label_separator,
        skip_unlabelled=recognised.skip_unlabelled,
    )
    assert dataset.class_names == recognised.class_names_seen
    names = dataset.class_names
    examples = [example for split in dataset.splits for example in dataset.examples(split)]
    return recognised, sorted((e.text, tuple(names[i] for i in e.label_ids)) for e in examples)
