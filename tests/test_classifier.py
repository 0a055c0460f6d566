"""Tests of the predictions, the input checks, the evaluation and the files of classifiers."""

import json

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from textclf import classifier, data, text, training
from textclf.config import Config
from textclf.errors import ArtifactError, DataError

WEIRD = [
    "",
    " ",
    "a",
    "?",
    b"\xff\xfe\x80",
    "😀👍🏽",
    "\x00\x01\x7f",
    "one\u2028two\u0085three",
    "ＡＢＣ！？　全角",
    "very 好看 film，really 不错!",
    "\ud800 half a surrogate pair",
    "word " * 100_000,
]


@pytest.fixture(scope="module")
def multi_label(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multi")
    rows = [
        ("hot sun", "red,warm"),
        ("cold ice", "blue"),
        ("grey rock", ""),
        ("sun ice", "red,blue"),
    ]
    lines = [
        f"{text}{' x' * (index % 3)}\t{labels}" for index in range(12) for text, labels in rows
    ]
    for name in ("train", "validation"):
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "\n".join(lines))
    settings = {name: str(folder / f"{name}.tsv") for name in ("train", "validation")}
    settings = settings | {"multi_label": True}
    resolved = Config.from_dict({**tiny, "data": settings})
    for _ in training.train_events(resolved, folder / "run"):
        pass
    return classifier.load(folder / "run"), data.open_dataset(resolved.data)


def test_reloaded_classifier_returns_bitwise_equal_probabilities(model, trained):
    texts = ["not bad at all", "很好看", ""]
    np.testing.assert_array_equal(
        model.predict_proba(texts), classifier.load(trained).predict_proba(texts)
    )


def test_classifier_probabilities_do_not_depend_on_neighbouring_texts_or_batch_size(model):
    texts = ["not bad at all", "good " * 300, "", "很 好看！", "never again"] * 3
    batched = model.predict_proba(texts)
    for size in (1, 2, 7):
        np.testing.assert_allclose(batched, model.predict_proba(texts, size), atol=1e-5)
    alone = np.concatenate([model.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(batched, alone, atol=1e-5)


def test_classifier_probabilities_are_in_the_order_of_the_texts(model):
    texts = ["a longer text about a film", "b", "", "middle one"]
    np.testing.assert_allclose(
        model.predict_proba(texts)[::-1], model.predict_proba(texts[::-1]), atol=1e-6
    )


@pytest.mark.parametrize("weird", WEIRD, ids=[repr(text)[:20] for text in WEIRD])
def test_classifier_accepts_every_string_and_byte_string(model, weird):
    answer = model.answers([weird])
    p = answer["probabilities"]
    assert np.isfinite(p).all() and p.shape == (1, 2)
    assert abs(p.sum() - 1) < 1e-5
    assert answer["label"][0].decode() in model.class_names


def test_classifier_returns_empty_results_for_zero_texts(model):
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 2)


def test_classifier_rejects_a_single_string_instead_of_a_list(model):
    for single in ("good", b"good", bytearray(b"good"), np.str_("good"), np.bytes_(b"good")):
        for method in (model.predict, model.predict_proba, model.answers):
            with pytest.raises(DataError, match="^texts: .* found a single one; put it in a list$"):
                method(single)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], r"texts\[1\] is None: expected a text .*replace a missing text by ''"),
        ((float("nan"), "a"), r"texts\[0\] is nan \(float\): expected a text"),
        (["a", 5, "b", 2.5], r"texts\[1\] is 5 \(int\); texts\[3\] is 2\.5 \(float\): expected"),
        (
            [["a"], ["b"]],
            r"texts\[0\] is \['a'\] \(list\); texts\[1\] is \['b'\] \(list\): expected",
        ),
        ([True], r"texts\[0\] is True \(bool\): expected a text"),
        (np.array(["a", None], object), r"texts\[1\] is None: expected a text"),
        (np.array([1.0]), r"texts\[0\] is np\.float64\(1\.0\) \(float64\): expected"),
        ([None] * 5, r".* texts\[2\] is None; and 2 more: expected a text"),
        ((t for t in ("a", None)), r"texts\[1\] is None: expected a text"),
        ([{"text": "a" * 99}], r"texts\[0\] is \{'text': 'a+\.\.\. \(dict\): expected"),
        (None, "texts: expected a list of texts, found NoneType"),
        (7, "texts: expected a list of texts, found int"),
        ({"text": ["a"]}, "texts: expected a list of texts, found dict; give the texts alone"),
        (np.array([["a"]]), "texts: expected a list of texts, found ndarray; .* one dimension"),
        (np.array("a"), "texts: expected a list of texts, found ndarray; .* one dimension"),
    ],
)
def test_classifier_rejects_values_of_other_types_with_their_positions(model, texts, message):
    with pytest.raises(DataError, match=f"^{message}"):
        model.predict_proba(texts)


def test_classifier_accepts_every_sequence_type_of_texts(model):
    texts = ["not bad at all", "", "很好看！"]
    expected = model.predict_proba(texts)
    encoded = [text.to_utf8(one) for one in texts]
    for same in (
        tuple(texts),
        (one for one in texts),
        dict.fromkeys(texts).keys(),
        encoded,
        np.array(texts),
        np.array(texts, object),
        np.array(encoded),
        tf.constant(texts),
    ):
        np.testing.assert_array_equal(model.predict_proba(same), expected)


def test_classifier_accepts_columns_of_tables(model):
    texts = ["not bad at all", "", "很好看！"]
    expected = model.predict_proba(texts)
    for column in (
        pa.table({"text": texts})["text"],
        pa.chunked_array([texts[:1], texts[1:]]),
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(texts).dictionary_encode(),
        pa.array([text.to_utf8(one) for one in texts]),
    ):
        np.testing.assert_array_equal(model.predict_proba(column), expected)
    with pytest.raises(DataError, match=r"^texts\[1\] is None: expected a text"):
        model.predict(pa.array(["a", None]))
    with pytest.raises(DataError, match=r"^texts\[0\] is 5 \(int\): expected a text"):
        model.predict(pa.array([5]))
    with pytest.raises(DataError, match="found Table; give the texts alone"):
        model.predict(pa.table({"text": texts}))


def test_classifier_accepts_a_column_of_pandas_and_names_the_positions_of_missing_texts(model):
    pandas = pytest.importorskip("pandas")
    texts = ["not bad at all", "", "很好看！"]
    for dtype in (object, "string", "category"):
        column = pandas.Series(texts, index=[7, 8, 9], dtype=dtype)
        np.testing.assert_array_equal(model.predict_proba(column), model.predict_proba(texts))
    for missing in (None, float("nan"), pandas.NA):
        with pytest.raises(DataError, match=r"^texts\[1\] is .*: expected a text"):
            model.predict(pandas.Series(["a", missing], index=[7, 8]))


class Frame:
    """Two-dimensional object that yields column names, like a data frame."""

    ndim = 2

    def __iter__(self):
        return iter(["text", "label"])


def test_classifier_rejects_a_data_frame_instead_of_classifying_its_column_names(model):
    with pytest.raises(DataError, match="found Frame; give the texts alone, in one dimension"):
        model.predict(Frame())


def test_classifier_outputs_have_the_documented_names_shapes_and_dtypes(model):
    answers = model.answers(["good", ""])
    assert {name: (a.shape, a.dtype.kind) for name, a in answers.items()} == {
        "probabilities": ((2, 2), "f"),
        "selected": ((2, 2), "b"),
        "label": ((2,), "O"),
        "label_id": ((2,), "i"),
        "confidence": ((2,), "f"),
        "abstain": ((2,), "b"),
        "class_names": ((2, 2), "O"),
        "num_tokens": ((2,), "i"),
        "unknown_fraction": ((2,), "f"),
        "truncated": ((2,), "b"),
    }
    assert answers["num_tokens"].tolist() == [1, 0]
    assert answers["unknown_fraction"][1] == 0.0
    np.testing.assert_array_equal(answers["selected"].sum(axis=1), [1, 1])


def test_classifier_outputs_report_unknown_words_and_truncation(model, trained):
    known = text.read_vocabulary(trained / "vocabulary.txt")[0] + " "
    answers = model.answers([known + "qqqq zzzz wwww", known * 401, known * 400])
    assert answers["unknown_fraction"].tolist() == [0.75, 0, 0]
    assert answers["truncated"].tolist() == [False, True, False]
    assert answers["num_tokens"].tolist() == [4, 401, 400]


def test_multi_label_classifier_selects_classes_by_fitted_thresholds(multi_label):
    model, dataset = multi_label
    answers = model.answers(["hot sun", "cold ice", "", b"\xff"])
    p = answers["probabilities"]
    assert ((p >= 0) & (p <= 1)).all() and p.shape == (4, 3)
    thresholds = np.array(model.card.thresholds, np.float32)
    np.testing.assert_array_equal(answers["selected"], p >= thresholds)
    assert model.predict(["hot sun"]) == [
        tuple(
            name for name, on in zip(model.class_names, answers["selected"][0], strict=True) if on
        )
    ]
    report = model.evaluate(dataset, "validation", bootstrap_samples=100)
    assert report.get("macro_f1") > 0


def test_score_matches_the_classes_of_the_data_by_name(model, reviews):
    names = ["positive", "negative"]
    swapped = data.open_dataset(source=str(reviews), class_names=names)
    straight = data.open_dataset(source=str(reviews))
    assert swapped.class_names != straight.class_names, "the class orders must differ for this test"
    scores, expected = (model.score(dataset, "train") for dataset in (swapped, straight))
    np.testing.assert_array_equal(scores.y_true, expected.y_true)
    np.testing.assert_array_equal(scores.p, expected.p)


def test_evaluate_rejects_data_with_a_class_unknown_to_the_model(model, tmp_path):
    (tmp_path / "other.csv").write_text("text,label\nwell,good\nill,bad\n")
    path = str(tmp_path / "other.csv")
    dataset = data.open_dataset(train=path, validation=path)
    with pytest.raises(
        DataError, match="does not have: bad, good; the model has negative, positive"
    ):
        model.evaluate(dataset, "train")


def test_evaluate_rejects_a_missing_split_and_lists_the_splits(model, reviews):
    dataset = data.open_dataset(train=str(reviews))
    with pytest.raises(DataError, match="have no split test, only train, validation"):
        model.evaluate(dataset, "test")


def test_load_rejects_weights_of_a_different_network(trained, tmp_path):
    import shutil

    folder = shutil.copytree(trained, tmp_path / "run")
    card = json.loads((folder / "card.json").read_text())
    card["config"]["model"]["units"] = 7
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ArtifactError, match="does not fit the network of the card"):
        classifier.load(folder)


def test_load_rejects_damaged_weights(trained, tmp_path):
    import shutil

    folder = shutil.copytree(trained, tmp_path / "run")
    damaged = bytearray((folder / "weights.npz").read_bytes())
    damaged[-100] ^= 1
    (folder / "weights.npz").write_bytes(damaged)
    with pytest.raises(ArtifactError, match="weights.npz: differs from its checksum"):
        classifier.load(folder)


def test_failed_save_leaves_the_existing_classifier_unchanged(trained, tmp_path, model):
    import shutil

    folder = shutil.copytree(trained, tmp_path / "run")
    before = model.predict_proba(["good"])
    config = Config.from_dict(model.card.config)
    with pytest.raises(ArtifactError, match="what was there before is unchanged"):
        classifier.save(
            folder,
            config=config,
            card=model.card,
            vocabulary_path=folder / "vocabulary.txt",
            weights=classifier.get_weights(model.network),
            extra_files={"history.jsonl": tmp_path / "missing"},
            paths={},
            overwrite=True,
        )
    np.testing.assert_array_equal(classifier.load(folder).predict_proba(["good"]), before)
