"""Bootstrap intervals, and what to say where resampling shows no spread."""

import numpy as np

from textclf.evaluation.scores import Counts

MAX_BOOTSTRAP_CELLS = 1_000_000  # numbers drawn at once while resampling: 8 MB, in a few copies


def bootstrap(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    num_classes: int,
    multi_label: bool,
    num_samples: int,
    confidence: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals from resampling the examples with replacement (Efron 1979).

    Examples with the same truth and the same prediction are interchangeable, so a resampling of
    n examples is one multinomial draw of how many fall into each distinct *cell* (truth,
    prediction). A confusion matrix of two classes has four cells, however large n is.
    """
    from scipy.sparse import csr_array

    if multi_label:
        packed = np.packbits(np.concatenate([y_true, y_pred], axis=1), axis=1)
        _, first, cell_counts = np.unique(packed, axis=0, return_index=True, return_counts=True)
        true, predicted = y_true[first], y_pred[first]  # bool [cells, C]
        right = true & predicted
        indicators = [csr_array(cells.astype(np.float64)) for cells in (right, true, predicted)]
    else:
        cells, cell_counts = np.unique(y_true * num_classes + y_pred, return_counts=True)
        true, predicted = np.divmod(cells, num_classes)  # int64 [cells]
        rows = np.arange(len(cells))
        shape = (len(cells), num_classes)
        same = true == predicted
        indicators = [
            csr_array((np.ones(len(ids)), (at, ids)), shape=shape)
            for at, ids in ((rows[same], true[same]), (rows, true), (rows, predicted))
        ]

    n = len(y_true)
    rng = np.random.default_rng(seed)
    first_name = "micro_f1" if multi_label else "accuracy"
    samples: dict[str, list[np.ndarray]] = {first_name: [], "macro_f1": []}
    chunk = max(1, MAX_BOOTSTRAP_CELLS // max(len(cell_counts), num_classes))
    for start in range(0, num_samples, chunk):
        size = min(chunk, num_samples - start)
        draws = rng.multinomial(n, cell_counts / n, size=size).astype(np.float64)  # [size, cells]
        counts = Counts(*((indicator.T @ draws.T).T for indicator in indicators))  # [size, C]
        samples["macro_f1"].append(counts.f1.mean(axis=-1))
        overall = counts.summed().f1[:, 0] if multi_label else counts.right.sum(axis=-1) / n
        samples[first_name].append(overall)
    tail = (1 - confidence) / 2
    intervals = {}
    for name, values in samples.items():
        low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
        intervals[name] = (float(low), float(high))
    return intervals


def notes_on_intervals(
    y_true: np.ndarray, y_pred: np.ndarray, confidence: float, multi_label: bool
) -> list[str]:
    """Where all predictions are right (or all wrong), resampling shows no spread at all.

    The way out is the exact one-sided binomial bound, the accuracy q with q**n = 1 - confidence.
    """
    n = len(y_true)
    right = y_true == y_pred
    if multi_label:
        right = right.all(axis=1)
    bound = (1 - confidence) ** (1 / n)
    if right.all():
        what, share = "right", f"above {bound:.4f}"
    elif not right.any() and not multi_label:
        what, share = "wrong", f"below {1 - bound:.4f}"
    else:
        return []
    return [
        f"all {n:,} predictions are {what}, so resampling shows no spread; the exact "
        f"{100 * confidence:.4g} % bound for {'subset ' if multi_label else ''}accuracy is {share}"
    ]
