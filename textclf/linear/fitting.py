"""Fit of the linear model; held-out texts choose its weighting and the strength of its penalty."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import tensorflow as tf

from textclf import evaluation, text
from textclf.data import Dataset
from textclf.linear.features import (
    CHUNK_TEXTS,
    Features,
    NgramCounter,
    choose_blocks,
    choose_num_buckets,
)
from textclf.linear.model import LinearModel
from textclf.linear.solvers import MANY_CLASSES, ExactSolver, Solver, StreamingSolver
from textclf.progress import OnProgress, no_progress
from textclf.tasks import Task, task_of

# Features of all training texts that are held in memory, at 8 bytes each and more in the solver.
MAX_FEATURES_IN_MEMORY = 50_000_000
# With fewer validation texts, the fit is chosen by cross-validation on the training split.
MIN_VALIDATION_TEXTS = 1000
NUM_FOLDS = 5
# With more labels or classes, weighting and strength are chosen on so many of them. Labels are
# scored one by one on all held-out texts, classes only on their own texts: 8 classes of 200 had
# too few of them to choose the weighting that all classes choose, 16 and 32 chose it on three sets.
MAX_LABELS_TO_CHOOSE_ON = 8
MAX_CLASSES_TO_CHOOSE_ON = MANY_CLASSES
# Inverse strengths of the L2 penalty ("C" in scikit-learn); the search begins at START.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
START = 3
WEIGHTINGS = ("tfidf", "log_count_ratio")


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Fit that held-out texts chose.

    Attributes:
        weighting: one of `WEIGHTINGS`.
        strength: inverse strength of the regularisation.
        log_loss: of the held-out texts, after the best temperature.
        held_out: "validation" or "folds", the texts on which weighting and strength were chosen.
        num_features: n-grams that have weights.
        num_texts_cut: training texts with more tokens than the limit.
        truncated_texts: these texts by class; a text of several classes counts in each.
        cut_tokens: tokens beyond the limit, by class of the text.
        num_unconverged: classes for which the solver reached its maximum of iterations.
        seconds: time of the fit.
    """

    weighting: str
    strength: float
    log_loss: float
    held_out: str
    num_features: int
    num_texts_cut: int
    truncated_texts: tuple[int, ...]
    cut_tokens: tuple[int, ...]
    num_unconverged: int
    seconds: float

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on limits of the fit."""
        notes = []
        if self.strength in (STRENGTHS[0], STRENGTHS[-1]):
            end = "smallest" if self.strength == STRENGTHS[0] else "largest"
            notes.append(
                f"C {self.strength:g}, the {end} value that was tried, had the lowest log loss of "
                "the linear model"
            )
        if self.num_unconverged:
            notes.append(
                f"the solver of the linear model did not converge for {self.num_unconverged} of "
                f"its classes with C {self.strength:g}; this fit had the lowest log loss and is "
                "used"
            )
        return tuple(notes)


class Fitted(NamedTuple):
    """A fitted linear model.

    Attributes:
        model: the graph.
        selection: how it was fitted.
        validation_classes: int64 [n], or bool [n, C] for multi-label.
        validation_logits: float32 [n, C], of the graph.
    """

    model: LinearModel
    selection: Selection
    validation_classes: np.ndarray
    validation_logits: np.ndarray


def fit(
    dataset: Dataset,
    *,
    tokenizer: text.Tokenizer,
    folder: Path,
    max_tokens: int = 5000,
    class_weights: Sequence[float] | None = None,
    weightings: Sequence[str] = WEIGHTINGS,
    seed: int = 0,
    on_progress: OnProgress = no_progress,
) -> Fitted:
    """Fit the linear model to the training split, as held-out texts choose it.

    Args:
        dataset: train and validation are read.
        tokenizer: the tokenizer of the model.
        folder: an existing folder for temporary files, of about 5 bytes for each n-gram of a text.
        max_tokens: number of tokens of a text that are read.
        class_weights: weight of each class in the loss; default: 1.
        weightings: those of `WEIGHTINGS` that are tried.
        seed: seed of folds and solvers.
        on_progress: called with a stage, the number done and their total.

    Raises:
        TrainingError: the training split has no n-gram, or too many classes.
    """
    started = time.monotonic()
    task = dataset.task
    num_buckets = choose_num_buckets(task.num_outputs)
    blocks = choose_blocks(dataset, tokenizer)
    read = NgramCounter(dataset, tokenizer, blocks, num_buckets, max_tokens, on_progress)
    train = read.split("train", folder / "train")
    features = Features(train, blocks, num_buckets)
    validation = read.split("validation", folder / "validation")
    if features.num_values <= MAX_FEATURES_IN_MEMORY:
        solver: Solver = ExactSolver(task, features.matrix(train), class_weights, seed)
    else:
        solver = StreamingSolver(task, features, train, class_weights, seed)
    choice = _choose(
        solver,
        train.classes,
        validation.classes,
        outputs=_outputs_to_choose_on(task, train.classes, validation.classes),
        heldout=lambda: features.matrix(validation),
        weightings=weightings,
        seed=seed,
        on_progress=on_progress,
    )
    solver.num_unconverged = 0
    weights, bias = solver.fit(train.classes, choice.weighting, choice.strength)
    model = LinearModel(
        blocks,
        features.arrays(weights, bias),
        num_buckets=num_buckets,
        max_tokens=max_tokens,
    )
    selection = msgspec.structs.replace(
        choice,
        num_features=len(weights),
        num_texts_cut=train.num_cut,
        truncated_texts=tuple(train.truncated_texts.tolist()),
        cut_tokens=tuple(train.cut_tokens.tolist()),
        num_unconverged=solver.num_unconverged,
        seconds=round(time.monotonic() - started, 1),
    )
    return Fitted(model, selection, *predict_split(model, tokenizer, dataset, "validation"))


def predict_split(
    model: LinearModel, tokenizer: text.Tokenizer, dataset: Dataset, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of a split and its logits by the graph, equal in every call.

    Returns:
        int64 [n], or bool [n, C] for multi-label; and float32 [n, C].
    """

    label_ids: list[tuple[int, ...]] = []

    def texts() -> Iterator[str]:
        for example in dataset.examples(split):
            label_ids.append(example.label_ids)
            yield example.text

    logits = predict_texts(model, tokenizer, texts())
    return dataset.task.classes_of(label_ids), logits


def predict_texts(
    model: LinearModel, tokenizer: text.Tokenizer, texts: Iterable[str]
) -> np.ndarray:
    """Return the logits of texts by the graph, float32 [n, C]."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def logits_of(chunk: tf.Tensor) -> tf.Tensor:
        return model(*tokenizer.split_tokens(chunk), tf.shape(chunk, tf.int64)[0])[0]

    parts = [np.empty((0, model.num_classes), np.float32)]
    for chunk in text.chunk_texts(texts, CHUNK_TEXTS):
        parts.append(logits_of(tf.constant([text.to_utf8(item) for item in chunk])).numpy())
    return np.concatenate(parts)


# === Choice of weighting and strength ===


def _outputs_to_choose_on(
    task: Task, classes: np.ndarray, heldout_classes: np.ndarray
) -> np.ndarray | None:
    """Return the classes on which weighting and strength are chosen, int64 [k]; None for all.

    Each class is fitted against the rest, independently of the others: with many classes, a few of
    all frequencies are enough, and the search takes a part of the time. They are classes of
    held-out texts: with thousands of classes, most have none, and the loss needs texts.
    """
    most = MAX_LABELS_TO_CHOOSE_ON if task.is_multi_label else MAX_CLASSES_TO_CHOOSE_ON
    if task.num_outputs <= most:
        return None
    by_frequency = np.argsort(task.indicators(classes).sum(axis=0), kind="stable")
    has_texts = np.flatnonzero(task.indicators(heldout_classes).sum(axis=0))
    if len(has_texts) >= most:
        by_frequency = by_frequency[np.isin(by_frequency, has_texts)]
    return by_frequency[np.linspace(0, len(by_frequency) - 1, most).round().astype(int)]


def _choose(
    solver: Solver,
    classes: np.ndarray,
    heldout_classes: np.ndarray,
    *,
    outputs: np.ndarray | None,
    heldout: Callable[[], Any],
    weightings: Sequence[str],
    seed: int,
    on_progress: OnProgress,
) -> Selection:
    """Choose weighting and strength by the log loss of held-out texts.

    The loss is that after the best temperature, because the temperature is fitted later in any
    case. It has one minimum in the strength, so the search goes on while it falls. With `outputs`,
    it is that of these labels, or that of the texts of these classes among these classes.
    """
    task, scored_task = solver.task, solver.task
    # Without all features in memory, folds would take too long.
    is_exact = isinstance(solver, ExactSolver)
    use_validation = len(heldout_classes) >= MIN_VALIDATION_TEXTS or not is_exact
    folds = [] if use_validation else _folds(task, classes, seed)
    matrix = heldout() if use_validation else None
    scored_classes = heldout_classes if use_validation else classes
    is_scored = np.ones(len(scored_classes), bool)
    if outputs is not None:
        scored_task = task_of(multi_label=task.is_multi_label, num_classes=len(outputs))
        indicators = task.indicators(scored_classes)[:, outputs]
        if task.is_multi_label:
            scored_classes = indicators
        else:
            is_scored = indicators.sum(axis=1) > 0
            scored_classes = indicators[is_scored].argmax(axis=1)
    num_done = 0

    def log_loss(weighting: str, strength: float) -> float:
        nonlocal num_done
        num_done += 1
        on_progress(f"fitting the linear model ({weighting}, C {strength:g})", num_done, 0)
        if use_validation:
            weights, bias = solver.fit(classes, weighting, strength, outputs=outputs)
            logits = matrix @ weights + bias
            return _log_loss(scored_task, scored_classes, logits[is_scored])
        assert isinstance(solver, ExactSolver)
        logits = np.zeros((len(classes), scored_task.num_outputs), np.float32)
        for rows in folds:
            others = np.setdiff1d(np.arange(len(classes)), rows)
            weights, bias = solver.fit(classes, weighting, strength, others, outputs)
            logits[rows] = solver.matrix[rows] @ weights + bias
        return _log_loss(scored_task, scored_classes, logits[is_scored])

    best: dict[str, tuple[float, float]] = {}
    for weighting in weightings:
        losses = {START: log_loss(weighting, STRENGTHS[START])}
        for step in (1, -1):
            i = START
            while 0 <= i + step < len(STRENGTHS):
                losses[i + step] = log_loss(weighting, STRENGTHS[i + step])
                if losses[i + step] >= losses[i]:
                    break
                i += step
            if i != START:
                break
        i = min(losses, key=lambda index: losses[index])
        best[weighting] = losses[i], STRENGTHS[i]
    weighting = min(best, key=lambda name: best[name])
    return Selection(
        weighting=weighting,
        strength=best[weighting][1],
        log_loss=best[weighting][0],
        held_out="validation" if use_validation else "folds",
        num_features=0,
        num_texts_cut=0,
        truncated_texts=(),
        cut_tokens=(),
        num_unconverged=0,
        seconds=0,
    )


def _folds(task: Task, classes: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the rows of each fold, with equal shares of each class where possible."""
    from sklearn.model_selection import KFold, StratifiedKFold

    num_folds = min(NUM_FOLDS, len(classes))
    counts = task.indicators(classes).sum(axis=0)
    if not task.is_multi_label and counts[counts > 0].min() >= num_folds:
        splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    else:
        splitter = KFold(num_folds, shuffle=True, random_state=seed)
    return [rows for _, rows in splitter.split(np.zeros(len(classes)), classes)]


def _log_loss(task: Task, classes: np.ndarray, logits: np.ndarray) -> float:
    """Return the log loss after the best temperature."""
    temperature = evaluation.fit_temperature(task, classes, logits)
    p = task.probabilities(tf.constant(logits, tf.float32), temperature).numpy()
    p = np.clip(p, 1e-7, 1 - 1e-7)  # float32 rounds to 0 and 1
    return float(evaluation.scoring_of(task).log_losses(classes, p.astype(np.float64)).mean())
