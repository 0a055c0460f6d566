"""N-grams: tokens to counts of hashed word and character n-grams."""

from typing import NamedTuple

import tensorflow as tf

# A prime modulus and a multiplier with a good lattice structure (L'Ecuyer 1999, "Tables of linear
# congruential generators of different sizes and good lattice structure"). Both are below 2 ** 31,
# so products stay below 2 ** 62 and int64 never overflows, on any device.
_HASH_MODULUS = 2**31 - 1
_HASH_MULTIPLIER = 1_583_458_089
# A longer token (an address, a row of dashes) has no character n-grams.
MAX_TOKEN_CHARACTERS = 64
_BLANK = 0x20


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


def _padded_characters(tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the code points of all tokens, each token between two blanks.

    Args:
        tokens: string [N].

    Returns:
        int64 [M] code points, and int64 [M] the number of each one's token. Tokens of more than
        `MAX_TOKEN_CHARACTERS` are left out.
    """
    codes = tf.strings.unicode_decode(tokens, "UTF-8")  # ragged int32 [N, None]
    lengths = tf.cast(codes.row_lengths(), tf.int64)  # [N]
    kept = tf.where(lengths <= MAX_TOKEN_CHARACTERS)[:, 0]  # [N']
    codes, lengths = tf.gather(codes, kept), tf.gather(lengths, kept)
    position = tf.range(tf.size(codes.flat_values, tf.int64))
    # Each token before adds two blanks, and the token's own first blank one.
    position += 2 * tf.cast(codes.value_rowids(), tf.int64) + 1
    size = tf.reduce_sum(lengths + 2)
    padded = tf.tensor_scatter_nd_update(
        tf.fill([size], tf.constant(_BLANK, tf.int64)),
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
    num_values = tf.size(values)
    hashes, owners = [], []
    # A polynomial of the values that starts with 1 and ends with n, so that windows of different
    # lengths differ.
    rolling = tf.ones_like(values)
    for n in range(1, block.longest + 1):
        num_windows = tf.maximum(num_values - (n - 1), 0)
        last = values[n - 1 :]  # [M - n + 1]
        rolling = (rolling[:num_windows] * _HASH_MULTIPLIER + last) % _HASH_MODULUS
        if n >= block.shortest:
            owner = owner_of[:num_windows]
            inside = tf.where(owner == owner_of[n - 1 :])[:, 0]
            window = tf.gather(rolling, inside)
            hashes.append((window * _HASH_MULTIPLIER + n) % _HASH_MODULUS)
            owners.append(tf.gather(owner, inside))
    return tf.concat(hashes, axis=0), tf.concat(owners, axis=0)
