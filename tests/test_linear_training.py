"""Classifiers with a linear model, alone or in a mixture: training, export, calibration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import textclf
from textclf import artifact, classifier, saved_model, training
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ConfigError

TEXTS = ["not bad at all", "", "一点也不差", "bad " * 6000, "x" * 100, "Été \x00 🙂"]


def settings(kind: str, bag: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return the settings of the linear model alone, or of a bag of embeddings and it."""
    values = {"data": {"source": str(source)}, "evaluation": bag["evaluation"]}
    if kind == "none":
        return {**values, "model": {"encoder": "none"}}
    return {**values, **bag, "model": {**bag["model"], "linear": "mixture"}}


@pytest.fixture(scope="module", params=["none", "mixture"])
def folder(
    request: pytest.FixtureRequest,
    bag: dict[str, Any],
    reviews: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    run = tmp_path_factory.mktemp(request.param) / "run"
    config = Config.from_dict(settings(request.param, bag, reviews))
    textclf.train(config, run)
    return run


def has_network(folder: Path) -> bool:
    return artifact.read_card(folder).mixture is not None


def test_card_describes_the_linear_model_and_the_mixture(folder):
    card = artifact.read_card(folder)
    assert card.linear.num_features > 1000 and card.linear.held_out == "folds"
    assert card.linear.blocks[0][0] == "tokens"
    page = (folder / "card.md").read_text()
    assert f"{card.linear.num_features:,} n-grams" in page
    if has_network(folder):
        assert 0 < card.mixture.share < 1 and card.gain.low <= card.gain.high
        assert "and linear classifier" in page and "Gain of the network" in page
    else:
        assert (card.training.epochs, card.training.ended_by) == (0, "linear")
        assert card.gain is None and "A linear classifier" in page
        assert (folder / "history.jsonl").read_bytes() == b""


def test_export_answers_like_the_classifier_with_a_linear_model(folder, tmp_path):
    model = classifier.load(folder)
    version = saved_model.export(model, tmp_path / "exports")
    expected, found = model.answers(TEXTS), classifier.load_predictor(version).answers(TEXTS)
    for name in classifier.OUTPUTS:
        if expected[name].dtype.kind == "f":
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
        else:
            assert (found[name] == expected[name]).all(), name
    card = json.loads((version / "assets.extra" / "card.json").read_text())
    assert card["contract_version"] == "1.1" and card["linear"]["num_features"] > 1000


def test_neighbours_change_nothing_with_a_linear_model(folder):
    model = classifier.load(folder)
    together = model.predict_proba(TEXTS)
    alone = np.concatenate([model.predict_proba([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert model.answers(TEXTS)["truncated"].tolist() == [False] * 3 + [True] + [False] * 2


def test_text_is_truncated_if_the_limit_of_any_model_cut_it(folder):
    model = classifier.load(folder)
    between = "bad " * 500  # the network reads 400 tokens, the linear model 5000
    assert model.answers([between])["truncated"].tolist() == [has_network(folder)]
    model.linear.max_tokens = 2
    encoded = model.read(tf.constant(["one two", "one two three"]))[0]
    assert encoded.truncated.numpy().tolist() == [False, True]


def test_encode_returns_the_linear_logits_without_a_network(folder, tmp_path):
    model = classifier.load(folder)
    version = saved_model.export(model, tmp_path / "exports", is_verified=False)
    signatures = tf.saved_model.load(version).signatures
    embedding = signatures["encode"](text=tf.constant(TEXTS))["embedding"].numpy()
    if has_network(folder):
        assert embedding.shape == (6, model.network.width)
    else:
        p = tf.nn.softmax(embedding / model.card.temperature).numpy()
        np.testing.assert_allclose(p, model.predict_proba(TEXTS), atol=1e-5)


def test_calibration_with_a_linear_model_gives_the_same_decision(folder, tmp_path):
    result = textclf.calibrate(folder, output=tmp_path / "copy")
    assert result.decision == result.former
    assert result.report == result.former_report
    assert artifact.read_card(tmp_path / "copy").mixture == artifact.read_card(folder).mixture


def test_training_with_a_linear_model_gives_the_same_bytes_again(folder, bag, reviews, tmp_path):
    kind = "mixture" if has_network(folder) else "none"
    textclf.train(Config.from_dict(settings(kind, bag, reviews)), tmp_path / "again")
    for name in ("weights.npz", "vocabulary.txt", "config.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_mixture_uses_both_models(folder):
    if not has_network(folder):
        pytest.skip("this classifier has no network")
    model = classifier.load(folder)
    encoded, vectors, linear_logits = model.read(tf.constant(["not bad at all"]))
    changed = model.answer_from(encoded, vectors, linear_logits + [[3.0, -3.0]])
    answer = model.answer_from(encoded, vectors, linear_logits)
    assert changed["probabilities"][0, 0] > answer["probabilities"][0, 0]
    other = model.answer_from(encoded, vectors + 1.0, linear_logits)
    assert (other["probabilities"] != answer["probabilities"]).numpy().any()


def test_events_report_the_linear_model_before_the_first_step(bag, reviews, tmp_path):
    config = Config.from_dict(settings("mixture", bag, reviews))
    events = list(training.train_events(config, tmp_path / "run"))
    kinds = [type(event) for event in events]
    assert kinds[:2] == [training.Started, training.LinearFitted]
    assert kinds.index(training.Step) == 2
    assert events[1].validation.num_examples == 30
    assert events[-1].share == artifact.read_card(tmp_path / "run").mixture.share


def test_train_prints_scores_share_and_gain(bag, reviews, tmp_path):
    from textclf.config import to_yaml

    for kind, lines in (
        ("none", ["linear model: ", "next: "]),
        ("mixture", ["linear model: ", "mixture: ", "gain of the network", "no gain is shown"]),
    ):
        file = tmp_path / f"{kind}.yaml"
        file.write_text(to_yaml(settings(kind, bag, reviews)))
        result = CliRunner().invoke(main, ["train", str(file), str(tmp_path / kind)])
        assert result.exit_code == 0, result.stderr
        for line in lines:
            assert line in result.stderr
        assert ("epoch " in result.stderr) == (kind == "mixture")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model.units", 8),
        ("model.pooling", "max"),
        ("training.epochs", 3),
        ("model.linear", "mixture"),
    ],
)
def test_linear_model_alone_refuses_settings_of_a_network(setting, value):
    section, name = setting.split(".")
    values: dict[str, Any] = {"data": {"source": "a.csv"}, "model": {"encoder": "none"}}
    values.setdefault(section, {})[name] = value
    with pytest.raises(
        ConfigError, match=f"{setting}: has no effect, because model.encoder is none"
    ):
        Config.from_dict(values)


def test_linear_length_needs_a_linear_model():
    values = {"data": {"source": "a.csv"}, "text": {"linear_length": 9}}
    with pytest.raises(ConfigError, match="has no effect, because model.linear is none"):
        Config.from_dict(values)
