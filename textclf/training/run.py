"""From a configuration to a trained folder: the data, the loop, the files."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import tensorflow as tf

from textclf import artifact, batches, classifier, data
from textclf.config import Config, check_environment, with_paths
from textclf.errors import ArtifactError, DataError, TrainingError, check_all
from textclf.training.events import Epoch, Event, Finished
from textclf.training.loop import Interrupted, Run
from textclf.training.losses import weigh_classes

_LOCK = "lock"


def check(config: Config, output: str | os.PathLike, *, overwrite: bool = False) -> None:
    """What can be refused before the data are read in full.

    Raises:
        TextclfError: with what is wrong and how to mend it.
    """
    resolved = with_paths(config)
    check_all(
        lambda: check_environment(resolved),
        lambda: _check_output(output, overwrite),
        lambda: data.check_sources(resolved.data),
    )


def _check_output(output: str | os.PathLike, overwrite: bool) -> None:
    artifact.check_output(output, overwrite=overwrite, is_ours=(artifact.CARD,))


def train(
    config: Config,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: batches.Progress = lambda stage, done, total: None,
) -> Generator[Event, None, None]:
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
    with _unfinished_folder(Path(output)) as work, _mistakes_of_tensorflow_named():
        # Once more, now that nobody else trains into it: a training may have ended in between.
        _check_output(output, overwrite)
        dataset = data.open_dataset(resolved.data, on_progress=on_progress)
        if "train" not in dataset.splits:
            raise DataError("there is no training split; name its file as data.train")
        class_weights = weigh_classes(
            config.training.class_weights, dataset, dataset.splits["train"].class_counts
        )
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
        run = Run(resolved, dataset, prepared, class_weights)
        yield run.started()
        num_notices = len(run.notices)
        why, message = "epochs", ""
        with _writers(work, resolved) as write_history:
            try:
                for event in run.epochs(should_stop):
                    if isinstance(event, Epoch):
                        write_history(event)
                    yield event
                if run.stopped_early:
                    why = "early stopping"
                elif run.step < run.steps_per_epoch * config.training.epochs:
                    why = "steps"
            except Interrupted as interruption:
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
            overwrite=overwrite,
        )
    notices = tuple(run.notices[num_notices:])
    yield Finished(folder, run.best.epoch, run.epoch, why, message, card.validation, notices)


@contextlib.contextmanager
def _mistakes_of_tensorflow_named() -> Iterator[None]:
    """Turns what the user can mend among TensorFlow's errors into ours."""
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
            f"the encoded texts were damaged while they were in use ({error.message}); start "
            "again, and if training.cache_dir is set, remove that folder before"
        ) from error


@contextlib.contextmanager
def _unfinished_folder(output: Path) -> Iterator[Path]:
    """`OUTPUT.unfinished`: what only the running training needs, removed at its end.

    Raises:
        ArtifactError: another process is training into the same output, or the folder is not
            one of ours.
    """
    output = Path(os.path.abspath(output))
    folder = output.with_name(output.name + ".unfinished")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder))
        except BlockingIOError:
            raise ArtifactError(
                f"{output}: another training is writing there; wait for it or name another folder"
            ) from None
        except OSError as error:
            raise ArtifactError(
                f"{folder}: cannot be written ({error.strerror}); name another output folder"
            ) from None
        for path in folder.iterdir():  # left by a run that was killed
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Makes a folder, or takes one over that a killed run of ours left, and holds its lock.

    Raises:
        BlockingIOError: another process holds it.
        ArtifactError: the folder is somebody else's.
    """
    while True:
        if os.path.isdir(folder) and os.listdir(folder) and not (folder / _LOCK).exists():
            raise ArtifactError(
                f"{folder}: textclf keeps there what only the running training needs, and the "
                "folder holds something else; move it or name another output folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / _LOCK, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have removed the folder after we opened the file in it.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / _LOCK)):
                    yield
                    return


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
