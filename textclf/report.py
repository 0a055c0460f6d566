"""Plain text of what the layers below return: fixed width, for stdout and for a file.

No line is wider than `WIDTH` columns, where a Chinese character takes two. Names of classes and
models come from the user's data, so they are cut in the middle when long (ends tell apart what
beginnings share) and what would move the cursor is shown as "?".
"""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textclf.evaluation import CoveragePoint, LengthBin, Report

if TYPE_CHECKING:
    from textclf.data import Dataset, SplitSummary

WIDTH = 96
NAME_WIDTH = 26
MAX_MATRIX_CLASSES = 12
MAX_TABLE_CLASSES = 60
SHOWN_OF_MANY = 30
MAX_SPLIT_CLASSES = 20

# What is said first, in this order; a report has those of its task.
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
# The metrics that have an interval unless the examples are too few.
WITH_INTERVALS = ("accuracy", "subset_accuracy", "micro_f1", "macro_f1")

# The scores of a class.
SCORES = {"precision": "precision", "recall": "recall", "f1": "F1"}

# The columns of a comparison: what fits beside two intervals.
COMPARED = {
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "calibration_error": "calibration",
}


# === One report ===


def format_report(report: Report, *, title: str = "Evaluation") -> str:
    """Returns the report as text for a person; ends with a line break.

    Overall figures with their intervals first, then classes, confusions, lengths, calibration
    and notes; a part without content is left out.
    """
    head = (
        f"{_tidy(title)}: {_counted(report.num_examples, 'example')}, "
        f"{_counted(len(report.class_names), 'class', 'classes')}"
        f"{', several an example' if report.multi_label else ''}"
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
    classes = list(report.classes)
    left_out = len(classes) - SHOWN_OF_MANY if len(classes) > MAX_TABLE_CLASSES else 0
    if left_out:
        # Classes without examples have nothing to show.
        worst = sorted(classes, key=lambda scores: (scores.support == 0, scores.f1))
        classes = worst[:SHOWN_OF_MANY]
    has_intervals = report.bootstrap_samples > 0
    level = f"{100 * report.confidence:.4g} %"
    # With the column of thresholds, the table is as wide as a line less one column.
    names = [_cut(_tidy(scores.name), NAME_WIDTH - report.multi_label) for scores in classes]
    averages = [
        name for name in ("micro", "macro", "weighted") if f"{name}_precision" in report.metrics
    ]
    rows = [[first] for first in ["class", *names, *(f"{name} average" for name in averages)]]
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
    if left_out:
        lines.append(
            f"(the {SHOWN_OF_MANY} classes with the lowest F1; {left_out:,} more are in the JSON)"
        )
    return lines


def _add_column(rows: list[list[str]], cells: Sequence[str]) -> None:
    """Add a cell to each row, an empty one where there are fewer cells than rows."""
    for row, cell in itertools.zip_longest(rows, cells, fillvalue=""):
        assert isinstance(row, list)
        row.append(cell)


def _interval(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{_number(ends[0])}-{_number(ends[1])}"


def _confusions(report: Report) -> list[str]:
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
    metric = HEADLINE[report.length_metric]
    rows = [["tokens in the text", "examples", metric]]
    for row in report.by_length:
        rows.append([_range(row), f"{row.num_examples:,}", _number(row.score)])
    if (cut := report.truncated) is not None:
        rows.append(["texts cut to fit", f"{cut.num_examples:,}", _number(cut.score)])
    return _table(rows, align="lrr") if len(rows) > 1 else []


def _range(row: LengthBin) -> str:
    if row.min_tokens == row.max_tokens:
        return f"{row.min_tokens:,}"
    return f"{row.min_tokens:,} to {row.max_tokens:,}"


def _calibration(report: Report) -> list[str]:
    what = "share true" if report.multi_label else "accuracy"
    pool = "examples x classes" if report.multi_label else "examples"
    rows = [["confidence", pool, "mean confidence", what, "difference"]]
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
    # Where confidences are equal, several shares lead to the same point.
    points = dict.fromkeys(map(_coverage_row, report.coverage), "")
    if report.abstention is not None:
        points[_coverage_row(report.abstention)] = " (its own)"
    rows = [["if it answers", "from confidence", "accuracy"]]
    rows += [[share + mark, *rest] for (share, *rest), mark in points.items()]
    return _table(rows, align="lrr") if report.coverage else []


def _coverage_row(point: CoveragePoint) -> tuple[str, str, str]:
    share = f"{100 * point.coverage:.1f} %"
    return share, _number(point.abstain_below), _number(point.accuracy)


def _notes(report: Report) -> list[str]:
    lines = ["Notes"] if report.notes else []
    for note in report.notes:
        first, *rest = _wrapped(_tidy(note), WIDTH - 2)
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


# === Several reports ===


def format_comparison(rows: Mapping[str, Report]) -> str:
    """Returns one line a model, its main figures side by side; ends with a line break.

    Args:
        rows: the models' names, in the order of the lines; all of one task.
    """
    if not rows:
        raise ValueError("nothing to compare: expected at least one report")
    if len({report.multi_label for report in rows.values()}) > 1:
        raise ValueError("one-of and multi-label reports have different figures")
    first = next(iter(rows.values()))
    chosen = [name for name in COMPARED if name in first.metrics]
    intervals = {name for report in rows.values() for name in report.intervals}

    table = [["model"]]
    for name in chosen:
        table[0].append(COMPARED[name])
        if name in intervals:
            table[0].append(f"{100 * first.confidence:.4g} %")
    for model, report in rows.items():
        line = [_name(model)]
        for name in chosen:
            line.append(_number(report.metrics[name]))
            if name in intervals:
                line.append(_interval(report.intervals.get(name)))
        table.append(line)
    return "\n".join(_table(table, align="l" + "r" * (len(table[0]) - 1))) + "\n"


def format_splits(splits: Mapping[str, "SplitSummary"], class_names: Sequence[str]) -> str:
    """Return how many examples of each class each split has; ends with a line break.

    Of more than `MAX_SPLIT_CLASSES` classes, only so many are listed, the largest first.

    Args:
        splits: as in `Dataset.splits`: name -> number of examples and class counts.
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
    dataset: "Dataset", lengths: Mapping[str, Mapping[str, Any]], sequence_length: int
) -> str:
    """Returns what `textclf data check` shows: classes, lengths, oddities; ends with a line break.

    Args:
        dataset: opened, so counted and checked.
        lengths: of each split `num_tokens`, `length_quantiles` by name, `truncated_texts` and
            `cut_tokens`.
        sequence_length: the limit that these two are about.
    """
    quantiles = [*next(iter(lengths.values()))["length_quantiles"]]
    rows = [["tokens in a text", *quantiles, f"texts over {sequence_length}", "tokens cut"]]
    for split, found in lengths.items():
        n, truncated = dataset.splits[split].num_examples, found["truncated_texts"]
        rows.append(
            [
                _name(split),
                *(f"{found['length_quantiles'][name]:,}" for name in quantiles),
                f"{truncated:,} ({100 * truncated / max(n, 1):.1f} %)",
                f"{100 * found['cut_tokens'] / max(found['num_tokens'], 1):.1f} %",
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


# === Letters and columns ===


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _counted(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _table(rows: Sequence[Sequence[str]], *, align: str) -> list[str]:
    """Lines of columns two blanks apart; `align` has an "l" or "r" for each column."""
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
    """The name of a class, a model or a split as a table shows it."""
    return _cut(_tidy(text), NAME_WIDTH)


def _tidy(text: str) -> str:
    """One line, nothing that moves the cursor or hides: what cannot be printed becomes "?"."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _width(text: str) -> int:
    """Columns on a terminal: wide and full-width characters take two, combining ones none."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me")
        else 2 if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )  # fmt: skip


def _cut(text: str, width: int) -> str:
    """Text of at most `width` columns, its middle replaced by an ellipsis if it is longer."""
    if _width(text) <= width:
        return text
    begin, end = "", ""
    left, right = (width - 1) - (width - 1) // 2, (width - 1) // 2
    for c in text:
        if _width(begin + c) > left:
            break
        begin += c
    for c in reversed(text):
        if _width(c + end) > right:
            break
        end = c + end
    return f"{begin}…{end}"


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at blanks and, where a word is wider, inside."""
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
