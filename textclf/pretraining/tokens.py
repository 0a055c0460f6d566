"""Token ids of many texts in one file, and contiguous streams of them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from textclf import text
from textclf.errors import TrainingError

# The longest text that is read whole.
MAX_TOKENS = 10_000
# Ends a text in a stream. A classifier's rows are padded with it after their end.
END_ID = text.PADDING_ID
_WRITE_BATCH = 1024
_TOKENS, _ENDS = "tokens.bin", "ends.bin"


class TokenFile(NamedTuple):
    """Token ids of texts, stored one after the other, each with `END_ID` at its end.

    Attributes:
        tokens: int32 [N], on the disk.
        ends: int64 [texts], the position after each text, on the disk.
    """

    tokens: np.ndarray
    ends: np.ndarray


class Sizes(NamedTuple):
    """Counts of `write_tokens`.

    Attributes:
        num_texts: texts with at least one token.
        num_tokens: their tokens, without ends.
        num_unknown: those that are not in the vocabulary.
        num_cut: texts with more than `MAX_TOKENS` tokens.
    """

    num_texts: int
    num_tokens: int
    num_unknown: int
    num_cut: int


def write_tokens(
    texts: Iterable[str],
    encoder: text.TextEncoder,
    folder: Path,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Sizes:
    """Encode texts and write them to a new folder.

    Args:
        texts: read once.
        encoder: encodes them.
        folder: is created.
        on_progress: called with the number of texts done.
    """
    folder.mkdir()
    encode = tf.function(
        encoder, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    end, counts, done = 0, np.zeros(4, np.int64), 0
    with open(folder / _TOKENS, "wb") as tokens, open(folder / _ENDS, "wb") as ends:
        for chunk in text.chunk_texts(texts, _WRITE_BATCH):
            encoded = encode(tf.constant([text.to_utf8(value) for value in chunk]))
            has_tokens = encoded.num_tokens.numpy() > 0
            lengths = encoded.lengths.numpy()[has_tokens]
            rows = np.pad(encoded.token_ids.numpy()[has_tokens], [(0, 0), (0, 1)])  # [B, T + 1]
            is_kept = np.arange(rows.shape[1]) <= lengths[:, np.newaxis]  # with the END_ID
            tokens.write(rows[is_kept].astype("<i4").tobytes())
            ends_of_chunk = end + np.cumsum(lengths + 1, dtype=np.int64)
            ends.write(ends_of_chunk.astype("<i8").tobytes())
            end = int(ends_of_chunk[-1]) if len(lengths) else end
            counts += [
                len(lengths),
                lengths.sum(),
                encoded.num_unknown.numpy()[has_tokens].sum(),
                encoded.truncated.numpy().sum(),
            ]
            done += len(chunk)
            on_progress(done)
    return Sizes(*map(int, counts))


def open_tokens(folder: Path) -> TokenFile:
    """Open what `write_tokens` has written, without reading it; it has at least one text."""
    return TokenFile(
        np.memmap(folder / _TOKENS, "<i4", mode="r"), np.memmap(folder / _ENDS, "<i8", mode="r")
    )


class Streams:
    """Contiguous streams of the texts of one pass, in an order that depends on seed and pass.

        streams = Streams(file, num_streams=64, window=64, order=np.random.default_rng([seed, 1]))
        streams.windows(0)    # int32 [64, 65]

    All texts are put in a row, which is cut into streams of equal length. A step reads the next
    window of each stream: its inputs are all tokens but the last, its targets all but the first.
    The last token is the first one of the next window. What does not fill a window is left out;
    another order leaves out other texts. Memory: 12 bytes a text.

    Args:
        file: the texts.
        num_streams: number of streams, B.
        window: inputs of a step, T.
        order: orders the texts; None for the order of the file.
        is_reversed: True to read the row from its end to its start.

    Attributes:
        num_steps: steps of the pass.

    Raises:
        TrainingError: there are fewer tokens than one window of each stream.
    """

    def __init__(
        self,
        file: TokenFile,
        *,
        num_streams: int,
        window: int,
        order: np.random.Generator | None = None,
        is_reversed: bool = False,
    ):
        num_texts, self._num_tokens = len(file.ends), len(file.tokens)
        self._length = (self._num_tokens - 1) // num_streams
        self.num_steps = self._length // window
        if not self.num_steps:
            raise TrainingError(
                f"the texts have {self._num_tokens:,} tokens, fewer than the {num_streams} streams "
                f"of {window} tokens that one step reads; add texts, or lower "
                "pretraining.batch_size or pretraining.window"
            )
        self._file, self._num_streams, self._window = file, num_streams, window
        self._is_reversed = is_reversed
        self._order = np.arange(num_texts, dtype=np.int32)
        if order is not None:
            order.shuffle(self._order)
        # Position after each text in the row of all texts.
        self._ends = np.cumsum(_lengths(file.ends)[self._order], dtype=np.int64)

    def windows(self, step: int) -> np.ndarray:
        """Return the windows of a step, from 0: int32 [B, T + 1]."""
        first = step * self._window
        return np.stack(
            [self._read(stream * self._length + first) for stream in range(self._num_streams)]
        )

    def _read(self, start: int) -> np.ndarray:
        """Return the tokens of a window that starts at a position: int32 [T + 1]."""
        stop = start + self._window + 1
        if self._is_reversed:
            start, stop = self._num_tokens - stop, self._num_tokens - start
        number = int(np.searchsorted(self._ends, start, side="right"))
        pieces = []
        while start < stop:
            left = int(self._ends[number]) - start  # tokens of the text from `start` on
            end = int(self._file.ends[self._order[number]])
            count = min(left, stop - start)
            pieces.append(self._file.tokens[end - left : end - left + count])
            start, number = start + count, number + 1
        tokens = np.concatenate(pieces)
        return tokens[::-1] if self._is_reversed else tokens


def _lengths(ends: np.ndarray) -> np.ndarray:
    """Return the tokens of each text, with its end: int32 [texts]."""
    return np.diff(ends, prepend=0).astype(np.int32)
