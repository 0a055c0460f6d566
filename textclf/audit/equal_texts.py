"""Findings on equal and nearly equal texts: leaks, duplicates, different labels."""

from collections.abc import Iterator

from textclf.audit.evidence import Evidence
from textclf.audit.result import AuditFinding, Example
from textclf.display import count_of

_LEAK_REASON = "the score on {split} is too high, because the model may have memorized these texts"


def find_leaks(evidence: Evidence) -> Iterator[AuditFinding]:
    """Yield rows of validation or test whose text is in train, and rows of test in validation."""
    for pair, finding in evidence.dataset.findings.shared.items():
        first, second = pair.split("/")
        exactly = evidence.splits[second].leaked_exactly if first == "train" else None
        same = "" if exactly is None else f", {exactly:,} of them character by character"
        reason = _LEAK_REASON.format(split=second)
        if first != "train":
            reason = "choices made on validation fit these rows of test"
        yield AuditFinding(
            "leaks",
            f"{second}: {count_of(finding.count, 'row')} ({evidence.share(finding.count, second)}) "
            f"with a text that is in {first} too{same}",
            finding.count,
            second,
            tuple(map(Example, finding.locations)),
            reason,
            _fix_of_leak(evidence, first),
        )


def _fix_of_leak(evidence: Evidence, first: str) -> str:
    """Return the fix for texts that occur in a split (train or validation) and a later one."""
    settings = evidence.config.data
    setting = "--set data.drop_leaked_train=true, which drops such rows of train"
    # The setting has no effect on a file that is split: equal texts are in one split.
    is_one_file = settings.train is None
    if first == "train":
        command = evidence.clean("--drop-leaks")
        return command if is_one_file else f"{command}, or {setting}"
    if settings.validation is None and not is_one_file:
        return f"{setting} before a part of them becomes validation"
    return "remove the rows from validation or from test; a cleaned train does not change them"


def find_near_leaks(evidence: Evidence) -> Iterator[AuditFinding]:
    """Yield rows of validation or test that are nearly equal to one of train."""
    for split, (count, rows) in evidence.near.items():
        if split != "train":
            yield AuditFinding(
                "near_leaks",
                f"{split}: {count_of(count, 'more row')} ({evidence.share(count, split)}) with a "
                "text that is nearly equal to one of train",
                count,
                split,
                tuple(row.example() for row in rows),
                _LEAK_REASON.format(split=split),
                f"{evidence.clean('--drop-leaks --near')}; read the examples first: texts of one "
                "form (questions, automatic messages) are similar without being copies",
            )


def find_duplicates(evidence: Evidence) -> Iterator[AuditFinding]:
    """Yield rows that are equal or nearly equal to an earlier one of the split."""
    found = evidence.dataset.findings
    for split, finding in found.duplicates.items():
        exact = evidence.splits[split].exact_duplicates
        yield AuditFinding(
            "duplicates",
            f"{split}: {count_of(finding.count, 'row')} ({evidence.share(finding.count, split)}) "
            f"with a text that occurs earlier, {exact:,} of them character by character",
            finding.count,
            split,
            tuple(map(Example, finding.locations)),
            "a repeated text counts several times in training"
            if split == "train"
            else "a repeated text counts several times in the score",
            evidence.clean("--dedupe")
            if split == "train"
            else f"remove the repeated rows of {split}; `data clean` changes only train",
        )
    if "train" in evidence.near:
        count, rows = evidence.near["train"]
        yield AuditFinding(
            "near_duplicates",
            f"train: {count_of(count, 'more row')} with a text that is nearly equal to an earlier "
            "one",
            count,
            "train",
            tuple(row.example() for row in rows),
            "a text in several versions counts several times in training",
            f"{evidence.clean('--dedupe --near')} if they are copies",
        )


def find_conflicts(evidence: Evidence) -> Iterator[AuditFinding]:
    """Yield equal and nearly equal texts with different labels."""
    conflicts = evidence.dataset.findings.conflicting_labels
    if conflicts.count:
        yield AuditFinding(
            "conflicting_labels",
            f"{count_of(conflicts.count, 'text')} with different labels",
            conflicts.count,
            None,
            tuple(map(Example, conflicts.locations)),
            "the model cannot learn both labels, and one of them is counted as an error",
            "correct the labels in the file; `data clean` leaves these rows alone",
        )
    for split, (count, rows) in evidence.near_conflicts.items():
        other = "an earlier one" if split == "train" else "one of train"
        yield AuditFinding(
            "near_conflicts",
            f"{split}: {count_of(count, 'row')} with a text that is nearly equal to {other} of "
            "another label",
            count,
            split,
            tuple(row.example() for row in rows),
            "one of the labels may be wrong",
            "read the pairs and correct the labels; small changes may also change the class",
        )
