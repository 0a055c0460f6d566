"""Examples to read: the worst mistakes of a model and suspected label errors, with explanations."""

import importlib.util
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from textclf import evaluation
from textclf.analysis import Explanation
from textclf.artifact import Card
from textclf.errors import install_command
from textclf.progress import OnProgress, no_progress

if TYPE_CHECKING:
    from textclf.classifier import Predictor, Scores
    from textclf.data import Dataset


NUM_MISTAKES = 20
NUM_SUSPECTS = 20


class ShownExample(msgspec.Struct, frozen=True):
    """Example of a split with its prediction.

    Attributes:
        row: in the split, from 0.
        location: file and line.
        text: the text.
        true: names of its classes in the data.
        predicted: names of the selected classes.
        loss: log loss.
        p_true: probability of the true class; None with several labels.
        explanation: of the predicted classes; None if the model cannot be explained.
        suggested_labels: labels that it probably has; None if its labels are not suspected.
        quality: of its labels, 0 (certainly wrong) to 1; None if they are not suspected.
    """

    row: int
    location: str
    text: str
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    loss: float
    p_true: float | None
    explanation: Explanation | None
    suggested_labels: tuple[str, ...] | None = None
    quality: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        explanation = self.explanation
        return {**values, "explanation": None if explanation is None else explanation.to_dict()}


class Suspects(msgspec.Struct, frozen=True):
    """Suspected label errors.

    Attributes:
        examples: the most suspected ones.
        count: number of all suspects.
        problem: why there was no search; "" if there was one.
    """

    examples: tuple[ShownExample, ...] = ()
    count: int = 0
    problem: str = ""


def worst_rows(card: Card, scores: "Scores", losses: np.ndarray) -> list[int]:
    """Return the rows of the wrong predictions with the highest loss, highest first.

    Args:
        card: of the model.
        scores: of the split.
        losses: float64 [n], the log loss of each example.
    """
    predicted = card.task.select(scores.p, card.decision.thresholds)
    is_exact = evaluation.scoring_of(card.task).is_exact(scores.y_true, predicted)
    order = np.argsort(-losses, kind="stable")
    return order[~is_exact[order]][:NUM_MISTAKES].tolist()


def find_examples(
    predictor: "Predictor",
    dataset: "Dataset",
    split: str,
    scores: "Scores",
    on_progress: OnProgress = no_progress,
) -> tuple[tuple[ShownExample, ...], Suspects, str]:
    """Return the worst mistakes, the suspected label errors, and why nothing is explained.

    Args:
        predictor: the model.
        dataset, split: the data; the split is read again.
        scores: of the split.
        on_progress: called with a stage, the texts done and their total.
    """
    card = predictor.card
    losses = evaluation.contributions(card.task, "log_loss", scores.y_true, scores.p)
    worst = worst_rows(card, scores, losses)
    suspected, num_suspected, problem = _suspects(card, split, scores)
    rows = list(dict.fromkeys([*worst, *suspected]))
    texts = _texts(dataset, split, rows)
    explanations, not_explained = _explanations(
        predictor, [texts[row][1] for row in rows], on_progress
    )
    predicted = card.task.select(scores.p, card.decision.thresholds)

    def example(row: int) -> ShownExample:
        location, text = texts[row]
        true = scores.y_true[row]
        return ShownExample(
            row=row,
            location=location,
            text=text,
            true=_names(card, true),
            predicted=_names(card, predicted[row]),
            loss=float(losses[row]),
            p_true=None if card.multi_label else float(scores.p[row, true]),
            explanation=explanations[rows.index(row)] if explanations else None,
        )

    suspects = tuple(
        msgspec.structs.replace(example(row), suggested_labels=suggested, quality=quality)
        for row, (suggested, quality) in suspected.items()
    )
    return tuple(map(example, worst)), Suspects(suspects, num_suspected, problem), not_explained


def _suspects(
    card: Card, split: str, scores: "Scores"
) -> tuple[dict[int, tuple[tuple[str, ...], float]], int, str]:
    """Return row -> suggested classes and quality, the number of all suspects, and a problem."""
    if split == "train":
        problem = "the model was trained with these labels, so it cannot doubt them"
        return {}, 0, f"{problem}; report on another split"
    if importlib.util.find_spec("cleanlab") is None:
        return {}, 0, f"cleanlab is not installed; install it with {install_command('labels')}"
    from textclf.label_errors.suspects import find_suspects

    found = find_suspects(scores.p, scores.y_true, multi_label=card.multi_label)
    shown = {
        int(suspect.index): (_names(card, suspect.suggested_ids), float(suspect.quality))
        for suspect in found[:NUM_SUSPECTS]
    }
    return shown, len(found), ""


def _names(card: Card, classes: Any) -> tuple[str, ...]:
    """Return the names of a class id, of ids, or of bool [C]."""
    if np.ndim(classes) == 0:
        return (card.class_names[int(classes)],)
    ids: Iterable[int] = np.flatnonzero(classes) if np.asarray(classes).dtype == bool else classes
    return tuple(card.class_names[int(index)] for index in ids)


def _texts(dataset: "Dataset", split: str, rows: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return row -> location and text; reading ends after the last of the rows."""
    wanted, texts = set(rows), {}
    if wanted:
        for location, example in dataset.located_examples(split):
            if example.row in wanted:
                texts[example.row] = location, example.text
                if len(texts) == len(wanted):
                    break
    return texts


def _explanations(
    predictor: "Predictor", texts: Sequence[str], on_progress: OnProgress
) -> tuple[Sequence[Explanation], str]:
    """Return the explanations of texts, or () and the reason."""
    if not texts:
        return (), ""
    encoder = str(predictor.card.config.get("model", {}).get("encoder", ""))
    try:
        return predictor.explain(texts, on_progress=on_progress), ""
    except Exception as error:
        if ":" not in encoder:
            raise
        # A layer of the user may have operations without a gradient.
        reason = f"{type(error).__name__}: {error}"
        return (), f"The encoder {encoder} has no gradient for explanations ({reason})."
