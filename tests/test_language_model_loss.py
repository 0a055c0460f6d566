"""Auxiliary loss of a language model in the training of a classifier."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from textclf import artifact, classifier, networks, pretraining, training
from textclf.config import Config
from textclf.errors import ConfigError
from textclf.training.language_model import LanguageModelLoss
from textclf.training.row_adam import Rows

UNITS, WIDTH, NUM_TOKENS = 4, 3, 12


def network_of(*, bidirectional: bool) -> networks.Network:
    """Return a network of 12 token ids."""
    architecture = networks.Architecture(
        encoder="gru",
        bidirectional=bidirectional,
        units=UNITS,
        num_layers=1,
        pooling="max",
        embedding_dim=WIDTH,
    )
    return networks.build(architecture, vocabulary_size=NUM_TOKENS, num_classes=2, seed=1)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_loss_is_the_mean_cross_entropy_of_the_neighbours_of_each_token(
    bidirectional: bool,
) -> None:
    network = network_of(bidirectional=bidirectional)
    loss = LanguageModelLoss(network, weight=0.5, seed=0)
    # So many draws have all tokens: the loss among candidates is the whole one.
    loss._candidates = networks.Candidates(num_tokens=NUM_TOKENS, number=20_000)
    random = np.random.default_rng(0)
    for variable in loss.variables:
        variable.assign(random.normal(size=variable.shape))
    token_ids = np.array([[2, 3, 4, 5], [6, 7, 0, 0], [8, 0, 0, 0]], np.int32)
    lengths = np.array([4, 2, 1], np.int32)
    outputs = random.normal(size=(3, 4, UNITS * (1 + bidirectional))).astype(np.float32)
    found = loss.losses(tf.constant(outputs), token_ids, lengths, loss.draw(tf.constant(0)))

    table = network.encoder.embedding.embeddings.numpy()
    bias, *weights = (variable.numpy() for variable in loss.variables)

    def cross_entropy(direction: int, row: int, position: int, target: int) -> float:
        x = outputs[row, position, direction * UNITS : (direction + 1) * UNITS]
        scores = (x @ weights[2 * direction] + weights[2 * direction + 1]) @ table.T + bias
        return float(np.log(np.exp(scores).sum()) - scores[target])

    for row in range(3):
        pairs = [(t, token_ids[row, t + 1]) for t in range(lengths[row] - 1)]
        values = [cross_entropy(0, row, t, target) for t, target in pairs]
        if bidirectional:
            values += [cross_entropy(1, row, t + 1, token_ids[row, t]) for t, _ in pairs]
        expected = 0.5 * np.mean(values) if values else 0.0
        assert found[row].numpy() == pytest.approx(expected, rel=1e-4)


def test_padding_does_not_change_the_loss() -> None:
    network = network_of(bidirectional=True)
    loss = LanguageModelLoss(network, weight=1.0, seed=0)
    token_ids, lengths = np.array([[2, 3, 4], [5, 6, 0]], np.int32), np.array([3, 2], np.int32)
    outputs = np.random.default_rng(0).normal(size=(2, 3, 2 * UNITS)).astype(np.float32)
    candidates = loss.draw(tf.constant(3))
    narrow = loss.losses(tf.constant(outputs), token_ids, lengths, candidates)
    wide = loss.losses(
        tf.constant(np.pad(outputs, [(0, 0), (0, 4), (0, 0)], constant_values=9.0)),
        np.pad(token_ids, [(0, 0), (0, 4)]),
        lengths,
        candidates,
    )
    np.testing.assert_allclose(narrow, wide, rtol=1e-6)


def test_gradients_of_a_table_read_several_times_are_summed_by_row() -> None:
    rows = Rows(
        ids=tf.constant([7, 2, 5]),
        positions=tf.constant([0, 1, 0, 2]),
        values=tf.zeros([3, 1]),
        first_moments=tf.zeros([3, 1]),
        second_moments=tf.zeros([3, 1]),
    )
    gradient = tf.IndexedSlices(
        tf.constant([[1.0], [10.0], [100.0], [1000.0], [10_000.0]]), tf.constant([5, 2, 7, 5, 2])
    )
    found = rows.sum_gradient(gradient, table_size=9).numpy()
    assert found.tolist() == [[100.0], [10_010.0], [1001.0]]


@pytest.fixture(scope="module")
def settings(reviews: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a training with the auxiliary loss."""
    return {
        **tiny,
        "data": {"source": str(reviews)},
        "training": {**tiny["training"], "language_model_weight": 0.3, "patience_epochs": 0},
    }


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    return classifier.read_arrays(folder)[0]


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_training_with_the_loss_continues_to_the_same_bytes(
    optimizer: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    config = Config.from_dict(settings, [f"training.optimizer={optimizer}"])
    training.train(config, tmp_path / "whole")
    done: list[training.Step] = []
    for event in training.train_events(
        config, tmp_path / "run", should_stop=lambda: len(done) >= 12, max_steps_per_call=1
    ):
        if isinstance(event, training.Step):
            done.append(event)
    training.train(config, tmp_path / "run", resume=True)
    whole, resumed = (weights_of(tmp_path / name) for name in ("whole", "run"))
    assert not any(name.startswith("language_model") for name in whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, resumed[name])


def test_adam_by_row_and_dense_adam_agree(settings: dict[str, Any], tmp_path: Path) -> None:
    """A moving average needs dense Adam; its decay of almost 0 makes it the last weights."""
    runs = {}
    for name, changes in (
        ("rows", {"training.average": "none"}),
        ("dense", {"training.average": "ema", "training.average_decay": 1e-9}),
    ):
        config = Config.from_dict(settings, changes | {"training.epochs": 1})
        training.train(config, tmp_path / name)
        runs[name] = weights_of(tmp_path / name)
    for name, values in runs["rows"].items():
        np.testing.assert_allclose(values, runs["dense"][name], atol=2e-4)


def test_loss_begins_with_the_weights_of_a_language_model(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    small = {"batch_size": 4, "window": 8, "num_candidates": 8, "held_out": 0.1}
    config = Config.from_dict({**settings, "pretraining": {**small, "epochs": 1}})
    pretraining.pretrain(config, tmp_path / "lm")
    network = networks.build(
        networks.Architecture.from_settings(config.model.to_dict()),
        vocabulary_size=len((tmp_path / "lm" / artifact.VOCABULARY).read_text().split("\n")) + 1,
        num_classes=2,
    )
    loss = LanguageModelLoss(network, weight=1.0, seed=0)
    loss.copy_weights(tmp_path / "lm")
    with np.load(tmp_path / "lm" / artifact.WEIGHTS) as arrays:
        expected = [arrays[name] for name in arrays if name.startswith("language_model")]
    assert len(expected) == len(loss.variables) == 5
    for values, variable in zip(expected, loss.variables, strict=True):
        np.testing.assert_array_equal(values, variable.numpy())


def test_upper_bidirectional_layers_refuse_the_loss(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="language_model_weight: .*upper layers of a bidir"):
        Config.from_dict(settings, ["model.num_layers=2"])
    Config.from_dict(settings, ["model.num_layers=2", "model.bidirectional=false"])
