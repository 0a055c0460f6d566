"""Near-duplicates: what is found, what is not, and that each reported similarity is exact."""

import collections
import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import chinese, edited, sentence

from textclf.audit import near_duplicates
from textclf.audit.counting import HashCounts, combine
from textclf.audit.near_duplicates import NearDuplicates, similarity
from textclf.data import normalise

Search = Callable[..., NearDuplicates]


@pytest.fixture
def search() -> Iterator[Search]:
    """Return a function `search(train, test)` whose searches are closed after the test."""
    with contextlib.ExitStack() as stack:

        def start(train: list[str], test: list[str], near_rows: int = 1000) -> NearDuplicates:
            found = NearDuplicates(near_rows=near_rows, num_train_rows=len(train))
            return add_all(stack.enter_context(found), train, test)

        yield start


def add_all(found: NearDuplicates, train: list[str], test: list[str]) -> NearDuplicates:
    """Add texts to a search in chunks of seven, and return it."""
    for texts, add in (
        (test, lambda rows, chunk: found.add_evaluation("test", rows, chunk, rows * 0)),
        (train, lambda rows, chunk: found.add_train(rows, chunk, rows * 0)),
    ):
        for start in range(0, len(texts), 7):
            chunk = [normalise(text) for text in texts[start : start + 7]]
            add(np.arange(start, start + len(chunk)), chunk)
    return found


def pairs_of(found: NearDuplicates, split: str) -> set[tuple[int, int]]:
    pairs = found.pairs(split)
    return set(zip(pairs.rows.tolist(), pairs.others.tolist(), strict=True))


def by_hand(text: str) -> set[str]:
    """Return the shingles of a text by the definition."""
    text = normalise(text)[:5000]
    return {text[i : i + (2 if "\u2e80" <= text[i] <= "\ud7a3" else 4)].ljust(4, "\0")
            for i in range(len(text))}  # fmt: skip


def test_texts_with_a_tenth_of_the_words_replaced_are_near_duplicates(search: Search) -> None:
    train = [sentence(i) for i in range(200)]
    test = [" ".join(edited(train[i].split(), i)) for i in range(0, 200, 10)]
    test += [sentence(1000 + i) for i in range(20)]
    expected = {(index, 10 * index) for index in range(20)}
    assert pairs_of(search(train, test), "test") == expected


def test_chinese_texts_with_a_tenth_of_the_characters_replaced_are_near_duplicates(
    search: Search,
) -> None:
    train = [chinese(i) for i in range(100)]
    test = ["".join("我" if part.startswith("xy") else part for part in edited(list(train[i]), i))
            for i in range(20)]  # fmt: skip
    test += [chinese(1000 + i) for i in range(20)]
    assert pairs_of(search(train, test), "test") == {(index, index) for index in range(20)}


def test_near_duplicates_within_train_are_pairs_with_an_earlier_row_and_equal_texts_are_none(
    search: Search,
):
    texts = [sentence(i) for i in range(60)]
    train = [*texts, " ".join(edited(texts[5].split(), 1)), texts[7], texts[7].upper()]
    assert pairs_of(search(train, []), "train") == {(60, 5)}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_similarity_is_the_jaccard_similarity_of_the_shingles(first: str, second: str) -> None:
    a, b = by_hand(first) or {" "}, by_hand(second) or {" "}
    if not normalise(first) or not normalise(second):
        assert 0 <= similarity(first, second) <= 1
        return
    assert similarity(first, second) == pytest.approx(len(a & b) / len(a | b))


def test_every_reported_pair_has_its_exact_similarity_and_at_least_the_least_one(
    search: Search,
) -> None:
    draw = random.Random(0)
    base = [sentence(i, 12).split() for i in range(40)]
    train = [" ".join(edited(words, draw.randrange(99), draw.choice([0.1, 0.3, 0.5])))
             for words in base for _ in range(3)]  # fmt: skip
    found = search(train, [" ".join(words) for words in base])
    checked = 0
    for split, texts in (("test", [" ".join(words) for words in base]), ("train", train)):
        pairs = found.pairs(split)
        for row, other, value in zip(pairs.rows, pairs.others, pairs.similarities, strict=True):
            exact = similarity(texts[row], train[other])
            fewest = min(len(by_hand(texts[row])), len(by_hand(train[other])))
            assert value == pytest.approx(exact)
            assert exact >= (0.5 if fewest < 80 else 0.4)
            checked += 1
    assert checked > 40, "there must be pairs to check"


def test_a_sample_of_train_keeps_most_near_duplicates_together(search: Search) -> None:
    texts = [sentence(i, 40) for i in range(1500)]
    copies = [" ".join(edited(text.split(), 3, 0.05)) for text in texts]
    found = search([*texts, *copies], [], near_rows=600)
    pairs = pairs_of(found, "train")
    # Drawn one by one, a fifth of the rows would hold a twenty-fifth of the pairs: 60.
    assert len(pairs) > 150
    assert all(row == other + 1500 for row, other in pairs)
    assert found.num_compared <= 600


def test_a_large_group_of_near_duplicates_is_found_without_comparing_all_pairs(
    search: Search,
) -> None:
    words = sentence(1, 60).split()
    train = [" ".join([*words[:i], f"changed{i}", *words[i + 1 :]]) for i in range(60)] * 3
    train = [f"{text} number {i}" for i, text in enumerate(train)]
    found = search(train, [" ".join(words)] * 100)
    rows = {row for row, _ in pairs_of(found, "train")}
    assert len(rows) > 170, "nearly every row has an earlier one"
    assert {row for row, _ in pairs_of(found, "test")} == set(range(100))


def test_every_row_of_a_template_has_a_pair_though_few_pairs_are_candidates(search: Search) -> None:
    texts = [
        f"your order {i * 7919} has been shipped to the address of {i} again" for i in range(600)
    ]
    found = search(texts[300:], texts[:300])
    assert {row for row, _ in pairs_of(found, "test")} == set(range(300))
    assert found.is_limited
    index = near_duplicates._BandIndex(np.zeros((5000, 40), np.uint32))
    rows, others = index.candidates(np.zeros((100, 40), np.uint32), np.arange(100))
    largest = near_duplicates.MAX_GROUP * 40
    assert np.bincount(rows).max() <= largest < 5000
    assert len(np.unique(others)) == 5000, "together, the rows of train are compared with all"


def test_the_most_similar_rows_are_compared_first_where_too_many_are_similar(
    search: Search,
) -> None:
    texts = [
        f"your order {i * 7919} has been shipped to the address of {i} again" for i in range(300)
    ]
    found = search([texts[250] + "!"], texts)
    assert found.is_limited
    pairs = found.pairs("test")
    assert pairs.rows[pairs.similarities.argmax()] == 250, "the row that differs by one mark"


def test_a_search_that_compared_all_candidates_is_not_limited(search: Search) -> None:
    texts = [sentence(i, 12) for i in range(100)]
    found = search(texts, [f"{text} more" for text in texts])
    assert len(pairs_of(found, "test")) == 100
    assert not found.is_limited


def test_candidates_of_a_small_group_are_all_of_it() -> None:
    bands = np.arange(40 * 60, dtype=np.uint32).reshape(60, 40)
    bands[:50, 7] = 9  # 50 rows have one band in common
    index = near_duplicates._BandIndex(bands)
    rows, others = index.candidates(bands[:3], np.array([11, 5, 1]))
    assert sorted(zip(rows.tolist(), others.tolist(), strict=True)) == [
        (row, other) for row in range(3) for other in range(50)
    ]


def test_best_is_the_most_similar_pair_of_each_row_and_can_ask_for_other_labels() -> None:
    pairs = near_duplicates.NearPairs(
        np.array([4, 2, 4, 4]), np.array([0, 1, 2, 3]), np.array([0.5, 0.7, 0.9, 0.8], np.float32),
        np.array([True, False, False, True]),
    )  # fmt: skip
    assert pairs.best().others.tolist() == [1, 2]
    assert pairs.best(differing=True).others.tolist() == [3]


# === Counts of tokens ===


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=10))
def test_hash_counts_are_those_of_a_counter(chunks: list[list[int]]) -> None:
    counts, expected = HashCounts(), collections.Counter[int]()
    for chunk in chunks:
        counts.add(np.array(chunk, np.uint64))
        expected.update(chunk)
    keys, numbers = counts.items()
    assert dict(zip(keys.tolist(), numbers.tolist(), strict=True)) == dict(expected)
    assert counts.total == expected.total()
    asked = np.arange(60, dtype=np.uint64)
    assert counts.counts_of(asked).tolist() == [expected[i] for i in range(60)]


def test_hash_counts_keep_frequent_keys_when_there_are_too_many() -> None:
    counts = HashCounts(max_keys=1000)
    for start in range(0, 50_000, 5000):
        counts.add(np.arange(start, start + 5000, dtype=np.uint64))
        counts.add(np.repeat(np.arange(10**6, 10**6 + 50, dtype=np.uint64), 20))
        counts.items()  # merges, and so prunes
    assert len(counts.items()[0]) <= 1000
    assert counts.counts_of(np.arange(10**6, 10**6 + 50, dtype=np.uint64)).tolist() == [200] * 50


def test_keys_of_pairs_differ_for_each_class() -> None:
    keys = np.arange(1000, dtype=np.uint64)
    combined = np.concatenate([combine(keys, number) for number in range(5)])
    assert len(np.unique(combined)) == 5000
