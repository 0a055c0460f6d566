"""The encoder: token ids to one vector for each position."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from textclf.networks.features import Features
from textclf.networks.initializers import MakeInitializer, derived_seed
from textclf.networks.subwords import Subwords

# Encoders by name. A bag has no recurrent layers: its outputs are the embeddings (Joulin et al.
# 2016, with the pooling "mean").
ENCODERS: dict[str, Callable[..., keras.layers.RNN] | None] = {
    "simple_rnn": keras.layers.SimpleRNN,  # Elman 1990
    "lstm": keras.layers.LSTM,  # Hochreiter & Schmidhuber 1997; Gers et al. 2000
    "gru": keras.layers.GRU,  # Cho et al. 2014
    "bag": None,
}


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
        subwords: vectors that are added to those of the embedding; None for none.
    """

    def __init__(
        self,
        *,
        embedding: keras.layers.Embedding,
        token_dropout: keras.layers.Layer,
        embedding_dropout: keras.layers.Layer,
        stack: Sequence[keras.layers.Layer],
        norms: Sequence[keras.layers.Layer] = (),
        subwords: Subwords | None = None,
    ):
        self.embedding = embedding
        self.token_dropout = token_dropout
        self.embedding_dropout = embedding_dropout
        self.stack = list(stack)
        self.norms = list(norms)
        self.subwords = subwords

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """All layers, in the order of their weights."""
        dropout = [self.token_dropout, self.embedding_dropout]
        return [*self.token_tables, *dropout, *self.stack, *self.norms]

    @property
    def token_tables(self) -> list[keras.layers.Embedding]:
        """The embedding, and the table of n-gram vectors if there is one."""
        return [self.embedding, *([self.subwords.table] if self.subwords else [])]

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
        for table in self.token_tables:
            table.build((None, None))
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
            features: `token_ids`, `lengths` and `unknown_subwords` are read.
            training: True to apply dropout; a Python bool.

        Returns:
            float32 [R, T, D]; for a bag, the embeddings. Meaningless in the padding.
        """
        x = self.embed(features["token_ids"], training, features.get("unknown_subwords"))
        return self.encode_vectors(x, features["lengths"], training)

    def embed(
        self,
        token_ids: tf.Tensor,
        training: bool = False,
        unknown_subwords: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the token vectors, float32 [R, T, E], of token ids, int32 [R, T], with dropout.

        Args:
            unknown_subwords: see `Features`.
        """
        x = tf.cast(self.token_vectors(token_ids, unknown_subwords), self.embedding.compute_dtype)
        x = self.token_dropout(x, training=training)
        return self.embedding_dropout(x, training=training)

    def token_vectors(
        self, token_ids: tf.Tensor, unknown_subwords: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the token vectors as `embed`, in the type of the weights and without dropout."""
        table = self.embedding.embeddings.value
        if self.subwords is None:
            # A gather: the call of a Keras embedding also handles negative ids.
            return tf.gather(table, token_ids)
        # Each distinct token once: a text repeats many, and the n-grams cost more than the tokens.
        ids, positions = tf.unique(tf.reshape(token_ids, [-1]))
        ngrams = self.subwords.ngrams(ids, unknown_subwords)
        vectors = tf.gather(table, self.subwords.own_ids(ids))
        vectors += ngrams.mean(self.subwords.table)  # [distinct, E]
        return tf.gather(vectors, tf.reshape(positions, tf.shape(token_ids)))

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


# === Recurrent layers ===


def reversed_positions(lengths: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """Return the position that each position of a reversed row comes from.

    Args:
        lengths: int32 [R].
        num_steps: int32 scalar T.

    Returns:
        int32 [R, T]. For T = 5 a row of length 3 is [2, 1, 0, 3, 4]: padding stays in place.
    """
    steps = tf.range(num_steps)
    mirrored = lengths[:, tf.newaxis] - 1 - steps  # [R, T], negative in the padding
    return tf.where(mirrored < 0, steps, mirrored)


@tf.custom_gradient
def reverse_within_lengths(sequences: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Reverse each row within its own length.

    Equal to `tf.reverse_sequence`, forward and backward, in about a third of its time on a CPU: the
    permutation is its own inverse, so a gather is the gradient as well.

    Args:
        sequences: float [R, T, D].
        lengths: int32 [R].

    Returns:
        float [R, T, D]; to the caller, `tf.custom_gradient` returns the tensor alone.
    """
    positions = reversed_positions(lengths, tf.shape(sequences)[1])
    reverse = partial(tf.gather, indices=positions, batch_dims=1)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return reverse(upstream), None

    return reverse(sequences), gradient


class BidirectionalWithinLengths(keras.layers.Bidirectional):
    """Keras' `Bidirectional` with lengths instead of a mask; same weights in the same order.

    Args:
        forward_layer: a Keras recurrent layer that returns sequences.
        backward_layer: such a layer with `go_backwards=True`.
        dropout_seeds: seeds of the forward and of the backward layer.
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
        # Keras requires opposite directions, but `call` passes reversed rows to the second layer.
        self.backward_layer.go_backwards = False
        # Keras copies the forward layer through its config, where SimpleRNN omits the seed.
        layers = (self.forward_layer, self.backward_layer)
        for layer, dropout_seed in zip(layers, dropout_seeds, strict=True):
            layer.cell.seed_generator.state.assign([dropout_seed, 0])

    def call(self, sequences: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the outputs of both directions.

        Args:
            sequences: float [R, T, E].
            lengths: int32 [R].
            training: True to apply dropout.

        Returns:
            float [R, T, 2 units]: forward, then backward. At the real positions equal to the
            outputs of masked Keras layers; meaningless in the padding.
        """
        reversed_rows = reverse_within_lengths(sequences, lengths)
        backward = self.backward_layer(reversed_rows, training=training)
        forward = self.forward_layer(sequences, training=training)  # [R, T, units]
        return tf.concat([forward, reverse_within_lengths(backward, lengths)], axis=-1)


def build_recurrent_layers(
    layer_type: Callable[..., keras.layers.RNN],
    *,
    num_layers: int,
    bidirectional: bool,
    kernel_initializer: MakeInitializer,
    recurrent_initializer: MakeInitializer,
    seed: int,
    **settings: Any,
) -> list[keras.layers.Layer]:
    """Return a stack of recurrent layers, from the bottom up.

    Args:
        layer_type: a value of `ENCODERS`.
        num_layers: number of layers.
        bidirectional: True for `BidirectionalWithinLengths` layers.
        kernel_initializer, recurrent_initializer: functions of a seed.
        seed: each layer and direction derives its own seeds from it.
        settings: further arguments of `layer_type`, the same for all layers.
    """
    seed_of = partial(derived_seed, seed)

    def recurrent_layer(name: str, **kwargs: Any) -> keras.layers.RNN:
        return layer_type(
            return_sequences=True,
            kernel_initializer=kernel_initializer(seed=seed_of(f"{name}/kernel")),
            recurrent_initializer=recurrent_initializer(seed=seed_of(f"{name}/recurrent_kernel")),
            seed=seed_of(f"{name}/dropout"),
            name=name,
            **settings,
            **kwargs,
        )

    layers: list[keras.layers.Layer] = []
    for i in range(num_layers):
        # A forward-only layer has the name, and so the seeds, of the forward half of two.
        forward = recurrent_layer(f"forward_{i}")
        if not bidirectional:
            layers.append(forward)
            continue
        # A copy made by Keras would have the seeds of the forward layer, and so equal initial
        # weights and dropout masks.
        backward = recurrent_layer(f"backward_{i}", go_backwards=True)
        dropout_seeds = (seed_of(f"forward_{i}/dropout"), seed_of(f"backward_{i}/dropout"))
        layers.append(
            BidirectionalWithinLengths(
                forward, backward, dropout_seeds=dropout_seeds, name=f"bidirectional_{i}"
            )
        )
    return layers
