"""Vocabulary: counting, selecting, writing and reading tokens."""

import collections
import itertools

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import ANY_BYTES, tokenize, tokenizer

from textclf import text
from textclf.errors import ArtifactError
from textclf.text import vocabulary


def test_token_counts_equal_a_python_counter():
    texts = ["Good film!", "", "good, GOOD; bad", "好 film &lt;3", "\ud83d half a pair"] * 3
    expected = collections.Counter(itertools.chain.from_iterable(tokenize(*texts)))
    for batch_size in (1, 4, 1024):
        counted = text.count_tokens(iter(texts), tokenizer(), batch_size=batch_size)
        assert counted.counts == expected
        assert counted.num_tokens == expected.total()
        assert counted.num_texts == 15
        assert counted.num_pruned == 0
    assert expected["good"] == 9
    assert text.count_tokens([], tokenizer()) == text.TokenCounts(collections.Counter(), 0, 0, 0)


def test_character_unit_counts_characters():
    assert text.count_tokens(["Ab, b"], tokenizer(unit="character")).counts == {
        **{"a": 1, "b": 2, ",": 1},
    }


def test_pruning_is_reported_and_keeps_frequent_words():
    texts = [f"the film number w{number}" for number in range(1000)]
    exact = text.count_tokens(texts, tokenizer(), batch_size=10, prune_above=1003)
    assert exact.num_pruned == 0
    assert len(exact.counts) == 1003
    pruned = text.count_tokens(texts, tokenizer(), batch_size=10, prune_above=100)
    assert len(pruned.counts) <= 100
    assert pruned.num_pruned == 1003 - len(pruned.counts)
    assert pruned.num_tokens == 4000
    for word in ("the", "film", "number"):
        assert pruned.counts[word] == 1000


def test_pruning_drops_the_rarest_tokens_first():
    counts = collections.Counter({b"e": 9, b"d": 3, b"a": 1, b"b": 2, b"c": 2})
    assert vocabulary._prune(counts, 4) == 1
    assert counts == {b"b": 2, b"c": 2, b"d": 3, b"e": 9}
    assert vocabulary._prune(counts, 3) == 2
    assert counts == {b"d": 3, b"e": 9}


def test_vocabulary_is_sorted_by_frequency_then_token():
    tokens = ["b", "a", "é", "Z", "好", "c", "🙂", "\uff5e"]
    counts = dict.fromkeys(tokens, 2) | {"c": 3, "rare": 1}
    expected = ["c", "Z", "a", "b", "é", "好", "\uff5e", "🙂"]
    for order in (list(counts), sorted(counts), sorted(counts, reverse=True)):
        counter = collections.Counter({token: counts[token] for token in order})
        assert text.build_vocabulary(counter, min_count=2, max_tokens=100) == expected
        assert text.build_vocabulary(counter, min_count=1, max_tokens=9) == [*expected, "rare"]
        assert text.build_vocabulary(counter, min_count=2, max_tokens=3) == expected[:3]
        assert text.build_vocabulary(counter, min_count=4, max_tokens=3) == []


def test_order_of_texts_does_not_change_the_vocabulary():
    texts = ["b a", "c b", "a d é z 好"]
    vocabularies = {
        tuple(
            text.build_vocabulary(
                text.count_tokens(order, tokenizer()).counts, min_count=1, max_tokens=9
            )
        )
        for order in itertools.permutations(texts)
    }
    assert vocabularies == {("a", "b", "c", "d", "z", "é", "好")}


@settings(max_examples=30, deadline=None)
@given(st.lists(ANY_BYTES, max_size=8))
def test_written_vocabulary_of_arbitrary_texts_is_read_unchanged(tmp_path_factory, values):
    tokens = sorted(set(itertools.chain.from_iterable(tokenize(b"x", *values))))
    path = tmp_path_factory.mktemp("any") / "vocabulary.txt"
    text.write_vocabulary(tokens, path)
    assert text.read_vocabulary(path) == tokens
    encoder_ids = text.TextEncoder(tokenizer(), path, sequence_length=1, keep="start")._look_up(
        tf.constant([token.encode() for token in tokens])
    )
    assert encoder_ids.numpy().tolist() == list(range(2, 2 + len(tokens)))


@pytest.mark.parametrize("token", ["", "a\nb", "a\u2028b", "a\x85", "\x1c", "\r", "\ud800"])
def test_writing_a_token_with_a_line_break_is_refused(tmp_path, token):
    with pytest.raises(ValueError):
        text.write_vocabulary(["good", token], tmp_path / "v.txt")
    assert not (tmp_path / "v.txt").exists()


def test_writing_a_repeated_token_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'a' is repeated"):
        text.write_vocabulary(["a", "b", "a"], tmp_path / "v.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"v\.txt: the vocabulary cannot be read \(No such file"),
        (b"", r"v\.txt: the vocabulary is empty"),
        (b"good\n\nfilm\n", r"v\.txt:2: the line is not a token"),
        (b"good\r\nfilm\r\n", r"v\.txt:1: the line is not a token"),
        ("good\u2028film\n".encode(), r"v\.txt:1: the line is not a token"),
        (b"good\nfilm\ngood\n", r"v\.txt:3: the line repeats line 1"),
        (b"good\n\xff\n", r"v\.txt: the vocabulary is not UTF-8 at byte 5"),
    ],
)
def test_a_damaged_vocabulary_file_is_refused(tmp_path, content, message):
    path = tmp_path / "v.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        text.TextEncoder(tokenizer(), path, sequence_length=8, keep="start")


def test_vocabulary_of_english_reviews_contains_the_common_words(real_data):
    tfds = pytest.importorskip("tensorflow_datasets")
    data = tfds.load("imdb_reviews", split="train[:2000]", data_dir=real_data / "tfds")
    texts = [value["text"].decode() for value in tfds.as_numpy(data)]
    counted = text.count_tokens(texts, tokenizer())
    blanks = sum(len(value.split()) for value in texts)
    assert 0.95 * blanks < counted.num_tokens < 1.1 * blanks
    vocabulary = text.build_vocabulary(counted.counts, min_count=5, max_tokens=20_000)
    assert set(vocabulary[:3]) == {"the", "and", "a"}
    assert {"don't", "it's", "!", "?", "movie"} <= set(vocabulary[:200])
    assert "br" not in counted.counts
