"""Recognition of files: format, header, columns, labels and script; every guess must be readable."""

import csv
import gzip
import io
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from textclf import data
from textclf.errors import DataError


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return str(path)


def write_csv(path: Path, rows: Iterable[Sequence[Any]], **how: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", **how).writerows(rows)
    return write(path, stream.getvalue())


# === The reader reads what was recognised ===

ROWS = [(f'the "text" of {i}, with a comma', ("bad", "good")[i % 2]) for i in range(40)]


def in_csv(rows: Sequence[Sequence[Any]], header: str = "text,label", **how: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", **how).writerows(rows)
    return f"{header}\n{stream.getvalue()}" if header else stream.getvalue()


def read_as_recognised(path: str) -> tuple[data.Recognised, list[tuple[str, tuple[str, ...]]]]:
    """Return what is recognised, and texts and labels that the reader gives with it, sorted."""
    found = data.recognise(path)
    assert found.label_column is not None
    dataset = data.open_dataset(
        source=path,
        format=found.format,
        delimiter=found.delimiter,
        quoting=found.quoting,
        header=found.header,
        encoding=found.encoding,
        text_columns=list(found.text_columns),
        label_column=found.label_column,
        multi_label=found.multi_label,
        label_separator=found.label_separator,
        skip_unlabelled=found.skip_unlabelled,
    )
    assert dataset.class_names == found.class_names_seen
    names = dataset.class_names
    examples = [example for split in dataset.splits for example in dataset.examples(split)]
    return found, sorted((e.text, tuple(names[i] for i in e.label_ids)) for e in examples)


def escaped_csv(rows: Sequence[tuple[str, str]]) -> str:
    lines = [",".join('"' + cell.replace('"', '\\"') + '"' for cell in row) for row in rows]
    return "text,label\n" + "\n".join(lines) + "\n"


OBJECTS = [json.dumps({"text": text, "label": label}) for text, label in ROWS]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", in_csv(ROWS), ("csv", ",", "minimal")),
        ("a.csv", in_csv(ROWS).replace("\n", "\r"), ("csv", ",", "minimal")),
        ("a.csv", in_csv(ROWS).replace("\n", "\r\n"), ("csv", ",", "minimal")),
        ("a.csv", in_csv([(*row, "") for row in ROWS]), ("csv", ",", "minimal")),
        ("a.csv", escaped_csv(ROWS), ("csv", ",", "backslash")),
        ("a.csv", "sep=;\n" + in_csv(ROWS, "text;label", delimiter=";"), ("csv", ";", "minimal")),
        (
            "a.csv",
            '"sep=|"\r\n' + in_csv(ROWS, "text|label", delimiter="|"),
            ("csv", "|", "minimal"),
        ),
        ("a.tsv", in_csv(ROWS), ("csv", ",", "minimal")),
        ("a.tsv", "text\tlabel\n" + "\n".join(map("\t".join, ROWS)), ("tsv", "\t", "none")),
        ("a.tsv", "text\tlabel\r" + "\r".join(map("\t".join, ROWS)), ("tsv", "\t", "none")),
        ("data", in_csv(ROWS), ("csv", ",", "minimal")),
        ("a.csv", in_csv(ROWS).encode("utf-16"), ("csv", ",", "minimal")),
        ("a.csv", in_csv(ROWS).encode("utf-16-le"), ("csv", ",", "minimal")),
        ("a.csv", in_csv(ROWS).encode("utf-16-be"), ("csv", ",", "minimal")),
        ("a.csv.gz", gzip.compress(in_csv(ROWS).encode(), mtime=0), ("csv", ",", "minimal")),
        ("a.jsonl", "\n".join(OBJECTS), ("jsonl", None, "auto")),
        (
            "a.ndjson.gz",
            gzip.compress("\n".join(OBJECTS).encode(), mtime=0),
            ("jsonl", None, "auto"),
        ),
        ("a.json", f"[{','.join(OBJECTS)}]", ("json", None, "auto")),
        ("a.json", json.dumps(list(map(json.loads, OBJECTS)), indent=2), ("json", None, "auto")),
        ("a.jsonl", f"[{','.join(OBJECTS)}]", ("jsonl", None, "auto")),
        ("a.json", "\n".join(OBJECTS), ("json", None, "auto")),
        ("a.csv", "\n".join(OBJECTS), ("jsonl", None, "auto")),
        ("a.csv", f"[\n{','.join(OBJECTS)}\n]", ("json", None, "auto")),
        ("data", "\n".join(OBJECTS), ("jsonl", None, "auto")),
        ("data", f"[{','.join(OBJECTS)}]", ("json", None, "auto")),
    ],
)
def test_equal_rows_are_read_alike_however_a_file_is_written(
    tmp_path: Path, name: str, content: str | bytes, expected: tuple[str, str | None, str]
) -> None:
    found, examples = read_as_recognised(write(tmp_path / name, content))
    assert (found.format, found.delimiter, found.quoting) == expected
    assert examples == sorted((text, (label,)) for text, label in ROWS)
    assert found.num_rows_seen == 40 and found.is_whole and found.first_problem is None


def test_backslashes_that_escape_nothing_are_text(tmp_path: Path) -> None:
    rows = [(f"in C:\\dir{i}\\ there is", ("bad", "good")[i % 2]) for i in range(40)]
    found, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows)))
    assert found.quoting == "minimal"
    assert examples == sorted((text, (label,)) for text, label in rows)


def test_backslashes_do_not_make_uneven_rows_of_text_escaped(tmp_path: Path) -> None:
    rows = [(f"in C:\\dir{i} there is", ("bad", "good")[i % 2]) for i in range(40)]
    found = data.recognise(write(tmp_path / "a.csv", in_csv(rows) + "a,b,c\n"))
    assert found.quoting == "minimal" and found.first_problem is not None


def test_a_first_line_that_names_the_delimiter_decides(tmp_path: Path) -> None:
    lines = "".join(f"one, two and {i};{'ab'[i % 2]}\n" for i in range(40))
    for first in ("sep=;\n", "sep=;\r\n", '"sep=;"\n', "SEP=;\n"):
        content = first + "what, then;label\n" + lines
        found, examples = read_as_recognised(write(tmp_path / "a.csv", content))
        assert found.delimiter == ";" and ("one, two and 0", ("a",)) in examples


def test_empty_fields_at_the_end_of_rows_do_not_make_a_header(tmp_path: Path) -> None:
    rows = [(*row, "") if i else row for i, row in enumerate(ROWS)]
    found, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "")))
    assert not found.header and len(examples) == 40


def test_escaped_delimiters_without_quotes_are_recognised(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"one\\, two\\, {i},{'ab'[i % 2]}\n" for i in range(40))
    found, examples = read_as_recognised(write(tmp_path / "a.csv", content))
    assert found.quoting == "backslash" and ("one, two, 0", ("a",)) in examples


def test_a_quoted_field_of_many_lines_is_one_text(tmp_path: Path) -> None:
    long = "\n".join(f"line {i}" for i in range(1500))
    rows = [(long if i == 0 else f"short text {i}", "ab"[i % 2]) for i in range(40)]
    found, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows)))
    assert found.num_rows_seen == 40 and (long, ("a",)) in examples


def test_json_objects_in_cells_of_a_table_are_no_json_file(tmp_path: Path) -> None:
    lines = [f'{{"id": {i}}}\tthe long text of {i}\t{"ab"[i % 2]}\n' for i in range(40)]
    found, _ = read_as_recognised(write(tmp_path / "a.tsv", "".join(lines)))
    assert (found.format, found.text_columns, found.label_column) == ("tsv", ("2",), "3")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", ",\n".join(OBJECTS), r"a\.jsonl:1: not JSON \(a comma follows the object\)"),
        ("data", ",\n".join(OBJECTS), "data:1: not JSON"),
        ("a.csv", ",\n".join(OBJECTS), r"a\.csv:1: not JSON"),
        ("a.jsonl", '{"text": "a" "label": "b"}\n' + "\n".join(OBJECTS), r"a\.jsonl:1: not JSON"),
        ("data", '{"text": "a" "label": "b"}\n' + "\n".join(OBJECTS), "data:1: not JSON"),
        ("a.jsonl", in_csv(ROWS), r"a\.jsonl:1: not JSON"),
        ("a.json", json.dumps({"data": OBJECTS}, indent=2), r"a\.json:1: not JSON"),
        ("data", json.dumps({"data": OBJECTS}, indent=2), "data:1: not JSON"),
        ("a.json", json.dumps({"data": [{"text": "a"}]}), "one object that holds data, expected"),
        ("a.json", json.dumps({"text": {"0": "a"}, "label": {"0": "b"}}), "holds text, label"),
        ("a.json", "[]", r"a\.json: the file is empty"),
        ("a.json", "[1, 2]", r"a\.json:1: a JSON int, not an object"),
        ("a.parquet", in_csv(ROWS), r"a\.parquet: cannot be read as Parquet"),
        ("a.csv.gz", in_csv(ROWS), "not a complete gzip file"),
        ("a.csv", "\ufeff\n \n", r"a\.csv: the file is empty"),
        ("a.csv", "text,label\n", r"a\.csv: no rows below the header"),
        ("a.csv", "texte,avis\n", r"a\.csv: no rows below the header"),
        ("a.zip", b"PK\x03\x04" + bytes(600), "the file is a zip archive, expected text; unpack"),
        ("a.csv", b"\xd0\xcf\x11\xe0" + bytes(600), "the file is an old Excel"),
        ("a.csv", "<!DOCTYPE html><p>404", "is a web page"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, r"a\.png: the file is not text"),
    ],
)
def test_a_file_that_the_reader_refuses_is_not_recognised(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        data.recognise(write(tmp_path / name, content))


def test_an_excel_file_is_named_whatever_its_ending(tmp_path: Path) -> None:
    for name in ("a.xlsx", "a.csv", "a.tsv", "a.jsonl", "data"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("xl/workbook.xml", "<workbook/>")
        with pytest.raises(DataError, match=f"{name}: the file is an Excel file.*as CSV"):
            data.recognise(tmp_path / name)


def test_the_first_mistake_of_a_row_is_kept_in_the_words_of_the_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", in_csv(ROWS) + "a,b,c,d\nx,good,y\n")
    found = data.recognise(path)
    with pytest.raises(DataError) as caught:
        data.open_dataset(source=path)
    assert (
        found.first_problem is not None and f"{path}:42: 4 fields, expected" in found.first_problem
    )
    assert found.first_problem == str(caught.value).split("\n")[0]


def test_mistakes_in_utf_8_are_no_other_encoding(tmp_path: Path) -> None:
    rows = in_csv([(f"这部电影很好看 {i}", "好坏"[i % 2]) for i in range(40)]).encode()
    for wrong in (b"\xff\xfe,x\n", "好".encode()[:2]):
        found = data.recognise(write(tmp_path / "a.csv", rows + wrong))
        assert found.encoding == "utf-8"
        assert found.first_problem is not None and ":42: byte 0x" in found.first_problem


def test_an_encoding_that_cannot_be_recognised_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    japanese = in_csv([(f"この映画はとても面白い {i}", "良悪"[i % 2]) for i in range(40)])
    path = write(tmp_path / "a.csv", japanese.encode("cp932") + japanese.encode("utf-8"))
    with pytest.raises(DataError, match=r"a\.csv: the encoding could not be recognised .*as UTF-8"):
        data.recognise(path)


# === Headers ===


def texts_and(values: Sequence[Any], number: int = 40) -> list[list[Any]]:
    return [[f"some words about {i}", values[i % len(values)]] for i in range(number)]


@pytest.mark.parametrize(
    ("header", "rows", "reason"),
    [
        ("What would you like to tell us?,Rating (1-5)", texts_and((1, 2, 3)), "holds numbers"),
        ("What would you like to tell us?,So?", texts_and((1, 2), 3), "'So?' holds numbers"),
        ("What do you think about it?,Yes or no?", texts_and(("yes", "no"), 6), "truth values"),
        ("Was?,Wann?", texts_and(("2024-01-02", "2024-02-03"), 6), "'Wann?' holds dates"),
        ("Was?,Wann?", texts_and(("1.2.2024", "3/4/24", ""), 6), "'Wann?' holds dates"),
        ("What do you think about this one?,How?", texts_and(("x", "y"), 20), "occurs once"),
        ("Aussage,Gefühl", texts_and(("x", "y"), 6), "shorter than the texts"),
        ("text,anything", texts_and(("x", "y")), None),
        ("TEXT,Sentiment Label", texts_and(("x", "y")), None),
    ],
)
def test_a_header_is_recognised_by_the_rows_below_it(
    tmp_path: Path, header: str, rows: list[list[Any]], reason: str | None
) -> None:
    found = data.recognise(write(tmp_path / "a.csv", in_csv(rows, header)))
    assert found.header and found.num_rows_seen == len(rows)
    assert found.text_columns == (header.split(",")[0],)
    said = [note for note in found.notes if "line 1 is taken as the header" in note]
    assert len(said) == (reason is not None) and (found.header_reason is None) == (reason is None)
    if reason is not None:
        assert reason in said[0] and said[0].endswith("set data.header: false if it is a text")


@pytest.mark.parametrize(
    "rows",
    [
        texts_and(("x", "y")),
        texts_and((0, 1)),
        texts_and(("question", "comment")),
        texts_and(("label", "text")),
        [["a text of another class", "z"], ["one more of this class", "z"], *texts_and(("x", "y"))],
        texts_and(("yes", "no"), 6),
    ],
)
def test_a_first_row_like_all_others_is_no_header(tmp_path: Path, rows: list[list[Any]]) -> None:
    found, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "")))
    assert not found.header and len(examples) == len(rows)
    assert (found.text_columns, found.label_column) == (("1",), "2")


def test_joined_files_keep_their_header_and_the_repeated_one_is_reported(tmp_path: Path) -> None:
    once = in_csv(ROWS)
    found = data.recognise(write(tmp_path / "a.csv", once + "\ufeff" + once + once))
    assert found.header and found.label_column == "label"
    assert any("2 rows repeat the header" in note for note in found.notes)


def test_a_header_of_the_wrong_length_is_refused_as_the_reader_does(tmp_path: Path) -> None:
    rows = [(i, text, label) for i, (text, label) in enumerate(ROWS)]
    with pytest.raises(DataError, match=":1: the header has 2 fields, and the rows have 3"):
        data.recognise(write(tmp_path / "a.csv", in_csv(rows)))


# === Columns ===


def columns(header: str, *values: Sequence[Any], number: int = 60) -> str:
    """A CSV file with a text and other columns, whose values are repeated."""
    rows = [
        [f"some words about {i}", *(column[i % len(column)] for column in values)]
        for i in range(number)
    ]
    return in_csv(rows, header)


RARE = ["x", "x", "y", "y"] + [""] * 56


@pytest.mark.parametrize(
    ("content", "label", "candidates"),
    [
        (columns("text,flag,stars", RARE, (1, 2, 3)), "stars", ["stars"]),
        (columns("text,tag,stars", RARE, (1, 2, 3)), "stars", ["tag", "stars"]),
        (columns("text,remark,mood", RARE, ("hi", "lo")), "mood", ["mood"]),
        (columns("text,mood,region", ("hi", "lo"), ("n", "s", "w")), None, ["mood", "region"]),
        (columns("text,region,label", ("n", "s", "w"), ("hi", "lo")), "label", ["region", "label"]),
        (columns("text,length,mood", range(1, 25), ("hi", "lo")), "mood", ["length", "mood"]),
        (columns("text,seen,mood", ("2024-01-02", "2024-01-03"), ("hi", "lo")), "mood", ["mood"]),
        (columns("text,country,mood", ("de", "at"), ("hi", "lo")), "mood", ["mood"]),
        (columns("text,weight,mood", (0.5, 0.25), ("hi", "lo")), "mood", ["mood"]),
        (columns("text,id,mood", range(60), ("hi", "lo")), "mood", ["mood"]),
        (columns("text,label,text_id,mood", ("",), range(60), ("hi", "lo")), "mood", ["mood"]),
        (columns("text,toxic", (0, 1)), "toxic", ["toxic"]),
        (columns("text,toxic,insult,threat", (0, 1), (0, 0, 1), (1, 0, 0)), None, None),
        (columns("text,toxic,threat", (0, 1), (0,)), None, None),
        (columns("text,funny,sad", ("True", "False"), ("False", "False", "True")), None, None),
        (columns("text,is_spam,has_link", (0, 1), (0, 0, 1)), None, None),
        (columns("text,verified,is_spam", (0, 1), (0, 0, 1)), "is_spam", ["verified", "is_spam"]),
        (columns("text,label,liked", (0, 1, 2), (0, 1)), "label", ["label", "liked"]),
        (columns("text,label,label", ("a", "b"), ("x", "y", "z")), None, ["2", "3"]),
    ],
)
def test_the_label_column_is_chosen_by_name_or_left_to_the_user(
    tmp_path: Path, content: str, label: str | None, candidates: list[str] | None
) -> None:
    found = data.recognise(write(tmp_path / "a.csv", content))
    assert found.label_column == label and found.are_classes == (candidates is None)
    if candidates is None:
        header = content.split("\n")[0].split(",")
        assert list(found.label_candidates) == header[1:]
    else:
        assert list(found.label_candidates) == candidates
    others = [name for name in found.label_candidates if name != label]
    if label is not None and others:
        assert f"{', '.join(others)} may hold labels too; {label} is taken" in found.notes


@pytest.mark.parametrize(
    "name",
    [
        *("label", "LABEL", " Label ", "label_id", "sentiment_label", "Rating (1-5)", "is_spam"),
        *("target_names", "labelName", "airline_sentiment", "标签", "类别", "情感", "情感标签"),
    ],
)
def test_a_label_like_name_decides(tmp_path: Path, name: str) -> None:
    content = columns(f"some_text,region,{name}", ("n", "s", "w"), ("hi", "lo"))
    found, _ = read_as_recognised(write(tmp_path / "a.csv", content))
    assert (found.label_column, found.text_columns) == (name.strip(), ("some_text",))


def test_names_of_texts_decide(tmp_path: Path) -> None:
    for name in ("text", "Review", "内容", "评论", "文本"):
        rows = [[f"https://example.org/{i:08}", f"w{i}", "ab"[i % 2]] for i in range(40)]
        found = data.recognise(write(tmp_path / "a.csv", in_csv(rows, f"url,{name},label")))
        assert found.text_columns == (name,)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([f"class {i}" for i in range(60)], "all 60 labels of label are different"),
        (["x"], "label holds one class only, 'x'"),
        (["a label that is longer than any text", "b" * 50], "are longer than the texts"),
        (["a", "b", ""], "20 of 60 rows have no label in label and are skipped"),
        ([""], "the column label is empty"),
        (["a", "a\u200b", "b"], r"hardly differ in their names: 'a', 'a\u200b'"),
        (["a", "\ufeffa", "b"], r"hardly differ in their names: 'a', '\ufeffa'"),
        (["1", "1.0", "2"], "hardly differ in their names: '1', '1.0'"),
        (["['a']", "['a', 'b']", "c"], "40 of 60 labels of label are lists written as text"),
        (["a", "b", "NaN"], "NaN is a class here"),
    ],
)
def test_oddities_of_a_column_called_label_are_notes(
    tmp_path: Path, values: list[str], note: str
) -> None:
    found = data.recognise(write(tmp_path / "a.csv", columns("text,label", values)))
    assert (found.label_column, found.text_columns) == ("label", ("text",))
    assert any(note in said for said in found.notes)


def test_long_labels_are_no_texts_if_their_column_is_called_label(tmp_path: Path) -> None:
    rows = [[f"word {i}", ("a long sentence", "and a longer one")[i % 2]] for i in range(60)]
    found, _ = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "utterance,label")))
    assert (found.text_columns, found.label_column) == (("utterance",), "label")


@pytest.mark.parametrize(
    "cells",
    [
        ("['a', 'b']", "['c']", "['a']"),
        ("['a', 'b']", "", "[]", "['c']"),
        ('["a", "b"]', '["c"]', '["a"]'),
        ("['a' 'b']", "['c']"),
        ("('a', 'b')", "('c',)"),
    ],
)
def test_lists_written_as_text_are_several_labels(tmp_path: Path, cells: tuple[str, ...]) -> None:
    found, examples = read_as_recognised(write(tmp_path / "a.csv", columns("text,tags", cells)))
    assert found.multi_label and found.class_names_seen == ("a", "b", "c")
    assert examples[0] == ("some words about 0", ("a", "b"))


def test_decimal_commas_do_not_separate_labels(tmp_path: Path) -> None:
    rows = [[f"some words {i}", f"{i % 3},{5 * (i % 2)}"] for i in range(60)]
    content = in_csv(rows, "text;stars", delimiter=";")
    found, _ = read_as_recognised(write(tmp_path / "a.csv", content))
    assert not found.multi_label and len(found.class_names_seen) == 6


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1.0, 2.0], ("1", "2")),
        ([1.0, 2.0, float("nan")], ("1", "2")),
        ([1, None, 2], ("1", "2")),
        ([True, False], ("false", "true")),
        ([["a", "b"], [], ["c"]], ("a", "b", "c")),
        (["['a', 'b']", "['c']"], ("a", "b", "c")),
    ],
)
def test_label_values_of_json_are_recognised_as_they_are_read(
    tmp_path: Path, labels: list[Any], classes: tuple[str, ...]
) -> None:
    records = [{"text": f"some words {i}", "mood": labels[i % len(labels)]} for i in range(60)]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)))
    found, _ = read_as_recognised(path)
    assert found.class_names_seen == classes


def test_tables_of_many_columns_are_recognised(tmp_path: Path) -> None:
    names = [f"f{k}" for k in range(98)]
    rows = [
        [*(f"{i * k % 97 / 7:.3f}" for k in range(98)), f"some words about {i}", "ab"[i % 2]]
        for i in range(60)
    ]
    header = ",".join([*names, "body", "kind"])
    found = data.recognise(write(tmp_path / "a.csv", in_csv(rows, header)))
    assert (found.text_columns, found.label_column) == (("body",), "kind")


def test_texts_of_single_words_in_several_columns_are_left_to_the_user(tmp_path: Path) -> None:
    rows = [[f"aa{i}", f"b{i}b", "xy"[i % 2]] for i in range(60)]
    found = data.recognise(write(tmp_path / "a.csv", in_csv(rows, "first,second,label")))
    assert (found.text_columns, found.text_candidates) == ((), ("first", "second"))


def test_a_repeated_name_is_a_number_and_the_column_is_still_known(tmp_path: Path) -> None:
    rows = [[f"some words {i}", "ab"[i % 2], f"other words {i}"] for i in range(60)]
    found, _ = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "text,label,text")))
    assert (found.text_columns, found.label_column) == (("1", "3"), "label")
    assert any("the header has text more than once" in note for note in found.notes)


# === Scripts ===


@pytest.mark.parametrize(
    ("script", "unit", "text"),
    [
        ("thai", "character", "ภาพยนตร์เรื่องนี้สนุกมาก"),
        ("lao", "character", "ຮູບເງົາເລື່ອງນີ້ດີຫຼາຍ"),
        ("khmer", "character", "ខ្សែភាពយន្តនេះល្អណាស់"),
        ("myanmar", "character", "ဒီရုပ်ရှင်က အရမ်းကောင်းတယ်"),
        ("thai", "word", "ภาพยนตร์ เรื่อง นี้ สนุก มาก"),
        ("khmer", "word", "ខ្សែភាពយន្ត\u200bនេះ\u200bល្អ\u200bណាស់"),
        ("tibetan", "word", "གློག་བརྙན་འདི་ཡག་པོ་འདུག"),
        ("hangul", "word", "이 영화는 정말 재미있어요"),
        ("kana", "word", "この映画はとても面白い"),
        ("kana", "word", "ｺﾉｴｲｶﾞﾊｵﾓｼﾛｲ"),
        ("han", "word", "这部电影很好看"),
        ("latin", "word", "this film is good"),
        ("latin", "word", "ｔｈｉｓ ｆｉｌｍ ｉｓ ｇｏｏｄ"),
        ("arabic", "word", "هذا الفيلم جيد جدا"),
    ],
)
def test_the_unit_cuts_texts_of_every_script_into_several_tokens(
    tmp_path: Path, script: str, unit: str, text: str
) -> None:
    from textclf.text import Tokenizer

    rows = [[f"{text} {i}", "ab"[i % 2]] for i in range(40)]
    found = data.recognise(write(tmp_path / "a.csv", in_csv(rows)))
    assert (found.script, found.unit) == (script, unit)

    def num_tokens(unit: str) -> int:
        tokenizer = Tokenizer(unit=unit, lowercase=True, fold_width=True, unescape_entities=True)
        return int(tokenizer([text]).row_lengths()[0])

    assert num_tokens(found.unit) >= 4
    assert unit == "word" or num_tokens("word") <= 2


def test_a_part_of_the_texts_without_blanks_between_words_is_a_note(tmp_path: Path) -> None:
    rows = [[f"ภาพยนตร์เรื่องนี้ is a really good film {i}", "ab"[i % 2]] for i in range(40)]
    found = data.recognise(write(tmp_path / "a.csv", in_csv(rows)))
    assert (found.script, found.unit) == ("mixed", "word")
    assert any("a part of the letters is thai" in note for note in found.notes)


# === Formats, quoting, encodings, published files ===


def test_an_odd_csv_is_recognised(tmp_path: Path) -> None:
    texts = ["A fine film, I think; really", "Not my taste at all, sorry", 'They "say" it is good']
    rows = [["id", "review", "stars", "country"]]
    rows += [
        [f"{1000 + i}", f"{texts[i % 3]} {i}", f"{1 + i % 5}", ["de", "at"][i % 2]]
        for i in range(60)
    ]
    path = write_csv(tmp_path / "a.csv", rows, delimiter=";")
    found = data.recognise(path)
    assert (found.format, found.delimiter, found.quoting) == ("csv", ";", "minimal")
    assert (found.header, found.encoding, found.script) == (True, "utf-8", "latin")
    assert (found.text_columns, found.label_column) == (("review",), "stars")
    assert found.class_names_seen == ("1", "2", "3", "4", "5") and found.num_rows_seen == 60
    assert not found.multi_label and found.label_ids == "names"
    bare = write_csv(tmp_path / "b.csv", rows[1:], delimiter="|")
    found = data.recognise(bare)
    assert (found.delimiter, found.header) == ("|", False)
    # Without names nothing decides between two columns with few different values.
    assert (found.text_columns, found.label_column) == (("2",), None)
    assert found.label_candidates == ("3", "4")


@pytest.mark.parametrize(
    ("name", "odd", "note"),
    [
        ("a.tsv", '"said he\tpos\nshe "said"\tneg\n', "they break rows"),
        ("a.csv", '"said" he,pos\n', "they break rows"),
        ("a.tsv", 'neg\t"said he\npos\tshe said"\n', "they would leave 21 of 22 rows"),
        ("a.csv", 'neg,"said he\npos,she said"\n', "they would leave 21 of 22 rows"),
    ],
)
def test_stray_quotes_are_recognised(tmp_path: Path, name: str, odd: str, note: str) -> None:
    delimiter = "\t" if name.endswith("tsv") else ","
    lines = [f"what they said {i}{delimiter}{('neg', 'pos')[i % 2]}\n" for i in range(20)]
    found = data.recognise(write(tmp_path / name, "".join(lines) + odd))
    assert found.quoting == "none" and any(note in said for said in found.notes)
    assert found.num_rows_seen == 20 + odd.count("\n")
    proper = "".join(f'"they, said ""so""\n{i}"{delimiter}"a"\n' for i in range(20))
    found = data.recognise(write(tmp_path / name, proper))
    assert found.quoting == "minimal" and found.num_rows_seen == 20


def test_encodings_and_marks_are_recognised(tmp_path: Path) -> None:
    chinese = "text,label\n" + "".join(f"这部电影很好看{i},{i % 2}\n" for i in range(20))
    french = "text,label\n" + "".join(f"réussie et préférée {i},{i % 2}\n" for i in range(20))
    both = "text,label\n" + "".join(f"这部电影 is a good film {i},{i % 2}\n" for i in range(20))
    for content, encoding, script in (
        (chinese.encode("utf-8"), "utf-8", "han"),
        (chinese.encode("utf-8-sig"), "utf-8-sig", "han"),
        (chinese.encode("gb18030"), "gb18030", "han"),
        (french.encode("cp1252"), "cp1252", "latin"),
        (both.encode("utf-8"), "utf-8", "mixed"),
    ):
        found = data.recognise(write(tmp_path / "a.csv", content))
        assert (found.encoding, found.script) == (encoding, script)
        assert any("guess" in note for note in found.notes) == (not encoding.startswith("utf"))
    assert data.recognise(write(tmp_path / "a.csv", chinese)).label_column == "label"


def test_texts_without_labels_are_recognised(tmp_path: Path) -> None:
    found = data.recognise(write(tmp_path / "a.csv", "text\nwhat a day\nand a night\n"))
    assert (found.header, found.text_columns, found.label_column) == (True, ("text",), None)
    found = data.recognise(write(tmp_path / "a.csv", "what a long day\nand what a night\n"))
    assert (found.header, found.text_columns, found.label_column) == (False, ("1",), None)


def test_json_lines_parquet_and_folders_are_recognised(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    records = [
        {"id": i, "body": f"some words about {i}", "tags": ["a", "b"][: i % 3]} for i in range(30)
    ]
    path = write(tmp_path / "a.ndjson", "\n".join(map(json.dumps, records)))
    parquet = str(tmp_path / "b.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), parquet)
    for name, format in ((path, "jsonl"), (parquet, "parquet")):
        found = data.recognise(name)
        assert (found.format, found.text_columns, found.label_column) == (format, ("body",), "tags")
        assert found.multi_label and found.class_names_seen == ("a", "b")
        data.check_sources(
            source=name,
            text_columns=list(found.text_columns),
            label_column=found.label_column,
            multi_label=True,
        )
    for label in ("good", "bad"):
        (tmp_path / "tree" / "train" / label).mkdir(parents=True)
        write(tmp_path / "tree" / "train" / label / "1.txt", "Очень хороший фильм")
    found = data.recognise(tmp_path / "tree")
    assert (found.format, found.script) == ("folder", "cyrillic")
    assert found.class_names_seen == ("bad", "good") and found.num_rows_seen == 2
    with pytest.raises(DataError, match="expected split/label"):
        data.recognise(tmp_path)
    with pytest.raises(DataError, match=r"did you mean 'a\.ndjson'"):
        data.recognise(tmp_path / "a.ndjsn")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sst2/train.tsv", ("tsv", "none", True, ("sentence",), "label", False, "latin")),
        ("sst2/train_phrases.tsv", ("tsv", "none", True, ("sentence",), "label", False, "latin")),
        ("trec/train.csv", ("csv", "minimal", True, ("text",), "label", False, "latin")),
        ("ag_news/train.csv", ("csv", "minimal", False, ("2", "3"), "1", False, "latin")),
        ("chnsenticorp/train.tsv", ("tsv", "none", True, ("text_a",), "label", False, "han")),
        ("chnsenticorp/test.tsv", ("tsv", "none", True, ("text_a",), "label", False, "han")),
        ("sms_spam/SMSSpamCollection.tsv", ("tsv", "none", False, ("2",), "1", False, "latin")),
        ("goemotions/train.tsv", ("tsv", "none", False, ("1",), "2", True, "latin")),
    ],
)
def test_published_files_are_recognised(
    real_data: Path, path: str, expected: tuple[Any, ...]
) -> None:
    found = data.recognise(real_data / "data" / path)
    assert expected == (
        found.format,
        found.quoting,
        found.header,
        found.text_columns,
        found.label_column,
        found.multi_label,
        found.script,
    )
    ids = {"ag_news": ("from_one", "classes.txt"), "goemotions": ("from_zero", "labels.txt")}
    label_ids, names = ids.get(path.split("/")[0], ("names", None))
    assert found.label_ids == label_ids
    assert (found.class_names_file and os.path.basename(found.class_names_file)) == names
