"""Findings from measurements: number of cases, examples, reason and fix."""

import json
from collections.abc import Iterator, Mapping

from textclf import data
from textclf.audit import equal_texts
from textclf.audit.evidence import Evidence, percent
from textclf.audit.near_duplicates import MAX_CHARACTERS, MAX_GROUP
from textclf.audit.result import AuditFinding, Example
from textclf.data.labels import odd_names, similar_names
from textclf.data.recognition.scripts import UNSPACED_SCRIPTS
from textclf.display import count_of
from textclf.errors import format_list, install_command

# A larger share of the tokens of train beyond the length limit is a finding. The share of a class
# must also be more than twice that of all classes.
_LARGEST_CUT = 0.05
_LARGEST_UNKNOWN = 0.1  # share of the tokens of validation or test
_LARGEST_UNSPACED = 0.1  # share of the texts in a script without blanks, with text.unit: word
# A script is new if at least this share of validation or test has it, and less than a tenth of
# that share of train.
_NEW_SCRIPT = 0.01


def find_all(evidence: Evidence) -> Iterator[AuditFinding]:
    """Yield the findings, the most important ones first."""
    yield from _unreadable_rows(evidence)
    yield from _missing_classes(evidence)
    yield from equal_texts.find_leaks(evidence)
    yield from equal_texts.find_near_leaks(evidence)
    yield from _leak_tokens(evidence)
    yield from equal_texts.find_conflicts(evidence)
    yield from _similar_names(evidence)
    yield from equal_texts.find_duplicates(evidence)
    yield from _imbalance(evidence)
    yield from _truncation(evidence)
    yield from _unknown_words(evidence)
    yield from _scripts(evidence)
    yield from _odd_texts(evidence)


def find_notes(evidence: Evidence) -> Iterator[str]:
    """Yield remarks that are no findings: rows left out by settings, and limits of the audit."""
    dataset, found = evidence.dataset, evidence.dataset.findings
    for part, count in found.skipped_unlabelled.items():
        prefix = "" if part == "all" else f"{part}: "
        yield (
            f"{prefix}{count_of(count, 'row')} without a label skipped (data.skip_unlabelled); "
            "--set data.skip_unlabelled=false lists them as findings"
        )
    for split, count in found.dropped_unknown_labels.items():
        yield (
            f"{split}: {count_of(count, 'row')} dropped for labels not in train "
            "(data.drop_unknown_labels)"
        )
    if found.dropped_leaked_train:
        yield (
            f"train: {count_of(found.dropped_leaked_train, 'row')} dropped because the texts are "
            "in validation or test too (data.drop_leaked_train)"
        )
    # Similar names are a finding; the sentence about each group comes first.
    groups = similar_names(dataset.class_names)
    similar = list(odd_names(dataset.class_names))[: len(groups)]
    yield from (note for note in found.notes if note not in similar)
    train = evidence.splits.get("train")
    if evidence.near_rows is None:
        yield (
            "near-duplicates were not searched for, because datasketch is not installed; install "
            f"it with {install_command('audit')}"
        )
    elif train is not None and evidence.is_sampled:
        yield (
            "near-duplicates within train were searched for in a sample of "
            f"{evidence.near_rows:,} of {train.num_examples:,} rows, which keeps most nearly equal "
            "texts together; raise --near-rows for more. Validation and test were compared "
            "with all rows of train"
        )
    if evidence.is_limited:
        yield (
            f"more than {MAX_GROUP} rows are similar to each other, such as texts of one form; "
            f"each was compared with at most {MAX_GROUP} of the others, so the numbers of "
            "near-duplicates may be too small"
        )
    if evidence.near_rows is not None:
        yield (
            "near-duplicates share at least 50 % of their character n-grams, or 40 % from about "
            f"80 n-grams on; the first {MAX_CHARACTERS:,} characters of a text are compared"
        )


# === Rows and classes ===


def _unreadable_rows(evidence: Evidence) -> Iterator[AuditFinding]:
    for part, bad in evidence.dataset.bad_rows.items():
        examples = list(bad.examples)
        if bad.end is not None and bad.end not in examples:
            examples.append(bad.end)
        rest = "; the rows after the last one could not be read" if bad.end else ""
        prefix = "" if part == "all" else f"{part}: "
        yield AuditFinding(
            "unreadable_rows",
            f"{prefix}{count_of(bad.count, 'row')} that cannot be used{rest}",
            bad.count,
            None if part == "all" else part,
            tuple(Example(problem) for problem in examples),
            "`train` and all other commands report an error; this audit left the rows out",
            "fix or remove these rows, or use the settings that the examples name",
        )


def _missing_classes(evidence: Evidence) -> Iterator[AuditFinding]:
    train = evidence.splits.get("train")
    for split, names in evidence.dataset.findings.missing_classes.items():
        in_train = [] if train is None else train.class_counts
        number = evidence.dataset.class_names.index
        examples = [
            f"{name} ({count_of(in_train[number(name)], 'row')} in train)"
            if split != "train" and in_train
            else name
            for name in names
        ]
        fix = (
            "add examples, or remove the names from data.class_names"
            if split == "train"
            else f"add examples, or move rows of these classes from train to {split}; a split made "
            "by data.validation_fraction has every class with enough rows"
        )
        yield AuditFinding(
            "missing_classes",
            f"{split}: no example of {count_of(len(names), 'class', 'classes')}",
            len(names),
            split,
            tuple(map(Example, examples)),
            "the model cannot learn these classes"
            if split == "train"
            else f"nothing is measured for these classes on {split}, and macro F1 counts them as 0",
            fix,
        )


def _similar_names(evidence: Evidence) -> Iterator[AuditFinding]:
    class_names = evidence.dataset.class_names
    totals = dict.fromkeys(class_names, 0)
    for split in evidence.splits.values():
        for name, count in zip(class_names, split.class_counts, strict=True):
            totals[name] += count
    groups = similar_names(class_names)
    if not groups:
        return
    renames: dict[str, str] = {}
    for group in groups:
        usual = max(group, key=lambda name: totals[name])
        renames |= {name: usual for name in group if name != usual}
    yield AuditFinding(
        "similar_class_names",
        f"{count_of(sum(map(len, groups)), 'class', 'classes')} whose names differ only in case, "
        "width, white space, Unicode form or number format",
        sum(map(len, groups)),
        None,
        tuple(
            Example(" / ".join(f"{ascii(name)} ({totals[name]:,} rows)" for name in group))
            for group in groups
        ),
        "a class that is written in several ways counts as several classes",
        f"--set 'data.rename_labels={json.dumps(renames, ensure_ascii=True)}', or fix the labels",
    )


def _imbalance(evidence: Evidence) -> Iterator[AuditFinding]:
    imbalance = evidence.dataset.findings.imbalance
    if imbalance is None:
        return
    yield AuditFinding(
        "imbalance",
        f"train: {count_of(len(imbalance.rare), 'class has', 'classes have')} less than a tenth of "
        f"the {imbalance.num_examples:,} texts of {imbalance.most_frequent}",
        len(imbalance.rare),
        "train",
        tuple(Example(f"{name}: {count:,} rows") for name, count in imbalance.rare.items()),
        "accuracy hides errors on rare classes, and the model prefers the frequent ones",
        f"read macro F1 and the scores by class; {imbalance.ADVICE}; or label more texts of these "
        "classes",
    )


# === Tokens and texts ===


def _leak_tokens(evidence: Evidence) -> Iterator[AuditFinding]:
    if not evidence.tokens:
        return
    examples = tuple(
        Example(
            f"{token.token!r}: {token.num_of_class:,} of {token.num_texts:,} texts are of "
            f"{token.class_name} ({percent(token.share)} of the class); "
            f"{', '.join(token.locations)}"
        )
        for token in evidence.tokens
    )
    yield AuditFinding(
        "leak_tokens",
        f"train: {count_of(len(evidence.tokens), 'token')} that may give the label away",
        len(evidence.tokens),
        "train",
        examples,
        "a mark of the source or of the labelling that new texts lack makes scores too high; "
        "a word that belongs to the meaning of the class is not a leak",
        "read some of the texts; remove such marks from the file, or leave their column out of "
        "data.text_columns",
    )


def _truncation(evidence: Evidence) -> Iterator[AuditFinding]:
    train = evidence.splits.get("train")
    if train is None or not train.num_tokens:
        return
    setting, limit = evidence.length_setting, evidence.length_limit
    suggestion = (
        f"--set {setting}={train.limits['95']} keeps 95 % of the tokens of train, "
        f"{train.limits['99']} keeps 99 %"
    )
    if setting == "text.sequence_length":
        suggestion += "; --set text.keep=both keeps half from each end"
    cut = train.cut_tokens / train.num_tokens
    if cut > _LARGEST_CUT:
        yield AuditFinding(
            "truncation",
            f"train: {setting}={limit} cuts {percent(cut)} of the tokens, in "
            f"{count_of(train.truncated_texts, 'text')}",
            train.truncated_texts,
            "train",
            (),
            "the model does not read the tokens that are cut",
            suggestion,
        )
    rates = [
        cut_tokens / max(tokens, 1)
        for cut_tokens, tokens in zip(train.class_cut_tokens, train.class_tokens, strict=True)
    ]
    names = evidence.dataset.class_names
    worse = [i for i, rate in enumerate(rates) if rate > max(_LARGEST_CUT, 2 * cut)]
    worse.sort(key=lambda i: -rates[i])
    if worse:
        yield AuditFinding(
            "class_truncation",
            f"train: {count_of(len(worse), 'class loses', 'classes lose')} more than twice the "
            "share of tokens that all classes together lose",
            len(worse),
            "train",
            tuple(
                Example(
                    f"{names[i]}: {percent(rates[i])} of the tokens, in "
                    f"{count_of(train.class_truncated_texts[i], 'text')}"
                )
                for i in worse
            ),
            "the model reads less of these classes, and may use the cut to recognise them",
            suggestion,
        )


def _unknown_words(evidence: Evidence) -> Iterator[AuditFinding]:
    if evidence.config.model.encoder == "none":
        return  # a linear model has no vocabulary
    for split, measured in evidence.splits.items():
        rate = measured.unknown_rate
        if rate is None or rate <= _LARGEST_UNKNOWN or "train" not in evidence.splits:
            continue
        assert measured.unknown_tokens is not None
        yield AuditFinding(
            "unknown_words",
            f"{split}: {percent(rate)} of the tokens are not in the vocabulary of train "
            f"({evidence.vocabulary_size:,} tokens)",
            measured.unknown_tokens,
            split,
            (),
            "the network reads all of them as one unknown token",
            "--set text.subwords=true, a smaller text.min_count or a larger text.max_tokens; or "
            "add more texts, or more similar ones, to train",
        )


def _scripts(evidence: Evidence) -> Iterator[AuditFinding]:
    if evidence.config.text.unit == "word":
        for split, measured in evidence.splits.items():
            count = sum(measured.scripts.get(name, 0) for name in UNSPACED_SCRIPTS)
            if count > _LARGEST_UNSPACED * max(measured.num_examples, 1):
                yield AuditFinding(
                    "scripts",
                    f"{split}: {count_of(count, 'text')} in a script without blanks between words",
                    count,
                    split,
                    (),
                    "with text.unit=word, a sentence of such a script is a single token",
                    "--set text.unit=character",
                )
    train = evidence.splits.get("train")
    for split, measured in evidence.splits.items():
        if train is None or split == "train":
            continue
        new = [
            f"{script}: {count:,} of {measured.num_examples:,} texts, "
            f"{train.scripts.get(script, 0):,} of {train.num_examples:,} in train"
            for script, count in measured.scripts.items()
            if script != "none"
            and count >= max(2, _NEW_SCRIPT * measured.num_examples)
            and train.scripts.get(script, 0) * measured.num_examples * 10
            < count * train.num_examples
        ]
        if new:
            yield AuditFinding(
                "scripts",
                f"{split}: {count_of(len(new), 'script')} that are rare in train",
                len(new),
                split,
                tuple(map(Example, new)),
                "the model has not learned to read these texts",
                "add such texts to train, or remove them from the split",
            )


def _odd_texts(evidence: Evidence) -> Iterator[AuditFinding]:
    found = evidence.dataset.findings
    kinds: list[tuple[str, str, Mapping[str, data.Finding], str, str]] = [
        (
            "empty_texts",
            "without text",
            found.empty_texts,
            "the model gives the same answer to all of them",
            "remove the rows, or check that data.text_columns="
            f"[{format_list(evidence.config.data.text_columns)}] holds the texts",
        ),
        (
            "nul_bytes",
            "with a NUL byte",
            found.nul_bytes,
            "a program damaged these texts, or data.encoding is wrong",
            "export the file again, or set data.encoding",
        ),
        (
            "broken_characters",
            "with broken characters (U+FFFD)",
            found.broken_characters,
            "the characters were lost when the file was written in another encoding",
            "export the file again as UTF-8",
        ),
    ]
    for kind, description, by_split, reason, fix in kinds:
        for split, finding in by_split.items():
            yield AuditFinding(
                kind,  # type: ignore[arg-type]
                f"{split}: {count_of(finding.count, 'row')} {description}",
                finding.count,
                split,
                tuple(map(Example, finding.locations)),
                reason,
                fix,
            )
