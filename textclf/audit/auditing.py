"""The audit of a data set: one pass over all rows, then findings with examples."""

import collections
import contextlib

import numpy as np

from textclf import classifier, text
from textclf.audit.evidence import Evidence, NearRow, TokenEvidence
from textclf.audit.findings import find_all, find_notes
from textclf.audit.leak_tokens import LeakToken, find_leak_tokens
from textclf.audit.measuring import Measurement, SplitMeasurement, read_rows
from textclf.audit.near_duplicates import NearDuplicates, NearPairs, is_available
from textclf.audit.result import Audit, SplitAudit
from textclf.config import Config
from textclf.data import Dataset
from textclf.display import excerpt
from textclf.progress import OnProgress, no_progress

NEAR_ROWS = 200_000
NUM_EXAMPLES = 5  # of a finding


def audit_dataset(
    config: Config,
    dataset: Dataset,
    *,
    near_rows: int = NEAR_ROWS,
    subject: str = "CONFIG",
    on_progress: OnProgress = no_progress,
) -> Audit:
    """Return measurements and findings of a data set.

        dataset = textclf.open_dataset(config.data, skip_bad_rows=True)
        print(audit_dataset(config, dataset).findings)

    All rows are read once; the memory does not grow with the length of the texts. The search for
    near-duplicates needs the package datasketch, and about 530 bytes for a row of validation or
    test. Without the package, it is left out and a note reports this.

    Args:
        config: sections `text` and `model` are used: tokenizer, length limit and vocabulary.
        dataset: opened with `skip_bad_rows=True` to report rows that cannot be used.
        near_rows: maximum number of rows of train that are compared with each other.
        subject: configuration or source in the commands of the findings, quoted for a shell; it may
            have options.
        on_progress: called with a stage, the rows done and their total.

    Raises:
        DataError: the source has changed since the data set was opened.
    """
    setting = "text.sequence_length" if config.model.encoder != "none" else "text.linear_length"
    limit = getattr(config.text, setting.partition(".")[2])
    tokenizer = text.Tokenizer(**classifier.tokenizer_settings(config))
    measurement, pairs = _measure(dataset, tokenizer, limit, near_rows, on_progress)
    vocabulary = _vocabulary(measurement, config)
    splits = {
        split: _split_audit(split, measured, measurement, dataset, vocabulary)
        for split, measured in measurement.splits.items()
    }
    evidence = Evidence(
        config=config,
        dataset=dataset,
        splits=splits,
        length_setting=setting,
        length_limit=limit,
        vocabulary_size=len(vocabulary),
        near_rows=None if measurement.near is None else measurement.near.num_compared,
        is_sampled=measurement.near is not None and measurement.near.is_sampled,
        is_limited=measurement.near is not None and measurement.near.is_limited,
        near=_near_rows(pairs, dataset, differing=False),
        near_conflicts=_near_rows(pairs, dataset, differing=True),
        tokens=_token_evidence(measurement, dataset, on_progress),
        subject=subject,
    )
    return Audit(
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        fingerprint=dataset.fingerprint,
        length_setting=setting,
        length_limit=limit,
        splits=splits,
        vocabulary_size=len(vocabulary),
        near_rows=evidence.near_rows,
        findings=tuple(find_all(evidence)),
        notes=tuple(find_notes(evidence)),
    )


def _measure(
    dataset: Dataset,
    tokenizer: text.Tokenizer,
    limit: int,
    near_rows: int,
    on_progress: OnProgress,
) -> tuple[Measurement, dict[str, NearPairs]]:
    """Return the measurements, and split → pairs of near-duplicates, {} without datasketch."""
    train = dataset.splits.get("train")
    num_rows = 0 if train is None else train.num_examples
    with contextlib.ExitStack() as stack:
        near = None
        if is_available():
            search = NearDuplicates(near_rows=near_rows, num_train_rows=num_rows)
            near = stack.enter_context(search)
        measurement = Measurement(dataset, tokenizer, limit, near)
        measurement.run(on_progress)
        if near is None:
            return measurement, {}
        stage = "comparing rows of train"
        return measurement, {
            split: near.pairs(split, lambda done, total: on_progress(stage, done, total))
            for split in dataset.splits
        }


def _vocabulary(measurement: Measurement, config: Config) -> np.ndarray:
    """Return the hashes of the tokens of the vocabulary of train, uint64 [V], sorted."""
    if "train" not in measurement.splits:
        return np.zeros(0, np.uint64)
    keys, counts = measurement.splits["train"].tokens.items()
    kept = np.flatnonzero(counts >= config.text.min_count)
    if len(kept) > config.text.max_tokens:
        kept = kept[np.argsort(-counts[kept], kind="stable")[: config.text.max_tokens]]
    return np.sort(keys[kept])


def _split_audit(
    split: str,
    measured: SplitMeasurement,
    measurement: Measurement,
    dataset: Dataset,
    vocabulary: np.ndarray,
) -> SplitAudit:
    num_rows = dataset.splits[split].num_examples
    exact = measured.exact_hashes[measured.exact_hashes != 0]
    is_train = split == "train"
    leaked, leaked_exactly, unknown = None, None, None
    if not is_train:
        unknown = measured.num_tokens - int(measured.tokens.counts_of(vocabulary).sum())
        leaked = int(dataset.leaked(split).sum())
        leaked_exactly = 0
        if leaked and "train" in measurement.splits:
            others = measurement.splits["train"].exact_hashes
            leaked_exactly = int(np.isin(exact, others).sum())
    return SplitAudit(
        num_examples=num_rows,
        class_counts=tuple(map(int, dataset.splits[split].class_counts)),
        num_tokens=measured.num_tokens,
        length_quantiles=measured.quantiles(),
        histogram=measured.histogram(),
        limits={"95": measured.limit_that_keeps(0.95), "99": measured.limit_that_keeps(0.99)},
        truncated_texts=measured.truncated_texts,
        cut_tokens=measured.cut_tokens,
        class_truncated_texts=tuple(measured.class_truncated.tolist()),
        class_tokens=tuple(measured.class_tokens.tolist()),
        class_cut_tokens=tuple(measured.class_cut.tolist()),
        scripts=dict(measured.scripts.most_common()),
        exact_duplicates=len(exact) - len(np.unique(exact)),
        unknown_tokens=unknown,
        leaked=leaked,
        leaked_exactly=leaked_exactly,
    )


# === Near-duplicates ===


def _near_rows(
    pairs: dict[str, NearPairs], dataset: Dataset, *, differing: bool
) -> dict[str, tuple[int, list[NearRow]]]:
    """Return split → number of rows with a near-duplicate in train, and the most similar ones.

    Args:
        pairs: split → pairs of near-duplicates.
        dataset: the data set.
        differing: whether only pairs with different labels count.
    """
    chosen: dict[str, tuple[int, NearPairs]] = {}
    wanted: dict[str, set[int]] = collections.defaultdict(set)
    for split, found in pairs.items():
        best = found.best(differing=differing)
        if len(best.rows):
            order = np.argsort(-best.similarities, kind="stable")[:NUM_EXAMPLES]
            shown = best.take(order)
            chosen[split] = len(best.rows), shown
            wanted[split].update(shown.rows.tolist())
            wanted["train"].update(shown.others.tolist())
    rows = {
        (split, example.row): example
        for split, numbers in wanted.items()
        for example in read_rows(dataset, split, numbers)
    }

    def describe(split: str, row: int) -> tuple[str, str]:
        example = rows[split, row]
        names = ", ".join(dataset.class_names[index] for index in example.label_ids)
        return f"{dataset.location(split, row)} ({names or 'no label'})", excerpt(example.text)

    described = {}
    for split, (count, shown) in chosen.items():
        near = []
        for row, other, similarity in zip(
            shown.rows.tolist(), shown.others.tolist(), shown.similarities.tolist(), strict=True
        ):
            near.append(NearRow(*describe(split, row), *describe("train", other), similarity))
        described[split] = count, near
    return described


# === Tokens ===


def _token_evidence(
    measurement: Measurement, dataset: Dataset, on_progress: OnProgress
) -> list[TokenEvidence]:
    """Return the tokens that give a class away, with locations of texts of their class."""
    train = dataset.splits.get("train")
    tokens: list[LeakToken] = []
    if train is not None:
        tokens = find_leak_tokens(
            measurement.token_texts,
            measurement.class_token_texts,
            train.class_counts,
            train.num_examples,
        )
    if not tokens:
        return []
    locations: dict[int, list[str]] = {token.key: [] for token in tokens}
    names: dict[int, str] = {}
    total = dataset.splits["train"].num_examples
    done = 0
    for chunk in text.chunk_texts(dataset.examples("train"), 1024, lambda example: example.text):
        strings, hashes, text_of = measurement.reader([example.text for example in chunk])
        for token in tokens:
            index = np.flatnonzero(hashes == np.uint64(token.key))
            for index_in_chunk in np.unique(text_of[index])[:NUM_EXAMPLES].tolist():
                names.setdefault(token.key, strings[index[0]].decode())
                is_of_class = token.class_index in chunk[index_in_chunk].label_ids
                if is_of_class and len(locations[token.key]) < NUM_EXAMPLES:
                    locations[token.key].append(
                        dataset.location("train", chunk[index_in_chunk].row)
                    )
        done += len(chunk)
        on_progress("looking for tokens", done, total)
        if all(len(found) == NUM_EXAMPLES for found in locations.values()):
            break
    return [
        TokenEvidence(
            token=names[token.key],
            class_name=dataset.class_names[token.class_index],
            num_texts=token.num_texts,
            num_of_class=token.num_of_class,
            share=token.share,
            locations=tuple(locations[token.key]),
        )
        for token in tokens
        if token.key in names
    ]
