"""Explanation of a text: its tokens and what each adds to the score of a class."""

from collections.abc import Sequence
from typing import Any

import msgspec

from textclf.errors import DataError, did_you_mean, format_list

# Steps of the integrated gradients.
NUM_STEPS = 32
EXPORT_NOT_EXPLAINED = (
    "an exported version has no gradients for word attributions; name the trained folder, or call "
    "the signature `explain` of the export, which leaves out one token after the other "
    "(`textclf serve` shows it)"
)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Token of a text, as the model reads it.

    Attributes:
        text: the token.
        is_known: whether the vocabulary of the network has it.
        network_reads, linear_reads: whether it is within the length limit of the network and of the
            linear model; False for a model that the classifier does not have.
    """

    text: str
    is_known: bool
    network_reads: bool
    linear_reads: bool

    @property
    def is_read(self) -> bool:
        """True if the network or the linear model reads the token."""
        return self.network_reads or self.linear_reads


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of the score of one class.

    The score is the sum of `start`, of all entries of `network` and `linear`, and of
    `completeness_error`. `Explanation.score_name` says what the score is.

    Attributes:
        class_name: the class.
        probability: of the class, as the model outputs it.
        is_selected: whether the model selects the class.
        score: of the class.
        network_start: score that the network gives to a text whose token vectors are all zero.
        linear_start: score that the linear model gives to a text without n-grams.
        network: what each token adds through the network, by integrated gradients.
        linear: what each token adds through the linear model.
        completeness_error: score minus all parts, due to the finite number of steps.
    """

    class_name: str
    probability: float
    is_selected: bool
    score: float
    network_start: float
    linear_start: float
    network: tuple[float, ...]
    linear: tuple[float, ...]
    completeness_error: float

    @property
    def start(self) -> float:
        """The part of the score without any token."""
        return self.network_start + self.linear_start

    @property
    def totals(self) -> tuple[float, ...]:
        """The sum of both parts of each token."""
        return tuple(n + ln for n, ln in zip(self.network, self.linear, strict=True))


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a text and what each adds to the scores of classes.

        explanation = model.explain(["not bad at all"])[0]
        max(explanation.ranked(explanation.attributions[0]))

    In a notebook it is shown as coloured text.

    Attributes:
        text: the text; bytes that are not UTF-8 are replaced.
        label: the most probable class.
        is_multi_label: whether a text can have several classes.
        score_name: the score of a class, in words, see `tasks.Task.score_weights`.
        tokens: all tokens of the text; those beyond a length limit add nothing.
        attributions: one for each explained class.
        has_network, has_linear: the models that the classifier consists of.
        num_steps: number of steps of the integrated gradients; 0 without a network.
    """

    text: str
    label: str
    is_multi_label: bool
    score_name: str
    tokens: tuple[Token, ...]
    attributions: tuple[Attribution, ...]
    has_network: bool
    has_linear: bool
    num_steps: int

    @property
    def num_unread(self) -> int:
        """Number of tokens beyond all length limits."""
        return sum(not token.is_read for token in self.tokens)

    def ranked(self, attribution: Attribution) -> list[tuple[float, int]]:
        """Return total and position of the tokens that are read, the strongest first."""
        totals = attribution.totals
        read = [(totals[i], i) for i, token in enumerate(self.tokens) if token.is_read]
        return sorted(read, key=lambda entry: (-abs(entry[0]), entry[1]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "text": self.text,
            "label": self.label,
            "score": self.score_name,
            "steps": self.num_steps,
            "tokens": [
                {
                    "token": token.text,
                    "known": token.is_known,
                    "network_reads": token.network_reads,
                    "linear_reads": token.linear_reads,
                }
                for token in self.tokens
            ],
            "classes": [
                {
                    "class": part.class_name,
                    "probability": part.probability,
                    "selected": part.is_selected,
                    "score": part.score,
                    "start": part.start,
                    "completeness_error": part.completeness_error,
                    "total": list(part.totals),
                    "network": list(part.network),
                    "linear": list(part.linear),
                }
                for part in self.attributions
            ],
        }

    def _repr_html_(self) -> str:
        return Explanations([self])._repr_html_()


class Explanations(tuple[Explanation, ...]):
    """Explanations of several texts, which a notebook shows as coloured texts."""

    def _repr_html_(self) -> str:
        from textclf.analysis.pages import to_html

        return to_html(self)


def class_ids_of(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the ids of class names, without repetitions.

        class_ids_of(["b"], ("a", "b"))    # [1]

    Raises:
        DataError: names of all classes that are not known.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        near = did_you_mean(unknown[0], known)
        classes = f"; the classes are {format_list(known)}"
        raise DataError(f"the model has no class {format_list(unknown)}{near or classes}")
    return [known.index(name) for name in dict.fromkeys(names)]
