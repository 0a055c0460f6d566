"""Change of the scores of a text when one of its tokens is left out.

It needs no gradients, so exported graphs can have it. The token is left out of what the network and
the linear model read; no token beyond a length limit is read instead.
"""

import tensorflow as tf

from textclf import networks, text
from textclf.artifact import Card
from textclf.linear import LinearModel
from textclf.text import UNKNOWN_ID

# Tokens of a text that are left out, one after the other.
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
    num_texts = tf.size(encoded.num_tokens, tf.int64)
    text_of, position = tf.unstack(positions, axis=1)
    column = tf.fill(tf.shape(position), tf.constant(-1, tf.int64))
    if network is not None:
        column = text_encoder.columns(position, tf.gather(encoded.num_tokens, text_of))
    linear_limit = 0 if linear is None else linear.max_tokens
    rank = _rank((column >= 0) | (position < linear_limit), text_of, num_texts)
    left_out = tf.where((rank >= 0) & (rank < MAX_TOKENS))[:, 0]  # int64 [M]
    text_of, rank = tf.gather(text_of, left_out), tf.gather(rank, left_out)

    logits, logits_without = [], []
    if linear is not None:
        whole = linear_logits
        is_read = tf.gather(position, left_out) < linear_limit
        rows = tf.where(is_read)  # [M', 1]
        without = linear.without_each(
            tokens, positions, num_texts, tf.gather_nd(left_out, rows)
        )
        logits.append(whole)
        logits_without.append(
            tf.tensor_scatter_nd_update(tf.gather(whole, text_of), rows, without)
        )
    if network is not None:
        whole = network_logits
        column = tf.gather(column, left_out)
        rows = tf.where(column >= 0)
        without = _network_without(
            network, encoded, tf.gather_nd(text_of, rows), tf.gather_nd(column, rows), whole
        )
        logits.append(whole)
        logits_without.append(
            tf.tensor_scatter_nd_update(tf.gather(whole, text_of), rows, without)
        )
    weights = tf.constant(card.task.score_weights(card.temperature))

    def scores_of(parts: list[tf.Tensor]) -> tf.Tensor:
        mixed = parts[0] if card.mixture is None else card.mixture.mix(*parts)
        return tf.matmul(mixed, weights, transpose_b=True)

    scores = scores_of(logits)
    drops = tf.gather(scores, text_of) - scores_of(logits_without)
    width = tf.reduce_max(tf.concat([[0], rank + 1], axis=0))
    places = tf.stack([text_of, rank], axis=1)
    shape = tf.stack([num_texts, width])
    return {
        "tokens": tf.tensor_scatter_nd_update(
            tf.fill(shape, ""), places, tf.gather(tokens, left_out)
        ),
        "drops": tf.scatter_nd(places, drops, tf.concat([shape, [len(card.class_names)]], 0)),
        "scores": scores,
        "num_tokens": encoded.num_tokens,
    }


def _rank(chosen: tf.Tensor, text_of: tf.Tensor, num_texts: tf.Tensor) -> tf.Tensor:
    """Return the number of each chosen token among those of its text, int64 [N]; else -1."""
    number = tf.cumsum(tf.cast(chosen, tf.int64), exclusive=True)
    first = tf.math.unsorted_segment_min(number, text_of, num_texts)
    return tf.where(chosen, number - tf.gather(first, text_of), -1)


def _network_without(
    network: "networks.Network | networks.ServingNetwork",
    encoded: text.Encoded,
    text_of: tf.Tensor,
    column: tf.Tensor,
    like: tf.Tensor,
) -> tf.Tensor:
    """Return the logits of the network without single tokens, float32 [M, C].

    Args:
        text_of, column: int64 [M], text and column of the tokens that are left out.
        like: logits of a batch.
    """
    num_rows = tf.size(column)
    num_parts = tf.maximum((num_rows + _ROWS - 1) // _ROWS, 1)
    last = tf.shape(encoded.token_ids)[1] - 1

    def logits_of(part: tf.Tensor) -> tf.Tensor:
        rows = slice(part * _ROWS, tf.minimum((part + 1) * _ROWS, num_rows))
        lengths = tf.gather(encoded.lengths, text_of[rows]) - 1  # [R]
        width = tf.reduce_max(tf.concat([[1], lengths], axis=0))
        steps = tf.range(width)
        # The columns from the left out one on are one further.
        is_after = steps >= tf.cast(column[rows], tf.int32)[:, tf.newaxis]  # [R, width]
        source = tf.minimum(steps + tf.cast(is_after, tf.int32), last)
        token_ids = tf.gather(
            tf.gather(encoded.token_ids, text_of[rows]), source, batch_dims=1
        )
        # A text without tokens is read as one unknown token.
        token_ids = tf.where(lengths[:, tf.newaxis] > 0, token_ids, UNKNOWN_ID)
        features = encoded._replace(token_ids=token_ids, lengths=tf.maximum(lengths, 1)).features()
        return network(features)  # type: ignore[operator]

    parts = tf.TensorArray(
        tf.float32, size=num_parts, element_shape=[None, like.shape[1]], infer_shape=False
    )
    # One part after the other, so that the memory does not grow with the number of tokens.
    _, parts = tf.while_loop(
        lambda part, parts: part < num_parts,
        lambda part, parts: (part + 1, parts.write(part, logits_of(part))),
        (tf.constant(0), parts),
        parallel_iterations=1,
    )
    return parts.concat()
