"""Evidence for the findings of an audit."""

import dataclasses
from collections.abc import Mapping, Sequence

from textclf import data
from textclf.audit.result import Example, SplitAudit
from textclf.config import Config


@dataclasses.dataclass(frozen=True)
class NearRow:
    """A row and the most similar row of train.

    Attributes:
        location, other_location: file and row with the labels.
        text, other_text: beginnings of the texts.
        similarity: from 0 to 1.
    """

    location: str
    text: str
    other_location: str
    other_text: str
    similarity: float

    def example(self) -> Example:
        return Example(
            f"{self.location} ~ {self.other_location}, similarity {self.similarity:.2f}",
            (self.text, self.other_text),
        )


@dataclasses.dataclass(frozen=True)
class TokenEvidence:
    """A token that gives a class away; see `leak_tokens.LeakToken`."""

    token: str
    class_name: str
    num_texts: int
    num_of_class: int
    share: float
    locations: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Everything that the findings are derived from.

    Attributes:
        near: split → number of rows with a near-duplicate in train, and the most similar ones.
        near_conflicts: the same for rows whose labels differ from those of the near-duplicate.
        near_rows: rows of train that were compared with each other; None without a search.
        is_sampled: whether they are a sample of train.
        is_limited: whether rows had so many candidates that only some of them were compared.
        tokens: tokens that give a class away.
        subject: configuration or source in commands, quoted for a shell.
        config, dataset, splits, length_setting, length_limit, vocabulary_size: see `Audit`.
    """

    config: Config
    dataset: data.Dataset
    splits: Mapping[str, SplitAudit]
    length_setting: str
    length_limit: int
    vocabulary_size: int
    near_rows: int | None
    is_sampled: bool
    is_limited: bool
    near: Mapping[str, tuple[int, list[NearRow]]]
    near_conflicts: Mapping[str, tuple[int, list[NearRow]]]
    tokens: Sequence[TokenEvidence]
    subject: str

    def clean(self, options: str) -> str:
        """Return the command that writes a cleaned copy."""
        return f"`textclf data clean {self.subject} OUTPUT {options}`"

    def share(self, count: int, split: str) -> str:
        return f"{percent(count / max(self.splits[split].num_examples, 1))} of {split}"


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f} %"
