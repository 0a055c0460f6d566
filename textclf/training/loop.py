"""Epochs and steps: the network, its optimizer, and what is remembered from epoch to epoch."""

import datetime
import math
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import textclf
from textclf import artifact, batches, classifier, data, evaluation, text
from textclf.config import Config
from textclf.training.events import Epoch, Event, Started, Step
from textclf.training.losses import example_losses, probabilities


class Interrupted(Exception):
    def __init__(self, why: str, message: str):
        super().__init__(message)
        self.why = why


class _Best(NamedTuple):
    epoch: int
    score: float  # higher is better
    weights: dict[str, np.ndarray]
    logits: np.ndarray  # float32 [validation examples, classes]


class Run:
    """One training: network, optimizer and what the loop remembers."""

    def __init__(
        self,
        config: Config,
        dataset: data.Dataset,
        prepared: batches.Prepared,
        class_weights: list[float],
    ):
        self.config = config
        self.settings = config.training
        self.dataset = dataset
        self.prepared = prepared
        self.num_classes = len(dataset.class_names)
        self.class_weights = class_weights
        vocabulary = text.read_vocabulary(prepared.vocabulary_path)
        self.vocabulary_size = text.NUM_RESERVED + len(vocabulary) + config.text.hash_buckets
        self.notices: list[str] = []
        matrix = self._vectors(vocabulary)
        self.strategy = _strategy(self.settings.strategy)
        with self.strategy.scope():
            self.network = classifier.build_network(
                config,
                vocabulary_size=self.vocabulary_size,
                num_classes=self.num_classes,
                embedding_matrix=matrix,
            )
            self.optimizer = _optimizer(self.settings)
            self.optimizer.build(self.network.trainable_variables)
        self.steps_per_epoch = prepared.train.num_batches(
            self.settings.batch_size, self.settings.length_buckets
        )
        self.total_steps = self.settings.epochs * self.steps_per_epoch
        if self.settings.max_steps is not None:
            self.total_steps = min(self.total_steps, self.settings.max_steps)
        self.epoch = 0
        self.step = 0  # over all epochs
        self.best: _Best | None = None
        self.epochs_without_gain = 0
        self.plateau_factor = 1.0
        self.rate = 0.0  # learning rate of the last step
        self.stopped_early = False
        self._train_step = self._make_train_step()
        self._logits = tf.function(
            lambda token_ids, lengths: self.network(token_ids, lengths, training=False),
            input_signature=[
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ],
            autograph=False,
        )
        self._validation = batches.ordered_batches(prepared.validation, batch_size=256)
        self._y_validation = self._of_validation(lambda batch: batch.targets) > 0

    def started(self) -> Started:
        return Started(
            class_names=self.dataset.class_names,
            splits={name: split.num_examples for name, split in self.dataset.splits.items()},
            vocabulary_size=self.vocabulary_size,
            num_weights=sum(math.prod(v.shape) for v in self.network.parameters),
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
            notices=(*self._text_notices(), *self.notices),
        )

    def epochs(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Trains epoch after epoch.

        Raises:
            Interrupted: at a step, when `should_stop` says so or a loss is not finite.
        """
        for epoch in range(1, self.settings.epochs + 1):
            self.epoch = epoch
            started = time.monotonic()
            losses, sizes, norms = [], [], []
            dataset = batches.training_batches(
                self.prepared.train,
                batch_size=self.settings.batch_size,
                length_buckets=self.settings.length_buckets,
                shuffle_buffer=self.settings.shuffle_buffer,
                seed=self.settings.seed,
                epoch=self.epoch,
            )
            for step, batch in enumerate(dataset, start=1):
                if should_stop():
                    raise Interrupted(
                        "interrupted",
                        f"interrupted in epoch {self.epoch} at step {step} of "
                        f"{self.steps_per_epoch}",
                    )
                self.rate = self._learning_rate()
                self.optimizer.learning_rate.assign(self.rate)
                loss, batch_norms = self._train_step(
                    *_token_features(batch), batch.targets, batch.weights
                )
                self.step += 1
                losses.append(float(loss))
                sizes.append(len(batch.rows))
                norms.append(batch_norms.numpy())
                if not (math.isfinite(losses[-1]) and np.isfinite(norms[-1]).all()):
                    raise Interrupted("not finite", self._not_finite(batch, step, losses[-1]))
                yield Step(self.epoch, step, self.steps_per_epoch, losses[-1])
                if self.step == self.total_steps:
                    break
            logits = self._of_validation(lambda batch: self._logits(*_token_features(batch)))
            if not np.isfinite(logits).all():
                raise Interrupted(
                    "not finite",
                    f"the answers to the validation texts are not finite after epoch {self.epoch}; "
                    "lower training.learning_rate or set training.clip_norm",
                )
            figures = {
                "epoch": self.epoch,
                "loss": float(np.average(losses, weights=sizes)),
                **self._validation_figures(logits),
                "learning_rate": self.rate,
                "gradient_norms": self._norms_by_layer(np.array(norms)),
            }
            is_best = self._remember(figures, logits)
            yield Epoch(self.epoch, figures, is_best, time.monotonic() - started)
            patience = self.settings.patience_epochs
            if patience and self.epochs_without_gain >= patience:
                self.stopped_early = self.step < self.total_steps
                break
            if self.step == self.total_steps:
                break

    def card(self, config: Config, why: str) -> artifact.Card:
        """What the best epoch is, with all that is fitted on validation.

        First the temperature, then thresholds on calibrated probabilities, then abstention.
        """
        assert self.best is not None
        multi_label = self.dataset.multi_label
        y_true = self._y_validation if multi_label else self._y_validation.argmax(axis=1)
        logits = self.best.logits
        temperature = evaluation.fit_temperature(y_true, logits, multi_label=multi_label)
        p = probabilities(logits / np.asarray(temperature, np.float32), multi_label)
        thresholds = evaluation.choose_thresholds(y_true, p) if multi_label else None
        wanted = self.config.training
        abstention = None
        if wanted.abstain_precision is not None or wanted.abstain_coverage is not None:
            abstention = evaluation.choose_abstention(
                y_true, p, precision=wanted.abstain_precision, coverage=wanted.abstain_coverage
            )
            if abstention is None:
                self.notices.append(
                    f"no confidence is high enough for training.abstain_precision="
                    f"{wanted.abstain_precision} on validation, so the model never abstains"
                )
        abstain_below = None if abstention is None else abstention.abstain_below
        report = evaluation.evaluate(
            y_true,
            p,
            class_names=self.dataset.class_names,
            multi_label=multi_label,
            thresholds=thresholds,
            temperature=temperature,
            abstain_below=abstain_below,
            **config.evaluation.to_dict(),
        )
        statistics = self.prepared.train.statistics
        return artifact.Card(
            class_names=self.dataset.class_names,
            multi_label=multi_label,
            config=config.to_dict(),
            temperature=temperature,
            abstain_below=abstain_below,
            # As decimal text a float32 threshold would otherwise not come back as it was.
            thresholds=None if thresholds is None else tuple(float(t) for t in thresholds),
            data=artifact.DataSummary(
                fingerprint=self.dataset.fingerprint,
                splits={
                    name: artifact.SplitSize(
                        num_examples=split.num_examples,
                        class_counts=tuple(int(count) for count in split.class_counts),
                    )
                    for name, split in self.dataset.splits.items()
                },
                findings=self.dataset.findings.to_dict(),
            ),
            text=artifact.TextSummary(
                vocabulary_size=self.vocabulary_size,
                pruned_tokens=self.prepared.num_pruned,
                unknown_fraction=_share(
                    self.prepared.validation.statistics.num_unknown,
                    self.prepared.validation.statistics.num_kept,
                ),
                train=artifact.TrainTokens(
                    num_tokens=statistics.num_tokens,
                    truncated_texts=tuple(statistics.truncated_texts.tolist()),
                    cut_tokens=tuple(statistics.cut_tokens.tolist()),
                ),
            ),
            training=artifact.TrainingSummary(
                best_epoch=self.best.epoch,
                epochs=self.epoch,
                ended_by=why,
                num_weights=sum(math.prod(v.shape) for v in self.network.parameters),
            ),
            validation=report,
            versions={
                "textclf": textclf.__version__,
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
            },
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    # === One step ===

    def _make_train_step(self) -> Callable:
        network, optimizer, settings = self.network, self.optimizer, self.settings
        variables = network.trainable_variables
        num_replicas = self.strategy.num_replicas_in_sync
        multi_label = self.dataset.multi_label
        class_weights = tf.constant(self.class_weights, tf.float32)

        def replica_step(
            token_ids: tf.Tensor,  # int32 [share of batch, width]
            lengths: tf.Tensor,  # int32 [share of batch]
            targets: tf.Tensor,  # float32 [share of batch, classes]
            weights: tf.Tensor,  # float32 [share of batch], 0 for rows that only fill up
            batch_size: tf.Tensor,  # float32 [], rows of all replicas
        ) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                logits = network(token_ids, lengths, training=True)
                losses = example_losses(
                    targets, logits, class_weights, multi_label, settings.label_smoothing
                )
                loss = tf.reduce_sum(losses * weights) / batch_size
                # Every replica adds its share, so that their sum is the penalty once.
                penalty = tf.add_n(network.losses) if network.losses else tf.zeros([])
                total = loss + penalty / num_replicas
            gradients = [
                tf.convert_to_tensor(gradient)
                for gradient in tape.gradient(total, [v.value for v in variables])
            ]
            if num_replicas > 1:
                context = tf.distribute.get_replica_context()
                gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
                total = context.all_reduce(tf.distribute.ReduceOp.SUM, total)
            norms = tf.stack([tf.norm(gradient) for gradient in gradients])
            norm = tf.norm(norms)
            is_finite = tf.math.is_finite(total) & tf.math.is_finite(norm)
            if settings.clip_value is not None:
                limit = settings.clip_value
                gradients = [tf.clip_by_value(gradient, -limit, limit) for gradient in gradients]
            if settings.clip_norm is not None:
                gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm)
            # Nothing that is not finite reaches the weights; and Keras adds up the gradients of
            # all replicas, which are equal here, so each gives its share.
            gradients = [
                tf.where(is_finite, gradient, 0.0) / num_replicas for gradient in gradients
            ]
            optimizer.apply(gradients, variables)
            return total, norms

        def train_step(
            token_ids: tf.Tensor,  # int32 [batch, width]
            lengths: tf.Tensor,  # int32 [batch]
            targets: tf.Tensor,  # float32 [batch, classes]
            weights: tf.Tensor,  # float32 [batch]
        ) -> tuple[tf.Tensor, tf.Tensor]:
            num_rows = tf.shape(lengths)[0]
            batch_size = tf.cast(num_rows, tf.float32)
            if num_replicas == 1:
                return replica_step(token_ids, lengths, targets, weights, batch_size)
            share = -(-num_rows // num_replicas)

            def step_on_share() -> tuple[tf.Tensor, tf.Tensor]:
                replica = tf.distribute.get_replica_context().replica_id_in_sync_group
                rows = replica * share + tf.range(share)
                # Short of rows, the last replicas repeat row 0 without counting it.
                is_counted = rows < num_rows
                rows = tf.where(is_counted, rows, 0)
                return replica_step(
                    tf.gather(token_ids, rows),
                    tf.gather(lengths, rows),
                    tf.gather(targets, rows),
                    tf.gather(weights, rows) * tf.cast(is_counted, tf.float32),
                    batch_size,
                )

            total, norms = self.strategy.run(step_on_share)
            # Equal on all replicas.
            total = self.strategy.experimental_local_results(total)[0]
            norms = self.strategy.experimental_local_results(norms)[0]
            return total, norms

        signature = [
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, self.num_classes], tf.float32),
            tf.TensorSpec([None], tf.float32),
        ]
        return tf.function(train_step, input_signature=signature, autograph=False)

    def _learning_rate(self) -> float:
        settings = self.settings
        if self.step < settings.warmup_steps:
            return settings.learning_rate * (self.step + 1) / settings.warmup_steps
        step = self.step - settings.warmup_steps
        factor = self.plateau_factor
        if settings.schedule == "cosine":
            share = min(step / max(self.total_steps - settings.warmup_steps, 1), 1.0)
            factor = 0.5 * (1 + math.cos(math.pi * share))
        elif settings.schedule == "exponential":
            factor = settings.decay_rate ** (step / self.steps_per_epoch)
        return settings.learning_rate * factor

    def _not_finite(self, batch: batches.Batch, step: int, loss: float) -> str:
        rows = sorted(int(row) for row in batch.rows.numpy())
        wanted = rows[:3]
        texts = []
        for example in self.dataset.examples("train"):
            if example.row in wanted:
                shown = example.text if len(example.text) <= 80 else example.text[:77] + "..."
                texts.append(f"{self.dataset.place('train', example.row)} {shown!r}")
                if len(texts) == len(wanted):
                    break
        return (
            f"the loss or its gradient is not finite in epoch {self.epoch} at step {step} (loss "
            f"{loss}, learning rate {self.rate:.3g}); lower training.learning_rate "
            f"or set training.clip_norm; the batch of {len(rows)} texts holds "
            f"{'; '.join(texts)}"
        )

    # === Validation ===

    def _of_validation(self, values_of: Callable[[batches.Batch], tf.Tensor]) -> np.ndarray:
        """float32 [validation examples, classes], in the order of the rows."""
        values = np.empty((self.prepared.validation.num_examples, self.num_classes), np.float32)
        for batch in self._validation:
            values[batch.rows.numpy()] = values_of(batch).numpy()
        return values

    def _validation_figures(self, logits: np.ndarray) -> dict[str, float]:
        y_true, multi_label = self._y_validation, self.dataset.multi_label
        p = probabilities(logits, multi_label)
        loss = example_losses(
            tf.constant(y_true, tf.float32),
            tf.constant(logits),
            tf.ones([self.num_classes]),
            multi_label,
            0.0,
        )
        if multi_label:
            selected = evaluation.select(p, evaluation.choose_thresholds(y_true, p))
        else:
            selected = np.eye(self.num_classes, dtype=bool)[p.argmax(axis=1)]
        return {
            "val_loss": float(np.mean(loss.numpy())),
            "val_accuracy": float((selected == y_true).all(axis=1).mean()),
            "val_macro_f1": evaluation.macro_f1(y_true, selected),
        }

    def _remember(self, figures: dict[str, Any], logits: np.ndarray) -> bool:
        score = figures[self.settings.monitor]
        score = -score if self.settings.monitor == "val_loss" else score
        is_best = self.best is None or score > self.best.score
        if is_best:
            weights = classifier.get_weights(self.network)
            self.best = _Best(self.epoch, score, weights, logits)
            self.epochs_without_gain = 0
        else:
            self.epochs_without_gain += 1
            patience = self.settings.plateau_patience_epochs
            if self.settings.schedule == "plateau" and self.epochs_without_gain % patience == 0:
                self.plateau_factor *= self.settings.plateau_factor
        return is_best

    def _norms_by_layer(self, norms: np.ndarray) -> dict[str, float]:
        """Mean over the epoch's steps of each layer's gradient norm; norms [steps, weights]."""
        squares: dict[str, np.ndarray] = {}
        for index, variable in enumerate(self.network.trainable_variables):
            layer = variable.path.rsplit("/", 1)[0]
            squares[layer] = squares.get(layer, 0) + norms[:, index].astype(np.float64) ** 2
        return {layer: float(np.sqrt(square).mean()) for layer, square in squares.items()}

    # === What to tell before the long work ===

    def _vectors(self, vocabulary: list[str]) -> np.ndarray | None:
        path = self.config.model.embedding_vectors
        if path is None:
            return None
        matrix, num_found = text.read_vectors(
            path,
            vocabulary,
            dim=self.config.model.embedding_dim,
            hash_buckets=self.config.text.hash_buckets,
            seed=self.settings.seed,
        )
        self.notices.append(
            f"{num_found} of {len(vocabulary)} tokens ({num_found / len(vocabulary):.0%}) have a "
            f"vector in {path}; the others begin at random"
        )
        return matrix

    def _text_notices(self) -> Iterator[str]:
        yield from self.dataset.findings.sentences(num_places=1)
        if self.prepared.num_pruned:
            yield (
                f"{self.prepared.num_pruned} rare tokens were dropped while counting, so counts "
                "near text.min_count are approximate"
            )
        if self.settings.warmup_steps >= self.total_steps:
            yield (
                f"training.warmup_steps {self.settings.warmup_steps} is all of the "
                f"{self.total_steps} "
                "steps, so the learning rate never gets to its height"
            )
        statistics = self.prepared.train.statistics
        num_cut = int(statistics.truncated_texts.sum())
        if num_cut:
            limit = self.config.text.sequence_length
            by_class = zip(
                self.dataset.class_names,
                statistics.truncated_texts / np.maximum(statistics.texts, 1),
                statistics.cut_tokens / np.maximum(statistics.tokens, 1),
                strict=True,
            )
            shares = ", ".join(
                f"{name} {texts:.1%} of texts and {tokens:.1%} of tokens"
                for name, texts, tokens in by_class
                if texts
            )
            yield f"text.sequence_length {limit} cuts training texts: {shares}"


def _token_features(batch: batches.Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the token ids, int32 [batch, width], and the lengths, int32 [batch]."""
    return batch.features["token_ids"], batch.features["lengths"]


def _optimizer(settings: Any) -> keras.optimizers.Optimizer:
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=settings.momentum)
    if settings.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate, momentum=settings.momentum)
    if settings.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    return keras.optimizers.Adam(rate)


def _strategy(name: str) -> tf.distribute.Strategy:
    if name == "one_device":
        return tf.distribute.get_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
