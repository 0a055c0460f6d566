"""Plain text of evaluations and comparisons, for stdout and for files."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from textclf.display import WIDTH, Document, Notes, Table, count_of, to_text
from textclf.evaluation import Report
from textclf.evaluation.document import document, interval, level, number
from textclf.tasks import Decision

if TYPE_CHECKING:
    from textclf.evaluation import Slice
    from textclf.recalibration.tables import ThresholdTables

MAX_SPLIT_CLASSES = 20
MAX_SLICES = 20  # of a column

# Columns of a comparison; more would not fit on a line with two intervals.
_COMPARED = {
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "calibration_error": "calibration",
}


def format_report(
    report: Report, *, title: str = "Evaluation", description: str = "", width: int = WIDTH
) -> str:
    """Format a report as text that ends with a line break.

        print(format_report(model.evaluate(dataset), title="reviews"), end="")

    Args:
        title: short name above the report; longer than a line, it is shortened in the middle.
        description: sentence below the title, which is wrapped; "" for none.
        width: maximum number of columns of a line, see `display.to_text`.
    """
    page = document(report, title)
    if description:
        paragraph = Notes("", [description], has_bullets=False)
        page = dataclasses.replace(page, parts=[paragraph, *page.parts])
    return to_text(page, width)


def format_comparison(rows: Mapping[str, Report], *, width: int = WIDTH) -> str:
    """Format a table with the main metrics of each model; it ends with a line break.

    Args:
        rows: model name -> report, in the order of the lines.
        width: maximum number of columns of a line, see `display.to_text`.

    Raises:
        ValueError: there is no report, or the reports are not of the same task.
    """
    if not rows:
        raise ValueError("there is no report to compare; expected at least one")
    if len({report.multi_label for report in rows.values()}) > 1:
        raise ValueError(
            "one-of and multi-label reports have different metrics; compare reports of one task"
        )
    first = next(iter(rows.values()))
    metrics = [name for name in _COMPARED if name in first.metrics]
    intervals = {name for report in rows.values() for name in report.intervals}
    header, layout = ["model"], "n"
    table = [[model] for model in rows]
    for name in metrics:
        header.append(_COMPARED[name])
        layout += " r"
        for cells, report in zip(table, rows.values(), strict=True):
            cells.append(number(report.metrics[name]))
        if name in intervals:
            header.append(level(first))
            layout += "r"  # on the same line as its metric
            for cells, report in zip(table, rows.values(), strict=True):
                cells.append(interval(report.intervals.get(name)))
    return to_text(Document("", [Table(header, table, layout)]), width)


def format_slices(slices: "Sequence[Slice]", report: Report, *, width: int = WIDTH) -> str:
    """Format the slices as a table for each column; the text ends with a line break.

    Args:
        slices: the slices, of one column after the other.
        report: the report of all examples.
        width: maximum number of columns of a line, see `display.to_text`.
    """
    metric = _COMPARED[report.length_metric]
    has_intervals = any(part.interval is not None for part in slices)
    header = ["value", "examples", metric, *([level(report)] if has_intervals else []), "others"]
    layout = f"n rr{'r' if has_intervals else ''} rrt"
    num_tests = sum(part.p_value is not None for part in slices)
    tables = []
    for by, parts in itertools.groupby(slices, key=lambda part: part.by):
        of_column = list(parts)
        shown = of_column
        if len(of_column) > MAX_SLICES:
            lowest = sorted(of_column, key=lambda part: (not part.is_worse, part.score))
            shown = lowest[:MAX_SLICES]
        rows = [
            [
                part.value,
                f"{part.num_examples:,}",
                number(part.score),
                *([interval(part.interval)] if has_intervals else []),
                number(part.rest),
                _p_value(part.adjusted_p_value),
                "worse" if part.is_worse else "",
            ]
            for part in shown
        ]
        num_hidden = len(of_column) - len(shown)
        remark = f"(the {MAX_SLICES} worst slices; the JSON has {num_hidden:,} more)"
        heading = f"Slices by {by}"
        columns = [*header, "p", ""]
        tables.append(Table(columns, rows, layout, heading, remark=remark if num_hidden else ""))
    explanation = (
        f"p is the probability that a random sample of the size of a slice is as bad, corrected "
        f"for all {num_tests:,} slices (Holm): worse means at most {1 - report.confidence:.4g}"
    )
    notes = [Notes("", [explanation], has_bullets=False)] if num_tests else []
    return to_text(Document("", [*tables, *notes]), width)


def _p_value(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else number(value)


def format_calibration(
    before: tuple[Decision, Report | None],
    now: tuple[Decision, Report],
    *,
    title: str,
    width: int = WIDTH,
) -> str:
    """Format two decisions with their validation reports; the text ends with a line break.

    Args:
        before, now: each a decision and its report, which may be missing for `before`.
        width: maximum number of columns of a line, see `display.to_text`.
    """
    (old, old_report), (new, report) = before, now
    is_multi_label = report.multi_label
    columns = [
        _decision_cells(old, old_report, is_multi_label),
        _decision_cells(new, report, is_multi_label),
    ]
    rows = [[label, columns[0][label], columns[1][label]] for label in columns[1]]
    if not is_multi_label:
        first = [["temperature", *(f"{decision.temperature:.4f}" for decision in (old, new))]]
        rows = first + _positive_rows(before, now) + rows
    parts = [Table(["", "before", "now"], rows, "t rr")]
    if is_multi_label:
        pairs = (old.temperature, new.temperature, old.thresholds, new.thresholds)
        rows = [
            [name, *(number(value, 4) for value in values)]
            for name, *values in zip(report.class_names, *pairs, strict=True)  # type: ignore[arg-type]
        ]
        header = ["class", "temperature before", "now", "threshold before", "now"]
        parts.append(Table(header, rows, "n rr rr", heading="Classes"))
    examples = count_of(report.num_examples, "example")
    heading = f"{title}: decision fitted on {examples} of validation"
    return to_text(Document(heading, parts), width)


def _positive_rows(
    before: tuple[Decision, Report | None], now: tuple[Decision, Report]
) -> list[list[str]]:
    """Return the rows on the positive class of two classes, if there is a threshold."""
    thresholds = now[0].thresholds or before[0].thresholds
    if thresholds is None:
        return []
    positive = max(range(2), key=lambda c: thresholds[c])
    name = now[1].class_names[positive]
    cells: dict[str, list[str]] = {}
    for decision, report in (before, now):
        limit = decision.thresholds and decision.thresholds[positive]
        scores = None if report is None else report.classes[positive]
        cells.setdefault(f"threshold of {name}", []).append(
            f"{limit:.4f}" if limit else "none" if decision.thresholds is None else "0"
        )
        for score in ("precision", "recall"):
            value = None if scores is None else getattr(scores, score)
            cells.setdefault(f"{score} of {name}", []).append(number(value, 4))
    return [[label, *values] for label, values in cells.items()]


def format_operating_point(
    validation: Report, report: Report, split: str, *, width: int = WIDTH
) -> str:
    """Format precision and recall of validation and of another split beside each other.

    Args:
        validation: report on validation, on which the thresholds were chosen.
        report: report on the split.
        split: name of the split.
        width: maximum number of columns of a line, see `display.to_text`.
    """
    rows = []
    for chosen, scores in zip(validation.classes, report.classes, strict=True):
        if chosen.threshold is None:
            continue
        for name in ("precision", "recall"):
            rows.append(
                [
                    scores.name,
                    f"{chosen.threshold:.4f}",
                    name,
                    *(
                        cell
                        for part in (chosen, scores)
                        for cell in (
                            number(getattr(part, name)),
                            interval(getattr(part, f"{name}_interval")),
                        )
                    ),
                ]
            )
    header = ["class", "threshold", "", "validation", level(validation), split, level(report)]
    remark = "(the thresholds were chosen on validation, whose figures are therefore optimistic)"
    table = Table(header, rows, "nrt rr rr", "Operating point", remark=remark)
    return to_text(Document("", [table]), width)


def format_thresholds(tables: "ThresholdTables", *, title: str, width: int = WIDTH) -> str:
    """Format the figures of each class at many thresholds; the text ends with a line break.

    Args:
        tables: of `recalibration.tables.threshold_tables`.
        title: name of the model.
        width: maximum number of columns of a line, see `display.to_text`.
    """
    header = ["threshold", "predicted", "precision", "at least", "recall", "at least", "F1"]
    parts: list[Table | Notes] = []
    for name, points in tables.points.items():
        rows = [
            [
                f"{point.threshold:.4g}",
                f"{point.num_predicted:,}",
                number(point.precision),
                number(point.precision_bound),
                number(point.recall),
                number(point.recall_bound),
                number(point.f1),
                f"{point.false_positives:,}",
                f"{point.false_negatives:,}",
                "in use" if point.is_in_use else "",
            ]
            for point in points
        ]
        heading = f"{name}: {count_of(tables.supports[name], 'example')}"
        columns = [*header, "wrong", "missed", ""]
        parts.append(Table(columns, rows, "r r rr rr r rrt", heading))
    explanation = (
        "at least: one-sided 90 % lower bound, which --precision and --recall of `textclf "
        "calibrate` must reach; wrong: false positives; missed: false negatives"
    )
    parts.append(Notes("", [explanation], has_bullets=False))
    heading = f"{title}: thresholds on {tables.num_examples:,} examples of validation"
    return to_text(Document(heading, parts), width)


def _decision_cells(
    decision: Decision, report: Report | None, is_multi_label: bool
) -> dict[str, str]:
    """Return label -> cell for the abstention of a decision and its scores on validation."""
    below = decision.abstain_below
    point, metrics = None, {}
    if report is not None:
        point = report.coverage[0] if below is None else report.abstention
        metrics = report.metrics
    labels, right = {"accuracy": "accuracy"}, "accuracy of the answered"
    if is_multi_label:
        labels = {"micro_f1": "micro F1", "macro_f1": "macro F1"}
        right = "top class right, of the answered"
    labels["calibration_error"] = "calibration error"
    return {
        "abstains below": number(below, 4) if below else "never",
        "answered": "-" if point is None else f"{100 * point.coverage:.1f} %",
        right: number(None if point is None else point.accuracy, 4),
        **{f"{label} of all": number(metrics.get(name), 4) for name, label in labels.items()},
    }
