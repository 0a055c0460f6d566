"""The head: outputs of an encoder at all positions to logits, by a pooling and a dense layer."""

from typing import Any

import keras
import tensorflow as tf

from textclf.networks.initializers import MakeInitializer, derived_seed

# === Poolings ===


class Pooling(keras.layers.Layer):
    """Base of the poolings: `pooling(outputs, lengths)` ignores padded positions.

    Outputs are float [R, T, D] and lengths int32 [R]; the result is [R, width_factor * D].

    Args:
        bidirectional: True if the first half of D was read forward and the second half backward.
        kernel_initializer: a function of a seed, for poolings with weights.
        kernel_regularizer: for poolings with weights.
        seed: seed of the initial weights.
    """

    width_factor = 1

    def __init__(
        self,
        *,
        bidirectional: bool,
        kernel_initializer: MakeInitializer,
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
        """Create the weights; most poolings have none."""


class LastPooling(Pooling):
    """State after the whole text: forward at the last real position, backward at the first."""

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return [R, D] from [R, T, D] and [R]."""
        return self.join_directions(tf.gather(outputs, lengths - 1, batch_dims=1), outputs)

    def join_directions(self, at_end: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Return the final states of both directions.

        Args:
            at_end: [R, D], the outputs at the last real position.
            outputs: [R, T, D].

        Returns:
            [R, D]. The backward output at the last real position has read one token only, so the
            second half of a bidirectional D is taken from the first position.
        """
        if not self.bidirectional:
            return at_end
        units = outputs.shape[-1] // 2
        return tf.concat([at_end[:, :units], outputs[:, 0, units:]], axis=-1)


class MaxPooling(Pooling):
    """Maximum of each feature over the real positions."""

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return [R, D] from [R, T, D] and [R]."""
        return _max(outputs, lengths)


class MeanPooling(Pooling):
    """Mean of each feature over the real positions."""

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return [R, D] from [R, T, D] and [R]."""
        return _mean(outputs, lengths)


class MaxMeanPooling(Pooling):
    """Maximum and mean, concatenated."""

    width_factor = 2

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return [R, 2 D] from [R, T, D] and [R]."""
        return tf.concat([_max(outputs, lengths), _mean(outputs, lengths)], axis=-1)


class AttentionPooling(Pooling):
    """Weighted mean with learned weights: additive attention with one query.

        u_t = tanh(W h_t + b)        a = softmax over the real t of (q . u_t)        sum_t a_t h_t

    The additive score is Bahdanau, Cho & Bengio (2015, arXiv:1409.0473); one learned query instead
    of a decoder's state is Yang et al. (2016), "Hierarchical Attention Networks for Document
    Classification", equations 5 to 7.
    """

    def build(self, outputs_shape: Any, lengths_shape: Any = None) -> None:
        """Create W [D, D], b [D] and q [D, 1]."""
        features = outputs_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(features, features),
            initializer=self.kernel_initializer(seed=derived_seed(self.seed, "kernel")),
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(name="bias", shape=(features,), initializer="zeros")
        # With zeros, W would have no gradient in the first step.
        self.query = self.add_weight(
            name="query",
            shape=(features, 1),
            initializer=self.kernel_initializer(seed=derived_seed(self.seed, "query")),
        )

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return [R, D] from [R, T, D] and [R]."""
        scores = self.scores(outputs)
        real = tf.sequence_mask(lengths, tf.shape(outputs)[1])
        # Not -inf: inf - inf is NaN. The softmax of the lowest finite number is exactly zero.
        scores = tf.where(real, scores, scores.dtype.min)
        return _weighted_sum(tf.nn.softmax(scores), outputs)

    def scores(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return q . u_t of each position, [R, T], from [R, T, D]."""
        hidden = tf.tanh(tf.einsum("btd,de->bte", outputs, self.kernel) + self.bias)
        return tf.einsum("btd,do->bt", hidden, self.query)


def _max(outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    real = tf.sequence_mask(lengths, tf.shape(outputs)[1])[:, :, tf.newaxis]  # [R, T, 1]
    return tf.reduce_max(tf.where(real, outputs, outputs.dtype.min), axis=1)


def _mean(outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    real = tf.sequence_mask(lengths, tf.shape(outputs)[1], dtype=outputs.dtype)  # [R, T]
    return _weighted_sum(real, outputs) / tf.cast(lengths, outputs.dtype)[:, tf.newaxis]


def _weighted_sum(weights: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    # [R, 1, T] @ [R, T, D]: the gradient of einsum("rt,rtd->rd") takes three times as long.
    return tf.matmul(weights[:, tf.newaxis, :], outputs)[:, 0]  # [R, D]


POOLINGS: dict[str, type[Pooling]] = {
    "last": LastPooling,
    "max": MaxPooling,
    "mean": MeanPooling,
    "max_mean": MaxMeanPooling,
    "attention": AttentionPooling,
}


# === Head ===


class Head:
    """Pooling, dropout and a dense layer; not a Keras layer, the network tracks its layers.

    Args:
        pooling: outputs and lengths to one vector for each row.
        dropout: a layer; with rate 0 it returns its input.
        dense: that vector to logits.
    """

    def __init__(self, *, pooling: Pooling, dropout: keras.layers.Layer, dense: keras.layers.Dense):
        self.pooling = pooling
        self.dropout = dropout
        self.dense = dense

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """All layers, in the order of their weights."""
        return [self.pooling, self.dropout, self.dense]

    @property
    def reads_last(self) -> bool:
        """True if the pooling reads the final states only."""
        return isinstance(self.pooling, LastPooling)

    def build(self, num_features: int) -> int:
        """Create the weights for outputs [R, T, num_features] and return W, the pooled width."""
        self.pooling.build((None, None, num_features))
        width = num_features * self.pooling.width_factor
        self.dense.build((None, width))
        return width

    def pool(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return the vector of each row, [R, W], from outputs [R, T, D] and lengths [R]."""
        return self.pooling(outputs, lengths)

    def logits(self, vectors: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return logits float32 [B, C] from pooled vectors [B, W]."""
        return self.dense(self.dropout(vectors, training=training))
