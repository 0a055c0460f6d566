"""Invariance: padding and neighbouring texts change no probability by more than 1e-5.

Every encoder, direction and pooling is tested with single texts, batches, extra padding, stored
shards read by tf.data, before and after saving, and with a SavedModel.
"""

import copy

import numpy as np
import pytest
import tensorflow as tf
from small_networks import EVERY_NETWORK, features, traced

from textclf import artifact, batches, classifier, data, networks, text
from textclf.config import Config

TEXTS = [
    "good",
    "not bad at all, although it took a while",
    "",
    "这部电影一点也不好看！",
    "the the the " * 30,
    "never again 😀",
]


def close(one, two):
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "vocabulary.txt"
    words = [
        "a",
        "again",
        "all",
        "although",
        "at",
        "bad",
        "good",
        "it",
        "never",
        "not",
        "the",
        "took",
        "while",
    ]
    text.write_vocabulary([*words, *"这部电影一点也不好看!😀"], path)
    return path


@pytest.fixture(scope="module")
def models(vocabulary):
    """Return a classifier of every combination, with large random weights so that outputs differ."""
    made = {}
    text_encoder = None  # shared: its graph is the largest part of each classifier
    for combination in EVERY_NETWORK:
        encoder, bidirectional, pooling = combination
        model = {"encoder": encoder, "pooling": pooling, "embedding_dim": 4}
        if encoder != "bag":
            model |= {"bidirectional": bidirectional, "units": 3}
        config = Config.from_dict(
            {
                "data": {"source": "demo"},
                "text": {"sequence_length": 64},
                "model": model,
            }
        )
        text_encoder = text_encoder or classifier.build_text_encoder(config, vocabulary)
        network = networks.build(
            networks.Architecture.from_settings(config.model.to_dict()),
            vocabulary_size=text_encoder.vocabulary_size,
            num_classes=2,
        )
        draw = np.random.default_rng(0)
        for variable in network.parameters:
            variable.assign(draw.normal(0, 0.5, variable.shape))
        card = artifact.Card(("x", "y"), False, config.to_dict())
        made[combination] = config, classifier.Classifier(text_encoder, network, card)
    return made


@pytest.fixture(scope="module")
def stored(models, tmp_path_factory):
    """Return batches with every text twice, read from shards by tf.data as in training."""
    folder = tmp_path_factory.mktemp("data")
    rows = [f'"{words}",{"xy"[index % 2]}' for index, words in enumerate(TEXTS * 2)]
    path = folder / "texts.csv"
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    dataset = data.open_dataset(test=str(path), class_names=["x", "y"])
    shards = batches.write_shards(
        dataset.examples("test"),
        models[EVERY_NETWORK[0]][1].text_encoder,
        folder,
        name="test",
        num_examples=12,
        num_classes=2,
        rows_in_shard=5,
    )
    return list(
        batches.training_batches(
            shards, batch_size=4, length_buckets=2, shuffle_buffer=5, seed=0, epoch=1
        )
    )


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory):
    """Return a SavedModel with a signature for every combination and one shared text graph."""
    module = tf.Module()
    module.text_encoder = models[EVERY_NETWORK[0]][1].text_encoder
    module.parameters = []
    strings = [tf.TensorSpec([None], tf.string, name="text")]
    encode = tf.function(module.text_encoder, strings, autograph=False)
    signatures = {}
    for combination, (_, model) in models.items():
        served = copy.copy(model)
        served.network = networks.ServingNetwork(model.network)
        module.parameters.append(served.network.variables)

        def answer(text, served=served):
            encoded = encode(text)
            inputs = {"token_ids": encoded.token_ids, "lengths": encoded.lengths}
            vectors = served.network.encode(inputs)
            # The answer is computed without the tokens.
            return served.answer_from(classifier.ReadTexts(None, None, encoded, vectors, None))

        graph = tf.function(answer, strings, autograph=False)
        signatures["_".join(map(str, combination))] = graph.get_concrete_function()
    folder = tmp_path_factory.mktemp("exported")
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return tf.saved_model.load(str(folder))


def test_all_encoders_directions_and_poolings_are_tested():
    assert len(EVERY_NETWORK) == 3 * 2 * 5 + 4


@pytest.mark.parametrize("combination", EVERY_NETWORK, ids=lambda c: "-".join(map(str, c)))
def test_padding_and_neighbours_do_not_change_probabilities(
    combination, models, vocabulary, exported, stored, tmp_path
):
    config, model = models[combination]
    classifier.save(
        tmp_path / "run",
        config=config,
        card=model.card,
        vocabulary_path=vocabulary,
        weights=classifier.get_weights(model.network),
        extra_files={},
        paths={},
        overwrite=False,
    )
    loaded = classifier.load(tmp_path / "run")
    alone = np.concatenate([loaded.predict_proba([words]) for words in TEXTS])
    assert np.ptp(alone[:, 0]) > 0.01, "without different probabilities this test shows nothing"
    for batch_size in (len(TEXTS), 2, 3):
        close(loaded.predict_proba(TEXTS, batch_size), alone)

    # The network, without saving.
    logits = traced(model.network)

    def probabilities(token_ids, lengths):
        return tf.nn.softmax(logits(features(token_ids, lengths)))

    encoded = model.text_encoder(tf.constant(TEXTS))
    for padding in (0, 1, 37):
        padded = tf.pad(encoded.token_ids, [[0, 0], [0, padding]])
        close(probabilities(padded, encoded.lengths), alone)
    # The ids in the padding and the order of the rows do not matter either.
    is_real = tf.sequence_mask(encoded.lengths, tf.shape(padded)[1])
    close(probabilities(tf.where(is_real, padded, 7), encoded.lengths), alone)
    close(probabilities(padded[::-1], encoded.lengths[::-1]), alone[::-1])
    for batch in stored:
        answers = probabilities(batch.features["token_ids"], batch.features["lengths"])
        close(answers, np.concatenate([alone, alone])[batch.rows.numpy()])

    served = exported.signatures["_".join(map(str, combination))]
    close(served(text=tf.constant(TEXTS))["probabilities"], alone)
    for words, p in zip(TEXTS, alone, strict=True):
        close(served(text=tf.constant([words]))["probabilities"], [p])
