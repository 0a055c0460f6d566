"""Splits: equality of texts, and the choice of rows for splits made by fraction.

Texts are compared by an 8-byte hash of their normal form, so that no texts are kept in memory.
Among five million rows, two different texts have the same hash with a probability below 1e-6.
"""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

# A row that is in no split, in arrays that hold the index of each row's split.
DROPPED = 255

_CHUNK_ROWS = 1 << 17  # size of temporary arrays, which bounds their memory
_MASK = 2**64 - 1


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """The size of a split and of its classes.

    Attributes:
        num_examples: rows.
        class_counts: int64 [C], rows with each class.
    """

    num_examples: int
    class_counts: np.ndarray


def chunks(num_rows: int) -> Iterator[slice]:
    """Yield slices that cover all rows, so that temporary arrays stay small."""
    for start in range(0, num_rows, _CHUNK_ROWS):
        yield slice(start, start + _CHUNK_ROWS)


# === Equal texts ===


def normalise(text: str) -> str:
    """Return the form in which texts are compared: NFKC, case folded, white space as one blank.

    normalise(" Ａ\tB ")    # "a b"
    """
    if text.isascii():  # the same result, several times faster
        return " ".join(text.lower().split())
    # Twice, because folding case may leave combining marks in another than the normal order.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def text_hash(normalised: str) -> bytes:
    """Return a hash of 8 bytes, the same on every machine and in every process."""
    return hashlib.blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=8).digest()


# Hash of every text without a visible character.
EMPTY_TEXT_HASH = int.from_bytes(text_hash(""), "little")


def repeated(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of texts that occur more than once, in parts that bound the memory.

    Texts without a visible character are not equal to each other.

    Args:
        hashes: uint64 [N], of the normalised texts.

    Yields:
        rows: int64 [R], rows of repeated texts, grouped by text, ascending within a group;
        starts: int64 [G], the index in `rows` at which each group begins.
    """
    shift = 8  # a part holds the hashes whose top byte begins with the same 8 - shift bits
    while shift and len(hashes) >> (8 - shift) > _CHUNK_ROWS:
        shift -= 1
    # The top byte of each hash as a view: a comparison needs one byte a row.
    top = hashes.astype("<u8", copy=False).view(np.uint8)[7::8]
    for part in range(256 >> shift):
        rows = np.flatnonzero(top >> shift == part) if shift < 8 else np.arange(len(hashes))
        rows = rows[hashes[rows] != EMPTY_TEXT_HASH]
        part_hashes = hashes[rows]
        order = np.argsort(part_hashes, kind="stable")
        rows, part_hashes = rows[order], part_hashes[order]
        is_equal = np.zeros(len(rows) + 1, bool)  # is_equal[i]: row i equals the one before it
        is_equal[1:-1] = part_hashes[1:] == part_hashes[:-1]
        is_repeated = is_equal[:-1] | is_equal[1:]
        yield rows[is_repeated], np.flatnonzero(~is_equal[:-1][is_repeated])


# === Splits by fraction ===


def set_aside(
    hashes: np.ndarray,
    strata: np.ndarray,
    pinned: np.ndarray,
    *,
    fractions: Sequence[float],
    seed: int,
    pool_rare: bool,
    in_memory_rows: int,
) -> tuple[np.ndarray, bool]:
    """Choose rows for splits of the given shares; rows with equal texts go to the same split.

    Up to `in_memory_rows` rows the choice is stratified by class. With more rows it depends only
    on a seeded hash of the text, which needs no memory and gives the shares on average.

    Args:
        hashes: uint64 [N], of the normalised texts.
        strata: int32 [N], the class (or set of classes) of each row.
        pinned: int64 [P], rows whose texts are never set aside.
        fractions: the share of each split to set aside, 0 for none.
        seed: changes the choice.
        pool_rare: whether strata with fewer texts than there are splits are treated as one.
        in_memory_rows: maximum number of rows for a stratified choice.

    Returns:
        uint8 [N]: 0 where the row stays, i + 1 where it goes to the split of `fractions[i]`;
        and whether the choice was stratified.
    """
    if len(hashes) > in_memory_rows:
        return _by_hash(hashes, pinned, fractions, seed), False
    return _stratified(hashes, strata, pinned, fractions, seed, pool_rare), True


def _by_hash(
    hashes: np.ndarray, pinned: np.ndarray, fractions: Sequence[float], seed: int
) -> np.ndarray:
    """Choose rows by the interval in which the mixed hash of their text is; see `set_aside`."""
    chosen = np.zeros(len(hashes), np.uint8)
    pinned_hashes = np.unique(hashes[pinned])
    for chunk in chunks(len(hashes)):
        mixed = _mix(hashes[chunk], seed)
        bound = 0.0
        for split, fraction in reversed(list(enumerate(fractions, 1))):
            # Half-open intervals, one after the other, in the range of the hash.
            low, bound = bound, bound + fraction
            is_inside = (mixed >= _to_hash_range(low)) & (mixed < _to_hash_range(bound))
            chosen[chunk][is_inside] = split
        chosen[chunk][np.isin(hashes[chunk], pinned_hashes)] = 0
    return chosen


def _stratified(
    hashes: np.ndarray,
    strata: np.ndarray,
    pinned: np.ndarray,
    fractions: Sequence[float],
    seed: int,
    pool_rare: bool,
) -> np.ndarray:
    """Choose texts with all their rows, stratified by the stratum of their first row.

    In each stratum the number of texts set aside is the exact share rounded up or down, such that
    the totals are right too. It is at least one in total, and smaller than the share only where
    too many texts are pinned.
    """
    texts, first_rows, text_of_row = np.unique(hashes, return_index=True, return_inverse=True)
    _, stratum = np.unique(strata[first_rows], return_inverse=True)
    is_pinned = np.zeros(len(texts), bool)
    is_pinned[text_of_row[pinned]] = True
    num_splits = 1 + sum(fraction > 0 for fraction in fractions)
    if pool_rare:
        is_rare = np.bincount(stratum) < num_splits
        stratum = np.where(is_rare[stratum], len(is_rare), stratum)
    sizes = np.bincount(stratum)
    free = sizes - np.bincount(stratum, weights=is_pinned).astype(np.int64)
    # In each stratum the pinned texts are last; seed and text decide the order of the others.
    order = np.lexsort((_mix(texts, seed), is_pinned, stratum))
    rank = np.arange(len(texts)) - (np.cumsum(sizes) - sizes)[stratum[order]]
    split_of_text = np.zeros(len(texts), np.uint8)
    taken = np.zeros(len(sizes), np.int64)
    for split, fraction in enumerate(fractions, 1):
        if fraction > 0:
            count = _allocate(sizes, free - taken, fraction, seed + split)
            is_next = (rank >= taken[stratum[order]]) & (rank < (taken + count)[stratum[order]])
            split_of_text[order[is_next]] = split
            taken += count
    return split_of_text[text_of_row]


def _allocate(sizes: np.ndarray, free: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the number of texts to set aside of each stratum, by largest remainders.

    Args:
        sizes: int64 [S], texts of each stratum.
        free: int64 [S], upper bounds of the result.
        fraction: the share to set aside.
        seed: breaks ties.
    """
    quota = sizes * fraction
    count = np.minimum(np.floor(quota + 1e-9).astype(np.int64), free)
    total = min(max(1, round(int(sizes.sum()) * fraction)), int(free.sum()))
    tie_break = _mix(np.arange(len(sizes), dtype=np.uint64), seed)
    order = np.lexsort((tie_break, np.round(count - quota, 9)))
    order = order[((count < free) & (quota - count > 1e-9))[order]]
    count[order[: max(0, total - int(count.sum()))]] += 1
    return count


def _mix(values: np.ndarray, seed: int) -> np.ndarray:
    """Return SplitMix64 of each value and the seed, uint64 [N].

    Unlike NumPy's generators, it cannot change with a version. Source: Steele, Lea and Flood,
    "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    offset = (seed + 1) * 0x9E3779B97F4A7C15 & _MASK
    mixed = values.astype(np.uint64) + np.uint64(offset)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _to_hash_range(fraction: float) -> np.uint64:
    """Return a fraction of the range of uint64."""
    return np.uint64(min(int(fraction * 2.0**64), _MASK))
