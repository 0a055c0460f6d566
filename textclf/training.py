"""The loop: from a configuration to a trained folder, as a stream of events.

    for event in train(config, "runs/reviews"):
        ...

It prints nothing. Who runs it decides what to show: `Started`, `Step` and `Epoch` tell how it
goes, `Finished` where the result is.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import importlib.util
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import textclf
from textclf import artifact, batches, classifier, data, evaluation, text
from textclf.config import Config, with_paths
from textclf.errors import ArtifactError, ConfigError, DataError, TrainingError


@dataclasses.dataclass(frozen=True)
class Started:
    """Data, vocabulary and network are ready.

    Attributes:
        class_names: the classes in order.
        splits: examples in each split.
        vocabulary_size: ids, padding and unknown included.
        num_weights: numbers in the network.
        steps_per_epoch: steps of one pass.
        notices: what a person should know before the long work, as sentences.
    """

    class_names: tuple[str, ...]
    splits: dict[str, int]
    vocabulary_size: int
    num_weights: int
    steps_per_epoch: int
    notices: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step is done; `step` counts from 1 within the epoch, `epoch` from 1."""

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One pass and its validation are done.

    Attributes:
        epoch: counts from 1.
        figures: what goes into the history: losses, validation scores, learning rate, and the
            mean norm of the gradient by layer.
        is_best: whether these weights are the best so far.
        seconds: time of the pass and of its validation.
    """

    epoch: int
    figures: dict[str, Any]
    is_best: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Finished:
    """The trained folder is written.

    Attributes:
        folder: where.
        best_epoch: the epoch whose weights it holds.
        epochs: epochs that were run.
        why: "epochs", "early stopping", "interrupted" or "not finite".
        message: for the last two, a sentence for the user.
        validation: the validation figures of the best epoch.
    """

    folder: Path
    best_epoch: int
    epochs: int
    why: str
    message: str
    validation: dict[str, float]


Event = Started | Step | Epoch | Finished


def check(config: Config, output: str | os.PathLike, *, overwrite: bool = False) -> None:
    """What can be refused before the data are read in full.

    Raises:
        TextclfError: with what is wrong and how to mend it.
    """
    if config.training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            [
                "training.tensorboard: tensorboard is not installed; install it with "
                "`pip install 'textclf[tensorboard]'` or remove the setting"
            ]
        )
    artifact.check_output(output, overwrite=overwrite, is_ours=(artifact.CARD,))
    data.check_sources(**with_paths(config).data.model_dump())


def train(
    config: Config,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: batches.Progress = lambda stage, done, total: None,
) -> Iterator[Event]:
    """Trains a classifier and writes its folder.

    Args:
        config: the experiment.
        output: the folder to write; replaced only with `overwrite`, and only when the new one
            is whole.
        should_stop: asked at every step; when true, the best epoch so far is saved.
        on_progress: told about the stages before the first step.

    Yields:
        Events, the last of which is `Finished`.

    Raises:
        TextclfError: a mistake in settings or data, or a training that came to nothing.
    """
    check(config, output, overwrite=overwrite)
    resolved = with_paths(config)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    dataset = data.open_dataset(**resolved.data.model_dump())
    if "train" not in dataset.splits:
        raise DataError("there is no training split; name its file as data.train")
    with _unfinished_folder(Path(output)) as work:
        cache_dir = resolved.training.cache_dir
        prepared = batches.prepare(
            dataset,
            folder=work / "batches",
            cache_dir=None if cache_dir is None else Path(cache_dir),
            tokenizer=classifier.tokenizer_settings(config),
            encoder=classifier.encoder_settings(config),
            min_count=config.text.min_count,
            max_tokens=config.text.max_tokens,
            shuffle_buffer=config.training.shuffle_buffer,
            on_progress=on_progress,
        )
        run = _Run(resolved, dataset, prepared)
        yield run.started()
        why, message = "epochs", ""
        with _writers(work, resolved) as write_history:
            try:
                for event in run.epochs(should_stop):
                    if isinstance(event, Epoch):
                        write_history(event)
                    yield event
                if run.stopped_early:
                    why = "early stopping"
            except _Interrupted as interruption:
                why, message = interruption.why, str(interruption)
        if run.best is None:
            raise TrainingError(f"{message}; no epoch was complete, so nothing was saved")
        folder = Path(output)
        extra_files = {artifact.HISTORY: work / artifact.HISTORY}
        if config.training.tensorboard:
            extra_files[artifact.TENSORBOARD] = work / artifact.TENSORBOARD
        card = run.card(config, why)
        classifier.save(
            folder,
            config=config,
            card=card,
            vocabulary_path=prepared.vocabulary_path,
            weights=run.best.weights,
            extra_files=extra_files,
        )
    yield Finished(folder, run.best.epoch, run.epoch, why, message, card.validation)


class _Interrupted(Exception):
    def __init__(self, why: str, message: str):
        super().__init__(message)
        self.why = why


class _Best(NamedTuple):
    epoch: int
    score: float  # higher is better
    weights: dict[str, np.ndarray]
    logits: np.ndarray  # float32 [validation examples, classes]


class _Run:
    """One training: network, optimizer and what the loop remembers."""

    def __init__(self, config: Config, dataset: data.Dataset, prepared: batches.Prepared):
        self.config = config
        self.settings = config.training
        self.dataset = dataset
        self.prepared = prepared
        self.num_classes = len(dataset.class_names)
        self.class_weights = _class_weights(
            self.settings.class_weights, dataset, dataset.splits["train"].class_counts
        )
        vocabulary = text.read_vocabulary(prepared.vocabulary_path)
        self.vocabulary_size = 2 + len(vocabulary) + config.text.hash_buckets
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
        self.epoch = 0
        self.step = 0  # over all epochs
        self.best: _Best | None = None
        self.epochs_without_gain = 0
        self.plateau_factor = 1.0
        self.stopped_early = False
        self._train_step = self._make_train_step()
        self._logits = tf.function(
            lambda token_ids, lengths: self.network(token_ids, lengths, training=False),
            input_signature=[
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ],
        )
        self._y_validation = _targets(prepared.validation)

    def started(self) -> Started:
        return Started(
            class_names=self.dataset.class_names,
            splits={name: split.num_examples for name, split in self.dataset.splits.items()},
            vocabulary_size=self.vocabulary_size,
            num_weights=sum(math.prod(v.shape) for v in self.network.parameters),
            steps_per_epoch=self.steps_per_epoch,
            notices=(*self._text_notices(), *self.notices),
        )

    def epochs(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Trains epoch after epoch.

        Raises:
            _Interrupted: at a step, when `should_stop` says so or a loss is not finite.
        """
        for epoch in range(1, self.settings.epochs + 1):
            self.epoch = epoch
            started = time.monotonic()
            losses, norms = [], []
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
                    raise _Interrupted(
                        "interrupted",
                        f"interrupted in epoch {self.epoch} at step {step} of "
                        f"{self.steps_per_epoch}",
                    )
                self.optimizer.learning_rate.assign(self._learning_rate())
                loss, batch_norms = self._train_step(*self._distributed(batch))
                self.step += 1
                losses.append(float(loss))
                norms.append(batch_norms.numpy())
                if not (math.isfinite(losses[-1]) and np.isfinite(norms[-1]).all()):
                    raise _Interrupted("not finite", self._not_finite(batch, step, losses[-1]))
                yield Step(self.epoch, step, self.steps_per_epoch, losses[-1])
            logits = self._validation_logits()
            figures = {
                "epoch": self.epoch,
                "loss": float(np.mean(losses)),
                **self._validation_figures(logits),
                "learning_rate": float(self._learning_rate()),
                "gradient_norms": self._norms_by_layer(np.array(norms)),
            }
            is_best = self._remember(figures, logits)
            yield Epoch(self.epoch, figures, is_best, time.monotonic() - started)
            patience = self.settings.patience_epochs
            if patience and self.epochs_without_gain >= patience < self.settings.epochs:
                self.stopped_early = self.epoch < self.settings.epochs
                break

    def card(self, config: Config, why: str) -> artifact.Card:
        """What the best epoch is, with thresholds fitted on validation."""
        assert self.best is not None
        multi_label = self.dataset.multi_label
        p = _probabilities(self.best.logits, multi_label)
        thresholds = evaluation.choose_thresholds(self._y_validation, p) if multi_label else None
        y_true = self._y_validation if multi_label else self._y_validation.argmax(axis=1)
        report = evaluation.evaluate(
            y_true,
            p,
            class_names=self.dataset.class_names,
            multi_label=multi_label,
            thresholds=thresholds,
            **config.evaluation.model_dump(),
        )
        statistics = self.prepared.train.statistics
        return artifact.Card(
            class_names=self.dataset.class_names,
            multi_label=multi_label,
            config=config.to_dict(),
            # As decimal text a float32 threshold would otherwise not come back as it was.
            thresholds=None if thresholds is None else tuple(float(t) for t in thresholds),
            data={
                "fingerprint": self.dataset.fingerprint,
                "splits": {
                    name: {
                        "num_examples": split.num_examples,
                        "class_counts": [int(count) for count in split.class_counts],
                    }
                    for name, split in self.dataset.splits.items()
                },
                "findings": self.dataset.findings.to_dict(),
            },
            text={
                "vocabulary_size": self.vocabulary_size,
                "pruned_tokens": self.prepared.num_pruned,
                "unknown_fraction": _share(
                    self.prepared.validation.statistics.num_unknown,
                    self.prepared.validation.statistics.num_tokens,
                ),
                "train": {
                    "num_tokens": statistics.num_tokens,
                    "truncated_texts": statistics.truncated_texts.tolist(),
                    "cut_tokens": statistics.cut_tokens.tolist(),
                },
            },
            training={
                "best_epoch": self.best.epoch,
                "epochs": self.epoch,
                "ended_by": why,
                "num_weights": sum(math.prod(v.shape) for v in self.network.parameters),
            },
            validation=report.to_dict(),
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
            counted: tf.Tensor,  # float32 [share of batch], 0 for rows that only fill up
            batch_size: tf.Tensor,  # float32 [], rows of all replicas
        ) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                logits = network(token_ids, lengths, training=True)
                losses = _losses(
                    targets, logits, class_weights, multi_label, settings.label_smoothing
                )
                loss = tf.reduce_sum(losses * counted) / batch_size
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

        def distributed_step(*parts: Any) -> tuple[tf.Tensor, tf.Tensor]:
            total, norms = self.strategy.run(replica_step, args=parts)
            # Equal on all replicas.
            total = self.strategy.experimental_local_results(total)[0]
            norms = self.strategy.experimental_local_results(norms)[0]
            return total, norms

        if num_replicas > 1:  # values of several replicas have no signature to give
            return tf.function(distributed_step, reduce_retracing=True)
        signature = [
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, self.num_classes], tf.float32),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([], tf.float32),
        ]
        return tf.function(replica_step, input_signature=signature)

    def _distributed(self, batch: batches.Batch) -> tuple:
        """The arguments of a step: the batch, or a share of its rows for every replica."""
        num_replicas = self.strategy.num_replicas_in_sync
        num_rows = int(batch.rows.shape[0])
        batch_size = tf.constant(num_rows, tf.float32)
        if num_replicas == 1:
            counted = tf.ones([num_rows], tf.float32)
            return (batch.token_ids, batch.lengths, batch.targets, counted, batch_size)
        share = -(-num_rows // num_replicas)
        # Short of rows, the last replicas repeat row 0 without counting it.
        indices = np.arange(share * num_replicas)
        counted = tf.constant((indices < num_rows).astype(np.float32))
        indices = np.where(indices < num_rows, indices, 0)

        def part(tensor: tf.Tensor) -> Any:
            return self.strategy.experimental_distribute_values_from_function(
                lambda context: tensor[
                    context.replica_id_in_sync_group * share : (
                        context.replica_id_in_sync_group + 1
                    )
                    * share
                ]
            )

        rows = [tf.gather(tensor, indices) for tensor in batch[:3]]
        return (*(part(tensor) for tensor in (*rows, counted)), batch_size)

    def _learning_rate(self) -> float:
        settings = self.settings
        total = settings.epochs * self.steps_per_epoch
        if self.step < settings.warmup_steps:
            return settings.learning_rate * (self.step + 1) / settings.warmup_steps
        step = self.step - settings.warmup_steps
        factor = self.plateau_factor
        if settings.schedule == "cosine":
            share = min(step / max(total - settings.warmup_steps, 1), 1.0)
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
            f"{loss}, learning rate {self._learning_rate():.3g}); lower training.learning_rate "
            f"or set training.clip_norm; the batch of {len(rows)} texts holds "
            f"{'; '.join(texts)}"
        )

    # === Validation ===

    def _validation_logits(self) -> np.ndarray:
        shards = self.prepared.validation
        logits = np.empty((shards.num_examples, self.num_classes), np.float32)
        for batch in batches.ordered_batches(shards, batch_size=256):
            logits[batch.rows.numpy()] = self._logits(batch.token_ids, batch.lengths).numpy()
        return logits

    def _validation_figures(self, logits: np.ndarray) -> dict[str, float]:
        y_true, multi_label = self._y_validation, self.dataset.multi_label
        p = _probabilities(logits, multi_label)
        loss = _losses(
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
        both = (selected & y_true).sum(axis=0)
        sizes = selected.sum(axis=0) + y_true.sum(axis=0)
        f1 = 2 * both / np.maximum(sizes, 1)  # [classes]
        return {
            "val_loss": float(np.mean(loss.numpy())),
            "val_accuracy": float((selected == y_true).all(axis=1).mean()),
            "val_macro_f1": float(f1.mean()),
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
        yield from self.dataset.findings.sentences()
        if self.prepared.num_pruned:
            yield (
                f"{self.prepared.num_pruned} rare tokens were dropped while counting, so counts "
                "near text.min_count are approximate"
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


def _targets(shards: batches.Shards) -> np.ndarray:
    """bool [examples, classes], in the order of the rows."""
    y_true = np.empty((shards.num_examples, shards.num_classes), bool)
    for batch in batches.ordered_batches(shards, batch_size=1024):
        y_true[batch.rows.numpy()] = batch.targets.numpy() > 0
    return y_true


def _losses(
    targets: tf.Tensor,
    logits: tf.Tensor,
    class_weights: tf.Tensor,
    multi_label: bool,
    label_smoothing: float,
) -> tf.Tensor:
    """Negative log-likelihood of each example, float32 [batch].

    One-of: softmax cross-entropy, times the weight of the true class. Multi-label: the sum over
    the classes of the sigmoid cross-entropy, whose positive term has the class's weight.
    Label smoothing s as in Szegedy et al. 2016: targets (1 - s) y + s / classes.

    Args:
        targets: float32 [batch, classes].
        logits: float32 [batch, classes].
        class_weights: float32 [classes].
    """
    if multi_label:
        losses = tf.nn.weighted_cross_entropy_with_logits(targets, logits, class_weights)
        return tf.reduce_sum(losses, axis=1)
    weights = tf.linalg.matvec(targets, class_weights)  # [batch]
    if label_smoothing:
        num_classes = tf.cast(tf.shape(targets)[1], tf.float32)
        targets = (1 - label_smoothing) * targets + label_smoothing / num_classes
    return weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def _probabilities(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    """float32 [n, classes] to the same, at temperature 1."""
    if multi_label:
        return tf.sigmoid(logits).numpy()
    return tf.nn.softmax(logits).numpy()


def _class_weights(
    setting: str | dict[str, float], dataset: data.Dataset, counts: np.ndarray
) -> list[float]:
    names = dataset.class_names
    if isinstance(setting, dict):
        if set(setting) != set(names):
            raise ConfigError(
                [
                    "training.class_weights: expected a weight for each of "
                    f"{', '.join(names)}, found {', '.join(setting)}"
                ]
            )
        return [float(setting[name]) for name in names]
    if setting == "none":
        return [1.0] * len(names)
    n = dataset.splits["train"].num_examples
    if dataset.multi_label:  # a positive example weighs as all negative ones of its class
        return [float((n - count) / max(count, 1)) for count in counts]
    return [float(n / (len(names) * max(count, 1))) for count in counts]


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


@contextlib.contextmanager
def _unfinished_folder(output: Path) -> Iterator[Path]:
    """`OUTPUT.unfinished`: what only the running training needs, removed at its end.

    Raises:
        ArtifactError: another process is training into the same output.
    """
    output = Path(os.path.abspath(output))
    folder = output.with_name(output.name + ".unfinished")
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(folder / "lock", "w"))
        except OSError as error:
            raise ArtifactError(
                f"{folder}: cannot be written ({error.strerror}); name another output folder"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(
                f"{output}: another training is writing there; wait for it or name another folder"
            ) from None
        for path in folder.iterdir():  # left by a run that was killed
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _writers(work: Path, config: Config) -> Iterator[Callable[[Epoch], None]]:
    """Writes an epoch's figures to the JSONL history and, if asked for, to TensorBoard."""
    with contextlib.ExitStack() as stack:
        history = stack.enter_context(open(work / artifact.HISTORY, "w", encoding="utf-8"))
        board = None
        if config.training.tensorboard:
            board = tf.summary.create_file_writer(str(work / artifact.TENSORBOARD))
            stack.callback(board.close)

        def write(event: Epoch) -> None:
            line = {**event.figures, "seconds": round(event.seconds, 3)}
            history.write(json.dumps(line) + "\n")
            history.flush()
            if board is not None:
                with board.as_default(step=event.epoch):
                    for name, value in event.figures.items():
                        if name == "gradient_norms":
                            for layer, norm in value.items():
                                tf.summary.scalar(f"gradient_norm/{layer}", norm)
                        elif name != "epoch":
                            tf.summary.scalar(name, value)

        yield write
