"""The tables and notes of a `Report`, for `display.to_text` and `display.to_html`."""

from collections.abc import Iterator, Sequence

from textclf.display import Document, Notes, Table, count_of
from textclf.evaluation.report import CoveragePoint, LengthBin, Report

_MAX_TABLE_CLASSES = 60
_SHOWN_OF_MANY = 30

# Metrics at the top of a report, in this order; metrics of other tasks are omitted.
METRIC_LABELS = {
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "cohen_kappa": "Cohen's kappa",
    "mcc": "MCC",
    "top_3_accuracy": "top-3 accuracy",
    "top_5_accuracy": "top-5 accuracy",
    "top_10_accuracy": "top-10 accuracy",
    "log_loss": "log loss",
    "brier_loss": "Brier score",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "calibration_error": "calibration error",
    "uncalibrated_error": "  at temperature 1",
}
# Metrics with an interval, unless there are too few examples.
_WITH_INTERVALS = ("accuracy", "subset_accuracy", "micro_f1", "macro_f1")


def document(report: Report, title: str, *, max_matrix_classes: int = 12) -> Document:
    """Return the metrics with intervals, classes, confusions, lengths, calibration and notes.

    Empty sections are omitted.

    Args:
        max_matrix_classes: maximum number of classes for a confusion matrix; with more classes,
            more of the frequent confusions are listed.
    """
    num_classes = len(report.class_names)
    has_matrix = 1 < num_classes <= max_matrix_classes
    parts = [
        _headline(report),
        *_gain(report),
        *_classes(report),
        *_confusions(report, 5 if has_matrix else 10),
        *(_matrix(report) if has_matrix else ()),
        *_lengths(report),
        *_calibration(report),
        *_coverage(report),
        *([Notes("Notes", report.notes)] if report.notes else []),
    ]
    examples = count_of(report.num_examples, "example")
    classes = count_of(num_classes, "class", "classes")
    kind = ", multi-label" if report.multi_label else ""
    return Document(f"{title}: {examples}, {classes}{kind}", parts)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number; "-" if it is None."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(ends: tuple[float, float] | None) -> str:
    """Format an interval; "-" if there is none."""
    return "-" if ends is None else f"{number(ends[0])}-{number(ends[1])}"


def level(report: Report) -> str:
    """Format the confidence level of the intervals, as the header of their columns."""
    return f"{100 * report.confidence:.4g} %"


def _headline(report: Report) -> Table:
    """Return the metrics with their intervals."""
    rows = []
    for name, label in METRIC_LABELS.items():
        if name not in report.metrics:
            continue
        remark = ""
        if name in report.intervals:
            low, high = report.intervals[name]
            remark = f"{level(report)} interval {low:.4f} to {high:.4f}"
        elif name in _WITH_INTERVALS and report.bootstrap_samples:
            remark = "too few examples for an interval"
        rows.append([label, number(report.metrics[name], 4), remark])
    calibrated, raw = METRIC_LABELS["calibration_error"], METRIC_LABELS["uncalibrated_error"]
    if len(rows) > 1 and rows[-1] == [raw, *rows[-2][1:]] and rows[-2][0] == calibrated:
        rows[-2:] = [[calibrated, rows[-2][1], "the same at temperature 1"]]
    error, at_one = (
        report.metrics.get(f"{kind}_error") for kind in ("calibration", "uncalibrated")
    )
    is_worse = error is not None and at_one is not None and error > at_one
    remark = (
        "(the temperature minimises the log loss on validation; the calibration error can grow)"
        if is_worse and rows[-1][0] == raw
        else ""
    )
    return Table(["metric", "value", ""], rows, "trt", has_header=False, remark=remark)


def _gain(report: Report) -> Iterator[Table]:
    """Yield the scores of the linear model alone and of the mixture, and their difference."""
    if (gain := report.gain) is None:
        return
    ends = f"{100 * gain.confidence:.4g} % interval {gain.low:+.4f} to {gain.high:+.4f}"
    rows = [
        ["linear model alone", number(gain.linear, 4), ""],
        ["mixture", number(report.metrics[gain.metric], 4), ""],
        ["difference", f"{gain.difference:+.4f}", f"{ends}: {gain.verdict}"],
    ]
    header = ["", METRIC_LABELS[gain.metric], ""]
    yield Table(header, rows, "trt", heading="Gain of the network")


def _classes(report: Report) -> Iterator[Table]:
    """Yield the scores of each class and their averages, and the intervals of two classes."""
    classes = list(report.classes)
    num_omitted = len(classes) - _SHOWN_OF_MANY if len(classes) > _MAX_TABLE_CLASSES else 0
    if num_omitted:
        # Classes without examples come last.
        worst = sorted(classes, key=lambda scores: (scores.support == 0, scores.f1))
        classes = worst[:_SHOWN_OF_MANY]
    intervals = [level(report)] if report.bootstrap_samples else []
    has_thresholds = any(scores.threshold is not None for scores in report.classes)
    thresholds = ["threshold"] if has_thresholds else []
    rows = [
        [
            scores.name,
            *map(number, (scores.precision, scores.recall, scores.f1)),
            *(interval(scores.f1_interval) for _ in intervals),
            f"{scores.support:,}",
            f"{scores.num_predicted:,}",
            *(number(scores.threshold) for _ in thresholds),
        ]
        for scores in classes
    ]
    averages = [
        [f"{kind} average", *(number(report.metrics[f"{kind}_{s}"]) for s in _SCORES)]
        for kind in ("micro", "macro", "weighted")
        if f"{kind}_precision" in report.metrics
    ]
    header = ["class", "precision", "recall", "F1", *intervals, "examples", "predicted"]
    header += thresholds
    remark = f"(the {_SHOWN_OF_MANY} classes with the lowest F1; the JSON has {num_omitted:,} more)"
    yield Table(
        header,
        [row + [""] * (len(header) - len(row)) for row in [*rows, *averages]],
        f"n rrr{'r' * len(intervals)} rr{'r' * len(thresholds)}",
        heading="Classes",
        num_totals=len(averages),
        remark=remark if num_omitted else "",
    )
    if intervals and len(classes) == 2:
        ends = [
            [scores.name, interval(scores.precision_interval), interval(scores.recall_interval)]
            for scores in classes
        ]
        yield Table(
            ["class", "precision", "recall"], ends, "n rr", heading=f"{level(report)} intervals"
        )


_SCORES = ("precision", "recall", "f1")


def confusion_rows(report: Report, max_pairs: int) -> list[list[str]]:
    """Return true and predicted class, count and share, of the most frequent confusions."""
    pairs = [
        (count, t, p)
        for t, row in enumerate(report.confusion_matrix or ())
        for p, count in enumerate(row)
        if count and t != p
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    names = report.class_names
    return [
        [names[t], names[p], f"{n:,}", f"{100 * n / report.classes[t].support:.1f} %"]
        for n, t, p in pairs[:max_pairs]
    ]


def _confusions(report: Report, max_pairs: int) -> Iterator[Table]:
    """Yield the most frequent confusions, if there are any."""
    if rows := confusion_rows(report, max_pairs):
        header = ["true class", "predicted class", "examples", "of the true class"]
        yield Table(header, rows, "nn rr", heading="Most frequent confusions")


def _matrix(report: Report) -> Iterator[Table]:
    """Yield the confusion matrix of a one-of task."""
    if report.confusion_matrix is None:
        return
    names = report.class_names
    rows = [
        [name, *(f"{count:,}" for count in row)]
        for name, row in zip(names, report.confusion_matrix, strict=True)
    ]
    header, layout = ["true \\ predicted", *names], "n" + " r" * len(names)
    yield Table(header, rows, layout, heading="Confusion matrix", is_matrix=True)


def _lengths(report: Report) -> Iterator[Table]:
    """Yield the scores by text length."""
    rows: list[Sequence[str]] = [
        [_token_range(part), f"{part.num_examples:,}", number(part.score)]
        for part in report.by_length
    ]
    cut = {f"cut by {setting}": part for setting, part in report.truncated_by.items()}
    if not cut and report.truncated is not None:
        cut = {"truncated texts": report.truncated}
    rows += [[label, f"{part.num_examples:,}", number(part.score)] for label, part in cut.items()]
    if rows:
        header = ["tokens", "examples", METRIC_LABELS[report.length_metric]]
        yield Table(header, rows, "trr", heading="Text length")


def _token_range(length_bin: LengthBin) -> str:
    """Format the lengths of a bin."""
    if length_bin.min_tokens == length_bin.max_tokens:
        return f"{length_bin.min_tokens:,}"
    return f"{length_bin.min_tokens:,} to {length_bin.max_tokens:,}"


def _calibration(report: Report) -> Iterator[Table]:
    """Yield the calibration bins that are not empty."""
    rows = [
        [
            f"{b.lower:.2f} to {b.upper:.2f}",
            f"{b.count:,}",
            number(b.mean_confidence),
            number(b.accuracy),
            f"{b.accuracy - b.mean_confidence:+.3f}",
        ]
        for b in report.calibration
        if b.accuracy is not None and b.mean_confidence is not None
    ]
    counts, accuracy = ("examples", "accuracy")
    if report.multi_label:
        counts, accuracy = ("examples x classes", "share positive")
    header = ["confidence", counts, "mean confidence", accuracy, "difference"]
    if rows:
        yield Table(header, rows, "t r r r r", heading="Calibration")


def _coverage(report: Report) -> Iterator[Table]:
    """Yield the accuracies by coverage."""
    # Several shares have the same point if confidences are equal.
    points = dict.fromkeys(map(_coverage_row, report.coverage), "")
    if report.abstention is not None:
        points[_coverage_row(report.abstention)] = " (in use)"
    rows = [[share + mark, *rest] for (share, *rest), mark in points.items()]
    if report.coverage:
        header, remark = ["answered", "min. confidence", "accuracy"], ""
        if report.multi_label:
            header[-1] = "top class right"
            remark = (
                "(top class right: share of the answered texts that have their most probable "
                "class; a text without labels never counts)"
            )
        yield Table(header, rows, "trr", heading="Coverage", remark=remark)


def _coverage_row(point: CoveragePoint) -> tuple[str, str, str]:
    """Format a coverage point as cells."""
    share = f"{100 * point.coverage:.1f} %"
    return share, number(point.abstain_below), number(point.accuracy)
