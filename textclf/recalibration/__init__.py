"""Recalibration: fit the decision of a trained classifier again, without training.

    import textclf
    result = textclf.calibrate("runs/reviews", precision=0.95)
    result.decision.abstain_below

The decision is the temperature, the thresholds and the confidence below which the classifier
abstains. It is fitted to the validation split of the training data; the test split is not scored.
`calibrate` calls `check`, `open_data` and `refit`; only `refit` imports TensorFlow.

    plan          options, folder, settings and data, checked
    validation    logits of the validation split
    tables        figures at many thresholds, to choose one
"""

import datetime
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from textclf import artifact
from textclf.config import Overrides
from textclf.errors import ArtifactError, DataError, format_list
from textclf.evaluation import Report
from textclf.progress import OnProgress, no_progress
from textclf.recalibration.plan import Options, Plan, check, open_data, plan_to_read
from textclf.startup import import_tensorflow
from textclf.tasks import THRESHOLD_METRICS, Decision

if TYPE_CHECKING:
    import numpy as np

    from textclf.data import Dataset

__all__ = [
    "CalibrationResult",
    "Options",
    "Plan",
    "calibrate",
    "check",
    "open_data",
    "plan_to_read",
    "refit",
]


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
    options: dict[str, float | str | bool]
    notices: tuple[str, ...]


def calibrate(
    folder: str | os.PathLike,
    *,
    precision: float | None = None,
    coverage: float | None = None,
    maximize: str | None = None,
    positive: str | None = None,
    each_label: bool = False,
    recall: float | None = None,
    beta: float | None = None,
    cost: tuple[float, float] | None = None,
    output: str | os.PathLike | None = None,
    overwrite: bool = False,
    overrides: Overrides = (),
    on_progress: OnProgress = no_progress,
) -> CalibrationResult:
    """Fit the decision of a trained folder again and replace it, without training.

        result = textclf.calibrate("runs/reviews", coverage=0.9)
        result.report.abstention.accuracy

    Card and card page are replaced together, in one atomic step. The weights do not change, and the
    former decision is kept in `Card.history`.

    Args:
        folder: the trained folder.
        precision: abstain so that at least this share of the answers on validation is correct. With
            `positive` or `each_label`: choose the threshold with the highest recall whose precision
            is at least this, by its one-sided 90 % lower bound on validation.
        coverage: abstain so that at least this share of validation is answered. Without
            `precision` and `coverage` the model never abstains.
        maximize: multi-label: metric of the thresholds, `macro_f1` (default) or `micro_f1`.
        positive: two classes: the class that gets a threshold; needs one of `precision`, `recall`,
            `beta` and `cost`. Default: the most probable class is predicted.
        each_label: multi-label: `precision` applies to each label. A label that cannot reach it
            keeps the threshold of its highest F1 and is in the notices.
        recall: choose the threshold with the fewest predictions whose recall is at least this, by
            its one-sided 90 % lower bound on validation.
        beta: choose the threshold with the highest F-beta; above 1, recall matters more.
        cost: choose the threshold with the lowest sum of costs, of a false positive and of a false
            negative.
        output: write a calibrated copy to this folder and do not change `folder`.
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
        positive=positive,
        each_label=each_label,
        recall=recall,
        beta=beta,
        cost=cost,
        output=output,
        overwrite=overwrite,
        overrides=overrides,
    )
    return refit(plan, open_data(plan, on_progress), on_progress)


# === Data and decision ===


def refit(
    plan: Plan, dataset: "Dataset", on_progress: OnProgress = no_progress
) -> CalibrationResult:
    """Fit the decision to the validation split and write the trained folder.

    Args:
        dataset: the data of the training; only validation is read.

    Raises:
        TextclfError: as for `calibrate`.
    """
    import_tensorflow()
    from textclf import evaluation, training
    from textclf.recalibration.validation import validation_logits

    options = plan.options
    validation = validation_logits(plan, dataset, on_progress)
    y_true, logits = validation.y_true, validation.logits
    maximize = options.maximize or THRESHOLD_METRICS[0]
    abstain_precision = None if options.targets else options.precision
    fitted = evaluation.fit_decision(
        plan.task,
        y_true,
        logits,
        abstain_precision=abstain_precision,
        abstain_coverage=options.coverage,
        maximize=maximize,
    )
    decision, notices = _with_thresholds(plan, fitted, y_true, logits)
    of_parts = tuple(
        _with_thresholds(
            plan,
            evaluation.fit_decision(plan.task, y_true, part, maximize=maximize),
            y_true,
            part,
            is_part=True,
        )[0]
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
    if abstain_precision is not None and decision.abstain_below is None:
        half = report.coverage[-1]
        raise DataError(
            f"{plan.folder}: no confidence reaches precision {abstain_precision:g} on validation "
            f"(of the most confident {half.coverage:.0%} of the answers {half.accuracy:.3f} are "
            "correct); use a lower precision"
        )
    _write(plan, decision, report, of_parts)
    return CalibrationResult(
        folder=plan.output,
        former=plan.card.decision,
        decision=decision,
        former_report=plan.card.validation,
        report=report,
        options=options.to_dict(),
        notices=(*plan.notices, *notices),
    )


def _with_thresholds(
    plan: Plan,
    decision: Decision,
    y_true: "np.ndarray",
    logits: "np.ndarray",
    *,
    is_part: bool = False,
) -> tuple[Decision, list[str]]:
    """Return the decision with the thresholds of the plan's target, and notices.

    Args:
        is_part: the logits are of a part of a mixture, which may not reach the target.

    Raises:
        DataError: no class reaches the target.
    """
    options, names = plan.options, plan.card.class_names
    if not options.targets:
        return decision, []
    import numpy as np

    from textclf import evaluation

    ((name, value),) = options.targets.items()
    target = evaluation.Target(**{name: value})  # type: ignore[arg-type]
    p = np.asarray(plan.task.probabilities(logits, decision.temperature))
    positive = None if options.positive is None else names.index(options.positive)
    chosen, bounds = evaluation.choose_operating_thresholds(plan.task, y_true, p, target, positive)
    wanted = range(len(names)) if positive is None else [positive]
    missed = [c for c in wanted if chosen[c] is None]
    if len(missed) == len(wanted):
        if is_part:
            return decision, []
        best = max(wanted, key=lambda c: bounds[c] or 0.0)
        raise DataError(
            f"{plan.folder}: no threshold of {names[best]!r} has a {name} whose lower bound on "
            f"validation is at least {value:g}; the highest bound is {bounds[best]:.3f}; use a "
            f"lower {name}, or more validation data"
        )
    if positive is not None:
        thresholds = [0.0, 0.0]
        thresholds[positive] = chosen[positive] or 0.0
        return msgspec.structs.replace(decision, thresholds=tuple(thresholds)), []
    assert decision.thresholds is not None
    pairs = zip(chosen, decision.thresholds, strict=True)
    thresholds = [former if new is None else new for new, former in pairs]
    notices = []
    if missed:
        shown = format_list([f"{names[c]} ({bounds[c]:.3f})" for c in missed], width=None)
        notices.append(
            f"{len(missed)} of {len(names)} labels do not reach {name} {value:g} and keep the "
            f"threshold of their highest F1; their highest lower bounds: {shown}"
        )
    return msgspec.structs.replace(decision, thresholds=tuple(thresholds)), notices


# === The trained folder ===


def _write(
    plan: Plan, decision: Decision, report: Report, of_parts: tuple[Decision, ...] = ()
) -> None:
    """Write the trained folder with the new decision, atomically.

    Args:
        of_parts: decisions of the linear model and of the network of a mixture; empty without one.
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
        calibration=artifact.Calibration(created=now, options=plan.options.to_dict()),
        format_version=artifact.THRESHOLD_FORMAT_VERSION
        if decision.thresholds is not None and not card.multi_label
        else artifact.FORMAT_VERSION,
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
        is_in_place: `target` will replace `folder`, so links stay links. Otherwise a relative link
            could be wrong, so links are replaced by their targets, and broken links are omitted.

    Raises:
        ArtifactError: a file cannot be copied.
    """

    def ignore(directory: str, names: list[str]) -> set[str]:
        ignored = {artifact.CARD, artifact.CARD_PAGE} if Path(directory) == folder else set()
        if not is_in_place:
            # The option of copytree resolves relative links in the current folder.
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
