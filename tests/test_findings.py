"""Findings: duplicates, leaks, label conflicts and odd texts do not prevent the use of data."""

import json
from pathlib import Path

import pytest
from data_files import contents, good_csv, sizes, texts_of, write

from textclf import data


def test_equal_texts_within_and_across_splits_are_findings(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", "text,label\nＡ  b,x\na B,x\nc,y\nd,y\nd,y\nd,x\n")
    test = write(tmp_path / "b.csv", "text,label\nz,x\nC ,y\na b,y\na b,y\n")
    dataset = data.open_dataset(train=train, validation=train, test=test)
    findings = dataset.findings
    assert findings.duplicates["train"].count == 3
    assert findings.duplicates["train"].locations[0] == f"{train}:3 = {train}:2"
    assert findings.duplicates["test"] == data.Finding(1, (f"{test}:5 = {test}:4",))
    assert findings.shared["train/test"].count == 3
    assert findings.shared["train/test"].locations == (
        f"{test}:3 = {train}:4",
        f"{test}:4 = {train}:2",
        f"{test}:5 = {train}:2",
    )
    assert findings.shared["train/validation"].count == 6
    assert findings.conflicting_labels.count == 2
    assert f"{train}:2 (x) = {test}:4 (y)" in findings.conflicting_labels.locations
    short = f"test: 3 rows with a text that is in train too ({test}:3 = {train}:4; ...)"
    assert short in findings.sentences(num_locations=1)
    assert short not in findings.sentences()
    assert dataset.leaked("test").tolist() == [False, True, True, True]
    assert dataset.leaked("train").all() and dataset.leaked("validation").all()


def test_empty_texts_nul_bytes_and_broken_characters_are_kept_and_are_findings(
    tmp_path: Path,
) -> None:
    path = good_csv(tmp_path / "a.csv", 40, " ,pos\n\u3000,neg\na\0b,pos\nbr\ufffdken,neg\n")
    dataset = data.open_dataset(train=path, validation=path)
    assert ("a\0b", ("pos",)) in contents(dataset, "train")
    findings = dataset.findings
    assert findings.empty_texts["train"] == data.Finding(2, (f"{path}:42", f"{path}:43"))
    assert findings.nul_bytes["validation"] == data.Finding(1, (f"{path}:44",))
    assert findings.broken_characters["train"] == data.Finding(1, (f"{path}:45",))
    assert f"train: 1 row with a NUL byte ({path}:44)" in findings.sentences()
    as_dict = findings.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert as_dict["empty_texts"]["train"] == {
        "count": 2,
        "locations": [f"{path}:42", f"{path}:43"],
    }


def test_a_class_without_validation_examples_is_a_finding(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "a.csv")
    other = write(tmp_path / "b.csv", "text,label\nz,pos\n")
    dataset = data.open_dataset(train=train, validation=other, test=other)
    assert dataset.findings.missing_classes == {"validation": ("neg",), "test": ("neg",)}


def test_classes_with_less_than_a_tenth_of_the_texts_of_the_largest_are_a_finding(
    tmp_path: Path,
) -> None:
    rows = [("usual", 41), ("tenth", 5), ("rare", 4), ("rarest", 1)]
    lines = [f"{name} {i},{name}" for name, count in rows for i in range(count)]
    train = write(tmp_path / "a.csv", "\n".join(["text,label", *lines]) + "\n")
    findings = data.open_dataset(train=train, validation=train).findings
    assert findings.imbalance == data.Imbalance("usual", 41, {"rarest": 1, "rare": 4})
    (sentence,) = [s for s in findings.sentences() if "texts of usual" in s]
    assert sentence.startswith(
        "train: 2 classes have less than a tenth of the 41 texts of usual (rarest 1, rare 4)"
    )
    (short,) = [s for s in findings.sentences(num_locations=1) if "texts of usual" in s]
    assert "(rarest 1, ...)" in short
    assert data.open_dataset(train=good_csv(tmp_path / "b.csv")).findings.imbalance is None


def test_rows_with_unknown_labels_are_dropped_and_counted(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "a.csv")
    test = write(tmp_path / "b.csv", "text,label\nz,odd\ny,pos\nx,odder\nw,neg\n")
    dataset = data.open_dataset(train=train, test=test, drop_unknown_labels=True)
    assert contents(dataset, "test") == [("y", ("pos",)), ("w", ("neg",))]
    assert dataset.findings.dropped_unknown_labels == {"test": 2}
    assert [dataset.location("test", row) for row in (0, 1)] == [f"{test}:3", f"{test}:5"]
    with pytest.raises(IndexError):
        dataset.location("test", 2)


def test_leaked_rows_of_train_are_dropped_and_counted(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "a.csv", 40, "TEXT 7,neg\n")
    test = write(tmp_path / "b.csv", "text,label\ntext  7,pos\nnew,neg\n")
    dataset = data.open_dataset(train=train, test=test, drop_leaked_train=True)
    assert dataset.findings.dropped_leaked_train == 2
    assert sum(sizes(dataset).values()) == 41 and dataset.splits["test"].num_examples == 2
    assert not dataset.leaked("test").any() and "train/test" not in dataset.findings.shared
    assert dataset.findings.conflicting_labels == data.Finding()
    kept = texts_of(dataset)
    assert "text 7" not in kept["train"] + kept["validation"]
    shared = data.open_dataset(train=train, test=test).findings.shared
    assert sum(finding.count for finding in shared.values()) == 1, "there must be a leak to drop"
