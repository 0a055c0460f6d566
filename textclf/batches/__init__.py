"""Batches: examples to stored shards of token ids, and shards to padded batches.

Every text is encoded once, by the graph that also serves, and stored. Training reads only the
stored shards, so data larger than memory can be used.

    preparation.py  prepare: the vocabulary and the shards of a data set, with a cache
    shards.py       write_shards: encode examples, store them and count tokens
    buckets.py      lengths to which batches are padded, with the least padding
    pipeline.py     training_batches, ordered_batches, sample_batch: shards to batches with tf.data
"""

from textclf.batches.pipeline import Batch, ordered_batches, sample_batch, training_batches
from textclf.batches.preparation import Prepared, encode_split, prepare
from textclf.batches.shards import Shards, TextStatistics, write_shards

__all__ = [
    "Batch",
    "Prepared",
    "Shards",
    "TextStatistics",
    "encode_split",
    "ordered_batches",
    "prepare",
    "sample_batch",
    "training_batches",
    "write_shards",
]
