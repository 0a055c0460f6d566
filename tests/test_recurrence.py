"""Diagnosis of a training: sizes of updates, gates, dead units, gradients in time, and notes."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from killed_training import result_of
from small_networks import (
    CELLS,
    EMBEDDING_DIM,
    LENGTHS,
    UNITS,
    VOCABULARY_SIZE,
    batch,
    features,
    make,
    randomize,
)

from textclf import classifier, networks, training
from textclf.cli import main
from textclf.config import Config
from textclf.training import diagnostics, recurrence


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def train(settings: dict[str, Any], output: Path, *overrides: str) -> list[training.Epoch]:
    """Train and return the events of the epochs."""
    events = training.train_events(Config.from_dict(settings, overrides), output)
    return [event for event in events if isinstance(event, training.Epoch)]


def diagnose(network: networks.Network, texts: networks.Features) -> dict[str, dict[str, float]]:
    return recurrence.Diagnosis(network, texts, steps_per_epoch=1).figures()


# === Recurrent layers ===


@pytest.mark.parametrize("encoder", CELLS)
def test_padding_does_not_change_gates_dead_units_and_gradients(encoder):
    network = randomize(make(encoder, num_layers=2, layer_norm=True))
    figures, padded = diagnose(network, batch()), diagnose(network, batch(extra=7))
    assert list(figures) == ["saturated_gates", "dead_units", "gradient_by_distance"]
    for name, values in figures.items():
        assert padded[name] == pytest.approx(values, rel=1e-4)
    assert len(figures["dead_units"]) == 4


@pytest.mark.parametrize(("encoder", "gates"), [("simple_rnn", 1), ("lstm", 3), ("gru", 2)])
def test_shares_of_saturated_gates_follow_the_size_of_the_weights(encoder, gates):
    network = make(encoder, bidirectional=False)
    small = diagnose(network, batch())["saturated_gates"]
    assert len(small) == gates and set(small.values()) == {0.0}
    for variable in randomize(network).parameters:
        variable.assign(variable * 1e3)
    large = diagnose(network, batch())["saturated_gates"]
    # With h in {-1, 0, 1} and large weights, hardly a gate lies between its limits.
    assert all(share > 0.8 for share in large.values()), large


def test_share_of_saturated_gates_counts_values_beyond_the_limits():
    network = randomize(make("simple_rnn", bidirectional=False))
    for variable in network.parameters:
        variable.assign(variable * 2)
    texts = batch()
    states = network.encoder(texts).numpy()
    real = np.concatenate([row[:length] for row, length in zip(states, LENGTHS, strict=True)])
    expected = np.mean(np.abs(real) > 0.95)
    assert 0 < expected < 1, "the count must matter"
    [share] = diagnose(network, texts)["saturated_gates"].values()
    assert share == pytest.approx(expected)


def test_units_without_inputs_are_dead():
    network = randomize(make("simple_rnn", bidirectional=False))
    cell = network.encoder.recurrent_layers[0].cell
    for variable in (cell.kernel, cell.recurrent_kernel):
        values = variable.numpy()
        values[:, 1] = 0  # a constant output, which is not zero
        variable.assign(values)
    assert list(diagnose(network, batch())["dead_units"].values()) == [1 / UNITS]
    # Unit 1 now reads the vector of the padding only, and is still dead.
    kernel, vectors = cell.kernel.numpy(), network.encoder.embedding.embeddings.numpy()
    kernel[0, 1], vectors[:, 0], vectors[0, 0] = 1, 0, 5
    cell.kernel.assign(kernel)
    network.encoder.embedding.embeddings.assign(vectors)
    assert np.ptp(network.encoder(batch(extra=2))[:, :, 1]) > 0.1, "it must vary in the padding"
    assert list(diagnose(network, batch(extra=2))["dead_units"].values()) == [1 / UNITS]


def test_gradient_by_distance_is_that_of_the_last_state_of_a_text():
    # With U = 0, a state depends on its own input only.
    network = randomize(make("simple_rnn", bidirectional=False))
    cell = network.encoder.recurrent_layers[0].cell
    cell.recurrent_kernel.assign(tf.zeros([UNITS, UNITS]))
    texts = features([[2] * 6, [3] * 6, [4, 5, 0, 0, 0, 0]], [6, 6, 2])
    norms = diagnose(network, texts)["gradient_by_distance"]
    assert norms.keys() == {"0", "1", "2", "4"}
    assert [norms[k] for k in ("1", "2", "4")] == [0, 0, 0] and norms["0"] > 0.01
    cell.recurrent_kernel.assign(0.5 * tf.eye(UNITS))
    norms = diagnose(network, texts)["gradient_by_distance"]
    assert norms["0"] > norms["1"] > norms["2"] > norms["4"] > 0
    short = features([[2, 2], [2, 0], [2, 0]], [2, 1, 1])
    assert diagnose(network, short)["gradient_by_distance"].keys() == {"0"}, "of half of the texts"


def test_gradients_that_explode_beyond_float32_are_left_out():
    # Without inputs the states stay 0, where the slope of tanh is 1: each step multiplies by 100.
    network = randomize(make("simple_rnn", bidirectional=False))
    network.encoder.embedding.embeddings.assign(tf.zeros([VOCABULARY_SIZE, EMBEDDING_DIM]))
    cell = network.encoder.recurrent_layers[0].cell
    cell.bias.assign(tf.zeros(UNITS))
    cell.recurrent_kernel.assign(100 * tf.eye(UNITS))
    norms = diagnose(network, features(np.full([2, 40], 2), [40, 40]))["gradient_by_distance"]
    assert norms["4"] == pytest.approx(100**4 * norms["0"])
    assert "32" not in norms and np.isfinite(list(norms.values())).all()


def test_gradient_by_distance_of_two_directions_is_that_of_the_forward_one():
    both = randomize(make("gru", bidirectional=True))
    forward = make("gru", bidirectional=False)
    for variable, value in zip(
        forward.encoder.recurrent_layers[0].weights,
        both.encoder.recurrent_layers[0].weights,
        strict=True,
    ):
        variable.assign(value)
    forward.encoder.embedding.embeddings.assign(both.encoder.embedding.embeddings)
    name = "gradient_by_distance"
    expected = diagnose(forward, batch())[name]
    assert diagnose(both, batch())[name] == pytest.approx(expected) and len(expected) == 4


def test_diagnosis_changes_neither_weights_nor_dropout():
    network = randomize(make("lstm", input_dropout=0.5, recurrent_dropout=0.5))
    before = [variable.numpy() for variable in network.variables]
    assert diagnose(network, batch()) == diagnose(network, batch())
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


# === Sizes of updates ===


def test_sampled_steps_are_spread_over_the_epoch():
    assert sorted(recurrence.sampled_steps(480)) == [30, 90, 150, 210, 270, 330, 390, 450]
    assert sorted(recurrence.sampled_steps(66)) == [16, 49]
    assert sorted(recurrence.sampled_steps(3)) == [1]
    assert sorted(recurrence.sampled_steps(1)) == [0]


def test_update_ratio_of_one_step_is_that_of_the_weights(
    reviews: Path, tiny: dict[str, Any], tmp_path: Path
):
    settings = {**tiny, "data": {"source": str(reviews)}}
    [epoch] = train(settings, tmp_path / "run", "training.max_steps=1", "training.batch_size=1000",
                    "training.length_buckets=1")  # fmt: skip
    after = classifier.load(tmp_path / "run").network
    before = networks.build(
        networks.Architecture.from_settings(Config.from_dict(settings).model.to_dict()),
        vocabulary_size=after.encoder.embedding.input_dim,
        num_classes=2,
        seed=Config().training.seed,
    )
    change, weights = {}, {}
    for old, new in zip(before.parameters, after.parameters, strict=True):
        layer = old.path.rpartition("/")[0]
        weights[layer] = math.hypot(weights.get(layer, 0), np.linalg.norm(old))
        change[layer] = math.hypot(change.get(layer, 0), np.linalg.norm(new.value - old.value))
    expected = {layer: change[layer] / weights[layer] for layer in weights}
    assert len(expected) == 4 and min(expected.values()) > 1e-3
    assert epoch.figures["update_ratios"] == pytest.approx(expected, rel=1e-4)


def test_weights_that_begin_at_zero_do_not_count_until_they_have_changed():
    network = make("bag", pooling="mean")
    assert len(network.trainable_variables) == 3
    # Norms of updates and weights of embedding, dense kernel and bias at two steps.
    updates = [np.float32([[1, 3, 4], [0, 3, 4]]), np.float32([[1, 3, 4], [2, 6, 8]])]
    ratios = diagnostics.ratios_by_layer(network, updates)
    assert ratios == pytest.approx({"network/embedding": 0.5, "network/dense": 0.75})
    assert set(diagnostics.ratios_by_layer(network, []).values()) == {0.0}


def test_updates_of_a_large_vocabulary_are_measured_on_vectors_from_all_of_it():
    architecture = networks.Architecture(
        encoder="bag", bidirectional=False, units=1, num_layers=1, pooling="mean", embedding_dim=2
    )
    network = networks.build(architecture, vocabulary_size=9000, num_classes=2)
    texts = {"token_ids": tf.zeros([1, 3], tf.int32), "lengths": tf.ones([1], tf.int32)}
    diagnosis = recurrence.Diagnosis(network, texts, steps_per_epoch=1)
    table = network.encoder.embedding.embeddings
    measured, kernel, bias = diagnosis.weights_before(0)
    assert measured.shape == (4096, 2)
    np.testing.assert_array_equal(measured[[0, -1]], table.numpy()[[0, -1]])
    table.assign(table.numpy() + 2)
    changes, _ = diagnosis.update_norms([measured, kernel, bias])
    np.testing.assert_allclose(changes, [2 * (4096 * 2) ** 0.5, 0, 0], rtol=1e-5)


def test_training_that_continues_within_an_epoch_has_the_same_update_ratios(
    reviews: Path, tiny: dict[str, Any], tmp_path: Path
):
    settings = {**tiny, "data": {"source": str(reviews)}}
    # Small batches: an epoch has several sampled steps.
    settings["training"] = {**tiny["training"], "checkpoint_minutes": 1e-9, "batch_size": 2}
    train(settings, tmp_path / "whole")
    events = training.train_events(
        Config.from_dict(settings), tmp_path / "run", max_steps_per_call=1
    )
    started = next(events)
    assert isinstance(started, training.Started)
    sampled = sorted(recurrence.sampled_steps(started.steps_per_epoch))
    stop = sampled[len(sampled) // 2]
    assert 0 < stop < sampled[-1], "both parts of the epoch must have a sampled step"
    for event in events:
        if isinstance(event, training.Step) and event.step > stop:
            events.close()
    list(training.train_events(Config.from_dict(settings), tmp_path / "run", resume=True))
    expected = result_of(tmp_path / "whole")
    assert all(min(line["update_ratios"].values()) > 0 for line in expected["history"])
    assert result_of(tmp_path / "run") == expected


# === Figures of a training ===


def test_history_holds_the_diagnosis_by_layer(trained: Path):
    for line in history(trained):
        layers = [f"network/bidirectional_0/{name}_0/lstm_cell" for name in ("forward", "backward")]
        assert line["update_ratios"].keys() == line["gradient_norms"].keys() >= set(layers)
        gates = itertools.product(layers, ("input", "forget", "output"))
        assert list(line["saturated_gates"]) == [f"{layer}/{gate}" for layer, gate in gates]
        assert list(line["dead_units"]) == layers
        assert line["gradient_by_distance"]["4"] > 0
        notes = diagnostics.epoch_notes(line, is_frozen=False, reads_last=True)
        assert list(notes) == [], "a training that learns"


@pytest.mark.parametrize(
    ("overrides", "has_gates"),
    [
        (["model.encoder=bag", "model.pooling=mean"], False),
        (["model.encoder=encoder_plugins:convolution"], False),
        (["training.precision=mixed_bfloat16", "model.encoder=gru"], True),
        (["training.average=ema"], True),
    ],
)
def test_diagnosis_of_other_networks_and_precisions(
    overrides, has_gates, reviews: Path, tiny: dict[str, Any], tmp_path: Path
):
    settings = {**tiny, "data": {"source": str(reviews)}}
    epochs = train(settings, tmp_path / "run", "training.epochs=1", *overrides)
    [figures] = [epoch.figures for epoch in epochs]
    assert min(figures["update_ratios"].values()) > 0
    assert ("saturated_gates" in figures) == ("gradient_by_distance" in figures) == has_gates
    assert epochs[0].notes == ()


def test_diagnosis_measures_the_last_weights_and_not_their_average(
    reviews: Path, tiny: dict[str, Any], tmp_path: Path
):
    settings = {**tiny, "data": {"source": str(reviews)}}
    [plain, averaged] = [
        train(settings, tmp_path / name, "training.epochs=1", f"training.average={name}")
        for name in ("none", "ema")
    ]
    name = "gradient_by_distance"
    assert averaged[0].figures["last_val_loss"] == pytest.approx(plain[0].figures["val_loss"])
    assert averaged[0].figures[name] == pytest.approx(plain[0].figures[name])


def test_event_files_hold_the_diagnosis(reviews: Path, tiny: dict[str, Any], tmp_path: Path):
    pytest.importorskip("tensorboard")
    settings = {**tiny, "data": {"source": str(reviews)}}
    train(settings, tmp_path / "run", "training.epochs=1", "training.tensorboard=true")
    [file] = (tmp_path / "run").rglob("events.*")
    tags = {
        value.tag.split("/")[0]
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    expected = {"gradient_norm", "update_ratio", "saturated_gates", "dead_units"}
    assert tags > expected | {"gradient_by_distance", "loss"}


# === Notes ===


@pytest.fixture(scope="module")
def long_texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return settings for texts of 150 words whose first word is the class."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "long.csv"
    rows = [
        f"{' '.join(['good' if label else 'bad', *rng.choice(['a', 'b', 'c'], 149)])},{label}\n"
        for label in [0, 1] * 40
    ]
    path.write_text("text,label\n" + "".join(rows))
    return {
        "data": {"source": str(path)},
        "model": {"units": 6, "embedding_dim": 5, "linear": "none", "pooling": "last"},
        "text": {"sequence_length": 150},
        "training": {"epochs": 1, "batch_size": 16},
        "evaluation": {"bootstrap_samples": 100},
    }


def test_simple_rnn_whose_gradient_vanishes_in_time_gets_a_note(
    long_texts: dict[str, Any], tmp_path: Path
):
    rnn = ("model.encoder=simple_rnn", "model.recurrent_initializer=normal")
    [epoch] = train(long_texts, tmp_path / "rnn", *rnn)
    by_distance = epoch.figures["gradient_by_distance"]
    assert by_distance["32"] < 1e-6 * by_distance["0"]
    [note] = epoch.notes
    assert "the gradient is" in note and "it vanishes in time; try model.pooling max_mean" in note
    # A pooling of all positions gives each of them a gradient.
    [epoch] = train(long_texts, tmp_path / "max", *rnn, "model.pooling=max")
    assert epoch.notes == ()
    by_distance = epoch.figures["gradient_by_distance"]
    assert by_distance["32"] < 1e-6 * by_distance["0"], "it must vanish for this test to mean a lot"


def test_network_with_a_huge_learning_rate_gets_its_notes_below_the_table(
    long_texts: dict[str, Any], tmp_path: Path
):
    file = tmp_path / "long.yaml"
    file.write_text(json.dumps(long_texts))
    overrides = ["--set", "training.learning_rate=30", "--set", "training.epochs=2"]
    done = CliRunner().invoke(main, ["train", str(file), str(tmp_path / "run"), *overrides])
    assert done.exit_code == 0, done.stderr
    lines = done.stderr.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("2/2")) + 1
    notes = lines[start : next(i for i, line in enumerate(lines) if line.startswith("ended"))]
    assert all(line.startswith("note: ") for line in notes) and len(notes) >= 3
    text = "\n".join(notes)
    assert "the gates of forward_0 are saturated (input " in text
    assert "of its weights; lower training.learning_rate" in text
    assert not any(line.startswith("note: ") for line in lines[: start - 1] if "gates" in line)


def test_frozen_layers_are_not_called_vanishing(
    reviews: Path, tiny: dict[str, Any], trained: Path, tmp_path: Path
):
    settings = {**tiny, "data": {"source": str(reviews)}}
    epochs = train(
        settings, tmp_path / "run", f"training.init_from={trained}", "training.freeze_epochs=1"
    )
    first, second = [epoch.figures for epoch in epochs]
    assert first["gradient_norms"]["network/embedding"] == 0
    assert (
        first["update_ratios"]["network/embedding"] == 0 < first["update_ratios"]["network/dense"]
    )
    assert second["gradient_norms"]["network/embedding"] > 0
    assert epochs[0].notes == epochs[1].notes == ()


def test_notes_name_layer_number_and_remedy():
    figures = {
        "gradient_norms": {
            "network/embedding": 1e-9,
            "network/bidirectional_0/forward_0/gru_cell": 0.5,
            "network/pooling": 0.0,
            "network/dense": 0.01,
        },
        "update_ratios": {
            "network/embedding": 0.3,
            "network/bidirectional_0/forward_0/gru_cell": 0.099,
            "network/dense": 0.25,
        },
        "saturated_gates": {
            "network/bidirectional_0/forward_0/gru_cell/update": 1.0,
            "network/bidirectional_0/forward_0/gru_cell/reset": 0.85,
            "network/bidirectional_0/backward_0/gru_cell/update": 1.0,
            "network/bidirectional_0/backward_0/gru_cell/reset": 0.75,
        },
        "dead_units": {
            "network/bidirectional_0/forward_0/gru_cell": 0.625,
            "network/bidirectional_0/backward_0/gru_cell": 0.4,
        },
        "gradient_by_distance": {"0": 2.0, "1": 1.0, "16": 1e-7, "32": 0.0},
    }
    dense = "a step changes dense by 0.25 of its weights; lower training.learning_rate"
    assert list(diagnostics.epoch_notes(figures, is_frozen=False, reads_last=True)) == [
        "gradients of embedding are 1e-07 of those of the dense layer: they vanish; try "
        "another model.encoder, a smaller model.num_layers, or a lower training.learning_rate",
        "16 tokens before the end of a text, the gradient is 5e-08 of that at its end: it vanishes "
        "in time; try model.pooling max_mean, another model.encoder, or a shorter "
        "text.sequence_length",
        "the gates of forward_0 are saturated (update 100%, reset 85%), so they hardly learn; "
        "lower training.learning_rate, or add model.l2",
        "62% of the units of forward_0 are dead: they have the same output for every token; lower "
        "training.learning_rate or model.units",
        dense,
    ]
    assert list(diagnostics.epoch_notes(figures, is_frozen=True, reads_last=True)) == [dense]
    others = {name: figures[name] for name in ("gradient_norms", "update_ratios")}
    assert len(list(diagnostics.epoch_notes(others, is_frozen=False, reads_last=True))) == 2
