"""Tests of the baselines on small examples and on published data."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from textclf import baselines, data
from textclf.baselines import BASELINES, fit, is_chinese
from textclf.errors import ConfigError, DataError
from textclf.evaluation import evaluate

TEXTS = ["a fine film", "a dull film", "fine and bright", "dull and grey"] * 5
Y = np.array([1, 0, 1, 0] * 5)
NAMES = ("negative", "positive")
LABELS = np.stack([Y == 0, Y == 1], axis=1)
CHINESE = ["房间很干净，服务很好", "房间太脏，服务很差", "早餐好吃，干净", "早餐难吃，太脏"] * 5


def tfidf(texts: list[str], y: np.ndarray, **settings: Any) -> baselines.Baseline:
    settings = {"class_names": NAMES, "multi_label": False, **settings}
    return fit("tfidf_logistic_regression", texts, y, **settings)


# === All baselines ===


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
@pytest.mark.parametrize("name", BASELINES)
def test_baseline_probabilities_are_valid_input_for_evaluate(name: str, multi_label: bool):
    y = LABELS if multi_label else Y
    model = fit(name, TEXTS, y, class_names=NAMES, multi_label=multi_label)
    p = model.predict_proba(["fine", "", "猫", "\x00"])
    assert p.shape == (4, 2) and p.dtype == np.float64
    assert np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()
    if not multi_label:
        assert p.sum(axis=1) == pytest.approx(np.ones(4))
    assert model.predict_proba([]).shape == (0, 2)
    evaluate(y, model.predict_proba(TEXTS), class_names=NAMES, multi_label=multi_label)
    assert "\n" not in model.describe()


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
@pytest.mark.parametrize("name", BASELINES)
def test_baseline_gives_probability_zero_to_a_class_without_training_examples(
    name: str, multi_label: bool
):
    names = ("absent", "negative", "unseen", "positive")
    y = np.where(Y == 1, 3, 1)
    if multi_label:
        y = y[:, None] == np.arange(4)
    p = fit(name, TEXTS, y, class_names=names, multi_label=multi_label).predict_proba(TEXTS)
    assert (p[:, [0, 2]] == 0).all() and (p[:, [1, 3]] > 0).all()
    evaluate(y, p, class_names=names, multi_label=multi_label)


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_trained_on_one_class_always_predicts_this_class(name: str):
    model = fit(name, TEXTS, np.ones(20, int), class_names=NAMES, multi_label=False)
    assert model.predict_proba(["fine", "dull"]).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_probability_of_a_label_of_all_or_no_texts_is_constant(name: str):
    y = np.stack([np.ones(20, bool), Y == 1, np.zeros(20, bool)], axis=1)
    p = fit(name, TEXTS, y, class_names="abc", multi_label=True).predict_proba(["fine", "dull"])
    assert p[:, 0].tolist() == [1, 1] and p[:, 2].tolist() == [0, 0]


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_fitted_twice_returns_bitwise_equal_probabilities(name: str):
    first, again = (
        fit(name, TEXTS, Y, class_names=NAMES, multi_label=False, seed=3).predict_proba(TEXTS)
        for _ in range(2)
    )
    assert np.array_equal(first, again)


@pytest.mark.parametrize("name", BASELINES)
def test_seed_changes_only_the_baselines_listed_as_random(name: str):
    first, second = (
        fit(name, TEXTS, Y, class_names=NAMES, multi_label=False, seed=seed).predict_proba(TEXTS)
        for seed in (0, 1)
    )
    assert np.array_equal(first, second) == (name not in baselines.RANDOM)


# === Majority ===


def test_majority_returns_the_class_frequencies_for_every_text():
    y = np.array([0, 1, 1, 1])
    model = fit("majority", list("abcd"), y, class_names=NAMES, multi_label=False)
    assert model.predict_proba(["x", "y"]).tolist() == [[0.25, 0.75]] * 2


def test_multi_label_majority_returns_the_frequency_of_each_label():
    y = np.array([[1, 1], [1, 0], [1, 0], [0, 0]], bool)
    model = fit("majority", list("abcd"), y, class_names=NAMES, multi_label=True)
    assert model.predict_proba(["x"]).tolist() == [[0.75, 0.25]]


# === TF-IDF and logistic regression ===


def test_tfidf_learns_words():
    p = tfidf(TEXTS, Y).predict_proba(["a fine day", "a dull day"])
    assert p[0, 1] > 0.8 and p[1, 0] > 0.8


def test_tfidf_learns_labels_independently():
    y = np.stack([Y == 1, Y == 0, np.arange(20) % 4 < 2], axis=1)  # the third label: "film"
    model = tfidf(TEXTS, y, class_names="abc", multi_label=True)
    p = model.predict_proba(["fine film", "dull"])
    assert (p > 0.5).tolist() == [[True, False, True], [False, True, False]]
    assert "one balanced model per label" in model.describe()


def test_tfidf_predicts_a_rare_label_because_classes_are_balanced():
    y = np.zeros((20, 1), bool)
    y[0] = True  # 1 of the 5 texts "a fine film"
    p = tfidf(TEXTS, y, class_names="a", multi_label=True).predict_proba(["a fine film"])
    assert p[0, 0] > 0.5


def test_tfidf_distinguishes_the_order_of_two_words():
    texts = ["not good just bad", "not bad just good"] * 10
    p = tfidf(texts, np.array([0, 1] * 10)).predict_proba(["not good", "not bad"])
    assert p[0, 0] > 0.5 and p[1, 1] > 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [("what!", "what?"), ("it don't", "it do"), ("I go", "u go"), ("we ll go", "we'll go")],
)
def test_tfidf_distinguishes_punctuation_apostrophes_and_short_words(one: str, other: str):
    p = tfidf([one, other] * 10, np.array([0, 1] * 10)).predict_proba([one, other])
    assert p[0, 0] > 0.6 and p[1, 1] > 0.6


def test_tfidf_equals_the_documented_scikit_learn_pipeline():
    texts = [*TEXTS, "fine fine fine dull", "dull dull fine"]
    y = np.append(Y, [1, 0])
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=baselines.WORD
    )
    model = LogisticRegression(C=10, max_iter=1000).fit(vectorizer.fit_transform(texts), y)
    expected = model.predict_proba(vectorizer.transform(texts))
    assert tfidf(texts, y).predict_proba(texts) == pytest.approx(expected, abs=1e-9)


def test_tfidf_uses_character_ngrams_for_chinese_by_default():
    model = tfidf(CHINESE, np.array([1, 0] * 10))
    assert "characters, 1-3-grams" in model.describe()
    p = model.predict_proba(["很干净", "太脏了"])  # neither text occurs in the training texts
    assert p[0, 1] > 0.6 and p[1, 0] > 0.6
    words = tfidf(CHINESE, np.array([1, 0] * 10), unit="word")
    assert "words, 1-2-grams" in words.describe()


def test_tfidf_uses_word_ngrams_for_english_by_default_and_characters_on_request():
    assert "words, 1-2-grams" in tfidf(TEXTS, Y).describe()
    assert "characters, 1-3-grams" in tfidf(TEXTS, Y, unit="character").describe()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["房间很干净"], True),
        (["iPhone 手机很好"], True),
        (["a long English sentence that ends in 猫"], False),
        (["abcdefg房间很"], True),  # 3 of 10 letters
        (["abcdefgh房间很"], False),  # 3 of 11
        (["12 + 34 !"], False),
        ([""], False),
        (["𠀀𠀁"], True),  # beyond 16 bits
        (["english"] * 2000 + ["中文" * 20] * 2000, True),  # the sample is not the first texts
    ],
    ids=[
        "Chinese",
        "mostly Chinese",
        "one Han character",
        "3 of 10",
        "3 of 11",
        "no letters",
        "empty",
        "beyond 16 bits",
        "half of many texts",
    ],
)
def test_is_chinese_requires_30_percent_of_letters_to_be_han(texts: list[str], expected: bool):
    assert is_chinese(texts) is expected


def test_tfidf_keeps_words_that_occur_once_only_in_small_data():
    few = tfidf(TEXTS[:4], Y[:4])
    assert "in at least 1 text)" in few.describe()
    assert few.predict_proba(["bright"])[0, 1] > 0.5, "bright occurs once"
    many = tfidf([*TEXTS * 10, "once"], np.append(np.tile(Y, 10), 1))
    assert "in at least 2 texts)" in many.describe()
    assert np.array_equal(many.predict_proba(["once"]), many.predict_proba(["never"]))


def test_tfidf_keeps_words_that_occur_once_if_texts_share_no_word():
    texts = [f"word{i}" for i in range(120)]
    model = tfidf(texts, np.arange(120) % 2)
    assert "in at least 1 text)" in model.describe()
    assert model.predict_proba(["word7"])[0, 1] > 0.5


def test_tfidf_description_reports_missing_convergence_without_a_warning(
    monkeypatch: pytest.MonkeyPatch,
):
    assert "converged" not in tfidf(TEXTS, Y).describe()
    monkeypatch.setattr(baselines, "MAX_ITERATIONS", 1)
    assert "1 of 1 not converged in 1 iterations" in tfidf(TEXTS, Y).describe()
    model = tfidf(TEXTS, LABELS, multi_label=True)
    assert "2 of 2 not converged" in model.describe()


# === Invalid arguments ===


def test_fit_rejects_an_unknown_baseline_or_unit_and_lists_the_choices():
    with pytest.raises(ConfigError, match="no 'svm'; expected one of majority, tfidf_logistic"):
        fit("svm", TEXTS, Y, class_names=NAMES, multi_label=False)
    with pytest.raises(ConfigError, match="no 'byte'; expected one of auto, word, character"):
        tfidf(TEXTS, Y, unit="byte")


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_accepts_texts_with_unpaired_surrogates(name: str):
    texts = [f"{text}\ud83d" for text in CHINESE]
    model = fit(name, texts, Y, class_names=NAMES, multi_label=False)
    assert np.isfinite(model.predict_proba([*texts, "\udc00"])).all()


@pytest.mark.parametrize("name", BASELINES)
def test_fit_rejects_zero_texts(name: str):
    with pytest.raises(DataError, match="has no training text"):
        fit(name, [], np.zeros(0, int), class_names=NAMES, multi_label=False)


def test_tfidf_rejects_texts_without_words_or_characters():
    with pytest.raises(DataError, match="the 2 training texts contain no word"):
        tfidf(["", " ... "], np.array([0, 1]))
    with pytest.raises(DataError, match="contain no character"):
        tfidf(["", ""], np.array([0, 1]), unit="character")


@pytest.mark.parametrize(
    "y",
    [Y[:3], LABELS, np.full(20, 2), np.full(20, -1)],
    ids=["too few", "two-dimensional", "too large", "negative"],
)
def test_fit_rejects_classes_with_a_wrong_shape_or_range(y: np.ndarray):
    with pytest.raises(ValueError, match="y "):
        tfidf(TEXTS, y)


# === Published data ===


def read_csv(path: Path, delimiter: str, text: int, label: int) -> tuple[list[str], list[str]]:
    """Return texts and labels of a file with a header; tab-separated files have no quotes."""
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter=delimiter, quoting=quoting) if row][1:]
    return [row[text] for row in rows], [row[label] for row in rows]


@pytest.mark.parametrize(
    ("train", "test", "delimiter", "text", "label", "floor"),
    [
        ("sst2/train.tsv", "sst2/test.tsv", "\t", 0, 1, 0.80),
        ("trec/train.csv", "trec/test.csv", ",", 0, 1, 0.90),
        ("chnsenticorp/train.tsv", "chnsenticorp/test.tsv", "\t", 1, 0, 0.92),
    ],
)
def test_tfidf_reaches_its_known_accuracy_on_published_data(
    real_data: Path, train: str, test: str, delimiter: str, text: int, label: int, floor: float
):
    texts, labels = read_csv(real_data / "data" / train, delimiter, text, label)
    names = sorted(set(labels))
    model = tfidf(texts, np.array([names.index(name) for name in labels]), class_names=names)
    assert "converged" not in model.describe()
    texts, labels = read_csv(real_data / "data" / test, delimiter, text, label)
    y_true = np.array([names.index(name) for name in labels])
    report = evaluate(y_true, model.predict_proba(texts), class_names=names, multi_label=False)
    assert floor <= report.get("accuracy") < floor + 0.03, (
        "a higher accuracy than known suggests a leak"
    )


def test_multi_label_tfidf_reaches_its_known_f1_on_goemotions(real_data: Path):
    # A quarter of the training rows. With all rows the scores are 0.437 and 0.52, in 30 seconds.
    folder = real_data / "data" / "goemotions"
    names = (folder / "labels.txt").read_text(encoding="utf-8").split()

    def read(split: str) -> tuple[list[str], np.ndarray]:
        lines = (folder / f"{split}.tsv").read_text(encoding="utf-8").split("\n")
        rows = [line.split("\t") for line in lines if line][:: 4 if split == "train" else 1]
        y = np.zeros((len(rows), len(names)), bool)
        for row, (_, ids, *_) in zip(y, rows, strict=True):
            row[[int(label) for label in ids.split(",")]] = True
        return [row[0] for row in rows], y

    model = tfidf(*read("train"), class_names=names, multi_label=True)
    texts, y_true = read("test")
    report = evaluate(y_true, model.predict_proba(texts), class_names=names, multi_label=True)
    assert 0.37 < report.get("macro_f1") < 0.4 and 0.49 < report.get("micro_f1") < 0.52


def test_all_baselines_are_scored_with_and_without_leaked_rows(tmp_path: Path) -> None:
    rows = [f"good day {i},positive\nbad day {i},negative\n" for i in range(10)]
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(rows))
    (tmp_path / "test.csv").write_text("text,label\ngood day 1,positive\nbad weather,negative\n")
    dataset = data.open_dataset(
        train=str(tmp_path / "train.csv"),
        test=str(tmp_path / "test.csv"),
    )
    fitted: list[tuple[str, int]] = []
    results = baselines.evaluate_baselines(
        dataset, settings={"bootstrap_samples": 0}, on_fit=lambda *fit: fitted.append(fit)
    )
    num_train = dataset.splits["train"].num_examples
    majority, *others = baselines.available()
    names = [majority, baselines.LINEAR, *others]
    assert fitted == [(name, num_train) for name in names]
    assert [result.name for result in results] == names
    for result in results:
        assert (result.num_leaked, result.report.num_examples) == (1, 2)
        assert result.without_leaked is not None and result.without_leaked.num_examples == 1
    for result in results[1:3]:
        assert result.without_leaked is not None and result.without_leaked.get("accuracy") == 1
        assert result.report.get("accuracy") == 1 and "logistic regression" in result.description
    with pytest.raises(DataError, match="have no split dev, only train, validation, test; choose"):
        baselines.evaluate_baselines(dataset, "dev")


def test_linear_model_selects_labels_by_thresholds_of_validation(tmp_path: Path) -> None:
    # Two of five texts have the label, whatever their words: its probability is about 0.4.
    rows = [f"a coin of year {i},{'heads' if i % 5 < 2 else ''}\n" for i in range(200)]
    (tmp_path / "coins.csv").write_text("text,label\n" + "".join(rows))
    dataset = data.open_dataset(
        source=str(tmp_path / "coins.csv"), class_names=["heads", "tails"], multi_label=True
    )
    (result,) = baselines.evaluate_baselines(
        dataset, names=[baselines.LINEAR], settings={"bootstrap_samples": 0}
    )
    assert result.report.classes[0].recall > 0.5
