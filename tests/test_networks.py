"""Networks: gradients, learning, seeds, initial weights and dropout.

test_invariance tests that padding and neighbouring texts do not change the probabilities.
"""

import hashlib
import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_networks import (
    CELLS,
    DROPOUTS,
    EMBEDDING_DIM,
    EVERY_NETWORK,
    NUM_CLASSES,
    VOCABULARY_SIZE,
    batch,
    every_network,
    features,
    is_real,
    make,
    randomize,
    traced,
)

from textclf import networks


@pytest.mark.parametrize("encoder", CELLS)
def test_padding_does_not_change_the_logits_of_a_stack_with_layer_norm(encoder):
    network = randomize(make(encoder, num_layers=2, layer_norm=True, pooling="attention"))
    logits = traced(network)
    np.testing.assert_allclose(logits(batch(extra=9)), logits(batch()), atol=1e-5)


@pytest.mark.parametrize(
    ("encoder", "pooling"),
    [*zip(itertools.cycle(CELLS), networks.POOLINGS), ("bag", "max_mean")],
)
def test_logits_are_finite_for_any_text_and_extreme_weights(encoder, pooling):
    network = randomize(make(encoder, bidirectional=encoder != "bag", pooling=pooling))
    logits = traced(network)
    assert np.isfinite(logits(features([[1], [1]], [1, 1]))).all()
    rng = np.random.default_rng(0)
    texts = features(rng.integers(0, VOCABULARY_SIZE, size=(8, 40)), rng.integers(1, 41, size=8))
    assert np.isfinite(logits(texts)).all()
    # Scores of +-1e4 saturate every softmax and every gate.
    for variable in network.parameters:
        variable.assign(variable * 1e4)
    assert np.isfinite(logits(texts)).all()


def test_width_of_a_network_is_the_size_of_the_encoded_vector():
    for encoder, bidirectional, pooling in EVERY_NETWORK:
        if encoder in ("simple_rnn", "bag"):
            network = make(encoder, bidirectional=bidirectional, pooling=pooling)
            assert network.encode(batch()).shape == (4, network.width)


def test_logits_are_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = make("gru", pooling="attention")
    finally:
        keras.config.set_dtype_policy("float32")
    assert network.encoder(batch()).dtype == tf.bfloat16
    assert network.encode(batch()).dtype == tf.float32, "pooled in float32"
    assert network(batch()).dtype == tf.float32
    np.testing.assert_allclose(network(batch()), network(batch(extra=5)), atol=0.05)


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
def test_gradients_of_a_network_match_finite_differences(float64, encoder, settings):
    network = randomize(make(encoder, l1=0.01, l2=0.1, **settings))
    texts = batch()
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(len(texts["lengths"]), NUM_CLASSES))

    @tf.function
    def loss():
        return tf.reduce_sum(network(texts) * direction) + tf.add_n(network.losses)

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        gradient = tf.convert_to_tensor(gradient).numpy()
        before = variable.numpy()
        # The entry with the largest gradient and two random ones.
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


def one_step(network: networks.Network, texts: networks.Features) -> dict[str, np.ndarray]:
    """Train for one step and return the absolute change of each weight by path."""
    before = {variable.path: variable.numpy() for variable in network.parameters}
    optimizer = keras.optimizers.SGD(0.1)
    with tf.GradientTape() as tape:
        logits = network(texts, training=True)
        labels = np.arange(len(texts["lengths"])) % NUM_CLASSES
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
    variables = network.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    return {v.path: np.abs(v.numpy() - before[v.path]) for v in network.parameters}


@every_network
def test_a_training_step_changes_every_weight_of_a_network(encoder, bidirectional, pooling):
    network = make(
        encoder,
        bidirectional=bidirectional,
        pooling=pooling,
        num_layers=2 if pooling == "last" else 1,
        layer_norm=True,
    )
    texts = batch(extra=2)
    token_ids = texts["token_ids"].numpy()
    token_ids[0, :2] = token_ids[0, 2]  # a maximum with ties has a gradient, too
    moved = one_step(network, features(token_ids, texts["lengths"]))
    assert all(change.max() > 0 for change in moved.values()), moved
    if pooling != "max":  # a maximum has a gradient at the largest entries only
        for path, change in moved.items():
            if "embedding" not in path:
                assert (change > 0).mean() > 0.5, path


@pytest.mark.parametrize("encoder", ["bag", "simple_rnn"])
def test_a_training_step_changes_only_the_embeddings_of_real_tokens(encoder):
    network = make(encoder, pooling="mean")
    texts = batch(extra=2)
    inside = is_real(texts)
    token_ids = np.where(inside, texts["token_ids"], 11)  # no real token has this id
    moved = one_step(network, features(token_ids, texts["lengths"]))

    rows = np.flatnonzero(moved["network/embedding/embeddings"].max(axis=1))
    assert list(rows) == sorted(set(token_ids[inside]))


def test_frozen_embeddings_are_saved_and_not_trained():
    network = make(train_embedding=False)
    moved = one_step(network, batch())
    assert moved.pop("network/embedding/embeddings").max() == 0
    assert all(change.max() > 0 for change in moved.values())
    assert [v.path for v in network.parameters] == [v.path for v in make().parameters]


def accuracy_after_training(network, texts, labels, steps: int) -> float:
    """Train on the first half and return the accuracy on the second; texts have one length."""
    lengths = np.full(len(texts) // 2, texts.shape[1])
    train, test = (features(half, lengths) for half in np.split(texts, 2))
    train_labels, test_labels = np.split(labels, 2)
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = network(train, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=train_labels, logits=logits)
            )
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        step()
    return float(np.mean(np.argmax(network(test), axis=1) == test_labels))


def key_word_texts(num_texts: int = 128, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return texts of six words; the class is which of three words one of them is."""
    rng = np.random.default_rng(4)
    labels = rng.integers(NUM_CLASSES, size=num_texts)
    texts = rng.integers(5, 9, size=(num_texts, width)).astype(np.int32)
    texts[np.arange(num_texts), rng.integers(width, size=num_texts)] = 2 + labels
    return texts, labels


def word_order_texts(num_texts: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return texts with "2 3" or "3 2", the class, which a bag of words cannot distinguish."""
    rng = np.random.default_rng(5)
    labels = rng.integers(2, size=num_texts)
    texts = rng.integers(5, 9, size=(num_texts, 6)).astype(np.int32)
    for text, label, start in zip(texts, labels, rng.integers(5, size=num_texts), strict=True):
        text[start : start + 2] = [3, 2] if label else [2, 3]
    return texts, labels


@pytest.mark.parametrize("encoder", networks.ENCODERS)
def test_every_encoder_learns_which_word_a_text_contains(encoder):
    network = make(encoder, pooling="max_mean", units=8, embedding_dim=8)
    texts, labels = key_word_texts()
    assert accuracy_after_training(network, texts, labels, steps=0) < 0.6
    assert accuracy_after_training(network, texts, labels, steps=60) == 1.0


@pytest.mark.parametrize(
    ("encoder", "learns"), [("bag", False), ("simple_rnn", True), ("lstm", True), ("gru", True)]
)
def test_recurrent_layers_learn_word_order_and_a_bag_does_not(encoder, learns):
    network = make(encoder, pooling="mean", units=8, embedding_dim=8, bidirectional=False)
    accuracy = accuracy_after_training(network, *word_order_texts(), steps=80)
    assert (accuracy == 1.0) if learns else (0.3 < accuracy < 0.7)


# === Seeds and initial weights ===


@pytest.mark.parametrize("encoder", networks.ENCODERS)
def test_seed_determines_all_initial_weights_of_a_network(encoder):
    settings = {"pooling": "attention", "num_layers": 2, "layer_norm": True}
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
    # No two parts share a seed, also not the two directions.
    values = [v.numpy() for v in first.parameters if "kernel" in v.path]
    for a, b in itertools.combinations(values, 2):
        assert a.shape != b.shape or not np.allclose(a, b)


def test_networks_with_equal_seeds_have_equal_initial_weights_in_common_layers():
    one_way = {v.path: v.numpy() for v in make("gru", bidirectional=False).parameters}
    richer = make("gru", bidirectional=True, num_layers=2, layer_norm=True)
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
    architecture = networks.Architecture(
        encoder="simple_rnn", bidirectional=True, units=4, num_layers=1, pooling="attention",
        embedding_dim=5, token_dropout=0.1, embedding_dropout=0.1,
        input_dropout=0.1, recurrent_dropout=0.1, output_dropout=0.1,
    )
    network = networks.build(architecture, vocabulary_size=12, num_classes=3, seed=7)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(network.trainable_variables)
digest = hashlib.sha256()
for variable in network.parameters:
    digest.update(variable.path.encode() + variable.numpy().tobytes())

@tf.function
def step(token_ids, lengths):
    def replica_step(token_ids, lengths):
        with tf.GradientTape() as tape:
            texts = {"token_ids": token_ids, "lengths": lengths}
            loss = tf.reduce_sum(network(texts, training=True) ** 2)
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


def test_initial_weights_have_equal_bytes_in_a_process_with_two_replicas():
    network = make("simple_rnn", pooling="attention", seed=7)
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
def test_initializer_names_select_the_distribution_of_the_kernels(name, variance):
    network = make("simple_rnn", embedding_dim=40, units=80, kernel_initializer=name)
    kernel = network.encoder.recurrent_layers[0].cell.kernel.numpy()
    assert kernel.var() == pytest.approx(variance, rel=0.1)
    assert set(networks.INITIALIZERS) == {
        mark
        for mark, _ in test_initializer_names_select_the_distribution_of_the_kernels.pytestmark[
            0
        ].args[1]
    }
    other = make("simple_rnn", units=80, recurrent_initializer=name).encoder.recurrent_layers[0]
    recurrent_kernel = other.cell.recurrent_kernel.numpy()
    is_orthogonal = np.allclose(recurrent_kernel.T @ recurrent_kernel, np.eye(80), atol=1e-4)
    assert is_orthogonal == (name == "orthogonal")
    if name.endswith("uniform"):
        # A normal distribution exceeds this bound.
        assert np.abs(kernel).max() <= np.sqrt(3 * variance) + 1e-6


def test_initial_embeddings_are_the_matrix_or_small_and_uniform():
    matrix = np.random.default_rng(0).normal(size=(VOCABULARY_SIZE, EMBEDDING_DIM))
    copied = make(embedding_matrix=matrix.astype(np.float32)).encoder.embedding.embeddings
    np.testing.assert_array_equal(copied, matrix.astype(np.float32))
    drawn = make(vocabulary_size=1000).encoder.embedding.embeddings.numpy()
    assert np.abs(drawn).max() <= 0.05
    assert drawn.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.05)


def test_an_embedding_matrix_with_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        make(embedding_matrix=np.zeros((2, 3), np.float32))


def test_l1_and_l2_penalize_the_kernels_only():
    network = randomize(
        make("gru", pooling="attention", num_layers=2, layer_norm=True, l1=0.3, l2=0.07)
    )
    kernels = [v.numpy() for v in network.parameters if v.path.endswith("kernel")]
    assert len(kernels) == 2 * 2 * 2 + 1 + 1
    expected = sum(
        0.3 * np.abs(kernel).sum() + 0.07 * np.square(kernel).sum() for kernel in kernels
    )
    assert float(tf.add_n(network.losses)) == pytest.approx(expected, rel=1e-5)
    assert make("gru").losses == []


@pytest.mark.parametrize(
    ("encoder", "dropout"),
    [
        *itertools.product(["simple_rnn"], DROPOUTS),
        ("gru", "input_dropout"),
        ("lstm", "recurrent_dropout"),
    ],
)
def test_dropout_changes_training_outputs_and_not_inference(encoder, dropout):
    plain, dropped, twin = (
        make(encoder, **settings) for settings in ({}, {dropout: 0.5}, {dropout: 0.5})
    )
    texts = batch()
    expected = plain(texts).numpy()
    np.testing.assert_array_equal(plain(texts, training=True), expected)

    states = [state.numpy() for state in dropped.dropout_states]
    np.testing.assert_allclose(dropped(texts), expected, atol=1e-6)
    for state, before in zip(dropped.dropout_states, states, strict=True):
        np.testing.assert_array_equal(state, before)  # inference draws no random numbers

    first = dropped(texts, training=True).numpy()
    assert np.abs(first - expected).max() > 1e-4
    second = dropped(texts, training=True).numpy()
    assert np.abs(second - first).max() > 1e-4, "masks of two steps must differ"
    # The seed and the states, which a resumed training restores, determine the masks.
    np.testing.assert_array_equal(twin(texts, training=True), first)
    for state, before in zip(dropped.dropout_states, states, strict=True):
        state.assign(before)
    np.testing.assert_array_equal(dropped(texts, training=True), first)


def test_dropout_states_are_not_parameters():
    network = make(**dict.fromkeys(DROPOUTS, 0.1))
    parameters = {id(variable) for variable in network.parameters}
    assert len(network.dropout_states) == 3 + 2  # token, embedding, output; each direction
    assert not parameters & {id(state) for state in network.dropout_states}
    assert all(variable.path.startswith("network/") for variable in network.parameters)


# === Graphs ===


def test_saved_graphs_read_the_parameters_and_no_dropout_state(tmp_path):
    network = randomize(make("lstm", **dict.fromkeys(DROPOUTS, 0.4)))
    module = tf.Module()
    module.logits = traced(network)
    module.parameters = [variable.value for variable in network.parameters]
    tf.saved_model.save(module, str(tmp_path / "1"))  # refuses a graph with other variables
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    np.testing.assert_allclose(loaded.logits(batch()), network(batch()), atol=1e-6)
