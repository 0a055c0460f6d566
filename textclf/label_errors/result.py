"""Result of a search for label errors, as typed values for Python, JSON and files."""

from typing import Any

import msgspec


class SuspectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of train whose labels are probably wrong.

    Attributes:
        row: number within train, from 0.
        location: file and row, such as `reviews.csv:17`.
        text: its beginning, on one line.
        labels: labels of the data.
        suggested_labels: labels that the model suggests.
        p_labels, p_suggested: out-of-fold probabilities of these labels, in their order.
        quality: 0 (certainly wrong) to 1, see `suspects`.
        conflicts: locations of rows with an equal text and other labels, at most five.
        reason: why the labels are suspected, in one sentence.
    """

    row: int
    location: str
    text: str
    labels: tuple[str, ...]
    suggested_labels: tuple[str, ...]
    p_labels: tuple[float, ...]
    p_suggested: tuple[float, ...]
    quality: float
    conflicts: tuple[str, ...]
    reason: str


class LabelErrors(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `find_label_errors`.

    Attributes:
        class_names: index → name.
        multi_label: whether a text may have several labels, or none.
        model_kind: "linear" or "network".
        num_folds: number of folds.
        num_rows: rows of train that could be read.
        num_judged: those whose labels were judged.
        agreement: share of the judged rows whose labels the model predicts; with several labels, it
            predicts those with a probability of at least .5.
        num_conflicts: texts that have different labels in different rows.
        suspects: the rows, most likely wrong first.
        notes: rows that were not judged, and other remarks; one sentence each.
        seconds: time of the trainings.
    """

    class_names: tuple[str, ...]
    multi_label: bool
    model_kind: str
    num_folds: int
    num_rows: int
    num_judged: int
    agreement: float
    num_conflicts: int
    suspects: tuple[SuspectRow, ...]
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return msgspec.to_builtins(self)

    def _repr_html_(self) -> str:
        from textclf.display import to_html
        from textclf.label_errors.output import document

        return to_html(document(self))
