"""The reader of CSV, TSV and JSON files: odd files are read right or refused with their place."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from textclf import data
from textclf.data import delimited_files, encodings, labels, tables
from textclf.errors import DataError


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(path: str, **how: Any) -> list[tuple[int, list[Any]]]:
    return [(line, list(record.values())) for line, record in data.read_table(path, **how)]


def contents(dataset: data.Dataset) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (example.text, tuple(dataset.class_names[label] for label in example.label_ids))
        for split in dataset.splits
        for example in dataset.examples(split)
    ]


def write_rows(path: Path, labels: list[str], header: str = "text,label") -> str:
    """Write a CSV file of 20 different texts for each label."""
    lines = [f"text {n} {c},{label}" for n in range(20) for c, label in enumerate(labels)]
    return write(path, "\n".join([header, *lines]) + "\n")


def mistakes(**settings: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        data.open_dataset(**settings)
    return str(caught.value).split("\n")


# === CSV ===


def test_quoted_field_may_have_thousands_of_lines(tmp_path: Path) -> None:
    poem = "\n".join(f"line {number}" for number in range(5000))
    path = write(tmp_path / "a.csv", f'text,label\n"{poem}",long\nshort,short\n')
    assert rows(path) == [(2, [poem, "long"]), (5002, ["short", "short"])]


def test_quote_that_is_never_closed_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited_files, "MAX_FIELD_CHARACTERS", 2000)
    path = write(tmp_path / "a.csv", 'text,label\na,x\n"b,y\n' + "c,z\n" * 1000)
    (mistake,) = mistakes(source=path)
    assert mistake.startswith(f"{path}:3: a quote is opened and not closed within 2,000 characters")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,label\na,x,\nb,y,\n", [(2, ["a", "x"]), (3, ["b", "y"])]),
        ("text,label\na,x,, \nb,y\n", [(2, ["a", "x"]), (3, ["b", "y"])]),
        ("text,label,\na,x\nb,y,z\n", [(2, ["a", "x", ""]), (3, ["b", "y", "z"])]),
        ('"text","label",\r\n"a","x"\r\n', [(2, ["a", "x", ""])]),
    ],
)
def test_delimiters_at_the_end_of_rows_do_not_matter(
    tmp_path: Path, content: str, expected: list[tuple[int, list[str]]]
) -> None:
    assert rows(write(tmp_path / "a.csv", content)) == expected


def test_header_with_fewer_fields_than_all_rows_is_the_mistake(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n1,good,pos\n2,bad,neg\n3,fine,pos\n")
    (mistake,) = mistakes(source=path)
    assert mistake.startswith(f"{path}:1: the header has 2 fields, and the rows have 3; complete")


def test_backslash_escapes_quotes_and_delimiters_only_if_set(tmp_path: Path) -> None:
    content = 'text,label\n"he said \\"no\\", twice",neg\none\\, two,pos\n'
    path = write(tmp_path / "a.csv", content)
    assert rows(path, quoting="backslash") == [
        (2, ['he said "no", twice', "neg"]),
        (3, ["one, two", "pos"]),
    ]
    with pytest.raises(DataError, match="a.csv:2: text follows the closing quote"):
        rows(path)


@pytest.mark.parametrize("quoting", ["minimal", "none"])
@pytest.mark.parametrize("first_line", ["sep=;", '"sep=;"', "SEP=;"])
def test_first_line_of_excel_that_names_the_separator_is_no_row(
    tmp_path: Path, quoting: str, first_line: str
) -> None:
    path = write(tmp_path / "a.csv", f"\ufeff{first_line}\r\ntext;label\r\na;x\r\nb;y\r\n")
    expected = [(3, ["a", "x"]), (4, ["b", "y"])]
    assert rows(path, delimiter=";", quoting=quoting) == expected
    assert tables.open_table(path, delimiter=";").columns() == (2, ("text", "label"))


@pytest.mark.parametrize("quoting", ["minimal", "none"])
def test_carriage_returns_alone_end_rows(tmp_path: Path, quoting: str) -> None:
    path = write(tmp_path / "a.csv", "text,label\ra,x\rb,y\r")
    assert rows(path, quoting=quoting) == [(2, ["a", "x"]), (3, ["b", "y"])]
    assert tables.open_table(path).about_rows() in (3, 4)


def test_carriage_return_within_a_text_of_an_unquoted_file_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\na\rb\tx\n")
    assert rows(path) == [(2, ["a\rb", "x"])]


def test_columns_without_a_name_never_get_the_name_of_another_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "2,,2_,text,text\na,b,c,d,e\n")
    assert tables.open_table(path).columns()[1] == ("2", "2__", "2_", "4", "5")


# === JSON ===

OBJECTS: list[dict[str, Any]] = [
    {"text": "fine ] } , [", "label": "pos", "more": {"a": [1, 2]}},
    {"text": 'bad\n"quoted" \\ 坏', "label": "neg", "more": None},
]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OBJECTS),
        json.dumps(OBJECTS, indent=2, ensure_ascii=False),
        "\ufeff\n  " + json.dumps(OBJECTS) + "\n\n",
        "\n\n".join(map(json.dumps, OBJECTS)),
        "\r".join(map(json.dumps, OBJECTS)),
    ],
)
def test_json_may_be_an_array_or_an_object_a_line(tmp_path: Path, name: str, content: str) -> None:
    encoded = content.encode()
    path = write(tmp_path / name, gzip.compress(encoded) if name.endswith(".gz") else encoded)
    assert [record for _, record in data.read_table(path)] == OBJECTS


def test_objects_of_a_json_array_have_the_lines_on_which_they_begin(tmp_path: Path) -> None:
    many = [{"text": f"text {number}\n", "label": "x" * 1000} for number in range(300)]
    content = json.dumps(many, indent=1)  # 300 KB: read in several parts
    found = list(data.read_table(write(tmp_path / "a.json", content)))
    assert [record for _, record in found] == many
    lines = content.split("\n")
    assert all(lines[line - 1].strip() == "{" for line, _ in found)
    assert [line for line, _ in found] == [2 + 4 * number for number in range(300)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "a", "label": "x"},\n', "a.jsonl:1: not JSON (a comma follows the object)"),
        ('{"text": "a" "label": "x"}\n', "a.jsonl:1: not JSON (Expecting ',' delimiter)"),
        ('[\n{"text": "a", "label": "x"}\n{"text": "b"}]', "a.jsonl:3: not JSON (a comma is miss"),
        ('[\n{"text": "a", "label": "x"},\n', "a.jsonl:3: not JSON (Expecting value)"),
        ('[\n{"text": "a", "label": "x"},\n]', "a.jsonl:3: not JSON (Expecting value)"),
        ('[\n{"text": "a", "label": "x"},\n{"text": "b', "a.jsonl:3: not JSON (Unterminated str"),
        ('[{"text": "a", "label": "x"}]\n[{"text": "b"}]', "a.jsonl:1: not JSON (text follows"),
        ('[["a", "x"]]', "a.jsonl:1: a JSON array, not an object"),
        ('{\n "text": "a"\n}', "a.jsonl:1: not JSON (Expecting property name"),
    ],
)
def test_broken_json_is_refused_with_its_line(tmp_path: Path, content: str, expected: str) -> None:
    path = write(tmp_path / "a.jsonl", content)
    with pytest.raises(DataError) as caught:
        list(data.read_table(path))
    assert expected in str(caught.value)


# === Kinds of files ===


def _zip(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "text,label\na,x\n" * 100)
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", _zip("a.csv"), "a zip archive, expected text; unpack it"),
        ("a.csv", _zip("xl/workbook.xml"), "an Excel file, expected text; export the table"),
        ("a.tsv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel or Word file"),
        ("a.csv", gzip.compress(b"text,label\na,x\n"), "compressed with gzip, expected text; give"),
        ("a.csv.gz", gzip.compress(_tar()), "a tar archive"),
        ("a.csv.gz", gzip.compress(_zip("a.csv")), "a zip archive"),
        ("a.jsonl", b"BZh91AY&SY", "compressed with bzip2"),
        ("a.csv", b"%PDF-1.7\n", "a PDF file"),
        ("a.csv", b"\n<!DOCTYPE html>\n<html>", "a web page (HTML)"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("a.csv", b"\x80\x04\x95\x10\0\0", "a Python pickle"),
        ("a.csv", b"PAR1\x15\x04", "Parquet, expected csv; set data.format=parquet"),
        ("a.csv", "text,label\na,x\n".encode("utf-16-le"), "UTF-16-LE, not utf-8; set data.enc"),
    ],
    # Archives hold the time: ids made of their bytes would differ between processes.
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_file_of_another_kind_is_refused_by_its_kind(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        list(data.read_table(path))
    assert str(caught.value).startswith(f"{path}: the file is {kind}")


TEXTS = {
    "cp932": "この映画は本当に面白かったです。また見たい",
    "euc_jp": "この映画は本当に面白かったです。また見たい",
    "utf-16-le": "plain English",
    "utf-16-be": "这家酒店房间很大",
    "gb18030": "这家酒店房间很大，早餐也不错",
    "big5": "這家酒店房間很大，早餐也不錯，服務態度差",
    "cp949": "이 영화 정말 재미있었어요 음식이 맛이 없고",
    "cp1252": "Très bon film, l'été à la mer était génial",
    "cp1250": "Źle, nie polecam, zły dźwięk, słaba jakość",
    "cp1251": "Очень хороший фильм, рекомендую всем",
    "koi8_r": "Очень хороший фильм, рекомендую всем",
    "utf-8": "naïve 坏",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_guessed_encoding_reads_the_text(encoding: str) -> None:
    content = f"text,label\n{TEXTS[encoding]},pos\nplain,neg\n" * 3
    encoded = content.encode(encoding)
    assert encoded.decode(encodings.guess_encoding(encoded)) == content


def test_japanese_is_recognised_where_korean_characters_fit_its_bytes_too() -> None:
    encoded = "text,label\nこの映画はとても面白かったです,pos\n".encode("cp932")
    assert encodings.guess_encoding(encoded) == "cp932"


def test_wrong_byte_in_a_utf_8_file_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    lines = [f"好的 {number},{'pos' if number % 2 else 'neg'}" for number in range(40)]
    content = "\n".join(["text,label", *lines, ""]).encode() + b"caf\xe9,pos\n"
    assert mistakes(source=write(tmp_path / "a.csv", content)) == [
        f"{tmp_path}/a.csv:42: byte 0xe9 is not utf-8; most of the file is UTF-8: fix these bytes"
    ]


# === Labels ===


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("['a', 'b']", ("a", "b")),
        ("[]", ()),
        ('["a", "it\'s"]', ("a", "it's")),
        (r"['it\'s', 'b']", ("it's", "b")),
        ("('a',)", ("a",)),
        ("{'a', 'b'}", ("a", "b")),
        ("['a' 'b c'\n 'd']", ("a", "b c", "d")),  # as NumPy writes an array
        ("[1, 2]", ("1", "2")),
        ("[1 2]", ("1", "2")),
        ("[spam]", None),
        ("['a', b]", None),
        ("['a'", None),
        ("a, b", None),
        ("", None),
    ],
)
def test_list_written_as_text_is_parsed(cell: str, items: tuple[str, ...] | None) -> None:
    assert labels.parse_list(cell) == items


def test_label_cells_with_lists_are_several_labels(tmp_path: Path) -> None:
    content = "text;label\na;['x', 'y, z']\nb;[]\nc;\nd;['x']\n" + "e;['x']\n" * 20
    path = write(tmp_path / "a.csv", content)
    dataset = data.open_dataset(train=path, validation=path, delimiter=";", multi_label=True)
    assert dataset.class_names == ("x", "y, z")
    assert contents(dataset)[:4] == [("a", ("x", "y, z")), ("b", ()), ("c", ()), ("d", ("x",))]
    first = mistakes(train=path, delimiter=";")[0]
    assert first == (
        f"{path}:2: 2 labels, expected one; use data.multi_label=true if a text may have several"
    )


def test_lists_of_one_label_are_single_labels(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", ["['x']", "['y']"])
    assert data.open_dataset(source=path).class_names == ("x", "y")


def test_label_that_is_no_list_among_lists_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,['x']\nb,['y']\nc,z\n")
    assert mistakes(source=path) == [
        f"{path}:4: label 'z' is not a list, but the label of line 2 is; write all labels as "
        "lists or none"
    ]


def test_list_among_plain_labels_is_a_finding(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", ["x", "['y']", "z"])
    (note,) = [n for n in data.open_dataset(source=path).findings.notes if "look like lists" in n]
    assert note.startswith("1 classes look like lists: ['y']; the first label of a file decides")


@pytest.mark.parametrize(
    "pair",
    [
        ("pos", "pos\u200b"),
        ("pos", "\ufeffpos"),
        ("1", "1.0"),
        ("Pos", "ｐｏｓ"),
        ("a b", "a\u00a0b"),
        ("❤", "❤\ufe0f"),
        ("x\u00ady", "xy"),
    ],
)
def test_class_names_that_look_alike_are_a_finding(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = write_rows(tmp_path / "a.csv", [*pair, "z"])
    notes = data.open_dataset(source=path).findings.notes
    assert any(
        note.startswith("2 classes hardly differ") and ascii(pair[1]) in note for note in notes
    )


@pytest.mark.parametrize("pair", [("कि", "का"), ("1", "2"), ("ที่", "ที")])
def test_class_names_that_differ_are_no_finding(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = write_rows(tmp_path / "a.csv", [*pair])
    assert not any("hardly" in note for note in data.open_dataset(source=path).findings.notes)


# === All mistakes at once ===


def test_mistakes_of_rows_come_together_with_their_lines(tmp_path: Path) -> None:
    good = "".join(f"text {number},{'pos' if number % 2 else 'neg'}\n" for number in range(60))
    content = ("text,label\n" + good).encode()
    content += b"no label,\na,b,c\nalone\ncaf\xe9,pos\nfine,pos\nna\xefve,neg\nlast,\n"
    path = write(tmp_path / "a.csv", content)
    assert mistakes(source=path) == [
        f"{path}:62: no label, expected one; set data.skip_unlabelled=true to skip rows without "
        "a label",
        f"{path}:63: 3 fields, expected 2 as in the header (line 1); fix the line, or check "
        "data.delimiter=',' and data.quoting=minimal; if quotes are ordinary characters in this "
        "file, use data.quoting=none",
        f"{path}:64: 1 field, expected 2 as in the header (line 1)",
        f"{path}:65: byte 0xe9 is not utf-8; name the encoding of the file, perhaps "
        "data.encoding=cp1252",
        f"{path}:67: byte 0xef is not utf-8",
        f"{path}:68: no label, expected one",
    ]


def test_no_more_than_twenty_mistakes_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": null, "label": "x"}\n' * 30)
    found = mistakes(source=path)
    assert len(found) == 21
    assert found[19] == f"{path}:20: 'text' holds nothing (null), expected a string"
    assert found[20] == "and more: only the first 20 mistakes are listed"


def test_mistakes_of_all_files_come_together(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "text,label\na,x\nb,\nc,y\n")
    test = write(tmp_path / "test.csv", "text,label\na,x\nb,z\nc\n")
    found = mistakes(train=train, test=test, class_names=["x", "y"])
    assert [line.split(": ")[0] for line in found] == [f"{train}:3", f"{test}:4", f"{test}:3"]
    assert "label 'z' is not in data.class_names" in found[2]


def test_mistakes_of_json_rows_come_together(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": "x"}', '{"text": "b"}', "{broken", '{"text": 3, "label": "x"}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines).encode() + b'\n{"text": "\xff"}\n')
    found = mistakes(source=path)
    assert [line.split(": ")[0] for line in found] == [f"{path}:{n}" for n in (2, 3, 4, 5)]


def test_texts_of_a_folder_in_another_encoding_are_listed_together(tmp_path: Path) -> None:
    for label in ("neg", "pos"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(3):
            write(tmp_path / "train" / label / f"{number}.txt", b"caf\xe9" if number else "tea")
    found = mistakes(source=str(tmp_path))
    assert [line.split(": ")[0] for line in found] == [
        f"{tmp_path}/train/{label}/{number}.txt:1" for label in ("neg", "pos") for number in (1, 2)
    ]


# === Rows without a label ===


def test_rows_without_a_label_are_skipped_and_counted_only_if_set(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", ["x", "", " ", "y"])
    dataset = data.open_dataset(source=path, skip_unlabelled=True)
    assert sum(split.num_examples for split in dataset.splits.values()) == 40
    assert dataset.findings.skipped_unlabelled == {"all": 40}
    assert "40 rows without a label skipped" in dataset.findings.sentences()
    assert {text[-1] for text, _ in contents(dataset)} == {"0", "3"}
    assert "no label, expected one" in mistakes(source=path)[0]


def test_null_and_nan_labels_are_skipped_like_empty_ones(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": 1.0}', '{"text": "b", "label": NaN}']
    lines += ['{"text": "c", "label": null}', '{"text": "d", "label": 2}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines * 10))
    dataset = data.open_dataset(train=path, validation=path, skip_unlabelled=True)
    assert dataset.class_names == ("1", "2")
    assert dataset.findings.skipped_unlabelled == {"train": 20, "validation": 20}


def test_places_and_ids_are_right_after_skipped_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,\nb,0\nc,\nd,1\n")
    how = {"label_ids": "from_zero", "class_names": ["no", "yes"], "skip_unlabelled": True}
    dataset = data.open_dataset(train=path, validation=path, **how)
    assert contents(dataset)[:2] == [("b", ("no",)), ("d", ("yes",))]
    assert dataset.place("train", 1) == f"{path}:5"


def test_one_row_a_class_is_named_as_the_reason_that_no_row_can_be_set_aside(
    tmp_path: Path,
) -> None:
    lines = [f"text {number},class {number}" for number in range(200)]
    path = write(tmp_path / "a.csv", "text,label\n" + "\n".join(lines) + "\n")
    (mistake,) = mistakes(source=path)
    assert (
        "200 rows in 200 classes are too few, because train keeps one row of each class" in mistake
    )


def test_equal_texts_are_named_as_the_reason_that_no_row_can_be_set_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "a,x\nb,y\nc,z\n" * 20)
    (mistake,) = mistakes(source=path)
    assert "60 rows hold 3 different texts, and equal texts stay in one split" in mistake
