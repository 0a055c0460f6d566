"""List the files that a text and a setting cross on their way through the package.

    python tools/call_paths.py            print both lists as JSON; docs/design.md has them

A profiler watches `textclf train` and `textclf predict --input` on small files.

- The way of a text, from its row in a CSV file to the row with its label: the files of functions
  that take or return the text, or a tensor, alone or in a collection.
- The way of a setting, `model.units`, from the YAML file to the layer that reads it: the files of
  functions that return its value, alone or in a collection, until the configuration is complete,
  and of the functions that have passed it on when Keras' layer is made.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import textclf
from textclf.cli import main
from textclf.startup import import_tensorflow

PACKAGE = Path(textclf.__file__).parent
TEXT = "a text that occurs once"
UNITS = 131  # a value that no other setting has
# Rows before the text; they are larger than the sample by which a file is recognised.
ROWS = f"{'x' * 1000}\n" * 1200
CONFIG = f"""\
data:
  source: train.csv
model:
  units: {UNITS}
  embedding_dim: 4
  linear: none
training:
  epochs: 1
  batch_size: 16
"""

Profile = Callable[[FrameType, str, Any], None]


def write_files() -> None:
    """Write a configuration, a file to train on and a file to predict into the current folder."""
    rows = [f"good film number {i},pos\nbad film number {i},neg\n" for i in range(60)]
    Path("train.csv").write_text("text,label\n" + "".join(rows), encoding="utf-8")
    Path("train.yaml").write_text(CONFIG, encoding="utf-8")
    Path("new.csv").write_text(f"text\n{ROWS}{TEXT}\n", encoding="utf-8")


def run(arguments: list[str], profile: Profile) -> None:
    """Run a command without its output, with a profile function."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        sys.setprofile(profile)
        try:
            main(arguments, standalone_mode=False)
        finally:
            sys.setprofile(None)


def file_of(frame: FrameType) -> str | None:
    """Return the file of a function relative to the package; None for other packages."""
    path = Path(frame.f_code.co_filename)
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None


def arguments_of(frame: FrameType) -> list[Any]:
    """Return the arguments of a function except self and cls."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    has_more = bool(code.co_flags & 4) + bool(code.co_flags & 8)  # *args and **kwargs
    names = code.co_varnames[: count + has_more]
    return [
        frame.f_locals[name]
        for name in names
        if name not in ("self", "cls") and name in frame.f_locals
    ]


def contains(value: Any, is_marked: Callable[[Any], bool], depth: int = 4) -> bool:
    """Return whether a value is marked or is a collection or a struct with a marked value."""
    if isinstance(value, type):
        return False
    if is_marked(value):
        return True
    return depth > 0 and any(contains(item, is_marked, depth - 1) for item in items_of(value))


def items_of(value: Any) -> Iterator[Any]:
    """Yield the values in a mapping, a sequence or a struct."""
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value[:100]
    else:
        names = getattr(value, "__struct_fields__", None) or getattr(
            value, "__dataclass_fields__", ()
        )
        yield from (getattr(value, name) for name in names)


def way_of_text() -> list[str]:
    """Return the files on the way of a text; `run` is a trained folder."""
    import tensorflow as tf

    def is_marked(value: Any) -> bool:
        if isinstance(value, bytes):
            return TEXT.encode() in value
        return (isinstance(value, str) and TEXT in value) or isinstance(value, tf.Tensor)

    files: dict[str, None] = {}  # an ordered set

    def profile(frame: FrameType, event: str, value: Any) -> None:
        if event not in ("call", "return") or (file := file_of(frame)) is None:
            return
        values = arguments_of(frame) if event == "call" else [value]
        if file not in files and any(contains(item, is_marked) for item in values):
            files[file] = None

    run(["predict", "run", "--input", "new.csv"], profile)
    return list(files)


def way_of_setting() -> list[str]:
    """Return the files on the way of `model.units`; trains the folder `run`."""
    files: dict[str, None] = {}  # an ordered set

    def is_marked(value: Any) -> bool:
        return type(value) in (int, str) and str(value) == str(UNITS)

    is_read = is_used = False

    def profile(frame: FrameType, event: str, value: Any) -> None:
        nonlocal is_read, is_used
        name, file = frame.f_code.co_qualname, file_of(frame)
        if event == "return" and file is not None and not is_read:
            if contains(value, is_marked):
                files[file] = None
            is_read = name == "Config.load"
        elif event == "call" and name == "LSTM.__init__" and not is_used:
            is_used = True
            callers = []
            caller: FrameType | None = frame.f_back
            while caller is not None:
                file = file_of(caller)
                if file is not None and any(contains(v, is_marked) for v in arguments_of(caller)):
                    callers.append(file)
                caller = caller.f_back
            files.update(dict.fromkeys(reversed(callers)))

    run(["train", "train.yaml", "run"], profile)
    return list(files)


if __name__ == "__main__":
    import_tensorflow()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_files()
        ways = {"setting": way_of_setting(), "text": way_of_text()}
    os.write(1, (json.dumps(ways, indent=2) + "\n").encode())
