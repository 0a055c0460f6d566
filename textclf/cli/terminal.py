"""Notes, progress and Ctrl-C.

All of it goes to stderr. A bar is drawn on a terminal only; elsewhere a stage is a line.
"""

import codecs
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from textclf.startup import clear_status, show_status


def say(message: str) -> None:
    """Write a line to stderr."""
    clear_status()
    click.echo(message, err=True)


def show_check() -> None:
    """Show on a terminal that a command has begun and checks what it was given."""
    show_status("checking the settings and the data")


def note_all(messages: Iterable[str]) -> None:
    for message in messages:
        say(f"note: {message}")


def use_utf8() -> None:
    """Make stdout and stderr UTF-8 whatever the locale says: class names may be Chinese.

    Arguments that Python could not decode, such as paths, are written as the bytes they were if
    these are UTF-8; other halves of surrogate pairs are escaped on stderr and replaced on stdout.
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
    said: str = "stopping at the next step; Ctrl-C again stops at once and saves nothing",
) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks to stop, which is `said`; the second stops at once."""
    interrupted = False

    def on_interrupt(number: int, frame: Any) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        # Not click.echo: the signal may come while that is writing. A terminal shows "^C" first.
        line = said.encode() + b"\n"
        os.write(2, b"\n" + line if os.isatty(2) else line)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """A bar with the time left on a terminal, and a line for each stage elsewhere.

    Use it as a context manager, and `clear` it before anything else is written.
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

    def stage(self, what: str) -> None:
        """Begins a stage of unknown length."""
        if self._is_terminal:
            self.update(what, 0, 0)
        else:
            say(what)

    def update(self, stage: str, done: int, total: int, key: Any = None, note: str = "") -> None:
        """Show that `done` of `total` are done; a `total` of 0 is unknown.

        Args:
            key: a new one (default: the stage) begins a new bar.
            note: words after the time left.
        """
        if not self._is_terminal:
            return
        if self._bar is None or (key or stage) != self._key:
            self.clear()
            self._key = key or stage
            show_status(stage)  # until the import of rich is done
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

    def counted(self, items: Iterable, stage: str, total: int) -> Iterator:
        """The items, counted while they are taken."""
        for done, item in enumerate(items, start=1):
            yield item
            if done % 1024 == 0 or done == total:
                self.update(stage, done, total)


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
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
    if is_length_known:
        # The bar gets the columns that the words leave: on 80, words and numbers are whole.
        columns += [
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("left{task.fields[note]}" if console.width >= 80 else "left", markup=False),
        ]
    else:
        columns += [SpinnerColumn(), TimeElapsedColumn()]
    return Progress(
        *columns,
        console=console,
        expand=is_length_known,
        transient=True,
        # Results go to stdout, and rich would carry them over to its own console.
        redirect_stdout=False,
        redirect_stderr=False,
    )
