"""Probabilities of each row of train by a model that was not trained on it.

For each fold, the rows of the other folds are written to a temporary folder, as a data set with a
train and a validation split. Everything that a model learns (vocabulary, IDF, C, temperature, best
epoch) comes from this data set, which does not contain the rows of the fold.
"""

import datetime
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from textclf import artifact, training
from textclf.config import Config, with_paths
from textclf.data import Dataset, open_dataset
from textclf.data.copying import write_examples
from textclf.errors import ConfigError, check_all
from textclf.label_errors.folds import (
    HELD_OUT,
    TRAIN,
    VALIDATION,
    Rows,
    split_fold,
)
from textclf.progress import OnProgress

MODEL_KINDS = ("linear", "network")
_CHUNK_TEXTS = 1024


def check_model(config: Config, model_kind: str) -> None:
    """Check that the model of a configuration can be trained on folds.

    Args:
        config: the experiment.
        model_kind: one of `MODEL_KINDS`.

    Raises:
        TextclfError: it cannot; with every error.
    """
    if model_kind not in MODEL_KINDS:
        raise ConfigError([f"model_kind: no {model_kind!r}; choose {' or '.join(MODEL_KINDS)}"])
    if model_kind == "linear":
        return
    if config.model.encoder == "none":
        raise ConfigError(
            [
                "--model-kind network: model.encoder is none, so the configuration has no network; "
                "use --model-kind linear"
            ]
        )
    check_all(lambda: training.checks.check_inputs(config), lambda: _check_start(config))


def _check_start(config: Config) -> None:
    """Check that the initial weights were not trained with the labels.

    Raises:
        ConfigError: they come from a classifier.
    """
    folder = with_paths(config).training.init_from
    if folder is not None and Path(folder).exists() and not artifact.is_language_model(folder):
        raise ConfigError(
            [
                f"training.init_from: {folder} is a classifier, which may have learned the labels "
                "that are to be judged; remove the setting, or name a language model"
            ]
        )


def predict_out_of_fold(
    config: Config,
    dataset: Dataset,
    rows: Rows,
    folds: np.ndarray,
    judged: np.ndarray,
    *,
    model_kind: str,
    on_progress: OnProgress,
) -> np.ndarray:
    """Return the probabilities of each row of train, float32 [n, C].

    Args:
        config: the experiment; its settings of the data are those of `dataset`.
        dataset: train is read several times.
        rows, folds, judged: see `folds`.
        model_kind: one of `MODEL_KINDS`.
        on_progress: called with a stage, what is done and the total.

    Raises:
        TextclfError: a model cannot be trained.
    """
    num_folds = int(folds.max()) + 1
    p = np.empty((len(folds), len(dataset.class_names)), np.float32)
    predict = _predict_linear if model_kind == "linear" else _predict_network
    started = time.monotonic()
    for fold in range(num_folds):
        remaining = ""
        if fold:
            seconds = round((time.monotonic() - started) / fold * (num_folds - fold))
            remaining = f", {datetime.timedelta(seconds=seconds)} left"
        name = f"fold {fold + 1}/{num_folds}{remaining}"

        def show(stage: str, done: int, total: int, name: str = name) -> None:
            on_progress(f"{name}: {stage}", done, total)

        part = split_fold(dataset.task, rows, judged, folds, fold, config.training.seed)
        with tempfile.TemporaryDirectory(prefix="textclf-") as temporary:
            folder = Path(temporary)
            show("writing the other rows", 0, 0)
            fold_config = _write_fold(config, dataset, part, folder)
            held_out = (text for text, _ in _rows_of(dataset, part, HELD_OUT))
            p[part == HELD_OUT] = predict(fold_config, held_out, folder, show)
    return p


def _write_fold(config: Config, dataset: Dataset, part: np.ndarray, folder: Path) -> Config:
    """Write train and validation of a fold and return the configuration that reads them."""
    files = {
        split: write_examples(_rows_of(dataset, part, code), folder / split, dataset.multi_label)
        for split, code in (("train", TRAIN), ("validation", VALIDATION))
    }
    values = msgspec.to_builtins(with_paths(config))
    values["data"] = {
        **{split: str(path) for split, path in files.items()},
        "text_columns": ["text"],
        "label_column": "label",
        "class_names": list(dataset.class_names),
        "multi_label": dataset.multi_label,
    }
    values["training"] |= {"cache_dir": None, "tensorboard": False, "mlflow": False}
    values["evaluation"]["bootstrap_samples"] = 100  # the minimum; the intervals are unused
    return Config.of(values)


def _rows_of(
    dataset: Dataset, part: np.ndarray, code: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield text and class names of the rows of one part."""
    for example in itertools.compress(dataset.examples("train"), part == code):
        yield example.text, tuple(dataset.class_names[c] for c in example.label_ids)


def _predict_linear(
    config: Config, texts: Iterable[str], folder: Path, on_progress: OnProgress
) -> np.ndarray:
    """Fit the linear model; return the probabilities of texts, float32 [n, C]."""
    from textclf import classifier, evaluation, linear, text

    dataset = open_dataset(config.data)
    fitted = training.fit_linear(config, dataset, folder=folder, on_progress=on_progress)
    task = dataset.task
    temperature = evaluation.fit_temperature(
        task, fitted.validation_classes, fitted.validation_logits
    )
    on_progress("answering the held-out rows", 0, 0)
    tokenizer = text.Tokenizer(**classifier.tokenizer_settings(config))
    logits = linear.predict_texts(fitted.model, tokenizer, texts)
    return np.asarray(task.probabilities(logits, temperature), np.float32)


def _predict_network(
    config: Config, texts: Iterable[str], folder: Path, on_progress: OnProgress
) -> np.ndarray:
    """Train the network or the mixture; return the probabilities of texts, float32 [n, C]."""
    from textclf import classifier

    total = steps = 0
    for event in training.train_events(config, folder / "model", on_progress=on_progress):
        if isinstance(event, training.Started):
            total = event.total_steps
        elif isinstance(event, training.Step):
            steps += 1
            on_progress("training", steps, total)
    on_progress("answering the held-out rows", 0, 0)
    model = classifier.load(folder / "model")
    answers = [
        model.answers(chunk, None)["probabilities"]
        for chunk in classifier.chunks(texts, _CHUNK_TEXTS)
    ]
    return np.concatenate(answers)
