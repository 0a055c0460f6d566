"""Counts of tokens in bounded memory, by 8-byte hashes of the tokens."""

import numpy as np

# Distinct keys that are kept; a key and its count take 16 bytes.
_MAX_KEYS = 2_000_000
_MIN_PENDING = 1_000_000  # added keys before they are merged into the counts


class HashCounts:
    """Number of occurrences of 64-bit keys.

    If there are more than two million distinct keys, the rarest are dropped, so the memory does not
    grow with the data (lossy counting, Manku and Motwani 2002). The counts of frequent keys are
    almost exact.

    Attributes:
        total: number of all keys that were added.
    """

    def __init__(self, max_keys: int = _MAX_KEYS):
        self.total = 0
        self._max_keys = max_keys
        self._keys = np.zeros(0, np.uint64)  # sorted
        self._counts = np.zeros(0, np.int64)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_pending = 0

    def add(self, keys: np.ndarray) -> None:
        """Count keys, uint64 [N]."""
        self.total += len(keys)
        unique, counts = np.unique(keys, return_counts=True)
        self._pending.append((unique, counts))
        self._num_pending += len(unique)
        if self._num_pending > max(_MIN_PENDING, len(self._keys) // 2):
            self._merge()

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys, uint64 [K], sorted, and their counts, int64 [K]."""
        self._merge()
        return self._keys, self._counts

    def counts_of(self, keys: np.ndarray) -> np.ndarray:
        """Return the counts of keys, uint64 [N] to int64 [N]; 0 for a key that was not added."""
        known, counts = self.items()
        if not len(known):
            return np.zeros(len(keys), np.int64)
        index = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[index] == keys, counts[index], 0)

    def _merge(self) -> None:
        if not self._pending:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pending)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._pending)])
        self._pending, self._num_pending = [], 0
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        if not len(keys):
            return
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        self._keys, self._counts = keys[starts], np.add.reduceat(counts, starts)
        if len(self._keys) > self._max_keys:
            # A quarter of the capacity stays free, so this is rare.
            kept = self._max_keys - self._max_keys // 4
            threshold = np.partition(self._counts, -kept)[-kept]
            is_kept = self._counts > threshold
            self._keys, self._counts = self._keys[is_kept], self._counts[is_kept]


def combine(keys: np.ndarray, number: int | np.ndarray) -> np.ndarray:
    """Return a key for each pair of a key and a small number, such as a class: uint64 [N]."""
    with np.errstate(over="ignore"):
        offset = (np.asarray(number, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (keys ^ offset) * np.uint64(0xC2B2AE3D27D4EB4F)
    return mixed ^ (mixed >> np.uint64(29))
