"""Command `pretrain`: train a language model on texts without labels."""

import functools
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import (
    Progress,
    TimeLeft,
    note_all,
    say,
    show_check,
    termination_as_interrupt,
    watch,
)
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.config import Config
    from textclf.pretraining import Finished, Measured, Started


@click.command()
@click.argument("config_path", metavar="CONFIG", type=options.path)
@click.argument("output", type=options.path)
@click.option(
    "--texts",
    multiple=True,
    metavar="FILE",
    help="Further texts: .txt with a text per line, a table, or tfds:NAME:SPLIT; may be repeated.",
)
@options.set_option
@click.option("--overwrite", is_flag=True, help="Replace an existing language model.")
@click.option(
    "--resume", is_flag=True, help="Continue an interrupted training; begin if there is none."
)
def pretrain(
    config_path: Path,
    output: Path,
    texts: tuple[str, ...],
    overrides: tuple[str, ...],
    overwrite: bool,
    resume: bool,
) -> None:
    """Train a language model of the recurrent layers of CONFIG and write it to the folder OUTPUT.

    It learns to predict the next token of the texts of the training split and of --texts, and, with
    model.bidirectional, the one before. Labels are not used. Texts that are in validation or test
    are left out. training.init_from initializes a classifier with its weights.

    Ctrl-C or SIGTERM stops at the next step and writes a checkpoint. After that, and after a crash,
    the same command with --resume continues to the same result as without the interruption.

    \b
    Examples:
      textclf pretrain reviews.yaml runs/lm --texts unlabelled.txt
      textclf pretrain reviews.yaml runs/lm --resume --texts unlabelled.txt
      textclf pretrain reviews.yaml runs/lm --set pretraining.epochs=4
      textclf train reviews.yaml runs/reviews --set training.init_from=runs/lm
    """
    show_check()
    config = options.load_config(config_path, overrides)
    from textclf import pretraining

    pretraining.check(config, output, texts=texts, overwrite=overwrite, resume=resume)
    import_tensorflow()
    with termination_as_interrupt():
        finished = _show_events(config, output, texts, overwrite=overwrite, resume=resume)
    if finished.was_finished:
        say(f"{output} is finished: nothing is left to do")
    set_option = shlex.quote(f"training.init_from={output}")
    say(f"next: textclf train {shlex.quote(str(config_path))} OUTPUT --set {set_option}")
    click.echo(output)


def _show_events(
    config: "Config", output: Path, texts: tuple[str, ...], *, overwrite: bool, resume: bool
) -> "Finished":
    """Train, show the events and return the last one."""
    from textclf import pretraining

    time_left = TimeLeft()
    with Progress() as progress:
        progress.stage("reading the data")
        training_events = functools.partial(
            pretraining.pretrain_events,
            config,
            output,
            texts=texts,
            overwrite=overwrite,
            resume=resume,
        )
        with watch(
            training_events,
            (pretraining.Started, pretraining.Step),
            progress=progress,
            time_left=time_left,
            num_epochs=config.pretraining.epochs,
        ) as events:
            for event in events:
                if isinstance(event, pretraining.Started):
                    _say_start(event, time_left)
                elif isinstance(event, pretraining.Measured):
                    time_left.add_validation(time.monotonic())
                    _say_measured(event)
                elif isinstance(event, pretraining.Finished):
                    finished = event
    return finished


def _say_start(event: "Started", time_left: TimeLeft) -> None:
    time_left.start(
        num_steps=event.total_steps - event.step, num_validations=event.num_measurements
    )
    say(
        f"{event.num_texts:,} texts, {event.num_tokens:,} tokens; "
        f"{event.num_held_out:,} tokens held out; {event.num_removed:,} texts left out because "
        "they are in validation or test"
    )
    say(
        f"{event.vocabulary_size:,} token ids; {event.num_weights:,} weights; "
        f"{event.steps_per_epoch:,} steps per epoch"
    )
    note_all(event.notices)
    names = "".join(f"{name + ' perplexity':>21}" for name in event.directions)
    say(f"{'epoch':>7} {'loss':>8}{names} {'seconds':>8}")


def _say_measured(event: "Measured") -> None:
    values = "".join(f"{value:>21.1f}" for value in event.perplexity.values())
    done = event.epoch - 1 + event.share
    say(f"{done:>7.2f} {event.loss:>8.4f}{values} {event.seconds:>8.1f}")
