"""Training: seeds, the best epoch, interruptions, and a test split that is never read."""

import contextlib
import fcntl
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from textclf import classifier, data, evaluation, networks, saved_model, text, training
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ArtifactError, ConfigError, TrainingError
from textclf.tasks import MultiLabel, OneOf
from textclf.training import optimization
from textclf.training import run as training_run


def config(settings, *overrides, **data_settings):
    resolved = Config.from_dict({**settings, "data": data_settings}, overrides)
    return resolved


def run(resolved, output, **arguments):
    events = list(training.train_events(resolved, output, **arguments))
    return [e for e in events if isinstance(e, training.Epoch)], events[-1]


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def outputs_of(output):
    """Return probabilities, output of `predict`, and fingerprint of the export of a folder."""
    model = classifier.load(output)
    p = model.predict_proba(["not bad at all", "", "很好看！"])
    printed = CliRunner().invoke(main, ["predict", str(output), "--json", "not bad", ""]).stdout
    version = saved_model.export(model, f"{output}-exports", is_verified=False)
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(version))
    return f"{p.tobytes().hex()} {printed} {fingerprint.singleprint()}"


SCRIPT = """
import json, sys
from textclf.startup import import_tensorflow
import_tensorflow()
from test_training import config, run, outputs_of
run(config(json.loads(sys.argv[1]), source=sys.argv[2]), sys.argv[3])
print(outputs_of(sys.argv[3]))
"""


def test_equal_seeds_give_equal_bytes_of_weights_in_different_processes(
    reviews, tiny, trained, tmp_path
):
    other = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(tiny), str(reviews), str(other)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == outputs_of(trained) + "\n" and '"confidence"' in done.stdout
    for name in ("weights.npz", "vocabulary.txt", "config.yaml"):
        assert (other / name).read_bytes() == (trained / name).read_bytes(), name
    assert history(other) == history(trained)


def test_different_seeds_give_different_weights(reviews, tiny, trained, tmp_path):
    run(config(tiny, "training.seed=1", source=str(reviews)), tmp_path / "run")
    assert history(tmp_path / "run") != history(trained)


def test_weights_of_the_best_epoch_are_saved(reviews, bag, tmp_path):
    resolved = config(
        bag, "training.epochs=12", "training.learning_rate=0.2", "training.clip_norm=100",
        "training.patience_epochs=0", source=str(reviews),
    )  # fmt: skip
    epochs, finished = run(resolved, tmp_path / "run")
    losses = [epoch.figures["val_loss"] for epoch in epochs]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1, "the run must get worse for this test to mean anything"
    assert finished.best_epoch == best + 1
    assert [epoch.is_best for epoch in epochs].index(True) == 0 and epochs[best].is_best
    model = classifier.load(tmp_path / "run")
    dataset = data.open_dataset(resolved.data)
    report = model.evaluate(dataset, "validation", bootstrap_samples=100)
    fitted = finished.validation.metrics["log_loss"]
    assert report.get("log_loss") == pytest.approx(fitted, abs=1e-5)
    # The history was written before the temperature was fitted.
    card = msgspec.structs.replace(model.card, temperature=1.0)
    raw = classifier.Classifier(model.text_encoder, model.network, card)
    report = raw.evaluate(dataset, "validation", bootstrap_samples=100)
    assert report.get("log_loss") == pytest.approx(losses[best], abs=1e-5)


def test_training_stops_when_validation_no_longer_improves(reviews, bag, tmp_path):
    resolved = config(
        bag, "training.epochs=30", "training.learning_rate=0.5", "training.patience_epochs=2",
        source=str(reviews),
    )  # fmt: skip
    epochs, finished = run(resolved, tmp_path / "run")
    assert finished.why == "early stopping" and len(epochs) == finished.best_epoch + 2 < 30


def test_the_monitored_figure_chooses_the_best_epoch(reviews, bag, tmp_path):
    resolved = config(
        bag, "training.epochs=6", "training.monitor=val_macro_f1", "training.patience_epochs=0",
        source=str(reviews),
    )  # fmt: skip
    epochs, finished = run(resolved, tmp_path / "run")
    scores = [epoch.figures["val_macro_f1"] for epoch in epochs]
    assert finished.best_epoch == int(np.argmax(scores)) + 1, "the first of equal ones is kept"


def test_card_has_the_share_of_unknown_tokens_among_the_kept_validation_tokens(
    reviews, bag, tmp_path
):
    resolved = config(
        bag, "text.sequence_length=3", "text.min_count=20", "training.epochs=1",
        source=str(reviews),
    )  # fmt: skip
    run(resolved, tmp_path / "run")
    model = classifier.load(tmp_path / "run")
    dataset = data.open_dataset(resolved.data)
    answers = model.answers([example.text for example in dataset.examples("validation")])
    kept = np.minimum(answers["num_tokens"], 3)
    expected = (answers["unknown_fraction"] * kept).sum() / kept.sum()
    assert 0 < expected < 1 and (answers["num_tokens"] > 3).any()
    assert model.card.text.unknown_fraction == pytest.approx(expected)


def test_temperature_and_thresholds_are_fitted_on_validation(reviews, bag, tmp_path):
    for multi_label in (False, True):
        resolved = config(bag, source=str(reviews), multi_label=multi_label)
        output = tmp_path / str(multi_label)
        run(resolved, output)
        model = classifier.load(output)
        dataset = data.open_dataset(resolved.data)
        scores = model.score(dataset, "validation")
        raw = classifier.Classifier(
            model.text_encoder,
            model.network,
            msgspec.structs.replace(model.card, temperature=1.0),
        ).score(dataset, "validation")
        logits = np.log(raw.p) - (np.log1p(-raw.p) if multi_label else 0)
        task = model.card.task
        fitted = evaluation.fit_temperature(task, raw.y_true, logits)
        assert model.card.temperature == pytest.approx(fitted, rel=1e-2)
        assert model.card.abstain_below is None
        if multi_label:
            chosen = evaluation.choose_thresholds(scores.y_true, scores.p)
            assert model.card.thresholds == pytest.approx(chosen.tolist(), abs=1e-5)


def test_interrupted_training_saves_the_best_epoch_without_a_further_validation(
    reviews, bag, tmp_path
):
    asked = iter(range(1000))
    resolved = config(bag, "training.epochs=50", source=str(reviews))
    epochs, finished = run(
        resolved, tmp_path / "run", should_stop=lambda: next(asked) >= 20, max_steps_per_call=1
    )
    assert finished.why == "interrupted" and "interrupted in epoch" in finished.message
    assert len(epochs) == finished.epochs - 1 >= 1
    assert classifier.load(tmp_path / "run").card.training.ended_by == "interrupted"


def test_training_interrupted_in_the_first_epoch_keeps_the_former_folder(
    reviews, tiny, trained, tmp_path
):
    folder = shutil.copytree(trained, tmp_path / "run")
    resolved = config(tiny, source=str(reviews))
    with pytest.raises(TrainingError, match="no epoch was complete; continue with --resume"):
        run(resolved, folder, overwrite=True, should_stop=lambda: True)
    assert history(folder) == history(trained)
    assert classifier.load(folder).predict_proba(["good"]).shape == (1, 2)


def test_non_finite_loss_stops_training_and_names_step_texts_and_fix(reviews, bag, tmp_path):
    resolved = config(bag, "model.l2=1e38", source=str(reviews))
    with pytest.raises(TrainingError) as caught:
        run(resolved, tmp_path / "run")
    message = str(caught.value)
    assert "not finite in epoch 1 at step 1 (loss inf" in message
    assert "lower training.learning_rate" in message
    assert str(reviews) + ":" in message or "reviews.csv:" in message
    assert not list(tmp_path.iterdir())


def test_test_split_has_no_influence_on_training(reviews, bag, tmp_path):
    lines = reviews.read_text(encoding="utf-8").splitlines(keepends=True)
    for name, some in {
        "train": lines[1:200],
        "validation": lines[200:260],
        "test": lines[260:],
        "other": lines[120:170],
    }.items():
        (tmp_path / f"{name}.csv").write_text(lines[0] + "".join(some), encoding="utf-8")
    for test in ("test", "other"):
        files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "validation")}
        resolved = config(bag, **files, test=str(tmp_path / f"{test}.csv"))
        run(resolved, tmp_path / f"run-{test}")
    one, two = tmp_path / "run-test", tmp_path / "run-other"
    for name in ("weights.npz", "vocabulary.txt"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert history(one) == history(two)


def test_training_changes_every_weight(reviews, tiny, tmp_path, trained):
    resolved = config(tiny, "model.pooling=attention", source=str(reviews))
    run(resolved, tmp_path / "run")
    after = classifier.load(tmp_path / "run").network
    before = networks.build(
        networks.Architecture.from_settings(resolved.model.to_dict()),
        seed=resolved.training.seed,
        vocabulary_size=after.encoder.embedding.input_dim,
        num_classes=2,
    )
    for old, new in zip(before.parameters, after.parameters, strict=True):
        assert not np.array_equal(old.numpy(), new.numpy()), new.path


def test_a_second_training_into_the_same_folder_is_refused(reviews, tiny, tmp_path):
    events = training.train_events(config(tiny, source=str(reviews)), tmp_path / "run")
    next(events)
    with pytest.raises(ArtifactError, match="another training is writing there"):
        next(training.train_events(config(tiny, source=str(reviews)), tmp_path / "run"))
    events.close()
    assert not list(tmp_path.iterdir())


def test_temporary_files_of_a_killed_training_are_removed(reviews, bag, tmp_path):
    left = tmp_path / "run.unfinished"
    (left / "batches").mkdir(parents=True)
    (left / "lock").touch()
    (left / "link").symlink_to(tmp_path)
    (left / "history.jsonl").write_text("old\n")
    run(config(bag, "training.epochs=1", source=str(reviews)), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert "old" not in (tmp_path / "run" / "history.jsonl").read_text()


def test_unfinished_folder_with_foreign_files_is_refused(reviews, tiny, tmp_path):
    (tmp_path / "run.unfinished").mkdir()
    (tmp_path / "run.unfinished" / "draft.txt").write_text("my thesis")
    with pytest.raises(ArtifactError, match="holds other files; move it"):
        run(config(tiny, source=str(reviews)), tmp_path / "run")
    assert (tmp_path / "run.unfinished" / "draft.txt").read_text() == "my thesis"


def call_before_the_lock(monkeypatch, happens):
    """Let an action run between opening and taking the lock, as in a different process."""
    flock, calls = fcntl.flock, []

    def slow(*arguments):
        if not calls:
            happens()
        calls.append(arguments)
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", slow)


def test_lock_of_a_training_is_taken_again_after_the_removal_of_its_file(
    reviews, tiny, tmp_path, monkeypatch
):
    lock = tmp_path / "run.unfinished" / "lock"
    call_before_the_lock(monkeypatch, lambda: shutil.rmtree(lock.parent))
    events = training.train_events(config(tiny, source=str(reviews)), tmp_path / "run")
    next(events)
    assert lock.exists()
    with pytest.raises(ArtifactError, match="another training is writing there"):
        next(training.train_events(config(tiny, source=str(reviews)), tmp_path / "run"))
    events.close()


def test_result_of_a_training_finished_before_the_lock_is_not_replaced(
    reviews, tiny, trained, tmp_path, monkeypatch
):
    call_before_the_lock(monkeypatch, lambda: shutil.copytree(trained, tmp_path / "run"))
    with pytest.raises(ArtifactError, match="run: exists already"):
        run(config(tiny, source=str(reviews)), tmp_path / "run")


def test_a_folder_created_during_the_training_is_not_replaced(reviews, bag, tmp_path):
    events = training.train_events(
        config(bag, "training.epochs=1", source=str(reviews)), tmp_path / "r"
    )
    next(events)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "precious.txt").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        list(events)
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["precious.txt"]


def test_non_finite_validation_outputs_stop_training_and_keep_the_best_epoch(
    reviews, bag, tmp_path
):
    for epoch, multi_label in ((2, False), (1, False), (2, True)):
        output = tmp_path / f"{epoch}{multi_label}"
        resolved = config(bag, "training.epochs=9", source=str(reviews), multi_label=multi_label)
        events = training.train_events(resolved, output)

        def broken(events=events, epoch=epoch):
            for event in events:
                if isinstance(event, training.Step) and (event.epoch, event.step) == (
                    epoch,
                    event.steps_per_epoch,
                ):
                    bias = events.gi_frame.f_locals["setup"].loop.network.head.dense.bias
                    bias.assign([float("nan")] * 2)
                yield event

        if epoch == 1:
            with pytest.raises(TrainingError, match="not finite after epoch 1.*nothing was saved"):
                list(broken())
            assert not output.exists()
            continue
        finished = list(broken())[-1]
        assert (finished.why, finished.best_epoch) == ("not finite", 1)
        assert np.isfinite(classifier.load(output).predict_proba(["good"])).all()


@pytest.mark.parametrize(
    ("overrides", "factor"),
    [
        ([], lambda step, total, epoch: 1),
        (["training.schedule=cosine"], lambda s, total, e: 0.5 * (1 + np.cos(np.pi * s / total))),
        (
            ["training.schedule=exponential", "training.decay_rate=0.7"],
            lambda step, total, epoch: 0.7 ** (step / (total / 4)),
        ),
        (["training.warmup_steps=1000"], lambda step, total, epoch: (step + 1) / 1000),
        (
            ["training.schedule=cosine", "training.warmup_steps=3"],
            lambda s, total, e: 0.5 * (1 + np.cos(np.pi * (s - 3) / (total - 3))),
        ),
        (
            [
                "training.schedule=plateau",
                "training.plateau_factor=0.1",
                "training.plateau_patience_epochs=2",
            ],
            # Only the first epoch improves the score.
            lambda step, total, epoch: [1, 1, 1, 0.1][epoch - 1],
        ),
    ],
    ids=["constant", "cosine", "exponential", "warm-up", "cosine with warm-up", "plateau"],
)
def test_the_learning_rate_follows_its_schedule(reviews, bag, tmp_path, overrides, factor):
    resolved = config(
        bag, "training.epochs=4", "training.patience_epochs=0", "training.learning_rate=1e-9",
        "training.monitor=val_accuracy", *overrides, source=str(reviews),
    )  # fmt: skip
    events = list(training.train_events(resolved, tmp_path / "run"))
    per_epoch = events[0].steps_per_epoch
    rates = [line["learning_rate"] for line in history(tmp_path / "run")]
    expected = [1e-9 * factor(epoch * per_epoch - 1, 4 * per_epoch, epoch) for epoch in range(1, 5)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_max_steps_ends_training_within_an_epoch(reviews, bag, tmp_path):
    settings = [bag, "training.epochs=9", "training.schedule=cosine", "training.patience_epochs=0"]
    resolved = config(*settings, "training.max_steps=13", source=str(reviews))
    events = list(training.train_events(resolved, tmp_path / "run"))
    per_epoch = events[0].steps_per_epoch
    assert events[0].total_steps == 13
    whole, rest = divmod(13, per_epoch)
    assert whole and rest, "the last epoch must be cut for this test to mean anything"
    steps = [(event.epoch, event.step) for event in events if isinstance(event, training.Step)]
    assert len(steps) == 13 and steps[-1] == (whole + 1, rest)
    assert events[-1].why == "steps" and events[-1].epochs == whole + 1
    rates = [line["learning_rate"] for line in history(tmp_path / "run")]
    assert len(rates) == whole + 1
    lowest = 0.5 * (1 + np.cos(np.pi * 12 / 13)) * resolved.training.learning_rate
    assert rates[-1] == pytest.approx(lowest), "the schedule ends where the steps do"
    # A limit equal to the steps of all epochs has no effect.
    resolved = config(bag, "training.epochs=1", "training.max_steps=99999", source=str(reviews))
    events = list(training.train_events(resolved, tmp_path / "whole"))
    assert events[0].total_steps == per_epoch and events[-1].why == "epochs"


def test_last_step_of_an_epoch_has_the_mean_loss_of_the_epoch(reviews, bag, tmp_path):
    settings = [bag, "training.epochs=3", "training.patience_epochs=0", "training.batch_size=7"]
    resolved = config(*settings, source=str(reviews))
    events = list(training.train_events(resolved, tmp_path / "run"))
    steps = [event for event in events if isinstance(event, training.Step)]
    per_epoch = events[0].steps_per_epoch
    assert per_epoch > 3
    for epoch, line in enumerate(history(tmp_path / "run"), start=1):
        of_epoch = [step for step in steps if step.epoch == epoch]
        assert len(of_epoch) == per_epoch
        assert of_epoch[0].mean_loss == pytest.approx(of_epoch[0].loss)
        assert of_epoch[-1].mean_loss == line["loss"]
        assert of_epoch[-1].loss != pytest.approx(line["loss"], abs=1e-6)
        # Batches may differ in size, so the mean of all steps is near and need not be equal.
        losses = [step.loss for step in of_epoch]
        assert min(losses) < line["loss"] < max(losses)


def one_step(reviews, bag, tmp_path, *overrides):
    """Return the change of each weight in one step of plain gradient descent."""
    resolved = config(
        bag, "training.epochs=1", "training.optimizer=sgd", "training.learning_rate=1",
        "training.batch_size=1000", "training.length_buckets=1", *overrides, source=str(reviews),
    )  # fmt: skip
    run(resolved, tmp_path / "run")
    after = classifier.load(tmp_path / "run").network
    size = after.encoder.embedding.input_dim
    before = networks.build(
        networks.Architecture.from_settings(resolved.model.to_dict()),
        vocabulary_size=size,
        num_classes=2,
        seed=resolved.training.seed,
    )
    pairs = zip(before.parameters, after.parameters, strict=True)
    return np.concatenate([(new.numpy() - old.numpy()).ravel() for old, new in pairs])


def test_gradients_are_clipped_by_value_and_then_by_norm(reviews, bag, tmp_path):
    both = one_step(
        reviews, bag, tmp_path / "1", "training.clip_value=1e-3", "training.clip_norm=1e-4"
    )
    assert np.linalg.norm(both) == pytest.approx(1e-4, rel=1e-2)
    value = one_step(
        reviews, bag, tmp_path / "2", "training.clip_value=1e-3", "training.clip_norm=null"
    )
    assert np.abs(value).max() == pytest.approx(1e-3, rel=1e-2)
    assert np.linalg.norm(value) > 2e-3


def test_optimizers_have_the_settings_of_the_configuration(tiny):
    def made(*overrides):
        return optimization.make_optimizer(config(tiny, *overrides, source="demo").training)

    assert made("training.optimizer=rmsprop", "training.momentum=0.7").momentum == 0.7
    assert made("training.optimizer=sgd", "training.momentum=0.6").momentum == 0.6
    assert made("training.optimizer=adamw", "training.weight_decay=0.3").weight_decay == 0.3
    assert type(made()).__name__ == "Adam"


def test_balanced_class_weights_follow_their_definition(tmp_path):
    rows = ["a,x\n"] * 30 + ["b,y\n"] * 10
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(rows))
    one_of = data.open_dataset(train=str(tmp_path / "a.csv"), validation=str(tmp_path / "a.csv"))
    weigh = functools.partial(training_run.weigh_classes, task=OneOf(2), dataset=one_of)
    assert weigh("balanced") == [40 / (2 * 30), 40 / (2 * 10)]
    assert weigh("none") == [1, 1]
    assert weigh({"y": 3, "x": 2}) == [2, 3]
    rows = ["a\tx,z\n"] * 30 + ["b\ty,z\n"] * 10
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(rows))
    several = data.open_dataset(
        train=str(tmp_path / "a.tsv"), validation=str(tmp_path / "a.tsv"), multi_label=True
    )
    # A label that every text has still gets a gradient.
    weights = training_run.weigh_classes("balanced", MultiLabel(3), several)
    assert weights == [10 / 30, 30 / 10, 1 / 40]


def test_effective_class_weights_are_inverse_to_the_effective_numbers_with_a_mean_of_1(tmp_path):
    rows = ["a,x\n"] * 3000 + ["b,y\n"] * 2 + ["c,z\n"]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(rows))
    dataset = data.open_dataset(train=str(tmp_path / "a.csv"), validation=str(tmp_path / "a.csv"))
    weights = training_run.weigh_classes("effective", OneOf(3), dataset)
    assert sum(weights) == pytest.approx(3)
    # 1 + b and (1 - b^3000) / (1 - b) texts, b = 0.999.
    assert weights[2] / weights[1] == pytest.approx(1.999)
    assert weights[2] / weights[0] == pytest.approx((1 - 0.999**3000) / 0.001)


def test_class_weights_of_unknown_classes_are_refused_before_texts_are_encoded(
    reviews, tiny, tmp_path
):
    stages = set()
    resolved = config(tiny, "training.class_weights={good: 1, bad: 2}", source=str(reviews))
    with pytest.raises(ConfigError, match="training.class_weights: expected a weight for each of"):
        run(
            resolved, tmp_path / "run",
            on_progress=lambda stage, done, total: stages.add(stage),
        )  # fmt: skip
    assert stages <= {"reading the data"}


def test_the_history_holds_gradient_norms_by_layer_and_the_learning_rate(trained):
    for line in history(trained):
        assert {"network/dense", "network/embedding"} < set(line["gradient_norms"])
        assert all(norm > 0 for norm in line["gradient_norms"].values())
        assert line["learning_rate"] == pytest.approx(0.01)


def test_losses_follow_their_definitions():
    targets = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    logits = np.array([[2.0, 0, -1], [0.5, 0.5, 0]], np.float32)
    weights = np.array([1, 2, 3], np.float32)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    smooth = 0.9 * targets + 0.1 / 3
    expected = -(smooth * np.log(p)).sum(axis=1) * [1, 3]
    found = OneOf(3).losses(tf.constant(targets), logits, weights, 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    q = 1 / (1 + np.exp(-logits))
    expected = -(weights * targets * np.log(q) + (1 - targets) * np.log(1 - q)).sum(axis=1)
    found = MultiLabel(3).losses(tf.constant(targets), logits, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_class_weights_must_name_the_classes_of_the_data(reviews, tiny, tmp_path):
    resolved = config(tiny, "training.class_weights={good: 1, bad: 2}", source=str(reviews))
    with pytest.raises(ConfigError, match="a weight for each of negative, positive, found good"):
        run(resolved, tmp_path / "run")


def test_a_full_disk_when_saving_leaves_the_earlier_model(
    reviews, bag, trained, tmp_path, full_disk
):
    folder = shutil.copytree(trained, tmp_path / "run")
    resolved = config(bag, "training.epochs=1", source=str(reviews))
    with contextlib.ExitStack() as stack, pytest.raises(ArtifactError) as told:
        for event in training.train_events(resolved, folder, overwrite=True):
            if isinstance(event, training.Epoch):
                stack.enter_context(full_disk(2_000))
    assert "cannot be written (File too large)" in str(told.value)
    assert str(told.value).endswith("then continue with --resume")
    assert history(folder) == history(trained)
    classifier.load(folder)


def test_vectors_from_a_file_initialise_the_embedding_with_reported_coverage(
    reviews, bag, tmp_path
):
    (tmp_path / "vectors.txt").write_text(
        "3 5\nthe 1 2 3 4 5\n的 5 4 3 2 1\nqqq 0 0 0 0 0\n", encoding="utf-8"
    )
    resolved = config(
        bag, f"model.embedding_vectors={tmp_path / 'vectors.txt'}", "model.train_embedding=false",
        source=str(reviews),
    )  # fmt: skip
    events = list(training.train_events(resolved, tmp_path / "run"))
    assert any("2 of" in notice and "have a vector" in notice for notice in events[0].notices)
    words = text.read_vocabulary(tmp_path / "run" / "vocabulary.txt")
    with np.load(tmp_path / "run" / "weights.npz") as weights:
        vectors = next(weights[name] for name in weights if "embedding" in name)
    assert vectors[2 + words.index("的")].tolist() == [5, 4, 3, 2, 1], "frozen"


MIRRORED = """
import gc, json, sys
gc.disable()  # garbage collection in TensorFlow would take much of the time
import tensorflow as tf
gc.freeze()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from textclf import config, training
values = json.loads(sys.argv[1])
losses = {}
for strategy in ("one_device", "mirrored"):
    resolved = config.Config.from_dict(values, [f"training.strategy={strategy}"])
    events = training.train_events(resolved, f"{sys.argv[2]}/{strategy}")
    losses[strategy] = []
    for event in events:
        if isinstance(event, training.Step):
            losses[strategy].append(event.loss)
            step = events.gi_frame.f_locals["setup"].loop.train_step
assert step.tracing_count == 1, "whatever the shapes"
assert len(tf.config.list_logical_devices("CPU")) == 2
print(json.dumps(losses))
"""


def test_training_on_two_devices_equals_training_on_one_device(reviews, tiny, tmp_path):
    # One direction only, because the step is traced once for each device.
    model = {"encoder": "gru", "bidirectional": False, "l2": 1e-4}
    model |= {"embedding_dropout": 0.0, "output_dropout": 0.0}
    values = {**tiny, "data": {"source": str(reviews)}}
    values = values | {"model": tiny["model"] | model}
    # The devices get different numbers of rows of an odd batch.
    values = values | {"training": tiny["training"] | {"batch_size": 33}}
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, json.dumps(values), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    losses = json.loads(done.stdout.splitlines()[-1])
    assert len(losses["mirrored"]) > 10
    np.testing.assert_allclose(losses["one_device"], losses["mirrored"], rtol=1e-4)
