"""Scoring of trained models from Python: training data, files, leaked rows, requirements."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import textclf
from textclf import artifact, evaluation, model_data, scoring
from textclf.cli import main
from textclf.config import read_trained_paths
from textclf.errors import ConfigError, DataError, TextclfError


def write_table(path: Path, rows: list[tuple[str, str]], delimiter: str = ",") -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def test_scoring_uses_the_test_split_of_the_training_data_by_default(
    trained: Path, model: Any, reviews: Path
) -> None:
    notes: list[str] = []
    result = textclf.score(trained, on_note=notes.append)
    dataset = textclf.open_dataset(source=str(reviews))
    assert result.report == model.evaluate(dataset, "test", bootstrap_samples=100)
    assert (result.split, result.num_dropped, notes) == ("test", 0, [])
    validation = textclf.score(trained, split="validation")
    assert validation.report.metrics == pytest.approx(model.card.validation.metrics)


def test_settings_outside_data_and_evaluation_are_refused(trained: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        textclf.score(trained, overrides={"training.seed": 1, "data.encoding": "utf-8", "x": 2})
    assert caught.value.problems == tuple(
        f"{name}: only settings of data and evaluation can be overridden; train again to change "
        "other settings"
        for name in ("training.seed", "x")
    )


def test_a_split_that_does_not_exist_is_refused_with_the_others(trained: Path) -> None:
    with pytest.raises(DataError, match="no split tset, only train, validation, test; choose one"):
        textclf.score(trained, split="tset")


def test_scoring_uses_all_rows_of_a_file_with_a_detected_delimiter(
    trained: Path, tmp_path: Path
) -> None:
    rows = [("text", "label"), ("good", "positive"), ("bad; awful", "negative"), ("x", "y")]
    file = write_table(tmp_path / "new.csv", rows, delimiter=";")
    with pytest.raises(DataError, match="y"):
        textclf.score(trained, file)
    notes: list[str] = []
    overrides = {"data.drop_unknown_labels": True, "evaluation.confidence": 0.9}
    result = textclf.score(trained, file, overrides=overrides, on_note=notes.append)
    assert (result.report.num_examples, result.num_dropped) == (2, 1)
    assert result.report.confidence == 0.9
    assert notes == [
        f"{file}: read with data.delimiter=';', detected from the file",
        "1 row is left out because the model does not have the label",
    ]
    with pytest.raises(DataError, match="all rows of a file are scored; omit the split"):
        textclf.score(trained, file, split="test")
    with pytest.raises(ConfigError, match="did you mean data.label_column"):
        textclf.score(trained, file, overrides={"data.label_colum": "x"})


def test_scoring_omits_leaked_rows_from_the_second_report(model: Any, tmp_path: Path) -> None:
    train = [("text", "label"), ("good", "positive"), ("bad", "negative")]
    test = [("text", "label"), ("good", "positive"), ("loved it", "positive"), ("no", "negative")]
    paths = {
        "train": str(write_table(tmp_path / "train.csv", train)),
        "validation": str(write_table(tmp_path / "validation.csv", train)),
        "test": str(write_table(tmp_path / "test.csv", test)),
    }
    dataset = textclf.open_dataset(**paths)
    result = scoring.score_dataset(model, dataset, bootstrap_samples=0)
    assert (result.num_leaked, result.report.num_examples) == (1, 3)
    assert result.without_leaked is not None and result.without_leaked.num_examples == 2
    expected = evaluation.evaluate(
        [1, 0],
        model.predict_proba(["loved it", "no"]),
        class_names=dataset.class_names,
        multi_label=False,
        temperature=model.card.temperature,
        bootstrap_samples=0,
    )
    assert result.without_leaked.metrics == expected.metrics
    whole = scoring.score_dataset(model, dataset, "validation", bootstrap_samples=0)
    assert (whole.num_leaked, whole.without_leaked) == (2, None), "no row would be left"


def test_score_of_a_file_of_the_training_has_a_note_and_no_count_of_leaked_rows(
    trained: Path, tmp_path: Path
) -> None:
    paths = read_trained_paths(trained)
    notes: list[str] = []
    result = textclf.score(trained, paths["data.source"], on_note=notes.append)
    assert result.num_leaked is None
    assert [note for note in notes if "is data.source of the training" in note]
    command = ["evaluate", str(trained), paths["data.source"], "--json"]
    values = json.loads(CliRunner().invoke(main, command).stdout)
    assert (values["used_as"], values["data"]) == ("data.source", paths["data.source"])
    copy = shutil.copy(paths["data.source"], tmp_path / "copy.csv")
    notes = []
    textclf.score(trained, copy, on_note=notes.append)
    assert not [note for note in notes if "of the training" in note]


def test_scoring_reports_changed_training_data(
    trained: Path, reviews: Path, tmp_path: Path
) -> None:
    card = artifact.read_model_card(trained)
    lines = reviews.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "fewer.csv").write_text("".join(lines[:200]), encoding="utf-8")
    overrides = {"data.source": str(tmp_path / "fewer.csv")}
    to_score = model_data.data_to_score(card, paths={}, overrides=overrides)
    notes: list[str] = []
    scoring.open_data(card, to_score, on_note=notes.append)
    assert len(notes) == 1 and notes[0].startswith("these are not the training data")


def test_error_of_missing_training_data_names_the_path_and_the_fix(
    trained: Path, tmp_path: Path
) -> None:
    card = json.loads((trained / "card.json").read_text())
    card["config"]["data"]["source"] = str(tmp_path / "gone.csv")
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(DataError) as caught:
        model_data.data_to_score(artifact.read_card(tmp_path), paths={}, advice="`--data FILE`")
    assert str(caught.value) == (
        f"{tmp_path}/gone.csv: no such file or folder; the model was trained with data.source at "
        "this path; specify the data: `--data FILE` or --set data.source=PATH"
    )


@pytest.fixture(scope="module")
def report() -> evaluation.Report:
    p = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]
    return evaluation.evaluate(
        [0, 1, 1, 0], p, class_names=("a", "b"), multi_label=False, bootstrap_samples=0
    )


def test_require_sets_minimums_of_scores_and_maximums_of_losses(
    report: evaluation.Report,
) -> None:
    met = [evaluation.Requirement("accuracy", 0.75), evaluation.Requirement("log_loss", 0.5)]
    evaluation.check_requirements(report, met)
    missed = [evaluation.Requirement("accuracy", 0.76), evaluation.Requirement("log_loss", 0.3)]
    with pytest.raises(TextclfError) as caught:
        evaluation.check_requirements(report, [*met, *missed])
    assert str(caught.value).splitlines() == [
        "accuracy is 0.7500, below the required 0.76",
        f"log_loss is {report.get('log_loss'):.4f}, above the required 0.3",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy", "expected METRIC=VALUE"),
        ("accuracy=nan", "expected METRIC=VALUE"),
        ("accurracy=0.5", "unknown metric 'accurracy'; choose from accuracy, log_loss"),
        ("accuracy=85", "expected a value between 0 and 1"),
    ],
)
def test_require_refuses_a_malformed_requirement(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.Requirement.parse(text, ["accuracy", "log_loss"])
    assert evaluation.Requirement.parse("log_loss=2") == ("log_loss", 2.0)
