"""Estimate of the bytes that a training writes; upper bounds where the data decide."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from textclf import demo
from textclf.config import Config, data_format
from textclf.study.budget import GATES, recurrent_weights

_BYTES = 4  # of a weight and of a token id
# Copies of all weights in a checkpoint: the weights, two moments of Adam, and the best epoch.
_COPIES = 4
# A checkpoint is written beside the two that are kept.
_CHECKPOINTS = 3
# Compressed texts and Parquet files grow to about this multiple when they are read.
_COMPRESSION = 4
# Bytes of n-gram counts for each byte of text: 14.5 on SST-2, 15.7 on TREC, 5.4 on ChnSentiCorp
# (validation splits, 2026-11-29).
_NGRAMS = 16
# Width of the pooled vector, in features of a position.
_POOLED = {"max_mean": 2}


class DiskNeed(NamedTuple):
    """Bytes that a training writes, at most and at the same time.

    Attributes:
        encoded_texts: vocabulary and shards, in `training.cache_dir` or beside the output.
        ngrams: counts of the linear model.
        checkpoints: checkpoints with the shuffle buffer.
        model: the trained folder.
    """

    encoded_texts: int
    ngrams: int
    checkpoints: int
    model: int


def estimate_need(
    config: Config, data_bytes: int | None, num_weights: int | None = None
) -> DiskNeed:
    """Return the bytes that a training of a configuration writes.

    Args:
        config: the configuration.
        data_bytes: size of the texts; None if it is unknown: they count as 0.
        num_weights: number of weights of the network if it is known.
    """
    if num_weights is None:
        num_weights = estimate_weights(config, data_bytes)
    data_bytes = data_bytes or 0
    buffer = config.training.shuffle_buffer * config.text.sequence_length * _BYTES
    state = _COPIES * _BYTES * num_weights + (min(buffer, data_bytes) if num_weights else 0)
    ngrams = _NGRAMS * data_bytes if config.has_linear_model else 0
    return DiskNeed(
        encoded_texts=data_bytes,
        ngrams=ngrams,
        checkpoints=_CHECKPOINTS * state if num_weights else 0,
        model=_BYTES * num_weights + (data_bytes if config.has_linear_model else 0),
    )


def estimate_weights(config: Config, data_bytes: int | None) -> int:
    """Return the number of weights of a network; without the layers of a plug-in.

    The vocabulary is limited by `text.max_tokens`, and by the data: each of its tokens occurs
    `text.min_count` times, with at least one byte and a separator.
    """
    model, text = config.model, config.text
    if model.encoder == "none":
        return 0
    num_tokens = text.max_tokens
    if data_bytes is not None:
        num_tokens = min(num_tokens, data_bytes // (2 * text.min_count))
    # Two reserved ids, and those of unknown tokens.
    num_vectors = 2 + num_tokens + text.hash_buckets
    num_vectors += text.subword_buckets if text.subwords else 0
    total = num_vectors * model.embedding_dim
    width = model.embedding_dim
    if model.encoder in GATES:
        total += recurrent_weights(model.to_dict())
        width = model.units * (2 if model.bidirectional else 1)
        total += 2 * width * (model.num_layers - 1) if model.layer_norm else 0
    if model.pooling == "attention":
        total += width * (width + 2)
    # The number of classes is not known before the data are read; it is small next to the rest.
    return total + _POOLED.get(model.pooling, 1) * width * len(config.data.class_names or (1, 1))


def data_size(config: Config) -> int | None:
    """Return the size of the texts of train and validation in bytes; None if it is unknown.

    Compressed files count as their size without compression, which is estimated. A single file and
    a folder also contain the test split.

    Args:
        config: a configuration with resolved paths.
    """
    section = config.data
    kind = data_format(section.to_dict())
    if kind == "demo":
        return sum(demo.NUM_EXAMPLES.values()) * 100
    if kind == "tfds":
        return _tfds_size(config)
    if kind == "folder":
        return _size_below(os.path.expanduser(section.source or "")) or None
    paths = [section.source] if section.source else [section.train, section.validation]
    total = 0
    for path in filter(None, paths):
        try:
            size = os.stat(os.path.expanduser(path)).st_size
        except OSError:
            return None
        total += size * _COMPRESSION if path.endswith(".gz") or kind == "parquet" else size
    return total or None


def _tfds_size(config: Config) -> int | None:
    """Return the size of the splits of a data set of tensorflow-datasets; None if unknown."""
    section = config.data
    folder = Path(tfds_folder(config)) / str(section.source).removeprefix("tfds:")
    names = {section.train or "train", section.validation or "validation"}
    total = 0
    for file in sorted(folder.rglob("dataset_info.json"))[-1:]:  # the newest version
        try:
            splits = json.loads(file.read_text(encoding="utf-8"))["splits"]
            total = sum(int(split["numBytes"]) for split in splits if split["name"] in names)
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return total or _size_below(folder) or None


def tfds_folder(config: Config | None) -> str:
    """Return the folder of tensorflow-datasets: that of a configuration, or the default."""
    chosen = config.data.data_dir if config is not None else None
    folder = chosen or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return os.path.expanduser(folder)


def _size_below(folder: str | os.PathLike[str]) -> int:
    """Return the size of all files below a folder; 0 if it does not exist."""
    total = 0
    for parent, _, names in os.walk(os.fspath(folder)):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total
