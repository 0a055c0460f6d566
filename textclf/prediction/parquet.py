"""Parquet files by record batch, without a Python object for each row but its text."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from textclf.prediction import reading
from textclf.prediction.reading import Row, Window, text_of

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.data.tables import Table


def read_windows(table: "Table", columns: Sequence[str], separator: str) -> Iterator[Window]:
    """Yield the record batches of a Parquet file with their texts.

    Args:
        table: the file.
        columns: the columns that contain the text.
        separator: joins the values of several columns.

    Raises:
        DataError: the file cannot be read, or a text has another type; with its row.
    """
    first_row = 1
    for batch in table.record_batches(reading.WINDOW_ROWS):
        yield _window(batch, table.path, columns, separator, first_row)
        first_row += batch.num_rows


def _window(
    batch: pa.RecordBatch, path: str, columns: Sequence[str], separator: str, first_row: int
) -> Window:
    """Return a record batch with its texts; `first_row` is the number of its first row."""
    arrays = [batch.column(name) for name in columns]
    arrays = [a.dictionary_decode() if pa.types.is_dictionary(a.type) else a for a in arrays]
    parts = [
        array.cast(pa.large_string()).fill_null("")
        if _is_string(array.type)
        else _texts_of_values(array, path, name, first_row)
        for array, name in zip(arrays, columns, strict=True)
    ]
    texts = parts[0]
    if len(parts) > 1:
        texts = pc.binary_join_element_wise(*parts, pa.scalar(separator, pa.large_string()))
    is_empty = pc.or_(pc.equal(pc.binary_length(texts), 0), pc.utf8_is_space(texts))
    # The graph reads bytes, so that Python decodes nothing.
    return Window(texts.cast(pa.large_binary()).to_pylist(), is_empty.true_count, [], batch)


def _is_string(type: pa.DataType) -> bool:
    return (
        pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)
    )


def _texts_of_values(array: pa.Array, path: str, name: str, first_row: int) -> pa.Array:
    """Return numbers and missing values as texts, large_string [n], as in other formats."""
    texts = [
        text_of(value, f"{path}:{row}: {name!r}")
        for row, value in enumerate(array.to_pylist(), first_row)
    ]
    return pa.array(texts, pa.large_string())


class AnswerWriter:
    """Writer of record batches with their answers to a Parquet file.

    The input columns keep their types, order and metadata.

    Args:
        file: binary file.
        card: card of the model.
        top_k: number of classes to write; None for the label alone.
        table: the table of the input; None for lines. Cells of text formats become strings.
    """

    def __init__(self, file: BinaryIO, card: "Card", top_k: int | None, table: "Table | None"):
        from textclf.prediction.writing import input_columns

        self._file, self._card, self._top_k = file, card, top_k
        if table is not None and table.format == "parquet":
            self._schema = table.arrow_schema()
        else:
            self._schema = pa.schema([(name, pa.string()) for name in input_columns(table)])
        self._fields = self._answer_fields()
        schema = self._schema
        for field in self._fields:
            schema = schema.append(field)
        self._writer = pq.ParquetWriter(file, schema)

    def write(self, window: Window, answers: dict[str, Any]) -> None:
        """Write a window with its answers, the arrays of `Predictor.answers`."""
        batch = window.batch if window.batch is not None else self._batch_of(window.rows)
        arrays = self._answer_arrays(answers)
        arrays = [array.cast(f.type) for array, f in zip(arrays, self._fields, strict=True)]
        columns = [*batch.columns, *arrays]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._writer.schema))

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()

    def _batch_of(self, rows: list[Row]) -> pa.RecordBatch:
        """Return lines, or rows of a CSV or TSV table, as columns of strings."""
        cells = zip(*(row.values if row.values else [row.text] for row in rows), strict=True)
        arrays = [pa.array(column, pa.string()) for column in cells]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _answer_fields(self) -> list[pa.Field]:
        from textclf.prediction.writing import new_columns

        num_ranks = min(self._top_k or 1, len(self._card.class_names))
        may_abstain = self._card.abstain_below is not None
        names = new_columns(self._schema.names, num_ranks, may_abstain)
        label: pa.DataType = pa.string()
        if self._card.multi_label and self._top_k is None:
            label = pa.list_(pa.string())
        types = [label, pa.float32(), *([pa.string(), pa.float32()] * (num_ranks - 1))]
        types += [pa.bool_()] if may_abstain else []
        return [pa.field(name, type) for name, type in zip(names, types, strict=True)]

    def _answer_arrays(self, answers: dict[str, Any]) -> list[pa.Array]:
        """Return predicted, confidence, further classes by rank, and abstain."""
        from textclf.prediction.writing import rank_classes

        class_names = pa.array(self._card.class_names, pa.string())
        order, ranked = rank_classes(answers, self._card, self._top_k or 1)
        columns = [
            (class_names.take(pa.array(order[:, rank])), pa.array(ranked[:, rank]))
            for rank in range(order.shape[1])
        ]
        arrays = list(itertools.chain.from_iterable(columns))
        if self._top_k is None:
            arrays[0] = self._labels(answers, class_names)
        if self._card.abstain_below is not None:
            arrays.append(pa.array(answers["abstain"]))
        return arrays

    def _labels(self, answers: dict[str, Any], class_names: pa.Array) -> pa.Array:
        """Return the label of each text; multi-label: the list of its selected classes."""
        if not self._card.multi_label:
            return class_names.take(pa.array(answers["label_id"]))
        selected = answers["selected"]  # bool [n, classes]
        offsets = np.concatenate([[0], np.cumsum(selected.sum(axis=1))]).astype(np.int32)
        values = class_names.take(pa.array(np.nonzero(selected)[1]))
        return pa.ListArray.from_arrays(pa.array(offsets), values)
