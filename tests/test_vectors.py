"""Vectors: pre-trained token vectors read from text files."""

import numpy as np
import pytest

from textclf import text
from textclf.errors import DataError


def test_vectors_are_placed_at_the_ids_of_their_tokens(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("3 2\ngood 1 2\nother 5 6\nbad 3 4\ngood 7 8\n")
    matrix, num_known = text.read_vectors(path, ["bad", "rare", "good"], dim=2, hash_buckets=2)
    assert num_known == 2
    assert (matrix.shape, matrix.dtype) == ((7, 2), np.float32)
    assert matrix[[0, 2, 4]].tolist() == [[0, 0], [3, 4], [1, 2]]
    assert np.all(matrix[[1, 3, 5, 6]] != 0)


def test_tokens_without_a_vector_depend_on_the_seed_alone(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 2\n")
    first, again, other = (
        text.read_vectors(path, ["good", "rare"], dim=2, seed=seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first[3] != other[3])


def test_vectors_of_tokens_with_blanks_are_read_from_the_end_of_the_line(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(". . . 1 2\ngood 3 4\n")
    matrix, num_known = text.read_vectors(path, ["good"], dim=2)
    assert num_known == 1 and matrix[2].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"v\.txt: the vectors cannot be read \(No such file"),
        ("other 1 2\ngood 1\n", r"v\.txt:2: expected a token and 2 numbers, found 1 fields"),
        ("good 1 x\n", r"v\.txt:1: expected a token and 2 numbers"),
        ("other 1 2\n", r"v\.txt: has no token of the vocabulary"),
    ],
)
def test_unusable_vectors_are_refused_with_file_and_line(tmp_path, content, message):
    path = tmp_path / "v.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        text.read_vectors(path, ["good"], dim=2)
