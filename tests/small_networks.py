"""Small networks and batches for the tests of `textclf.networks`."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from textclf import networks

VOCABULARY_SIZE, NUM_CLASSES, EMBEDDING_DIM, UNITS = 12, 3, 5, 4
CELLS = ("simple_rnn", "lstm", "gru")
DROPOUTS = (
    "token_dropout",
    "embedding_dropout",
    "input_dropout",
    "recurrent_dropout",
    "output_dropout",
)
EVERY_NETWORK = [
    (encoder, bidirectional, pooling)
    for encoder, bidirectional, pooling in itertools.product(
        networks.ENCODERS, (False, True), networks.POOLINGS
    )
    if encoder != "bag" or (pooling != "last" and not bidirectional)
]
every_network = pytest.mark.parametrize(("encoder", "bidirectional", "pooling"), EVERY_NETWORK)
# Lengths of the rows: medium, one token, the whole width, the width less one.
LENGTHS = np.array([3, 1, 6, 5], np.int32)
SIGNATURE = [
    {
        "token_ids": tf.TensorSpec([None, None], tf.int32),
        "lengths": tf.TensorSpec([None], tf.int32),
    }
]
_ARGUMENTS = {
    "vocabulary_size": VOCABULARY_SIZE,
    "num_classes": NUM_CLASSES,
    "embedding_matrix": None,
    "seed": 0,
}
_SETTINGS = {
    "bidirectional": True,
    "units": UNITS,
    "num_layers": 1,
    "pooling": "max_mean",
    "embedding_dim": EMBEDDING_DIM,
}


def make(encoder: str = "gru", **settings) -> networks.Network:
    """Return a small network; settings are those of an architecture and arguments of `build`."""
    arguments = {name: settings.pop(name, default) for name, default in _ARGUMENTS.items()}
    architecture = networks.Architecture(encoder=encoder, **(_SETTINGS | settings))
    return networks.build(architecture, **arguments)


def randomize(network: networks.Network, seed: int = 1) -> networks.Network:
    """Draw all weights, also biases, whose zeros would hide errors."""
    rng = np.random.default_rng(seed)
    for variable in network.parameters:
        variable.assign(rng.normal(scale=0.5, size=variable.shape))
    return network


def traced(
    network: networks.Network | networks.ServingNetwork,
) -> tf.types.experimental.PolymorphicFunction:
    """Return the function from features to logits as one graph for all shapes."""
    return tf.function(
        lambda features: network(features), input_signature=SIGNATURE, autograph=False
    )


def features(token_ids, lengths) -> networks.Features:
    """Return features as tensors."""
    return {
        "token_ids": tf.constant(token_ids, tf.int32),
        "lengths": tf.constant(lengths, tf.int32),
    }


def batch(lengths: np.ndarray = LENGTHS, extra: int = 0, seed: int = 0) -> networks.Features:
    """Return the same texts for every `extra`, the number of columns without a real token.

    Real ids are 2 to 8, the padding is zeros.
    """
    rng = np.random.default_rng(seed)
    token_ids = np.zeros((len(lengths), lengths.max() + extra), np.int32)
    for row, length in enumerate(lengths):
        token_ids[row, :length] = rng.integers(2, 9, size=length)
    return features(token_ids, lengths)


def is_real(batch: networks.Features) -> np.ndarray:
    """Return bool [R, T], False in the padding."""
    return tf.sequence_mask(batch["lengths"], batch["token_ids"].shape[1]).numpy()
