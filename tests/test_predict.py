"""Command `predict`: lines, tables and arguments, and recognition of tables as in `evaluate`."""

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from textclf.cli import main
from textclf.data import tables
from textclf.data.lines import decode_lines

CLASSES = {"positive", "negative"}


def run(*arguments: object, input: bytes | None = None) -> Result:
    """Run a command in this process; raise exceptions other than SystemExit."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refusal(*arguments: object, input: bytes | None = None) -> str:
    """Return the message of a command that must be refused without output."""
    result = run(*arguments, input=input)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return result.stderr.removeprefix("Error: ").removesuffix("\n")


def rows_of(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.fixture
def model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the trained folder; the current folder is a new, empty one."""
    monkeypatch.chdir(tmp_path)
    return trained


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("texts.txt", content)
    return file.getvalue()


# === Lines ===


@pytest.mark.parametrize("name", ["texts.txt", "TEXTS.TXT", "texts.csv.txt"])
def test_predict_answers_every_line_of_a_txt_file(model: Path, name: str):
    Path(name).write_bytes(b"I loved it\n\nI hated it")
    assert len(run("predict", model, "--input", name).stdout.splitlines()) == 3


def test_predict_reads_compressed_lines(model: Path):
    Path("texts.txt.gz").write_bytes(gzip.compress(b"I loved it\nI hated it\n", mtime=0))
    assert len(run("predict", model, "--input", "texts.txt.gz").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    "content", [b"no gzip\n", gzip.compress(b"good\n" * 9, mtime=0)[:-9]], ids=["plain", "cut"]
)
def test_predict_refuses_a_plain_or_incomplete_gz_file(model: Path, content: bytes):
    Path("texts.txt.gz").write_bytes(content)
    result = run("predict", model, "--input", "texts.txt.gz")
    assert result.exit_code == 1
    assert "Error: texts.txt.gz: cannot be read" in result.stderr


@pytest.mark.parametrize("name", ["texts", "texts.foo", "texts.log.gz", "texts.md"])
def test_error_of_a_file_with_an_unknown_ending_names_the_known_endings(model: Path, name: str):
    content = b"I loved it\n"
    Path(name).write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    message = refusal("predict", model, "--input", name)
    for way_out in (*tables.FILE_ENDINGS, "--lines", ".txt", "data.format"):
        assert way_out in message
    assert run("predict", model, "--input", name, "--lines").stdout.strip() in CLASSES
    table = (
        "--set",
        "data.format=csv",
        "--set",
        "data.header=false",
        "--set",
        "data.text_columns=1",
    )
    assert run("predict", model, "--input", name, *table).stdout.startswith("I loved it,")


def test_predict_reads_every_file_with_a_known_ending_as_a_table(model: Path):
    assert tables.FILE_ENDINGS
    for ending in tables.FILE_ENDINGS:
        Path("x" + ending).write_bytes(b'{"no": "text"}\n')
        message = refusal("predict", model, "--input", "x" + ending)
        assert "tells no format" not in message and "--lines" not in message


@pytest.mark.parametrize("name", ["texts.txt", "texts.xlsx", "texts", "texts.csv", "-"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped(b"I loved it"), "a zip archive"),
        (zipped(b"I loved it").replace(b"texts.txt", b"xl/ab.xml"), "an Excel file"),
        (gzip.compress(b"I loved it", mtime=0), "gzip"),
        (b"%PDF-1.4\n1 0 obj\n", "PDF"),
    ],
)
def test_predict_refuses_a_binary_file_with_any_name(
    model: Path, name: str, content: bytes, kind: str
):
    if name != "-":
        Path(name).write_bytes(content)
    location = "stdin" if name == "-" else name
    message = refusal("predict", model, "--input", name, input=content)
    assert message.startswith(f"{location}: the file is ") and kind in message
    if name.startswith("texts.txt"):
        assert kind in refusal("predict", model, "--input", name, "--lines")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"good\nba\0d\n", 2),
        (b"\0\1\2\3", 1),
        ("good\nbad\n".encode("utf-16-le"), 1),
        ("good\nbad\n".encode("utf-16-be"), 1),
        (b"good\n" * 20_000 + b"\0\n", 20_001),
    ],
)
@pytest.mark.parametrize("source", ["-", "texts.txt"])
def test_lines_with_a_nul_character_are_refused(
    model: Path, content: bytes, line: int, source: str
):
    Path("texts.txt").write_bytes(content)
    result = run("predict", model, "--input", source, input=content)
    assert result.exit_code == 1
    location = "stdin" if source == "-" else source
    assert f"Error: {location}:{line}: contains a NUL character" in result.stderr
    assert line > 1000 or result.stdout == ""


def test_lines_in_utf_16_are_read_with_a_byte_order_mark_or_when_set(model: Path):
    expected = run("predict", model, "I loved it", "I hated it").stdout
    text = "I loved it\nI hated it\n"
    Path("mark.txt").write_bytes(text.encode("utf-16"))
    result = run("predict", model, "--input", "mark.txt")
    assert (result.stdout, result.stderr) == (expected, "note: mark.txt: reading as UTF-16\n")
    Path("set.txt").write_bytes(text.encode("utf-16-le"))
    how = ("--set", "data.encoding=utf-16-le")
    assert run("predict", model, "--input", "set.txt", *how).stdout == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\r", ["a", "b"]),
        (b"a\rb", ["a", "b"]),
        (b"a\r\rb\r", ["a", "", "b"]),
        (b"a\r", ["a"]),
        (b"a", ["a"]),
        (b"a\nb\rc\n", ["a", "b\rc"]),
        (b"a\rb\nc\n", ["a\rb", "c"]),
        (b"a\xc2\x85b\xe2\x80\xa8c\x0bd\n", ["a\x85b\u2028c\x0bd"]),
        (b"", []),
    ],
)
def test_lines_end_with_lf_or_crlf_and_otherwise_with_cr(content: bytes, expected: list[str]):
    whole = decode_lines(io.BufferedReader(io.BytesIO(content)))
    assert [line for lines in whole for line in lines] == expected

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(1)

    if b"\rb\n" in content:
        return  # read byte by byte, \r is taken as the line end before \n is known
    bytewise = decode_lines(Slow(content))
    assert [line for lines in bytewise for line in lines] == expected


@pytest.mark.parametrize(
    "first",
    [
        "text,label",
        "label;text",
        "id\ttext",
        '"id"|"text"',
        "text",
        '{"text": "a"}',
        '[{"text": "a"}',
        "[",
    ],
)
@pytest.mark.parametrize("source", ["-", "texts.txt"])
def test_lines_with_the_form_of_a_table_are_answered_with_a_note(
    model: Path, first: str, source: str
):
    content = f"{first}\nI loved it\n".encode()
    Path("texts.txt").write_bytes(content)
    result = run("predict", model, "--input", source, input=content)
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.count("the first line looks like a table") == 1
    assert ".csv" in result.stderr
    plain = run("predict", model, "--input", "-", input=b"the text, a label\nI loved it\n")
    assert plain.stderr == ""


def test_data_encoding_is_the_only_setting_accepted_for_lines(model: Path):
    Path("texts.txt").write_bytes("café\n".encode("latin-1"))
    how = ("--set", "data.encoding=latin-1")
    assert run("predict", model, "--input", "texts.txt", *how).exit_code == 0
    for override in ("data.header=false", "data.delimiter=;"):
        result = run("predict", model, "--input", "texts.txt", "--set", override)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"--set {override}: only data.encoding applies to lines" in result.stderr
    result = run("predict", model, "--input", "-", "--lines", "--set", "data.format=csv")
    assert result.exit_code == 2
    result = run("predict", model, "good", "--lines")
    assert result.exit_code == 2 and "--lines applies only to --input" in result.stderr


def test_a_pipe_of_lines_is_read_with_lines_and_a_pipe_of_a_table_is_refused(model: Path):
    command = [sys.executable, "-m", "textclf", "predict", str(model), "--input", "/dev/stdin"]

    def piped(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*command, *arguments], input=b"text\nI loved it\n", capture_output=True
        )

    assert len(piped("--lines").stdout.splitlines()) == 2
    refused = piped("--set", "data.format=csv")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"/dev/stdin: a pipe can be read only once" in refused.stderr


def test_predict_refuses_a_folder_and_a_missing_file(model: Path):
    Path("folder.txt").mkdir()
    Path("folder.csv").mkdir()
    Path("texts.txt").touch()
    for name in ("folder.txt", "folder.csv"):
        assert refusal("predict", model, "--input", name).startswith(f"{name}: is a folder; choose")
    for name in ("text.txt", "texts.tx"):
        message = refusal("predict", model, "--input", name)
        assert message == f"{name}: no such file; did you mean 'texts.txt'?"


def test_predict_prints_only_a_note_for_input_without_texts(model: Path):
    Path("empty.txt").touch()
    Path("header.csv").write_text("id, text ,\n")
    for name, stdout in (
        ("empty.txt", ""),
        ("-", ""),
        ("header.csv", "id, text ,,predicted,confidence\n"),
    ):
        result = run("predict", model, "--input", name, input=b"")
        location = "stdin" if name == "-" else name
        assert result.exit_code == 0 and result.stdout == stdout
        assert result.stderr == f"note: {location}: no texts to classify\n"
    Path("empty.csv").touch()
    assert "empty.csv: the file is empty" in refusal("predict", model, "--input", "empty.csv")


def test_a_text_argument_that_is_a_file_is_classified_with_a_note_about_input(model: Path):
    Path("new.csv").write_text("text\ngood\n")
    expected = run("predict", model, "other.csv", "I loved it")
    result = run("predict", model, "new.csv", "I loved it")
    assert (len(result.stdout.splitlines()), expected.stderr.count("file")) == (2, 0)
    assert result.stderr.startswith(
        "note: new.csv is a file, and its name was classified; for its rows use --input new.csv\n"
    )


# === Tables ===

HEADERS: list[tuple[list[str], list[str]]] = [
    (["", "text", " label ", "", ""], ["1", "I loved it", "positive", "", "x"]),
    (["text", "id", "id"], ["I loved it", " 1 ", "2"]),
    (["2", "", " text"], ["a", "b", "I loved it"]),
    (["text", 'say "a, b"', "x\ry"], ["I loved it", "line\nbreak", "c\rd"]),
    (["predicted", " confidence", "text"], ["1", "2", "I loved it"]),
]


@pytest.mark.parametrize(("header", "row"), HEADERS)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_predict_writes_header_and_cells_of_a_csv_unchanged(
    model: Path, header: list[str], row: list[str], delimiter: str
):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([header, row, row])
    Path("new.csv").write_text(text.getvalue(), newline="")
    result = run("predict", model, "--input", "new.csv", "--set", f"data.delimiter={delimiter}")
    head, *rows = rows_of(result.stdout, delimiter)
    width = len(header)
    assert head[:width] == header and [cells[:width] for cells in rows] == [row, row]
    assert len(head) == width + 2 and not set(head[width:]) & set(map(str.strip, header))
    assert all(cells[width] in CLASSES for cells in rows)


def test_predict_writes_control_characters_of_cells_unchanged(model: Path):
    Path("new.csv").write_text("text\n\x1b[31mgood\x1b[0m\n")
    _, row = rows_of(run("predict", model, "--input", "new.csv").stdout)
    assert row[0] == "\x1b[31mgood\x1b[0m"


def test_predict_reads_a_json_array_as_a_table(model: Path):
    records = [{"n": 1, "text": "I loved it"}, {"n": 2, "text": "bad"}]
    Path("new.json").write_text(json.dumps(records, indent=1))
    answers = map(json.loads, run("predict", model, "--input", "new.json").stdout.splitlines())
    assert [(answer["n"], answer["predicted"] in CLASSES) for answer in answers] == [
        (1, True),
        (2, True),
    ]


def test_predict_keeps_the_keys_of_json_lines(model: Path):
    records = [{" text ": "x", "": 1, "text": "I loved it", "2": None}, {"text": "bad"}]
    Path("new.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    answers = map(json.loads, run("predict", model, "--input", "new.jsonl").stdout.splitlines())
    assert [
        {name: value for name, value in answer.items() if name not in ("predicted", "confidence")}
        for answer in answers
    ] == records


def test_predict_answers_empty_texts_with_a_note(model: Path):
    Path("new.jsonl").write_text(
        '{"text": null}\n{"text": " "}\n{"text": "I loved it"}\n{"text": 5}\n'
    )
    result = run("predict", model, "--input", "new.jsonl")
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr == (
        "note: new.jsonl: 2 of 4 texts are empty; ignore their labels\n"
        "note: new.jsonl: 1 of 4 texts have no token of the vocabulary; ignore their labels\n"
    )


def test_predict_notes_text_arguments_that_are_empty_or_have_no_known_token(model: Path):
    unknown = "xqxqx qxqxq"
    (answer,) = run("predict", model, unknown, "--json").stdout.splitlines()
    assert json.loads(answer)["unknown_fraction"] == 1
    result = run("predict", model, "I loved it", "", unknown)
    assert result.stderr == (
        "note: 1 of 3 texts are empty; ignore their labels\n"
        "note: 1 of 3 texts have no token of the vocabulary; ignore their labels\n"
    )
    assert run("predict", model, "I loved it").stderr == ""


@pytest.mark.parametrize("value", ['["a", "b"]', '{"a": 1}', "true"])
def test_predict_refuses_a_json_value_of_another_type(model: Path, value: str):
    Path("new.jsonl").write_text(f'{{"text": "good"}}\n{{"text": {value}}}\n')
    message = refusal("predict", model, "--input", "new.jsonl")
    assert message.startswith("new.jsonl:2: 'text' is ")


def test_a_label_with_the_delimiter_is_refused_in_a_table_without_quoting(model: Path):
    Path("new.csv").write_text("text0label\nfine0x\n")
    how = ("--set", "data.delimiter=0", "--set", "data.quoting=none")
    message = refusal("predict", model, "--input", "new.csv", *how)
    assert "contains the separator of the table" in message


# === Recognising a table, for predict, evaluate and compare ===

TABLE = [
    ["id", "text", "label"],
    ["1", "I loved it, all", "positive"],
    ["2", "bad; very", "negative"],
]


def written(delimiter: str, quoting: int) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows(TABLE)
    return text.getvalue()


@pytest.mark.parametrize("name", ["same.csv", "same.tsv"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["minimal", "all"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_evaluate_reads_every_file_accepted_by_predict(
    model: Path, name: str, quoting: int, delimiter: str
):
    Path(name).write_text(written(delimiter, quoting))
    predicted = run("predict", model, "--input", name)
    assert predicted.exit_code == 0, predicted.stderr
    head, *rows = rows_of(predicted.stdout, delimiter)
    assert [head[:3], *[row[:3] for row in rows]] == TABLE
    evaluated = run("evaluate", model, name, "--json")
    assert evaluated.exit_code == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["report"]["num_examples"] == 2
    notes = predicted.stderr
    assert notes.count("\n") <= 1
    assert evaluated.stderr == notes + "reading the data\n"
    if delimiter != {"same.csv": ",", "same.tsv": "\t"}[name]:
        assert f"data.delimiter={delimiter!r}" in notes and "detected from the file" in notes


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        (
            "new.csv",
            'text,label\nthe "best" film,positive\n"bad" it was,negative\n',
            ['the "best" film', '"bad" it was'],
        ),
        (
            "new.tsv",
            'text\tlabel\n"good\nfilm"\tpositive\n"bad ""film"""\tnegative\n',
            ["good\nfilm", 'bad "film"'],
        ),
        (
            "new.csv",
            "n,text,label\n"
            + "".join(
                f'{n},"the \\"best\\", film {n}",positive\n{n},"bad, \\"it\\" was",negative\n'
                for n in range(20)
            ),
            [text for n in range(20) for text in (f'the "best", film {n}', 'bad, "it" was')],
        ),
    ],
    ids=["none", "minimal", "backslash"],
)
def test_quoting_is_recognised_if_the_first_rows_are_unreadable(
    model: Path, name: str, content: str, texts: list[str]
):
    Path(name).write_text(content)
    result = run("predict", model, "--input", name, "--json")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == texts
    assert "read with data.quoting=" in result.stderr
    assert run("evaluate", model, name).exit_code == 0
    Path(name).write_text(run("predict", model, "--input", name).stdout)  # is read the same way
    again = run("predict", model, "--input", name, "--json").stdout
    assert [json.loads(line)["text"] for line in again.splitlines()] == texts


def test_compare_recognises_tables_like_evaluate(model: Path):
    Path("same.csv").write_text(written(";", csv.QUOTE_ALL))
    shutil.copytree(model, "copy")
    result = run("compare", model, "copy", "--data", "same.csv", "--json")
    assert json.loads(result.stdout)["num_test"] == 2
    assert result.stderr.count("detected from the file") == 1


@pytest.mark.parametrize(
    "overrides",
    [["data.delimiter=,"], ["data.delimiter=|"], ["data.delimiter=,", "data.quoting=none"]],
    ids=" ".join,
)
def test_an_explicit_delimiter_disables_its_recognition(model: Path, overrides: list[str]):
    Path("same.csv").write_text("text;label\nI loved it;positive\nbad;negative\n")
    sets = [part for override in overrides for part in ("--set", override)]
    for command in (("predict", model, "--input", "same.csv"), ("evaluate", model, "same.csv")):
        message = refusal(*command, *sets)
        assert "no column 'text'; found text;label; use --set 'data.delimiter=;'" in message
        assert "note:" not in message


def test_an_explicit_quoting_is_kept_if_the_delimiter_is_recognised(model: Path):
    Path("same.csv").write_text("text;label\n'I loved it';positive\nbad;negative\n")
    result = run("predict", model, "--input", "same.csv", "--set", "data.quoting=none")
    assert "read with data.delimiter=';', detected from the file" in result.stderr


def with_data_settings(model: Path, **settings: object) -> str:
    """Copy a trained folder and change the `data` settings on its card."""
    shutil.copytree(model, "changed")
    card = json.loads(Path("changed/card.json").read_text())
    card["config"]["data"] |= settings
    Path("changed/card.json").write_text(json.dumps(card))
    return "changed"


def test_settings_of_the_training_precede_recognised_settings(model: Path):
    Path("one.csv").write_text("text;n\nI loved it, all;1,2\nbad, very;3,4\n")
    changed = with_data_settings(model, delimiter=";")
    result = run("predict", changed, "--input", "one.csv")
    assert rows_of(result.stdout, ";")[1][:2] == ["I loved it, all", "1,2"]
    assert result.stderr == ""


def test_a_recognised_delimiter_without_the_text_column_is_not_used(model: Path):
    Path("new.csv").write_text("review, all;n\nI loved it, all;1\nbad, very;3\n")
    changed = with_data_settings(model, delimiter=";")
    message = refusal("predict", changed, "--input", "new.csv")
    assert message.startswith("new.csv: no column 'text'; found review, all, n; use --set ")


def test_delimiter_of_a_csv_training_is_not_used_for_tsv(model: Path):
    Path("new.tsv").write_text("text\nI loved it, all\nbad, very\n")
    changed = with_data_settings(model, delimiter=",", quoting="minimal")
    result = run("predict", changed, "--input", "new.tsv")
    assert [row[0] for row in rows_of(result.stdout, "\t")] == [
        "text",
        "I loved it, all",
        "bad, very",
    ]


def test_delimiter_is_recognised_with_column_numbers(model: Path):
    Path("new.csv").write_text("I loved it;positive\nbad;negative\n")
    how = ("--set", "data.header=false", "--set", "data.text_columns=[1]")
    result = run("predict", model, "--input", "new.csv", *how)
    assert [row[:2] for row in rows_of(result.stdout, ";")] == [
        ["I loved it", "positive"],
        ["bad", "negative"],
    ]


def test_error_of_json_lines_with_the_ending_csv_names_data_format(model: Path):
    Path("new.csv").write_text('{"text": "I loved it"}\n{"text": "bad"}\n')
    assert "use --set data.format=jsonl" in refusal("predict", model, "--input", "new.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "gb18030"])
def test_a_table_in_utf_8_is_read_after_a_training_on_a_different_encoding(
    model: Path, encoding: str
):
    changed = with_data_settings(model, encoding=encoding)
    for content in ("text,label\nI loved it,positive\n", "text,label\ncafé 一,positive\n"):
        Path("new.csv").write_bytes(content.encode())
        result = run("predict", changed, "--input", "new.csv")
        assert rows_of(result.stdout)[1][0] == content.split("\n")[1].split(",")[0]
        is_misread = encoding == "utf-16" or not content.isascii()
        assert result.stderr.count("new.csv: reading as UTF-8") == is_misread


def test_a_table_in_utf_16_is_recognised_by_its_byte_order_mark(model: Path):
    Path("new.csv").write_bytes("text,label\nI loved it,positive\n".encode("utf-16"))
    for command in (("predict", model, "--input", "new.csv"), ("evaluate", model, "new.csv")):
        result = run(*command)
        assert result.exit_code == 0
        assert result.stderr.count("note: new.csv: reading as UTF-16") == 1


# === Arguments in another locale ===


def in_locale(locale: str, arguments: Sequence[bytes | str]) -> subprocess.CompletedProcess:
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-m", "textclf", *arguments], env=environment, capture_output=True
    )


def test_texts_and_settings_of_a_command_are_utf_8_in_the_c_locale(model: Path):
    Path("new.csv").write_text("序,评论\n1,一点也不差\n")
    answer = in_locale("C", ["predict", str(model), "一点也不差", "--json"])
    expected = run("predict", model, "一点也不差", "--json").stdout
    assert answer.stdout.decode() == expected and json.loads(expected)["text"] == "一点也不差"
    how = ["--input", "new.csv", "--set", "data.text_columns=[评论]"]
    answer = in_locale("C", ["predict", str(model), *how])
    assert answer.stdout.decode().startswith("序,评论,predicted,confidence\n1,一点也不差,")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_text_argument_with_invalid_utf_8_is_a_usage_error(model: Path, locale: str):
    answer = in_locale(locale, ["predict", str(model), "good", b"caf\xe9"])
    assert (answer.returncode, answer.stdout) == (2, b"")
    assert b"TEXT 'caf\\xe9': not UTF-8" in answer.stderr


def test_messages_show_paths_in_utf_8_in_the_c_locale(model: Path):
    Path("评论.csv").write_text("text\nbad\n")
    Path("评论.txt").write_text("bad\n")
    for arguments in (
        ["predict", str(model), "--input", "评论.csv"],
        ["evaluate", str(model), "评论.csv"],
    ):
        answer = in_locale("C", arguments)
        assert (answer.returncode, answer.stdout) == (1, b"")
        assert answer.stderr.decode().startswith("Error: 评论.csv: the path is not valid in ascii")
        assert "PYTHONUTF8=1" in answer.stderr.decode()
    missing = in_locale("C", ["predict", str(model), "--input", "评.txt"])
    assert missing.stderr.decode().startswith("Error: 评.txt: no such file")
    answer = in_locale("C", ["predict", str(model), "--input", "评论.txt"])
    assert answer.stdout.decode().strip() in CLASSES


# === Abstention ===


@pytest.fixture
def careful(model: Path) -> Path:
    """Return a copy of the trained folder that answers half of its validation split."""
    assert run("calibrate", model, "--coverage", "0.5", "--output", "careful").exit_code == 0
    return Path("careful")


def test_predict_adds_the_column_abstain_only_for_a_model_that_may_abstain(
    model: Path, careful: Path, reviews: Path
):
    texts = [row[0] for row in rows_of(reviews.read_text())[1:40]]
    with open("new.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "abstain"], *([text, "x"] for text in texts)])
    Path("new.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    answers = map(json.loads, run("predict", careful, "--json", "--", *texts).stdout.splitlines())
    abstains = [answer["abstain"] for answer in answers]
    assert {*abstains} == {True, False}
    for options in ([], ["--top-k", "2"]):
        head, *rows = rows_of(run("predict", careful, "--input", "new.csv", *options).stdout)
        assert head[-1] == "abstain_" and len(head) == len(rows[0])
        assert [row[-1] for row in rows] == [str(abstain).lower() for abstain in abstains]
    records = run("predict", careful, "--input", "new.jsonl").stdout.splitlines()
    assert [json.loads(record)["abstain"] for record in records] == abstains
    plain = run("predict", model, "--input", "new.csv").stdout
    assert plain.startswith("text,abstain,predicted,confidence\n")


def test_predict_notes_the_number_of_texts_from_which_the_model_abstains(
    model: Path, careful: Path
):
    texts = ["I loved it", "zzz"]
    answers = run("predict", careful, "--json", *texts).stdout.splitlines()
    count = sum(json.loads(answer)["abstain"] for answer in answers)
    assert count
    below = json.loads((careful / "card.json").read_text())["abstain_below"]
    note = (
        f"the model abstains from {count} of 2 texts: their confidence is below {below:.4f}; "
        "ignore their labels\n"
    )
    result = run("predict", careful, *texts)
    assert result.stdout == run("predict", model, *texts).stdout
    assert note in result.stderr
    lines = run("predict", careful, "--input", "-", input="\n".join(texts).encode())
    assert f"note: stdin: {note}" in lines.stderr
    assert "abstains" not in run("predict", model, *texts).stderr
