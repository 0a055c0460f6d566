"""Branches: layers beside the encoder that compute logits from the features of a batch.

A branch is a Keras layer called as `branch(features)`, which returns float32 [B, C]. The network
adds the logits of its branches to those of its head.
"""

from typing import Any

import keras
import tensorflow as tf

from textclf.networks.features import Features

# A prime modulus and a multiplier with a good lattice structure (L'Ecuyer 1999, "Tables of linear
# congruential generators of different sizes and good lattice structure"). Both are below 2 ** 31,
# so products stay below 2 ** 62 and int64 never overflows, on any device.
_HASH_MODULUS = 2**31 - 1
_HASH_MULTIPLIER = 1_583_458_089
_LONGEST_NGRAM = 3

# Accuracy on validation rows with a bag (max_mean, 2 ** 17 buckets, Adam 0.001) after four epochs,
# one seed each, so differences of one point are noise:
#                       IMDB (5,000 rows)   TREC   SST-2   ChnSentiCorp
#     no n-grams              87.4          79.8    79.4       86.8
#     1 * sum / sqrt(n)       88.2          81.3    79.8       90.3
#     4 * sum / sqrt(n)       88.1          82.9    79.8       92.2
#     8 * sum / sqrt(n)       88.4          83.3    79.9       92.5
#    16 * sum / sqrt(n)       88.1          84.0    79.8       91.9
#     sum                     87.6          83.3    80.3       91.9
# Factors from 4 up are about equal, and 1 learns slowly. The mean, sum / n, was tried at Adam 0.002
# only, against "1 *" and "sum", and was worse than both (TREC, SST-2, ChnSentiCorp).
_NGRAM_SCALE = 8.0


class HashedNgrams(keras.layers.Layer):
    """A linear model of hashed 1-, 2- and 3-grams of token ids.

    A linear classifier beside a deep one is Cheng et al. (2016), "Wide & Deep Learning for
    Recommender Systems"; hashed word n-grams are fastText's (Joulin et al. 2016,
    arXiv:1607.01759). Two n-grams in the same bucket share their weights.

    Args:
        num_buckets: rows of the weight table.
        num_classes: columns of the weight table.
    """

    def __init__(self, num_buckets: int, num_classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_buckets = num_buckets
        self.num_classes = num_classes

    def build(self, features_shape: Any = None) -> None:
        """Create the table with zeros, so that an untrained branch adds nothing."""
        self.table = self.add_weight(
            name="table", shape=(self.num_buckets, self.num_classes), initializer="zeros"
        )

    def call(self, features: Features) -> tf.Tensor:
        """Return 8 * (sum of the rows of a text's n-grams) / sqrt(their number), [B, C]."""
        buckets, real = self.buckets(features["token_ids"], features["lengths"])
        weights = tf.cast(real, self.compute_dtype)  # [B, N]
        # With the square root, a gradient step changes a text's own logits equally at any length.
        weights *= _NGRAM_SCALE / tf.sqrt(tf.reduce_sum(weights, axis=1, keepdims=True))
        rows = tf.gather(self.table.value, buckets)  # [B, N, C]
        return tf.einsum("bn,bnc->bc", weights, rows)

    def buckets(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the table rows of the n-grams of each text.

        Args:
            token_ids: int32 [B, T].
            lengths: int32 [B].

        Returns:
            buckets int64 [B, N] and real bool [B, N], N = 3 T - 3 (1 if T is 1). An n-gram is
            real if it contains no padding.
        """
        token_ids = tf.cast(token_ids, tf.int64)
        width = tf.shape(token_ids)[1]
        inside = tf.sequence_mask(lengths, width)  # [B, T]
        buckets, real = [], []
        for n in range(1, _LONGEST_NGRAM + 1):
            positions = tf.maximum(width - (n - 1), 0)
            # A polynomial of the ids that starts with n, so that "a" and "a a" differ.
            hashed = tf.constant(n, tf.int64)
            for offset in range(n):
                ids = token_ids[:, offset : offset + positions]  # [B, T - n + 1]
                hashed = (hashed * _HASH_MULTIPLIER + ids) % _HASH_MODULUS
            buckets.append(hashed % self.num_buckets)
            real.append(inside[:, n - 1 :])  # the n-gram's last token
        return tf.concat(buckets, axis=1), tf.concat(real, axis=1)
