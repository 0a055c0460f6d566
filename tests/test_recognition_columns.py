"""Recognition of headers, text columns and label columns."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_files import ROWS, in_csv, read_as_recognised, write

from textclf import data
from textclf.errors import DataError


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
def test_a_header_is_recognised_by_comparison_with_the_rows(
    tmp_path: Path, header: str, rows: list[list[Any]], reason: str | None
) -> None:
    recognised = data.recognise(write(tmp_path / "a.csv", in_csv(rows, header)))
    assert recognised.header and recognised.num_rows_seen == len(rows)
    assert recognised.text_columns == (header.split(",")[0],)
    said = [note for note in recognised.notes if "line 1 is taken as the header" in note]
    assert len(said) == (reason is not None) and (recognised.header_reason is None) == (
        reason is None
    )
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
    ids=["names", "numbers", "words", "names of columns", "rare classes", "few rows"],
)
def test_a_first_row_similar_to_the_following_rows_is_not_a_header(
    tmp_path: Path, rows: list[list[Any]]
) -> None:
    recognised, examples = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "")))
    assert not recognised.header and len(examples) == len(rows)
    assert (recognised.text_columns, recognised.label_column) == (("1",), "2")


def test_repeated_header_of_concatenated_files_is_reported(tmp_path: Path) -> None:
    once = in_csv(ROWS)
    recognised = data.recognise(write(tmp_path / "a.csv", once + "\ufeff" + once + once))
    assert recognised.header and recognised.label_column == "label"
    assert any("2 rows repeat the header" in note for note in recognised.notes)


def test_a_header_with_a_wrong_number_of_fields_is_refused_like_by_the_reader(
    tmp_path: Path,
) -> None:
    rows = [(i, text, label) for i, (text, label) in enumerate(ROWS)]
    with pytest.raises(DataError, match=":1: the header has 2 fields, and the rows have 3"):
        data.recognise(write(tmp_path / "a.csv", in_csv(rows)))


def columns(header: str, *values: Sequence[Any], number: int = 60) -> str:
    """Return a CSV file with a text column and other columns, whose values are repeated."""
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
    ids=lambda value: value.split("\n")[0] if isinstance(value, str) else str(value),
)
def test_label_column_is_recognised_by_name_or_left_open(
    tmp_path: Path, content: str, label: str | None, candidates: list[str] | None
) -> None:
    recognised = data.recognise(write(tmp_path / "a.csv", content))
    assert recognised.label_column == label and recognised.are_classes == (candidates is None)
    if candidates is None:
        header = content.split("\n")[0].split(",")
        assert list(recognised.label_candidates) == header[1:]
    else:
        assert list(recognised.label_candidates) == candidates
    others = [name for name in recognised.label_candidates if name != label]
    if label is not None and others:
        quoted = ", ".join(map(repr, others))
        setting = shlex.quote(f"data.label_column={others[0]}")
        assert (
            f"{quoted} may hold labels too; {label!r} is taken, unless --set {setting} names "
            "another column"
        ) in recognised.notes


@pytest.mark.parametrize(
    "name",
    [
        *("label", "LABEL", " Label ", "label_id", "sentiment_label", "Rating (1-5)", "is_spam"),
        *("target_names", "labelName", "airline_sentiment", "标签", "类别", "情感", "情感标签"),
    ],
)
def test_a_column_with_a_label_like_name_is_chosen(tmp_path: Path, name: str) -> None:
    content = columns(f"some_text,region,{name}", ("n", "s", "w"), ("hi", "lo"))
    recognised, _ = read_as_recognised(write(tmp_path / "a.csv", content))
    assert (recognised.label_column, recognised.text_columns) == (name.strip(), ("some_text",))


def test_a_column_with_a_usual_text_name_is_chosen(tmp_path: Path) -> None:
    for name in ("text", "Review", "内容", "评论", "文本"):
        rows = [[f"https://example.org/{i:08}", f"w{i}", "ab"[i % 2]] for i in range(40)]
        recognised = data.recognise(write(tmp_path / "a.csv", in_csv(rows, f"url,{name},label")))
        assert recognised.text_columns == (name,)


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
def test_unusual_values_of_a_column_called_label_are_notes(
    tmp_path: Path, values: list[str], note: str
) -> None:
    recognised = data.recognise(write(tmp_path / "a.csv", columns("text,label", values)))
    assert (recognised.label_column, recognised.text_columns) == ("label", ("text",))
    assert any(note in said for said in recognised.notes)


def test_long_values_of_a_column_called_label_are_labels(tmp_path: Path) -> None:
    rows = [[f"word {i}", ("a long sentence", "and a longer one")[i % 2]] for i in range(60)]
    recognised, _ = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "utterance,label")))
    assert (recognised.text_columns, recognised.label_column) == (("utterance",), "label")


@pytest.mark.parametrize(
    "cells",
    [
        ("['a', 'b']", "['c']", "['a']"),
        ("['a', 'b']", "", "[]", "['c']"),
        ('["a", "b"]', '["c"]', '["a"]'),
        ("['a' 'b']", "['c']"),
        ("('a', 'b')", "('c',)"),
    ],
    ids=" ".join,
)
def test_labels_in_lists_written_as_text_are_recognised_as_multi_label(
    tmp_path: Path, cells: tuple[str, ...]
) -> None:
    recognised, examples = read_as_recognised(
        write(tmp_path / "a.csv", columns("text,tags", cells))
    )
    assert recognised.multi_label and recognised.class_names_seen == ("a", "b", "c")
    assert examples[0] == ("some words about 0", ("a", "b"))


def test_decimal_commas_do_not_separate_labels(tmp_path: Path) -> None:
    rows = [[f"some words {i}", f"{i % 3},{5 * (i % 2)}"] for i in range(60)]
    content = in_csv(rows, "text;stars", delimiter=";")
    recognised, _ = read_as_recognised(write(tmp_path / "a.csv", content))
    assert not recognised.multi_label and len(recognised.class_names_seen) == 6


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
    ids=str,
)
def test_json_labels_are_recognised_in_the_form_of_the_reader(
    tmp_path: Path, labels: list[Any], classes: tuple[str, ...]
) -> None:
    records = [{"text": f"some words {i}", "mood": labels[i % len(labels)]} for i in range(60)]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)))
    recognised, _ = read_as_recognised(path)
    assert recognised.class_names_seen == classes


def test_tables_of_many_columns_are_recognised(tmp_path: Path) -> None:
    names = [f"f{k}" for k in range(98)]
    rows = [
        [*(f"{i * k % 97 / 7:.3f}" for k in range(98)), f"some words about {i}", "ab"[i % 2]]
        for i in range(60)
    ]
    header = ",".join([*names, "body", "kind"])
    recognised = data.recognise(write(tmp_path / "a.csv", in_csv(rows, header)))
    assert (recognised.text_columns, recognised.label_column) == (("body",), "kind")


def test_several_columns_of_single_words_leave_the_text_column_open(tmp_path: Path) -> None:
    rows = [[f"aa{i}", f"b{i}b", "xy"[i % 2]] for i in range(60)]
    recognised = data.recognise(write(tmp_path / "a.csv", in_csv(rows, "first,second,label")))
    assert (recognised.text_columns, recognised.text_candidates) == ((), ("first", "second"))


def test_columns_with_repeated_names_are_identified_by_number(
    tmp_path: Path,
) -> None:
    rows = [[f"some words {i}", "ab"[i % 2], f"other words {i}"] for i in range(60)]
    recognised, _ = read_as_recognised(write(tmp_path / "a.csv", in_csv(rows, "text,label,text")))
    assert (recognised.text_columns, recognised.label_column) == (("1", "3"), "label")
    assert any("the header has text more than once" in note for note in recognised.notes)
