"""Preparation: the vocabulary and the shards of a data set, with a cache."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import tensorflow as tf

import textclf
from textclf import artifact, text
from textclf.batches.shards import Shards, write_shards
from textclf.data import Dataset
from textclf.errors import TrainingError
from textclf.progress import OnProgress, no_progress

# Raised when the files or the meaning of the ids change, so that an older cache is not read.
_CACHE_VERSION = 3
_MANIFEST = "statistics.json"
_PROGRESS_ROWS = 4096  # rows between two reports of progress


class Prepared(NamedTuple):
    """Vocabulary and encoded splits of a data set.

    Attributes:
        vocabulary_path: the vocabulary file.
        train, validation: the encoded splits.
        num_pruned: distinct tokens dropped while counting; 0 if the counts are exact.
    """

    vocabulary_path: Path
    train: Shards
    validation: Shards
    num_pruned: int


class _Manifest(msgspec.Struct):
    """Content of `statistics.json`, the last file that is written.

    Attributes:
        num_pruned: distinct tokens dropped while counting.
        splits: the shards by split; their paths are the names of the files.
        sizes: size of every other file, in bytes.
    """

    num_pruned: int
    splits: dict[str, Shards]
    sizes: dict[str, int]


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
    vocabulary_path: Path | None = None,
    fills_cache: bool = True,
    on_progress: OnProgress = no_progress,
) -> Prepared:
    """Build the vocabulary from the training split and encode training and validation.

    Args:
        dataset: the examples; its test split is not read.
        folder: where to write; used if there is no `cache_dir`.
        cache_dir: has one folder for each key of data, text settings and vocabulary settings. If
            the folder of the key exists, it is read and not written again.
        tokenizer: arguments of `text.Tokenizer`.
        encoder: arguments of `text.TextEncoder` except tokenizer and vocabulary.
        min_count, max_tokens: arguments of `text.build_vocabulary`.
        shuffle_buffer: rows that `training_batches` will shuffle at a time.
        vocabulary_path: a vocabulary file, which is used instead of a new vocabulary.
        fills_cache: whether to write to `cache_dir` what it lacks; otherwise it goes to `folder`.
        on_progress: called with a stage, the rows done and the total.

    Raises:
        TrainingError: no token of the training split is frequent enough for the vocabulary.
        ArtifactError: the folder cannot be written.
    """
    settings = {
        "version": [_CACHE_VERSION, textclf.__version__],
        "data": dataset.fingerprint,
        "tokenizer": tokenizer,
        "encoder": encoder,
        "vocabulary": [min_count, max_tokens]
        if vocabulary_path is None
        else artifact.sha256(vocabulary_path),
        "shuffle_buffer": shuffle_buffer,
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    prepared_folder = (cache_dir or folder) / key
    if not fills_cache and not _is_complete(prepared_folder):
        prepared_folder = folder / key
    if not _is_complete(prepared_folder):
        with artifact.write_folder(prepared_folder, overwrite=True) as temporary:
            try:
                _write(
                    dataset,
                    temporary,
                    tokenizer=text.Tokenizer(**tokenizer),
                    encoder=encoder,
                    min_count=min_count,
                    max_tokens=max_tokens,
                    shuffle_buffer=shuffle_buffer,
                    vocabulary_path=vocabulary_path,
                    on_progress=on_progress,
                )
            except tf.errors.OpError as error:  # for instance a full disk
                raise OSError(None, str(error.message).split("\n")[0]) from error
    return _read(prepared_folder)


def _write(
    dataset: Dataset,
    folder: Path,
    *,
    tokenizer: text.Tokenizer,
    encoder: dict[str, Any],
    min_count: int,
    max_tokens: int,
    shuffle_buffer: int,
    vocabulary_path: Path | None,
    on_progress: OnProgress,
) -> None:
    """Write the vocabulary, the shards and the manifest."""
    num_pruned = 0
    if vocabulary_path is not None:
        shutil.copyfile(vocabulary_path, folder / artifact.VOCABULARY)
    else:
        num_pruned = _write_vocabulary(
            dataset,
            folder / artifact.VOCABULARY,
            tokenizer,
            min_count=min_count,
            max_tokens=max_tokens,
            on_progress=on_progress,
        )
    text_encoder = text.TextEncoder(tokenizer, folder / artifact.VOCABULARY, **encoder)
    splits = {}
    for split in ("train", "validation"):
        shards = encode_split(
            dataset,
            split,
            text_encoder,
            folder,
            shuffle_buffer=shuffle_buffer,
            on_progress=on_progress,
        )
        names = tuple(Path(path).name for path in shards.paths)
        splits[split] = msgspec.structs.replace(shards, paths=names)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    manifest = _Manifest(num_pruned, splits, sizes)
    (folder / _MANIFEST).write_bytes(msgspec.json.encode(manifest, enc_hook=np.ndarray.tolist))


def _write_vocabulary(
    dataset: Dataset,
    path: Path,
    tokenizer: text.Tokenizer,
    *,
    min_count: int,
    max_tokens: int,
    on_progress: OnProgress,
) -> int:
    """Write the vocabulary of the training split; return the distinct tokens dropped in counting.

    Raises:
        TrainingError: no token is frequent enough.
    """
    num_train = dataset.splits["train"].num_examples
    counts = text.count_tokens(
        _report_progress(
            (example.text for example in dataset.examples("train")),
            lambda done: on_progress("counting tokens", done, num_train),
        ),
        tokenizer,
    )
    vocabulary = text.build_vocabulary(counts.counts, min_count=min_count, max_tokens=max_tokens)
    if not vocabulary:
        raise TrainingError(
            f"the vocabulary is empty: none of the {counts.num_tokens} tokens of the training "
            f"split occurs {min_count} times; lower text.min_count"
        )
    text.write_vocabulary(vocabulary, path)
    return counts.num_pruned


def encode_split(
    dataset: Dataset,
    split: str,
    encoder: text.TextEncoder,
    folder: Path,
    *,
    shuffle_buffer: int,
    on_progress: OnProgress = no_progress,
) -> Shards:
    """Encode one split and write its shards, which are the same for the same arguments.

    Args:
        folder: an existing folder.
        shuffle_buffer: see `prepare`.
        on_progress: called with a stage, the rows done and the total.
    """
    return write_shards(
        dataset.examples(split),
        encoder,
        folder,
        name=split,
        num_examples=dataset.splits[split].num_examples,
        num_classes=len(dataset.class_names),
        rows_in_shard=max(shuffle_buffer // 2, 1),
        on_progress=on_progress,
    )


def _read_manifest(folder: Path) -> _Manifest:
    return msgspec.json.decode(
        (folder / _MANIFEST).read_bytes(),
        type=_Manifest,
        dec_hook=lambda _, values: np.array(values, np.int64),
    )


def _is_complete(folder: Path) -> bool:
    """Return True if every file of the manifest exists and has its size."""
    try:
        sizes = _read_manifest(folder).sizes
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, msgspec.DecodeError):
        return False


def _read(folder: Path) -> Prepared:
    manifest = _read_manifest(folder)
    splits = {
        split: msgspec.structs.replace(
            shards, paths=tuple(str(folder / name) for name in shards.paths)
        )
        for split, shards in manifest.splits.items()
    }
    return Prepared(folder / artifact.VOCABULARY, num_pruned=manifest.num_pruned, **splits)


def _report_progress(items: Iterable, report: Callable[[int], None]) -> Iterator:
    """Yield the items and report how many were yielded, every `_PROGRESS_ROWS` and at the end."""
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if done % _PROGRESS_ROWS == 0:
            report(done)
    report(done)
