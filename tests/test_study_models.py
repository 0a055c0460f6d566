"""Comparison of trained models: the same texts, sound verdicts, cells over seeds."""

import functools
import json
import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from studies import TINY

import textclf
from textclf import artifact, classifier, saved_model
from textclf.cli import main
from textclf.config import Config
from textclf.study import model_report, models
from textclf.study.model_report import Answers
from textclf.tasks import OneOf


@pytest.fixture(scope="module")
def folder(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two trained models, `two` and `three`, with different embeddings."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny.yaml").write_text(TINY.format(reviews=reviews))
    for name, dim in (("two", 2), ("three", 3)):
        arguments = ["train", str(folder / "tiny.yaml"), str(folder / name)]
        result = CliRunner().invoke(main, [*arguments, "--set", f"model.embedding_dim={dim}"])
        assert result.exit_code == 0, result.output
    return folder


def test_compare_scores_two_models_on_the_same_texts(folder: Path, reviews: Path):
    names = [str(folder / "two"), str(folder / "three")]
    result = CliRunner().invoke(main, ["compare", *names, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    [comparison] = report["comparisons"]
    scores = {}
    for name in names:
        evaluated = CliRunner().invoke(main, ["evaluate", name, "--json"])
        scores[name] = json.loads(evaluated.stdout)["report"]["metrics"]["accuracy"]
    assert {m["name"]: m["score"] for m in report["models"]} == pytest.approx(scores)
    assert comparison["difference"] == pytest.approx(abs(scores[names[0]] - scores[names[1]]))
    assert comparison["verdict"] in comparison["words"] and report["cells"] == []
    assert comparison["verdict"] == "no difference" or "McNemar" in comparison["words"]
    printed = CliRunner().invoke(main, ["compare", *names, "--data", str(reviews)])
    assert "Verdicts on these models" in printed.stdout and "300 texts" in printed.stdout
    assert "Verdicts on architectures" not in printed.stdout, "architectures need several seeds"


def test_comparison_of_a_model_with_its_copy_reports_equal_answers(folder: Path, tmp_path: Path):
    os.symlink(folder / "two", tmp_path / "copy")
    names = [str(folder / "two"), str(tmp_path / "copy")]
    result = CliRunner().invoke(main, ["compare", *names, "--json"])
    assert result.exit_code == 0, result.output
    [comparison] = json.loads(result.stdout)["comparisons"]
    assert comparison["verdict"] == "no difference" and comparison["interval"] is None
    assert "both models have equal answers on all 30 examples" in comparison["words"]
    assert comparison["p_value"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["one"], 2, "expected at least two different models"),
        (["one", "one"], 2, "expected at least two different models"),
        (["one", "other/../one"], 2, "expected at least two different models"),
        (["one", "nowhere"], 1, "nowhere: does not exist"),
        (["one", "other"], 1, "compare models of one task"),
        (["one", "strange"], 1, "was trained on other data than one; name the data to score"),
        (
            ["one", "same", "--metric", "micro_f1"],
            2,
            "--metric micro_f1 is not available for this task; choose from accuracy, macro_f1",
        ),
        (["one", "same", "--data", "no.csv"], 1, "no.csv: no such file"),
    ],
)
def test_compare_refuses_incomparable_models_before_loading(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], exit_code: int, message: str,
):  # fmt: skip
    model = folder / "two"
    monkeypatch.chdir(tmp_path)
    for name in ("one", "same"):
        os.symlink(model, name)
    card = json.loads((model / "card.json").read_text())
    for name, change in (("other", {"class_names": ["x", "y"]}), ("strange", {"data": {}})):
        os.mkdir(name)
        Path(name, "card.json").write_text(json.dumps(card | change))
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == exit_code and message in result.stderr, result.output


def test_models_with_different_data_or_settings_belong_to_different_cells():
    config = Config.from_dict({"data": {"source": "demo"}}).to_dict()
    card = artifact.Card(("x", "y"), False, config, data=artifact.DataSummary(fingerprint="f"))
    longer = {**config, "training": {**config["training"], "epochs": 3}}
    seeded = {**config, "training": {**config["training"], "seed": 3}}
    cards = {
        "a": card,
        "b": msgspec.structs.replace(card, config=seeded),
        "c": msgspec.structs.replace(card, data=artifact.DataSummary(fingerprint="g")),
        "d": msgspec.structs.replace(card, config=longer),
    }
    cells = models.group_by_cell(cards)
    assert cells["a"] == cells["b"] and len(set(cells.values())) == 3


def answers_with_accuracy(rng: np.random.Generator, accuracy: float, n: int = 1000) -> Answers:
    y_true = np.arange(n) % 2
    right = rng.random(n) < accuracy
    p = np.where(right == (y_true == 1), 0.9, 0.1)
    return Answers(OneOf(2), y_true, np.stack([1 - p, p], axis=1))


def test_models_with_different_seeds_are_runs_of_one_cell():
    rng = np.random.default_rng(0)
    accuracies = {"a0": 0.9, "a1": 0.9, "b0": 0.6, "b1": 0.6}
    report = model_report.compare_models(
        {name: answers_with_accuracy(rng, accuracy) for name, accuracy in accuracies.items()},
        cells={"a0": "A", "a1": "A", "b0": "B", "b1": "B"},
        metric="accuracy",
        num_resamples=200,
    )
    assert len(report.comparisons) == 6
    [cells] = report.cells
    assert (cells.a, cells.b, cells.verdict) == ("A", "B", "better")
    verdicts = {(c.a, c.b): c.verdict for c in report.comparisons}
    assert verdicts["a0", "b0"] == "better"
    assert "no difference shown" in {verdicts.get(("a0", "a1")), verdicts.get(("a1", "a0"))}
    assert "Verdicts on architectures" in model_report.text(report, "test")
    html = report._repr_html_()
    assert "Verdicts on architectures" in html and f">{report.models[0].score:.4f}<" in html


def test_mcnemar_is_used_for_accuracy_only():
    rng = np.random.default_rng(0)
    y_true = rng.integers(2, size=200)
    one_hot = np.eye(2, dtype=bool)[y_true]
    unsure, surer = np.where(one_hot, 0.6, 0.4), np.where(one_hot, 0.9, 0.1)
    surer[0] = unsure[0, ::-1]  # one wrong answer
    compare = functools.partial(
        model_report.compare_models,
        {"a": Answers(OneOf(2), y_true, unsure), "b": Answers(OneOf(2), y_true, surer)},
        cells={"a": "a", "b": "b"},
        num_resamples=100,
    )
    [comparison] = compare(metric="log_loss").comparisons
    assert (comparison.verdict, comparison.a) == ("better", "b")
    assert "Holm" not in comparison.words, "one pair needs no correction"
    assert "McNemar" not in comparison.words and comparison.mcnemar_p_value is None
    [comparison] = compare(metric="accuracy").comparisons
    assert comparison.verdict == "no difference shown"
    assert comparison.words.endswith("(McNemar, mid-p 0.500)")
    assert comparison.p_value == comparison.mcnemar_p_value == pytest.approx(0.5)


def test_models_with_equal_scores_and_different_errors_are_not_reported_as_equal():
    y_true = np.arange(30) % 3
    p = np.full((30, 3), 0.1) + 0.7 * np.eye(3)[y_true]
    a, b = p.copy(), p.copy()
    a[0], b[0] = [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
    compare = functools.partial(model_report.compare_models, cells={"a": "a", "b": "b"})
    [comparison] = compare(
        {"a": Answers(OneOf(3), y_true, a), "b": Answers(OneOf(3), y_true, b)}, metric="accuracy"
    ).comparisons
    assert comparison.verdict == "no difference"
    assert comparison.words == (
        "no difference between a and b: both models have equal scores on all 30 examples"
    )


@pytest.mark.parametrize(("num_rows", "verdict"), [(19, "too few rows"), (40, "better")])
def test_comparison_by_macro_f1_requires_four_rows_per_class_on_average(
    num_rows: int, verdict: str
):
    y_true = np.arange(num_rows) % 5
    right, wrong = np.eye(5)[y_true], np.eye(5)[(y_true + 1) % 5]
    mixed = np.where((np.arange(num_rows) % 3 == 0)[:, np.newaxis], right, wrong)
    report = model_report.compare_models(
        {
            "a0": Answers(OneOf(5), y_true, right),
            "a1": Answers(OneOf(5), y_true, right),
            "b": Answers(OneOf(5), y_true, mixed),
        },
        cells={"a0": "A", "a1": "A", "b": "B"},
        metric="macro_f1",
    )
    [comparison] = [c for c in report.comparisons if (c.a, c.b) == ("a0", "b")]
    assert comparison.verdict == verdict
    if verdict == "too few rows":
        assert "there are too few rows for macro_f1, which needs 4 per class" in comparison.words
        assert comparison.interval is comparison.p_value is comparison.p_value_holm is None
        assert {c.verdict for c in report.cells} == {"too few rows"}


def softmax_answers(rng: np.random.Generator, n: int) -> Answers:
    """Return answers for three classes, with probabilities that vary by example and model."""
    y_true = np.arange(n) % 3
    logits = rng.normal(0, 1, (n, 3)) + 1.2 * np.eye(3)[y_true]
    p = np.exp(logits)
    return Answers(OneOf(3), y_true, p / p.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_equally_good_models_are_rarely_called_different_with_any_metric(
    metric: str,
):
    rng = np.random.default_rng(6)
    num_families = 200
    false, uncorrected = 0, 0
    for _ in range(num_families):
        answers = {name: softmax_answers(rng, 60) for name in "abcd"}
        report = model_report.compare_models(
            answers, cells=dict.fromkeys("abcd", "A"), metric=metric, num_resamples=100
        )
        assert len(report.comparisons) == 6
        corrected = holm_by_definition([c.p_value for c in report.comparisons])
        np.testing.assert_allclose([c.p_value_holm for c in report.comparisons], corrected)
        false += any(c.verdict == "better" for c in report.comparisons)
        uncorrected += any(c.p_value < 0.05 for c in report.comparisons)
    print(
        f"\n{metric}, any of six pairs: {false / num_families:.3f} after Holm, "
        f"{uncorrected / num_families:.3f} without"
    )
    assert false / num_families <= 0.07
    assert uncorrected / num_families > 0.1, "the correction must matter for this test"


def holm_by_definition(p_values: list[float]) -> list[float]:
    """Return p-values with Holm's correction, computed from its definition."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = largest
    return corrected


def test_textclf_compare_returns_the_report_of_the_command(folder: Path, reviews: Path):
    models_to_compare = [folder / "two", folder / "three"]
    notes: list[str] = []
    report = textclf.compare(models_to_compare, reviews, metric="macro_f1", on_note=notes.append)
    of_training = [note for note in notes if "is data.source of the training" in note]
    assert len(of_training) == 2 and f"the training of {folder / 'three'}," in of_training[1]
    names = [str(model) for model in models_to_compare]
    arguments = ["--data", str(reviews), "--metric", "macro_f1", "--json"]
    printed = json.loads(CliRunner().invoke(main, ["compare", *names, *arguments]).stdout)
    expected = json.loads(msgspec.json.encode(report))  # tuples are lists in JSON
    assert printed == {"data": str(reviews), "split": "test", **expected}
    assert (report.num_test, report.metric) == (300, "macro_f1")
    with pytest.raises(ValueError, match="expected at least two different models"):
        textclf.compare([folder / "two", folder / "two"])
    with pytest.raises(ValueError, match="recall is not available for this task"):
        textclf.compare(models_to_compare, metric="recall")


@pytest.fixture(scope="module")
def mixtures(folder: Path) -> list[str]:
    """Return two trained mixtures, which differ in their embeddings."""
    names = [str(folder / "mixture-two"), str(folder / "mixture-three")]
    for name, dim in zip(names, (2, 3), strict=True):
        arguments = ["train", str(folder / "tiny.yaml"), name, "--set", "model.linear=mixture"]
        result = CliRunner().invoke(main, [*arguments, "--set", f"model.embedding_dim={dim}"])
        assert result.exit_code == 0, result.output
    return names


def test_networks_of_mixtures_are_compared_alone_too(folder: Path, mixtures: list[str]):
    network = str(folder / "two")
    result = CliRunner().invoke(main, ["compare", *mixtures, network, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert len(report["models"]) == 3 and len(report["comparisons"]) == 3
    alone = report["network_alone"]
    assert {model["name"] for model in alone["models"]} == set(mixtures)
    scores = {model["name"]: model["score"] for model in report["models"]}
    of_networks = {model["name"]: model["score"] for model in alone["models"]}
    # The network of a mixture is trained like a network without a linear model.
    assert of_networks[mixtures[0]] == scores[network]
    printed = CliRunner().invoke(main, ["compare", *mixtures]).stdout
    assert printed.index("Network alone\n") < printed.index("Mixture with the linear model\n")
    for others in ([mixtures[0], network], [network, str(folder / "three")]):
        result = CliRunner().invoke(main, ["compare", *others, "--json"])
        assert "network_alone" not in json.loads(result.stdout)


def test_mixtures_whose_network_cannot_answer_alone_are_noted(mixtures: list[str], tmp_path: Path):
    old = tmp_path / "old"
    shutil.copytree(mixtures[1], old)
    card = json.loads((old / "card.json").read_text())
    del card["network_decision"]
    (old / "card.json").write_text(json.dumps(card))
    version = saved_model.export(
        classifier.load(mixtures[1]), tmp_path / "exports", is_verified=False
    )
    for model, note in (
        (old, f"`textclf calibrate {old}` makes this possible"),
        (version, "an export answers with the mixture only"),
    ):
        result = CliRunner().invoke(main, ["compare", mixtures[0], str(model)])
        assert result.exit_code == 0 and note in result.stderr, result.output
        assert "Network alone" not in result.stdout
