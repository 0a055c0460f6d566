"""Training of a language model from a configuration to its folder: texts, loop and files."""

import datetime
import math
import os
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

from textclf import artifact, networks, text
from textclf.config import Config, to_yaml, with_paths
from textclf.errors import TrainingError
from textclf.pretraining.checks import check
from textclf.pretraining.corpus import Corpus, Sources
from textclf.pretraining.events import Event, Finished, Measured, Started, Step
from textclf.pretraining.model import LanguageModel, Perplexity, State
from textclf.pretraining.model import Step as StepGraph
from textclf.pretraining.tokens import Streams, TokenFile
from textclf.progress import OnProgress, no_progress
from textclf.training.card import versions
from textclf.training.checkpoint_files import CheckpointFiles
from textclf.training.checks import check_output, check_record, flat_settings
from textclf.training.work_folder import (
    Position,
    Record,
    WorkFolder,
    unfinished_training,
    work_folder,
)

# The perplexity is computed so often in each epoch, on so many tokens at most.
_MEASURED_PER_EPOCH = 4
_MAX_HELD_OUT = 100_000
# Streams of held-out texts; fewer if the logits of a step would be more numbers than this, 200 MB.
_HELD_OUT_STREAMS = 16
_MAX_LOGITS = 50_000_000
# Share of the steps in which the learning rate rises to its peak, and the most steps.
_WARM_UP, _MAX_WARM_UP = 0.02, 200
_PASSES = "passes"
# Sections and settings on which the result depends.
_SECTIONS = ("data", "text", "model", "pretraining")
_SETTINGS = ("training.seed", "training.deterministic")


def pretrain(
    config: Config, output: str | os.PathLike, *, texts: Sequence[str] = (), **options: Any
) -> artifact.LanguageModelCard:
    """Train a language model, write its folder, and return its card.

        card = pretrain(config, "runs/lm", texts=["unlabelled.txt"])
        card.perplexity["forward"]

    Args:
        config, output, texts, **options: as for `pretrain_events`.

    Raises:
        TextclfError: as for `pretrain_events`.
    """
    for _ in pretrain_events(config, output, texts=texts, **options):
        pass
    return artifact.read_language_model(output)


def pretrain_events(
    config: Config,
    output: str | os.PathLike,
    *,
    texts: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: OnProgress = no_progress,
) -> Generator[Event, None, None]:
    """Check the settings, then return the events of a training that happens while they are read.

    The texts are those of the training split and of `texts`, without those that are in validation
    or test. `OUTPUT/passes/N` is the language model after epoch N, in the same form.

    Args:
        config: sections `data`, `text`, `model` and `pretraining`, and `training.seed`. The
            dropouts of section `model` are those of the classifier and not used.
        output: the folder to write; replaced only with `overwrite`, and only by a complete one.
        texts: sources of further texts, see `data.unlabelled.open_texts`.
        resume: continue the unfinished training of this folder, bit for bit as if it had never
            been interrupted; begin where nothing was saved.
        should_stop: called before each step; if it returns true, a checkpoint is written.
        on_progress: called with stage, done and total before the first step.

    Yields:
        `Started`, then `Step` and `Measured` events, and `Finished` at the end.

    Raises:
        TextclfError: an error in settings or texts, or the training was interrupted. What can be
            checked before the texts are read in full is raised by the call itself.
    """
    check(config, output, texts=texts, overwrite=overwrite, resume=resume)
    return _events(config, Path(output), tuple(texts), overwrite, resume, should_stop, on_progress)


def _events(
    config: Config,
    output: Path,
    sources: tuple[str, ...],
    overwrite: bool,
    resume: bool,
    should_stop: Callable[[], bool],
    on_progress: OnProgress,
) -> Generator[Event, None, None]:
    if resume and unfinished_training(output) is None and artifact.is_language_model(output):
        card = artifact.read_language_model(output)
        yield Finished(output, card.perplexity, was_finished=True)
        return
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    with work_folder(output, resume=resume) as work:
        # Again, now that the lock is held: another training may have ended in between.
        ours = (artifact.LANGUAGE_MODEL,)
        check_output(output, overwrite=overwrite, resume=resume, is_ours=ours, is_locked=True)
        resolved = with_paths(config)
        corpus = _open_corpus(resolved, sources, work, on_progress)
        training = _Training(resolved, corpus, work)
        yield training.started()
        try:
            yield from training.run(should_stop)
        except tf.errors.ResourceExhaustedError as error:
            raise TrainingError(
                "there is not enough memory for this language model "
                f"({str(error.message).splitlines()[0]}); lower pretraining.batch_size, "
                "pretraining.window, pretraining.num_candidates or text.max_tokens"
            ) from error
        card = training.card(config, sources)
        with artifact.write_folder(
            output, overwrite=overwrite or resume, staging=work.path
        ) as folder:
            for number, measured in enumerate(training.state.measured_epochs(), start=1):
                before = msgspec.structs.replace(card, epochs=number, perplexity=measured)
                (folder / _PASSES / str(number)).mkdir(parents=True)
                training.write(folder / _PASSES / str(number), before, number)
            training.write(folder, card, card.epochs)
        work.is_resumable = False
    yield Finished(output, card.perplexity)


def _open_corpus(
    config: Config, sources: tuple[str, ...], work: WorkFolder, on_progress: OnProgress
) -> Corpus:
    """Read and encode the texts, and check that they are those of a training that continues."""
    opened = Sources(config, sources, on_progress)
    settings = {
        name: value
        for name, value in flat_settings(config).items()
        if name.partition(".")[0] in _SECTIONS or name in _SETTINGS
    }
    record = Record(
        command="pretrain",
        settings=settings,
        fingerprint=opened.fingerprint,
        initial_weights="",
        num_replicas=1,
    )
    if (former := work.record) is not None:
        check_record(former, record, config, work.path)
    work.write_record(record)
    return opened.encode(work.path, on_progress)


class _State(msgspec.Struct):
    """Progress of the training; with the weights, all that a checkpoint holds.

    Attributes:
        epoch: the current epoch, from 1; 0 before the first.
        step: steps done in it.
        loss_sum: sum of their losses.
        seconds: duration of the epoch so far, interruptions not included.
        history: a line per measurement, see `Measured`.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def measured_epochs(self) -> list[dict[str, float]]:
        """Return the perplexity after each complete epoch."""
        return [line["perplexity"] for line in self.history if line["share"] == 1]


class _Training:
    """Language model, optimizer, streams and checkpoints of a training.

    Args:
        config: with resolved paths.
        corpus: the texts.
        work: the folder of the training.

    Attributes:
        state: its progress.
    """

    def __init__(self, config: Config, corpus: Corpus, work: WorkFolder):
        self._config, self._corpus, self._work = config, corpus, work
        settings, seed = config.pretraining, config.training.seed
        self._vocabulary = text.read_vocabulary(corpus.vocabulary_path)
        self._notices: list[str] = []
        network = self._build_network()
        self._model = LanguageModel(network, seed=seed)
        self._step = StepGraph(
            self._model,
            num_candidates=min(settings.num_candidates, self._num_ids),
            dropout=settings.dropout,
            clip_norm=settings.clip_norm,
            seed=seed,
        )
        self._perplexity = Perplexity(self._model)
        self._held_out = self._held_out_windows()
        self._steps_per_epoch = self._open_streams(1)[0].num_steps
        self._total_steps = settings.epochs * self._steps_per_epoch
        self._files = CheckpointFiles(work.checkpoints, minutes=config.training.checkpoint_minutes)
        self.state, self._carried = self._restore()

    @property
    def _num_ids(self) -> int:
        return text.NUM_RESERVED + len(self._vocabulary) + self._config.text.hash_buckets

    def _build_network(self) -> networks.Network:
        """Return the network of the classifier, without its dropout."""
        config = self._config
        matrix = None
        if (path := config.model.embedding_vectors) is not None:
            matrix, num_found = text.read_vectors(
                path,
                self._vocabulary,
                dim=config.model.embedding_dim,
                hash_buckets=config.text.hash_buckets,
                seed=config.training.seed,
            )
            self._notices.append(
                f"{num_found} of {len(self._vocabulary)} tokens have a vector in {path}"
            )
        values = config.model.to_dict() | {
            "input_dropout": 0.0,
            "recurrent_dropout": 0.0,
            "train_embedding": True,
        }
        return networks.build(
            networks.Architecture.from_settings(values),
            vocabulary_size=self._num_ids,
            num_classes=1,
            embedding_matrix=matrix,
            seed=config.training.seed,
        )

    def started(self) -> Started:
        """Return the first event."""
        sizes, model = self._corpus.sizes, self._model
        notices = list(self._notices)
        if sizes.num_cut:
            notices.append(f"{sizes.num_cut:,} texts were cut at their first 10,000 tokens")
        done = max(self.state.epoch - 1, 0) * self._steps_per_epoch + self.state.step
        return Started(
            num_texts=sizes.num_texts,
            num_tokens=sizes.num_tokens,
            num_removed=self._corpus.num_removed,
            num_held_out=self._corpus.num_held_out,
            vocabulary_size=self._num_ids,
            num_weights=sum(math.prod(v.shape) for v in [model.table, *model.variables]),
            directions=tuple(direction.name for direction in model.directions),
            steps_per_epoch=self._steps_per_epoch,
            total_steps=self._total_steps,
            step=done,
            num_measurements=_MEASURED_PER_EPOCH * self._config.pretraining.epochs
            - len(self.state.history),
            notices=tuple(notices),
        )

    # === Loop ===

    def run(self, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        """Train epoch after epoch.

        Raises:
            TrainingError: `should_stop` returned true, or a loss is not finite.
        """
        state = self.state
        while state.epoch < self._config.pretraining.epochs or state.step < self._steps_per_epoch:
            if state.step == self._steps_per_epoch or not state.epoch:
                state.epoch, state.step = state.epoch + 1, 0
                state.loss_sum, state.seconds = 0.0, 0.0
                self._carried = self._model.initial_state(self._config.pretraining.batch_size)
            yield from self._run_epoch(should_stop)
        self._step.flush()

    def _run_epoch(self, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        """Train the rest of an epoch."""
        state, num_steps = self.state, self._steps_per_epoch
        streams = self._open_streams(state.epoch)
        started = time.monotonic() - state.seconds
        while state.step < num_steps:
            if (is_stopping := should_stop()) or self._files.is_due:
                state.seconds = time.monotonic() - started
                self._save()
            if is_stopping:
                raise TrainingError(
                    f"interrupted in epoch {state.epoch} at step {state.step + 1:,} of "
                    f"{num_steps:,}; continue with --resume"
                )
            number = (state.epoch - 1) * num_steps + state.step
            loss, norm, self._carried = self._step(
                np.stack([stream.windows(state.step) for stream in streams]),
                self._carried,
                rate=self._rate(number),
                number=number,
            )
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise TrainingError(
                    f"the loss or its gradient is not finite in epoch {state.epoch} at step "
                    f"{state.step + 1:,} (loss {loss}); lower pretraining.learning_rate or "
                    "pretraining.clip_norm"
                )
            state.step += 1
            state.loss_sum += loss
            yield Step(state.epoch, state.step, num_steps, loss, state.loss_sum / state.step)
            quarters = _MEASURED_PER_EPOCH * state.step // num_steps
            if quarters > _MEASURED_PER_EPOCH * (state.step - 1) // num_steps:
                state.seconds = time.monotonic() - started
                yield self._measure(quarters / _MEASURED_PER_EPOCH)
        state.seconds = time.monotonic() - started
        (self._work.path / _PASSES).mkdir(exist_ok=True)
        np.savez(self._weights_path(state.epoch), **self._model.weights())  # type: ignore[arg-type]
        self._save()

    def _weights_path(self, epoch: int) -> Path:
        return self._work.path / _PASSES / f"{epoch}.npz"

    def _rate(self, number: int) -> float:
        """Return the learning rate of a step, from 0, over all epochs."""
        peak = self._config.pretraining.learning_rate
        warm_up = min(math.ceil(_WARM_UP * self._total_steps), _MAX_WARM_UP)
        if number < warm_up:
            return peak * (number + 1) / warm_up
        share = (number - warm_up) / max(self._total_steps - warm_up, 1)
        return peak * 0.5 * (1 + math.cos(math.pi * share))

    def _measure(self, share: float) -> Measured:
        """Compute the perplexity and add it to the history."""
        self._step.flush()
        names = [direction.name for direction in self._model.directions]
        perplexity = dict(zip(names, self._perplexity(self._held_out), strict=True))
        loss = self.state.loss_sum / self.state.step
        measured = Measured(self.state.epoch, share, loss, perplexity, self.state.seconds)
        self.state.history.append(msgspec.to_builtins(measured))
        return measured

    # === Texts ===

    def _open_streams(self, epoch: int) -> list[Streams]:
        """Return the streams of an epoch, of each direction, in the same order of texts."""
        settings = self._config.pretraining
        return [
            Streams(
                self._corpus.train,
                num_streams=settings.batch_size,
                window=settings.window,
                order=np.random.default_rng([self._config.training.seed, epoch]),
                is_reversed=direction.name == "backward",
            )
            for direction in self._model.directions
        ]

    def _held_out_windows(self) -> list[np.ndarray]:
        """Return windows of the held-out texts, int32 [directions, B, T + 1] each."""
        file: TokenFile = self._corpus.held_out
        window = min(self._config.pretraining.window, len(file.tokens) - 1)
        num_streams = min(
            _HELD_OUT_STREAMS,
            (len(file.tokens) - 1) // window,
            max(_MAX_LOGITS // (window * self._num_ids), 1),
        )
        streams = [
            Streams(
                file,
                num_streams=num_streams,
                window=window,
                is_reversed=direction.name == "backward",
            )
            for direction in self._model.directions
        ]
        num_steps = max(min(streams[0].num_steps, _MAX_HELD_OUT // (num_streams * window)), 1)
        return [np.stack([stream.windows(step) for stream in streams]) for step in range(num_steps)]

    # === Files ===

    @property
    def _variables(self) -> list[keras.Variable]:
        return [self._model.table, *self._model.variables, *self._step.variables]

    def _save(self) -> None:
        arrays = {f"variable/{i}": v.numpy() for i, v in enumerate(self._variables)}
        carried = tf.nest.flatten(self._carried)
        arrays |= {f"state/{i}": np.asarray(value) for i, value in enumerate(carried)}
        position = Position(epoch=self.state.epoch, step=self.state.step)
        self._files.write(arrays, msgspec.to_builtins(self.state), position)

    def _restore(self) -> tuple[_State, State]:
        """Return the state of the newest checkpoint and set the weights to it.

        Raises:
            TrainingError: it is a checkpoint of another network.
        """
        initial = self._model.initial_state(self._config.pretraining.batch_size)
        stored, notices = self._files.newest()
        self._notices += notices
        if stored is None:
            return _State(), initial
        with stored.arrays() as arrays:
            for i, variable in enumerate(self._variables):
                values = arrays.get(f"variable/{i}")
                if values is None or values.shape != tuple(variable.shape):
                    raise TrainingError(
                        f"{stored.folder}: is a checkpoint of another network; start again with "
                        "--overwrite"
                    )
                variable.assign(values)
            number = len(tf.nest.flatten(initial))
            carried = [arrays[f"state/{i}"] for i in range(number)]
        return (
            msgspec.convert(stored.manifest.numbers, _State),
            tf.nest.pack_sequence_as(initial, carried),
        )

    def card(self, config: Config, sources: tuple[str, ...]) -> artifact.LanguageModelCard:
        """Return the card of the finished training; `config` is as the user wrote it."""
        sizes = self._corpus.sizes
        return artifact.LanguageModelCard(
            config=config.to_dict(),
            sources=sources,
            num_texts=sizes.num_texts,
            num_tokens=sizes.num_tokens,
            unknown_fraction=sizes.num_unknown / max(sizes.num_tokens, 1),
            num_cut=sizes.num_cut,
            num_removed=self._corpus.num_removed,
            num_held_out=self._corpus.num_held_out,
            epochs=self.state.epoch,
            perplexity=self.state.history[-1]["perplexity"],
            versions=versions(),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def write(self, folder: Path, card: artifact.LanguageModelCard, epoch: int) -> None:
        """Write the files of the language model after an epoch to an existing folder."""
        shutil.copyfile(self._corpus.vocabulary_path, folder / artifact.VOCABULARY)
        shutil.copyfile(self._weights_path(epoch), folder / artifact.WEIGHTS)
        config = Config.from_dict(card.config)
        (folder / artifact.CONFIG).write_text(to_yaml(config.to_dict()), encoding="utf-8")
        with open(folder / artifact.HISTORY, "wb") as file:
            for line in self.state.history:
                if line["epoch"] <= epoch:
                    file.write(msgspec.json.encode(line) + b"\n")
        card = msgspec.structs.replace(card, files=artifact.checksums(folder))
        (folder / artifact.LANGUAGE_MODEL).write_text(card.to_json(), encoding="utf-8")
