"""Adam by row: its updates are those of dense Adam, whenever the rows are used."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from killed_training import result_of

from textclf import classifier, networks, training
from textclf.config import Config, Training
from textclf.training.optimization import Optimizer
from textclf.training.row_adam import RowAdam

NUM_ROWS, DIM = 30, 4
STEPS_TO_FLUSH = 60
TOLERANCE = 1e-4  # a hundredth of the update of one step


def table() -> keras.Variable:
    return keras.Variable(np.random.default_rng(1).normal(size=(NUM_ROWS, DIM)), dtype="float32")


def batches(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return token ids and their gradients; the last rows are used rarely, and some never."""
    random = np.random.default_rng(2)
    chances = 1 / np.arange(1, NUM_ROWS - 2) ** 3
    token_ids = random.choice(NUM_ROWS - 3, size=(number, 6), p=chances / chances.sum())
    sizes = random.normal(size=(number, 6, DIM)) * random.lognormal(sigma=3, size=(number, 1, 1))
    return list(zip(token_ids.astype(np.int32), sizes.astype(np.float32), strict=True))


def rate_of(step: int) -> float:
    """Return a learning rate that jumps, as after a plateau, and falls."""
    return 0.01 * 0.999**step * (0.1 if step % 7 > 4 else 1.0)


def dense_values(steps: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the table after steps of Keras' Adam, which changes all rows at every step."""
    weights = table()
    adam = keras.optimizers.Adam(0.01)
    adam.build([weights])
    for step, (token_ids, gradient) in enumerate(steps):
        whole = np.zeros((NUM_ROWS, DIM), np.float32)
        np.add.at(whole, token_ids, gradient)
        adam.learning_rate.assign(rate_of(step))
        adam.apply([tf.constant(whole)], [weights])
    return weights.numpy()


def train_step(adam: RowAdam, step: int, token_ids: np.ndarray, gradient: np.ndarray) -> None:
    adam.learning_rate.assign(rate_of(step))
    rows = adam.gather(tf.constant(token_ids))
    total = rows.sum_gradient(tf.IndexedSlices(tf.constant(gradient), tf.constant(token_ids)))
    adam.apply(total, rows)


@pytest.mark.parametrize("number", [1, 40, 400])
def test_rows_have_the_values_of_dense_adam_after_a_flush(number: int) -> None:
    adam = RowAdam(table(), 0.01)
    for step, (token_ids, gradient) in enumerate(steps := batches(number)):
        train_step(adam, step, token_ids, gradient)
    adam.flush()
    np.testing.assert_allclose(adam.table.numpy(), dense_values(steps), rtol=0, atol=TOLERANCE)


def test_a_batch_reads_the_values_of_dense_adam() -> None:
    adam = RowAdam(table(), 0.01)
    for step, (token_ids, gradient) in enumerate(steps := batches(60)):
        train_step(adam, step, token_ids, gradient)
    rows = adam.gather(tf.constant([[3, 20, 9], [20, 15, 3]]))
    assert rows.ids.numpy().tolist() == [3, 20, 9, 15]
    expected = dense_values(steps)[rows.ids.numpy()]
    np.testing.assert_allclose(rows.values.numpy(), expected, atol=TOLERANCE)
    np.testing.assert_array_equal(adam.table.numpy()[rows.ids.numpy()], rows.values.numpy())


def test_rows_are_brought_up_to_date_in_training_after_many_steps() -> None:
    adam = RowAdam(table(), 0.01, steps_to_flush=STEPS_TO_FLUSH)
    run = tf.function(
        lambda step, ids, gradient: train_step_in_graph(adam, step, ids, gradient),
        input_signature=[
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, DIM], tf.float32),
        ],
    )
    steps = batches(STEPS_TO_FLUSH + 5)
    for step, (token_ids, gradient) in enumerate(steps[:STEPS_TO_FLUSH]):
        run(rate_of(step), token_ids, gradient)
    expected = dense_values(steps[:STEPS_TO_FLUSH])
    np.testing.assert_allclose(adam.table.numpy(), expected, atol=TOLERANCE)
    for step in range(STEPS_TO_FLUSH, len(steps)):
        run(rate_of(step), *steps[step])
    np.testing.assert_allclose(adam.current_values().numpy(), dense_values(steps), atol=TOLERANCE)


def train_step_in_graph(
    adam: RowAdam, rate: tf.Tensor, token_ids: tf.Tensor, gradient: tf.Tensor
) -> None:
    adam.learning_rate.assign(rate)
    rows = adam.gather(token_ids)
    adam.apply(rows.sum_gradient(tf.IndexedSlices(gradient, token_ids)), rows)


def test_current_values_are_those_after_a_flush_and_change_nothing() -> None:
    adam = RowAdam(table(), 0.01)
    for step, (token_ids, gradient) in enumerate(batches(20)):
        train_step(adam, step, token_ids, gradient)
    before = [variable.numpy() for variable in [adam.table, *adam.variables]]
    values = adam.current_values().numpy()
    np.testing.assert_array_equal(adam.current_values(tf.constant([7, 2])).numpy(), values[[7, 2]])
    after = [variable.numpy() for variable in [adam.table, *adam.variables]]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old)
    assert not np.array_equal(values, adam.table.numpy()), "some rows are not up to date"
    adam.flush()
    np.testing.assert_allclose(values, adam.table.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "is_by_row"),
    [
        ({}, True),
        ({"layer_decay": 0.5}, True),
        ({"precision": "mixed_bfloat16"}, True),
        ({"optimizer": "adamw"}, False),
        ({"accumulate_steps": 2}, False),
        ({"average": "ema"}, False),
        ({"precision": "mixed_float16"}, False),
    ],
)
def test_token_vectors_are_updated_by_row_where_nothing_needs_all_of_them(
    overrides: dict[str, Any], is_by_row: bool
) -> None:
    architecture = networks.Architecture(
        encoder="bag", bidirectional=False, units=1, num_layers=1, pooling="mean", embedding_dim=3
    )
    network = networks.build(architecture, vocabulary_size=7, num_classes=2)
    optimizer = Optimizer(network, Training(**overrides))
    names = [variable.name for variable in optimizer.variables]
    assert ("updated_at" in names) == is_by_row
    several = Optimizer(network, Training(**overrides), num_replicas=2)
    assert "updated_at" not in [variable.name for variable in several.variables]


# === In a training ===


@pytest.fixture(scope="module")
def settings(reviews: Any, tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, "data": {"source": str(reviews)}}


def trained_weights(settings: dict[str, Any], output: Any, **arguments: Any) -> dict[str, Any]:
    list(training.train_events(Config.from_dict(settings), output, **arguments))
    return classifier.get_weights(classifier.load(output).network)


def test_trained_weights_are_those_of_dense_adam(settings: dict[str, Any], tmp_path: Any) -> None:
    # AdamW without weight decay is Adam with all rows at every step.
    by_row = trained_weights(settings, tmp_path / "by_row")
    dense = {"optimizer": "adamw", "weight_decay": 0.0}
    whole = settings | {"training": settings["training"] | dense}
    for name, weight in trained_weights(whole, tmp_path / "dense").items():
        np.testing.assert_allclose(by_row[name], weight, rtol=0, atol=2e-5, err_msg=name)


def test_number_of_steps_of_a_call_changes_no_byte(settings: dict[str, Any], tmp_path: Any) -> None:
    # Small batches: an epoch has steps before and after those whose updates are measured.
    small = settings | {"training": settings["training"] | {"batch_size": 4, "schedule": "cosine"}}
    several = trained_weights(small, tmp_path / "several")
    single = trained_weights(small, tmp_path / "single", max_steps_per_call=1)
    for name, weight in several.items():
        np.testing.assert_array_equal(single[name], weight)
    assert result_of(tmp_path / "several") == result_of(tmp_path / "single")
