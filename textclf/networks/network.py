"""The network: embedding, recurrent layers, pooling, dense layer and n-grams put together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from textclf.networks.initial import INITIALIZERS, derived_seed
from textclf.networks.layers import (
    MOST_FUSED,
    BidirectionalWithinLengths,
    HashedNgrams,
    constant_seeds,
    recur,
)
from textclf.networks.poolings import POOLINGS, Pooling

# Recurrent layers by name; a bag has none: its poolings work on the embeddings themselves.
ENCODERS: dict[str, Callable[..., keras.layers.RNN] | None] = {
    "simple_rnn": keras.layers.SimpleRNN,  # Elman 1990
    "lstm": keras.layers.LSTM,  # Hochreiter & Schmidhuber 1997; Gers et al. 2000
    "gru": keras.layers.GRU,  # Cho et al. 2014
    "bag": None,  # Joulin et al. 2016 with "mean"
}


class Network(keras.Model):
    """Token ids to logits. Made by `build`; the arguments here are its layers.

    Args:
        embedding: token ids to vectors.
        token_dropout, embedding_dropout, output_dropout: layers, with rate 0 where unused.
        encoder_layers: from the bottom up; `BidirectionalWithinLengths` or Keras recurrent layers
            that return sequences, or none at all.
        norms: one after each encoder layer but the last, or none.
        pooling: outputs and lengths to one vector a text.
        dense: that vector to logits.
        ngrams: the wide branch, or None.
    """

    def __init__(
        self,
        *,
        embedding: keras.layers.Embedding,
        token_dropout: keras.layers.Layer,
        embedding_dropout: keras.layers.Layer,
        encoder_layers: Sequence[keras.layers.Layer],
        norms: Sequence[keras.layers.Layer],
        pooling: Pooling,
        output_dropout: keras.layers.Layer,
        dense: keras.layers.Dense,
        ngrams: HashedNgrams | None,
    ):
        super().__init__(name="network")
        self.embedding = embedding
        self.token_dropout = token_dropout
        self.embedding_dropout = embedding_dropout
        self.encoder_layers = list(encoder_layers)
        self.norms = list(norms)
        self.pooling = pooling
        self.output_dropout = output_dropout
        self.dense = dense
        self.ngrams = ngrams

    def build(self, token_ids_shape: Any = (None, None), lengths_shape: Any = (None,)) -> None:
        """Makes all the weights, so that their order and names do not depend on a first call."""
        self.embedding.build(token_ids_shape)
        outputs_shape: Any = (None, None, self.embedding.output_dim)
        for i, layer in enumerate(self.encoder_layers):
            layer.build(outputs_shape)
            outputs_shape = layer.compute_output_shape(outputs_shape)
            if i < len(self.norms):
                self.norms[i].build(outputs_shape)
        self.pooling.build(outputs_shape)
        # The number of features of the vector that `encode` returns.
        self.width: int = outputs_shape[-1] * self.pooling.width_factor
        self.dense.build((None, self.width))
        if self.ngrams is not None:
            self.ngrams.build(token_ids_shape)

    @property
    def recurrent_layers(self) -> list[keras.layers.RNN]:
        """The Keras recurrent layers, from the bottom up, forward before backward."""
        layers: list[keras.layers.RNN] = []
        for layer in self.encoder_layers:
            if isinstance(layer, BidirectionalWithinLengths):
                layers += [layer.forward_layer, layer.backward_layer]
            else:
                layers.append(layer)
        return layers

    @property
    def parameters(self) -> list[keras.Variable]:
        """What to save: all the weights, trained or frozen, in an order that never changes.

        Each has a unique `path`, which depends on the arguments of `build` alone.
        """
        return self.weights

    @property
    def dropout_states(self) -> list[keras.Variable]:
        """The counters behind the dropout masks, in an order that never changes.

        Not part of a trained network: only a checkpoint that training is to resume from, bit for
        bit, needs them. Inference neither reads nor moves them. Their `path`s are not stable.
        """
        weights = {id(variable) for variable in self.weights}
        return [variable for variable in self.variables if id(variable) not in weights]

    def call(self, token_ids: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The logits of a batch of texts.

        Args:
            token_ids: int32 [B, T], T >= 1, padded on the right with any ids.
            lengths: int32 [B], the number of real tokens of each row, 1 to T.
            training: whether dropout is at work; a Python bool.

        Returns:
            float32 [B, num_classes].
        """
        vectors = self.encode(token_ids, lengths, training=training)
        return self.logits(vectors, token_ids, lengths, training=training)

    def logits(
        self, vectors: tf.Tensor, token_ids: tf.Tensor, lengths: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """From what `encode` gives to what `call` gives.

        Args:
            vectors: float32 [B, width].
            token_ids, lengths, training: as for `call`; the n-grams are read from the ids.

        Returns:
            float32 [B, num_classes].
        """
        logits = self.dense(self.output_dropout(vectors, training=training))  # [B, W] -> [B, C]
        if self.ngrams is not None:
            logits += self.ngrams(token_ids, lengths)
        return logits

    def encode(self, token_ids: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The pooled vectors of a batch of texts, before the output dropout.

        Args:
            token_ids, lengths, training: as for `call`.

        Returns:
            float32 [B, width].
        """

        def pooled(lengths: tf.Tensor | None, are_few: bool) -> tf.Tensor:
            outputs = self.encode_positions(token_ids, lengths, training, are_few)
            return self.pooling(outputs, lengths, are_few=are_few)  # [B, T, D] -> [B, W]

        fused = [getattr(layer, "fused_weights", None) for layer in self.recurrent_layers]
        if training or all(weights is None for weights in fused):
            return pooled(lengths, are_few=False)
        num_texts, num_steps = tf.unstack(tf.shape(token_ids))
        is_padded = tf.reduce_min(lengths) < num_steps  # never of a text alone
        are_many = num_texts > MOST_FUSED
        return tf.switch_case(
            tf.where(are_many, 2, tf.cast(is_padded, tf.int32)),
            [
                lambda: pooled(None, are_few=True),
                lambda: pooled(lengths, are_few=True),
                lambda: pooled(lengths, are_few=False),
            ],
        )

    def encode_positions(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor | None,
        training: bool = False,
        are_few: bool = False,
    ) -> tf.Tensor:
        """What the encoder says at each position, before the pooling; a bag: the embeddings.

        Args:
            token_ids, training: as for `call`.
            lengths: as for `call`; None where every row has T tokens, which is quicker.
            are_few: within `portable`, whether B is at most `MOST_FUSED`.

        Returns:
            float32 [B, T, features]; meaningless at and after each row's length.
        """
        # Keras' own call looks for negative ids first.
        x = tf.gather(self.embedding.embeddings.value, token_ids)  # [B, T, E]
        x = tf.cast(x, self.embedding.compute_dtype)
        x = self.token_dropout(x, training=training)
        x = self.embedding_dropout(x, training=training)
        return self.encode_vectors(x, lengths, training, are_few)

    def encode_vectors(
        self,
        x: tf.Tensor,
        lengths: tf.Tensor | None,
        training: bool = False,
        are_few: bool = False,
    ) -> tf.Tensor:
        """The same from the vectors of the tokens on.

        Args:
            x: float32 [B, T, E], T >= 1; what stands at and after each row's length is not read.
            lengths, training, are_few: as for `encode_positions`.

        Returns:
            float32 [B, T, features], as of `encode_positions`.
        """
        seeds = [] if training else constant_seeds(self.recurrent_layers)
        with keras.StatelessScope(seeds) if seeds else nullcontext():
            for i, layer in enumerate(self.encoder_layers):
                if isinstance(layer, BidirectionalWithinLengths):
                    x = layer(x, lengths, training=training, are_few=are_few)  # [B, T, 2 units]
                else:
                    x = recur(layer, x, training, are_few)  # [B, T, units]
                if i < len(self.norms):
                    x = self.norms[i](x)
        return x


def build(
    *,
    vocabulary_size: int,
    num_classes: int,
    encoder: str,
    bidirectional: bool,
    units: int,
    num_layers: int,
    pooling: str,
    embedding_dim: int,
    embedding_matrix: np.ndarray | None = None,
    train_embedding: bool = True,
    token_dropout: float = 0.0,
    embedding_dropout: float = 0.0,
    input_dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    output_dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    layer_norm: bool = False,
    kernel_initializer: str = "glorot_uniform",
    recurrent_initializer: str = "orthogonal",
    reset_after: bool = True,
    ngram_buckets: int = 0,
    seed: int = 0,
) -> Network:
    """Makes a network with all its weights.

    The same arguments give the same initial weights bit for bit and the same dropout masks. Each
    part draws from a seed of its own, derived from `seed` and the part's name, so that networks
    that differ in one setting begin with equal weights wherever they have equal parts.

    Args:
        vocabulary_size: number of token ids, those of padding and of unknown words included.
        num_classes: number of logits.
        encoder: a key of `ENCODERS`; "bag" ignores what is said about recurrent layers.
        bidirectional: each recurrent layer reads both ways and gives 2 * units features.
        units: size of a recurrent layer's state, each way.
        num_layers: recurrent layers on top of each other.
        pooling: a key of `POOLINGS`; a bag has no "last".
        embedding_dim: size of a token's vector.
        embedding_matrix: float [vocabulary_size, embedding_dim], the initial token vectors;
            without it they are uniform in [-0.05, 0.05).
        train_embedding: whether the token vectors are trained.
        token_dropout: share of tokens whose whole vector is zeroed in training (Iyyer et al. 2015).
        embedding_dropout: share of embedding dimensions zeroed throughout a text.
        input_dropout: share of each recurrent layer's input features zeroed throughout a text
            (Gal & Ghahramani 2016).
        recurrent_dropout: likewise of its state; above zero no cuDNN kernel can be used.
        output_dropout: share of the pooled vector zeroed.
        l1: weight of the sum of absolute kernel entries in `network.losses`: input and recurrent
            kernels, the attention's and the dense layer's.
        l2: likewise of squared entries.
        layer_norm: layer normalisation between recurrent layers, so two or more of them.
        kernel_initializer: a key of `INITIALIZERS`, of all the kernels but the recurrent.
        recurrent_initializer: a key of `INITIALIZERS`, of the recurrent kernels.
        reset_after: GRU only: the reset gate acts after the product with the recurrent kernel
            (cuDNN's form) or before it (Cho et al. 2014).
        ngram_buckets: rows of the table of hashed n-grams beside the encoder; 0 for none.
        seed: of initial weights and dropout, any int.

    Raises:
        ValueError: an unknown name, a number out of its range, a matrix of another shape, or
            "last" with a bag.
    """
    for setting, name, known in (
        ("encoder", encoder, list(ENCODERS)),
        ("pooling", pooling, list(POOLINGS)),
        ("kernel_initializer", kernel_initializer, list(INITIALIZERS)),
        ("recurrent_initializer", recurrent_initializer, list(INITIALIZERS)),
    ):
        if name not in known:
            raise ValueError(f"{setting}: {name!r} is unknown; choose from {', '.join(known)}.")
    layer_type = ENCODERS[encoder]
    if layer_type is None and pooling == "last":
        raise ValueError(
            "pooling: a bag of embeddings has no last state; choose from "
            f"{', '.join(name for name in POOLINGS if name != 'last')}."
        )
    sizes = {
        "vocabulary_size": vocabulary_size,
        "num_classes": num_classes,
        "embedding_dim": embedding_dim,
    }
    if layer_type is not None:
        sizes |= {"units": units, "num_layers": num_layers}
    for setting, size in sizes.items():
        if size < 1:
            raise ValueError(f"{setting}: {size} is out of range; it must be at least 1.")
    # Keras clips the dropout rates of recurrent layers to [0, 1] without a word.
    rates = {
        "token_dropout": token_dropout,
        "embedding_dropout": embedding_dropout,
        "input_dropout": input_dropout,
        "recurrent_dropout": recurrent_dropout,
        "output_dropout": output_dropout,
    }
    for setting, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{setting}: {rate} is out of range; it must be in [0, 1).")
    for setting, value in {"l1": l1, "l2": l2, "ngram_buckets": ngram_buckets}.items():
        if value < 0:
            raise ValueError(f"{setting}: {value} is out of range; it must not be negative.")
    if embedding_matrix is not None and embedding_matrix.shape != (vocabulary_size, embedding_dim):
        raise ValueError(
            f"embedding_matrix: its shape is {embedding_matrix.shape}; expected "
            f"({vocabulary_size}, {embedding_dim}), the vocabulary's size and embedding_dim."
        )

    make_kernel = INITIALIZERS[kernel_initializer]
    make_recurrent_kernel = INITIALIZERS[recurrent_initializer]
    regularizer = keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None
    seed_of = partial(derived_seed, seed)
    # With mixed precision the logits stay in the type of the weights, float32.
    logits_dtype = keras.config.dtype_policy().variable_dtype

    def recurrent_layer(name: str, **kwargs: Any) -> keras.layers.RNN:
        assert layer_type is not None
        if encoder == "gru":
            kwargs["reset_after"] = reset_after
        return layer_type(
            units,
            return_sequences=True,
            dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            kernel_initializer=make_kernel(seed=seed_of(f"{name}/kernel")),
            recurrent_initializer=make_recurrent_kernel(seed=seed_of(f"{name}/recurrent_kernel")),
            kernel_regularizer=regularizer,
            recurrent_regularizer=regularizer,
            seed=seed_of(f"{name}/dropout"),
            name=name,
            **kwargs,
        )

    encoder_layers: list[keras.layers.Layer] = []
    for i in range(num_layers if layer_type is not None else 0):
        # A layer that reads forward only is named, and so seeded, like the forward half of two.
        forward = recurrent_layer(f"forward_{i}")
        if not bidirectional:
            encoder_layers.append(forward)
            continue
        # Two layers made here rather than one that Keras copies: a copy would have the seeds,
        # and so the initial weights and the dropout masks, of the first.
        backward = recurrent_layer(f"backward_{i}", go_backwards=True)
        dropout_seeds = (seed_of(f"forward_{i}/dropout"), seed_of(f"backward_{i}/dropout"))
        encoder_layers.append(
            BidirectionalWithinLengths(
                forward, backward, dropout_seeds=dropout_seeds, name=f"bidirectional_{i}"
            )
        )
    num_norms = max(len(encoder_layers) - 1, 0) if layer_norm else 0

    network = Network(
        embedding=keras.layers.Embedding(
            vocabulary_size,
            embedding_dim,
            # A matrix is assigned below: an initializer would hold on to it for good.
            embeddings_initializer="zeros"
            if embedding_matrix is not None
            else keras.initializers.RandomUniform(-0.05, 0.05, seed=seed_of("embedding")),
            trainable=train_embedding,
            name="embedding",
        ),
        # Noise of shape [B, T, 1] leaves out whole tokens ...
        token_dropout=keras.layers.Dropout(
            token_dropout, noise_shape=(None, None, 1), seed=seed_of("token_dropout")
        ),
        # ... and of shape [B, 1, E] whole embedding dimensions.
        embedding_dropout=keras.layers.SpatialDropout1D(
            embedding_dropout, seed=seed_of("embedding_dropout")
        ),
        encoder_layers=encoder_layers,
        norms=[keras.layers.LayerNormalization(name=f"norm_{i}") for i in range(num_norms)],
        pooling=POOLINGS[pooling](
            bidirectional=bidirectional,
            kernel_initializer=make_kernel,
            kernel_regularizer=regularizer,
            seed=seed_of("pooling"),
            name="pooling",
        ),
        output_dropout=keras.layers.Dropout(output_dropout, seed=seed_of("output_dropout")),
        dense=keras.layers.Dense(
            num_classes,
            kernel_initializer=make_kernel(seed=seed_of("dense")),
            kernel_regularizer=regularizer,
            dtype=logits_dtype,
            name="dense",
        ),
        ngrams=HashedNgrams(ngram_buckets, num_classes, dtype=logits_dtype, name="ngrams")
        if ngram_buckets
        else None,
    )
    network.build()
    if embedding_matrix is not None:
        network.embedding.embeddings.assign(embedding_matrix)
    return network


@contextmanager
def portable(network: Network) -> Iterator[list[tf.Variable]]:
    """Within it, inference is traced for serving: on any machine, and fast for single texts.

    Keras chooses the kernel when a call is traced: with a GPU in sight an export would hold
    `CudnnRNNV3` and could not run on a CPU. An LSTM becomes a fused operation, see
    `layers.recur`. Functions traced before or after are not touched.

    Yields:
        The variables that graphs traced here read, with the present weights; keep them as long
        as such a graph.
    """
    layers = [layer for layer in network.recurrent_layers if hasattr(layer, "use_cudnn")]
    before = [layer.use_cudnn for layer in layers]
    variables = {variable.path: variable.value for variable in network.parameters}
    for layer in layers:
        layer.use_cudnn = False
        if isinstance(layer, keras.layers.LSTM):
            # The operation wants one matrix: joined here, and not again in every call. Gates
            # stand in Keras' order in both.
            parts = [layer.cell.kernel, layer.cell.recurrent_kernel]
            joined = tf.Variable(tf.concat([variables.pop(p.path) for p in parts], axis=0))
            layer.fused_weights = variables[layer.path] = joined
    try:
        yield list(variables.values())
    finally:
        for layer, use_cudnn in zip(layers, before, strict=True):
            layer.use_cudnn = use_cudnn
            layer.fused_weights = None
