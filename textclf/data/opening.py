"""Opening of a data set: the first pass, the checks of labels, and the choice of splits.

After the first pass one byte a row remains in memory: the split of the row.
"""

import hashlib
import json
import shlex
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from textclf.config import Data
from textclf.data.dataset import Dataset
from textclf.data.findings import (
    Findings,
    compare_texts,
    find_imbalance,
    find_odd_classes,
    find_odd_texts,
)
from textclf.data.parts import Part
from textclf.data.scan import Scan, scan_parts
from textclf.data.splits import DROPPED, SplitSummary, chunks, repeated, set_aside
from textclf.data.table_part import TablePart
from textclf.errors import DataError, closest, did_you_mean, format_list
from textclf.progress import OnProgress
from textclf.splits import SPLITS
from textclf.tasks import task_of

_MAX_PROBLEMS = 10  # unknown labels in one message


def open_parts(
    settings: Data,
    parts: dict[str, Part],
    class_names: tuple[str, ...] | None,
    on_progress: OnProgress,
) -> Dataset:
    """Read all parts once, make the splits and check them.

    Args:
        settings: section `data`.
        parts: split → rows; the key of a file to be split is "all".
        class_names: the classes in order; None for the sorted names in train.
        on_progress: called with stage, rows read and number of rows.

    Raises:
        DataError: the data cannot be used.
    """
    stamps = {key: part.stamp() for key, part in parts.items()}
    digest = hashlib.sha256()
    scan = scan_parts(settings, parts, class_names, digest, on_progress)
    for key, part in parts.items():
        if part.stamp() != stamps[key]:
            raise DataError(f"{part.name}: the data changed while they were read; start again")
    _check_rows(scan, settings, class_names)

    findings = Findings()
    hashes = np.frombuffer(scan.hashes, "<u8")
    codes = np.frombuffer(scan.codes, np.int32)
    route = _route_rows(scan, settings, hashes, codes, findings)
    _check_labels(scan, settings, class_names, codes, route, findings)
    is_stratified = _make_splits(scan, settings, hashes, codes, route)
    if class_names is None:
        class_names = tuple(sorted(_names_in_train(scan, codes, route)))
    splits = _summarise(scan, codes, route, class_names)
    for split, summary in splits.items():
        if missing := np.flatnonzero(summary.class_counts == 0).tolist():
            findings.missing_classes[split] = tuple(class_names[index] for index in missing)
    if "train" in splits:
        findings.imbalance = find_imbalance(class_names, splits["train"].class_counts)
    leaked = compare_texts(scan, hashes, codes, route, findings)
    find_odd_texts(scan, route, findings)
    findings.notes += find_odd_classes(
        scan, settings, codes, route, splits, class_names, is_stratified
    )

    digest.update(route.tobytes())
    digest.update(json.dumps([settings.multi_label, class_names]).encode())
    routes = {key: route[start:stop].tobytes() for key, (start, stop) in scan.bounds.items()}
    on_progress("reading the data", len(codes), len(codes))  # also if there are few rows
    return Dataset(
        settings=settings,
        parts=parts,
        class_names=class_names,
        splits=splits,
        findings=findings,
        fingerprint=digest.hexdigest(),
        routes=routes,
        lines=scan.lines,
        stamps=stamps,
        leaked=leaked,
    )


def _first_rows(codes: np.ndarray, route: np.ndarray, split: int) -> dict[int, int]:
    """Return code → first row with this code, among the rows of a split."""
    first: dict[int, int] = {}
    for chunk in chunks(len(codes)):
        rows = np.flatnonzero(route[chunk] == split)
        present, index = np.unique(codes[chunk][rows], return_index=True)
        for code, row in zip(present.tolist(), (rows[index] + chunk.start).tolist(), strict=True):
            first.setdefault(code, row)
    return first


def _names_in_train(scan: Scan, codes: np.ndarray, route: np.ndarray) -> set[str]:
    return {name for code in _first_rows(codes, route, 0) for name in scan.label_sets[code]}


def _summarise(
    scan: Scan, codes: np.ndarray, route: np.ndarray, class_names: Sequence[str]
) -> dict[str, SplitSummary]:
    """Return split → summary.

    Raises:
        DataError: a split of the source has no rows left.
    """
    index = {name: number for number, name in enumerate(class_names)}
    counts = np.zeros((len(SPLITS), len(scan.label_sets)), np.int64)  # split, code → rows
    for chunk in chunks(len(codes)):
        for number in range(len(SPLITS)):
            counts[number] += np.bincount(
                codes[chunk][route[chunk] == number], minlength=len(scan.label_sets)
            )
    splits = {}
    for number, split in enumerate(SPLITS):
        if not counts[number].any():
            if split in scan.parts:
                raise DataError(
                    f"{scan.parts[split].name}: no row is left for {split}, all were dropped; "
                    "check the labels and data.drop_unknown_labels, data.drop_leaked_train"
                )
            continue
        class_counts = np.zeros(len(class_names), np.int64)
        for code in np.flatnonzero(counts[number]).tolist():
            for name in scan.label_sets[code]:
                class_counts[index[name]] += counts[number, code]
        splits[split] = SplitSummary(int(counts[number].sum()), class_counts)
    return splits


# === Rows that are left out ===


def _route_rows(
    scan: Scan, settings: Data, hashes: np.ndarray, codes: np.ndarray, findings: Findings
) -> np.ndarray:
    """Return uint8 [N], the split of each row; `DROPPED` if the settings leave it out.

    The rows of a file to be split are in train.
    """
    route = np.zeros(len(codes), np.uint8)
    for key, (start, stop) in scan.bounds.items():
        route[start:stop] = 0 if key == "all" else SPLITS.index(key)
    if settings.skip_unlabelled:
        _skip_unlabelled(scan, codes, route, findings)
    if settings.drop_leaked_train:
        findings.dropped_leaked_train = _drop_leaked_train(hashes, route)
    return route


def _skip_unlabelled(scan: Scan, codes: np.ndarray, route: np.ndarray, findings: Findings) -> None:
    """Drop rows without a label, and count them."""
    without = scan.codes_without_label()
    for key, (start, stop) in scan.bounds.items():
        rows = start + np.flatnonzero(np.isin(codes[start:stop], without))
        route[rows] = DROPPED
        if len(rows):
            findings.skipped_unlabelled[key] = len(rows)


def _drop_leaked_train(hashes: np.ndarray, route: np.ndarray) -> int:
    """Drop rows of train whose text is in another split too, and return their number."""
    num_dropped = 0
    for rows, starts in repeated(hashes):
        if len(rows):
            is_elsewhere = np.logical_or.reduceat(route[rows] != 0, starts)
            sizes = np.diff(np.append(starts, len(rows)))
            leaked = rows[np.repeat(is_elsewhere, sizes) & (route[rows] == 0)]
            route[leaked] = DROPPED
            num_dropped += len(leaked)
    return num_dropped


# === Checks ===


def _check_rows(scan: Scan, settings: Data, class_names: Sequence[str] | None) -> None:
    """Check that the first pass could read every row.

    Raises:
        DataError: with the errors of rows.
    """
    if scan.problems:
        problems = scan.problem_lines()
        # Without class names the labels are those of train, which was not read in full.
        if class_names is not None and not settings.drop_unknown_labels:
            problems += _unknown_labels(scan, settings.label_column, class_names, set(class_names))
        raise DataError("\n".join(problems))


def _check_labels(
    scan: Scan,
    settings: Data,
    class_names: Sequence[str] | None,
    codes: np.ndarray,
    route: np.ndarray,
    findings: Findings,
) -> None:
    """Check that train has two classes and all labels are known, or drop rows with unknown ones.

    Raises:
        DataError: with every unknown label, and if train has fewer than two classes.
    """
    in_train = _names_in_train(scan, codes, route)
    known = in_train if class_names is None else set(class_names)
    dropping = set(scan.parts) - {"all", "train"} if settings.drop_unknown_labels else set()
    for key in (key for key in scan.parts if key in dropping):
        unknown = [c for c, names in enumerate(scan.label_sets) if not known.issuperset(names)]
        start, stop = scan.bounds[key]
        rows = start + np.flatnonzero(np.isin(codes[start:stop], unknown))
        rows = rows[route[rows] != DROPPED]
        if len(rows):
            route[rows] = DROPPED
            findings.dropped_unknown_labels[key] = len(rows)
    problems = _unknown_labels(scan, settings.label_column, class_names, known, dropping)
    task = task_of(multi_label=settings.multi_label, num_classes=len(in_train))
    for key in {"all", "train"} & set(scan.parts):
        if task.num_outputs < task.min_classes:
            only = f"one class only ({next(iter(in_train))!r})" if in_train else "no label at all"
            problems.append(
                f"{scan.parts[key].name}: {only} in train, expected at least two classes; check "
                f"that data.label_column={settings.label_column} holds labels"
            )
    if problems:
        raise DataError("\n".join(problems))


def _unknown_labels(
    scan: Scan,
    label_column: str,
    class_names: Sequence[str] | None,
    known: Set[str],
    ignored_parts: Set[str] = frozenset(),
) -> list[str]:
    """Return a sentence for each unknown label, with its first location.

    Args:
        scan: the first pass.
        label_column: `data.label_column`.
        class_names: the class names of the settings, or None.
        known: the labels that the model will have.
        ignored_parts: parts that may have other labels.
    """
    listing = "among the labels of train" if class_names is None else "in data.class_names"
    names = format_list(sorted(known) if class_names is None else class_names)
    problems = []
    for key, first_lines in scan.first_lines.items():
        is_train = key in ("all", "train")
        if key in ignored_parts or (class_names is None and is_train):
            continue  # only dropped rows can have a label that is not in train
        if class_names is not None and (other := _other_labels(scan, key, known)):
            problems.append(
                f"{scan.parts[key].name}: no label is a class; the labels are "
                f"{format_list(other, 5)}, the classes are {names}; check that "
                f"data.label_column={label_column} holds labels"
                f"{_columns_with(known, scan.parts[key])}"
            )
            continue
        first_line: dict[str, int] = {}
        for code, line in first_lines.items():
            for name in set(scan.label_sets[code]) - known:
                first_line[name] = min(line, first_line.get(name, line))
        for name, line in sorted(first_line.items(), key=lambda item: (item[1], item[0])):
            fix = (
                "fix the label, or add it to the names"
                if is_train
                else "use data.drop_unknown_labels=true to drop such rows"
            )
            problems.append(
                f"{scan.parts[key].location(line)}: label {name!r} is not {listing} ({names}); "
                f"{fix}{did_you_mean(name, known)}"
            )
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [f"and {len(problems) - _MAX_PROBLEMS} more unknown labels"]
    return problems


def _other_labels(scan: Scan, key: str, known: Set[str]) -> list[str]:
    """Return the labels of a part if there are several and none is known or similar, else []."""
    codes = sorted(scan.first_lines[key], key=lambda code: scan.first_lines[key][code])
    labels = dict.fromkeys(name for code in codes for name in scan.label_sets[code])
    is_similar = any(name in known or closest(name, known) for name in labels)
    return [] if is_similar or len(labels) < 2 else [*labels]


def _columns_with(known: Set[str], part: Part) -> str:
    """Return the setting of a column that holds known labels, as the end of a message, or ""."""
    columns = part.columns_with(known) if isinstance(part, TablePart) else []
    settings = [shlex.quote(f"data.label_column={name}") for name in columns]
    return f", or use --set {' or --set '.join(settings)}" if settings else ""


# === Splits by fraction ===


def _make_splits(
    scan: Scan, settings: Data, hashes: np.ndarray, codes: np.ndarray, route: np.ndarray
) -> bool:
    """Set rows aside for validation, and for test if the source is a single file.

    Returns:
        Whether the choice is stratified; True if nothing is set aside.

    Raises:
        DataError: there are too few rows.
    """
    if "all" in scan.parts:
        key, fractions = "all", (settings.validation_fraction, settings.test_fraction)
    elif "train" in scan.parts and "validation" not in scan.parts:
        key, fractions = "train", (settings.validation_fraction, 0.0)
    else:
        return True
    start, stop = scan.bounds[key]
    hashes, codes, route = hashes[start:stop], codes[start:stop], route[start:stop]
    pinned = _first_row_of_classes(scan, codes, route)
    is_kept = route == 0
    rows: Any = np.flatnonzero(is_kept) if len(codes) <= settings.in_memory_rows else slice(None)
    chosen, is_stratified = set_aside(
        hashes[rows],
        codes[rows],
        np.searchsorted(rows, pinned) if isinstance(rows, np.ndarray) else pinned,
        fractions=fractions,
        seed=settings.split_seed,
        pool_rare=settings.multi_label,
        in_memory_rows=settings.in_memory_rows,
    )
    if isinstance(rows, np.ndarray):
        route[rows] = chosen
    else:
        np.copyto(route, chosen, where=is_kept)
    for split, fraction in enumerate(fractions, 1):
        if fraction > 0 and not (route == split).any():
            name = SPLITS[split]
            reason = _too_few(scan, hashes[is_kept], codes[is_kept], len(pinned), fraction)
            is_repeated = len(np.unique(hashes[is_kept])) < is_kept.sum() / 2
            columns = ", ".join(map(str, settings.text_columns))
            check = f"check that data.text_columns=[{columns}] holds the texts, "
            advice = check if is_repeated else ""
            raise DataError(
                f"{scan.parts[key].name}: {reason} to "
                f"set data.{name}_fraction={fraction} of them aside for {name}; {advice}add rows, "
                f"or name a file in data.{name}"
            )
    return is_stratified


def _first_row_of_classes(scan: Scan, codes: np.ndarray, route: np.ndarray) -> np.ndarray:
    """Return int64 [P], the first row of each class; it stays in train, which needs all classes."""
    first: dict[str, int] = {}
    for code, row in _first_rows(codes, route, 0).items():
        for name in scan.label_sets[code]:
            first[name] = min(row, first.get(name, row))
    return np.array(sorted(first.values()), np.int64)


def _too_few(
    scan: Scan, hashes: np.ndarray, codes: np.ndarray, num_pinned: int, fraction: float
) -> str:
    """Return the reason why no row can be set aside, as the beginning of a sentence.

    Args:
        scan: the first pass.
        hashes: uint64 [N], of the texts.
        codes: int32 [N], the label sets of the rows.
        num_pinned: rows that stay in train, one of each class.
        fraction: the share to set aside.
    """
    num_rows, num_texts = len(codes), len(np.unique(hashes))
    if round(num_rows * fraction) < 1:
        return f"{num_rows} rows are too few"
    if num_texts < num_rows / 2:
        return (
            f"{num_rows} rows hold {num_texts} different texts, and equal texts stay in one "
            "split: too few"
        )
    if num_pinned > num_rows / 2:
        classes = {name for code in np.unique(codes).tolist() for name in scan.label_sets[code]}
        return (
            f"{num_rows} rows in {len(classes)} classes are too few, because train keeps one row "
            "of each class,"
        )
    return f"{num_rows} rows are too few"
