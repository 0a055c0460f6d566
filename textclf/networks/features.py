"""The input of a network: named tensors of one batch."""

from typing import NotRequired, TypedDict

import tensorflow as tf


class Features(TypedDict):
    """Features of a batch of B texts, stored in R rows.

    A text is one row, so R is B. A network reads the first three features.
    The shapes of the others are fixed here; no layer reads them yet.

    Keys:
        token_ids: int32 [R, T], T >= 1, padded on the right with any ids of the vocabulary. With
            subwords, -1 - i is unknown token i.
        lengths: int32 [R], the number of real tokens of each row, 1 to T.
        unknown_subwords: int32 [U, K], the n-grams of the unknown tokens, see
            `text.ngrams.subword_ids`; only with subwords.
        text_of: int32 [R], ascending, 0 to B - 1: the text of each row, where a long text is
            split into several rows (windows). Vectors of rows are averaged by text. Without it,
            row i is text i.
        numbers: float32 [B, N], numeric columns.
        categories: int32 [B, K], ids of K categorical columns.
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor
    unknown_subwords: NotRequired[tf.Tensor]
    text_of: NotRequired[tf.Tensor]
    numbers: NotRequired[tf.Tensor]
    categories: NotRequired[tf.Tensor]
