"""Recognition of files: format, header, columns, labels and script; every guess must be readable."""

import csv
import io
import json
import os
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
    # Without names the fewest values decide.
    assert (found.text_columns, found.label_column) == (("2",), "4")


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
