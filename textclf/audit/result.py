"""Result of an audit, as typed values for Python, JSON and the pages."""

from typing import Any, Literal

import msgspec

QUANTILES = {"min": 0, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1}

Kind = Literal[
    "unreadable_rows", "missing_classes", "imbalance", "leaks", "near_leaks", "duplicates",
    "near_duplicates", "conflicting_labels", "near_conflicts", "similar_class_names",
    "leak_tokens", "truncation", "class_truncation", "unknown_words", "scripts", "empty_texts",
    "nul_bytes", "broken_characters",
]  # fmt: skip


class Example(msgspec.Struct, frozen=True):
    """Rows that show a finding.

    Attributes:
        location: file and row, or two of them with their relation.
        texts: beginnings of the texts; () if the location says enough.
    """

    location: str
    texts: tuple[str, ...] = ()


class AuditFinding(msgspec.Struct, frozen=True):
    """A problem of the data that lowers scores or makes them too high.

    Attributes:
        kind: name of the check.
        title: the finding as a sentence, with its number.
        count: number of rows, classes or tokens.
        split: the split that has it; None if it concerns several or all.
        examples: the first or the clearest cases.
        reason: why it matters.
        fix: setting or command that fixes it.
    """

    kind: Kind
    title: str
    count: int
    split: str | None
    examples: tuple[Example, ...]
    reason: str
    fix: str


class Bin(msgspec.Struct, frozen=True):
    """Texts of `low` to `high` tokens, both included."""

    low: int
    high: int
    texts: int


class SplitAudit(msgspec.Struct, frozen=True):
    """Measurements of a split.

    Attributes:
        num_examples: rows.
        class_counts: rows of each class, in the order of the class names.
        num_tokens: tokens of all texts.
        length_quantiles: name of `QUANTILES` → tokens of a text; 0 for a split without texts.
        histogram: texts by their number of tokens.
        limits: share of the tokens in percent → length limit that keeps this share.
        truncated_texts: texts longer than the length limit.
        cut_tokens: tokens beyond the length limit.
        class_truncated_texts, class_tokens, class_cut_tokens: the same by class.
        scripts: script → texts, the most frequent first.
        exact_duplicates: rows whose text occurs earlier in the split, character by character.
        unknown_tokens: tokens that are not in the vocabulary of train; None for train.
        leaked: rows whose normalised text is in train too; None for train.
        leaked_exactly: those whose text is in train character by character; None for train.
    """

    num_examples: int
    class_counts: tuple[int, ...]
    num_tokens: int
    length_quantiles: dict[str, int]
    histogram: tuple[Bin, ...]
    limits: dict[str, int]
    truncated_texts: int
    cut_tokens: int
    class_truncated_texts: tuple[int, ...]
    class_tokens: tuple[int, ...]
    class_cut_tokens: tuple[int, ...]
    scripts: dict[str, int]
    exact_duplicates: int
    unknown_tokens: int | None
    leaked: int | None
    leaked_exactly: int | None

    @property
    def unknown_rate(self) -> float | None:
        """Share of the tokens that are not in the vocabulary of train; None for train."""
        if self.unknown_tokens is None:
            return None
        return self.unknown_tokens / max(self.num_tokens, 1)


class Audit(msgspec.Struct, frozen=True):
    """Result of `audit_dataset`.

    Attributes:
        class_names: index → name.
        multi_label: whether a text may have several classes, or none.
        fingerprint: of the data set.
        length_setting: the setting of the length limit, such as `text.sequence_length`.
        length_limit: its value.
        splits: split → measurements.
        vocabulary_size: tokens of train in the vocabulary.
        near_rows: rows of train that were compared with each other; None if datasketch is missing.
        findings: the most important ones first.
        notes: other remarks, such as rows that settings leave out; one sentence each.
    """

    class_names: tuple[str, ...]
    multi_label: bool
    fingerprint: str
    length_setting: str
    length_limit: int
    splits: dict[str, SplitAudit]
    vocabulary_size: int
    near_rows: int | None
    findings: tuple[AuditFinding, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = msgspec.to_builtins(self)
        for name, split in self.splits.items():
            values["splits"][name]["unknown_rate"] = split.unknown_rate
        return values

    def _repr_html_(self) -> str:
        from textclf.audit.document import document
        from textclf.display import to_html

        return to_html(document(self, max_classes=None))
