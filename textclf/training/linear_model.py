"""The linear model of a training, alone or beside a network."""

import tempfile
from pathlib import Path

from textclf import classifier, data, linear, text
from textclf.config import Config
from textclf.progress import OnProgress, no_progress
from textclf.training.optimization import weigh_classes
from textclf.training.work_folder import WorkFolder


def fit_linear(
    config: Config,
    dataset: data.Dataset,
    *,
    folder: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> linear.Fitted:
    """Fit the linear model of a configuration, alone or of a mixture.

        fitted = fit_linear(config, dataset)
        events = train_events(config, "runs/lstm", linear_model=fitted)

    It depends on `training.class_weights`, `training.seed`, `text.linear_length` and the settings
    of the tokenizer, and on no setting of the network.

    Args:
        config: the experiment, with resolved paths.
        dataset: its data.
        folder: for temporary files, see `linear.fit`; default: the system's.
        on_progress: see `linear.fit`.

    Raises:
        TextclfError: as for `linear.fit`.
    """
    class_weights = weigh_classes(config.training.class_weights, dataset.task, dataset)
    with tempfile.TemporaryDirectory(prefix="textclf-", dir=folder) as temporary:
        return linear.fit(
            dataset,
            tokenizer=text.Tokenizer(**classifier.tokenizer_settings(config)),
            folder=Path(temporary),
            max_tokens=config.text.linear_length,
            class_weights=class_weights,
            seed=config.training.seed,
            on_progress=on_progress,
        )


def fitted_before(work: WorkFolder) -> linear.Fitted | None:
    """Return the linear model that a training fitted before it was interrupted, if it did."""
    try:
        return linear.load_fitted(work.linear_model)
    except (FileNotFoundError, ValueError):  # ValueError: damaged
        return None
