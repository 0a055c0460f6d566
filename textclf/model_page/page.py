"""The contents of the page of a model as HTML, and its pictures."""

import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import textclf
from textclf import analysis, pages
from textclf.analysis import Attribution
from textclf.config import to_yaml
from textclf.evaluation import ClassScores, Report
from textclf.evaluation.document import METRIC_LABELS, confusion_rows, interval, level, number
from textclf.model_page import plots
from textclf.model_page.contents import Contents
from textclf.model_page.mistakes import ShownExample
from textclf.model_page.plan import PagePlan
from textclf.pages import Picture
from textclf.scoring import COMPUTED

_MAX_CLASSES = 20  # of a confusion matrix with counts
_NUM_PAIRS = 20  # confusions of two classes
_MAX_TOKENS = 300  # of an example
_MAX_EXPLAINED = 2  # classes of an example
_MAX_NAMES = 8  # of its classes
_MAX_CHARACTERS = 1500  # of an example without an explanation


def render(plan: PagePlan, contents: Contents) -> tuple[str, list[tuple[str, Picture]]]:
    """Return the page as HTML, and its pictures by the names of their files."""
    card, report = contents.card, contents.result.report
    has_network = card.config["model"]["encoder"] != "none"
    groups = {
        "learning": plots.plot_history(contents.history, card.training.best_epoch),
        "matrix": _matrix_pictures(report),
        "ranking": _ranking_pictures(contents),
    }
    html = pages.render(
        Path(__file__).parent,
        "page.html",
        contents=contents,
        card=card,
        result=contents.result,
        report=report,
        split=contents.result.split,
        pictures=groups,
        headline=_headline(contents),
        linear_words=list(_linear_words(plan, contents)),
        classes=_classes(report),
        matrix=_matrix(report),
        confusions=confusion_rows(report, _NUM_PAIRS),
        slices=_slices(contents),
        mistakes=[_example(example) for example in contents.mistakes],
        suspects=[_example(example) for example in contents.suspects.examples],
        words_style=analysis.words_style(),
        words_legend=analysis.words_legend(has_network=has_network),
        explorer=_explorer(plan, contents),
        audit_findings=_audit_findings(contents),
        yaml=to_yaml(card.config),
        facts=list(_facts(contents)),
        version=textclf.__version__,
    )
    return html, list(plots.all_pictures(*groups.values()))


# === Scores ===


def _headline(contents: Contents) -> dict[str, Any]:
    """Return the table of the metrics: the split, the linear model alone, validation."""
    report, validation = contents.result.report, contents.card.validation
    split = contents.result.split
    columns: list[tuple[str, Report]] = [(split, report)]
    if contents.linear is not None:
        columns.append((f"linear model alone, {split}", contents.linear))
    if validation is not None and split != "validation":
        columns.append(("validation", validation))
    rows = []
    for name, label in METRIC_LABELS.items():
        if name not in report.metrics:
            continue
        cells = []
        for _, part in columns:
            cells += [number(part.metrics.get(name), 4), interval(part.intervals.get(name))]
        rows.append(
            [label.strip() if name != "uncalibrated_error" else "the same at temperature 1", *cells]
        )
    header = ["metric"]
    for title, part in columns:
        header += [title, level(part)]
    clean = contents.result.without_leaked
    return {
        "header": header,
        "rows": rows,
        "big": list(_big_figures(columns)),
        "without_leaked": "" if clean is None else headline_words(clean),
    }


def _big_figures(
    columns: Sequence[tuple[str, Report]],
) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield a title, and name, value and interval of the most important metrics, by column."""
    for title, report in columns:
        metrics = []
        for name in dict.fromkeys([report.length_metric, "macro_f1"]):
            ends = report.intervals.get(name)
            words = "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
            metrics.append((METRIC_LABELS[name], number(report.metrics[name]), words))
        yield title, metrics


def _linear_words(plan: PagePlan, contents: Contents) -> Iterator[str]:
    """Yield sentences that compare the model with the linear model."""
    card, report = contents.card, contents.result.report
    if contents.linear is not None:
        gain = report.gain
        if gain is None:
            yield "There are too few rows to estimate what the network adds to the linear model."
            return
        yield (
            f"The network adds {gain.difference:+.4f} {METRIC_LABELS[gain.metric]} to the linear "
            f"model alone ({100 * gain.confidence:.4g} % interval {gain.low:+.4f} to "
            f"{gain.high:+.4f}): {gain.verdict}."
        )
        return
    if card.linear is not None:
        yield "This model is a linear model; there is no network beside it."
        return
    config = plan.trained.folder / "config.yaml"
    command = shlex.join(["textclf", "baseline", str(config), *plan.set_arguments])
    yield (f"This network has no linear model beside it. `{command}` fits one to the same data.")


def _classes(report: Report) -> dict[str, Any]:
    """Return the table of the classes, the most frequent first."""
    has_thresholds = any(scores.threshold is not None for scores in report.classes)
    header = ["class", "examples", "predicted", "precision", "recall", "F1", level(report)]
    header += ["average precision", "ROC-AUC"] + (["threshold"] if has_thresholds else [])

    def cells(scores: ClassScores) -> list[tuple[str, float | None]]:
        values = [scores.precision, scores.recall, scores.f1]
        areas = [scores.average_precision, scores.roc_auc]
        areas += [scores.threshold] if has_thresholds else []
        low = None if scores.f1_interval is None else scores.f1_interval[0]
        return [
            (f"{scores.support:,}", scores.support),
            (f"{scores.num_predicted:,}", scores.num_predicted),
            *((number(value), value) for value in values),
            (interval(scores.f1_interval), low),
            *((number(value), value) for value in areas),
        ]

    ordered = sorted(report.classes, key=lambda scores: -scores.support)
    return {"header": header, "rows": [(scores.name, cells(scores)) for scores in ordered]}


def _matrix(report: Report) -> list[tuple[str, list[tuple[int, float]]]] | None:
    """Return name, counts and shares of each row of the matrix; None if it is large or missing."""
    counts = report.confusion_matrix
    if counts is None or len(counts) > _MAX_CLASSES:
        return None
    return [
        (name, [(count, round(count / max(sum(row), 1), 4)) for count in row])
        for name, row in zip(report.class_names, counts, strict=True)
    ]


def _matrix_pictures(report: Report) -> list[Picture]:
    counts = report.confusion_matrix
    if counts is None or len(counts) <= _MAX_CLASSES:
        return []
    return [plots.plot_matrix(counts, report.class_names)]


def _ranking_pictures(contents: Contents) -> list[Picture]:
    report, split = contents.result.report, contents.result.split
    pictures = []
    if contents.curves:
        pictures += [
            plots.plot_curves(contents.curves, kind) for kind in ("roc", "precision_recall")
        ]
    reports = {split: report}
    validation = contents.card.validation
    if validation is not None and split != "validation":
        reports["validation"] = validation
    pictures.append(plots.plot_reliability(reports))
    if not report.multi_label:
        pictures.append(plots.plot_coverage({name: r.coverage for name, r in reports.items()}))
    return pictures


def _slices(contents: Contents) -> dict[str, Any]:
    """Return the tables of the slices, by column; a column with one value is omitted."""
    result = contents.result
    groups: dict[str, list[Any]] = {}
    for part in result.slices:
        groups.setdefault(part.by, []).append(part)
    tables = {
        _column_name(by): [
            [
                part.value,
                f"{part.num_examples:,}",
                number(part.score),
                interval(part.interval),
                number(part.rest),
                "-" if part.adjusted_p_value is None else f"{part.adjusted_p_value:.2g}",
                "worse" if part.is_worse else "",
            ]
            for part in parts
        ]
        for by, parts in groups.items()
        if len(parts) > 1
    }
    metric = METRIC_LABELS[result.report.length_metric]
    header = ["", "examples", metric, level(result.report), "rest", "p, corrected", ""]
    uniform = [by for by, parts in groups.items() if len(parts) == 1]
    return {
        "header": header,
        "tables": tables,
        "warnings": result.slice_warnings,
        "uniform": [f"{_column_name(by)} ({groups[by][0].value})" for by in uniform],
    }


def _column_name(by: str) -> str:
    """Return the words for a computed column; a column of the data keeps its name."""
    return by.replace("_", " ") if by in COMPUTED else by


# === Explorer ===


def _explorer(plan: PagePlan, contents: Contents) -> dict[str, Any]:
    """Return the figures that the script of the page shows, as plain values.

    The arrays of a class are by threshold: `t`, predicted examples `n`, correct ones `r`, and the
    lower bounds of precision `pb` and recall `rb`.
    """
    base = ["textclf", "calibrate", contents.model]
    classes = []
    for name, points in (contents.thresholds or {}).items():
        positive = [] if contents.card.multi_label else ["--positive", name]
        in_use = next((i for i, point in enumerate(points) if point.is_in_use), None)
        classes.append(
            {
                "name": name,
                "support": contents.supports[name],
                "in_use": in_use,
                "command": shlex.join([*base, *plan.set_arguments, *positive]),
                "t": [point.threshold for point in points],
                "n": [point.num_predicted for point in points],
                "r": [point.num_predicted - point.false_positives for point in points],
                "pb": [_floor(point.precision_bound) for point in points],
                "rb": [_floor(point.recall_bound) for point in points],
            }
        )
    # The rarer class first: it is usually the class to find.
    if not contents.card.multi_label:
        classes.sort(key=lambda c: (c["in_use"] is None, c["support"]))
    coverage = None
    # A threshold of two classes takes the place of abstention.
    if contents.coverage is not None and contents.card.thresholds is None:
        coverage = {
            "command": shlex.join([*base, *plan.set_arguments]),
            "size": contents.validation_size,
            "in_use": contents.card.abstain_below,
            "share": [round(p.coverage, 6) for p in contents.coverage],
            "accuracy": [p.accuracy for p in contents.coverage],
            "below": [p.abstain_below for p in contents.coverage],
        }
    return {
        "size": contents.validation_size,
        "multi_label": contents.card.multi_label,
        "classes": classes,
        "coverage": coverage,
    }


def _floor(bound: float) -> float:
    """Round down, so that a command with the bound still reaches it."""
    return math.floor(bound * 1e6) / 1e6


# === Examples, audit and facts ===


def _example(example: ShownExample) -> dict[str, Any]:
    """Return the values of the template for one example."""
    explanation = example.explanation
    attributions: list[Attribution] = []
    if explanation is not None:
        # Wrongly predicted classes first; only some are shown, because each repeats the text.
        attributions = sorted(
            explanation.attributions,
            key=lambda part: (part.class_name in example.true, -part.probability),
        )
    parts = [
        (
            part.class_name,
            analysis.words_html(explanation, part, max_tokens=_MAX_TOKENS),
        )
        for part in attributions[:_MAX_EXPLAINED]
        if explanation is not None
    ]
    text = example.text
    return {
        "location": example.location,
        "true": _names(example.true),
        "predicted": _names(example.predicted),
        "suggested_labels": None
        if example.suggested_labels is None
        else _names(example.suggested_labels),
        "quality": number(example.quality),
        "loss": number(example.loss),
        "p_true": None if example.p_true is None else number(example.p_true),
        "parts": parts,
        "text": text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…",
    }


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more or "no class"


def _audit_findings(contents: Contents) -> Any:
    if contents.audit is None:
        return None
    from textclf import audit

    return audit.findings_html(contents.audit)


def _facts(contents: Contents) -> Iterator[tuple[str, str]]:
    """Yield names and values of the facts about data and training in the card."""
    card = contents.card
    sizes = ", ".join(f"{s.num_examples:,} {name}" for name, s in card.data.splits.items())
    yield "trained", card.created
    if card.calibration is not None:
        options = ", ".join(f"{name} {value}" for name, value in card.calibration.options.items())
        yield "calibrated", f"{card.calibration.created} {options}".strip()
    yield "data", f"{sizes}; fingerprint {card.data.fingerprint}"
    yield "classes", f"{len(card.class_names):,}, {card.task.phrase}"
    if card.training.num_weights:
        training = card.training
        average = ", an average of weights" if training.is_average else ""
        yield (
            "training",
            f"{training.epochs} epochs, kept epoch {training.best_epoch}{average}; "
            f"{training.num_weights:,} weights; {card.text.vocabulary_size:,} token ids",
        )
    if card.linear is not None:
        yield "linear model", f"{card.linear.num_features:,} n-grams, C {card.linear.strength:g}"
    if card.mixture is not None:
        yield "mixture", f"{card.mixture.share:.0%} linear model"
    yield "decision", _decision(contents)
    yield "versions", ", ".join(f"{name} {value}" for name, value in card.versions.items())


def _decision(contents: Contents) -> str:
    card = contents.card
    temperature = card.temperature
    temperatures = temperature if isinstance(temperature, tuple) else (temperature,)
    low, high = min(temperatures), max(temperatures)
    words = f"temperature {low:.3f}" if low == high else f"temperatures {low:.3f} to {high:.3f}"
    thresholds = card.thresholds
    if thresholds is not None and card.multi_label:
        words += f"; thresholds {min(thresholds):.3f} to {max(thresholds):.3f}"
    elif thresholds is not None:
        positive = card.class_names[thresholds.index(max(thresholds))]
        words += f"; {positive} from probability {max(thresholds):.4f} on"
    if card.abstain_below is not None:
        words += f"; abstains below confidence {card.abstain_below:.4f}"
    return words


def headline_words(report: Report) -> str:
    """Return the most important metric of a report in words, with its interval."""
    name = report.length_metric
    value = number(report.metrics[name], 4)
    ends = report.intervals.get(name)
    words = "" if ends is None else f" ({level(report)} interval {ends[0]:.4f} to {ends[1]:.4f})"
    return f"{METRIC_LABELS[name]} {value}{words}"
