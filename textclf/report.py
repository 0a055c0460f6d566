"""Plain text of evaluations and comparisons, for stdout and for files."""

import dataclasses
from collections.abc import Mapping

from textclf.display import WIDTH, Document, Notes, Table, to_text
from textclf.evaluation import Report
from textclf.evaluation.document import document, interval, level, number
from textclf.tasks import Decision

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
    columns = [_decision_cells(old, old_report), _decision_cells(new, report)]
    rows = [[label, columns[0][label], columns[1][label]] for label in columns[1]]
    if new.thresholds is None:
        rows.insert(0, ["temperature", *(f"{decision.temperature:.4f}" for decision in (old, new))])
    parts = [Table(["", "before", "now"], rows, "t rr")]
    if new.thresholds is not None:
        pairs = (old.temperature, new.temperature, old.thresholds, new.thresholds)
        rows = [
            [name, *(number(value, 4) for value in values)]
            for name, *values in zip(report.class_names, *pairs, strict=True)  # type: ignore[arg-type]
        ]
        header = ["class", "temperature before", "now", "threshold before", "now"]
        parts.append(Table(header, rows, "n rr rr", heading="Classes"))
    examples = f"{report.num_examples:,} example{'s' if report.num_examples != 1 else ''}"
    heading = f"{title}: decision fitted on {examples} of validation"
    return to_text(Document(heading, parts), width)


def _decision_cells(decision: Decision, report: Report | None) -> dict[str, str]:
    """Return label -> cell for the abstention of a decision and its scores on validation."""
    below = decision.abstain_below
    point, metrics = None, {}
    if report is not None:
        point = report.coverage[0] if below is None else report.abstention
        metrics = report.metrics
    labels, right = {"accuracy": "accuracy"}, "accuracy of the answered"
    if decision.thresholds is not None:
        labels = {"micro_f1": "micro F1", "macro_f1": "macro F1"}
        right = "top class right, of the answered"
    labels["calibration_error"] = "calibration error"
    return {
        "abstains below": "never" if below is None else number(below, 4),
        "answered": "-" if point is None else f"{100 * point.coverage:.1f} %",
        right: number(None if point is None else point.accuracy, 4),
        **{f"{label} of all": number(metrics.get(name), 4) for name, label in labels.items()},
    }
