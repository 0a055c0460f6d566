"""The layers that Keras has not: both directions within lengths, and hashed n-grams.

And `recur`, the one place where a recurrent layer is called, with the kernel that suits.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

# Tried with LSTMs of 64 and 128 units on two cores: up to 16 texts the fused operation is the
# faster one in both, at 32 in one of them, and at 64 the loop is in both.
MOST_FUSED = 16


def recur(
    layer: keras.layers.RNN, sequences: tf.Tensor, training: bool, are_few: bool = False
) -> tf.Tensor:
    """Calls a recurrent layer that returns sequences: [B, T, E] -> [B, T, units].

    An LSTM to which `networks.portable` gave `fused_weights` is, where the texts are few, one
    `BlockLSTMV2` in place of a loop over the time steps: the same numbers to 1e-6, at batch 1 in a
    third of the time and less. Not in training: the gradient that TensorFlow 2.21 has registered
    for it is another operation's.
    """
    weights = getattr(layer, "fused_weights", None)  # [E + units, 4 units]
    if training or weights is None:
        return layer(sequences, training=training)
    if are_few:
        return _fused(layer, sequences, weights)
    cell, width = layer.cell, sequences.shape[-1]
    parts = [(cell.kernel, weights[:width]), (cell.recurrent_kernel, weights[width:])]
    # A scope hides the one around it, so the seeds stand here again.
    with keras.StatelessScope([*parts, *constant_seeds([layer])]):
        return layer(sequences, training=False)


def _fused(layer: keras.layers.LSTM, sequences: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    none = tf.zeros([layer.units])
    state = tf.zeros([tf.shape(sequences)[0], layer.units])
    outputs = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.shape(sequences, tf.int64)[1],
        x=tf.transpose(sequences, [1, 0, 2]),
        cs_prev=state,
        h_prev=state,
        w=weights,
        wci=none,
        wcf=none,
        wco=none,
        b=layer.cell.bias,
        use_peephole=False,
        cell_clip=0.0,
    )
    return tf.transpose(outputs.h, [1, 0, 2])  # [T, B, units] -> [B, T, units]


def constant_seeds(layers: Iterable[keras.layers.RNN]) -> list[tuple[keras.Variable, tf.Tensor]]:
    """What a `keras.StatelessScope` puts in place of the seeds of recurrent layers.

    Keras draws the masks of a recurrent layer in every call and then uses them in training only.
    An exported graph would hold, read and advance the seeds, and an evaluation between two epochs
    would change the training after it.
    """
    return [
        (layer.cell.seed_generator.state, tf.zeros(2, layer.cell.seed_generator.state.dtype))
        for layer in layers
        if layer.dropout or layer.recurrent_dropout
    ]


class BidirectionalWithinLengths(keras.layers.Bidirectional):
    """Keras' `Bidirectional` with lengths in place of a mask; the same weights in the same order.

    Args:
        forward_layer: a Keras recurrent layer that returns sequences.
        backward_layer: likewise, made with `go_backwards=True`.
        dropout_seeds: of the forward and the backward layer.
    """

    def __init__(
        self,
        forward_layer: keras.layers.RNN,
        backward_layer: keras.layers.RNN,
        *,
        dropout_seeds: tuple[int, int],
        **kwargs: Any,
    ):
        super().__init__(forward_layer, backward_layer=backward_layer, **kwargs)
        # Keras insists on opposite directions, but here both layers read what they are given.
        self.backward_layer.go_backwards = False
        # Keras makes the forward layer anew from its config, where SimpleRNN leaves out the seed.
        layers = (self.forward_layer, self.backward_layer)
        for layer, dropout_seed in zip(layers, dropout_seeds, strict=True):
            layer.cell.seed_generator.state.assign([dropout_seed, 0])

    def call(
        self,
        sequences: tf.Tensor,
        lengths: tf.Tensor | None,
        training: bool = False,
        are_few: bool = False,
    ) -> tf.Tensor:
        """[B, T, E], [B] -> [B, T, 2 units]; every real position as with a mask.

        Without lengths every position is real.
        """
        reverse = _reversal(tf.shape(sequences)[1], lengths, training)
        backward = recur(self.backward_layer, reverse(sequences), training, are_few)
        forward = recur(self.forward_layer, sequences, training, are_few)  # [B, T, units]
        return tf.concat([forward, reverse(backward)], axis=-1)


def _reversal(
    num_steps: tf.Tensor, lengths: tf.Tensor | None, training: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """What turns rows [B, T, D] round within their lengths [B], as `tf.reverse_sequence` does."""
    if lengths is None:
        return partial(tf.reverse, axis=[1])
    if training:
        return partial(tf.reverse_sequence, seq_lengths=lengths, seq_axis=1, batch_axis=0)
    # That operation moves number by number, and this one whole vectors; but its gradient is slow.
    steps = tf.range(num_steps)
    mirrored = lengths[:, tf.newaxis] - 1 - steps  # [B, T], negative behind a row's end
    return partial(tf.gather, indices=tf.where(mirrored < 0, steps, mirrored), batch_dims=1)


# A prime modulus and a multiplier with a good lattice structure (L'Ecuyer 1999, "Tables of linear
# congruential generators of different sizes and good lattice structure"). Both are below 2 ** 31,
# so that no product of the hash passes 2 ** 62: int64 never overflows, on any device.
_HASH_MODULUS = 2**31 - 1
_HASH_MULTIPLIER = 1_583_458_089
_LONGEST_NGRAM = 3

# Tried on validation rows with a bag (max_mean, 2 ** 17 buckets, Adam 0.001), accuracy after four
# epochs, one seed each, so that differences of a point say nothing:
#                       IMDB (5,000 rows)   TREC   SST-2   ChnSentiCorp
#     no n-grams              87.4          79.8    79.4       86.8
#     1 * sum / sqrt(n)       88.2          81.3    79.8       90.3
#     4 * sum / sqrt(n)       88.1          82.9    79.8       92.2
#     8 * sum / sqrt(n)       88.4          83.3    79.9       92.5
#    16 * sum / sqrt(n)       88.1          84.0    79.8       91.9
#     sum                     87.6          83.3    80.3       91.9
# From 4 up it makes little difference, and 1 learns slowly. The mean, sum / n, was tried at Adam
# 0.002 only, against "1 *" and "sum", and ended behind both (TREC, SST-2, ChnSentiCorp).
_NGRAM_SCALE = 8.0


class HashedNgrams(keras.layers.Layer):
    """A linear model of hashed 1-, 2- and 3-grams of token ids: the wide branch of a network.

    A linear classifier beside a deep one is Cheng et al. (2016), "Wide & Deep Learning for
    Recommender Systems"; hashed word n-grams are fastText's (Joulin et al. 2016,
    arXiv:1607.01759). Two n-grams that share a bucket share their weights.

    Args:
        num_buckets: rows of the table.
        num_classes: its columns.
    """

    def __init__(self, num_buckets: int, num_classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_buckets = num_buckets
        self.num_classes = num_classes

    def build(self, token_ids_shape: Any, lengths_shape: Any = None) -> None:
        """Makes the table, of zeros: an untrained branch says nothing."""
        self.table = self.add_weight(
            name="table", shape=(self.num_buckets, self.num_classes), initializer="zeros"
        )

    def call(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """[B, T], [B] -> [B, C]: 8 * the sum of a text's n-grams / sqrt(their number)."""
        buckets, real = self.buckets(token_ids, lengths)
        weights = tf.cast(real, self.compute_dtype)  # [B, N]
        # With the square root a gradient step moves a text's own logits by as much at any length.
        weights *= _NGRAM_SCALE / tf.sqrt(tf.reduce_sum(weights, axis=1, keepdims=True))
        rows = tf.gather(self.table.value, buckets)  # [B, N, C]
        return tf.einsum("bn,bnc->bc", weights, rows)

    def buckets(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The rows of the table that the n-grams of each text use.

        Args:
            token_ids: int32 [B, T].
            lengths: int32 [B].

        Returns:
            buckets int64 [B, N] and real bool [B, N], N = 3 T - 3 (1 if T is 1): an n-gram is
            real if all its tokens are inside the text.
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
