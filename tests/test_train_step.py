"""The training step and the settings that change it: parts, layers, precision, averages."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killed_training import result_of

from textclf import classifier, data, training
from textclf.config import Config
from textclf.errors import ArtifactError, ConfigError, TextclfError
from textclf.training.averaging import mean_of_epochs

Weights = dict[str, np.ndarray]
NO_DROPOUT = {"embedding_dropout": 0.0, "output_dropout": 0.0}


@pytest.fixture(scope="module")
def settings(reviews: Path, tiny: dict[str, Any], cache: Path) -> dict[str, Any]:
    """Return settings of a recurrent network without a linear model."""
    return {
        **tiny,
        "data": {"source": str(reviews)},
        "training": {**tiny["training"], "cache_dir": str(cache)},
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training with `settings`."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(settings, folder)
    return folder


def merged(settings: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with further ones, by section."""
    return {**settings, **{name: settings.get(name, {}) | more for name, more in sections.items()}}


def loop_of(events: Any) -> Any:
    """Return the loop of a training that has started."""
    return events.gi_frame.f_locals["setup"].loop


def run(
    settings: dict[str, Any],
    output: Path,
    *,
    at_step: Callable[[Any, training.Step], None] = lambda loop, step: None,
    **arguments: Any,
) -> list[Any]:
    """Train, call a function with the loop after each step, and return the events."""
    events = training.train_events(
        Config.from_dict(settings), output, max_steps_per_call=1, **arguments
    )
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, training.Step):
            at_step(loop_of(events), event)
    return seen


def losses(events: list[Any]) -> list[float]:
    return [event.loss for event in events if isinstance(event, training.Step)]


def figures(events: list[Any]) -> list[dict[str, Any]]:
    return [event.figures for event in events if isinstance(event, training.Epoch)]


def notices(events: list[Any]) -> tuple[str, ...]:
    [started] = [event for event in events if isinstance(event, training.Started)]
    return started.notices


def weights_of(folder: Path) -> Weights:
    with np.load(folder / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def weights_by_step(settings: dict[str, Any], output: Path) -> list[Weights]:
    """Return the weights before the first step and after each step."""
    seen: list[Weights] = []
    events = training.train_events(Config.from_dict(settings), output, max_steps_per_call=1)
    for event in events:
        if isinstance(event, training.Started | training.Step):
            seen.append(classifier.get_weights(loop_of(events).network))
    return seen


def updates(settings: dict[str, Any], output: Path) -> Weights:
    """Return the change of each weight by the first step."""
    before, after, *_ = weights_by_step(merged(settings, training={"max_steps": 1}), output)
    return {name: after[name] - before[name] for name in before}


# === Parts of a batch ===


@pytest.mark.parametrize("num_parts", [2, 7])
def test_parts_of_a_batch_give_the_step_of_the_whole_batch(
    num_parts: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    # 33 rows are not a multiple of the parts; the penalty counts once; the gradients are clipped.
    options = {"batch_size": 33, "clip_norm": 0.01, "optimizer": "sgd", "learning_rate": 1.0}
    whole = merged(settings, model=NO_DROPOUT | {"l2": 1e-3}, training=options)
    parts = merged(whole, training={"accumulate_steps": num_parts})
    expected, found = (run(s, tmp_path / n) for s, n in ((whole, "whole"), (parts, "parts")))
    np.testing.assert_allclose(losses(found), losses(expected), rtol=0, atol=1e-6)
    for name, weight in weights_of(tmp_path / "whole").items():
        np.testing.assert_allclose(weights_of(tmp_path / "parts")[name], weight, atol=1e-6)


def test_parts_of_a_batch_have_different_dropout_masks(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    one = merged(settings, training={"max_steps": 3})
    two = merged(one, training={"accumulate_steps": 2})
    states: list[list[int]] = []

    def note(loop: Any, step: training.Step) -> None:
        states.append([int(state.numpy()[1]) // 64 for state in loop.network.dropout_states])

    run(one, tmp_path / "one", at_step=note)
    run(two, tmp_path / "two", at_step=note)
    # The number of the part that drew the last masks, over all steps, in every layer.
    assert [set(numbers) for numbers in states] == [{0}, {1}, {2}, {1}, {3}, {5}]


# === Learning rates of layers ===


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_layer_decay_multiplies_the_update_of_each_depth(
    optimizer: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    deep = merged(
        settings,
        model=NO_DROPOUT | {"num_layers": 2, "layer_norm": True},
        # An update is seen to about 1e-8, the precision of a weight near 0.1.
        training={"optimizer": optimizer, "learning_rate": 1.0 if optimizer == "sgd" else 0.01},
    )
    full = updates(deep, tmp_path / "full")
    halved = updates(merged(deep, training={"layer_decay": 0.5}), tmp_path / "halved")
    factors = {"embedding": 1 / 8, "bidirectional_0": 1 / 4, "norm_0": 1 / 4}
    factors |= {"bidirectional_1": 1 / 2, "dense": 1}
    for name, update in full.items():
        [factor] = [factor for part, factor in factors.items() if part in name]
        assert np.abs(update).max() > 0
        np.testing.assert_allclose(halved[name], factor * update, rtol=2e-3, atol=2e-8)


def test_frozen_layers_have_no_update_no_moments_and_no_decay(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    frozen = merged(
        settings,
        training={"init_from": str(trained), "freeze_epochs": 1, "optimizer": "adamw"},
    )
    by_epoch: dict[int, list[tuple[Weights, list[np.ndarray]]]] = {1: [], 2: []}

    def note(loop: Any, step: training.Step) -> None:
        moments = [variable.numpy() for variable in loop.optimizer.variables]
        by_epoch[step.epoch].append((classifier.get_weights(loop.network), moments))

    epochs = figures(run(frozen, tmp_path / "run", at_step=note))
    first = weights_of(trained)
    for name in first:
        changed = [not np.array_equal(weights[name], first[name]) for weights, _ in by_epoch[1]]
        assert all(changed) if "dense" in name else not any(changed), name
        assert not np.array_equal(by_epoch[2][0][0][name], by_epoch[1][-1][0][name]), name
    # AdamW has a counter, a rate, and two moments for each weight; only the head's moved.
    for variables in (moments for _, moments in by_epoch[1]):
        moved = [bool(np.any(v)) for v in variables if v.ndim]
        assert moved == [False] * (len(moved) - 4) + [True] * 4
    norms = [epoch["gradient_norms"] for epoch in epochs]
    assert [name for name, norm in norms[0].items() if norm] == ["network/dense"]
    assert all(norms[1].values())


def test_first_update_of_a_layer_that_was_frozen_is_that_of_a_first_step(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    # In Adam it has the size of the learning rate; if the bias correction counted the frozen steps,
    # it would be half of it here, and three times as large after some thousand steps.
    late = merged(settings, training={"init_from": str(trained), "freeze_epochs": 1})
    weights = weights_by_step(late, tmp_path / "run")
    steps = (len(weights) - 1) // 2
    name = next(name for name in weights[0] if "recurrent_kernel" in name)
    update = weights[steps + 1][name] - weights[steps][name]
    assert np.abs(update).max() == pytest.approx(late["training"]["learning_rate"], rel=0.01)


# === Precision ===


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_saves_a_float32_classifier(
    precision: str, settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    mixed = merged(settings, training={"precision": precision})
    seen: list[set[str]] = []

    def note(loop: Any, step: training.Step) -> None:
        layer = loop.network.encoder.recurrent_layers[0]
        seen.append({layer.compute_dtype, loop.network.head.dense.compute_dtype})

    epochs = figures(run(mixed, tmp_path / "run", at_step=note))
    assert seen[0] == {precision.removeprefix("mixed_"), "float32"}
    weights = weights_of(tmp_path / "run")
    assert {weight.dtype for weight in weights.values()} == {np.dtype("float32")}
    expected = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    for found, figure in zip(epochs, expected, strict=True):
        assert abs(found["val_loss"] - figure["val_loss"]) < 0.02
    # The decision was fitted to the logits of the classifier that was saved.
    model = classifier.load(tmp_path / "run")
    assert model.network.encoder.recurrent_layers[0].compute_dtype == "float32"
    best = min(epochs, key=lambda epoch: epoch["val_loss"])
    scores = model.score(data.open_dataset(Config.from_dict(settings).data), "validation")
    log_p = model.card.temperature * np.log(scores.p.astype(np.float64))
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))  # with the temperature 1
    loss = -log_p[np.arange(len(log_p)), scores.y_true].mean()
    assert best["val_loss"] == pytest.approx(loss, abs=2e-6)


def test_float16_step_whose_gradient_overflows_is_skipped_and_counted(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    mixed = merged(settings, training={"precision": "mixed_float16", "epochs": 1})
    scales: list[float] = []
    weights: list[Weights] = []

    def overflow(loop: Any, step: training.Step) -> None:
        scale = loop.train_step._loss_scale.value
        scales.append(float(scale.numpy()))
        weights.append(classifier.get_weights(loop.network))
        if step.step == 1:
            scale.assign(2.0**60)

    events = run(mixed, tmp_path / "run", at_step=overflow)
    assert events[-1].why == "epochs"
    assert scales[0] == 2.0**15
    assert scales[1] == 2.0**59, "halved by the overflow"
    for name in weights[0]:
        np.testing.assert_array_equal(weights[1][name], weights[0][name])
    skipped = figures(events)[0]["skipped_steps"]
    assert (
        0
        < skipped
        == sum(
            all(np.array_equal(a[name], b[name]) for name in a)
            for a, b in zip(weights, weights[1:], strict=False)
        )
    )


def test_twenty_float16_steps_that_overflow_in_a_row_end_the_training(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    mixed = merged(settings, training={"precision": "mixed_float16", "epochs": 9, "batch_size": 8})
    steps: list[training.Step] = []

    def broken(loop: Any, step: training.Step) -> None:
        steps.append(step)
        if (step.epoch, step.step) == (2, 1):
            loop.network.head.dense.bias.assign([float("nan")] * 2)

    events = run(mixed, tmp_path / "run", at_step=broken)
    assert events[-1].why == "not finite"
    assert "at 20 steps in a row up to step 21" in events[-1].message
    assert (events[-1].best_epoch, steps[-1].step) == (1, 20)


# === Averages ===


def test_moving_average_follows_its_definition_and_is_saved_where_it_scores_better(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    # A high learning rate, so that the last weights jump about.
    averaged = merged(
        settings,
        training={"average": "ema", "average_decay": 0.8, "epochs": 4, "learning_rate": 0.2},
    )
    averages: list[Weights] = []

    def note(loop: Any, step: training.Step) -> None:
        averages.append(loop.train_step.average.weights(classifier.get_weights(loop.network)))

    epochs = figures(run(averaged, tmp_path / "run", at_step=note))
    by_step = weights_by_step(averaged, tmp_path / "again")
    average = by_step[0]
    for step, weights in enumerate(by_step[1:]):
        decay = min(0.8, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in weights}
        for name in average:
            np.testing.assert_allclose(averages[step][name], average[name], atol=1e-5)
    assert any(epoch["is_average"] for epoch in epochs)
    for epoch in epochs:
        last, mean = epoch["last_val_loss"], epoch["average_val_loss"]
        assert epoch["val_loss"] == min(last, mean)
        assert epoch["is_average"] == (mean < last)
    best = min(epochs, key=lambda epoch: epoch["val_loss"])
    card = classifier.load(tmp_path / "run").card
    assert card.training.is_average == best["is_average"]
    saved = weights_of(tmp_path / "run")
    last_step = best["epoch"] * (len(averages) // len(epochs)) - 1
    expected = averages[last_step] if best["is_average"] else by_step[last_step + 1]
    for name in saved:
        np.testing.assert_allclose(saved[name], expected[name], atol=1e-6)


def test_mean_of_epochs_is_their_arithmetic_mean() -> None:
    random = np.random.default_rng(0)
    epochs = [{"w": random.normal(size=(3, 2)).astype(np.float32)} for _ in range(4)]
    mean = epochs[0]
    for number, weights in enumerate(epochs[1:], start=2):
        mean = mean_of_epochs(mean, weights, number)
    np.testing.assert_allclose(mean["w"], np.mean([e["w"] for e in epochs], axis=0), atol=1e-6)
    assert mean["w"].dtype == np.float32


def test_mean_over_epochs_begins_at_the_best_epoch(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    rough = merged(
        settings,
        training={"average": "swa", "epochs": 6, "learning_rate": 0.3, "patience_epochs": 0},
    )
    ends: list[Weights] = []

    def note(loop: Any, step: training.Step) -> None:
        if step.step == step.steps_per_epoch:
            ends.append(classifier.get_weights(loop.network))

    epochs = figures(run(rough, tmp_path / "run", at_step=note))
    lasts = [epoch.get("last_val_loss", epoch["val_loss"]) for epoch in epochs]
    assert len({bool("is_average" in epoch) for epoch in epochs}) == 2
    for number, epoch in enumerate(epochs):
        # A mean that begins with this epoch is the epoch itself.
        assert ("is_average" in epoch) == (lasts[number] > min([np.inf, *lasts[:number]]))
    averaged = [epoch for epoch in epochs if epoch.get("is_average")]
    if averaged and (best := min(epochs, key=lambda e: e["val_loss"])) in averaged:
        start = int(np.argmin(lasts[: best["epoch"]]))
        for name, weight in weights_of(tmp_path / "run").items():
            expected = np.mean([w[name] for w in ends[start : best["epoch"]]], axis=0)
            np.testing.assert_allclose(weight, expected, atol=1e-5)


# === Resumed trainings ===


@pytest.mark.parametrize(
    "options",
    [
        {"average": "ema", "learning_rate": 0.1},
        {"average": "swa", "learning_rate": 0.3},
        {"precision": "mixed_float16"},
        {"layer_decay": 0.5, "accumulate_steps": 3},
        {"init_from": "TRAINED", "freeze_epochs": 1},
    ],
    ids=lambda options: "-".join(options),
)
def test_interrupted_training_with_further_state_continues_to_the_same_bytes(
    options: dict[str, Any], settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    options = {k: str(trained) if v == "TRAINED" else v for k, v in options.items()}
    whole = merged(
        settings, training=options | {"epochs": 3, "patience_epochs": 0, "batch_size": 64}
    )
    steps = len(losses(run(whole, tmp_path / "whole")))
    for at in (2, steps // 3 + 1, steps - 1):
        # It is called before every step, because a call of the graph is one step.
        calls = iter(range(steps))
        output = tmp_path / f"at{at}"
        try:
            run(whole, output, should_stop=lambda calls=calls, at=at: next(calls) == at)
        except TextclfError as error:
            assert "no epoch was complete" in str(error)
        run(whole, output, resume=True)
        assert result_of(output) == result_of(tmp_path / "whole"), f"interrupted at step {at}"


# === Initial weights ===


def test_training_from_a_trained_folder_begins_with_its_weights(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    again = merged(settings, training={"init_from": str(trained)})
    events = training.train_events(Config.from_dict(again), tmp_path / "run")
    started = next(events)
    assert isinstance(started, training.Started)
    for name, weight in classifier.get_weights(loop_of(events).network).items():
        np.testing.assert_array_equal(weight, weights_of(trained)[name])
    list(events)
    size = len((trained / "vocabulary.txt").read_text().splitlines())
    assert started.notices[-3:] == (
        f"{size:,} of {size:,} token vectors come from {trained}",
        f"the encoder: 6 of 6 weights come from {trained}",
        f"the head comes from {trained}",
    )


@pytest.fixture(scope="module")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with other words and with the same classes in another order."""
    path = tmp_path_factory.mktemp("other") / "other.csv"
    rows = [f"{'good' if i % 3 else 'bad'} word{i % 7} here,{int(i % 3 > 0)}" for i in range(120)]
    path.write_text("text,label\n" + "\n".join(rows))
    return path


def test_vocabulary_of_the_initial_folder_is_kept_for_texts_with_other_words(
    settings: dict[str, Any], trained: Path, other_data: Path, tmp_path: Path
) -> None:
    kept = merged(
        settings,
        data={"source": str(other_data)},
        training={"init_from": str(trained), "max_steps": 1},
    )
    run(kept, tmp_path / "run")
    vocabulary, former = (folder / "vocabulary.txt" for folder in (tmp_path / "run", trained))
    assert vocabulary.read_bytes() == former.read_bytes()


def test_token_vectors_are_copied_by_token_into_a_new_vocabulary(
    settings: dict[str, Any], trained: Path, other_data: Path, tmp_path: Path
) -> None:
    new = merged(
        settings,
        data={"source": str(other_data)},
        training={"init_from": str(trained), "init_vocabulary": "new"},
    )
    events = training.train_events(Config.from_dict(new), tmp_path / "run")
    notes = notices([next(events)])
    network = loop_of(events).network
    vectors = network.encoder.embedding.embeddings.numpy()
    list(events)
    tokens, former_tokens = (
        folder.joinpath("vocabulary.txt").read_text().splitlines()
        for folder in (tmp_path / "run", trained)
    )
    former = next(w for name, w in weights_of(trained).items() if "embedding" in name)
    np.testing.assert_array_equal(vectors[:2], former[:2])
    common = set(tokens) & set(former_tokens)
    assert common and set(tokens) - common
    for row, token in enumerate(tokens, start=2):
        is_equal = token in common and np.array_equal(
            vectors[row], former[2 + former_tokens.index(token)]
        )
        assert is_equal == (token in common), token
    assert f"{len(common)} of {len(tokens)} token vectors come from {trained}" in notes
    assert "the head begins at random, because the classes differ" in notes


def test_head_is_copied_by_class_if_the_classes_have_another_order(
    settings: dict[str, Any], reviews: Path, trained: Path, tmp_path: Path
) -> None:
    names = classifier.load(trained).class_names
    turned = merged(
        settings,
        data={"class_names": list(reversed(names))},
        training={"init_from": str(trained)},
    )
    events = training.train_events(Config.from_dict(turned), tmp_path / "run")
    assert f"the head comes from {trained}" in notices([next(events)])
    head = loop_of(events).network.head.dense
    events.close()  # type: ignore[attr-defined]
    former = weights_of(trained)
    np.testing.assert_array_equal(head.kernel.numpy()[:, ::-1], former["network/dense/kernel"])
    np.testing.assert_array_equal(head.bias.numpy()[::-1], former["network/dense/bias"])


def test_encoder_weights_whose_shapes_differ_begin_at_random(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    wider = merged(settings, model={"num_layers": 2}, training={"init_from": str(trained)})
    events = training.train_events(Config.from_dict(wider), tmp_path / "run")
    notes = notices([next(events)])
    events.close()  # type: ignore[attr-defined]
    assert any("6 of 12 weights come from" in note and "differ" in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": {"embedding_dim": 7}}, "model.embedding_dim: is 7, but the vectors in"),
        ({"text": {"lowercase": False}}, "text.lowercase: is False, but the vocabulary of"),
        (
            {"training": {"freeze_epochs": 1}, "model": {"units": 7}},
            "model.units: is 7, but .* would freeze random weights",
        ),
    ],
)
def test_initial_weights_that_do_not_fit_are_refused_before_the_data_are_read(
    changes: dict[str, Any],
    problem: str,
    settings: dict[str, Any],
    trained: Path,
    tmp_path: Path,
) -> None:
    training_settings = {"init_from": str(trained), **changes.get("training", {})}
    wrong = merged(settings, **{**changes, "training": training_settings})
    with pytest.raises(ConfigError, match=problem):
        training.check(Config.from_dict(wrong), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_initial_folder_must_be_another_trained_folder_with_a_network(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    missing = Config.from_dict(merged(settings, training={"init_from": str(tmp_path / "no")}))
    with pytest.raises(ArtifactError, match=r"^training\.init_from: .*no does not exist"):
        training.check(missing, tmp_path / "run")
    itself = Config.from_dict(merged(settings, training={"init_from": str(trained)}))
    with pytest.raises(ArtifactError, match="is also the output"):
        training.check(itself, trained, overwrite=True)
    linear = {**settings, "model": {"encoder": "none"}, "training": {}}
    run(linear, tmp_path / "linear")
    alone = Config.from_dict(merged(settings, training={"init_from": str(tmp_path / "linear")}))
    with pytest.raises(ConfigError, match="is a linear model alone; name a folder with a network"):
        training.check(alone, tmp_path / "run")


def test_initial_weights_that_changed_since_are_refused_by_resume(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(trained, first)
    run(merged(settings, training={"seed": 5}), second)
    again = Config.from_dict(merged(settings, training={"init_from": str(first)}))
    events = training.train_events(again, tmp_path / "run")
    for event in events:
        if isinstance(event, training.Epoch):
            break
    events.close()  # type: ignore[attr-defined]
    shutil.rmtree(first)
    shutil.copytree(second, first)
    with pytest.raises(ConfigError, match=r"training\.init_from: the weights in .* differ"):
        list(training.train_events(again, tmp_path / "run", resume=True))
