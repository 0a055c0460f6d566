"""Counts of hashed n-grams."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from textclf import text
from textclf.text.ngrams import (
    CHARACTER_BLOCKS,
    MAX_TOKEN_CHARACTERS,
    WORD_BLOCKS,
    NgramBlock,
    count_ngrams,
)

MODULUS, MULTIPLIER = 2**31 - 1, 1_583_458_089
BUCKETS = 2**20
TEXTS = ["not bad at all at all", "", "a", "été 好 好看", "x" * 65, "end"]


def tokenizer() -> text.Tokenizer:
    return text.Tokenizer(unit="word", lowercase=True, fold_width=True, unescape_entities=True)


def counted(block: NgramBlock, texts: list[str], num_buckets: int = BUCKETS) -> list[Counter]:
    """Return bucket -> count of each text, by the graph."""
    tokens, positions = tokenizer().split_tokens(tf.constant(texts))
    counts = count_ngrams(block, tokens, positions[:, 0], num_buckets)
    result: list[Counter] = [Counter() for _ in texts]
    for row, bucket, count in zip(*(values.numpy() for values in counts), strict=True):
        assert bucket not in result[row], "each pair of text and bucket occurs once"
        result[row][int(bucket)] = int(count)
    return result


def hashed(values: list[int], num_buckets: int) -> int:
    rolling = 1
    for value in values:
        rolling = (rolling * MULTIPLIER + value) % MODULUS
    return (rolling * MULTIPLIER + len(values)) % MODULUS % num_buckets


def expected(block: NgramBlock, words: list[str], num_buckets: int = BUCKETS) -> Counter:
    """Return bucket -> count of one text, in plain Python."""
    sequences: list[list[int]] = []
    if block.kind == "tokens":
        sequences = [[int(tf.strings.to_hash_bucket_fast(word, MODULUS)) for word in words]]
    else:
        sequences = [
            [ord(c) for c in f" {word} "] for word in words if len(word) <= MAX_TOKEN_CHARACTERS
        ]
    counter: Counter = Counter()
    for sequence in sequences:
        for n in range(block.shortest, block.longest + 1):
            for start in range(len(sequence) - n + 1):
                counter[hashed(sequence[start : start + n], num_buckets)] += 1
    return counter


@pytest.mark.parametrize(
    "block", [*WORD_BLOCKS, *CHARACTER_BLOCKS], ids=lambda b: f"{b.kind}-{b.longest}"
)
def test_ngram_counts_follow_the_definition(block: NgramBlock) -> None:
    words = [[word.decode() for word in row] for row in tokenizer()(tf.constant(TEXTS)).to_list()]
    assert counted(block, TEXTS) == [expected(block, row) for row in words]


@pytest.mark.parametrize(
    "block", [*WORD_BLOCKS, *CHARACTER_BLOCKS], ids=lambda b: f"{b.kind}-{b.longest}"
)
def test_ngram_counts_of_a_text_are_the_same_alone_and_in_a_batch(block: NgramBlock) -> None:
    assert counted(block, TEXTS) == [counted(block, [item])[0] for item in TEXTS]


def test_ngrams_with_the_same_bucket_are_counted_together() -> None:
    [few], [many] = counted(WORD_BLOCKS[0], ["a b c d"], 3), counted(WORD_BLOCKS[0], ["a b c d"])
    assert sum(few.values()) == sum(many.values()) == 4 + 3 + 2
    assert set(few) <= {0, 1, 2}


def test_token_of_many_characters_has_no_character_ngrams() -> None:
    block = WORD_BLOCKS[1]
    assert counted(block, ["x" * MAX_TOKEN_CHARACTERS]) != [Counter()]
    assert counted(block, ["x" * (MAX_TOKEN_CHARACTERS + 1)]) == [Counter()]
    assert counted(block, ["x" * 100 + " ok"]) == counted(block, ["ok"])


def test_ngram_hashes_are_spread_evenly() -> None:
    words = [f"w{i}" for i in range(4000)]
    [counts] = counted(NgramBlock("tokens", 1, 1), [" ".join(words)], 64)
    values = np.array([counts[bucket] for bucket in range(64)])
    assert values.sum() == 4000 and values.min() > 30 and values.max() < 110
