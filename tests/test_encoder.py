"""Encoders: equal to Keras' masked layers and to the equations of the textbooks; dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_networks import (
    CELLS,
    EMBEDDING_DIM,
    LENGTHS,
    UNITS,
    batch,
    is_real,
    make,
    randomize,
)

from textclf.networks.encoder import reverse_within_lengths


def test_reversed_rows_and_gradients_stay_within_the_lengths():
    rng = np.random.default_rng(0)
    rows, upstream = (tf.constant(rng.normal(size=(4, 7, 3))) for _ in range(2))
    results = []
    for reverse in (
        lambda x: reverse_within_lengths(x, LENGTHS),
        lambda x: tf.reverse_sequence(x, LENGTHS, seq_axis=1, batch_axis=0),
    ):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            outputs = reverse(rows)
        results.append((outputs, tape.gradient(outputs, rows, output_gradients=upstream)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


# === Keras' masked layers as the reference ===


def keras_stack(encoder: str, bidirectional: bool, num_layers: int, kwargs: dict):
    """Return Keras layers with random weights; the last two are equal but for `return_sequences`."""
    layer_type = {
        "simple_rnn": keras.layers.SimpleRNN,
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
    }[encoder]
    rng = np.random.default_rng(2)
    layers, num_features = [], EMBEDDING_DIM
    for i in range(num_layers + 1):
        layer = layer_type(UNITS, return_sequences=i < num_layers, **kwargs)
        layer = keras.layers.Bidirectional(layer) if bidirectional else layer
        layer.build((None, None, num_features))
        layer.set_weights([rng.normal(scale=0.5, size=w.shape) for w in layer.weights])
        layers.append(layer)
        if i < num_layers - 1:
            num_features = UNITS * (2 if bidirectional else 1)
    layers[-1].set_weights(layers[-2].get_weights())
    return layers


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize(
    ("encoder", "kwargs"),
    [
        ("simple_rnn", {}),
        ("lstm", {}),
        ("gru", {"reset_after": True}),
        ("gru", {"reset_after": False}),
    ],
)
def test_layers_without_a_mask_equal_masked_keras_layers(
    encoder, kwargs, bidirectional, num_layers
):
    network = make(
        encoder, bidirectional=bidirectional, num_layers=num_layers, pooling="last", **kwargs
    )
    reference = keras_stack(encoder, bidirectional, num_layers, kwargs)
    for ours, theirs in zip(network.encoder.stack, reference[:-1], strict=True):
        ours.set_weights(theirs.get_weights())  # same order and shapes as in Keras

    inputs = batch(extra=2)
    mask = is_real(inputs)
    x = network.encoder.embedding(inputs["token_ids"])
    for layer in reference[:-2]:
        x = layer(x, mask=mask)
    expected, expected_last = reference[-2](x, mask=mask), reference[-1](x, mask=mask)

    outputs = network.encoder(inputs)
    assert outputs.shape == expected.shape
    np.testing.assert_allclose(outputs[mask], expected[mask], atol=1e-6)
    np.testing.assert_allclose(
        network.head.pool(outputs, inputs["lengths"]), expected_last, atol=1e-6
    )
    if bidirectional and num_layers == 1:
        whole_rows = reference[-2](tf.identity(x))  # `x` itself has the mask attached
        assert np.abs(whole_rows[mask] - expected[mask]).max() > 1e-2, "the mask must matter"


# === Textbook equations of the cells ===
#
# x_t is the input at step t and h_t the state after it, both row vectors; W multiplies the input,
# U the previous state. Keras stores the kernels of all gates in one matrix; np.split returns the
# kernel of each gate. "*" multiplies entry by entry, "@" is the matrix product.


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def textbook_simple_rnn(xs, W, U, b):
    """Elman (1990), "Finding structure in time": the state depends on the input and on itself.

    h_t = tanh(x_t W + h_{t-1} U + b)
    """
    h, states = np.zeros(UNITS), []
    for x in xs:
        h = np.tanh(x @ W + h @ U + b)
        states.append(h)
    return np.array(states)


def textbook_lstm(xs, W, U, b):
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    The memory cell c is updated by addition, so gradients neither vanish nor explode in it. Gates
    between 0 and 1 scale the new input (i), the old memory (f) and the output (o).

    i_t = sigmoid(x_t W_i + h_{t-1} U_i + b_i)
    f_t = sigmoid(x_t W_f + h_{t-1} U_f + b_f)
    g_t = tanh   (x_t W_g + h_{t-1} U_g + b_g)        the candidate
    o_t = sigmoid(x_t W_o + h_{t-1} U_o + b_o)
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t)
    """
    W_i, W_f, W_g, W_o = np.split(W, 4, axis=1)
    U_i, U_f, U_g, U_o = np.split(U, 4, axis=1)
    b_i, b_f, b_g, b_o = np.split(b, 4)
    h, c, states = np.zeros(UNITS), np.zeros(UNITS), []
    for x in xs:
        i = sigmoid(x @ W_i + h @ U_i + b_i)
        f = sigmoid(x @ W_f + h @ U_f + b_f)
        g = np.tanh(x @ W_g + h @ U_g + b_g)
        o = sigmoid(x @ W_o + h @ U_o + b_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        states.append(h)
    return np.array(states)


def textbook_gru_reset_before(xs, W, U, b):
    """Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder".

    There is no separate memory: an update gate z mixes the old state with a candidate. A reset
    gate r scales the old state in the candidate, *before* the product with U.

    z_t = sigmoid(x_t W_z + h_{t-1} U_z + b_z)
    r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
    g_t = tanh   (x_t W_g + (r_t * h_{t-1}) U_g + b_g)
    h_t = z_t * h_{t-1} + (1 - z_t) * g_t
    """
    W_z, W_r, W_g = np.split(W, 3, axis=1)
    U_z, U_r, U_g = np.split(U, 3, axis=1)
    b_z, b_r, b_g = np.split(b, 3)
    h, states = np.zeros(UNITS), []
    for x in xs:
        z = sigmoid(x @ W_z + h @ U_z + b_z)
        r = sigmoid(x @ W_r + h @ U_r + b_r)
        g = np.tanh(x @ W_g + (r * h) @ U_g + b_g)
        h = z * h + (1 - z) * g
        states.append(h)
    return np.array(states)


def textbook_gru_reset_after(xs, W, U, b):
    """Version 1 of the preprint of Cho et al. (arXiv:1406.1078v1), which cuDNN computes.

    The reset gate acts *after* the product with U, which therefore has a bias d.

    g_t = tanh(x_t W_g + b_g + r_t * (h_{t-1} U_g + d_g))          the rest as above
    """
    W_z, W_r, W_g = np.split(W, 3, axis=1)
    U_z, U_r, U_g = np.split(U, 3, axis=1)
    (b_z, b_r, b_g), (d_z, d_r, d_g) = np.split(b[0], 3), np.split(b[1], 3)
    h, states = np.zeros(UNITS), []
    for x in xs:
        z = sigmoid(x @ W_z + b_z + h @ U_z + d_z)
        r = sigmoid(x @ W_r + b_r + h @ U_r + d_r)
        g = np.tanh(x @ W_g + b_g + r * (h @ U_g + d_g))
        h = z * h + (1 - z) * g
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize(
    ("encoder", "kwargs", "textbook"),
    [
        ("simple_rnn", {}, textbook_simple_rnn),
        ("lstm", {}, textbook_lstm),
        ("gru", {"reset_after": False}, textbook_gru_reset_before),
        ("gru", {"reset_after": True}, textbook_gru_reset_after),
    ],
)
def test_recurrent_cells_follow_the_textbook_equations(float64, encoder, kwargs, textbook):
    network = randomize(make(encoder, bidirectional=True, **kwargs))
    inputs = batch()
    outputs = network.encoder(inputs).numpy()
    assert outputs.dtype == np.float64
    vectors = network.encoder.embedding.embeddings.numpy()
    forward, backward = (
        [weight.numpy() for weight in layer.weights] for layer in network.encoder.recurrent_layers
    )
    for row, length in enumerate(LENGTHS):
        xs = vectors[inputs["token_ids"][row, :length]]
        # Backward states are computed from the end and returned in the order of the text.
        expected = np.hstack([textbook(xs, *forward), textbook(xs[::-1], *backward)[::-1]])
        np.testing.assert_allclose(outputs[row, :length], expected, rtol=0, atol=1e-13)


# === Settings of the stack ===


def test_layer_norm_is_applied_between_the_layers_of_a_stack():
    settings = {"num_layers": 3, "bidirectional": False}
    with_norm = make("lstm", layer_norm=True, **settings)
    without = make("lstm", **settings)
    encoder = with_norm.encoder
    assert len(encoder.norms) == 2 and len(without.encoder.norms) == 0
    normalized = encoder.norms[0](encoder.stack[0](encoder.embed(batch()["token_ids"])))
    np.testing.assert_allclose(tf.reduce_mean(normalized, axis=-1), np.zeros((4, 6)), atol=1e-5)
    assert np.abs(with_norm.encode(batch()) - without.encode(batch())).max() > 1e-3


def test_reset_after_changes_the_shape_of_the_gru_bias():
    before, after = (
        make("gru", reset_after=reset_after).encoder.recurrent_layers[0].cell.bias
        for reset_after in (False, True)
    )
    assert before.shape == (3 * UNITS,)
    assert after.shape == (2, 3 * UNITS)


def test_a_bag_ignores_the_settings_of_recurrent_layers():
    network = make("bag", units=0, num_layers=0, bidirectional=True, pooling="mean")
    assert network.encoder.recurrent_layers == [] and network.width == EMBEDDING_DIM


# === Dropout ===


def test_embedding_dropouts_zero_whole_tokens_and_whole_dimensions():
    encoder = make(token_dropout=0.5, embedding_dropout=0.5).encoder
    ones = tf.ones([6, 30, 20])
    tokens = encoder.token_dropout(ones, training=True).numpy()
    assert (np.ptp(tokens, axis=2) == 0).all()
    assert 0.3 < (tokens[:, :, 0] == 0).mean() < 0.7 and np.ptp(tokens[:, :, 0], axis=1).all()
    dimensions = encoder.embedding_dropout(ones, training=True).numpy()
    assert (np.ptp(dimensions, axis=1) == 0).all()
    assert 0.3 < (dimensions[:, 0] == 0).mean() < 0.7
    assert len({row.tobytes() for row in dimensions[:, 0]}) == 6, "masks of the texts must differ"


@pytest.mark.parametrize("encoder", CELLS)
def test_every_recurrent_layer_has_its_own_dropout_seed(encoder):
    layers = make(
        encoder, num_layers=2, input_dropout=0.5, recurrent_dropout=0.5
    ).encoder.recurrent_layers
    assert len({int(layer.cell.seed_generator.state.numpy()[0]) for layer in layers}) == 4
    assert all(layer.dropout == 0.5 and layer.recurrent_dropout == 0.5 for layer in layers)


@pytest.mark.parametrize("dropout", ["input_dropout", "recurrent_dropout"])
def test_dropout_changes_the_outputs_of_both_directions(dropout):
    encoder = make("simple_rnn", **{dropout: 0.5}).encoder
    inference, training = encoder(batch()), encoder(batch(), training=True)
    for half in np.split(np.abs(training - inference), 2, axis=-1):
        assert half[0, :3].max() > 1e-4
