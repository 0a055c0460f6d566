"""Poolings: what the encoder says at each position -> one vector a text."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from textclf.networks.initial import derived_seed


class Pooling(keras.layers.Layer):
    """What every pooling shares: call(outputs [B, T, D], lengths int [B]) -> [B, width_factor * D].

    Without lengths every position is real. With `are_few` it is quick to begin, which counts where
    the texts are few.

    Args:
        bidirectional: the first half of D was read forward, the second half backward.
        kernel_initializer: for the poolings that have weights; a function of a seed.
        kernel_regularizer: likewise.
        seed: of the initial weights.
    """

    width_factor = 1

    def __init__(
        self,
        *,
        bidirectional: bool,
        kernel_initializer: Callable[..., keras.initializers.Initializer],
        kernel_regularizer: keras.regularizers.Regularizer | None,
        seed: int,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.bidirectional = bidirectional
        self.kernel_initializer = kernel_initializer
        self.kernel_regularizer = kernel_regularizer
        self.seed = seed

    def build(self, outputs_shape: Any, lengths_shape: Any = None) -> None:
        """Nothing to make, unless a pooling has weights."""


class LastPooling(Pooling):
    """The state after the whole text: forward at the last real position, backward at the first."""

    def call(
        self, outputs: tf.Tensor, lengths: tf.Tensor | None, are_few: bool = False
    ) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        if lengths is None:
            at_end = outputs[:, -1]
        else:
            at_end = tf.gather(outputs, lengths - 1, batch_dims=1)  # [B, D]
        if not self.bidirectional:
            return at_end
        # The backward output at the last real position has read one token only.
        units = outputs.shape[-1] // 2
        return tf.concat([at_end[:, :units], outputs[:, 0, units:]], axis=-1)


class MaxPooling(Pooling):
    """The largest value of each feature over the real positions."""

    def call(
        self, outputs: tf.Tensor, lengths: tf.Tensor | None, are_few: bool = False
    ) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        return _max(outputs, lengths)


class MeanPooling(Pooling):
    """The mean of each feature over the real positions."""

    def call(
        self, outputs: tf.Tensor, lengths: tf.Tensor | None, are_few: bool = False
    ) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        return _mean(outputs, lengths, are_few)


class MaxMeanPooling(Pooling):
    """Maximum and mean side by side."""

    width_factor = 2

    def call(
        self, outputs: tf.Tensor, lengths: tf.Tensor | None, are_few: bool = False
    ) -> tf.Tensor:
        """[B, T, D], [B] -> [B, 2 D]."""
        return tf.concat([_max(outputs, lengths), _mean(outputs, lengths, are_few)], axis=-1)


class AttentionPooling(Pooling):
    """A weighted mean whose weights are learned: additive attention with one query.

        u_t = tanh(W h_t + b)        a = softmax over the real t of (q . u_t)        sum_t a_t h_t

    The additive score is Bahdanau, Cho & Bengio (2015, arXiv:1409.0473); one learned query in
    place of a decoder's state is Yang et al. (2016), "Hierarchical Attention Networks for
    Document Classification", equations 5 to 7.
    """

    def build(self, outputs_shape: Any, lengths_shape: Any = None) -> None:
        """Makes W [D, D], b [D] and q [D, 1]."""
        features = outputs_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(features, features),
            initializer=self.kernel_initializer(seed=derived_seed(self.seed, "kernel")),
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(name="bias", shape=(features,), initializer="zeros")
        # Zeros would leave W without a gradient in the first step.
        self.query = self.add_weight(
            name="query",
            shape=(features, 1),
            initializer=self.kernel_initializer(seed=derived_seed(self.seed, "query")),
        )

    def call(
        self, outputs: tf.Tensor, lengths: tf.Tensor | None, are_few: bool = False
    ) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        hidden = tf.tanh(tf.einsum("btd,de->bte", outputs, self.kernel) + self.bias)
        scores = tf.einsum("btd,do->bt", hidden, self.query)  # [B, T, D] -> [B, T]
        if lengths is not None:
            real = tf.sequence_mask(lengths, tf.shape(outputs)[1])
            # Not -inf: inf - inf is NaN. The softmax of the lowest finite number is exactly zero.
            scores = tf.where(real, scores, scores.dtype.min)
        return _weighted_sum(tf.nn.softmax(scores), outputs, are_few)


def _max(outputs: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    if lengths is not None:
        real = tf.sequence_mask(lengths, tf.shape(outputs)[1])[:, :, tf.newaxis]  # [B, T, 1]
        outputs = tf.where(real, outputs, outputs.dtype.min)
    return tf.reduce_max(outputs, axis=1)


def _mean(outputs: tf.Tensor, lengths: tf.Tensor | None, are_few: bool) -> tf.Tensor:
    if lengths is None:
        return tf.reduce_mean(outputs, axis=1)
    real = tf.sequence_mask(lengths, tf.shape(outputs)[1], dtype=outputs.dtype)  # [B, T]
    total = _weighted_sum(real, outputs, are_few)
    return total / tf.cast(lengths, outputs.dtype)[:, tf.newaxis]


def _weighted_sum(weights: tf.Tensor, outputs: tf.Tensor, are_few: bool) -> tf.Tensor:
    if are_few:  # a matrix product takes longer to begin than this takes
        return tf.reduce_sum(weights[:, :, tf.newaxis] * outputs, axis=1)  # [B, D]
    # [B, 1, T] @ [B, T, D]: einsum("bt,btd->bd") takes three times as long for its gradient.
    return tf.matmul(weights[:, tf.newaxis, :], outputs)[:, 0]  # [B, D]


POOLINGS: dict[str, type[Pooling]] = {
    "last": LastPooling,
    "max": MaxPooling,
    "mean": MeanPooling,
    "max_mean": MaxMeanPooling,
    "attention": AttentionPooling,
}
