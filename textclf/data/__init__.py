"""From a source of texts to examples: formats, labels, splits, and what is odd about them.

    tables       CSV, TSV, JSON lines, Parquet: rows, and exact places for what is wrong with them
    parts        files, folders, published data sets and the demo as streams of rows
    sources      from the settings to the parts
    splits       equal texts, stratified and hashed splits
    scan         the first pass: every row read once, a few bytes of each kept
    findings     what the first pass saw
    dataset      the checked data set, streamed from its source
    recognition  what a file of unknown make holds

A data set is read twice or more: opening it reads everything once, counts and checks; `examples`
streams from the source again. The texts are never all in memory.
"""

from collections.abc import Callable
from typing import Any

from textclf.data.dataset import Dataset, Example, SplitSummary, open_parts
from textclf.data.findings import Finding, Findings
from textclf.data.parts import Settings
from textclf.data.recognition import Recognised, recognise
from textclf.data.sources import find_parts, given_class_names
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


def open_dataset(
    *,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    **settings: Any,
) -> Dataset:
    """Reads a source once, counts and checks it, and makes the splits.

    Args:
        on_progress: told a stage's name, the rows read so far and how many there are, at a guess.
        **settings: the settings of section `data`, see `Settings`.

    Raises:
        DataError: the data cannot be used; all mistakes that can be found together, one a line.
    """
    chosen = Settings(**settings)
    parts = find_parts(chosen)
    return open_parts(chosen, parts, given_class_names(chosen), on_progress)


def check_sources(**settings: Any) -> None:
    """Looks at files, headers, columns and first rows without reading the data.

    Args:
        **settings: as for `open_dataset`.

    Raises:
        DataError: all mistakes found, one a line.
    """
    find_parts(Settings(**settings))
