"""Prediction of files from Python: `textclf.predict_file`."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import textclf
from textclf import prediction
from textclf.errors import ConfigError, DataError


def test_predict_file_writes_a_table_with_two_more_columns(
    trained: Path, model: Any, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text('id;text\n7;"I loved; ""it"""\n8;\n', encoding="utf-8")
    notes: list[str] = []
    output = tmp_path / "answered.csv"
    counts = textclf.predict_file(trained, tmp_path / "new.csv", output, on_note=notes.append)
    with open(output, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=";")
    assert header == ["id", "text", "predicted", "confidence"]
    labels = model.predict(['I loved; "it"', ""])
    assert [row[:3] for row in rows] == [["7", 'I loved; "it"', labels[0]], ["8", "", labels[1]]]
    assert counts == (2, 1, 0, 0)
    name = tmp_path / "new.csv"
    assert notes == [
        f"{name}: read with data.delimiter=';', detected from the file",
        f"{name}: 1 of 2 texts are empty; ignore their labels",
    ]


def test_predict_file_answers_a_stream_and_a_file_equally(model: Any, tmp_path: Path) -> None:
    lines = [f"good {i}" for i in range(prediction.WINDOW_ROWS + 3)]
    content = "\n".join(lines).encode()
    (tmp_path / "a.txt").write_bytes(content)
    progress: list[int] = []
    from_file, from_stream = io.StringIO(), io.StringIO()
    textclf.predict_file(model, tmp_path / "a.txt", from_file, on_progress=progress.append)
    textclf.predict_file(model, io.BytesIO(content), from_stream)
    assert from_file.getvalue().splitlines() == model.predict(lines)
    assert from_stream.getvalue() == from_file.getvalue()
    assert (progress[0], progress[-1]) == (prediction.WINDOW_ROWS, len(lines))


def test_predict_file_writes_a_chunk_before_the_next_chunk_is_read(model: Any) -> None:
    output, written = io.StringIO(), []

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            written.append(output.getvalue().count("\n"))
            return self.readline()

    textclf.predict_file(model, Slow(b"one\ntwo\nthree\n"), output)
    assert written == [0, 1, 2, 3]


def test_predict_file_writes_json_with_all_outputs_and_columns(model: Any, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text('{"text": "good", "id": 7}\n', encoding="utf-8")
    output = io.StringIO()
    textclf.predict_file(model, tmp_path / "new.jsonl", output, as_json=True)
    answer = json.loads(output.getvalue())
    assert answer["columns"] == {"text": "good", "id": 7}
    assert answer["probabilities"][answer["label"]] == answer["confidence"]
    ranked = io.StringIO()
    prediction.predict_texts(model, ["good"], ranked, top_k=2)
    first, second = ranked.getvalue().rstrip("\n").split("\t")
    assert first == f"{answer['label']} {answer['confidence']:.4f}" and second


def test_predict_file_checks_columns_before_tensorflow_is_imported_and_the_output_opened(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("id,comment\n7,good\n", encoding="utf-8")
    (tmp_path / "out.csv").write_text("kept")
    code = (
        "import sys, textclf\n"
        "try:\n"
        "    textclf.predict_file(*sys.argv[1:])\n"
        "except textclf.TextclfError as error:\n"
        "    assert 'tensorflow' not in sys.modules\n"
        "    print(error)\n"
    )
    paths = [trained, tmp_path / "new.csv", tmp_path / "out.csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    assert "no column 'text'; found id, comment; use --set" in done.stdout and not done.stderr
    assert (tmp_path / "out.csv").read_text() == "kept"


def test_predict_file_refuses_its_input_as_output(model: Any, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("text\ngood\n")
    with pytest.raises(DataError, match="is the input; write the answers to another file"):
        textclf.predict_file(model, file, file)
    assert file.read_text() == "text\ngood\n"
    with (
        open(file, "rb") as stream,
        pytest.raises(DataError, match="is the input; write the answers to another file"),
    ):
        textclf.predict_file(model, stream, file)
    assert file.read_text() == "text\ngood\n"
    labels = tmp_path / "labels.txt"
    textclf.predict_file(model, io.BytesIO(b"good"), labels)
    assert labels.read_text().splitlines() == model.predict(["good"])


def test_wrong_arguments_are_refused_and_the_output_is_kept(model: Any, tmp_path: Path) -> None:
    source, output = tmp_path / "new.csv", tmp_path / "kept.csv"
    source.write_text("text\ngood\n")
    output.write_text("kept")
    with pytest.raises(ValueError, match="top_k: expected at least 1, found 0"):
        textclf.predict_file(model, source, output, top_k=0)
    with pytest.raises(ConfigError, match="model.units: only settings of data can be overridden"):
        textclf.predict_file(model, source, output, overrides=["model.units=3"])
    with pytest.raises(DataError, match="kept.csv.gz: the answers are not compressed; name a file"):
        textclf.predict_file(model, source, tmp_path / "kept.csv.gz")
    assert output.read_text() == "kept" and not (tmp_path / "kept.csv.gz").exists()


def test_predict_file_refuses_a_setting_without_effect_on_lines(model: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good\n")
    overrides = {"data.delimiter": ";"}
    with pytest.raises(ConfigError, match="only data.encoding applies to lines"):
        textclf.predict_file(model, tmp_path / "a.txt", io.StringIO(), overrides=overrides)
    output = io.StringIO()
    textclf.predict_file(
        model, io.BytesIO("naïve".encode("latin-1")), output, overrides={"data.encoding": "latin-1"}
    )
    assert output.getvalue().splitlines() == model.predict(["naïve"])
