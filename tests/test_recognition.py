"""Recognition of formats, encodings and scripts; a recognised file can be read."""

import gzip
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_files import ROWS, in_csv, read_as_recognised, write, write_csv

from textclf import data
from textclf.errors import DataError


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
def test_recognised_files_of_every_format_give_equal_examples(
    tmp_path: Path, name: str, content: str | bytes, expected: tuple[str, str | None, str]
) -> None:
    recognised, examples = read_as_recognised(write(tmp_path / name, content))
    assert (recognised.format, recognised.delimiter, recognised.quoting) == expected
    assert examples == sorted((text, (label,)) for text, label in ROWS)
    assert (
        recognised.num_rows_seen == 40 and recognised.is_whole and recognised.first_problem is None
    )


def test_backslashes_without_escaped_delimiters_are_text(tmp_path: Path) -> None:
    rows = [(f"in C:\\dir{i}\\ there is", ("bad", "good")[i % 2]) for i in range(40)]
    recognised, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows)))
    assert recognised.quoting == "minimal"
    assert examples == sorted((text, (label,)) for text, label in rows)


def test_uneven_rows_with_backslashes_are_not_recognised_as_escaped(tmp_path: Path) -> None:
    rows = [(f"in C:\\dir{i} there is", ("bad", "good")[i % 2]) for i in range(40)]
    recognised = data.recognise(write(tmp_path / "a.csv", in_csv(rows) + "a,b,c\n"))
    assert recognised.quoting == "minimal" and recognised.first_problem is not None


def test_delimiter_of_a_first_line_with_sep_is_recognised(tmp_path: Path) -> None:
    lines = "".join(f"one, two and {i};{'ab'[i % 2]}\n" for i in range(40))
    for first in ("sep=;\n", "sep=;\r\n", '"sep=;"\n', "SEP=;\n"):
        content = first + "what, then;label\n" + lines
        recognised, examples = read_as_recognised(write(tmp_path / "a.csv", content))
        assert recognised.delimiter == ";" and ("one, two and 0", ("a",)) in examples


def test_first_row_is_no_header_if_the_following_rows_have_an_extra_empty_field(
    tmp_path: Path,
) -> None:
    rows = [(*row, "") if i else row for i, row in enumerate(ROWS)]
    recognised, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "")))
    assert not recognised.header and len(examples) == 40


def test_escaped_delimiters_without_quotes_are_recognised(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"one\\, two\\, {i},{'ab'[i % 2]}\n" for i in range(40))
    recognised, examples = read_as_recognised(write(tmp_path / "a.csv", content))
    assert recognised.quoting == "backslash" and ("one, two, 0", ("a",)) in examples


def test_a_quoted_field_of_many_lines_is_one_text(tmp_path: Path) -> None:
    long = "\n".join(f"line {i}" for i in range(1500))
    rows = [(long if i == 0 else f"short text {i}", "ab"[i % 2]) for i in range(40)]
    recognised, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows)))
    assert recognised.num_rows_seen == 40 and (long, ("a",)) in examples


def test_csv_cells_with_json_objects_are_recognised_as_csv(tmp_path: Path) -> None:
    lines = [f'{{"id": {i}}}\tthe long text of {i}\t{"ab"[i % 2]}\n' for i in range(40)]
    recognised, _ = read_as_recognised(write(tmp_path / "a.tsv", "".join(lines)))
    assert (recognised.format, recognised.text_columns, recognised.label_column) == (
        "tsv",
        ("2",),
        "3",
    )


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
def test_recognise_refuses_files_refused_by_the_reader(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        data.recognise(write(tmp_path / name, content))


def test_an_excel_file_with_any_ending_is_reported_as_excel(tmp_path: Path) -> None:
    for name in ("a.xlsx", "a.csv", "a.tsv", "a.jsonl", "data"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("xl/workbook.xml", "<workbook/>")
        with pytest.raises(DataError, match=f"{name}: the file is an Excel file.*as CSV"):
            data.recognise(tmp_path / name)


def test_first_problem_of_a_recognised_file_is_the_message_of_the_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", in_csv(ROWS) + "a,b,c,d\nx,good,y\n")
    recognised = data.recognise(path)
    with pytest.raises(DataError) as caught:
        data.open_dataset(source=path)
    assert (
        recognised.first_problem is not None
        and f"{path}:42: 4 fields, expected" in recognised.first_problem
    )
    assert recognised.first_problem == str(caught.value).split("\n")[0]


def test_a_utf_8_file_with_invalid_bytes_is_recognised_as_utf_8(tmp_path: Path) -> None:
    rows = in_csv([(f"这部电影很好看 {i}", "好坏"[i % 2]) for i in range(40)]).encode()
    for wrong in (b"\xff\xfe,x\n", "好".encode()[:2]):
        recognised = data.recognise(write(tmp_path / "a.csv", rows + wrong))
        assert recognised.encoding == "utf-8"
        assert recognised.first_problem is not None and ":42: byte 0x" in recognised.first_problem


def test_an_unrecognised_encoding_is_reported(tmp_path: Path) -> None:
    japanese = in_csv([(f"この映画はとても面白い {i}", "良悪"[i % 2]) for i in range(40)])
    path = write(tmp_path / "a.csv", japanese.encode("cp932") + japanese.encode("utf-8"))
    with pytest.raises(DataError, match=r"a\.csv: the encoding could not be recognised .*as UTF-8"):
        data.recognise(path)


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
def test_the_recognised_unit_splits_texts_of_every_script(
    tmp_path: Path, script: str, unit: str, text: str
) -> None:
    from textclf.text import Tokenizer

    rows = [[f"{text} {i}", "ab"[i % 2]] for i in range(40)]
    recognised = data.recognise(write(tmp_path / "a.csv", in_csv(rows)))
    assert (recognised.script, recognised.unit) == (script, unit)

    def num_tokens(unit: str) -> int:
        tokenizer = Tokenizer(unit=unit, lowercase=True, fold_width=True, unescape_entities=True)
        return int(tokenizer([text]).row_lengths()[0])

    assert num_tokens(recognised.unit) >= 4
    assert unit == "word" or num_tokens("word") <= 2


def test_unspaced_scripts_in_a_part_of_the_texts_are_a_note(tmp_path: Path) -> None:
    rows = [[f"ภาพยนตร์เรื่องนี้ is a really good film {i}", "ab"[i % 2]] for i in range(40)]
    recognised = data.recognise(write(tmp_path / "a.csv", in_csv(rows)))
    assert (recognised.script, recognised.unit) == ("mixed", "word")
    assert any("a part of the letters is thai" in note for note in recognised.notes)


def test_delimiter_header_and_columns_of_an_unusual_csv_are_recognised(tmp_path: Path) -> None:
    texts = ["A fine film, I think; really", "Not my taste at all, sorry", 'They "say" it is good']
    rows = [["id", "review", "stars", "country"]]
    rows += [
        [f"{1000 + i}", f"{texts[i % 3]} {i}", f"{1 + i % 5}", ["de", "at"][i % 2]]
        for i in range(60)
    ]
    path = write_csv(tmp_path / "a.csv", rows, delimiter=";")
    recognised = data.recognise(path)
    assert (recognised.format, recognised.delimiter, recognised.quoting) == ("csv", ";", "minimal")
    assert (recognised.header, recognised.encoding, recognised.script) == (True, "utf-8", "latin")
    assert (recognised.text_columns, recognised.label_column) == (("review",), "stars")
    assert (
        recognised.class_names_seen == ("1", "2", "3", "4", "5") and recognised.num_rows_seen == 60
    )
    assert not recognised.multi_label and recognised.label_ids == "names"
    bare = write_csv(tmp_path / "b.csv", rows[1:], delimiter="|")
    recognised = data.recognise(bare)
    assert (recognised.delimiter, recognised.header) == ("|", False)
    # Without names, two columns with few different values are equally likely.
    assert (recognised.text_columns, recognised.label_column) == (("2",), None)
    assert recognised.label_candidates == ("3", "4")


@pytest.mark.parametrize(
    ("name", "odd", "note"),
    [
        ("a.tsv", '"said he\tpos\nshe "said"\tneg\n', "they break rows"),
        ("a.csv", '"said" he,pos\n', "they break rows"),
        ("a.tsv", 'neg\t"said he\npos\tshe said"\n', "they would leave 21 of 22 rows"),
        ("a.csv", 'neg,"said he\npos,she said"\n', "they would leave 21 of 22 rows"),
    ],
)
def test_stray_quotes_are_recognised_as_quoting_none(
    tmp_path: Path, name: str, odd: str, note: str
) -> None:
    delimiter = "\t" if name.endswith("tsv") else ","
    lines = [f"what they said {i}{delimiter}{('neg', 'pos')[i % 2]}\n" for i in range(20)]
    recognised = data.recognise(write(tmp_path / name, "".join(lines) + odd))
    assert recognised.quoting == "none" and any(note in said for said in recognised.notes)
    assert recognised.num_rows_seen == 20 + odd.count("\n")
    proper = "".join(f'"they, said ""so""\n{i}"{delimiter}"a"\n' for i in range(20))
    recognised = data.recognise(write(tmp_path / name, proper))
    assert recognised.quoting == "minimal" and recognised.num_rows_seen == 20


def test_encodings_byte_order_marks_and_scripts_are_recognised(tmp_path: Path) -> None:
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
        recognised = data.recognise(write(tmp_path / "a.csv", content))
        assert (recognised.encoding, recognised.script) == (encoding, script)
        assert any("guess" in note for note in recognised.notes) == (not encoding.startswith("utf"))
    assert data.recognise(write(tmp_path / "a.csv", chinese)).label_column == "label"


def test_a_file_of_texts_without_labels_is_recognised(tmp_path: Path) -> None:
    recognised = data.recognise(write(tmp_path / "a.csv", "text\nwhat a day\nand a night\n"))
    assert (recognised.header, recognised.text_columns, recognised.label_column) == (
        True,
        ("text",),
        None,
    )
    recognised = data.recognise(write(tmp_path / "a.csv", "what a long day\nand what a night\n"))
    assert (recognised.header, recognised.text_columns, recognised.label_column) == (
        False,
        ("1",),
        None,
    )


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
        recognised = data.recognise(name)
        assert (recognised.format, recognised.text_columns, recognised.label_column) == (
            format,
            ("body",),
            "tags",
        )
        assert recognised.multi_label and recognised.class_names_seen == ("a", "b")
        data.check_sources(
            source=name,
            text_columns=list(recognised.text_columns),
            label_column=recognised.label_column,
            multi_label=True,
        )
    for label in ("good", "bad"):
        (tmp_path / "tree" / "train" / label).mkdir(parents=True)
        write(tmp_path / "tree" / "train" / label / "1.txt", "Очень хороший фильм")
    recognised = data.recognise(tmp_path / "tree")
    assert (recognised.format, recognised.script) == ("folder", "cyrillic")
    assert recognised.class_names_seen == ("bad", "good") and recognised.num_rows_seen == 2
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
    recognised = data.recognise(real_data / "data" / path)
    assert expected == (
        recognised.format,
        recognised.quoting,
        recognised.header,
        recognised.text_columns,
        recognised.label_column,
        recognised.multi_label,
        recognised.script,
    )
    ids = {"ag_news": ("from_one", "classes.txt"), "goemotions": ("from_zero", "labels.txt")}
    label_ids, names = ids.get(path.split("/")[0], ("names", None))
    assert recognised.label_ids == label_ids
    assert (recognised.class_names_file and os.path.basename(recognised.class_names_file)) == names
