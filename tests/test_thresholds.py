"""Thresholds of a trained folder: `calibrate` with a target, `thresholds`, predictions, exports."""

import json
import re
import shutil

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import textclf
from textclf import artifact, classifier, data, scoring
from textclf.cli import main
from textclf.errors import ConfigError, DataError
from textclf.recalibration import tables


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_threshold_of_two_classes_changes_the_label_and_not_the_probabilities(run, tmp_path):
    before = classifier.load(run)
    name, texts = before.class_names[1], ["good", "not good", "bad", "?", "一点也不差", ""]
    p = before.answers(texts)["probabilities"]
    result = textclf.calibrate(run, positive=name, cost=(1, 5))
    assert result.decision.thresholds[0] == 0 < result.decision.thresholds[1] < 0.5
    assert result.options == {
        "positive": name, "false_positive_cost": 1.0, "false_negative_cost": 5.0
    }  # fmt: skip
    version = textclf.export(classifier.load(run), tmp_path / "exports")
    limit = np.float32(result.decision.thresholds[1])
    for model in (classifier.load(run), textclf.load(version)):
        answers = model.answers(texts)
        np.testing.assert_allclose(answers["probabilities"], p, atol=1e-5)
        chosen = (answers["probabilities"][:, 1] >= limit).astype(int)
        assert answers["label_id"].tolist() == chosen.tolist()
        assert [label.decode() for label in answers["label"]] == model.predict(texts)
        assert answers["selected"].argmax(axis=1).tolist() == chosen.tolist()
        assert answers["selected"].sum(axis=1).tolist() == [1] * len(texts)
        np.testing.assert_array_equal(
            answers["confidence"], answers["probabilities"][np.arange(len(texts)), chosen]
        )
    # Without the option, the most probable class is predicted again.
    again = textclf.calibrate(run)
    assert again.former == result.decision and again.decision.thresholds is None
    assert artifact.read_card(run).format_version == 1


def test_card_with_a_threshold_of_two_classes_is_refused_by_older_versions(run):
    name = artifact.read_card(run).class_names[0]
    result = textclf.calibrate(run, positive=name, beta=1)
    card = json.loads((run / "card.json").read_text())
    assert card["format_version"] == 2
    assert artifact.read_card(run).decision == result.decision
    assert result.decision.thresholds[1] == 0 < result.decision.thresholds[0]
    assert "is predicted if its probability is at least" in (run / "card.md").read_text()


def test_predict_prints_the_label_of_the_threshold_with_its_probability(run, tmp_path):
    card = artifact.read_card(run)
    name, other = card.class_names[1], card.class_names[0]
    textclf.calibrate(run, positive=name, cost=(1, 1000))
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "".join(f"a text {n}\n" for n in range(20)), encoding="utf-8")
    model = classifier.load(run)
    answers = model.answers([f"a text {n}" for n in range(20)])
    changed = answers["label_id"] != answers["probabilities"].argmax(axis=1)
    assert changed.any(), "the threshold must change a label for this test to mean anything"
    for ending in ("csv", "jsonl", "parquet"):
        output = tmp_path / f"answers.{ending}"
        textclf.predict_file(run, texts, output)
        rows = [row for _, row in data.read_table(str(output))]
        assert [row["predicted"] for row in rows] == model.predict([r["text"] for r in rows])
        for row, p in zip(rows, answers["probabilities"], strict=True):
            expected = p[1] if row["predicted"] == name else p[0]
            assert float(row["confidence"]) == pytest.approx(expected, abs=1e-4)
    textclf.predict_file(run, texts, tmp_path / "top.jsonl", top_k=2)
    rows = [row for _, row in data.read_table(str(tmp_path / "top.jsonl"))]
    assert {(row["predicted"], row["predicted_2"]) for row in rows} <= {
        (name, other),
        (other, name),
    }
    assert [row["predicted"] for row in rows] == model.predict([row["text"] for row in rows])


def test_precision_of_each_label_is_reached_on_validation_or_reported(several_run):
    former = artifact.read_card(several_run)
    result = textclf.calibrate(several_run, precision=0.3, each_label=True)
    version = artifact.read_card(several_run).format_version
    assert version == 1, "older versions know thresholds of several labels"
    assert result.options == {"precision": 0.3, "each_label": True}
    assert result.decision.abstain_below is None
    missed = next((n for n in result.notices if "do not reach precision 0.3" in n), "")
    num_reached = 0
    for scores, threshold in zip(result.report.classes, former.thresholds, strict=True):
        if f"{scores.name} (" in missed:
            assert scores.threshold == threshold
        else:
            assert scores.precision > 0.3
            num_reached += 1
    assert num_reached > 0


def test_unreachable_target_is_an_error_and_changes_no_file(run):
    before, name = contents(run), artifact.read_card(run).class_names[1]
    with pytest.raises(DataError, match="no threshold of .* has a precision whose lower bound"):
        textclf.calibrate(run, positive=name, precision=0.999)
    assert contents(run) == before


def test_tables_of_thresholds_change_nothing_and_mark_the_one_in_use(run):
    name = artifact.read_card(run).class_names[1]
    result = textclf.calibrate(run, positive=name, beta=2)
    before = contents(run)
    table = tables.threshold_tables(run, positive=name)
    assert contents(run) == before
    points = table.points[name]
    assert list(table.points) == [name] and table.num_examples == 30
    assert [point.threshold for point in points if not point.is_in_use] == list(tables.STEPS)
    assert points[0].threshold == 0.01 and points[-1].threshold == 0.99
    (in_use,) = [point for point in points if point.is_in_use]
    scores = result.report.classes[1]
    assert in_use.threshold == scores.threshold == result.decision.thresholds[1]
    assert (in_use.precision, in_use.recall) == (scores.precision, scores.recall)
    assert in_use.num_predicted == scores.num_predicted


def test_commands_print_the_threshold_the_table_and_validation_beside_test(run):
    name = artifact.read_card(run).class_names[1]
    result = CliRunner().invoke(main, ["calibrate", str(run), "--positive", name, "--beta", "1"])
    assert result.exit_code == 0, result.stderr
    threshold = artifact.read_card(run).thresholds[1]
    pattern = rf"^threshold of {name} +none +{threshold:.4f}$"
    assert re.search(pattern, result.stdout, re.MULTILINE)
    result = CliRunner().invoke(main, ["thresholds", str(run), "--positive", name])
    assert result.exit_code == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.endswith("in use")]
    assert line.split()[0] == f"{threshold:.4g}"
    result = CliRunner().invoke(main, ["evaluate", str(run)])
    assert result.exit_code == 0, result.stderr
    as_json = CliRunner().invoke(main, ["evaluate", str(run), "--json"])
    validation = artifact.read_card(run).validation
    assert json.loads(as_json.stdout)["validation"] == validation.to_dict()
    header = next(line for line in result.stdout.splitlines() if "validation" in line)
    assert header.split()[:4] == ["class", "threshold", "validation", "95"]
    assert f"{name} " in result.stdout.partition("Operating point")[2]


def test_positive_class_is_required_and_must_be_a_class_of_the_model(run, several, tmp_path):
    first, second = artifact.read_card(run).class_names
    for command in (["calibrate", str(run), "--beta", "1"], ["thresholds", str(run)]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1 and result.stdout == ""
        assert f"--positive: is missing; set it to the class to find, {first!r}" in result.stderr
    for folder in (run, several):
        result = CliRunner().invoke(main, ["thresholds", str(folder), "--positive", "nope"])
        assert result.exit_code == 1 and "the model has no such class" in result.stderr
    copy = shutil.copytree(several, tmp_path / "copy")
    card = artifact.read_card(copy)
    three = msgspec.structs.replace(card, multi_label=False, thresholds=None, temperature=1.0)
    (copy / artifact.CARD).write_text(three.to_json(), encoding="utf-8")
    with pytest.raises(ConfigError, match="has 3 classes; a threshold needs two classes"):
        textclf.calibrate(copy, positive=card.class_names[0], beta=1)
    with pytest.raises(ConfigError, match="has 3 classes; a threshold needs two classes"):
        tables.threshold_tables(copy, positive=card.class_names[0])


def test_slices_and_abstentions_of_examples_follow_the_threshold(run, tmp_path):
    name = artifact.read_card(run).class_names[1]
    textclf.calibrate(run, positive=name, cost=(1, 1000))
    card = artifact.read_card(run)
    card = msgspec.structs.replace(card, abstain_below=0.5)
    model = classifier.load(run)
    model.card = card
    dataset = textclf.open_dataset(source=model.card.config["data"]["source"])
    details = scoring.Details(by=("script",), predictions=tmp_path / "p.jsonl")
    result = scoring.score_dataset(model, dataset, "train", details=details)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    changed = [row for row in rows if row["probabilities"][row["predicted"]] < 0.5]
    assert changed, "the threshold must change a label for this test to mean anything"
    assert [row for row in rows if row["abstain"]] == changed
    mean = sum(part.num_examples * part.score for part in result.slices) / len(rows)
    assert mean == pytest.approx(result.report.get("accuracy"))
    assert mean == pytest.approx(np.mean([row["is_correct"] for row in rows]))


def test_class_names_with_a_comma_are_names_of_calibrate(bag, tmp_path):
    name = 'cheap, and "cheerful"'
    rows = [(f"word{n % 7} n{n} {'good' if n % 2 else 'bad'}", n % 2) for n in range(80)]
    training = {**bag["training"], "epochs": 1}
    for kind, labels in (("one", (name, "dear")), ("many", (name, f"{name}|dear"))):
        source = tmp_path / f"{kind}.jsonl"
        lines = [json.dumps({"text": text, "label": labels[n]}) + "\n" for text, n in rows]
        source.write_text("".join(lines), encoding="utf-8")
        section = {"source": str(source), "validation_fraction": 0.5}
        if kind == "many":
            section |= {"multi_label": True, "label_separator": "|"}
        settings = textclf.Config.from_dict({**bag, "data": section, "training": training})
        textclf.train(settings, tmp_path / kind)
    positive = ["--positive", name, "--beta", "2"]
    for kind, options in (("one", positive), ("many", ["--each-label", "--recall", "0.5"])):
        folder = tmp_path / kind
        result = CliRunner().invoke(main, ["calibrate", str(folder), *options])
        assert result.exit_code == 0, result.output
        card = artifact.read_card(folder)
        assert set(card.class_names) == {name, "dear"}
        assert card.thresholds is not None
        if kind == "one":
            assert card.calibration.options == {"positive": name, "beta": 2.0}
            assert card.thresholds[card.class_names.index("dear")] == 0
        table = CliRunner().invoke(
            main, ["thresholds", str(folder), "--json", *(positive[:2] if kind == "one" else [])]
        )
        assert set(json.loads(table.stdout)["points"]) == (
            {name} if kind == "one" else {name, "dear"}
        )
