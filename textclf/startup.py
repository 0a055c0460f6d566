"""Start of TensorFlow: without its messages and without packages that are not used here."""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

from textclf import trace

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
    """Import TensorFlow without its start-up messages, which none of its settings prevents.

    It takes 8 to 27 seconds, so a terminal shows a status; the status before it comes back.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    before = _status
    show_status("starting TensorFlow")
    trace.mark("imports of textclf and checks")
    try:
        _import_quietly()
    finally:
        show_status(before)
        trace.mark("import of TensorFlow")


def _import_quietly() -> None:
    with _buffered_stderr(), _hidden("sklearn", "matplotlib"), _no_garbage_collection():
        import tensorflow as tf
        from absl import logging  # type: ignore[import-untyped]

        # Hides the warnings of tensorflow-datasets about its own deprecations.
        logging.set_verbosity(logging.ERROR)
        # Each loaded model and each training has a separate graph, but TensorFlow takes all of them
        # for one function that is traced too often.
        ours = (
            *("of <textclf.", "<function TrainStep."),
            *("<function NgramCounter.", "<function predict_texts."),
        )
        tf.get_logger().addFilter(
            lambda record: not any(name in record.getMessage() for name in ours)
        )
        # The first use of the devices writes messages. An operation also starts them, but several
        # workers must connect before that.
        if "TF_CONFIG" in os.environ:
            tf.config.list_physical_devices()
        else:
            tf.constant(0)


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Make imports of packages fail as if they were not installed.

    TensorFlow imports Keras, which imports these packages if they are installed, for wrappers and
    plots that are not used here. That takes a third of the time of the import.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Disable the garbage collector during the import and freeze what the import created.

    Collection takes a seventh of the time of the import, and a quarter of it again when the
    process ends. For entry points only: every live object of the process is frozen.
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
def _buffered_stderr() -> Iterator[None]:
    """Discard what is written to file descriptor 2, unless the block fails."""
    try:
        saved = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        except Exception:
            buffer.seek(0)
            os.write(saved, buffer.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
