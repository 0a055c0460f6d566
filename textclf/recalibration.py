"""Recalibration: fits the decision of a trained classifier again, without training.

    import textclf
    result = textclf.calibrate("runs/reviews", precision=0.95)
    result.decision.abstain_below

The decision is the temperature, the thresholds and the confidence below which the classifier
abstains. It is fitted to the validation split of the training data; the test split is not scored.
`calibrate` calls `check`, `open_data` and `refit`; only `refit` imports TensorFlow.
"""

import datetime
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from textclf import artifact
from textclf.config import (
    Config,
    Overrides,
    check_sections,
    data_format,
    read_trained_paths,
    with_paths,
)
from textclf.errors import ArtifactError, ConfigError, DataError, check_all
from textclf.evaluation import Report
from textclf.startup import import_tensorflow
from textclf.tasks import THRESHOLD_METRICS, Decision, Task

if TYPE_CHECKING:
    import numpy as np

    from textclf.classifier import Classifier
    from textclf.data import Dataset

Progress = Callable[[str, int, int], None]  # stage, number done, total


class CalibrationResult(msgspec.Struct, frozen=True):
    """Result of `calibrate`.

    Attributes:
        folder: the trained folder that was written.
        former: the decision before the calibration.
        decision: the new decision.
        former_report: report on the validation split with the former decision; None if the card
            had none.
        report: report on the validation split with the new decision.
        options: the options that were set, by name.
        notices: sentences for the user.
    """

    folder: Path
    former: Decision
    decision: Decision
    former_report: Report | None
    report: Report
    options: dict[str, float | str]
    notices: tuple[str, ...]


class Plan(NamedTuple):
    """A calibration that passed the checks; see `check`.

    Attributes:
        folder: the trained folder.
        output: the folder to write.
        overwrite: whether `output` may be replaced.
        card: the card of `folder`.
        task: the task of the classifier.
        config: configuration of the training with the overrides and with resolved paths.
        options: the options that were set, by name.
        notices: sentences for the user.
    """

    folder: Path
    output: Path
    overwrite: bool
    card: artifact.Card
    task: Task
    config: Config
    options: dict[str, Any]
    notices: tuple[str, ...]


def calibrate(
    folder: str | os.PathLike,
    *,
    precision: float | None = None,
    coverage: float | None = None,
    maximize: str | None = None,
    output: str | os.PathLike | None = None,
    overwrite: bool = False,
    overrides: Overrides = (),
    on_progress: Progress = lambda stage, done, total: None,
) -> CalibrationResult:
    """Fit the decision of a trained folder again and replace it, without training.

        result = textclf.calibrate("runs/reviews", coverage=0.9)
        result.report.abstention.accuracy

    Card and card page are replaced together, in one atomic step. The weights stay as they are, and
    the former decision is kept in `Card.history`.

    Args:
        folder: the trained folder.
        precision: abstain so that at least this share of the answers on validation is correct.
        coverage: abstain so that at least this share of validation is answered. Without
            `precision` and `coverage` the model never abstains.
        maximize: multi-label: metric of the thresholds, `macro_f1` (default) or `micro_f1`.
        output: write a calibrated copy to this folder and leave `folder` as it is.
        overwrite: replace `output` if it is a trained folder.
        overrides: settings of section `data`, such as {"data.source": "moved/reviews.csv"}.
        on_progress: called with a stage, the number done and their total (0: unknown).

    Raises:
        ConfigError: an option or an override is invalid.
        ArtifactError: the folder is not a trained folder, is damaged, or cannot be written.
        DataError: the data are not those of the training, or no confidence reaches the precision.
    """
    plan = check(
        folder,
        precision=precision,
        coverage=coverage,
        maximize=maximize,
        output=output,
        overwrite=overwrite,
        overrides=overrides,
    )
    return refit(plan, open_data(plan, on_progress), on_progress)


# === Checks before the data are read ===


def check(
    folder: str | os.PathLike,
    *,
    precision: float | None = None,
    coverage: float | None = None,
    maximize: str | None = None,
    output: str | os.PathLike | None = None,
    overwrite: bool = False,
    overrides: Overrides = (),
) -> Plan:
    """Check the options, the folder, the settings and the first rows of the data.

    Args:
        folder, precision, coverage, maximize, output, overwrite, overrides: as for `calibrate`.

    Raises:
        TextclfError: as for `calibrate`.
    """
    folder = Path(folder)
    options = _options(precision, coverage, maximize)
    version = artifact.exported_version(folder)
    if version is not None:
        raise ArtifactError(
            f"{version}: is an exported SavedModel, which does not change; calibrate the trained "
            "folder, then export it again with `textclf export`"
        )
    card = artifact.read_card(folder)
    task = card.task
    if maximize is not None and not task.has_thresholds:
        raise ConfigError(
            [
                f"maximize={maximize}: {folder} has one class per text and no thresholds; omit the "
                "option"
            ]
        )
    check_sections(overrides, ("data",))
    from textclf import model_data

    paths = read_trained_paths(folder)
    config = model_data.training_config(card, paths, overrides)
    resolved = with_paths(config)
    target = folder if output is None else Path(output)
    if data_format(resolved.data.to_dict()) == "tfds":
        import_tensorflow()  # before tensorflow-datasets does, to suppress its messages
    from textclf import data

    def check_data() -> None:
        model_data.check_trained_paths(config, paths, overrides)
        data.check_sources(resolved.data)

    check_all(
        lambda: _check_target(target, is_copy=output is not None, overwrite=overwrite),
        check_data,
    )
    return Plan(
        folder=folder,
        output=target,
        overwrite=output is None or overwrite,
        card=card,
        task=task,
        config=resolved,
        options=options,
        notices=config.notices,
    )


def _options(
    precision: float | None, coverage: float | None, maximize: str | None
) -> dict[str, float | str]:
    """Check the options and return those that are set, numbers of NumPy as those of Python."""
    problems = [
        f"{name}={value:g}: expected a number above 0 and at most 1"
        for name, value in (("precision", precision), ("coverage", coverage))
        if value is not None and not 0 < value <= 1
    ]
    if precision is not None and coverage is not None:
        problems.append("coverage: cannot be combined with precision; remove one of them")
    if maximize is not None and maximize not in THRESHOLD_METRICS:
        problems.append(f"maximize={maximize}: expected one of {', '.join(THRESHOLD_METRICS)}")
    if problems:
        raise ConfigError(problems)
    numbers = {"precision": precision, "coverage": coverage}
    options: dict[str, float | str] = {
        name: float(value) for name, value in numbers.items() if value is not None
    }
    return options if maximize is None else {**options, "maximize": maximize}


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


# === Data and decision ===


def open_data(plan: Plan, on_progress: Progress = lambda stage, done, total: None) -> "Dataset":
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


def refit(
    plan: Plan, dataset: "Dataset", on_progress: Progress = lambda stage, done, total: None
) -> CalibrationResult:
    """Fit the decision to the validation split and write the trained folder.

    Args:
        dataset: the data of the training; only validation is read.

    Raises:
        TextclfError: as for `calibrate`.
    """
    import_tensorflow()
    from textclf import evaluation, training

    options = plan.options
    precision = options.get("precision")
    validation = _validation_logits(plan, dataset, on_progress)
    y_true, logits = validation.y_true, validation.logits
    maximize = options.get("maximize", THRESHOLD_METRICS[0])
    decision = evaluation.fit_decision(
        plan.task,
        y_true,
        logits,
        abstain_precision=precision,
        abstain_coverage=options.get("coverage"),
        maximize=maximize,
    )
    of_parts = tuple(
        evaluation.fit_decision(plan.task, y_true, part, maximize=maximize)
        for part in validation.parts
    )
    report = training.validation_report(
        plan.task,
        y_true,
        logits,
        decision,
        config=plan.config,
        class_names=plan.card.class_names,
    )
    if precision is not None and decision.abstain_below is None:
        half = report.coverage[-1]
        raise DataError(
            f"{plan.folder}: no confidence reaches precision {precision:g} on validation (of the "
            f"most confident {half.coverage:.0%} of the answers {half.accuracy:.3f} are correct); "
            "use a lower precision"
        )
    _write(plan, decision, report, of_parts)
    return CalibrationResult(
        folder=plan.output,
        former=plan.card.decision,
        decision=decision,
        former_report=plan.card.validation,
        report=report,
        options=options,
        notices=plan.notices,
    )


class _Validation(NamedTuple):
    """True classes and logits, float32 [n, C], of the validation split.

    Attributes:
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: of the classifier.
        parts: of the linear model and of the network of a mixture; empty without a mixture.
    """

    y_true: "np.ndarray"
    logits: "np.ndarray"
    parts: tuple["np.ndarray", ...] = ()


def _validation_logits(plan: Plan, dataset: "Dataset", on_progress: Progress) -> _Validation:
    """Return true classes and logits of the validation split.

    Texts are encoded and batched as in training, so that the logits are equal bit by bit.
    """
    from textclf import classifier, linear

    model = classifier.load(plan.folder)
    if model.linear is None:
        return _Validation(*_network_logits(plan, model, dataset, on_progress))
    tokenizer = model.text_encoder.tokenizer
    y_true, linear_logits = linear.predict_split(model.linear, tokenizer, dataset, "validation")
    if plan.card.mixture is None:
        return _Validation(y_true, linear_logits)
    _, network_logits = _network_logits(plan, model, dataset, on_progress)
    parts = linear_logits, network_logits
    return _Validation(y_true, plan.card.mixture.mix(*parts), parts)


def _network_logits(
    plan: Plan, model: "Classifier", dataset: "Dataset", on_progress: Progress
) -> tuple["np.ndarray", "np.ndarray"]:
    """Return true classes and logits of the network."""
    from textclf import batches, training

    assert model.network is not None
    with tempfile.TemporaryDirectory(prefix="textclf-") as temporary:
        shards = batches.encode_split(
            dataset,
            "validation",
            model.text_encoder,
            Path(temporary),
            shuffle_buffer=plan.config.training.shuffle_buffer,
            on_progress=on_progress,
        )
        validator = training.Validator(model.network, plan.task, shards)
        return plan.task.true_classes(validator.targets), validator.logits()


# === The trained folder ===


def _write(
    plan: Plan, decision: Decision, report: Report, of_parts: tuple[Decision, ...] = ()
) -> None:
    """Write the trained folder with the new decision, atomically.

    Args:
        of_parts: of the linear model and of the network of a mixture; empty without a mixture.
    """
    from textclf import model_card

    card = plan.card
    past = artifact.PastDecision(
        decision=card.decision,
        created=card.created if card.calibration is None else card.calibration.created,
        options={} if card.calibration is None else card.calibration.options,
    )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    card = msgspec.structs.replace(
        card,
        temperature=decision.temperature,
        thresholds=decision.thresholds,
        abstain_below=decision.abstain_below,
        validation=report,
        calibration=artifact.Calibration(created=now, options=plan.options),
        history=(*card.history, past),
    )
    if card.linear is not None and of_parts:
        linear_decision, network_decision = of_parts
        of_linear = msgspec.structs.replace(card.linear, decision=linear_decision)
        card = msgspec.structs.replace(card, linear=of_linear, network_decision=network_decision)
    with artifact.write_folder(plan.output, overwrite=plan.overwrite) as temporary:
        page = temporary / artifact.CARD_PAGE
        page.write_text(model_card.markdown(card), encoding="utf-8")
        files = {**card.files, artifact.CARD_PAGE: artifact.sha256(page)}
        card = msgspec.structs.replace(card, files=files)
        (temporary / artifact.CARD).write_text(card.to_json(), encoding="utf-8")
        _copy_others(plan.folder, temporary, is_in_place=_is_same(plan.folder, plan.output))
        if artifact.read_card(plan.folder).to_json() != plan.card.to_json():
            raise ArtifactError(
                f"{plan.folder}: another process changed it in the meantime, so nothing was "
                "written; calibrate it again"
            )


def _is_same(folder: Path, output: Path) -> bool:
    return os.path.realpath(folder) == os.path.realpath(output)


def _copy_others(folder: Path, target: Path, *, is_in_place: bool) -> None:
    """Copy everything in a trained folder except its card and the page of the card.

    Args:
        is_in_place: `target` will take the place of `folder`, so links in it stay links. In another
            place a relative link would lead elsewhere, so links are replaced by what they lead to,
            and links that lead nowhere are omitted.

    Raises:
        ArtifactError: a file cannot be copied.
    """

    def ignore(directory: str, names: list[str]) -> set[str]:
        ignored = {artifact.CARD, artifact.CARD_PAGE} if Path(directory) == folder else set()
        if not is_in_place:
            # The option of copytree looks for relative links in the current folder.
            ignored |= {name for name in names if not os.path.exists(os.path.join(directory, name))}
        return ignored

    try:
        shutil.copytree(
            folder,
            target,
            symlinks=is_in_place,
            ignore=ignore,
            dirs_exist_ok=True,
        )
    except shutil.Error as error:
        name, _, reason = error.args[0][0]
        raise ArtifactError(
            f"{name}: cannot be copied ({reason}), so nothing was written; move it out of the "
            "trained folder"
        ) from None
