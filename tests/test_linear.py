"""The linear model: features, fit and graph."""

import csv
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfTransformer

from textclf import data, evaluation, linear, text
from textclf.config import Config
from textclf.data import Dataset
from textclf.errors import TrainingError
from textclf.linear import fitting, solvers
from textclf.linear.features import Features, NgramCounter, choose_blocks, choose_num_buckets
from textclf.tasks import MultiLabel, OneOf
from textclf.text.ngrams import CHARACTER_BLOCKS, WORD_BLOCKS

GOOD = ["good", "great", "fine", "lovely", "superb"]
BAD = ["bad", "awful", "poor", "boring", "dull"]


def tokenizer(unit: str = "word") -> text.Tokenizer:
    return text.Tokenizer(unit=unit, lowercase=True, fold_width=True, unescape_entities=True)


def rows(n: int) -> list[tuple[str, str]]:
    """Return opinions with their class; one word decides."""
    draw = np.random.default_rng(0)
    return [
        (f"this film number {draw.integers(9)} was {draw.choice(words)} to see", label)
        for _ in range(n // 2)
        for words, label in ((GOOD, "yes"), (BAD, "no"))
    ]


def open_rows(path: Path, examples: list[tuple[str, str]], **settings: object) -> Dataset:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(examples)
    config = Config.from_dict({"data": {"source": str(path), **settings}})
    return data.open_dataset(config.data)


@pytest.fixture(scope="module")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_rows(tmp_path_factory.mktemp("opinions") / "rows.csv", rows(200))


@pytest.fixture(scope="module")
def fitted(opinions: Dataset, tmp_path_factory: pytest.TempPathFactory) -> linear.Fitted:
    return linear.fit(opinions, tokenizer=tokenizer(), folder=tmp_path_factory.mktemp("fit"))


def answer(model: linear.LinearModel, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    tokens, positions = tokenizer().split_tokens(tf.constant([text.to_utf8(t) for t in texts]))
    logits, truncated = model(tokens, positions, tf.constant(len(texts), tf.int64))
    return logits.numpy(), truncated.numpy()


def test_linear_model_separates_what_one_word_decides(opinions, fitted):
    predicted = fitted.validation_logits.argmax(axis=1)
    assert (predicted == fitted.validation_classes).all()
    logits, _ = answer(fitted.model, ["a superb film", "a dull film"])
    assert [opinions.class_names[i] for i in logits.argmax(axis=1)] == ["yes", "no"]


def test_graph_of_the_linear_model_equals_the_matrix_product(opinions, fitted, tmp_path):
    counter = NgramCounter(
        opinions, tokenizer(), WORD_BLOCKS, fitted.model.num_buckets, 5000, lambda *args: None
    )
    train = counter.split("train", tmp_path / "train")
    features = Features(train, WORD_BLOCKS, fitted.model.num_buckets)
    arrays = fitted.model.arrays
    weights = np.concatenate([arrays["weights_0"], arrays["weights_1"]])
    product = features.matrix(train) @ weights + arrays["bias"]
    logits, _ = answer(fitted.model, [e.text for e in opinions.examples("train")])
    np.testing.assert_allclose(logits, product, atol=1e-5)


def test_features_of_a_block_equal_those_of_scikit_learn(opinions, tmp_path):
    num_buckets = 2**16
    counter = NgramCounter(
        opinions, tokenizer(), WORD_BLOCKS, num_buckets, 5000, lambda *args: None
    )
    train = counter.split("train", tmp_path / "train")
    matrix = Features(train, WORD_BLOCKS, num_buckets).matrix(train).toarray()
    columns = np.array(train.columns)
    raw = np.zeros((len(train.starts) - 1, 2 * num_buckets))
    for row in range(len(raw)):
        entries = slice(train.starts[row], train.starts[row + 1])
        raw[row, columns[entries]] = train.counts[entries]
    assert raw.max() > 1, "a count must be above 1 for the logarithm to matter"
    kept = (raw > 0).sum(axis=0) >= 2
    expected = [
        TfidfTransformer(sublinear_tf=True).fit_transform(raw[:, block][:, kept[block]]).toarray()
        for block in (slice(0, num_buckets), slice(num_buckets, 2 * num_buckets))
    ]
    np.testing.assert_allclose(matrix, np.concatenate(expected, axis=1), atol=1e-6)


def test_linear_logits_of_a_text_are_the_same_alone_and_in_a_batch(fitted):
    texts = ["a superb film", "", "été 好 unknown", "bad " * 6000, "not good, not bad"]
    together, truncated = answer(fitted.model, texts)
    alone = np.concatenate([answer(fitted.model, [item])[0] for item in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert truncated.tolist() == [False, False, False, True, False]
    assert np.isfinite(together).all()


def test_linear_model_does_not_read_tokens_beyond_the_limit(fitted):
    arrays = fitted.model.arrays
    short = linear.LinearModel(
        fitted.model.blocks, arrays, num_buckets=fitted.model.num_buckets, max_tokens=3
    )
    logits, truncated = answer(
        short, ["one two three superb", "one two three", "one two three dull"]
    )
    assert np.ptp(logits, axis=0).max() == 0
    assert truncated.tolist() == [True, False, True]


def test_linear_fit_is_the_same_in_every_run(opinions, fitted, tmp_path):
    again = linear.fit(opinions, tokenizer=tokenizer(), folder=tmp_path)
    for name, array in fitted.model.arrays.items():
        assert array.tobytes() == again.model.arrays[name].tobytes(), name


def test_streamed_fit_agrees_with_the_fit_in_memory(opinions, fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_FEATURES_IN_MEMORY", 10)
    streamed = linear.fit(opinions, tokenizer=tokenizer(), folder=tmp_path)
    assert streamed.selection.held_out == "validation"
    assert fitted.selection.held_out == "folds"
    same = streamed.validation_logits.argmax(1) == fitted.validation_logits.argmax(1)
    assert same.all()


def test_linear_model_of_several_labels(tmp_path):
    examples = [
        (f"{first} {second} {number}", f"{a},{b}".strip(","))
        for number in range(20)
        for first, a in (("red apple", "fruit"), ("fast car", ""))
        for second, b in (("in june", "summer"), ("in snow", ""))
    ]
    dataset = open_rows(tmp_path / "rows.csv", examples, multi_label=True)
    result = linear.fit(dataset, tokenizer=tokenizer(), folder=tmp_path)
    assert dataset.class_names == ("fruit", "summer")
    assert ((result.validation_logits > 0) == result.validation_classes).all()


def record_strengths(monkeypatch):
    """Return a list that gets the strength of each fit of a class."""
    strengths = []
    fit_class = solvers.ExactSolver._fit_class

    def counted(self, matrix, target, strength, weight):
        strengths.append(strength)
        return fit_class(self, matrix, target, strength, weight)

    monkeypatch.setattr(solvers.ExactSolver, "_fit_class", counted)
    return strengths


def test_many_labels_are_all_fitted_although_some_choose_the_strength(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_LABELS_TO_CHOOSE_ON", 2)
    colours = ["red", "blue", "green", "black"]
    examples = [
        (f"{one} and {other} {number}", f"{one},{other}")
        for number in range(20)
        for one, other in (colours[:2], colours[1:3], colours[2:], colours[::3])
    ]
    dataset = open_rows(tmp_path / "rows.csv", examples, multi_label=True)
    strengths = record_strengths(monkeypatch)
    result = linear.fit(dataset, tokenizer=tokenizer(), folder=tmp_path)
    assert ((result.validation_logits > 0) == result.validation_classes).all()
    assert strengths[-4:] == [result.selection.strength] * 4
    assert (len(strengths) - 4) % (2 * fitting.NUM_FOLDS) == 0


def test_many_classes_are_all_fitted_although_some_choose_the_strength(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_CLASSES_TO_CHOOSE_ON", 3)
    colours = ["red", "blue", "green", "black", "white"]
    examples = [
        (f"{colour} car {number % 7}", colour) for number in range(20) for colour in colours
    ]
    dataset = open_rows(tmp_path / "rows.csv", examples)
    strengths = record_strengths(monkeypatch)
    result = linear.fit(dataset, tokenizer=tokenizer(), folder=tmp_path)
    assert (result.validation_logits.argmax(axis=1) == result.validation_classes).all()
    assert strengths[-5:] == [result.selection.strength] * 5
    assert (len(strengths) - 5) % (3 * fitting.NUM_FOLDS) == 0


def random_problem(num_texts: int = 120, num_classes: int = 4) -> tuple:
    """Return a matrix of word counts and classes that the words suggest."""
    import scipy.sparse

    draw = np.random.default_rng(0)
    classes = draw.integers(num_classes, size=num_texts)
    dense = draw.poisson(1.0, size=(num_texts, 3 * num_classes)).astype(np.float32)
    dense[np.arange(num_texts), classes] += draw.integers(3, size=num_texts)
    return scipy.sparse.csr_matrix(dense), classes


@pytest.mark.parametrize("weighting", linear.WEIGHTINGS)
@pytest.mark.parametrize("task", [OneOf(4), MultiLabel(4)], ids=["classes", "labels"])
def test_classes_fitted_alone_have_the_weights_of_a_fit_of_all_classes(weighting, task):
    matrix, classes = random_problem()
    if task.is_multi_label:
        classes = np.equal.outer(classes, np.arange(4))
    solver = solvers.ExactSolver(task, matrix, [1.0, 5.0, 0.2, 3.0], 0)
    rows, outputs = np.arange(20, 120), np.array([3, 1])
    all_weights, all_bias = solver.fit(classes, weighting, 3.0, rows)
    weights, bias = solver.fit(classes, weighting, 3.0, rows, outputs)
    assert (weights == all_weights[:, outputs]).all() and (bias == all_bias[outputs]).all()
    assert not (weights[:, 0] == weights[:, 1]).any(), "the classes must differ"


def test_log_loss_of_a_search_on_some_classes_is_that_of_their_texts_among_them(monkeypatch):
    monkeypatch.setattr(fitting, "MIN_VALIDATION_TEXTS", 1)
    matrix, classes = random_problem()
    heldout, heldout_classes = matrix[80:], classes[80:]
    solver = solvers.ExactSolver(OneOf(4), matrix[:80], None, 0)
    outputs = np.array([3, 1])
    choice = fitting._choose(
        solver, classes[:80], heldout_classes, outputs=outputs, heldout=lambda: heldout,
        weightings=("tfidf",), seed=0, on_progress=lambda *args: None,
    )  # fmt: skip
    weights, bias = solver.fit(classes[:80], "tfidf", choice.strength)
    logits = (heldout @ weights + bias)[:, outputs]
    has_class = np.isin(heldout_classes, outputs)
    y = (heldout_classes[has_class] == 1).astype(np.int64)
    temperature = evaluation.fit_temperature(OneOf(2), y, logits[has_class])
    p = OneOf(2).probabilities(tf.constant(logits[has_class]), temperature).numpy()
    assert choice.log_loss == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean(), rel=1e-5)


def test_classes_that_choose_the_strength_have_all_frequencies():
    order = np.random.default_rng(0).permutation(100)
    classes = np.repeat(order, np.arange(1, 101))
    frequencies = np.bincount(classes)[fitting._outputs_to_choose_on(OneOf(100), classes, classes)]
    assert len(frequencies) == 32 and frequencies[[0, -1]].tolist() == [1, 100]
    assert set(np.diff(frequencies)) == {3, 4}
    assert fitting._outputs_to_choose_on(OneOf(32), classes % 32, classes % 32) is None


def test_classes_that_choose_the_strength_have_held_out_texts():
    classes = np.repeat(np.arange(20_000), 3)
    heldout_classes = np.random.default_rng(0).integers(20_000, size=1000)
    outputs = fitting._outputs_to_choose_on(OneOf(20_000), classes, heldout_classes)
    assert len(set(outputs)) == 32 and np.isin(outputs, heldout_classes).all()


def test_fit_at_the_end_of_the_searched_values_of_c_is_noted(fitted):
    def notes(strength: float) -> str:
        return " ".join(msgspec.structs.replace(fitted.selection, strength=strength).notes)

    assert "C 100, the largest value that was tried" in notes(100.0)
    assert "C 0.1, the smallest value that was tried" in notes(0.1)
    assert notes(3.0) == ""


@pytest.mark.parametrize(
    ("many_classes", "limit"),
    [(1, "_MAX_ITERATIONS_OF_MANY_CLASSES"), (32, "_MAX_ITERATIONS")],
)
def test_fit_that_did_not_converge_is_used_and_noted_with_its_c(
    opinions, tmp_path, monkeypatch, many_classes, limit
):
    monkeypatch.setattr(solvers, "MANY_CLASSES", many_classes)
    monkeypatch.setattr(solvers, limit, 1)
    selection = linear.fit(opinions, tokenizer=tokenizer(), folder=tmp_path).selection
    assert selection.num_unconverged == 1
    expected = f"did not converge for 1 of its classes with C {selection.strength:g}; this fit"
    assert expected in selection.notes[-1]


def test_only_the_named_weightings_are_tried(opinions, tmp_path):
    for weighting in linear.WEIGHTINGS:
        result = linear.fit(
            opinions, tokenizer=tokenizer(), folder=tmp_path, weightings=(weighting,)
        )
        assert result.selection.weighting == weighting


def test_class_without_or_with_all_texts_gets_a_constant_logit():
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix(np.eye(4, dtype=np.float32))
    task = MultiLabel(3)
    classes = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 0]], bool)
    weights, bias = solvers.ExactSolver(task, matrix, None, 0).fit(classes, "tfidf", 1.0)
    assert (weights[:, :2] == 0).all() and (weights[:, 2] != 0).any()
    assert bias[:2].tolist() == [solvers.CONSTANT_LOGIT, -solvers.CONSTANT_LOGIT]


def test_class_weights_move_the_decision_of_the_linear_model():
    import scipy.sparse

    # Two words; each class has both, the first word more often the first class.
    words = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    classes = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    matrix = scipy.sparse.csr_matrix(np.eye(2, dtype=np.float32)[words])
    shares = []
    for class_weights in (None, [1.0, 9.0], [9.0, 1.0]):
        weights, bias = solvers.ExactSolver(OneOf(2), matrix, class_weights, 0).fit(
            classes, "tfidf", 1.0
        )
        shares.append((matrix @ weights + bias).argmax(axis=1).mean())
    assert shares == [0.5, 1.0, 0.0]


def test_log_count_ratio_follows_the_definition():
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], np.float32))
    total = np.array([2, 2, 1])
    ratios = solvers._log_count_ratios(matrix, np.array([True, True, False]), total)
    p, q = np.array([3, 2, 1]), np.array([1, 2, 2])
    np.testing.assert_allclose(ratios, np.log((p / 6) / (q / 5)), rtol=1e-6)


def test_weights_contain_the_log_count_ratios():
    import scipy.sparse
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(0)
    dense = draw.integers(2, size=(40, 6)).astype(np.float32)
    classes = (dense[:, 0] + draw.random(40) > 0.8).astype(np.int64)
    matrix = scipy.sparse.csr_matrix(dense)
    total = (dense > 0).sum(axis=0)
    scaled = dense * solvers._log_count_ratios(matrix, classes == 1, total)
    model = LogisticRegression(solver="liblinear", dual=True, tol=0.01, random_state=0)
    expected = model.fit(scaled, classes).decision_function(scaled)
    weights, bias = solvers.ExactSolver(OneOf(2), matrix, None, 0).fit(
        classes, "log_count_ratio", 1.0
    )
    logits = matrix @ weights + bias
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "unit", "blocks"),
    [
        (["a good film", "a bad film"], "word", WORD_BLOCKS),
        (["很 好看", "不好看"], "word", CHARACTER_BLOCKS),
        (["good film", "bad film"], "character", CHARACTER_BLOCKS),
        (["good 好", "bad film"], "word", WORD_BLOCKS),
    ],
    ids=["english", "chinese", "unit-character", "mostly-english"],
)
def test_ngrams_are_chosen_by_script(tmp_path, texts, unit, blocks):
    examples = [(f"{item} {i}", str(i % 2)) for i in range(40) for item in texts]
    dataset = open_rows(tmp_path / "rows.csv", examples)
    assert choose_blocks(dataset, tokenizer(unit)) == blocks


def test_number_of_buckets_falls_with_the_number_of_classes():
    assert choose_num_buckets(2) == choose_num_buckets(16) == 2**22
    assert choose_num_buckets(200) == 2**18
    for num_classes in (2, 17, 200, 3000):
        assert choose_num_buckets(num_classes) * num_classes <= 2**26
    with pytest.raises(TrainingError, match="70,000 classes"):
        choose_num_buckets(70_000)


def test_training_split_without_a_token_is_an_error(tmp_path):
    examples = [("--- ...", label) for label in ("a", "b") for _ in range(10)]
    dataset = open_rows(
        tmp_path / "rows.csv", [(f"{t}{'.' * i}", y) for i, (t, y) in enumerate(examples)]
    )
    with pytest.raises(TrainingError, match="no token.*data.text_columns"):
        linear.fit(dataset, tokenizer=tokenizer(), folder=tmp_path)


def test_idf_of_an_ngram_in_every_text_is_one(opinions, fitted):
    arrays = fitted.model.arrays
    assert arrays["idf_0"].min() == pytest.approx(1.0)
    n = opinions.splits["train"].num_examples
    assert arrays["idf_0"].max() == pytest.approx(math.log((1 + n) / 3) + 1)


def test_fit_counts_the_training_texts_and_tokens_that_its_limit_cuts_by_class(tmp_path):
    long = [(f"{n} " + "good " * 13, "yes") for n in range(9)]
    long += [(f"{n} " + "bad " * 20, "no") for n in range(9)]
    train = open_rows(tmp_path / "rows.csv", rows(100) + long)
    expected = {name: np.zeros(2, int) for name in train.class_names}
    for example in train.examples("train"):
        beyond = len(example.text.split()) - 10
        if beyond > 0:
            expected[train.class_names[example.label_ids[0]]] += [1, beyond]
    assert all(texts > 0 for texts, _ in expected.values()), "each class needs a long text"
    counter = NgramCounter(train, tokenizer(), WORD_BLOCKS, 2**10, 10, lambda *args: None)
    counts = counter.split("train", tmp_path / "train")
    assert counts.num_cut == sum(texts for texts, _ in expected.values())
    for c, name in enumerate(train.class_names):
        found = (counts.truncated_texts[c], counts.cut_tokens[c])
        assert found == tuple(expected[name])


def test_features_of_some_rows_are_those_rows_of_all_features(opinions, tmp_path):
    counter = NgramCounter(opinions, tokenizer(), WORD_BLOCKS, 2**12, 50, lambda *args: None)
    train = counter.split("train", tmp_path / "train")
    features = Features(train, WORD_BLOCKS, 2**12)
    chosen = np.array([5, 0, 17, 5])
    difference = features.matrix(train, chosen) - features.matrix(train)[chosen]
    assert abs(difference).max() == 0
