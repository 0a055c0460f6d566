"""The start of TensorFlow, quiet and without unused packages, and the line that reports it."""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

_status = ""  # the line that is on the terminal now


def show_status(text: str) -> None:
    """Show a line on stderr until `clear_status`, if stderr is a terminal.

    It is plain text that needs no import, so it can report slow imports. Another status replaces
    it; anything else that is written to the terminal must clear it first.
    """
    global _status
    clear_status()
    if text and sys.stderr is not None and sys.stderr.isatty():
        _status = text  # first: Ctrl-C may come right after the line is there
        sys.stderr.write(text)
        sys.stderr.flush()


def clear_status() -> None:
    """Remove the line of `show_status`."""
    global _status
    if _status:
        # The terminal adds "^C" to the line when the user interrupts.
        sys.stderr.write("\r" + " " * (len(_status) + len("^C^C")) + "\r")
        sys.stderr.flush()
        _status = ""


def import_tensorflow() -> None:
    """Import TensorFlow without its start-up noise, which none of its settings silences.

    It takes 8 to 27 seconds, so a terminal shows a status; the status before it comes back.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    before = _status
    show_status("starting TensorFlow")
    try:
        _import_quietly()
    finally:
        show_status(before)


def _import_quietly() -> None:
    with _stderr_held_back(), _hidden("sklearn", "matplotlib"), _uncollected():
        import tensorflow as tf
        from absl import logging  # type: ignore[import-untyped]

        logging.set_verbosity(logging.ERROR)  # tensorflow-datasets warns of its own deprecations
        tf.constant(0)  # the first operation starts the devices, which has its own noise


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Packages count as not installed.

    TensorFlow imports Keras, which imports these two, where they are installed, for wrappers and
    plots that nothing here uses: a third of the time until TensorFlow is there.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is looked for, now or later, among what an import makes, as it makes hardly any.

    Looking is a seventh of the import's time, and at the end of the process a quarter of it again.
    Nor among all else that the process holds by then: for commands and workers, whose it is.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """What is written to file descriptor 2 comes out only if the block fails."""
    try:
        saved = os.dup(2)
    except OSError:  # closed: nobody would see the noise
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except Exception:
            held_back.seek(0)
            os.write(saved, held_back.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
