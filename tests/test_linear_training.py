"""Classifiers with a linear model, alone or in a mixture: training, export, calibration."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import textclf
from textclf import artifact, classifier, evaluation, linear, saved_model, scoring, training
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ArtifactError, ConfigError
from textclf.tasks import Decision

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
    assert card["contract_version"] == "2.0" and card["linear"]["num_features"] > 1000


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
    encoded = model.read(tf.constant(["one two", "one two three"])).encoded
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
    read = model.read(tf.constant(["not bad at all"]))
    changed = model.answer_from(read._replace(linear_logits=read.linear_logits + [[3.0, -3.0]]))
    answer = model.answer_from(read)
    assert changed["probabilities"][0, 0] > answer["probabilities"][0, 0]
    other = model.answer_from(read._replace(vectors=read.vectors + 1.0))
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
    values = {
        "data": {"source": "a.csv"},
        "text": {"linear_length": 9},
        "model": {"linear": "none"},
    }
    with pytest.raises(ConfigError, match="has no effect, because model.linear is none"):
        Config.from_dict(values)


def test_evaluate_shows_what_the_network_adds_to_the_linear_model(folder, reviews):
    result = CliRunner().invoke(main, ["evaluate", str(folder), "--json"])
    assert result.exit_code == 0, result.stderr
    gain = json.loads(result.stdout)["report"]["gain"]
    text = CliRunner().invoke(main, ["evaluate", str(folder)]).stdout
    if not has_network(folder):
        assert gain is None and "Gain of the network" not in text
        return
    model = classifier.load(folder)
    dataset = textclf.open_dataset(source=str(reviews))
    examples = list(dataset.examples("test"))
    logits = model.linear_logits([example.text for example in examples])
    is_right = logits.argmax(axis=1) == [example.label_ids[0] for example in examples]
    assert gain["metric"] == "accuracy" and gain["linear"] == pytest.approx(is_right.mean())
    accuracy = json.loads(result.stdout)["report"]["metrics"]["accuracy"]
    assert gain["linear"] + gain["difference"] == pytest.approx(accuracy)
    assert gain["low"] <= 0 <= gain["high"] and "no gain shown" in text


def test_linear_logits_are_those_of_the_graph_and_of_validation(folder, reviews):
    model = classifier.load(folder)
    expected = model.read(tf.constant([text.encode() for text in TEXTS])).linear_logits
    np.testing.assert_allclose(model.linear_logits(TEXTS), expected, atol=1e-5)
    assert model.linear_logits([]).shape == (0, 2)
    if not has_network(folder):
        assert model.card.linear.decision is None and model.linear_proba(TEXTS) is None
        return
    decision, task = model.card.linear.decision, model.card.task
    dataset = textclf.open_dataset(source=str(reviews))
    logits = model.linear_logits([example.text for example in dataset.examples("validation")])
    y_true = task.classes_of([example.label_ids for example in dataset.examples("validation")])
    fitted = evaluation.fit_decision(task, y_true, logits)
    assert decision.temperature == pytest.approx(fitted.temperature, rel=1e-3)
    p = tf.nn.softmax(model.linear_logits(TEXTS) / decision.temperature).numpy()
    np.testing.assert_allclose(model.linear_proba(TEXTS), p, atol=1e-6)


def test_classifier_without_a_linear_model_has_no_linear_logits(model):
    assert model.linear_proba(["good"]) is None
    with pytest.raises(ValueError, match="has no linear model"):
        model.linear_logits(["good"])


def test_report_without_leaked_rows_has_its_own_gain(folder, tmp_path):
    if not has_network(folder):
        pytest.skip("this classifier has no network")
    train = [("good", "positive"), ("bad", "negative")]
    others = [
        (f"good {n}" if n % 2 else f"bad {n}", ("negative", "positive")[n % 2]) for n in range(24)
    ]
    paths = {}
    for name, rows in (("train", train), ("validation", train), ("test", train + others)):
        paths[name] = str(tmp_path / f"{name}.csv")
        with open(paths[name], "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    dataset = textclf.open_dataset(**paths)
    result = scoring.score_dataset(classifier.load(folder), dataset, bootstrap_samples=0)
    assert result.without_leaked.num_examples == 24
    assert result.report.gain is not None and result.without_leaked.gain is not None


def test_calibration_of_a_mixture_fits_the_decision_of_its_linear_model_again(folder, tmp_path):
    before = artifact.read_card(folder)
    shutil.copytree(folder, tmp_path / "run")
    changed = before.to_json()
    if has_network(folder):
        temperature = before.linear.decision.temperature
        changed = changed.replace(f'"temperature": {temperature}', '"temperature": 9.0')
        assert changed != before.to_json()
    (tmp_path / "run" / "card.json").write_text(changed)
    textclf.calibrate(tmp_path / "run")
    after = artifact.read_card(tmp_path / "run")
    assert after.linear == before.linear and after.network_decision == before.network_decision


def test_report_of_several_labels_uses_the_thresholds_of_the_linear_model_alone():
    of_linear = artifact.LinearSummary(
        blocks=(), num_buckets=2, num_features=1, weighting="tfidf", strength=1.0,
        held_out="validation", num_texts_cut=0, decision=Decision(thresholds=(0.1, 0.1)),
    )  # fmt: skip
    card = artifact.Card(("a", "b"), True, {}, thresholds=(0.9, 0.9), linear=of_linear)
    y_true = np.eye(2, dtype=bool)[np.arange(30) % 2]
    p = np.where(y_true, 0.3, 0.05).astype(np.float32)
    lengths = np.ones(30, np.int64)
    scores = classifier.Scores(y_true, p, lengths, lengths > 1, linear_p=p)
    report = classifier.Predictor(lambda texts: {}, card).report(scores, bootstrap_samples=0)
    assert (report.get("micro_f1"), report.gain.linear, report.gain.difference) == (0, 1, -1)


@pytest.mark.parametrize("kind", ["none", "mixture"])
def test_cuts_of_each_limit_are_reported_by_class_in_training_card_and_evaluation(
    kind, bag, tmp_path
):
    examples = [(f"good film {n}", "yes") for n in range(60)]
    examples += [(f"bad film {n}", "no") for n in range(58)] + [("bad " * 8, "no")] * 2
    paths = {}
    for name, chosen in (("train", examples), ("validation", examples), ("test", examples[50:])):
        paths[name] = str(tmp_path / f"{name}.csv")
        with open(paths[name], "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *chosen])
    values = settings(kind, bag, tmp_path) | {"data": paths}
    values["text"] = {"linear_length": 5, **({"sequence_length": 2} if kind == "mixture" else {})}
    events = list(training.train_events(Config.from_dict(values), tmp_path / "run"))
    # 58 texts of 3 tokens and 2 of 8.
    shares = "no 3.3% of texts and 3.2% of tokens"
    reader = " for the linear model" if kind == "mixture" else ""
    assert events[1].notices == (f"text.linear_length 5 cuts training texts{reader}: {shares}",)
    network = [notice for notice in events[0].notices if "sequence_length" in notice]
    assert len(network) == (kind == "mixture")
    card = artifact.read_card(tmp_path / "run")
    assert card.class_names == ("no", "yes")
    assert (card.linear.num_texts_cut, card.linear.truncated_texts) == (2, (2, 0))
    assert card.linear.cut_tokens == (6, 0)
    truncated = (60, 60) if kind == "mixture" else ()
    assert card.text.train.truncated_texts == truncated
    report = textclf.score(tmp_path / "run").report
    counts = {setting: part.num_examples for setting, part in report.truncated_by.items()}
    cut = {"text.linear_length": 2}
    assert counts == ({"text.sequence_length": 70, **cut} if kind == "mixture" else cut)


def test_network_of_a_mixture_alone_is_the_classifier_trained_without_the_linear_model(
    folder, bag, reviews, tmp_path
):
    if not has_network(folder):
        with pytest.raises(ArtifactError, match="has no network"):
            classifier.load(folder).network_alone()
        return
    values = settings("mixture", bag, reviews)
    values["model"] = {**values["model"], "linear": "none"}
    textclf.train(Config.from_dict(values), tmp_path / "network")
    expected = classifier.load(tmp_path / "network")
    alone = classifier.load(folder).network_alone()
    assert alone.card.decision == expected.card.decision
    assert alone.card.config == expected.card.config and alone.linear is None
    np.testing.assert_allclose(alone.predict_proba(TEXTS), expected.predict_proba(TEXTS), atol=1e-6)
    assert (alone.predict_proba(TEXTS) != classifier.load(folder).predict_proba(TEXTS)).any()
    assert expected.network_alone() is expected


def test_network_alone_needs_a_decision_in_the_card_which_calibration_adds(folder, tmp_path):
    if not has_network(folder):
        pytest.skip("this classifier has no network")
    shutil.copytree(folder, tmp_path / "run")
    card = json.loads((folder / "card.json").read_text())
    decision = card.pop("network_decision")
    (tmp_path / "run" / "card.json").write_text(json.dumps(card))
    with pytest.raises(ArtifactError, match="`textclf calibrate FOLDER` adds it"):
        classifier.load(tmp_path / "run").network_alone()
    textclf.calibrate(tmp_path / "run")
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["network_decision"] == decision


def test_training_with_a_stored_linear_model_gives_the_same_bytes(folder, bag, reviews, tmp_path):
    kind = "mixture" if has_network(folder) else "none"
    config = Config.from_dict(settings(kind, bag, reviews))
    dataset = textclf.open_dataset(source=str(reviews))
    linear.save_fitted(training.fit_linear(config, dataset), tmp_path / "linear.npz")
    fitted = linear.load_fitted(tmp_path / "linear.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["linear.npz"]
    for _ in training.train_events(config, tmp_path / "run", linear_model=fitted):
        pass
    for name in ("weights.npz", "vocabulary.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes(), name
    card = artifact.read_card(tmp_path / "run")
    assert card.linear == artifact.read_card(folder).linear
    fitted.model._variables["bias"].assign([5.0, -5.0])
    for _ in training.train_events(config, tmp_path / "changed", linear_model=fitted):
        pass
    changed = classifier.load(tmp_path / "changed").linear.arrays["bias"]
    assert changed.tolist() == [5.0, -5.0], "the model that was passed in is used"


def test_linear_model_of_other_data_or_settings_is_refused(bag, reviews, tmp_path):
    config = Config.from_dict(settings("mixture", bag, reviews))
    dataset = textclf.open_dataset(source=str(reviews))
    fitted = training.fit_linear(config, dataset)
    others = fitted._replace(validation_classes=1 - fitted.validation_classes)
    longer = config.replace({"text.linear_length": 99})
    for settings_of_run, model in ((config, others), (longer, fitted)):
        with pytest.raises(ValueError, match="fitted to other data or with other settings"):
            list(training.train_events(settings_of_run, tmp_path / "run", linear_model=model))
    assert not (tmp_path / "run").exists()


def test_training_names_rare_classes_and_advises_weights_unless_there_are_some(bag, tmp_path):
    rows = [("text", "label")]
    rows += [(f"a good film number {n}", "usual") for n in range(60)]
    rows += [(f"a dull film number {n}", "rare") for n in range(5)]
    for name in ("train", "validation"):
        with open(tmp_path / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    values = settings("none", bag, tmp_path)
    values["data"] = {name: str(tmp_path / f"{name}.csv") for name in ("train", "validation")}

    def notices(**training_settings):
        values["training"] = training_settings
        events = training.train_events(Config.from_dict(values), tmp_path / str(training_settings))
        return "\n".join(next(events).notices)

    advice = "for a higher recall of rare classes, try training.class_weights: effective"
    said = notices()
    assert "1 class has less than a tenth of the 60 texts of usual (rare 5)" in said
    assert advice in said
    assert advice not in notices(class_weights="effective")
