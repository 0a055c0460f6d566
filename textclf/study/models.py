"""Comparison of trained models on the same texts, and of their cells if there are several seeds."""

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from textclf import artifact, evaluation
from textclf.artifact import Card
from textclf.config import Overrides, read_trained_paths
from textclf.data import Dataset
from textclf.display import WIDTH, Document, Notes, Table, to_html, to_text
from textclf.errors import DataError
from textclf.model_data import DataToScore, OnNote, data_to_score
from textclf.scoring import OnProgress, open_data
from textclf.startup import import_tensorflow
from textclf.study import significance
from textclf.study.comparison import (
    BETTER,
    IDENTICAL,
    NO_DIFFERENCE,
    TOO_FEW_ROWS,
    CellComparison,
    Comparison,
    amount,
    amount_range,
    enough_rows,
    p_text,
    sign,
    too_few_rows,
)
from textclf.study.runs import display_name
from textclf.study.significance import ModelDifference
from textclf.tasks import Task


class Answers(msgspec.Struct, frozen=True):
    """Answers of a trained model to the texts of a comparison.

    Attributes:
        task: of the model.
        y_true: int64 [n], or bool [n, C] for multi-label data.
        p: float32 [n, C].
        thresholds: float [C] for multi-label data.
    """

    task: Task
    y_true: np.ndarray
    p: np.ndarray
    thresholds: np.ndarray | None = None

    @property
    def selected(self) -> np.ndarray:
        """The predicted class ids [n], or bool [n, C]."""
        return self.task.select(self.p, self.thresholds)


class ModelScore(msgspec.Struct, frozen=True):
    """Score of a model, with the name of its cell."""

    name: str
    cell: str
    score: float


class ModelComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of two models, the better one first.

    Attributes:
        a: the model with the better score.
        b: the other model.
        verdict: "better", "no difference shown", "no difference" (equal on each text) or
            "too few rows".
        difference: score of a minus score of b.
        interval: paired bootstrap interval; None if resampling shows no spread.
        confidence: of the interval.
        p_value: two-sided, for no difference; None if there are too few rows.
        p_value_holm: corrected for the number of comparisons.
        only_a_right: texts that only a answers correctly; accuracy only, as the next three.
        only_b_right: texts that only b answers correctly.
        mcnemar_p_value: equal to `p_value`.
        mcnemar_p_value_holm: equal to `p_value_holm`.
        words: the verdict as a sentence.
    """

    a: str
    b: str
    verdict: str
    difference: float
    interval: tuple[float, float] | None
    confidence: float
    p_value: float | None
    p_value_holm: float | None
    only_a_right: int | None
    only_b_right: int | None
    mcnemar_p_value: float | None
    mcnemar_p_value_holm: float | None
    words: str


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of several models.

    Attributes:
        metric: name of the score.
        num_test: number of texts.
        models: the best one first.
        comparisons: of all pairs of models.
        cells: comparisons of all pairs of cells; empty if each cell has one seed.
    """

    metric: str
    num_test: int
    models: list[ModelScore]
    comparisons: list[ModelComparison]
    cells: list[CellComparison]

    def _repr_html_(self) -> str:
        """Return the report as HTML, which a notebook shows for the last value of a cell."""
        return to_html(_document(self))


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
    on_progress: OnProgress = lambda stage, done, total: None,
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
        metric: one of `evaluation.contributed`.
    """

    cards: dict[str, Card]
    to_score: DataToScore
    metric: str


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
    if len(names) < 2 or len(set(names)) < len(names):
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
    return ToCompare(cards, to_score, metric)


def compare(
    models: Sequence[str | os.PathLike],
    source: str | os.PathLike | None = None,
    *,
    split: str | None = None,
    metric: str | None = None,
    overrides: Overrides = (),
    on_note: OnNote = lambda note: None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> ModelReport:
    """Compare trained models on the same texts.

        report = textclf.compare(["runs/lstm", "runs/gru"], "new.csv")
        print(report.comparisons[0].words)

    Args:
        models: trained folders or exported versions, at least two.
        source: see `scoring.score`; default: the data that all models were trained on.
        metric: one of `evaluation.contributed`; default: the first of them.
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
    on_progress: OnProgress = lambda stage, done, total: None,
) -> ModelReport:
    """Load models one after the other and compare their answers to a split.

    Args:
        to_compare: of `check_models`.
        dataset: its data, of `scoring.open_data`.
    """
    import_tensorflow()
    from textclf import classifier

    cards, to_score, metric = to_compare
    first = next(iter(cards.values()))
    answers = {
        name: answer_split(
            first, classifier.load_predictor(name), dataset, to_score.split, on_progress
        )
        for name in cards
    }
    return compare_models(
        answers,
        cells=group_by_cell(cards),
        metric=metric,
        confidence=to_score.settings["confidence"],
        num_resamples=to_score.settings["bootstrap_samples"],
        seed=to_score.settings["seed"],
    )


def compare_models(
    answers: Mapping[str, Answers],
    *,
    cells: Mapping[str, str],
    metric: str,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> ModelReport:
    """Compare trained models on the same texts, and their cells if there are several seeds.

        compare_models({"a": Answers(task, y_true, p_a), "b": Answers(task, y_true, p_b)},
                       cells={"a": "LSTM", "b": "GRU"}, metric="accuracy")

    Args:
        answers: by name of the model, with the classes in one order.
        cells: name of the cell of each model, see `group_by_cell`.
        metric: one of `Task.comparison_metrics`.
        confidence: of the intervals; tests use the level 1 - confidence.
        num_resamples: of the bootstrap.
        seed: of the resampling.
    """
    contributions = {
        name: evaluation.contributions(model.task, metric, model.y_true, model.p, model.thresholds)
        for name, model in answers.items()
    }
    first = next(iter(answers.values()))
    has_enough_rows = enough_rows(first.task, metric, first.y_true)
    ordered = sorted(contributions, key=lambda name: -sign(metric) * contributions[name].mean())
    pairs = list(itertools.combinations(ordered, 2))
    differences = [
        significance.compare_models(
            contributions[a],
            contributions[b],
            is_correct=_is_correct(metric, answers[a], answers[b]),
            confidence=confidence,
            num_resamples=num_resamples,
            num_comparisons=len(pairs),
            seed=seed,
        )
        for a, b in pairs
    ]
    corrected = significance.holm([difference.p_value for difference in differences])
    comparisons = [
        _compare_pair(a, b, difference, float(p_holm), metric, answers, contributions)
        if has_enough_rows
        else _without_verdict(a, b, difference, metric)
        for (a, b), difference, p_holm in zip(pairs, differences, corrected, strict=True)
    ]
    return ModelReport(
        metric=metric,
        num_test=len(first.y_true),
        models=[
            ModelScore(name, cells[name], float(contributions[name].mean())) for name in ordered
        ],
        comparisons=comparisons,
        cells=_compare_cells(metric, contributions, cells, confidence, has_enough_rows),
    )


def _is_correct(metric: str, a: Answers, b: Answers) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the correct answers of both models for McNemar's test, which tests accuracy."""
    if metric != "accuracy":
        return None
    return a.selected == a.y_true, b.selected == b.y_true


def _without_verdict(a: str, b: str, d: ModelDifference, metric: str) -> ModelComparison:
    return ModelComparison(
        a=a,
        b=b,
        verdict=TOO_FEW_ROWS,
        difference=d.difference,
        interval=None,
        confidence=d.confidence,
        p_value=None,
        p_value_holm=None,
        only_a_right=None,
        only_b_right=None,
        mcnemar_p_value=None,
        mcnemar_p_value_holm=None,
        words=(
            f"{a} and {b}: {too_few_rows(metric)}; the scores differ by "
            f"{amount(d.difference, metric)}"
        ),
    )


def _compare_pair(
    a: str,
    b: str,
    d: ModelDifference,
    p_holm: float,
    metric: str,
    answers: Mapping[str, Answers],
    contributions: Mapping[str, np.ndarray],
) -> ModelComparison:
    """Return the verdict: "better" needs a small p-value and an interval without 0."""
    contains_zero = d.interval is not None and d.interval[0] <= 0 <= d.interval[1]
    if (contributions[a] == contributions[b]).all():
        verdict = IDENTICAL
        is_same_answer = (answers[a].selected == answers[b].selected).all()
        verb = "answer" if is_same_answer else "score on"
        words = (
            f"no difference between {a} and {b}: both models {verb} all "
            f"{len(contributions[a]):,} examples alike"
        )
    elif p_holm < 1 - d.confidence and not contains_zero:
        verdict = BETTER
        words = (
            f"{a} is better than {b} on these texts: {_difference_words(a, b, d, p_holm, metric)}"
        )
    else:
        verdict = NO_DIFFERENCE
        words = (
            f"no difference shown between {a} and {b}: {_difference_words(a, b, d, p_holm, metric)}"
        )
    return ModelComparison(
        a=a,
        b=b,
        verdict=verdict,
        difference=d.difference,
        interval=d.interval,
        confidence=d.confidence,
        p_value=d.p_value,
        p_value_holm=p_holm,
        only_a_right=d.only_a_right,
        only_b_right=d.only_b_right,
        mcnemar_p_value=d.mcnemar_p_value,
        mcnemar_p_value_holm=None if d.mcnemar_p_value is None else p_holm,
        words=words,
    )


def _difference_words(a: str, b: str, d: ModelDifference, p_holm: float, metric: str) -> str:
    words = f"the scores differ by {amount(d.difference, metric)}"
    if d.interval is not None:
        words += f" ({100 * d.confidence:g} % interval {amount_range(d.interval, metric)})"
    if d.mcnemar_p_value is None:
        return f"{words}, p {p_text(p_holm)} after Holm"
    return (
        f"{words}; only {a} is correct on {d.only_a_right:,} texts, only {b} on "
        f"{d.only_b_right:,} (McNemar, p {p_text(p_holm)} after Holm)"
    )


def _compare_cells(
    metric: str,
    contributions: Mapping[str, np.ndarray],
    cells: Mapping[str, str],
    confidence: float,
    has_enough_rows: bool,
) -> list[CellComparison]:
    """Compare the cells of the models, if one of them has several seeds."""
    by_cell: dict[str, list[np.ndarray]] = {}
    for name, values in contributions.items():
        by_cell.setdefault(cells[name], []).append(values)
    if len(by_cell) < 2 or all(len(rows) == 1 for rows in by_cell.values()):
        return []
    comparison = Comparison(
        metric,
        {cell: np.stack(rows) for cell, rows in by_cell.items()},
        confidence=confidence,
        has_enough_rows=has_enough_rows,
    )
    return comparison.pairs(list(itertools.combinations(by_cell, 2)))


def text(report: ModelReport, place: str, *, width: int = WIDTH) -> str:
    """Return the report as text that ends with a line break.

    Args:
        report: of `compare_models`.
        place: description of the data.
        width: maximum number of columns of a line, see `display.to_text`.
    """
    return to_text(_document(report, f" on {place}"), width)


def _document(report: ModelReport, place: str = "") -> Document:
    """Return the scores and the verdicts."""
    models = [[model.name, f"{model.score:.4f}"] for model in report.models]
    verdicts = [comparison.words for comparison in report.comparisons]
    parts: list[Table | Notes] = [
        Table(["model", report.metric], models, "fr", heading="Models"),
        Notes("Verdicts on these models; other trainings of the same cells may differ", verdicts),
    ]
    if report.cells:
        verdicts = [comparison.words for comparison in report.cells]
        heading = "Verdicts on architectures; each model is one training with its own seed"
        parts.append(Notes(heading, verdicts))
    return Document(f"Comparison of models{place}: {report.num_test:,} texts", parts)
