"""Texts without labels: files of lines, tables, and splits of tensorflow-datasets."""

import contextlib
import re
from collections.abc import Callable, Generator
from typing import NamedTuple

from textclf.config import Data, data_format
from textclf.data.lines import decode_lines, open_lines
from textclf.data.table_part import TablePart
from textclf.data.tables import Table, format_of, open_table
from textclf.data.tfds_part import TfdsPart, open_builder
from textclf.errors import DataError


class Texts(NamedTuple):
    """A source of texts.

    Attributes:
        name: of the source.
        read: returns the texts, in the same order each time.
        about_rows: returns their number, or an estimate.
        stamp: changes with the file.
    """

    name: str
    read: Callable[[], Generator[str]]
    about_rows: Callable[[], int]
    stamp: str


def open_texts(source: str, settings: Data) -> Texts:
    """Return the texts of a source, which was checked as far as its first row.

        open_texts("reviews.txt", config.data)                           # a text per line
        open_texts("reviews.csv", config.data)                           # data.text_columns
        open_texts("tfds:imdb_reviews:unsupervised", config.data)        # a split

    Args:
        source: a file with the ending .txt, of a table, or `tfds:NAME:SPLIT`.
        settings: section `data`, which describes the columns and the encoding of tables.

    Raises:
        DataError: it cannot be read, or has no texts.
    """
    if source.startswith("tfds:"):
        texts = _open_split(source, settings)
    elif source.lower().removesuffix(".gz").endswith(".txt"):
        part = TablePart(Table(source, "csv", ",", "none", False, "utf-8"), settings)
        texts = Texts(
            source,
            lambda: _lines(source, settings.encoding),
            part.about_rows,
            str(part.stamp()),
        )
    else:
        texts = _open_table(source, settings)
    with contextlib.closing(texts.read()) as reading:
        has_text = any(text.strip() for text in reading)
    if not has_text:
        raise DataError(f"{source}: holds no text; name a file with one text per line or row")
    return texts


def _open_split(source: str, settings: Data) -> Texts:
    name, _, split = source.removeprefix("tfds:").rpartition(":")
    # A data set may also be named with a version, as in glue/sst2:2.0.0.
    if not name or re.fullmatch(r"[\d.*]+", split):
        raise DataError(f"{source}: names no split; add it, as in tfds:imdb_reviews:unsupervised")
    builder = open_builder(name, settings.data_dir)
    part = TfdsPart(builder, name, split, settings)
    part.check()
    return Texts(source, part.texts, part.about_rows, str(part.stamp()))


def _open_table(source: str, settings: Data) -> Texts:
    # Another format has another delimiter and quoting.
    is_same = format_of(source) == data_format(settings.to_dict())
    table = open_table(
        source,
        delimiter=settings.delimiter if is_same else None,
        quoting=settings.quoting if is_same else "auto",
        header=settings.header,
        encoding=settings.encoding,
    )
    table.check_file()
    part = TablePart(table, settings)
    return Texts(source, part.texts, part.about_rows, str(part.stamp()))


def _lines(path: str, encoding: str) -> Generator[str]:
    with open_lines(path) as stream:
        for lines in decode_lines(stream, encoding, name=path):
            yield from lines
