"""Heads: the outputs of an encoder to logits."""

import keras
import tensorflow as tf

from textclf.networks.pooling import Pooling


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
