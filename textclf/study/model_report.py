"""Scores, verdicts and text of a comparison of trained models on the same texts.

The architectures of the models are compared too, if one of them has several seeds.
"""

import itertools
from collections.abc import Mapping

import msgspec
import numpy as np

from textclf import evaluation
from textclf.display import WIDTH, Document, Notes, Table, to_html, to_text
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
from textclf.study.runs import MIXTURE_TITLE, NETWORK_TITLE
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


class ModelReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Comparison of several models.

    Attributes:
        metric: name of the score.
        num_test: number of texts.
        models: the best one first.
        comparisons: of all pairs of models.
        cells: comparisons of all pairs of cells; empty if each cell has one seed.
        network_alone: the same for the networks of the mixtures, without the linear model and with
            their own temperatures and thresholds; None with fewer than two mixtures.
    """

    metric: str
    num_test: int
    models: list[ModelScore]
    comparisons: list[ModelComparison]
    cells: list[CellComparison]
    network_alone: "ModelReport | None" = None

    def _repr_html_(self) -> str:
        """Return the report as HTML, which a notebook shows for the last value of a cell."""
        return to_html(_document(self))


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
        _compare_pair(a, b, difference, float(p_holm), metric, answers, contributions, len(pairs))
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
    num_pairs: int,
) -> ModelComparison:
    """Return the verdict: "better" needs a small p-value and an interval without 0."""
    difference = _difference_words(a, b, d, p_holm, metric, is_corrected=num_pairs > 1)
    contains_zero = d.interval is not None and d.interval[0] <= 0 <= d.interval[1]
    if (contributions[a] == contributions[b]).all():
        verdict = IDENTICAL
        is_same_answer = (answers[a].selected == answers[b].selected).all()
        equal = "equal answers" if is_same_answer else "equal scores"
        words = (
            f"no difference between {a} and {b}: both models have {equal} on all "
            f"{len(contributions[a]):,} examples"
        )
    elif p_holm < 1 - d.confidence and not contains_zero:
        verdict = BETTER
        words = f"{a} is better than {b} on these texts: {difference}"
    else:
        verdict = NO_DIFFERENCE
        words = f"no difference shown between {a} and {b}: {difference}"
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


def _difference_words(
    a: str, b: str, d: ModelDifference, p_holm: float, metric: str, *, is_corrected: bool
) -> str:
    p = p_text(p_holm) + (" after Holm" if is_corrected else "")
    words = f"the scores differ by {amount(d.difference, metric)}"
    if d.interval is not None:
        words += f" ({100 * d.confidence:g} % interval {amount_range(d.interval, metric)})"
    if d.mcnemar_p_value is None:
        return f"{words}, p {p}"
    return (
        f"{words}; only {a} is correct on {d.only_a_right:,} texts, only {b} on "
        f"{d.only_b_right:,} (McNemar, mid-p {p})"
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


def text(report: ModelReport, source: str, *, width: int = WIDTH) -> str:
    """Return the report as text that ends with a line break.

    Args:
        report: of `compare_models`.
        source: description of the data.
        width: maximum number of columns of a line, see `display.to_text`.
    """
    return to_text(_document(report, f" on {source}"), width)


def _document(report: ModelReport, source: str = "") -> Document:
    """Return the scores and the verdicts."""
    parts = [*_parts(report, "Models")]
    if (alone := report.network_alone) is not None:
        is_only_mixtures = len(alone.models) == len(report.models)
        heading = MIXTURE_TITLE if is_only_mixtures else "Models"
        parts = [*_parts(alone, NETWORK_TITLE), *_parts(report, heading)]
    return Document(f"Comparison of models{source}: {report.num_test:,} texts", parts)


def _parts(report: ModelReport, heading: str) -> list[Table | Notes]:
    """Return the scores and the verdicts of the models, or of their networks alone."""
    models = [[model.name, f"{model.score:.4f}"] for model in report.models]
    verdicts = [comparison.words for comparison in report.comparisons]
    parts: list[Table | Notes] = [
        Table(["model", report.metric], models, "fr", heading=heading),
        Notes("Verdicts on these models; other trainings of the same cells may differ", verdicts),
    ]
    if report.cells:
        verdicts = [comparison.words for comparison in report.cells]
        heading = "Verdicts on architectures; each model is one training with its own seed"
        parts.append(Notes(heading, verdicts))
    return parts
