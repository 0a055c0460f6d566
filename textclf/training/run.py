"""Training from a configuration to a trained folder: data, loop and files put together."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import textclf
from textclf import artifact, batches, classifier, data, evaluation, linear, networks, text
from textclf.config import Config, absolute_paths, with_paths
from textclf.errors import DataError, TrainingError
from textclf.progress import OnProgress, no_progress
from textclf.tasks import Decision
from textclf.training import diagnostics, initialization
from textclf.training.averaging import MovingAverage
from textclf.training.card import make_card, num_weights, validation_report
from textclf.training.checkpoints import Checkpoints, Restored
from textclf.training.checks import FREE, check, check_output, check_record, flat_settings
from textclf.training.cluster import Cluster, is_chief, open_cluster
from textclf.training.events import Epoch, Event, Finished, LinearFitted, Started, WorkerFinished
from textclf.training.history import history_writer
from textclf.training.language_model import LanguageModelLoss
from textclf.training.linear_model import fit_linear, fitted_before
from textclf.training.loop import Interrupted, Loop
from textclf.training.optimization import Optimizer, TrainStep, weigh_classes
from textclf.training.recurrence import Diagnosis, sample_texts
from textclf.training.state import State
from textclf.training.tracking import track
from textclf.training.validation import Validator
from textclf.training.work_folder import (
    Record,
    WorkFolder,
    tracked_run,
    unfinished_training,
    work_folder,
    worker_folder,
)


class Setup(NamedTuple):
    """Data and network of a training.

    Attributes:
        config: the experiment, with resolved paths.
        dataset: the examples.
        prepared: vocabulary and shards.
        vocabulary_size: number of token ids.
        loop: trains the network; None if the linear model is alone.
        notices: sentences for the user.
    """

    config: Config
    dataset: data.Dataset
    prepared: batches.Prepared
    vocabulary_size: int
    loop: Loop | None
    notices: list[str]


def train_events(
    config: Config,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    resume: bool = False,
    linear_model: linear.Fitted | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: OnProgress = no_progress,
    max_steps_per_call: int | None = None,
) -> Generator[Event, None, None]:
    """Check the settings, then return the events of a training that happens while they are read.

        for event in train_events(config, "runs/reviews"):
            print(event)

    Args:
        config: the experiment.
        output: the folder to write; replaced only with `overwrite`, and only by a complete one.
        resume: continue the unfinished training of this folder, bit for bit as if it had never
            been interrupted; begin where nothing was saved; of a finished training, only
            `Finished` is yielded.
        linear_model: a result of `fit_linear` on the same data and settings, for several trainings
            that share it; default: it is fitted if the settings ask for it.
        should_stop: called every quarter of a second, between two steps; if it returns true, a
            checkpoint is written and the best epoch so far is saved.
        on_progress: called with stage, done and total before the first step.
        max_steps_per_call: the most steps that TensorFlow computes at a time, whose events come
            together; default: as many as take a quarter of a second. With 1, `should_stop` is
            called before every step, and weights can be read after each.

    Yields:
        `Started`, then `Step` and `Epoch` events, and `Finished` at the end; `WorkerFinished` in a
        worker that is not the chief. With `training.mlflow`, `TrackingFailed` where values could
        not be sent.

    Raises:
        TextclfError: an error in settings or data, or a training that has no complete epoch. What
            can be checked before the data are read is raised by the call itself.
        ValueError: `linear_model` was fitted to other data or with another `text.linear_length`.
    """
    check(config, output, overwrite=overwrite, resume=resume)
    events = _events(
        config,
        Path(output),
        overwrite,
        resume,
        linear_model,
        should_stop,
        on_progress,
        max_steps_per_call,
    )
    if config.training.mlflow and is_chief(config):
        return track(events, config, Path(output), tracked_run(output))
    return events


def _events(
    config: Config,
    output: Path,
    overwrite: bool,
    resume: bool,
    linear_model: linear.Fitted | None,
    should_stop: Callable[[], bool],
    on_progress: OnProgress,
    max_steps_per_call: int | None,
) -> Generator[Event, None, None]:
    if resume and (finished := _finished_before(output)) is not None:
        yield finished
        return
    paths = absolute_paths(config)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    with contextlib.ExitStack() as stack:
        stack.enter_context(tensorflow_errors())
        # First of all: TensorFlow connects to other processes only before it computes anything.
        cluster = stack.enter_context(open_cluster(config))
        if cluster.is_chief:
            work = stack.enter_context(work_folder(output, resume=resume))
            # Again, now that the lock is held: another training may have ended in between.
            check_output(output, overwrite=overwrite, resume=resume, is_locked=True)
        else:
            work = stack.enter_context(worker_folder(output))
        setup = set_up(config, work, cluster, on_progress)
        restored = _restore(setup)
        state = restored.state if restored else State()
        yield _started(setup, state, restored.notices if restored else ())
        fitted, linear_decision = None, None
        # The other workers wait for their chief without a time limit only at the end.
        fits_first = cluster.num_workers == 1
        if fits_first:
            fitted, linear_decision = yield from _linear_model(
                setup, work, linear_model, on_progress
            )
        why, message = "linear", ""
        with history_writer(
            work.path, state.history, tensorboard=config.training.tensorboard
        ) as write_history:
            if setup.loop is not None:
                events = setup.loop.run(
                    state,
                    should_stop,
                    restored.iterator_path if restored else None,
                    max_steps_per_call,
                )
                why, message = yield from _epochs(setup.loop, events, state, write_history)
        work.is_resumable = why == "interrupted"
        if setup.loop is not None and state.best is None:
            saved = "; continue with --resume" if work.is_resumable else ", so nothing was saved"
            error = TrainingError(f"{message}; no epoch was complete{saved}")
            raise error from Interrupted(why, message)
        if not cluster.is_chief:
            cluster.wait_for_chief()
            yield WorkerFinished(cluster.index, message)
            return
        if not fits_first:
            fitted, linear_decision = yield from _linear_model(
                setup, work, linear_model, on_progress
            )
        card = make_card(
            config,
            dataset=setup.dataset,
            prepared=setup.prepared,
            vocabulary_size=setup.vocabulary_size,
            summary=_summary(setup, state, why),
            y_true=_validation_classes(setup, fitted),
            network_logits=state.best.logits if state.best else None,
            fitted=fitted,
            linear_decision=linear_decision,
        )
        try:
            classifier.save(
                output,
                config=config,
                card=card,
                vocabulary_path=setup.prepared.vocabulary_path,
                weights=state.best.weights if state.best else {},
                linear_arrays=fitted.model.arrays if fitted else {},
                extra_files=_extra_files(work.path),
                paths=paths,
                overwrite=overwrite or resume,
                staging=work.path,
            )
        except BaseException:  # the last checkpoint allows to write the folder again
            work.is_resumable = True
            raise
        cluster.release_workers()
    yield _finished(output, card, why, message, is_resumable=work.is_resumable)


def _restore(setup: Setup) -> Restored | None:
    """Set network and optimizer to the newest whole checkpoint, in all workers; None without one.

    Raises:
        TrainingError: the checkpoint is of another network, or a worker cannot read it.
    """
    if setup.loop is None:
        return None
    checkpoints, cluster = setup.loop.checkpoints, setup.loop.cluster
    restored = checkpoints.restore() if cluster.is_chief else None
    number = restored.number if restored else 0
    common = cluster.sum(np.array([number], np.float32), "the chief to read the checkpoint")
    if cluster.is_chief or not common[0]:
        return restored
    return checkpoints.restore_number(int(common[0]))


def _linear_model(
    setup: Setup,
    work: WorkFolder,
    linear_model: linear.Fitted | None,
    on_progress: OnProgress,
) -> Generator[Event, None, tuple[linear.Fitted | None, Decision | None]]:
    """Fit the linear model, if there is one; return it with its decision, and yield its event."""
    config = setup.config
    if not config.has_linear_model:
        return None, None
    fitted = linear_model or fitted_before(work)
    if fitted is None:
        fitted = fit_linear(config, setup.dataset, folder=work.path, on_progress=on_progress)
        linear.save_fitted(fitted, work.linear_model)
    _check_linear(setup, fitted)
    decision = evaluation.fit_decision(
        setup.dataset.task, fitted.validation_classes, fitted.validation_logits
    )
    yield LinearFitted(
        fitted.selection,
        _linear_report(setup, fitted, decision),
        tuple(diagnostics.linear_notices(config, setup.dataset, setup.prepared, fitted.selection)),
    )
    return fitted, decision


def _finished(
    output: Path, card: artifact.Card, why: str, message: str, *, is_resumable: bool = False
) -> Finished:
    assert card.validation is not None
    return Finished(
        folder=output,
        best_epoch=card.training.best_epoch,
        epochs=card.training.epochs,
        why=why,
        message=message,
        validation=card.validation,
        share=None if card.mixture is None else card.mixture.share,
        gain=card.gain,
        is_resumable=is_resumable,
    )


def _finished_before(output: Path) -> Finished | None:
    """Return the last event of a training that is finished already, if it is."""
    if unfinished_training(output) is not None or not (output / artifact.CARD).exists():
        return None
    return _finished(output, artifact.read_card(output), "finished before", "")


def _started(setup: Setup, state: State, notices: tuple[str, ...]) -> Started:
    loop = setup.loop
    return Started(
        class_names=setup.dataset.class_names,
        splits={name: split.num_examples for name, split in setup.dataset.splits.items()},
        vocabulary_size=setup.vocabulary_size,
        num_weights=num_weights(loop.network) if loop else 0,
        steps_per_epoch=loop.steps_per_epoch if loop else 0,
        total_steps=loop.total_steps if loop else 0,
        step=state.step,
        history=tuple(state.history),
        notices=(*setup.notices, *notices),
    )


def _summary(setup: Setup, state: State, why: str) -> artifact.TrainingSummary:
    return artifact.TrainingSummary(
        best_epoch=state.best.epoch if state.best else 0,
        epochs=state.epoch,
        ended_by=why,
        is_average=bool(state.best and state.best.is_average),
        num_weights=num_weights(setup.loop.network) if setup.loop else 0,
    )


def _validation_classes(setup: Setup, fitted: linear.Fitted | None) -> np.ndarray:
    """Return the classes of the validation split, int64 [n] or bool [n, C]."""
    if setup.loop is not None:
        return setup.dataset.task.true_classes(setup.loop.validator.targets)
    assert fitted is not None
    return fitted.validation_classes


def _check_linear(setup: Setup, fitted: linear.Fitted) -> None:
    """Check that a linear model fits the validation split and the length limit."""
    if (
        not np.array_equal(fitted.validation_classes, _validation_classes(setup, fitted))
        or fitted.model.num_classes != setup.dataset.task.num_outputs
        or fitted.model.max_tokens != setup.config.text.linear_length
    ):
        raise ValueError("linear_model was fitted to other data or with other settings")


def _linear_report(setup: Setup, fitted: linear.Fitted, decision: Decision) -> evaluation.Report:
    """Return the report of the linear model alone on the validation split."""
    return validation_report(
        setup.dataset.task,
        fitted.validation_classes,
        fitted.validation_logits,
        decision,
        config=setup.config,
        class_names=setup.dataset.class_names,
    )


def _epochs(
    loop: Loop,
    events: Iterator[Event],
    state: State,
    write_history: Callable[[dict[str, Any]], None],
) -> Generator[Event, None, tuple[str, str]]:
    """Yield the events of the loop; return how the training ended and a message, see `Finished`."""
    try:
        for event in events:
            if isinstance(event, Epoch):
                write_history(state.history[-1])
            yield event
    except Interrupted as interruption:
        return interruption.why, str(interruption)
    if state.stopped_early:
        return "early stopping", ""
    if state.step < loop.steps_per_epoch * loop.settings.epochs:
        return "steps", ""
    return "epochs", ""


def _extra_files(work: Path) -> dict[str, Path]:
    """Return the files that were written during the training, by their name in its folder."""
    names = (artifact.HISTORY, artifact.TENSORBOARD)
    return {name: work / name for name in names if (work / name).exists()}


# === Set-up ===


def set_up(config: Config, work: WorkFolder, cluster: Cluster, on_progress: OnProgress) -> Setup:
    """Open the data, encode them, and make the network."""
    config = with_paths(config)
    dataset = data.open_dataset(config.data, on_progress=on_progress)
    record = Record(
        settings=flat_settings(config),
        fingerprint=dataset.fingerprint,
        initial_weights=initialization.weights_checksum(config),
        num_replicas=cluster.strategy.num_replicas_in_sync,
    )
    if (former := work.record) is not None:
        check_record(former, record, config, work.path)
    if "train" not in dataset.splits:
        raise DataError("there is no training split; name its file as data.train")
    work.write_record(record)
    class_weights = weigh_classes(config.training.class_weights, dataset.task, dataset)
    prepared = _prepare(config, dataset, work.path, cluster, on_progress)
    num_tokens = len(text.read_vocabulary(prepared.vocabulary_path))
    loop, notices = None, list[str]()
    if config.model.encoder != "none":
        _check_workers(cluster, record, prepared)
        loop, notices = _make_loop(
            config,
            dataset,
            prepared,
            work.checkpoints,
            cluster,
            class_weights=class_weights,
        )
    total_steps = loop.total_steps if loop else 0
    return Setup(
        config=config,
        dataset=dataset,
        prepared=prepared,
        vocabulary_size=text.NUM_RESERVED + num_tokens + config.text.hash_buckets,
        loop=loop,
        notices=[*diagnostics.data_notices(config, dataset, prepared, total_steps), *notices],
    )


def _check_workers(cluster: Cluster, record: Record, prepared: batches.Prepared) -> None:
    """Check that all workers have the same versions, settings and data.

    Raises:
        TrainingError: they do not; the message names what differs.
    """
    # First, because another version may have other settings.
    versions = textclf.__version__, tf.__version__, keras.__version__
    cluster.check_equal({"the versions of textclf, TensorFlow or Keras": repr(versions)})
    settings = {
        name: repr(value) for name, value in sorted(record.settings.items()) if name not in FREE
    }
    cluster.check_equal(
        {
            **settings,
            "the data": record.fingerprint,
            "the initial weights": record.initial_weights,
            "the vocabulary": artifact.sha256(prepared.vocabulary_path),
        }
    )


def _prepare(
    config: Config,
    dataset: data.Dataset,
    work: Path,
    cluster: Cluster,
    on_progress: OnProgress,
) -> batches.Prepared:
    """Build the vocabulary and encode train and validation.

    Of several workers, only the chief writes to the cache; another one reads what is complete
    there, and encodes the texts for itself otherwise.
    """
    cache_dir = config.training.cache_dir
    return batches.prepare(
        dataset,
        folder=work / "batches",
        cache_dir=None if cache_dir is None else Path(cache_dir),
        fills_cache=cluster.is_chief,
        tokenizer=classifier.tokenizer_settings(config),
        encoder=classifier.encoder_settings(config),
        min_count=config.text.min_count,
        max_tokens=config.text.max_tokens,
        vocabulary_path=initialization.kept_vocabulary(config),
        shuffle_buffer=config.training.shuffle_buffer,
        on_progress=on_progress,
    )


def _make_loop(
    config: Config,
    dataset: data.Dataset,
    prepared: batches.Prepared,
    checkpoint_folder: Path,
    cluster: Cluster,
    *,
    class_weights: list[float],
) -> tuple[Loop, list[str]]:
    """Make network, optimizer, step and validation; return them with notices about vectors."""
    task, settings = dataset.task, config.training
    vocabulary = text.read_vocabulary(prepared.vocabulary_path)
    notices, matrix = [], None
    if (path := config.model.embedding_vectors) is not None:
        matrix, num_found = text.read_vectors(
            path,
            vocabulary,
            dim=config.model.embedding_dim,
            hash_buckets=config.text.hash_buckets,
            seed=settings.seed,
        )
        notices.append(
            f"{num_found} of {len(vocabulary)} tokens ({num_found / len(vocabulary):.0%}) have a "
            f"vector in {path}; the others begin at random"
        )
    build = partial(
        networks.build,
        networks.Architecture.from_settings(config.model.to_dict()),
        num_classes=task.num_outputs,
        **classifier.token_arguments(config, vocabulary),
    )
    average = None
    # New variables get the chief's values in all workers.
    with cluster.waiting("the other workers to build the network"), cluster.strategy.scope():
        network = build(embedding_matrix=matrix, precision=settings.precision)
        if (folder := initialization.initial_folder(config)) is not None:
            notices += initialization.copy_weights(
                network,
                folder,
                vocabulary=vocabulary,
                hash_buckets=config.text.hash_buckets,
                class_names=dataset.class_names,
                multi_label=dataset.multi_label,
            )
        language_model = None
        if settings.language_model_weight:
            language_model = LanguageModelLoss(
                network, weight=settings.language_model_weight, seed=settings.seed
            )
            if (kept := initialization.kept_vocabulary(config)) is not None:
                language_model.copy_weights(kept.parent)
        optimizer = Optimizer(
            network,
            settings,
            num_replicas=cluster.strategy.num_replicas_in_sync,
            more=language_model.variables if language_model else (),
        )
        if settings.average == "ema":
            average = MovingAverage(network, settings.average_decay)
    if networks.is_plugin(config.model.encoder):
        networks.check_padding_invariance(network.encoder)
    train_step = TrainStep(
        network,
        optimizer,
        task,
        settings,
        class_weights=class_weights,
        strategy=cluster.strategy,
        average=average,
        language_model=language_model,
    )
    # Averages, and the float32 weights of a training in mixed precision, need a second network.
    is_trained = settings.average == "none" and settings.precision == "float32"
    validator = Validator(
        network if is_trained else build(),
        task,
        prepared.validation,
        cluster=cluster,
        is_trained=is_trained,
    )
    checkpoints = Checkpoints(
        checkpoint_folder,
        [*network.variables, *optimizer.variables, *train_step.variables],
        minutes=settings.checkpoint_minutes,
    )
    diagnosis = None
    if cluster.is_chief:
        num_steps = prepared.train.num_batches(settings.batch_size, settings.length_buckets)
        texts = sample_texts(prepared.train)
        diagnosis = Diagnosis(
            network, texts, steps_per_epoch=num_steps, current_value=optimizer.current_value
        )
    loop = Loop(
        settings=settings,
        dataset=dataset,
        train=prepared.train,
        network=network,
        optimizer=optimizer,
        train_step=train_step,
        validator=validator,
        diagnosis=diagnosis,
        checkpoints=checkpoints,
        cluster=cluster,
    )
    return loop, notices


@contextlib.contextmanager
def tensorflow_errors() -> Iterator[None]:
    """Turn TensorFlow's errors that a user can fix into ours."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise TrainingError(
            "there is not enough memory for this network and batch "
            f"({str(error.message).splitlines()[0]}); lower training.batch_size, "
            "text.sequence_length, text.max_tokens or model.units"
        ) from error
    except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
        raise TrainingError(
            f"the encoded texts were damaged while they were in use ({error.message}); remove "
            "the folder training.cache_dir, if it is set, and start again"
        ) from error
