"""The graph of the linear model: tokens to logits."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from textclf.linear.reading import LinearReading, ReadBlock
from textclf.text.ngrams import NgramBlock, count_ngrams, ngram_spans, ngrams_across_gaps

# Larger counts weigh as this one: the counts of training texts are stored in one byte.
MAX_COUNT = 255


class LinearModel(tf.Module):
    """Logistic regression on hashed n-grams, in core TensorFlow operations.

        logits, truncated = model(*tokenizer.split_tokens(texts), tf.shape(texts, tf.int64)[0])

    A feature is a bucket that occurs in the training split; other buckets have no weight.

    Args:
        blocks: the n-grams.
        arrays: for each block i: `buckets_i` int32 [F], ascending; `idf_i` float32 [F]; `weights_i`
            float32 [F, C]; and `bias` float32 [C].
        num_buckets: number of hash buckets of each block.
        max_tokens: number of tokens of a text that are read, from its start.
    """

    def __init__(
        self,
        blocks: Sequence[NgramBlock],
        arrays: Mapping[str, np.ndarray],
        *,
        num_buckets: int,
        max_tokens: int,
    ):
        super().__init__(name="linear")
        self.blocks = tuple(blocks)
        self.num_buckets = num_buckets
        self.max_tokens = max_tokens
        self._variables = {
            name: tf.Variable(array, trainable=False, name=name) for name, array in arrays.items()
        }

    @property
    def num_classes(self) -> int:
        """Number of logits of a text, C."""
        return self._variables["bias"].shape[0]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the constructor."""
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def __call__(
        self, tokens: tf.Tensor, positions: tf.Tensor, num_texts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the logits of texts, and which of them were cut.

        Args:
            tokens: string [N], the tokens of all texts in order.
            positions: int64 [N, 2], number of the text and of the token within it.
            num_texts: int64 scalar, B.

        Returns:
            float32 [B, C] and bool [B].
        """
        text_of, kept, num_tokens = cut_tokens(tokens, positions, num_texts, self.max_tokens)
        logits = tf.tile(self._variables["bias"][tf.newaxis, :], [num_texts, 1])  # [B, C]
        for i, block in self._used_blocks():
            counts = count_ngrams(block, kept, text_of, self.num_buckets)
            feature, known = self._features(i, counts.bucket)
            text_of_feature = tf.gather(counts.text, known)
            values = self._values(i, feature, tf.gather(counts.count, known))  # [K]
            norms = tf.sqrt(tf.math.unsorted_segment_sum(values**2, text_of_feature, num_texts))
            values = values / tf.gather(norms, text_of_feature)
            logits += self._weighted(i, text_of_feature, feature, values, num_texts)
        return logits, num_tokens > self.max_tokens

    def read(self, tokens: tf.Tensor) -> LinearReading:
        """Return the n-grams that the model reads in one text, from its tokens, string [N]."""
        kept = tokens[: self.max_tokens]
        blocks = []
        for i, block in self._used_blocks():
            spans = ngram_spans(block, kept, tf.zeros(tf.shape(kept), tf.int64), self.num_buckets)
            bucket, feature_of, count = tf.unique_with_counts(spans.bucket, tf.int64)
            feature, known = self._features(i, bucket)
            value = self._values(i, feature, tf.gather(count, known)).numpy().astype(np.float64)
            value /= np.sqrt((value**2).sum()) or 1
            values = np.zeros(len(bucket))
            values[known.numpy()] = value
            rows = np.zeros((len(bucket), self.num_classes), np.float32)
            rows[known.numpy()] = tf.gather(self._variables[f"weights_{i}"], feature).numpy()
            blocks.append(
                ReadBlock(
                    values, rows, count.numpy(), feature_of.numpy(),
                    spans.start.numpy(), spans.size.numpy(),
                )
            )  # fmt: skip
        return LinearReading(len(tokens), self._variables["bias"].numpy(), blocks)

    def without_each(
        self, tokens: tf.Tensor, positions: tf.Tensor, num_texts: tf.Tensor, left_out: tf.Tensor
    ) -> tf.Tensor:
        """Return the logits of texts with one token left out, in core TensorFlow operations.

        Only the n-grams around the token are counted again, so that the work does not grow with the
        square of the length. No other token is read instead.

        Args:
            tokens, positions, num_texts: as for `__call__`.
            left_out: int64 [M], distinct indices of tokens that are read.

        Returns:
            float32 [M, C].
        """
        text_of, kept, _ = cut_tokens(tokens, positions, num_texts, self.max_tokens)
        # Index of a token among those that are kept: all before it may be of other texts.
        is_kept = tf.cast(positions[:, 1] < self.max_tokens, tf.int64)
        left_out = tf.gather(tf.cumsum(is_kept, exclusive=True), left_out)
        num_rows = tf.size(left_out, tf.int64)
        row_of = tf.scatter_nd(
            left_out[:, tf.newaxis], tf.range(num_rows) + 1, tf.shape(kept, tf.int64)
        )
        text_of_row = tf.gather(text_of, left_out)
        logits = tf.tile(self._variables["bias"][tf.newaxis, :], [num_rows, 1])
        for i, block in self._used_blocks():
            logits += self._block_without_each(i, block, kept, text_of, row_of - 1, text_of_row)
        return logits

    def _block_without_each(
        self,
        i: int,
        block: NgramBlock,
        tokens: tf.Tensor,
        text_of: tf.Tensor,
        row_of: tf.Tensor,
        text_of_row: tf.Tensor,
    ) -> tf.Tensor:
        """Return what block i adds to the logits of `without_each`, float32 [M, C].

        Args:
            tokens, text_of: string [N] and int64 [N], the tokens that are read.
            row_of: int64 [N], the row in which each one is left out; -1 for none.
            text_of_row: int64 [M].
        """
        num_texts = tf.reduce_max(tf.concat([text_of, [-1]], axis=0)) + 1
        num_rows = tf.size(text_of_row, tf.int64)
        spans = ngram_spans(block, tokens, text_of, self.num_buckets)
        key = tf.gather(text_of, spans.start) * self.num_buckets + spans.bucket
        key, _, count = tf.unique_with_counts(key, tf.int64)
        order = tf.argsort(key)
        key, count = tf.gather(key, order), tf.gather(count, order)
        # N-grams with the token disappear, those across the gap appear.
        repeated = tf.repeat(spans.start, spans.size)
        offset = tf.range(tf.size(repeated, tf.int64))
        offset -= tf.repeat(tf.cumsum(spans.size, exclusive=True), spans.size)
        gap, gap_bucket = ngrams_across_gaps(block, tokens, text_of, self.num_buckets)
        row = tf.gather(row_of, tf.concat([repeated + offset, gap], axis=0))
        bucket = tf.concat([tf.repeat(spans.bucket, spans.size), gap_bucket], axis=0)
        change = tf.concat([-tf.ones_like(repeated), tf.ones_like(gap)], axis=0)
        used = tf.where(row >= 0)[:, 0]
        changed, place = tf.unique(
            tf.gather(row, used) * self.num_buckets + tf.gather(bucket, used), tf.int64
        )
        change = tf.math.unsorted_segment_sum(
            tf.gather(change, used), place, tf.size(changed, tf.int64)
        )
        row, bucket = changed // self.num_buckets, changed % self.num_buckets
        old_key = tf.gather(text_of_row, row) * self.num_buckets + bucket
        nearest = tf.minimum(tf.searchsorted(key, old_key, out_type=tf.int64), _last(key))
        old = tf.where(tf.gather(key, nearest) == old_key, tf.gather(count, nearest), 0)

        whole = self._sums(i, key // self.num_buckets, key % self.num_buckets, count, num_texts)
        after = self._sums(i, row, bucket, old + change, num_rows)
        before = self._sums(i, row, bucket, old, num_rows)
        sums, squares, number = (
            tf.gather(w, text_of_row) + a - b for w, a, b in zip(whole, after, before, strict=True)
        )
        # Without an n-gram, rounding leaves small values instead of zeros.
        has_some = number > 0
        norms = tf.sqrt(tf.where(has_some, squares, 1.0))
        scale = tf.where(has_some, tf.cast(1 / norms, tf.float32), 0.0)
        return sums * scale[:, tf.newaxis]

    def _sums(
        self, i: int, row: tf.Tensor, bucket: tf.Tensor, count: tf.Tensor, num_rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return sums over the n-grams of each row, before they are divided by the norm.

        Args:
            row, bucket, count: int64 [K]; entries with a count of 0 are ignored.
            num_rows: int64 scalar, R.

        Returns:
            Weighted values, float32 [R, C], squared values, float64 [R], and number, int64 [R].
        """
        feature, known = self._features(i, bucket)
        count, row = tf.gather(count, known), tf.gather(row, known)
        values = self._values(i, feature, tf.maximum(count, 1))
        values *= tf.cast(count > 0, tf.float32)
        squares = tf.math.unsorted_segment_sum(tf.cast(values, tf.float64) ** 2, row, num_rows)
        number = tf.math.unsorted_segment_sum(tf.cast(count > 0, tf.int64), row, num_rows)
        return self._weighted(i, row, feature, values, num_rows), squares, number

    def _used_blocks(self) -> Iterator[tuple[int, NgramBlock]]:
        """Yield number and block of the blocks that have features."""
        for i, block in enumerate(self.blocks):
            if self._variables[f"buckets_{i}"].shape[0]:
                yield i, block

    def _features(self, i: int, bucket: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the features of the buckets that have one, and the indices of these buckets."""
        buckets, bucket = self._variables[f"buckets_{i}"], tf.cast(bucket, tf.int32)
        # The first feature that is not below the bucket; the last one for the highest buckets.
        feature = tf.minimum(tf.searchsorted(buckets, bucket), buckets.shape[0] - 1)
        known = tf.where(tf.gather(buckets, feature) == bucket)[:, 0]  # [K]
        return tf.gather(feature, known), known

    def _values(self, i: int, feature: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Return the values of features before the norm, float32 [K], from counts, int64 [K]."""
        count = tf.minimum(count, MAX_COUNT)
        idf = tf.gather(self._variables[f"idf_{i}"], feature)
        return (1 + tf.math.log(tf.cast(count, tf.float32))) * idf

    def _weighted(
        self,
        i: int,
        row: tf.Tensor,
        feature: tf.Tensor,
        values: tf.Tensor,
        num_rows: tf.Tensor,
    ) -> tf.Tensor:
        """Return the sums of values times weights of each row, float32 [R, C]."""
        weights = self._variables[f"weights_{i}"]
        indices = tf.stack([row, tf.cast(feature, tf.int64)], axis=1)  # [K, 2]
        shape = tf.stack([num_rows, tf.shape(weights, tf.int64)[0]])
        return tf.sparse.sparse_dense_matmul(
            tf.SparseTensor(indices, values, shape), weights.value()
        )


def cut_tokens(
    tokens: tf.Tensor, positions: tf.Tensor, num_texts: tf.Tensor, max_tokens: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Keep the first tokens of each text.

    Returns:
        The text of each kept token, int64 [N'], the kept tokens, string [N'], and the number of
        tokens of each text before the cut, int64 [B].
    """
    text_of, position = tf.unstack(positions, axis=1)  # int64 [N]
    num_tokens = tf.math.unsorted_segment_sum(tf.ones_like(text_of), text_of, num_texts)
    kept = tf.where(position < max_tokens)[:, 0]
    return tf.gather(text_of, kept), tf.gather(tokens, kept), num_tokens


def _last(values: tf.Tensor) -> tf.Tensor:
    """Return the last index of a tensor, int64; -1 if it is empty."""
    return tf.size(values, tf.int64) - 1
