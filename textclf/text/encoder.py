"""Text encoder: strings to padded token ids."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from textclf.errors import ArtifactError
from textclf.text.ngrams import subword_ids
from textclf.text.tokenizer import TEXTS, Tokenizer, chunk_texts, to_utf8
from textclf.text.vocabulary import NUM_RESERVED, PADDING_ID, UNKNOWN_ID, read_vocabulary


class Encoded(NamedTuple):
    """Token ids of a batch of texts, padded on the right to the longest text.

    Attributes:
        token_ids: int32 [B, T], T >= 1; PADDING_ID after the end of each row. With subwords, the
            unknown tokens of the batch have the ids -1, -2, ... in their order.
        lengths: int32 [B], 1 to sequence_length. A text without tokens has one unknown token.
        num_tokens: int64 [B], before the length limit; 0 for a text without tokens.
        num_unknown: int64 [B], unknown ones among the tokens kept, hashed ones included.
        truncated: bool [B], True where the length limit removed tokens.
        unknown_subwords: int32 [U, K], `ngrams.subword_ids` of the unknown tokens -1, -2, ...;
            None without subwords.
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor
    num_tokens: tf.Tensor
    num_unknown: tf.Tensor
    truncated: tf.Tensor
    unknown_subwords: tf.Tensor | None = None

    def features(self) -> Any:
        """Return the features that a network reads, a `networks.Features`."""
        features = {"token_ids": self.token_ids, "lengths": self.lengths}
        if self.unknown_subwords is not None:
            features["unknown_subwords"] = self.unknown_subwords
        return features


class _VocabularyInitializer(tf.lookup.TextFileInitializer):
    """Initializer that names its table by the content of the file instead of by its path.

    Tables with the same name are one table within a process. With TensorFlow's own naming, a
    vocabulary that is rewritten at the same path would not be read, and the path would be part of
    every exported graph and make equal exports differ.
    """

    def __init__(self, path: str, **kwargs: Any):
        self._content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        super().__init__(path, **kwargs)

    @property
    def _shared_name(self) -> str:
        return f"vocabulary_{self._content}"


class TextEncoder(tf.Module):
    """Graph from texts to token ids: tokenizer, length limit and vocabulary.

        encoder = TextEncoder(tokenizer, "vocabulary.txt", sequence_length=400, keep="start")
        encoder(tf.constant(["not bad"])).token_ids    # int32 [1, 2]

    Ids: 0 is padding and 1 an unknown token. The token on line i of the vocabulary (from 0) is
    i + 2. The `hash_buckets` ids after the vocabulary are shared by unknown tokens, by their hash.
    `tf.saved_model.save` stores the vocabulary as an asset; the original file is not needed then.

    Attributes:
        vocabulary_size: number of ids, reserved ones and hash buckets included.

    Args:
        tokenizer: splits the texts.
        vocabulary_path: a file written by `write_vocabulary`.
        sequence_length: largest number of tokens kept of a text, at least 1.
        keep: the tokens kept of a longer text: "start", "end", or "both" (half of them each; an
            odd one belongs to the start).
        hash_buckets: number of ids for unknown tokens; with 0 they are all UNKNOWN_ID.
        subword_buckets: number of hash buckets of `Encoded.unknown_subwords`; 0: none.

    Raises:
        ArtifactError: the vocabulary cannot be read, or is empty.
        ValueError: another argument is out of range.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocabulary_path: str | os.PathLike[str],
        *,
        sequence_length: int,
        keep: str,
        hash_buckets: int = 0,
        subword_buckets: int = 0,
    ):
        if sequence_length < 1:
            raise ValueError(f"sequence_length is {sequence_length}; expected at least 1")
        if keep not in ("start", "end", "both"):
            raise ValueError(f"keep is {keep!r}; expected 'start', 'end' or 'both'")
        if hash_buckets < 0:
            raise ValueError(f"hash_buckets is {hash_buckets}; expected at least 0")
        vocabulary = read_vocabulary(vocabulary_path)
        if not vocabulary:
            raise ArtifactError(
                f"{vocabulary_path}: the vocabulary is empty; restore the file from a copy or"
                " train again"
            )
        super().__init__()
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.keep = keep
        self.hash_buckets = hash_buckets
        self.subword_buckets = subword_buckets
        self._first_bucket = NUM_RESERVED + len(vocabulary)
        self.vocabulary_size = self._first_bucket + hash_buckets
        # Tokens kept from the start of a text that is too long.
        self._num_head = {"start": sequence_length, "end": 0, "both": (sequence_length + 1) // 2}[
            keep
        ]
        self.table = tf.lookup.StaticHashTable(
            _VocabularyInitializer(
                os.fspath(vocabulary_path),
                key_dtype=tf.string,
                key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
                value_dtype=tf.int64,
                value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
                vocab_size=len(vocabulary),
                value_index_offset=NUM_RESERVED,
            ),
            default_value=UNKNOWN_ID,
        )

    @tf.function(input_signature=[TEXTS], autograph=False)
    def __call__(self, text: tf.Tensor) -> Encoded:
        """Return the token ids of texts, string [B], and their counts."""
        return self.encode_tokens(*self.tokenizer.split_tokens(text), tf.shape(text, tf.int64)[0])

    def encode_tokens(
        self, tokens: tf.Tensor, positions: tf.Tensor, num_texts: tf.Tensor
    ) -> Encoded:
        """Return the token ids of tokenized texts and their counts.

        Args:
            tokens, positions: string [N] and int64 [N, 2], of `Tokenizer.split_tokens`.
            num_texts: int64 scalar, B.
        """
        row, column = tf.unstack(positions, axis=1)  # int64 [tokens]
        num_tokens = tf.math.unsorted_segment_sum(tf.ones_like(row), row, num_texts)  # int64 [B]
        num_kept = tf.minimum(num_tokens, self.sequence_length)
        column = self.columns(column, tf.gather(num_tokens, row))
        positions = tf.stack([row, column], axis=1)
        kept = tf.where(column >= 0)[:, 0]  # int64 [kept tokens], indices of tokens

        tokens = tf.gather(tokens, kept)
        ids = self._look_up(tokens)  # int32 [kept tokens]
        unknown_subwords = None
        if self.subword_buckets:
            unknown = tf.where(ids == UNKNOWN_ID)  # int64 [U, 1]
            unknown_subwords = subword_ids(tf.gather_nd(tokens, unknown), self.subword_buckets)
            ids = tf.tensor_scatter_nd_update(ids, unknown, -1 - tf.range(tf.shape(unknown)[0]))
        width = tf.maximum(tf.reduce_max(num_kept), 1)
        token_ids = tf.scatter_nd(
            tf.gather(positions, kept), ids, tf.stack([num_texts, width])
        )  # [B, T]
        is_unknown = token_ids == UNKNOWN_ID
        if self.subword_buckets:
            is_unknown |= token_ids < 0
        if self.hash_buckets:
            is_unknown |= token_ids >= self._first_bucket
        num_unknown = tf.reduce_sum(tf.cast(is_unknown, tf.int64), axis=1)
        # A text without tokens becomes one unknown token: a recurrent layer, its pooling and
        # cuDNN are defined for rows of at least one step only.
        is_empty = tf.cast(num_tokens == 0, tf.int32)[:, tf.newaxis]  # [B, 1]
        added = is_empty * (UNKNOWN_ID - PADDING_ID)
        token_ids += tf.pad(added, [[0, 0], [0, tf.cast(width, tf.int32) - 1]])
        return Encoded(
            token_ids=token_ids,
            lengths=tf.cast(tf.maximum(num_kept, 1), tf.int32),
            num_tokens=num_tokens,
            num_unknown=num_unknown,
            truncated=num_tokens > self.sequence_length,
            unknown_subwords=unknown_subwords,
        )

    def columns(self, position: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """Return the columns of tokens in `Encoded.token_ids`, int64 [N]; -1 if not kept.

        Args:
            position: int64 [N], number of each token in its text, from 0.
            num_tokens: int64 [N] or [], number of tokens of that text.
        """
        is_head = position < self._num_head
        if self.keep == "start":
            return tf.where(is_head, position, -1)
        # The removed tokens are adjacent and follow the head; most texts have none.
        num_removed = tf.maximum(num_tokens - self.sequence_length, 0)
        is_tail = position >= self._num_head + num_removed
        return tf.where(is_head, position, tf.where(is_tail, position - num_removed, -1))

    def is_known(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return which tokens are in the vocabulary: string [N] to bool [N]."""
        return self.table.lookup(tokens) != UNKNOWN_ID

    def _look_up(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return the ids of tokens: string [N] to int32 [N]."""
        ids = self.table.lookup(tokens)
        if self.hash_buckets:
            buckets = tf.strings.to_hash_bucket_fast(tokens, self.hash_buckets)
            ids = tf.where(ids == UNKNOWN_ID, self._first_bucket + buckets, ids)
        return tf.cast(ids, tf.int32)


def token_lengths(texts: Iterable[str], tokenizer: Tokenizer) -> np.ndarray:
    """Return the number of tokens of each text, without a length limit: int64 [texts]."""
    count = tf.function(
        lambda batch: tokenizer(batch).row_lengths(), input_signature=[TEXTS], autograph=False
    )
    lengths = [
        count(tf.constant([to_utf8(text) for text in chunk])).numpy()
        for chunk in chunk_texts(texts, 1024)
    ]
    return np.concatenate([np.zeros(0, np.int64), *lengths])
