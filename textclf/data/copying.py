"""Rows of a data set written to a new file, with all their columns, in the format of the source.

The lines of CSV, TSV and JSON lines are copied as they are written. JSON arrays become JSON lines.
Folders of texts, tensorflow-datasets and the demo become JSON lines with `text` and `label`.
"""

import codecs
import gzip
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from textclf.config import Data
from textclf.data.encodings import codec_of
from textclf.data.parts import Part
from textclf.data.table_part import TablePart
from textclf.data.tables import JSON_FORMATS
from textclf.splits import SPLITS


def copy_rows(part: TablePart, is_kept: np.ndarray, stem: Path) -> Path:
    """Write some rows of a table and return the path of the file.

    Args:
        part: a table all of whose rows can be read.
        is_kept: bool [rows of the part].
        stem: path of the file without its ending, which is that of the table.

    Raises:
        DataError: the table cannot be read.
        OSError: the file cannot be written.
    """
    table = part.table
    is_array = table.format in JSON_FORMATS and table.sample(1 << 16).lstrip().startswith(b"[")
    target = stem.with_name(stem.name + (".jsonl" if is_array else ending(table.path)))
    if table.format == "parquet":
        _copy_batches(part, is_kept, target)
        return target
    if is_array:
        kept = itertools.compress((record for _, record in table.records()), is_kept)
        lines: Iterable[str] = (json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
    else:
        lines = _kept_lines(part, is_kept)
    with _open(target) as stream:
        codec = codec_of(table.encoding)
        if codec == "utf-8-sig":
            codec = "utf-8"
            if table.sample(3) == codecs.BOM_UTF8 and not is_array:
                stream.write(codecs.BOM_UTF8)
        with io.TextIOWrapper(stream, encoding=codec, newline="") as text:
            text.writelines(lines)
    return target


def write_examples(
    rows: Iterable[tuple[str, tuple[str, ...]]], stem: Path, multi_label: bool
) -> Path:
    """Write texts with their class names as JSON lines and return the path of the file.

    Args:
        rows: text and class names.
        stem: path of the file without its ending.
        multi_label: whether the labels are lists.
    """
    target = stem.with_name(f"{stem.name}.jsonl")
    with open(target, "w", encoding="utf-8", errors="replace", newline="\n") as file:
        for text, names in rows:
            record = {"text": text, "label": list(names) if multi_label else names[0]}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return target


def ending(path: str) -> str:
    """Return the ending of a file name, with `.gz`.

    ending("reviews.v2.csv.gz")    # ".csv.gz"
    """
    stem, last = os.path.splitext(path)
    return os.path.splitext(stem)[1] + last if last.lower() == ".gz" else last


def settings_of_copy(settings: Data, files: dict[str, str], parts: Iterable[Part]) -> Data:
    """Return the section `data` that reads copies.

    Args:
        settings: the section that reads the source.
        files: split → file.
        parts: the parts of the source.
    """
    unused = Data()
    values = {
        "source": None,
        "data_dir": None,
        **dict.fromkeys(SPLITS),
        **files,
        **{
            name: getattr(unused, name)
            for name in ("validation_fraction", "test_fraction", "split_seed", "in_memory_rows")
        },
    }
    if not all(isinstance(part, TablePart) for part in parts):
        values |= {
            name: getattr(unused, name)
            for name in (
                *("format", "delimiter", "quoting", "header", "encoding", "text_columns"),
                *("text_separator", "label_column", "label_ids", "rename_labels"),
                *("label_separator", "skip_unlabelled"),
            )
        }
    return msgspec.structs.replace(settings, **values)


def _kept_lines(part: TablePart, is_kept: np.ndarray) -> Iterator[str]:
    """Yield the lines before the first row, and those of the kept rows, as they are written."""
    starts = (line for line, _, _ in part.rows())
    number, next_start = -1, next(starts, None)
    for line, content in enumerate(part.table.text_lines(), 1):
        if line == next_start:
            number += 1
            next_start = next(starts, None)
        if number < 0 or is_kept[number]:
            yield content


def _copy_batches(part: TablePart, is_kept: np.ndarray, target: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    start = 0
    with pyarrow.parquet.ParquetWriter(target, part.table.arrow_schema()) as writer:
        for batch in part.table.record_batches(4096):
            mask = is_kept[start : start + batch.num_rows]
            writer.write_batch(batch.filter(pyarrow.array(mask)))
            start += batch.num_rows


def _open(target: Path) -> BinaryIO:
    if target.name.lower().endswith(".gz"):
        return gzip.open(target, "wb")  # type: ignore[return-value]
    return open(target, "wb")
