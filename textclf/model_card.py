"""The card of a classifier as a page for people, in Markdown.

After Mitchell et al. (2019), "Model Cards for Model Reporting": what it is for, what it was made
of, how good it is, and where it is known to be weak.
"""

from typing import Any

from textclf.artifact import Card
from textclf.evaluation import Report

_NUM_WEAK = 5
_SHOWN_CLASSES = 40


def markdown(card: Card) -> str:
    """Returns the page; ends with a line break."""
    parts = [_head(card), _use(card), _data(card)]
    if card.validation:
        report = Report.from_dict(card.validation)
        parts += [_scores(card, report), _weak_spots(card, report)]
    parts.append(_making(card))
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(card: Card) -> list[str]:
    model = card.config.get("model", {})
    kind = str(model.get("encoder", "lstm")).upper().replace("SIMPLE_RNN", "SimpleRNN")
    both = "bidirectional " if model.get("bidirectional") and kind != "BAG" else ""
    task = "any number of classes a text" if card.multi_label else "one class a text"
    names = ", ".join(map(_code, card.class_names[:_SHOWN_CLASSES]))
    more = len(card.class_names) - _SHOWN_CLASSES
    return [
        "# Text classifier",
        "",
        f"A {both}{kind} made by textclf: {len(card.class_names)} classes, {task}.",
        "",
        f"Classes: {names}{f' and {more} more' if more > 0 else ''}.",
    ]


def _use(card: Card) -> list[str]:
    text = card.config.get("text", {})
    return [
        "## Use",
        "",
        "For texts like those it was trained on: the same language, the same kind of writing, the "
        "same question asked of them. On anything else its answers, and how sure it is of them, "
        "are untested. It always names a most probable class, for a text about something else too"
        + (
            f"; it marks answers of less than {card.abstain_below:.3f} confidence as `abstain`."
            if card.abstain_below
            else "."
        ),
        "",
        f"It reads the {text.get('keep', 'start')} of a text, up to "
        f"{text.get('sequence_length', 0):,} tokens, and says `truncated` where there was more.",
    ]


def _data(card: Card) -> list[str]:
    lines = ["## Data", ""]
    source = card.config.get("data", {})
    named = [source.get(name) for name in ("source", "train", "validation", "test")]
    lines.append(f"From {', '.join(_code(str(name)) for name in named if name)}.")
    if splits := card.data.get("splits"):
        lines += ["", "| split | texts |", "|---|---|"]
        lines += [f"| {name} | {split['num_examples']:,} |" for name, split in splits.items()]
    findings = card.data.get("findings", {})
    shared = {name: found["count"] for name, found in findings.get("shared", {}).items()}
    for pair, count in shared.items():
        first, second = pair.split("/")
        lines += ["", f"{count:,} texts of {second} stand in {first} too."]
    lines += ["", f"Fingerprint: {_code(str(card.data.get('fingerprint', '')))}."]
    return lines


def _scores(card: Card, report: Report) -> list[str]:
    level = f"{100 * report.confidence:.4g} % interval"
    chosen = "the epoch, the temperature" + (" and the thresholds" if card.multi_label else "")
    lines = [
        "## Scores",
        "",
        f"On the validation split, which chose {chosen}, so they flatter a little; `textclf "
        "evaluate` gives those of the test split.",
    ]
    lines += ["", f"| figure | value | {level} |", "|---|---|---|"]
    for name in ("accuracy", "micro_f1", "macro_f1", "log_loss", "calibration_error"):
        value = report.metrics.get(name)
        if value is None:
            continue
        interval = report.intervals.get(name)
        shown = "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        lines.append(f"| {name.replace('_', ' ')} | {value:.3f} | {shown} |")
    before = report.metrics.get("uncalibrated_error")
    if before is not None:
        lines += ["", f"Before the temperature was fitted the calibration error was {before:.3f}."]
    return lines


def _weak_spots(card: Card, report: Report) -> list[str]:
    lines = ["## Weak spots", ""]
    worst = sorted((c for c in report.classes if c.support), key=lambda c: c.f1)[:_NUM_WEAK]
    lines += [
        f"- {_code(c.name)}: F1 {c.f1:.3f} on {c.support:,} texts (precision {c.precision:.3f}, "
        f"recall {c.recall:.3f})"
        for c in worst
    ]
    if absent := [_code(c.name) for c in report.classes if not c.support]:
        lines.append(f"- without a single text to judge by: {', '.join(absent)}")
    unknown = card.text.get("unknown_fraction")
    if unknown is not None:
        lines.append(f"- {unknown:.1%} of the tokens of validation are not in its vocabulary")
    train = card.text.get("train", {})
    cut, read = sum(train.get("cut_tokens", [])), train.get("num_tokens", 0)
    if read and not card.multi_label:
        lines.append(f"- {cut / read:.1%} of the tokens of train are beyond the length limit")
    return lines


def _making(card: Card) -> list[str]:
    lines = ["## Making", ""]
    if card.training:
        lines += [
            f"Epoch {card.training.get('best_epoch')} of {card.training.get('epochs')} (ended by "
            f"{card.training.get('ended_by')}); {card.training.get('num_weights', 0):,} weights.",
            "",
        ]
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    lines.append(f"Made {card.created} with {versions}. The whole configuration is in `card.json`.")
    if card.contract_version:
        lines += ["", f"SavedModel contract {card.contract_version}."]
    return lines


def _code(text: Any) -> str:
    """As Markdown code, whatever backquotes and line breaks the text holds."""
    flat = " ".join(str(text).split())
    fence = "`"
    while fence in flat:
        fence += "`"
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"
