"""Examples to stored shards of token ids, and shards to batches.

Every text is encoded once, by the graph that also serves, and stored in TFRecord shards; the
training reads only these. A record is a row of little-endian int32:

    [row, number of tokens, token ids ..., label ids ...]

Rows go to shards at random, and a shard holds about half the shuffle buffer (more where 512
shards, which are all open while they are written, do not suffice), so that a random order of
shards and a shuffle within the buffer make a good shuffle of any data set, even one sorted by
class, in bounded memory.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import textclf
from textclf import artifact, text
from textclf.data import Dataset, Example
from textclf.errors import TrainingError

# Raised when the records or the meaning of their ids change, so that no old cache is read.
_CACHE_VERSION = 2
_WRITE_BATCH = 1024
_MAX_SHARDS = 512  # open files while writing
_MAX_CANDIDATES = 512  # lengths at which a bucket may end

Progress = Callable[[str, int, int], None]  # (stage, done, total)


class Batch(NamedTuple):
    """One step's input.

    Attributes:
        token_ids: int32 [batch, width], right-padded with 0.
        lengths: int32 [batch], at least 1.
        targets: float32 [batch, classes], one-hot, or multi-hot for multi-label tasks.
        rows: int32 [batch], the examples' numbers in their split.
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor
    targets: tf.Tensor
    rows: tf.Tensor


@dataclasses.dataclass(frozen=True)
class TextStatistics:
    """What encoding a split has seen.

    Attributes:
        length_counts: int64 [limit + 1], how many texts keep so many tokens.
        num_tokens: tokens before the length limit.
        num_kept: tokens within it.
        num_unknown: kept tokens that are not in the vocabulary.
        texts: int64 [classes], texts of each class.
        truncated_texts: int64 [classes], those that the limit cuts.
        tokens: int64 [classes], tokens before the limit.
        cut_tokens: int64 [classes], tokens that the limit cuts off.
    """

    length_counts: np.ndarray
    num_tokens: int
    num_kept: int
    num_unknown: int
    texts: np.ndarray
    truncated_texts: np.ndarray
    tokens: np.ndarray
    cut_tokens: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TextStatistics":
        arrays: dict[str, Any] = {
            name: np.array(value, np.int64) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**arrays)


@dataclasses.dataclass(frozen=True)
class Shards:
    """One split, encoded and stored.

    Attributes:
        paths: the TFRecord files.
        num_examples: rows in all of them together.
        num_classes: classes of the targets.
        statistics: what was seen while encoding.
    """

    paths: tuple[str, ...]
    num_examples: int
    num_classes: int
    statistics: TextStatistics

    def boundaries(self, num_buckets: int) -> list[int]:
        """Greatest length of each bucket, ascending, such that the least padding is computed.

        The last is the longest text's. At most `num_buckets`; fewer where there are fewer
        lengths. Exact by dynamic programming over the lengths that occur, or over
        `_MAX_CANDIDATES` quantiles of them where there are more.
        """
        counts = self.statistics.length_counts
        ends = np.flatnonzero(counts)
        if len(ends) > _MAX_CANDIDATES:
            ranks = np.linspace(0, counts.sum() - 1, _MAX_CANDIDATES).round()
            ends = np.unique(np.searchsorted(np.cumsum(counts), ranks, side="right"))
        texts = np.cumsum(counts)[ends]  # [ends], as long as that at most
        before = np.concatenate([[0], texts[:-1]])
        # cost[i, j]: tokens computed by a bucket for the lengths ends[i] to ends[j]
        cost = (texts[np.newaxis, :] - before[:, np.newaxis]) * ends[np.newaxis, :].astype(float)
        cost[np.tril_indices(len(ends), -1)] = np.inf
        best, begins = cost[0], []
        for _ in range(min(num_buckets, len(ends)) - 1):
            # total[i, j]: the last bucket begins at i, and what is below it was done best
            total = np.concatenate([[np.inf], best[:-1]])[:, np.newaxis] + cost
            begins.append(total.argmin(axis=0))
            best = total.min(axis=0)
        end = len(ends) - 1
        chosen = [int(ends[end])]
        for begin in reversed(begins):
            end = begin[end] - 1
            chosen.append(int(ends[end]))
        return chosen[::-1]

    def num_batches(self, batch_size: int, num_buckets: int) -> int:
        """Steps of one pass of `training_batches`, exactly."""
        counts = self.statistics.length_counts
        steps, low = 0, 0
        for high in self.boundaries(num_buckets):
            steps += -(-int(counts[low + 1 : high + 1].sum()) // batch_size)
            low = high
        return steps


class Prepared(NamedTuple):
    """A data set ready for training: the vocabulary and the encoded splits."""

    vocabulary_path: Path
    train: Shards
    validation: Shards
    num_pruned: int  # distinct tokens dropped while counting; 0 when the counts are exact


def prepare(
    dataset: Dataset,
    *,
    folder: Path,
    cache_dir: Path | None,
    tokenizer: dict[str, Any],
    encoder: dict[str, Any],
    min_count: int,
    max_tokens: int,
    shuffle_buffer: int,
    on_progress: Progress = lambda stage, done, total: None,
) -> Prepared:
    """Builds the vocabulary from the training split and encodes training and validation.

    Args:
        dataset: the examples; its test split is not read.
        folder: where to write; used when there is no `cache_dir`.
        cache_dir: keeps one folder for each key of data, text settings and vocabulary; a key
            that is there is read instead of made.
        tokenizer: arguments of `text.Tokenizer`.
        encoder: arguments of `text.TextEncoder` besides tokenizer and vocabulary.
        min_count, max_tokens: of `text.build_vocabulary`.
        shuffle_buffer: rows that `training_batches` will shuffle at a time.
        on_progress: called with a stage's name, rows done and rows in all.

    Raises:
        TrainingError: no token of the training split is frequent enough for the vocabulary.
    """
    settings = {
        "version": [_CACHE_VERSION, textclf.__version__],
        "data": dataset.fingerprint,
        "tokenizer": tokenizer,
        "encoder": encoder,
        "vocabulary": [min_count, max_tokens],
        "shuffle_buffer": shuffle_buffer,
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    place = (cache_dir or folder) / key
    if not _is_whole(place):
        with artifact.write_folder(place, overwrite=True) as temporary:
            try:
                _write_all(
                    dataset,
                    temporary,
                    tokenizer=text.Tokenizer(**tokenizer),
                    encoder=encoder,
                    min_count=min_count,
                    max_tokens=max_tokens,
                    shuffle_buffer=shuffle_buffer,
                    on_progress=on_progress,
                )
            except tf.errors.OpError as error:  # a full disk, say
                raise OSError(None, str(error.message).split("\n")[0]) from error
    return _read_all(place)


def _write_all(
    dataset: Dataset,
    folder: Path,
    *,
    tokenizer: text.Tokenizer,
    encoder: dict[str, Any],
    min_count: int,
    max_tokens: int,
    shuffle_buffer: int,
    on_progress: Progress,
) -> None:
    num_train = dataset.splits["train"].num_examples
    counts = text.count_tokens(
        _with_progress(
            (example.text for example in dataset.examples("train")),
            lambda done: on_progress("counting tokens", done, num_train),
        ),
        tokenizer,
    )
    vocabulary = text.build_vocabulary(counts.counts, min_count=min_count, max_tokens=max_tokens)
    if not vocabulary:
        raise TrainingError(
            f"the vocabulary is empty: none of the {counts.num_tokens} tokens of the training "
            f"split was seen {min_count} times; lower text.min_count"
        )
    text.write_vocabulary(vocabulary, folder / artifact.VOCABULARY)
    num_pruned = counts.num_pruned
    del counts  # of every token seen, not only of those kept
    text_encoder = text.TextEncoder(tokenizer, folder / artifact.VOCABULARY, **encoder)
    statistics = {}
    for split in ("train", "validation"):
        shards = write_shards(
            dataset.examples(split),
            text_encoder,
            folder,
            name=split,
            num_examples=dataset.splits[split].num_examples,
            num_classes=len(dataset.class_names),
            rows_in_shard=max(shuffle_buffer // 2, 1),
            on_progress=on_progress,
        )
        statistics[split] = {
            "files": [Path(path).name for path in shards.paths],
            "num_examples": shards.num_examples,
            "num_classes": shards.num_classes,
            "statistics": shards.statistics.to_dict(),
        }
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    whole = {"num_pruned": num_pruned, "splits": statistics, "sizes": sizes}
    (folder / "statistics.json").write_text(json.dumps(whole))


def _is_whole(folder: Path) -> bool:
    """Whether every file is there and as long as it was written."""
    try:
        sizes = json.loads((folder / "statistics.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_all(folder: Path) -> Prepared:
    whole = json.loads((folder / "statistics.json").read_text())
    splits = {
        name: Shards(
            tuple(str(folder / file) for file in values["files"]),
            values["num_examples"],
            values["num_classes"],
            TextStatistics.from_dict(values["statistics"]),
        )
        for name, values in whole["splits"].items()
    }
    return Prepared(folder / artifact.VOCABULARY, num_pruned=whole["num_pruned"], **splits)


def _with_progress(items: Iterable, report: Callable[[int], None]) -> Iterator:
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if done % 4096 == 0:
            report(done)
    report(done)


def write_shards(
    examples: Iterable[Example],
    encoder: text.TextEncoder,
    folder: Path,
    *,
    name: str,
    num_examples: int,
    num_classes: int,
    rows_in_shard: int,
    on_progress: Progress = lambda stage, done, total: None,
) -> Shards:
    """Encodes examples and writes them as `NAME-*.tfrecord`.

    Args:
        examples: in any order; read once.
        num_examples: how many there are, for the number of shards and the progress.
        rows_in_shard: about so many rows stand in a shard.
    """
    num_shards = min(max(-(-num_examples // rows_in_shard), 1), _MAX_SHARDS)
    paths = tuple(str(folder / f"{name}-{shard:05d}.tfrecord") for shard in range(num_shards))
    encode = tf.function(
        encoder, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    # A fixed seed: the training's own seed orders the shards and the rows within.
    shard_of = np.random.default_rng(0)
    length_counts = np.zeros(encoder.sequence_length + 1, np.int64)
    texts, truncated, tokens, cut = np.zeros((4, num_classes), np.int64)
    totals = np.zeros(3, np.int64)  # tokens, those kept, those unknown
    done = 0
    writers = [tf.io.TFRecordWriter(path) for path in paths]
    try:
        for batch in text.grouped(examples, _WRITE_BATCH, lambda example: example.text):
            encoded = encode(tf.constant([text.to_utf8(example.text) for example in batch]))
            ids, lengths = encoded.token_ids.numpy(), encoded.lengths.numpy()
            num_tokens, is_cut = encoded.num_tokens.numpy(), encoded.truncated.numpy()
            length_counts += np.bincount(lengths, minlength=len(length_counts))
            kept = np.minimum(num_tokens, encoder.sequence_length)
            totals += [num_tokens.sum(), kept.sum(), encoded.num_unknown.numpy().sum()]
            for index, example in enumerate(batch):
                labels = list(example.label_ids)
                texts[labels] += 1
                truncated[labels] += is_cut[index]
                tokens[labels] += num_tokens[index]
                cut[labels] += num_tokens[index] - kept[index]
                parts = ([example.row, lengths[index]], ids[index, : lengths[index]], labels)
                record = np.concatenate(parts, dtype="<i4", casting="unsafe").tobytes()
                writers[shard_of.integers(num_shards)].write(record)
            done += len(batch)
            on_progress(f"encoding {name}", done, num_examples)
    finally:
        for writer in writers:
            writer.close()
    statistics = TextStatistics(
        length_counts,
        int(totals[0]),
        int(totals[1]),
        int(totals[2]),
        texts,
        truncated,
        tokens,
        cut,
    )
    return Shards(paths, done, num_classes, statistics)


def training_batches(
    shards: Shards,
    *,
    batch_size: int,
    length_buckets: int,
    shuffle_buffer: int,
    seed: int,
    epoch: int,
) -> tf.data.Dataset:
    """One epoch of shuffled `Batch`es of similar lengths; the same for a seed and an epoch.

    Widths are those of `Shards.boundaries`, so that few shapes exist. The iterator can be
    checkpointed: no Python function stands in the pipeline.
    """
    order = np.random.default_rng([seed, epoch])
    paths = order.permutation(np.array(shards.paths))
    dataset = tf.data.TFRecordDataset(tf.constant(paths.tolist()))
    dataset = dataset.shuffle(
        min(shuffle_buffer, shards.num_examples), seed=int(order.integers(2**31))
    )
    return _bucketed(dataset, shards.boundaries(length_buckets), batch_size, shards.num_classes)


def ordered_batches(shards: Shards, *, batch_size: int) -> tf.data.Dataset:
    """Every example once, as `Batch`es of similar lengths; `Batch.rows` tells which they are."""
    dataset = tf.data.TFRecordDataset(list(shards.paths))
    return _bucketed(dataset, shards.boundaries(12), batch_size, shards.num_classes)


# A graph of its own, which is traced once in a process, and not once in every epoch.
@tf.function(
    input_signature=[
        tf.data.DatasetSpec(tf.TensorSpec([], tf.string)),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.int64),
    ],
    autograph=False,
)
def _bucketed(
    records: tf.data.Dataset, bounds: tf.Tensor, batch_size: tf.Tensor, num_classes: tf.Tensor
) -> tf.data.Dataset:
    """Records to batches; nothing but the bucket is worked out a record at a time."""
    options = tf.data.Options()
    options.deterministic = True
    # So few steps have nothing to fuse, and to tune them costs more than it gains.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return (
        records.group_by_window(
            functools.partial(_bucket, bounds=bounds),
            lambda _, window: window.batch(batch_size),
            window_size=batch_size,
        )
        .map(
            functools.partial(_parsed, bounds=bounds, num_classes=num_classes),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(4)
        .with_options(options)
    )


def _bucket(record: tf.Tensor, bounds: tf.Tensor) -> tf.Tensor:
    """The number of the bucket of a record, int64 []."""
    length = tf.io.decode_raw(tf.strings.substr(record, 4, 4), tf.int32)  # [1]
    return tf.math.count_nonzero(bounds < length)


def _parsed(records: tf.Tensor, bounds: tf.Tensor, num_classes: tf.Tensor) -> Batch:
    """Records of one bucket; the width is the bound of the longest."""
    sizes = tf.strings.length(records) // 4  # int32 [batch], as numbers in a record
    values = tf.io.decode_raw(records, tf.int32, fixed_length=4 * tf.reduce_max(sizes))
    # int32 [batch, 1], [batch, 1], [batch, most numbers]
    rows, lengths, values = tf.split(values, [1, 1, -1], axis=1)
    position = tf.range(tf.shape(values)[1])
    is_token = position < lengths  # [batch, most numbers]
    is_label = (position < sizes[:, tf.newaxis] - 2) & ~is_token
    width = bounds[tf.math.count_nonzero(bounds < tf.reduce_max(lengths))]
    token_ids = tf.where(is_token, values, text.PADDING_ID)[:, :width]
    token_ids = tf.pad(token_ids, [[0, 0], [0, width - tf.shape(token_ids)[1]]])
    at = tf.where(is_label)  # int64 [labels, 2]
    classes = tf.cast(tf.gather_nd(values, at), tf.int64)
    targets = tf.scatter_nd(
        tf.stack([at[:, 0], classes], axis=1),
        tf.ones_like(classes, tf.float32),
        tf.stack([tf.shape(records, tf.int64)[0], num_classes]),
    )
    return Batch(token_ids, tf.squeeze(lengths, 1), targets, tf.squeeze(rows, 1))
