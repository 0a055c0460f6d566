"""Choice of the texts to label next."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from textclf.active_learning.output import check_selection_file, label_column_of, write_selection
from textclf.active_learning.uncertainty import MEASURES, score, uncertainty
from textclf.errors import ArtifactError, DataError, check_all
from textclf.prediction import Input, Row, answer_windows, card_of, load_model, open_input
from textclf.progress import OnProgress, no_progress

if TYPE_CHECKING:
    from textclf.active_learning.pool import Candidate, Pool
    from textclf.artifact import Card
    from textclf.classifier import Predictor
    from textclf.config import Overrides
    from textclf.model_data import OnNote


# Beyond these numbers, k-means with clusters of a few texts takes minutes.
MAX_TEXTS = 10_000
_MAX_CANDIDATES = 20_000


class NextText(msgspec.Struct, frozen=True):
    """A text to label.

    Attributes:
        row: number of the row in the input, from 0; the header and blank lines do not count.
        text: the text.
        score: its margin or its entropy, see `uncertainty.score`.
        predicted: the predicted label; multi-label: the predicted labels.
        probabilities: class -> probability.
        columns: the row of the table by column; empty without a table.
    """

    row: int
    text: str
    score: float
    predicted: str | tuple[str, ...]
    probabilities: dict[str, float]
    columns: dict[str, Any]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to label next, the most uncertain first.

    Attributes:
        by: the measure of uncertainty, one of `MEASURES`.
        is_diverse: whether the texts were chosen to differ from each other.
        texts: the texts.
        text_column: column of the text in a file, for texts without a table.
        label_column: column of the label in the training data.
        num_rows: rows of the input.
        num_empty: rows without any visible character, which are never chosen.
        num_repeated: rows whose text was already a candidate.
        num_candidates: number of candidates, the most uncertain texts.
        num_abstained: chosen texts from which the model abstains.
    """

    by: str
    is_diverse: bool
    texts: tuple[NextText, ...]
    text_column: str
    label_column: str
    num_rows: int
    num_empty: int
    num_repeated: int
    num_candidates: int
    num_abstained: int

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON. The score of a text has the name of the measure."""
        values = msgspec.structs.asdict(self)
        values["texts"] = [
            {(self.by if name == "score" else name): value for name, value in text.items()}
            for text in map(msgspec.structs.asdict, self.texts)
        ]
        return values

    def _repr_html_(self) -> str:
        from textclf.active_learning.output import document
        from textclf.display import to_html

        return to_html(document(self, max_texts=None))


def select_next(
    model: "Predictor | str | os.PathLike",
    texts: str | os.PathLike | BinaryIO | Iterable[str],
    n: int = 100,
    *,
    by: str = MEASURES[0],
    diverse: bool = True,
    seed: int = 0,
    output: str | os.PathLike | None = None,
    overwrite: bool = False,
    lines: bool = False,
    overrides: "Overrides" = (),
    on_note: "OnNote" = lambda note: None,
    on_progress: OnProgress = no_progress,
) -> Selection:
    """Return the texts whose labels are likely to improve a model most.

        selection = textclf.select_next("runs/reviews", "unlabelled.txt", n=20)
        selection.texts[0].text, selection.texts[0].score

    These are the texts with the most uncertain predictions. With `diverse`, texts that differ from
    each other are chosen from ten times as many candidates (at most 20,000), see
    `diversity.choose_diverse`. Equal texts are chosen once and empty ones never. Whether a text is
    in the training data is not checked. Memory grows with the candidates, not with the input.

    Args:
        model: a loaded model, a trained folder, or an exported version.
        texts: a table, a file of lines (`.txt`), a binary stream of lines, or strings. A table is
            read as by `textclf.predict_file`.
        n: number of texts, at most `MAX_TEXTS`. All texts are returned if there are fewer.
        by: one of `MEASURES`, see `uncertainty.score`.
        diverse: whether the texts should differ from each other.
        seed: of the choice of diverse texts. Equal seeds choose equal texts.
        output: file .csv or .jsonl for the texts with all columns of the table, an empty column for
            the label, and the outputs of the model.
        overwrite: whether an existing output may be replaced.
        lines: read each line of a file as a text, whatever its name.
        overrides: "section.setting" -> value, in the section `data`.
        on_note: called with sentences about settings that were detected and texts left out.
        on_progress: called with a stage, the number done and their total, 0 if it is unknown.

    Raises:
        ArtifactError: the folder does not contain a model, or the model has one class only.
        ConfigError: an override is invalid or has no effect on this file.
        DataError: the input cannot be read, has no text column or no text, or the output cannot be
            written.
        TextclfError: several of these.
        ValueError: `n` or `by` is invalid.
    """
    from textclf.config import check_sections

    if not 1 <= n <= MAX_TEXTS:
        raise ValueError(f"n: expected 1 to {MAX_TEXTS:,}, found {n}")
    if by not in MEASURES:
        raise ValueError(f"by: expected {' or '.join(MEASURES)}, found {by!r}")
    check_sections(overrides, ("data",))
    card = card_of(model)
    with contextlib.ExitStack() as stack:
        inputs: list[Input] = []

        def check_file() -> None:
            if output is not None:
                check_selection_file(output, texts, overwrite=overwrite)

        def open_texts() -> None:
            inputs.append(_open(texts, card, lines, overrides, on_note, stack))

        check_all(lambda: _check_classes(card), check_file, open_texts)
        rows = inputs[0]
        predictor = load_model(model)
        from textclf.active_learning.pool import Pool

        size = max(n, min(n * _candidates_per_text(), _MAX_CANDIDATES)) if diverse else n
        pool = Pool(size)
        num_rows, num_empty = _fill(pool, predictor, rows, by, on_progress)
    candidates = pool.ranked()
    if not candidates:
        raise DataError(f"{rows.name}: has no text to label; name a file with texts")
    if len(candidates) < n:
        on_note(
            f"{rows.name}: has {len(candidates):,} different texts, fewer than {n:,}; all of them "
            "are in the list"
        )
    chosen = _diverse(candidates, n, seed, on_progress) if diverse else candidates
    selection = Selection(
        by=by,
        is_diverse=diverse,
        texts=_next_texts(chosen, card, rows),
        text_column=_text_column(card),
        label_column=label_column_of(card),
        num_rows=num_rows,
        num_empty=num_empty,
        num_repeated=pool.num_repeated,
        num_candidates=len(candidates),
        num_abstained=sum(candidate.abstains for candidate in chosen),
    )
    _note_counts(selection, rows.name, on_note)
    if output is not None:
        write_selection(selection, output, overwrite=overwrite)
    return selection


def _candidates_per_text() -> int:
    from textclf.active_learning.diversity import CANDIDATES_PER_TEXT

    return CANDIDATES_PER_TEXT


def _check_classes(card: "Card") -> None:
    if len(card.class_names) < card.task.min_classes:
        raise ArtifactError(
            f"the model has one class, {card.class_names[0]}, so it is sure of every text; train "
            "it on texts of two classes"
        )


def _open(
    texts: str | os.PathLike | BinaryIO | Iterable[str],
    card: "Card",
    lines: bool,
    overrides: "Overrides",
    on_note: "OnNote",
    stack: contextlib.ExitStack,
) -> Input:
    from textclf.prediction import windows_of

    if isinstance(texts, str | os.PathLike) or hasattr(texts, "read1"):
        source: Any = texts
        return open_input(source, card, lines, overrides, on_note, stack, keeps_arrow=False)
    strings: Any = texts
    size = len(strings) if hasattr(strings, "__len__") else 0
    rows = map(Row, _strings(strings))
    return Input(windows_of(rows), "texts", about_rows=lambda: size)


def _strings(texts: Iterable[Any]) -> Iterable[str]:
    for position, text in enumerate(texts):
        value = text.as_py() if hasattr(text, "as_py") else text  # a scalar of an Arrow column
        if not isinstance(value, str):
            raise DataError(
                f"texts[{position}] is {type(value).__name__}: expected a text (str); leave it "
                "out, or replace a missing text by ''"
            )
        yield value


def _fill(
    pool: "Pool", predictor: "Predictor", rows: Input, by: str, on_progress: OnProgress
) -> tuple[int, int]:
    """Add the most uncertain texts to the pool; return the numbers of all and of empty rows."""
    import numpy as np

    from textclf.active_learning.pool import Candidate

    card = predictor.card
    task, decision = card.task, card.decision
    about_rows = rows.about_rows()
    num_rows = num_empty = 0
    for window, answers in answer_windows(predictor, rows):
        p = answers["probabilities"]
        if not np.isfinite(p).all():
            bad = int(np.flatnonzero(~np.isfinite(p).all(axis=1))[0])
            raise DataError(
                f"{rows.name}: the model gives row {num_rows + bad + 1} a probability that is not "
                "a number; check the model with `textclf predict`"
            )
        scores = score(task, p, decision, by)
        values = uncertainty(scores, by)
        for i in pool.select(values):
            row = window.rows[i]
            if not row.text.strip():
                continue
            label_ids = (int(answers["label_id"][i]),)
            if task.is_multi_label:
                label_ids = tuple(answers["selected"][i].nonzero()[0].tolist())
            pool.add(
                Candidate(
                    float(values[i]),
                    num_rows + i,
                    row,
                    float(scores[i]),
                    p[i].copy(),  # a view would keep the whole window in memory
                    label_ids,
                    bool(answers["abstain"][i]),
                )
            )
        num_rows += len(window.rows)
        num_empty += window.num_empty
        on_progress("scoring texts", num_rows, max(about_rows, num_rows) if about_rows else 0)
    return num_rows, num_empty


def _diverse(
    candidates: "Sequence[Candidate]", n: int, seed: int, on_progress: OnProgress
) -> "list[Candidate]":
    """Return `n` candidates that differ from each other, in their order."""
    import numpy as np

    from textclf.active_learning.diversity import choose_diverse

    on_progress("choosing texts that differ", 0, 0)
    texts = [candidate.row.text for candidate in candidates]
    values = np.array([candidate.uncertainty for candidate in candidates])
    return [candidates[i] for i in choose_diverse(texts, values, n, seed=seed)]


def _next_texts(
    candidates: "Sequence[Candidate]", card: "Card", rows: Input
) -> tuple[NextText, ...]:
    names = card.class_names
    is_text_table = rows.table is not None and rows.table.format in ("csv", "tsv")
    columns = rows.table.columns()[1] if rows.table is not None and is_text_table else ()
    texts = []
    for candidate in candidates:
        cells = candidate.row.values
        labels = tuple(names[label_id] for label_id in candidate.label_ids)
        texts.append(
            NextText(
                candidate.number,
                candidate.row.text,
                _rounded(candidate.score),
                labels if card.multi_label else labels[0],
                {name: _rounded(p) for name, p in zip(names, candidate.p.tolist(), strict=True)},
                dict(zip(columns, cells, strict=True)) if isinstance(cells, list) else cells or {},
            )
        )
    return tuple(texts)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _text_column(card: "Card") -> str:
    columns = card.config["data"].get("text_columns", ["text"])
    return columns[0] if len(columns) == 1 and not columns[0].isdecimal() else "text"


def _note_counts(selection: Selection, name: str, on_note: "OnNote") -> None:
    of_rows = f"of {selection.num_rows:,} rows"
    if selection.num_empty:
        on_note(f"{name}: {selection.num_empty:,} {of_rows} are empty; they are left out")
    if selection.num_repeated:
        on_note(
            f"{name}: {selection.num_repeated:,} {of_rows} repeat a candidate; each text is in the "
            "list once"
        )
    if selection.num_abstained:
        on_note(
            f"the model abstains from {selection.num_abstained:,} of the {len(selection.texts):,} "
            "texts; label them like the others"
        )
