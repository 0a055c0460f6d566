"""The commands `train`, `baseline` and `demo`."""

import contextlib
import datetime
import json
import math
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textclf.cli import options, using
from textclf.cli.terminal import (
    Progress,
    note_all,
    output_width,
    say,
    show_check,
    stop_on_interrupt,
)
from textclf.errors import ArtifactError, TextclfError, TrainingError, check_all
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.config import Config
    from textclf.data import Dataset
    from textclf.training import Started

# === train ===


@click.command()
@click.argument("config_file", metavar="CONFIG", type=options.path)
@click.argument("output", type=options.path)
@options.set_option
@click.option("--overwrite", is_flag=True, help="Replace an existing trained folder.")
def train(config_file: Path, output: Path, overrides: tuple[str, ...], overwrite: bool) -> None:
    """Train the model of CONFIG and write it to the folder OUTPUT.

    Ctrl-C stops at the next step and saves the best epoch so far.

    \b
    Examples:
      textclf train reviews.yaml runs/reviews
      textclf train reviews.yaml runs/gru --set model.encoder=gru --set training.epochs=3
    """
    show_check()
    run_training(options.load_config(config_file, overrides), output, overwrite)
    say(f"next: textclf evaluate {shlex.quote(str(output))} --split validation")
    click.echo(output)


def run_training(config: "Config", output: Path, overwrite: bool) -> None:
    """Train a model with progress on stderr and write it to a folder.

    Raises:
        TextclfError: the training cannot start, or it ended early by interruption or failure.
    """
    _check(config, output, overwrite)
    import_tensorflow()
    from textclf import training

    finished = None
    try:
        with Progress() as progress, contextlib.ExitStack() as stack:
            progress.stage("reading the data")
            should_stop: Callable[[], bool] = bool  # always False until the training has started
            time_left = None
            events = training.train_events(
                config,
                output,
                overwrite=overwrite,
                should_stop=lambda: should_stop(),
                on_progress=progress.update,
            )
            # Removes temporary files also when Ctrl-C arrives between two events.
            stack.enter_context(contextlib.closing(events))
            for event in events:
                if isinstance(event, training.Step):
                    assert time_left is not None
                    time_left.add_step(time.monotonic())
                    progress.update(
                        f"epoch {event.epoch}/{config.training.epochs} loss {event.mean_loss:.4f}",
                        event.step,
                        event.steps_per_epoch,
                        key=event.epoch,
                        note=time_left.in_words(),
                    )
                    continue
                progress.clear()
                if isinstance(event, training.Started):
                    _say_start(event)
                    time_left = TimeLeft(event)
                    # There is nothing to save before; until then Ctrl-C ends it at once.
                    should_stop = stack.enter_context(stop_on_interrupt())
                elif isinstance(event, training.Epoch):
                    assert time_left is not None
                    time_left.add_validation(time.monotonic())
                    _say_epoch(event, config.training.epochs)
                else:
                    finished = event
    except KeyboardInterrupt:
        raise TrainingError("interrupted; nothing was saved") from None
    assert finished is not None
    if finished.message:
        raise TextclfError(
            f"{finished.message}; the best epoch so far ({finished.best_epoch}) is saved in "
            f"{finished.folder}"
        )
    ended = "stopped early" if finished.why == "early stopping" else "ended"
    say(
        f"{ended} after epoch {finished.epochs}; kept epoch {finished.best_epoch}, the best by "
        f"{config.training.monitor}"
    )


def _check(config: "Config", output: Path, overwrite: bool) -> None:
    """Check everything that does not need TensorFlow."""
    from textclf import artifact
    from textclf.config import check_environment, with_paths

    settings = with_paths(config)
    check_all(
        lambda: check_environment(settings),
        lambda: artifact.check_output(output, overwrite=overwrite, is_ours=(artifact.CARD,)),
        lambda: options.prepare_sources(settings),
    )


def _say_start(event: Any) -> None:
    sizes = ", ".join(f"{name} {n:,}" for name, n in event.splits.items())
    say(f"{len(event.class_names)} classes; examples: {sizes}")
    say(
        f"{event.vocabulary_size:,} token ids; {event.num_weights:,} weights; "
        f"{event.steps_per_epoch:,} steps per epoch"
    )
    note_all(event.notices)
    say(
        f"{'epoch':>7} {'loss':>8} {'val_loss':>9} {'val_accuracy':>13} "
        f"{'val_macro_f1':>13} {'seconds':>8}"
    )


def _say_epoch(event: Any, epochs: int) -> None:
    figures = event.figures
    number = f"{event.epoch}/{epochs}"
    say(
        f"{number:>7} {figures['loss']:>8.4f} {figures['val_loss']:>9.4f} "
        f"{figures['val_accuracy']:>13.4f} {figures['val_macro_f1']:>13.4f} "
        f"{event.seconds:>8.1f}" + ("  best" if event.is_best else "")
    )


class TimeLeft:
    """Estimate of the maximum time until the end of a training.

    The remaining steps and validation passes are assumed to take the mean time of those so far.
    Early stopping may end the training earlier.
    """

    def __init__(self, started: "Started"):
        self._steps_left = started.total_steps
        self._validations_left = math.ceil(started.total_steps / started.steps_per_epoch)
        # Used before the first validation; a text takes less time there than in training.
        share = started.splits["validation"] / max(started.splits["train"], 1)
        self._steps_per_validation = share * started.steps_per_epoch
        self._step_seconds: list[float] = [0.0, 0]  # sum and number
        self._validation_seconds: list[float] = [0.0, 0]
        self._last: float | None = None

    def add_step(self, now: float) -> None:
        """Count a step that ended at `now`, in seconds of any clock."""
        self._steps_left -= 1
        if self._last is not None:  # the first step builds the graph
            self._step_seconds[0] += now - self._last
            self._step_seconds[1] += 1
        self._last = now

    def add_validation(self, now: float) -> None:
        """Count a validation pass that ended at `now`."""
        assert self._last is not None
        self._validations_left -= 1
        self._validation_seconds[0] += now - self._last
        self._validation_seconds[1] += 1
        self._last = now

    def seconds(self) -> float | None:
        """Return the estimate at the last step or validation; None before the second step."""
        total, number = self._step_seconds
        if not number:
            return None
        step = total / number
        total, number = self._validation_seconds
        validation = total / number if number else step * self._steps_per_validation
        return self._steps_left * step + self._validations_left * validation

    def in_words(self) -> str:
        """Return the estimate as a suffix of a progress line."""
        seconds = self.seconds()
        if seconds is None:
            return ""
        return f"; total at most {datetime.timedelta(seconds=math.ceil(seconds))}"


# === baseline ===


@click.command()
@click.argument("config_file", metavar="CONFIG", type=options.path)
@options.set_option
@options.split_option
@options.json_option
def baseline(config_file: Path, overrides: tuple[str, ...], split: str, as_json: bool) -> None:
    """Fit and evaluate simple classifiers for comparison.

    These are the majority class, TF-IDF + logistic regression, and fastText if it is installed,
    on the data of CONFIG. No files are written.

    \b
    Examples:
      textclf baseline reviews.yaml
      textclf baseline reviews.yaml --json --split validation
    """
    show_check()
    from textclf.config import with_paths

    resolved = options.load_config(config_file, overrides)
    section = options.prepare_sources(with_paths(resolved))
    from textclf import baselines, data
    from textclf.report import format_comparison, format_report

    with Progress() as progress:
        progress.stage("reading the data")
        dataset = data.open_dataset(section, on_progress=progress.update)
        options.check_split(list(dataset.splits), split)
        texts, y = baselines.texts_and_classes(dataset, "train", progress.update)
        split_texts, y_true = baselines.texts_and_classes(dataset, split, progress.update)
    leaked = dataset.leaked(split)
    has_leaked = 0 < leaked.sum() < len(leaked)
    reports, described, without_leaked, seconds = {}, {}, {}, {}
    for name in baselines.available():
        started = time.monotonic()
        say(f"fitting {name} on {len(texts):,} texts")
        model = baselines.fit(
            name,
            texts,
            y,
            class_names=dataset.class_names,
            multi_label=dataset.multi_label,
            unit="character" if resolved.text.unit == "character" else "auto",
            seed=resolved.training.seed,
        )
        p = model.predict_proba(split_texts)
        seconds[name] = time.monotonic() - started
        described[name] = model.describe()
        reports[name] = _report(dataset, y_true, p, resolved)
        if has_leaked:
            without_leaked[name] = _report(dataset, y_true[~leaked], p[~leaked], resolved)
    if as_json:
        values = {
            name: {
                "description": described[name],
                "seconds": round(seconds[name], 1),
                "report": report.to_dict(),
                "without_leaked": without_leaked[name].to_dict() if has_leaked else None,
            }
            for name, report in reports.items()
        }
        click.echo(json.dumps({"split": split, "baselines": values}, ensure_ascii=False))
        return
    width = output_width()
    click.echo(format_comparison(reports, width=width), nl=False)
    if has_leaked:
        click.echo(f"\nWithout the {leaked.sum():,} {split} rows whose text is also in train:\n")
        click.echo(format_comparison(without_leaked, width=width), nl=False)
    click.echo(f"\nmajority: {described['majority']}")
    for name, report in reports.items():
        if name == "majority":  # a whole page of one answer says no more
            continue
        title = f"{name}, {described[name]}"
        click.echo("\n" + format_report(report, title=title, width=width), nl=False)


def _report(dataset: "Dataset", y_true: Any, p: Any, config: "Config") -> Any:
    from textclf import evaluation

    return evaluation.evaluate(
        y_true,
        p,
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        **config.evaluation.to_dict(),
    )


# === demo ===

# The text of configs/demo.yaml, as an installed package has no configs folder.
DEMO_CONFIG = """\
# The built-in opinions, English and Chinese, two classes.
# Train:    textclf train configs/demo.yaml runs/demo
# Expect:   half a minute on two cores, test accuracy 0.998 to 1.000 (seed 0, by processor);
#           the linear baseline has 0.619
data:
  source: demo
model:
  units: 32
  embedding_dim: 32
  pooling: max
  embedding_dropout: 0.0
  output_dropout: 0.0
training:
  epochs: 3
  batch_size: 32
  learning_rate: 0.005
"""
DEMO_TEXTS = ("not bad at all", "not good at all", "一点也不差", "I loved it")


@click.command()
def demo() -> None:
    """Train, evaluate, export and predict on built-in data.

    It takes about a minute and downloads nothing. It writes runs/demo.yaml, runs/demo and a new
    version in saved_models/demo, relative to the current folder.

    \b
    Examples:
      textclf demo
    """
    show_check()
    from textclf import artifact, config, data, saved_model

    config_file, folder, exports = Path("runs/demo.yaml"), Path("runs/demo"), Path("saved_models")
    exports /= "demo"
    artifact.check_output(folder, overwrite=True, is_ours=(artifact.CARD,))
    saved_model.check(exports)
    _check_demo_output(config_file, folder)
    resolved = config.Config.from_yaml(DEMO_CONFIG, place="the demo's configuration")
    folder.parent.mkdir(exist_ok=True)
    artifact.write_file(config_file, DEMO_CONFIG)
    run_training(resolved, folder, overwrite=True)

    from textclf import baselines, classifier

    say("evaluating both on the test split")
    dataset = data.open_dataset(resolved.data)
    report = classifier.load(folder).evaluate(dataset, "test", **resolved.evaluation.to_dict())
    with Progress() as progress:
        texts, y = baselines.texts_and_classes(dataset, "train", progress.update)
        test_texts, y_true = baselines.texts_and_classes(dataset, "test", progress.update)
    linear = baselines.fit(
        "tfidf_logistic_regression", texts, y, class_names=dataset.class_names, multi_label=False
    )
    linear_report = _report(dataset, y_true, linear.predict_proba(test_texts), resolved)
    version = using.run_export(folder, exports, None)
    answers = classifier.load_predictor(version).predict(DEMO_TEXTS)

    click.echo(f"test accuracy of the LSTM: {report.get('accuracy'):.3f}")
    click.echo(
        f"test accuracy of TF-IDF + logistic regression: {linear_report.get('accuracy'):.3f}"
    )
    click.echo(f"predictions of the SavedModel {version}:")
    for text, label in zip(DEMO_TEXTS, answers, strict=True):
        click.echo(f"  {text} -> {label}")
    click.echo("the equivalent commands:")
    for command in (
        f"textclf train {config_file} {folder} --overwrite",
        f"textclf evaluate {folder}",
        f"textclf export {folder} {exports}",
        f'textclf predict {version} "{DEMO_TEXTS[0]}"',
    ):
        click.echo(f"  {command}")
    say("to use your own file: textclf init FILE.csv FILE.yaml")


def _check_demo_output(config_file: Path, folder: Path) -> None:
    """Check that the demo replaces only its own files.

    Raises:
        ArtifactError: a file or folder was not written by the demo.
    """
    from textclf import artifact

    advice = "move it, or run the demo in another folder"
    first_line = DEMO_CONFIG.partition("\n")[0].encode()
    if config_file.exists() and not config_file.read_bytes().startswith(first_line):
        raise ArtifactError(f"{config_file}: exists and was not written by the demo; {advice}")
    is_trained = (folder / artifact.CARD).exists()
    if is_trained and artifact.read_card(folder).config["data"].get("source") != "demo":
        raise ArtifactError(f"{folder}: exists and was not trained on the demo; {advice}")
