"""Plan of a calibration: options, folder, settings and data, checked without TensorFlow."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from textclf import artifact
from textclf.config import (
    Config,
    Overrides,
    check_sections,
    data_format,
    read_trained_paths,
    with_paths,
)
from textclf.errors import ArtifactError, ConfigError, DataError, check_all, did_you_mean
from textclf.progress import OnProgress, no_progress
from textclf.startup import import_tensorflow
from textclf.tasks import THRESHOLD_METRICS, Task

if TYPE_CHECKING:
    from textclf.data import Dataset


class Options(NamedTuple):
    """Options of `calibrate`, which documents them; None or False if they are not set."""

    precision: float | None = None
    coverage: float | None = None
    maximize: str | None = None
    positive: str | None = None
    each_label: bool = False
    recall: float | None = None
    beta: float | None = None
    cost: tuple[float, float] | None = None

    @property
    def targets(self) -> dict[str, float | tuple[float, float]]:
        """Targets of thresholds by name; at most one in checked options.

        `precision` is a target only with `positive` or `each_label`; otherwise it sets abstention.
        """
        names = ["recall", "beta", "cost"]
        if self.positive is not None or self.each_label:
            names.append("precision")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, float | str | bool]:
        """Return the options that are set, in the form of the card."""
        values = {
            name: value for name, value in self._asdict().items() if value not in (None, False)
        }
        if "cost" in values:
            per_positive, per_negative = values.pop("cost")
            values |= {"false_positive_cost": per_positive, "false_negative_cost": per_negative}
        return values


class Plan(NamedTuple):
    """A calibration that passed the checks; see `check`.

    Attributes:
        folder: the trained folder.
        output: the folder to write.
        overwrite: whether `output` may be replaced.
        card: the card of `folder`.
        task: the task of the classifier.
        config: configuration of the training with the overrides and with resolved paths.
        options: the checked options.
        notices: sentences for the user.
    """

    folder: Path
    output: Path
    overwrite: bool
    card: artifact.Card
    task: Task
    config: Config
    options: Options
    notices: tuple[str, ...]


def check(
    folder: str | os.PathLike,
    *,
    output: str | os.PathLike | None = None,
    overwrite: bool = False,
    overrides: Overrides = (),
    **options: Any,
) -> Plan:
    """Check the options, the folder, the settings and the first rows of the data.

    Args:
        folder, output, overwrite, overrides: as for `calibrate`.
        options: other arguments of `calibrate`.

    Raises:
        TextclfError: as for `calibrate`.
    """
    folder = Path(folder)
    checked = _options(**options)
    card = _read_card(
        folder,
        "does not change; calibrate the trained folder, then export it again with `textclf export`",
    )
    checked = _for_task(checked, card, folder)
    check_sections(overrides, ("data",))
    config, resolved, check_data = _data_checks(folder, card, overrides)
    target = folder if output is None else Path(output)
    check_all(
        lambda: _check_target(target, is_copy=output is not None, overwrite=overwrite),
        check_data,
    )
    return Plan(
        folder=folder,
        output=target,
        overwrite=output is None or overwrite,
        card=card,
        task=card.task,
        config=resolved,
        options=checked,
        notices=config.notices,
    )


def plan_to_read(folder: str | os.PathLike, *, overrides: Overrides = ()) -> Plan:
    """Return a plan to read the validation split of a trained folder without changing it.

    Raises:
        ConfigError, ArtifactError, DataError: as for `calibrate`.
    """
    folder = Path(folder)
    card = _read_card(
        folder, "does not know its data; name the trained folder that it was exported from"
    )
    check_sections(overrides, ("data",))
    config, resolved, check_data = _data_checks(folder, card, overrides)
    check_data()
    return Plan(folder, folder, False, card, card.task, resolved, Options(), config.notices)


def _read_card(folder: Path, limit_of_exports: str) -> artifact.Card:
    """Return the card of a trained folder; an export is an error that ends with its limit."""
    version = artifact.exported_version(folder)
    if version is not None:
        raise ArtifactError(f"{version}: is an exported SavedModel, which {limit_of_exports}")
    return artifact.read_card(folder)


def _data_checks(
    folder: Path, card: artifact.Card, overrides: Overrides
) -> tuple[Config, Config, Callable[[], None]]:
    """Return the configuration, the same with resolved paths, and a check of the data."""
    from textclf import model_data

    paths = read_trained_paths(folder)
    config = model_data.training_config(card, paths, overrides)
    resolved = with_paths(config)
    if data_format(resolved.data.to_dict()) == "tfds":
        import_tensorflow()  # before tensorflow-datasets does, to suppress its messages
    from textclf import data

    def check_data() -> None:
        model_data.check_trained_paths(config, paths, overrides)
        data.check_sources(resolved.data)

    return config, resolved, check_data


# === Options ===


def _options(**values: Any) -> Options:
    """Check the values of the options and return them, with plain numbers for those of NumPy.

    Raises:
        ConfigError: names all problems that do not depend on the model.
    """
    values = {name: value for name, value in values.items() if value is not None}
    for name in ("precision", "coverage", "recall", "beta"):
        if name in values:
            values[name] = float(values[name])
    if "cost" in values:
        values["cost"] = tuple(map(float, values["cost"]))
    options = Options(**values)
    problems = [
        f"{name}={value:g}: expected a number above 0 and at most 1"
        for name in ("precision", "coverage", "recall")
        if (value := values.get(name)) is not None and not 0 < value <= 1
    ]
    targets = options.targets
    problems += [
        f"{name}=1: a lower bound is always below 1; use a number such as 0.95"
        for name in ("precision", "recall")
        if targets.get(name) == 1
    ]
    for name, numbers in (("beta", [options.beta]), ("cost", options.cost or [None])):
        if any(number is not None and not 0 < number < math.inf for number in numbers):
            shown = " ".join(f"{number:g}" for number in numbers)
            problems.append(f"{name}={shown}: expected a number above 0")
    if options.precision is not None and options.coverage is not None:
        problems.append("coverage: cannot be combined with precision; remove one of them")
    if options.maximize is not None and options.maximize not in THRESHOLD_METRICS:
        problems.append(
            f"maximize={options.maximize}: expected one of {', '.join(THRESHOLD_METRICS)}"
        )
    if len(targets) > 1:
        first, *rest = targets
        problems.append(f"{first}: cannot be combined with {', '.join(rest)}; keep one of them")
    others = [name for name in ("coverage", "maximize") if targets and getattr(options, name)]
    if others and not (options.precision is not None and options.coverage is not None):
        problems.append(
            f"{others[0]}: cannot be combined with {next(iter(targets))}; remove one of them"
        )
    if not targets and (options.positive is not None or options.each_label):
        name = "each_label" if options.each_label else "positive"
        problems.append(f"{name}: a threshold needs a target; set precision, recall, beta or cost")
    if problems:
        raise ConfigError(problems)
    return options


def _for_task(options: Options, card: artifact.Card, folder: Path) -> Options:
    """Return the options for the classes of a model.

    Raises:
        ConfigError: an option does not fit the model.
    """
    task, names = card.task, card.class_names
    if options.maximize is not None and not task.has_thresholds:
        raise ConfigError(
            [
                f"maximize={options.maximize}: {folder} has one class per text and no thresholds; "
                "omit the option"
            ]
        )
    if not options.targets:
        return options
    if task.is_multi_label:
        if options.positive is not None:
            raise ConfigError(
                [f"positive: {folder} has several labels per text; use each_label instead"]
            )
        return options._replace(each_label=True)
    if options.each_label:
        raise ConfigError([f"each_label: {folder} has one class per text; use positive instead"])
    if len(names) != 2:
        name = next(iter(options.targets)) if options.positive is None else "positive"
        raise ConfigError([f"{name}: {no_thresholds(folder, len(names))}; omit the option"])
    check_class(options.positive, names)
    return options


def no_thresholds(folder: Path, num_classes: int) -> str:
    """Return why a model with one of several classes per text has no thresholds."""
    return (
        f"{folder} has {num_classes} classes; a threshold needs two classes or several labels per "
        "text"
    )


def check_class(name: str | None, names: tuple[str, ...]) -> None:
    """Check the name of the positive class of a model.

    Raises:
        ConfigError: it is missing or not a class of the model.
    """
    shown = " or ".join(map(repr, names)) if len(names) == 2 else ", ".join(map(repr, names[:12]))
    if name is None:
        raise ConfigError([f"positive: is missing; set it to the class to find, {shown}"])
    if name not in names:
        raise ConfigError(
            [
                f"positive={name}: the model has no such class; use {shown}"
                f"{did_you_mean(name, names)}"
            ]
        )


def _check_target(target: Path, *, is_copy: bool, overwrite: bool) -> None:
    if is_copy:
        artifact.check_output(target, overwrite=overwrite, is_ours=(artifact.CARD,))
        return
    real = Path(os.path.realpath(target))
    if os.path.ismount(real):
        raise ArtifactError(
            f"{target}: is a mount point, which cannot be replaced; write a copy to another folder"
        )
    artifact.check_writable(target, within=real.parent)


def open_data(plan: Plan, on_progress: OnProgress = no_progress) -> "Dataset":
    """Open the data of the training.

    Raises:
        DataError: the data cannot be used, or are not those of the training.
    """
    from textclf import data

    settings = plan.config.data
    dataset = data.open_dataset(settings, on_progress=on_progress)
    if dataset.fingerprint != plan.card.data.fingerprint:
        raise DataError(
            f"{settings.source or settings.train}: these are not the data that {plan.folder} was "
            "trained with, or they have changed, so its validation split is unknown; restore the "
            "data, or name a copy of them in data.source"
        )
    return dataset
