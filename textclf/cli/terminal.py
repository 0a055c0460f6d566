"""Notes, progress, time left and Ctrl-C.

All output goes to stderr. On a terminal progress is a bar, elsewhere one line per stage.
"""

import codecs
import contextlib
import datetime
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import click

from textclf import trace
from textclf.startup import clear_status, show_status

# Narrower terminals wrap the lines of tables.
_MIN_WIDTH = 60


def say(message: str) -> None:
    """Write a line to stderr."""
    clear_status()
    click.echo(message, err=True)


def show_check() -> None:
    """Show on a terminal that a command checks its arguments."""
    show_status("checking the settings and the data")


def note(message: str) -> None:
    """Write a note to stderr."""
    say(f"note: {message}")


def note_all(messages: Iterable[str]) -> None:
    for message in messages:
        note(message)


def use_utf8() -> None:
    """Make stdout and stderr UTF-8 in any locale: class names may be Chinese.

    Arguments that Python could not decode, such as paths, are written as their original bytes if
    these are UTF-8. Other lone surrogates are escaped on stderr and replaced on stdout.
    """
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=f"textclf.{errors}")


def _argument_bytes(fallback: str) -> Callable[[UnicodeError], tuple[str | bytes, int]]:
    """Return an error handler that writes undecoded bytes of arguments if they are UTF-8."""

    def write(error: UnicodeError) -> tuple[str | bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        surrogates = error.object[error.start : error.end]
        try:
            data = surrogates.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return codecs.lookup_error(fallback)(error)
        return data.decode("utf-8", fallback).encode("utf-8", fallback), error.end

    return write


for _fallback in ("replace", "backslashreplace"):
    codecs.register_error(f"textclf.{_fallback}", _argument_bytes(_fallback))


@contextlib.contextmanager
def stop_on_interrupt(
    message: str = "stopping at the next step; Ctrl-C again stops at once",
) -> Iterator[Callable[[], bool]]:
    """Handle Ctrl-C and SIGTERM: the first prints `message`, the second stops at once.

    Yields:
        A function that returns whether a stop was requested.
    """
    interrupted = False

    def on_interrupt(number: int, frame: Any) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        # Not click.echo, which is not reentrant. A terminal shows "^C" first.
        line = message.encode() + b"\n"
        os.write(2, b"\n" + line if os.isatty(2) else line)

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, on_interrupt) for number in signals]
    try:
        yield lambda: interrupted
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, so that temporary files are removed."""

    def on_termination(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, on_termination)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def output_width() -> int:
    """Return the width for tables on stdout: the terminal's, or a fixed one for pipes and files."""
    from textclf.display import WIDTH

    if sys.stdout is None or not sys.stdout.isatty():  # None: closed by `>&-`
        return WIDTH
    return max(shutil.get_terminal_size().columns, _MIN_WIDTH)


class Progress:
    """Progress bar on a terminal, and one line per stage elsewhere.

    Use it as a context manager. Call `clear` before any other output.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._key: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def stage(self, name: str) -> None:
        """Begin a stage of unknown length."""
        if self._is_terminal:
            self.update(name, 0, 0)
        else:
            say(name)

    def update(self, stage: str, done: int, total: int, key: Any = None, note: str = "") -> None:
        """Show that `done` of `total` units are done; a `total` of 0 is unknown.

        Args:
            key: a changed key begins a new bar; default: the stage.
            note: text after the remaining time.
        """
        if key is None and done:  # otherwise nothing of the stage is done yet
            trace.mark(stage)
        if not self._is_terminal:
            return
        if self._bar is None or (key or stage) != self._key:
            self.clear()
            self._key = key or stage
            show_status(stage)  # until rich is imported
            self._bar = _bar(is_length_known=bool(total))
            self._task = self._bar.add_task(stage, total=total or None, note=note)
            clear_status()
            self._bar.start()
        self._bar.update(
            self._task, completed=done, total=total or None, description=stage, note=note
        )

    def clear(self) -> None:
        """Remove the bar."""
        clear_status()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def note(self, message: str) -> None:
        """Remove the bar and write a note."""
        self.clear()
        note(message)


def _bar(*, is_length_known: bool) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    console = Console(stderr=True)
    columns: list[ProgressColumn]
    if is_length_known:
        columns = [TextColumn("{task.description}", markup=False)]
        # The bar takes the remaining width: with 80 columns, all texts fit.
        columns += [
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("left{task.fields[note]}" if console.width >= 80 else "left", markup=False),
        ]
    else:
        room = max(console.width - len(" ⠋ 0:00:00 "), 10)
        text_column = Column(no_wrap=True, overflow="ellipsis", max_width=room)
        columns = [
            TextColumn("{task.description}", markup=False, table_column=text_column),
            SpinnerColumn(),
            TimeElapsedColumn(),
        ]
    return Progress(
        *columns,
        console=console,
        expand=is_length_known,
        transient=True,
        # Results go to stdout; rich would redirect them to its console.
        redirect_stdout=False,
        redirect_stderr=False,
    )


class TimeLeft:
    """Estimate of the maximum time until the end of a training.

    The remaining steps and validation passes are assumed to take the mean time of those so far.
    Early stopping may end the training earlier.
    """

    def __init__(self) -> None:
        self._steps_left = 0
        self._validations_left = 0
        self._steps_per_validation = 0.0
        self._step_seconds: list[float] = [0.0, 0]  # sum and number
        self._validation_seconds: list[float] = [0.0, 0]
        self._last: float | None = None

    def start(
        self, *, num_steps: int, num_validations: int, steps_per_validation: float = 0.0
    ) -> None:
        """Set the number of remaining steps and validations.

        Args:
            steps_per_validation: steps that take as long as a validation, until one is measured.
        """
        self._steps_left = num_steps
        self._validations_left = num_validations
        self._steps_per_validation = steps_per_validation

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


@contextlib.contextmanager
def watch(
    events_of: Callable[..., Generator[Any, None, None]],
    kinds: tuple[type[Any], type[Any]],
    *,
    progress: Progress,
    time_left: TimeLeft,
    num_epochs: int,
) -> Iterator[Iterator[Any]]:
    """Return the events of a training within a context, and show its steps as progress.

    The end of the context ends the training: it removes temporary files, also when Ctrl-C arrives
    between two events.

    Args:
        events_of: returns the events, given `should_stop` and `on_progress`.
        kinds: classes of the first event and of a step. Before the first event there is nothing to
            save, so Ctrl-C ends the training at once; after it, at the next step.
    """
    started, step = kinds
    should_stop: Callable[[], bool] = bool  # always False
    with contextlib.ExitStack() as stack:
        events = events_of(should_stop=lambda: should_stop(), on_progress=progress.update)
        stack.enter_context(contextlib.closing(events))

        def show() -> Iterator[Any]:
            nonlocal should_stop
            for event in events:
                if not isinstance(event, step):
                    progress.clear()
                    if isinstance(event, started):
                        should_stop = stack.enter_context(stop_on_interrupt())
                    yield event
                    continue
                yield event
                time_left.add_step(time.monotonic())
                progress.update(
                    f"epoch {event.epoch}/{num_epochs} loss {event.mean_loss:.4f}",
                    event.step,
                    event.steps_per_epoch,
                    key=event.epoch,
                    note=time_left.in_words(),
                )

        yield show()
