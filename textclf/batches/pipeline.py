"""Pipeline: stored shards to padded batches, with tf.data."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from textclf import text
from textclf.batches.shards import Shards

_ORDERED_BUCKETS = 12  # number of length buckets of `ordered_batches`
_BUCKETS_AT_ONCE = 1024
_SAMPLED_EXAMPLES = 4096  # the examples from which `sample_batch` takes some


class Batch(NamedTuple):
    """Examples of one step.

    B is the number of examples and R the number of rows of tokens. A text is one row, so R = B.
    Windows of a long text will be several rows, R >= B, and a further feature assigns them to
    their texts.

    | feature     | type           | content                                                    |
    |-------------|----------------|------------------------------------------------------------|
    | `token_ids` | int32 [R, T]   | padded on the right with `text.PADDING_ID`                 |
    | `lengths`   | int32 [R]      | tokens of each row, at least 1                             |

    With subwords, the unknown tokens of a batch have the ids -1, -2, ... in their order, and

    | feature            | type         | content                                               |
    |--------------------|--------------|-------------------------------------------------------|
    | `unknown_subwords` | int32 [U, K] | their n-grams, see `text.ngrams.subword_ids`          |

    Reserved for features that no batch has yet:

    | feature      | type           | content                                                   |
    |--------------|----------------|-----------------------------------------------------------|
    | `text_of`    | int32 [R]      | example of each row, ascending, 0 to B - 1; without it    |
    |              |                | row i belongs to example i                                |
    | `numbers`    | float32 [B, N] | N numeric columns                                         |
    | `categories` | int32 [B, K]   | K categorical columns; ids of each column's own vocabulary|

    Attributes:
        features: by name, see above.
        targets: float32 [B, classes], one-hot, or multi-hot for multi-label tasks.
        weights: float32 [B], weight of each example in the loss; 1 for all examples.
        rows: int32 [B], number of each example within its split.
    """

    features: dict[str, tf.Tensor]
    targets: tf.Tensor
    weights: tf.Tensor
    rows: tf.Tensor


def training_batches(
    shards: Shards,
    *,
    batch_size: int,
    length_buckets: int,
    shuffle_buffer: int,
    seed: int,
    epoch: int,
) -> tf.data.Dataset:
    """Return one epoch of shuffled `Batch`es of texts of similar lengths.

    Equal seed and epoch give equal batches. The widths are those of `Shards.boundaries`, so there
    are few shapes. The iterator can be checkpointed, because the pipeline calls no Python function.

    Args:
        shards: the split.
        batch_size: examples of a batch. The last batch of each bucket may have fewer.
        length_buckets: maximum number of widths.
        shuffle_buffer: examples that are shuffled at a time.
        seed, epoch: determine the order.
    """
    random = np.random.default_rng([seed, epoch])
    paths = random.permutation(np.array(shards.paths))
    records = tf.data.TFRecordDataset(tf.constant(paths.tolist()))
    records = records.shuffle(
        min(shuffle_buffer, shards.num_examples), seed=int(random.integers(2**31))
    )
    return _make_batches(records, shards, shards.boundaries(length_buckets), batch_size)


def ordered_batches(shards: Shards, *, batch_size: int) -> tf.data.Dataset:
    """Return every example once, as `Batch`es of texts of similar lengths, not shuffled.

    The examples are not in the order of the split: `Batch.rows` has their numbers.
    """
    records = tf.data.TFRecordDataset(list(shards.paths))
    return _make_batches(records, shards, shards.boundaries(_ORDERED_BUCKETS), batch_size)


def sample_batch(shards: Shards, *, size: int) -> Batch:
    """Return a few examples, always the same ones, as one `Batch` without unused columns.

    They are spread evenly over the first examples of the files, which may be sorted by class.
    """
    num_read = min(shards.num_examples, _SAMPLED_EXAMPLES)
    records = tf.data.TFRecordDataset(list(shards.paths)).take(num_read)
    records = records.shard(max(num_read // size, 1), 0).take(size)
    batch = next(iter(_make_batches(records, shards, shards.boundaries(1), size)))
    features = dict(batch.features)
    width = tf.reduce_max(features["lengths"])
    features["token_ids"] = features["token_ids"][:, :width]
    return batch._replace(features=features)


def _make_batches(
    records: tf.data.Dataset, shards: Shards, boundaries: list[int], batch_size: int
) -> tf.data.Dataset:
    """Return `Batch`es of records, which are parsed batch by batch; see `shards` for their form."""
    make = _batch_graph(shards.has_subwords)
    return make(records, boundaries, batch_size, shards.num_classes)


@functools.cache
def _batch_graph(has_subwords: bool) -> Callable[..., tf.data.Dataset]:
    """Return `_graph` as a function of TensorFlow, traced once per process, not once per epoch."""
    return tf.function(
        functools.partial(_graph, has_subwords=has_subwords),
        input_signature=[
            tf.data.DatasetSpec(tf.TensorSpec([], tf.string)),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([], tf.int64),
        ],
        autograph=False,
    )


def _graph(
    records: tf.data.Dataset,
    boundaries: tf.Tensor,
    batch_size: tf.Tensor,
    num_classes: tf.Tensor,
    *,
    has_subwords: bool,
) -> tf.data.Dataset:
    """Return the pipeline of `_make_batches`."""
    options = tf.data.Options()
    options.deterministic = True
    # The pipeline is short: there is nothing to fuse, and tuning costs more time than it saves.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return (
        # The buckets of many records at once: a call of a function for each takes longer.
        records.batch(_BUCKETS_AT_ONCE)
        .map(lambda records: (_buckets(records, boundaries), records))
        .unbatch()
        .group_by_window(
            lambda bucket, _: bucket,
            lambda _, window: window.batch(batch_size),
            window_size=batch_size,
        )
        .map(
            lambda buckets, records: _parse(
                records, boundaries[buckets[0]], num_classes, has_subwords
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(4)
        .with_options(options)
    )


def _buckets(records: tf.Tensor, boundaries: tf.Tensor) -> tf.Tensor:
    """Return the number of the bucket of each record, int64 [N]."""
    lengths = tf.io.decode_raw(tf.strings.substr(records, 4, 4), tf.int32)[:, 0]
    return tf.searchsorted(boundaries, lengths, out_type=tf.int64)


def _parse(
    records: tf.Tensor, width: tf.Tensor, num_classes: tf.Tensor, has_subwords: bool
) -> Batch:
    """Return the batch of the records of one bucket: string [B] to a `Batch` of width int32 []."""
    sizes = tf.strings.length(records) // 4  # int32 [B], numbers in each record
    values = tf.io.decode_raw(records, tf.int32, fixed_length=4 * tf.reduce_max(sizes))
    # int32 [B, 1], [B, 1], [B, N], where N is the largest number of tokens and labels
    rows, lengths, values = tf.split(values, [1, 1, -1], axis=1)
    column = tf.range(tf.shape(values)[1])
    is_token = column < lengths  # [B, N]
    num_values = sizes[:, tf.newaxis] - 2
    token_ids = tf.where(is_token, values, text.PADDING_ID)  # [B, N]
    features = {}
    if has_subwords:
        is_unknown = token_ids < 0
        num_unknown = tf.math.count_nonzero(is_unknown, axis=1, keepdims=True, dtype=tf.int32)
        labels_end = num_values - num_unknown * text.SUBWORDS_PER_TOKEN
        is_subword = (column >= labels_end) & (column < num_values)
        subwords = tf.boolean_mask(values, is_subword)
        features["unknown_subwords"] = tf.reshape(subwords, [-1, text.SUBWORDS_PER_TOKEN])
        unknown = tf.where(is_unknown)  # int64 [U, 2]
        numbers = -1 - tf.range(tf.shape(unknown)[0])
        token_ids = tf.tensor_scatter_nd_update(token_ids, unknown, numbers)
        num_values = labels_end
    is_label = (column < num_values) & ~is_token
    token_ids = token_ids[:, :width]
    token_ids = tf.pad(token_ids, [[0, 0], [0, width - tf.shape(token_ids)[1]]])  # [B, T]
    labels = tf.where(is_label)  # int64 [labels, 2], indices of values
    label_ids = tf.cast(tf.gather_nd(values, labels), tf.int64)
    targets = tf.scatter_nd(
        tf.stack([labels[:, 0], label_ids], axis=1),
        tf.ones_like(label_ids, tf.float32),
        tf.stack([tf.shape(records, tf.int64)[0], num_classes]),
    )  # [B, classes]
    lengths, rows = tf.squeeze(lengths, 1), tf.squeeze(rows, 1)
    return Batch(
        features={"token_ids": token_ids, "lengths": lengths, **features},
        targets=targets,
        weights=tf.ones_like(lengths, tf.float32),
        rows=rows,
    )
