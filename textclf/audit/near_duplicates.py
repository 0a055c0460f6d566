"""Near-duplicates: texts that share most of their character n-grams.

A text is the set of its shingles: the two characters that begin at each Han, kana or Hangul
character, and the four characters that begin at any other, of the normalised text. Two texts are
near-duplicates if the Jaccard similarity of their sets is at least `least_similarity`.

MinHash (Broder 1997, with the permutations of datasketch) and banding find the candidates. The
exact similarity of each candidate is computed, so every reported pair is one of near-duplicates.
A pair of similarity s is missed with probability (1 - s**4)**40: 0.35 for 0.4, 0.08 for 0.5,
0.0005 for 0.65.
"""

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from textclf.data import normalise
from textclf.data.splits import text_hash

# Only the first characters are compared, because any two very long texts share many n-grams.
MAX_CHARACTERS = 5000
# Short texts share phrases by chance, such as the beginning of a question.
_SHORT_SHINGLES = 80
_LEAST_SIMILARITY, _LEAST_SIMILARITY_OF_SHORT = 0.4, 0.5

_NUM_BANDS, _BAND_ROWS = 40, 4
_NUM_PERMUTATIONS = _NUM_BANDS * _BAND_ROWS
# Candidates are compared by the low bytes of their signatures first, then by their shingles. At the
# similarity 0.4, the share of equal bytes is smaller than this with a probability of 0.002.
_LEAST_ESTIMATE = 0.29
_PAIRS_AT_ONCE = 50_000
# A row of train is compared with at most this many rows of validation and test, and with at most
# this many of those with an equal band. In a larger group of rows of train with an equal band, each
# row is compared with the first and the next row. Otherwise, time and memory would grow with the
# square of the number of rows if all are made from one template.
MAX_GROUP = 64
_WINDOW = 4  # n-gram of letters, in characters
_ODD = [
    np.uint64(value)
    for value in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
]


def is_available() -> bool:
    """Return whether datasketch, which the search needs, is installed."""
    return importlib.util.find_spec("datasketch") is not None


def least_similarity(num_shingles: int) -> float:
    """Return the smallest similarity of two near-duplicates.

    Args:
        num_shingles: number of shingles of the text that has fewer.
    """
    return _LEAST_SIMILARITY_OF_SHORT if num_shingles < _SHORT_SHINGLES else _LEAST_SIMILARITY


def similarity(first: str, second: str) -> float:
    """Return the exact similarity of two texts, from 0 to 1.

    similarity("The room was good.", "The room was good!")    # 0.8
    """
    return _jaccard(*_shingles([normalise(first), normalise(second)]))


@dataclasses.dataclass(frozen=True)
class NearPairs:
    """Pairs of near-duplicates.

    Attributes:
        rows: int64 [P], a row of the split.
        others: int64 [P], the nearly equal row of train; for pairs within train, an earlier row.
        similarities: float32 [P].
        differ: bool [P], whether the labels of the two rows differ.
    """

    rows: np.ndarray
    others: np.ndarray
    similarities: np.ndarray
    differ: np.ndarray

    def best(self, *, differing: bool = False) -> "NearPairs":
        """Return the pair with the largest similarity for each row, in order of the rows.

        Args:
            differing: whether only pairs with different labels count.
        """
        order = np.lexsort((self.others, -self.similarities, self.rows))
        if differing:
            order = order[self.differ[order]]
        _, first = np.unique(self.rows[order], return_index=True)
        return self.take(order[first])

    def take(self, index: np.ndarray) -> "NearPairs":
        return NearPairs(
            self.rows[index], self.others[index], self.similarities[index], self.differ[index]
        )


class NearDuplicates:
    """Search for near-duplicates of a data set, added in chunks.

        with NearDuplicates(near_rows=200_000, num_train_rows=1) as search:
            row, label = np.array([0]), np.array([1])
            search.add_evaluation("test", row, ["the room was really good"], label)
            search.add_train(row, ["the room was really very good"], label)
            search.pairs("test").similarities    # 0.77

    Rows of validation and test are added first, and are compared with every row of train. Up to
    `near_rows` rows of train are compared with each other. A larger train is sampled: most nearly
    equal texts are in the sample together, because it depends on one of their shingles.

    Memory: about 530 bytes for a row of validation or test, and 360 for a row of train that is
    compared within train. The shingles are in a temporary file.

    Attributes:
        num_compared: rows of train that are compared with each other.
        is_sampled: whether they are a sample of train.
        is_limited: whether rows had so many candidates that only some of them were compared.
    """

    def __init__(self, *, near_rows: int, num_train_rows: int):
        self.num_compared = 0
        self._near_rows = near_rows
        self._share = min(1.0, near_rows / max(num_train_rows, 1))
        self.is_sampled = self._share < 1
        self.is_limited = False
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._evaluation = _Texts(self._file)
        self._train = _Texts(self._file)
        self._splits: dict[str, tuple[int, int]] = {}
        self._index: _BandIndex | None = None
        self._found: list[np.ndarray] = []
        self._minhash = _minhash()

    def __enter__(self) -> "NearDuplicates":
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the temporary file."""
        self._file.close()

    def add_evaluation(
        self, split: str, rows: np.ndarray, texts: Sequence[str], labels: np.ndarray
    ) -> None:
        """Add rows of validation or test, in the order of the splits and rows.

        Args:
            split: name of the split.
            rows: int64 [N], row numbers in the split.
            texts: [N], normalised.
            labels: int [N], a code of the labels of each row.
        """
        start = self._splits.get(split, (len(self._evaluation), 0))[0]
        self._evaluation.add(rows, labels, _keys(texts), *self._read(texts))
        self._splits[split] = (start, len(self._evaluation))

    def add_train(self, rows: np.ndarray, texts: Sequence[str], labels: np.ndarray) -> None:
        """Add rows of train, after all of validation and test; see `add_evaluation`."""
        if self._index is None:
            self._evaluation.freeze()
            self._index = _BandIndex(self._evaluation.bands)
            self._evaluation.bands = self._evaluation.bands[:0]  # a large array
            self._has_pair = np.zeros(len(self._evaluation), bool)
        shingles, bands, sketches = self._read(texts)
        self._compare_with_evaluation(rows, labels, shingles, bands, sketches)
        room = self._near_rows - len(self._train)
        if self.is_sampled:
            # Two texts have the same smallest shingle with probability `similarity`.
            smallest = np.array([values[0] for values in shingles], np.uint64)
            is_kept = (smallest * _ODD[0] >> np.uint64(32)) < np.uint64(self._share * 2**32)
            kept = np.flatnonzero(is_kept)[:room]
        else:
            kept = np.arange(min(len(texts), room))
        if len(kept):
            keys = _keys([texts[i] for i in kept])
            chosen = [shingles[i] for i in kept]
            self._train.add(rows[kept], labels[kept], keys, chosen, bands[kept], sketches[kept])

    def pairs(
        self, split: str, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> NearPairs:
        """Return the near-duplicates of rows of a split; call it when all rows were added.

        Args:
            split: validation, test, or train for pairs within train.
            on_progress: called with the candidates within train that were compared, and their
                number.
        """
        if split == "train":
            return self._pairs_within_train(on_progress)
        self._evaluation.freeze()  # if there is no train
        start, stop = self._splits.get(split, (0, 0))
        parts = [part[(part["first"] >= start) & (part["first"] < stop)] for part in self._found]
        found = np.concatenate([np.zeros(0, _PAIR), *parts])
        return NearPairs(
            self._evaluation.rows[found["first"]],
            found["second"].copy(),
            found["similarity"].copy(),
            found["differs"].copy(),
        )

    def _read(self, texts: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Return shingles, bands uint32 [N, 40] and sketches uint8 [N, 160] of texts."""
        shingles = _shingles(texts)
        signatures = np.empty((len(texts), _NUM_PERMUTATIONS), np.uint32)
        for signature, values in zip(signatures, shingles, strict=True):
            self._minhash.clear()
            self._minhash.update_batch(values)
            signature[:] = self._minhash.hashvalues
        groups = signatures.reshape(len(texts), _NUM_BANDS, _BAND_ROWS).astype(np.uint64)
        bands = np.zeros((len(texts), _NUM_BANDS), np.uint64)
        for column in range(_BAND_ROWS):
            bands = _mix(bands ^ groups[:, :, column], column)
        return (
            shingles,
            (bands >> np.uint64(32)).astype(np.uint32),
            signatures.astype(np.uint8),
        )

    def _compare_with_evaluation(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        shingles: Sequence[np.ndarray],
        bands: np.ndarray,
        sketches: np.ndarray,
    ) -> None:
        assert self._index is not None
        stored = self._evaluation
        mine, others = self._index.candidates(bands, rows)
        estimates = _estimates(sketches, mine, stored.sketches, others)
        is_similar = estimates >= _LEAST_ESTIMATE
        mine, others, estimates = mine[is_similar], others[is_similar], estimates[is_similar]
        # In case there are too many: rows without a near-duplicate so far come first, of these the
        # most similar ones.
        order = np.lexsort((others, -estimates, self._has_pair[others], mine))
        mine, others = mine[order], others[order]
        place = np.arange(len(mine)) - np.searchsorted(mine, mine, "left")
        is_compared = place < MAX_GROUP
        self.is_limited |= self._index.is_limited or not is_compared.all()
        found = []
        for i, j in zip(mine[is_compared].tolist(), others[is_compared].tolist(), strict=True):
            first, second = shingles[i], stored.shingles(j)
            value = _jaccard(first, second)
            if value >= least_similarity(min(len(first), len(second))):
                found.append((j, rows[i], value, labels[i] != stored.labels[j]))
                self._has_pair[j] = True
        if found:
            self._found.append(np.array(found, _PAIR))

    def _pairs_within_train(self, on_progress: Callable[[int, int], None]) -> NearPairs:
        stored = self._train
        stored.freeze()
        self.num_compared = len(stored)
        found = []
        candidates, is_limited = _pairs_in(stored.bands, stored.sketches)
        self.is_limited |= is_limited
        for number, (i, j) in enumerate(candidates):
            if number % 10_000 == 0:
                on_progress(number, len(candidates))
            if stored.keys[i] == stored.keys[j]:
                continue  # equal texts
            first, second = stored.shingles(i), stored.shingles(j)
            value = _jaccard(first, second)
            if value >= least_similarity(min(len(first), len(second))):
                found.append((j, i, value, stored.labels[i] != stored.labels[j]))
        pairs = np.array(found, _PAIR) if found else np.zeros(0, _PAIR)
        return NearPairs(
            stored.rows[pairs["first"]],
            stored.rows[pairs["second"]],
            pairs["similarity"].copy(),
            pairs["differs"].copy(),
        )


_PAIR = np.dtype(
    [("first", np.int64), ("second", np.int64), ("similarity", np.float32), ("differs", bool)]
)


# === Shingles and signatures ===


def _shingles(texts: Sequence[str]) -> list[np.ndarray]:
    """Return the sorted hashes of the shingles of normalised texts: uint32 [S] each, S >= 1."""
    cut = [text[:MAX_CHARACTERS] or " " for text in texts]
    # Padding ends each text, so that no shingle crosses two texts.
    joined = "".join(text + "\0" * (_WINDOW - 1) for text in cut)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = np.append(codes, np.zeros(_WINDOW, np.uint32)).astype(np.uint64)
    lengths = np.array([len(text) for text in cut])
    size = len(codes) - _WINDOW
    hashed = np.zeros(size, np.uint64)
    short = hashed
    for offset in range(_WINDOW):
        hashed = _mix(hashed ^ codes[offset : offset + size], offset)
        if offset == 1:
            short = hashed
    hashed = np.where(_is_ideograph(codes[:size]), short, hashed) >> np.uint64(32)
    owner = np.repeat(np.arange(len(cut), dtype=np.uint64), lengths + _WINDOW - 1)
    position = np.arange(size) - np.repeat(
        np.cumsum(lengths + _WINDOW - 1) - (lengths + _WINDOW - 1), lengths + _WINDOW - 1
    )
    is_start = position < np.repeat(lengths, lengths + _WINDOW - 1)
    keys = np.unique((owner << np.uint64(32) | hashed)[is_start])
    bounds = np.searchsorted(keys, np.arange(1, len(cut), dtype=np.uint64) << np.uint64(32))
    return np.split((keys & np.uint64(0xFFFFFFFF)).astype(np.uint32), bounds)


def _is_ideograph(codes: np.ndarray) -> np.ndarray:
    """Return whether characters are Han, kana or Hangul, which carry as much as several letters."""
    return (
        ((codes >= 0x2E80) & (codes <= 0xA4CF))
        | ((codes >= 0xAC00) & (codes <= 0xD7A3))
        | ((codes >= 0xF900) & (codes <= 0xFAFF))
        | ((codes >= 0x20000) & (codes <= 0x3FFFF))
    )


def _mix(values: np.ndarray, number: int) -> np.ndarray:
    """Return a mixed hash of uint64 values; NumPy's arithmetic of arrays wraps around."""
    values = (values + np.uint64(number + 1)) * _ODD[number]
    return values ^ (values >> np.uint64(31))


def _minhash() -> Any:
    from datasketch import MinHash

    # The shingles are hashes already.
    return MinHash(num_perm=_NUM_PERMUTATIONS, seed=1, hashfunc=int)


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    joined = np.concatenate([first, second])
    joined.sort()
    common = int(np.count_nonzero(joined[1:] == joined[:-1]))
    return common / (len(joined) - common)


def _estimates(
    sketches: np.ndarray, first: np.ndarray, other_sketches: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return the share of equal bytes in the sketches of pairs of rows: float32 [P]."""
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        chunk = slice(start, start + _PAIRS_AT_ONCE)
        is_equal = sketches[first[chunk]] == other_sketches[second[chunk]]
        parts.append(is_equal.mean(axis=1, dtype=np.float32))
    return np.concatenate(parts)


def _keys(texts: Sequence[str]) -> np.ndarray:
    """Return hashes of whole texts, uint64 [N], which are equal for equal texts."""
    return np.frombuffer(b"".join(map(text_hash, texts)), "<u8")


# === Candidates ===


class _Texts:
    """Rows with their labels, bands and sketches; the shingles are in a file."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("rows", "labels", "keys", "bands", "sketches", "starts", "sizes")
        }
        self._num_rows = 0
        self._shingles = np.zeros(0, np.uint32)

    def __len__(self) -> int:
        return self._num_rows

    def add(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        keys: np.ndarray,
        shingles: Sequence[np.ndarray],
        bands: np.ndarray,
        sketches: np.ndarray,
    ) -> None:
        sizes = np.array([len(values) for values in shingles], np.int64)
        begin = self._file.seek(0, 2) // 4
        self._file.write(np.concatenate([np.zeros(0, np.uint32), *shingles]).tobytes())
        starts = begin + np.cumsum(sizes) - sizes
        columns = (rows, labels, keys, bands, sketches, starts, sizes)
        for part, column in zip(self._parts.values(), columns, strict=True):
            part.append(column)
        self._num_rows += len(rows)

    def freeze(self) -> None:
        """Join the chunks; afterwards the attributes can be used, and nothing can be added."""
        if not self._parts:
            return
        empty = {"bands": (0, _NUM_BANDS), "sketches": (0, _NUM_PERMUTATIONS)}
        dtypes: Mapping[str, Any] = {"keys": np.uint64, "bands": np.uint32, "sketches": np.uint8}
        joined = {
            name: np.concatenate(
                [np.zeros(empty.get(name, (0,)), dtypes.get(name, np.int64)), *parts]
            )
            for name, parts in self._parts.items()
        }
        self._parts = {}
        self.rows, self.labels, self.keys = joined["rows"], joined["labels"], joined["keys"]
        self.bands, self.sketches = joined["bands"], joined["sketches"]
        self._starts, self._sizes = joined["starts"], joined["sizes"]
        self._file.flush()
        if self._num_rows:
            # A plain view: slices of a `memmap` are ten times slower.
            self._shingles = np.asarray(np.memmap(self._file, np.uint32, "r"))

    def shingles(self, index: int) -> np.ndarray:
        start = self._starts[index]
        return self._shingles[start : start + self._sizes[index]]


class _BandIndex:
    """Rows by each of their bands.

    Attributes:
        is_limited: whether `candidates` has left out rows.
    """

    def __init__(self, bands: np.ndarray):
        """Sort the rows by each band: uint32 [N, 40]."""
        self.is_limited = False
        self._orders = [np.argsort(column, kind="stable").astype(np.int32) for column in bands.T]
        self._sorted = [column[order] for column, order in zip(bands.T, self._orders, strict=True)]

    def candidates(self, bands: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs with an equal band: positions in `bands` and positions in the index.

        If more than `MAX_GROUP` rows of the index have an equal band, only `MAX_GROUP` of them
        are returned, different ones for each row and band.

        Args:
            bands: uint32 [N, 40].
            rows: int64 [N], their numbers.
        """
        pairs = [np.zeros(0, np.int64)]
        columns = zip(bands.T, self._orders, self._sorted, strict=True)
        for number, (column, order, known) in enumerate(columns):
            low = np.searchsorted(known, column, "left")
            sizes = np.searchsorted(known, column, "right") - low
            begin = _mix(rows.astype(np.uint64) * np.uint64(_NUM_BANDS) + np.uint64(number), 0)
            begin = (begin % np.maximum(sizes, 1).astype(np.uint64)).astype(np.int64)
            counts = np.minimum(sizes, MAX_GROUP)
            self.is_limited |= bool((sizes > MAX_GROUP).any())
            mine = np.repeat(np.arange(len(column)), counts)
            within = np.arange(len(mine)) - np.repeat(np.cumsum(counts) - counts, counts)
            within = (within + begin[mine]) % sizes[mine]  # from `begin` on, around the end
            others = order[low[mine] + within]
            pairs.append(mine << 32 | others.astype(np.int64))
        unique = np.unique(np.concatenate(pairs))
        return unique >> 32, unique & 0xFFFFFFFF


def _pairs_in(bands: np.ndarray, sketches: np.ndarray) -> tuple[list[tuple[int, int]], bool]:
    """Return pairs of rows with an equal band and a similar sketch, first < second.

    The second value is whether pairs were left out because too many rows have an equal band.
    """
    found = [np.zeros(0, np.int64)]
    is_limited = False
    for column in bands.T:
        order = np.argsort(column, kind="stable")
        values = column[order]
        starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        sizes = np.diff(np.append(starts, len(values)))
        group, place = np.repeat(starts, sizes), np.arange(len(values))
        size = np.repeat(sizes, sizes)
        pairs = []
        for distance in range(1, min(MAX_GROUP, int(sizes.max(initial=1)))):
            is_pair = place - distance >= group
            is_pair &= (size <= MAX_GROUP) | (distance == 1)
            if not is_pair.any():
                break
            second = place[is_pair]
            pairs.append((order[second - distance], order[second]))
        is_large = (size > MAX_GROUP) & (place > group)
        is_limited |= bool(is_large.any())
        pairs.append((order[group[is_large]], order[is_large]))
        for first, second in pairs:  # ascending, because the sort is stable
            is_similar = _estimates(sketches, first, sketches, second) >= _LEAST_ESTIMATE
            found.append(first[is_similar] << 32 | second[is_similar])
        if sum(map(len, found)) > 4_000_000:
            found = [np.unique(np.concatenate(found))]
    unique = np.unique(np.concatenate(found))
    pairs_found = zip((unique >> 32).tolist(), (unique & 0xFFFFFFFF).tolist(), strict=True)
    return list(pairs_found), is_limited
