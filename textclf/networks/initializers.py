"""Initial weights: distributions by name, and one seed for each part of a network."""

import hashlib
from collections.abc import Callable
from functools import partial

import keras

# Makes the initializer of one weight; the argument is `seed`.
MakeInitializer = Callable[..., keras.initializers.Initializer]

INITIALIZERS: dict[str, MakeInitializer] = {
    "glorot_uniform": keras.initializers.GlorotUniform,
    "glorot_normal": keras.initializers.GlorotNormal,
    "he_uniform": keras.initializers.HeUniform,
    "he_normal": keras.initializers.HeNormal,
    "orthogonal": keras.initializers.Orthogonal,
    "normal": partial(keras.initializers.RandomNormal, stddev=0.05),
}


def derived_seed(seed: int, name: str) -> int:
    """Return the seed of one part, below 2 ** 31; it depends on `seed` and `name` only."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") >> 1
