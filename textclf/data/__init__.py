"""Data sets: sources, formats, recognition, splits, and findings of the first pass.

    files            errors of opening files, and kinds of files without text
    encodings        encodings: names, guesses, wrong bytes
    delimited_files  CSV and TSV: rows of cells
    json_files       JSON: one object a line or one array
    tables           files of rows and columns in any of these formats, and Parquet
    lines            lines of a file or a stream
    column_names     usual names of text and label columns
    splits           equality of texts, stratified and hashed splits
    labels           label values, lists in one cell, class names
    parts            the protocol of a stream of rows; the demo
    table_part, folder_part, tfds_part
                     streams of rows of files, folders and published data sets
    tolerant_part    a part without the rows that cannot be used
    copying          rows of a data set written to a new file
    unlabelled       texts without labels
    sources          from the settings to the parts
    scan             the first pass: a few bytes of each row are kept
    findings         duplicates, leaks, label conflicts and odd texts
    dataset          the data set, whose examples are streamed
    opening          first pass, checks and splits: from parts to a data set
    recognition      format, columns and labels of an unknown file

A data set is read at least twice: opening it reads, counts and checks every row, and `examples`
streams from the source again. The texts are never all in memory.
"""

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from textclf import config
from textclf.config import Data
from textclf.data.dataset import Dataset, Example
from textclf.data.findings import Finding, Findings, Imbalance
from textclf.data.opening import open_parts
from textclf.data.recognition import Recognised, recognise
from textclf.data.sources import find_parts, read_class_names
from textclf.data.splits import SplitSummary, normalise
from textclf.data.tables import read_table
from textclf.data.tolerant_part import BadRows, tolerant_parts
from textclf.errors import ConfigError, DataError, did_you_mean, format_list
from textclf.progress import OnProgress, no_progress

__all__ = [
    "BadRows",
    "Dataset",
    "Example",
    "Finding",
    "Findings",
    "Imbalance",
    "Recognised",
    "SplitSummary",
    "check_columns",
    "check_sources",
    "normalise",
    "open_dataset",
    "read_table",
    "recognise",
]


def open_dataset(
    settings: Data | None = None,
    *,
    on_progress: OnProgress = no_progress,
    skip_bad_rows: bool = False,
    **values: Any,
) -> Dataset:
    """Read a source once, check it, and make the splits.

        dataset = open_dataset(with_paths(config).data)
        dataset = open_dataset(source="reviews.csv", validation_fraction=0.2)

    Args:
        settings: section `data` of a configuration, with its paths resolved by `with_paths`.
        on_progress: called with a stage, the rows read and the number of rows, which is estimated.
        skip_bad_rows: whether rows that cannot be used are left out and counted, see
            `Dataset.bad_rows`; by default they are errors.
        **values: settings of section `data` by name, instead of `settings`.

    Raises:
        ConfigError: invalid values of settings, one per line.
        DataError: the data cannot be used; all errors, one per line.
    """
    settings = _settings(settings, values)
    parts, class_names = find_parts(settings), read_class_names(settings)
    if skip_bad_rows:
        parts = dict(tolerant_parts(parts, settings, class_names))
        # For a label of train whose rows are all dropped.
        settings = msgspec.structs.replace(settings, drop_unknown_labels=True)
    return open_parts(settings, parts, class_names, on_progress)


def check_sources(settings: Data | None = None, **values: Any) -> None:
    """Check files, headers, columns and first rows without reading all data.

    Args:
        settings, **values: see `open_dataset`.

    Raises:
        ConfigError: invalid values of settings, one per line.
        DataError: all errors, one per line.
    """
    find_parts(_settings(settings, values))


def check_columns(
    settings: Data, split: str, columns: Sequence[str], *, others: Sequence[str] = ()
) -> None:
    """Check that the source of a split has columns, without reading all data.

    Args:
        settings: section `data`, with its paths resolved.
        split: an existing split; others are not checked.
        columns: names of columns.
        others: names that are valid without a column, for the message.

    Raises:
        DataError: names all columns that it does not have.
    """
    parts = find_parts(settings)
    part = parts.get(split, parts.get("all", parts.get("train")))
    if part is None:
        return
    names = part.column_names()
    computed = f", and computed: {', '.join(others)}" if others else ""
    problems = [
        f"{part.name}: no column {column!r}; found {format_list(names)}{computed}"
        f"{did_you_mean(column, [*names, *others])}"
        for column in columns
        if column not in {*names, *others}
    ]
    if problems:
        raise DataError("\n".join(problems))


def _settings(settings: Data | None, values: dict[str, Any]) -> Data:
    """Return the settings, or those made of values; these may also be paths and tuples.

    Raises:
        ConfigError: with every unknown setting and every value that is not valid.
    """
    if settings is not None:
        if values:
            raise TypeError("pass section `data` or single settings, not both")
        return settings
    plain = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in values.items()
    }
    problems = []
    for name, value in plain.items():
        if name not in Data.__struct_fields__:
            hint = did_you_mean(name, Data.__struct_fields__)
            problems.append(f"data.{name}: unknown setting{hint}")
            continue
        try:
            msgspec.convert({name: value}, Data)
        except msgspec.ValidationError:
            problems.append(
                f"data.{name}: expected {config.expected(f'data.{name}')}, found {value!r}"
            )
    if problems:
        raise ConfigError(problems)
    return msgspec.convert(plain, Data)
