"""Progress of long work: the type of the functions that are called with it."""

from collections.abc import Callable

# Called with the stage in words, the number done, and the total; 0 if the total is not known.
OnProgress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Do nothing: the default of `on_progress`."""
