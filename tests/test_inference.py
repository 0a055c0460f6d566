"""Serving networks: portable graphs with the answers of the network."""

import numpy as np
import pytest
import tensorflow as tf
from small_networks import (
    LENGTHS,
    VOCABULARY_SIZE,
    batch,
    features,
    make,
    randomize,
    traced,
)

from textclf import networks
from textclf.networks.inference import MAX_FUSED_ROWS


def operations(network: networks.Network | networks.ServingNetwork) -> set[str]:
    graph = traced(network).get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("encoder", ["lstm", "gru"])
def test_serving_graphs_contain_no_cudnn_kernel_although_a_gpu_is_visible(
    visible_gpu, encoder, bidirectional
):
    network = make(encoder, bidirectional=bidirectional)
    assert "CudnnRNNV3" in operations(network), "without a visible GPU this test shows nothing"
    serving = operations(networks.ServingNetwork(network))
    kernels = {"BlockLSTMV2"} if encoder == "lstm" else {"While", "StatelessWhile"}
    assert "CudnnRNNV3" not in serving and serving & kernels
    assert "Assert" not in serving
    assert "CudnnRNNV3" in operations(network), "training must keep the fast kernel"


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
def test_fused_lstm_equals_the_keras_loop_at_every_batch_size(bidirectional, num_layers):
    settings = {"units": 7, "num_layers": num_layers, "input_dropout": 0.3}
    network = randomize(make("lstm", bidirectional=bidirectional, layer_norm=True, **settings))
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, (4, 6))
    expected = traced(network)(features(ids, LENGTHS)).numpy()
    assert "BlockLSTMV2" not in operations(network)
    serving = networks.ServingNetwork(network)
    assert "BlockLSTMV2" in operations(serving)
    answers = traced(serving)
    np.testing.assert_allclose(answers(features(ids, LENGTHS)), expected, atol=1e-6)
    for row, length in enumerate(LENGTHS):
        for width in (6, length):  # a single text, padded and unpadded
            single = answers(features(ids[row : row + 1, :width], [length]))
            np.testing.assert_allclose(single, expected[row : row + 1], atol=1e-6)
    # With more rows than the limit of the fused operation, the loop uses slices of its weights.
    assert 9 * len(ids) > MAX_FUSED_ROWS
    many = answers(features(np.tile(ids, (9, 1)), np.tile(LENGTHS, 9)))
    np.testing.assert_allclose(many, np.tile(expected, (9, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "bidirectional"), [("last", False), *((name, True) for name in networks.POOLINGS)]
)
def test_serving_networks_pool_like_trained_networks_with_and_without_padding(
    pooling, bidirectional
):
    network = randomize(make("lstm", bidirectional=bidirectional, pooling=pooling))
    answers = traced(networks.ServingNetwork(network))
    for inputs in (batch(), batch(np.array([5, 5])), batch(np.array([1]))):
        np.testing.assert_allclose(answers(inputs), network(inputs), atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("encoder", networks.ENCODERS)
def test_serving_variables_hold_every_weight_once_and_no_dropout_state(
    encoder, bidirectional, tmp_path
):
    settings = {"input_dropout": 0.3, "recurrent_dropout": 0.3, "output_dropout": 0.3}
    network = randomize(make(encoder, bidirectional=bidirectional, **settings))
    serving = networks.ServingNetwork(network)
    sizes = [variable.numpy().size for variable in serving.variables]
    assert sum(sizes) == sum(weight.numpy().size for weight in network.parameters)
    module = tf.Module()
    module.logits = traced(serving)
    module.variables_of_the_graph = serving.variables
    tf.saved_model.save(module, str(tmp_path / "1"))  # refuses a graph with other variables
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    np.testing.assert_allclose(loaded.logits(batch()), network(batch()), atol=1e-6)


def test_building_a_serving_network_does_not_change_the_network():
    network = make("lstm", num_layers=2)

    def attributes() -> list[dict]:
        layers = network.encoder.recurrent_layers
        cells = [layer.cell for layer in layers]
        return [dict(vars(layer)) for layer in (*layers, *cells, *network.encoder.stack)]

    network(batch())
    before, weights = attributes(), [variable.numpy() for variable in network.parameters]
    paths = [variable.path for variable in network.variables]
    serving = networks.ServingNetwork(network)
    traced(serving)(batch())
    assert [variable.path for variable in network.variables] == paths
    for variable, value in zip(network.parameters, weights, strict=True):
        np.testing.assert_array_equal(variable, value)
    for old, new in zip(before, attributes(), strict=True):
        assert old.keys() == new.keys()
        assert all(old[name] is new[name] for name in old)
