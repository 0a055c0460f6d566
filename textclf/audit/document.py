"""Result of an audit as tables and notes, for terminals, notebooks and pages."""

from textclf.audit.result import Audit, AuditFinding, SplitAudit
from textclf.display import WIDTH, Document, Notes, Table, count_of, to_text

MAX_CLASSES = 20  # of a table on a terminal
_MAX_SCRIPTS = 6
_MAX_EXAMPLES = 3  # of a finding on a terminal
_EXCERPT_WIDTH = 70  # characters of a text on a terminal
_BAR_WIDTH = 30


def format_audit(audit: Audit, *, width: int = WIDTH) -> str:
    """Format an audit as text that ends with a line break.

        print(format_audit(audit_dataset(config, dataset)), end="")

    Args:
        width: maximum number of columns of a line, see `display.to_text`.
    """
    return to_text(document(audit, max_classes=MAX_CLASSES), width)


def document(audit: Audit, *, max_classes: int | None) -> Document:
    """Return tables, findings and notes.

    Args:
        max_classes: largest number of classes in a table; None for all.
    """
    count = len(audit.findings)
    heading = f"Findings: {count}" if count else "Findings: none"
    parts: list[Table | Notes] = [*tables(audit, max_classes=max_classes), Notes(heading, [])]
    for number, finding in enumerate(audit.findings, 1):
        parts.append(Notes(f"{number}. {finding.title}", list(_sentences(finding))))
    if audit.notes:
        parts.append(Notes("Notes", audit.notes))
    return Document("", parts)


def tables(audit: Audit, *, max_classes: int | None) -> list[Table]:
    """Return the tables of classes, lengths, scripts and equal texts."""
    parts = [_classes(audit, max_classes), _lengths(audit), _limits(audit), _histogram(audit)]
    if _main_split(audit)[1].truncated_texts:
        parts.append(_truncation(audit, max_classes))
    return [*parts, _scripts(audit), _equal_texts(audit)]


def _sentences(finding: AuditFinding) -> list[str]:
    sentences = []
    for example in finding.examples[:_MAX_EXAMPLES]:
        texts = [text if len(text) <= _EXCERPT_WIDTH else text[: _EXCERPT_WIDTH - 1] + "…"
                 for text in example.texts]  # fmt: skip
        sentences.append(
            ": ".join([example.location, " / ".join(texts)]) if texts else example.location
        )
    if finding.count > len(sentences) and len(finding.examples) > len(sentences):
        sentences[-1] += "; ..."
    return [*sentences, f"Why: {finding.reason}.", f"Fix: {finding.fix}."]


def _classes(audit: Audit, max_classes: int | None) -> Table:
    """Return the examples of each class in each split, the largest class first."""
    splits = audit.splits.values()
    totals = [sum(split.class_counts[c] for split in splits) for c in range(len(audit.class_names))]
    order = sorted(range(len(totals)), key=lambda c: -totals[c])
    shown = order[:max_classes]
    hidden = order[len(shown) :]
    header, rows = ["class"], [[audit.class_names[c]] for c in shown]
    if hidden:
        rows.append([count_of(len(hidden), "smaller class", "smaller classes")])
    rows.append(["all examples"])
    for name, split in audit.splits.items():
        n = split.num_examples
        counts = [split.class_counts[c] for c in shown]
        if hidden:
            counts.append(sum(split.class_counts[c] for c in hidden))
        header += [name, "share"]
        for row, count in zip(rows[:-1], counts, strict=True):
            row += [f"{count:,}", _percent(count, n) if n else "-"]
        rows[-1] += [f"{n:,}", ""]
    remark = f"(the {len(shown)} largest classes; --json lists all of them)" if hidden else ""
    layout = "n" + " rr" * len(audit.splits)
    return Table(header, rows, layout, heading="Classes", num_totals=1, remark=remark)


def _lengths(audit: Audit) -> Table:
    quantiles = [*next(iter(audit.splits.values())).length_quantiles]
    rows = [
        [
            name,
            *(f"{split.length_quantiles[quantile]:,}" for quantile in quantiles),
            f"{split.truncated_texts:,} ({_percent(split.truncated_texts, split.num_examples)})",
            _percent(split.cut_tokens, split.num_tokens),
        ]
        for name, split in audit.splits.items()
    ]
    return Table(
        ["split", *quantiles, f"texts over {audit.length_limit:,}", "tokens cut"],
        rows,
        f"n {'r' * len(quantiles)} rr",
        heading="Tokens in a text",
    )


def _limits(audit: Audit) -> Table:
    rows = []
    for name, split in audit.splits.items():
        rate = split.unknown_rate
        unknown = "-" if rate is None else f"{100 * rate:.1f} %"
        rows.append([name, *(f"{limit:,}" for limit in split.limits.values()), unknown])
    return Table(
        ["split", "keeps 95 % of the tokens", "99 %", "unknown tokens"],
        rows,
        "n rr r",
        heading="Length limit and vocabulary",
        remark=f"(values for {audit.length_setting}; unknown: not in the vocabulary of train)",
    )


def _main_split(audit: Audit) -> tuple[str, SplitAudit]:
    """Return train, or the first split if there is no train."""
    name = "train" if "train" in audit.splits else next(iter(audit.splits))
    return name, audit.splits[name]


def _histogram(audit: Audit) -> Table:
    """Return the texts of train by their number of tokens."""
    name, split = _main_split(audit)
    most = max((part.texts for part in split.histogram), default=1)
    rows = []
    for part in split.histogram:
        range_ = f"{part.low:,}" if part.low == part.high else f"{part.low:,} to {part.high:,}"
        length = max(round(_BAR_WIDTH * part.texts / max(most, 1)), part.texts > 0)
        share = _percent(part.texts, split.num_examples)
        rows.append([range_, f"{part.texts:,}", share, "█" * length])
    header = ["tokens", "texts", "share", ""]
    return Table(header, rows, "trrt", heading=f"Lengths of the texts of {name}")


def _truncation(audit: Audit, max_classes: int | None) -> Table:
    """Return the texts and tokens that each class loses to the length limit, most first."""
    name, split = _main_split(audit)
    tokens, cut = split.class_tokens, split.class_cut_tokens
    order = [c for c in range(len(tokens)) if cut[c]]
    order = sorted(order, key=lambda c: -cut[c] / tokens[c])[:max_classes]
    rows = [
        [
            audit.class_names[c],
            f"{split.class_truncated_texts[c]:,} "
            f"({_percent(split.class_truncated_texts[c], split.class_counts[c])})",
            _percent(cut[c], tokens[c]),
        ]
        for c in order
    ]
    return Table(
        ["class", f"texts over {audit.length_limit:,}", "tokens cut"],
        rows,
        "n rr",
        heading=f"Cut texts of {name} by class",
    )


def _scripts(audit: Audit) -> Table:
    totals: dict[str, int] = {}
    for split in audit.splits.values():
        for script, count in split.scripts.items():
            totals[script] = totals.get(script, 0) + count
    names = sorted(totals, key=lambda script: -totals[script])
    shown, others = names[:_MAX_SCRIPTS], names[_MAX_SCRIPTS:]
    rows = [
        [
            name,
            *(_percent(split.scripts.get(script, 0), split.num_examples) for script in shown),
            *(
                [_percent(sum(split.scripts.get(s, 0) for s in others), split.num_examples)]
                if others
                else []
            ),
        ]
        for name, split in audit.splits.items()
    ]
    header = ["split", *shown, *(["others"] if others else [])]
    return Table(header, rows, "n" + " r" * (len(header) - 1), heading="Script of most letters")


def _equal_texts(audit: Audit) -> Table:
    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    found = {
        (finding.kind, finding.split): finding.count
        for finding in audit.findings
        if finding.kind in ("duplicates", "near_duplicates", "near_leaks")
    }
    rows = []
    for name, split in audit.splits.items():
        near = found.get(("near_duplicates" if name == "train" else "near_leaks", name), 0)
        rows.append(
            [
                name,
                number(found.get(("duplicates", name), 0)),
                number(split.exact_duplicates),
                number(split.leaked),
                number(split.leaked_exactly),
                "not searched for" if audit.near_rows is None else number(near),
            ]
        )
    header = [
        *("split", "equal to an earlier row", "exactly", "equal to a row of train", "exactly"),
        "nearly equal to train",
    ]
    remark = "(equal: apart from case, width and white space; exactly: the same characters)"
    return Table(header, rows, "n rr rr r", heading="Rows with equal texts", remark=remark)


def _percent(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.1f} %"
