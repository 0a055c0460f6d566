"""Encoders from other modules: `model.encoder: package.module:function`.

The function is called as `function(*, units, num_layers, bidirectional, dropout, seed)` and returns
a Keras layer. The layer is called as `layer(x, lengths, training=...)`, with float32 [R, T, E] and
int32 [R], and returns [R, T, D]. At the real positions of a row, its outputs must not depend on the
padding or on other rows. With `bidirectional`, the first half of D is read forward and the second
half backward, as the pooling "last" expects. An example:

    class Convolution(keras.layers.Layer):
        def __init__(self, units, seed):
            super().__init__()
            initializer = keras.initializers.GlorotUniform(seed)
            self.convolution = keras.layers.Conv1D(
                units, 3, padding="same", kernel_initializer=initializer
            )

        def call(self, x, lengths, training=False):
            real = tf.sequence_mask(lengths, tf.shape(x)[1], x.dtype)[:, :, tf.newaxis]
            return self.convolution(x * real)

    def convolution(*, units, num_layers, bidirectional, dropout, seed):
        return Convolution(units, seed)
"""

import importlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from textclf.errors import ConfigError
from textclf.networks.encoder import Encoder


def is_plugin(encoder: str) -> bool:
    """Return True if the name of an encoder is that of a function in another module."""
    return ":" in encoder


class PluginEncoder(keras.layers.Layer):
    """The layer that the function of another module returns, as a layer of an encoder's stack.

    Args:
        function_name: `package.module:function`; the module is imported.
        arguments: keyword arguments of the function.

    Raises:
        ConfigError: the module cannot be imported, has no such function, or the function returns
            something else than a Keras layer.
    """

    def __init__(self, function_name: str, arguments: dict[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        self.function_name = function_name
        module_name, _, attribute = function_name.partition(":")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # the module may raise anything
            raise self._error(
                f"the module {module_name} cannot be imported ({type(error).__name__}: {error}); "
                "install it, or add its folder to PYTHONPATH"
            ) from error
        function = getattr(module, attribute, None)
        if not callable(function):
            raise self._error(f"the module {module_name} has no function {attribute}")
        self._seed = arguments["seed"]
        try:
            with _default_seeds(self._seed):
                layer = function(**arguments)
        except Exception as error:
            call = f"{attribute}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
            raise self._error(f"{call} failed ({type(error).__name__}: {error})") from error
        if not isinstance(layer, keras.layers.Layer):
            raise self._error(f"returned {type(layer).__name__}; expected a Keras layer")
        self.layer = layer

    def build(self, x_shape: Any, lengths_shape: Any = None) -> None:
        """Create the weights with a call, as Keras does for layers without `build`.

        Raises:
            ConfigError: the call fails, or the outputs are not [R, T, D].
        """
        x = tf.zeros([2, 3, x_shape[-1]], self.compute_dtype)
        try:
            with _default_seeds(self._seed):
                outputs = self.layer(x, tf.constant([3, 1]), training=False)
        except Exception as error:
            raise self._error(
                "the layer cannot be called as layer(x, lengths, training=False) "
                f"({type(error).__name__}: {error})"
            ) from error
        shape = getattr(outputs, "shape", type(outputs).__name__)
        if not isinstance(shape, tf.TensorShape) or shape.rank != 3 or shape[:2] != (2, 3):
            raise self._error(
                f"the layer maps [2, 3, {x.shape[-1]}] to {shape}; expected [2, 3, D]"
            )
        self.num_features = shape[-1]

    def compute_output_shape(self, x_shape: Any, lengths_shape: Any = None) -> tuple:
        """Return (R, T, D); available after `build`."""
        return (*x_shape[:2], self.num_features)

    def call(self, x: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the outputs of the layer, [R, T, D], from [R, T, E] and [R]."""
        outputs = self.layer(x, lengths, training=training)
        return tf.identity(outputs)  # without a mask that Keras attached; poolings read lengths

    def _error(self, problem: str) -> ConfigError:
        return ConfigError([f"model.encoder: {self.function_name}: {problem}"])


@contextmanager
def _default_seeds(seed: int) -> Iterator[None]:
    """Derive the seeds that Keras draws for initializers and dropout without one from `seed`.

    Keras draws them from Python's generator, whose state is restored.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def check_padding_invariance(encoder: Encoder, tolerance: float = 1e-4) -> None:
    """Check that padding and other rows do not change the outputs of an encoder's stack.

    Rows of 1 to 9 random token vectors are encoded three times: together, with different padding,
    and one row at a time.

    Args:
        encoder: a built encoder.
        tolerance: largest difference, relative to the largest output if that is above 1.

    Raises:
        ConfigError: an output at a real position changes or is not finite.
    """
    [name] = [layer.function_name for layer in encoder.stack if isinstance(layer, PluginEncoder)]
    rng = np.random.default_rng(0)
    lengths = np.array([9, 4, 1, 6], np.int32)
    size = encoder.embedding.output_dim
    x = rng.normal(size=(4, 9, size)).astype(np.float32)

    def outputs(rows: np.ndarray, row_lengths: np.ndarray) -> np.ndarray:
        return encoder.encode_vectors(tf.constant(rows), tf.constant(row_lengths)).numpy()

    together = outputs(x, lengths)
    real = np.arange(9) < lengths[:, np.newaxis]  # [4, 9]
    scale = max(1.0, float(np.abs(together[real]).max()))
    longer = np.concatenate([x, x[:, :5]], axis=1)
    longer[:, :9][~real] = 3.0
    changes = {"padding": np.abs(outputs(longer, lengths)[:, :9] - together)[real].max()}
    single = [outputs(x[i : i + 1, :n], lengths[i : i + 1])[0] for i, n in enumerate(lengths)]
    changes["other rows of the batch"] = np.abs(np.concatenate(single) - together[real]).max()
    for cause, change in changes.items():
        if not change <= tolerance * scale:  # NaN is refused, too
            raise ConfigError(
                [
                    f"model.encoder: {name}: {cause} changed an output by {change:.3g}; use "
                    "`lengths` so that outputs at real positions depend on the row's real "
                    "positions only"
                ]
            )
