"""Plain-text tables of evaluations, comparisons and data checks, for stdout and for files.

No line is wider than `WIDTH` columns; a Chinese character has two. Names of classes and models
come from the user's data. Long names are shortened in the middle, because names often share a
prefix, and characters that would move the cursor are shown as "?".
"""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from textclf.evaluation import CoveragePoint, LengthBin, Report

if TYPE_CHECKING:
    from textclf.data import Dataset, SplitSummary
    from textclf.data_check import TokenCounts

WIDTH = 96
NAME_WIDTH = 26
MAX_MATRIX_CLASSES = 12
MAX_TABLE_CLASSES = 60
SHOWN_OF_MANY = 30
MAX_SPLIT_CLASSES = 20

# Metrics at the top of a report, in this order; metrics of other tasks are omitted.
HEADLINE = {
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "log_loss": "log loss",
    "roc_auc": "ROC-AUC",
    "calibration_error": "calibration error",
    "uncalibrated_error": "  at temperature 1",
}
# Metrics with an interval, unless there are too few examples.
WITH_INTERVALS = ("accuracy", "subset_accuracy", "micro_f1", "macro_f1")

# Scores of a class.
SCORES = {"precision": "precision", "recall": "recall", "f1": "F1"}

# Columns of a comparison; more would not fit on a line with two intervals.
COMPARED = {
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "calibration_error": "calibration",
}


# === One report ===


def format_report(report: Report, *, title: str = "Evaluation") -> str:
    """Format a report as text that ends with a line break.

    The sections are metrics with intervals, classes, confusions, lengths, calibration, coverage and
    notes. Empty sections are omitted.
    """
    head = (
        f"{_tidy(title)}: {_counted(report.num_examples, 'example')}, "
        f"{_counted(len(report.class_names), 'class', 'classes')}"
        f"{', multi-label' if report.multi_label else ''}"
    )
    parts = [
        _headline(report),
        _classes(report),
        _confusions(report),
        _matrix(report),
        _lengths(report),
        _calibration(report),
        _coverage(report),
        _notes(report),
    ]
    head = _cut(head, WIDTH)
    blocks = ["\n".join([head, "=" * _width(head)]), *("\n".join(part) for part in parts if part)]
    return "\n\n".join(blocks) + "\n"


def _headline(report: Report) -> list[str]:
    """Return the lines of the metrics, with their intervals."""
    rows = []
    for name, label in HEADLINE.items():
        if name not in report.metrics:
            continue
        remark = ""
        if name in report.intervals:
            low, high = report.intervals[name]
            remark = f"{100 * report.confidence:.4g} % interval {low:.4f} to {high:.4f}"
        elif name in WITH_INTERVALS and report.bootstrap_samples:
            remark = "too few examples for an interval"
        rows.append([label, _number(report.metrics[name], 4), remark])
    calibrated, raw = HEADLINE["calibration_error"], HEADLINE["uncalibrated_error"]
    if len(rows) > 1 and rows[-1] == [raw, *rows[-2][1:]] and rows[-2][0] == calibrated:
        rows[-2:] = [[calibrated, rows[-2][1], "the same at temperature 1"]]
    return _table(rows, align="lrl")


def _classes(report: Report) -> list[str]:
    """Return the lines of the scores of each class and their averages."""
    classes = list(report.classes)
    num_omitted = len(classes) - SHOWN_OF_MANY if len(classes) > MAX_TABLE_CLASSES else 0
    if num_omitted:
        # Classes without examples come last.
        worst = sorted(classes, key=lambda scores: (scores.support == 0, scores.f1))
        classes = worst[:SHOWN_OF_MANY]
    has_intervals = report.bootstrap_samples > 0
    level = f"{100 * report.confidence:.4g} %"
    # With the threshold column, names must be one column shorter to fit on a line.
    names = [_cut(_tidy(scores.name), NAME_WIDTH - report.multi_label) for scores in classes]
    averages = [
        name for name in ("micro", "macro", "weighted") if f"{name}_precision" in report.metrics
    ]
    rows = [[name] for name in ["class", *names, *(f"{kind} average" for kind in averages)]]
    for score, label in SCORES.items():
        cells = [label, *(_number(getattr(scores, score)) for scores in classes)]
        _add_column(rows, [*cells, *(_number(report.metrics[f"{a}_{score}"]) for a in averages)])
    if has_intervals:
        _add_column(rows, [level, *(_interval(scores.f1_interval) for scores in classes)])
    _add_column(rows, ["examples", *(f"{scores.support:,}" for scores in classes)])
    _add_column(rows, ["predicted", *(f"{scores.num_predicted:,}" for scores in classes)])
    if report.multi_label:
        _add_column(rows, ["threshold", *(_number(scores.threshold) for scores in classes)])
    lines = _table(rows, align="l" + "r" * (len(rows[0]) - 1))
    lines.insert(1 + len(classes), "-" * max(map(_width, lines)))
    if has_intervals and len(classes) == 2:
        rows = [[f"{level} interval", "precision", "recall"]]
        rows += [
            [name, _interval(scores.precision_interval), _interval(scores.recall_interval)]
            for name, scores in zip(names, classes, strict=True)
        ]
        lines += ["", *_table(rows, align="lrr")]
    if num_omitted:
        lines.append(
            f"(the {SHOWN_OF_MANY} classes with the lowest F1; the JSON has {num_omitted:,} more)"
        )
    return lines


def _add_column(rows: list[list[str]], cells: Sequence[str]) -> None:
    """Add a cell to each row; rows without a cell get an empty one."""
    for row, cell in itertools.zip_longest(rows, cells, fillvalue=""):
        assert isinstance(row, list)
        row.append(cell)


def _interval(ends: tuple[float, float] | None) -> str:
    """Format an interval; "-" if there is none."""
    return "-" if ends is None else f"{_number(ends[0])}-{_number(ends[1])}"


def _confusions(report: Report) -> list[str]:
    """Return the lines of the most frequent confusions."""
    if report.confusion_matrix is None:
        return []
    pairs = [
        (count, t, p)
        for t, row in enumerate(report.confusion_matrix)
        for p, count in enumerate(row)
        if count and t != p
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    if not pairs:
        return []
    many = len(report.class_names) > MAX_MATRIX_CLASSES
    rows = [["most confused: true", "predicted", "examples", "of the true class"]]
    for count, t, p in pairs[: 10 if many else 5]:
        share = count / report.classes[t].support
        rows.append(
            [
                _name(report.class_names[t]),
                _name(report.class_names[p]),
                f"{count:,}",
                f"{100 * share:.1f} %",
            ]
        )
    return _table(rows, align="llrr")


def _matrix(report: Report) -> list[str]:
    """Return the lines of the confusion matrix, with column numbers if names do not fit."""
    matrix, names = report.confusion_matrix, [_name(name) for name in report.class_names]
    if matrix is None or not 1 < len(names) <= MAX_MATRIX_CLASSES:
        return []
    corner = "true \\ predicted"
    cells = [[f"{count:,}" for count in row] for row in matrix]
    lines = _table(
        [[corner, *names], *([name, *row] for name, row in zip(names, cells, strict=True))],
        align="l" + "r" * len(names),
    )
    if max(map(_width, lines)) <= WIDTH:
        return lines
    numbers = [str(c + 1) for c in range(len(names))]
    numbered = [
        [f"{number} {name}", *row] for number, name, row in zip(numbers, names, cells, strict=True)
    ]
    return _table([[corner, *numbers], *numbered], align="l" + "r" * len(names))


def _lengths(report: Report) -> list[str]:
    """Return the lines of the scores by text length."""
    metric = HEADLINE[report.length_metric]
    rows = [["tokens in the text", "examples", metric]]
    for length_bin in report.by_length:
        count = f"{length_bin.num_examples:,}"
        rows.append([_token_range(length_bin), count, _number(length_bin.score)])
    if (truncated := report.truncated) is not None:
        row = ["truncated texts", f"{truncated.num_examples:,}", _number(truncated.score)]
        rows.append(row)
    return _table(rows, align="lrr") if len(rows) > 1 else []


def _token_range(length_bin: LengthBin) -> str:
    """Format the lengths of a bin."""
    if length_bin.min_tokens == length_bin.max_tokens:
        return f"{length_bin.min_tokens:,}"
    return f"{length_bin.min_tokens:,} to {length_bin.max_tokens:,}"


def _calibration(report: Report) -> list[str]:
    """Return the lines of the calibration bins that are not empty."""
    accuracy_label = "share positive" if report.multi_label else "accuracy"
    count_label = "examples x classes" if report.multi_label else "examples"
    rows = [["confidence", count_label, "mean confidence", accuracy_label, "difference"]]
    for b in report.calibration:
        if b.accuracy is None or b.mean_confidence is None:
            continue
        rows.append(
            [
                f"{b.lower:.2f} to {b.upper:.2f}",
                f"{b.count:,}",
                _number(b.mean_confidence),
                _number(b.accuracy),
                f"{b.accuracy - b.mean_confidence:+.3f}",
            ]
        )
    return _table(rows, align="lrrrr")


def _coverage(report: Report) -> list[str]:
    """Return the lines of the accuracies by coverage."""
    # Several shares have the same point if confidences are equal.
    points = dict.fromkeys(map(_coverage_row, report.coverage), "")
    if report.abstention is not None:
        points[_coverage_row(report.abstention)] = " (in use)"
    rows = [["coverage", "min. confidence", "accuracy"]]
    rows += [[share + mark, *rest] for (share, *rest), mark in points.items()]
    return _table(rows, align="lrr") if report.coverage else []


def _coverage_row(point: CoveragePoint) -> tuple[str, str, str]:
    """Format a coverage point as cells."""
    share = f"{100 * point.coverage:.1f} %"
    return share, _number(point.abstain_below), _number(point.accuracy)


def _notes(report: Report) -> list[str]:
    """Return the lines of the notes, wrapped and indented."""
    lines = ["Notes"] if report.notes else []
    for note in report.notes:
        first, *rest = _wrapped(_tidy(note), WIDTH - 2)
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


# === Several reports ===


def format_comparison(rows: Mapping[str, Report]) -> str:
    """Format a table with the main metrics of each model; it ends with a line break.

    Args:
        rows: model name -> report, in the order of the lines.

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
    metrics = [name for name in COMPARED if name in first.metrics]
    intervals = {name for report in rows.values() for name in report.intervals}

    table = [["model"]]
    for name in metrics:
        table[0].append(COMPARED[name])
        if name in intervals:
            table[0].append(f"{100 * first.confidence:.4g} %")
    for model, report in rows.items():
        line = [_name(model)]
        for name in metrics:
            line.append(_number(report.metrics[name]))
            if name in intervals:
                line.append(_interval(report.intervals.get(name)))
        table.append(line)
    return "\n".join(_table(table, align="l" + "r" * (len(table[0]) - 1))) + "\n"


def format_splits(splits: Mapping[str, "SplitSummary"], class_names: Sequence[str]) -> str:
    """Format a table of the examples of each class in each split; it ends with a line break.

    If there are more than `MAX_SPLIT_CLASSES` classes, only the largest ones are listed.

    Args:
        splits: split name -> number of examples and class counts, as in `Dataset.splits`.
        class_names: names in the order of the class counts.
    """
    shown = list(range(len(class_names)))
    if len(shown) > MAX_SPLIT_CLASSES:
        totals = [sum(int(s.class_counts[c]) for s in splits.values()) for c in shown]
        shown = sorted(shown, key=lambda c: -totals[c])[:MAX_SPLIT_CLASSES]
    num_hidden = len(class_names) - len(shown)
    rows = [["class"], *([_name(class_names[c])] for c in shown)]
    if num_hidden:
        rows.append([_counted(num_hidden, "smaller class", "smaller classes")])
    rows.append(["all examples"])
    for split, summary in splits.items():
        n = int(summary.num_examples)
        counts = [int(summary.class_counts[c]) for c in shown]
        if num_hidden:
            counts.append(sum(map(int, summary.class_counts)) - sum(counts))
        rows[0] += [_name(split), "share"]
        for row, count in zip(rows[1:-1], counts, strict=True):
            row += [f"{count:,}", f"{100 * count / n:.1f} %" if n else "-"]
        rows[-1] += [f"{n:,}", ""]
    lines = _table(rows, align="l" + "rr" * len(splits))
    lines.insert(len(lines) - 1, "-" * max(map(_width, lines)))
    return "\n".join(lines) + "\n"


def format_data_check(
    dataset: "Dataset", counts: Mapping[str, "TokenCounts"], sequence_length: int
) -> str:
    """Format the result of `textclf data check`; it ends with a line break.

    The sections are classes, text lengths and findings.

    Args:
        dataset: an opened data set.
        counts: split name -> lengths, of `data_check.count_tokens`.
        sequence_length: the length limit of the counts.
    """
    quantiles = [*next(iter(counts.values())).length_quantiles]
    rows = [["tokens in a text", *quantiles, f"texts over {sequence_length}", "tokens cut"]]
    for split, lengths in counts.items():
        n, truncated = dataset.splits[split].num_examples, lengths.truncated_texts
        rows.append(
            [
                _name(split),
                *(f"{lengths.length_quantiles[name]:,}" for name in quantiles),
                f"{truncated:,} ({100 * truncated / max(n, 1):.1f} %)",
                f"{100 * lengths.cut_tokens / max(lengths.num_tokens, 1):.1f} %",
            ]
        )
    classes = format_splits(dataset.splits, dataset.class_names).rstrip("\n").split("\n")
    if len(dataset.class_names) > MAX_SPLIT_CLASSES:
        classes.append(f"(the {MAX_SPLIT_CLASSES} largest classes; --json lists all of them)")
    parts = [classes, _table(rows, align="l" + "r" * (len(rows[0]) - 1))]
    sentences = dataset.findings.sentences()
    lines = ["Findings"] if sentences else ["Findings: none"]
    for sentence in sentences:
        first, *rest = _wrapped(_tidy(sentence), WIDTH - 2)
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return "\n\n".join("\n".join(part) for part in [*parts, lines]) + "\n"


# === Cells and columns ===


def _number(value: float | None, digits: int = 3) -> str:
    """Format a number; "-" if it is None."""
    return "-" if value is None else f"{value:.{digits}f}"


def _counted(n: int, one: str, many: str = "") -> str:
    """Format a count with its noun; the default plural is `one` with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _table(rows: Sequence[Sequence[str]], *, align: str) -> list[str]:
    """Return the lines of a table; `align` has an "l" or "r" for each column."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = []
        for cell, width, side in zip(row, widths, align, strict=False):
            blanks = " " * (width - _width(cell))
            padded.append(cell + blanks if side == "l" else blanks + cell)
        lines.append("  ".join(padded).rstrip())
    return lines


def _name(text: str) -> str:
    """Format the name of a class, model or split for a table."""
    return _cut(_tidy(text), NAME_WIDTH)


def _tidy(text: str) -> str:
    """Replace white space by spaces and other unprintable characters by "?"."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _width(text: str) -> int:
    """Return the width on a terminal; wide characters have 2 columns, combining ones 0."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me")
        else 2 if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )  # fmt: skip


def _cut(text: str, width: int) -> str:
    """Shorten a text to `width` columns by replacing its middle with an ellipsis."""
    if _width(text) <= width:
        return text
    start, end = "", ""
    left, right = (width - 1) - (width - 1) // 2, (width - 1) // 2
    for c in text:
        if _width(start + c) > left:
            break
        start += c
    for c in reversed(text):
        if _width(c + end) > right:
            break
        end = c + end
    return f"{start}…{end}"


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap a text into lines of at most `width` columns; break words that are wider."""
    lines = [""]
    for word in text.split():
        if lines[-1] and _width(lines[-1]) + 1 + _width(word) > width:
            lines.append("")
        elif lines[-1]:
            lines[-1] += " "
        for c in word:
            if _width(lines[-1] + c) > width:
                lines.append("")
            lines[-1] += c
    return lines
