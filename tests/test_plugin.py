"""Plug-in encoders: the contract of the function, padding invariance, weights and export."""

import random
from pathlib import Path

import encoder_plugins
import numpy as np
import pytest
import tensorflow as tf
from small_networks import EMBEDDING_DIM, batch, make, randomize, traced

from textclf import classifier, networks
from textclf.errors import ConfigError, ExportError


def test_plugin_functions_receive_the_settings_and_a_derived_seed():
    encoder_plugins.arguments.clear()
    network = make("encoder_plugins:convolution", units=7, num_layers=3, input_dropout=0.25, seed=5)
    [arguments] = encoder_plugins.arguments
    seed = arguments.pop("seed")
    assert arguments == {"units": 7, "num_layers": 3, "bidirectional": True, "dropout": 0.25}
    assert 0 <= seed < 2**31
    make("encoder_plugins:convolution", seed=6)
    assert encoder_plugins.arguments[-1]["seed"] != seed
    assert network.encoder(batch()).shape == (4, 6, 7)
    assert network.width == 14


@pytest.mark.parametrize("name", ["convolution", "recurrent"])
@pytest.mark.parametrize("pooling", networks.POOLINGS)
def test_networks_with_a_plugin_ignore_padding_and_answer_equally_when_served(name, pooling):
    network = randomize(make(f"encoder_plugins:{name}", pooling=pooling))
    networks.check_padding_invariance(network.encoder)
    expected = network(batch())
    np.testing.assert_allclose(network(batch(extra=5)), expected, atol=1e-5)
    serving = networks.ServingNetwork(network)
    np.testing.assert_allclose(traced(serving)(batch()), expected, atol=1e-6)


def test_seed_determines_the_weights_of_plugins_with_default_initializers():
    random.seed(1)
    first, second, other = (make("encoder_plugins:recurrent", seed=seed) for seed in (7, 7, 8))
    for a, b in zip(first.parameters, second.parameters, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [network.named_parameters["network/encoder/0/kernel"] for network in (first, other)]
    assert not np.any(kernels[0].numpy() == kernels[1].numpy())
    drawn = random.random()
    random.seed(1)
    assert drawn == random.random(), "the state of Python's generator must be restored"


def test_plugin_weights_have_stable_names_and_are_trained():
    first, second = (make("encoder_plugins:convolution") for _ in range(2))
    names = list(first.named_parameters)
    assert names == list(second.named_parameters)
    assert names[:3] == [
        "network/embedding/embeddings",
        "network/encoder/0/kernel",
        "network/encoder/1/bias",
    ]
    for a, b in zip(first.parameters, second.parameters, strict=True):
        np.testing.assert_array_equal(a, b)
    randomize(first)
    classifier.set_weights(second, classifier.get_weights(first), Path("folder"))
    np.testing.assert_array_equal(first(batch()), second(batch()))
    trained = [id(variable) for variable in first.trainable_variables]
    assert trained == [id(variable) for variable in first.parameters]


def test_inference_does_not_advance_the_dropout_seeds_of_a_plugin(tmp_path):
    network = randomize(make("encoder_plugins:recurrent", input_dropout=0.5))
    states = [state.numpy() for state in network.dropout_states]
    network(batch())
    for state, value in zip(network.dropout_states, states, strict=True):
        np.testing.assert_array_equal(state, value)
    assert np.abs(network(batch(), training=True) - network(batch())).max() > 1e-4
    serving = networks.ServingNetwork(network)
    module = tf.Module()
    module.logits, module.parameters = traced(serving), serving.variables
    tf.saved_model.save(module, str(tmp_path / "1"))  # refuses a graph with other variables


@pytest.mark.parametrize(
    ("name", "cause"),
    [("without_mask", "padding"), ("mean_of_batch", "other rows of the batch")],
)
def test_plugins_that_read_padding_or_neighbouring_rows_are_refused(name, cause):
    network = randomize(make(f"encoder_plugins:{name}"))
    with pytest.raises(ConfigError, match=f"encoder_plugins:{name}: {cause} changed an output"):
        networks.check_padding_invariance(network.encoder)


@pytest.mark.parametrize(
    ("encoder", "problem"),
    [
        ("no_such_module:make", r"no_such_module cannot be imported \(ModuleNotFoundError: "),
        ("encoder_plugins:missing", "the module encoder_plugins has no function missing"),
        ("encoder_plugins:arguments", "the module encoder_plugins has no function arguments"),
        ("encoder_plugins:fewer_arguments", r"fewer_arguments\(units=4, .*\) failed \(TypeError"),
        ("encoder_plugins:no_layer", "returned str; expected a Keras layer"),
        ("encoder_plugins:no_lengths", "cannot be called as layer"),
        ("encoder_plugins:one_position", rf"maps \[2, 3, {EMBEDDING_DIM}\] to \(2, 4\); expected"),
    ],
)
def test_plugins_with_a_contract_violation_are_refused_with_their_name(encoder, problem):
    with pytest.raises(ConfigError, match=f"^model.encoder: {encoder}: .*{problem}"):
        make(encoder)


@pytest.mark.parametrize(
    ("name", "operation"),
    [("python_code", "PyFunc"), ("compiled", "a function with jit_compile")],
)
def test_graphs_with_python_code_or_jit_compile_are_refused(name, operation):
    serving = networks.ServingNetwork(make(f"encoder_plugins:{name}"))
    with pytest.raises(ExportError, match=f"the graph contains {operation}: .* model.encoder"):
        networks.check_portable([traced(serving).get_concrete_function()])
    plain = networks.ServingNetwork(make("encoder_plugins:convolution"))
    networks.check_portable([traced(plain).get_concrete_function()])
