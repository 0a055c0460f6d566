"""What equal texts are, and who goes into which split when a split is made by fraction.

Texts are compared by an 8-byte hash of their normal form, so that millions of rows need neither
their texts in memory nor a second look at them. Two different texts share a hash with probability
below 1e-6 among five million rows.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

# Temporary arrays are made for so many rows at a time, so that they do not add up to much.
CHUNK_ROWS = 1 << 17
DROPPED = 255  # stands for no split in an array that has one split a row

_MASK = 2**64 - 1


def normalise(text: str) -> str:
    """The form in which texts are compared: NFKC, case folded, runs of white space one blank."""
    if text.isascii():  # the same result, several times faster
        return " ".join(text.lower().split())
    # Twice, since folding case may leave marks in another order than the normal one.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def text_hash(normalised: str) -> bytes:
    """8 bytes; the same on every machine and in every process."""
    return hashlib.blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def repeated(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The texts that occur more than once, a share of the hash space at a time to spare memory.

    Args:
        hashes: uint64 [N].

    Yields:
        rows: int64 [R], rows of repeated texts, equal ones together and in ascending order;
        starts: int64 [G], where in `rows` each text begins.
    """
    shift = 8  # a share is the hashes whose top byte begins with the same 8 - shift bits
    while shift and len(hashes) >> (8 - shift) > CHUNK_ROWS:
        shift -= 1
    # The top byte of each hash, as a view: a comparison costs one byte a row.
    top = hashes.astype("<u8", copy=False).view(np.uint8)[7::8]
    for share in range(256 >> shift):
        rows = np.flatnonzero(top >> shift == share) if shift < 8 else np.arange(len(hashes))
        mine = hashes[rows]
        order = np.argsort(mine, kind="stable")
        rows, mine = rows[order], mine[order]
        same = np.zeros(len(rows) + 1, bool)  # same[i]: row i equals the one before it
        same[1:-1] = mine[1:] == mine[:-1]
        kept = same[:-1] | same[1:]
        yield rows[kept], np.flatnonzero(~same[:-1][kept])


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
    """Chooses rows for splits of the given shares; equal texts always go the same way.

    Up to `in_memory_rows` rows the choice is stratified: the unit is a text with all its equals,
    its stratum is that of its first row, and in each stratum the number of units set aside is the
    exact share rounded up or down, such that the totals are right too: at least one, and fewer than
    their share only where a stratum has too few that may go. Beyond that a seeded hash of the text
    decides alone, which needs no memory and is right on average.

    Args:
        hashes: uint64 [N], of the normalised texts.
        strata: int32 [N], the class (or set of classes) of each row.
        pinned: int64 [P], rows whose texts are never set aside.
        fractions: the share of each split to set aside, 0 for none.
        seed: another seed, another choice.
        pool_rare: strata with fewer units than there are splits are treated as one.
        in_memory_rows: see above.

    Returns:
        uint8 [N]: 0 where the row stays, i + 1 where it goes to the split of `fractions[i]`;
        and whether the choice was stratified.
    """
    chosen = np.zeros(len(hashes), np.uint8)
    if len(hashes) > in_memory_rows:
        kept = np.unique(hashes[pinned])
        for start in range(0, len(hashes), CHUNK_ROWS):
            part = hashes[start : start + CHUNK_ROWS]
            at = _mixed(part, seed)
            bound = 0.0
            for split, fraction in reversed(list(enumerate(fractions, 1))):
                # Half-open intervals one after the other in the range of the hash.
                low, bound = bound, bound + fraction
                inside = (at >= _share(low)) & (at < _share(bound))
                chosen[start : start + CHUNK_ROWS][inside] = split
            chosen[start : start + CHUNK_ROWS][np.isin(part, kept)] = 0
        return chosen, False

    units, first_rows, unit_of_row = np.unique(hashes, return_index=True, return_inverse=True)
    _, stratum = np.unique(strata[first_rows], return_inverse=True)
    is_pinned = np.zeros(len(units), bool)
    is_pinned[unit_of_row[pinned]] = True
    num_splits = 1 + sum(fraction > 0 for fraction in fractions)
    if pool_rare:
        rare = np.bincount(stratum) < num_splits
        stratum = np.where(rare[stratum], len(rare), stratum)
    sizes = np.bincount(stratum)
    free = sizes - np.bincount(stratum, weights=is_pinned).astype(np.int64)
    # In each stratum the pinned units last, the others in an order that seed and text decide.
    order = np.lexsort((_mixed(units, seed), is_pinned, stratum))
    rank = np.arange(len(units)) - (np.cumsum(sizes) - sizes)[stratum[order]]
    unit_choice = np.zeros(len(units), np.uint8)
    taken = np.zeros(len(sizes), np.int64)
    for split, fraction in enumerate(fractions, 1):
        if fraction > 0:
            count = _allocated(sizes, free - taken, fraction, seed + split)
            ours = (rank >= taken[stratum[order]]) & (rank < (taken + count)[stratum[order]])
            unit_choice[order[ours]] = split
            taken += count
    return unit_choice[unit_of_row], True


def _allocated(sizes: np.ndarray, free: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """How many units of each stratum: by largest remainders, at most `free` of each."""
    quota = sizes * fraction
    count = np.minimum(np.floor(quota + 1e-9).astype(np.int64), free)
    total = min(max(1, round(int(sizes.sum()) * fraction)), int(free.sum()))
    tie_break = _mixed(np.arange(len(sizes), dtype=np.uint64), seed)
    order = np.lexsort((tie_break, np.round(count - quota, 9)))
    order = order[((count < free) & (quota - count > 1e-9))[order]]
    count[order[: max(0, total - int(count.sum()))]] += 1
    return count


def _mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """SplitMix64 of each value and the seed, uint64: numpy's generators may change, this not."""
    offset = (seed + 1) * 0x9E3779B97F4A7C15 & _MASK
    mixed = values.astype(np.uint64) + np.uint64(offset)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _share(fraction: float) -> np.uint64:
    return np.uint64(min(int(fraction * 2.0**64), _MASK))
