"""Change of the scores of a text when one of its tokens is left out.

This needs no gradients, so exported graphs can contain it. The network and the linear model read
the text without the token; no token beyond a length limit replaces it.
"""

from typing import NamedTuple

import tensorflow as tf

from textclf import networks, text
from textclf.artifact import Card
from textclf.linear import LinearModel
from textclf.text import UNKNOWN_ID

# Maximum number of tokens of a text that are left out, one at a time.
MAX_TOKENS = 512
# Rows in one pass through the network.
_ROWS = 64


def leave_one_out(
    tokens: tf.Tensor,
    positions: tf.Tensor,
    encoded: text.Encoded,
    *,
    linear_logits: tf.Tensor | None,
    network_logits: tf.Tensor | None,
    text_encoder: text.TextEncoder,
    network: "networks.Network | networks.ServingNetwork | None",
    linear: LinearModel | None,
    card: Card,
) -> dict[str, tf.Tensor]:
    """Compute how much each token of texts adds to the scores, in core TensorFlow operations.

    Args:
        tokens, positions: string [N] and int64 [N, 2], of `Tokenizer.split_tokens`.
        encoded: the same tokens, encoded.
        linear_logits, network_logits: float32 [batch, classes], logits of both models; None for a
            model that the classifier does not have.
        text_encoder, network, linear, card: parts of the classifier.

    Returns:
        tokens: string [batch, T], the first tokens that the network or the linear model reads, at
            most `MAX_TOKENS`; "" after the last one.
        drops: float32 [batch, T, classes], score of the text minus the score without the token; 0
            after the last one.
        scores: float32 [batch, classes], see `tasks.Task.score_weights`.
        num_tokens: int64 [batch], number of all tokens of the text.
    """
    left_out = _left_out(positions, encoded, text_encoder, network, linear)
    logits, logits_without = [], []
    if linear is not None:
        rows = tf.where(left_out.is_read_by_linear)  # [M', 1]
        num_texts = tf.size(encoded.num_tokens, tf.int64)
        read = tf.gather_nd(left_out.token, rows)
        without = linear.without_each(tokens, positions, num_texts, read)
        logits.append(linear_logits)
        logits_without.append(_replaced(linear_logits, left_out.text, rows, without))
    if network is not None:
        rows = tf.where(left_out.column >= 0)
        of_rows = [tf.gather_nd(part, rows) for part in (left_out.text, left_out.column)]
        without = _network_without(network, encoded, *of_rows, num_classes=len(card.class_names))
        logits.append(network_logits)
        logits_without.append(_replaced(network_logits, left_out.text, rows, without))
    weights = tf.constant(card.task.score_weights(card.temperature))

    def scores_of(parts: list[tf.Tensor]) -> tf.Tensor:
        mixed = parts[0] if card.mixture is None else card.mixture.mix(*parts)
        return tf.matmul(mixed, weights, transpose_b=True)

    scores = scores_of(logits)
    drops = tf.gather(scores, left_out.text) - scores_of(logits_without)
    width = tf.reduce_max(tf.concat([[0], left_out.rank + 1], axis=0))
    places = tf.stack([left_out.text, left_out.rank], axis=1)
    shape = tf.stack([tf.size(encoded.num_tokens, tf.int64), width])
    return {
        "tokens": tf.tensor_scatter_nd_update(
            tf.fill(shape, ""), places, tf.gather(tokens, left_out.token)
        ),
        "drops": tf.scatter_nd(places, drops, tf.concat([shape, [len(card.class_names)]], 0)),
        "scores": scores,
        "num_tokens": encoded.num_tokens,
    }


class _LeftOut(NamedTuple):
    """Tokens that are left out, one at a time.

    Attributes:
        token: int64 [M], index among all tokens.
        text: int64 [M], number of the text.
        rank: int64 [M], number among the left out tokens of the text.
        column: int64 [M], column in the token ids; -1 if the network does not read the token.
        is_read_by_linear: bool [M].
    """

    token: tf.Tensor
    text: tf.Tensor
    rank: tf.Tensor
    column: tf.Tensor
    is_read_by_linear: tf.Tensor


def _left_out(
    positions: tf.Tensor,
    encoded: text.Encoded,
    text_encoder: text.TextEncoder,
    network: "networks.Network | networks.ServingNetwork | None",
    linear: LinearModel | None,
) -> _LeftOut:
    """Return the first tokens of each text that the network or the linear model reads."""
    text_of, position = tf.unstack(positions, axis=1)
    column = tf.fill(tf.shape(position), tf.constant(-1, tf.int64))
    if network is not None:
        column = text_encoder.columns(position, tf.gather(encoded.num_tokens, text_of))
    by_linear = position < (0 if linear is None else linear.max_tokens)
    is_read = (column >= 0) | by_linear
    number = tf.cumsum(tf.cast(is_read, tf.int64), exclusive=True)
    num_texts = tf.size(encoded.num_tokens, tf.int64)
    first = tf.math.unsorted_segment_min(number, text_of, num_texts)
    rank = number - tf.gather(first, text_of)
    token = tf.where(is_read & (rank < MAX_TOKENS))[:, 0]
    return _LeftOut(token, *(tf.gather(part, token) for part in (text_of, rank, column, by_linear)))


def _replaced(
    whole: tf.Tensor, text_of: tf.Tensor, rows: tf.Tensor, without: tf.Tensor
) -> tf.Tensor:
    """Return logits without each token, [M, C]: those of the whole text except in some rows."""
    return tf.tensor_scatter_nd_update(tf.gather(whole, text_of), rows, without)


def _network_without(
    network: "networks.Network | networks.ServingNetwork",
    encoded: text.Encoded,
    text_of: tf.Tensor,
    column: tf.Tensor,
    *,
    num_classes: int,
) -> tf.Tensor:
    """Return the logits of the network without each token, float32 [M, C].

    Args:
        text_of, column: int64 [M], text and column of the tokens that are left out.
        num_classes: number of logits, C.
    """
    num_rows = tf.size(column)
    num_parts = tf.maximum((num_rows + _ROWS - 1) // _ROWS, 1)
    last = tf.shape(encoded.token_ids)[1] - 1

    def logits_of(part: tf.Tensor) -> tf.Tensor:
        rows = slice(part * _ROWS, tf.minimum((part + 1) * _ROWS, num_rows))
        lengths = tf.gather(encoded.lengths, text_of[rows]) - 1  # [R]
        width = tf.reduce_max(tf.concat([[1], lengths], axis=0))
        steps = tf.range(width)
        # From the column that is left out on, each column is the next one.
        is_after = steps >= tf.cast(column[rows], tf.int32)[:, tf.newaxis]  # [R, width]
        source = tf.minimum(steps + tf.cast(is_after, tf.int32), last)
        token_ids = tf.gather(tf.gather(encoded.token_ids, text_of[rows]), source, batch_dims=1)
        # A text without tokens is read as one unknown token.
        token_ids = tf.where(lengths[:, tf.newaxis] > 0, token_ids, UNKNOWN_ID)
        features = encoded._replace(token_ids=token_ids, lengths=tf.maximum(lengths, 1)).features()
        return network(features)

    parts = tf.TensorArray(
        tf.float32, size=num_parts, element_shape=[None, num_classes], infer_shape=False
    )
    # One part at a time, so that the memory does not grow with the number of tokens.
    _, parts = tf.while_loop(
        lambda part, parts: part < num_parts,
        lambda part, parts: (part + 1, parts.write(part, logits_of(part))),
        (tf.constant(0), parts),
        parallel_iterations=1,
    )
    return parts.concat()
