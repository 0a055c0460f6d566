"""Change of the scores without each token: in Python, in exports, and in served versions."""

import json
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from explained import predicted, random_linear, score_of, untrained

from textclf import analysis, classifier, saved_model
from textclf.config import Config
from textclf.serving.batching import _joined

TEXTS = ["the film was not good, not at all", "good", "", "一点也不差 unseen film", "not bad"]


def tokens_of(outputs, row):
    return [token.decode() for token in outputs["tokens"].numpy()[row] if token]


def assert_drops_are_those_of_predictions(model, outputs, texts):
    """Compare with the probabilities of the texts that are written without one token."""
    multi_label = model.card.multi_label
    p = predicted(model, texts)
    scores, drops = outputs["scores"].numpy(), outputs["drops"].numpy()
    for row in range(len(texts)):
        tokens = tokens_of(outputs, row)
        for class_id in range(len(model.class_names)):
            score = score_of(p[row], class_id, multi_label=multi_label)
            assert scores[row, class_id] == pytest.approx(score, abs=1e-4)
            without = [" ".join(tokens[:i] + tokens[i + 1 :]) for i in range(len(tokens))]
            for i, changed in enumerate(predicted(model, without) if without else []):
                drop = score - score_of(changed, class_id, multi_label=multi_label)
                assert drops[row, i, class_id] == pytest.approx(drop, abs=2e-4)
        assert not drops[row, len(tokens) :].any()


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": "lstm"},
        {"encoder": "gru", "with_linear": False, "text_settings": {"hash_buckets": 3}},
        {"encoder": "simple_rnn", "bidirectional": False, "pooling": "last"},
        {"encoder": "bag", "pooling": "mean"},
        {"encoder": "none", "class_names": ("a", "b", "c")},
        {"encoder": "lstm", "with_linear": False,
         "text_settings": {"subwords": True, "subword_buckets": 1000}},
        {"encoder": "gru", "class_names": ("a", "b", "c"), "multi_label": True,
         "temperature": (1.0, 2.0, 0.5)},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)  # fmt: skip
def test_drop_of_a_token_is_the_score_minus_that_of_the_text_without_it(tmp_path, settings):
    model = untrained(tmp_path, **settings)
    outputs = model.leave_one_out(tf.constant(TEXTS))
    assert tokens_of(outputs, 0) == ["the", "film", "was", "not", "good", "not", "at", "all"]
    assert outputs["num_tokens"].numpy().tolist() == [8, 1, 0, 7, 2]
    assert_drops_are_those_of_predictions(model, outputs, TEXTS)
    alone = model.leave_one_out(tf.constant(TEXTS[3:4]))
    np.testing.assert_allclose(alone["drops"][0], outputs["drops"][3, :7], atol=1e-5)


def test_drops_of_characters_are_those_of_texts_without_them(tmp_path):
    model = untrained(tmp_path, text_settings={"unit": "character"})
    texts = ["一点也不差", "ok"]
    assert_drops_are_those_of_predictions(model, model.leave_one_out(tf.constant(texts)), texts)


@pytest.mark.parametrize("keep", ["start", "end", "both"])
def test_no_token_beyond_the_limit_is_read_instead_of_the_left_out_one(tmp_path, keep):
    settings = {"sequence_length": 4, "keep": keep}
    model = untrained(
        tmp_path, encoder="bag", pooling="mean", with_linear=False, text_settings=settings
    )
    text = "the film was not good at all bad music"
    read = {"start": [0, 1, 2, 3], "end": [5, 6, 7, 8], "both": [0, 1, 7, 8]}[keep]
    outputs = model.leave_one_out(tf.constant([text, "good"]))
    kept = [text.split()[i] for i in read]
    assert tokens_of(outputs, 0) == kept
    # The kept tokens alone are a short text: nothing of it is cut.
    short = model.leave_one_out(tf.constant([" ".join(kept)]))
    np.testing.assert_allclose(outputs["drops"][0], short["drops"][0], atol=1e-5)
    assert outputs["num_tokens"].numpy().tolist() == [9, 1]


def test_tokens_that_only_one_model_reads_have_its_drops(tmp_path):
    settings = {"sequence_length": 2, "keep": "end", "linear_length": 3}
    model = untrained(tmp_path, text_settings=settings)
    outputs = model.leave_one_out(tf.constant(["the film was not good at all"]))
    assert tokens_of(outputs, 0) == ["the", "film", "was", "at", "all"]
    cut = untrained(tmp_path, text_settings={"linear_length": 3}).leave_one_out
    linear_only = cut(tf.constant(["the film was at all"]))
    assert not np.allclose(outputs["drops"][0, :3], linear_only["drops"][0, :3], atol=1e-3)
    assert (np.abs(outputs["drops"].numpy()[0, :, 0]) > 0).all()


def test_at_most_512_tokens_are_left_out(tmp_path):
    model = untrained(
        tmp_path, encoder="bag", pooling="mean", text_settings={"sequence_length": 20}
    )
    outputs = model.leave_one_out(tf.constant(["good " * 600, "bad"]))
    assert outputs["drops"].shape == (2, analysis.MAX_TOKENS, 2)
    assert outputs["num_tokens"].numpy().tolist() == [600, 1]
    assert analysis.MAX_TOKENS == 512


@pytest.mark.parametrize("unit", ["word", "character"])
def test_linear_logits_without_each_token_equal_those_of_the_shorter_text(unit):
    config = Config.from_dict(
        {"data": {"source": "demo"}, "text": {"unit": unit, "linear_length": 12}}
    )
    model = random_linear(config, 3)
    texts = ["not bad at all not bad at all", "", "a", "a a", "好 very good film " * 5, "x" * 70]
    tokens = [text.split() for text in texts]
    flat = tf.constant([token for row in tokens for token in row])
    positions = tf.constant(
        [[b, i] for b, row in enumerate(tokens) for i in range(len(row))], tf.int64
    )
    read = [k for k, (_, i) in enumerate(positions.numpy()) if i < 12]
    without = tf.function(model.without_each)(
        flat, positions, tf.constant(len(texts), tf.int64), tf.constant(read, tf.int64)
    )
    for row, k in zip(without.numpy(), read, strict=True):
        b, i = positions.numpy()[k]
        rest = tokens[b][:12]
        del rest[i]
        places = tf.constant([[0, j] for j in range(len(rest))], tf.int64, shape=[len(rest), 2])
        expected, _ = model(
            tf.constant(rest, tf.string, shape=[len(rest)]), places, tf.constant(1, tf.int64)
        )
        np.testing.assert_allclose(row, expected[0], atol=1e-4)


# === Exports ===


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model"), encoder="lstm")


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    return saved_model.export(model, tmp_path_factory.mktemp("exports") / "planted")


CLIENT = """
import sys; sys.modules['textclf'] = sys.modules['keras'] = None
import gc, json; gc.disable()
import tensorflow as tf; gc.freeze()
loaded = tf.saved_model.load(sys.argv[1])
explain = loaded.signatures['explain']
shapes = []
for texts in json.loads(sys.argv[2]):
    outputs = {k: v.numpy() for k, v in explain(text=tf.constant(texts, tf.string)).items()}
    shapes.append(outputs['drops'].shape)
outputs['tokens'] = [[token.decode() for token in row] for row in outputs['tokens']]
outputs['class_names'] = [[name.decode() for name in row] for row in outputs['class_names']]
print(json.dumps([shapes, {k: v if isinstance(v, list) else v.tolist() for k, v in outputs.items()}]))
"""


def test_exported_signature_explain_equals_python_in_a_process_without_textclf(model, version):
    batches = [[], [""], ["", ""], ["good"], ["the " * 700], TEXTS]
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, str(version), json.dumps(batches)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shapes, outputs = json.loads(done.stdout)
    expected = model.leave_one_out(tf.constant(TEXTS))
    assert shapes == [[0, 0, 2], [1, 0, 2], [2, 0, 2], [1, 1, 2], [1, 512, 2], [5, 8, 2]]
    assert outputs["tokens"] == [[t.decode() for t in row] for row in expected["tokens"].numpy()]
    for name in ("drops", "scores"):
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5)
    assert outputs["num_tokens"] == expected["num_tokens"].numpy().tolist()
    assert outputs["class_names"] == [list(model.class_names)] * len(TEXTS)
    assert np.abs(outputs["drops"]).max() > 0.1


def test_export_with_a_wrong_explanation_is_not_published(model, tmp_path):
    class Reversed(classifier.Classifier):
        """Classifier whose scores of an explanation belong to other classes."""

        def leave_one_out_from(self, read):
            outputs = super().leave_one_out_from(read)
            return outputs | {"scores": -outputs["scores"]}

    card = msgspec.structs.replace(model.card)
    changed = Reversed(model.text_encoder, model.network, card, model.linear)
    with pytest.raises(saved_model.ExportError, match="highest score for another class"):
        saved_model.export(changed, tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


# === Served versions ===


def test_outputs_of_different_widths_are_padded_when_they_are_joined():
    joined = _joined([np.ones((2, 1, 3), np.float32), np.full((1, 2, 3), 2, np.float32)])
    assert joined.tolist() == [[[1] * 3, [0] * 3]] * 2 + [[[2] * 3] * 2]
    names = _joined([np.array([[b"a"]], object), np.array([[b"b", b"c"]], object)])
    assert names.tolist() == [[b"a", b""], [b"b", b"c"]]
