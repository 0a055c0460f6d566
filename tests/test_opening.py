"""Opening a data set: errors of rows and labels, and rows that are left out."""

import os
from pathlib import Path
from typing import Any

import pytest
from data_files import GOOD, contents, error_of, errors_of, good_csv, write, write_rows

from textclf import data


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("", {}, "a.csv: the file is empty, expected rows"),
        ("\n\n", {}, "a.csv: the file is empty, expected rows"),
        ("text,label\n", {}, "a.csv: no rows below the header, expected at least one row"),
        (
            GOOD + "a,b,pos\n",
            {},
            "a.csv:42: 3 fields, expected 2 as in the header (line 1); fix the line, or check "
            "data.delimiter=',' and data.quoting=minimal",
        ),
        (GOOD + "alone\n", {}, "a.csv:42: 1 field, expected 2 as in the header (line 1)"),
        (
            GOOD + '"stray,pos\n' + GOOD * 4,
            {},
            "a.csv:42: a quote is opened and never closed; double a quote inside a quoted "
            "field; if quotes are ordinary characters in this file, use data.quoting=none",
        ),
        (
            GOOD + '"stray,pos\n' + GOOD * 4 + '"all well",pos\n',
            {},
            "a.csv:42: text follows the closing quote of a field, expected a delimiter (the quote "
            "of line 42 closes on line 207)",
        ),
        (
            GOOD + '"stray,pos\n' + GOOD * 4 + 'b",x,pos\n',
            {},
            "a.csv:42: 3 fields, expected 2 as in the header (line 1); fix the line",
        ),
        (GOOD + '"stray,pos\nb,neg\n', {}, "a.csv:42: a quote is opened and never closed"),
        (GOOD + '"a" b,pos\n', {}, "a.csv:42: text follows the closing quote of a field"),
        (
            GOOD.encode() + b"caf\xe9 au lait,pos\n",
            {},
            "a.csv:42: byte 0xe9 is not utf-8; name the encoding of the file, perhaps "
            "data.encoding=cp1252",
        ),
        (
            GOOD.encode() + "我爱看电影,pos\n".encode("gb18030"),
            {},
            "a.csv:42: byte 0xce is not utf-8; name the encoding of the file, perhaps "
            "data.encoding=gb18030",
        ),
        (GOOD, {"encoding": "utf9"}, "data.encoding: Python has no text encoding 'utf9'"),
        (GOOD, {"encoding": "rot13"}, "data.encoding: Python has no text encoding 'rot13'"),
        ("text,label\na,x\nb,x\n", {}, "a.csv: one class only ('x') in train, expected at least"),
        ("text,label\na,x\nb,\n", {}, "a.csv:3: no label, expected one"),
        (
            GOOD,
            {"class_names": ["pos", "negg"]},
            "a.csv:2: label 'neg' is not in data.class_names (pos, negg); fix the label, or add "
            "it to the names; did you mean 'negg'?",
        ),
        (GOOD, {"class_names": ["a", "b", "a"]}, "data.class_names: the class 'a' is listed twice"),
        (
            GOOD,
            {"header": False},
            "a.csv: no column 'label' (data.label_column); the file has no header "
            "(data.header=false), so its columns are the numbers 1 to 2",
        ),
        (
            "ham,Go until jurong point crazy\nspam,b\n",
            {},
            "a.csv:1: no column 'text'; found ham, Go until jurong point crazy; use --set "
            "data.text_columns=[ham], or data.header=false if this line is a row",
        ),
        (
            "texts,lable\na,b\n",
            {},
            "a.csv:1: no column 'text'; found texts, lable; use --set 'data.text_columns=[texts]'\n"
            "{}/a.csv:1: no column 'label'; found texts, lable; use --set data.label_column=lable",
        ),
        (
            GOOD,
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            "data.validation_fraction=0.5 and data.test_fraction=0.5 leave nothing for train",
        ),
    ],
    # The end of the content, and the beginning of the message.
    ids=lambda value: str(value)[slice(60) if ": " in str(value) else slice(-30, None)],
)
def test_an_invalid_csv_is_refused_with_file_and_line(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], expected: str
) -> None:
    path = write(tmp_path / "a.csv", content)
    error = error_of(source=path, **options)
    assert expected.replace("'", "").replace("{}", str(tmp_path)) in error.replace("'", "")
    assert error.startswith((f"{tmp_path}{os.sep}a.csv", "data."))


def test_a_test_label_absent_from_train_is_refused(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "a.csv")
    test = write(tmp_path / "b.csv", "text,label\nz,pos\ny,poss\nx,odd\nw,odd\n")
    assert error_of(train=train, test=test).split("\n") == [
        f"{test}:3: label 'poss' is not among the labels of train (neg, pos); use "
        "data.drop_unknown_labels=true to drop such rows; did you mean 'pos'?",
        f"{test}:4: label 'odd' is not among the labels of train (neg, pos); use "
        "data.drop_unknown_labels=true to drop such rows",
    ]
    only = write(tmp_path / "c.csv", "text,label\nz,odd\n")
    error = error_of(train=train, test=only, drop_unknown_labels=True)
    assert "no row is left for test" in error


def test_errors_of_rows_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    good = "".join(f"text {number},{'pos' if number % 2 else 'neg'}\n" for number in range(60))
    content = ("text,label\n" + good).encode()
    content += b"no label,\na,b,c\nalone\ncaf\xe9,pos\nfine,pos\nna\xefve,neg\nlast,\n"
    path = write(tmp_path / "a.csv", content)
    assert errors_of(source=path) == [
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


def test_at_most_twenty_errors_of_rows_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": null, "label": "x"}\n' * 30)
    lines = errors_of(source=path)
    assert len(lines) == 21
    assert lines[19] == f"{path}:20: 'text' holds nothing (null), expected a string"
    assert lines[20] == "and more: only the first 20 errors are listed"


def test_errors_of_rows_in_all_files_are_reported_together(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "text,label\na,x\nb,\nc,y\n")
    test = write(tmp_path / "test.csv", "text,label\na,x\nb,z\nc\n")
    lines = errors_of(train=train, test=test, class_names=["x", "y"])
    assert [line.split(": ")[0] for line in lines] == [f"{train}:3", f"{test}:4", f"{test}:3"]
    assert "label 'z' is not in data.class_names" in lines[2]


def test_errors_of_json_rows_are_reported_together(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": "x"}', '{"text": "b"}', "{broken", '{"text": 3, "label": "x"}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines).encode() + b'\n{"text": "\xff"}\n')
    lines = errors_of(source=path)
    assert [line.split(": ")[0] for line in lines] == [f"{path}:{n}" for n in (2, 3, 4, 5)]


def test_folder_texts_with_invalid_bytes_are_reported_together(tmp_path: Path) -> None:
    for label in ("neg", "pos"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(3):
            write(tmp_path / "train" / label / f"{number}.txt", b"caf\xe9" if number else "tea")
    lines = errors_of(source=str(tmp_path))
    assert [line.split(": ")[0] for line in lines] == [
        f"{tmp_path}/train/{label}/{number}.txt:1" for label in ("neg", "pos") for number in (1, 2)
    ]


def test_rows_without_a_label_are_skipped_and_counted_only_if_set(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", ["x", "", " ", "y"])
    dataset = data.open_dataset(source=path, skip_unlabelled=True)
    assert sum(split.num_examples for split in dataset.splits.values()) == 40
    assert dataset.findings.skipped_unlabelled == {"all": 40}
    assert "40 rows without a label skipped" in dataset.findings.sentences()
    assert {text[-1] for text, _ in contents(dataset)} == {"0", "3"}
    assert "no label, expected one" in errors_of(source=path)[0]


def test_null_and_nan_labels_are_skipped_like_empty_labels(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": 1.0}', '{"text": "b", "label": NaN}']
    lines += ['{"text": "c", "label": null}', '{"text": "d", "label": 2}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines * 10))
    dataset = data.open_dataset(train=path, validation=path, skip_unlabelled=True)
    assert dataset.class_names == ("1", "2")
    assert dataset.findings.skipped_unlabelled == {"train": 20, "validation": 20}


def test_places_and_label_ids_are_correct_after_skipped_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,\nb,0\nc,\nd,1\n")
    options = {"label_ids": "from_zero", "class_names": ["no", "yes"], "skip_unlabelled": True}
    dataset = data.open_dataset(train=path, validation=path, **options)
    assert contents(dataset)[:2] == [("b", ("no",)), ("d", ("yes",))]
    assert dataset.location("train", 1) == f"{path}:5"


def test_too_many_classes_are_named_as_the_cause_of_an_impossible_split(
    tmp_path: Path,
) -> None:
    lines = [f"text {number},class {number}" for number in range(200)]
    path = write(tmp_path / "a.csv", "text,label\n" + "\n".join(lines) + "\n")
    (error,) = errors_of(source=path)
    assert "200 rows in 200 classes are too few, because train keeps one row of each class" in error


def test_equal_texts_are_named_as_the_cause_of_an_impossible_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "a,x\nb,y\nc,z\n" * 20)
    (error,) = errors_of(source=path)
    assert "60 rows hold 3 different texts, and equal texts stay in one split" in error
