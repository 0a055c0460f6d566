"""Losses, regularisers and augmentations that textclf has no setting for, for `recipes.py`.

A technique replaces the loss of a training step; what it draws depends on the step only. An
augmentation changes the token ids of a batch; what it draws depends on seed, epoch, row and
position only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

SEED = 7
# Share of outputs and of recurrent weights that are zeroed.
OUTPUT_DROPOUT, WEIGHT_DROPOUT = 0.3, 0.3
# Exponent of the focal loss, and alpha of mixup.
FOCUS, MIXUP = 2.0, 0.2


def use(train_step: Any, name: str, dataset: Any) -> None:
    """Let a `TrainStep`, which was not called before, use a technique."""
    counts = dataset.splits["train"].class_counts.astype(np.float64)
    technique = TECHNIQUES[name](train_step, counts, dataset.splits["train"].num_examples)
    if technique is not None:
        train_step._losses = technique


def _task_losses(step: Any, targets: Any, logits: Any) -> Any:
    return step._task.losses(targets, logits, step._weight_of_class, step._settings.label_smoothing)


# === Regularisers ===


def variational_outputs(step: Any, *_: Any) -> Callable:
    """Zero features of the encoder's outputs at all positions of a text (Gal & Ghahramani 2016)."""
    import tensorflow as tf

    def losses(features: Any, targets: Any, number: Any) -> Any:
        outputs = step._network.encoder(features, True)
        shape = [tf.shape(outputs)[0], 1, outputs.shape[-1]]
        mask = tf.nn.experimental.stateless_dropout(
            tf.ones(shape), OUTPUT_DROPOUT, [SEED, tf.cast(number, tf.int32)]
        )
        vectors = step._network.head.pool(outputs * mask, features["lengths"])
        return _task_losses(step, targets, step._network.logits(vectors, True))

    return losses


def weight_dropout(step: Any, *_: Any) -> Callable:
    """Zero entries of the recurrent kernels (Merity et al. 2018)."""
    import keras
    import tensorflow as tf

    kernels = [layer.cell.recurrent_kernel for layer in step._network.encoder.recurrent_layers]

    def losses(features: Any, targets: Any, number: Any) -> Any:
        dropped = [
            tf.nn.experimental.stateless_dropout(
                kernel.value, WEIGHT_DROPOUT, [SEED + i, tf.cast(number, tf.int32)]
            )
            for i, kernel in enumerate(kernels)
        ]
        with keras.StatelessScope(list(zip(kernels, dropped, strict=True))):
            logits = step._network(features, training=True)
        return _task_losses(step, targets, logits)

    return losses


def _adversarial(norm: float) -> Callable:
    def make(step: Any, *_: Any) -> Callable:
        """Add the loss at token vectors moved along its gradient (Miyato et al. 2017)."""
        import tensorflow as tf

        network = step._network

        def losses(features: Any, targets: Any, number: Any) -> Any:
            x, lengths = network.encoder.embed(features["token_ids"], True), features["lengths"]

            def losses_at(x: Any) -> Any:
                outputs = network.encoder.encode_vectors(x, lengths, True)
                vectors = network.head.pool(outputs, lengths)
                return _task_losses(step, targets, network.logits(vectors, True))

            with tf.GradientTape() as tape:
                tape.watch(x)
                clean = losses_at(x)
                total = tf.reduce_sum(clean)
            gradient = tape.gradient(total, x)
            size = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=[1, 2], keepdims=True))
            # Vectors are not normalised: the norm is relative to that of a text's vectors.
            scale = tf.sqrt(tf.reduce_sum(tf.square(x), axis=[1, 2], keepdims=True))
            moved = x + tf.stop_gradient(norm * scale * gradient / (size + 1e-12))
            return (clean + losses_at(moved)) / 2

        return losses

    return make


def virtual_adversarial(step: Any, *_: Any) -> Callable:
    """Add the divergence at token vectors moved to where it rises fastest (Miyato et al. 2017).

    The labels of the texts take no part in it; texts without labels are not added here.
    """
    import tensorflow as tf

    network, norm, small = step._network, 0.1, 1e-2

    def size(x: Any) -> Any:
        return tf.sqrt(tf.reduce_sum(tf.square(x), axis=[1, 2], keepdims=True)) + 1e-12

    def losses(features: Any, targets: Any, number: Any) -> Any:
        x, lengths = network.encoder.embed(features["token_ids"], True), features["lengths"]

        def logits_at(x: Any) -> Any:
            outputs = network.encoder.encode_vectors(x, lengths, True)
            return network.logits(network.head.pool(outputs, lengths), True)

        logits = logits_at(x)
        p, log_p = tf.nn.softmax(logits), tf.nn.log_softmax(logits)
        p, log_p = tf.stop_gradient(p), tf.stop_gradient(log_p)

        def divergence(moved: Any) -> Any:
            return tf.reduce_sum(p * (log_p - tf.nn.log_softmax(logits_at(moved))), axis=1)

        direction = tf.random.stateless_normal(tf.shape(x), [SEED, tf.cast(number, tf.int32)])
        direction *= tf.cast(features["token_ids"] > 0, tf.float32)[:, :, tf.newaxis]
        scale = tf.stop_gradient(size(x))
        direction = small * scale * direction / size(direction)
        with tf.GradientTape() as tape:
            tape.watch(direction)
            total = tf.reduce_sum(divergence(tf.stop_gradient(x) + direction))
        gradient = tape.gradient(total, direction)
        moved = x + tf.stop_gradient(norm * scale * gradient / size(gradient))
        return _task_losses(step, targets, logits) + divergence(moved)

    return losses


def _r_drop(weight: float) -> Callable:
    def make(step: Any, *_: Any) -> Callable:
        """Add the divergence of two passes with other dropout masks (Liang et al. 2021)."""
        import tensorflow as tf

        network, encoder = step._network, step._network.encoder

        def losses(features: Any, targets: Any, number: Any) -> Any:
            # The optimizer by rows expects that token vectors are read once.
            read = tf.gather(encoder.embedding.embeddings.value, features["token_ids"])

            def logits() -> Any:
                x = encoder.token_dropout(read, training=True)
                x = encoder.embedding_dropout(x, training=True)
                outputs = encoder.encode_vectors(x, features["lengths"], True)
                return network.logits(network.head.pool(outputs, features["lengths"]), True)

            first, second = logits(), logits()
            both = [_task_losses(step, targets, logits) for logits in (first, second)]
            p, q = tf.nn.log_softmax(first), tf.nn.log_softmax(second)
            divergence = tf.reduce_sum((tf.exp(p) - tf.exp(q)) * (p - q), axis=1) / 2
            return (both[0] + both[1]) / 2 + weight * divergence

        return losses

    return make


def mixup(step: Any, *_: Any) -> Callable:
    """Mix pooled vectors and targets of pairs of texts (Guo et al. 2019, after the encoder)."""
    import tensorflow as tf

    def losses(features: Any, targets: Any, number: Any) -> Any:
        seed = [SEED, tf.cast(number, tf.int32)]
        vectors = step._network.encode(features, True)
        rows = tf.shape(vectors)[0]
        gammas = tf.random.stateless_gamma([2, rows], seed, MIXUP)
        share = tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])
        share = tf.maximum(share, 1 - share)[:, tf.newaxis]  # [B, 1]
        order = tf.argsort(tf.random.stateless_uniform([rows], seed))
        mixed = share * vectors + (1 - share) * tf.gather(vectors, order)
        goals = share * targets + (1 - share) * tf.gather(targets, order)
        return _task_losses(step, goals, step._network.logits(mixed, True))

    return losses


# === Imbalance ===


def focal(step: Any, *_: Any) -> Callable:
    """Give less weight to texts that are classified well (Lin et al. 2017)."""
    import tensorflow as tf

    def losses(features: Any, targets: Any, number: Any) -> Any:
        logits = step._network(features, training=True)
        if step._task.is_multi_label:
            p = tf.sigmoid(logits)
            of_target = targets * p + (1 - targets) * (1 - p)
            each = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
            return tf.reduce_sum((1 - of_target) ** FOCUS * each, axis=1)
        of_target = tf.reduce_sum(targets * tf.nn.softmax(logits), axis=1)
        return (1 - of_target) ** FOCUS * _task_losses(step, targets, logits)

    return losses


def logit_adjustment(step: Any, counts: np.ndarray, num_examples: int) -> Callable:
    """Add the logarithm of the class shares to the logits in the loss (Menon et al. 2021)."""
    import tensorflow as tf

    shares = np.maximum(counts, 1) / num_examples
    if step._task.is_multi_label:
        shares = shares / (1 - np.minimum(shares, 0.999))  # the odds
    adjustment = tf.constant(np.log(shares), tf.float32)

    def losses(features: Any, targets: Any, number: Any) -> Any:
        logits = step._network(features, training=True)
        return _task_losses(step, targets, logits + adjustment)

    return losses


# === Augmentation ===

# Share of the tokens that are deleted, swapped with the next one, or replaced.
CHANGED = 0.1
_NUM_VARIANTS = 4


def sample_balanced(counts: np.ndarray, seed: int) -> Callable:
    """Return a function of a batch and an epoch that draws rows of the batch again.

    A row is drawn with a probability inverse to the number of training texts of its rarest class.
    The vocabulary remains that of the texts without repetition: with repeated rows, no word of a
    rare class would be unknown in training.
    """
    import tensorflow as tf

    rate_of_class = tf.constant(1 / np.maximum(counts, 1), tf.float32)

    def change(batch: Any, epoch: Any) -> Any:
        rates = tf.reduce_max(batch.targets * rate_of_class, axis=1)  # [B]
        # A row without labels counts as one of the most frequent class.
        rates = tf.maximum(rates, tf.reduce_min(rate_of_class))
        shares = tf.cumsum(rates) / tf.reduce_sum(rates)
        chosen = tf.searchsorted(shares, _draws(batch.rows, 1, seed, epoch)[:, 0], side="right")
        chosen = tf.minimum(chosen, tf.size(rates) - 1)
        return tf.nest.map_structure(lambda field: tf.gather(field, chosen), batch)

    return change


def augment(name: str, tokens: list[str], seed: int, vectors: str | None) -> Callable:
    """Return a function of a batch and an epoch that returns the batch with changed token ids.

    Args:
        name: a member of `AUGMENTATIONS`.
        tokens: the vocabulary, whose first token has id 2.
        seed: of the training.
        vectors: file of token vectors for synonyms.
    """
    import tensorflow as tf

    variants = None
    if name == "synonym":
        assert vectors is not None
        variants = tf.constant(_neighbours(tokens, vectors))
    elif name == "noise":
        variants = tf.constant(_misspelled(tokens))

    def change(batch: Any, epoch: Any) -> Any:
        ids, lengths = batch.features["token_ids"], batch.features["lengths"]
        draws = _draws(batch.rows, tf.shape(ids)[1], seed, epoch)  # [B, T]
        positions = tf.range(tf.shape(ids)[1])
        is_real = positions < lengths[:, tf.newaxis]
        is_changed = (draws < CHANGED) & is_real
        if name == "delete":
            is_kept = is_real & (~is_changed | (lengths[:, tf.newaxis] == 1))
            # A text keeps its first token if all would be deleted.
            is_kept |= (tf.reduce_sum(tf.cast(is_kept, tf.int32), 1) == 0)[:, tf.newaxis] & (
                positions == 0
            )
            order = tf.argsort(tf.cast(~is_kept, tf.int32), axis=1, stable=True)
            lengths = tf.reduce_sum(tf.cast(is_kept, tf.int32), axis=1)
            ids = tf.gather(ids, order, batch_dims=1)
            ids = tf.where(positions < lengths[:, tf.newaxis], ids, 0)
        elif name == "swap":
            # A token is exchanged with the next real one, if that is not exchanged too.
            first = is_changed & (positions < lengths[:, tf.newaxis] - 1)
            first &= ~tf.pad(first, [[0, 0], [1, 0]])[:, :-1]
            second = tf.pad(first, [[0, 0], [1, 0]])[:, :-1]
            order = tf.where(first, positions + 1, tf.where(second, positions - 1, positions))
            ids = tf.gather(ids, order, batch_dims=1)
        else:
            chosen = tf.cast(draws / CHANGED * _NUM_VARIANTS, tf.int32)
            chosen = tf.minimum(chosen, _NUM_VARIANTS - 1)
            others = tf.gather_nd(variants, tf.stack([ids, chosen], axis=-1))
            ids = tf.where(is_changed, others, ids)
        return batch._replace(features={"token_ids": ids, "lengths": lengths})

    return change


def _draws(rows: Any, width: Any, seed: int, epoch: Any) -> Any:
    """Return uniform numbers by row and position, float32 [B, T], from a hash (splitmix64)."""
    import tensorflow as tf

    def mix(x: Any) -> Any:
        for factor, shift in ((0xBF58476D1CE4E5B9, 30), (0x94D049BB133111EB, 27)):
            x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64)))
            x *= tf.constant(factor, tf.uint64)
        return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.uint64)))

    key = mix(tf.cast(epoch, tf.uint64) + tf.constant(seed * 1_000_003 + 1, tf.uint64))
    key = mix(key + tf.cast(rows, tf.uint64))[:, tf.newaxis]  # [B, 1]
    values = mix(key + tf.cast(tf.range(1, width + 1), tf.uint64) * 0x9E3779B9)
    top = tf.bitwise.right_shift(values, tf.constant(40, tf.uint64))
    return tf.cast(tf.cast(top, tf.int32), tf.float32) / 2.0**24


def _neighbours(tokens: list[str], path: str) -> np.ndarray:
    """Return the ids of the nearest tokens of each id by cosine, int32 [V, variants]."""
    found: dict[str, np.ndarray] = {}
    known = set(tokens)
    with open(path, encoding="utf-8") as file:
        for line in file:
            token, *numbers = line.rstrip().split(" ")
            if token in known:
                found[token] = np.array(numbers, np.float32)
    ids = np.array([number for number, token in enumerate(tokens, 2) if token in found])
    matrix = np.array([found[tokens[id_ - 2]] for id_ in ids])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    result = np.repeat(np.arange(len(tokens) + 2, dtype=np.int32)[:, np.newaxis], _NUM_VARIANTS, 1)
    for start in range(0, len(ids), 1024):
        similar = matrix[start : start + 1024] @ matrix.T
        similar[np.arange(len(similar)), np.arange(start, start + len(similar))] = -1
        result[ids[start : start + 1024]] = ids[np.argsort(-similar, axis=1)[:, :_NUM_VARIANTS]]
    return result


def _misspelled(tokens: list[str]) -> np.ndarray:
    """Return the ids of misspelled forms of each token, 1 if unknown: int32 [V, variants]."""
    random = np.random.default_rng(SEED)
    id_of = {token: number for number, token in enumerate(tokens, 2)}
    result = np.repeat(np.arange(len(tokens) + 2, dtype=np.int32)[:, np.newaxis], _NUM_VARIANTS, 1)
    for token, id_ in id_of.items():
        if len(token) < 3:
            continue
        for variant in range(_NUM_VARIANTS):
            i = int(random.integers(len(token) - 1))
            swapped = token[:i] + token[i + 1] + token[i] + token[i + 2 :]
            other = swapped if variant % 2 else token[:i] + token[i + 1 :]
            result[id_, variant] = id_of.get(other, 1)
    return result


AUGMENTATIONS = ("delete", "swap", "synonym", "noise")

TECHNIQUES: dict[str, Callable] = {
    "variational": variational_outputs,
    "weightdrop": weight_dropout,
    "adversarial1": _adversarial(0.1),
    "adversarial3": _adversarial(0.3),
    "virtual": virtual_adversarial,
    "rdrop1": _r_drop(1.0),
    "rdrop4": _r_drop(4.0),
    "mixup": mixup,
    "focal": focal,
    "adjusted": logit_adjustment,
}
