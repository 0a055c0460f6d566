"""Token ids to logits: recurrent encoders, poolings, and the networks made of them.

    token_ids [B, T] ── embedding ── recurrent layers ── pooling ── dense ──┐
        │                                                                   + ── logits [B, C]
        └── hashed 1-, 2- and 3-grams (`ngram_buckets` > 0) ────────────────┘

B texts, T token positions, E = embedding_dim, D = features of one position after the encoder,
C classes. Rows are padded on the right, and `lengths` says how many positions of each row are
real (at least one). **Padding and the other rows of a batch change nothing**, although no layer
is given a mask:

- Forward, the padding comes after the real tokens, so it cannot touch their outputs.
- Backward, a row is first reversed *within its own length*. Reversing the whole row, as
  `keras.layers.Bidirectional` does without a mask, would read the padding first:

      row            [a b c 0 0]     length 3
      whole row      [0 0 c b a]     the state is spoilt before the first real token
      within length  [c b a 0 0]     what `tf.reverse_sequence` gives; undone after the layer

- The outputs at padded positions are meaningless, and every pooling leaves them out.

This is exact for every real position, faster than masking on a CPU, and free of the assertions
about masks that cuDNN kernels bring along.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# === What can be chosen ===

# Recurrent layers by name; a bag has none: its poolings work on the embeddings themselves.
ENCODERS: dict[str, Callable[..., keras.layers.RNN] | None] = {
    "simple_rnn": keras.layers.SimpleRNN,  # Elman 1990
    "lstm": keras.layers.LSTM,  # Hochreiter & Schmidhuber 1997; Gers et al. 2000
    "gru": keras.layers.GRU,  # Cho et al. 2014
    "bag": None,  # Joulin et al. 2016 with "mean"
}

INITIALIZERS: dict[str, Callable[..., keras.initializers.Initializer]] = {
    "glorot_uniform": keras.initializers.GlorotUniform,
    "glorot_normal": keras.initializers.GlorotNormal,
    "he_uniform": keras.initializers.HeUniform,
    "he_normal": keras.initializers.HeNormal,
    "orthogonal": keras.initializers.Orthogonal,
    "normal": partial(keras.initializers.RandomNormal, stddev=0.05),
}


# === Poolings: what the encoder says at each position -> one vector a text ===


class Pooling(keras.layers.Layer):
    """What every pooling shares: call(outputs [B, T, D], lengths int [B]) -> [B, width_factor * D].

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

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        at_end = tf.gather(outputs, lengths - 1, batch_dims=1)  # [B, D]
        if not self.bidirectional:
            return at_end
        # The backward output at the last real position has read one token only.
        units = outputs.shape[-1] // 2
        return tf.concat([at_end[:, :units], outputs[:, 0, units:]], axis=-1)


class MaxPooling(Pooling):
    """The largest value of each feature over the real positions."""

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        return _max(outputs, lengths)


class MeanPooling(Pooling):
    """The mean of each feature over the real positions."""

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        return _mean(outputs, lengths)


class MaxMeanPooling(Pooling):
    """Maximum and mean side by side."""

    width_factor = 2

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """[B, T, D], [B] -> [B, 2 D]."""
        return tf.concat([_max(outputs, lengths), _mean(outputs, lengths)], axis=-1)


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
            initializer=self.kernel_initializer(seed=_derived_seed(self.seed, "kernel")),
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(name="bias", shape=(features,), initializer="zeros")
        # Zeros would leave W without a gradient in the first step.
        self.query = self.add_weight(
            name="query",
            shape=(features, 1),
            initializer=self.kernel_initializer(seed=_derived_seed(self.seed, "query")),
        )

    def call(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """[B, T, D], [B] -> [B, D]."""
        hidden = tf.tanh(tf.einsum("btd,de->bte", outputs, self.kernel) + self.bias)
        scores = tf.einsum("btd,do->bt", hidden, self.query)  # [B, T, D] -> [B, T]
        real = tf.sequence_mask(lengths, tf.shape(outputs)[1])
        # Not -inf: inf - inf is NaN. The softmax of the lowest finite number is exactly zero.
        weights = tf.nn.softmax(tf.where(real, scores, scores.dtype.min))
        return tf.einsum("bt,btd->bd", weights, outputs)


def _max(outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    real = tf.sequence_mask(lengths, tf.shape(outputs)[1])[:, :, tf.newaxis]  # [B, T, 1]
    return tf.reduce_max(tf.where(real, outputs, outputs.dtype.min), axis=1)


def _mean(outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    real = tf.sequence_mask(lengths, tf.shape(outputs)[1], dtype=outputs.dtype)  # [B, T]
    total = tf.einsum("bt,btd->bd", real, outputs)
    return total / tf.cast(lengths, outputs.dtype)[:, tf.newaxis]


POOLINGS: dict[str, type[Pooling]] = {
    "last": LastPooling,
    "max": MaxPooling,
    "mean": MeanPooling,
    "max_mean": MaxMeanPooling,
    "attention": AttentionPooling,
}


# === Layers ===


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

    def call(self, sequences: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, T, E], [B] -> [B, T, 2 units]; every real position as with a mask."""
        forward = self.forward_layer(sequences, training=training)  # [B, T, units]
        reversed_rows = tf.reverse_sequence(sequences, lengths, seq_axis=1, batch_axis=0)
        backward = self.backward_layer(reversed_rows, training=training)  # [B, T, units]
        backward = tf.reverse_sequence(backward, lengths, seq_axis=1, batch_axis=0)
        return tf.concat([forward, backward], axis=-1)


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


# === Network ===


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
        logits = self.dense(self.output_dropout(vectors, training=training))  # [B, W] -> [B, C]
        if self.ngrams is not None:
            logits += self.ngrams(token_ids, lengths)
        return logits

    def encode(self, token_ids: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The pooled vectors of a batch of texts, before the output dropout.

        Args:
            token_ids: int32 [B, T], T >= 1, padded on the right with any ids.
            lengths: int32 [B], the number of real tokens of each row, 1 to T.
            training: whether dropout is at work; a Python bool.

        Returns:
            float32 [B, width].
        """
        outputs = self.encode_positions(token_ids, lengths, training=training)
        return self.pooling(outputs, lengths)  # [B, T, D] -> [B, W]

    def encode_positions(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """What the encoder says at each position, before the pooling; a bag: the embeddings.

        Args:
            token_ids: int32 [B, T], T >= 1, padded on the right with any ids.
            lengths: int32 [B], the number of real tokens of each row, 1 to T.
            training: whether dropout is at work; a Python bool.

        Returns:
            float32 [B, T, features]; meaningless at and after each row's length.
        """
        x = self.embedding(token_ids)  # [B, T, E]
        x = self.token_dropout(x, training=training)
        x = self.embedding_dropout(x, training=training)
        with nullcontext() if training else self._no_dropout():
            for i, layer in enumerate(self.encoder_layers):
                if isinstance(layer, BidirectionalWithinLengths):
                    x = layer(x, lengths, training=training)  # [B, T, 2 units]
                else:
                    x = layer(x, training=training)  # [B, T, units]
                if i < len(self.norms):
                    x = self.norms[i](x)
        return x

    def _no_dropout(self) -> AbstractContextManager[Any]:
        """Hides the seeds of the recurrent layers from a call that is not training.

        Keras draws the masks of a recurrent layer in every call and then uses them in training
        only. An exported graph would hold, read and advance the seeds, and an evaluation between
        two epochs would change the training after it. In this scope they are constants.
        """
        states = [
            layer.cell.seed_generator.state
            for layer in self.recurrent_layers
            if layer.dropout or layer.recurrent_dropout
        ]
        if not states:
            return nullcontext()
        return keras.StatelessScope([(state, tf.zeros(2, state.dtype)) for state in states])


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
    seed_of = partial(_derived_seed, seed)
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
def portable(network: Network) -> Iterator[None]:
    """Within it, tracing puts no cuDNN kernel into a graph, which then runs on any machine.

    Keras chooses the kernel when a call is traced: with a GPU in sight an export would hold
    `CudnnRNNV3` and could not run on a CPU. Functions traced before or after are not touched.
    """
    layers = [layer for layer in network.recurrent_layers if hasattr(layer, "use_cudnn")]
    before = [layer.use_cudnn for layer in layers]
    for layer in layers:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer, use_cudnn in zip(layers, before, strict=True):
            layer.use_cudnn = use_cudnn


def _derived_seed(seed: int, name: str) -> int:
    """A seed for one part, below 2 ** 31, that depends on nothing but `seed` and its name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") >> 1
