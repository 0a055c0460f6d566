"""Errors that a user can fix, and the phrases that their messages share.

TextclfError
├── ConfigError      a setting is unknown, out of range, or contradicts another
├── DataError        a file, a row or a label cannot be used
│   └── RowError     one row cannot be used; the rows after it can still be read
├── ArtifactError    a trained folder or an exported version cannot be read or written
├── TrainingError    training cannot start, or had to stop
└── ExportError      an export did not pass its own verification

A message is one sentence: location, problem, fix. The command line prints it without a traceback
and exits with 1. Any other exception is a bug of this project and keeps its traceback.
"""

import os
from collections.abc import Callable, Iterable, Sequence


class TextclfError(Exception):
    """Base class of the errors that a user can fix."""


class ConfigError(TextclfError):
    """Invalid or contradictory settings, all reported together.

    Args:
        problems: one sentence each, beginning with the path of the setting.
    """

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(TextclfError):
    """A file, a row, a label or a data set that cannot be used."""


class RowError(DataError):
    """A row that cannot be used; the rows after it can still be read.

    Args:
        location: file and line, such as `reviews.csv:17`.
        problem: what is wrong with the row.
        fix: what the user can do. A list of errors states each fix once.
        ends_reading: whether the rows after it cannot be read after all.
    """

    def __init__(self, location: str, problem: str, fix: str, *, ends_reading: bool = False):
        self.location, self.problem, self.fix = location, problem, fix
        self.ends_reading = ends_reading
        super().__init__(f"{location}: {problem}; {fix}")


# Called by a reader with the error of a row, which it then skips; it may raise the error.
OnProblem = Callable[[RowError], None]


def raise_problem(problem: RowError) -> None:
    """Raise the error of a row, so that reading stops at the first one."""
    raise problem


class ArtifactError(TextclfError):
    """A trained folder or an exported version that cannot be read or written."""


class TrainingError(TextclfError):
    """Training cannot start with these settings and data, or had to stop."""


class ExportError(TextclfError):
    """An export that did not pass its own verification, or cannot be made."""


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most similar to a name, or None.

    Args:
        name: the name that is not known.
        known: the names to choose from.
        cutoff: least similarity, from 0 to 1; see `difflib.get_close_matches`.
    """
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), 1, cutoff)), None)


def did_you_mean(
    name: str, known: Iterable[str], cutoff: float = 0.6, *, prefix: str | None = None
) -> str:
    """Return `"; did you mean 'x'?"` for the most similar known name, or "".

        did_you_mean("unit", ["units"], prefix="model.")    # "; did you mean model.units?"

    Args:
        name, known, cutoff: see `closest`.
        prefix: text before the name, which is then written without quotes.
    """
    near = closest(name, known, cutoff)
    if near is None:
        return ""
    return f"; did you mean {near!r}?" if prefix is None else f"; did you mean {prefix}{near}?"


def closest_file(name: str, known: Iterable[str]) -> str | None:
    """Return the known file name that is most similar to a name, or None.

    Names are compared without their extensions first: those are similar for most files.
    """
    stem = os.path.splitext(name)[0]
    similar = [other for other in known if closest(stem, [os.path.splitext(other)[0]], 0.65)]
    return closest(name, similar)


def format_list(values: Sequence[str], limit: int = 12, *, width: int | None = 40) -> str:
    """Return values separated by commas, or "nothing" without any.

        format_list(["text", "label"])    # "text, label"

    Args:
        values: the values.
        limit: maximum number of values that are listed; the others are counted.
        width: number of characters after which a value is cut; None for whole values.
    """
    shown = [
        value if width is None or len(value) <= width else value[: width - 3] + "..."
        for value in values[:limit]
    ]
    more = f" and {len(values) - limit:,} more" if len(values) > limit else ""
    return ", ".join(shown) + more if shown else "nothing"


def install_command(extra: str = "") -> str:
    """Return the command that installs an optional part, or textclf itself, for messages.

    It names the checkout: on the public index the name `textclf` belongs to another project.
    """
    target = f"'.[{extra}]'" if extra else "."
    return f"`.venv/bin/pip install {target}` in the checkout of textclf"


def check_all(*checks: Callable[[], object]) -> None:
    """Call every check and report the errors of all of them together.

    Raises:
        TextclfError: with all messages; of the type of the error if there is only one.
    """
    errors = []
    for check in checks:
        try:
            check()
        except TextclfError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise TextclfError("\n".join(str(error) for error in errors))
