"""Checks before a training, which need neither TensorFlow nor the whole data."""

import os

from textclf import artifact, data
from textclf.config import Config, check_environment, with_paths
from textclf.errors import check_all


def check(config: Config, output: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Check all that can be checked before the data are read in full.

    Raises:
        TextclfError: with every error found.
    """
    resolved = with_paths(config)
    check_all(
        lambda: check_environment(resolved),
        lambda: check_output(output, overwrite),
        lambda: data.check_sources(resolved.data),
    )


def check_output(output: str | os.PathLike, overwrite: bool) -> None:
    """Check that a training can write its folder.

    Raises:
        ArtifactError: it cannot; an existing folder is replaced only with `overwrite`, and only
            if it was trained by textclf.
    """
    artifact.check_output(output, overwrite=overwrite, is_ours=(artifact.CARD,))
