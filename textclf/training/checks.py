"""Checks before a training, which need neither TensorFlow nor the whole data."""

import os
from pathlib import Path
from typing import Any

from textclf import artifact, data
from textclf.config import Config, check_environment, with_paths
from textclf.errors import ArtifactError, ConfigError, DataError, check_all
from textclf.training import cluster, initialization
from textclf.training.mlflow_store import check_store
from textclf.training.work_folder import Record, check_free, unfinished_training

# Settings that may differ when a training continues: they do not change its results.
FREE = frozenset(
    {
        "training.checkpoint_minutes",
        "training.tensorboard",
        "training.mlflow",
        "training.cache_dir",
        "training.worker_timeout_minutes",
    }
)
_GROWING = ("training.epochs", "training.max_steps")


def check(
    config: Config, output: str | os.PathLike, *, overwrite: bool = False, resume: bool = False
) -> None:
    """Check all that can be checked before the data are read in full.

    Raises:
        TextclfError: with every error found.
    """
    resolved = with_paths(config)
    cluster.check_workers(resolved)
    check_all(
        lambda: check_environment(resolved),
        # The chief alone writes, and may have begun already.
        lambda: (
            check_output(output, overwrite=overwrite, resume=resume)
            if cluster.is_chief(resolved)
            else None
        ),
        lambda: data.check_sources(resolved.data),
        lambda: initialization.check(resolved, output),
        lambda: check_store() if config.training.mlflow and cluster.is_chief(resolved) else None,
    )


def check_inputs(config: Config) -> None:
    """Check all but the output, as `check`.

    Raises:
        TextclfError: with every error found.
    """
    resolved = with_paths(config)
    check_all(
        lambda: check_environment(resolved),
        lambda: data.check_sources(resolved.data),
        lambda: initialization.check(resolved),
    )


def check_output(
    output: str | os.PathLike,
    *,
    overwrite: bool,
    resume: bool = False,
    is_ours: tuple[str, ...] = (artifact.CARD,),
    is_locked: bool = False,
) -> None:
    """Check that a training can write its folder.

    Args:
        is_ours: see `artifact.check_output`.
        is_locked: whether this process holds the lock of the work folder.

    Raises:
        ArtifactError: it cannot; an existing folder is replaced only with `overwrite`, and only
            if it was trained by textclf; an unfinished training is replaced only with
            `overwrite`, and continued only with `resume`.
    """
    if overwrite and resume:
        raise ArtifactError(
            f"{output}: --resume continues a training and --overwrite starts again; give one"
        )
    if not is_locked:
        check_free(output)
    unfinished = None if overwrite else unfinished_training(output)
    if unfinished is not None and not resume:
        raise ArtifactError(
            f"{output}: has {unfinished}; add --resume to continue it, or --overwrite to start "
            "again"
        )
    artifact.check_output(output, overwrite=overwrite or resume, is_ours=is_ours)


def flat_settings(config: Config) -> dict[str, Any]:
    """Return every setting by its path, such as `training.epochs`."""
    return {
        f"{section}.{name}": value
        for section, settings in config.to_dict().items()
        for name, value in settings.items()
    }


def check_record(former: Record, record: Record, config: Config, folder: Path) -> None:
    """Check that settings, data and initial weights are those of an unfinished training.

    The number of epochs and of steps may grow, except with the schedule `cosine`, which depends on
    them.

    Args:
        former: of the unfinished training.
        record: of the one that is to continue it.
        config: its settings.
        folder: of the unfinished training, for the message.

    Raises:
        ConfigError: settings, or the weights in `training.init_from`, differ.
        DataError: the data differ.
        ArtifactError: it is the work of another command.
    """
    if former.command != record.command:
        raise ArtifactError(
            f"{folder}: was left by `textclf {former.command}`; continue with that command, or "
            "start again with --overwrite"
        )
    problems = []
    for name in sorted(former.settings.keys() | record.settings.keys()):
        before, value = former.settings.get(name), record.settings.get(name)
        if before == value or name in FREE:
            continue
        if name in _GROWING and (value is None or (before is not None and value > before)):
            if config.training.schedule != "cosine":
                continue
            fix = "the schedule `cosine` depends on it"
        else:
            fix = "restore it"
        problems.append(
            f"{name}: is {value}, but the unfinished training in {folder} has {before}; {fix}, or "
            "start again with --overwrite"
        )
    if former.num_replicas != record.num_replicas:
        problems.append(
            "training.strategy: the number of devices that share a batch, over all workers, is "
            f"{record.num_replicas}, but the unfinished training in {folder} has "
            f"{former.num_replicas}; use as many, or start again with --overwrite"
        )
    if former.initial_weights != record.initial_weights and not problems:
        problems.append(
            f"training.init_from: the weights in {config.training.init_from} differ from those "
            f"with which the unfinished training in {folder} began; restore them, or start again "
            "with --overwrite"
        )
    if problems:
        raise ConfigError(problems)
    if former.fingerprint != record.fingerprint:
        raise DataError(
            f"the data differ from those of the unfinished training in {folder}; restore them, or "
            "start again with --overwrite"
        )
