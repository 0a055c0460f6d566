"""Text encoder: ids, lengths and counts of texts, alone, in a batch, in tf.data and saved."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import ANY_BYTES, WEIRD, as_bytes, tokenizer

from textclf import text

WORDS = ["the", "film", "is", "good", "bad", "don't", "!", "好", "🙂", "3"]  # ids 2 to 11


@pytest.fixture(scope="module")
def vocabulary_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    text.write_vocabulary(WORDS, path)
    return path


@pytest.fixture(scope="module")
def encoder(vocabulary_path):
    return text.TextEncoder(tokenizer(), vocabulary_path, sequence_length=8, keep="start")


def assert_same(left: text.Encoded, right: text.Encoded) -> None:
    for name, a, b in zip(text.Encoded._fields, left, right, strict=True):
        if b is None:  # without subwords
            assert a is None, name
            continue
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


@pytest.mark.parametrize(
    "value", [tf.constant("good"), tf.constant([["good"]])], ids=["scalar", "matrix"]
)
def test_text_encoder_refuses_a_scalar_or_matrix_of_texts(encoder, value):
    for function in (encoder, encoder.tokenizer):
        with pytest.raises((TypeError, ValueError)):
            function(value)


@settings(max_examples=30, deadline=None)
@given(st.lists(ANY_BYTES, max_size=6))
def test_texts_in_the_same_batch_do_not_change_the_ids_of_a_text(encoder, values):
    together = encoder(tf.constant(values, tf.string))
    for row, value in enumerate(values):
        alone = encoder(tf.constant([value]))
        length = int(alone.lengths[0])
        assert int(together.lengths[row]) == length
        assert alone.token_ids.shape == (1, length)
        ids = together.token_ids[row].numpy()
        np.testing.assert_array_equal(ids[:length], alone.token_ids[0])
        assert not ids[length:].any()
        assert (ids[:length] != text.PADDING_ID).all()
        for name in ("num_tokens", "num_unknown", "truncated"):
            assert getattr(together, name)[row] == getattr(alone, name)[0]


def test_texts_have_the_exact_ids_of_a_ten_word_vocabulary(encoder):
    encoded = encoder(tf.constant(["The film is GOOD!", "", "don’t: 好 :) 3 bad x", "x y z"]))
    expected = [
        [2, 3, 4, 5, 8, 0],
        [1, 0, 0, 0, 0, 0],
        [7, 9, 10, 11, 6, 1],
        [1, 1, 1, 0, 0, 0],
    ]
    assert encoder.vocabulary_size == 12
    assert encoded.token_ids.numpy().tolist() == expected
    assert encoded.token_ids.dtype == tf.int32
    assert encoded.lengths.numpy().tolist() == [5, 1, 6, 3]
    assert encoded.lengths.dtype == tf.int32
    assert encoded.num_tokens.numpy().tolist() == [5, 0, 6, 3]
    assert encoded.num_tokens.dtype == tf.int64
    assert encoded.num_unknown.numpy().tolist() == [0, 0, 1, 3]
    assert encoded.num_unknown.dtype == tf.int64
    assert encoded.truncated.numpy().tolist() == [False] * 4


def test_a_word_outside_the_vocabulary_is_unknown(encoder):
    # Also texts that look like ids, lines of the file, or padding.
    for value in ("films", "0", "1", "filmgood", "[UNK]", "\x00"):
        assert encoder(tf.constant([value])).token_ids[0, 0] == text.UNKNOWN_ID


def test_an_empty_batch_of_texts_has_width_one(encoder):
    encoded = encoder(tf.zeros([0], tf.string))
    shapes = [tuple(field.shape) for field in encoded if field is not None]
    assert shapes == [(0, 1), (0,), (0,), (0,), (0,)]


def test_texts_without_tokens_have_one_unknown_token(encoder):
    encoded = encoder(tf.constant(["", " \u2028", "...", b"\xff"]))
    assert encoded.token_ids.numpy().tolist() == [[1]] * 4
    assert encoded.lengths.numpy().tolist() == [1] * 4
    assert encoded.num_tokens.numpy().tolist() == [0] * 4
    assert encoded.num_unknown.numpy().tolist() == [0] * 4


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
@pytest.mark.parametrize("keep", ["start", "end", "both"])
def test_length_limit_keeps_the_start_or_the_end_or_both_parts_of_a_text(tmp_path, limit, keep):
    names = [f"w{number}" for number in range(20)]
    text.write_vocabulary(names, tmp_path / "v.txt")
    encoder = text.TextEncoder(tokenizer(), tmp_path / "v.txt", sequence_length=limit, keep=keep)
    lengths = [limit - 1, limit, limit + 1, limit + 2, 2 * limit, 20]
    encoded = encoder(tf.constant([" ".join(names[:length]) for length in lengths]))
    tail = limit // 2
    for row, length in enumerate(lengths):
        ids = list(range(2, 2 + length))
        if length > limit:
            ids = {
                "start": ids[:limit],
                "end": ids[length - limit :],
                "both": ids[: limit - tail] + ids[length - tail :],
            }[keep]
        ids = ids or [text.UNKNOWN_ID]
        assert encoded.lengths[row] == len(ids)
        padded = ids + [0] * (limit - len(ids))
        assert encoded.token_ids[row].numpy().tolist() == padded
        assert encoded.num_tokens[row] == length
        assert encoded.truncated[row].numpy() == (length > limit)


def test_unknown_words_are_counted_among_the_kept_tokens_only(vocabulary_path):
    encoder = text.TextEncoder(tokenizer(), vocabulary_path, sequence_length=2, keep="start")
    assert encoder(tf.constant(["x film y z"])).num_unknown.numpy().tolist() == [1]


def test_unknown_words_get_ids_of_hash_buckets(vocabulary_path):
    encoder = text.TextEncoder(
        tokenizer(), vocabulary_path, sequence_length=50, keep="start", hash_buckets=5
    )
    assert encoder.vocabulary_size == 17
    unknown = [f"w{number}" for number in range(40)]
    encoded = encoder(tf.constant([" ".join(["film", *unknown]), "", "w7 good w7"]))
    ids = encoded.token_ids.numpy()
    assert ids[0, 0] == 3
    assert set(ids[0, 1:]) == {12, 13, 14, 15, 16}
    assert ids[1, 0] == text.UNKNOWN_ID  # no token to hash
    assert ids[2, :3].tolist() == [ids[0, 8], 5, ids[0, 8]]
    assert encoded.num_unknown.numpy().tolist() == [40, 0, 2]


@pytest.mark.parametrize("unknown", [{}, {"hash_buckets": 3}, {"subword_buckets": 50}])
def test_token_ids_are_equal_in_tf_data_and_after_saving(tmp_path, unknown):
    path = tmp_path / "vocabulary.txt"
    text.write_vocabulary(WORDS, path)
    encoder = text.TextEncoder(tokenizer(), path, sequence_length=6, keep="both", **unknown)
    batch = tf.constant(
        [as_bytes(value) for value in WEIRD] + [b"the film is bad and the end is good x y :) !"]
    )
    expected = encoder(batch)
    assert expected.truncated.numpy().any()

    (mapped,) = tf.data.Dataset.from_tensors(batch).map(encoder)
    assert_same(mapped, expected)

    tf.saved_model.save(encoder, str(tmp_path / "saved"))
    path.unlink()
    (tmp_path / "saved").rename(tmp_path / "moved")
    assert (tmp_path / "moved/assets/vocabulary.txt").exists()
    loaded = tf.saved_model.load(str(tmp_path / "moved"))
    assert_same(text.Encoded(*loaded(batch)), expected)
    assert loaded(tf.zeros([0], tf.string)).token_ids.shape == (0, 1)


def test_a_text_of_a_hundred_thousand_tokens_is_encoded_and_counted(encoder):
    value = "good film ! " * 33_333 + "x"
    encoded = encoder(tf.constant([value, "bad"]))
    assert encoded.num_tokens.numpy().tolist() == [100_000, 1]
    assert encoded.token_ids.shape == (2, 8)
    counted = text.count_tokens([value], tokenizer())
    assert counted.counts == {"good": 33_333, "film": 33_333, "!": 33_333, "x": 1}


@pytest.mark.parametrize("piece", ["'", " '", ":", ":)", "(", " ", "!", "好", "<", "&", "^", "a"])
def test_a_megabyte_of_a_repeated_string_is_encoded(encoder, piece):
    encoded = encoder(tf.constant([piece * (1_000_000 // len(piece.encode()))]))
    assert 1 <= int(encoded.lengths[0]) <= 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sequence_length": 0}, "sequence_length is 0; expected at least 1"),
        ({"keep": "middle"}, "keep is 'middle'; expected 'start', 'end' or 'both'"),
        ({"hash_buckets": -1}, "hash_buckets is -1; expected at least 0"),
    ],
)
def test_encoder_arguments_out_of_range_are_refused(vocabulary_path, changed, message):
    arguments = {"sequence_length": 8, "keep": "start", **changed}
    with pytest.raises(ValueError, match=message):
        text.TextEncoder(tokenizer(), vocabulary_path, **arguments)


def test_text_encoder_reads_a_vocabulary_rewritten_at_the_same_path(tmp_path):
    path = tmp_path / "vocabulary.txt"
    encoders = []  # kept alive, so that both tables exist
    ids = []
    for vocabulary in (["good", "bad"], ["bad", "good"]):
        text.write_vocabulary(vocabulary, path)
        encoders.append(text.TextEncoder(tokenizer(), path, sequence_length=9, keep="start"))
        ids.append(encoders[-1](tf.constant(["good"])).token_ids.numpy().tolist())
    assert ids == [[[2]], [[3]]]
