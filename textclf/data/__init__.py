"""From a source of texts to examples: formats, labels, splits, and what is odd about them.

    tables       CSV, TSV, JSON lines, Parquet: rows, and exact places for what is wrong with them
    sources      settings to parts: files, folders, tensorflow-datasets, the demo
    splits       equal texts, stratified and hashed splits
    dataset      the first pass and the streams after it
    recognition  what a file of unknown make holds

A data set is read twice or more: opening it reads everything once, counts and checks; `examples`
streams from the source again. The texts are never all in memory.
"""

from typing import Any

from textclf.data.dataset import Dataset, Example, Finding, Findings, SplitSummary, open_parts
from textclf.data.recognition import Recognised, recognise
from textclf.data.sources import Settings, find_parts, given_class_names
from textclf.data.splits import normalise
from textclf.data.tables import FORMATS, read_table

__all__ = [
    "FORMATS",
    "Dataset",
    "Example",
    "Finding",
    "Findings",
    "Recognised",
    "Settings",
    "SplitSummary",
    "check_sources",
    "normalise",
    "open_dataset",
    "read_table",
    "recognise",
]


def open_dataset(**settings: Any) -> Dataset:
    """Reads a source once, counts and checks it, and makes the splits.

    Args:
        **settings: the settings of section `data`, see `Settings`.

    Raises:
        DataError: the data cannot be used; all mistakes that can be found together, one a line.
    """
    chosen = Settings(**settings)
    parts = find_parts(chosen)
    return open_parts(chosen, parts, given_class_names(chosen))


def check_sources(**settings: Any) -> None:
    """Looks at files, headers, columns and first rows without reading the data.

    Args:
        **settings: as for `open_dataset`.

    Raises:
        DataError: all mistakes found, one a line.
    """
    find_parts(Settings(**settings))
