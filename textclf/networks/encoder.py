"""The encoder: token ids to one vector for each position."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import tensorflow as tf

from textclf.networks.features import Features
from textclf.networks.recurrent import RECURRENT_LAYERS, BidirectionalWithinLengths

# Encoders by name. A bag has no recurrent layers: its outputs are the embeddings (Joulin et al.
# 2016, with the pooling "mean").
ENCODERS: dict[str, Callable[..., keras.layers.RNN] | None] = {**RECURRENT_LAYERS, "bag": None}


class Encoder:
    """Embedding, dropout and a stack of layers; not a Keras layer, the network tracks its layers.

        outputs = encoder({"token_ids": token_ids, "lengths": lengths})  # [R, T, D]

    Args:
        embedding: token ids to vectors.
        token_dropout, embedding_dropout: layers; with rate 0 they return their input.
        stack: layers from the bottom up, possibly none. A Keras recurrent layer that returns
            sequences is called as `layer(x, training=...)`. Any other layer is called as
            `layer(x, lengths, training=...)`, from [R, T, E] to [R, T, D], and its outputs at the
            real positions must not depend on the padding.
        norms: layers between those of the stack, one fewer than those, or none.
    """

    def __init__(
        self,
        *,
        embedding: keras.layers.Embedding,
        token_dropout: keras.layers.Layer,
        embedding_dropout: keras.layers.Layer,
        stack: Sequence[keras.layers.Layer],
        norms: Sequence[keras.layers.Layer] = (),
    ):
        self.embedding = embedding
        self.token_dropout = token_dropout
        self.embedding_dropout = embedding_dropout
        self.stack = list(stack)
        self.norms = list(norms)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """All layers, in the order of their weights."""
        dropout = [self.token_dropout, self.embedding_dropout]
        return [self.embedding, *dropout, *self.stack, *self.norms]

    @property
    def recurrent_layers(self) -> list[keras.layers.RNN]:
        """The Keras recurrent layers, from the bottom up, forward before backward."""
        layers: list[keras.layers.RNN] = []
        for layer in self.stack:
            if isinstance(layer, BidirectionalWithinLengths):
                layers += [layer.forward_layer, layer.backward_layer]
            elif isinstance(layer, keras.layers.RNN):
                layers.append(layer)
        return layers

    def build(self) -> int:
        """Create the weights and return D, the number of features of a position."""
        self.embedding.build((None, None))
        shape: Any = (None, None, self.embedding.output_dim)
        for i, layer in enumerate(self.stack):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
            if i < len(self.norms):
                self.norms[i].build(shape)
        return shape[-1]

    def __call__(self, features: Features, training: bool = False) -> tf.Tensor:
        """Return the vector of each position.

        Args:
            features: `token_ids` and `lengths` are read.
            training: True to apply dropout; a Python bool.

        Returns:
            float32 [R, T, D]; for a bag, the embeddings. Meaningless in the padding.
        """
        x = self.embed(features["token_ids"], training)
        return self.encode_vectors(x, features["lengths"], training)

    def embed(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the token vectors, float32 [R, T, E], of token ids, int32 [R, T]."""
        # A gather: the call of a Keras embedding also handles negative ids.
        x = tf.gather(self.embedding.embeddings.value, token_ids)
        x = tf.cast(x, self.embedding.compute_dtype)
        x = self.token_dropout(x, training=training)
        return self.embedding_dropout(x, training=training)

    def encode_vectors(self, x: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the vector of each position, from token vectors.

        Args:
            x: float32 [R, T, E]; values in the padding do not matter.
            lengths: int32 [R].
            training: as in `__call__`.

        Returns:
            float32 [R, T, D].
        """
        with nullcontext() if training else self.fixed_seeds():
            for i, layer in enumerate(self.stack):
                if isinstance(layer, keras.layers.RNN):
                    x = layer(x, training=training)  # [R, T, units]
                else:
                    x = layer(x, lengths, training=training)  # [R, T, D]
                if i < len(self.norms):
                    x = self.norms[i](x)
        return x

    def fixed_seeds(self) -> AbstractContextManager:
        """Replace the dropout seeds of the stack by constants.

        Keras draws the dropout masks of a recurrent layer in every call, also in inference, where
        it does not use them. Without constants an exported graph would contain the seeds, and an
        evaluation between two epochs would change the training after it.
        """
        weights = {id(weight) for layer in self.stack for weight in layer.weights}
        variables = [variable for layer in self.stack for variable in layer.variables]
        seeds = [variable for variable in variables if id(variable) not in weights]
        return keras.StatelessScope([(seed, tf.zeros(seed.shape, seed.dtype)) for seed in seeds])
