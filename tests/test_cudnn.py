"""Conditions of cuDNN's kernels: they agree with the graphs that Keras traces for a GPU."""

import itertools
from typing import Any

import keras
import pytest
import tensorflow as tf
from small_networks import make, traced

from textclf import networks

KERNEL = "CudnnRNNV3"


def count_kernels(function: Any) -> int:
    graph = function.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    return sum(node.op == KERNEL for node in nodes)


def traced_layer(layer: keras.layers.RNN) -> Any:
    # A fixed number of steps, which `unroll` needs; built first, as a GPU is only simulated.
    layer.build((2, 3, 5))
    return tf.function(
        lambda x: layer(x), input_signature=[tf.TensorSpec([2, 3, 5])], autograph=False
    )


class OtherLSTM(keras.layers.LSTM):
    """LSTM of another module."""


# Layer and the arguments that exclude the kernel.
LAYERS = [
    (lambda: keras.layers.LSTM(4), []),
    (lambda: OtherLSTM(4), []),
    (lambda: keras.layers.LSTM(4, dropout=0.5), []),
    (lambda: keras.layers.LSTM(4, go_backwards=True), []),
    (lambda: keras.layers.LSTM(4, activation=tf.tanh), []),
    (lambda: keras.layers.LSTM(4, activation="relu"), ["activation"]),
    (lambda: keras.layers.LSTM(4, activation=None), ["activation"]),
    (lambda: keras.layers.LSTM(4, recurrent_activation="tanh"), ["recurrent_activation"]),
    (lambda: keras.layers.LSTM(4, recurrent_dropout=0.1), ["recurrent_dropout"]),
    (lambda: keras.layers.LSTM(4, unroll=True), ["unroll"]),
    (lambda: keras.layers.LSTM(4, use_bias=False), ["use_bias"]),
    (lambda: keras.layers.LSTM(4, use_cudnn=False), ["use_cudnn"]),
    (lambda: keras.layers.LSTM(4, use_cudnn=True), []),
    (lambda: keras.layers.LSTM(4, unroll=True, use_bias=False), ["unroll", "use_bias"]),
    (lambda: keras.layers.GRU(4), []),
    (lambda: keras.layers.GRU(4, dropout=0.5), []),
    (lambda: keras.layers.GRU(4, activation="relu"), ["activation"]),
    (lambda: keras.layers.GRU(4, recurrent_activation="relu"), ["recurrent_activation"]),
    (lambda: keras.layers.GRU(4, recurrent_dropout=0.1), ["recurrent_dropout"]),
    (lambda: keras.layers.GRU(4, unroll=True), ["unroll"]),
    (lambda: keras.layers.GRU(4, use_bias=False), ["use_bias"]),
    (lambda: keras.layers.GRU(4, use_cudnn=False), ["use_cudnn"]),
    (lambda: keras.layers.GRU(4, reset_after=False), ["reset_after"]),
    (lambda: keras.layers.SimpleRNN(4), ["type"]),
    (lambda: keras.layers.RNN(keras.layers.LSTMCell(4)), ["type"]),
]


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_cudnn_obstacles_of_a_layer_agree_with_its_graph_on_a_gpu(number, request):
    make_layer, arguments = LAYERS[number]
    layer = make_layer()
    assert [obstacle.argument for obstacle in networks.cudnn_obstacles(layer)] == arguments
    function = traced_layer(layer)
    request.getfixturevalue("visible_gpu")
    assert count_kernels(function) == (0 if arguments else 1)


@pytest.mark.parametrize("encoder", networks.ENCODERS)
def test_cudnn_obstacles_of_an_architecture_agree_with_its_graph_on_a_gpu(encoder, request):
    num_with_kernel = []
    graphs = []
    settings = itertools.product((False, True), (0.0, 0.2), (True, False), (1, 2))
    for bidirectional, recurrent_dropout, reset_after, num_layers in settings:
        if encoder != "gru" and not reset_after:
            continue
        network = make(
            encoder,
            bidirectional=bidirectional,
            recurrent_dropout=recurrent_dropout,
            reset_after=reset_after,
            num_layers=num_layers,
        )
        architecture = networks.Architecture(
            encoder=encoder, bidirectional=bidirectional, units=4, num_layers=num_layers,
            pooling="mean", embedding_dim=5, recurrent_dropout=recurrent_dropout,
            reset_after=reset_after,
        )  # fmt: skip
        layers = networks.recurrent_layers(architecture)
        assert [layer.name for layer in layers] == [
            layer.name for layer in network.encoder.recurrent_layers
        ]
        num_with_kernel.append(sum(not networks.cudnn_obstacles(layer) for layer in layers))
        graphs.append(traced(network))
    request.getfixturevalue("visible_gpu")
    assert [count_kernels(graph) for graph in graphs] == num_with_kernel
    assert any(num_with_kernel) == (encoder in ("lstm", "gru"))


def test_recurrent_layers_include_those_inside_a_plug_in():
    architecture = networks.Architecture(
        encoder="encoder_plugins:recurrent", bidirectional=True, units=4, num_layers=1,
        pooling="mean", embedding_dim=5,
    )  # fmt: skip
    layers = networks.recurrent_layers(architecture)
    assert [type(layer).__name__ for layer in layers] == ["GRU"]
    assert [networks.cudnn_obstacles(layer) for layer in layers] == [[]]
