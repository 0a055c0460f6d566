"""Tokens that give the label away: nearly all texts with such a token are of one class."""

import dataclasses

import numpy as np
from scipy import stats

from textclf.audit.counting import HashCounts, combine

# Smallest share of the texts of a class that have the token, and smallest number of such texts.
_LEAST_SHARE, _LEAST_TEXTS = 0.1, 10
# Largest error (upper 95 % bound) of the rule "a text with the token is of the class", relative to
# the error of predicting the class for every text.
_LARGEST_ERROR = 0.1
# A token in at least half of the texts of a class needs less evidence: at most this share of the
# texts with the token may be of other classes.
_MOST, _LARGEST_SHARE_OF_OTHERS = 0.5, 0.02
_MAX_TOKENS = 20


@dataclasses.dataclass(frozen=True)
class LeakToken:
    """A token that gives a class away.

    Attributes:
        key: hash of the token.
        class_index: the class.
        num_texts: training texts with the token.
        num_of_class: those of the class.
        share: share of the texts of the class that have the token.
    """

    key: int
    class_index: int
    num_texts: int
    num_of_class: int
    share: float


def find_leak_tokens(
    token_texts: HashCounts,
    class_token_texts: HashCounts,
    class_counts: np.ndarray,
    num_examples: int,
) -> list[LeakToken]:
    """Return the leak tokens, those with the largest share of their class first.

    Args:
        token_texts: training texts with each token.
        class_token_texts: the same by class, with the keys of `combine`.
        class_counts: int64 [C], training texts of each class.
        num_examples: training texts.
    """
    found: list[LeakToken] = []
    keys, counts = token_texts.items()
    for index, class_count in enumerate(class_counts.tolist()):
        least = max(_LEAST_TEXTS, int(np.ceil(_LEAST_SHARE * class_count)))
        candidates = counts >= least
        num_texts = counts[candidates]
        num_of_class = class_token_texts.counts_of(combine(keys[candidates], index))
        prior_error = 1 - class_count / max(num_examples, 1)
        # Clopper and Pearson's upper bound of the share of other classes.
        errors = (num_texts - num_of_class).clip(min=0)
        upper = stats.beta.ppf(0.95, errors + 1, np.maximum(num_texts - errors, 1))
        is_certain = upper <= _LARGEST_ERROR * prior_error
        is_usual = num_of_class >= _MOST * class_count
        is_certain |= is_usual & (errors <= _LARGEST_SHARE_OF_OTHERS * num_texts)
        is_found = is_certain & (num_of_class >= least)
        for key, total, own in zip(
            keys[candidates][is_found].tolist(),
            num_texts[is_found].tolist(),
            num_of_class[is_found].tolist(),
            strict=True,
        ):
            found.append(LeakToken(key, index, total, own, own / class_count))
    found.sort(key=lambda token: (-token.share, token.key))
    return found[:_MAX_TOKENS]
