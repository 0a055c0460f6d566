"""Texts of a language model: read, compared with validation and test, counted and encoded."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from textclf import artifact, classifier, data, text
from textclf.config import Config
from textclf.data.splits import text_hash
from textclf.data.unlabelled import Texts, open_texts
from textclf.errors import TrainingError
from textclf.pretraining.tokens import MAX_TOKENS, Sizes, TokenFile, open_tokens, write_tokens
from textclf.progress import OnProgress

_FOLDER, _SIZES, _TRAIN, _HELD_OUT = "tokens", "sizes.json", "train", "held_out"
_PROGRESS_TEXTS = 4096  # texts between two reports of progress


class Corpus(NamedTuple):
    """Encoded texts of a language model.

    Attributes:
        vocabulary_path: the vocabulary file.
        train, held_out: the texts.
        sizes: of the trained texts.
        num_removed: texts left out because they are in validation or test.
        num_held_out: tokens of the held-out texts.
    """

    vocabulary_path: Path
    train: TokenFile
    held_out: TokenFile
    sizes: Sizes
    num_removed: int
    num_held_out: int


class _Counts(msgspec.Struct):
    """Content of `sizes.json`."""

    sizes: Sizes
    num_removed: int
    num_held_out: int


class Sources:
    """The texts of the training split and of further sources.

    Args:
        config: with resolved paths.
        sources: see `open_texts`.
        on_progress: called with stage, rows read and number of rows while the data are opened.

    Attributes:
        fingerprint: changes with the texts.
    """

    def __init__(self, config: Config, sources: Sequence[str], on_progress: OnProgress):
        self._config = config
        self._dataset = data.open_dataset(config.data, on_progress=on_progress)
        self._texts: list[Texts] = [open_texts(source, config.data) for source in sources]
        stamps = [[texts.name, texts.stamp] for texts in self._texts]
        self.fingerprint = self._dataset.fingerprint + msgspec.json.encode(stamps).decode()

    def encode(self, folder: Path, on_progress: OnProgress) -> Corpus:
        """Write vocabulary and token ids below a folder, unless they are there, and open them.

        Raises:
            TrainingError: no token is frequent enough, or no text is held out.
            DataError: a source cannot be read.
            ArtifactError: the folder cannot be written.
        """
        if not (folder / _FOLDER / _SIZES).exists():
            with artifact.write_folder(folder / _FOLDER, overwrite=True) as temporary:
                self._write(temporary, on_progress)
        folder = folder / _FOLDER
        counts = msgspec.json.decode((folder / _SIZES).read_bytes(), type=_Counts)
        return Corpus(
            folder / artifact.VOCABULARY,
            open_tokens(folder / _TRAIN),
            open_tokens(folder / _HELD_OUT),
            counts.sizes,
            counts.num_removed,
            counts.num_held_out,
        )

    def _write(self, folder: Path, on_progress: OnProgress) -> None:
        selection = _Selection(self._evaluated(), self._config.pretraining.held_out)
        tokenizer = text.Tokenizer(**classifier.tokenizer_settings(self._config))
        read = self._reader(on_progress)
        settings = self._config.text
        counts = text.count_tokens(selection.train(read("counting tokens")), tokenizer)
        num_removed = selection.num_removed
        vocabulary = text.build_vocabulary(
            counts.counts, min_count=settings.min_count, max_tokens=settings.max_tokens
        )
        if not vocabulary:
            raise TrainingError(
                f"the vocabulary is empty: none of the {counts.num_tokens} tokens occurs "
                f"{settings.min_count} times; lower text.min_count"
            )
        text.write_vocabulary(vocabulary, folder / artifact.VOCABULARY)
        encoder = text.TextEncoder(
            tokenizer,
            folder / artifact.VOCABULARY,
            sequence_length=MAX_TOKENS,
            keep="start",
            hash_buckets=settings.hash_buckets,
        )
        sizes = write_tokens(selection.train(read("encoding texts")), encoder, folder / _TRAIN)
        held_out = write_tokens(
            selection.held_out(read("encoding held-out texts")), encoder, folder / _HELD_OUT
        )
        if not held_out.num_tokens:
            raise TrainingError(
                f"none of the {sizes.num_texts:,} texts is held out, so there is no perplexity; "
                "raise pretraining.held_out"
            )
        stored = _Counts(sizes, num_removed, held_out.num_tokens)
        (folder / _SIZES).write_bytes(msgspec.json.encode(stored))

    def _evaluated(self) -> Iterator[str]:
        """Yield the texts of validation and test."""
        for split in self._dataset.splits:
            if split != "train":
                for example in self._dataset.examples(split):
                    yield example.text

    def _reader(self, on_progress: OnProgress) -> Callable[[str], Iterator[str]]:
        """Return a function of a stage that yields all texts and reports the progress."""
        has_train = "train" in self._dataset.splits
        total = self._dataset.splits["train"].num_examples if has_train else 0
        total += sum(texts.about_rows() for texts in self._texts)

        def read(stage: str) -> Iterator[str]:
            done = 0
            for value in self._all_texts():
                yield value
                done += 1
                if done % _PROGRESS_TEXTS == 0:
                    on_progress(stage, done, max(total, done))
            on_progress(stage, done, done)

        return read

    def _all_texts(self) -> Iterator[str]:
        if "train" in self._dataset.splits:
            for example in self._dataset.examples("train"):
                yield example.text
        for texts in self._texts:
            yield from texts.read()


class _Selection:
    """Choice of texts to train on, to hold out, or to leave out as texts of validation or test.

    Equal texts (`data.normalise`) have the same fate. Memory: 8 bytes for each text of validation
    and test.

    Attributes:
        num_removed: texts left out by the last `train`.
    """

    def __init__(self, evaluated: Iterator[str], held_out: float):
        hashes = np.fromiter((_hash(value) for value in evaluated), np.uint64)
        hashes.sort()
        self._evaluated = hashes
        self._limit = int(held_out * 2**64)
        self.num_removed = 0

    def train(self, texts: Iterator[str]) -> Iterator[str]:
        """Yield the texts to train on."""
        self.num_removed = 0
        for value in texts:
            number = _hash(value)
            if self._is_evaluated(number):
                self.num_removed += 1
            elif number >= self._limit:
                yield value

    def held_out(self, texts: Iterator[str]) -> Iterator[str]:
        """Yield the texts to hold out."""
        for value in texts:
            number = _hash(value)
            if number < self._limit and not self._is_evaluated(number):
                yield value

    def _is_evaluated(self, number: int) -> bool:
        position = np.searchsorted(self._evaluated, np.uint64(number))
        return bool(position < len(self._evaluated) and self._evaluated[position] == number)


def _hash(value: str) -> int:
    return int.from_bytes(text_hash(data.normalise(value)), "big")
