"""Subwords: n-grams of known and unknown words, and the vectors that follow from them."""

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_ngrams import hashed

from textclf import batches, data, networks, text
from textclf.config import Config, Training
from textclf.errors import ConfigError
from textclf.tasks import OneOf
from textclf.text.ngrams import MAX_TOKEN_CHARACTERS, NO_SUBWORD, subword_ids
from textclf.training.optimization import Optimizer, TrainStep
from textclf.training.row_adam import NgramAdam

BUCKETS, DIM = 1009, 5
WORDS = [
    "bad",
    "a",
    "unbelievably",
    "extraordinarily",
    "café",
    "été",
    "我",
    "电影",
    "😀",
    "😀🎉",
    "...",
]
TOKENIZER = {"unit": "word", "lowercase": True, "fold_width": True, "unescape_entities": True}
ENCODER: dict[str, Any] = {"sequence_length": 50, "keep": "start", "subword_buckets": BUCKETS}


def expected_ids(word: str, num_buckets: int = BUCKETS) -> list[int]:
    """Return the n-grams of a word, in plain Python."""
    characters = [ord(c) for c in f"<{word}>"]
    ids = [
        hashed(characters[start : start + n], num_buckets)
        for n in (3, 4)
        for start in range(len(characters) - n + 1)
    ]
    most = text.SUBWORDS_PER_TOKEN
    if len(ids) > most:
        ids = [ids[i * (len(ids) - 1) // (most - 1)] for i in range(most)]
    return ids


def encoder_of(folder: Path, vocabulary: list[str], **changes: Any) -> text.TextEncoder:
    path = folder / "vocabulary.txt"
    text.write_vocabulary(vocabulary, path)
    return text.TextEncoder(text.Tokenizer(**TOKENIZER), path, **(ENCODER | changes))


def ids_without_padding(row: np.ndarray) -> list[int]:
    return [int(i) for i in row if i != NO_SUBWORD]


# === N-grams ===


def test_ngrams_of_a_word_are_those_of_3_and_4_characters_between_angle_brackets() -> None:
    found = subword_ids(tf.constant(WORDS), BUCKETS).numpy()
    assert found.dtype == np.int32 and found.shape == (len(WORDS), text.SUBWORDS_PER_TOKEN)
    assert [ids_without_padding(row) for row in found] == [expected_ids(word) for word in WORDS]
    lengths = [len(expected_ids(word)) for word in WORDS]
    assert min(lengths) == 1 and lengths.count(text.SUBWORDS_PER_TOKEN) == 2, "short and long words"


def test_ngrams_of_the_vocabulary_are_those_of_the_same_words_as_unknown_words(
    tmp_path: Path,
) -> None:
    table = text.subwords_of_vocabulary(WORDS, BUCKETS)
    encoder = encoder_of(tmp_path, ["other"])
    encoded = encoder(tf.constant([" ".join(WORDS)]))
    tokens = encoder.tokenizer(tf.constant([" ".join(WORDS)])).flat_values.numpy()
    row_of = {word: table[2 + i] for i, word in enumerate(WORDS)}
    compared = 0
    for token, row in zip(tokens, encoded.unknown_subwords.numpy(), strict=True):
        if token.decode() in row_of:
            np.testing.assert_array_equal(row, row_of[token.decode()])
            compared += 1
    assert compared >= 8, "English, accented, Chinese and emoji"
    assert (table[:2] == NO_SUBWORD).all(), "padding and the unknown token have no n-grams"


def test_large_vocabulary_has_the_ngrams_of_each_word() -> None:
    vocabulary = [f"w{i}" for i in range(10_000)]
    table = text.subwords_of_vocabulary(vocabulary, BUCKETS)
    for i in (0, 8191, 8192, 9999):
        assert ids_without_padding(table[2 + i]) == expected_ids(f"w{i}")


# === Encoder ===


def test_unknown_tokens_have_numbers_in_their_order_and_empty_texts_have_none(
    tmp_path: Path,
) -> None:
    encoder = encoder_of(tmp_path, ["good", "film"])
    encoded = encoder(tf.constant(["good zork film", "", "blib zork"]))
    assert encoded.token_ids.numpy().tolist() == [[2, -1, 3], [1, 0, 0], [-2, -3, 0]]
    assert encoded.num_unknown.numpy().tolist() == [1, 0, 2]
    rows = encoded.unknown_subwords.numpy()
    np.testing.assert_array_equal(rows[0], rows[2])  # zork and zork
    assert rows[0].tolist() != rows[1].tolist()


def test_unknown_tokens_beyond_the_length_limit_have_no_numbers(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, ["good"], sequence_length=3, keep="both")
    encoded = encoder(tf.constant(["aaa good bbb ccc ddd", "eee"]))
    assert encoded.token_ids.numpy().tolist() == [[-1, 2, -2], [-3, 0, 0]]
    found = [ids_without_padding(row) for row in encoded.unknown_subwords.numpy()]
    assert found == [expected_ids(word) for word in ("aaa", "ddd", "eee")]


def test_word_of_100_000_characters_has_no_ngrams_and_a_row_of_the_usual_size(
    tmp_path: Path,
) -> None:
    encoder = encoder_of(tmp_path, ["good"])
    longest = "x" * MAX_TOKEN_CHARACTERS
    encoded = encoder(tf.constant(["y" * 100_000 + " " + longest]))
    rows = encoded.unknown_subwords.numpy()
    assert rows.shape == (2, text.SUBWORDS_PER_TOKEN)
    assert (rows[0] == NO_SUBWORD).all()
    assert ids_without_padding(rows[1]) == expected_ids(longest)


def test_encoder_without_subwords_gives_the_unknown_id_and_no_ngrams(tmp_path: Path) -> None:
    encoded = encoder_of(tmp_path, ["good"], subword_buckets=0)(tf.constant(["good zork"]))
    assert encoded.token_ids.numpy().tolist() == [[2, 1]]
    assert encoded.unknown_subwords is None


# === Batches ===


@pytest.fixture(scope="module")
def prepared(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> batches.Prepared:
    return batches.prepare(
        data.open_dataset(source=str(reviews)),
        folder=tmp_path_factory.mktemp("batches"),
        cache_dir=None,
        tokenizer=TOKENIZER,
        encoder=ENCODER | {"sequence_length": 12},
        min_count=30,
        max_tokens=1000,
        shuffle_buffer=40,
    )


def test_batches_have_the_ngrams_of_their_unknown_tokens(
    reviews: Path, prepared: batches.Prepared
) -> None:
    examples = list(data.open_dataset(source=str(reviews)).examples("train"))
    encoder = text.TextEncoder(
        text.Tokenizer(**TOKENIZER),
        prepared.vocabulary_path,
        **(ENCODER | {"sequence_length": 12}),
    )
    num_unknown = 0
    for batch in batches.training_batches(
        prepared.train, batch_size=16, length_buckets=4, shuffle_buffer=40, seed=0, epoch=1
    ):
        chosen = [examples[row] for row in batch.rows.numpy()]
        encoded = encoder(tf.constant([example.text for example in chosen]))
        width = encoded.token_ids.shape[1]
        np.testing.assert_array_equal(batch.features["token_ids"][:, :width], encoded.token_ids)
        np.testing.assert_array_equal(batch.features["unknown_subwords"], encoded.unknown_subwords)
        labels = [example.label_ids[0] for example in chosen]
        np.testing.assert_array_equal(batch.targets, np.eye(2, dtype=np.float32)[labels])
        num_unknown += len(encoded.unknown_subwords)
    assert num_unknown > 100


# === Vectors ===


def make_network(encoder: str = "bag", **arguments: Any) -> networks.Network:
    """Return a network of `WORDS` with random weights."""
    architecture = networks.Architecture(
        encoder=encoder, bidirectional=encoder != "bag", units=3, num_layers=1, pooling="mean",
        embedding_dim=DIM,
    )  # fmt: skip
    network = networks.build(
        architecture,
        vocabulary_size=2 + len(WORDS),
        num_classes=2,
        subword_ids=text.subwords_of_vocabulary(WORDS, BUCKETS),
        subword_buckets=BUCKETS,
        **arguments,
    )
    random = np.random.default_rng(3)
    for variable in network.parameters:
        variable.assign(random.normal(size=variable.shape))
    return network


def tables(network: networks.Network) -> tuple[np.ndarray, np.ndarray]:
    subwords = network.encoder.subwords
    assert subwords is not None
    return network.encoder.embedding.embeddings.numpy(), subwords.table.embeddings.numpy()


def expected_vector(network: networks.Network, word: str) -> np.ndarray:
    """Return own vector and mean of the n-grams, in NumPy."""
    own, ngrams = tables(network)
    token_id = 2 + WORDS.index(word) if word in WORDS else 1
    ids = [] if word == "" or len(word) > MAX_TOKEN_CHARACTERS else expected_ids(word)
    return own[token_id] + (ngrams[ids].mean(axis=0) if ids else 0)


def features_of(words: list[list[str]]) -> networks.Features:
    """Return the features of rows of words."""
    unknown = [word for word in itertools.chain(*words) if word and word not in WORDS]
    numbers = itertools.count(1)
    ids = [
        [2 + WORDS.index(w) if w in WORDS else 1 if w == "" else -next(numbers) for w in row]
        for row in words
    ]
    width = max(map(len, ids))
    return {
        "token_ids": tf.constant([row + [0] * (width - len(row)) for row in ids]),
        "lengths": tf.constant([len(row) for row in ids]),
        "unknown_subwords": subword_ids(tf.constant(unknown, tf.string), BUCKETS),
    }


ROWS = [["bad", "zork", "bad", "电影"], ["zork", "blib", "x" * 70], [""], ["unbelievably"]]


def test_vector_of_a_token_is_its_own_plus_the_mean_of_its_ngrams() -> None:
    network = make_network()
    features = features_of(ROWS)
    vectors = network.encoder.token_vectors(features["token_ids"], features["unknown_subwords"])
    for row, words in enumerate(ROWS):
        for column, word in enumerate(words):
            np.testing.assert_allclose(
                vectors[row, column], expected_vector(network, word), atol=1e-6, err_msg=word
            )


def test_unknown_words_differ_and_equal_unknown_words_agree() -> None:
    network = make_network()
    features = features_of([["zork", "blib", "zork"]])
    vectors = network.encoder.embed(
        features["token_ids"], unknown_subwords=features["unknown_subwords"]
    )[0].numpy()
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1


@pytest.mark.parametrize("encoder", ["bag", "lstm", "gru", "simple_rnn"])
def test_network_for_exports_gives_the_logits_of_the_network(encoder: str) -> None:
    network = make_network(encoder)
    serving = networks.ServingNetwork(network)
    for rows in (ROWS, [["zork"]], [["bad", "a"]], ROWS * 10):
        features = features_of(rows)
        np.testing.assert_allclose(serving(features), network(features), atol=1e-5)


def test_ngrams_begin_at_zero_and_leave_the_other_initial_weights_unchanged() -> None:
    settings = {"encoder": "gru", "bidirectional": True, "units": 3, "num_layers": 1}
    architecture = networks.Architecture(**settings, pooling="max", embedding_dim=DIM)
    arguments: dict[str, Any] = {"vocabulary_size": 13, "num_classes": 2, "seed": 4}
    without = networks.build(architecture, **arguments)
    ids = text.subwords_of_vocabulary(WORDS, BUCKETS)
    with_ngrams = networks.build(
        architecture, subword_ids=ids, subword_buckets=BUCKETS, **arguments
    )
    weights = with_ngrams.named_parameters
    assert not weights.pop("network/subwords/embeddings").numpy().any()
    expected = without.named_parameters
    assert list(weights) == list(expected)
    for name, variable in weights.items():
        np.testing.assert_array_equal(variable.numpy(), expected[name].numpy())


# === Gradients ===


def dense_losses(own: tf.Tensor, ngrams: tf.Tensor, network: networks.Network) -> tf.Tensor:
    """Return the mean loss of `ROWS` and `TARGETS` with the tables as whole matrices."""
    vocabulary = [*WORDS, *{w for w in itertools.chain(*ROWS) if w and w not in WORDS}]
    shares = np.zeros((len(vocabulary), BUCKETS), np.float32)
    for i, word in enumerate(vocabulary):
        ids = expected_ids(word) if len(word) <= MAX_TOKEN_CHARACTERS else []
        for bucket in ids:
            shares[i, bucket] += 1 / len(ids)
    ids_of_own = [2 + i if i < len(WORDS) else 1 for i in range(len(vocabulary))]
    vectors = tf.gather(own, ids_of_own) + tf.matmul(shares, ngrams)
    pooled = tf.stack(
        [
            tf.reduce_mean(
                [own[1] if word == "" else vectors[vocabulary.index(word)] for word in row], axis=0
            )
            for row in ROWS
        ]
    )
    dense = network.head.dense
    logits = tf.matmul(pooled, dense.kernel.value) + dense.bias.value
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(TARGETS, logits))


TARGETS = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]


@pytest.mark.parametrize("num_parts", [1, 2])
def test_training_step_has_the_gradients_of_dense_tables(num_parts: int) -> None:
    network = make_network()
    own, ngrams = (tf.Variable(table) for table in tables(network))
    with tf.GradientTape() as tape:
        loss = dense_losses(own, ngrams, network)
    expected = tape.gradient(loss, [own, ngrams])
    settings = Training(
        optimizer="sgd", learning_rate=1.0, clip_norm=None, accumulate_steps=num_parts, batch_size=4
    )
    step_of(network, settings)
    for table, before, gradient in zip(tables(network), (own, ngrams), expected, strict=True):
        dense = tf.convert_to_tensor(gradient).numpy()
        assert np.abs(dense).max() > 1e-3
        np.testing.assert_allclose(before.numpy() - table, dense, atol=1e-6)


def step_of(network: networks.Network, settings: Training, steps: int = 1) -> None:
    """Train steps on `ROWS`."""
    batch = batches.Batch(features_of(ROWS), tf.constant(TARGETS), tf.ones(4), tf.range(4))
    train_step = TrainStep(
        network, Optimizer(network, settings), OneOf(2), settings, class_weights=[1.0, 1.0],
        strategy=tf.distribute.get_strategy(),
    )  # fmt: skip
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    train_step(iter(dataset), [settings.learning_rate] * steps, step=0, lowest=0)


def test_step_by_row_is_the_step_in_parts() -> None:
    whole, parts = make_network(), make_network()
    step_of(whole, Training(clip_norm=0.1), steps=3)
    step_of(parts, Training(clip_norm=0.1, accumulate_steps=2, batch_size=4), steps=3)
    for one, other in zip(tables(whole), tables(parts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    before = tables(make_network())[1]
    changed = np.flatnonzero((tables(whole)[1] != before).any(axis=1))
    words = {word for word in itertools.chain(*ROWS) if 0 < len(word) <= MAX_TOKEN_CHARACTERS}
    assert changed.tolist() == sorted({i for word in words for i in expected_ids(word)})


def test_adam_of_ngrams_is_that_of_all_rows_at_every_step() -> None:
    random = np.random.default_rng(0)
    table = tf.Variable(random.normal(size=(6, DIM)).astype(np.float32))
    expected, moments = table.numpy().astype(np.float64), np.zeros(6)
    variable = keras.Variable(table.numpy())
    adam = NgramAdam(variable, 0.01)
    num_steps = 300
    for step in range(1, num_steps + 1):
        # The last row has a gradient in the first and in the last step only.
        ids = np.array([5, 1] if step in (1, num_steps) else random.choice(5, 2, replace=False))
        values = random.normal(size=(2, DIM))
        adam.apply(tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(ids, tf.int32)))
        whole = np.zeros((6, DIM))
        whole[ids] = values
        moments = 0.999 * moments + 0.001 * (whole**2).mean(axis=1)
        rate = 0.01 * np.sqrt(1 - 0.999**step)
        expected -= rate * whole / (np.sqrt(moments) + 1e-7)[:, np.newaxis]
    np.testing.assert_allclose(variable.numpy(), expected, atol=1e-4)


# === Settings ===


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": {"unit": "character"}}, "set text.unit to word"),
        ({"text": {"hash_buckets": 5}}, "text.hash_buckets gives unknown tokens other vectors"),
        ({"model": {"encoder": "none"}}, "a linear model has no token vectors"),
        ({"training": {"language_model_weight": 0.1}}, "set training.language_model_weight to 0"),
    ],
)
def test_settings_that_contradict_subwords_are_refused_with_a_fix(
    values: dict[str, Any], words: str
) -> None:
    values = {"data": {"source": "demo"}, **values}
    values["text"] = {**values.get("text", {}), "subwords": True}
    with pytest.raises(ConfigError, match=r"text\.subwords: .*" + words.replace(".", r"\.")):
        Config.from_dict(values)
