"""Splits by fraction: partitions, shares, seeds, and equality of texts."""

import collections
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import contents, error_of, good_csv, good_rows, sizes, texts_of, write_csv
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textclf import data
from textclf.data import splits as split_rules
from textclf.errors import DataError


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("splits")


def with_repeats(number: int, classes: Sequence[str], seed: int) -> list[list[str]]:
    """Return rows; a third of them repeat an earlier text with other case and blanks."""
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
def test_splits_by_fraction_are_a_partition_and_equal_texts_share_a_split(
    folder: Path, number: int, seed: int, validation: float, test: float, in_memory: bool
) -> None:
    rows = with_repeats(number, ("a", "b", "c"), seed)
    path = write_csv(folder / "partition.csv", rows)
    options: dict[str, Any] = {
        "source": path,
        "split_seed": seed,
        "validation_fraction": validation,
        "test_fraction": test,
        "in_memory_rows": 1_000_000 if in_memory else 10,
    }
    try:
        dataset = data.open_dataset(**options)
    except DataError as error:
        assert not in_memory and "too few" in str(error)  # a hash may leave a split empty
        return
    result = texts_of(dataset)
    assert collections.Counter(t for texts in result.values() for t in texts) == (
        collections.Counter(text for text, _ in rows[1:])
    )
    kinds = {split: {data.normalise(text) for text in texts} for split, texts in result.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not kinds[one] & kinds[other]
        assert f"{one}/{other}" not in dataset.findings.shared
    assert data.open_dataset(**options).fingerprint == dataset.fingerprint
    assert texts_of(data.open_dataset(**options)) == result
    if in_memory:
        # Texts are counted, not rows: equal texts are set aside together.
        units = dict(reversed([(data.normalise(t), label) for t, label in rows[1:]]))
        total = collections.Counter(units.values())
        for split, fraction in (("validation", validation), ("test", test)):
            here = collections.Counter(units[text] for text in kinds[split])
            for label in total:
                exact = total[label] * fraction
                assert exact - 1 < here[label] < exact + 1
            # Fewer only if train must keep the last text of a class.
            target = max(1, round(len(units) * fraction))
            assert target - 2 <= len(kinds[split]) <= target


def test_split_seed_changes_the_rows_of_a_split_and_not_its_shares(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", good_rows(300, ("a", "a", "b")))
    first, second = (data.open_dataset(source=path, split_seed=seed) for seed in (0, 1))
    assert texts_of(first)["test"] != texts_of(second)["test"]
    assert first.fingerprint != second.fingerprint
    for dataset in (first, second):
        assert sizes(dataset) == {"train": 240, "validation": 30, "test": 30}
        assert dataset.splits["test"].class_counts.tolist() == [20, 10]
        assert dataset.splits["validation"].class_counts.tolist() == [20, 10]


def test_split_sizes_are_exact_when_no_class_divides_evenly(tmp_path: Path) -> None:
    sizes_of = {"a": 27, "b": 36, "c": 48}
    rows = [[f"{name} {i}", name] for name, size in sizes_of.items() for i in range(size)]
    dataset = data.open_dataset(source=write_csv(tmp_path / "a.csv", [["text", "label"], *rows]))
    assert sizes(dataset) == {"train": 89, "validation": 11, "test": 11}
    assert dataset.splits["test"].class_counts.tolist() == [3, 3, 5]


def test_a_split_hardly_depends_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = good_rows(200)
    one = data.open_dataset(source=write_csv(tmp_path / "a.csv", rows))
    other = data.open_dataset(source=write_csv(tmp_path / "b.csv", [rows[0], *rows[:0:-1]]))
    # The order decides only the first text of each class, which stays in train.
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


def test_rows_beyond_in_memory_rows_are_split_by_a_hash_and_the_shares_reported(
    tmp_path: Path,
) -> None:
    path = write_csv(tmp_path / "a.csv", good_rows(4000))
    dataset = data.open_dataset(source=path, in_memory_rows=3999, test_fraction=0.2)
    result = sizes(dataset)
    assert result["validation"] != 400 or result["test"] != 800, "the split must not be stratified"
    assert 340 < result["validation"] < 460 and 720 < result["test"] < 880
    notes = [note for note in dataset.findings.notes if "data.in_memory_rows=3999" in note]
    share = 100 * result["test"] / 4000
    assert len(notes) == 3 and "test: chosen by a hash of the text" in notes[2]
    assert f"it has {share:.2f} % of the rows" in notes[2]
    exact = data.open_dataset(source=path, in_memory_rows=4000, test_fraction=0.2)
    assert sizes(exact) == {"train": 2800, "validation": 400, "test": 800}
    assert exact.findings.notes == []


def test_label_sets_are_stratified_and_rare_label_sets_pooled(tmp_path: Path) -> None:
    rows = [["text", "label"]]
    for labels, count in (("a", 100), ("b", 100), ("a,b", 50), ("", 50)):
        rows += [[f"{labels} {i}", labels] for i in range(count)]
    # Twenty label sets of one or two texts: without pooling all would stay in train.
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


def test_rare_label_sets_can_be_in_every_split(tmp_path: Path) -> None:
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
        # 56 texts of either kind: without pooling, sets that occur once would stay in train.
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


def test_the_test_split_does_not_change_train_and_validation(tmp_path: Path) -> None:
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
    assert "2 rows are too few to set data.validation_fraction=0.1" in error_of(source=path)


@settings(deadline=None)
@given(st.text())
@example("ͅ ß ﬁ İ Σς")
@example("\u0130\u0320")  # folding leaves the two marks in the wrong order
def test_normalising_a_text_twice_equals_normalising_once(text: str) -> None:
    once = data.normalise(text)
    assert data.normalise(once) == once
    assert data.normalise(f" {text}\n") == once
    if text.isascii():
        assert once == " ".join(text.casefold().split())


def test_groups_of_equal_texts_do_not_depend_on_the_chunk_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 300, np.uint64)[rng.integers(0, 300, 900)]

    def groups() -> set[tuple[int, ...]]:
        result = set()
        for rows, starts in split_rules.repeated(hashes):
            result |= {tuple(group.tolist()) for group in np.split(rows, starts[1:]) if len(group)}
        return result

    whole = groups()
    by_hand = collections.defaultdict(list)
    for row, value in enumerate(hashes.tolist()):
        by_hand[value].append(row)
    assert whole == {tuple(rows) for rows in by_hand.values() if len(rows) > 1}
    monkeypatch.setattr(split_rules, "_CHUNK_ROWS", 16)
    assert groups() == whole


def test_error_of_repeated_texts_names_the_text_columns(tmp_path: Path) -> None:
    rows = [["text", "label"], *([["same", "other"][i % 2], "ab"[i % 2]] for i in range(40))]
    path = tmp_path / "a.csv"
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    message = error_of(source=path)
    assert "40 rows hold 2 different texts" in message
    assert "; check that data.text_columns=[text] holds the texts, add rows" in message
