"""Data: what is written comes back, splits are fair, and every mistake names its place."""

import collections
import csv
import gzip
import io
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textclf import config, data, demo
from textclf.data import splits as split_rules
from textclf.errors import ConfigError, DataError

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


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return str(path)


def write_csv(path: Path, rows: Iterable[Sequence[Any]], **how: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", **how).writerows(rows)
    return write(path, stream.getvalue())


def good_rows(number: int = 40, classes: Sequence[str] = ("neg", "pos")) -> list[list[str]]:
    rows = [[f"text {index}", classes[index % len(classes)]] for index in range(number)]
    return [["text", "label"], *rows]


def good_csv(path: Path, number: int = 40, extra: str | bytes = "") -> str:
    """A header, `number` rows and what a test wants on the lines after them."""
    write_csv(path, good_rows(number))
    extra = extra.encode("utf-8") if isinstance(extra, str) else extra
    return write(path, path.read_bytes() + extra)


def contents(dataset: data.Dataset, split: str) -> list[tuple[str, tuple[str, ...]]]:
    names = dataset.class_names
    return [(e.text, tuple(names[i] for i in e.label_ids)) for e in dataset.examples(split)]


def sizes(dataset: data.Dataset) -> dict[str, int]:
    return {split: summary.num_examples for split, summary in dataset.splits.items()}


def mistake(**how: Any) -> str:
    with pytest.raises(DataError) as caught:
        data.open_dataset(**how)
    return str(caught.value)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round_trip")


# === What is written comes back ===

characters = st.characters(exclude_categories=["Cs"])
any_texts = st.lists(st.text(characters, max_size=30) | st.sampled_from(TEXTS), min_size=2)


def read_back(path: str, **how: Any) -> tuple[list[str], data.Dataset]:
    dataset = data.open_dataset(train=path, validation=path, **how)
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
def test_csv_comes_back_as_it_was_written(
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
def test_tsv_comes_back_without_any_meaning_of_quotes(
    folder: Path, texts: list[str], mark: bool
) -> None:
    texts = [text.replace("\t", " ").replace("\n", " ") for text in texts]
    lines = "".join(f"{label}\t{text}|\n" for text, label in labelled(texts))
    path = write(folder / "trip.tsv", ("\ufeff" if mark else "") + lines)
    found, _ = read_back(path, header=False, text_columns=["2"], label_column="1")
    assert found == [text + "|" for text in texts]


@settings(deadline=None, max_examples=50)
@given(any_texts, st.booleans(), st.booleans())
@example(list(TEXTS), True, True)
def test_json_lines_come_back_escaped_or_not(
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
def test_parquet_comes_back(folder: Path, texts: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = list(zip(*labelled(texts), strict=True))
    table = pyarrow.table({"text": columns[0], "label": columns[1]})
    path = str(folder / "trip.parquet")
    pyarrow.parquet.write_table(table, path, row_group_size=7)
    assert read_back(path)[0] == texts


def test_packed_files_and_other_encodings_are_read(tmp_path: Path) -> None:
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


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    from pyarrow import parquet as pq
    from pyarrow import table

    rows = good_rows(20_000)
    plain = write_csv(tmp_path / "a.csv", [["text", "label"], *rows])
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    parquet = str(tmp_path / "a.parquet")
    texts, labels = zip(*rows, strict=True)
    pq.write_table(table({"text": texts, "label": labels}), parquet)
    for path in (plain, str(packed), parquet):
        told: list[tuple[str, int, int]] = []
        data.open_dataset(source=path, on_progress=lambda *call, told=told: told.append(call))
        stages, done, totals = zip(*told, strict=True)
        assert set(stages) == {"reading the data"}
        assert list(done) == [0, 4096, 8192, 12288, 16384], path
        assert all(abs(total - 20_000) < 200 for total in totals), (path, totals)


def test_several_text_columns_are_joined(tmp_path: Path) -> None:
    rows = [["title", "id", "body", "stars"], ["A", "1", "b", "5"], ["C", "2", "d", "1"]]
    path = write_csv(tmp_path / "a.csv", rows)
    for columns in (["title", "body"], ["1", "3"]):
        dataset = data.open_dataset(
            train=path,
            validation=path,
            text_columns=columns,
            label_column="stars",
            text_separator=" | ",
        )
        assert contents(dataset, "train") == [("A | b", ("5",)), ("C | d", ("1",))]


def test_a_column_named_by_a_number_comes_before_its_position_and_blanks_do_not_count(
    tmp_path: Path,
) -> None:
    rows = [["label", "text", " 1"], ["x", "t", "y "], ["x", "t", " z"]]
    path = write_csv(tmp_path / "a.csv", rows)
    dataset = data.open_dataset(train=path, validation=path, label_column="1")
    assert dataset.class_names == ("y", "z")


def test_a_folder_tree_is_read_in_sorted_order(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        for label in ("pos", "neg", ".hidden"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in (2, 1):
                write(tmp_path / split / label / f"{number}.txt", f"{split} {label} {number}")
            write(tmp_path / split / label / "notes.md", "not a text")
    dataset = data.open_dataset(source=str(tmp_path))
    assert dataset.class_names == ("neg", "pos")
    assert contents(dataset, "train") == [
        (f"train {label} {number}", (label,)) for label in ("neg", "pos") for number in (1, 2)
    ]
    assert dataset.place("validation", 2) == str(tmp_path / "dev" / "pos" / "1.txt")


def test_the_demo_is_read_as_it_is_made() -> None:
    dataset = data.open_dataset(source="demo")
    assert set(dataset.splits) == set(demo.SPLITS)
    assert dataset.class_names == demo.CLASS_NAMES
    made = [(text, (label,)) for text, label in demo.examples("validation")]
    assert contents(dataset, "validation") == made


def test_read_table_keeps_every_column(tmp_path: Path) -> None:
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


# === Labels ===


def test_class_names_come_from_the_setting_else_sorted_from_train(tmp_path: Path) -> None:
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
def test_ids_count_the_class_names(tmp_path: Path, label_ids: str, first: int) -> None:
    rows = [["text", "label"], *([f"t{i}", str(first + i % 3)] for i in range(9))]
    path = write_csv(tmp_path / "a.csv", rows)
    how = {"train": path, "validation": path, "label_ids": label_ids}
    dataset = data.open_dataset(class_names=["z", "y", "x"], **how)
    assert [label for _, label in contents(dataset, "train")] == [("z",), ("y",), ("x",)] * 3
    expected = f"expected an integer from {first} to {first + 1} (data.label_ids={label_ids}"
    assert f"a.csv:4: label id {first + 2} is out of range, {expected}" in mistake(
        class_names=["z", "y"], **how
    )
    below = write_csv(tmp_path / "below.csv", [["text", "label"], ["t", str(first - 1)]])
    assert f"below.csv:2: label id {first - 1} is out of range" in mistake(
        source=below, label_ids=label_ids, class_names=["z", "y"]
    )
    assert "needs the names that the ids count" in mistake(**how)
    named = good_csv(tmp_path / "named.csv")
    assert "named.csv:2: label 'neg' is not an integer" in mistake(
        source=named, label_ids=label_ids, class_names=["z", "y"]
    )


def test_a_text_may_have_several_labels_or_none(tmp_path: Path) -> None:
    expected = [("t0", ("a", "b")), ("t1", ()), ("t2", ("b",)), ("t3", ("a",))]
    rows = [["text", "label"], ["t0", "b; a;a"], ["t1", ""], ["t2", "b"], ["t3", ";a"]]
    path = write_csv(tmp_path / "a.csv", rows)
    how: dict[str, Any] = {"multi_label": True}
    dataset = data.open_dataset(train=path, validation=path, label_separator=";", **how)
    assert contents(dataset, "train") == expected
    assert dataset.splits["train"].class_counts.tolist() == [2, 2]
    assert "train: 1 row without any label" in dataset.findings.sentences()
    lists: list[Any] = [["b", "a"], [], ["b"], "a"]
    lines = [json.dumps({"text": f"t{i}", "label": label}) for i, label in enumerate(lists)]
    path = write(tmp_path / "b.jsonl", "\n".join(lines))
    assert contents(data.open_dataset(train=path, validation=path, **how), "train") == expected
    assert "b.jsonl:1: 2 labels, expected one; use data.multi_label=true" in mistake(source=path)


def test_numbers_and_truth_values_in_json_are_names(tmp_path: Path) -> None:
    labels = [1, True, "1", 1.0, False, "false"]
    lines = [json.dumps({"text": f"t{i}", "label": label}) for i, label in enumerate(labels)]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    dataset = data.open_dataset(train=path, validation=path)
    names = [name for _, (name,) in contents(dataset, "train")]
    assert names == ["1", "true", "1", "1", "false", "false"]


def test_half_a_surrogate_pair_in_json_becomes_a_replacement_character(tmp_path: Path) -> None:
    lines = ['{"text": "\\ud83d\\ude00 \\ud83d!", "label": "a"}', '{"text": "b", "label": "b"}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    dataset = data.open_dataset(train=path, validation=path)
    assert contents(dataset, "train")[0] == ("😀 \ufffd!", ("a",))
    assert dataset.findings.broken_characters["train"].places == (f"{path}:1",)


# === Splits ===


def texts_of(dataset: data.Dataset) -> dict[str, list[str]]:
    return {split: [e.text for e in dataset.examples(split)] for split in dataset.splits}


def with_repeats(number: int, classes: Sequence[str], seed: int) -> list[list[str]]:
    """Rows of which a third repeats an earlier text, in other case and with other blanks."""
    rng = np.random.default_rng(seed)
    rows = [["text", "label"]]
    for index in range(number):
        if index > 10 and rng.random() < 0.3:
            text, label = rows[rng.integers(1, index)]
            rows.append([f"  {text.upper()} ", label])
        else:
            rows.append([f"text {index}", classes[rng.choice(len(classes), p=[0.6, 0.3, 0.1])]])
    return rows


@settings(deadline=None, max_examples=25)
@given(
    st.integers(60, 150),
    st.integers(0, 2**31 - 1),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
    st.booleans(),
)
def test_a_split_by_fraction_is_a_partition_with_equal_texts_on_one_side(
    folder: Path, number: int, seed: int, validation: float, test: float, in_memory: bool
) -> None:
    rows = with_repeats(number, ("a", "b", "c"), seed)
    path = write_csv(folder / "partition.csv", rows)
    how: dict[str, Any] = {
        "source": path,
        "split_seed": seed,
        "validation_fraction": validation,
        "test_fraction": test,
        "in_memory_rows": 1_000_000 if in_memory else 10,
    }
    try:
        dataset = data.open_dataset(**how)
    except DataError as error:
        assert not in_memory and "too few" in str(error)  # a hash may leave a split empty
        return
    found = texts_of(dataset)
    assert collections.Counter(t for texts in found.values() for t in texts) == (
        collections.Counter(text for text, _ in rows[1:])
    )
    kinds = {split: {data.normalise(text) for text in texts} for split, texts in found.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not kinds[one] & kinds[other]
        assert f"{one}/{other}" not in dataset.findings.shared
    assert data.open_dataset(**how).fingerprint == dataset.fingerprint
    assert texts_of(data.open_dataset(**how)) == found
    if in_memory:
        # By texts, not by rows: the unit is a text with all its equals.
        units = dict(reversed([(data.normalise(t), label) for t, label in rows[1:]]))
        total = collections.Counter(units.values())
        for split, fraction in (("validation", validation), ("test", test)):
            here = collections.Counter(units[text] for text in kinds[split])
            for label in total:
                exact = total[label] * fraction
                assert exact - 1 < here[label] < exact + 1
            # Less than that only where train's pinned text of a class is in the way.
            target = max(1, round(len(units) * fraction))
            assert target - 2 <= len(kinds[split]) <= target


def test_another_seed_makes_another_split_of_the_same_shares(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", good_rows(300, ("a", "a", "b")))
    first, second = (data.open_dataset(source=path, split_seed=seed) for seed in (0, 1))
    assert texts_of(first)["test"] != texts_of(second)["test"]
    assert first.fingerprint != second.fingerprint
    for dataset in (first, second):
        assert sizes(dataset) == {"train": 240, "validation": 30, "test": 30}
        assert dataset.splits["test"].class_counts.tolist() == [20, 10]
        assert dataset.splits["validation"].class_counts.tolist() == [20, 10]


def test_the_totals_are_right_though_no_class_divides_evenly(tmp_path: Path) -> None:
    sizes_of = {"a": 27, "b": 36, "c": 48}
    rows = [[f"{name} {i}", name] for name, size in sizes_of.items() for i in range(size)]
    dataset = data.open_dataset(source=write_csv(tmp_path / "a.csv", [["text", "label"], *rows]))
    assert sizes(dataset) == {"train": 89, "validation": 11, "test": 11}
    assert dataset.splits["test"].class_counts.tolist() == [3, 3, 5]


def test_the_split_hardly_depends_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = good_rows(200)
    one = data.open_dataset(source=write_csv(tmp_path / "a.csv", rows))
    other = data.open_dataset(source=write_csv(tmp_path / "b.csv", [rows[0], *rows[:0:-1]]))
    # Only the first text of each class, which stays in train, makes a difference.
    assert len(set(texts_of(one)["test"]) ^ set(texts_of(other)["test"])) <= 4


@pytest.mark.parametrize("in_memory_rows", [1000, 10])
def test_train_keeps_an_example_of_every_class(tmp_path: Path, in_memory_rows: int) -> None:
    rows = [["text", "label"], *([f"t{i}", f"class {i}"] for i in range(50))]
    rows += [[f"u{i}", "class 0"] for i in range(100)]
    path = write_csv(tmp_path / "a.csv", rows)
    dataset = data.open_dataset(
        source=path, validation_fraction=0.3, test_fraction=0.3, in_memory_rows=in_memory_rows
    )
    assert dataset.splits["train"].class_counts.min() == 1
    assert len(dataset.class_names) == 50
    assert sum(sizes(dataset).values()) == 150


def test_many_rows_are_split_by_a_hash_and_the_shares_are_told(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", good_rows(4000))
    dataset = data.open_dataset(source=path, in_memory_rows=3999, test_fraction=0.2)
    found = sizes(dataset)
    assert found["validation"] != 400 or found["test"] != 800, "the split must not be stratified"
    assert 340 < found["validation"] < 460 and 720 < found["test"] < 880
    notes = [note for note in dataset.findings.notes if "data.in_memory_rows=3999" in note]
    share = 100 * found["test"] / 4000
    assert len(notes) == 3 and "test: chosen by a hash of the text" in notes[2]
    assert f"it has {share:.2f} % of the rows" in notes[2]
    exact = data.open_dataset(source=path, in_memory_rows=4000, test_fraction=0.2)
    assert sizes(exact) == {"train": 2800, "validation": 400, "test": 800}
    assert exact.findings.notes == []


def test_sets_of_labels_are_stratified_and_rare_ones_pooled(tmp_path: Path) -> None:
    rows = [["text", "label"]]
    for labels, count in (("a", 100), ("b", 100), ("a,b", 50), ("", 50)):
        rows += [[f"{labels} {i}", labels] for i in range(count)]
    # Twenty sets of one or two texts: alone they would all stay in train.
    rows += [[f"rare {i}", f"a,r{i % 10},b" if i < 20 else f"r{i % 10}"] for i in range(30)]
    path = write_csv(tmp_path / "a.csv", rows)
    dataset = data.open_dataset(source=path, multi_label=True)
    for split in ("validation", "test"):
        kinds = collections.Counter(
            "rare" if text.startswith("rare") else ",".join(names)
            for text, names in contents(dataset, split)
        )
        assert kinds == {"a": 10, "b": 10, "a,b": 5, "": 5, "rare": 3}
    assert set(dataset.class_names) == {"a", "b", *(f"r{i}" for i in range(10))}
    assert dataset.splits["train"].class_counts.min() > 0


def test_every_rare_set_of_labels_may_be_set_aside(tmp_path: Path) -> None:
    letters = "abcdefgh"
    rows = [
        ["text", "label"],
        *([f"{letter} {i}", letter] for letter in letters for i in range(20)),
    ]
    twice = list(itertools.combinations(letters, 2))
    once = list(itertools.combinations(letters, 3))
    rows += [[f"twice {i} {labels}", ",".join(labels)] for labels in twice for i in range(2)]
    rows += [[f"once {labels}", ",".join(labels)] for labels in once]
    path = write_csv(tmp_path / "a.csv", rows)
    dataset = data.open_dataset(source=path, multi_label=True)
    for split in ("validation", "test"):
        kinds = collections.Counter(text.split()[0] for text, _ in contents(dataset, split))
        # 56 texts of either kind: each set alone would leave those that occur once in train.
        assert kinds["once"] + kinds["twice"] == 11 and kinds["once"] >= 2


def test_validation_is_set_aside_from_train_and_never_from_test(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "train.csv", 100)
    test = write_csv(tmp_path / "test.csv", [["text", "label"], ["other", "pos"], ["more", "neg"]])
    dataset = data.open_dataset(train=train, test=test)
    assert sizes(dataset) == {"train": 90, "validation": 10, "test": 2}
    assert [text for text, _ in contents(dataset, "test")] == ["other", "more"]
    assert sizes(data.open_dataset(train=train)) == {"train": 90, "validation": 10}
    alone = data.open_dataset(test=test, class_names=["neg", "pos"])
    assert sizes(alone) == {"test": 2}


def test_the_test_split_never_changes_what_is_learnt_from(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "train.csv", 100)
    one = good_csv(tmp_path / "one.csv", 30)
    other = good_csv(tmp_path / "other.csv", 7, "unheard of,odd\n")
    first = data.open_dataset(train=train, test=one)
    second = data.open_dataset(train=train, test=other, drop_unknown_labels=True)
    assert first.class_names == second.class_names
    assert texts_of(first)["train"] == texts_of(second)["train"]
    assert first.fingerprint != second.fingerprint


def test_too_few_rows_to_split_are_refused(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv", 2)
    assert "2 rows are too few to set data.validation_fraction=0.1" in mistake(source=path)


# === What is found ===


def test_equal_texts_are_found_within_and_across_splits(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", "text,label\nＡ  b,x\na B,x\nc,y\nd,y\nd,y\nd,x\n")
    test = write(tmp_path / "b.csv", "text,label\nz,x\nC ,y\na b,y\na b,y\n")
    dataset = data.open_dataset(train=train, validation=train, test=test)
    findings = dataset.findings
    assert findings.duplicates["train"].count == 3
    assert findings.duplicates["train"].places[0] == f"{train}:3 = {train}:2"
    assert findings.duplicates["test"] == data.Finding(1, (f"{test}:5 = {test}:4",))
    assert findings.shared["train/test"].count == 3
    assert findings.shared["train/test"].places == (
        f"{test}:3 = {train}:4",
        f"{test}:4 = {train}:2",
        f"{test}:5 = {train}:2",
    )
    assert findings.shared["train/validation"].count == 6
    assert findings.conflicting_labels.count == 2
    assert f"{train}:2 (x) = {test}:4 (y)" in findings.conflicting_labels.places
    short = f"test: 3 rows with a text that is in train too ({test}:3 = {train}:4; ...)"
    assert short in findings.sentences(num_places=1)
    assert short not in findings.sentences()
    assert dataset.leaked("test").tolist() == [False, True, True, True]
    assert dataset.leaked("train").all() and dataset.leaked("validation").all()


def test_empty_texts_nul_bytes_and_broken_characters_survive_and_are_told(tmp_path: Path) -> None:
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
    assert as_dict["empty_texts"]["train"] == {"count": 2, "places": [f"{path}:42", f"{path}:43"]}


def test_a_class_missing_in_validation_is_told(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "a.csv")
    other = write(tmp_path / "b.csv", "text,label\nz,pos\n")
    dataset = data.open_dataset(train=train, validation=other, test=other)
    assert dataset.findings.missing_classes == {"validation": ("neg",), "test": ("neg",)}


def test_rows_with_unknown_labels_are_dropped_and_counted(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "a.csv")
    test = write(tmp_path / "b.csv", "text,label\nz,odd\ny,pos\nx,odder\nw,neg\n")
    dataset = data.open_dataset(train=train, test=test, drop_unknown_labels=True)
    assert contents(dataset, "test") == [("y", ("pos",)), ("w", ("neg",))]
    assert dataset.findings.dropped_unknown_labels == {"test": 2}
    assert [dataset.place("test", row) for row in (0, 1)] == [f"{test}:3", f"{test}:5"]
    with pytest.raises(IndexError):
        dataset.place("test", 2)


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


def test_places_name_the_line_on_which_a_row_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one\n\ntwo",x\n\nthree,y\n"a\nb",x\nc,y\n')
    dataset = data.open_dataset(train=path, validation=path)
    assert [dataset.place("train", row) for row in range(4)] == [
        f"{path}:{line}" for line in (2, 6, 7, 9)
    ]


@settings(deadline=None)
@given(st.text())
@example("ͅ ß ﬁ İ Σς")
@example("\u0130\u0320")  # folding leaves the two marks in the wrong order
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = data.normalise(text)
    assert data.normalise(once) == once
    assert data.normalise(f" {text}\n") == once
    if text.isascii():
        assert once == " ".join(text.casefold().split())


def test_repeated_texts_are_the_same_whatever_the_share_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 300, np.uint64)[rng.integers(0, 300, 900)]

    def groups() -> set[tuple[int, ...]]:
        found = set()
        for rows, starts in split_rules.repeated(hashes):
            found |= {tuple(group.tolist()) for group in np.split(rows, starts[1:]) if len(group)}
        return found

    whole = groups()
    by_hand = collections.defaultdict(list)
    for row, value in enumerate(hashes.tolist()):
        by_hand[value].append(row)
    assert whole == {tuple(rows) for rows in by_hand.values() if len(rows) > 1}
    monkeypatch.setattr(split_rules, "_CHUNK_ROWS", 16)
    assert groups() == whole


# === Settings and examples ===


def test_section_data_and_single_settings_open_the_same_data_set(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv")
    section = config.Data(source=path, class_names=["pos", "neg"], split_seed=3)
    dataset = data.open_dataset(section)
    single = data.open_dataset(source=tmp_path / "a.csv", class_names=("pos", "neg"), split_seed=3)
    assert dataset.class_names == ("pos", "neg")
    assert dataset.fingerprint == single.fingerprint
    with pytest.raises(TypeError, match="not both"):
        data.open_dataset(section, split_seed=4)
    with pytest.raises(DataError, match="no column 'body'"):
        data.check_sources(config.Data(source=path, text_columns=["body"]))


def test_the_fields_of_an_example_hold_its_joined_text(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv", [["title", "body", "label"], ["a", "b", "x"], ["c", "d", "y"]]
    )
    dataset = data.open_dataset(train=path, validation=path, text_columns=["title", "body"])
    first = next(dataset.examples("train"))
    assert first == (0, {"text": "a b"}, (0,))
    assert first.text == "a b"


# === Streams ===


def test_a_file_that_changes_between_the_passes_is_noticed(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv")
    dataset = data.open_dataset(source=path)
    before = os.stat(path)
    assert len(list(dataset.examples("train"))) == 32
    # As many rows, another size: seen before the first row.
    content = Path(path).read_text(encoding="utf-8")
    write(tmp_path / "a.csv", content.replace("text 38", "texts 38"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"a\.csv: the data changed after they were checked"):
        next(dataset.examples("train"))
    # As many rows, the same size, another time.
    write(tmp_path / "a.csv", content.replace("text 38", "next 38"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(DataError, match="changed"):
        next(dataset.examples("train"))
    # The same size and time, one row less: the count at the end tells.
    blank = "\n" * len("text 38,neg\n")
    write(tmp_path / "a.csv", content.replace("text 38,neg\n", blank))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size, "the stamp must not tell"
    with pytest.raises(DataError, match="changed"):
        list(dataset.examples("train"))


def test_the_fingerprint_knows_texts_labels_splits_and_names(tmp_path: Path) -> None:
    def fingerprint(content: str, **how: Any) -> str:
        path = write(tmp_path / "a.csv", "text,label\n" + content)
        return data.open_dataset(train=path, validation=path, **how).fingerprint

    base = fingerprint("a,x\nb,y\nc,x\n")
    assert base == fingerprint("a,x\nb,y\nc,x\n") and len(base) == 64
    assert base == fingerprint('"a","x"\n\nb,y\nc,x\n'), "how it is written does not matter"
    assert base != fingerprint("A,x\nb,y\nc,x\n"), "nothing is folded"
    assert base != fingerprint("a,x\nb,y\nc,y\n")
    assert base != fingerprint("a,x\nc,x\nb,y\n")
    assert base != fingerprint("a,x\nb,y\nc,x\n", class_names=["y", "x"])


def test_rows_are_streamed_and_never_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(2_000):
            file.write(f"{number} {'ha' * 2_500},{number % 2}\n")
    size = path.stat().st_size
    data.open_dataset(source=good_csv(tmp_path / "b.csv"))  # what is imported late is no growth
    tracemalloc.start()
    try:
        dataset = data.open_dataset(source=str(path))
        assert tracemalloc.get_traced_memory()[1] < size / 10
        tracemalloc.reset_peak()
        assert sum(1 for _ in dataset.examples("train")) == 1_600
        assert tracemalloc.get_traced_memory()[1] < size / 10
    finally:
        tracemalloc.stop()


def test_no_text_is_kept_of_a_row_that_was_read(tmp_path: Path) -> None:
    peaks = []
    data.open_dataset(source=good_csv(tmp_path / "b.csv"))  # what is imported late is no growth
    for num_rows in (10_000, 60_000):
        path = tmp_path / f"{num_rows}.csv"
        lines = (f"a text that is number {row},{row % 2}\n" for row in range(num_rows))
        path.write_text("text,label\n" + "".join(lines))
        tracemalloc.start()
        try:
            data.open_dataset(source=str(path), in_memory_rows=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # Chunks of temporary arrays are larger than this file; benchmarks/memory.py measures what
    # stays of a row among millions. A string in Python takes more than this.
    assert peaks[1] - peaks[0] < 50_000 * 100


def test_classes_that_look_alike_are_told(tmp_path: Path) -> None:
    names = ("caf\u00e9", "cafe\u0301", "tea")
    rows = "".join(f"t{i},{names[i % 3]}\n" for i in range(30))
    dataset = data.open_dataset(source=write(tmp_path / "a.csv", "text,label\n" + rows))
    [note] = [note for note in dataset.findings.notes if "hardly differ" in note]
    assert "2 classes" in note and r"'caf\xe9'" in note and r"'cafe\u0301'" in note


def test_neither_tensorflow_nor_pyarrow_is_imported_for_text_files(tmp_path: Path) -> None:
    code = (
        "import sys; from textclf import data; data.open_dataset(source=sys.argv[1])\n"
        "print([m for m in ('tensorflow', 'keras', 'tensorflow_datasets', 'pyarrow', 'sklearn')"
        " if m in sys.modules])\n"
    )
    path = good_csv(tmp_path / "a.csv")
    answer = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


# === Mistakes ===

GOOD = "text,label\n" + "".join(f"text {i},{('neg', 'pos')[i % 2]}\n" for i in range(40))


@pytest.mark.parametrize(
    ("content", "how", "expected"),
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
)
def test_a_bad_csv_is_refused_with_its_place(
    tmp_path: Path, content: str | bytes, how: dict[str, Any], expected: str
) -> None:
    path = write(tmp_path / "a.csv", content)
    found = mistake(source=path, **how)
    assert expected.replace("'", "").replace("{}", str(tmp_path)) in found.replace("'", "")
    assert found.startswith((f"{tmp_path}{os.sep}a.csv", "data."))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b"\n', "a.jsonl:2: not JSON"),
        ('{"text": "a", "label": 1}\n[]\n', "a.jsonl:2: a JSON array, not an object"),
        (
            '{"text": "a", "label": 1}\n\n{"text": "b"}\n',
            "a.jsonl:3: no key 'label'; the keys are text",
        ),
        ('{"text": "a", "label": 1}\n{"text": null, "label": 1}\n', "a.jsonl:2: 'text' holds noth"),
        ('{"text": "a", "label": 1.5}\n', "a.jsonl:1: 'label' holds 1.5; write a string or an"),
        ('{"text": "a", "label": null}\n', "a.jsonl:1: no label, expected one"),
        ('{"txt": "a", "label": 1}\n', "a.jsonl:1: no column 'text'; found txt, label; use --set"),
        ("\n", "a.jsonl: the file is empty"),
    ],
)
def test_bad_json_lines_are_refused_with_their_place(
    tmp_path: Path, content: str, expected: str
) -> None:
    assert expected in mistake(source=write(tmp_path / "a.jsonl", content))


def test_bad_parquet_and_bad_gzip_are_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = write(tmp_path / "a.parquet", b"PAR1 and nothing more")
    assert "a.parquet: cannot be read as Parquet" in mistake(source=path)
    table = pyarrow.table({"text": ["a", None], "label": [1, 2]})
    pyarrow.parquet.write_table(table, path)
    assert "a.parquet:2: 'text' holds nothing (null), expected a string" in mistake(source=path)
    assert "no column 'body'; found text, label" in mistake(source=path, text_columns=["body"])
    path = write(tmp_path / "a.csv.gz", b"not packed")
    assert "a.csv.gz: not a complete gzip file" in mistake(source=path)
    path = write(tmp_path / "b.csv.gz", gzip.compress(GOOD.encode() * 99)[:200])
    assert "b.csv.gz: not a complete gzip file" in mistake(source=path)


def test_mistakes_that_can_be_found_together_are_told_together(tmp_path: Path) -> None:
    good_csv(tmp_path / "train.csv")
    here = f"{tmp_path}{os.sep}"
    found = mistake(train=here + "trian.csv", validation=here + "x.csv", test=here + "no/x.csv")
    assert found.split("\n") == [
        f"{here}trian.csv: no such file; did you mean 'train.csv'?",
        f"{here}x.csv: no such file",
        f"{here}no/x.csv: no such file: the folder {here}no does not exist",
    ]
    with pytest.raises(DataError) as caught:
        data.check_sources(
            train=here + "trian.csv", validation=here + "x.txt", label_ids="from_one"
        )
    assert [line.split(": ")[0] for line in str(caught.value).split("\n")] == [
        f"{here}x.txt",
        f"{here}trian.csv",
        "data.label_ids=from_one needs the names that the ids count; set data.class_names or "
        "data.class_names_file",
    ]


def test_a_label_that_train_does_not_know_is_refused(tmp_path: Path) -> None:
    train = good_csv(tmp_path / "a.csv")
    test = write(tmp_path / "b.csv", "text,label\nz,pos\ny,poss\nx,odd\nw,odd\n")
    assert mistake(train=train, test=test).split("\n") == [
        f"{test}:3: label 'poss' is not among the labels of train (neg, pos); use "
        "data.drop_unknown_labels=true to drop such rows; did you mean 'pos'?",
        f"{test}:4: label 'odd' is not among the labels of train (neg, pos); use "
        "data.drop_unknown_labels=true to drop such rows",
    ]
    only = write(tmp_path / "c.csv", "text,label\nz,odd\n")
    found = mistake(train=train, test=only, drop_unknown_labels=True)
    assert "no row is left for test" in found


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "no data: set data.source, or data.train, data.validation, data.test"),
        ({"source": "{good}", "train": "{good}"}, "is one file for all splits, and data.train is"),
        ({"test": "{good}"}, "data.train is missing"),
        ({"train": "{folder}"}, "a folder, expected a file"),
        ({"source": "{folder}/empty"}, "no folders in it, expected split/label/*.txt"),
        ({"source": "{folder}"}, "no folder named train; found empty"),
        ({"source": "{folder}", "train": "emty"}, "no folder named 'emty' (data.train); found"),
        ({"source": "{folder}", "train": "empty"}, "no folders, expected one for each label"),
        (
            {"source": "{folder}/a.txt"},
            "no format is known for the ending '.txt'; use --set data.format=",
        ),
        ({"train": "tfds:x"}, "data.train=tfds:x is not a file; set data.source=tfds:x"),
        ({"train": "{good}", "format": "tfds"}, "data.format=tfds needs data.source"),
        ({"source": "{good}", "format": "folder"}, "a file, expected a folder"),
        ({"source": "demo", "test": "tets"}, "no split named 'tets' (data.test); found train, val"),
        (
            {"source": "{good}", "class_names": ["a", "b"], "class_names_file": "x"},
            "data.class_names and data.class_names_file are both set; drop one",
        ),
        ({"source": "{good}", "class_names_file": "{folder}/x"}, "x: no such file"),
    ],
)
def test_settings_that_name_no_data_are_refused(
    tmp_path: Path, how: dict[str, Any], expected: str
) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    names = {"good": good_csv(tmp_path / "good.csv"), "folder": str(tmp_path / "tree")}
    filled = {k: v.format(**names) if isinstance(v, str) else v for k, v in how.items()}
    assert expected in mistake(**filled)
    with pytest.raises(DataError) as caught:
        data.check_sources(**filled)
    assert expected in str(caught.value)


def test_wrong_values_of_settings_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        data.open_dataset(sorce="a.csv", format="cvs", delimiter=";;", test_fraction=2)
    assert str(caught.value).split("\n") == [
        "data.sorce: unknown setting; did you mean 'source'?",
        "data.format: expected one of auto, csv, tsv, jsonl, json, parquet, folder, tfds, demo, "
        "found 'cvs'",
        "data.delimiter: expected one character (no line break) or null, found ';;'",
        "data.test_fraction: expected a number above 0 and below 1, found 2",
    ]


def test_read_table_refuses_a_delimiter_of_two_characters(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data.delimiter: ';;' cannot separate columns"):
        list(data.read_table(good_csv(tmp_path / "a.csv"), delimiter=";;"))


def test_checking_the_sources_reads_no_further_than_the_first_rows(tmp_path: Path) -> None:
    # Longer than what one read takes from the disk, with the mistake at the end.
    path = write_csv(tmp_path / "a.csv", [*good_rows(20_000), ["one", "two", "three"]])
    data.check_sources(source=path)
    assert "a.csv:20002: 3 fields, expected 2" in mistake(source=path)


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv")
    os.chmod(path, 0)
    code = (
        "import os, sys; from textclf import data, errors\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: data.open_dataset(source=sys.argv[1])\n"
        "except errors.DataError as error: print(error)\n"
    )
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        )
    finally:
        os.chmod(path, 0o600)
    assert answer.stdout == (
        f"{path}: no permission to read the file; change its mode or its owner\n"
    )


def test_a_data_set_that_is_not_there_is_never_downloaded(tmp_path: Path) -> None:
    found = mistake(source="tfds:imdb_reviews", data_dir=str(tmp_path))
    assert f"tfds:imdb_reviews: not in {tmp_path}, and textclf downloads nothing" in found
    assert f"tfds.load('imdb_reviews', data_dir='{tmp_path}')\"" in found
    assert "did you mean 'imdb_reviews'?" in mistake(source="tfds:imdb_reviewz")


# === Published data ===


def published(real_data: Path, folder: str, **files: str) -> dict[str, str]:
    return {split: str(real_data / "data" / folder / name) for split, name in files.items()}


def test_every_row_of_sst2_is_read(real_data: Path) -> None:
    files = published(real_data, "sst2", train="train.tsv", validation="dev.tsv", test="test.tsv")
    dataset = data.open_dataset(**files, text_columns=["sentence"])
    assert sizes(dataset) == {"train": 6920, "validation": 872, "test": 1821}
    assert dataset.class_names == ("neg", "pos")
    phrases = published(real_data, "sst2", train="train_phrases.tsv", test="test.tsv")
    dataset = data.open_dataset(
        **phrases, text_columns=["sentence"], class_names=["0", "1", "neg", "pos"]
    )
    assert sum(sizes(dataset).values()) == 67_349 + 1821
    # Six by their letters alone; with their punctuation, as texts are compared here, one.
    shared = dataset.findings.shared
    assert [finding.count for pair, finding in shared.items() if pair.endswith("/test")] == [1]


def test_every_row_of_trec_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(**published(real_data, "trec", train="train.csv", test="test.csv"))
    found = sizes(dataset)
    assert found["train"] + found["validation"] == 5452 and found["test"] == 500
    counts = dataset.splits["train"].class_counts + dataset.splits["validation"].class_counts
    assert counts[dataset.class_names.index("ABBR")] == 86
    # Ten verbatim; an eleventh differs in case only.
    shared = dataset.findings.shared
    assert shared["train/test"].count + shared["validation/test"].count == 11


def test_every_row_of_ag_news_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(
        **published(real_data, "ag_news", train="train.csv", test="test.csv"),
        **published(real_data, "ag_news", class_names_file="classes.txt"),
        header=False,
        text_columns=["2", "3"],
        label_column="1",
        label_ids="from_one",
    )
    found = sizes(dataset)
    assert found["train"] + found["validation"] == 30_027 and found["test"] == 7600
    assert dataset.class_names == ("World", "Sports", "Business", "Sci/Tech")
    assert dataset.splits["test"].class_counts.tolist() == [1900] * 4
    text = next(dataset.examples("test")).text
    assert text.startswith("Fears for T N pension after talks Unions representing workers")


def test_every_row_of_chnsenticorp_is_read(real_data: Path) -> None:
    files = published(
        real_data, "chnsenticorp", train="train.tsv", validation="dev.tsv", test="test.tsv"
    )
    dataset = data.open_dataset(**files, text_columns=["text_a"])
    assert sizes(dataset) == {"train": 9600, "validation": 1200, "test": 1200}
    # As many as stand there verbatim: normalising finds no more.
    assert dataset.leaked("test").sum() == 331 and dataset.leaked("validation").sum() == 338
    swallowed = mistake(**files, text_columns=["text_a"], quoting="minimal")
    assert "train.tsv:" in swallowed and "use data.quoting=none" in swallowed
    clean = data.open_dataset(**files, text_columns=["text_a"], drop_leaked_train=True)
    assert clean.findings.dropped_leaked_train == 9600 - clean.splits["train"].num_examples > 600
    assert not clean.leaked("test").any()


def test_every_row_of_sms_spam_is_read(real_data: Path) -> None:
    source = published(real_data, "sms_spam", source="SMSSpamCollection.tsv")
    dataset = data.open_dataset(**source, header=False, text_columns=["2"], label_column="1")
    counts = np.sum([summary.class_counts for summary in dataset.splits.values()], axis=0)
    assert dict(zip(dataset.class_names, counts.tolist(), strict=True)) == {
        "ham": 4827,
        "spam": 747,
    }
    # 403 rows verbatim, and twelve that differ in case or blanks.
    assert sum(finding.count for finding in dataset.findings.duplicates.values()) == 415


def test_every_row_of_goemotions_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(
        **published(
            real_data, "goemotions", train="train.tsv", validation="dev.tsv", test="test.tsv"
        ),
        **published(real_data, "goemotions", class_names_file="labels.txt"),
        header=False,
        text_columns=["1"],
        label_column="2",
        multi_label=True,
        label_ids="from_zero",
    )
    assert sizes(dataset) == {"train": 43_410, "validation": 5426, "test": 5427}
    assert len(dataset.class_names) == 28 and dataset.class_names[27] == "neutral"
    several = sum(len(example.label_ids) > 1 for example in dataset.examples("test"))
    assert several == 837 and dataset.findings.missing_classes == {}


@pytest.mark.slow
def test_a_data_set_of_ones_own_in_tensorflow_datasets_format_is_read(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    class Opinions(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            names = tfds.features.ClassLabel(names=["odd", "even"])
            features = {
                "title": tfds.features.Text(),
                "text": tfds.features.Text(),
                "tags": tfds.features.Sequence(names),
                "stars": np.int64,
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, downloads: Any) -> Any:
            return {"train": self._generate_examples(), "dev": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for i in range(6):
                tags = ["even", "odd"][: i % 3]
                yield i, {"title": f"é{i}", "text": f"t{i}", "tags": tags, "stars": 1 + i % 2}

    builder = Opinions(data_dir=str(tmp_path))
    builder.download_and_prepare()
    how: dict[str, Any] = {"source": "tfds:opinions", "data_dir": str(tmp_path)}
    dataset = data.open_dataset(**how, label_column="tags", multi_label=True)
    assert dataset.class_names == ("even", "odd")
    tags = [(), ("even",), ("even", "odd")] * 2
    expected = [(f"t{i}", tags[i]) for i in range(6)]
    assert sorted(contents(dataset, "validation")) == expected
    dataset = data.open_dataset(
        **how,
        text_columns=["title", "text"],
        label_column="stars",
        label_ids="from_one",
        class_names=["bad", "good"],
    )
    expected = [(f"é{i} t{i}", (("bad", "good")[i % 2],)) for i in range(6)]
    assert sorted(contents(dataset, "train")) == expected
    found = mistake(**how, text_columns=["txt"], label_column="tag", test="tset")
    assert "tfds:opinions: no split named 'tset' (data.test); found train, dev" in found
    found = mistake(**how, text_columns=["txt"], label_column="tag")
    assert (
        "no feature 'txt'; found title, text, tags, stars; use --set 'data.text_columns=[text]'"
        in found
    )
    assert (
        "no feature 'tag'; found title, text, tags, stars; use --set data.label_column=tags"
        in found
    )


@pytest.mark.slow
def test_every_row_of_imdb_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(source="tfds:imdb_reviews", data_dir=str(real_data / "tfds"))
    found = sizes(dataset)
    assert found["train"] + found["validation"] == 25_000 and found["test"] == 25_000
    assert dataset.class_names == ("neg", "pos")
    shared = dataset.findings.shared
    assert shared["train/test"].count + shared["validation/test"].count == 123
    assert dataset.splits["test"].class_counts.tolist() == [12_500, 12_500]
    assert "<br />" in "".join(e.text for e in itertools.islice(dataset.examples("test"), 9))
