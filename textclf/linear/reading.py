"""N-grams of one text with their weights, and what each token adds to the logits."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ReadBlock(NamedTuple):
    """Occurrences of the n-grams of a block in one text.

    Attributes:
        values: float64 [K], value of each distinct n-gram after the norm; 0 without a weight.
        weights: float32 [K, C].
        counts: int64 [K], number of occurrences.
        ngram_of, start, size: int64 [W], n-gram, first token and number of tokens of each
            occurrence.
    """

    values: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    ngram_of: np.ndarray
    start: np.ndarray
    size: np.ndarray


class LinearReading:
    """N-grams of one text, which add to the logits; made by `LinearModel.read`.

    Attributes:
        bias: float32 [C], logits of a text without n-grams.
    """

    def __init__(self, num_tokens: int, bias: np.ndarray, blocks: Sequence[ReadBlock]):
        self._num_tokens, self.bias, self._blocks = num_tokens, bias, blocks

    @property
    def logits(self) -> np.ndarray:
        """The logits of the text, float64 [C]."""
        logits = self.bias.astype(np.float64)
        for block in self._blocks:
            logits = logits + block.values @ block.weights
        return logits

    def contributions(self, weights: np.ndarray) -> np.ndarray:
        """Return what each token adds to weighted sums of the logits.

        An n-gram adds its value times its weight, in equal shares to its occurrences, and an
        occurrence adds it in equal shares to its tokens. The norm of the text is a constant here.
        The sum over the tokens is the weighted sum of `logits - bias`.

        Args:
            weights: float [K, C], of the logits in each sum.

        Returns:
            float64 [N, K]; 0 for tokens that are not read.
        """
        sums = np.zeros((self._num_tokens, len(weights)))
        for block in self._blocks:
            of_ngram = block.values[:, np.newaxis] * (block.weights @ weights.T.astype(np.float64))
            of_ngram /= block.counts[:, np.newaxis]
            of_token = of_ngram[block.ngram_of] / block.size[:, np.newaxis]  # [W, K]
            for offset in range(max(block.size, default=0)):
                has_it = block.size > offset
                np.add.at(sums, block.start[has_it] + offset, of_token[has_it])
        return sums
