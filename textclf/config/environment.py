"""Check of the packages and files of this machine that a configuration needs."""

import importlib.util
import itertools
import os

from textclf.config.experiment import Config
from textclf.errors import ConfigError, install_command


def check_environment(config: Config) -> None:
    """Check that this machine has the packages and files for a training, except the data.

    Args:
        config: a configuration with resolved paths.

    Raises:
        ConfigError: lists all missing packages and files.
    """
    problems = []
    for package in ("tensorboard", "mlflow"):
        if getattr(config.training, package) and importlib.util.find_spec(package) is None:
            problems.append(
                f"training.{package}: {package} is not installed; install it with "
                f"{install_command(package)} or remove the setting"
            )
    vectors = config.model.embedding_vectors
    if vectors is not None and not os.path.isfile(vectors):
        problems.append(
            f"{vectors}: no such file; model.embedding_vectors names a GloVe, word2vec or "
            "fastText text file"
        )
    elif vectors is not None:
        width = _vector_width(vectors)
        if width not in (None, config.model.embedding_dim):
            problems.append(
                f"{vectors}: contains vectors of {width} numbers, but model.embedding_dim is "
                f"{config.model.embedding_dim}; set model.embedding_dim to {width}"
            )
    if problems:
        raise ConfigError(problems)


def _vector_width(path: str) -> int | None:
    """Return the size of the vectors in a file, from its header or its first vector.

    None if it cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            fields = file.readline(1 << 20).split()
    except OSError:
        return None
    if len(fields) == 2 and all(field.isdecimal() for field in fields):  # word2vec, fastText
        return int(fields[1])
    numbers = itertools.takewhile(_is_number, reversed(fields[1:]))
    return sum(1 for _ in numbers) or None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
