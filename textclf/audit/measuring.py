"""The pass of the audit over all rows: tokens, lengths, scripts, equal and nearly equal texts."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from textclf import text
from textclf.audit.counting import HashCounts, combine
from textclf.audit.near_duplicates import NearDuplicates
from textclf.audit.result import QUANTILES, Bin
from textclf.audit.scripts import ScriptCounts
from textclf.data import Dataset, Example, normalise
from textclf.data.splits import text_hash
from textclf.progress import OnProgress
from textclf.text.tokenizer import TEXTS

_CHUNK_ROWS = 2048
_MAX_LENGTH = 1 << 20  # longer texts have this length in the histogram


class TokenReader:
    """Graph from texts to the hashes of their tokens."""

    def __init__(self, tokenizer: text.Tokenizer):
        @tf.function(input_signature=[TEXTS], autograph=False)
        def read(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            tokens, positions = tokenizer.split_tokens(texts)
            hashes = tf.bitcast(tf.fingerprint(tokens), tf.int64)  # [N]
            return tokens, hashes, positions[:, 0]

        self._read = read

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens, bytes [N]; their hashes, uint64 [N]; and the index of their text."""
        encoded = [text.to_utf8(one) for one in texts]
        tokens, hashes, rows = self._read(tf.constant(encoded, tf.string))
        return tokens.numpy(), hashes.numpy().view(np.uint64), rows.numpy()


class SplitMeasurement:
    """Measurements of one split, added up chunk by chunk.

    Attributes:
        lengths: int64 [longest + 1], texts by their number of tokens.
        class_texts, class_truncated, class_tokens, class_cut: int64 [C].
        tokens: occurrences of each token.
        scripts: script → texts.
        exact_hashes: uint64 [N], of the texts character by character; 0 for a text without a
            visible character, which is equal to no other.
    """

    def __init__(self, num_classes: int, num_rows: int):
        self.lengths = np.zeros(1, np.int64)
        self.class_truncated = np.zeros(num_classes, np.int64)
        self.class_tokens = np.zeros(num_classes, np.int64)
        self.class_cut = np.zeros(num_classes, np.int64)
        self.num_tokens = self.truncated_texts = self.cut_tokens = 0
        self.tokens = HashCounts()
        self.scripts: collections.Counter[str] = collections.Counter()
        self.exact_hashes = np.zeros(num_rows, np.uint64)

    def add_lengths(self, lengths: np.ndarray, limit: int, labels: "ChunkLabels") -> None:
        """Count the tokens of the texts of a chunk, int64 [N]."""
        counts = np.bincount(np.minimum(lengths, _MAX_LENGTH))
        if len(counts) > len(self.lengths):
            counts[: len(self.lengths)] += self.lengths
            self.lengths = counts
        else:
            self.lengths[: len(counts)] += counts
        cut = (lengths - limit).clip(min=0)
        self.num_tokens += int(lengths.sum())
        self.truncated_texts += int((cut > 0).sum())
        self.cut_tokens += int(cut.sum())
        for total, values in (
            (self.class_truncated, cut > 0),
            (self.class_tokens, lengths),
            (self.class_cut, cut),
        ):
            np.add.at(total, labels.classes, values[labels.rows])

    def quantiles(self) -> dict[str, int]:
        """Return name of `QUANTILES` → tokens of a text."""
        total = int(self.lengths.sum())
        if not total:
            return dict.fromkeys(QUANTILES, 0)
        until = np.cumsum(self.lengths)
        ranks = [int(np.rint(q * (total - 1))) for q in QUANTILES.values()]
        values = np.searchsorted(until, np.array(ranks) + 1)
        return dict(zip(QUANTILES, values.tolist(), strict=True))

    def limit_that_keeps(self, share: float) -> int:
        """Return the smallest length limit that keeps a share of the tokens; at least 1."""
        # A limit of k keeps, for each j from 1 to k, one token of every text with at least j
        # tokens.
        texts_from = np.cumsum(self.lengths[::-1])[::-1]
        kept = np.cumsum(texts_from[1:])
        if not len(kept):
            return 1
        return 1 + int(np.searchsorted(kept, share * kept[-1] - 1e-9))

    def histogram(self) -> tuple[Bin, ...]:
        """Return bins of about doubling width that hold all texts."""
        bins, low = [], 0
        for high in itertools.chain([0, 5], (width << i for i in range(40) for width in (10, 15))):
            if low >= len(self.lengths):
                break
            bins.append(Bin(low, high, int(self.lengths[low : high + 1].sum())))
            low = high + 1
        while bins and not bins[0].texts:
            bins.pop(0)
        return tuple(bins)


@dataclasses.dataclass(frozen=True)
class ChunkLabels:
    """Labels of the rows of a chunk.

    Attributes:
        rows: int64 [L], the row of each label; a row may have several labels, or none.
        classes: int64 [L], index of its class.
        codes: int64 [N], a number for the set of labels of each row.
    """

    rows: np.ndarray
    classes: np.ndarray
    codes: np.ndarray


class Measurement:
    """Measurements of a data set.

    Attributes:
        splits: split → measurements.
        token_texts: texts of train that have each token.
        class_token_texts: the same by class; the keys are those of `counting.combine`.
        near: the search for near-duplicates; None without a search.
    """

    def __init__(
        self, dataset: Dataset, tokenizer: text.Tokenizer, limit: int, near: NearDuplicates | None
    ):
        """Prepare the pass.

        Args:
            dataset: an opened data set.
            tokenizer: of the configuration.
            limit: length limit in tokens.
            near: an open search for near-duplicates; None without a search.
        """
        self.splits = {
            split: SplitMeasurement(len(dataset.class_names), summary.num_examples)
            for split, summary in dataset.splits.items()
        }
        self.token_texts, self.class_token_texts = HashCounts(), HashCounts()
        self.near = near
        self.reader = TokenReader(tokenizer)
        self._dataset, self._limit = dataset, limit
        self._scripts = ScriptCounts()
        self._codes: dict[tuple[int, ...], int] = {}

    def run(self, on_progress: OnProgress) -> None:
        """Read every row once; validation and test first, because train is compared with them.

        Raises:
            DataError: the source has changed since the data set was opened.
        """
        for split in sorted(self.splits, key=lambda split: split == "train"):
            leaked = self._dataset.leaked(split)
            total, done = self._dataset.splits[split].num_examples, 0
            for chunk in text.chunk_texts(
                self._dataset.examples(split), _CHUNK_ROWS, lambda example: example.text
            ):
                self._add(split, chunk, leaked)
                done += len(chunk)
                on_progress(f"reading {split}", done, total)

    def _add(self, split: str, chunk: list[Example], leaked: np.ndarray) -> None:
        measured = self.splits[split]
        texts = [example.text for example in chunk]
        rows = np.array([example.row for example in chunk])
        labels = self._labels(chunk)
        _, hashes, text_of = self.reader(texts)
        measured.add_lengths(np.bincount(text_of, minlength=len(texts)), self._limit, labels)
        measured.tokens.add(hashes)
        measured.scripts += self._scripts.count(texts)
        normalised = [normalise(one) for one in texts]
        is_empty = np.array([not one for one in normalised])
        exact = np.frombuffer(b"".join(map(text_hash, texts)), "<u8")
        measured.exact_hashes[rows] = np.where(is_empty, 0, exact)
        if split == "train":
            self._count_texts(hashes, text_of, labels)
        if self.near is not None:
            # Equal texts are counted separately; empty texts are not compared.
            is_new = ~is_empty
            if split != "train":
                is_new &= ~leaked[rows]
            index = np.flatnonzero(is_new)
            if len(index):
                kept = [normalised[i] for i in index.tolist()]
                if split == "train":
                    self.near.add_train(rows[index], kept, labels.codes[index])
                else:
                    self.near.add_evaluation(split, rows[index], kept, labels.codes[index])

    def _labels(self, chunk: list[Example]) -> ChunkLabels:
        sizes = [len(example.label_ids) for example in chunk]
        classes = [index for example in chunk for index in example.label_ids]
        codes = [self._codes.setdefault(example.label_ids, len(self._codes)) for example in chunk]
        return ChunkLabels(
            np.repeat(np.arange(len(chunk)), sizes),
            np.array(classes, np.int64),
            np.array(codes, np.int64),
        )

    def _count_texts(self, hashes: np.ndarray, text_of: np.ndarray, labels: ChunkLabels) -> None:
        """Count the texts of train with each token, in total and by class."""
        order = np.lexsort((hashes, text_of))
        hashes, text_of = hashes[order], text_of[order]
        is_first = np.append(True, (hashes[1:] != hashes[:-1]) | (text_of[1:] != text_of[:-1]))
        is_first = is_first[: len(hashes)]
        hashes, text_of = hashes[is_first], text_of[is_first]
        self.token_texts.add(hashes)
        # Pair each label of a text with each of its tokens.
        starts = np.searchsorted(text_of, labels.rows, "left")
        sizes = np.searchsorted(text_of, labels.rows, "right") - starts
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        index = np.repeat(starts, sizes) + within
        self.class_token_texts.add(combine(hashes[index], np.repeat(labels.classes, sizes)))


def read_rows(dataset: Dataset, split: str, rows: set[int]) -> Iterator[Example]:
    """Yield some rows of a split, in their order; reading ends after the last of them."""
    last = max(rows, default=-1)
    for example in itertools.islice(dataset.examples(split), last + 1):
        if example.row in rows:
            yield example
