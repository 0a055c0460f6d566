"""Files of examples, slices by column and curves of a trained model."""

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import textclf
from textclf import artifact, scoring
from textclf.errors import DataError, TextclfError
from textclf.scoring import Details

# Names that break a table whose cells are not quoted.
NAMES = ("yes, of course", 'the "other"', "two\nlines")
CHINESE = ("一点也不差", "我不喜欢这部电影", "很好")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as CSV, or as JSON lines by the ending of the file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def opinions(num_rows: int) -> list[dict[str, Any]]:
    """Return opinions with ids and countries."""
    rng = random.Random(0)
    rows = []
    for number in range(num_rows):
        label = rng.choice(["positive", "negative"])
        text = f"I {'loved' if label == 'positive' else 'hated'} it, number {number}"
        country = rng.choice(["DE", "FR", "IT", "US"])
        rows.append({"id": number, "country": country, "text": text, "label": label})
    return rows


def predicted_opinions(model: Any, num_rows: int, wrong_in: str = "") -> list[dict[str, Any]]:
    """Return opinions labelled by a model, a tenth of them wrongly, in one country the half."""
    rows, rng = opinions(num_rows), random.Random(1)
    for row, label in zip(rows, model.predict([row["text"] for row in rows]), strict=True):
        is_wrong = rng.random() < (0.5 if row["country"] == wrong_in else 0.1)
        others = {"positive": "negative", "negative": "positive"}
        row["label"] = others[label] if is_wrong else label
    return rows


@pytest.fixture(scope="module")
def chinese(bag: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trained folder with several labels, whose names need quotes, on Chinese texts."""
    folder = tmp_path_factory.mktemp("several")
    rng = random.Random(0)
    rows = [
        {
            "text": f"{rng.choice(CHINESE)} {number}",
            "label": [name for name in NAMES if rng.random() < 0.4],
        }
        for number in range(80)
    ]
    train, test = (write_rows(folder / name, rows) for name in ("train.jsonl", "test.jsonl"))
    data = {"train": str(train), "test": str(test), "multi_label": True}
    config = textclf.Config.from_dict({**bag, "data": data})
    textclf.train(config, folder / "run")
    return folder / "run"


# === Files of examples ===


def test_errors_file_has_every_example_with_the_highest_loss_first(
    trained: Path, tmp_path: Path
) -> None:
    details = Details(errors=tmp_path / "errors.csv", predictions=tmp_path / "p.jsonl")
    result = textclf.score(trained, split="validation", details=details)
    rows = read_csv(tmp_path / "errors.csv")
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True) and len(set(losses)) > 10
    assert np.mean(losses) == pytest.approx(result.report.get("log_loss"), rel=1e-4)
    assert sorted(int(row["row"]) for row in rows) == list(range(result.report.num_examples))
    share = np.mean([row["is_correct"] == "true" for row in rows])
    assert share == pytest.approx(result.report.get("accuracy"))
    assert np.mean([row["true"] == row["predicted"] for row in rows]) == pytest.approx(share)
    for row in rows:
        sums = float(row["p_negative"]) + float(row["p_positive"])
        assert sums == pytest.approx(1, abs=1e-5)
        assert -np.log(float(row[f"p_{row['true']}"])) == pytest.approx(
            float(row["loss"]), rel=1e-3, abs=1e-6
        )
    # The predictions are the same, in the order of the split and without texts.
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(len(rows)))
    assert "text" not in lines[0]
    for row in rows:
        line = lines[int(row["row"])]
        assert [line[name] for name in ("location", "true", "predicted")] == [
            row[name] for name in ("location", "true", "predicted")
        ]


def test_errors_file_names_the_row_of_the_data_and_holds_its_text(
    trained: Path, reviews: Path, tmp_path: Path
) -> None:
    textclf.score(trained, split="test", details=Details(errors=tmp_path / "errors.csv"))
    lines = reviews.read_text(encoding="utf-8").splitlines()
    rows = read_csv(tmp_path / "errors.csv")
    assert any(not text.isascii() for text in (row["text"] for row in rows)), "no Chinese text"
    for row in rows:
        file, _, line = row["location"].rpartition(":")
        (cells,) = csv.reader([lines[int(line) - 1]])
        assert Path(file).resolve() == reviews.resolve()
        assert cells == [row["text"].removeprefix("'"), row["true"]]


def test_errors_file_has_tokens_unknown_share_and_truncation_of_each_text(
    trained: Path, model: Any, tmp_path: Path
) -> None:
    limit = model.card.config["text"]["sequence_length"]
    texts = ["it it it", "zyxwv it qqqqq it", "it " * (limit + 1), "zyxwv", ""]
    rows = [{"text": text, "label": "positive"} for text in texts]
    file = write_rows(tmp_path / "new.jsonl", rows)
    textclf.score(trained, file, details=Details(errors=tmp_path / "e.jsonl"))
    written = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    written.sort(key=lambda row: row["row"])
    assert [row["num_tokens"] for row in written] == [3, 4, limit + 1, 1, 0]
    assert [row["truncated"] for row in written] == [False, False, True, False, False]
    assert [row["unknown_fraction"] for row in written[:4]] == [0, 0.5, 0, 1]


def test_predictions_file_has_the_probabilities_of_the_model_bit_by_bit(
    trained: Path, model: Any, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "new.csv", opinions(20))
    textclf.score(trained, file, details=Details(predictions=tmp_path / "p.csv"))
    rows = read_csv(tmp_path / "p.csv")
    expected = model.predict_proba([row["text"] for row in opinions(20)])
    written = [[row[f"p_{name}"] for name in model.class_names] for row in rows]
    assert (np.array(written, np.float32) == expected).all()


def test_names_with_comma_quote_and_newline_and_chinese_texts_survive_in_csv_and_json_lines(
    chinese: Path, tmp_path: Path
) -> None:
    details = Details(errors=tmp_path / "errors.csv", predictions=tmp_path / "p.csv")
    result = textclf.score(chinese, details=details)
    rows = read_csv(tmp_path / "errors.csv")
    names = result.report.class_names
    assert set(names) == set(NAMES)
    assert list(rows[0])[-3:] == [f"p_{name}" for name in names]
    textclf.score(chinese, details=Details(errors=tmp_path / "errors.jsonl"))
    lines = (tmp_path / "errors.jsonl").read_text(encoding="utf-8").splitlines()
    for row, line in zip(rows, map(json.loads, lines), strict=True):
        assert row["text"] == line["text"] and row["text"].startswith(CHINESE)
        assert json.loads(row["true"]) == line["true"]
        assert json.loads(row["predicted"]) == line["predicted"]
        thresholds = {scores.name: scores.threshold for scores in result.report.classes}
        chosen = [name for name in names if line["probabilities"][name] >= thresholds[name]]
        assert chosen == line["predicted"]
    assert result.report.get("subset_accuracy") == pytest.approx(
        np.mean([json.loads(row["true"]) == json.loads(row["predicted"]) for row in rows])
    )
    losses = [float(row["loss"]) for row in rows]
    assert np.mean(losses) == pytest.approx(result.report.get("log_loss"), rel=1e-4)


def test_csv_cell_that_a_spreadsheet_would_compute_begins_with_an_apostrophe(
    trained: Path, tmp_path: Path
) -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain", "'quoted'"]
    rows = [{"text": text, "label": "positive"} for text in texts]
    file = write_rows(tmp_path / "new.jsonl", rows)
    for ending, expected in (
        ("csv", ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "plain", "'quoted'"]),
        ("jsonl", texts),
    ):
        output = tmp_path / f"errors.{ending}"
        textclf.score(trained, file, details=Details(errors=output))
        if ending == "csv":
            written = read_csv(output)
        else:
            written = [json.loads(line) for line in output.read_text().splitlines()]
        written.sort(key=lambda row: int(row["row"]))
        assert [row["text"] for row in written] == expected


def test_files_of_examples_are_never_replaced_without_overwrite(
    trained: Path, tmp_path: Path
) -> None:
    existing = tmp_path / "errors.csv"
    existing.write_text("mine")
    file = write_rows(tmp_path / "new.csv", opinions(20))
    for details, message in (
        (Details(errors=existing), "errors.csv: exists already; name another file or add"),
        (Details(predictions=existing), "errors.csv: exists already; name another file or add"),
        (Details(errors=file, overwrite=True), "new.csv: is the input"),
        (Details(errors=tmp_path / "e.xlsx"), "e.xlsx: the examples are CSV or JSON lines"),
        (Details(errors=tmp_path / "no" / "e.csv"), "there is no folder"),
        (
            Details(errors=tmp_path / "e.csv", predictions=tmp_path / "." / "e.csv"),
            "e.csv: is named twice",
        ),
    ):
        with pytest.raises(DataError, match=message):
            textclf.score(trained, file, details=details)
    assert existing.read_text() == "mine"
    textclf.score(trained, file, details=Details(errors=existing, overwrite=True))
    assert len(read_csv(existing)) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors.csv", "new.csv"]


def test_failed_writing_of_errors_leaves_the_former_file(
    trained: Path, model: Any, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "new.csv", opinions(20))
    errors = tmp_path / "errors.csv"
    errors.write_text("former")
    dataset = textclf.open_dataset(test=str(file), class_names=list(model.class_names))
    scores = model.score(dataset, "test")
    file.write_text("text,label\ngood,positive\n")  # the data change before they are read again
    for write in (scoring.write_errors, scoring.write_predictions):
        with pytest.raises(DataError, match="the data changed after they were checked"):
            write(errors, dataset, "test", model.card, scores, overwrite=True)
        assert errors.read_text() == "former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors.csv", "new.csv"]


def test_files_of_examples_replace_no_file_that_appears_during_the_scoring(
    trained: Path, model: Any, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "new.csv", opinions(20))
    dataset = textclf.open_dataset(test=str(file), class_names=list(model.class_names))
    scores = model.score(dataset, "test")
    output = tmp_path / "e.csv"
    output.write_text("mine")
    for write in (scoring.write_errors, scoring.write_predictions):
        with pytest.raises(DataError, match="was written by another process meanwhile"):
            write(output, dataset, "test", model.card, scores)
        assert output.read_text() == "mine"


# === Slices ===


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_slice_with_wrong_labels_is_found_and_equal_slices_are_not(
    trained: Path, model: Any, tmp_path: Path, ending: str
) -> None:
    rows = predicted_opinions(model, 400, wrong_in="FR")
    file = write_rows(tmp_path / f"new.{ending}", rows)
    by = ("country", "length", "unknown_fraction", "script", "id")
    result = textclf.score(trained, file, details=Details(by=by))
    assert [s.value for s in result.slices if s.is_worse] == ["FR"]
    (warning,) = result.slice_warnings
    assert warning.startswith("country 'FR': accuracy 0.")
    for name in by:
        parts = [s for s in result.slices if s.by == name]
        assert sum(s.num_examples for s in parts) == 400
        mean = sum(s.num_examples * s.score for s in parts) / 400
        assert mean == pytest.approx(result.report.get("accuracy"))
    assert [s.value for s in result.slices if s.by == "script"] == ["latin"]
    assert [s.value for s in result.slices if s.by == "id"] == [
        *("0 to 99", "100 to 199", "200 to 299", "300 to 399")
    ]
    equal = write_rows(tmp_path / f"equal.{ending}", predicted_opinions(model, 400))
    result = textclf.score(trained, equal, details=Details(by=by))
    assert result.slice_warnings == [] and len(result.slices) > 10


def test_slices_of_a_split_by_fraction_have_the_rows_of_that_split(
    trained: Path, model: Any, tmp_path: Path
) -> None:
    rows = opinions(300)
    dataset = textclf.open_dataset(source=str(write_rows(tmp_path / "all.csv", rows)))
    texts = [example.text for example in dataset.examples("test")]
    country_of = {row["text"]: row["country"] for row in rows}
    values = [country for (country,) in dataset.column_values("test", ["country"])]
    assert 0 < len(values) < 300 and values == [country_of[text] for text in texts]
    result = scoring.score_dataset(model, dataset, details=Details(by=("country",)))
    assert sum(s.num_examples for s in result.slices) == len(values)


def test_missing_numbers_are_a_slice_of_their_own_and_no_number(
    trained: Path, tmp_path: Path
) -> None:
    rows = opinions(60)
    for number, row in enumerate(rows):
        row["stars"] = [number, "", None, float("nan")][number % 4]
    file = write_rows(tmp_path / "new.jsonl", rows)
    result = textclf.score(trained, file, details=Details(by=("stars",)))
    assert [(s.value, s.num_examples) for s in result.slices] == [
        *(("0 to 12", 4), ("16 to 28", 4), ("32 to 44", 4), ("48 to 56", 3), ("(empty)", 45))
    ]


def test_level_of_evaluation_is_that_of_the_slices(trained: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "new.csv", opinions(60))
    widths = []
    for confidence in (0.6, 0.99):
        overrides = {"evaluation.confidence": confidence}
        details = Details(by=("script",))
        result = textclf.score(trained, file, overrides=overrides, details=details)
        low, high = result.slices[0].interval
        assert (low, high) == result.report.intervals["accuracy"]
        widths.append(high - low)
    assert widths[0] < widths[1]


def test_column_of_the_data_comes_before_a_computed_slice_of_the_same_name(
    trained: Path, tmp_path: Path
) -> None:
    rows = [{**row, "script": f"script {row['id'] % 2}"} for row in opinions(60)]
    file = write_rows(tmp_path / "new.csv", rows)
    result = textclf.score(trained, file, details=Details(by=("script",)))
    assert {s.value for s in result.slices} == {"script 0", "script 1"}


def test_chinese_texts_are_a_slice_by_script(trained: Path, tmp_path: Path) -> None:
    rows = [*opinions(20), *({**row, "text": CHINESE[0]} for row in opinions(15))]
    file = write_rows(tmp_path / "new.csv", rows)
    result = textclf.score(trained, file, details=Details(by=("script",)))
    assert [(s.value, s.num_examples) for s in result.slices] == [("latin", 20), ("han", 15)]


def test_unknown_columns_are_reported_together_before_the_data_are_read(
    trained: Path, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "new.csv", opinions(20))
    details = Details(by=("contry", "length", "x"), errors=tmp_path / "e.txt")
    with pytest.raises(TextclfError) as caught:
        textclf.score(trained, file, details=details)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/e.txt: the examples are CSV or JSON lines; name a file .csv or .jsonl",
        f"{file}: no column 'contry'; found id, country, text, label, and computed: length, "
        "unknown_fraction, script; did you mean 'country'?",
        f"{file}: no column 'x'; found id, country, text, label, and computed: length, "
        "unknown_fraction, script",
    ]


# === Curves ===


def test_curves_of_an_export_equal_those_of_the_trained_folder(
    trained: Path, exports: Path, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "new.csv", opinions(60))
    details = Details(curves=True, by=("country",))
    mine, exported = (
        textclf.score(folder, file, details=details) for folder in (trained, exports / "reviews")
    )
    assert [c.name for c in mine.curves] == list(artifact.read_card(trained).class_names)
    for curve, other, scores in zip(mine.curves, exported.curves, mine.report.classes, strict=True):
        assert curve.roc_auc == scores.roc_auc == pytest.approx(other.roc_auc)
        assert curve.average_precision == scores.average_precision
        assert curve.roc[0] == (None, 0.0, 0.0) and curve.roc[-1][1:] == (1.0, 1.0)
    assert mine.slices == exported.slices
