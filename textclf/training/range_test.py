"""Learning-rate range test: the loss while the learning rate rises from step to step.

Smith (2017), "Cyclical Learning Rates for Training Neural Networks", section 3.3.
"""

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import tensorflow as tf

from textclf.config import Config
from textclf.errors import ConfigError, TrainingError
from textclf.progress import OnProgress, no_progress
from textclf.training.checks import check_inputs
from textclf.training.cluster import open_cluster
from textclf.training.loop import Loop
from textclf.training.run import set_up, tensorflow_errors
from textclf.training.work_folder import WorkFolder

MIN_RATE, MAX_RATE, NUM_STEPS = 1e-5, 1.0, 200
# Weight of the former mean in the moving mean of the losses.
_SMOOTHING = 0.9
# The test ends when the mean loss is so many times the lowest one.
_DIVERGED = 3.0
# Losses of random weights, before the rate is large enough to learn, differ by noise only.
_LEAST_FALL = 0.02
_STEPS_AT_ONCE = 5


class RangeTest(msgspec.Struct, frozen=True):
    """Result of a learning-rate range test.

    Attributes:
        rates: learning rate of each step, rising geometrically.
        losses: loss of each step.
        smoothed: moving mean of the losses.
        suggestion: rate at which the smoothed loss falls fastest; None if it hardly falls.
        highest: rate at which the smoothed loss is lowest: above it, training is unstable.
        diverged: whether the test ended before the largest rate, because the loss rose.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    highest: float
    diverged: bool


def find_learning_rate(
    config: Config,
    *,
    min_rate: float = MIN_RATE,
    max_rate: float = MAX_RATE,
    num_steps: int = NUM_STEPS,
    on_progress: OnProgress = no_progress,
) -> RangeTest:
    """Train for some steps with a rising learning rate and return the losses.

        test = find_learning_rate(config)
        config = config.replace({"training.learning_rate": test.suggestion})

    The network begins as in a training with the same configuration, and reads the same batches.
    Nothing is saved, and only the training split is read.

    Args:
        config: the experiment; its learning rate, schedule and epochs are not used.
        min_rate, max_rate: first and last learning rate.
        num_steps: number of steps.
        on_progress: called with stage, done and total.

    Raises:
        TextclfError: an error in settings or data.
    """
    if not 0 < min_rate < max_rate or num_steps < 10:
        raise ConfigError(
            [
                f"learning rates from {min_rate:g} to {max_rate:g} in {num_steps} steps: expected "
                "a first rate above 0, a larger last one, and at least 10 steps"
            ]
        )
    if config.model.encoder == "none":
        raise ConfigError(["model.encoder: is none, and a linear model has no learning rate"])
    check_inputs(config)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    with tempfile.TemporaryDirectory(prefix="textclf-") as name, tensorflow_errors():
        work = WorkFolder(Path(name), Path(name) / "checkpoints")
        with open_cluster(config) as cluster:
            loop = set_up(config, work, cluster, on_progress).loop
            assert loop is not None
            rates = np.geomspace(min_rate, max_rate, num_steps)
            losses = list(
                _losses(loop, rates, lambda done: on_progress("range test", done, num_steps))
            )
    return summarise(rates[: len(losses)].tolist(), losses, diverged=len(losses) < num_steps)


def _losses(loop: Loop, rates: np.ndarray, on_progress: Callable[[int], None]) -> Iterator[float]:
    """Yield the loss of each step until the moving mean diverges or a loss is not finite."""
    mean = lowest = math.nan
    iterator = _repeated(loop)
    done = 0
    while done < len(rates):
        chosen = rates[done : done + (_STEPS_AT_ONCE if loop.is_one_device else 1)]
        steps = loop.train_step(iterator, chosen.tolist(), step=done, lowest=0)
        for loss in steps.losses.tolist():
            if not math.isfinite(loss):
                return
            yield loss
            done += 1
            mean = loss if done == 1 else _SMOOTHING * mean + (1 - _SMOOTHING) * loss
            lowest = mean if done == 1 else min(lowest, mean)
            if mean > _DIVERGED * lowest:
                return
        on_progress(done)


def _repeated(loop: Loop) -> Iterator:
    """Return an iterator over the training batches of the first epoch, again and again."""
    return iter(loop.training_batches(1).repeat())


def summarise(rates: list[float], losses: list[float], *, diverged: bool) -> RangeTest:
    """Return the result of a test from its rates and losses.

    Raises:
        TrainingError: there are too few losses.
    """
    if len(losses) < 5:
        raise TrainingError(
            f"the loss is not finite after {len(losses)} steps at a learning rate of "
            f"{rates[-1] if rates else 0:.3g}; begin at a lower rate, or check the data with "
            "`textclf data check`"
        )
    smoothed = _moving_mean(losses)
    lowest = int(np.argmin(smoothed))
    suggestion = None
    if smoothed[lowest] < (1 - _LEAST_FALL) * smoothed[0]:
        slope = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
        suggestion = _rounded(rates[int(np.argmin(slope))])
    return RangeTest(
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed.tolist()),
        suggestion=suggestion,
        highest=_rounded(rates[lowest]),
        diverged=diverged,
    )


def _moving_mean(losses: list[float]) -> np.ndarray:
    """Return the exponential moving mean, corrected for its start, float64 [steps]."""
    sums = itertools.accumulate(losses, lambda mean, x: _SMOOTHING * mean + x, initial=0.0)
    weights = itertools.accumulate(losses, lambda w, _: _SMOOTHING * w + 1, initial=0.0)
    return np.array([*sums][1:]) / np.array([*weights][1:])


def _rounded(rate: float) -> float:
    """Return a rate with two significant digits."""
    return float(f"{rate:.1e}")
