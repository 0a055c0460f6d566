"""Set-up of a training: data, shards, network, optimizer and the parts of the loop."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

import textclf
from textclf import artifact, batches, classifier, data, networks, text
from textclf.config import Config, with_paths
from textclf.errors import DataError, TrainingError
from textclf.training import diagnostics, initialization
from textclf.training.averaging import MovingAverage
from textclf.training.checkpoints import Checkpoints
from textclf.training.checks import FREE, check_record, flat_settings
from textclf.training.cluster import Cluster
from textclf.training.language_model import LanguageModelLoss
from textclf.training.loop import Loop
from textclf.training.optimization import Optimizer, TrainStep, weigh_classes
from textclf.training.recurrence import Diagnosis, sample_texts
from textclf.training.validation import Validator
from textclf.training.work_folder import Record, WorkFolder


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


def set_up(
    config: Config, work: WorkFolder, cluster: Cluster, on_progress: batches.Progress
) -> Setup:
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
    on_progress: batches.Progress,
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
        vocabulary_size=text.NUM_RESERVED + len(vocabulary) + config.text.hash_buckets,
        num_classes=task.num_outputs,
        seed=settings.seed,
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
