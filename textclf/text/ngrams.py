"""N-grams: tokens to counts of hashed word and character n-grams, and to the ids of subwords."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from textclf.text.vocabulary import NUM_RESERVED

# A prime modulus and a multiplier with a good lattice structure (L'Ecuyer 1999, "Tables of linear
# congruential generators of different sizes and good lattice structure"). Both are below 2 ** 31,
# so products stay below 2 ** 62 and int64 never overflows, on any device.
_HASH_MODULUS = 2**31 - 1
_HASH_MULTIPLIER = 1_583_458_089
# A longer token (an address, a row of dashes) has no character n-grams.
MAX_TOKEN_CHARACTERS = 64
_BLANK = 0x20
# Subwords: n-grams of 3 and 4 characters of `<token>`. A token of 5 letters has 9; more of a longer
# token are not read, because the time of a training step grows with their number.
_SHORTEST_SUBWORD, _LONGEST_SUBWORD, SUBWORDS_PER_TOKEN = 3, 4, 8
_FIRST, _LAST = ord("<"), ord(">")
NO_SUBWORD = -1
_CHUNK_TOKENS = 8192


class NgramBlock(NamedTuple):
    """N-grams that are weighted and normalised together.

    Attributes:
        kind: "tokens" for n-grams of adjacent tokens, "characters" for n-grams of the characters
            of one token, with a blank before and after it.
        shortest, longest: smallest and largest n.
    """

    kind: str
    shortest: int
    longest: int


# Word and character n-grams; in a text whose tokens are single characters, as in Chinese, the
# token n-grams are character n-grams already.
WORD_BLOCKS = (NgramBlock("tokens", 1, 3), NgramBlock("characters", 2, 5))
CHARACTER_BLOCKS = (NgramBlock("tokens", 1, 4),)


class NgramCounts(NamedTuple):
    """Occurrences of hashed n-grams; entries are distinct pairs of text and bucket.

    Attributes:
        text: int64 [K], the number of the text in the batch.
        bucket: int64 [K], 0 to num_buckets - 1. N-grams with the same hash share a bucket.
        count: int64 [K], at least 1.
    """

    text: tf.Tensor
    bucket: tf.Tensor
    count: tf.Tensor


def count_ngrams(
    block: NgramBlock, tokens: tf.Tensor, text_of: tf.Tensor, num_buckets: int
) -> NgramCounts:
    """Count the n-grams of a batch of texts.

    Args:
        block: the n-grams to count.
        tokens: string [N], the tokens of all texts in order, as `Tokenizer.split_tokens` returns.
        text_of: int64 [N], the number of each token's text, ascending.
        num_buckets: number of hash buckets, 1 to 2 ** 31 - 1.
    """
    if block.kind == "tokens":
        values = tf.strings.to_hash_bucket_fast(tokens, _HASH_MODULUS)  # int64 [N]
        hashes, texts = _hash_windows(values, text_of, block)
    else:
        codes, token_of = _padded_characters(tokens)
        hashes, owners = _hash_windows(codes, token_of, block)
        texts = tf.gather(text_of, owners)
    keys = texts * num_buckets + hashes % num_buckets
    keys, _, counts = tf.unique_with_counts(keys, tf.int64)
    return NgramCounts(keys // num_buckets, keys % num_buckets, counts)


class NgramSpans(NamedTuple):
    """Occurrences of n-grams and the tokens that they consist of.

    Attributes:
        bucket: int64 [W], 0 to num_buckets - 1.
        start: int64 [W], index of the first token.
        size: int64 [W], number of tokens; 1 for the characters of one token.
    """

    bucket: tf.Tensor
    start: tf.Tensor
    size: tf.Tensor


def ngram_spans(
    block: NgramBlock, tokens: tf.Tensor, text_of: tf.Tensor, num_buckets: int
) -> NgramSpans:
    """Return every occurrence of the n-grams that `count_ngrams` counts.

    Args:
        block, tokens, text_of, num_buckets: as for `count_ngrams`.
    """
    if block.kind == "characters":
        hashes, owners = _hash_windows(*_padded_characters(tokens), block)
        return NgramSpans(hashes % num_buckets, owners, tf.ones_like(owners))
    values = tf.strings.to_hash_bucket_fast(tokens, _HASH_MODULUS)
    hashes, starts, sizes = [], [], []
    for n, hashed, start in _windows(values, text_of, block):
        hashes.append(hashed % num_buckets)
        starts.append(start)
        sizes.append(tf.fill(tf.shape(start), tf.constant(n, tf.int64)))
    return NgramSpans(*(tf.concat(parts, axis=0) for parts in (hashes, starts, sizes)))


def ngrams_across_gaps(
    block: NgramBlock, tokens: tf.Tensor, text_of: tf.Tensor, num_buckets: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the n-grams that appear in a text if one of its tokens is left out.

    They consist of tokens before and after that token. Characters have none: their n-grams are
    within a token.

    Args:
        block, tokens, text_of, num_buckets: as for `count_ngrams`.

    Returns:
        int64 [G], index of the token that is left out, and int64 [G], bucket of the n-gram.
    """
    left_out, buckets = [tf.zeros([0], tf.int64)], [tf.zeros([0], tf.int64)]
    values = tf.strings.to_hash_bucket_fast(tokens, _HASH_MODULUS)
    num_values = tf.size(values, tf.int64)
    for n in range(max(block.shortest, 2), block.longest + 1 if block.kind == "tokens" else 0):
        # Windows of n + 1 tokens, one of them left out.
        starts = tf.range(tf.maximum(num_values - n, 0))
        inside = tf.gather(text_of, starts) == tf.gather(text_of, starts + n)
        starts = tf.boolean_mask(starts, inside)
        for gap in range(1, n):
            rolling = tf.ones_like(starts)
            for offset in range(n + 1):
                if offset != gap:
                    rolling = _extend(rolling, tf.gather(values, starts + offset))
            left_out.append(starts + gap)
            buckets.append(_extend(rolling, n) % num_buckets)
    return tf.concat(left_out, axis=0), tf.concat(buckets, axis=0)


def subword_ids(tokens: tf.Tensor, num_buckets: int) -> tf.Tensor:
    """Return the hashed character n-grams of each token.

        subword_ids(tf.constant(["bad"]), 10_000)    # <ba, bad, ad>, <bad, bad>, and 3 times -1

    They are the n-grams of 3, then of 4 characters of the token between `<` and `>` (Bojanowski et
    al. 2017, "Enriching Word Vectors with Subword Information"). Of more than K, K at equal
    distances are kept, the first 3-gram and the last 4-gram among them.

    Args:
        tokens: string [N].
        num_buckets: number of hash buckets.

    Returns:
        int32 [N, K], 0 to num_buckets - 1, where K is `SUBWORDS_PER_TOKEN`; then `NO_SUBWORD`. A
        token of more than `MAX_TOKEN_CHARACTERS` has none.
    """
    codes, token_of = _padded_characters(tokens, _FIRST, _LAST)
    num_tokens = tf.size(tokens, tf.int64)
    number = tf.zeros([num_tokens], tf.int64)  # of n-grams of each token
    hashes, owners, ranks = [], [], []
    for n in range(_SHORTEST_SUBWORD, _LONGEST_SUBWORD + 1):
        hashed, owner = _hash_windows(codes, token_of, NgramBlock("characters", n, n))
        counts = tf.math.unsorted_segment_sum(tf.ones_like(owner), owner, num_tokens)
        start = tf.cumsum(counts, exclusive=True)
        hashes.append(hashed)
        owners.append(owner)
        ranks.append(tf.range(tf.size(owner, tf.int64)) + tf.gather(number - start, owner))
        number += counts
    owner, rank = tf.concat(owners, axis=0), tf.concat(ranks, axis=0)
    steps = tf.constant(SUBWORDS_PER_TOKEN - 1, tf.int64)
    # A token with more than K n-grams keeps the ranks `slot * last // steps`.
    last = tf.maximum(tf.gather(number, owner) - 1, steps)
    slot = -(-rank * steps // last)
    kept = tf.where(slot * last // steps == rank)[:, 0]
    ids = tf.cast(tf.gather(tf.concat(hashes, axis=0) % num_buckets, kept), tf.int32)
    return tf.tensor_scatter_nd_update(
        tf.fill(tf.stack([num_tokens, steps + 1]), NO_SUBWORD),
        tf.stack([tf.gather(owner, kept), tf.gather(slot, kept)], axis=1),
        ids,
    )


def subwords_of_vocabulary(vocabulary: Sequence[str], num_buckets: int) -> np.ndarray:
    """Return `subword_ids` of every token id, int32 [2 + vocabulary, K].

    Padding and the unknown token have no n-grams.

    Args:
        vocabulary: the tokens, in the order of their ids.
        num_buckets: number of hash buckets.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def hash_tokens(tokens: tf.Tensor) -> tf.Tensor:
        return subword_ids(tokens, num_buckets)

    table = np.full((NUM_RESERVED + len(vocabulary), SUBWORDS_PER_TOKEN), NO_SUBWORD, np.int32)
    for start in range(0, len(vocabulary), _CHUNK_TOKENS):
        chunk = vocabulary[start : start + _CHUNK_TOKENS]
        row = NUM_RESERVED + start
        table[row : row + len(chunk)] = hash_tokens(tf.constant(chunk)).numpy()
    return table


def _padded_characters(
    tokens: tf.Tensor, first: int = _BLANK, last: int = _BLANK
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the code points of all tokens, each token between two further ones.

    Args:
        tokens: string [N].
        first, last: code points before and after each token.

    Returns:
        int64 [M] code points, and int64 [M] the number of each one's token. Tokens of more than
        `MAX_TOKEN_CHARACTERS` are left out.
    """
    codes = tf.strings.unicode_decode(tokens, "UTF-8")  # ragged int32 [N, None]
    lengths = tf.cast(codes.row_lengths(), tf.int64)  # [N]
    kept = tf.where(lengths <= MAX_TOKEN_CHARACTERS)[:, 0]  # [N']
    codes, lengths = tf.gather(codes, kept), tf.gather(lengths, kept)
    position = tf.range(tf.size(codes.flat_values, tf.int64))
    # Each token before adds two code points, and the token's own first one.
    position += 2 * tf.cast(codes.value_rowids(), tf.int64) + 1
    size = tf.reduce_sum(lengths + 2)
    padded = tf.fill([size], tf.constant(first, tf.int64))
    if last != first:
        ends = tf.cumsum(lengths + 2)
        lasts = tf.fill(tf.shape(ends), tf.constant(last, tf.int64))
        padded = tf.tensor_scatter_nd_update(padded, (ends - 1)[:, tf.newaxis], lasts)
    padded = tf.tensor_scatter_nd_update(
        padded,
        position[:, tf.newaxis],
        tf.cast(codes.flat_values, tf.int64),
    )
    return padded, tf.repeat(kept, lengths + 2)


def _hash_windows(
    values: tf.Tensor, owner_of: tf.Tensor, block: NgramBlock
) -> tuple[tf.Tensor, tf.Tensor]:
    """Hash all windows of adjacent values that have the same owner.

    Args:
        values: int64 [M], 0 to 2 ** 31 - 2.
        owner_of: int64 [M], ascending.

    Returns:
        int64 [W] hashes below 2 ** 31 - 1, and int64 [W] their owners.
    """
    hashes, owners = [], []
    for _, hashed, start in _windows(values, owner_of, block):
        hashes.append(hashed)
        owners.append(tf.gather(owner_of, start))
    return tf.concat(hashes, axis=0), tf.concat(owners, axis=0)


def _windows(
    values: tf.Tensor, owner_of: tf.Tensor, block: NgramBlock
) -> Iterator[tuple[int, tf.Tensor, tf.Tensor]]:
    """Yield n, the hashes, int64 [W], and the first positions, int64 [W], of the windows of n."""
    num_values = tf.size(values)
    # A polynomial of the values that starts with 1 and ends with n, so that windows of different
    # lengths differ.
    rolling = tf.ones_like(values)
    for n in range(1, block.longest + 1):
        num_windows = tf.maximum(num_values - (n - 1), 0)
        rolling = _extend(rolling[:num_windows], values[n - 1 :])  # [M - n + 1]
        if n >= block.shortest:
            inside = tf.where(owner_of[:num_windows] == owner_of[n - 1 :])[:, 0]
            yield n, _extend(tf.gather(rolling, inside), n), inside


def _extend(rolling: tf.Tensor, value: tf.Tensor | int) -> tf.Tensor:
    """Return the hashes of longer sequences from those of their beginnings, int64 [W]."""
    return (rolling * _HASH_MULTIPLIER + value) % _HASH_MODULUS
