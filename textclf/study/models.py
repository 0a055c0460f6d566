"""Comparison of trained models on the same texts: checks, loading, and their answers.

report = compare(["runs/lstm", "runs/gru"], "new.csv")
report.comparisons[0].words
"""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from textclf import artifact
from textclf.artifact import Card
from textclf.config import Overrides, read_trained_paths
from textclf.data import Dataset
from textclf.errors import DataError
from textclf.model_data import DataToScore, OnNote, data_to_score, is_file, note_use_in_training
from textclf.progress import OnProgress, no_progress
from textclf.scoring import open_data
from textclf.startup import import_tensorflow
from textclf.study.model_report import Answers, ModelReport, compare_models
from textclf.study.runs import display_name
from textclf.tasks import Task


def check_comparable(cards: Mapping[str, Card], source: str | None) -> None:
    """Check that models can be scored on the same texts.

    Args:
        cards: by name of the model.
        source: the data to score; None for the data of the training.

    Raises:
        DataError: the classes or the data of the training differ.
    """
    names = list(cards)
    first = cards[names[0]]
    for name in names[1:]:
        card = cards[name]
        if set(card.class_names) != set(first.class_names) or card.task != first.task:
            raise DataError(
                f"{name}: has the classes {', '.join(card.class_names)}, but {names[0]} has "
                f"{', '.join(first.class_names)}; compare models of one task"
            )
        if source is None and card.data.fingerprint != first.data.fingerprint:
            raise DataError(
                f"{name}: was trained on other data than {names[0]}; name the data to score with "
                "--data"
            )


def choose_metric(metric: str | None, task: Task) -> str:
    """Return the metric, or the default of the task.

    Raises:
        ValueError: the metric is not available for the task.
    """
    available = task.comparison_metrics
    if metric is None:
        return available[0]
    if metric not in available:
        raise ValueError(
            f"{metric} is not available for this task; choose from {', '.join(available)}"
        )
    return metric


def answer_split(
    card: Card,
    predictor: Any,
    dataset: Dataset,
    split: str,
    on_progress: OnProgress = no_progress,
) -> Answers:
    """Return the answers to a split, with the classes in the order of a card.

    Args:
        card: whose order of classes is used.
        predictor: of `classifier.load_predictor`.
        dataset: of `data.open_dataset`.
        split: name of the split.
        on_progress: called with a stage, and what is done of a total.
    """
    scores = predictor.score(dataset, split, on_progress)
    order = [predictor.class_names.index(name) for name in card.class_names]
    task, thresholds = card.task, predictor.card.thresholds
    return Answers(
        task=task,
        y_true=task.reorder(scores.y_true, order),
        p=scores.p[:, order],
        thresholds=None if thresholds is None else np.asarray(thresholds)[order],
    )


def group_by_cell(cards: Mapping[str, Card]) -> dict[str, str]:
    """Return the cell of each model: models that differ only in their seed have the same cell.

    Args:
        cards: by name of the model.
    """
    cells: dict[str, str] = {}
    names: dict[str, str] = {}  # name of the cell by its settings
    for name, card in cards.items():
        training = {
            key: value
            for key, value in card.config["training"].items()
            if key not in ("seed", "cache_dir")
        }
        # The same settings with other data are another cell.
        fingerprint = card.data.fingerprint
        settings = repr([card.config["text"], card.config["model"], training, fingerprint])
        if settings not in names:
            model = card.config["model"]
            direction = "bi" if model.get("bidirectional") and model["encoder"] != "bag" else ""
            cell = display_name(direction + model["encoder"])
            names[settings] = f"{cell} of {name}" if cell in names.values() else cell
        cells[name] = names[settings]
    return cells


class ToCompare(NamedTuple):
    """Models to compare and the data to compare them on, checked and not read yet.

    Attributes:
        cards: by folder of the model, in the order of the models.
        to_score: the data.
        metric: one of `Task.comparison_metrics`.
        networks: the mixtures whose networks are compared alone too; none, or at least two.
    """

    cards: dict[str, Card]
    to_score: DataToScore
    metric: str
    networks: tuple[str, ...] = ()


def check_models(
    models: Sequence[str | os.PathLike],
    source: str | os.PathLike | None = None,
    *,
    split: str | None = None,
    metric: str | None = None,
    overrides: Overrides = (),
    on_note: OnNote = lambda note: None,
) -> ToCompare:
    """Check that models can be compared on data, without loading them or reading the data.

    Args, Raises: see `compare`.
    """
    names = [os.fspath(model) for model in models]
    if len(names) < 2 or len(set(map(os.path.abspath, names))) < len(names):
        raise ValueError("expected at least two different models")
    cards = {name: artifact.read_model_card(name) for name in names}
    check_comparable(cards, None if source is None else os.fspath(source))
    first = cards[names[0]]
    metric = choose_metric(metric, first.task)
    to_score = data_to_score(
        first,
        source,
        paths=read_trained_paths(names[0]),
        split=split,
        overrides=overrides,
        advice="`--data FILE`",
        on_note=on_note,
    )
    if source is not None and is_file(os.fspath(source)):
        for name in names[1:]:
            note_use_in_training(os.fspath(source), read_trained_paths(name), on_note, model=name)
    return ToCompare(cards, to_score, metric, _networks(cards, on_note))


def _networks(cards: Mapping[str, Card], on_note: OnNote) -> tuple[str, ...]:
    """Return the mixtures whose networks can be compared alone."""
    mixtures = [name for name, card in cards.items() if card.mixture is not None]
    if len(mixtures) < 2:
        return ()
    networks = []
    for name in mixtures:
        if artifact.exported_version(name) is not None:
            on_note(f"{name}: an export answers with the mixture only; its network is not compared")
        elif cards[name].network_decision is None:
            on_note(
                f"{name}: was written by an older version of textclf, so its network is not "
                f"compared alone; `textclf calibrate {name}` makes this possible"
            )
        else:
            networks.append(name)
    return tuple(networks) if len(networks) > 1 else ()


def compare(
    models: Sequence[str | os.PathLike],
    source: str | os.PathLike | None = None,
    *,
    split: str | None = None,
    metric: str | None = None,
    overrides: Overrides = (),
    on_note: OnNote = lambda note: None,
    on_progress: OnProgress = no_progress,
) -> ModelReport:
    """Compare trained models on the same texts.

        report = textclf.compare(["runs/lstm", "runs/gru"], "new.csv")
        print(report.comparisons[0].words)

    Args:
        models: trained folders or exported versions, at least two.
        source: see `scoring.score`; default: the data that all models were trained on.
        metric: one of `Task.comparison_metrics`; default: the first of them.
        split, overrides, on_note, on_progress: see `scoring.score`.

    Raises:
        TextclfError: the models have different classes, or the data cannot be read or scored.
        ValueError: there are less than two different models, or the metric is not available.
    """
    to_compare = check_models(
        models, source, split=split, metric=metric, overrides=overrides, on_note=on_note
    )
    first = next(iter(to_compare.cards.values()))
    dataset = open_data(first, to_compare.to_score, on_note=on_note, on_progress=on_progress)
    return compare_on(to_compare, dataset, on_progress)


def compare_on(
    to_compare: ToCompare,
    dataset: Dataset,
    on_progress: OnProgress = no_progress,
) -> ModelReport:
    """Load models one after the other and compare their answers to a split.

    The networks of mixtures are compared alone too.

    Args:
        to_compare: of `check_models`.
        dataset: its data, of `scoring.open_data`.
    """
    import_tensorflow()
    from textclf import classifier

    cards, to_score = to_compare.cards, to_compare.to_score
    first = next(iter(cards.values()))
    answers: dict[str, Answers] = {}
    of_networks: dict[str, Answers] = {}
    for name in cards:
        model = classifier.load_predictor(name)
        answers[name] = answer_split(first, model, dataset, to_score.split, on_progress)
        if name in to_compare.networks:
            assert isinstance(model, classifier.Classifier)
            network = model.network_alone()
            of_networks[name] = answer_split(first, network, dataset, to_score.split, on_progress)
    compare_answers = functools.partial(
        compare_models,
        cells=group_by_cell(cards),
        metric=to_compare.metric,
        confidence=to_score.settings["confidence"],
        num_resamples=to_score.settings["bootstrap_samples"],
        seed=to_score.settings["seed"],
    )
    report = compare_answers(answers)
    if not of_networks:
        return report
    return msgspec.structs.replace(report, network_alone=compare_answers(of_networks))
