"""Contents of the report page of a model, as values."""

import json
import shlex
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from textclf import artifact, evaluation, scoring
from textclf.artifact import Card
from textclf.evaluation import CoveragePoint, OperatingPoint, Report
from textclf.evaluation.calibration import coverage_points
from textclf.model_page.curves import Curve, curves_to_show
from textclf.model_page.mistakes import ShownExample, Suspects, find_examples
from textclf.model_page.plan import PagePlan
from textclf.progress import OnProgress, no_progress
from textclf.recalibration import tables
from textclf.scoring import Details, ScoringResult

if TYPE_CHECKING:
    from textclf.audit import Audit
    from textclf.classifier import Predictor, Scores
    from textclf.data import Dataset


# Thresholds of the explorer; with many labels, every tenth.
STEPS = (0.001, 0.002, 0.003, 0.004, *(round(k / 200, 3) for k in range(1, 200)))
_MAX_FINE_LABELS = 60
COVERAGES = tuple(round(k / 100, 2) for k in range(100, 0, -1))


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of the page of a model.

    Attributes:
        model: path of the trained folder.
        card: its card.
        command: the command that makes the page.
        result: scores on the split.
        linear: report of the linear model of a mixture alone, on the same rows; None without one.
        curves: curves that are drawn.
        history: figures of each epoch; empty without a network or without its file.
        thresholds: class -> figures of validation at many thresholds; None with
            one label per text and more than two classes.
        supports: class -> number of its examples in validation.
        validation_size: examples of validation.
        coverage: accuracy by coverage, on validation; None with several labels.
        mistakes: the worst mistakes.
        suspects: the suspected label errors.
        not_explained: why no words are coloured; "" if they are.
        audit: findings on the data; None without an audit.
    """

    model: str
    card: Card
    command: str
    result: ScoringResult
    linear: Report | None
    curves: tuple[Curve, ...]
    history: tuple[dict[str, Any], ...]
    thresholds: dict[str, list[OperatingPoint]] | None
    supports: dict[str, int]
    validation_size: int
    coverage: tuple[CoveragePoint, ...] | None
    mistakes: tuple[ShownExample, ...]
    suspects: Suspects
    not_explained: str
    audit: "Audit | None"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        result = self.result
        clean = result.without_leaked
        validation = self.card.validation
        return {
            "model": self.model,
            "command": self.command,
            "split": result.split,
            "report": result.report.to_dict(),
            "without_leaked": None if clean is None else clean.to_dict(),
            "num_leaked": result.num_leaked,
            "linear": None if self.linear is None else self.linear.to_dict(),
            "validation": None if validation is None else validation.to_dict(),
            "slices": msgspec.to_builtins(result.slices),
            "curves": msgspec.to_builtins(result.curves),
            "history": list(self.history),
            "thresholds": msgspec.to_builtins(self.thresholds),
            "coverage": msgspec.to_builtins(self.coverage),
            "mistakes": [example.to_dict() for example in self.mistakes],
            "suspects": {
                "count": self.suspects.count,
                "problem": self.suspects.problem,
                "examples": [example.to_dict() for example in self.suspects.examples],
            },
            "audit": None if self.audit is None else self.audit.to_dict(),
            "data": msgspec.to_builtins(self.card.data),
            "config": self.card.config,
            "versions": self.card.versions,
            "created": self.card.created,
        }


def gather(
    plan: PagePlan,
    dataset: "Dataset",
    on_progress: OnProgress = no_progress,
) -> Contents:
    """Return the contents of a page.

    Args:
        plan: the checked arguments.
        dataset: the data of the training.
        on_progress: called with a stage, the number done and their total.

    Raises:
        DataError: the data have no such split.
    """
    from textclf import classifier

    predictor = classifier.load(plan.trained.folder)
    card, split = predictor.card, plan.split
    settings = plan.trained.config.evaluation.to_dict()
    scores = predictor.score(dataset, split, on_progress)
    by = (*scoring.COMPUTED, *plan.by)
    result = scoring.report_scores(
        predictor,
        dataset,
        split,
        scores,
        details=Details(by=by, curves=True),
        on_progress=on_progress,
        **settings,
    )
    is_positive = card.task.indicators(scores.y_true)
    validation = scores
    if split != "validation":
        validation = predictor.score(dataset, "validation", on_progress)
    thresholds = _thresholds(plan, validation.y_true, validation.p)
    mistakes, suspects, not_explained = find_examples(
        predictor, dataset, split, scores, on_progress
    )
    return Contents(
        model=str(plan.trained.folder),
        card=card,
        command=plan.command,
        result=result,
        linear=_linear_report(predictor, scores, settings),
        curves=tuple(curves_to_show(result.curves, is_positive, scores.p)),
        history=_history(plan),
        thresholds=None if thresholds is None else thresholds.points,
        supports={} if thresholds is None else thresholds.supports,
        validation_size=len(validation.p),
        coverage=None
        if card.multi_label
        else coverage_points(
            card.task, validation.y_true, validation.p, COVERAGES, card.decision.thresholds
        ),
        mistakes=mistakes,
        suspects=suspects,
        not_explained=not_explained,
        audit=_audit(plan, dataset, on_progress) if plan.has_audit else None,
    )


def _thresholds(plan: PagePlan, y_true: np.ndarray, p: np.ndarray) -> tables.ThresholdTables | None:
    """Return the figures at many thresholds for each class that can have a threshold."""
    card = plan.trained.card
    num_classes = len(card.class_names)
    if not card.multi_label and num_classes != 2:
        return None
    steps = STEPS if num_classes <= _MAX_FINE_LABELS else tables.STEPS
    return tables.tables_at(steps, plan.trained, y_true, p)


def _linear_report(
    predictor: "Predictor", scores: "Scores", settings: dict[str, Any]
) -> Report | None:
    """Return the report of the linear model of a mixture alone."""
    linear = predictor.card.linear
    if scores.linear_p is None or linear is None or linear.decision is None:
        return None
    return evaluation.evaluate(
        scores.y_true,
        scores.linear_p,
        class_names=predictor.class_names,
        multi_label=predictor.card.multi_label,
        thresholds=linear.decision.thresholds,
        **settings,
    )


def _history(plan: PagePlan) -> tuple[dict[str, Any], ...]:
    """Return the figures of the epochs, up to the first unreadable line; () without a file."""
    file = plan.trained.folder / artifact.HISTORY
    if not file.is_file():
        return ()
    epochs = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            # None for NaN and infinity, which JSON does not have.
            epochs.append(json.loads(line, parse_constant=lambda name: None))
        except ValueError:
            break
    return tuple(epochs)


def _audit(plan: PagePlan, dataset: "Dataset", on_progress: OnProgress) -> "Audit":
    from textclf import audit

    config_file = str(plan.trained.folder / artifact.CONFIG)
    subject = shlex.join([config_file, *plan.set_arguments])
    return audit.audit_dataset(
        plan.trained.config, dataset, subject=subject, on_progress=on_progress
    )
