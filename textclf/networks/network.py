"""The network: an encoder and a head."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from textclf.networks.encoder import ENCODERS, Encoder, build_recurrent_layers
from textclf.networks.features import Features
from textclf.networks.head import POOLINGS, Head
from textclf.networks.initializers import INITIALIZERS, derived_seed
from textclf.networks.plugin import PluginEncoder, is_plugin
from textclf.networks.subwords import Subwords


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """Layers of a network and their settings; values are not checked, `config` does that.

    Attributes:
        encoder: a key of `ENCODERS`, or `package.module:function` (see `networks.plugin`). "bag"
            ignores the settings of recurrent layers. A function receives units, num_layers,
            bidirectional, and input_dropout as `dropout`; the other settings are ignored.
        bidirectional: True for recurrent layers that read both ways, with 2 * units features.
        units: size of a recurrent layer's state, in each direction.
        num_layers: number of recurrent layers.
        pooling: a key of `POOLINGS`; a bag has no "last".
        embedding_dim: size of a token's vector.
        train_embedding: False to keep the token vectors fixed.
        token_dropout: fraction of tokens whose vector is zeroed in training (Iyyer et al. 2015).
        embedding_dropout: fraction of embedding dimensions zeroed throughout a text.
        input_dropout: fraction of each recurrent layer's input features zeroed throughout a text
            (Gal & Ghahramani 2016).
        recurrent_dropout: fraction of the state zeroed throughout a text; above zero, cuDNN
            kernels cannot be used.
        output_dropout: fraction of the pooled vector zeroed.
        l1: weight of the sum of absolute kernel entries in `network.losses`: input and recurrent
            kernels, those of the attention and of the dense layer.
        l2: weight of the sum of squared entries of the same kernels.
        layer_norm: True for layer normalisation between recurrent layers.
        kernel_initializer: a key of `INITIALIZERS`, for all kernels but the recurrent ones.
        recurrent_initializer: a key of `INITIALIZERS`, for the recurrent kernels.
        reset_after: GRU only: True to apply the reset gate after the product with the recurrent
            kernel (cuDNN's form), False for before it (Cho et al. 2014).
    """

    encoder: str
    bidirectional: bool
    units: int
    num_layers: int
    pooling: str
    embedding_dim: int
    train_embedding: bool = True
    token_dropout: float = 0.0
    embedding_dropout: float = 0.0
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    output_dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    layer_norm: bool = False
    kernel_initializer: str = "glorot_uniform"
    recurrent_initializer: str = "orthogonal"
    reset_after: bool = True

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Architecture":
        """Return the architecture in the settings of section `model`, which has further settings.

        Architecture.from_settings(config.model.to_dict())
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in names})

    @property
    def regularizer(self) -> keras.regularizers.Regularizer | None:
        """The penalty on kernels, or None."""
        return keras.regularizers.L1L2(l1=self.l1, l2=self.l2) if self.l1 or self.l2 else None


class Network(keras.Model):
    """Features of texts to logits; made by `build`.

        logits = network({"token_ids": token_ids, "lengths": lengths})  # [B, C]

    Args:
        encoder: features to a vector for each position.
        head: these vectors to logits.
    """

    def __init__(self, *, encoder: Encoder, head: Head):
        super().__init__(name="network")
        # Keras finds weights in the attributes that are layers, and keeps the order of `weights`.
        self._tracked_layers = [*encoder.layers, *head.layers]
        self.encoder = encoder
        self.head = head

    def build(self, features_shape: Any = None) -> None:
        """Create all weights; their order and names do not depend on a first call."""
        # Number of features of the vectors that `encode` returns.
        self.width = self.head.build(self.encoder.build())

    @property
    def parameters(self) -> list[keras.Variable]:
        """All weights, trained or frozen, to save; always in the same order."""
        return self.weights

    @property
    def named_parameters(self) -> dict[str, keras.Variable]:
        """All weights by a unique name that depends on the architecture only, in their order.

        The name is the Keras path. In a plug-in, Keras numbers layers without a name throughout the
        process, so the name has the weight's position instead.
        """
        names = {
            id(weight): f"{layer.path}/{position}/{weight.name}"
            for layer in self.encoder.stack
            if isinstance(layer, PluginEncoder)
            for position, weight in enumerate(layer.weights)
        }
        return {names.get(id(weight), weight.path): weight for weight in self.weights}

    @property
    def trained_by_depth(self) -> list[list[keras.Variable]]:
        """Trained weights of each depth that has some, from the bottom up.

        The depths are the token tables, each layer of the stack with its normalisation, and the
        head.
        """
        encoder = self.encoder
        depths = [encoder.token_tables, *([layer] for layer in encoder.stack), self.head.layers]
        for depth, norm in zip(depths[1:-1], encoder.norms, strict=False):
            depth.append(norm)
        groups = [[v for layer in depth for v in layer.trainable_variables] for depth in depths]
        return [variables for variables in groups if variables]

    @property
    def dropout_states(self) -> list[keras.Variable]:
        """Counters of the dropout masks, always in the same order.

        Inference neither reads nor changes them, and `TrainStep` sets them at each step. Their
        `path`s are not stable.
        """
        weights = {id(variable) for variable in self.weights}
        return [variable for variable in self.variables if id(variable) not in weights]

    def call(self, features: Features, training: bool = False) -> tf.Tensor:
        """Return the logits of a batch of texts.

        Args:
            features: see `Features`; each row is a text, so R is B.
            training: True to apply dropout; a Python bool.

        Returns:
            float32 [B, C].
        """
        return self.logits(self.encode(features, training), training)

    def encode(self, features: Features, training: bool = False) -> tf.Tensor:
        """Return the pooled vectors of a batch of texts, before the output dropout, [B, width]."""
        outputs = self.encoder(features, training)  # [R, T, D]
        return self.head.pool(outputs, features["lengths"])

    def logits(self, vectors: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the logits, float32 [B, C], from vectors of `encode`."""
        return self.head.logits(vectors, training)


def build(
    architecture: Architecture,
    *,
    vocabulary_size: int,
    num_classes: int,
    embedding_matrix: np.ndarray | None = None,
    subword_ids: np.ndarray | None = None,
    subword_buckets: int = 0,
    seed: int = 0,
    precision: str = "float32",
) -> Network:
    """Return a network with initial weights.

        architecture = Architecture(
            encoder="lstm", bidirectional=True, units=64, num_layers=1, pooling="max_mean",
            embedding_dim=100,
        )
        network = build(architecture, vocabulary_size=20_000, num_classes=2, seed=1)

    Equal arguments give equal initial weights, bit for bit, and equal dropout masks. Each part has
    its own seed, derived from `seed` and the part's name, so networks that differ in one setting
    have equal initial weights in their equal parts.

    Args:
        architecture: layers and their settings.
        vocabulary_size: number of token ids, padding and unknown words included.
        num_classes: number of logits, C.
        embedding_matrix: float [vocabulary_size, embedding_dim], the initial token vectors;
            default: uniform in [-0.05, 0.05).
        subword_ids: int32 [vocabulary_size, K], the n-grams of each token id, whose mean vector is
            added to that of the token, see `Subwords`; None for none. N-gram vectors begin at
            zero, so n-grams that no training text has change nothing.
        subword_buckets: number of n-gram vectors.
        seed: seed of initial weights and dropout, any int.
        precision: Keras' name of a policy for computations, such as "mixed_bfloat16"; weights and
            logits stay float32. It does not change the initial weights.

    Raises:
        ValueError: the embedding matrix has another shape.
        ConfigError: the function of a plug-in cannot be used, see `PluginEncoder`.
    """
    with _policy(precision):
        encoder = _make_encoder(
            architecture,
            vocabulary_size=vocabulary_size,
            # An initializer with a matrix would keep it in memory: it is assigned below.
            embedding_initializer="zeros"
            if embedding_matrix is not None
            else keras.initializers.RandomUniform(
                -0.05, 0.05, seed=derived_seed(seed, "embedding")
            ),
            subwords=None
            if subword_ids is None
            else Subwords(_make_subword_table(architecture, subword_buckets), subword_ids),
            seed=seed,
        )
        # With mixed precision, the head computes in the type of the weights, float32: a mean over
        # the positions needs more than the 8 bits of bfloat16.
        dtype = keras.config.dtype_policy().variable_dtype
        head = _make_head(architecture, num_classes=num_classes, dtype=dtype, seed=seed)
        network = Network(encoder=encoder, head=head)
        network.build()
    if embedding_matrix is not None:
        network.encoder.embedding.embeddings.assign(embedding_matrix)
    return network


@contextmanager
def _policy(name: str) -> Iterator[None]:
    """Make the layers within the block compute in a precision; "float32" leaves Keras' default."""
    before = keras.config.dtype_policy()
    if name != "float32":
        keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _make_subword_table(architecture: Architecture, num_buckets: int) -> keras.layers.Embedding:
    return keras.layers.Embedding(
        num_buckets, architecture.embedding_dim, embeddings_initializer="zeros", name="subwords"
    )


def make_stack(architecture: Architecture, seed: int) -> list[keras.layers.Layer]:
    """Return the layers between the embedding and the head, without weights."""
    settings: dict[str, Any] = {
        "units": architecture.units,
        "num_layers": architecture.num_layers,
        "bidirectional": architecture.bidirectional,
        "dropout": architecture.input_dropout,
    }
    if is_plugin(architecture.encoder):
        arguments = settings | {"seed": derived_seed(seed, "encoder")}
        return [PluginEncoder(architecture.encoder, arguments, name="encoder")]
    layer_type = ENCODERS[architecture.encoder]
    if layer_type is None:
        return []
    if architecture.encoder == "gru":
        settings["reset_after"] = architecture.reset_after
    return build_recurrent_layers(
        layer_type,
        kernel_initializer=INITIALIZERS[architecture.kernel_initializer],
        recurrent_initializer=INITIALIZERS[architecture.recurrent_initializer],
        seed=seed,
        recurrent_dropout=architecture.recurrent_dropout,
        kernel_regularizer=architecture.regularizer,
        recurrent_regularizer=architecture.regularizer,
        **settings,
    )


def _make_encoder(
    architecture: Architecture,
    *,
    vocabulary_size: int,
    embedding_initializer: str | keras.initializers.Initializer,
    subwords: Subwords | None,
    seed: int,
) -> Encoder:
    seed_of = partial(derived_seed, seed)
    stack = make_stack(architecture, seed)
    num_norms = max(len(stack) - 1, 0) if architecture.layer_norm else 0
    return Encoder(
        embedding=keras.layers.Embedding(
            vocabulary_size,
            architecture.embedding_dim,
            embeddings_initializer=embedding_initializer,
            trainable=architecture.train_embedding,
            name="embedding",
        ),
        # Noise of shape [R, T, 1] zeroes whole tokens ...
        token_dropout=keras.layers.Dropout(
            architecture.token_dropout, noise_shape=(None, None, 1), seed=seed_of("token_dropout")
        ),
        # ... and of shape [R, 1, E] whole embedding dimensions.
        embedding_dropout=keras.layers.SpatialDropout1D(
            architecture.embedding_dropout, seed=seed_of("embedding_dropout")
        ),
        stack=stack,
        norms=[keras.layers.LayerNormalization(name=f"norm_{i}") for i in range(num_norms)],
        subwords=subwords,
    )


def _make_head(architecture: Architecture, *, num_classes: int, dtype: str, seed: int) -> Head:
    seed_of = partial(derived_seed, seed)
    make_kernel = INITIALIZERS[architecture.kernel_initializer]
    return Head(
        pooling=POOLINGS[architecture.pooling](
            bidirectional=architecture.bidirectional,
            kernel_initializer=make_kernel,
            kernel_regularizer=architecture.regularizer,
            seed=seed_of("pooling"),
            dtype=dtype,
            name="pooling",
        ),
        dropout=keras.layers.Dropout(
            architecture.output_dropout, seed=seed_of("output_dropout"), dtype=dtype
        ),
        dense=keras.layers.Dense(
            num_classes,
            kernel_initializer=make_kernel(seed=seed_of("dense")),
            kernel_regularizer=architecture.regularizer,
            dtype=dtype,
            name="dense",
        ),
    )
