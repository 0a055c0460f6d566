"""Subwords in whole trainings: bytes, files, exports, initial weights, devices."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from killed_training import result_of

from textclf import artifact, classifier, data, saved_model, training
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ConfigError
from textclf.pretraining.checks import check

HERE = Path(__file__).parent
# Known words, unknown ones, no word, a very long word, and all of them in one text.
TEXTS = ["not bad at all", "zorkish blibness", "", "很好看！", "x" * 100_000, "bad zorkish " * 30]
TEXTS += [" ".join(TEXTS)]


@pytest.fixture(scope="module")
def settings(reviews: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """Return settings under which many words of the reviews are unknown."""
    return {
        **tiny,
        "data": {"source": str(reviews)},
        "text": {"subwords": True, "subword_buckets": 500, "min_count": 20},
    }


def merged(settings: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return settings | {name: settings.get(name, {}) | new for name, new in sections.items()}


def train(settings: dict[str, Any], output: Path) -> tuple[str, ...]:
    """Train and return the notices."""
    events = list(training.train_events(Config.from_dict(settings), output))
    return events[0].notices


@pytest.fixture(scope="module")
def trained(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subwords") / "trained"
    train(settings, folder)
    return folder


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / artifact.WEIGHTS) as arrays:
        return {name: arrays[name] for name in arrays}


NGRAMS = "network/subwords/embeddings"


def test_loaded_classifier_tells_unknown_words_apart(trained: Path) -> None:
    model = classifier.load(trained)
    vectors = weights_of(trained)[NGRAMS]
    assert vectors.shape == (500, 5) and np.abs(vectors).sum() > 0
    one, other, again = model.predict_proba(["zorkish", "blibness", "zorkish"])
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-6
    answers = model.answers(["zorkish film"])
    assert answers["unknown_fraction"][0] >= 0.5


def test_validation_in_training_gives_the_probabilities_of_the_loaded_classifier(
    trained: Path, settings: dict[str, Any]
) -> None:
    history = [json.loads(line) for line in (trained / artifact.HISTORY).read_text().splitlines()]
    card = artifact.read_card(trained)
    best = history[card.training.best_epoch - 1]
    opened = data.open_dataset(source=settings["data"]["source"])
    report = classifier.evaluate(trained, opened, "validation", bootstrap_samples=100)
    assert report.get("accuracy") == pytest.approx(best["val_accuracy"], abs=1e-6)


def changed(settings: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return settings of other networks, data or steps."""
    models: dict[str, dict[str, Any]] = {
        "bag": {"model": {"encoder": "bag", "pooling": "mean"}},
        "gru": {"model": {"encoder": "gru"}},
        "simple_rnn": {"model": {"encoder": "simple_rnn"}},
        "plug-in": {"model": {"encoder": "encoder_plugins:convolution"}},
        "mixture": {"model": {"linear": "mixture"}},
        "dropout": {"model": {"token_dropout": 0.3}},
        "parts": {"training": {"accumulate_steps": 2}},
        "ema": {"training": {"average": "ema"}},
        "swa": {"training": {"average": "swa"}},
        "adamw": {"training": {"optimizer": "adamw"}},
        "layer_decay": {"training": {"layer_decay": 0.5}},
        "mixed_bfloat16": {"training": {"precision": "mixed_bfloat16"}},
        "mixed_float16": {"training": {"precision": "mixed_float16"}},
    }
    values = merged(merged(settings, training={"epochs": 1}), **models[kind])
    if kind == "bag":
        del values["model"]["units"]
    return values


@pytest.mark.parametrize(
    "kind",
    [
        "bag", "gru", "simple_rnn", "plug-in", "mixture", "dropout", "parts", "ema", "swa", "adamw",
        "layer_decay", "mixed_bfloat16", "mixed_float16",
    ],
)  # fmt: skip
def test_subwords_are_trained_with_other_settings(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    train(changed(settings, kind), tmp_path / "run")
    assert np.abs(weights_of(tmp_path / "run")[NGRAMS]).sum() > 0
    one, other = classifier.load(tmp_path / "run").predict_proba(["zorkish", "blibness"])
    assert np.isfinite(one).all() and np.abs(one - other).max() > 0


def test_multi_label_training_has_subwords(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    rows = [f'the zork{i} was {"good" if i % 2 else "bad"},"{"pos,film" if i % 2 else "neg"}"'
            for i in range(80)]  # fmt: skip
    path.write_text("\n".join(["text,label", *rows]))
    values = merged(settings, data={"source": str(path), "multi_label": True})
    train(values, tmp_path / "run")
    assert np.abs(weights_of(tmp_path / "run")[NGRAMS]).sum() > 0


def test_pretrained_vectors_are_the_own_part(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("film 1 2 3 4 5\nthe 5 4 3 2 1\n")
    model = {"embedding_vectors": str(tmp_path / "vectors.txt"), "train_embedding": False}
    train(merged(settings, model=model), tmp_path / "run")
    vocabulary = (tmp_path / "run" / artifact.VOCABULARY).read_text().split("\n")
    weights = weights_of(tmp_path / "run")
    own = weights["network/embedding/embeddings"]
    assert own[2 + vocabulary.index("the")].tolist() == [5, 4, 3, 2, 1]
    assert np.abs(weights[NGRAMS]).sum() > 0, "n-grams are trained beside fixed vectors"


# === Export ===


def test_exported_model_has_the_probabilities_of_the_classifier(
    trained: Path, tmp_path: Path
) -> None:
    model = classifier.load(trained)
    version = saved_model.export(model, tmp_path / "exports", golden_texts=TEXTS[1:2])
    assert saved_model.verify(version) > 1
    loaded = classifier.load_predictor(version)
    expected, outputs = model.answers(TEXTS), loaded.answers(TEXTS)
    np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(outputs["unknown_fraction"], expected["unknown_fraction"])
    for text, row in zip(TEXTS, expected["probabilities"], strict=True):
        np.testing.assert_allclose(loaded.predict_proba([text])[0], row, atol=1e-5)


def test_predict_prints_the_same_with_the_trained_folder_and_its_export(
    trained: Path, tmp_path: Path
) -> None:
    saved_model.export(trained, tmp_path / "exports")
    outputs = []
    for model in (trained, tmp_path / "exports"):
        done = CliRunner().invoke(main, ["predict", str(model), "zorkish film", "bad", ""])
        assert done.exit_code == 0, done.output
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert CliRunner().invoke(main, ["info", str(trained)]).exit_code == 0


# === Continued and repeated trainings ===


def test_killed_training_with_subwords_continues_to_the_same_bytes(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    killed = merged(settings, training={"checkpoint_minutes": 1e-9})
    arguments = [json.dumps(killed), str(tmp_path / "run"), "event", "7"]
    process = subprocess.run([sys.executable, str(HERE / "killed_training.py"), *arguments])
    assert process.returncode == -signal.SIGKILL
    list(training.train_events(Config.from_dict(killed), tmp_path / "run", resume=True))
    assert result_of(tmp_path / "run") == result_of(trained)


def test_several_devices_give_the_weights_of_one(settings: dict[str, Any], tmp_path: Path) -> None:
    dropouts = dict.fromkeys(("embedding_dropout", "output_dropout"), 0.0)
    single = merged(settings, model=dropouts, training={"optimizer": "sgd", "learning_rate": 0.5})
    several = merged(single, training={"strategy": "mirrored"})
    train(single, tmp_path / "one")
    process = subprocess.run(
        [sys.executable, str(HERE / "training_worker.py"), json.dumps(several),
         str(tmp_path / "two"), "--devices", "2"],
        capture_output=True, text=True, env={**os.environ, "TF_CONFIG": "{}"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    expected, found = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert np.abs(expected[NGRAMS]).sum() > 0
    for name, weight in expected.items():
        np.testing.assert_allclose(found[name], weight, atol=1e-5, err_msg=name)


# === Initial weights ===


def test_initial_vectors_of_ngrams_are_those_of_the_folder(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    frozen = {"init_from": str(trained), "freeze_epochs": 1, "epochs": 1}
    for vocabulary in ("keep", "new"):
        values = merged(settings, training=frozen | {"init_vocabulary": vocabulary})
        if vocabulary == "keep":
            values["text"] = {k: v for k, v in values["text"].items() if k != "min_count"}
        notices = train(values, tmp_path / vocabulary)
        assert f"the vectors of n-grams come from {trained}" in notices
        expected = weights_of(trained)[NGRAMS]
        np.testing.assert_array_equal(weights_of(tmp_path / vocabulary)[NGRAMS], expected)


def test_vectors_of_ngrams_begin_at_zero_if_the_folder_has_none(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    train(merged(settings, text={"subwords": False}) | {"text": {"min_count": 20}}, tmp_path / "a")
    values = merged(settings, training={"init_from": str(tmp_path / "a")})
    values["text"] = {k: v for k, v in values["text"].items() if k != "min_count"}
    notices = train(values, tmp_path / "b")
    assert f"the vectors of n-grams begin at zero: {tmp_path / 'a'} has none" in notices
    assert "weights come from" in " ".join(notices)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, r"text\.subwords: is false, but the token vectors of .* set it to true"),
        (
            {"subwords": True, "subword_buckets": 400},
            r"text\.subword_buckets: is 400, but .* has 500 vectors of n-grams; set it to 500",
        ),
    ],
)
def test_initial_weights_with_other_ngrams_are_refused(
    values: dict[str, Any], words: str, settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    initial = merged(settings, training={"init_from": str(trained)}) | {"text": values}
    with pytest.raises(ConfigError, match=words):
        train(initial, tmp_path / "run")


def test_pretraining_with_subwords_is_refused_before_work(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"text\.subwords: a language model has no vectors of"):
        check(Config.from_dict(settings), tmp_path / "lm")


# === Off ===


def test_training_without_subwords_has_no_trace_of_them(
    reviews: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    config = Config.from_dict({**tiny, "data": {"source": str(reviews)}})
    assert classifier.encoder_settings(config) == {
        "sequence_length": 400, "keep": "start", "hash_buckets": 0,
    }  # fmt: skip
    cached = merged(tiny, training={"cache_dir": str(tmp_path / "cache")})
    train({**cached, "data": {"source": str(reviews)}}, tmp_path / "run")
    assert not [name for name in weights_of(tmp_path / "run") if "subword" in name]
    [manifest] = (tmp_path / "cache").glob("*/statistics.json")
    assert "subword" not in manifest.read_text()
