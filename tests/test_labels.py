"""Labels: class names, ids, lists in one cell, and names of equal appearance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import contents, error_of, errors_of, good_csv, write, write_csv, write_rows

from textclf import data
from textclf.data import labels


def test_class_names_are_set_or_the_sorted_labels_of_train(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv")
    assert data.open_dataset(source=path).class_names == ("neg", "pos")
    given_names = data.open_dataset(source=path, class_names=["pos", "neg"])
    assert given_names.class_names == ("pos", "neg")
    assert contents(given_names, "test") == contents(data.open_dataset(source=path), "test")
    names = write(tmp_path / "names.txt", "pos\n\nneg\nnever seen\n")
    dataset = data.open_dataset(source=path, class_names_file=names)
    assert dataset.class_names == ("pos", "neg", "never seen")
    assert dataset.findings.missing_classes["train"] == ("never seen",)
    assert dataset.splits["train"].class_counts.tolist() == [16, 16, 0]
    assert dataset.splits["train"].class_counts.dtype == np.int64


@pytest.mark.parametrize(("label_ids", "first"), [("from_zero", 0), ("from_one", 1)])
def test_label_ids_are_positions_in_the_class_names(
    tmp_path: Path, label_ids: str, first: int
) -> None:
    rows = [["text", "label"], *([f"t{i}", str(first + i % 3)] for i in range(9))]
    path = write_csv(tmp_path / "a.csv", rows)
    options = {"train": path, "validation": path, "label_ids": label_ids}
    dataset = data.open_dataset(class_names=["z", "y", "x"], **options)
    assert [label for _, label in contents(dataset, "train")] == [("z",), ("y",), ("x",)] * 3
    expected = f"expected an integer from {first} to {first + 1} (data.label_ids={label_ids}"
    assert f"a.csv:4: label id {first + 2} is out of range, {expected}" in error_of(
        class_names=["z", "y"], **options
    )
    below = write_csv(tmp_path / "below.csv", [["text", "label"], ["t", str(first - 1)]])
    assert f"below.csv:2: label id {first - 1} is out of range" in error_of(
        source=below, label_ids=label_ids, class_names=["z", "y"]
    )
    assert "needs the names that the ids count" in error_of(**options)
    named = good_csv(tmp_path / "named.csv")
    assert "named.csv:2: label 'neg' is not an integer" in error_of(
        source=named, label_ids=label_ids, class_names=["z", "y"]
    )


def test_labels_that_files_write_differently_are_renamed(tmp_path: Path) -> None:
    for split, written in (("train", "01"), ("validation", "np")):
        rows = [f"text {number} {split},{label}" for number, label in enumerate(written * 5)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "validation")}
    renamed = {"0": "neg", "1": "pos", "n": "neg", "p": "pos", "P": "pos"}
    dataset = data.open_dataset(**files, rename_labels=renamed)
    assert dataset.class_names == ("neg", "pos")
    assert [e.label_ids for e in dataset.examples("validation")][:2] == [(0,), (1,)]
    assert dataset.findings.notes == [
        "data.rename_labels: no row has the label P; write it as in the data, or remove it"
    ]


def test_labels_of_a_list_are_renamed_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f'film {n},"a,b"\nbook {n},c\n' for n in range(20))
    )
    dataset = data.open_dataset(
        source=str(tmp_path / "a.csv"), multi_label=True, rename_labels={"b": "a"}
    )
    assert dataset.class_names == ("a", "c")


def test_a_multi_label_text_has_several_labels_or_none(tmp_path: Path) -> None:
    expected = [("t0", ("a", "b")), ("t1", ()), ("t2", ("b",)), ("t3", ("a",))]
    rows = [["text", "label"], ["t0", "b; a;a"], ["t1", ""], ["t2", "b"], ["t3", ";a"]]
    path = write_csv(tmp_path / "a.csv", rows)
    options: dict[str, Any] = {"multi_label": True}
    dataset = data.open_dataset(train=path, validation=path, label_separator=";", **options)
    assert contents(dataset, "train") == expected
    assert dataset.splits["train"].class_counts.tolist() == [2, 2]
    assert "train: 1 row without any label" in dataset.findings.sentences()
    lists: list[Any] = [["b", "a"], [], ["b"], "a"]
    lines = [json.dumps({"text": f"t{i}", "label": label}) for i, label in enumerate(lists)]
    path = write(tmp_path / "b.jsonl", "\n".join(lines))
    assert contents(data.open_dataset(train=path, validation=path, **options), "train") == expected
    assert "b.jsonl:1: 2 labels, expected one; use data.multi_label=true" in error_of(source=path)


def test_numbers_and_truth_values_in_json_are_label_names(tmp_path: Path) -> None:
    labels = [1, True, "1", 1.0, False, "false"]
    lines = [json.dumps({"text": f"t{i}", "label": label}) for i, label in enumerate(labels)]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    dataset = data.open_dataset(train=path, validation=path)
    names = [name for _, (name,) in contents(dataset, "train")]
    assert names == ["1", "true", "1", "1", "false", "false"]


def test_class_names_with_invisible_differences_are_a_finding(tmp_path: Path) -> None:
    names = ("caf\u00e9", "cafe\u0301", "tea")
    rows = "".join(f"t{i},{names[i % 3]}\n" for i in range(30))
    dataset = data.open_dataset(source=write(tmp_path / "a.csv", "text,label\n" + rows))
    [note] = [note for note in dataset.findings.notes if "hardly differ" in note]
    assert "2 classes" in note and r"'caf\xe9'" in note and r"'cafe\u0301'" in note


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
def test_list_of_labels_written_as_text_is_parsed(cell: str, items: tuple[str, ...] | None) -> None:
    assert labels.parse_list(cell) == items


def test_label_cells_with_lists_are_read_as_several_labels(tmp_path: Path) -> None:
    content = "text;label\na;['x', 'y, z']\nb;[]\nc;\nd;['x']\n" + "e;['x']\n" * 20
    path = write(tmp_path / "a.csv", content)
    dataset = data.open_dataset(train=path, validation=path, delimiter=";", multi_label=True)
    assert dataset.class_names == ("x", "y, z")
    assert contents(dataset)[:4] == [("a", ("x", "y, z")), ("b", ()), ("c", ()), ("d", ("x",))]
    first = errors_of(train=path, delimiter=";")[0]
    assert first == (
        f"{path}:2: 2 labels, expected one; use data.multi_label=true if a text may have several"
    )


def test_lists_with_one_label_are_read_as_single_labels(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", ["['x']", "['y']"])
    assert data.open_dataset(source=path).class_names == ("x", "y")


def test_a_plain_label_among_lists_of_labels_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,['x']\nb,['y']\nc,z\n")
    assert errors_of(source=path) == [
        f"{path}:4: label 'z' is not a list, but the label of line 2 is; write all labels as "
        "lists or none"
    ]


def test_a_list_among_plain_labels_is_a_finding(tmp_path: Path) -> None:
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
    ids=ascii,
)
def test_class_names_with_equal_appearance_are_a_finding(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    path = write_rows(tmp_path / "a.csv", [*pair, "z"])
    notes = data.open_dataset(source=path).findings.notes
    assert any(
        note.startswith("2 classes hardly differ") and ascii(pair[1]) in note for note in notes
    )


@pytest.mark.parametrize("pair", [("कि", "का"), ("1", "2"), ("ที่", "ที")], ids=ascii)
def test_class_names_with_visible_differences_are_not_a_finding(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    path = write_rows(tmp_path / "a.csv", [*pair])
    assert not any("hardly" in note for note in data.open_dataset(source=path).findings.notes)
