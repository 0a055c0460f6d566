"""Explanations: integrated gradients, parts of the linear model, their sums, and how they look."""

import json
import re
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from explained import WORDS, predicted, random_linear, score_of, train_planted, untrained
from rich.cells import cell_len
from small_networks import every_network, make, randomize

import textclf
from textclf import analysis, classifier, linear
from textclf.analysis.attribution import integrated_gradients, score_gradients
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ArtifactError, DataError
from textclf.text.ngrams import CHARACTER_BLOCKS, WORD_BLOCKS, NgramBlock, count_ngrams, ngram_spans

TEXT = "the film was not good, not at all; 一点也不差 but unseen"


def parts_of(explanation, k=0):
    part = explanation.attributions[k]
    return part.start + sum(part.totals) + part.completeness_error


def words(explanation):
    return [token.text for token in explanation.tokens]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return the folder of a mixture; one word of each text, English or Chinese, decides."""
    triggers = {"good": ["splendid", "棒"], "poor": ["dreadful", "烂"]}
    return train_planted(tmp_path_factory.mktemp("planted"), triggers)


@pytest.fixture(scope="module")
def planted_model(planted):
    return classifier.load(planted)


# === Planted words ===


@pytest.mark.parametrize(
    ("text", "trigger", "label"),
    [
        ("the film had many splendid scenes with music", "splendid", "good"),
        ("music and the long dreadful film", "dreadful", "poor"),
        ("这家酒店的棒房间在三楼", "棒", "good"),
        ("这家酒店的房间烂", "烂", "poor"),
    ],
)
def test_trigger_word_has_the_highest_attribution(planted_model, text, trigger, label):
    [explanation] = planted_model.explain([text])
    [part] = explanation.attributions
    assert part.class_name == explanation.label == label
    for values in (part.totals, part.network, part.linear):
        assert words(explanation)[int(np.argmax(values))] == trigger
    assert part.totals[words(explanation).index(trigger)] > 0.5
    _, strongest = explanation.ranked(part)[0]
    assert explanation.tokens[strongest].text == trigger


def test_trigger_word_speaks_against_the_other_class(planted_model):
    explanation = planted_model.explain(["the splendid film"], class_names=["poor", "good"])[0]
    poor, good = explanation.attributions
    assert (poor.class_name, good.class_name) == ("poor", "good")
    np.testing.assert_allclose(poor.totals, np.negative(good.totals), atol=1e-5)
    assert np.argmin(poor.totals) == 1 and not poor.is_selected and good.is_selected


# === Sums ===


@pytest.mark.parametrize("with_linear", [False, True], ids=["network", "mixture"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("encoder", ["lstm", "gru", "simple_rnn"])
def test_parts_add_up_to_the_log_odds_of_the_probabilities(
    tmp_path, encoder, bidirectional, with_linear
):
    model = untrained(
        tmp_path, encoder=encoder, with_linear=with_linear, bidirectional=bidirectional,
        num_layers=2, layer_norm=True, pooling="attention",
    )  # fmt: skip
    texts = [TEXT, "good", ""]
    p = predicted(model, texts)
    for row, explanation in enumerate(model.explain(texts, num_steps=512)):
        [part] = explanation.attributions
        class_id = model.class_names.index(part.class_name)
        assert part.probability == pytest.approx(p[row, class_id], abs=1e-5)
        assert part.score == pytest.approx(score_of(p[row], class_id), abs=1e-4)
        assert parts_of(explanation) == pytest.approx(part.score, abs=1e-6)
        assert abs(part.completeness_error) < 0.02 * sum(map(abs, part.totals)) + 1e-5
    [first, *_] = model.explain(texts)
    assert max(map(abs, first.attributions[0].network)) > 0.005
    assert any(first.attributions[0].linear) == with_linear


@pytest.mark.parametrize("pooling", ["max", "max_mean"])
def test_completeness_error_shrinks_with_more_steps(tmp_path, pooling):
    model = untrained(tmp_path, encoder="lstm", with_linear=False, pooling=pooling)
    errors = [
        abs(model.explain([TEXT], num_steps=steps)[0].attributions[0].completeness_error)
        for steps in (1, 16, 512)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2], errors


def test_attributions_of_a_bag_need_one_step_because_it_is_linear(tmp_path):
    model = untrained(tmp_path, encoder="bag", with_linear=False, pooling="mean")
    [once], [often] = model.explain([TEXT], num_steps=1), model.explain([TEXT], num_steps=50)
    assert abs(once.attributions[0].completeness_error) < 1e-5
    np.testing.assert_allclose(
        once.attributions[0].network, often.attributions[0].network, atol=1e-5
    )


def test_linear_model_alone_is_explained_exactly(tmp_path):
    model = untrained(tmp_path, encoder="none", class_names=("a", "b", "c"))
    [explanation] = model.explain([TEXT])
    [part] = explanation.attributions
    assert abs(part.completeness_error) < 1e-5 and not any(part.network)
    assert (explanation.has_network, explanation.num_steps) == (False, 0)
    p = predicted(model, [TEXT])[0]
    score = score_of(p, model.class_names.index(part.class_name))
    assert part.start + sum(part.linear) == pytest.approx(score, abs=1e-5)


def test_score_of_one_of_several_classes_is_its_log_p_minus_the_mean_of_the_others(tmp_path):
    model = untrained(tmp_path, class_names=("a", "b", "c", "d"))
    explanation = model.explain([TEXT], class_names=model.class_names)[0]
    p = predicted(model, [TEXT])[0]
    scores = [part.score for part in explanation.attributions]
    np.testing.assert_allclose(scores, [score_of(p, c) for c in range(4)], atol=1e-4)
    assert explanation.score_name == "log p minus mean log p of other classes"
    assert all(parts_of(explanation, c) == pytest.approx(scores[c], abs=1e-6) for c in range(4))


# === Gradients ===


@every_network
def test_gradients_equal_finite_differences_and_those_of_keras(
    float64, encoder, bidirectional, pooling
):
    network = randomize(make(encoder, bidirectional=bidirectional, pooling=pooling, num_layers=2))
    rng = np.random.default_rng(3)
    x = tf.constant(rng.normal(size=(2, 4, 5)))
    weights = tf.constant(rng.normal(size=(2, 3)))
    scores, gradient = (part.numpy() for part in score_gradients(network, x, weights))
    lengths = tf.constant([4, 4])
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = network.encoder.encode_vectors(x, lengths)
        logits = network.logits(network.head.pool(outputs, lengths))
        expected = tf.reduce_sum(weights * logits, axis=1)
    np.testing.assert_allclose(scores, expected, atol=1e-10)
    np.testing.assert_allclose(gradient, tape.gradient(expected, x), atol=1e-10)
    for row, step, entry in ((0, 0, 1), (1, 3, 4), (1, 1, 0)):
        change = np.zeros(x.shape)
        change[row, step, entry] = 1e-6
        above, below = (
            score_gradients(network, x + sign * change, weights)[0].numpy() for sign in (1, -1)
        )
        difference = (above - below)[row] / 2e-6
        assert gradient[row, step, entry] == pytest.approx(difference, abs=1e-7)


def test_integrated_gradients_do_not_depend_on_the_number_of_rows_in_a_pass(monkeypatch):
    network = randomize(make("gru"))
    x = tf.constant(np.random.default_rng(0).normal(size=(6, 5)), tf.float32)
    weights = np.eye(3, dtype=np.float32)
    together = integrated_gradients(network, x, weights, num_steps=10)
    monkeypatch.setattr("textclf.analysis.attribution._MAX_POSITIONS", 42)  # seven rows
    np.testing.assert_allclose(
        integrated_gradients(network, x, weights, num_steps=10), together, atol=1e-6
    )
    assert together.shape == (6, 3)


# === The linear model ===


def reading_of(model, text, unit="word"):
    tokens = classifier.tokenizer_settings(Config.from_dict({"data": {"source": "demo"}}))
    tokenizer = textclf.text.Tokenizer(**(tokens | {"unit": unit}))
    return model.read(tokenizer(tf.constant([text])).values)


def with_one_feature(block, *ngram_tokens):
    """Return a linear model whose only feature is an n-gram."""
    [bucket, *_] = count_ngrams(
        block, tf.constant(ngram_tokens), tf.zeros(len(ngram_tokens), tf.int64), 2**20
    ).bucket.numpy()[::-1]
    arrays = {
        "bias": np.array([0.25], np.float32),
        "buckets_0": np.array([bucket], np.int32),
        "idf_0": np.array([2.0], np.float32),
        "weights_0": np.array([[3.0]], np.float32),
    }
    return linear.LinearModel([block], arrays, num_buckets=2**20, max_tokens=100)


def test_a_word_ngram_is_shared_equally_by_its_words():
    model = with_one_feature(NgramBlock("tokens", 1, 3), "not", "so", "bad")
    reading = reading_of(model, "it was not so bad at all")
    contributions = reading.contributions(np.eye(1))[:, 0]
    # The only feature has the value 1 after the norm, so it adds its weight.
    np.testing.assert_allclose(contributions, [0, 0, 1, 1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(reading.logits, [3.25])


def test_a_repeated_ngram_is_shared_equally_by_its_occurrences():
    model = with_one_feature(NgramBlock("tokens", 1, 1), "bad")
    contributions = reading_of(model, "bad good bad bad").contributions(np.eye(1))[:, 0]
    np.testing.assert_allclose(contributions, [1, 0, 1, 1], atol=1e-6)


def test_a_character_ngram_belongs_to_its_word():
    model = with_one_feature(NgramBlock("characters", 5, 5), "bad")  # " bad "
    contributions = reading_of(model, "not bad at all").contributions(np.eye(1))[:, 0]
    np.testing.assert_allclose(contributions, [0, 3, 0, 0], atol=1e-6)


@pytest.mark.parametrize("unit", ["word", "character"])
def test_contributions_of_tokens_add_up_to_the_linear_logits(unit):
    config = Config.from_dict({"data": {"source": "demo"}, "text": {"unit": unit}})
    model = random_linear(config, 4)
    for text in (TEXT, "bad " * 300, "", "好"):
        reading = reading_of(model, text, unit)
        sums = reading.contributions(np.eye(4)).sum(axis=0) + reading.bias
        np.testing.assert_allclose(sums, reading.logits, atol=1e-9)
        tokenizer = textclf.text.Tokenizer(
            **(classifier.tokenizer_settings(config) | {"unit": unit})
        )
        tokens, positions = tokenizer.split_tokens(tf.constant([text]))
        logits, _ = model(tokens, positions, tf.constant(1, tf.int64))
        np.testing.assert_allclose(reading.logits, logits[0], atol=1e-5)


@pytest.mark.parametrize("block", [*WORD_BLOCKS, *CHARACTER_BLOCKS], ids=str)
def test_spans_of_ngrams_have_the_counts_of_ngrams(block):
    tokens = tf.constant(["not", "bad", "not", "bad", "at", "全", "all", "not"])
    text_of = tf.constant([0, 0, 0, 0, 0, 1, 1, 2], tf.int64)
    spans = ngram_spans(block, tokens, text_of, 1000)
    keys = tf.gather(text_of, spans.start) * 1000 + spans.bucket
    found = dict(zip(*np.unique(keys, return_counts=True), strict=True))
    counts = count_ngrams(block, tokens, text_of, 1000)
    expected = (counts.text * 1000 + counts.bucket).numpy().tolist()
    assert found == dict(zip(expected, counts.count.numpy(), strict=True))
    assert (tf.gather(text_of, spans.start + spans.size - 1) == tf.gather(text_of, spans.start)).numpy().all()  # fmt: skip


# === Several labels ===


def test_selected_labels_are_explained_each(tmp_path):
    model = untrained(
        tmp_path, class_names=("a", "b", "c"), multi_label=True, temperature=(1.0, 2.0, 0.5)
    )
    card = msgspec.structs.replace(model.card, thresholds=(0.0, 0.999, 0.0))
    model = classifier.Classifier(model.text_encoder, model.network, card, model.linear)
    explanation = model.explain([TEXT])[0]
    assert [part.class_name for part in explanation.attributions] == ["a", "c"]
    p = predicted(model, [TEXT])[0]
    for k, class_id in ((0, 0), (1, 2)):
        part = explanation.attributions[k]
        assert part.is_selected
        assert part.score == pytest.approx(score_of(p, class_id, multi_label=True), abs=1e-4)
        assert parts_of(explanation, k) == pytest.approx(part.score, abs=1e-6)
    [only] = model.explain([TEXT], class_names=["b"])[0].attributions
    assert (only.class_name, only.is_selected) == ("b", False)


def test_most_probable_label_is_explained_if_none_is_selected(tmp_path):
    model = untrained(tmp_path, class_names=("a", "b"), multi_label=True)
    card = msgspec.structs.replace(model.card, thresholds=(1.0, 1.0))
    model = classifier.Classifier(model.text_encoder, model.network, card, model.linear)
    explanation = model.explain([TEXT])[0]
    [part] = explanation.attributions
    assert part.class_name == explanation.label == model.class_names[predicted(model, [TEXT])[0].argmax()]  # fmt: skip
    assert ", not selected;" in analysis.format_explanation(explanation)


# === Tokens ===


@pytest.mark.parametrize(
    ("keep", "read"),
    [("start", [0, 1, 2, 3]), ("end", [5, 6, 7, 8]), ("both", [0, 1, 7, 8])],
)
def test_tokens_beyond_the_limit_are_not_read_and_add_nothing(tmp_path, keep, read):
    linear_limit = {"linear_length": 6}
    text = "the film was not good at all bad music"
    for encoder, with_linear in (("gru", False), ("gru", True), ("none", True)):
        settings = {} if encoder == "none" else {"sequence_length": 4, "keep": keep}
        model = untrained(
            tmp_path, encoder=encoder, with_linear=with_linear,
            text_settings=settings | linear_limit if with_linear else settings,
        )  # fmt: skip
        [explanation] = model.explain([text])
        by_network = [i for i, token in enumerate(explanation.tokens) if token.network_reads]
        by_linear = [i for i, token in enumerate(explanation.tokens) if token.linear_reads]
        has_linear = model.linear is not None
        assert by_network == (read if encoder == "gru" else [])
        assert by_linear == (list(range(6)) if has_linear else [])
        [part] = explanation.attributions
        assert all((value != 0) == (i in by_network) for i, value in enumerate(part.network))
        assert not any(value for i, value in enumerate(part.linear) if i not in by_linear)
        p = predicted(model, [text])[0]
        class_id = model.class_names.index(part.class_name)
        assert part.score == pytest.approx(score_of(p, class_id), abs=1e-4)
        unread = [i for i in range(9) if i not in by_network + by_linear]
        assert explanation.num_unread == len(unread)
        assert ("[not read: " in analysis.format_explanation(explanation)) == bool(unread)
        assert explanation._repr_html_().count('class="textclf-unread">') == len(unread) + 1


def test_unknown_words_are_marked_and_have_parts_of_their_own_with_subwords(tmp_path):
    for subwords in (False, True):
        settings = {"subwords": True, "subword_buckets": 1000} if subwords else {}
        model = untrained(tmp_path, with_linear=False, text_settings=settings)
        [explanation] = model.explain(["the unseen film was zzzzz"])
        known = [token.is_known for token in explanation.tokens]
        assert known == [True, False, True, True, False]
        part = explanation.attributions[0]
        p = predicted(model, ["the unseen film was zzzzz"])[0]
        class_id = model.class_names.index(part.class_name)
        assert part.score == pytest.approx(score_of(p, class_id), abs=1e-4)
        assert abs(part.completeness_error) < 0.05
        assert analysis.format_explanation(explanation).count("unknown") == 2


def test_tokens_of_a_character_model_are_its_characters(tmp_path):
    model = untrained(tmp_path, text_settings={"unit": "character"})
    [explanation] = model.explain(["不差 ok"])
    assert words(explanation) == ["不", "差", "o", "k"]
    assert "\n不差 o k\n" in analysis.format_explanation(explanation)
    part = explanation.attributions[0]
    p = predicted(model, ["不差 ok"])[0]
    assert part.score == pytest.approx(
        score_of(p, model.class_names.index(part.class_name)), abs=1e-4
    )


@pytest.mark.parametrize("text", ["", " \t\n", "...", b"\xff\xfe"])
@pytest.mark.parametrize("encoder", ["lstm", "none"])
def test_score_of_a_text_without_tokens_is_the_start(tmp_path, encoder, text):
    model = untrained(tmp_path, encoder=encoder)
    [explanation] = model.explain([text])
    [part] = explanation.attributions
    assert explanation.tokens == part.totals == ()
    assert part.start == pytest.approx(part.score, abs=1e-5)
    assert "(no token)" in analysis.format_explanation(explanation)


# === Errors ===


def test_exports_and_unknown_classes_are_refused_in_one_sentence(exports, model):
    with pytest.raises(ArtifactError, match=r"^an exported version has no gradients[^.]*$"):
        textclf.load(exports / "reviews").explain(["good"])
    message = "the model has no class Positive; did you mean 'positive'?"
    with pytest.raises(DataError, match=re.escape(message)):
        model.explain(["good"], class_names=["Positive"])
    with pytest.raises(DataError, match="no class x, y; the classes are negative, positive"):
        model.explain(["good"], class_names=["x", "negative", "y"])
    with pytest.raises(DataError, match=r"texts\[1\] is None"):
        model.explain(["good", None])
    with pytest.raises(ValueError, match="num_steps is 0"):
        model.explain(["good"], num_steps=0)


# === Text and HTML ===


@pytest.fixture(scope="module")
def long_explanation(planted_model):
    text = "the splendid film <b>had</b> music " * 8 + "这家酒店的房间在三楼"
    return planted_model.explain([text])[0]


@pytest.mark.parametrize("width", [80, 120])
def test_formatted_explanation_fits_the_width_with_and_without_colours(long_explanation, width):
    plain = analysis.format_explanation(long_explanation, width=width)
    coloured = analysis.format_explanation(long_explanation, width=width, has_colours=True)
    assert "\x1b" not in plain and "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    assert all(cell_len(line) <= width for line in plain.splitlines())
    assert "这家酒店" in plain


def test_numbers_of_the_formatted_explanation_add_up(long_explanation):
    lines = analysis.format_explanation(long_explanation).splitlines()
    rows = [re.search(r"[+-]\d+\.\d{4}", line) for line in lines[1:]]
    *parts, score = [float(row[0]) for row in rows if row]
    assert len(parts) == 10 + 3, "ten tokens, the others, start and completeness error"
    assert sum(parts) == pytest.approx(score, abs=len(parts) * 1e-4)
    assert score == pytest.approx(long_explanation.attributions[0].score, abs=1e-4)


def test_strong_words_are_blue_if_they_speak_for_the_class_and_orange_otherwise(planted_model):
    [explanation] = planted_model.explain(["the splendid film"], class_names=["good"])
    [against] = planted_model.explain(["the splendid film"], class_names=["poor"])
    for item, colour, background in (
        (explanation, "48;5;26", "30, 115, 220, 0.70"),
        (against, "48;5;166", "225, 105, 10, 0.70"),
    ):
        text = analysis.format_explanation(item, has_colours=True)
        assert re.search(rf"\x1b\[[\d;]*{colour}msplendid\x1b", text)
        assert re.search(rf"rgba\({background}\)\">splendid</span>", item._repr_html_())


def test_html_of_explanations_escapes_texts_and_class_names(tmp_path):
    model = untrained(tmp_path, class_names=("<i>x</i>", "b"), text_settings={"unit": "character"})
    page = analysis.explanation_page(model.explain(["<a&"], class_names=["<i>x</i>"]), "<script>")
    assert "<i>" not in page and "<script>" not in page
    assert ">&lt;</span>" in page and "&lt;i&gt;x&lt;/i&gt;" in page
    assert page.startswith("<!doctype html>") and not re.search("(src|href)=.http", page)


# === Command ===


def run(*arguments):
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def test_explain_prints_json_whose_parts_add_up_to_the_score(planted, planted_model):
    result = run(planted, "--json", "--class", "poor", "--class", "good", "a splendid film", "")
    assert result.exit_code == 0, result.stderr
    values = [json.loads(line) for line in result.stdout.splitlines()]
    assert [value["text"] for value in values] == ["a splendid film", ""]
    assert [token["token"] for token in values[0]["tokens"]] == ["a", "splendid", "film"]
    assert [token["known"] for token in values[0]["tokens"]] == [False, True, True]
    p = planted_model.predict_proba(["a splendid film", ""])
    for row, value in enumerate(values):
        assert [part["class"] for part in value["classes"]] == ["poor", "good"]
        for part in value["classes"]:
            total = part["start"] + sum(part["total"]) + part["completeness_error"]
            assert total == pytest.approx(part["score"], abs=1e-6)
            class_id = planted_model.class_names.index(part["class"])
            assert part["score"] == pytest.approx(score_of(p[row], class_id), abs=1e-4)
            sums = np.add(part["network"], part["linear"])
            np.testing.assert_allclose(part["total"], sums)


def test_explain_prints_no_colours_into_a_pipe(planted):
    result = run(planted, "the splendid film")
    assert result.exit_code == 0, result.stderr
    assert "\x1b" not in result.stdout and result.stdout.startswith("good: probability 0.")
    assert "the splendid film\n" in result.stdout


def test_a_large_completeness_error_is_a_note_with_its_remedy(planted):
    text = "the splendid film"
    few, many = run(planted, text, "--steps", 1), run(planted, text, "--steps", 256)
    assert "note: a completeness error is above 5 % of the parts; use more --steps" in few.stderr
    assert many.exit_code == 0 and "completeness" not in many.stderr


def test_explain_writes_a_page_and_refuses_to_replace_it(planted, tmp_path):
    page = tmp_path / "words.html"
    result = run(planted, "the splendid film", "--html", page)
    assert (result.exit_code, result.stdout) == (0, "")
    assert ">splendid</span>" in page.read_text(encoding="utf-8")
    page.write_text("mine")
    result = run(planted, "film", "--html", page)
    assert (result.exit_code, result.stdout, page.read_text()) == (1, "", "mine")
    assert result.stderr == f"Error: {page}: exists already; name another file or add --overwrite\n"
    assert run(planted, "film", "--html", page, "--overwrite").exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [page]


def test_explain_refuses_an_export_and_a_bad_page_together(exports, tmp_path):
    result = run(exports / "reviews", "good", "--html", tmp_path / "nowhere" / "x.html")
    assert (result.exit_code, result.stdout) == (1, "")
    first, second = result.stderr.splitlines()
    assert first == (
        f"Error: {exports}/reviews/1: an exported version has no gradients for word attributions; "
        "name the trained folder, or call the signature `explain` of the export, which leaves out "
        "one token after the other (`textclf serve` shows it)"
    )
    assert second.endswith("nowhere; create it, or name another file")


def test_unknown_class_and_a_page_that_is_no_html_are_refused_before_the_model_is_loaded(
    planted, tmp_path
):
    code = (
        "import sys\n"
        "from textclf.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    assert 'tensorflow' not in sys.modules\n"
    )
    arguments = ["explain", planted, "film", "--class", "god", "--html", tmp_path / "a.txt"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()[-2:]
    assert first == "Error: the model has no class god; did you mean 'good'?"
    assert second == f"{tmp_path}/a.txt: is an HTML page; name a file that ends in .html"


def test_vocabulary_of_these_tests_has_no_unseen_word():
    assert "unseen" not in WORDS and "but" not in WORDS
