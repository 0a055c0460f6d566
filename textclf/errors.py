"""The tree of mistakes a user can mend.

TextclfError
├── ConfigError      a setting is unknown, out of range, or contradicts another
├── DataError        a file, a row or a label is not what was expected
├── ArtifactError    a trained folder or an exported version cannot be read or written
├── TrainingError    training cannot start, or had to stop
└── ExportError      an export did not pass its own verification

Every message is one sentence that says what is wrong, where, what was expected and how to
mend it. The command line prints these without a traceback and exits with 1; anything else
that escapes is a bug of this project and keeps its traceback.
"""

from collections.abc import Callable, Sequence


class TextclfError(Exception):
    """A mistake that the user can mend; the root of the tree."""


class ConfigError(TextclfError):
    """All the mistakes found in a configuration.

    Args:
        problems: one sentence each, beginning with the path of the setting.
    """

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(TextclfError):
    """A file, a row, a label or a data set that cannot be used as it stands."""


class ArtifactError(TextclfError):
    """A trained folder or an exported version that cannot be read or written."""


class TrainingError(TextclfError):
    """Training cannot start with these settings and data, or had to stop."""


class ExportError(TextclfError):
    """An export that did not pass its own verification, or cannot be made."""


def install_command(extra: str) -> str:
    """Return the command that installs an optional part, for messages.

    It names the checkout: on the public index the name `textclf` belongs to another project.
    """
    return f"`.venv/bin/pip install '.[{extra}]'` in the checkout of textclf"


def check_all(*checks: Callable[[], object]) -> None:
    """Calls every check, so that all their mistakes come out together.

    Raises:
        TextclfError: of the type of the first mistake's if there is one only, with all messages.
    """
    mistakes = []
    for check in checks:
        try:
            check()
        except TextclfError as error:
            mistakes.append(error)
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise TextclfError("\n".join(str(mistake) for mistake in mistakes))
