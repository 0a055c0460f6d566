"""Card page: the card of a classifier in Markdown, for people.

The sections follow Mitchell et al. (2019), "Model Cards for Model Reporting": intended use, data,
scores and known weaknesses.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from textclf.artifact import Card
from textclf.data import Findings
from textclf.evaluation import Report

_NUM_WEAK = 5  # classes listed as weak
_SHOWN_CLASSES = 40


def markdown(card: Card) -> str:
    """Return the page; it ends with a line break."""
    sections = [_summary_lines(card), _use_lines(card), _data_lines(card)]
    if card.validation is not None:
        sections += [_score_lines(card, card.validation), _weakness_lines(card, card.validation)]
    sections.append(_training_lines(card))
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _summary_lines(card: Card) -> list[str]:
    names = ", ".join(map(_code, card.class_names[:_SHOWN_CLASSES]))
    num_hidden = len(card.class_names) - _SHOWN_CLASSES
    return [
        "# Text classifier",
        "",
        f"A {_kind(card)} classifier trained with textclf: {len(card.class_names)} classes, "
        f"{card.task.phrase}.",
        "",
        f"Classes: {names}{f' and {num_hidden} more' if num_hidden > 0 else ''}.",
    ]


def _kind(card: Card) -> str:
    """Return the models of a classifier in words, such as "bidirectional LSTM"."""
    model = card.config.get("model", {})
    encoder = str(model.get("encoder", "lstm"))
    if encoder == "none":
        return "linear"
    if ":" not in encoder:  # a function of another module keeps its name
        encoder = encoder.upper().replace("SIMPLE_RNN", "SimpleRNN")
    direction = "bidirectional " if model.get("bidirectional") and encoder != "BAG" else ""
    mixture = "" if card.mixture is None else " and linear"
    return f"{direction}{encoder}{mixture}"


def _use_lines(card: Card) -> list[str]:
    text = card.config.get("text", {})
    abstention = (
        f" If its confidence is below {card.abstain_below:.3f}, the prediction is marked `abstain`."
        if card.abstain_below
        else ""
    )
    if card.thresholds is not None and not card.multi_label:
        positive = max(range(2), key=lambda c: card.thresholds[c])  # type: ignore[index]
        abstention = (
            f" {_code(card.class_names[positive])} is predicted if its probability is at least "
            f"{card.thresholds[positive]:.3f}, otherwise {_code(card.class_names[1 - positive])}."
            f"{abstention}"
        )
    return [
        "## Intended use",
        "",
        "The classifier is meant for texts like those it was trained on: the same language, the "
        "same kind of writing, the same question. On other texts its predictions and their "
        "confidence are untested. It always names a most probable class, even for an unrelated "
        f"text.{abstention}",
        "",
        f"{' '.join(_limits(card, text))} Longer texts are marked `truncated`.",
    ]


def _limits(card: Card, text: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each length limit."""
    has_network = card.config.get("model", {}).get("encoder") != "none"
    if has_network:
        reader = "It" if card.linear is None else "The network"
        yield (
            f"{reader} reads at most {text.get('sequence_length', 0):,} tokens of a text "
            f"(`text.keep`: {text.get('keep', 'start')})."
        )
    if card.linear is not None:
        reader = "The linear model" if has_network else "It"
        yield f"{reader} reads the first {text.get('linear_length', 0):,} tokens."


def _data_lines(card: Card) -> list[str]:
    settings = card.config.get("data", {})
    sources = [settings.get(name) for name in ("source", "train", "validation", "test")]
    lines = ["## Data", ""]
    lines.append(f"Source: {', '.join(_code(str(source)) for source in sources if source)}.")
    if card.data.splits:
        lines += ["", "| split | texts |", "|---|---|"]
        lines += [f"| {name} | {size.num_examples:,} |" for name, size in card.data.splits.items()]
    for pair, finding in msgspec.convert(card.data.findings, Findings).shared.items():
        first, second = pair.split("/")
        lines += ["", f"Texts of {second} that also occur in {first}: {finding.count:,}."]
    lines += ["", f"Fingerprint: {_code(card.data.fingerprint)}."]
    return lines


def _score_lines(card: Card, report: Report) -> list[str]:
    level = f"{100 * report.confidence:.4g} % interval"
    fitted = "the epoch and the temperature"
    if card.thresholds is not None:
        noun = "thresholds" if card.multi_label else "threshold"
        fitted = f"the epoch, the temperature and the {noun}"
    lines = [
        "## Scores",
        "",
        f"On the validation split, which was also used to choose {fitted}, so the scores are "
        "slightly optimistic. `textclf evaluate` computes the scores on the test split.",
    ]
    lines += ["", f"| metric | value | {level} |", "|---|---|---|"]
    for name in ("accuracy", "micro_f1", "macro_f1", "log_loss", "calibration_error"):
        value = report.metrics.get(name)
        if value is None:
            continue
        interval = report.intervals.get(name)
        shown = "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        lines.append(f"| {name.replace('_', ' ')} | {value:.3f} | {shown} |")
    uncalibrated = report.metrics.get("uncalibrated_error")
    if uncalibrated is not None:
        lines += ["", f"Calibration error before the temperature was fitted: {uncalibrated:.3f}."]
    return lines


def _weakness_lines(card: Card, report: Report) -> list[str]:
    lines = ["## Weaknesses", ""]
    with_texts = [scores for scores in report.classes if scores.support]
    lines += [
        f"- {_code(scores.name)}: F1 {scores.f1:.3f} on {scores.support:,} texts (precision "
        f"{scores.precision:.3f}, recall {scores.recall:.3f})"
        for scores in sorted(with_texts, key=lambda scores: scores.f1)[:_NUM_WEAK]
    ]
    if absent := [_code(scores.name) for scores in report.classes if not scores.support]:
        lines.append(f"- not measured, because validation has no text of it: {', '.join(absent)}")
    if card.text.unknown_fraction is not None:
        lines.append(
            f"- {card.text.unknown_fraction:.1%} of the tokens of validation are not in the "
            "vocabulary"
        )
    train = card.text.train
    if train.num_tokens and not card.multi_label:  # several labels count a text several times
        cut = {"text.sequence_length": train.cut_tokens}
        if card.linear is not None:
            cut["text.linear_length"] = card.linear.cut_tokens
        lines += [
            f"- {sum(cut[setting]) / train.num_tokens:.1%} of the tokens of train exceed "
            f"`{setting}`"
            for setting in card.length_limits
        ]
    return lines


def _training_lines(card: Card) -> list[str]:
    lines = ["## Training", ""]
    if card.training.epochs:
        lines += [
            f"Epoch {card.training.best_epoch} of {card.training.epochs} was kept (end of "
            f"training: {card.training.ended_by}). Number of weights: "
            f"{card.training.num_weights:,}.",
            "",
        ]
    if (linear := card.linear) is not None:
        lines += [
            f"The linear model has {linear.num_features:,} n-grams ({linear.weighting}, C "
            f"{linear.strength:g}, chosen on {linear.held_out}).",
            "",
            *(line for note in linear.notes for line in (f"Note: {note}.", "")),
        ]
    if card.mixture is not None:
        share = card.mixture.share
        lines += [f"Mixture: {share:.0%} linear model, {1 - share:.0%} network.", ""]
    if (gain := card.gain) is not None:
        lines += [
            f"Gain of the network over the linear model on validation: {gain.difference:+.4f} "
            f"{gain.metric.replace('_', ' ')} ({100 * gain.confidence:.4g} % interval "
            f"{gain.low:+.4f} to {gain.high:+.4f}).",
            "",
        ]
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    lines.append(
        f"Written {card.created} with {versions}. `card.json` has the complete configuration."
    )
    if card.calibration is not None:
        options = ", ".join(f"{name} {v}" for name, v in card.calibration.options.items())
        with_options = f" with {options}" if options else ""
        lines += [
            "",
            f"The decision was fitted again {card.calibration.created} by `textclf calibrate`"
            f"{with_options}. `card.json` has the former ones under `history`.",
        ]
    if card.contract_version:
        lines += ["", f"SavedModel contract {card.contract_version}."]
    return lines


def _code(text: Any) -> str:
    """Return the text as Markdown code, on one line, also if it has backquotes."""
    line = " ".join(str(text).split())
    fence = "`"
    while fence in line:
        fence += "`"
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"
