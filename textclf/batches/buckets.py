"""Bucket boundaries: the lengths to which batches are padded."""

import numpy as np

_MAX_CANDIDATES = 512  # lengths considered as a boundary


def best_boundaries(length_counts: np.ndarray, num_buckets: int) -> list[int]:
    """Return the boundaries of the buckets that compute the least padding.

    Dynamic programming over the lengths that occur, or over `_MAX_CANDIDATES` quantiles of them
    where there are more.

    Args:
        length_counts: int64 [limit + 1], number of texts of each length.
        num_buckets: largest number of buckets.

    Returns:
        The largest length of each bucket, ascending. The last one is the length of the longest
        text. There are at most `num_buckets`, and fewer if fewer lengths occur.
    """
    candidates = np.flatnonzero(length_counts)
    if len(candidates) > _MAX_CANDIDATES:
        ranks = np.linspace(0, length_counts.sum() - 1, _MAX_CANDIDATES).round()
        candidates = np.unique(np.searchsorted(np.cumsum(length_counts), ranks, side="right"))
    num_upto = np.cumsum(length_counts)[candidates]  # [candidates], texts of at most that length
    num_below = np.concatenate([[0], num_upto[:-1]])
    # cost[i, j]: tokens computed by one bucket for the lengths candidates[i] to candidates[j]
    num_texts = num_upto[np.newaxis, :] - num_below[:, np.newaxis]
    cost = num_texts * candidates[np.newaxis, :].astype(float)
    cost[np.tril_indices(len(candidates), -1)] = np.inf
    least, starts = cost[0], []
    for _ in range(min(num_buckets, len(candidates)) - 1):
        # total[i, j]: cost if the last bucket starts at i and the shorter lengths are split best
        total = np.concatenate([[np.inf], least[:-1]])[:, np.newaxis] + cost
        starts.append(total.argmin(axis=0))
        least = total.min(axis=0)
    last = len(candidates) - 1
    boundaries = [int(candidates[last])]
    for start in reversed(starts):
        last = start[last] - 1
        boundaries.append(int(candidates[last]))
    return boundaries[::-1]
