"""The loop over epochs and steps: it advances a `State` and yields events."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from textclf import batches, classifier, data, networks
from textclf.config import Training
from textclf.training import diagnostics
from textclf.training.checkpoints import Checkpoints, restore_iterator
from textclf.training.events import Epoch, Event, Step
from textclf.training.optimization import TrainStep, learning_rate
from textclf.training.state import BestEpoch, State
from textclf.training.validation import Validator


class Interrupted(Exception):
    """Raised when a training ends before its planned end.

    Attributes:
        why: "interrupted" (by `should_stop`), or "not finite".
    """

    def __init__(self, why: str, message: str):
        super().__init__(message)
        self.why = why


@dataclasses.dataclass(frozen=True)
class Loop:
    """The parts of a training that stay the same while its `State` advances.

    Attributes:
        settings: section `training` of the configuration.
        dataset: the texts, to name those of a batch with a loss that is not finite.
        train: the encoded training split.
        train_step: the graph of one step, which changes network and optimizer.
        validator: computes the validation figures.
        checkpoints: written at every epoch's end, and within an epoch when one is due.
    """

    settings: Training
    dataset: data.Dataset
    train: batches.Shards
    network: networks.Network
    optimizer: keras.optimizers.Optimizer
    train_step: TrainStep
    validator: Validator
    checkpoints: Checkpoints

    @property
    def steps_per_epoch(self) -> int:
        return self.train.num_batches(self.settings.batch_size, self.settings.length_buckets)

    @property
    def total_steps(self) -> int:
        """The maximum number of training steps."""
        steps = self.settings.epochs * self.steps_per_epoch
        return steps if self.settings.max_steps is None else min(steps, self.settings.max_steps)

    def run(
        self,
        state: State,
        should_stop: Callable[[], bool],
        iterator_path: Path | None = None,
    ) -> Iterator[Event]:
        """Train epoch after epoch until the planned end or early stopping.

        Args:
            state: advanced with every step.
            should_stop: called before every step; if it returns true, a checkpoint is written.
            iterator_path: where a checkpoint stores the position in the epoch's batches.

        Yields:
            A `Step` after each step and an `Epoch` after each validation.

        Raises:
            Interrupted: `should_stop` returned true, or a loss, a gradient or an output for
                validation is not finite.
        """
        while not self._is_over(state):
            if not state.is_in_epoch:
                state.begin_epoch()
            started = time.monotonic() - state.seconds
            yield from self._steps(state, should_stop, started, iterator_path)
            iterator_path = None
            logits = self.validator.logits()
            if not np.isfinite(logits).all():
                raise Interrupted(
                    "not finite",
                    f"the outputs for the validation texts are not finite after epoch "
                    f"{state.epoch}; lower training.learning_rate or set training.clip_norm",
                )
            figures = {
                "epoch": state.epoch,
                "loss": state.sums.mean_loss,
                **self.validator.figures(logits),
                "learning_rate": state.learning_rate,
                "gradient_norms": diagnostics.norms_by_layer(self.network, state.sums.norms),
            }
            is_best = self._remember(state, figures, logits)
            state.seconds = time.monotonic() - started
            state.end_epoch({**figures, "seconds": round(state.seconds, 3)})
            self.checkpoints.save(state, None)
            yield Epoch(state.epoch, figures, is_best, state.seconds)

    def _is_over(self, state: State) -> bool:
        """Return whether no step remains; note whether early stopping is the reason."""
        if state.is_in_epoch:
            return False
        is_last = state.epoch == self.settings.epochs or state.step >= self.total_steps
        patience = self.settings.patience_epochs
        state.stopped_early = bool(
            patience and state.epochs_without_gain >= patience and state.step < self.total_steps
        )
        return is_last or state.stopped_early

    def _steps(
        self,
        state: State,
        should_stop: Callable[[], bool],
        started: float,
        iterator_path: Path | None,
    ) -> Iterator[Step]:
        """Train the steps of one epoch, or the rest of them.

        Args:
            started: when the epoch began, in seconds of `time.monotonic`.
            iterator_path: position in the epoch's batches, see `Restored`; None at their start.
        """
        iterator = iter(
            batches.training_batches(
                self.train,
                batch_size=self.settings.batch_size,
                length_buckets=self.settings.length_buckets,
                shuffle_buffer=self.settings.shuffle_buffer,
                seed=self.settings.seed,
                epoch=state.epoch,
            )
        )
        if iterator_path is not None:
            restore_iterator(iterator, iterator_path)
        while state.step < self.total_steps:
            if (is_stopping := should_stop()) or self.checkpoints.is_due:
                state.seconds = time.monotonic() - started
                self.checkpoints.save(state, iterator)
            number = state.sums.steps + 1  # within the epoch
            if is_stopping:
                raise Interrupted(
                    "interrupted",
                    f"interrupted in epoch {state.epoch} at step {number} of "
                    f"{self.steps_per_epoch}",
                )
            if (batch := next(iterator, None)) is None:
                return
            state.learning_rate = learning_rate(
                self.settings,
                step=state.step,
                total_steps=self.total_steps,
                steps_per_epoch=self.steps_per_epoch,
                plateau_factor=state.plateau_factor,
            )
            self.optimizer.learning_rate.assign(state.learning_rate)
            batch_loss, batch_norms = self.train_step(
                batch.features["token_ids"], batch.features["lengths"], batch.targets, batch.weights
            )
            state.step += 1
            loss, norms = float(batch_loss), batch_norms.numpy()
            if not (math.isfinite(loss) and np.isfinite(norms).all()):
                raise Interrupted(
                    "not finite",
                    f"the loss or its gradient is not finite in epoch {state.epoch} at step "
                    f"{number} (loss {loss}, learning rate {state.learning_rate:.3g}); lower "
                    "training.learning_rate or set training.clip_norm; "
                    f"{diagnostics.describe_batch(self.dataset, batch)}",
                )
            state.sums.add(loss, len(batch.rows), norms)
            yield Step(state.epoch, number, self.steps_per_epoch, loss, state.sums.mean_loss)

    def _remember(self, state: State, figures: dict[str, Any], logits: np.ndarray) -> bool:
        """Keep the weights if the epoch is the best so far; return whether it is."""
        score = figures[self.settings.monitor]
        score = -score if self.settings.monitor == "val_loss" else score
        is_best = state.best is None or score > state.best.score
        if is_best:
            weights = classifier.get_weights(self.network)
            state.best = BestEpoch(state.epoch, score, weights, logits)
            state.epochs_without_gain = 0
        else:
            state.epochs_without_gain += 1
            patience = self.settings.plateau_patience_epochs
            if self.settings.schedule == "plateau" and state.epochs_without_gain % patience == 0:
                state.plateau_factor *= self.settings.plateau_factor
        return is_best
