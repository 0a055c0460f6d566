"""Networks: Keras' masked layers and the textbooks agree, gradients are right, seeds decide."""

import hashlib
import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from textclf import networks

VOCABULARY_SIZE, NUM_CLASSES, EMBEDDING_DIM, UNITS = 12, 3, 5, 4
CELLS = ("simple_rnn", "lstm", "gru")
EVERY_NETWORK = [
    (encoder, bidirectional, pooling)
    for encoder, bidirectional, pooling in itertools.product(
        networks.ENCODERS, (False, True), networks.POOLINGS
    )
    if encoder != "bag" or (pooling != "last" and not bidirectional)
]
every_network = pytest.mark.parametrize(("encoder", "bidirectional", "pooling"), EVERY_NETWORK)
# A row of each kind: middling, as short as can be, as long as the batch, one short of that.
LENGTHS = np.array([3, 1, 6, 5], np.int32)
SIGNATURE = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]


def make(encoder: str = "gru", **settings) -> networks.Network:
    """A small network; every argument of `build` can be given."""
    defaults = {
        "vocabulary_size": VOCABULARY_SIZE,
        "num_classes": NUM_CLASSES,
        "encoder": encoder,
        "bidirectional": True,
        "units": UNITS,
        "num_layers": 1,
        "pooling": "max_mean",
        "embedding_dim": EMBEDDING_DIM,
    }
    return networks.build(**(defaults | settings))


def shake(network: networks.Network, seed: int = 1) -> networks.Network:
    """All weights at random, biases and the n-gram table too: zeros would hide mistakes."""
    rng = np.random.default_rng(seed)
    for variable in network.parameters:
        variable.assign(rng.normal(scale=0.5, size=variable.shape))
    return network


def traced(network: networks.Network) -> tf.types.experimental.PolymorphicFunction:
    return tf.function(
        lambda ids, lengths: network(ids, lengths), input_signature=SIGNATURE, autograph=False
    )


def batch(
    lengths: np.ndarray = LENGTHS, extra: int = 0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The same texts for every `extra`, which is the number of columns without a real token.

    Real ids are 2 to 8. The padding is zeros: what stands there is varied where it matters.
    """
    rng = np.random.default_rng(seed)
    token_ids = np.zeros((len(lengths), lengths.max() + extra), np.int32)
    for row, length in enumerate(lengths):
        token_ids[row, :length] = rng.integers(2, 9, size=length)
    return token_ids, lengths


@pytest.fixture
def float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


# === Lengths, poolings ===
# That padding and neighbours change nothing is tested on every way to an answer: test_invariance.


@pytest.mark.parametrize("encoder", CELLS)
def test_padding_changes_nothing_in_a_stack_with_layer_norm(encoder):
    network = shake(make(encoder, num_layers=2, layer_norm=True, pooling="attention"))
    logits = traced(network)
    np.testing.assert_allclose(logits(*batch(extra=9)), logits(*batch()), atol=1e-5)


@pytest.mark.parametrize(
    ("encoder", "pooling"),
    [*zip(itertools.cycle(CELLS), networks.POOLINGS), ("bag", "max_mean")],
)
def test_logits_are_finite_whatever_the_texts(encoder, pooling):
    network = shake(
        make(encoder, bidirectional=encoder != "bag", pooling=pooling, ngram_buckets=32)
    )
    logits = traced(network)
    assert np.isfinite(logits(np.ones((2, 1), np.int32), np.ones(2, np.int32))).all()
    rng = np.random.default_rng(0)
    token_ids = rng.integers(0, VOCABULARY_SIZE, size=(8, 40), dtype=np.int32)
    lengths = rng.integers(1, 41, size=8, dtype=np.int32)
    assert np.isfinite(logits(token_ids, lengths)).all()
    # Scores of +-1e4 saturate every softmax and every gate.
    for variable in network.parameters:
        variable.assign(variable * 1e4)
    assert np.isfinite(logits(token_ids, lengths)).all()


# Three positions of two features each, of which two are real: worked by hand.
OUTPUTS = np.array([[[1.0, -5.0], [-3.0, -2.0], [9.0, 9.0]]], np.float32)


@pytest.mark.parametrize(
    ("pooling", "bidirectional", "expected"),
    [
        ("last", False, [-3.0, -2.0]),
        ("last", True, [-3.0, -5.0]),  # feature 0 read forward, feature 1 backward
        ("max", True, [1.0, -2.0]),
        ("mean", True, [-1.0, -3.5]),
        ("max_mean", True, [1.0, -2.0, -1.0, -3.5]),
    ],
)
def test_poolings_of_a_worked_example(pooling, bidirectional, expected):
    layer = make("lstm", pooling=pooling, bidirectional=bidirectional).pooling
    np.testing.assert_allclose(layer(tf.constant(OUTPUTS), tf.constant([2])), [expected])


def test_attention_of_a_worked_example():
    layer = make("lstm", pooling="attention", units=1).pooling
    kernel = np.array([[0.5, -1.0], [0.25, 0.75]])
    bias, query = np.array([0.1, -0.2]), np.array([[2.0], [-1.0]])
    layer.set_weights([kernel, bias, query])
    real = OUTPUTS[0, :2]
    scores = (np.tanh(real @ kernel + bias) @ query)[:, 0]
    weights = np.exp(scores) / np.exp(scores).sum()
    assert abs(weights[0] - 0.5) > 0.1, "the positions must weigh differently"
    pooled = layer(tf.constant(OUTPUTS), tf.constant([2]))
    np.testing.assert_allclose(pooled, [weights @ real], rtol=1e-6)


# === Keras' masked layers as the oracle ===


def keras_stack(encoder: str, bidirectional: bool, num_layers: int, kwargs: dict):
    """Stock Keras layers, weights at random; the last one also as it answers `last`."""
    layer_type = {
        "simple_rnn": keras.layers.SimpleRNN,
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
    }[encoder]
    rng = np.random.default_rng(2)
    layers, features = [], EMBEDDING_DIM
    for i in range(num_layers + 1):
        layer = layer_type(UNITS, return_sequences=i < num_layers, **kwargs)
        layer = keras.layers.Bidirectional(layer) if bidirectional else layer
        layer.build((None, None, features))
        layer.set_weights([rng.normal(scale=0.5, size=w.shape) for w in layer.weights])
        layers.append(layer)
        if i < num_layers - 1:
            features = UNITS * (2 if bidirectional else 1)
    layers[-1].set_weights(layers[-2].get_weights())
    return layers


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
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
    oracle = keras_stack(encoder, bidirectional, num_layers, kwargs)
    for ours, theirs in zip(network.encoder_layers, oracle[:-1], strict=True):
        ours.set_weights(theirs.get_weights())  # the weights are laid out as in Keras

    token_ids, lengths = batch(extra=2)
    mask = np.arange(token_ids.shape[1]) < lengths[:, np.newaxis]
    x = network.embedding(token_ids)
    for layer in oracle[:-2]:
        x = layer(x, mask=mask)
    expected, expected_last = oracle[-2](x, mask=mask), oracle[-1](x, mask=mask)

    outputs = network.encode_positions(token_ids, lengths)
    assert outputs.shape == expected.shape
    np.testing.assert_allclose(outputs[mask], expected[mask], atol=1e-6)
    np.testing.assert_allclose(network.pooling(outputs, lengths), expected_last, atol=1e-6)
    if bidirectional and num_layers == 1:
        whole_rows = oracle[-2](tf.identity(x))  # `x` itself carries the mask along
        assert np.abs(whole_rows[mask] - expected[mask]).max() > 1e-2, "the mask must matter"


# === The cells, by the textbook ===
#
# x_t is the input at step t and h_t the state after it, both row vectors; W multiplies the input,
# U the previous state. Keras keeps the kernels of all gates side by side in one matrix; np.split
# gives each gate its own. "*" multiplies entry by entry, "@" is the matrix product.


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def textbook_simple_rnn(xs, W, U, b):
    """Elman (1990), "Finding structure in time": the state sees the input and itself.

    h_t = tanh(x_t W + h_{t-1} U + b)
    """
    h, states = np.zeros(UNITS), []
    for x in xs:
        h = np.tanh(x @ W + h @ U + b)
        states.append(h)
    return np.array(states)


def textbook_lstm(xs, W, U, b):
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    A cell c carries memory along by addition, so that gradients neither vanish nor explode in it;
    gates between 0 and 1 say what enters (i), what stays (f) and what is shown (o).

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

    No separate memory: an update gate z mixes the old state with a candidate, for which a reset
    gate r says how much of the old state counts, *before* it meets U.

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
    """The form of version 1 of Cho et al.'s preprint (arXiv:1406.1078v1), which cuDNN computes.

    The reset gate acts *after* the product with U, which therefore has a bias d of its own.

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
def test_the_cells_are_those_of_the_textbooks(float64, encoder, kwargs, textbook):
    network = shake(make(encoder, bidirectional=True, **kwargs))
    token_ids, lengths = batch()
    outputs = network.encode_positions(token_ids, lengths).numpy()
    assert outputs.dtype == np.float64
    vectors = network.embedding.embeddings.numpy()
    forward, backward = (
        [weight.numpy() for weight in layer.weights] for layer in network.recurrent_layers
    )
    for row, length in enumerate(lengths):
        xs = vectors[token_ids[row, :length]]
        # Read from the end, and put back in the order of the text.
        expected = np.hstack([textbook(xs, *forward), textbook(xs[::-1], *backward)[::-1]])
        np.testing.assert_allclose(outputs[row, :length], expected, rtol=0, atol=1e-13)


# === Gradients and learning ===


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        ("simple_rnn", {"pooling": "last", "num_layers": 2, "layer_norm": True}),
        ("lstm", {"pooling": "attention"}),
        ("gru", {"pooling": "max", "reset_after": True}),
        ("gru", {"pooling": "mean", "reset_after": False, "bidirectional": False}),
        ("bag", {"pooling": "max_mean"}),
    ],
)
def test_gradients_match_finite_differences(float64, encoder, settings):
    network = shake(make(encoder, l1=0.01, l2=0.1, ngram_buckets=16, **settings))
    token_ids, lengths = batch()
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(len(lengths), NUM_CLASSES))

    @tf.function
    def loss():
        return tf.reduce_sum(network(token_ids, lengths) * direction) + tf.add_n(network.losses)

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        gradient = tf.convert_to_tensor(gradient).numpy()
        before = variable.numpy()
        # Where the gradient is largest, and at two entries that chance names.
        entries = [np.unravel_index(np.abs(gradient).argmax(), gradient.shape)]
        entries += [tuple(rng.integers(gradient.shape)) for _ in range(2)]
        assert gradient[entries[0]] != 0, variable.path
        for entry in entries:
            differences = []
            for step in (1e-6, -1e-6):
                moved = before.copy()
                moved[entry] += step
                variable.assign(moved)
                differences.append(loss().numpy())
            variable.assign(before)
            slope = (differences[0] - differences[1]) / 2e-6
            np.testing.assert_allclose(
                gradient[entry], slope, rtol=1e-6, atol=1e-7, err_msg=f"{variable.path}{entry}"
            )


def one_step(network: networks.Network, token_ids: np.ndarray, lengths: np.ndarray) -> dict:
    """By how much each weight has moved after a step, by path."""
    before = {variable.path: variable.numpy() for variable in network.parameters}
    optimizer = keras.optimizers.SGD(0.1)
    with tf.GradientTape() as tape:
        logits = network(token_ids, lengths, training=True)
        labels = np.arange(len(lengths)) % NUM_CLASSES
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
    variables = network.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    return {v.path: np.abs(v.numpy() - before[v.path]) for v in network.parameters}


@every_network
def test_every_weight_moves_in_one_step(encoder, bidirectional, pooling):
    network = make(
        encoder,
        bidirectional=bidirectional,
        pooling=pooling,
        num_layers=2 if pooling == "last" else 1,
        layer_norm=True,
    )
    token_ids, lengths = batch(extra=2)
    token_ids[0, :2] = token_ids[0, 2]  # ties in a maximum are no reason to stand still
    moved = one_step(network, token_ids, lengths)
    assert all(change.max() > 0 for change in moved.values()), moved
    if pooling != "max":  # of a maximum only the largest entries move
        for path, change in moved.items():
            if "embedding" not in path:
                assert (change > 0).mean() > 0.5, path


@pytest.mark.parametrize("encoder", ["bag", "simple_rnn"])
def test_only_the_rows_of_real_tokens_and_ngrams_move(encoder):
    network = make(encoder, pooling="mean", ngram_buckets=64)
    token_ids, lengths = batch(extra=2)
    inside = np.arange(token_ids.shape[1]) < lengths[:, np.newaxis]
    token_ids[~inside] = 11  # no real token has this id
    moved = one_step(network, token_ids, lengths)

    rows = np.flatnonzero(moved["network/embedding/embeddings"].max(axis=1))
    assert list(rows) == sorted(set(token_ids[inside]))
    buckets, real = network.ngrams.buckets(token_ids, lengths)
    touched = set(buckets.numpy()[real.numpy()])
    assert 0 < len(touched) < 64
    assert list(np.flatnonzero(moved["network/ngrams/table"].min(axis=1))) == sorted(touched)


def test_a_frozen_embedding_stays_and_is_still_a_parameter():
    network = make(train_embedding=False, ngram_buckets=8)
    moved = one_step(network, *batch())
    assert moved.pop("network/embedding/embeddings").max() == 0
    assert all(change.max() > 0 for change in moved.values())
    assert [v.path for v in network.parameters] == [
        v.path for v in make(ngram_buckets=8).parameters
    ]


def accuracy_after_training(network, texts, labels, steps: int) -> float:
    """Trains on the first half, answers for the second. All texts have the same length."""
    lengths = np.full(len(texts) // 2, texts.shape[1], np.int32)
    train, test = np.split(texts, 2)
    train_labels, test_labels = np.split(labels, 2)
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = network(train, lengths, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=train_labels, logits=logits)
            )
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        step()
    return float(np.mean(np.argmax(network(test, lengths), axis=1) == test_labels))


def key_word_texts(num_texts: int = 128, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """The class is which of three words stands somewhere among five words of no meaning."""
    rng = np.random.default_rng(4)
    labels = rng.integers(NUM_CLASSES, size=num_texts)
    texts = rng.integers(5, 9, size=(num_texts, width)).astype(np.int32)
    texts[np.arange(num_texts), rng.integers(width, size=num_texts)] = 2 + labels
    return texts, labels


def word_order_texts(num_texts: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """The class is whether "2 3" or "3 2" stands somewhere: a bag of words cannot tell."""
    rng = np.random.default_rng(5)
    labels = rng.integers(2, size=num_texts)
    texts = rng.integers(5, 9, size=(num_texts, 6)).astype(np.int32)
    for text, label, place in zip(texts, labels, rng.integers(5, size=num_texts), strict=True):
        text[place : place + 2] = [3, 2] if label else [2, 3]
    return texts, labels


@pytest.mark.parametrize("encoder", networks.ENCODERS)
def test_every_encoder_learns_which_word_a_text_holds(encoder):
    network = make(encoder, pooling="max_mean", units=8, embedding_dim=8)
    texts, labels = key_word_texts()
    assert accuracy_after_training(network, texts, labels, steps=0) < 0.6
    assert accuracy_after_training(network, texts, labels, steps=60) == 1.0


@pytest.mark.parametrize(
    ("encoder", "settings", "learns"),
    [
        ("bag", {}, False),
        ("bag", {"ngram_buckets": 256}, True),
        ("simple_rnn", {}, True),
        ("lstm", {}, True),
        ("gru", {}, True),
    ],
)
def test_word_order_is_seen_by_recurrent_layers_and_ngrams_only(encoder, settings, learns):
    network = make(
        encoder, pooling="mean", units=8, embedding_dim=8, bidirectional=False, **settings
    )
    accuracy = accuracy_after_training(network, *word_order_texts(), steps=80)
    assert (accuracy == 1.0) if learns else (0.3 < accuracy < 0.7)


# === Hashed n-grams ===


def test_ngram_buckets_are_those_of_the_definition():
    layer = make("bag", pooling="mean", ngram_buckets=1000).ngrams

    def hashed(*ids: int) -> int:
        value = len(ids)
        for token_id in ids:
            value = (value * 1_583_458_089 + token_id) % (2**31 - 1)  # Python ints never overflow
        return value % 1000

    big = 2**31 - 1  # the largest id there can be
    rows = [[5, 6, 7, big], [8, 9, 0, 0], [3, 0, 0, 0]]
    buckets, real = layer.buckets(tf.constant(rows), tf.constant([4, 2, 1]))
    expected = [
        {(5,), (6,), (7,), (big,), (5, 6), (6, 7), (7, big), (5, 6, 7), (6, 7, big)},
        {(8,), (9,), (8, 9)},
        {(3,)},
    ]
    for row in range(3):
        found = sorted(buckets[row].numpy()[real[row].numpy()])
        assert found == sorted(hashed(*ngram) for ngram in expected[row])
    # The sum of the rows, scaled by 8 / sqrt(n).
    layer.table.assign(np.random.default_rng(0).normal(size=(1000, NUM_CLASSES)))
    sums = [sum(layer.table.numpy()[hashed(*g)] for g in ngrams) for ngrams in expected]
    scales = [8 / np.sqrt(len(ngrams)) for ngrams in expected]
    np.testing.assert_allclose(
        layer(tf.constant(rows), tf.constant([4, 2, 1])),
        [s * scale for s, scale in zip(sums, scales, strict=True)],
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("width", [1, 2, 3])
def test_texts_shorter_than_an_ngram_have_no_such_ngram(width):
    layer = make("bag", pooling="mean", ngram_buckets=50).ngrams
    _, real = layer.buckets(tf.ones([1, width], tf.int32), tf.constant([width]))
    assert int(tf.reduce_sum(tf.cast(real, tf.int32))) == {1: 1, 2: 3, 3: 6}[width]


def test_ngrams_spread_over_the_buckets():
    layer = make("bag", pooling="mean", ngram_buckets=4096).ngrams
    token_ids = np.random.default_rng(0).integers(2, 20_000, size=(1, 4096), dtype=np.int32)
    buckets, _ = layer.buckets(token_ids, np.array([4096], np.int32))
    counts = np.bincount(buckets[0], minlength=4096)
    # 12,285 n-grams thrown at random leave exp(-3) = 5 % of the buckets empty.
    assert 0.04 < (counts == 0).mean() < 0.06 and counts.max() < 20


# === Seeds and initial weights ===


@pytest.mark.parametrize("encoder", networks.ENCODERS)
def test_the_seed_decides_all_initial_weights(encoder):
    settings = {"pooling": "attention", "num_layers": 2, "layer_norm": True, "ngram_buckets": 8}
    first, second = make(encoder, seed=7, **settings), make(encoder, seed=7, **settings)
    other = make(encoder, seed=8, **settings)
    drawn = 0
    for a, b, c in zip(first.parameters, second.parameters, other.parameters, strict=True):
        assert a.path == b.path == c.path
        assert a.numpy().tobytes() == b.numpy().tobytes()
        if "kernel" in a.path or "embeddings" in a.path or "query" in a.path:
            drawn += 1
            assert not np.any(a.numpy() == c.numpy()), a.path
    assert drawn == (4 if encoder == "bag" else 12)
    assert len({a.path for a in first.parameters}) == len(first.parameters)
    # No two parts share a seed, the two directions least of all.
    values = [v.numpy() for v in first.parameters if "kernel" in v.path]
    for a, b in itertools.combinations(values, 2):
        assert a.shape != b.shape or not np.allclose(a, b)


def test_networks_that_differ_in_one_setting_begin_with_equal_weights():
    one_way = {v.path: v.numpy() for v in make("gru", bidirectional=False).parameters}
    richer = make("gru", bidirectional=True, num_layers=2, layer_norm=True, ngram_buckets=8)
    both_ways = {v.path.replace("bidirectional_0/", ""): v.numpy() for v in richer.parameters}
    for path in one_way:
        if "dense" not in path:
            np.testing.assert_array_equal(one_way[path], both_ways[path])


IN_A_FRESH_PROCESS = """
import gc, hashlib
gc.disable()
import numpy as np
import tensorflow as tf
gc.freeze()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from textclf import networks

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    network = networks.build(
        vocabulary_size=12, num_classes=3, encoder="simple_rnn", bidirectional=True, units=4,
        num_layers=1, pooling="attention", embedding_dim=5, ngram_buckets=8,
        token_dropout=0.1, embedding_dropout=0.1, input_dropout=0.1, recurrent_dropout=0.1,
        output_dropout=0.1, seed=7,
    )
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(network.trainable_variables)
digest = hashlib.sha256()
for variable in network.parameters:
    digest.update(variable.path.encode() + variable.numpy().tobytes())

@tf.function
def step(token_ids, lengths):
    def replica_step(token_ids, lengths):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(token_ids, lengths, training=True) ** 2)
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss
    return strategy.run(replica_step, args=(token_ids, lengths))

losses = step(tf.constant([[3, 4, 5, 0], [2, 0, 0, 0]]), tf.constant([3, 1]))
assert all(np.isfinite(loss) for loss in strategy.experimental_local_results(losses))
for variable in network.parameters:
    copies = strategy.experimental_local_results(variable.value)
    assert len(copies) == 2 and copies[0].numpy().tobytes() == copies[1].numpy().tobytes()
print(digest.hexdigest())
"""


def test_another_process_with_two_replicas_begins_with_the_same_bytes():
    network = make("simple_rnn", pooling="attention", ngram_buckets=8, seed=7)
    digest = hashlib.sha256()
    for variable in network.parameters:
        digest.update(variable.path.encode() + variable.numpy().tobytes())
    process = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "12"},
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == digest.hexdigest()


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / (40 + 80)),
        ("glorot_normal", 2 / (40 + 80)),
        ("he_uniform", 2 / 40),
        ("he_normal", 2 / 40),
        ("orthogonal", 1 / 80),  # 40 orthonormal rows of 80 entries
        ("normal", 0.05**2),
    ],
)
def test_initializers_by_name(name, variance):
    network = make("simple_rnn", embedding_dim=40, units=80, kernel_initializer=name)
    assert network.recurrent_layers[0].cell.kernel.numpy().var() == pytest.approx(variance, rel=0.1)
    assert set(networks.INITIALIZERS) == {
        mark for mark, _ in test_initializers_by_name.pytestmark[0].args[1]
    }
    recurrent = make("simple_rnn", units=80, recurrent_initializer=name).recurrent_layers[0]
    kernel = recurrent.cell.recurrent_kernel.numpy()
    is_orthogonal = np.allclose(kernel.T @ kernel, np.eye(80), atol=1e-4)
    assert is_orthogonal == (name == "orthogonal")
    if name.endswith("uniform"):
        bound = np.abs(network.recurrent_layers[0].cell.kernel.numpy()).max()
        assert bound <= np.sqrt(3 * variance) + 1e-6  # a normal law goes further


def test_the_embedding_begins_with_the_matrix_or_small_and_uniform():
    matrix = np.random.default_rng(0).normal(size=(VOCABULARY_SIZE, EMBEDDING_DIM))
    given = make(embedding_matrix=matrix.astype(np.float32)).embedding.embeddings
    np.testing.assert_array_equal(given, matrix.astype(np.float32))
    drawn = make(vocabulary_size=1000).embedding.embeddings.numpy()
    assert np.abs(drawn).max() <= 0.05
    assert drawn.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.05)


def test_l1_and_l2_weigh_all_kernels_and_nothing_else():
    network = shake(
        make("gru", pooling="attention", num_layers=2, layer_norm=True, l1=0.3, l2=0.07,
             ngram_buckets=8)
    )  # fmt: skip
    kernels = [v.numpy() for v in network.parameters if v.path.endswith("kernel")]
    assert len(kernels) == 2 * 2 * 2 + 1 + 1
    expected = sum(
        0.3 * np.abs(kernel).sum() + 0.07 * np.square(kernel).sum() for kernel in kernels
    )
    assert float(tf.add_n(network.losses)) == pytest.approx(expected, rel=1e-5)
    assert make("gru").losses == []


def test_layer_norm_stands_between_the_layers_of_a_stack():
    settings = {"num_layers": 3, "bidirectional": False}
    with_norm = make("lstm", layer_norm=True, **settings)
    without = make("lstm", **settings)
    assert len(with_norm.norms) == 2 and len(without.norms) == 0
    below = with_norm.norms[0](with_norm.encoder_layers[0](with_norm.embedding(batch()[0])))
    np.testing.assert_allclose(tf.reduce_mean(below, axis=-1), np.zeros((4, 6)), atol=1e-5)
    assert np.abs(with_norm.encode(*batch()) - without.encode(*batch())).max() > 1e-3


def test_reset_after_changes_the_gru():
    before, after = make("gru", reset_after=False), make("gru", reset_after=True)
    assert before.recurrent_layers[0].cell.bias.shape == (3 * UNITS,)
    assert after.recurrent_layers[0].cell.bias.shape == (2, 3 * UNITS)


# === Dropout ===

DROPOUTS = (
    "token_dropout",
    "embedding_dropout",
    "input_dropout",
    "recurrent_dropout",
    "output_dropout",
)


@pytest.mark.parametrize(
    ("encoder", "dropout"),
    [
        *itertools.product(["simple_rnn"], DROPOUTS),
        ("gru", "input_dropout"),
        ("lstm", "recurrent_dropout"),
    ],
)
def test_dropout_changes_training_and_not_inference(encoder, dropout):
    plain, dropped, twin = (
        make(encoder, **settings) for settings in ({}, {dropout: 0.5}, {dropout: 0.5})
    )
    token_ids, lengths = batch()
    expected = plain(token_ids, lengths).numpy()
    np.testing.assert_array_equal(plain(token_ids, lengths, training=True), expected)

    states = [state.numpy() for state in dropped.dropout_states]
    np.testing.assert_allclose(dropped(token_ids, lengths), expected, atol=1e-6)
    for state, before in zip(dropped.dropout_states, states, strict=True):
        np.testing.assert_array_equal(state, before)  # inference draws nothing

    first = dropped(token_ids, lengths, training=True).numpy()
    assert np.abs(first - expected).max() > 1e-4
    second = dropped(token_ids, lengths, training=True).numpy()
    assert np.abs(second - first).max() > 1e-4, "each step has masks of its own"
    # The masks follow from the seed, and from the states, which a resumed training puts back.
    np.testing.assert_array_equal(twin(token_ids, lengths, training=True), first)
    for state, before in zip(dropped.dropout_states, states, strict=True):
        state.assign(before)
    np.testing.assert_array_equal(dropped(token_ids, lengths, training=True), first)


def test_dropout_on_embeddings_takes_whole_tokens_or_whole_dimensions():
    network = make(token_dropout=0.5, embedding_dropout=0.5)
    ones = tf.ones([6, 30, 20])
    tokens = network.token_dropout(ones, training=True).numpy()
    assert (np.ptp(tokens, axis=2) == 0).all()
    assert 0.3 < (tokens[:, :, 0] == 0).mean() < 0.7 and np.ptp(tokens[:, :, 0], axis=1).all()
    dimensions = network.embedding_dropout(ones, training=True).numpy()
    assert (np.ptp(dimensions, axis=1) == 0).all()
    assert 0.3 < (dimensions[:, 0] == 0).mean() < 0.7
    assert len({row.tobytes() for row in dimensions[:, 0]}) == 6, "each text has its own mask"


@pytest.mark.parametrize("encoder", CELLS)
def test_every_recurrent_layer_draws_masks_of_its_own(encoder):
    network = make(encoder, num_layers=2, input_dropout=0.5, recurrent_dropout=0.5)
    seeds = [int(layer.cell.seed_generator.state.numpy()[0]) for layer in network.recurrent_layers]
    assert len(set(seeds)) == 4
    assert all(layer.dropout == 0.5 for layer in network.recurrent_layers)
    assert all(layer.recurrent_dropout == 0.5 for layer in network.recurrent_layers)


@pytest.mark.parametrize("dropout", ["input_dropout", "recurrent_dropout"])
def test_dropout_reaches_both_directions(dropout):
    network = make("simple_rnn", **{dropout: 0.5})
    token_ids, lengths = batch()
    inference = network.encode_positions(token_ids, lengths)
    training = network.encode_positions(token_ids, lengths, training=True)
    for half in np.split(np.abs(training - inference), 2, axis=-1):
        assert half[0, :3].max() > 1e-4


def test_dropout_states_are_no_parameters():
    network = make(**dict.fromkeys(DROPOUTS, 0.1))
    parameters = {id(variable) for variable in network.parameters}
    assert len(network.dropout_states) == 3 + 2  # token, embedding, output; each direction
    assert not parameters & {id(state) for state in network.dropout_states}
    assert all(variable.path.startswith("network/") for variable in network.parameters)


# === Graphs ===


def test_a_saved_model_holds_the_parameters_and_no_dropout(tmp_path):
    network = shake(make("lstm", ngram_buckets=8, **dict.fromkeys(DROPOUTS, 0.4)))
    module = tf.Module()
    module.logits = traced(network)
    module.parameters = [variable.value for variable in network.parameters]
    tf.saved_model.save(module, str(tmp_path / "1"))  # refuses variables that nobody tracks
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    token_ids, lengths = batch()
    np.testing.assert_allclose(
        loaded.logits(token_ids, lengths), network(token_ids, lengths), atol=1e-6
    )


def operations(network: networks.Network) -> set[str]:
    graph = traced(network).get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("encoder", ["lstm", "gru"])
def test_portable_graphs_hold_no_cudnn_kernel_where_a_gpu_is_in_sight(
    monkeypatch, encoder, bidirectional
):
    network = make(encoder, bidirectional=bidirectional)
    list_logical_devices = tf.config.list_logical_devices
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda device_type=None: (
            [tf.config.LogicalDevice("/GPU:0", "GPU")]
            if device_type == "GPU"
            else list_logical_devices(device_type)
        ),
    )
    assert "CudnnRNNV3" in operations(network), "the GPU must be in sight for this to mean anything"
    with networks.portable(network):
        portable = operations(network)
    kernels = {"BlockLSTMV2"} if encoder == "lstm" else {"While", "StatelessWhile"}
    assert "CudnnRNNV3" not in portable and portable & kernels
    assert "Assert" not in portable
    with pytest.raises(KeyError), networks.portable(network):
        raise KeyError("an export that fails")
    assert "CudnnRNNV3" in operations(network), "afterwards training is as fast as before"


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_fused_lstm_gives_what_the_loop_gives_and_only_while_serving(bidirectional, num_layers):
    settings = {"units": 7, "num_layers": num_layers, "input_dropout": 0.3}
    network = shake(make("lstm", bidirectional=bidirectional, **settings))
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, (4, 6))
    loop = traced(network)(tf.constant(ids, tf.int32), LENGTHS)
    assert "BlockLSTMV2" not in operations(network)
    with networks.portable(network) as variables:
        assert sum(v.numpy().size for v in variables) == sum(
            w.numpy().size for w in network.parameters
        )
        fused = traced(network)
        np.testing.assert_allclose(fused(tf.constant(ids, tf.int32), LENGTHS), loop, atol=1e-6)
        for row, length in enumerate(LENGTHS):
            for width in (6, length):  # a text alone, padded and as it is
                alone = fused(tf.constant(ids[row : row + 1, :width], tf.int32), [length])
                np.testing.assert_allclose(alone, loop[row : row + 1], atol=1e-6)
        # Larger batches take the loop, with parts of the joined weights.
        many = fused(tf.constant(np.tile(ids, (9, 1)), tf.int32), np.tile(LENGTHS, 9))
        np.testing.assert_allclose(many, np.tile(loop, (9, 1)), atol=1e-6)
        training = tf.function(
            lambda ids, lengths: network(ids, lengths, training=True), input_signature=SIGNATURE
        ).get_concrete_function()
    functions = training.graph.as_graph_def().library.function
    names = {node.op for function in functions for node in function.node_def}
    assert "BlockLSTMV2" not in names | {node.op for node in training.graph.as_graph_def().node}


def test_portable_leaves_networks_without_such_kernels_alone():
    for encoder in ("simple_rnn", "bag"):
        with networks.portable(make(encoder)):
            pass


def test_logits_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = make("gru", pooling="attention", ngram_buckets=8)
    finally:
        keras.config.set_dtype_policy("float32")
    token_ids, lengths = batch()
    assert network.encode(token_ids, lengths).dtype == tf.bfloat16
    assert network(token_ids, lengths).dtype == tf.float32
    np.testing.assert_allclose(network(token_ids, lengths), network(*batch(extra=5)), atol=0.05)


def test_width_is_that_of_the_encoded_vector():
    for encoder, bidirectional, pooling in EVERY_NETWORK:
        if encoder in ("simple_rnn", "bag"):
            network = make(encoder, bidirectional=bidirectional, pooling=pooling)
            assert network.encode(*batch()).shape == (4, network.width)


# === Mistakes ===


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "transformer"}, "encoder: 'transformer' is unknown; choose from simple_rnn"),
        ({"pooling": "median"}, "pooling: 'median' is unknown; choose from last, max"),
        ({"kernel_initializer": "ones"}, "kernel_initializer: 'ones' is unknown"),
        ({"recurrent_initializer": "ones"}, "recurrent_initializer: 'ones' is unknown"),
        ({"encoder": "bag", "pooling": "last"}, "choose from max, mean, max_mean, attention"),
        ({"units": 0}, "units: 0 is out of range; it must be at least 1"),
        ({"num_layers": 0}, "num_layers: 0 is out of range"),
        ({"num_classes": 0}, "num_classes: 0 is out of range"),
        ({"vocabulary_size": 0}, "vocabulary_size: 0 is out of range"),
        ({"embedding_dim": 0}, "embedding_dim: 0 is out of range"),
        ({"ngram_buckets": -1}, "ngram_buckets: -1 is out of range; it must not be negative"),
        ({"l1": -0.1}, "l1: -0.1 is out of range"),
        ({"l2": -0.1}, "l2: -0.1 is out of range"),
        ({"embedding_matrix": np.zeros((2, 3))}, r"its shape is \(2, 3\); expected \(12, 5\)"),
        ({"output_dropout": 1.0}, r"output_dropout: 1.0 is out of range"),  # nothing would be left
        ({"token_dropout": -0.1}, r"token_dropout: -0.1 is out of range"),
        *[({dropout: 7}, rf"{dropout}: 7 is out of range; .* in \[0, 1\)") for dropout in DROPOUTS],
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_the_choices_there_are(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_bag_ignores_what_is_said_about_recurrent_layers():
    network = make("bag", units=0, num_layers=0, bidirectional=True, pooling="mean")
    assert network.recurrent_layers == [] and network.width == EMBEDDING_DIM
