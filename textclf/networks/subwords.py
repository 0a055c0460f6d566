"""Vectors of tokens and of their character n-grams, added."""

import keras
import numpy as np
import tensorflow as tf

_UNKNOWN_ID = 1  # `text.UNKNOWN_ID`


class Subwords:
    """Table of n-gram vectors, and the n-grams of the known tokens.

    The vector of a token is its own plus the mean of those of its n-grams (Bojanowski et al. 2017,
    "Enriching Word Vectors with Subword Information"). An unknown token has the own vector of id 1.

    Args:
        table: n-grams to vectors.
        ids: int32 [V, K], the n-grams of each token id; negative: none.
    """

    def __init__(self, table: keras.layers.Embedding, ids: np.ndarray):
        self.table = table
        self._ids = tf.constant(ids, tf.int32)

    def own_ids(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Return the ids of own vectors, those of unknown tokens, below 0, replaced."""
        return tf.where(token_ids < 0, _UNKNOWN_ID, token_ids)

    def ngrams(self, token_ids: tf.Tensor, unknown_subwords: tf.Tensor | None) -> "Ngrams":
        """Return the n-grams of tokens.

        Args:
            token_ids: int32 [N], ids of the vocabulary, and -1 - i for unknown token i.
            unknown_subwords: int32 [U, K], the n-grams of the unknown tokens; None without any.
        """
        ids = tf.gather(self._ids, tf.maximum(token_ids, 0))  # [N, K]
        if unknown_subwords is None:
            return Ngrams(ids)
        unknown = tf.where(token_ids < 0)  # [U', 1]
        ids = tf.tensor_scatter_nd_update(
            ids, unknown, tf.gather(unknown_subwords, -1 - tf.gather_nd(token_ids, unknown))
        )
        return Ngrams(ids)

    def all_vectors(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Return the vectors of all known tokens, float32 [V, E], from their own."""
        return embeddings + Ngrams(self._ids).mean(self.table)


class Ngrams:
    """N-grams of N tokens.

    Args:
        ids: int32 [N, K]; negative: none.
    """

    def __init__(self, ids: tf.Tensor):
        self._num_tokens = tf.shape(ids)[0]
        real = tf.where(ids >= 0)  # [M, 2]
        self._ids = tf.gather_nd(ids, real)
        self._token_of = tf.cast(real[:, 0], tf.int32)

    def mean(self, table: keras.layers.Embedding) -> tf.Tensor:
        """Return the mean vector of the n-grams of each token, [N, E]; 0 for a token without any.

        The gradient of the table is a `tf.IndexedSlices` without repetition.
        """
        # A gather first: to read the whole of a variable that is updated by row copies it.
        ids, positions = tf.unique(self._ids)
        vectors = tf.gather(table.embeddings.value, ids)
        return tf.sparse.segment_mean(
            vectors, positions, self._token_of, num_segments=self._num_tokens
        )
