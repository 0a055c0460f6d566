"""The conditions under which Keras runs a recurrent layer with cuDNN's kernel.

On TensorFlow, the `inner_loop` of Keras' LSTM and GRU calls the kernel when the graph is traced, if
a GPU is visible and all conditions of `cudnn_obstacles` hold. Otherwise the layer is a loop over
the steps. Keras 3.15 has the conditions in `layers/rnn/lstm.py`, `layers/rnn/gru.py` and
`backend/tensorflow/rnn.py`.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from textclf.networks.network import Architecture, make_stack
from textclf.networks.plugin import PluginEncoder

_TANH = (keras.activations.tanh, keras.ops.tanh, tf.tanh)
_SIGMOID = (keras.activations.sigmoid, keras.ops.sigmoid, tf.sigmoid)


class Obstacle(NamedTuple):
    """An argument of a recurrent layer whose value excludes the cuDNN kernel.

    Attributes:
        argument: name of the argument; "type" for the type of the layer.
        value: its value; a function is represented by its name.
        needed: the value that the kernel needs.
    """

    argument: str
    value: Any
    needed: Any


def cudnn_obstacles(layer: keras.layers.RNN) -> list[Obstacle]:
    """Return what keeps a layer from the cuDNN kernel on a GPU; empty if nothing does.

    Input dropout does not: Keras applies it before the kernel.
    """
    if not isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
        return [Obstacle("type", type(layer).__name__, "LSTM or GRU")]
    obstacles = []
    for argument, needed, allowed in (
        ("activation", "tanh", _TANH),
        ("recurrent_activation", "sigmoid", _SIGMOID),
    ):
        function = getattr(layer, argument)
        if function not in allowed:
            obstacles.append(Obstacle(argument, getattr(function, "__name__", "?"), needed))
    values: dict[str, float] = {"recurrent_dropout": 0, "unroll": False, "use_bias": True}
    if isinstance(layer, keras.layers.GRU):
        values["reset_after"] = True
    for argument, needed_value in values.items():
        value = getattr(layer, argument)
        if bool(value) is not bool(needed_value):
            obstacles.append(Obstacle(argument, value, needed_value))
    if layer.use_cudnn not in ("auto", True):
        obstacles.append(Obstacle("use_cudnn", layer.use_cudnn, "auto"))
    return obstacles


def recurrent_layers(architecture: Architecture) -> list[keras.layers.RNN]:
    """Return the Keras recurrent layers of an architecture, from the bottom up.

    They have no weights, except those of a plug-in, which may create its layers with its weights.

    Raises:
        ConfigError: the function of a plug-in cannot be used, see `PluginEncoder`.
    """
    layers: list[keras.layers.RNN] = []
    for layer in make_stack(architecture, seed=0):
        if isinstance(layer, PluginEncoder):
            layer.build((None, None, architecture.embedding_dim))
        layers += [part for part in layer._flatten_layers() if isinstance(part, keras.layers.RNN)]
    return layers
