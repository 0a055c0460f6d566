"""Vocabulary: the tokens of a training split, counted, selected, written and read."""

import collections
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from textclf.errors import ArtifactError
from textclf.text.tokenizer import TEXTS, Tokenizer, chunk_texts, to_utf8

# The token on line i of a vocabulary file (from 0) has the id i + NUM_RESERVED.
PADDING_ID = 0  # tf.scatter_nd also fills with 0
UNKNOWN_ID = 1
NUM_RESERVED = 2


@dataclasses.dataclass(frozen=True)
class TokenCounts:
    """Number of occurrences of each token in a set of texts.

    Attributes:
        counts: token to number of occurrences.
        num_texts: number of texts.
        num_tokens: number of tokens in them, pruned ones included.
        num_pruned: number of entries dropped to limit the memory. 0: `counts` is exact. Otherwise
            rare tokens are missing and the counts of others may be too small, but frequent tokens
            are there.
    """

    counts: collections.Counter[str]
    num_texts: int
    num_tokens: int
    num_pruned: int


def count_tokens(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    *,
    batch_size: int = 1024,
    prune_above: int = 2_000_000,
) -> TokenCounts:
    """Count the tokens of texts, which are read once as a stream.

    Memory is limited: texts are read in chunks (`chunk_texts`), and whenever more than
    `prune_above` distinct tokens are known, the rarest are dropped until a quarter of the room is
    free (lossy counting, Manku and Motwani 2002).
    """

    @tf.function(input_signature=[TEXTS], autograph=False)
    def count(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # Tokens are counted within the batch, so that only distinct ones are copied to Python.
        return tf.unique_with_counts(tokenizer(batch).flat_values, out_idx=tf.int64)

    counts: collections.Counter[bytes] = collections.Counter()
    num_texts = num_tokens = num_pruned = 0
    for chunk in chunk_texts(texts, batch_size):
        tokens, _, chunk_counts = count(tf.constant([to_utf8(text) for text in chunk]))
        tokens, chunk_counts = tokens.numpy(), chunk_counts.numpy()
        for token, token_count in zip(tokens.tolist(), chunk_counts.tolist(), strict=True):
            counts[token] += token_count
        num_texts += len(chunk)
        num_tokens += int(chunk_counts.sum())
        if len(counts) > prune_above:
            num_pruned += _prune(counts, prune_above - prune_above // 4)
    decoded: collections.Counter[str] = collections.Counter()
    while counts:  # popped one by one, so that two million tokens are not in memory twice
        token, token_count = counts.popitem()
        decoded[token.decode()] = token_count
    return TokenCounts(
        counts=decoded,
        num_texts=num_texts,
        num_tokens=num_tokens,
        num_pruned=num_pruned,
    )


def _prune(counts: collections.Counter[bytes], max_left: int) -> int:
    """Drop all tokens with one occurrence, then with two, and so on; return the number dropped."""
    num_with_count = collections.Counter(counts.values())
    left, threshold = len(counts), 0
    for threshold in sorted(num_with_count):
        left -= num_with_count[threshold]
        if left <= max_left:
            break
    dropped = [token for token, count in counts.items() if count <= threshold]
    for token in dropped:
        del counts[token]
    return len(dropped)


def build_vocabulary(
    counts: collections.Counter[str], *, min_count: int, max_tokens: int
) -> list[str]:
    """Return the tokens to keep, sorted by descending count, then by code points.

    Args:
        counts: the counts of `count_tokens` on the training split alone.
        min_count: smallest number of occurrences of a token that is kept.
        max_tokens: largest number of tokens kept, without padding, unknown and hash buckets.
    """
    tokens = [token for token, count in counts.items() if count >= min_count]
    tokens.sort(key=lambda token: (-counts[token], token))
    return tokens[:max_tokens]


def write_vocabulary(tokens: Iterable[str], path: str | os.PathLike[str]) -> None:
    r"""Write one token per line, UTF-8, line ends `\n`.

    Raises:
        ValueError: a token is empty, occurs twice, or would be read as several lines.
    """
    tokens = list(tokens)
    for token in tokens:
        if token.splitlines() != [token]:
            raise ValueError(f"token {token!r} is not one line; a Tokenizer never produces it")
    repeated = [token for token, count in collections.Counter(tokens).items() if count > 1]
    if repeated:
        raise ValueError(f"token {repeated[0]!r} is repeated in the vocabulary; write it once")
    Path(path).write_bytes("".join(f"{token}\n" for token in tokens).encode())


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    r"""Return the tokens of a vocabulary file, in the order of their ids.

    Raises:
        ArtifactError: the file cannot be read, is not UTF-8, or has a line that is not a token or
            repeats one.
    """
    try:
        lines = Path(path).read_bytes().decode().split("\n")
    except OSError as error:
        raise ArtifactError(
            f"{path}: the vocabulary cannot be read ({error.strerror}); restore the file from a"
            " copy or train again"
        ) from error
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: the vocabulary is not UTF-8 at byte {error.start}; restore the file from a"
            " copy or train again"
        ) from error
    if lines[-1] == "":
        lines.pop()
    line_of_token: dict[str, int] = {}
    for number, token in enumerate(lines, start=1):
        is_repeated = token in line_of_token
        if is_repeated or token.splitlines() != [token]:
            problem = f"repeats line {line_of_token[token]}" if is_repeated else "is not a token"
            raise ArtifactError(
                f"{path}:{number}: the line {problem}; expected one token per line, each once;"
                " restore the file from a copy or train again"
            )
        line_of_token[token] = number
    return lines
