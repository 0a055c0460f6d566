"""The most uncertain texts of a stream, each text once, in bounded memory."""

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from textclf.data.splits import normalise, text_hash

if TYPE_CHECKING:
    import numpy as np

    from textclf.prediction import Row


class Candidate(NamedTuple):
    """A text that may be chosen.

    Attributes:
        uncertainty: at least 0.
        number: of the row in the input, from 0.
        row: text and cells.
        score: margin or entropy.
        p: float32 [C], probabilities.
        label_ids: ids of the predicted classes.
        abstains: whether the model abstains.
    """

    uncertainty: float
    number: int
    row: "Row"
    score: float
    p: "np.ndarray"
    label_ids: tuple[int, ...]
    abstains: bool


class Pool:
    """The `size` most uncertain texts so far; among equally uncertain texts, the first ones.

    Texts are equal if `data.splits.normalise` returns the same text. Among equal texts, the most
    uncertain row is kept, or the first of equally uncertain rows.

    Attributes:
        num_repeated: rows that were left out because their text was in the pool already.
    """

    def __init__(self, size: int):
        self._size = size
        # (uncertainty, -number, ...): the smallest entry is the first to leave the pool.
        self._heap: list[tuple[float, int, bytes, Candidate]] = []
        self._hashes: set[bytes] = set()
        self.num_repeated = 0

    def select(self, uncertainty: "np.ndarray") -> Sequence[int]:
        """Return the indices of texts that are uncertain enough for the pool, ascending."""
        import numpy as np

        if len(self._heap) < self._size:
            return range(len(uncertainty))
        return np.flatnonzero(uncertainty > self._heap[0][0]).tolist()

    def add(self, candidate: Candidate) -> None:
        """Add a text if it is uncertain enough; numbers must increase from call to call."""
        is_full = len(self._heap) == self._size
        if is_full and candidate.uncertainty <= self._heap[0][0]:
            return
        text = text_hash(normalise(candidate.row.text))
        if text in self._hashes:
            self.num_repeated += 1
            (former,) = (entry for entry in self._heap if entry[2] == text)
            if candidate.uncertainty <= former[0]:
                return
            # A model may distinguish equal texts, for instance by case.
            self._heap.remove(former)
            heapq.heapify(self._heap)
            is_full = False
        entry: Any = (candidate.uncertainty, -candidate.number, text, candidate)
        self._hashes.add(text)
        if is_full:
            self._hashes.remove(heapq.heapreplace(self._heap, entry)[2])
        else:
            heapq.heappush(self._heap, entry)

    def ranked(self) -> list[Candidate]:
        """Return the texts, the most uncertain first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]
