"""Shards: encoded examples in TFRecord files, with counts of their tokens.

A record is a row of little-endian int32:

    [row, number of tokens, token ids ..., label ids ...]

With subwords, the id of an unknown token is -1, and the `text.SUBWORDS_PER_TOKEN` ids of the
n-grams of each follow the labels.

Every example goes to a random shard. A shard holds about half of the shuffle buffer. There are at
most 512 shards, because all of them are open while writing, so shards of very large data sets hold
more. A random order of the shards and a shuffle within the buffer then mix any data set well in
limited memory, even one that is sorted by class.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import tensorflow as tf

from textclf import text
from textclf.batches.buckets import best_boundaries
from textclf.data import Example
from textclf.progress import OnProgress, no_progress

_WRITE_BATCH = 1024
_MAX_SHARDS = 512  # files that are open while writing


class TextStatistics(msgspec.Struct, frozen=True, eq=False):
    """Counts of the tokens of a split.

    Attributes:
        length_counts: int64 [limit + 1], number of texts by number of kept tokens.
        num_tokens: tokens before the length limit.
        num_kept: tokens within the length limit.
        num_unknown: kept tokens that are not in the vocabulary.
        texts: int64 [classes], texts of each class.
        truncated_texts: int64 [classes], texts that exceed the limit.
        tokens: int64 [classes], tokens before the limit.
        cut_tokens: int64 [classes], tokens removed by the limit.
    """

    length_counts: np.ndarray
    num_tokens: int
    num_kept: int
    num_unknown: int
    texts: np.ndarray
    truncated_texts: np.ndarray
    tokens: np.ndarray
    cut_tokens: np.ndarray


class Shards(msgspec.Struct, frozen=True, eq=False, omit_defaults=True):
    """One split, encoded and stored.

    Attributes:
        paths: the TFRecord files.
        num_examples: number of examples in all files.
        num_classes: number of classes of the targets.
        statistics: counts of the tokens.
        has_subwords: whether the records have the n-grams of unknown tokens.
    """

    paths: tuple[str, ...]
    num_examples: int
    num_classes: int
    statistics: TextStatistics
    has_subwords: bool = False

    def boundaries(self, num_buckets: int) -> list[int]:
        """Return the lengths to which batches are padded, ascending; see `best_boundaries`."""
        return best_boundaries(self.statistics.length_counts, num_buckets)

    def num_batches(self, batch_size: int, num_buckets: int) -> int:
        """Return the exact number of batches of one epoch of `training_batches`."""
        counts = self.statistics.length_counts
        total, low = 0, 0
        for high in self.boundaries(num_buckets):
            total += -(-int(counts[low + 1 : high + 1].sum()) // batch_size)
            low = high
        return total


def write_shards(
    examples: Iterable[Example],
    encoder: text.TextEncoder,
    folder: Path,
    *,
    name: str,
    num_examples: int,
    num_classes: int,
    rows_in_shard: int,
    on_progress: OnProgress = no_progress,
) -> Shards:
    """Encode examples and write them as `NAME-*.tfrecord`.

    Args:
        examples: in any order; read once.
        encoder: encodes the texts.
        folder: where to write.
        name: start of the names of the files, and of the stage that is reported.
        num_examples: number of examples, for the number of shards and the progress.
        num_classes: number of classes.
        rows_in_shard: approximate number of rows in a shard.
        on_progress: called with a stage, the rows done and the total.
    """
    num_shards = min(max(-(-num_examples // rows_in_shard), 1), _MAX_SHARDS)
    paths = tuple(str(folder / f"{name}-{shard:05d}.tfrecord") for shard in range(num_shards))
    encode = tf.function(
        encoder, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    # A fixed seed: the seed of the training orders the shards and the rows within them.
    random = np.random.default_rng(0)
    counts = _Counts(encoder.sequence_length, num_classes)
    done = 0
    writers = [tf.io.TFRecordWriter(path) for path in paths]
    try:
        for chunk in text.chunk_texts(examples, _WRITE_BATCH, lambda example: example.text):
            encoded = encode(tf.constant([text.to_utf8(example.text) for example in chunk]))
            counts.add([list(example.label_ids) for example in chunk], encoded)
            ids, lengths = encoded.token_ids.numpy(), encoded.lengths.numpy()
            subwords = encoded.unknown_subwords
            for example, row_ids, length in zip(chunk, ids, lengths, strict=True):
                row_ids = row_ids[:length]
                values = [[example.row, length], row_ids, list(example.label_ids)]
                if subwords is not None:
                    values[1] = np.maximum(row_ids, -1)
                    values.append(subwords.numpy()[-1 - row_ids[row_ids < 0]].ravel())
                record = np.concatenate(values, dtype="<i4", casting="unsafe").tobytes()
                writers[random.integers(num_shards)].write(record)
            done += len(chunk)
            on_progress(f"encoding {name}", done, num_examples)
    finally:
        for writer in writers:
            writer.close()
    return Shards(paths, done, num_classes, counts.statistics(), encoder.subword_buckets > 0)


class _Counts:
    """Sums of the token counts of encoded texts."""

    def __init__(self, sequence_length: int, num_classes: int):
        self.sequence_length = sequence_length
        self.length_counts = np.zeros(sequence_length + 1, np.int64)
        self.totals = np.zeros(3, np.int64)  # tokens, kept tokens, unknown tokens
        # Rows: texts, truncated texts, tokens, removed tokens.
        self.by_class = np.zeros((4, num_classes), np.int64)

    def add(self, label_ids: list[list[int]], encoded: text.Encoded) -> None:
        """Add texts with their labels."""
        num_tokens = encoded.num_tokens.numpy()
        num_kept = np.minimum(num_tokens, self.sequence_length)
        self.length_counts += np.bincount(
            encoded.lengths.numpy(), minlength=len(self.length_counts)
        )
        self.totals += [num_tokens.sum(), num_kept.sum(), encoded.num_unknown.numpy().sum()]
        counts = np.stack(
            [
                np.ones_like(num_tokens),
                encoded.truncated.numpy().astype(np.int64),
                num_tokens,
                num_tokens - num_kept,
            ],
            axis=1,
        )  # int64 [texts, 4]
        for labels, row in zip(label_ids, counts, strict=True):
            self.by_class[:, labels] += row[:, np.newaxis]

    def statistics(self) -> TextStatistics:
        """Return the sums."""
        num_tokens, num_kept, num_unknown = map(int, self.totals)
        return TextStatistics(self.length_counts, num_tokens, num_kept, num_unknown, *self.by_class)
