"""Pre-trained token vectors, read from a text file."""

import os
from collections.abc import Sequence

import numpy as np

from textclf.errors import DataError
from textclf.text.vocabulary import NUM_RESERVED, PADDING_ID


def read_vectors(
    path: str | os.PathLike[str],
    vocabulary: Sequence[str],
    *,
    dim: int,
    hash_buckets: int = 0,
    seed: int = 0,
) -> tuple[np.ndarray, int]:
    """Return initial token vectors from a GloVe, word2vec or fastText text file.

    A line is a token and `dim` numbers, separated by blanks. A first line of two numbers (word2vec,
    fastText) is skipped. Tokens without a vector get normally distributed random numbers with the
    standard deviation of the vectors read.

    Args:
        path: UTF-8 text; read as a stream.
        vocabulary: the tokens, in the order of their ids.
        dim: length of a vector.
        hash_buckets: number of ids after the vocabulary.
        seed: of the random vectors.

    Returns:
        The vectors, float32 [2 + vocabulary + hash_buckets, dim], and the number of tokens of the
        vocabulary that have a vector in the file.

    Raises:
        DataError: the file cannot be read, a line does not have `dim` numbers, or no token of the
            vocabulary is in the file.
    """
    ids = {token: token_id for token_id, token in enumerate(vocabulary, start=NUM_RESERVED)}
    vectors = _read_known(path, ids, dim)
    if not vectors:
        raise DataError(
            f"{path}: has no token of the vocabulary; use vectors for the language and the case "
            "of the texts (text.lowercase)"
        )
    spread = float(np.std(np.stack(list(vectors.values()))))
    size = NUM_RESERVED + len(vocabulary) + hash_buckets
    matrix = np.random.default_rng(seed).normal(0, spread, (size, dim)).astype(np.float32)
    matrix[PADDING_ID] = 0
    for token_id, vector in vectors.items():
        matrix[token_id] = vector
    return matrix, len(vectors)


def _read_known(
    path: str | os.PathLike[str], ids: dict[str, int], dim: int
) -> dict[int, np.ndarray]:
    """Return the vectors of a file by token id; the first line of a repeated token counts."""
    vectors: dict[int, np.ndarray] = {}
    number, line = 0, ""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                # Split from the right: tokens of some files contain blanks.
                fields = line.rstrip(" \r\n").rsplit(" ", dim)
                if number == 1 and len(line.split()) == 2:
                    continue
                token_id = ids.get(fields[0])
                if len(fields) == dim + 1 and token_id is None:
                    continue
                vector = np.array(fields[1:], np.float32)
                if len(vector) != dim or " " in fields[0]:
                    raise ValueError
                if token_id is not None and token_id not in vectors:
                    vectors[token_id] = vector
    except OSError as error:
        raise DataError(
            f"{path}: the vectors cannot be read ({error.strerror}); set model.embedding_vectors "
            "to a GloVe, word2vec or fastText text file"
        ) from None
    except ValueError:
        raise DataError(
            f"{path}:{number}: expected a token and {dim} numbers, found "
            f"{len(line.split()) - 1} fields after the token; set model.embedding_dim to the width "
            "of the vectors"
        ) from None
    return vectors
