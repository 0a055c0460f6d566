"""Baselines to compare networks with: majority class, linear models, and fastText.

They train in seconds, and `textclf.evaluation` accepts their `predict_proba` like that of any other
classifier. scikit-learn and fastText are imported when a baseline is fitted; fastText is optional.
`LINEAR` is the linear model of `textclf.linear`; TF-IDF with logistic regression is a pipeline of
scikit-learn, independent of it.
"""

import importlib.util
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import numpy as np

from textclf.data import Dataset
from textclf.errors import ConfigError, DataError
from textclf.evaluation import Report, evaluate, fit_decision
from textclf.progress import OnProgress, no_progress
from textclf.startup import import_tensorflow
from textclf.tasks import MultiLabel, OneOf, Task, task_of

if TYPE_CHECKING:
    from textclf.linear import Fitted
    from textclf.text import Tokenizer

Unit = Literal["auto", "word", "character"]

# Name of the linear model of the product among the results of `evaluate_baselines`.
LINEAR = "linear"
DEFAULT_TOKENIZER: Mapping[str, Any] = {
    "unit": "word",
    "lowercase": True,
    "fold_width": True,
    "unescape_entities": True,
}

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
HAN_SHARE_OF_CHINESE = 0.3  # share of the letters; Chinese with Latin names and numbers is above
SAMPLE_TEXTS = 1000
SMALL_DATA_TEXTS = 100  # with fewer training texts, words that occur once are kept
MAX_ITERATIONS = 1000
# Include short words, apostrophes, "!" and "?", like the tokenizer of the networks. The default
# pattern of scikit-learn drops them, although "?" and "!" distinguish questions and exclamations.
WORD = r"\b\w[\w']*\b|[!?]"


class Baseline(Protocol):
    """Fitted baseline."""

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 [n, C]; the rows of a one-of task sum to 1."""
        ...

    def describe(self) -> str:
        """Return a description of the fitted model in one line."""
        ...


def fit(
    name: str,
    texts: Sequence[str],
    y: np.ndarray,
    *,
    class_names: Sequence[str],
    multi_label: bool,
    unit: Unit = "auto",
    seed: int = 0,
) -> Baseline:
    """Fit a baseline on training texts.

    A class without training examples gets probability 0 for every text.

    Args:
        name: one of `BASELINES`.
        texts: n raw strings.
        y: int64 [n], ids into `class_names`, or bool [n, C] if `multi_label`.
        class_names: C names.
        multi_label: whether a text may have several classes, or none.
        unit: unit of the n-grams; "auto" is "character" for Chinese (at least 30 % of the letters
            of a sample of the texts are Han), otherwise "word".
        seed: seed of the baselines in `RANDOM`; the others are deterministic.

    Raises:
        ConfigError: the baseline or the unit is unknown.
        DataError: there are no texts, or no text contains a unit to count.
        ValueError: `y` does not match the texts and classes.
    """
    if name not in BASELINES:
        raise ConfigError([f"baseline: no {name!r}; expected one of {', '.join(BASELINES)}"])
    if unit not in ("auto", "word", "character"):
        raise ConfigError([f"unit: no {unit!r}; expected one of auto, word, character"])
    if len(texts) == 0:
        raise DataError(
            f"the baseline {name!r} has no training text; expected at least one; check that the "
            "training split is not empty"
        )
    task = task_of(multi_label=multi_label, num_classes=len(class_names))
    return _FITTERS[name](texts, task.check_classes(y, len(texts), "y"), task, unit, seed)


class BaselineResult(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted baseline and its reports on a split.

    Attributes:
        name: one of `BASELINES`, or `LINEAR`.
        description: the fitted model in one line.
        seconds: time to fit the model and to predict the split.
        report: all rows of the split.
        without_leaked: the rows whose text is not in the training split; None if these are all
            rows or no row.
        num_leaked: number of rows whose text is in the training split too.
    """

    name: str
    description: str
    seconds: float
    report: Report
    without_leaked: Report | None
    num_leaked: int


def evaluate_baselines(
    dataset: Dataset,
    split: str = "test",
    *,
    names: Sequence[str] | None = None,
    unit: Unit = "auto",
    tokenizer: Mapping[str, Any] = DEFAULT_TOKENIZER,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    on_fit: Callable[[str, int], None] = lambda name, num_texts: None,
    on_progress: OnProgress = no_progress,
) -> tuple[BaselineResult, ...]:
    """Fit baselines on the training split and report on another split.

        for result in evaluate_baselines(dataset, settings={"confidence": 0.9}):
            print(result.name, result.report.get("macro_f1"))

    Args:
        names: of `BASELINES` and `LINEAR`; default: all that are installed.
        unit, seed: see `fit`.
        tokenizer: arguments of `text.Tokenizer`, for `LINEAR`.
        settings: keyword arguments of `evaluation.evaluate`, for instance of the bootstrap.
        on_fit: called with the name of a baseline and the number of texts before it is fitted.
        on_progress: called with a stage, the rows read and their total.

    Raises:
        ConfigError: a name is unknown.
        DataError: the data have no such split, or no text that can be counted.
    """
    dataset.check_split(split)
    texts, y = texts_and_classes(dataset, "train", on_progress)
    split_texts, y_true = texts_and_classes(dataset, split, on_progress)
    task: dict[str, Any] = {"class_names": dataset.class_names, "multi_label": dataset.multi_label}
    settings = settings or {}
    leaked = dataset.leaked(split)
    results = []
    for name in ("majority", LINEAR, *available()[1:]) if names is None else names:
        on_fit(name, len(texts))
        started = time.monotonic()
        thresholds = None
        if name == LINEAR:
            model: Baseline = (own := _fit_linear(dataset, tokenizer, seed))
            thresholds = own.thresholds
        else:
            model = fit(name, texts, y, unit=unit, seed=seed, **task)
        p = model.predict_proba(split_texts)
        seconds = time.monotonic() - started
        options = {**task, "thresholds": thresholds, **settings}
        report, without_leaked = evaluate(y_true, p, **options), None
        if 0 < leaked.sum() < len(leaked):
            without_leaked = evaluate(y_true[~leaked], p[~leaked], **options)
        results.append(
            BaselineResult(
                name=name,
                description=model.describe(),
                seconds=seconds,
                report=report,
                without_leaked=without_leaked,
                num_leaked=int(leaked.sum()),
            )
        )
    return tuple(results)


def texts_and_classes(
    dataset: Dataset,
    split: str,
    on_progress: OnProgress = no_progress,
) -> tuple[list[str], np.ndarray]:
    """Read a split.

    Args:
        on_progress: called with a description, the number of examples read and their total.

    Returns:
        n texts, and their classes in the format of `fit`: int64 [n], or bool [n, C].
    """
    num_examples = dataset.splits[split].num_examples
    texts, labels = [], []
    for done, example in enumerate(dataset.examples(split), start=1):
        texts.append(example.text)
        labels.append(example.label_ids)
        if done % 1024 == 0 or done == num_examples:
            on_progress(f"reading {split}", done, num_examples)
    return texts, dataset.task.classes_of(labels)


class _Linear:
    """The linear model of `textclf.linear`, with temperature and thresholds by validation."""

    def __init__(self, fitted: "Fitted", tokenizer: "Tokenizer", task: Task):
        self._fitted, self._tokenizer, self._task = fitted, tokenizer, task
        self._decision = fit_decision(task, fitted.validation_classes, fitted.validation_logits)

    @property
    def thresholds(self) -> Sequence[float] | None:
        """Smallest probabilities with which labels are selected; None for one class a text."""
        return self._decision.thresholds

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        from textclf import linear

        logits = linear.predict_texts(self._fitted.model, self._tokenizer, texts)
        return np.asarray(self._task.probabilities(logits, self._decision.temperature), np.float64)

    def describe(self) -> str:
        selection = self._fitted.selection
        kinds = [
            f"{block.kind} {block.shortest}-{block.longest}" for block in self._fitted.model.blocks
        ]
        return (
            f"n-grams ({', '.join(kinds)}; {selection.num_features:,} features) + logistic "
            f"regression ({selection.weighting}, C {selection.strength:g})"
            f"{''.join(f'; {note}' for note in selection.notes)}"
        )


def _fit_linear(dataset: Dataset, tokenizer: Mapping[str, Any], seed: int) -> _Linear:
    """Fit the linear model; its temperature and thresholds are fitted on validation."""
    import_tensorflow()
    from textclf import linear, text

    tokenize = text.Tokenizer(**tokenizer)
    with tempfile.TemporaryDirectory(prefix="textclf-") as folder:
        fitted = linear.fit(dataset, tokenizer=tokenize, folder=Path(folder), seed=seed)
    return _Linear(fitted, tokenize, dataset.task)


class Majority:
    """Baseline that returns the class frequencies of the training split for every text.

    The arg max is the most frequent class. Multi-label: the frequency of each label.
    """

    def __init__(self, frequencies: np.ndarray):
        self.frequencies = frequencies  # float64 [C]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(self.frequencies, (len(texts), 1))

    def describe(self) -> str:
        return "class frequencies of the training split, whatever the text"


class TfidfLogisticRegression:
    """TF-IDF of n-grams and a linear model; multi-label: one linear model per label."""

    def __init__(
        self, vectorizer: Any, models: dict[int, Any] | Any, constant: np.ndarray, summary: str
    ):
        # `models`: one-of: a model, or None if the training texts have one class; multi-label:
        # label id -> model.
        self._vectorizer = vectorizer
        self._models = models
        self._constant = constant  # float64 [C]: probabilities of classes without a model
        self._summary = summary

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        p = np.tile(self._constant, (len(texts), 1))  # [n, C]
        if len(texts) == 0 or not self._models:
            return p
        features = self._vectorizer.transform(texts)  # sparse [n, terms]
        if isinstance(self._models, dict):
            for c, model in self._models.items():
                p[:, c] = model.predict_proba(features)[:, 1]
        else:
            p[:, self._models.classes_] = self._models.predict_proba(features)
        return p

    def describe(self) -> str:
        return self._summary


def _fit_majority(
    texts: Sequence[str], y: np.ndarray, task: Task, unit: Unit, seed: int
) -> Majority:
    """Compute the class frequencies."""
    return Majority(task.indicators(y).sum(axis=0) / len(texts))


def _fit_tfidf(
    texts: Sequence[str], y: np.ndarray, task: Task, unit: Unit, seed: int
) -> TfidfLogisticRegression:
    """Fit on term frequencies 1 + log(tf) of word 1-2-grams or character 1-3-grams, with C 10."""
    if unit == "auto":
        unit = "character" if is_chinese(texts) else "word"
    vectorizer, features, min_df = _vectorize(texts, unit)
    models, constant = _REGRESSIONS[type(task)](features, y, task, seed)
    fitted = [] if models is None else [*models.values()] if isinstance(models, dict) else [models]

    ngrams = "characters, 1-3-grams" if unit == "character" else "words, 1-2-grams"
    summary = (
        f"TF-IDF ({ngrams}, {len(vectorizer.vocabulary_):,} terms in at least {min_df} "
        f"text{'s' if min_df > 1 else ''}) + logistic regression (C 10"
        f"{', one balanced model per label' if isinstance(models, dict) else ''})"
    )
    num_unconverged = sum(int(model.n_iter_.max()) >= MAX_ITERATIONS for model in fitted)
    if num_unconverged:
        summary += (
            f"; {num_unconverged} of {len(fitted)} not converged in {MAX_ITERATIONS} iterations"
        )
    return TfidfLogisticRegression(vectorizer, models, constant, summary)


def _regress_classes(features: Any, y: np.ndarray, task: Task, seed: int) -> tuple[Any, np.ndarray]:
    """Fit one model of all classes; None if the texts have one class.

    Returns:
        The model, and float64 [C], the probabilities of classes without a model.
    """
    constant = np.zeros(task.num_outputs)
    present = np.unique(y)
    if len(present) == 1:
        constant[present] = 1.0
        return None, constant
    return _regress(features, y, seed, None), constant


def _regress_labels(
    features: Any, y: np.ndarray, task: Task, seed: int
) -> tuple[dict[int, Any], np.ndarray]:
    """Fit one balanced model for each label that some texts have and others do not.

    It is like OneVsRestClassifier of scikit-learn, but without its warnings about the other labels.

    Returns:
        The models by label id, and float64 [C], the probabilities of labels without a model.
    """
    constant = np.where(y.all(axis=0), 1.0, 0.0)
    varying = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
    return {int(c): _regress(features, y[:, c], seed, "balanced") for c in varying}, constant


_REGRESSIONS: dict[type, Callable[[Any, np.ndarray, Task, int], tuple[Any, np.ndarray]]] = {
    OneOf: _regress_classes,
    MultiLabel: _regress_labels,
}


def _vectorize(texts: Sequence[str], unit: str) -> tuple[Any, Any, int]:
    """Return the fitted vectorizer, sparse features [n, terms] and the minimum document count."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    ngrams: dict[str, Any] = {"analyzer": "word", "token_pattern": WORD, "ngram_range": (1, 2)}
    if unit == "character":
        ngrams = {"analyzer": "char", "ngram_range": (1, 3)}
    for min_df in (1,) if len(texts) < SMALL_DATA_TEXTS else (2, 1):
        vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=min_df, **ngrams)
        try:
            return vectorizer, vectorizer.fit_transform(texts), min_df
        except ValueError as error:
            # scikit-learn reports an empty vocabulary with one of two messages.
            if "vocabulary" not in str(error) and "no terms remain" not in str(error):
                raise
    raise DataError(
        f"the {len(texts):,} training texts contain no {unit} that the TF-IDF baseline can count; "
        "expected texts with letters; check data.text_columns"
    )


def _regress(features: Any, y: np.ndarray, seed: int, class_weight: str | None) -> Any:
    """Fit a logistic regression on features [n, terms] and y, int64 or bool [n]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = LogisticRegression(
        C=10.0,
        solver="lbfgs",
        max_iter=MAX_ITERATIONS,
        class_weight=class_weight,
        random_state=seed,
    )
    # One BLAS thread, because threads wait for each other on vectors this small (14 times slower
    # on two busy cores).
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported by `describe`
        return model.fit(features, y)


def is_chinese(texts: Sequence[str]) -> bool:
    """Return True if at least 30 % of the letters in a sample of the texts are Han."""
    num_letters = num_han = 0
    for text in texts[:: max(1, len(texts) // SAMPLE_TEXTS)]:
        num_letters += sum(map(str.isalpha, text))
        num_han += len(HAN.findall(text))
    return num_letters > 0 and num_han >= HAN_SHARE_OF_CHINESE * num_letters


class FastText:
    """fastText's linear model on averaged vectors of words and hashed word 2-grams.

    Joulin et al. 2017, "Bag of tricks for efficient text classification".
    """

    def __init__(self, model: Any, classes: np.ndarray, constant: np.ndarray, unit: str, loss: str):
        self._model = model
        self._classes = classes  # int [fitted classes], ids of the classes of the model
        self._constant = constant  # float64 [C], probabilities of the other classes
        self._unit = unit
        self._loss = loss  # of `_LOSSES`

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        p = np.tile(self._constant, (len(texts), 1))  # [n, C]
        if len(texts) == 0 or len(self._classes) == 0:
            return p
        lines = [_as_line(text, self._unit) + "\n" for text in texts]
        num_labels = len(self._classes) + 1  # and the label of texts without a class
        for row, (labels, values) in enumerate(
            zip(*self._model.f.multilinePredict(lines, num_labels, 0.0, "strict"), strict=True)
        ):
            for label, value in zip(labels, values, strict=True):
                if label != _NO_LABEL:
                    p[row, int(label.removeprefix(_LABEL))] = min(float(value), 1.0)
        if self._loss == "softmax":
            p /= p.sum(axis=1, keepdims=True)  # fastText adds 1e-5 to each
        return p

    def describe(self) -> str:
        return f"fastText ({self._unit}s, 1-2-grams, {FASTTEXT['dim']} dimensions)"


_LABEL = "#"  # occurs in no token
_NO_LABEL = "#none"
FASTTEXT = {"dim": 100, "epoch": 25, "lr": 0.5, "wordNgrams": 2, "bucket": 2**18, "minCount": 1}


# Loss of each task; "ova" is one-versus-all.
_LOSSES: dict[type, str] = {OneOf: "softmax", MultiLabel: "ova"}


def _fit_fasttext(
    texts: Sequence[str], y: np.ndarray, task: Task, unit: Unit, seed: int
) -> FastText:
    """Fit fastText with the settings of its tutorial."""
    import fasttext

    if unit == "auto":
        unit = "character" if is_chinese(texts) else "word"
    labels, loss = task.indicators(y), _LOSSES[type(task)]
    constant = labels.all(axis=0).astype(float)
    classes = np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0))
    if len(classes) == 0:
        return FastText(None, classes, constant, unit, loss)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        for text, row in zip(texts, labels[:, classes], strict=True):
            names = [f"{_LABEL}{c}" for c in classes[row]] or [_NO_LABEL]
            file.write(f"{' '.join(names)} {_as_line(text, unit)}\n")
        file.flush()
        model = fasttext.train_supervised(
            input=file.name,
            label=_LABEL,
            loss=loss,
            thread=1,  # several threads update the weights in random order
            seed=seed + 1,  # its generator treats 0 as 1
            verbose=0,
            **FASTTEXT,
        )
    return FastText(model, classes, constant, unit, loss)


def _as_line(text: str, unit: str) -> str:
    """Return the tokens of a text separated by spaces, the input format of fastText."""
    text = text.encode("utf-8", "replace").decode()  # unpaired surrogates cannot be encoded
    tokens = re.findall(WORD, text.lower()) if unit == "word" else "".join(text.split()).lower()
    # Without the label prefix and the character that ends a string in C++.
    return " ".join(token for token in tokens if token not in (_LABEL, "\0"))


def available() -> tuple[str, ...]:
    """Return the names of the baselines whose packages are installed."""
    has_fasttext = importlib.util.find_spec("fasttext") is not None
    return tuple(name for name in BASELINES if name != "fasttext" or has_fasttext)


_FITTERS: dict[str, Callable[[Sequence[str], np.ndarray, Task, Unit, int], Baseline]] = {
    "majority": _fit_majority,
    "tfidf_logistic_regression": _fit_tfidf,
    "fasttext": _fit_fasttext,
}
BASELINES = tuple(_FITTERS)
RANDOM = frozenset({"fasttext"})  # baselines whose result depends on the seed
