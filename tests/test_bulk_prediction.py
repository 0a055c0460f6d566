"""Prediction of large files: windows, output files and Parquet."""

import csv
import datetime
import decimal
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import textclf
from textclf import artifact
from textclf.cli import main
from textclf.data.lines import READ_BYTES, available_bytes, decode_lines
from textclf.errors import DataError, TextclfError
from textclf.prediction import reading
from textclf.prediction.parquet import AnswerWriter
from textclf.prediction.reading import Row, Window


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make windows small and return their number of rows."""
    monkeypatch.setattr(reading, "WINDOW_ROWS", 150)
    return 150


def unsorted_texts(number: int) -> list[str]:
    """Return different texts of 0 to 60 words in an order without relation to their length."""
    rng = random.Random(0)
    words = ["good", "bad", "film", "not", "一点", "zzz", "at", "all"]
    texts = [" ".join(rng.choices(words, k=rng.randrange(60))) for _ in range(number)]
    return [f"{text} {number}" if text else "" for number, text in enumerate(texts)]


def predicted_json(model: Any, source: Path) -> list[dict[str, Any]]:
    output = io.StringIO()
    textclf.predict_file(model, source, output, as_json=True)
    return [json.loads(line) for line in output.getvalue().splitlines()]


# === Windows ===


def test_answers_of_several_windows_have_the_order_of_texts_with_unsorted_lengths(
    model: Any, tmp_path: Path, small_windows: int
) -> None:
    texts = unsorted_texts(2 * small_windows + 7)
    lengths = [len(text) for text in texts]
    assert lengths != sorted(lengths), "the batches must change the order for this test to matter"
    (tmp_path / "new.txt").write_text("\n".join(texts), encoding="utf-8")
    answers = predicted_json(model, tmp_path / "new.txt")
    assert [answer["text"] for answer in answers] == texts
    assert [answer["num_tokens"] for answer in answers] == [
        int(model.answers([text])["num_tokens"][0]) for text in texts
    ]


def test_answers_of_a_file_equal_those_of_texts_one_by_one(
    model: Any, tmp_path: Path, small_windows: int
) -> None:
    texts = unsorted_texts(2 * small_windows)
    (tmp_path / "new.txt").write_text("\n".join(texts), encoding="utf-8")
    answers = predicted_json(model, tmp_path / "new.txt")
    for text, answer in list(zip(texts, answers, strict=True))[::17]:
        alone = model.answers([text])["probabilities"][0]
        np.testing.assert_allclose(list(answer["probabilities"].values()), alone, atol=1e-5)


def test_batch_sizes_chosen_by_length_do_not_change_answers(model: Any) -> None:
    texts = [*unsorted_texts(1500), "good " * 3000]
    chosen, fixed = model.answers(texts, batch_size=None), model.answers(texts)
    np.testing.assert_allclose(chosen["probabilities"], fixed["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(chosen["num_tokens"], fixed["num_tokens"])
    assert model.answers([], batch_size=None)["probabilities"].shape == (0, 2)


@pytest.mark.parametrize("ending", ["txt", "csv", "parquet"])
def test_memory_of_a_prediction_does_not_grow_with_the_number_of_rows(
    model: Any, tmp_path: Path, small_windows: int, ending: str
) -> None:
    source, output = tmp_path / f"new.{ending}", tmp_path / f"answers.{ending}"
    texts = [f"good film {n} {'x' * 2000}" for n in range(10 * small_windows)]
    if ending == "parquet":
        pq.write_table(pa.table({"text": texts}), source, use_dictionary=False)
    else:
        source.write_text("\n".join(["text", *texts]))
    textclf.predict_file(model, source, output)  # imports and traces
    tracemalloc.start()
    textclf.predict_file(model, source, output, overwrite=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.8 * sum(map(len, texts))


def test_predict_texts_reads_a_generator_window_by_window(model: Any, small_windows: int) -> None:
    output, ahead = io.StringIO(), []

    def texts() -> Any:
        for number in range(3 * small_windows):
            ahead.append(number - output.getvalue().count("\n"))
            yield "good"

    textclf.prediction.predict_texts(model, texts(), output)
    assert max(ahead) == small_windows - 1


# === Streams ===


def test_a_complete_line_of_a_pipe_is_not_held_back_by_an_incomplete_one() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as stream, open(writer, "wb", buffering=0) as pipe:
        pipe.write(b"one\ntw")
        lists = decode_lines(available_bytes(stream))
        assert next(lists) == ["one"]  # would wait for ever
        pipe.write(b"o\n")
        assert next(lists) == ["two"]


def test_available_bytes_of_a_fast_writer_are_joined(tmp_path: Path) -> None:
    content = b"x" * (3 * READ_BYTES)
    (tmp_path / "new.txt").write_bytes(content)
    with open(tmp_path / "new.txt", "rb") as stream:
        first = available_bytes(stream).read1(READ_BYTES)  # type: ignore[attr-defined]
        assert len(first) > READ_BYTES
        assert content == first + stream.read()


# === Output files ===


def write_source(path: Path) -> None:
    path.write_text("id,text\n7,good film\n8,\n", encoding="utf-8")


def test_an_existing_output_is_refused_together_with_the_errors_of_the_input(
    trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    output.write_text("kept")
    write_source(tmp_path / "new.csv")
    with pytest.raises(DataError, match="out.csv: exists already; name another file"):
        textclf.predict_file(trained, tmp_path / "new.csv", output)
    (tmp_path / "other.csv").write_text("id\n7\n")
    with pytest.raises(TextclfError) as error:
        textclf.predict_file(trained, tmp_path / "other.csv", output)
    assert [line.partition(": ")[2][:13] for line in str(error.value).splitlines()] == [
        "exists alread",
        "no column 'te",
    ]
    assert output.read_text() == "kept"
    textclf.predict_file(trained, tmp_path / "new.csv", output, overwrite=True)
    assert output.read_text().startswith("id,text,predicted,confidence\n7,good film,")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_row_that_cannot_be_read_leaves_no_output_and_keeps_the_former_one(
    model: Any, tmp_path: Path, small_windows: int, ending: str
) -> None:
    rows = [f"{n},good\n" for n in range(2 * small_windows)]
    (tmp_path / "new.csv").write_bytes("".join(["id,text\n", *rows]).encode() + b"9,caf\xe9\n")
    output = tmp_path / f"out.{ending}"
    for former in (None, b"former"):
        if former:
            output.write_bytes(former)
        written: list[int] = []
        with pytest.raises(DataError, match="new.csv:302"):
            textclf.predict_file(
                model, tmp_path / "new.csv", output, overwrite=True, on_progress=written.append
            )
        assert written, "the error must come after the first answers for this test to matter"
        assert (output.read_bytes() if former else output.exists()) == (former or False)
        assert len(list(tmp_path.iterdir())) == 1 + bool(former)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_prediction_leaves_no_file_under_the_final_name(
    trained: Path, tmp_path: Path, number: int
) -> None:
    output = tmp_path / "labels.txt"
    command = [sys.executable, "-m", "textclf", "predict", str(trained), "--input", "-"]
    with subprocess.Popen(
        [*command, "--output", str(output)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"good\n")
        process.stdin.flush()
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        process.wait()
    assert not output.exists()
    if number == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_full_disk_is_one_sentence_and_leaves_no_file(
    model: Any, tmp_path: Path, full_disk: Callable[[int], Any], name: str
) -> None:
    write_source(tmp_path / "new.csv")
    before = sorted(tmp_path.iterdir())
    with full_disk(10), pytest.raises(DataError, match=f"{name}: cannot be written"):
        textclf.predict_file(model, tmp_path / "new.csv", tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_written_meanwhile_by_another_process_is_kept(model: Any, tmp_path: Path) -> None:
    write_source(tmp_path / "new.csv")
    output = tmp_path / "out.csv"
    with pytest.raises(DataError, match="out.csv: was written by another process meanwhile"):
        textclf.predict_file(
            model, tmp_path / "new.csv", output, on_start=lambda rows: [output.write_text("kept")]
        )
    assert output.read_text() == "kept"


def test_ending_of_the_output_chooses_the_format_of_lines_and_tables(
    model: Any, tmp_path: Path
) -> None:
    texts = ['a "good", film', ""]
    (tmp_path / "new.txt").write_text("\n".join([*texts, ""]))
    with open(tmp_path / "new.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "id"], *([text, "7"] for text in texts)])
    pq.write_table(pa.table({"text": texts, "id": [7, 7]}), tmp_path / "new.parquet")
    labels = model.predict(texts)
    for source in ("new.txt", "new.csv", "new.parquet"):
        columns = ["text"] if source == "new.txt" else ["text", "id"]
        for ending in ("csv", "tsv", "jsonl", "parquet"):
            output = tmp_path / f"{source}.{ending}"
            textclf.predict_file(model, tmp_path / source, output)
            if ending == "parquet":
                rows = pq.read_table(output).to_pylist()
            elif ending == "jsonl":
                rows = [json.loads(line) for line in output.read_text().splitlines()]
            else:
                with open(output, newline="") as file:
                    delimiter = "\t" if ending == "tsv" else ","
                    rows = list(csv.DictReader(file, delimiter=delimiter))
            assert [list(row) for row in rows] == [[*columns, "predicted", "confidence"]] * 2
            assert [row["text"] for row in rows] == texts, output
            assert [row["predicted"] for row in rows] == labels


def test_outputs_without_a_place_for_nested_values_are_refused(model: Any, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text('{"text": "good"}\n')
    write_source(tmp_path / "new.csv")
    for ending in ("csv", "parquet"):
        with pytest.raises(DataError, match="are JSON objects, which may have different keys"):
            textclf.predict_file(model, tmp_path / "new.jsonl", tmp_path / f"out.{ending}")
        with pytest.raises(DataError, match="complete results are JSON lines; name a file .jsonl"):
            textclf.predict_file(
                model, tmp_path / "new.csv", tmp_path / f"out.{ending}", as_json=True
            )
    with pytest.raises(DataError, match="there is no folder .*missing; create it"):
        textclf.predict_file(model, tmp_path / "new.csv", tmp_path / "missing" / "out.csv")


def test_predict_command_writes_an_output_file_and_reports_the_rate(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_source(Path("new.csv"))
    command = ["predict", str(trained), "--input", "new.csv", "--output", "out.csv"]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1].startswith("out.csv: 2 texts, ")
    assert result.stderr.endswith(" texts/s\n")
    printed = CliRunner().invoke(main, command[:4]).stdout
    assert Path("out.csv").read_text() == printed
    assert "--overwrite" in CliRunner().invoke(main, command).stderr
    assert CliRunner().invoke(main, [*command, "--overwrite"]).exit_code == 0
    for wrong in (["good", "--output", "x.csv"], ["--input", "new.csv", "--overwrite"]):
        result = CliRunner().invoke(main, ["predict", str(trained), *wrong])
        assert result.exit_code == 2 and "applies only to" in result.stderr


# === Parquet ===


def test_parquet_output_keeps_columns_types_order_and_nulls(
    model: Any, tmp_path: Path, small_windows: int
) -> None:
    texts: list[str | None] = [*unsorted_texts(2 * small_windows + 5)]
    texts[3], texts[4] = None, "　"
    n = len(texts)
    table = pa.table(
        {
            "id": pa.array(range(n), pa.int16()),
            "text": pa.array(texts, pa.large_string()),
            "tags": pa.array([[f"t{i}"] if i % 3 else None for i in range(n)]),
            "day": pa.array([datetime.date(2026, 1, 1 + i % 28) for i in range(n)]),
            "price": pa.array(
                [decimal.Decimal(i).scaleb(-2) for i in range(n)], pa.decimal128(9, 2)
            ),
            "kind": pa.array(["a", None, "b"] * n)[:n].dictionary_encode(),
            "predicted": pa.array([None] * n, pa.float64()),
        }
    ).replace_schema_metadata({"origin": "test"})
    pq.write_table(table, tmp_path / "new.parquet", row_group_size=100)
    rows: list[int] = []
    counts = textclf.predict_file(
        model, tmp_path / "new.parquet", tmp_path / "out.parquet", on_start=rows.append
    )
    answered = pq.read_table(tmp_path / "out.parquet")
    assert answered.schema.names == [*table.schema.names, "predicted_", "confidence"]
    assert answered.select(table.schema.names).equals(table)
    assert answered.schema.metadata[b"origin"] == b"test"
    full = [text or "" for text in texts]
    answers = model.answers(full)
    names = [model.class_names[label] for label in answers["label_id"]]
    assert answered["predicted_"].to_pylist() == names
    np.testing.assert_allclose(answered["confidence"], answers["confidence"], atol=1e-5)
    num_empty = sum(not text.strip() for text in full)
    assert rows == [n] and (counts.num_texts, counts.num_empty) == (n, num_empty)


def test_values_of_parquet_are_the_same_texts_as_in_json_lines(model: Any, tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["good", None, ""]),
        "number": pa.array([1.5, None, float("nan")]),
        "kind": pa.array(["bad", "bad", None]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "new.parquet")
    settings = {"data.text_columns": ["text", "number", "kind"]}
    lines = io.StringIO()
    textclf.predict_file(model, tmp_path / "new.parquet", lines, overrides=settings)
    textclf.predict_file(
        model, tmp_path / "new.parquet", tmp_path / "out.parquet", overrides=settings
    )
    expected = [json.loads(line)["confidence"] for line in lines.getvalue().splitlines()]
    found = pq.read_table(tmp_path / "out.parquet")["confidence"].to_pylist()
    assert found == pytest.approx(expected, abs=1e-5) and len({*found}) == 3


def test_a_value_of_another_type_in_parquet_is_refused_with_its_row(
    model: Any, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"text": [None, ["a"]]}), tmp_path / "new.parquet")
    with pytest.raises(DataError, match=r"new.parquet:2: 'text' is list, expected a text"):
        textclf.predict_file(model, tmp_path / "new.parquet", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_parquet_without_rows_is_answered_with_the_new_columns(model: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "new.parquet")
    textclf.predict_file(model, tmp_path / "new.parquet", tmp_path / "out.parquet")
    answered = pq.read_table(tmp_path / "out.parquet")
    assert (answered.num_rows, answered.column_names) == (0, ["text", "predicted", "confidence"])


ANSWERS = {
    "probabilities": np.array([[0.9, 0.6], [0.1, 0.2]], np.float32),
    "label_id": np.array([0, 1]),
    "selected": np.array([[True, True], [False, False]]),
    "abstain": np.array([False, True]),
}


@pytest.mark.parametrize(
    ("multi_label", "top_k", "expected"),
    [
        (False, None, [["a", 0.9, False], ["b", 0.2, True]]),
        (True, None, [[["a", "b"], 0.9, False], [[], 0.2, True]]),
        (False, 2, [["a", 0.9, "b", 0.6, False], ["b", 0.2, "a", 0.1, True]]),
    ],
)
def test_parquet_contains_ranks_several_labels_and_abstentions(
    trained: Path, multi_label: bool, top_k: int | None, expected: list[list[Any]]
) -> None:
    card = msgspec.structs.replace(
        artifact.read_card(trained),
        class_names=("a", "b"),
        multi_label=multi_label,
        abstain_below=0.5,
    )
    file = io.BytesIO()
    writer = AnswerWriter(file, card, top_k, None)
    writer.write(Window(["x", "y"], 0, [Row("x"), Row("y")]), ANSWERS)
    writer.close()
    rows = pq.read_table(io.BytesIO(file.getvalue())).to_pylist()
    names = ["text", "predicted", "confidence", "predicted_2", "confidence_2"][: len(expected[0])]
    assert [list(row) for row in rows] == [[*names, "abstain"]] * 2
    values = [[*row.values()][1:] for row in rows]
    assert [[round(v, 4) if isinstance(v, float) else v for v in row] for row in values] == expected
