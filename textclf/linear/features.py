"""Features of the linear model: n-gram counts of splits on disk, and TF-IDF of them."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from textclf import text
from textclf.data import Dataset, Example
from textclf.errors import TrainingError
from textclf.linear.model import MAX_COUNT, cut_tokens
from textclf.progress import OnProgress
from textclf.text.ngrams import CHARACTER_BLOCKS, WORD_BLOCKS, NgramBlock, count_ngrams

# Upper bounds of the number of buckets of a block, and of buckets * classes.
MAX_BUCKETS = 2**22
MAX_BUCKETS_TIMES_CLASSES = 2**26
# Share of single Han characters among the tokens from which n-grams of tokens are enough.
HAN_SHARE = 0.5
_HAN = r"[\p{Han}\p{Hiragana}\p{Katakana}]\pM*"
CHUNK_TEXTS = 512


def choose_num_buckets(num_classes: int) -> int:
    """Return the number of buckets of a block, a power of two.

    Raises:
        TrainingError: there are too many classes.
    """
    most = MAX_BUCKETS_TIMES_CLASSES // max(num_classes, 1)
    if most < 2**10:
        raise TrainingError(
            f"the linear model has too many classes: 1,024 buckets times {num_classes:,} classes "
            f"need {num_classes * 2**12:,} bytes in each block of n-grams; set model.linear: none"
        )
    return min(MAX_BUCKETS, 2 ** (most.bit_length() - 1))


def choose_blocks(dataset: Dataset, tokenizer: text.Tokenizer) -> tuple[NgramBlock, ...]:
    """Return the n-grams for the script of the training split, judged by its first texts.

    Words have character n-grams too. Where most tokens are single characters (Chinese, Japanese,
    `text.unit: character`), the n-grams of tokens are character n-grams already.
    """
    if tokenizer.unit == "character":
        return CHARACTER_BLOCKS
    examples = itertools.islice(dataset.examples("train"), CHUNK_TEXTS)
    texts = tf.constant([text.to_utf8(example.text) for example in examples], tf.string)
    tokens, _ = tokenizer.split_tokens(texts)
    is_han = tf.strings.regex_full_match(tokens, _HAN).numpy()
    return CHARACTER_BLOCKS if is_han.size and is_han.mean() >= HAN_SHARE else WORD_BLOCKS


class Counts(NamedTuple):
    """N-gram counts of a split, on disk.

    Attributes:
        classes: int64 [n], or bool [n, C] for multi-label.
        starts: int64 [n + 1]; the entries of row i are starts[i] to starts[i + 1].
        columns: int32 [entries], block * num_buckets + bucket, ascending within a row.
        counts: uint8 [entries].
        num_cut: number of texts with more tokens than the limit.
        truncated_texts: int64 [C], these texts by class.
        cut_tokens: int64 [C], tokens beyond the limit by class of the text.
    """

    classes: np.ndarray
    starts: np.ndarray
    columns: np.ndarray
    counts: np.ndarray
    num_cut: int
    truncated_texts: np.ndarray
    cut_tokens: np.ndarray


class NgramCounter:
    """Counts of the n-grams of a split, by the graph."""

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: text.Tokenizer,
        blocks: Sequence[NgramBlock],
        num_buckets: int,
        max_tokens: int,
        on_progress: OnProgress,
    ):
        self._dataset = dataset
        self._num_buckets = num_buckets
        self._on_progress = on_progress

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def count(texts: tf.Tensor) -> tuple[list[tuple[tf.Tensor, ...]], tf.Tensor]:
            tokens, positions = tokenizer.split_tokens(texts)
            num_texts = tf.shape(texts, tf.int64)[0]
            text_of, kept, num_tokens = cut_tokens(tokens, positions, num_texts, max_tokens)
            return [tuple(count_ngrams(b, kept, text_of, num_buckets)) for b in blocks], num_tokens

        self._count = count
        self._max_tokens = max_tokens

    def split(self, split: str, prefix: Path) -> Counts:
        """Count the n-grams of a split and store them in two files."""
        num_examples = self._dataset.splits[split].num_examples
        lengths, label_ids, num_cut, done = [], [], 0, 0
        cuts = np.zeros((2, self._dataset.task.num_outputs), np.int64)  # texts and tokens by class
        paths = prefix.with_suffix(".columns"), prefix.with_suffix(".counts")
        examples = self._dataset.examples(split)
        with open(paths[0], "wb") as columns_file, open(paths[1], "wb") as counts_file:
            for chunk in text.chunk_texts(examples, CHUNK_TEXTS, text_of=_text_of):
                texts = tf.constant([text.to_utf8(example.text) for example in chunk])
                blocks, num_tokens = self._count(texts)
                rows, columns, counts = self._entries(blocks)
                columns.tofile(columns_file)
                counts.tofile(counts_file)
                lengths.append(np.bincount(rows, minlength=len(chunk)))
                label_ids += [example.label_ids for example in chunk]
                beyond = np.maximum(num_tokens.numpy() - self._max_tokens, 0)
                num_cut += int(np.count_nonzero(beyond))
                for row in np.flatnonzero(beyond):
                    cuts[:, list(chunk[row].label_ids)] += [[1], [beyond[row]]]
                done += len(chunk)
                self._on_progress(f"counting n-grams of {split}", done, num_examples)
        starts = np.concatenate([[0], *lengths]).cumsum()
        return Counts(
            self._dataset.task.classes_of(label_ids),
            starts,
            _mapped(paths[0], np.int32, starts[-1]),
            _mapped(paths[1], np.uint8, starts[-1]),
            num_cut,
            *cuts,
        )

    def _entries(self, blocks: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return row, column and count of all blocks, ordered by row and column."""
        rows = np.concatenate([rows.numpy() for rows, _, _ in blocks])
        columns = np.concatenate(
            [bucket.numpy() + i * self._num_buckets for i, (_, bucket, _) in enumerate(blocks)]
        ).astype(np.int32)
        counts = np.concatenate([count.numpy() for _, _, count in blocks])
        order = np.lexsort((columns, rows))
        counts = np.minimum(counts, MAX_COUNT).astype(np.uint8)
        return rows[order], columns[order], counts[order]


def _mapped(path: Path, dtype: type, size: int) -> np.ndarray:
    """Map a file of numbers into memory; an empty file cannot be mapped."""
    return np.memmap(path, dtype, "r", shape=(size,)) if size else np.empty(0, dtype)


def _text_of(example: Example) -> str:
    return example.text


class Features:
    """Document frequencies of the training split, and the features that follow from them."""

    def __init__(self, train: Counts, blocks: Sequence[NgramBlock], num_buckets: int):
        self._blocks, self._num_buckets = blocks, num_buckets
        num_texts = len(train.starts) - 1
        num_columns = num_buckets * len(blocks)
        frequencies = np.zeros(num_columns, np.int64)
        for part in _slices(len(train.columns)):
            frequencies += np.bincount(train.columns[part], minlength=num_columns)
        used = np.zeros(num_columns, bool)
        for i in range(len(blocks)):
            block = slice(i * num_buckets, (i + 1) * num_buckets)
            # In a very small split, no n-gram may occur twice.
            smallest = 2 if (frequencies[block] >= 2).any() else 1
            used[block] = frequencies[block] >= smallest
        self.columns = np.flatnonzero(used)  # int64 [F]
        if not len(self.columns):
            raise TrainingError(
                "the training split has no token, so the linear model has no n-gram; check "
                "data.text_columns, or set model.linear: none"
            )
        self._feature_of = np.full(num_columns, -1, np.int32)
        self._feature_of[self.columns] = np.arange(len(self.columns))
        frequency = frequencies[self.columns]
        self.idf = (np.log((1 + num_texts) / (1 + frequency)) + 1).astype(np.float32)
        self.num_values = int(frequency.sum())

    def matrix(self, counts: Counts, rows: np.ndarray | None = None) -> Any:
        """Return the features of a split or of some of its rows, sparse float32 [n, F]."""
        import scipy.sparse

        if rows is not None:
            lengths = counts.starts[rows + 1] - counts.starts[rows]
            # Place of each entry in the file: its place in its row, after the start of the row.
            shifts = counts.starts[rows] - (lengths.cumsum() - lengths)
            entries = np.arange(lengths.sum()) + np.repeat(shifts, lengths)
            return self._weigh(lengths, counts.columns[entries], counts.counts[entries])
        parts = [scipy.sparse.csr_matrix((0, len(self.columns)), dtype=np.float32)]
        for start, stop in _row_ranges(counts.starts):
            part = slice(counts.starts[start], counts.starts[stop])
            lengths = np.diff(counts.starts[start : stop + 1])
            parts.append(self._weigh(lengths, counts.columns[part], counts.counts[part]))
        return scipy.sparse.vstack(parts, format="csr")

    def _weigh(self, lengths: np.ndarray, columns: np.ndarray, counts: np.ndarray) -> Any:
        """Return the features of rows, given the number of entries of each row."""
        import scipy.sparse

        num_rows = len(lengths)
        row = np.repeat(np.arange(num_rows), lengths)
        feature = self._feature_of[columns]
        known = feature >= 0
        row, feature = row[known], feature[known]
        values = (1 + np.log(counts[known], dtype=np.float32)) * self.idf[feature]
        # One norm for each row and block.
        group = row * len(self._blocks) + self.columns[feature] // self._num_buckets
        squares = np.bincount(group, values.astype(np.float64) ** 2, num_rows * len(self._blocks))
        values = (values / np.sqrt(squares)[group]).astype(np.float32)
        starts = np.concatenate([[0], np.bincount(row, minlength=num_rows).cumsum()])
        return scipy.sparse.csr_matrix(
            (values, feature, starts), shape=(num_rows, len(self.columns))
        )

    def arrays(self, weights: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of `LinearModel`."""
        arrays = {"bias": bias.astype(np.float32)}
        for i in range(len(self._blocks)):
            block = self.columns // self._num_buckets == i
            arrays[f"buckets_{i}"] = (self.columns[block] % self._num_buckets).astype(np.int32)
            arrays[f"idf_{i}"] = self.idf[block]
            arrays[f"weights_{i}"] = weights[block].astype(np.float32)
        return arrays


def _slices(size: int, step: int = 2**22) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def _row_ranges(starts: np.ndarray, entries: int = 2**22) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that have about as many entries."""
    start, num_rows = 0, len(starts) - 1
    while start < num_rows:
        stop = int(np.searchsorted(starts, starts[start] + entries, side="right")) - 1
        stop = min(max(stop, start + 1), num_rows)
        yield start, stop
        start = stop
