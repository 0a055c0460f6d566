"""Checks before the training of a language model, which need neither TensorFlow nor all texts."""

import os
from collections.abc import Sequence

from textclf import artifact, data
from textclf.config import Config, check_environment, with_paths
from textclf.data.unlabelled import open_texts
from textclf.errors import ConfigError, check_all
from textclf.training import check_output


def check(
    config: Config,
    output: str | os.PathLike,
    *,
    texts: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
) -> None:
    """Check all that can be checked before the texts are read in full.

    Args:
        config, output, texts, overwrite, resume: as for `pretrain_events`.

    Raises:
        TextclfError: with every error found.
    """
    resolved = with_paths(config)
    check_all(
        lambda: check_environment(resolved),
        lambda: _check_network(config),
        lambda: check_output(
            output, overwrite=overwrite, resume=resume, is_ours=(artifact.LANGUAGE_MODEL,)
        ),
        lambda: data.check_sources(resolved.data),
        *(lambda source=source: _check_texts(source, resolved) for source in texts),
    )


def _check_texts(source: str, config: Config) -> None:
    open_texts(source, config.data)


def _check_network(config: Config) -> None:
    """Check that the recurrent layers can predict the next token.

    Raises:
        ConfigError: they cannot.
    """
    problems = []
    if config.model.encoder not in ("simple_rnn", "lstm", "gru"):
        problems.append(
            f"model.encoder: is {config.model.encoder}, which has no recurrent layers of Keras; "
            "set it to simple_rnn, lstm or gru for a language model"
        )
    elif config.model.bidirectional and config.model.num_layers > 1:
        problems.append(
            f"model.num_layers: is {config.model.num_layers}, but the upper layers of a "
            "bidirectional network read the whole text and cannot predict its next token; set it "
            "to 1, or set model.bidirectional: false"
        )
    if config.text.subwords:
        problems.append(
            "text.subwords: a language model has no vectors of n-grams; remove this setting here, "
            "and set it for the classifier"
        )
    if config.training.strategy != "one_device":
        problems.append(
            f"training.strategy: is {config.training.strategy}, but a language model is trained "
            "on one device; set it to one_device"
        )
    if problems:
        raise ConfigError(problems)
