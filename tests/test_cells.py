"""Equations of the recurrent cells in NumPy: gates and backpropagation through time."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_networks import LENGTHS, UNITS, batch, make, randomize

from textclf.networks import cells
from textclf.training import recurrence

CELLS: list[tuple[str, dict[str, Any]]] = [
    ("simple_rnn", {}),
    ("lstm", {}),
    ("gru", {"reset_after": False}),
    ("gru", {"reset_after": True}),
]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_gates(xs: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> list[dict]:
    """Return the gates of each step of one text, computed step by step."""
    h, c, gates = np.zeros(UNITS), np.zeros(UNITS), []
    for x in xs:
        i, f, g, o = np.split(x @ W + h @ U + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        gates.append({"input": sigmoid(i), "forget": sigmoid(f), "output": sigmoid(o)})
    return gates


def gru_gates(xs: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> list[dict]:
    """Return the gates of each step; with two biases, the reset gate acts after the product."""
    is_after = b.ndim == 2
    b, d = b if is_after else (b, np.zeros(3 * UNITS))
    h, gates = np.zeros(UNITS), []
    for x in xs:
        (a_z, a_r, a_g), (u_z, u_r, u_g) = np.split(x @ W + b, 3), np.split(h @ U + d, 3)
        z, r = sigmoid(a_z + u_z), sigmoid(a_r + u_r)
        g = np.tanh(a_g + (r * u_g if is_after else (r * h) @ U[:, 2 * UNITS :]))
        h = z * h + (1 - z) * g
        gates.append({"update": z, "reset": r})
    return gates


@pytest.mark.parametrize(
    ("encoder", "settings", "step_by_step"),
    [
        ("lstm", {}, lstm_gates),
        ("gru", {"reset_after": False}, gru_gates),
        ("gru", {"reset_after": True}, gru_gates),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gates_equal_those_computed_step_by_step(
    float64, encoder, settings, step_by_step, bidirectional
):
    encoder = randomize(make(encoder, bidirectional=bidirectional, **settings)).encoder
    inputs = batch(extra=2)
    x = encoder.embed(inputs["token_ids"]).numpy()
    pairs = list(recurrence.inputs_and_states(encoder, x, LENGTHS))
    assert len(pairs) == len(encoder.recurrent_layers) == 1 + bidirectional
    vectors = encoder.embedding.embeddings.numpy()
    for direction, layer in enumerate(encoder.recurrent_layers):
        weights = [weight.numpy() for weight in layer.weights]
        computed = cells.gates(layer, *pairs[direction])
        for row, length in enumerate(LENGTHS):
            xs = vectors[inputs["token_ids"][row, :length]]
            expected = step_by_step(xs[::-1] if direction else xs, *weights)
            assert computed.keys() == expected[0].keys()
            for gate, value in computed.items():
                of_steps = [step[gate] for step in expected]
                np.testing.assert_allclose(value[row, :length], of_steps, rtol=0, atol=1e-13)


def layer_and_inputs(encoder: str, settings: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """Return a recurrent layer with random weights, and inputs float64 [2, 6, E]."""
    network = randomize(make(encoder, bidirectional=False, **settings))
    [layer] = network.encoder.recurrent_layers
    return layer, np.random.default_rng(4).normal(size=(2, 6, network.encoder.embedding.output_dim))


@pytest.mark.parametrize(("encoder", "settings"), CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_of_a_stack_equal_those_of_keras(float64, encoder, settings, bidirectional):
    network = make(encoder, bidirectional=bidirectional, num_layers=2, layer_norm=True, **settings)
    encoder = randomize(network).encoder
    inputs = batch(extra=2)
    x = encoder.embed(inputs["token_ids"]).numpy()
    *_, upper = [h for _, h in recurrence.inputs_and_states(encoder, x, LENGTHS)]
    expected = encoder(inputs).numpy()
    for row, length in enumerate(LENGTHS):
        real = upper[row, :length]
        if bidirectional:
            real = real[::-1]
        np.testing.assert_allclose(real, expected[row, :length, -UNITS:], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("encoder", "settings"), CELLS)
def test_backpropagation_through_time_equals_automatic_differentiation(float64, encoder, settings):
    layer, x = layer_and_inputs(encoder, settings)
    upstream = np.random.default_rng(5).normal(size=(2, 6, UNITS))
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        h = layer(x)
    expected = tape.gradient(h, x, output_gradients=tf.constant(upstream)).numpy()
    computed = cells.input_gradients(layer, x.numpy(), h.numpy(), upstream=upstream)
    assert np.abs(expected[:, 0]).min() > 1e-4, "the gradient must reach the first step"
    np.testing.assert_allclose(computed, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("encoder", "settings"), CELLS)
def test_backpropagation_through_time_equals_finite_differences(float64, encoder, settings):
    layer, x = layer_and_inputs(encoder, settings)
    direction = np.random.default_rng(6).normal(size=UNITS)
    upstream = np.zeros((2, 6, UNITS))
    upstream[:, -1] = direction  # only the last state counts
    h = layer(tf.constant(x)).numpy()
    computed = cells.input_gradients(layer, x, h, upstream=upstream)
    for step in range(6):
        sums = []
        for change in (1e-6, -1e-6):
            moved = x.copy()
            moved[0, step, 2] += change
            sums.append(layer(tf.constant(moved)).numpy()[0, -1] @ direction)
        slope = (sums[0] - sums[1]) / 2e-6
        np.testing.assert_allclose(computed[0, step, 2], slope, rtol=1e-6, atol=1e-9)


def test_gates_of_extreme_weights_are_0_or_1():
    layer, x = layer_and_inputs("lstm", {})
    for variable in layer.weights:
        variable.assign(variable * 1e4)
    x = x.astype(np.float32)
    h = layer(tf.constant(x)).numpy()
    for gate in cells.gates(layer, x, h).values():
        assert set(np.unique(gate.round(6))) == {0, 1}
    assert np.isfinite(cells.input_gradients(layer, x, h, upstream=np.ones_like(h))).all()
