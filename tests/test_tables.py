"""Tables: files of every format are read as written."""

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_files import GOOD, contents, error_of, good_csv, write, write_csv
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textclf import data
from textclf.errors import DataError

TEXTS = (
    "plain",
    'say "hi"',
    "two\nlines",
    "comma, tab\t",
    "😀 👩‍👩‍👧",
    "我爱看电影",
    " edges ",
    "a\r\nb",
)


characters = st.characters(exclude_categories=["Cs"])


any_texts = st.lists(st.text(characters, max_size=30) | st.sampled_from(TEXTS), min_size=2)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round_trip")


def read_back(path: str, **options: Any) -> tuple[list[str], data.Dataset]:
    dataset = data.open_dataset(train=path, validation=path, **options)
    rows = contents(dataset, "train")
    labels = [label for _, label in rows]
    assert labels == [("one", "two")[index % 2 : index % 2 + 1] for index in range(len(rows))]
    assert [e.row for e in dataset.examples("train")] == list(range(len(rows)))
    return [text for text, _ in rows], dataset


def labelled(texts: Sequence[str]) -> list[list[str]]:
    return [[text, ("one", "two")[index % 2]] for index, text in enumerate(texts)]


@settings(deadline=None, max_examples=50)
@given(any_texts, st.booleans(), st.sampled_from([",", ";", "\t"]))
@example(list(TEXTS), True, ",")
def test_csv_texts_are_read_unchanged(
    folder: Path, texts: list[str], mark: bool, delimiter: str
) -> None:
    rows = [["text", "label"], *labelled(texts)]
    path = write_csv(folder / "trip.csv", rows, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    if mark:
        write(folder / "trip.csv", b"\xef\xbb\xbf" + Path(path).read_bytes())
    assert read_back(path, delimiter=delimiter)[0] == texts


@settings(deadline=None, max_examples=50)
@given(any_texts, st.booleans())
@example(list(TEXTS), True)
def test_tsv_texts_with_quotes_are_read_unchanged(
    folder: Path, texts: list[str], mark: bool
) -> None:
    texts = [text.replace("\t", " ").replace("\n", " ") for text in texts]
    lines = "".join(f"{label}\t{text}|\n" for text, label in labelled(texts))
    path = write(folder / "trip.tsv", ("\ufeff" if mark else "") + lines)
    texts_read, _ = read_back(path, header=False, text_columns=["2"], label_column="1")
    assert texts_read == [text + "|" for text in texts]


@settings(deadline=None, max_examples=50)
@given(any_texts, st.booleans(), st.booleans())
@example(list(TEXTS), True, True)
def test_json_texts_are_read_unchanged_with_and_without_escapes(
    folder: Path, texts: list[str], mark: bool, escaped: bool
) -> None:
    lines = [
        json.dumps({"label": label, "text": text, "n": 1}, ensure_ascii=escaped)
        for text, label in labelled(texts)
    ]
    path = write(folder / "trip.jsonl", ("\ufeff" if mark else "") + "\n".join(lines))
    assert read_back(path)[0] == texts


@settings(deadline=None, max_examples=20)
@given(any_texts)
def test_parquet_texts_are_read_unchanged(folder: Path, texts: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = list(zip(*labelled(texts), strict=True))
    table = pyarrow.table({"text": columns[0], "label": columns[1]})
    path = str(folder / "trip.parquet")
    pyarrow.parquet.write_table(table, path, row_group_size=7)
    assert read_back(path)[0] == texts


def test_gzip_files_and_encodings_other_than_utf_8_are_read(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f'"{text}",{i % 2}\n' for i, text in enumerate("我爱看电影"))
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(content.encode("utf-8")))
    for path, encoding in (
        (str(packed), "utf-8"),
        (write(tmp_path / "b.csv", content.encode("gb18030")), "gb18030"),
        (write(tmp_path / "c.csv", content.encode("utf-16")), "utf-16"),
    ):
        dataset = data.open_dataset(train=path, validation=path, encoding=encoding)
        assert [text for text, _ in contents(dataset, "train")] == list("我爱看电影")


def test_read_table_yields_every_column(tmp_path: Path) -> None:
    rows = [{"text": "a", "n": 1, "tags": ["x"]}, {"text": "b", "n": None}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert list(data.read_table(path)) == [(1, rows[0]), (2, rows[1])]
    path = write(tmp_path / "b.csv", 'v1,v2,,\nham,"two\nlines",,x\n\nspam,z,,\n')
    assert list(data.read_table(path)) == [
        (2, {"v1": "ham", "v2": "two\nlines", "3": "", "4": "x"}),
        (5, {"v1": "spam", "v2": "z", "3": "", "4": ""}),
    ]
    path = write(tmp_path / "c.tsv", '\na "b\tc\r\n\n')
    assert list(data.read_table(path, header=False)) == [(2, {"1": 'a "b', "2": "c"})]


def test_damaged_parquet_and_gzip_files_are_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = write(tmp_path / "a.parquet", b"PAR1 and nothing more")
    assert "a.parquet: cannot be read as Parquet" in error_of(source=path)
    table = pyarrow.table({"text": ["a", None], "label": [1, 2]})
    pyarrow.parquet.write_table(table, path)
    assert "a.parquet:2: 'text' holds nothing (null), expected a string" in error_of(source=path)
    assert "no column 'body'; found text, label" in error_of(source=path, text_columns=["body"])
    path = write(tmp_path / "a.csv.gz", b"not packed")
    assert "a.csv.gz: not a complete gzip file" in error_of(source=path)
    path = write(tmp_path / "b.csv.gz", gzip.compress(GOOD.encode() * 99)[:200])
    assert "b.csv.gz: not a complete gzip file" in error_of(source=path)


def test_read_table_refuses_a_delimiter_of_two_characters(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data.delimiter: ';;' cannot separate columns"):
        list(data.read_table(good_csv(tmp_path / "a.csv"), delimiter=";;"))
