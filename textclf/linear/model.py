"""The graph of the linear model: tokens to logits."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from textclf.text.ngrams import NgramBlock, count_ngrams

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
        for i, block in enumerate(self.blocks):
            buckets, idf, weights = (
                self._variables[f"{name}_{i}"] for name in ("buckets", "idf", "weights")
            )
            if buckets.shape[0] == 0:
                continue
            counts = count_ngrams(block, kept, text_of, self.num_buckets)
            bucket = tf.cast(counts.bucket, tf.int32)
            # The first feature that is not below the bucket; the last one for the highest buckets.
            feature = tf.minimum(tf.searchsorted(buckets, bucket), buckets.shape[0] - 1)
            known = tf.where(tf.gather(buckets, feature) == bucket)[:, 0]  # [K]
            feature = tf.gather(feature, known)
            text_of_feature = tf.gather(counts.text, known)
            count = tf.minimum(tf.gather(counts.count, known), MAX_COUNT)
            values = (1 + tf.math.log(tf.cast(count, tf.float32))) * tf.gather(idf, feature)  # [K]
            norms = tf.sqrt(tf.math.unsorted_segment_sum(values**2, text_of_feature, num_texts))
            values = values / tf.gather(norms, text_of_feature)
            indices = tf.stack([text_of_feature, tf.cast(feature, tf.int64)], axis=1)  # [K, 2]
            shape = tf.stack([num_texts, tf.shape(buckets, tf.int64)[0]])
            logits += tf.sparse.sparse_dense_matmul(
                tf.SparseTensor(indices, values, shape), weights.value()
            )
        return logits, num_tokens > self.max_tokens


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
