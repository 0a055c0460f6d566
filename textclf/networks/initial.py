"""Where weights begin: the distributions by name, and a seed for each part."""

import hashlib
from collections.abc import Callable
from functools import partial

import keras

INITIALIZERS: dict[str, Callable[..., keras.initializers.Initializer]] = {
    "glorot_uniform": keras.initializers.GlorotUniform,
    "glorot_normal": keras.initializers.GlorotNormal,
    "he_uniform": keras.initializers.HeUniform,
    "he_normal": keras.initializers.HeNormal,
    "orthogonal": keras.initializers.Orthogonal,
    "normal": partial(keras.initializers.RandomNormal, stddev=0.05),
}


def derived_seed(seed: int, name: str) -> int:
    """A seed for one part, below 2 ** 31, that depends on nothing but `seed` and its name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") >> 1
