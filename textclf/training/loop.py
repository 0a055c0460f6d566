"""The loop over epochs and steps: it advances a `State` and yields events."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from textclf import batches, classifier, data, networks
from textclf.config import Training
from textclf.training import diagnostics
from textclf.training.averaging import mean_of_epochs
from textclf.training.checkpoints import Checkpoints, restore_iterator
from textclf.training.cluster import Cluster
from textclf.training.events import Epoch, Event, Step
from textclf.training.optimization import Optimizer, TrainStep, learning_rate
from textclf.training.recurrence import Diagnosis
from textclf.training.state import BestEpoch, EpochMean, State
from textclf.training.validation import Validator

# A float16 training ends after so many steps in a row whose gradients overflow.
_MAX_SKIPPED = 20
# A call of the graph computes as many steps as take so long: a signal waits for its end.
_SECONDS_PER_CALL = 0.25
# Several workers ask each other once in so many steps whether one of them has to stop.
_STEPS_TO_ASK = 10


class Interrupted(Exception):
    """Raised when a training ends before its planned end.

    Attributes:
        why: "interrupted" (by `should_stop`), or "not finite".
    """

    def __init__(self, why: str, message: str):
        super().__init__(message)
        self.why = why


class _Scored(NamedTuple):
    """Weights and their validation figures.

    Attributes:
        weights: by name.
        logits: float32 [validation examples, C].
        figures: of the logits, see `Validator.figures`.
        is_average: whether they are an average over the training.
    """

    weights: dict[str, np.ndarray]
    logits: np.ndarray
    figures: dict[str, Any]
    is_average: bool


@dataclasses.dataclass(frozen=True)
class Loop:
    """The parts of a training that stay the same while its `State` advances.

    Attributes:
        settings: section `training` of the configuration.
        dataset: the texts, to name those of a batch with a loss that is not finite.
        train: the encoded training split.
        train_step: the graph of one step, which changes network and optimizer.
        validator: computes the validation figures.
        diagnosis: measures the network; only of the chief.
        cluster: the processes that train together.
        checkpoints: written by the chief at every epoch's end, and within an epoch when one is due.
    """

    settings: Training
    dataset: data.Dataset
    train: batches.Shards
    network: networks.Network
    optimizer: Optimizer
    train_step: TrainStep
    validator: Validator
    diagnosis: Diagnosis | None
    checkpoints: Checkpoints
    cluster: Cluster

    # Cached: the steps read it several times each.
    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Number of steps of a whole epoch."""
        return self.train.num_batches(self.settings.batch_size, self.settings.length_buckets)

    @property
    def is_one_device(self) -> bool:
        """True if a call of the graph may compute several steps."""
        return self.cluster.strategy.num_replicas_in_sync == 1

    @property
    def total_steps(self) -> int:
        """The maximum number of training steps."""
        steps = self.settings.epochs * self.steps_per_epoch
        return steps if self.settings.max_steps is None else min(steps, self.settings.max_steps)

    def training_batches(self, epoch: int) -> tf.data.Dataset:
        """Return the training batches of an epoch, from 1."""
        return batches.training_batches(
            self.train,
            **self.settings.to_dict("batch_size", "length_buckets", "shuffle_buffer", "seed"),
            epoch=epoch,
        )

    def run(
        self,
        state: State,
        should_stop: Callable[[], bool],
        iterator_path: Path | None = None,
        max_steps_per_call: int | None = None,
    ) -> Iterator[Event]:
        """Train epoch after epoch until the planned end or early stopping.

        Args:
            state: advanced with every step.
            should_stop: called before every call of the graph; if it returns true, a checkpoint is
                written.
            iterator_path: where a checkpoint stores the position in the epoch's batches.
            max_steps_per_call: of the graph; None for no limit.

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
            yield from self._steps(state, should_stop, started, iterator_path, max_steps_per_call)
            iterator_path = None
            self.optimizer.flush()
            scored = self._validate(state)
            figures = {
                "epoch": state.epoch,
                "loss": state.sums.mean_loss,
                **scored.figures,
                "learning_rate": state.learning_rate,
                "gradient_norms": diagnostics.norms_by_layer(self.network, state.sums.norms),
            }
            if self.settings.precision == "mixed_float16":
                figures["skipped_steps"] = state.sums.skipped
            figures |= self._diagnose(state)
            is_best = self._remember(state, scored)
            state.seconds = time.monotonic() - started
            state.end_epoch({**figures, "seconds": round(state.seconds, 3)})
            self._save(state, None)
            notes = diagnostics.epoch_notes(
                figures,
                is_frozen=self.optimizer.lowest_depth(state.epoch) > 0,
                reads_last=self.network.head.reads_last,
            )
            yield Epoch(state.epoch, figures, is_best, state.seconds, tuple(notes))

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
        max_steps_per_call: int | None,
    ) -> Iterator[Step]:
        """Train the steps of one epoch, or the rest of them.

        Args:
            started: when the epoch began, in seconds of `time.monotonic`.
            iterator_path: position in the epoch's batches, see `Restored`; None at their start.
        """
        iterator = iter(self.training_batches(state.epoch))
        if iterator_path is not None:
            restore_iterator(iterator, iterator_path)
        seconds = math.inf  # of a step of the last call
        while self._num_left(state):
            if (is_stopping := self._is_stopping(state, should_stop)) or self.checkpoints.is_due:
                state.seconds = time.monotonic() - started
                self._save(state, iterator)
            number = state.sums.steps + 1  # within the epoch
            if is_stopping:
                raise Interrupted(
                    "interrupted",
                    f"interrupted in epoch {state.epoch} at step {number} of "
                    f"{self.steps_per_epoch}",
                )
            num_steps = self._steps_of_call(state, seconds, max_steps_per_call)
            rates = self._rates(state, num_steps)
            before = self.diagnosis.weights_before(number - 1) if self.diagnosis else None
            called = time.monotonic()
            with self.cluster.waiting(f"step {number} of epoch {state.epoch}"):
                steps = self.train_step(
                    iterator,
                    rates,
                    step=state.step,
                    lowest=self.optimizer.lowest_depth(state.epoch),
                )
            seconds = (time.monotonic() - called) / len(steps.losses)
            for rate, loss, norms, num_examples in zip(rates, *steps[:3], strict=False):
                state.step += 1
                state.learning_rate = rate
                if not (math.isfinite(loss) and np.isfinite(norms).all()):
                    self._skip(state, steps.last_rows, loss)
                else:
                    state.skipped_in_row = 0
                    state.sums.add(float(loss), int(num_examples), norms)
                    if self.diagnosis is not None and before is not None:
                        state.sums.updates.append(self.diagnosis.update_norms(before))
                yield Step(
                    state.epoch,
                    state.sums.steps,
                    self.steps_per_epoch,
                    float(loss),
                    state.sums.mean_loss,
                )

    def _num_left(self, state: State) -> int:
        """Return the number of steps that remain in the epoch."""
        return min(self.steps_per_epoch - state.sums.steps, self.total_steps - state.step)

    def _steps_of_call(self, state: State, seconds: float, limit: int | None) -> int:
        """Return the number of steps to compute before anything else can happen.

        Args:
            seconds: duration of a step; infinite if unknown.
            limit: of the number.
        """
        if not self.is_one_device:
            return 1
        number = max(int(_SECONDS_PER_CALL / seconds), 1)
        if limit is not None:
            number = min(number, limit)
        if self.diagnosis is not None:
            number = min(number, self.diagnosis.steps_until_sample(state.sums.steps))
        return min(number, self._num_left(state))

    def _rates(self, state: State, number: int) -> list[float]:
        """Return the learning rates of the next steps."""
        return [
            learning_rate(
                self.settings,
                step=state.step + i,
                total_steps=self.total_steps,
                steps_per_epoch=self.steps_per_epoch,
                plateau_factor=state.plateau_factor,
            )
            for i in range(number)
        ]

    def _save(self, state: State, iterator: Iterator | None) -> None:
        if self.cluster.is_chief:
            self.checkpoints.save(state, iterator)

    def _is_stopping(self, state: State, should_stop: Callable[[], bool]) -> bool:
        """Return whether one of the workers has to stop, at steps where they ask each other."""
        if self.cluster.num_workers > 1 and state.step % _STEPS_TO_ASK:
            return False
        return self.cluster.is_true_anywhere(should_stop(), "the other workers' signals")

    def _skip(self, state: State, rows: np.ndarray, loss: float) -> None:
        """Count a step whose loss or gradient is not finite, if float16 explains it.

        Args:
            rows: int32 [B], numbers of its examples.

        Raises:
            Interrupted: it does not.
        """
        state.skipped_in_row += 1
        is_overflow = self.settings.precision == "mixed_float16"
        if not is_overflow or state.skipped_in_row == _MAX_SKIPPED:
            steps = f"{_MAX_SKIPPED} steps in a row up to " if is_overflow else ""
            raise Interrupted(
                "not finite",
                f"the loss or its gradient is not finite in epoch {state.epoch} at {steps}step "
                f"{state.sums.steps + 1} (loss {loss}, learning rate {state.learning_rate:.3g}); "
                "lower training.learning_rate or set training.clip_norm; "
                f"{diagnostics.describe_batch(self.dataset, rows)}",
            )
        state.sums.skip()

    def _validate(self, state: State) -> _Scored:
        """Return the last weights or their average, the one with the better validation score.

        Raises:
            Interrupted: an output is not finite.
        """
        last = self._score(state, classifier.get_weights(self.network), is_average=False)
        if (weights := self._averaged_weights(state, last)) is None:
            return last
        average = self._score(state, weights, is_average=True)
        better = average if self._rank(average) > self._rank(last) else last
        figures = {**better.figures, "is_average": better.is_average}
        for prefix, scored in (("last", last), ("average", average)):
            figures |= {f"{prefix}_{name}": value for name, value in scored.figures.items()}
        return better._replace(figures=figures)

    def _score(self, state: State, weights: dict[str, np.ndarray], *, is_average: bool) -> _Scored:
        logits = self.validator.logits(weights)
        if not np.isfinite(logits).all():
            raise Interrupted(
                "not finite",
                f"the outputs for the validation texts are not finite after epoch "
                f"{state.epoch}; lower training.learning_rate or set training.clip_norm",
            )
        return _Scored(weights, logits, self.validator.figures(logits), is_average)

    def _diagnose(self, state: State) -> dict[str, dict[str, float]]:
        """Return the figures of the diagnosis; empty in a worker that is not the chief."""
        if self.diagnosis is None:
            return {}
        ratios = diagnostics.ratios_by_layer(self.network, state.sums.updates)
        return {"update_ratios": ratios, **self.diagnosis.figures()}

    def _rank(self, scored: _Scored) -> float:
        """Return the monitored figure, negated if lower is better."""
        score = scored.figures[self.settings.monitor]
        return -score if self.settings.monitor == "val_loss" else score

    def _averaged_weights(self, state: State, last: _Scored) -> dict[str, np.ndarray] | None:
        """Return the average of the weights, if there is one that differs from the last weights."""
        if self.train_step.average is not None:
            return self.train_step.average.weights(last.weights)
        if self.settings.average != "swa":
            return None
        score, mean = self._rank(last), state.mean
        if mean is None or score > mean.score:  # the mean begins at the best epoch
            state.mean = EpochMean(1, score, last.weights)
            return None
        number = mean.number + 1
        state.mean = EpochMean(
            number, mean.score, mean_of_epochs(mean.weights, last.weights, number)
        )
        return state.mean.weights

    def _remember(self, state: State, scored: _Scored) -> bool:
        """Keep the weights if the epoch is the best so far; return whether it is."""
        score = self._rank(scored)
        is_best = state.best is None or score > state.best.score
        if is_best:
            state.best = BestEpoch(
                state.epoch, score, scored.weights, scored.logits, scored.is_average
            )
            state.epochs_without_gain = 0
        else:
            state.epochs_without_gain += 1
            patience = self.settings.plateau_patience_epochs
            if self.settings.schedule == "plateau" and state.epochs_without_gain % patience == 0:
                state.plateau_factor *= self.settings.plateau_factor
        return is_best
